"""What an administrator of a Kafka cluster does to topics.

usage: admin.py BROKERS delete TOPIC
       admin.py BROKERS partitions TOPIC COUNT
       admin.py BROKERS set TOPIC NAME VALUE
       admin.py BROKERS forget TOPIC COUNT      the first records that it has
       admin.py BROKERS again TOPIC             the first record that it has is appended once more

What is made only when its first record comes is waited for. The last line printed is JSON.
"""

import json
import sys
import time

PATIENCE = 40  # seconds


def wait_for(client, topic):
    end = time.monotonic() + PATIENCE
    while topic not in client.list_topics(timeout=10).topics:
        if time.monotonic() > end:
            sys.exit(f"there is no topic {topic} after {PATIENCE} s")
        time.sleep(0.2)


def first_record(brokers, topic):
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "admin", "enable.auto.commit": False})
    begin, _ = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)
    consumer.assign([TopicPartition(topic, 0, begin)])
    record = consumer.poll(PATIENCE)
    consumer.close()
    if record is None or record.error():
        sys.exit(f"{topic} gives no record: {record and record.error()}")
    return record


def append_again(brokers, topic):
    from confluent_kafka import Producer

    record = first_record(brokers, topic)
    producer = Producer({"bootstrap.servers": brokers})
    producer.produce(topic, record.value(), record.key(), 0, headers=record.headers())
    if producer.flush(PATIENCE):
        sys.exit(f"{topic} does not take a record")


def main():
    from confluent_kafka import TopicPartition, admin

    brokers, what, topic, *rest = sys.argv[1:]
    client = admin.AdminClient({"bootstrap.servers": brokers})
    wait_for(client, topic)
    if what == "delete":
        futures = client.delete_topics([topic], operation_timeout=15)
    elif what == "partitions":
        futures = client.create_partitions([admin.NewPartitions(topic, int(rest[0]))])
    elif what == "set":
        name, value = rest
        entry = admin.ConfigEntry(name, value, incremental_operation=admin.AlterConfigOpType.SET)
        resource = admin.ConfigResource(admin.ResourceType.TOPIC, topic, incremental_configs=[entry])
        futures = client.incremental_alter_configs([resource])
    elif what == "forget":
        begin = first_record(brokers, topic).offset()
        futures = client.delete_records([TopicPartition(topic, 0, begin + int(rest[0]))])
    elif what == "again":
        append_again(brokers, topic)
        futures = {}
    else:
        sys.exit(__doc__)
    for future in futures.values():
        future.result(15)
    print(json.dumps({what: topic}))


if __name__ == "__main__":
    main()
