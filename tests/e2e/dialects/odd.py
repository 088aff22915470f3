"""Writers on Eclipse's Python binding that are not like others: one keeps all its history for late joiners, one does not
always send what it announces.

usage: odd.py --oracle FILE --samples N --rate N (--latched | --lie N)

The oracle gets a line before each sample, as that of cyclone.py, but for every N-th with --lie: these have more than
their type, which the library lets pass.
"""

import argparse
import os
import random
import time

import cyclone
from cyclonedds.core import Policy
from cyclonedds.domain import DomainParticipant
from cyclonedds.util import duration

MORE = b"\x01" * 16


UNLIMITED = [-1] * 3
LATCHED = (
    Policy.Durability.TransientLocal,
    Policy.DurabilityService(duration(seconds=0), Policy.History.KeepAll, *UNLIMITED),
)


class Liar(cyclone.Source):
    def lie(self, values, number):
        sample = self.sample(values, number)
        more = sample.serialize(use_version_2=False) + MORE
        sample.serialize = lambda **_: more
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
        struct = cyclone.own("lab_msgs::msg::dds_::Latched_", *members)
        source = cyclone.Source(participant, "rt/latched", struct, 1, *LATCHED)
    else:
        source = Liar(participant, "Dialects/liar", cyclone.own("Dialects::Liar", *members), 1)
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
