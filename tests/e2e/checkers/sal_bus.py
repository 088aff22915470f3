"""A SAL publisher and a SAL reader that share no code with the daemons: Eclipse's own Python binding of Cyclone DDS.

usage: sal_bus.py publish IDL ORACLE [--site S] [--seconds N] [--rate N] [--stamps FILE]
       sal_bus.py listen IDL [--site S] [--quiet-after N]

`publish` makes the types with the binding's own type system, so they are announced with XTypes information, and writes
an oracle as efd-sim does: `publishers.json`, and `values/<topic>.jsonl` before each sample is written. With `--stamps`,
a JSON list of TAI seconds, each topic publishes one sample for each of them in `private_sndStamp`.

`listen` reads all topics until none has come for a while (or SIGTERM), and prints one JSON object: how many samples
came, how many sequence numbers within what each publisher sent did not, how many came twice, and the longest silence.
"""

import argparse
import json
import math
import os
import pathlib
import random
import re
import signal
import sys
import time
from collections import defaultdict

STRUCT = re.compile(r"struct\s+(\w+)\s*\{(.*?)\n\s*\}\s*;", re.S)
MEMBER = re.compile(r"^\s*((?:unsigned\s+)?(?:long\s+long|\w+)(?:<\s*\d+\s*>)?)\s+(\w+)\s*(?:\[(\d+)\])?\s*;")
KEYLIST = re.compile(r"#pragma\s+keylist\s+(\w+)[ \t]*(.*)")
TAI_MINUS_UTC = 37


def parse(path):
    """(module, [(struct, [(type, name, count)], [key])]) of an IDL file as SAL's generator writes it."""
    text = pathlib.Path(path).read_text()
    module = re.search(r"module\s+(\w+)", text).group(1)
    keys = {name: rest.split() for name, rest in KEYLIST.findall(text)}
    structs = []
    for name, body in STRUCT.findall(text):
        members = [MEMBER.match(line) for line in body.splitlines()]
        members = [(" ".join(m[1].split()), m[2], int(m[3]) if m[3] else None) for m in members if m]
        structs.append((name, members, keys.get(name, [])))
    return module, structs


def types_of(path):
    from cyclonedds.idl import make_idl_struct
    from cyclonedds.idl import types as t

    plain = {
        "boolean": bool, "octet": t.uint8, "char": t.char, "short": t.int16, "unsigned short": t.uint16,
        "long": t.int32, "int": t.int32, "unsigned long": t.uint32, "long long": t.int64,
        "unsigned long long": t.uint64, "float": t.float32, "double": t.float64, "string": str,
    }
    module, structs = parse(path)
    for name, members, keys in structs:
        fields = {}
        for kind, member, count in members:
            bound = re.fullmatch(r"string<\s*(\d+)\s*>", kind)
            fields[member] = t.bounded_str[int(bound[1])] if bound else plain[kind]
            if count:
                fields[member] = t.array[fields[member], count]
        annotations = {key: {"key": True} for key in keys}
        struct = make_idl_struct(name, f"{module}.{name}", fields, field_annotations=annotations)
        yield module, name, members, struct


def base_name(module, struct):
    """`LabMount_elevation_1a2b3c4d` → `lsst.sal.LabMount.elevation`."""
    return f"lsst.sal.{module}.{re.sub('_[0-9a-f]{8}$', '', struct)}"


def qos_of(site, module, struct):
    from cyclonedds.core import Policy, Qos
    from cyclonedds.util import duration

    partition = f"{site}.{module}.{'cmd' if struct.startswith('command_') else 'data'}"
    policies = [Policy.Reliability.Reliable(duration(seconds=1)), Policy.Partition([partition])]
    if struct.startswith("logevent_"):
        policies.append(Policy.Durability.TransientLocal)
    if struct.startswith("ackcmd"):
        policies.append(Policy.Ownership.Exclusive)
    return Qos(*policies)


def offers_of(qos):
    """A name and a QoS for each kind of offer that a writer of a topic may make, beside the one that SAL makes."""
    from cyclonedds.core import Policy, Qos
    from cyclonedds.util import duration

    reliable, ownership = Policy.Reliability.Reliable(duration(seconds=1)), Policy.Ownership
    changes = {
        "volatile": [reliable, Policy.Durability.Volatile],
        "local": [reliable, Policy.Durability.TransientLocal, Policy.History.KeepLast(10)],
        "transient": [reliable, Policy.Durability.Transient],
        "effort": [Policy.Reliability.BestEffort, Policy.Durability.Volatile],
        "deadline": [reliable, Policy.Deadline(duration(seconds=5)), Policy.LatencyBudget(duration(milliseconds=50))],
        "exclusive": [reliable, ownership.Exclusive, Policy.OwnershipStrength(7)],
        "shared": [reliable, ownership.Shared],
        "alive": [reliable, Policy.Liveliness.ManualByTopic(duration(seconds=30))],
    }
    yield "", qos
    for name, policies in changes.items():
        replaced = {policy.__scope__ for policy in policies}
        kept = [policy for policy in qos if policy.__scope__ not in replaced]
        yield f"-{name}", Qos(*kept, *policies)


class Values:
    """Every kind of field with values that are easy to get wrong."""

    integers = {"boolean": None, "octet": (0, 2**8 - 1), "short": (-2**15, 2**15 - 1), "unsigned short": (0, 2**16 - 1),
                "long": (-2**31, 2**31 - 1), "int": (-2**31, 2**31 - 1), "unsigned long": (0, 2**32 - 1),
                "long long": (-2**63, 2**63 - 1), "unsigned long long": (0, 2**63 - 1), "char": (0, 127)}

    def __init__(self, seed):
        self.random = random.Random(seed)

    def one(self, kind):
        if kind == "boolean":
            return self.random.random() < 0.5
        if kind.startswith("string"):
            return self.random.choice(["", "ok", "naïve café", "日本語 ✓", 'tab\tand "quote"\\'])
        if kind == "double":
            return self.random.choice([math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308,
                                       self.random.gauss(0, 1000)])
        if kind == "float":
            from numpy import float32
            return float(float32(self.random.choice([math.nan, math.inf, -0.0, self.random.gauss(0, 1000)])))
        low, high = self.integers[kind]
        return self.random.choice([low, high, 0, self.random.randint(low, high)])

    def field(self, kind, count):
        return self.one(kind) if count is None else [self.one(kind) for _ in range(count)]


def publish(arguments):
    from cyclonedds.core import Policy
    from cyclonedds.domain import DomainParticipant
    from cyclonedds.pub import DataWriter, Publisher
    from cyclonedds.topic import Topic

    participant = DomainParticipant(0)
    values, origin = Values(7), os.getpid()
    folder = pathlib.Path(arguments.oracle, "values")
    folder.mkdir(parents=True, exist_ok=True)
    sources = []
    for module, name, members, struct in types_of(arguments.idl):
        qos = qos_of(arguments.site, module, name)
        topic = Topic(participant, f"{module}_{name}", struct)
        lines = (folder / f"{base_name(module, name)}.jsonl").open("w")
        # Of several exclusive writers the strongest is heard alone, by every reader.
        is_shared = Policy.Ownership.Exclusive not in qos
        for offer, qos in offers_of(qos) if arguments.offers and is_shared else [("", qos)]:
            writer = DataWriter(Publisher(participant, qos=qos), topic, qos=qos)
            sources.append((module, name, members, struct, writer, lines, offer))
    wait_for_readers([source[4] for source in sources])
    print("writers have readers", flush=True)
    last = defaultdict(int)

    def one(source, index, stamp):
        module, name, members, struct, writer, lines, offer = source
        indexed = any(member == "salIndex" for _, member, _ in members)
        identity = (f"{module}:{index}" if indexed else module) + offer
        publisher = (base_name(module, name), index if indexed else None, identity, origin)
        last[publisher] += 1
        fields = {member: values.field(kind, count) for kind, member, count in members}
        fields |= {"private_revCode": name[-8:], "private_sndStamp": stamp, "private_rcvStamp": 0.0,
                   "private_seqNum": last[publisher], "private_identity": identity, "private_origin": origin}
        if indexed:
            fields["salIndex"] = index
        lines.write(json.dumps({"seq": last[publisher], "fields": fields}, ensure_ascii=False) + "\n")
        writer.write(struct(**fields))

    if arguments.stamps:
        for stamp in json.loads(pathlib.Path(arguments.stamps).read_text()):
            for source in sources:
                one(source, 1, stamp)
            time.sleep(0.01)
    else:
        until, period, turn = time.monotonic() + arguments.seconds, 1 / arguments.rate, 0
        while time.monotonic() < until:
            one(sources[turn % len(sources)], 1 + turn // len(sources) % 2, time.time() + TAI_MINUS_UTC)
            turn += 1
            time.sleep(period)
    for source in sources:
        source[5].close()
    rows = [dict(topic=topic, sal_index=index, identity=identity, origin=pid, last_seq=seq)
            for (topic, index, identity, pid), seq in sorted(last.items(), key=str)]
    pathlib.Path(arguments.oracle, "publishers.json").write_text(json.dumps(rows))
    print(f"done, published {sum(last.values())}", flush=True)
    time.sleep(3)


def wait_for_readers(writers, within=90):
    until = time.monotonic() + within
    while any(len(writer.get_matched_subscriptions()) == 0 for writer in writers):
        if time.monotonic() > until:
            lonely = [str(writer.get_qos()) for writer in writers if len(writer.get_matched_subscriptions()) == 0]
            sys.exit(f"{len(lonely)} of {len(writers)} writers have no reader: {lonely[0]}")
        time.sleep(0.1)


def listen(arguments):
    from cyclonedds.core import Policy, Qos, ReadCondition, SampleState, ViewState, InstanceState, WaitSet
    from cyclonedds.domain import DomainParticipant
    from cyclonedds.sub import DataReader, Subscriber
    from cyclonedds.topic import Topic
    from cyclonedds.util import duration

    participant = DomainParticipant(0)
    readers, waitset = [], WaitSet(participant)
    for module, name, members, struct in types_of(arguments.idl):
        qos = qos_of(arguments.site, module, name)
        qos = Qos(*[policy for policy in qos], Policy.History.KeepAll)
        topic = Topic(participant, f"{module}_{name}", struct)
        reader = DataReader(Subscriber(participant, qos=qos), topic, qos=qos)
        condition = ReadCondition(reader, SampleState.NotRead | ViewState.Any | InstanceState.Any)
        waitset.attach(condition)
        readers.append((base_name(module, name), reader, condition))
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    print("listening", flush=True)
    seen = defaultdict(set)
    samples = twice = 0
    last_at = longest = None
    while not stopped:
        waitset.wait(duration(milliseconds=200))
        now = time.monotonic()
        came = 0
        for topic, reader, _ in readers:
            for sample in reader.take(N=1000):
                if not sample.sample_info.valid_data:
                    continue
                key = (topic, getattr(sample, "salIndex", None), sample.private_identity, sample.private_origin)
                twice += sample.private_seqNum in seen[key]
                seen[key].add(sample.private_seqNum)
                came += 1
        if came:
            samples += came
            if last_at is not None:
                longest = max(longest or 0.0, now - last_at)
            last_at = now
        elif last_at is not None and now - last_at > arguments.quiet_after:
            break
    missing = sum(max(numbers) - min(numbers) + 1 - len(numbers) for numbers in seen.values())
    print(json.dumps(dict(publishers=len(seen), samples=samples, missing=missing, twice=twice,
                          longest_silence=round(longest or 0.0, 3))), flush=True)


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("publish")
    one.add_argument("idl")
    one.add_argument("oracle")
    one.add_argument("--seconds", type=float, default=5)
    one.add_argument("--rate", type=float, default=200)
    one.add_argument("--stamps")
    one.add_argument("--offers", action="store_true", help="a writer for each kind of offer, of each topic")
    other = commands.add_parser("listen")
    other.add_argument("idl")
    other.add_argument("--quiet-after", type=float, default=25)
    for command in (one, other):
        command.add_argument("--site", default="summit")
    arguments = parser.parse_args()
    os.environ.setdefault(
        "CYCLONEDDS_URI",
        "<CycloneDDS><Domain><General><Interfaces><NetworkInterface name='lo' multicast='true'/></Interfaces>"
        "</General></Domain></CycloneDDS>",
    )
    {"publish": publish, "listen": listen}[arguments.command](arguments)


if __name__ == "__main__":
    main()
