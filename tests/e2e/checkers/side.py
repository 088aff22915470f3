"""Asks an edge and an InfluxDB with the same data the same questions, and compares the answers as they are.

usage: side.py ORACLE EDGE INFLUXDB STATEMENTS

STATEMENTS: one on each line, as Grafana, Chronograf and the observatory's client send them, with `{topic}` and `{field}` to
be filled in, `{from}` and `{until}` as RFC 3339, `{from_ms}` and `{until_ms}`; before a tab the other parameters. What was
published goes into the InfluxDB by the rules of the observatory's connector: no tags, arrays as `name0`, NaN left out.
Prints one JSON object: points, answers, rows (compared), wrong (the first ten), faults (how many).
"""

import datetime
import json
import math
import sys
import urllib.error
import urllib.parse
import urllib.request

from tiers import event_time
from values import oracle

NANOS = 10**9
STAMPS = ("private_rcvStamp", "private_efdStamp", "private_kafkaStamp")


def escaped(text, characters):
    return "".join("\\" + character if character in characters else character for character in text)


def value(cell):
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, int):
        return f"{cell}i"
    if isinstance(cell, float):
        return repr(cell) if math.isfinite(cell) else None
    return '"' + escaped(cell, '"\\') + '"'


def line(topic, fields, time):
    cells = []
    for name, cell in fields.items():
        # Filled in by the edge: the oracle has others.
        if name in STAMPS:
            continue
        elements = [(f"{name}{at}", element) for at, element in enumerate(cell)] if isinstance(cell, list) else [(name, cell)]
        cells += [f"{escaped(name, ',= ')}={value(cell)}" for name, cell in elements if value(cell) is not None]
    return f"{escaped(topic, ', ')} {','.join(cells)} {time}"


def always_absent(records):
    """Fields whose values are NaN or infinite in all records: an InfluxDB has never seen them."""
    seen, all = set(), set()
    for fields in records:
        for name, cell in fields.items():
            for label, element in [(f"{name}{at}", it) for at, it in enumerate(cell)] if isinstance(cell, list) else [(name, cell)]:
                all.add(label)
                if value(element) is not None:
                    seen.add(label)
    return all - seen


def ask(url, path, parameters, data=None):
    request = urllib.request.Request(f"{url}{path}?{urllib.parse.urlencode(parameters)}", data=data)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def fill_influxdb(url, published):
    status, body = ask(url, "/query", {"q": 'CREATE DATABASE "efd"'}, b"")
    assert status == 200, body
    lines = [line(topic, fields, event_time(fields)) for topic, records in published.items() for fields in records]
    for first in range(0, len(lines), 2000):
        status, body = ask(url, "/write", {"db": "efd", "precision": "ns"}, "\n".join(lines[first : first + 2000]).encode())
        assert status == 204, body
    return len(lines)


def equal(a, b):
    """To 1e-9 where a mean or a deviation may be summed in another order."""
    if isinstance(a, float) or isinstance(b, float):
        numbers = all(isinstance(it, (int, float)) and not isinstance(it, bool) for it in (a, b))
        return numbers and (a == b or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12))
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    return type(a) is type(b) and a == b


def documents(body):
    return [json.loads(text) for text in body.decode().splitlines() if text]


def rows(all):
    return sum(len(series.get("values", ())) for document in all for result in document.get("results", ()) for series in result.get("series", ()))


def comparable(all, never):
    """Without what only the edge has: the stamps that it fills in, and fields that never were a number."""
    for document in all:
        for result in document.get("results", ()):
            for series in result.get("series", ()):
                if series["columns"][:1] == ["fieldKey"]:
                    extra = never.get(series["name"], set()) | set(STAMPS)
                    series["values"] = [row for row in series["values"] if row[0] not in extra]
            result.pop("messages", None)
    return all


def main(folder, edge, influxdb, statements):
    published = {topic: records for topic, records in oracle(folder) if records}
    points = fill_influxdb(influxdb, published)
    times = [event_time(fields) for records in published.values() for fields in records]
    begin, end = min(times), max(times) + 1
    rfc = lambda nanos: datetime.datetime.fromtimestamp(nanos // NANOS, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    chosen = []
    for topic, records in published.items():
        finite = lambda cell: isinstance(cell, float) and math.isfinite(cell)
        names = [name for name, cell in records[0].items() if finite(cell) and not name.startswith("private_")]
        arrays = [f"{name}1" for name, cell in records[0].items() if isinstance(cell, list) and len(cell) > 1 and finite(cell[1])]
        chosen += [(topic, name) for name in (names + arrays)[:2]]
    never = {topic: always_absent(records) for topic, records in published.items()}
    answers, compared, wrong = 0, 0, []
    for text in open(statements):
        text = text.rstrip("\n")
        if not text or text.startswith("#"):
            continue
        parameters, _, statement = text.partition("\t")
        places = chosen if "{topic}" in statement else chosen[:1]
        for topic, field in places:
            filled = statement
            for name, content in dict(
                topic=topic, field=field, **{"from": rfc(begin)}, until=rfc(end + NANOS), from_ms=str(begin // 10**6), until_ms=str(end // 10**6 + 1)
            ).items():
                filled = filled.replace("{" + name + "}", content)
            asked = {**dict(urllib.parse.parse_qsl(parameters)), "q": filled}
            (status, body), (expected_status, expected) = (ask(url, "/query", asked) for url in (edge, influxdb))
            found, there = comparable(documents(body), never), comparable(documents(expected), {})
            answers += 1
            compared += rows(there)
            if status != expected_status or not equal(found, there):
                wrong.append([filled, parameters, str(found)[:400], str(there)[:400]])
    print(json.dumps(dict(points=points, answers=answers, rows=compared, wrong=wrong[:10], faults=len(wrong))))


if __name__ == "__main__":
    main(*sys.argv[1:])
