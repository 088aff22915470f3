"""How long records took from their event time to their public topic, by the broker's own stamp of each.

usage: live.py BROKERS SITE [--from SECONDS] [--until SECONDS]

It shares no code with the daemons. `--from` and `--until` bound the event time (UTC, Unix seconds). Prints one JSON
object: for each topic `records`, and of what each took, in seconds, `p50`, `p99` and `max`; stamps have milliseconds.
"""

import argparse
import json
import math
import struct


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("brokers")
    parser.add_argument("site")
    parser.add_argument("--from", dest="begin", type=float, default=-math.inf)
    parser.add_argument("--until", type=float, default=math.inf)
    return parser.parse_args()


def took(consumer, topic):
    """Pairs of event time and seconds to the broker's stamp, of one topic with one partition."""
    from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, TopicPartition

    low, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)
    consumer.assign([TopicPartition(topic, 0, low)])
    offset = low
    while offset < high:
        for message in consumer.consume(min(1000, high - offset), timeout=5):
            if message.error():
                raise SystemExit(f"{topic}: {message.error()}")
            offset = message.offset() + 1
            kind, stamp = message.timestamp()
            if kind != TIMESTAMP_LOG_APPEND_TIME:
                raise SystemExit(f"{topic}: its stamps are not the broker's")
            time = struct.unpack(">q", dict(message.headers())["efd.time"])[0] / 1e9
            yield time, stamp / 1e3 - time


def main():
    from confluent_kafka import Consumer

    given = arguments()
    consumer = Consumer(
        {"bootstrap.servers": given.brokers, "group.id": "live", "enable.auto.commit": False, "fetch.wait.max.ms": 10}
    )
    prefix = f"{given.site}.lsst.sal."
    found = {}
    for topic in sorted(consumer.list_topics(timeout=30).topics):
        if not topic.startswith(prefix):
            continue
        seconds = sorted(it for time, it in took(consumer, topic) if given.begin <= time < given.until)
        if seconds:
            at = {name: seconds[(len(seconds) - 1) * percent // 100] for name, percent in (("p50", 50), ("p99", 99))}
            rounded = {name: round(value, 3) for name, value in (at | {"max": seconds[-1]}).items()}
            found[topic[len(given.site) + 1 :]] = {"records": len(seconds)} | rounded
    print(json.dumps(found))


if __name__ == "__main__":
    main()
