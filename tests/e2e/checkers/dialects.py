"""Compares what is stored of topics that are not SAL's with what was published, value by value, floats to the bit.

It shares no code with the daemons: pyarrow reads the lake, confluent-kafka's own consumer and Avro deserializer read the
public topics, Eclipse's Python binding reads the bus. The oracle, lines of JSON, was written by the publishers of
../dialects before they encoded anything; shape.py there says how it has values.

usage: dialects.py ORACLE lake LAKE [SITE]
       dialects.py ORACLE kafka BROKERS REGISTRY SITE
       dialects.py ORACLE bus [DOMAIN]         listens until all is quiet, then looks at the oracle: publishers alone

Prints one JSON object last: topics, published, stored, compared, missing, duplicate, mismatched, unexpected (nobody
published it, or its topic), losses and rejected (records of `efd.losses` and `efd.rejected`), statistics (what `ddsperf`
says of its processor), faults (the first ten).

A sample is recognised by its field `number`, or `data` where it has none. Of Eclipse's load generator `ddsperf -k all -n 3
pub … size 200`, if its topic is there, the oracle is what its source says that it sends: all that it numbers from the first
that is stored to the last.
"""

import json
import os
import pathlib
import re
import struct
import sys
import time

SOURCE_TIME, RECEIVED_TIME = "efd_sourceTime", "efd_receivedTime"
# Columns that the lake adds; a member that is called so has a `_` more.
LAKE = {"time", "efd_edge", "efd_epoch", "efd_lane", "efd_block", "efd_index", "efd_class", "efd_time_origin"}
LAKE |= {"efd_implausible", "efd_latin1"}
SECOND = 1_000_000_000


def avro_name(topic):
    """`rt/a/b` → `ros.a.b`, `A/b` → `dds.A.b`, `A/b-c::D` → `dds.A.b_c.D`, and whether that says less than the topic."""
    parts = [part for part in re.split(r"/|::|\.", topic) if part]
    domain = "dds"
    if topic.startswith("rt/"):
        domain, parts = "ros", parts[1:]
    words = [re.sub(r"[^A-Za-z0-9_]", "_", part) for part in parts]
    words = [f"_{word}" if word[0].isdigit() else word for word in words]
    said = "/".join(["rt"] * (domain == "ros") + words)
    return ".".join([domain, *words]), said != topic


def stored_name(topic, present):
    """Of those present, or `None`; one that says less than the topic has a hash at its end."""
    name, is_less = avro_name(topic)
    found = [it for it in present if re.fullmatch(re.escape(name) + "_[0-9a-f]{8}" * is_less, it)]
    if len(found) > 1:
        sys.exit(f"{topic} is one of {found}")
    return found[0] if found else None


def difference(expected, stored, path=""):
    """Where they differ first, or `None`."""
    said = f"{path} is {stored!r}, was {expected!r}"
    if isinstance(expected, dict):
        if "$double" in expected:
            is_same = isinstance(stored, float) and struct.pack(">d", stored).hex() == expected["$double"]
            return None if is_same else said
        if "$bytes" in expected:
            return None if isinstance(stored, bytes) and stored.hex() == expected["$bytes"] else said
        if "$map" in expected:
            expected = expected["$map"]
            if isinstance(stored, list) and all(isinstance(entry, tuple) for entry in stored):
                if len(stored) != len(dict(stored)):
                    return f"{path} has a key twice: {stored!r}"
                stored = dict(stored)
        if not isinstance(stored, dict) or expected.keys() != stored.keys():
            return said
        each = ((expected[name], stored[name], f"{path}.{name}" if path else name) for name in expected)
    elif isinstance(expected, list):
        if not isinstance(stored, list) or len(stored) != len(expected):
            return said
        each = ((one, other, f"{path}[{at}]") for at, (one, other) in enumerate(zip(expected, stored)))
    else:
        # `True == 1 == 1.0`.
        return None if type(expected) is type(stored) and expected == stored else said
    return next((found for one in each if (found := difference(*one))), None)


def key_of(record):
    return next((record[name] for name in ("number", "data", "seq") if name in record), None)


DDSPERF = "DDSPerfRDataKS"


def ddsperf(stored):
    """Lines of an oracle. Of 200 bytes 12 are the two numbers and the length."""
    numbers = [record["seq"] for record, _ in stored]
    baggage = {"$bytes": "ee" * 188}
    records = (dict(seq=n, keyval=n % 3, baggage=baggage) for n in range(min(numbers), max(numbers) + 1))
    return [dict(record=record, source_time=True) for record in records]


class Account:
    def __init__(self):
        names = "topics published stored compared missing duplicate unexpected losses rejected statistics".split()
        self.result = dict.fromkeys(names, 0)
        self.faults = []

    def topic(self, topic, lines, stored):
        """`lines` of the oracle; `stored`: record, and what came with it: its times, and what only one store has."""
        self.result["topics"] += 1
        wanted = {key_of(line["record"]): line for line in lines}
        assert len(wanted) == len(lines), f"the oracle has a number of {topic} twice"
        self.result["published"] += len(lines)
        seen = set()
        for record, about in stored:
            self.result["stored"] += 1
            key = key_of(record)
            if key in seen:
                self.result["duplicate"] += 1
            elif key not in wanted:
                self.result["unexpected"] += 1
            elif fault := difference(wanted[key]["record"], record) or self.times(wanted[key], about):
                self.faults.append(f"{topic} {key}: {fault}")
            else:
                self.result["compared"] += 1
            seen.add(key)
        self.result["missing"] += len(wanted.keys() - seen)

    def others(self, names, records):
        """What no line of the oracle is of."""
        for name in names:
            stored = list(records(name))
            if name == avro_name(DDSPERF)[0]:
                self.topic(DDSPERF, ddsperf(stored), stored)
                continue
            if name == "efd.committed":  # What the edge says of itself, where an hour ends among the test.
                continue
            kinds = {"efd.losses": "losses", "efd.rejected": "rejected", "dds.DDSPerfCPUStats": "statistics"}
            kind = kinds.get(name, "unexpected")
            self.result[kind] += len(stored)

    def times(self, line, about):
        wanted, source, received = line["source_time"], about[SOURCE_TIME], about[RECEIVED_TIME]
        if wanted is None and source is not None:
            return f"a source time {source} that was not sent"
        if wanted is not None and source is None or isinstance(wanted, int) and wanted is not True and source != wanted:
            return f"source time {source}, was {wanted}"
        if not isinstance(received, int) or not 0 <= time.time_ns() - received < 86_400 * SECOND:
            return f"received at {received}"
        if source is not None and not -SECOND < received - source < 600 * SECOND:
            return f"received at {received}, written at {source}"
        origin = about.get("efd_time_origin")
        if origin and (origin, about["time"]) != (("reception", received) if source is None else ("source", source)):
            return f"its time {about['time']} is of {origin}"

    def print(self):
        print(json.dumps(self.result | dict(mismatched=len(self.faults), faults=self.faults[:10])))


def oracle(path):
    """Lines by DDS topic."""
    found = {}
    # Not by `splitlines`, which ends lines within texts too.
    for line in pathlib.Path(path).open():
        line = json.loads(line)
        found.setdefault(line["topic"], []).append(line)
    return found


def nested(row):
    """A row of the lake: members of a struct are columns `a.b`."""
    record, about = {}, {}
    for column, value in row.items():
        if column in LAKE or column in (SOURCE_TIME, RECEIVED_TIME):
            about[column] = value
            continue
        *path, name = column.split(".")
        inside = record
        for part in path:
            inside = inside.setdefault(part, {})
        inside[name[:-1] if not path and name[:-1] in LAKE else name] = value
    return record, about


def lake_rows(lake, site, topic):
    """Each file by itself: a topic whose type was changed has files of several schemas."""
    import pyarrow
    import pyarrow.parquet

    for file in sorted(pathlib.Path(lake).glob(f"efd_site={site}/efd_topic={topic}/*/*.parquet")):
        table = pyarrow.parquet.ParquetFile(file).read()
        for at, field in enumerate(table.schema):
            if pyarrow.types.is_timestamp(field.type):
                table = table.set_column(at, field.name, table.column(at).cast(pyarrow.int64()))
        yield from table.to_pylist()


def from_lake(account, path, lake, site="*"):
    folders = pathlib.Path(lake).glob(f"efd_site={site}/efd_topic=*")
    present = {folder.name.removeprefix("efd_topic=") for folder in folders}
    for topic, expected in oracle(path).items():
        name = stored_name(topic, present)
        account.topic(topic, expected, map(nested, lake_rows(lake, site, name)))
        present.discard(name)
    account.others(present, lambda name: map(nested, lake_rows(lake, site, name)))


def from_kafka(account, path, brokers, registry, site):
    from confluent_kafka import Consumer, TopicPartition
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroDeserializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    deserialize = AvroDeserializer(SchemaRegistryClient({"url": registry}))
    settings = {"bootstrap.servers": brokers, "group.id": "dialects", "enable.auto.commit": False}
    # A change of topics waits for the fetch that is under way.
    consumer = Consumer(settings | {"auto.offset.reset": "earliest", "fetch.wait.max.ms": 10})
    topics = consumer.list_topics(timeout=30).topics
    present = {name.removeprefix(f"{site}.") for name in topics if name.startswith(f"{site}.")}

    def records(name):
        public = f"{site}.{name}"
        for partition in topics[public].partitions if name in present else ():
            low, high = consumer.get_watermark_offsets(TopicPartition(public, partition), timeout=30)
            consumer.assign([TopicPartition(public, partition, low)])
            at = low
            while at < high:
                message = consumer.poll(30)
                if message is None or message.error():
                    sys.exit(f"{public}: {message and message.error()} at {at} of {high}")
                at = message.offset() + 1
                record = deserialize(message.value(), SerializationContext(public, MessageField.VALUE))
                times = {name: record.pop(name, "absent") for name in (SOURCE_TIME, RECEIVED_TIME)}
                yield record, times

    for topic, expected in oracle(path).items():
        name = stored_name(topic, present)
        account.topic(topic, expected, records(name))
        present.discard(name)
    account.others(present, records)
    consumer.close()


def from_bus(account, path, domain="0", quiet_after=5):
    sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "dialects"))
    import cyclone
    import shape
    from cyclonedds.builtin import BuiltinDataReader, BuiltinTopicDcpsPublication
    from cyclonedds.core import Policy, Qos
    from cyclonedds.domain import DomainParticipant
    from cyclonedds.sub import DataReader
    from cyclonedds.topic import Topic
    from cyclonedds.util import duration

    os.environ.setdefault("CYCLONEDDS_URI", cyclone.LOOPBACK)
    participant = DomainParticipant(int(domain))
    publications = BuiltinDataReader(participant, BuiltinTopicDcpsPublication)
    both = Policy.DataRepresentation(use_cdrv0_representation=True, use_xcdrv2_representation=True)
    qos = Qos(both, Policy.Reliability.Reliable(duration(seconds=10)), Policy.History.KeepAll)
    of_topic = {topic: struct for topic, struct, _ in cyclone.usual()}
    files = ("dialects.idl", "masks.idl", "xtypes.idl", "maps.idl")
    # The library's readers take nothing in XCDR1 that has something appendable in it; there it is as if it were final.
    of_type = {True: shape.types(*files), False: shape.types(*files, appendable="final")}
    readers, stored, last_at = {}, {}, None
    print("listening", flush=True)
    while last_at is None or time.monotonic() < last_at + quiet_after:
        for endpoint in publications.take(100):
            if not endpoint.sample_info.valid_data or endpoint.topic_name in readers:
                continue
            form = endpoint.qos[Policy.DataRepresentation]
            is_new = form is not None and form.use_xcdrv2_representation
            if ty := of_topic.get(endpoint.topic_name) or of_type[is_new].get(endpoint.type_name):
                # Of a dispose. The binding fails at those of mutable types.
                ty.py.deserialize_key = lambda *_, **__: None
                topic = Topic(participant, endpoint.topic_name, ty.py)
                readers[endpoint.topic_name] = (DataReader(participant, topic, qos=qos), ty)
        for name, (reader, ty) in readers.items():
            for sample in reader.take(1000):
                last_at = time.monotonic()
                if sample.sample_info.valid_data:
                    source = sample.sample_info.source_timestamp or None
                    times = {SOURCE_TIME: source, RECEIVED_TIME: time.time_ns()}
                    stored.setdefault(name, []).append((ty.record(sample), times))
        time.sleep(0.01)
    lines = oracle(path)
    for topic, expected in lines.items():
        account.topic(topic, expected, ((plain(record), times) for record, times in stored.pop(topic, [])))
    account.result["unexpected"] += sum(map(len, stored.values()))


def plain(value):
    """As a store would give what shape.py writes."""
    if isinstance(value, dict):
        if "$double" in value:
            return struct.unpack(">d", bytes.fromhex(value["$double"]))[0]
        if "$bytes" in value:
            return bytes.fromhex(value["$bytes"])
        return {name: plain(inner) for name, inner in value.get("$map", value).items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def main():
    path, store, *rest = sys.argv[1:]
    account = Account()
    {"lake": from_lake, "kafka": from_kafka, "bus": from_bus}[store](account, path, *rest)
    account.print()


if __name__ == "__main__":
    main()
