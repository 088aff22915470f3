/* Publishes on Fast DDS with code that fastddsgen made: XCDR1 whatever the types say, and source times of the library.
 *
 * usage: see begin() in oracle.h; with --more typed the writers announce type information, else none. */

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <fastdds/dds/domain/DomainParticipant.hpp>
#include <fastdds/dds/domain/DomainParticipantFactory.hpp>
#include <fastdds/dds/publisher/DataWriter.hpp>
#include <fastdds/dds/publisher/Publisher.hpp>
#include <fastdds/dds/topic/Topic.hpp>
#include <fastdds/dds/topic/TypeSupport.hpp>
#include <fastdds/rtps/transport/UDPv4TransportDescriptor.h>

#include "dialectsPubSubTypes.h"
#include "dialectsTypeObject.h"
#include "mapsPubSubTypes.h"
#include "oracle.h"

using namespace Dialects;
namespace fast = eprosima::fastdds::dds;

template <class Item, class Make>
static void each(const char *member, std::vector<Item> &items, unsigned bound, Make make) {
  if (member) name(member);
  open_with('[');
  items.clear();
  for (unsigned count = any_count(bound); count > 0; count--) items.push_back(make());
  close_with(']');
}

static Mode mode(const char *member) {
  static const char *const names[] = {"OFF", "IDLE", "MOVING"};
  unsigned chosen = below(3);
  put_text(member, names[chosen]);
  return (Mode) chosen;
}

static Point point(const char *member) {
  if (member) name(member);
  open_with('{');
  Point made;
  made.x(any_double("x"));
  made.y(any_float("y"));
  close_with('}');
  return made;
}

static Note note(const char *member) {
  if (member) name(member);
  open_with('{');
  Note made;
  made.text(any_text("text", 1000));
  made.level((uint8_t) any_integer("level", 0, UINT8_MAX));
  made.weight(any_double("weight"));
  close_with('}');
  return made;
}

static Reading reading(const char *member) {
  static const int32_t labels[] = {1, 2, -3, 4, 0, INT32_MIN};
  int32_t label = labels[below(6)];
  Reading made;
  if (member) name(member);
  open_with('{');
  put_integer("discriminator", label);
  if (label == 1) made.measure(any_double("measure"));
  else put_null("measure");
  if (label == 2 || label == -3) made.words(any_text("words", 1000));
  else put_null("words");
  if (label == 4) made.place(point("place"));
  else put_null("place");
  if (label == 0 || label == INT32_MIN) made.code((int32_t) any_integer("code", INT32_MIN, INT32_MAX));
  else put_null("code");
  /* A setter has chosen one of the labels of its member. */
  made._d(label);
  close_with('}');
  return made;
}

/* Plain and Growing have the same members. */
template <class Type>
static void fill(Type &it, int64_t number) {
  it.number(put_integer("number", number));
  it.flag(any_bool("flag"));
  it.raw((uint8_t) any_integer("raw", 0, UINT8_MAX));
  it.letter(any_char("letter"));
  it.small((int16_t) any_integer("small", INT16_MIN, INT16_MAX));
  it.usmall((uint16_t) any_integer("usmall", 0, UINT16_MAX));
  it.medium((int32_t) any_integer("medium", INT32_MIN, INT32_MAX));
  it.umedium((uint32_t) any_integer("umedium", 0, UINT32_MAX));
  it.large(any_integer("large", INT64_MIN, INT64_MAX));
  it.ularge((uint64_t) any_integer("ularge", 0, INT64_MAX));
  it.single(any_float("single"));
  it.real(any_double("real"));
  it.text(any_text("text", 1000));
  it.code(any_text("code", 16));
  it.mode(mode("mode"));
  it.point(point("point"));
  it.note(note("note"));
  it.reading(reading("reading"));
  any_bytes("digest", it.digest().data(), 5);
  name("matrix");
  open_with('[');
  for (auto &line : it.matrix()) {
    open_with('[');
    for (double &value : line) value = any_double(nullptr);
    close_with(']');
  }
  close_with(']');
  name("corners");
  open_with('[');
  for (Point &corner : it.corners()) corner = point(nullptr);
  close_with(']');
  it.blob().resize(any_count(1000));
  any_bytes("blob", it.blob().data(), (unsigned) it.blob().size());
  each("reals", it.reals(), 1000, [] { return any_double(nullptr); });
  each("shorts", it.shorts(), 6, [] { return (int16_t) any_integer(nullptr, INT16_MIN, INT16_MAX); });
  each("labels", it.labels(), 1000, [] { return std::string(any_text(nullptr, 1000)); });
  each("path", it.path(), 1000, [] { return point(nullptr); });
  each("notes", it.notes(), 4, [] { return note(nullptr); });
  each("modes", it.modes(), 1000, [] { return mode(nullptr); });
  each("rows", it.rows(), 1000, [] {
    Row row;
    each(nullptr, row, 5, [] { return (int32_t) any_integer(nullptr, INT32_MIN, INT32_MAX); });
    return row;
  });
  each("readings", it.readings(), 1000, [] { return reading(nullptr); });
  it.last((uint8_t) any_integer("last", 0, UINT8_MAX));
}

static void fill(Keyed &it, int64_t number) {
  static const char *const axes[] = {"", "\xce\xb1", "xxxxxxxxxxxx"};
  it.number(put_integer("number", number));
  it.unit((int32_t) put_integer("unit", number % 3 - 1));
  it.axis(put_text("axis", axes[number % 3]));
  it.time(any_double("time"));
  it.efd_edge(any_text("efd_edge", 1000));
}

static void fill(Mapped &it, int64_t number) {
  static const char *const words[] = {"", "a", "\xce\xb1 b"};
  it.number(put_integer("number", number));
  it.counts().clear();
  name("counts");
  open_with('{');
  name("$map");
  open_with('{');
  for (unsigned at = below(4); at > 0; at--) it.counts()[words[at - 1]] = (int32_t) any_integer(words[at - 1], INT32_MIN, INT32_MAX);
  close_with('}');
  close_with('}');
  /* std::map sends its entries in the order of their keys, which is that of the list. */
  it.levels().clear();
  name("levels");
  open_with('[');
  for (int32_t key = -1, end = (int32_t) below(4) - 1; key < end; key++) {
    open_with('{');
    put_integer("key", key);
    it.levels()[key] = any_double("value");
    close_with('}');
  }
  close_with(']');
  it.places().clear();
  name("places");
  open_with('[');
  for (int16_t key = 7, end = (int16_t) (7 + below(3)); key < end; key++) {
    open_with('{');
    put_integer("key", key);
    it.places()[key] = point("value");
    close_with('}');
  }
  close_with(']');
  it.last((uint8_t) any_integer("last", 0, UINT8_MAX));
}

struct Source {
  virtual ~Source() = default;
  virtual void publish(int64_t number) = 0;
  fast::DataWriter *writer = nullptr;
};

template <class Type, class Support>
struct SourceOf : Source {
  std::string topic;
  fast::TypeSupport support{new Support()};
  bool is_keyed;

  SourceOf(fast::DomainParticipant *participant, const char *topic_name, bool keyed) : topic(topic_name), is_keyed(keyed) {
    bool is_typed = strcmp(asked.more, "typed") == 0;
    support->auto_fill_type_information(is_typed);
    support->auto_fill_type_object(is_typed);
    support.register_type(participant);
    fast::Topic *made = participant->create_topic(topic, support.get_type_name(), fast::TOPIC_QOS_DEFAULT);
    fast::DataWriterQos qos;
    qos.reliability().kind = fast::RELIABLE_RELIABILITY_QOS;
    qos.history().kind = fast::KEEP_ALL_HISTORY_QOS;
    /* Samples may be larger than what the generated code takes for the largest. */
    qos.endpoint().history_memory_policy = eprosima::fastrtps::rtps::PREALLOCATED_WITH_REALLOC_MEMORY_MODE;
    writer = made ? participant->create_publisher(fast::PUBLISHER_QOS_DEFAULT)->create_datawriter(made, qos) : nullptr;
    if (!writer) stop("%s has no writer", topic_name);
  }

  void publish(int64_t number) override {
    Type sample;
    begin_line(topic.c_str(), -1);
    fill(sample, number);
    end_line();
    if (!writer->write(&sample)) stop("%s: not written", topic.c_str());
    /* Nothing is unregistered: this release then loops for ever where the acknowledgement comes in. */
    if (is_keyed && number % 5 == 0) writer->dispose(&sample, fast::HANDLE_NIL);
  }
};

static bool has_reader(fast::DataWriter *writer) {
  fast::PublicationMatchedStatus status;
  writer->get_publication_matched_status(status);
  return status.current_count > 0;
}

int main(int count, char **words) {
  begin(count, words);
  if (strcmp(asked.more, "typed") == 0) registerdialectsTypes();
  fast::DomainParticipantQos qos;
  /* No shared memory: it would outlive a process that is killed. */
  qos.transport().use_builtin_transports = false;
  qos.transport().user_transports.push_back(std::make_shared<eprosima::fastdds::rtps::UDPv4TransportDescriptor>());
  auto *participant = fast::DomainParticipantFactory::get_instance()->create_participant(asked.domain, qos);
  if (!participant) stop("no participant");
  std::vector<std::unique_ptr<Source>> sources;
  sources.push_back(std::make_unique<SourceOf<Plain, PlainPubSubType>>(participant, "Dialects/fast/Plain", false));
  sources.push_back(std::make_unique<SourceOf<Growing, GrowingPubSubType>>(participant, "Dialects/fast/Growing", false));
  sources.push_back(std::make_unique<SourceOf<Keyed, KeyedPubSubType>>(participant, "Dialects/fast/Keyed", true));
  sources.push_back(std::make_unique<SourceOf<Mapped, MappedPubSubType>>(participant, "Dialects/fast/Mapped", false));
  int tries = 0;
  for (auto &source : sources) {
    while (!has_reader(source->writer)) {
      if (++tries > 600) stop("a writer has no reader");
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }
  puts("writers have readers");
  fflush(stdout);
  long written = 0;
  for (long turn = 0; turn < asked.samples; turn++) {
    for (auto &source : sources) {
      source->publish(asked.first + turn);
      pace(++written);
    }
  }
  for (auto &source : sources) source->writer->wait_for_acknowledgments({20, 0});
  printf("done, published %ld\n", written);
  std::this_thread::sleep_for(std::chrono::seconds(1));
  participant->delete_contained_entities();
  fast::DomainParticipantFactory::get_instance()->delete_participant(participant);
  return 0;
}
