"""What an administrator of a Kafka cluster does to topics.

usage: admin.py BROKERS delete TOPIC
       admin.py BROKERS partitions TOPIC COUNT
       admin.py BROKERS set TOPIC NAME VALUE

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


def main():
    from confluent_kafka import admin

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
    else:
        sys.exit(__doc__)
    for future in futures.values():
        future.result(15)
    print(json.dumps({what: topic}))


if __name__ == "__main__":
    main()
