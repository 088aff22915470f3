"""Stamps on both sides of leap seconds: made, and compared with what was stored, by astropy.

usage: stamps.py make FILE          writes a JSON list of TAI seconds
       stamps.py check FILE LAKE    compares `private_efdStamp` with astropy's UTC, by its ISO text
"""

import json
import pathlib
import sys
from datetime import datetime, timedelta

from astropy.time import Time

# UTC. The day of the leap second, a day either side, each leap second since 1999, and today.
MOMENTS = [
    "1998-12-31T23:59:59", "1999-01-01T00:00:00", "2005-12-31T23:59:58.5", "2006-01-01T00:00:00.25",
    "2008-12-31T12:00:00", "2009-01-01T00:00:00", "2012-06-30T23:59:59.75", "2012-07-01T00:00:00",
    "2015-06-30T23:59:59", "2015-07-01T00:00:00", "2016-12-30T12:00:00", "2016-12-31T00:00:00",
    "2016-12-31T12:00:00", "2016-12-31T23:59:58", "2016-12-31T23:59:59", "2016-12-31T23:59:59.875",
    "2017-01-01T00:00:00", "2017-01-01T00:00:00.125", "2017-01-01T00:00:01", "2017-01-02T00:00:00",
    "2020-02-29T23:59:59.5", "2024-11-24T03:04:05.0625",
]


def moments():
    return [Time(text, scale="utc") for text in MOMENTS] + [Time.now()]


def tai_seconds(moment):
    """SAL's clock: seconds since 1970-01-01T00:00:00 TAI, in 64ths, whose six decimals are exact: no text is rounded."""
    return round(moment.unix_tai * 64) / 64


def make(file):
    stamps = [tai_seconds(moment) for moment in moments()]
    pathlib.Path(file).write_text(json.dumps(stamps))
    print(json.dumps(dict(stamps=len(stamps))))


def posix_text(seconds):
    return (datetime(1970, 1, 1) + timedelta(seconds=seconds)).isoformat(timespec="microseconds")


def check(file, lake):
    import duckdb

    stamps = json.loads(pathlib.Path(file).read_text())
    expected = {stamp: Time(stamp, format="unix_tai").utc for stamp in stamps}
    rows = duckdb.sql(
        f"SELECT private_sndStamp, private_efdStamp FROM read_parquet('{lake}/efd_site=*/efd_topic=lsst*/*/*.parquet', "
        "union_by_name=true)"
    ).fetchall()
    wrong = []
    for sent, stored in rows:
        utc = expected[sent]
        utc.precision = 6
        if posix_text(stored) != utc.isot:
            wrong.append([sent, stored, utc.isot])
    seen = {sent for sent, _ in rows}
    wrong += [[stamp, None, "not stored"] for stamp in stamps if stamp not in seen]
    print(json.dumps(dict(compared=len(rows), stamps=len(seen), wrong=wrong[:10])))


if __name__ == "__main__":
    {"make": make, "check": check}[sys.argv[1]](*sys.argv[2:])
