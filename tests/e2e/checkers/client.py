"""Reads an edge with the observatory's own client, and compares with what was published.

usage: client.py ORACLE URL

The client is used as it is: only the service that gives out credentials is ours. Prints one JSON object: topics, calls,
values (compared), wrong (the first ten), faults (how many).
"""

import asyncio
import http.server
import json
import math
import sys
import threading
import urllib.parse
import warnings

import aioinflux
import pandas as pd
from astropy.time import Time
from lsst_efd_client import EfdClient

from tiers import event_time
from values import bits, key_of, oracle

NANOS = 10**9
warnings.simplefilter("ignore")


class Credentials(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        secret = dict(host="", schema_registry="", port=0, username="", password="", path="/")
        body = json.dumps(secret if "creds" in self.path else ["edge"]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class EdgeClient(EfdClient):
    mode = "edge"


def time_of(nanos):
    return Time(nanos // NANOS, (nanos % NANOS) / NANOS, format="unix", scale="utc")


class Comparison:
    def __init__(self):
        self.calls, self.values, self.wrong = 0, 0, []

    def check(self, place, is_right, found=None, expected=None):
        self.values += 1
        if not is_right:
            self.wrong.append([*map(str, place), str(found)[:300], str(expected)[:300]])

    def frame(self, place, frame, samples, names):
        """The rows of `frame` are the samples, in their order."""
        self.calls += 1
        times = [index.value for index in frame.index] if len(frame) else []
        self.check((*place, "times"), times == [time for time, _ in samples], len(times), len(samples))
        if times != [time for time, _ in samples]:
            return
        for name, of in names.items():
            expected = [of(fields) for _, fields in samples]
            expected = [None if isinstance(value, float) and not math.isfinite(value) else value for value in expected]
            found = [None if pd.isna(value) else value for value in frame[name]]
            # A column with holes is one of floats to pandas.
            found = [type(cell)(value) if value is not None and cell is not None else value for value, cell in zip(found, expected)]
            self.check((*place, name), list(map(bits, found)) == list(map(bits, expected)), found[:3], expected[:3])


def flattened(fields):
    for name, value in fields.items():
        # The stamps are the edge's own. `name` is a word of InfluxQL that the client does not quote, and in its frames the
        # measurement.
        if name in ("private_rcvStamp", "private_efdStamp", "private_kafkaStamp", "name"):
            continue
        if isinstance(value, list):
            for at in range(len(value)):
                yield f"{name}{at}", lambda fields, name=name, at=at: fields[name][at]
        else:
            yield name, lambda fields, name=name: fields[name]


async def topic(comparison, client, name, records):
    samples = sorted(((event_time(fields), fields) for fields in records), key=lambda sample: sample[0])
    columns = dict(flattened(records[0]))
    fields = await client.get_fields(name)
    comparison.calls += 1
    comparison.check((name, "fields"), columns.keys() <= set(fields), fields, sorted(columns))
    # The client writes times to the millisecond, and both bounds belong to the span.
    begin, end = time_of(samples[0][0] // 10**6 * 10**6), time_of(samples[-1][0] // 10**6 * 10**6 + 10**6)
    chosen = {field: columns[field] for field in list(columns)[:40]}
    frame = await client.select_time_series(name, list(chosen), begin, end)
    comparison.frame((name, "series"), frame, samples, chosen)
    middle = samples[len(samples) // 2][0] // 10**6 * 10**6
    within = [sample for sample in samples if samples[0][0] <= sample[0] <= middle]
    first = next(iter(columns))
    for index in {key_of(fields)[0] for fields in records} - {None}:
        own = [sample for sample in within if key_of(sample[1])[0] == index]
        frame = await client.select_time_series(name, first, begin, time_of(middle), index=index, use_old_csc_indexing="salIndex" not in columns)
        comparison.frame((name, "series", index), frame, own, {first: columns[first]})
    frame = await client.select_top_n(name, list(chosen), 7)
    comparison.frame((name, "top 7"), frame.iloc[::-1] if len(frame) > 1 and frame.index[0] > frame.index[-1] else frame, samples[-7:], chosen)
    return samples, begin, end


async def packed(comparison, client, name, samples, begin, end):
    """A field with an array of equally spaced values, as CCS and cRIOs send them."""
    arrays = [field for field, value in samples[0][1].items() if isinstance(value, list) and isinstance(value[0], float)]
    if not arrays or "timestamp" not in samples[0][1] or not all(math.isfinite(fields["timestamp"]) for _, fields in samples):
        return 0
    field = arrays[0]
    frame = await client.select_packed_time_series(name, field, begin, end, ref_timestamp_col="timestamp")
    comparison.calls += 1
    expected = sum(len(fields[field]) for _, fields in samples)
    comparison.check((name, "packed"), len(frame) == expected, len(frame), expected)
    found = [bits(float(value)) for value in frame[field]]
    wanted = [float(value) if math.isfinite(value) else math.nan for _, fields in samples for value in fields[field]]
    comparison.check((name, "packed values"), sorted(map(str, found)) == sorted(str(bits(value)) for value in wanted), found[:3], wanted[:3])
    return 1


async def main(folder, url):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Credentials)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place = urllib.parse.urlsplit(url)
    influx = aioinflux.InfluxDBClient(host=place.hostname, port=place.port, db="efd", mode="async", output="dataframe")
    client = EdgeClient("edge", creds_service=f"http://127.0.0.1:{server.server_port}/", client=influx)
    comparison = Comparison()
    published = {name: records for name, records in oracle(folder) if records}
    topics = await client.get_topics()
    comparison.check(("topics",), published.keys() <= set(topics), topics, published.keys())
    series = 0
    for name, records in published.items():
        samples, begin, end = await topic(comparison, client, name, records)
        series += await packed(comparison, client, name, samples, begin, end)
    await influx.close()
    print(
        json.dumps(
            dict(
                topics=len(published), calls=comparison.calls, packed=series, values=comparison.values,
                wrong=comparison.wrong[:10], faults=len(comparison.wrong),
            )
        )
    )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
