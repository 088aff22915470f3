/* For the publishers in C and C++: their command line, values that are easy to get wrong, and the lines of the oracle,
 * which shape.py describes. A value is made and written down at once. */
#ifndef ORACLE_H
#define ORACLE_H

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct {
  unsigned domain;
  long samples;
  double rate;
  const char *path;
  int64_t first;
  /* Text and characters of ISO-8859-1, which are no UTF-8. */
  bool latin1;
  /* Whatever else was said. */
  const char *more;
} asked = {0, 100, 500, NULL, 1, false, ""};

static void stop(const char *format, ...) {
  va_list words;
  va_start(words, format);
  vfprintf(stderr, format, words);
  va_end(words);
  fputc('\n', stderr);
  exit(1);
}

static FILE *oracle;
static uint64_t state;

static void begin(int count, char **words) {
  for (int at = 1; at < count; at++) {
    const char *word = words[at];
    const char *next = at + 1 < count ? words[at + 1] : "";
    if (strcmp(word, "--latin1") == 0) {
      asked.latin1 = true;
      continue;
    }
    at++;
    if (strcmp(word, "--domain") == 0) asked.domain = (unsigned) atoi(next);
    else if (strcmp(word, "--samples") == 0) asked.samples = atol(next);
    else if (strcmp(word, "--rate") == 0) asked.rate = atof(next);
    else if (strcmp(word, "--oracle") == 0) asked.path = next;
    else if (strcmp(word, "--first") == 0) asked.first = atoll(next);
    else if (strcmp(word, "--more") == 0) asked.more = next;
    else stop("unknown option %s", word);
  }
  if (asked.path == NULL || !(oracle = fopen(asked.path, "a"))) stop("usage: --oracle FILE [--domain N] [--samples N] [--rate N] [--first N] [--latin1]");
  state = 0x9e3779b97f4a7c15u + (uint64_t) asked.first;
}

static uint64_t any(void) {
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return state * 0x2545f4914f6cdd1du;
}

static unsigned below(unsigned count) {
  return (unsigned) ((any() >> 33) % count);
}

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (int64_t) now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Until it is the turn of the sample after so many. */
static void pace(long written) {
  static int64_t begun;
  if (begun == 0) begun = now_ns();
  int64_t wait = begun + (int64_t) (1e9 * (double) written / asked.rate) - now_ns();
  if (wait > 0) {
    struct timespec span = {wait / 1000000000, wait % 1000000000};
    nanosleep(&span, NULL);
  }
}

/* JSON: a comma comes before what is not the first. */
static bool comma;

static void put(const char *format, ...) {
  if (comma) fputc(',', oracle);
  va_list words;
  va_start(words, format);
  vfprintf(oracle, format, words);
  va_end(words);
  comma = true;
}

static void open_with(char bracket) {
  put("%c", bracket);
  comma = false;
}

static void close_with(char bracket) {
  fputc(bracket, oracle);
  comma = true;
}

static void name(const char *member) {
  put("\"%s\":", member);
  comma = false;
}

static void put_null(const char *member) {
  name(member);
  put("null");
}

/* Source time: nanoseconds; 0 for none; -1 for one that the vendor's library takes. */
static void begin_line(const char *topic, int64_t source_time) {
  comma = false;
  open_with('{');
  name("topic");
  put("\"%s\"", topic);
  name("source_time");
  if (source_time > 0) put("%" PRId64, source_time);
  else put(source_time < 0 ? "true" : "null");
  name("record");
  open_with('{');
}

static void end_line(void) {
  fputs("}}\n", oracle);
  fflush(oracle);
}

static int64_t put_integer(const char *member, int64_t value) {
  if (member) name(member);
  put("%" PRId64, value);
  return value;
}

static int64_t any_integer(const char *member, int64_t low, int64_t high) {
  uint64_t span = (uint64_t) high - (uint64_t) low;
  uint64_t offset = span == UINT64_MAX ? any() : any() % (span + 1);
  int64_t choices[] = {low <= 0 ? 0 : low, low, high, (int64_t) ((uint64_t) low + offset)};
  return put_integer(member, choices[below(4)]);
}

static bool any_bool(const char *member) {
  bool value = below(2);
  if (member) name(member);
  put(value ? "true" : "false");
  return value;
}

static double put_double(const char *member, double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  if (member) name(member);
  put("{\"$double\":\"%016" PRIx64 "\"}", bits);
  return value;
}

static double any_double(const char *member) {
  double span = (double) (int64_t) any() * 0x1p-40;
  double choices[] = {NAN, INFINITY, -INFINITY, 0.0, -0.0, 0x1p-1074, -0x1.fffffffffffffp-1023, 0x1.fffffffffffffp1023, 0.1, span};
  return put_double(member, choices[below(10)]);
}

static float any_float(const char *member) {
  float span = (float) ((double) (int64_t) any() * 0x1p-40);
  float choices[] = {NAN, INFINITY, -INFINITY, 0.0f, -0.0f, 0x1p-149f, 0x1.fffffep127f, 0.1f, span};
  float value = choices[below(9)];
  put_double(member, (double) value);
  return value;
}

static const char *put_text(const char *member, const char *value) {
  if (member) name(member);
  put("\"");
  for (const char *at = value; *at; at++) {
    unsigned char byte = (unsigned char) *at;
    if (byte == '"' || byte == '\\') fprintf(oracle, "\\%c", byte);
    else if (byte < 0x20) fprintf(oracle, "\\u%04x", byte);
    else fputc(byte, oracle);
  }
  fputc('"', oracle);
  return value;
}

static const char *any_text(const char *member, size_t bytes_max) {
  static const char *const texts[] = {"", "ok", "na\xc3\xafve caf\xc3\xa9", "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e \xe2\x9c\x93",
                                      "tab\tand \"quote\"\\", "\x01\x7f",
                                      "0123456789012345678901234567890123456789012345678901234567890123456789"};
  if (asked.latin1 && below(5) == 0) {
    put_text(member, "caf\xc3\xa9 \xc2\xb5");
    return "caf\xe9 \xb5";
  }
  const char *text;
  do text = texts[below(7)];
  while (strlen(text) > bytes_max);
  return put_text(member, text);
}

static char any_char(const char *member) {
  static const char plain[] = {1, ' ', 'A', '~', 127};
  if (asked.latin1 && below(2)) {
    put_text(member, "\xc3\xbf");
    return '\xff';
  }
  char value[] = {plain[below(5)], 0};
  put_text(member, value);
  return value[0];
}

/* How many a sequence has, up to the bound. */
static unsigned any_count(unsigned bound) {
  static const unsigned counts[] = {0, 1, 2, 5};
  unsigned count = counts[below(4)];
  return count < bound ? count : bound;
}

static void any_bytes(const char *member, uint8_t *bytes, unsigned count) {
  name(member);
  put("{\"$bytes\":\"");
  for (unsigned at = 0; at < count; at++) {
    bytes[at] = (uint8_t) any();
    fprintf(oracle, "%02x", bytes[at]);
  }
  fputs("\"}", oracle);
}

#endif
