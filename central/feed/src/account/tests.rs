use efd_shared_model::{BlockNumber, EdgeId, EpochId, Lane, LaneKind};

use super::*;
use crate::broker::Token;

fn block(number: u64) -> BlockId {
    let lane = EpochLane {
        edge: EdgeId([1; 16]),
        epoch: EpochId([1; 16]),
        lane: Lane::new(LaneKind::Events),
    };
    lane.block(BlockNumber(number))
}

fn id(number: u64, index: u32) -> RecordId {
    RecordId {
        block: block(number),
        index,
    }
}

/// An account that follows one partition, in which block n stands at place n.
#[derive(Default)]
struct Book {
    account: Account,
    read: Progress,
}

impl Book {
    fn begin(&mut self, number: u64) -> SlotIx {
        let partition: Partition = "summit.0.live".parse().unwrap();
        let lane = block(number).lane;
        self.read.seen.entry(lane).or_default().insert(number);
        let next = Place(number + 1);
        self.read.places.insert(partition.clone(), next);
        self.account
            .begin(block(number), partition, Place(number), Purpose::Deliver)
    }

    /// Offers and sends records 0..count to `output`.
    fn send(&mut self, slot: SlotIx, output: OutputIx, count: u32) {
        for index in 0..count {
            if self.account.offer(slot, output, index) {
                self.account.sent(slot, output);
            }
        }
        self.account.handed_over(slot);
    }

    fn ack(&mut self, slot: SlotIx, output: OutputIx, index: u32, result: Result<i64, Refusal>) {
        let token = Token {
            slot: slot.0,
            index,
        };
        self.account.handle_ack(Ack {
            output,
            token,
            result,
        });
    }

    /// Settled blocks, the next place, and the end of `topic`.
    fn claim(&self, topic: &str) -> (String, u64, i64) {
        let settled = self.account.settle(&self.read);
        let seen = settled.seen.get(&block(1).lane);
        let place = settled.places.values().next().unwrap();
        let seen = seen.map(RangeSet::to_string).unwrap_or_default();
        (seen, place.0, self.account.marks()[topic].end)
    }
}

#[test]
fn a_claim_waits_for_the_slowest_block() {
    let mut book = Book::default();
    let t = book.account.open("t", None);
    let (first, second) = (book.begin(1), book.begin(2));
    book.send(first, t, 2);
    book.send(second, t, 1);
    assert_eq!(book.claim("t"), ("{}".into(), 1, 0));
    book.ack(first, t, 0, Ok(0));
    // Block 1 is not whole: its record at 0 must be found again.
    assert_eq!(book.claim("t"), ("{}".into(), 1, 0));
    book.ack(second, t, 0, Ok(2));
    assert_eq!(book.account.counters().strangers, 1);
    assert_eq!(book.claim("t"), ("{2}".into(), 1, 0));
    book.ack(first, t, 1, Ok(3));
    assert_eq!(book.claim("t"), ("{1-2}".into(), 3, 4));
}

#[test]
fn what_was_found_is_not_sent_and_holds_the_end() {
    let mut book = Book::default();
    let t = book.account.open("t", None);
    let settled = Progress::default();
    for (index, offset) in [(0, 7), (1, 8), (1, 9)] {
        book.account.note_found(t, id(1, index), offset, &settled);
    }
    book.account.set_end(t, 10);
    assert_eq!(book.account.counters().duplicates, 1);
    assert_eq!(book.account.marks()["t"].end, 7);
    let slot = book.begin(1);
    book.send(slot, t, 3);
    assert_eq!(book.account.records_in_flight(), 1);
    assert_eq!(book.claim("t"), ("{}".into(), 1, 7));
    book.ack(slot, t, 2, Ok(10));
    assert_eq!(book.claim("t"), ("{1}".into(), 2, 11));
    assert_eq!(book.account.counters().skipped, 2);
}

#[test]
fn a_topic_made_anew_is_read_from_its_beginning() {
    let mut book = Book::default();
    let mark = Mark {
        end: 100,
        ..Mark::default()
    };
    let t = book.account.open("t", Some(mark));
    let slot = book.begin(1);
    book.send(slot, t, 2);
    book.ack(slot, t, 0, Ok(100));
    book.ack(slot, t, 1, Ok(0));
    assert_eq!(book.account.counters().rewound, 1);
    let slot = book.begin(2);
    book.send(slot, t, 2);
    book.ack(slot, t, 0, Ok(1));
    assert_eq!(book.claim("t").2, 1);
}

#[test]
fn a_refusal_is_in_the_same_claim_as_its_block() {
    let mut book = Book::default();
    let (t, u) = (book.account.open("t", None), book.account.open("u", None));
    let slot = book.begin(1);
    for (index, output) in [(0, t), (1, t), (2, u)] {
        assert!(book.account.offer(slot, output, index));
        book.account.sent(slot, output);
    }
    book.account.handed_over(slot);
    book.ack(slot, t, 0, Ok(0));
    book.ack(slot, t, 1, Err(Refusal::Record("too large".into())));
    book.ack(slot, u, 2, Err(Refusal::Output("gone".into())));
    assert_eq!(book.claim("t"), ("{1}".into(), 2, 1));
    let marks = book.account.marks();
    let owed = &marks["t"].owed.records[&block(1)];
    assert_eq!(
        (owed.indexes.to_string(), owed.place),
        ("{1}".into(), Place(1))
    );
    assert!(marks["t"].parked.is_none() && marks["u"].parked.is_some());
    assert!(marks["u"].owed.has_block(block(1)) && marks["u"].owed.records.is_empty());
}

#[test]
fn a_block_that_cannot_be_read_is_passed_but_not_seen() {
    let mut book = Book::default();
    book.account.open("t", None);
    let slot = book.begin(1);
    book.account.unreadable(slot);
    assert_eq!(book.claim("t"), ("{}".into(), 2, 0));
}
