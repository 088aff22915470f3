//! The plan, against segments made by hand, and carried out on a store.

use std::collections::BTreeMap;
use std::time::Duration;

use efd_shared_model::{EpochLane, LaneKind, RangeSet, Shard, UtcNanos};
use efd_shared_store::retention::{Policy, Quotas, Why, plan};
use efd_shared_store::{
    Acked, Contents, LaneContents, Position, SegmentInfo, SegmentKey, SegmentState,
};
use proptest::prelude::*;

use crate::world::{SECOND, block, declare, lane, log, open};

const DAY: i64 = 86_400 * SECOND;

fn range(first: u64, last: u64) -> RangeSet {
    let mut set = RangeSet::new();
    set.insert_range(first..=last);
    set
}

/// Ten blocks of one log, `numbers` from 10 × id − 9, committed on day `id`, 100 bytes.
fn segment(kind: LaneKind, id: u64) -> SegmentInfo {
    let contents = LaneContents {
        numbers: range(id * 10 - 9, id * 10),
        blocks: 10,
        records: 1000,
        payload_bytes: 80,
        stored_bytes: 80,
        event_time_min: UtcNanos(id as i64 * DAY - 1000),
        event_time_max: UtcNanos(id as i64 * DAY),
        committed_max: UtcNanos(id as i64 * DAY),
    };
    SegmentInfo {
        key: SegmentKey {
            lane: lane(kind.as_str()),
            id,
        },
        state: SegmentState::Closed,
        created: UtcNanos(0),
        first: Position(id * 10 - 9),
        last: Position(id * 10),
        contents: Contents {
            lanes: BTreeMap::from([(log(1, kind), contents)]),
        },
        file_bytes: 100,
        damaged: RangeSet::new(),
    }
}

fn acked(sets: &[(LaneKind, RangeSet)]) -> Acked {
    sets.iter()
        .map(|(kind, set)| (log(1, *kind), set.clone()))
        .collect()
}

fn policy(bytes_max: u64) -> Policy {
    Policy {
        bytes_max,
        ..Policy::default()
    }
}

fn names(segments: &[SegmentInfo], acked: &[&Acked], policy: &Policy, day: i64) -> Vec<String> {
    let steps = plan(segments, acked, policy, UtcNanos(day * DAY));
    let render = |step: &efd_shared_store::retention::Step| {
        let lost: Vec<_> = step
            .lost
            .iter()
            .map(|lost| lost.numbers.to_string())
            .collect();
        let key = format!("{}/{}", step.segment.lane, step.segment.id);
        format!("{key} {:?} {}", step.why, lost.join(" "))
            .trim()
            .to_owned()
    };
    steps.iter().map(render).collect()
}

use LaneKind::{Events, Losses, Parked, Reduced, Telemetry};

#[test]
fn age_removes_only_what_every_destination_has() {
    let segments: Vec<_> = (1..=3).map(|id| segment(Telemetry, id)).collect();
    let all = acked(&[(Telemetry, range(1, 30))]);
    let most = acked(&[(Telemetry, range(1, 19))]);
    let check = |destinations: &[&Acked], day, expected: &[&str]| {
        assert_eq!(
            names(&segments, destinations, &policy(u64::MAX), day),
            expected
        );
    };
    check(&[&all], 7, &[]);
    check(&[&all], 9, &["telemetry/1 Age", "telemetry/2 Age"]);
    check(&[&all, &most], 100, &["telemetry/1 Age"]);
    check(&[], 100, &[]);
}

#[test]
fn events_have_an_age_of_their_own() {
    let segments: Vec<_> = [Events, Telemetry].map(|kind| segment(kind, 1)).to_vec();
    let all = acked(&[(Events, range(1, 10)), (Telemetry, range(1, 10))]);
    let check = |day, expected: &[&str]| {
        assert_eq!(names(&segments, &[&all], &policy(u64::MAX), day), expected);
    };
    check(9, &["telemetry/1 Age"]);
    check(31, &["telemetry/1 Age"]);
    check(33, &["events/1 Age", "telemetry/1 Age"]);
}

#[test]
fn bytes_remove_what_loses_least() {
    let mut segments: Vec<_> = [Events, Losses, Reduced, Telemetry]
        .into_iter()
        .flat_map(|kind| (1..=2).map(move |id| segment(kind, id)))
        .collect();
    let mut open = segment(Telemetry, 3);
    open.state = SegmentState::Open;
    segments.push(open);
    let has = acked(&[
        (Events, range(1, 10)),
        (Losses, range(1, 10)),
        (Telemetry, range(1, 4)),
    ]);
    let order = [
        "losses/1 Bytes",
        "events/1 Bytes",
        "telemetry/1 Bytes {5-10}",
        "telemetry/2 Bytes {11-20}",
        "reduced/1 Bytes {1-10}",
        "reduced/2 Bytes {11-20}",
        "events/2 Bytes {11-20}",
    ];
    for (count, bytes_max) in [(0, 900), (1, 899), (1, 800), (2, 799), (7, 200), (7, 0)] {
        assert_eq!(
            names(&segments, &[&has], &policy(bytes_max), 3),
            order[..count],
            "{bytes_max}"
        );
    }
    let steps = plan(&segments, &[&has], &policy(0), UtcNanos(0));
    let partly = &steps[2].lost[0];
    assert_eq!((partly.records_max, partly.is_exact), (1000, false));
    assert_eq!(partly.event_time_max, UtcNanos(DAY));
    assert!(steps[3].lost[0].is_exact);
}

#[test]
fn what_is_never_shipped_has_a_limit_of_its_own() {
    let segments = [
        segment(Parked, 1),
        segment(Parked, 2),
        segment(Telemetry, 1),
    ];
    let policy = Policy {
        unshipped_bytes_max: 100,
        bytes_max: 100,
        ..Policy::default()
    };
    assert_eq!(
        names(&segments, &[], &policy, 100),
        ["parked/1 UnshippedBytes {1-10}"]
    );
}

proptest! {
    /// Whatever is there: limits are kept as far as they can be, nothing leaves twice, losses stay, and a second plan
    /// has nothing to add.
    #[test]
    fn a_plan_is_complete(
        made in prop::collection::btree_set((0..5usize, 1..30u64, any::<bool>()), 0..40),
        acks in prop::collection::vec((0..5usize, 1..300u64, 0..100u64), 0..10),
        bytes_max in 0..4000u64,
        unshipped_bytes_max in 0..1000u64,
        day in 0..40i64,
    ) {
        let mut segments: BTreeMap<SegmentKey, SegmentInfo> = BTreeMap::new();
        for (kind, id, is_open) in made {
            let mut info = segment(LaneKind::ALL[kind], id);
            info.state = if is_open { SegmentState::Open } else { SegmentState::Closed };
            segments.insert(info.key.clone(), info);
        }
        let mut has = Acked::new();
        for (kind, first, count) in acks {
            let set: &mut RangeSet = has.entry(log(1, LaneKind::ALL[kind])).or_default();
            set.insert_range(first..=first + count);
        }
        let policy = Policy { bytes_max, unshipped_bytes_max, age_max: Duration::from_secs(7 * 86_400), ..Policy::default() };
        let now = UtcNanos(day * DAY);
        let all: Vec<_> = segments.values().cloned().collect();
        for step in plan(&all, &[&has], &policy, now) {
            let info = segments.remove(&step.segment).expect("removed once");
            prop_assert_eq!(info.state, SegmentState::Closed);
            let logs: Vec<EpochLane> = info.contents.lanes.keys().copied().collect();
            for log in logs {
                let held = &info.contents.lanes[&log].numbers;
                let lost = step.lost.iter().find(|lost| lost.log == log);
                for number in held.iter().flatten() {
                    let is_named = lost.is_some_and(|lost| lost.numbers.contains(number));
                    let is_acked = has.get(&log).is_some_and(|has| has.contains(number));
                    prop_assert!(is_named != is_acked || !log.lane.kind.is_shipped());
                }
                prop_assert!(log.lane.kind != Losses || lost.is_none());
                prop_assert!(step.why != Why::Age || lost.is_none());
            }
        }
        let left: Vec<_> = segments.values().cloned().collect();
        prop_assert_eq!(plan(&left, &[&has], &policy, now), vec![]);
    }
}

#[test]
fn a_plan_is_carried_out() {
    let root = tempfile::tempdir().unwrap();
    let (mut store, _) = open(root.path());
    declare(&mut store, 1, 1);
    let log = log(1, Telemetry);
    for number in 1..=40 {
        let now = UtcNanos(number as i64 * DAY);
        store
            .append(&lane("telemetry"), &[block(log, number, 5000)], None, now)
            .unwrap();
        store.maintain(now);
    }
    store.add_acked("ldf", &log, &range(1, 30));
    let now = UtcNanos(40 * DAY);
    let destinations = [store.acked("ldf")];
    let steps = plan(&store.segments(), &destinations, &policy(u64::MAX), now);
    assert!(!steps.is_empty());
    for step in &steps {
        store.remove(&step.segment).unwrap();
    }
    let held = store.reader().numbers(&log);
    assert_eq!(held.last(), Some(40));
    let first = *held.iter().next().unwrap().start();
    assert!((28..=31).contains(&first), "{held}");
    let bytes: u64 = store.segments().iter().map(|info| info.file_bytes).sum();
    let steps = plan(
        &store.segments(),
        &[store.acked("ldf")],
        &policy(bytes - 1),
        now,
    );
    assert_eq!(steps.len(), 1);
}

/// Of a topic that is over its budget: a lane, and files, of its own.
fn flood(id: u64) -> SegmentInfo {
    let mut info = segment(Events, id);
    let (mut log, contents) = info.contents.lanes.pop_first().unwrap();
    log.lane.shard = Shard::diverted("MTM1M3", 0).number();
    info.key.lane = lane(&log.lane.to_string());
    info.contents.lanes.insert(log, contents);
    info
}

#[test]
fn a_flood_leaves_before_its_neighbours() {
    let mut segments: Vec<_> = [Events, Telemetry].map(|kind| segment(kind, 1)).to_vec();
    segments.extend([flood(2), flood(3)]);
    let flooding = Shard::diverted("MTM1M3", 0).number();
    let step = |id: u64, why: &str, blocks: &str| {
        format!("events.{flooding}/{id} {why} {blocks}")
            .trim()
            .to_owned()
    };
    let mut has = acked(&[(Telemetry, range(1, 10))]);
    // What the centre has goes before a flood that nobody has.
    let order = ["telemetry/1 Bytes".to_owned(), step(2, "Bytes", "{11-20}")];
    assert_eq!(names(&segments, &[&has], &policy(200), 3), order);
    // Its own quota takes from it alone.
    let quotas = Quotas {
        flood: 100,
        ..Quotas::default()
    };
    let limited = Policy {
        quotas,
        ..Policy::default()
    };
    assert_eq!(
        names(&segments, &[&has], &limited, 3),
        [step(2, "Quota", "{11-20}")]
    );
    // Of what the centre has, a flood's goes first.
    let (log, _) = segments[3].contents.lanes.first_key_value().unwrap();
    has.insert(*log, range(11, 30));
    let order = [
        step(2, "Bytes", ""),
        step(3, "Bytes", ""),
        "telemetry/1 Bytes".to_owned(),
    ];
    assert_eq!(names(&segments, &[&has], &policy(100), 3), order);
}

#[test]
fn room_is_made_in_the_same_order() {
    let segments: Vec<_> = [Events, Telemetry].map(|kind| segment(kind, 1)).to_vec();
    let has = acked(&[(Events, range(1, 10))]);
    for (make_room, expected) in [(0, 0), (1, 1), (100, 1), (101, 2), (u64::MAX, 2)] {
        let policy = Policy {
            make_room,
            ..Policy::default()
        };
        let order = ["events/1 Bytes", "telemetry/1 Bytes {1-10}"];
        assert_eq!(names(&segments, &[&has], &policy, 3), order[..expected]);
    }
}

/// Worth of a closed segment, least first; `None`: it stays.
fn worth(info: &SegmentInfo, has: &Acked) -> Option<u8> {
    let (log, contents) = info.contents.lanes.first_key_value().unwrap();
    let is_acked = has
        .get(log)
        .is_some_and(|has| contents.numbers.difference(has).is_empty());
    let (kind, is_flood) = (log.lane.kind, log.lane.is_diverted());
    match (is_acked, is_flood, kind) {
        (true, true, _) => Some(0),
        (true, false, Events) => Some(2),
        (true, false, Losses | Telemetry | Reduced | Parked) => Some(1),
        (false, true, _) => Some(3),
        (false, false, Telemetry | Parked) => Some(4),
        (false, false, Reduced) => Some(5),
        (false, false, Events) => Some(6),
        (false, false, Losses) => None,
    }
}

proptest! {
    /// Against one that removes a segment at a time, each time the one of least worth among those that may leave.
    #[test]
    fn a_plan_is_what_a_naive_one_does(
        made in prop::collection::btree_set((0..5usize, 1..20u64, any::<bool>()), 0..30),
        acks in prop::collection::vec((0..5usize, 1..200u64, 0..100u64), 0..10),
        bytes_max in 0..3000u64,
        quotas in prop::collection::vec(0..1000u64, 4),
        make_room in prop_oneof![Just(0), 0..1500u64],
    ) {
        let kinds = [Events, Telemetry, Reduced, Losses];
        let one = |kind: usize, id| match kinds.get(kind) {
            Some(kind) => segment(*kind, id),
            None => flood(id),
        };
        let mut left: BTreeMap<SegmentKey, SegmentInfo> = BTreeMap::new();
        for (kind, id, is_open) in made {
            let mut info = one(kind, id);
            info.state = if is_open { SegmentState::Open } else { SegmentState::Closed };
            left.insert(info.key.clone(), info);
        }
        let mut has = Acked::new();
        for (kind, first, count) in acks {
            let (log, _) = one(kind, 1).contents.lanes.pop_first().unwrap();
            has.entry(log).or_default().insert_range(first..=first + count);
        }
        let quotas = Quotas { events: quotas[0], telemetry: quotas[1], reduced: quotas[2], flood: quotas[3] };
        let policy = Policy { bytes_max, quotas, make_room, ..Policy::default() };
        let all: Vec<_> = left.values().cloned().collect();
        let planned = plan(&all, &[&has], &policy, UtcNanos(0));

        let limit = |lane: &str| match lane {
            "events" => quotas.events,
            "telemetry" => quotas.telemetry,
            "reduced" => quotas.reduced,
            "losses" => u64::MAX,
            _ => quotas.flood,
        };
        let mut expected = Vec::new();
        for why in [Why::Quota, Why::Bytes] {
            loop {
                let bytes = |lane: Option<&str>| -> u64 {
                    let of = left.values().filter(|it| lane.is_none_or(|lane| it.key.lane.as_str() == lane));
                    of.map(|it| it.file_bytes).sum()
                };
                let freed = expected.len() as u64 * 100;
                let may = |it: &&SegmentInfo| match why {
                    Why::Quota => limit(it.key.lane.as_str()) < bytes(Some(it.key.lane.as_str())),
                    Why::Age | Why::Bytes | Why::UnshippedBytes => bytes_max < bytes(None) || freed < make_room,
                };
                let closed = left.values().filter(|it| it.state == SegmentState::Closed);
                let least = closed
                    .filter(may)
                    .filter_map(|it| Some((worth(it, &has)?, it.newest(), it.key.clone())))
                    .min();
                let Some((_, _, key)) = least else { break };
                left.remove(&key);
                expected.push((key, why));
            }
        }
        let planned: Vec<_> = planned.into_iter().map(|step| (step.segment, step.why)).collect();
        prop_assert_eq!(planned, expected);
    }
}
