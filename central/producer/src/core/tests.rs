//! The core against a cluster of a few lines: leaders that move, answers that are lost, batches that are refused.

use std::collections::BTreeMap;

use kafka_protocol::records::RecordBatchDecoder;
use proptest::prelude::*;

use super::*;

const IDENTITY: Identity = Identity { id: 9, epoch: 0 };
const TOPICS: usize = 4;
const NODES: i32 = 3;
const STEP: Duration = Duration::from_millis(50);

/// What happens to a batch on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    /// Appended, and the connection ends.
    Unanswered,
    /// The connection ends before it arrives.
    Unsent,
    NotLeader,
    /// Appended, but the followers are late.
    Late,
    Refused,
}

#[derive(Debug, Default)]
struct Partition {
    leader: i32,
    records: Vec<Vec<u8>>,
    /// Of the last batch: first sequence, records, first offset.
    last: Option<(i32, usize, i64)>,
}

impl Partition {
    /// As a broker does it: the same again is known by its sequence, a gap is refused.
    fn append(&mut self, bytes: &Bytes) -> Verdict {
        let set = RecordBatchDecoder::decode(&mut Bytes::clone(bytes)).unwrap();
        let (sequence, count) = (set.records[0].sequence, set.records.len());
        let wanted = self
            .last
            .map_or(0, |(first, count, _)| sequence_after(first, count));
        match self.last {
            Some((first, records, offset)) if first == sequence => {
                assert_eq!(records, count, "the same bytes");
                return Verdict::Appended(offset);
            }
            _ if sequence != wanted => return Verdict::Fatal("out of order".into()),
            _ => {}
        }
        let offset = self.records.len() as i64;
        self.last = Some((sequence, count, offset));
        let values = set.records.into_iter().map(|record| record.value.unwrap());
        self.records.extend(values.map(|value| value.to_vec()));
        Verdict::Appended(offset)
    }
}

#[derive(Clone, Debug)]
enum Act {
    Push(usize, usize),
    Flush,
    Produce(i32, Fate),
    Move(usize, i32),
    Ask,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Answered),
        1 => Just(Fate::Unanswered),
        1 => Just(Fate::Unsent),
        1 => Just(Fate::NotLeader),
        1 => Just(Fate::Late),
        1 => Just(Fate::Refused),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..TOPICS, 1..5usize).prop_map(|(topic, count)| Act::Push(topic, count)),
        2 => Just(Act::Flush),
        6 => (0..NODES, fate()).prop_map(|(node, fate)| Act::Produce(node, fate)),
        1 => (0..TOPICS, 0..NODES).prop_map(|(topic, node)| Act::Move(topic, node)),
        2 => Just(Act::Ask),
    ]
}

struct World {
    core: Core,
    partitions: Vec<Partition>,
    pushed: Vec<Vec<usize>>,
    now: Duration,
    next: usize,
    acks: BTreeMap<usize, Result<i64, Refusal>>,
}

impl World {
    fn new() -> Self {
        let mut core = Core::new(Limits {
            batch_bytes: 120,
            request_bytes: 300,
            ..Limits::default()
        });
        core.handle_identity(IDENTITY);
        for topic in 0..TOPICS {
            assert_eq!(core.topic(&format!("t{topic}")), TopicIx(topic as u32));
        }
        Self {
            core,
            partitions: (0..TOPICS).map(|_| Partition::default()).collect(),
            pushed: vec![Vec::new(); TOPICS],
            now: Duration::ZERO,
            next: 0,
            acks: BTreeMap::new(),
        }
    }

    fn apply(&mut self, act: &Act) {
        self.now += STEP;
        self.core.handle_time(self.now);
        match *act {
            Act::Push(topic, count) => {
                for _ in 0..count {
                    let text = self.next.to_string();
                    let record = Record {
                        key: None,
                        value: [text.as_bytes(), b""],
                        headers: &[],
                    };
                    let ix = TopicIx(topic as u32);
                    self.core.push(ix, &record, self.next, 0).unwrap();
                    self.pushed[topic].push(self.next);
                    self.next += 1;
                }
            }
            Act::Flush => drop(self.core.flush()),
            Act::Produce(node, fate) => self.produce(node, fate),
            Act::Move(topic, node) => self.partitions[topic].leader = node,
            Act::Ask => {
                let asked = self.core.leaderless(self.now);
                let found = asked.iter().map(|(ix, _)| {
                    let leader = self.partitions[ix.0 as usize].leader;
                    (*ix, Found::Leader(NodeId(leader)))
                });
                let found = found.collect();
                self.core.handle_found(found, self.now);
            }
        }
        for ack in self.core.acks().drain(..) {
            assert_eq!(self.acks.insert(ack.opaque, ack.result), None, "one ack");
        }
    }

    fn produce(&mut self, node: i32, fate: Fate) {
        let taken = self.core.take(NodeId(node));
        let mut names: Vec<_> = taken.iter().map(|batch| batch.topic).collect();
        names.dedup();
        assert_eq!(names.len(), taken.len(), "one batch of a topic");
        for mut batch in taken {
            let bytes = batch.bytes();
            let partition = &mut self.partitions[batch.topic.0 as usize];
            let leads = partition.leader == node;
            let moved = |moved| Verdict::Again {
                reason: String::new(),
                moved,
            };
            let verdict = match fate {
                Fate::Unsent => None,
                Fate::NotLeader => Some(moved(true)),
                _ if !leads => Some(moved(true)),
                Fate::Answered => Some(partition.append(&bytes)),
                Fate::Unanswered => {
                    partition.append(&bytes);
                    None
                }
                Fate::Late => {
                    partition.append(&bytes);
                    Some(moved(false))
                }
                // A broker does not refuse what it has appended.
                Fate::Refused if batch.is_doubtful => Some(partition.append(&bytes)),
                Fate::Refused => Some(Verdict::Refused(Refusal::Record(String::new()))),
            };
            match verdict {
                Some(verdict) => self.core.handle_answer(batch, verdict, self.now),
                None => self.core.handle_unanswered(batch, self.now),
            }
        }
    }

    /// From here on all goes well.
    fn settle(&mut self) {
        for _ in 0..400 {
            self.apply(&Act::Flush);
            self.apply(&Act::Ask);
            for node in 0..NODES {
                self.apply(&Act::Produce(node, Fate::Answered));
            }
        }
    }

    /// Each record is in its topic once, in order, at the offset that was told; or refused, and then not there.
    fn check(&self) {
        assert_eq!(self.core.fatal(), None);
        assert_eq!((self.core.records, self.core.bytes), (0, 0));
        for (pushed, partition) in self.pushed.iter().zip(&self.partitions) {
            let stored: Vec<usize> = partition
                .records
                .iter()
                .map(|text| std::str::from_utf8(text).unwrap().parse().unwrap())
                .collect();
            let acked = pushed
                .iter()
                .filter(|opaque| self.acks[*opaque].is_ok())
                .copied();
            assert_eq!(stored, acked.collect::<Vec<_>>());
            for (offset, opaque) in stored.iter().enumerate() {
                assert_eq!(self.acks[opaque], Ok(offset as i64));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn each_record_is_there_once_or_refused(acts in prop::collection::vec(act(), 0..200)) {
        let mut world = World::new();
        acts.iter().for_each(|act| world.apply(act));
        world.settle();
        world.check();
    }
}

fn push(core: &mut Core, topic: TopicIx, opaque: usize) -> Result<(), SendError> {
    let record = Record {
        key: None,
        value: [b"value", b""],
        headers: &[],
    };
    core.push(topic, &record, opaque, 0)
}

#[test]
fn what_waits_is_bounded() {
    let mut core = Core::new(Limits {
        records: 2,
        record_bytes: 100,
        ..Limits::default()
    });
    let topic = core.topic("t");
    push(&mut core, topic, 0).unwrap();
    push(&mut core, topic, 1).unwrap();
    assert_eq!(push(&mut core, topic, 2), Err(SendError::Full));
    let record = Record {
        key: None,
        value: [&[0; 100], b""],
        headers: &[],
    };
    let refused = core.push(topic, &record, 3, 0);
    assert!(matches!(
        refused,
        Err(SendError::TooLarge { limit: 100, .. })
    ));
    core.close();
    assert_eq!(push(&mut core, topic, 4), Err(SendError::Closed));
    assert!(core.take(NodeId(0)).is_empty());
}

/// How long a topic is asked for until its records are refused.
fn patience(core: &mut Core, topic: TopicIx, from: Duration) -> Duration {
    push(core, topic, 7).unwrap();
    core.flush();
    let mut now = from;
    while core.acks().is_empty() {
        core.handle_time(now);
        for (ix, _) in core.leaderless(now) {
            let unknown = Found::Error(ResponseError::UnknownTopicOrPartition);
            core.handle_found(vec![(ix, unknown)], now);
        }
        for sent in core.take(NodeId(1)) {
            let unknown = Verdict::Again {
                reason: String::new(),
                moved: true,
            };
            core.handle_answer(sent, unknown, now);
        }
        now += STEP;
        assert!(now < from + ABSENT_AFTER * 2);
    }
    let ack = core.acks().remove(0);
    assert!(matches!(ack.result, Err(Refusal::Topic(_))), "{ack:?}");
    now - from
}

#[test]
fn a_topic_that_does_not_exist_is_refused_after_a_while() {
    let mut core = Core::new(Limits::default());
    core.handle_identity(IDENTITY);
    let topic = core.topic("t");
    let absent = patience(&mut core, topic, Duration::ZERO);
    assert!(absent >= ABSENT_AFTER, "{absent:?}");
    // Made anew, it gets what comes then.
    push(&mut core, topic, 8).unwrap();
    core.flush();
    let leader = Found::Leader(NodeId(1));
    core.handle_found(vec![(topic, leader)], absent);
    let sent = core.take(NodeId(1)).remove(0);
    core.handle_answer(sent, Verdict::Appended(0), absent);
    core.acks().clear();
    // Deleted, it holds up the others for less long.
    let gone = patience(&mut core, topic, absent);
    assert!(GONE_AFTER <= gone && gone < ABSENT_AFTER, "{gone:?}");
}

#[test]
fn refused_after_doubt_is_fatal() {
    let mut core = Core::new(Limits::default());
    core.handle_identity(IDENTITY);
    let topic = core.topic("t");
    push(&mut core, topic, 7).unwrap();
    core.flush();
    let leader = |core: &mut Core, now| {
        let leader = Found::Leader(NodeId(1));
        core.handle_found(vec![(topic, leader)], now);
        core.take(NodeId(1)).remove(0)
    };
    let sent = leader(&mut core, STEP);
    core.handle_unanswered(sent, STEP);
    core.handle_time(STEP * 10);
    let sent = leader(&mut core, STEP * 10);
    let refused = Verdict::Refused(Refusal::Topic("forbidden".into()));
    core.handle_answer(sent, refused, STEP * 10);
    assert!(core.fatal().unwrap().contains("forbidden"));
}
