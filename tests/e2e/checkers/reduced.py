"""Compares what stands in the place of evicted telemetry with what was published and is not in the lake.

usage: reduced.py ORACLE LAKE

Prints one JSON object: rows (of statistics), samples (that they stand for), lost (telemetry published and not stored),
values (compared), wrong (the first ten), faults (how many).
"""

import json
import math
import sys
from collections import defaultdict

import duckdb

from tiers import event_time, measured, stored
from values import key_of, lane_of, oracle

NANOS = 10**9


def substitutes(lake):
    files = f"{lake}/efd_site=*/efd_topic=efd.reduced/*/*.parquet"
    cursor = duckdb.execute(f"SELECT epoch_ns(time) AS start, * EXCLUDE (time) FROM read_parquet('{files}', union_by_name=true)")
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row)) for row in cursor.fetchall()]


class Total:
    def __init__(self):
        self.count, self.sum, self.min, self.max = 0, 0.0, math.inf, -math.inf

    def add(self, count, total, least, most):
        self.count += count
        self.sum += total
        self.min, self.max = min(self.min, least), max(self.max, most)


def of_rows(rows):
    """By topic, instance and channel; and samples by topic, instance and window."""
    totals, samples = defaultdict(Total), defaultdict(int)
    for row in rows:
        series = (row["topic"], row["sal_index"])
        samples[*series, row["start"], row["resolution"]] += row["samples"]
        for at, channel in enumerate(row["channels"]):
            count = row["counts"][at]
            if count:
                totals[*series, channel].add(count, row["mean"][at] * count, row["min"][at], row["max"][at])
    return totals, samples


def of_lost(folder, lake):
    totals, times = defaultdict(Total), defaultdict(list)
    for topic, records in oracle(folder):
        if lane_of(topic) != "telemetry":
            continue
        there = stored(lake, topic)
        for fields in records:
            if key_of(fields) in there:
                continue
            instance = key_of(fields)[0]
            series = (topic, -1 if instance is None else instance)
            times[series].append(event_time(fields))
            for name, elements, is_array in measured(topic, fields):
                for at, value in enumerate(elements):
                    if not math.isnan(value):
                        totals[*series, f"{name}[{at}]" if is_array else name].add(1, value, value, value)
    return totals, times


def losses(lake):
    """Evictions of telemetry, and how many of them say where their substitute is."""
    files = f"{lake}/efd_site=*/efd_topic=efd.losses/*/*.parquet"
    query = f"""SELECT count(*), count(*) FILTER (detail LIKE '%windows of statistics of%') FROM read_parquet('{files}', union_by_name=true)
        WHERE reason = 'evicted' AND lane = 'telemetry'"""
    return duckdb.execute(query).fetchone()


def main(folder, lake):
    evictions, pointing = losses(lake)
    rows = substitutes(lake)
    found, samples = of_rows(rows)
    expected, times = of_lost(folder, lake)
    wrong, values = [], 0

    def check(place, name, is_right, there, should):
        nonlocal values
        values += 1
        if not is_right:
            wrong.append([*place, name, there, should])

    check((), "channels", found.keys() == expected.keys(), len(found), len(expected))
    for place in found.keys() & expected.keys():
        there, should = found[place], expected[place]
        check(place, "count", there.count == should.count, there.count, should.count)
        check(place, "min", there.min == should.min, there.min, should.min)
        check(place, "max", there.max == should.max, there.max, should.max)
        scale = max(abs(should.min), abs(should.max)) * should.count
        check(place, "sum", abs(there.sum - should.sum) <= 1e-9 * scale, there.sum, should.sum)
    for (topic, index, start, width), count in samples.items():
        within = sum(start <= time < start + width for time in times[topic, index])
        check((topic, index, start), "samples", count <= within, count, within)
    lost = sum(map(len, times.values()))
    print(
        json.dumps(
            dict(evictions=evictions, pointing=pointing, rows=len(rows), samples=sum(samples.values()), lost=lost, values=values, wrong=wrong[:10], faults=len(wrong)),
            default=str,
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
