"""One Avro record through a real broker and a real registry.

usage: round_trip.py produce|consume BOOTSTRAP REGISTRY_URL TOPIC
Prints one line of JSON: where the record is, and (consume) what it holds.
"""

import json
import sys

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

SCHEMA = json.dumps({
    "type": "record",
    "name": "elevation",
    "namespace": "lsst.sal.MTMount",
    "fields": [
        {"name": "salIndex", "type": "long", "default": 0},
        {"name": "actualPosition", "type": "double", "default": 0.0, "units": "deg"},
        {"name": "axis", "type": {"type": "array", "items": "double"}, "default": []},
    ],
})
RECORD = {"salIndex": -(2**53) - 1, "actualPosition": 86.5, "axis": [0.1, -0.0, 1e308]}

action, bootstrap, registry_url, topic = sys.argv[1:]
registry = SchemaRegistryClient({"url": registry_url})
context = SerializationContext(topic, MessageField.VALUE)

if action == "produce":
    delivered = []
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True})
    value = AvroSerializer(registry, SCHEMA)(RECORD, context)
    producer.produce(topic, value, on_delivery=lambda error, message: delivered.append((error, message)))
    producer.flush(60)
    ((error, message),) = delivered
    assert error is None, error
    subject = registry.get_latest_version(f"{topic}-value")
    result = {"partition": message.partition(), "offset": message.offset(), "version": subject.version, "bytes": len(value)}
else:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "none", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, 0)])
    message = consumer.poll(60)
    assert message is not None, "nothing within a minute"
    assert message.error() is None, message.error()
    record = AvroDeserializer(registry)(message.value(), context)
    low, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)
    consumer.close()
    result = {"offset": message.offset(), "count": high - low, "equal": record == RECORD, "record": record}

print(json.dumps(result))
