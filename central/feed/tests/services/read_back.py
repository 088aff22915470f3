"""Every record of the topics with a prefix, by Confluent's client.

usage: read_back.py BOOTSTRAP REGISTRY_URL PREFIX
Prints one line of JSON: how many, how many identities, and what the values add up to.
"""

import json
import struct
import sys

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

bootstrap, registry_url, prefix = sys.argv[1:]
deserialize = AvroDeserializer(SchemaRegistryClient({"url": registry_url}))
consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "none", "enable.auto.commit": False})
topics = [t for t in consumer.list_topics(timeout=60).topics if t.startswith(prefix)]
left = 0
for topic in topics:
    low, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)
    left += high - low
consumer.assign([TopicPartition(topic, 0, 0) for topic in topics])

ids, pads, records, total, seen = set(), set(), 0, 0, set()
while records < left:
    message = consumer.poll(60)
    assert message is not None, "nothing within a minute"
    assert message.error() is None, message.error()
    headers = dict(message.headers())
    edge, epoch, kind, shard, block, index = struct.unpack(">16s16sBHQI", headers["efd.id"])
    ids.add((edge, epoch, kind, shard, block, index))
    value = deserialize(message.value(), SerializationContext(message.topic(), MessageField.VALUE))
    (time,) = struct.unpack(">q", headers["efd.time"])
    assert time == 1_795_478_400_000_000_000 + value["n"], (time, value)
    assert headers["efd.class"] == (b"fill" if block % 10 == 0 else b"live"), headers
    expected_key = str(value["n"] % 5 - 1).encode() if value["n"] % 2 else None
    assert message.key() == expected_key, (message.key(), value)
    records += 1
    total += value["n"]
    pads.add(len(value["pad"]))
    seen.add(message.topic())
consumer.close()
print(json.dumps({"records": records, "ids": len(ids), "sum": total, "pads": sorted(pads), "topics": len(seen)}))
