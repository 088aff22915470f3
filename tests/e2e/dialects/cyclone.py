"""Publishes on Eclipse's Python binding of Cyclone DDS, which announces types.

usage: cyclone.py --domain N --samples N --rate N --oracle FILE [--first N] [--twins | --change 1 | --change 2]

Each topic gets so many samples, with `number` from --first on; the rate is that of all together. The oracle gets a
line of JSON before each sample: the DDS topic, the record as shape.py has it, and the source time in nanoseconds.

With --twins, two writers of one topic have different types at the same time. With --change 1 and then --change 2, the
type of a topic is another in the second run.
"""

import argparse
import json
import os
import random
import sys
import time

import shape
from cyclonedds.core import Policy, Qos
from cyclonedds.domain import DomainParticipant
from cyclonedds.pub import DataWriter
from cyclonedds.topic import Topic
from cyclonedds.util import duration

LOOPBACK = (
    "<CycloneDDS><Domain><General><Interfaces><NetworkInterface name='lo' multicast='true'/></Interfaces></General>"
    "</Domain></CycloneDDS>"
)
IDL = shape.types("dialects.idl", "masks.idl", "xtypes.idl")
NUMBER = ("number", shape.Plain("long long"), {})


def own(name, *members):
    return shape.Struct(name, "final", [(member, IDL.get(kind) or shape.Plain(kind), {}) for member, kind in members])


def usual():
    """DDS topic, type, XCDR version."""
    plain = IDL["Dialects::Plain"]
    # The binding refuses to write what is appendable in XCDR1 where it is in something that is not mutable.
    old = plain.but(members=[it for it in plain.members if it[0] not in ("note", "notes")])
    for version, struct in ((1, old), (2, plain)):
        for extensibility in ("final", "appendable", "mutable"):
            yield f"Dialects/py::{extensibility}-{version}", struct.but(extensibility=extensibility), version
        for name in ("Masked", "Loose", "Sparse", "Keyed", "Slots", "Chooser")[: 4 + version]:
            yield f"Dialects_py_{name}_{version}", IDL[f"Dialects::{name}"], version
    yield "rt/chatter", own("std_msgs::msg::dds_::String_", ("data", "string")), 1
    joints = [NUMBER, ("names", shape.Many(shape.Plain("string")), {}), ("angles", shape.Many(shape.Plain("double")), {})]
    pose = own("lab_msgs::msg::dds_::Pose_", ("x", "double"), ("y", "double"))
    joints.append(("pose", pose, {}))
    yield "rt/arm/joints", shape.Struct("lab_msgs::msg::dds_::Joints_", "final", joints), 1


def twins():
    topic, name = "Dialects/py/twin", "Dialects::Twin"
    yield topic, own(name, ("number", "long long"), ("value", "long"), ("mode", "Dialects::Mode")), 1
    yield topic, own(name, ("number", "long long"), ("value", "double"), ("text", "string")), 2


def change(run):
    topic, name = "Dialects/py/change", "Dialects::Change"
    members = [("number", "long long"), ("value", "long"), ("gone", "boolean"), ("mode", "Dialects::Mode")]
    if run == 2:
        members = [("number", "long long"), ("value", "double"), ("mode", "Dialects::Mode"), ("come", "string")]
    yield topic, own(name, *members), 1


def qos_of(version):
    form = Policy.DataRepresentation(use_cdrv0_representation=version == 1, use_xcdrv2_representation=version == 2)
    return Qos(form, Policy.Reliability.Reliable(duration(seconds=10)), Policy.History.KeepAll)


class Source:
    """A writer, in a participant of its own where another has the topic with another type."""

    def __init__(self, participant, topic, struct, version, *policies):
        self.topic, self.struct = topic, struct
        qos = qos_of(version) + Qos(*policies)
        self.writer = DataWriter(participant, Topic(participant, topic, struct.py), qos=qos)
        self.keys = [member for member, _, notes in struct.members if "key" in notes]

    def sample(self, values, number):
        names = [member for member, *_ in self.struct.members]
        given = {"number": number} if "number" in names else {"data": f"hello {number}"}
        # Few instances, all of them again and again.
        given |= {"unit": number % 3 - 1, "axis": ["", "α", "x" * 11][number % 3], "slot": number % 4}
        return self.struct.value(values, **given)

    def publish(self, values, number, lines):
        sample, now = self.sample(values, number), time.time_ns()
        line = {"topic": self.topic, "source_time": now, "record": self.struct.record(sample)}
        lines.write(json.dumps(line, ensure_ascii=False) + "\n")
        lines.flush()
        self.writer.write(sample, timestamp=now)
        if self.keys and number % 5 == 0:
            self.writer.dispose(sample)
        if self.keys and number % 7 == 0:
            self.writer.unregister_instance(sample)


def wait_for_readers(sources, within=60):
    """Each type that a topic has gets a reader, and DDS brings each sample to all of them: a writer begins when all are
    there. What it sends before its own reader is there, and another is, comes from that one alone."""
    until, topics = time.monotonic() + within, [it.topic for it in sources]
    while lonely := [it.topic for it in sources
                     if len(it.writer.get_matched_subscriptions()) < topics.count(it.topic)]:
        if time.monotonic() > until:
            sys.exit(f"{len(lonely)} of {len(sources)} writers have no reader: {lonely}")
        time.sleep(0.1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--domain", type=int, default=0)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--oracle", required=True)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--twins", action="store_true")
    parser.add_argument("--change", type=int, choices=(1, 2))
    arguments = parser.parse_args()
    os.environ.setdefault("CYCLONEDDS_URI", LOOPBACK)
    topics = list(twins() if arguments.twins else change(arguments.change) if arguments.change else usual())
    shared = DomainParticipant(arguments.domain)
    names = [topic for topic, *_ in topics]
    sources = [
        Source(shared if names.count(topic) == 1 else DomainParticipant(arguments.domain), topic, struct, version)
        for topic, struct, version in topics
    ]
    wait_for_readers(sources)
    print("writers have readers", flush=True)
    values, last = random.Random(arguments.first), {}
    begun, written = time.monotonic(), 0
    with open(arguments.oracle, "a") as lines:
        for _ in range(arguments.samples):
            for source in sources:
                number = last[source.topic] = last.get(source.topic, arguments.first - 1) + 1
                source.publish(values, number, lines)
                written += 1
                time.sleep(max(0, begun + written / arguments.rate - time.monotonic()))
    for source in sources:
        source.writer.wait_for_acks(duration(seconds=20))
    print(f"done, published {written}", flush=True)
    time.sleep(1)


if __name__ == "__main__":
    main()
