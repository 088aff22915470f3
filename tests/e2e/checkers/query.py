"""Compares what an edge's `/api/v1` answers with what was published, and each answer with the API's description.

It shares no code with the daemons. The publisher has ended, and everything that it published was recorded.

usage: query.py ORACLE URL TIERS...

TIERS: tiers of the edge by name, finest first. Prints one JSON object: topics, values (compared), answers (held against the
description), wrong (the first ten), faults (how many).
"""

import csv
import io
import json
import math
import statistics
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections import defaultdict
from fractions import Fraction

import jsonschema
import openapi_spec_validator
import pyarrow.ipc

from tiers import event_time, measured
from values import bits, key_of, lane_of, oracle

NANOS = 10**9


class Api:
    def __init__(self, url):
        self.url, self.answers, self.wrong, self.values = url, 0, [], 0
        self.document = json.loads(self.get("/api/v1/openapi.json")[2])
        openapi_spec_validator.validate(self.document)

    def get(self, path, parameters=(), headers={}):
        query = "?" + urllib.parse.urlencode(parameters) if parameters else ""
        request = urllib.request.Request(self.url + path + query, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.headers.get_content_type(), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers.get_content_type(), error.read()

    def check(self, place, is_right, found=None, expected=None):
        self.values += 1
        if not is_right:
            self.wrong.append([*map(str, place), str(found)[:300], str(expected)[:300]])

    def ask(self, template, parameters=(), status=200, headers={}, **inside):
        """An answer, which must be as the description of `template` has it."""
        path = template.format(**{name: urllib.parse.quote(value, safe="") for name, value in inside.items()})
        found, kind, body = self.get(path, parameters, headers)
        operation = self.document["paths"][template]["get"]
        known = {parameter["name"] for parameter in operation["parameters"]}
        response = operation["responses"].get(str(found), {})
        if "$ref" in response:
            response = self.document["components"]["responses"][response["$ref"].rpartition("/")[2]]
        described = response.get("content", {}).get(kind)
        self.answers += 1
        self.check((path, parameters, "status"), found == status, (found, body[:200]), status)
        self.check((path, parameters, "is described"), described is not None, (found, kind), "in the description")
        if status == 200:
            self.check((path, "parameters"), {name for name, _ in parameters} <= known, parameters, known)
        if described is None or kind != "application/json":
            return body
        value = json.loads(body)
        schema = {**described["schema"], "components": self.document["components"]}
        for error in jsonschema.Draft202012Validator(schema).iter_errors(value):
            self.check((path, parameters, *error.absolute_path), False, error.message)
        return value


def by_instance(records):
    """Event time and fields, in the order of time; those of one time as they came."""
    all = defaultdict(list)
    for fields in records:
        all[key_of(fields)[0]].append((event_time(fields), fields))
    for samples in all.values():
        samples.sort(key=lambda sample: sample[0])
    return all


def check_raw(api, topic, records):
    page = api.ask("/api/v1/topics/{topic}", topic=topic)
    fields = {field["name"]: field for field in page["fields"]}
    published = {name for name in records[0] if not name.startswith("private_")}
    api.check((topic, "fields"), published <= fields.keys(), sorted(fields), sorted(published))
    instances = {instance for instance in by_instance(records) if instance is not None}
    api.check((topic, "instances"), set(page["instances"]) == instances, page["instances"], instances)
    names = sorted(published | {"private_seqNum", "private_identity", "private_sndStamp"})
    times = [event_time(record) for record in records]
    span = [("from", str(min(times))), ("until", str(max(times) + 1))]
    answer = api.ask("/api/v1/series", [("topic", topic), ("tier", "raw"), *span, *(("field", name) for name in names)])
    api.check((topic, "complete"), answer["complete_until"] == answer["until"] and not answer["building"], answer["complete_until"])
    api.check((topic, "tier"), answer["tier"] == "raw" and answer["resolution"] is None, answer["tier"])
    columns = answer["columns"]
    expected = by_instance(records)
    found = {part["instance"]: part for part in answer["series"]}
    api.check((topic, "series"), found.keys() == expected.keys(), found.keys(), expected.keys())
    for instance in found.keys() & expected.keys():
        part, samples = found[instance], expected[instance]
        api.check((topic, instance, "times"), part["times"] == [time for time, _ in samples], len(part["times"]), len(samples))
        for column, values in zip(columns, part["values"]):
            cells = [sample[column["field"]] for _, sample in samples]
            if column["element"] is not None:
                cells = [cell[column["element"]] for cell in cells]
            cells = [None if isinstance(cell, float) and not math.isfinite(cell) else cell for cell in cells]
            values = [float(value) if isinstance(cell, float) and value is not None else value for value, cell in zip(values, cells)]
            api.check((topic, instance, column["name"]), list(map(bits, values)) == list(map(bits, cells)), values[:3], cells[:3])
    return span, fields


def check_formats(api, topic, span, field):
    ask = [("topic", topic), ("field", field), ("tier", "raw"), *span]
    answer = api.ask("/api/v1/series", ask)
    flat = [
        (part["instance"], time, value)
        for part in answer["series"]
        for time, value in zip(part["times"], part["values"][0])
    ]
    text = api.ask("/api/v1/series", [*ask, ("format", "csv")]).decode()
    lines = list(csv.reader(io.StringIO("".join(line + "\n" for line in text.splitlines() if not line.startswith("#")))))
    values = [(int(row[1]) if row[1] else None, None if row[2] in ("", "NaN", "inf", "-inf") else float(row[2])) for row in lines[1:]]
    api.check((topic, "csv"), values == [(instance, value) for instance, _, value in flat], values[:3], flat[:3])
    table = pyarrow.ipc.open_stream(api.ask("/api/v1/series", [*ask, ("format", "arrow")])).read_all()
    columns = [table.column("instance").to_pylist(), table.column("time").cast("int64").to_pylist(), table.column(field).to_pylist()]
    rows = [(instance, time, value if value is None or math.isfinite(value) else None) for instance, time, value in zip(*columns)]
    api.check((topic, "arrow"), rows == flat, rows[:3], flat[:3])
    api.check((topic, "arrow"), table.schema.metadata[b"tier"] == b"raw", table.schema.metadata)


def check_windows(api, topic, records, tier, seconds):
    width = int(seconds * NANOS)
    channels = defaultdict(lambda: defaultdict(list))
    for instance, samples in by_instance(records).items():
        for time, fields in samples:
            for name, elements, is_array in measured(topic, fields):
                for at, value in enumerate(elements[:3]):
                    channels[instance, name, at if is_array else None][time - time % width].append(value)
    times = [event_time(record) for record in records]
    names = sorted({name for _, name, _ in channels})[:4]
    wanted = ["count", "min", "max", "mean", "first", "last", "stdev"]
    ask = [("topic", topic), ("tier", tier), ("from", str(min(times))), ("until", str(max(times) + 1)), ("statistics", ",".join(wanted))]
    lengths = {name: {at for _, field, at in channels if field == name} for name in names}
    ask += [("field", name if lengths[name] == {None} else f"{name}[0:{len(lengths[name])}]") for name in names]
    answer = api.ask("/api/v1/series", ask)
    api.check((topic, tier, "resolution"), answer["resolution"] == width, answer["resolution"], width)
    for part in answer["series"]:
        for column, values in zip(answer["columns"], part["values"]):
            windows = channels[part["instance"], column["field"], column["element"]]
            api.check((topic, tier, part["instance"], "windows"), part["times"] == sorted(windows), len(part["times"]), len(windows))
            for start, value in zip(part["times"], values):
                check_statistic(api, (topic, tier, part["instance"], column["name"], start), column["statistic"], value, windows[start])


def check_statistic(api, place, statistic, found, values):
    numbers = [value for value in values if not math.isnan(value)]
    if statistic == "count":
        return api.check(place, found == len(numbers), found, len(numbers))
    if not numbers or not all(map(math.isfinite, numbers)):
        return
    simple = dict(min=min(numbers), max=max(numbers), first=numbers[0], last=numbers[-1])
    if statistic in simple:
        return api.check(place, found == simple[statistic], found, simple[statistic])
    largest = max(map(abs, numbers))
    if statistic == "mean":
        mean = float(sum(map(Fraction, numbers)) / len(numbers))
        return api.check(place, found is not None and abs(found - mean) <= 1e-12 * max(abs(mean), largest * 1e-3), found, mean)
    if len(numbers) < 2:
        return api.check(place, found is None, found)
    deviation = statistics.stdev(map(Fraction, numbers))
    api.check(place, found is not None and abs(found - deviation) <= max(1e-9 * deviation, 4e-16 * largest), found, deviation)


def check_newest(api, topic, records):
    newest = sorted(records, key=event_time, reverse=True)[:5]
    answer = api.ask("/api/v1/last", [("topic", topic), ("n", "5")])
    found = [(record["time"], record["fields"]["private_seqNum"]) for record in answer["records"]]
    expected = [(event_time(record), record["private_seqNum"]) for record in newest]
    api.check((topic, "last 5"), found == expected, found, expected)
    latest = api.ask("/api/v1/latest", [("topic", topic)])
    found = {(record["instance"], record["time"]) for record in latest["records"]}
    expected = {(instance, samples[-1][0]) for instance, samples in by_instance(records).items()}
    api.check((topic, "latest"), found == expected, found, expected)


def check_refusals(api, topic):
    for parameters, status in (
        ([("topic", topic), ("field", "nosuch")], 404),
        ([("topic", topic + "x")], 404),
        ([], 400),
        ([("topic", topic), ("colour", "red")], 400),
        ([("topic", topic), ("topic", topic)], 400),
        ([("topic", topic), ("points", "0")], 400),
        ([("topic", topic), ("points", "99999999999999999999")], 400),
        ([("topic", topic), ("from", "yesterday")], 400),
        ([("topic", topic), ("from", "now"), ("until", "-1h")], 400),
        ([("topic", topic), ("tier", "7s")], 400),
        ([("topic", topic), ("statistics", "average")], 400),
        ([("topic", topic), ("format", "xml")], 400),
        ([("topic", topic), ("instance", "one")], 400),
        ([("topic", topic), ("field", "a[")], 400),
        ([("topic", topic), ("field", "\0")], 404),
    ):
        answer = api.ask("/api/v1/series", parameters, status)
        text = answer.get("error", "") if isinstance(answer, dict) else ""
        api.check(("refusal", parameters), len(text) > 10, answer)
    for headers in ({"Origin": "https://example.org"}, {"Host": "example.org"}):
        api.ask("/api/v1/topics", status=403, headers=headers)


def main(folder, url, *tiers):
    api = Api(url)
    published = {topic: records for topic, records in oracle(folder) if records}
    listed = {line["topic"]: line for line in api.ask("/api/v1/topics")["topics"]}
    api.check(("topics",), published.keys() <= listed.keys(), listed.keys(), published.keys())
    for topic, records in published.items():
        api.check((topic, "records"), listed[topic]["records"] == len(records), listed[topic]["records"], len(records))
        span, fields = check_raw(api, topic, records)
        check_newest(api, topic, records)
        numbers = [name for name, field in fields.items() if field["is_measured"] and not field["is_array"]]
        if numbers:
            check_formats(api, topic, span, numbers[0])
        if lane_of(topic) == "telemetry":
            for tier in tiers:
                check_windows(api, topic, records, tier, float(tier.rstrip("s")))
    times = [event_time(record) for records in published.values() for record in records]
    span = [("from", str(min(times))), ("until", str(max(times) + 1))]
    events = api.ask("/api/v1/events", [*span, ("n", "10000")])["events"]
    is_event = lambda topic: topic.rpartition(".")[2].startswith("logevent_")
    expected = sum(len(records) for topic, records in published.items() if is_event(topic))
    api.check(("events",), len(events) == expected, len(events), expected)
    check_refusals(api, next(iter(published)))
    print(json.dumps(dict(topics=len(published), values=api.values, answers=api.answers, wrong=api.wrong[:10], faults=len(api.wrong))))


if __name__ == "__main__":
    main(*sys.argv[1:])
