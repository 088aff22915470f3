"""That dialects.py sees what is wrong. usage: python3 -m unittest test_dialects, in this folder."""

import copy
import struct
import time
import unittest

import dialects

TOPIC, SENT = "Lab/a-b::C", time.time_ns() - 10**9
RECORD = {
    "real": {"$double": "8000000000000000"},
    "flag": True,
    "blob": {"$bytes": "00ff"},
    "counts": {"$map": {"a": 1, "b": None}},
    "mode": "IDLE",
    "point": {"x": {"$double": "7ff8000000000000"}, "absent": None},
    "path": [[{"x": {"$double": "0000000000000001"}}], []],
}
STORED = {
    "real": -0.0, "flag": True, "blob": b"\x00\xff", "counts": [("a", 1), ("b", None)], "mode": "IDLE",
    "point": {"x": struct.unpack(">d", bytes.fromhex("7ff8000000000000"))[0], "absent": None}, "path": [[{"x": 5e-324}], []],
}


def line(number):
    return {"topic": TOPIC, "source_time": SENT + number, "record": {"number": number, **RECORD}}


def sample(number, source=True, received=10**6, **altered):
    source = SENT + number if source is True else source
    times = {dialects.SOURCE_TIME: source, dialects.RECEIVED_TIME: SENT + received}
    return {"number": number, **copy.deepcopy(STORED), **altered}, times


def faults(stored, lines=None):
    """What is not 0 of the account of ten samples, but for the plain counts."""
    account = dialects.Account()
    account.topic(TOPIC, lines or [line(number) for number in range(1, 11)], iter(stored))
    result = dict(account.result, mismatched=len(account.faults))
    plain = ("topics", "published", "stored")
    return {key: count for key, count in result.items() if count and key not in plain}


ALL = [sample(number) for number in range(1, 11)]


class Law(unittest.TestCase):
    def test_all_is_well(self):
        self.assertEqual(faults(ALL), {"compared": 10})

    def test_missing_doubled_unexpected(self):
        self.assertEqual(faults(ALL[:3] + ALL[4:]), {"compared": 9, "missing": 1})
        self.assertEqual(faults([]), {"missing": 10})
        self.assertEqual(faults([*ALL, sample(4)]), {"compared": 10, "duplicate": 1})
        self.assertEqual(faults([*ALL, sample(11)]), {"compared": 10, "unexpected": 1})
        self.assertEqual(faults([sample(0), *ALL[1:]]), {"compared": 9, "missing": 1, "unexpected": 1})

    def test_altered(self):
        for altered in (
            dict(real=0.0), dict(real=0), dict(flag=1), dict(flag=None), dict(blob=b"\x00\xfe"), dict(blob=[0, 255]),
            dict(counts=[("a", 1)]), dict(counts=[("a", 1), ("b", 0)]), dict(counts=[("a", 2), ("a", 1), ("b", None)]),
            dict(mode="OFF"), dict(point={"x": float("nan")}), dict(point={"x": float("inf"), "absent": None}),
            dict(path=[[{"x": 0.0}], []]), dict(path=[[{"x": 5e-324}]]), dict(path=[[{"x": 5e-324}], [None]]), dict(more=1),
        ):
            self.assertEqual(faults([*ALL[:3], sample(4, **altered), *ALL[4:]]), {"compared": 9, "mismatched": 1}, altered)
        whole, times = sample(4)
        del whole["mode"]
        self.assertEqual(faults([*ALL[:3], (whole, times), *ALL[4:]]), {"compared": 9, "mismatched": 1})

    def test_times(self):
        for times in (dict(source=None), dict(source=SENT), dict(received=-(10**10)), dict(received=10**15)):
            self.assertEqual(faults([*ALL[:3], sample(4, **times), *ALL[4:]]), {"compared": 9, "mismatched": 1}, times)
        of_unknown = [line(1) | {"source_time": True}]
        self.assertEqual(faults([sample(1)], of_unknown), {"compared": 1})
        self.assertEqual(faults([sample(1, None)], of_unknown), {"mismatched": 1})
        of_none = [line(1) | {"source_time": None}]
        self.assertEqual(faults([sample(1, None)], of_none), {"compared": 1})
        self.assertEqual(faults([sample(1)], of_none), {"mismatched": 1})

    def test_times_of_the_lake(self):
        record, times = sample(4)
        for time_of_row, origin, count in (
            (SENT + 4, "source", {"compared": 1}),
            (SENT + 5, "source", {"mismatched": 1}),
            (SENT + 4, "reception", {"mismatched": 1}),
        ):
            about = times | {"time": time_of_row, "efd_time_origin": origin}
            self.assertEqual(faults([(record, about)], [line(4)]), count)


class Names(unittest.TestCase):
    def test_of_topics(self):
        names = {
            "Lab/a-b::C": ("dds.Lab.a_b.C", True), "rt/arm/joints": ("ros.arm.joints", False), "x/2d": ("dds.x._2d", True),
            "Lab/a": ("dds.Lab.a", False), "Lab.a": ("dds.Lab.a", True), "rt/a-b": ("ros.a_b", True),
        }
        self.assertEqual({topic: dialects.avro_name(topic) for topic in names}, names)

    def test_that_are_stored(self):
        present = {"dds.Lab.a", "dds.Lab.a_0a1b2c3d", "dds.Lab.b", "dds.Lab.c_00000000", "dds.Lab.c_00000001"}
        self.assertEqual(dialects.stored_name("Lab/a", present), "dds.Lab.a")
        self.assertEqual(dialects.stored_name("Lab.a", present), "dds.Lab.a_0a1b2c3d")
        for topic in ("Lab.b", "Lab/d"):
            self.assertIsNone(dialects.stored_name(topic, present))
        with self.assertRaises(SystemExit):
            dialects.stored_name("Lab.c", present)

    def test_of_columns(self):
        row = {"time": 1, "time_": 2, "efd_edge": "e", "efd_edge_": "own", "a.b.c": 3, "a.d": 4, "s": {"t_": 5}}
        record, about = dialects.nested(row)
        self.assertEqual(record, {"time": 2, "efd_edge": "own", "a": {"b": {"c": 3}, "d": 4}, "s": {"t_": 5}})
        self.assertEqual(about, {"time": 1, "efd_edge": "e"})


class Counts(unittest.TestCase):
    def test_gaps_and_doubles(self):
        def load(*numbers, **altered):
            times = {dialects.SOURCE_TIME: SENT, dialects.RECEIVED_TIME: SENT + 10**6}
            record = dict(keyval=0, baggage=b"\xee" * 188)
            stored = [(record | dict(seq=n, keyval=n % 3) | altered, times) for n in numbers]
            return faults(stored, dialects.ddsperf(stored))

        self.assertEqual(load(3, 4, 5), {"compared": 3})
        self.assertEqual(load(3, 5, 5, 7), {"compared": 3, "missing": 2, "duplicate": 1})
        self.assertEqual(load(3, keyval=1), {"mismatched": 1})
        self.assertEqual(load(3, baggage=b"\xee" * 187), {"mismatched": 1})


if __name__ == "__main__":
    unittest.main()
