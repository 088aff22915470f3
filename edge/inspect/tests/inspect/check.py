"""Compares what efd-inspect has written with the oracle, by readers that are not ours: check.py FOLDER"""
import csv
import io
import json
import re
import struct
import sys
from datetime import datetime, timezone

import duckdb
import fastavro

folder = sys.argv[1]
with open(f"{folder}/oracle.json", encoding="utf-8") as file:
    oracle = {row["id"]: row for row in json.load(file)}
topics = sorted({row["topic"] for row in oracle.values()})
# Whatever is also a name of ours has an underscore.
ALL = ["flag", "count", "value", "text", "raw", "flags", "counts", "values", "texts"]
FIELDS = {"lsst.sal.Test.all": ALL, "lsst.sal.Test.time": ["time", "efd_block"]}
COLUMNS = {"lsst.sal.Test.all": ALL, "lsst.sal.Test.time": ["time_", "efd_block_"]}


def bits(value):
    return struct.pack(">d", value).hex()


def plain(value):
    """Doubles as their bits, bytes as hexadecimal."""
    if isinstance(value, float):
        return bits(value)
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def nanos(text):
    """2026-11-24T00:00:00.123456789Z"""
    whole, fraction = re.fullmatch(r"(.{19})\.(\d{9})Z", text).groups()
    seconds = datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return int(seconds.timestamp()) * 10**9 + int(fraction)


class Seen:
    """Every record of the oracle once, and as it was."""

    def __init__(self, reader):
        self.reader, self.ids = reader, set()

    def take(self, topic, name, time, values):
        expected = oracle[name]
        assert name not in self.ids, (self.reader, name, "twice")
        self.ids.add(name)
        found = (topic, time, values)
        wanted = (expected["topic"], expected["time"], expected["values"])
        assert found == wanted, (self.reader, name, found, wanted)

    def done(self):
        missing = set(oracle) - self.ids
        assert not missing, (self.reader, "missing", len(missing), sorted(missing)[:3])
        return len(self.ids)


def by_duckdb():
    seen = Seen("duckdb")
    duckdb.sql("set timezone = 'UTC'")
    identity = "efd_edge || '/' || efd_epoch || '/' || efd_lane || '/' || efd_block || '/' || efd_index"
    for topic in topics:
        columns = ", ".join(f'"{name}"' for name in COLUMNS[topic])
        rows = duckdb.sql(f"select {identity}, epoch_ns(time), {columns} from '{folder}/parquet/{topic}.parquet'")
        for name, time, *values in rows.fetchall():
            seen.take(topic, name, time, [plain(value) for value in values])
    return seen.done()


def by_avro():
    """No names of records here: the values of each topic in the order of the buffer."""
    count = 0
    for topic in topics:
        expected = [row["values"] for row in oracle.values() if row["topic"] == topic]
        with open(f"{folder}/avro/{topic}.avro", "rb") as file:
            reader = fastavro.reader(file)
            assert reader.metadata["efd.topic"] == topic
            found = [[plain(row[name]) for name in FIELDS[topic]] for row in reader]
        assert found == expected, (topic, len(found), len(expected))
        count += len(found)
    return count


def number(text):
    return bits(float(text.strip('"') if isinstance(text, str) else text))


def typed(found, expected):
    """Text of a cell as what the oracle has at its place."""
    if isinstance(expected, bool):
        return {"true": True, "false": False}[found]
    if isinstance(expected, int):
        return int(found)
    return found


DOUBLES = {"lsst.sal.Test.all": {"value"}, "lsst.sal.Test.time": {"time"}}


def by_csv():
    seen = Seen("csv")
    for topic in topics:
        with open(f"{folder}/csv/{topic}.csv", encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            header = next(rows)
            assert header == ["time", *FIELDS[topic], "efd_id", "efd_implausible"], header
            for time, *cells, name, implausible in rows:
                assert implausible == "false"
                values = []
                for field, cell, expected in zip(FIELDS[topic], cells, oracle[name]["values"]):
                    if field == "values":
                        values.append([number(item) for item in json.loads(cell)])
                    elif isinstance(expected, list):
                        values.append(json.loads(cell))
                    elif field in DOUBLES[topic]:
                        values.append(number(cell))
                    else:
                        values.append(typed(cell, expected))
                seen.take(topic, name, nanos(time), values)
    return seen.done()


def lines(name):
    with open(f"{folder}/{name}", encoding="utf-8") as file:
        # Not splitlines: a text may hold what Unicode calls a line separator.
        for line in file.read().split("\n"):
            if line:
                yield json.loads(line)


def by_cat():
    seen = Seen("cat")
    for line in lines("cat.jsonl"):
        topic, fields, expected = line["topic"], line["fields"], oracle[line["id"]]
        assert list(fields) == FIELDS[topic], list(fields)
        assert line.get("instance") == expected["instance"]
        values = []
        for (field, value), wanted in zip(fields.items(), expected["values"]):
            if field == "raw":
                assert value == {"bytes": len(wanted) // 2}, value
                values.append(wanted)
            elif field in DOUBLES[topic]:
                values.append(number(value))
            elif field == "values":
                values.append([number(item) for item in value])
            else:
                values.append(value)
        seen.take(topic, line["id"], nanos(line["time"]), values)
    return seen.done()


def by_raw():
    """The datums, by fastavro and the schema that the exported file has."""
    seen, schemas = Seen("raw"), {}
    for topic in topics:
        with open(f"{folder}/avro/{topic}.avro", "rb") as file:
            schemas[topic] = fastavro.parse_schema(json.loads(fastavro.reader(file).metadata["avro.schema"]))
    for line in lines("raw.jsonl"):
        topic = line["topic"]
        datum = io.BytesIO(bytes.fromhex(line["datum"]))
        row = fastavro.schemaless_reader(datum, schemas[topic], None)
        assert not datum.read(), "the datum goes on"
        values = [plain(row[name]) for name in FIELDS[topic]]
        seen.take(topic, line["id"], nanos(line["time"]), values)
    return seen.done()


print(json.dumps({"duckdb": by_duckdb(), "csv": by_csv(), "avro": by_avro(), "cat": by_cat(), "raw": by_raw()}))
