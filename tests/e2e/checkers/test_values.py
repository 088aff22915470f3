"""That values.py sees what breaks the law. usage: python3 -m unittest test_values, in this folder."""

import unittest

import values

TELEMETRY, EVENT = "lsst.sal.Lab.elevation", "lsst.sal.Lab.logevent_state"


def sample(sequence):
    stamps = dict(private_sndStamp=0.0, private_efdStamp=0.0, private_rcvStamp=1.0, private_kafkaStamp=2.0)
    return dict(salIndex=1, private_identity="Lab:1", private_origin=7, private_seqNum=sequence, **stamps)


def stored(sequence, lane="telemetry"):
    """In a block of its own number."""
    return dict(sample(sequence), efd_epoch="e", efd_lane=lane, efd_block=sequence)


def gap(first, last, topic=TELEMETRY, origin=7):
    who = dict(topic=topic, sal_index=1, identity="Lab:1", origin=origin)
    return dict(who, first_seq=first, last_seq=last, first_block=0, last_block=-1, count=last - first + 1)


def evicted(first, last, count, lane="telemetry"):
    where = dict(epoch="e", lane=lane, first_block=first, last_block=last)
    return dict(where, topic="", sal_index=-1, identity="", origin=-1, first_seq=0, last_seq=-1, count=count)


def faults(losses, telemetry, events=range(1, 11)):
    """What is not 0 of the account of ten samples of each topic, but for the plain counts."""
    account = values.Account()
    account.losses(losses)
    for topic, records in ((TELEMETRY, telemetry), (EVENT, events)):
        lane = values.lane_of(topic)
        records = [stored(n, lane) if isinstance(n, int) else n for n in records]
        account.topic(topic, [sample(n) for n in range(1, 11)], iter(records))
    account.settle()
    result = dict(account.result, mismatched=len(account.mismatches))
    plain = ("topics", "published", "stored", "compared")
    return {key: count for key, count in result.items() if count and key not in plain}


ALL = [*range(1, 11)]
BUT_3_TO_5 = [1, 2, *range(6, 11)]


class Law(unittest.TestCase):
    def test_stored_or_named(self):
        self.assertEqual(faults([], ALL), {})
        self.assertEqual(faults([gap(3, 5)], BUT_3_TO_5), {"lost": 3})
        self.assertEqual(faults([], BUT_3_TO_5), {"missing": 3})

    def test_stored_and_named(self):
        self.assertEqual(faults([gap(3, 5)], ALL), {"both": 3})

    def test_named_and_never_published(self):
        self.assertEqual(faults([gap(10, 14)], ALL[:-1]), {"lost": 1, "misnamed": 4})
        self.assertEqual(faults([gap(1, 2, origin=8)], ALL), {"misnamed": 2})
        self.assertEqual(faults([gap(1, 2, topic="lsst.sal.Other.x")], ALL), {"misnamed": 2})

    def test_rows_that_should_not_be(self):
        self.assertEqual(faults([], [*ALL, 4]), {"duplicate": 1})
        self.assertEqual(faults([], [*ALL, 11]), {"unexpected": 1})

    def test_values(self):
        altered = stored(4) | {"private_sndStamp": 0.5}
        self.assertEqual(faults([], [*ALL[:3], altered, *ALL[4:]]), {"mismatched": 1})

    def test_blocks_count_for_their_lane(self):
        self.assertEqual(faults([evicted(3, 5, 3)], BUT_3_TO_5), {"lost": 3})
        self.assertEqual(faults([evicted(3, 5, 2)], BUT_3_TO_5), {"lost": 2, "missing": 1})
        self.assertEqual(faults([evicted(3, 5, 4)], BUT_3_TO_5), {"lost": 3, "misnamed": 1})
        self.assertEqual(faults([evicted(3, 5, -1)], BUT_3_TO_5), {"missing": 3})
        self.assertEqual(faults([evicted(21, 23, 3)], ALL, BUT_3_TO_5), {"missing": 3, "misnamed": 3})
        self.assertEqual(faults([evicted(3, 5, 3), gap(3, 5)], BUT_3_TO_5), {"lost": 3, "misnamed": 3})

    def test_a_block_that_is_named_again(self):
        self.assertEqual(faults([evicted(3, 5, 3), evicted(3, 5, 3)], BUT_3_TO_5), {"lost": 3})
        again = dict(evicted(3, 5, 3), epoch="f")
        self.assertEqual(faults([evicted(3, 5, 3), again], BUT_3_TO_5), {"lost": 3, "misnamed": 3})

    def test_a_block_that_arrived_all_the_same(self):
        self.assertEqual(faults([evicted(3, 5, 3)], [1, 2, 3, *range(6, 11)]), {"lost": 2})


if __name__ == "__main__":
    unittest.main()
