"""Compares the windows of a tier with statistics of what was published, by exact arithmetic.

It shares no code with the daemons. The oracle was written by the publisher before it encoded anything; of it counts what
DuckDB finds in the lake, as the rest is lost by name, which `values.py` checks.

usage: tiers.py ORACLE LAKE WINDOWS SECONDS raw|merged

WINDOWS: what `efd-inspect tiers --cat` printed, of windows of so many seconds. `merged`: of finer windows, without
quartiles. Prints one JSON object: windows, values (compared statistics), absent (expected, and not there), wrong (the
first ten), faults (how many).
"""

import json
import math
import os
import pathlib
import statistics
import struct
import sys
from collections import defaultdict
from fractions import Fraction

from values import TAI_MINUS_UTC, key_of, lane_of, oracle

NANOS = 10**9
LEAP = int(os.environ["EFD_LEAP"]) if "EFD_LEAP" in os.environ else None


def event_time(fields):
    """UTC, ns since 1970, of SAL's TAI seconds. `EFD_LEAP`: when a second is inserted, and the offset is one more after it."""
    stamp, offset = Fraction(fields["private_sndStamp"]), Fraction(TAI_MINUS_UTC)
    if LEAP is not None and math.floor(stamp) >= LEAP + TAI_MINUS_UTC + 1:
        offset += 1
    return math.floor((stamp - offset) * NANOS + Fraction(1, 2))


def measured(topic, fields):
    """Numbers and booleans as lists of floats; an element of an array is a channel."""
    own_id = topic.split(".")[-2] + "ID"
    for name, value in fields.items():
        if name.startswith("private_") or name in ("salIndex", own_id):
            continue
        elements = value if isinstance(value, list) else [value]
        if all(isinstance(element, (bool, int, float)) for element in elements):
            yield name, [float(element) for element in elements], isinstance(value, list)


def bits(value):
    return struct.pack("<d", value)


def root(square):
    scale = 4 ** max(0, 120 - (square.numerator.bit_length() - square.denominator.bit_length()) // 2)
    return float(Fraction(math.isqrt(int(square * scale)), math.isqrt(scale)))


class Comparison:
    def __init__(self, merged):
        self.merged, self.windows, self.values, self.absent, self.wrong = merged, 0, 0, 0, []

    def check(self, place, name, is_right, found, expected):
        self.values += 1
        if not is_right:
            self.wrong.append([*place, name, found, expected])

    def channel(self, place, column, found):
        values = [value for value in column if not math.isnan(value)]
        number = {name: None if value is None else float(value) for name, value in found.items()}
        for name, expected in dict(count=len(values), nan_count=len(column) - len(values)).items():
            self.check(place, name, found[name] == expected, found[name], expected)
        if not values:
            self.check(place, "empty", all(found[name] is None for name in found if "count" not in name), found, None)
            return
        for name, expected in dict(min=min(values), max=max(values)).items():
            self.check(place, name, number[name] == expected, number[name], expected)
        for name, expected in dict(first=values[0], last=values[-1]).items():
            self.check(place, name, number[name] is not None and bits(number[name]) == bits(expected), number[name], expected)
        self.quartiles(place, values, number)
        self.moments(place, values, number)

    def quartiles(self, place, values, number):
        if self.merged:
            kept = [name for name in ("q1", "median", "q3") if number[name] is not None]
            self.check(place, "quartiles", not kept, kept, [])
        elif all(map(math.isfinite, values)):
            exact = sorted(map(Fraction, values))
            middle = (exact[(len(exact) - 1) // 2] + exact[len(exact) // 2]) / 2
            self.check(place, "median", number["median"] == float(middle), number["median"], float(middle))
            pair = statistics.quantiles(exact, n=4, method="inclusive") if len(exact) > 1 else exact * 3
            for name, expected in dict(q1=float(pair[0]), q3=float(pair[2])).items():
                self.check(place, name, math.isclose(number[name], expected, rel_tol=1e-12), number[name], expected)

    def moments(self, place, values, number):
        if not all(map(math.isfinite, values)):
            self.check(place, "stdev", number["stdev"] is None, number["stdev"], None)
            return
        exact = [Fraction(value) for value in values]
        mean = sum(exact) / len(exact)
        largest = max(map(abs, values))
        if self.merged and largest > 1e300:
            return
        # A mean of values that cancel out is as exact as they are.
        close = number["mean"] is not None and abs(number["mean"] - float(mean)) <= 1e-12 * max(abs(float(mean)), largest * 1e-3)
        self.check(place, "mean", close, number["mean"], float(mean))
        if len(exact) < 2:
            self.check(place, "stdev", number["stdev"] is None, number["stdev"], None)
            return
        square = sum((value - mean) ** 2 for value in exact) / (len(exact) - 1)
        try:
            expected = root(square)
        except OverflowError:
            expected = math.inf
        if math.isinf(expected):
            self.check(place, "stdev", number["stdev"] is None, number["stdev"], None)
            return
        # A deviation far below the last digit of the values is noise of theirs.
        tolerance = max(1e-12 * expected, 4e-16 * largest)
        close = number["stdev"] is not None and abs(number["stdev"] - expected) <= tolerance
        self.check(place, "stdev", close, number["stdev"], expected)


def stored(lake, topic):
    import duckdb

    files = f"efd_site=*/efd_topic={topic}/*/*.parquet"
    if not list(pathlib.Path(lake).glob(files)):
        return set()
    cursor = duckdb.execute(f"SELECT * EXCLUDE (time) FROM read_parquet('{lake}/{files}', union_by_name=true)")
    names = [column[0] for column in cursor.description]
    return {key_of(dict(zip(names, row))) for row in cursor.fetchall()}


def main(folder, lake, windows, seconds, kind):
    found = {}
    twice = []
    with open(windows) as lines:
        for line in map(json.loads, lines):
            place = (line["topic"], line["instance"], line["time"])
            if place in found:
                twice.append([*place, "twice", None, None])
            found[place] = line
    comparison = Comparison(kind == "merged")
    comparison.wrong += twice
    width = int(float(seconds) * NANOS)
    for topic, records in oracle(folder):
        if lane_of(topic) != "telemetry":
            continue
        there = stored(lake, topic)
        expected = defaultdict(list)
        for fields in records:
            if key_of(fields) in there and next(measured(topic, fields), None):
                time = event_time(fields)
                expected[key_of(fields)[0], time - time % width].append((time, fields))
        for (instance, start), samples in expected.items():
            place = (topic, instance, text(start))
            comparison.windows += 1
            line = found.pop(place, None)
            if line is None:
                comparison.absent += 1
                continue
            window(comparison, place, line, [fields for _, fields in sorted(samples, key=lambda sample: sample[0])])
    comparison.wrong += [[*place, "never published", None, None] for place in found]
    print(json.dumps(dict(windows=comparison.windows, values=comparison.values, absent=comparison.absent,
                          faults=len(comparison.wrong), wrong=[list(map(str, what)) for what in comparison.wrong[:10]])))


def window(comparison, place, line, records):
    comparison.check(place, "samples", line["samples"] == len(records), line["samples"], len(records))
    columns = [{name: (values, is_array) for name, values, is_array in measured(place[0], fields)} for fields in records]
    comparison.check(place, "fields", set(line["fields"]) == set(columns[0]), sorted(line["fields"]), sorted(columns[0]))
    for name, (values, is_array) in columns[0].items():
        if name not in line["fields"]:
            continue
        channels = line["fields"][name] if is_array else [line["fields"][name]]
        comparison.check(place, name, len(channels) == len(values), len(channels), len(values))
        for index, channel in enumerate(channels):
            comparison.channel((*place, name, index), [row[name][0][index] for row in columns], channel)


def text(nanos):
    """RFC 3339 with nine digits."""
    from datetime import datetime, timedelta, timezone

    moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=nanos // NANOS)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanos % NANOS:09d}Z"


if __name__ == "__main__":
    main(*sys.argv[1:])
