"""Writers on Eclipse's Python binding that are not like others: one keeps all its history for late joiners, one does not
always send what it announces.

usage: odd.py --oracle FILE --samples N --rate N (--latched | --lie N)

The oracle gets a line before each sample, as that of cyclone.py, but for every N-th with --lie: of these only the first
member is sent.
"""

import argparse
import os
import random
import time

import cyclone
from cyclonedds.core import Policy, Qos
from cyclonedds.domain import DomainParticipant
from cyclonedds.pub import DataWriter
from cyclonedds.topic import Topic
from cyclonedds.util import duration

HEADER_AND_NUMBER = 4 + 8


class Latched(cyclone.Source):
    def __init__(self, participant, topic, struct):
        super().__init__(participant, topic, struct, 1)
        unlimited = [-1] * 3
        kept = Policy.DurabilityService(duration(seconds=0), Policy.History.KeepAll, *unlimited)
        qos = cyclone.qos_of(1) + Qos(Policy.Durability.TransientLocal, kept)
        self.writer = DataWriter(participant, Topic(participant, topic, struct.py), qos=qos)


class Liar(cyclone.Source):
    def lie(self, values, number):
        sample = self.sample(values, number)
        begin = sample.serialize(use_version_2=False)[:HEADER_AND_NUMBER]
        sample.serialize = lambda **_: begin
        self.writer.write(sample)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--oracle", required=True)
    parser.add_argument("--samples", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--latched", action="store_true")
    what.add_argument("--lie", type=int)
    arguments = parser.parse_args()
    os.environ.setdefault("CYCLONEDDS_URI", cyclone.LOOPBACK)
    participant = DomainParticipant(0)
    members = [("number", "long long"), ("text", "string"), ("value", "double")]
    if arguments.latched:
        source = Latched(participant, "rt/latched", cyclone.own("lab_msgs::msg::dds_::Latched_", *members))
    else:
        source = Liar(participant, "Dialects/liar", cyclone.own("Dialects::Liar", *members))
    cyclone.wait_for_readers([source])
    values, begun = random.Random(1), time.monotonic()
    with open(arguments.oracle, "a") as lines:
        for number in range(1, arguments.samples + 1):
            if arguments.lie and number % arguments.lie == 0:
                source.lie(values, number)
            else:
                source.publish(values, number, lines)
            time.sleep(max(0, begun + number / arguments.rate - time.monotonic()))
    # Who was away asks for the history.
    cyclone.wait_for_readers([source])
    source.writer.wait_for_acks(duration(seconds=60))
    print(f"done, published {arguments.samples}", flush=True)
    time.sleep(3)


if __name__ == "__main__":
    main()
