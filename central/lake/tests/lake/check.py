"""Compares a lake with its oracle by readers that are not ours: check.py ROOT ORACLE.json"""
import collections
import glob
import json
import struct
import sys

import duckdb
import numpy
import pandas
import pyarrow.parquet

root, oracle_path = sys.argv[1:3]
oracle = {tuple(row["name"]): row for row in json.load(open(oracle_path))}
pattern = f"{root}/efd_site=*/*/*/*.parquet"


def plain(value):
    """Doubles as their bits, arrays as lists."""
    if isinstance(value, (bool, numpy.bool_)):
        return bool(value)
    if isinstance(value, (float, numpy.floating)):
        return struct.pack(">d", value).hex()
    if isinstance(value, (int, numpy.integer)):
        return int(value)
    if isinstance(value, (list, bytes, numpy.ndarray)):
        return [plain(item) for item in value]
    return value


def alike(got, expected):
    """Maps come as dicts or as lists of pairs, by reader."""
    if expected is None:
        return got is None
    if isinstance(expected, dict):
        got = got if isinstance(got, dict) else dict(got)
        return got.keys() == expected.keys() and all(alike(got[name], it) for name, it in expected.items())
    if isinstance(expected, list):
        return len(got) == len(expected) and all(alike(a, b) for a, b in zip(got, expected))
    return plain(got) == expected


def check(reader, rows):
    found = 0
    for name, time, values in rows:
        expected = oracle[name]
        assert time == expected["time"], (reader, name, time, expected["time"])
        for field, value in expected["values"].items():
            assert alike(values[field], value), (reader, name, field, values[field], value)
        found += 1
    return found


IDENTITY = ["efd_edge", "efd_epoch", "efd_lane", "efd_block", "efd_index"]

# DuckDB, all topics at once: every name once, sites and topics from the folders.
duckdb.sql("set timezone = 'UTC'")
source = f"read_parquet('{pattern}', hive_partitioning = true, union_by_name = true)"
rows = duckdb.sql(
    f"select {', '.join(IDENTITY)}, epoch_ns(time), efd_site, efd_topic, efd_date, time::date from {source}"
).fetchall()
names = collections.Counter(tuple(row[:5]) for row in rows)
assert max(names.values()) == 1, "a record is there twice"
assert set(names) == set(oracle), (len(names), len(oracle))
for row in rows:
    expected = oracle[tuple(row[:5])]
    assert row[5] == expected["time"]
    assert (row[6], row[7]) == (expected["site"], expected["topic"]), (row, expected)
    assert str(row[8]) == str(row[9]), row

# DuckDB, the values of one topic with two schemas.
topic = f"read_parquet('{root}/efd_site=*/efd_topic=lsst.sal.Test.all/*/*.parquet', union_by_name = true)"
cursor = duckdb.sql(f"select epoch_ns(time) as ns, * exclude (time) from {topic}")
columns = cursor.columns
records = (dict(zip(columns, row)) for row in cursor.fetchall())
wanted = sum(1 for row in oracle.values() if row["topic"] == "lsst.sal.Test.all")
assert check("duckdb", ((tuple(r[k] for k in IDENTITY), r["ns"], r) for r in records)) == wanted

# pandas, file by file: dtypes as well.
found = 0
for path in glob.glob(f"{root}/efd_site=*/efd_topic=lsst.sal.Test.all/*/*.parquet"):
    frame = pandas.read_parquet(path, partitioning=None)
    assert str(frame["time"].dtype) == "datetime64[ns, UTC]", frame["time"].dtype
    assert str(frame["salIndex"].dtype) == "int64" and str(frame["force"].dtype) == "float64"
    assert str(frame["flag"].dtype) == "bool"
    assert frame["time"].is_monotonic_increasing
    times = frame["time"].astype("int64")
    found += check(
        "pandas",
        ((tuple(plain(r[k]) for k in IDENTITY), int(t), r) for t, r in zip(times, frame.to_dict("records"))),
    )
    schema = pyarrow.parquet.read_schema(path)
    assert schema.field("force").metadata[b"units"] == b"N"
assert found == wanted, (found, wanted)

# Types of any kind, two schemas as well: DuckDB over all files, pyarrow file by file.
topic = f"read_parquet('{root}/efd_site=*/efd_topic=ros.arm.state/*/*.parquet', union_by_name = true)"
TIMES = ["efd_sourceTime", "efd_receivedTime"]
times = ", ".join(f"epoch_ns({name}) as {name}" for name in TIMES)
cursor = duckdb.sql(f"select epoch_ns(time) as ns, {times}, * exclude (time, {', '.join(TIMES)}) from {topic}")
columns = cursor.columns
records = (dict(zip(columns, row)) for row in cursor.fetchall())
wanted = sum(1 for row in oracle.values() if row["topic"] == "ros.arm.state")
general = check("duckdb", ((tuple(r[k] for k in IDENTITY), r["ns"], r) for r in records))
assert general == wanted > 0, (general, wanted)
moving = sum(1 for row in oracle.values() if row["topic"] == "ros.arm.state" and row["values"]["mode"] == "MOVING")
assert duckdb.sql(f"select count(*) from {topic} where mode = 'MOVING'").fetchall() == [(moving,)]
joints = sum(len(row["values"]["joints"]) for row in oracle.values() if row["topic"] == "ros.arm.state")
assert duckdb.sql(f"select count(*) from (select unnest(joints).angle from {topic})").fetchall() == [(joints,)]
by_arrow = 0
for path in glob.glob(f"{root}/efd_site=*/efd_topic=ros.arm.state/*/*.parquet"):
    table = pyarrow.parquet.read_table(path, partitioning=None)
    for name in ["time", *TIMES]:
        assert str(table.schema.field(name).type) == "timestamp[ns, tz=UTC]"
        index = table.schema.get_field_index(name)
        table = table.set_column(index, name, table.column(name).cast("int64"))
    by_arrow += check("pyarrow", ((tuple(r[k] for k in IDENTITY), r["time"], r) for r in table.to_pylist()))
    assert table.schema.field("header.pose.x").metadata[b"units"] == b"m"
    frame = pandas.read_parquet(path, partitioning=None)
    assert isinstance(frame["mode"].iloc[0], str) and isinstance(frame["goal"].iloc[0], (dict, type(None)))
assert by_arrow == wanted, (by_arrow, wanted)

print(f"{general} records of nested types by both")
print(f"{len(names)} records by DuckDB {duckdb.__version__}, {found} of them by pandas {pandas.__version__}")
