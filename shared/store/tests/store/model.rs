//! Random acts against a plain list.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use efd_shared_model::{BlockNumber, EpochLane, LaneKind, RangeSet, UtcNanos};
use efd_shared_store::{LaneName, Position, ReadOnlyStore, SegmentState, Store};
use proptest::prelude::*;

use crate::world::{self, SECOND, block, declare, lane, log, open, read_all};

#[derive(Clone, Debug)]
enum Act {
    Append {
        lane: usize,
        sizes: Vec<usize>,
        state: Option<u8>,
    },
    Maintain,
    Wait {
        seconds: i64,
    },
    /// `true`: closed in order.
    Reopen(bool),
    Ack {
        lane: usize,
        first: u64,
        count: u64,
    },
    Unack {
        lane: usize,
        first: u64,
        count: u64,
    },
    RemoveOldest {
        lane: usize,
    },
    NewEpoch,
}

fn act() -> impl Strategy<Value = Act> {
    let lane = 0..2usize;
    let sizes = prop::collection::vec(prop_oneof![8 => 10..200usize, 2 => 3000..9000usize], 1..5);
    prop_oneof![
        10 => (lane.clone(), sizes, any::<Option<u8>>())
            .prop_map(|(lane, sizes, state)| Act::Append { lane, sizes, state }),
        2 => Just(Act::Maintain),
        1 => (1..4000i64).prop_map(|seconds| Act::Wait { seconds }),
        2 => any::<bool>().prop_map(Act::Reopen),
        2 => (lane.clone(), 1..40u64, 0..10u64)
            .prop_map(|(lane, first, count)| Act::Ack { lane, first, count }),
        1 => (lane.clone(), 1..40u64, 0..10u64)
            .prop_map(|(lane, first, count)| Act::Unack { lane, first, count }),
        2 => lane.prop_map(|lane| Act::RemoveOldest { lane }),
        1 => Just(Act::NewEpoch),
    ]
}

const KINDS: [LaneKind; 2] = [LaneKind::Events, LaneKind::Telemetry];

#[derive(Default)]
struct Oracle {
    blocks: [BTreeMap<Position, (EpochLane, u64, Bytes)>; 2],
    heads: [u64; 2],
    states: [Option<(Position, Vec<u8>)>; 2],
    acked: BTreeMap<EpochLane, BTreeSet<u64>>,
    numbers: BTreeMap<EpochLane, u64>,
}

fn name(index: usize) -> LaneName {
    lane(KINDS[index].as_str())
}

fn check(store: &Store, oracle: &Oracle) {
    let mut reader = store.reader();
    for index in 0..2 {
        let (found, other) = read_all(&mut reader, &name(index));
        let expected = &oracle.blocks[index];
        let blocks = expected
            .iter()
            .map(|(position, (_, _, bytes))| (*position, bytes.clone()));
        assert_eq!(found, blocks.collect::<Vec<_>>());
        assert_eq!(other, Vec::<String>::new());
        assert_eq!(reader.head(&name(index)).0, oracle.heads[index]);
        assert_eq!(reader.state(&name(index), "key"), oracle.states[index]);
    }
    for (log, &through) in &oracle.numbers {
        let all = oracle.blocks.iter().flat_map(BTreeMap::values);
        let held: BTreeSet<_> = all
            .filter(|(of, ..)| of == log)
            .map(|block| block.1)
            .collect();
        let numbers = reader.numbers(log);
        for number in 1..=through + 1 {
            assert_eq!(numbers.contains(number), held.contains(&number));
        }
        for number in [1, through / 2 + 1, through] {
            let found = reader.read_block(log, BlockNumber(number)).unwrap();
            assert_eq!(found.is_some(), held.contains(&number));
        }
    }
    for (log, acked) in &oracle.acked {
        let found = store.acked("centre").get(log).cloned().unwrap_or_default();
        assert_eq!(found.iter().flatten().collect::<BTreeSet<_>>(), *acked);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_store_is_a_list(acts in prop::collection::vec(act(), 1..50)) {
        let root = tempfile::tempdir().unwrap();
        let mut store = open(root.path()).0;
        let mut oracle = Oracle::default();
        let (mut epoch, mut now) = (1, UtcNanos(0));
        declare(&mut store, epoch, 1);
        for act in acts {
            match act {
                Act::Append { lane, sizes, state } => {
                    let log = log(epoch, KINDS[lane]);
                    let next = oracle.numbers.entry(log).or_default();
                    let blocks: Vec<_> = sizes
                        .iter()
                        .map(|&size| { *next += 1; block(log, *next, size) })
                        .collect();
                    let value = state.map(|byte| [byte]);
                    let state = value.as_ref().map(|value| ("key", &value[..]));
                    let at = store.append(&name(lane), &blocks, state, now).unwrap();
                    let head = &mut oracle.heads[lane];
                    prop_assert_eq!(at.start.0, *head + 1);
                    for block in blocks {
                        *head += 1;
                        let kept = (log, block.id().number.0, block.bytes().clone());
                        oracle.blocks[lane].insert(Position(*head), kept);
                    }
                    prop_assert_eq!(at.end.0, *head + 1);
                    if let Some(value) = value {
                        oracle.states[lane] = Some((Position(*head), value.to_vec()));
                    }
                }
                Act::Maintain => store.maintain(now),
                Act::Wait { seconds } => {
                    now = now.saturating_add(seconds * SECOND);
                    store.maintain(now);
                }
                Act::Reopen(in_order) => {
                    store.save_acked().unwrap();
                    if in_order { store.close().unwrap() } else { drop(store) }
                    let reopened = open(root.path());
                    prop_assert!(reopened.1.is_clean(), "{:?}", reopened.1);
                    store = reopened.0;
                }
                Act::Ack { lane, first, count } => {
                    let log = log(epoch, KINDS[lane]);
                    let mut set = RangeSet::new();
                    for number in first..first + count { set.insert(number); }
                    store.add_acked("centre", &log, &set);
                    oracle.acked.entry(log).or_default().extend(first..first + count);
                }
                Act::Unack { lane, first, count } => {
                    let log = log(epoch, KINDS[lane]);
                    let mut set = RangeSet::new();
                    for number in first..first + count { set.insert(number); }
                    store.remove_acked("centre", &log, &set);
                    oracle.acked.entry(log).or_default().retain(|number| !set.contains(*number));
                }
                Act::RemoveOldest { lane } => {
                    let all = store.segments();
                    let oldest = all.iter().find(|info| {
                        info.key.lane == name(lane) && info.state == SegmentState::Closed
                    });
                    if let Some(info) = oldest {
                        store.remove(&info.key).unwrap();
                        oracle.blocks[lane].retain(|&at, _| at < info.first || info.last < at);
                    }
                }
                Act::NewEpoch => {
                    epoch += 1;
                    declare(&mut store, epoch, 1);
                }
            }
            check(&store, &oracle);
        }
        let epochs = store.reader().epochs().unwrap();
        let declared: Vec<_> = (1..=epoch).map(world::epoch).collect();
        prop_assert_eq!(epochs, declared);
        store.save_acked().unwrap();
        drop(store);
        let mut findings = Vec::new();
        let note = |finding| { findings.push(finding); true };
        efd_shared_store::verify(root.path(), efd_shared_store::Depth::Content, note, |_| true).unwrap();
        findings.retain(|finding| finding.severity == efd_shared_store::Severity::Damage);
        prop_assert_eq!(findings, vec![]);
        let looked = ReadOnlyStore::open(root.path()).unwrap();
        prop_assert_eq!(looked.notices(), []);
    }
}
