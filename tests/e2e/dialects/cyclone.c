/* Publishes on Cyclone DDS in C with code that its idlc made, which announces types.
 *
 * usage: see begin() in oracle.h */

#include "dds/dds.h"
#include "dialects.h"
#include "masks.h"
#include "oracle.h"
#include "xtypes.h"

/* What a sample points to lives until the next one. */
static char arena[1 << 20];
static size_t used;

static void *take(size_t size) {
  void *taken = arena + used;
  used += (size + 15) & ~(size_t) 15;
  if (used > sizeof arena) stop("a sample is larger than its arena");
  return memset(taken, 0, size ? size : 1);
}

static char *copied(const char *text) {
  return strcpy((char *) take(strlen(text) + 1), text);
}

/* Begins a sequence: its buffer, and the list in the oracle. */
#define SEQUENCE(it, bound)                                                   \
  ((it)._length = (it)._maximum = any_count(bound), (it)._release = false,   \
   (it)._buffer = take((it)._length * sizeof *(it)._buffer))
#define EACH(member, it, bound, make)                                          \
  do {                                                                         \
    SEQUENCE(it, bound);                                                       \
    name(member);                                                              \
    open_with('[');                                                            \
    for (unsigned at = 0; at < (it)._length; at++) (it)._buffer[at] = make;    \
    close_with(']');                                                           \
  } while (0)
#define MAYBE(member, pointer, make)                                           \
  do {                                                                         \
    (pointer) = NULL;                                                          \
    if (below(5) < 2) {                                                        \
      put_null(member);                                                        \
      break;                                                                   \
    }                                                                          \
    (pointer) = take(sizeof *(pointer));                                       \
    *(pointer) = make;                                                         \
  } while (0)

static Dialects_Mode mode(const char *member) {
  static const char *const names[] = {"OFF", "IDLE", "MOVING"};
  unsigned chosen = below(3);
  put_text(member, names[chosen]);
  return (Dialects_Mode) chosen;
}

static Dialects_Point point(const char *member) {
  if (member) name(member);
  open_with('{');
  Dialects_Point made = {.x = any_double("x")};
  made.y = any_float("y");
  close_with('}');
  return made;
}

static Dialects_Note note(const char *member) {
  if (member) name(member);
  open_with('{');
  Dialects_Note made = {.text = copied(any_text("text", 1000))};
  made.level = (uint8_t) any_integer("level", 0, UINT8_MAX);
  made.weight = any_double("weight");
  close_with('}');
  return made;
}

static Dialects_Reading reading(const char *member) {
  static const int32_t labels[] = {1, 2, -3, 4, 0, INT32_MIN};
  Dialects_Reading made = {._d = labels[below(6)]};
  if (member) name(member);
  open_with('{');
  put_integer("discriminator", made._d);
  bool is_words = made._d == 2 || made._d == -3, is_code = made._d == 0 || made._d == INT32_MIN;
  if (made._d == 1) made._u.measure = any_double("measure");
  else put_null("measure");
  if (is_words) made._u.words = copied(any_text("words", 1000));
  else put_null("words");
  if (made._d == 4) made._u.place = point("place");
  else put_null("place");
  if (is_code) made._u.code = (int32_t) any_integer("code", INT32_MIN, INT32_MAX);
  else put_null("code");
  close_with('}');
  return made;
}

static Dialects_Row row(void) {
  Dialects_Row made;
  SEQUENCE(made, 5);
  open_with('[');
  for (unsigned at = 0; at < made._length; at++) made._buffer[at] = (int32_t) any_integer(NULL, INT32_MIN, INT32_MAX);
  close_with(']');
  return made;
}

/* Plain and Growing have the same members. */
#define FILL(it)                                                                                        \
  do {                                                                                                  \
    (it)->number = put_integer("number", number);                                                       \
    (it)->flag = any_bool("flag");                                                                      \
    (it)->raw = (uint8_t) any_integer("raw", 0, UINT8_MAX);                                             \
    (it)->letter = any_char("letter");                                                                  \
    (it)->small = (int16_t) any_integer("small", INT16_MIN, INT16_MAX);                                 \
    (it)->usmall = (uint16_t) any_integer("usmall", 0, UINT16_MAX);                                     \
    (it)->medium = (int32_t) any_integer("medium", INT32_MIN, INT32_MAX);                               \
    (it)->umedium = (uint32_t) any_integer("umedium", 0, UINT32_MAX);                                   \
    (it)->large = any_integer("large", INT64_MIN, INT64_MAX);                                           \
    (it)->ularge = (uint64_t) any_integer("ularge", 0, INT64_MAX);                                      \
    (it)->single = any_float("single");                                                                 \
    (it)->real = any_double("real");                                                                    \
    (it)->text = copied(any_text("text", 1000));                                                        \
    strcpy((it)->code, any_text("code", 16));                                                           \
    (it)->mode = mode("mode");                                                                          \
    (it)->point = point("point");                                                                       \
    (it)->note = note("note");                                                                          \
    (it)->reading = reading("reading");                                                                 \
    any_bytes("digest", (it)->digest, 5);                                                               \
    name("matrix");                                                                                     \
    open_with('[');                                                                                     \
    for (int line = 0; line < 2; line++) {                                                              \
      open_with('[');                                                                                   \
      for (int column = 0; column < 3; column++) (it)->matrix[line][column] = any_double(NULL);         \
      close_with(']');                                                                                  \
    }                                                                                                   \
    close_with(']');                                                                                    \
    name("corners");                                                                                    \
    open_with('[');                                                                                     \
    for (int corner = 0; corner < 2; corner++) (it)->corners[corner] = point(NULL);                     \
    close_with(']');                                                                                    \
    SEQUENCE((it)->blob, 1000);                                                                         \
    any_bytes("blob", (it)->blob._buffer, (it)->blob._length);                                          \
    EACH("reals", (it)->reals, 1000, any_double(NULL));                                                 \
    EACH("shorts", (it)->shorts, 6, (int16_t) any_integer(NULL, INT16_MIN, INT16_MAX));                 \
    EACH("labels", (it)->labels, 1000, copied(any_text(NULL, 1000)));                                   \
    EACH("path", (it)->path, 1000, point(NULL));                                                        \
    EACH("notes", (it)->notes, 4, note(NULL));                                                          \
    EACH("modes", (it)->modes, 1000, mode(NULL));                                                       \
    EACH("rows", (it)->rows, 1000, row());                                                              \
    EACH("readings", (it)->readings, 1000, reading(NULL));                                              \
    (it)->last = (uint8_t) any_integer("last", 0, UINT8_MAX);                                           \
  } while (0)

static void plain(void *sample, int64_t number) {
  Dialects_Plain *it = sample;
  FILL(it);
}

static void growing(void *sample, int64_t number) {
  Dialects_Growing *it = sample;
  FILL(it);
}

static void keyed(void *sample, int64_t number) {
  static const char *const axes[] = {"", "\xce\xb1", "xxxxxxxxxxxx"};
  Dialects_Keyed *it = sample;
  it->number = put_integer("number", number);
  it->unit = (int32_t) put_integer("unit", number % 3 - 1);
  strcpy(it->axis, put_text("axis", axes[number % 3]));
  it->time = any_double("time");
  it->efd_edge = copied(any_text("efd_edge", 1000));
}

static void masked(void *sample, int64_t number) {
  static const uint16_t bits[] = {0, 1, 8, 0x8000, 0x8009};
  Dialects_Masked *it = sample;
  it->number = put_integer("number", number);
  it->raw = (uint8_t) any_integer("raw", 0, UINT8_MAX);
  it->flags = (uint16_t) put_integer("flags", bits[below(5)]);
  it->last = (uint8_t) any_integer("last", 0, UINT8_MAX);
}

static Dialects_Inner inner(const char *member) {
  if (member) name(member);
  open_with('{');
  Dialects_Inner made = {.value = any_double("value")};
  made.name = copied(any_text("name", 1000));
  MAYBE("rank", made.rank, (int16_t) any_integer("rank", INT16_MIN, INT16_MAX));
  close_with('}');
  return made;
}

static void loose(void *sample, int64_t number) {
  Dialects_Loose *it = sample;
  it->number = put_integer("number", number);
  it->raw = (uint8_t) any_integer("raw", 0, UINT8_MAX);
  it->real = any_double("real");
  MAYBE("maybe", it->maybe, any_double("maybe"));
  it->text = copied(any_text("text", 1000));
  it->mode = mode("mode");
  it->inner = inner("inner");
  MAYBE("spare", it->spare, inner("spare"));
  EACH("inners", it->inners, 1000, inner(NULL));
  SEQUENCE(it->blob, 1000);
  any_bytes("blob", it->blob._buffer, it->blob._length);
  EACH("reals", it->reals, 1000, any_double(NULL));
  EACH("labels", it->labels, 1000, copied(any_text(NULL, 1000)));
  name("corners");
  open_with('[');
  for (int corner = 0; corner < 2; corner++) it->corners[corner] = point(NULL);
  close_with(']');
  it->note = note("note");
  it->usmall = (uint16_t) any_integer("usmall", 0, UINT16_MAX);
}

static dds_sequence_double reals(void) {
  dds_sequence_double made;
  EACH("reals", made, 1000, any_double(NULL));
  return made;
}

static dds_sequence_string labels(void) {
  dds_sequence_string made;
  EACH("labels", made, 1000, copied(any_text(NULL, 1000)));
  return made;
}

static void sparse(void *sample, int64_t number) {
  Dialects_Sparse *it = sample;
  it->number = put_integer("number", number);
  MAYBE("flag", it->flag, any_bool("flag"));
  MAYBE("raw", it->raw, (uint8_t) any_integer("raw", 0, UINT8_MAX));
  MAYBE("small", it->small, (int16_t) any_integer("small", INT16_MIN, INT16_MAX));
  MAYBE("large", it->large, any_integer("large", INT64_MIN, INT64_MAX));
  MAYBE("real", it->real, any_double("real"));
  it->text = NULL;
  if (below(2)) it->text = copied(any_text("text", 1000));
  else put_null("text");
  MAYBE("mode", it->mode, mode("mode"));
  MAYBE("point", it->point, point("point"));
  MAYBE("note", it->note, note("note"));
  it->between = (uint8_t) any_integer("between", 0, UINT8_MAX);
  MAYBE("reals", it->reals, reals());
  MAYBE("labels", it->labels, labels());
  it->last = any_double("last");
}

static Dialects_Choice choice(const char *member) {
  name(member);
  open_with('{');
  Dialects_Choice made = {._d = mode("discriminator")};
  if (made._d == Dialects_OFF) made._u.why = any_bool("why");
  else put_null("why");
  if (made._d == Dialects_MOVING) made._u.how = note("how");
  else put_null("how");
  close_with('}');
  return made;
}

static Dialects_Either either(const char *member) {
  if (member) name(member);
  open_with('{');
  Dialects_Either made = {._d = any_bool("discriminator")};
  if (made._d) EACH("words", made._u.words, 1000, copied(any_text(NULL, 1000)));
  else put_null("words");
  close_with('}');
  return made;
}

static void chooser(void *sample, int64_t number) {
  Dialects_Chooser *it = sample;
  it->number = put_integer("number", number);
  it->choice = choice("choice");
  it->either = either("either");
  EACH("both", it->both, 3, either(NULL));
  it->last = (uint8_t) any_integer("last", 0, UINT8_MAX);
}

static void slots(void *sample, int64_t number) {
  Dialects_Slots *it = sample;
  it->number = put_integer("number", number);
  it->slot = (int32_t) put_integer("slot", number % 4);
  it->level = any_double("level");
}

static struct source {
  const char *topic;
  const dds_topic_descriptor_t *type;
  void (*fill)(void *, int64_t);
  int version;
  bool is_keyed;
  dds_entity_t writer;
} sources[] = {
    /* This release has a writer of XCDR1 only for what has nothing appendable, mutable or optional in it. */
    {"Dialects/c/Plain_2", &Dialects_Plain_desc, plain, 2, false, 0},
    {"Dialects/c/Growing_2", &Dialects_Growing_desc, growing, 2, false, 0},
    {"Dialects/c/Keyed_1", &Dialects_Keyed_desc, keyed, 1, true, 0},
    {"Dialects/c/Keyed_2", &Dialects_Keyed_desc, keyed, 2, true, 0},
    {"Dialects/c/Masked_1", &Dialects_Masked_desc, masked, 1, false, 0},
    {"Dialects/c/Masked_2", &Dialects_Masked_desc, masked, 2, false, 0},
    {"Dialects/c/Loose_2", &Dialects_Loose_desc, loose, 2, false, 0},
    {"Dialects/c/Sparse_2", &Dialects_Sparse_desc, sparse, 2, false, 0},
    {"Dialects/c/Chooser_2", &Dialects_Chooser_desc, chooser, 2, false, 0},
    {"Dialects/c/Slots_2", &Dialects_Slots_desc, slots, 2, true, 0},
};
enum { SOURCES = sizeof sources / sizeof *sources };

static int32_t sound(int32_t code, const char *what) {
  if (code < 0) stop("%s: %s", what, dds_strretcode(-code));
  return code;
}

static void make_writer(dds_entity_t participant, struct source *source) {
  dds_data_representation_id_t form = source->version == 1 ? DDS_DATA_REPRESENTATION_XCDR1 : DDS_DATA_REPRESENTATION_XCDR2;
  dds_qos_t *qos = dds_create_qos();
  dds_qset_reliability(qos, DDS_RELIABILITY_RELIABLE, DDS_SECS(10));
  dds_qset_history(qos, DDS_HISTORY_KEEP_ALL, 0);
  dds_qset_data_representation(qos, 1, &form);
  dds_entity_t topic = sound(dds_create_topic(participant, source->type, source->topic, NULL, NULL), source->topic);
  source->writer = sound(dds_create_writer(participant, topic, qos, NULL), source->topic);
  dds_delete_qos(qos);
}

static void publish(struct source *source, int64_t number) {
  static char sample[4096];
  memset(sample, 0, sizeof sample);
  used = 0;
  dds_time_t now = now_ns();
  begin_line(source->topic, now);
  source->fill(sample, number);
  end_line();
  sound(dds_write_ts(source->writer, sample, now), source->topic);
  if (source->is_keyed && number % 5 == 0) sound(dds_dispose(source->writer, sample), "dispose");
  if (source->is_keyed && number % 7 == 0) sound(dds_unregister_instance(source->writer, sample), "unregister");
}

int main(int count, char **words) {
  begin(count, words);
  dds_entity_t participant = sound(dds_create_participant(asked.domain, NULL, NULL), "participant");
  for (int at = 0; at < SOURCES; at++) {
    if (sources[at].type->m_size > 4096) stop("%s: larger than the buffer", sources[at].topic);
    make_writer(participant, &sources[at]);
  }
  for (int at = 0, tries = 0; at < SOURCES; at++) {
    dds_publication_matched_status_t matched;
    while (sound(dds_get_publication_matched_status(sources[at].writer, &matched), "status"), matched.current_count == 0) {
      if (++tries > 600) stop("%s has no reader", sources[at].topic);
      dds_sleepfor(DDS_MSECS(100));
    }
  }
  puts("writers have readers");
  fflush(stdout);
  long written = 0;
  for (long turn = 0; turn < asked.samples; turn++) {
    for (int at = 0; at < SOURCES; at++) {
      publish(&sources[at], asked.first + turn);
      pace(++written);
    }
  }
  for (int at = 0; at < SOURCES; at++) sound(dds_wait_for_acks(sources[at].writer, DDS_SECS(20)), "acknowledgements");
  printf("done, published %ld\n", written);
  dds_sleepfor(DDS_SECS(1));
  sound(dds_delete(participant), "end");
  return 0;
}
