"""Compares what is stored with what was published, value by value, to the bit.

It shares no code with the daemons: DuckDB and pandas read the lake, confluent-kafka's own consumer and Avro
deserializer read the public topics. The oracle was written by the publisher before it encoded anything.

usage: values.py ORACLE lake LAKE [SITE]
       values.py ORACLE kafka BROKERS REGISTRY SITE

Prints one JSON object: topics, published, stored, compared, lost (not stored, and named in `efd.losses` of the same
store), missing (neither), both (stored, and named by sequence number as lost), duplicate, unexpected (stored, never
published), misnamed (named, never published), lanes (from the lake), mismatches (the first ten).

A loss of blocks names a lane and how many records they held. As many samples of that lane's topics are then lost by
name, less the records of these blocks that arrived all the same (which only the lake can tell).
"""

import json
import math
import pathlib
import struct
import sys

OURS = {"private_rcvStamp", "private_efdStamp", "private_kafkaStamp"}
TAI_MINUS_UTC = 37.0
LOSSES = "efd.losses"
PLACE = ("efd_epoch", "efd_lane", "efd_block")


def bits(value):
    """Equal exactly when the values are equal to the bit; every NaN is one NaN (Avro's doubles carry no meaning in it)."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else struct.pack("<d", value)
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [bits(element) for element in value]
    return value


def key_of(record):
    index = record.get("salIndex")
    if index is None:
        index = next((v for k, v in record.items() if k.endswith("ID") and k[:1].isupper()), None)
    return (
        index,
        record.get("private_identity", ""),
        record.get("private_origin", 0),
        record["private_seqNum"],
    )


def lane_of(topic):
    """SAL names its commands and events: `lsst.sal.Test.logevent_x`."""
    is_event = topic.rpartition(".")[2].startswith(("logevent_", "command_", "ackcmd"))
    return "events" if is_event else "telemetry"


class Account:
    def __init__(self):
        names = "topics published stored compared lost missing both duplicate unexpected misnamed".split()
        self.result = dict.fromkeys(names, 0)
        self.mismatches = []
        self.named = {}
        self.blocks = {}
        self.by_count = {}
        self.absent = {}
        self.lanes = set()

    def losses(self, records):
        """Takes the records of `efd.losses`: ranges of a publisher's sequence numbers, or of our own blocks."""
        for record in records:
            if 0 < record["first_seq"] <= record["last_seq"]:
                index = record["sal_index"] if record["sal_index"] >= 0 else None
                publisher = (record["topic"], index, record["identity"], record["origin"])
                ranges = self.named.setdefault(publisher, [])
                ranges.append((record["first_seq"], record["last_seq"]))
            elif record["lane"]:
                named = self.blocks.setdefault((record["epoch"], record["lane"]), set())
                numbers = set(range(record["first_block"], record["last_block"] + 1))
                # Killed between naming and removing, an edge names the same blocks again: they are absent once.
                if not numbers or numbers - named:
                    lane = record["lane"].partition(".")[0]
                    self.by_count[lane] = self.by_count.get(lane, 0) + max(0, record["count"])
                named |= numbers

    def is_named(self, topic, key):
        *publisher, sequence = key
        return any(first <= sequence <= last for first, last in self.named.get((topic, *publisher), ()))

    def is_in_named_block(self, record):
        epoch, lane, block = (record.get(name) for name in PLACE)
        return block in self.blocks.get((epoch, lane), ())

    def complain(self, text):
        self.mismatches.append(text)

    def topic(self, topic, expected, stored):
        """`expected`: list of dicts of fields; `stored`: iterable of dicts."""
        self.result["topics"] += 1
        wanted = {key_of(fields): fields for fields in expected}
        self.result["published"] += len(expected)
        seen = set()
        for record in stored:
            self.result["stored"] += 1
            self.lanes.add(record.get("efd_lane"))
            if self.is_in_named_block(record):
                self.by_count[lane_of(topic)] -= 1
            key = key_of(record)
            if key in seen:
                self.result["duplicate"] += 1
                continue
            seen.add(key)
            fields = wanted.get(key)
            if fields is None:
                self.result["unexpected"] += 1
                continue
            self.compare(topic, key, fields, record)
        absent = wanted.keys() - seen
        lost = sum(self.is_named(topic, key) for key in absent)
        self.result["lost"] += lost
        self.result["both"] += sum(self.is_named(topic, key) for key in seen)
        lane = lane_of(topic)
        self.absent[lane] = self.absent.get(lane, 0) + len(absent) - lost
        self.settle_names(topic, wanted)

    def settle_names(self, topic, wanted):
        """Takes the topic's names out; what of them nobody published is misnamed."""
        for publisher in [publisher for publisher in self.named if publisher[0] == topic]:
            numbers = set()
            for first, last in self.named.pop(publisher):
                numbers.update(range(first, last + 1))
            self.result["misnamed"] += sum((*publisher[1:], number) not in wanted for number in numbers)

    def settle(self):
        """After the last topic."""
        for topic in {publisher[0] for publisher in self.named}:
            self.settle_names(topic, {})
        for lane in self.by_count.keys() | self.absent.keys():
            count, absent = max(0, self.by_count.get(lane, 0)), self.absent.get(lane, 0)
            good = min(count, absent)
            self.result["misnamed"] += count - good
            self.result["lost"] += good
            self.result["missing"] += absent - good

    def compare(self, topic, key, fields, record):
        for name, value in fields.items():
            if name in OURS:
                continue
            if name not in record:
                return self.complain(f"{topic} {key}: no field {name}")
            if bits(record[name]) != bits(value):
                return self.complain(f"{topic} {key}: {name} is {record[name]!r}, was {value!r}")
        snd = record["private_sndStamp"]
        if math.isfinite(snd) and snd > 1.5e9 and record["private_efdStamp"] != snd - TAI_MINUS_UTC:
            return self.complain(f"{topic} {key}: efdStamp {record['private_efdStamp']} of sndStamp {snd}")
        if not record["private_rcvStamp"] <= record["private_kafkaStamp"]:
            return self.complain(f"{topic} {key}: encoded before it was received")
        self.result["compared"] += 1

    def print(self):
        lanes = sorted(lane for lane in self.lanes if lane)
        more = dict(lanes=lanes, mismatches=self.mismatches[:10], mismatched=len(self.mismatches))
        print(json.dumps(self.result | more))


def oracle(folder):
    for path in sorted(pathlib.Path(folder, "values").glob("*.jsonl")):
        with path.open() as lines:
            yield path.name.removesuffix(".jsonl"), [json.loads(line)["fields"] for line in lines]


def from_lake(account, folder, lake, site="*"):
    import duckdb

    connection = duckdb.connect()

    def rows(topic):
        files = f"efd_site={site}/efd_topic={topic}/*/*.parquet"
        if not list(pathlib.Path(lake).glob(files)):
            return []
        cursor = connection.execute(f"SELECT * EXCLUDE (time) FROM read_parquet('{lake}/{files}', union_by_name=true)")
        names = [column[0] for column in cursor.description]
        return (dict(zip(names, row)) for row in cursor.fetchall())

    account.losses(rows(LOSSES))
    for topic, expected in oracle(folder):
        account.topic(topic, expected, rows(topic))


def from_pandas(account, folder, lake, site="*"):
    import pandas

    def rows(topic):
        for file in sorted(pathlib.Path(lake).glob(f"efd_site={site}/efd_topic={topic}/*/*.parquet")):
            yield from pandas.read_parquet(file, partitioning=None).to_dict(orient="records")

    account.losses(rows(LOSSES))
    for topic, expected in oracle(folder):
        account.topic(topic, expected, rows(topic))


def from_kafka(account, folder, brokers, registry, site):
    from confluent_kafka import Consumer, TopicPartition
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroDeserializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    deserialize = AvroDeserializer(SchemaRegistryClient({"url": registry}))
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "checker",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            # A change of topics waits for the fetch that is under way.
            "fetch.wait.max.ms": 10,
        }
    )
    present = consumer.list_topics(timeout=30).topics

    def records(topic):
        public = f"{site}.{topic}"
        if public not in present:
            return
        for partition in present[public].partitions:
            place = TopicPartition(public, partition, 0)
            low, high = consumer.get_watermark_offsets(place, timeout=30)
            consumer.assign([TopicPartition(public, partition, low)])
            at = low
            while at < high:
                message = consumer.poll(30)
                if message is None or message.error():
                    account.complain(f"{public}: {message and message.error()} at {at} of {high}")
                    break
                at = message.offset() + 1
                context = SerializationContext(public, MessageField.VALUE)
                record = deserialize(message.value(), context)
                index = record.get("salIndex")
                if topic != LOSSES and (message.key() or None) != (None if index is None else str(index).encode()):
                    account.complain(f"{public}: key {message.key()!r} of salIndex {index}")
                yield record

    account.losses(records(LOSSES))
    for topic, expected in oracle(folder):
        account.topic(topic, expected, records(topic))
    consumer.close()


def main():
    folder, store, *rest = sys.argv[1:]
    account = Account()
    {"lake": from_lake, "pandas": from_pandas, "kafka": from_kafka}[store](account, folder, *rest)
    account.settle()
    account.print()


if __name__ == "__main__":
    main()
