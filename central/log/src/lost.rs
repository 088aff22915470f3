//! Blocks that were received and are not held any more, although nobody let them go: damage of the log's own disk.
//!
//! Sets of block numbers by lane, kept in `meta.db` beyond the log's retention:
//! * *received*: every number that was ever durable here;
//! * *retired*: what retention removed, after every consumer had read it;
//! * *lost*: to come again from the edge. Found at open (*received − held − retired*), or when a reader meets damage;
//! * *absent*: of the lost, what the edge said that it has not either.
//!
//! A loss is durable before the reader that met it goes on: else the consumer's place would pass it for good.

use std::collections::{BTreeMap, BTreeSet};

use efd_shared_model::ids::EpochLane;
use efd_shared_model::{EdgeId, RangeSet, UtcNanos};
use efd_shared_store::{
    Acked, LaneName, Position, Recovery, SegmentInfo, SegmentKey, Store, StoreError,
};

pub(crate) const RECEIVED: &str = "received";
const RETIRED: &str = "retired";
const LOST: &str = "lost";
const ABSENT: &str = "absent";
/// A value; `1` says that retention notes what it removes.
const RETIRED_IS_KEPT: &str = "log.retired";
/// A value that is written to make the sets durable.
const LOSSES: &str = "log.losses";

/// A value: the last position of every lane, at most about a second old.
const ENDS: &str = "log.ends";
/// More than can be appended before the next note.
const SKIP: u64 = 1 << 20;

/// Notes how far positions were given, where that has changed.
pub(crate) fn note_ends(store: &mut Store) -> Result<(), StoreError> {
    let reader = store.reader();
    let ends: serde_json::Map<_, _> = reader
        .lanes()
        .into_iter()
        .map(|lane| (lane.as_str().to_owned(), reader.head(&lane).0.into()))
        .collect();
    let ends = serde_json::Value::from(ends).to_string().into_bytes();
    if store.value(ENDS)?.as_deref() != Some(&ends) {
        store.put_value(ENDS, &ends)?;
    }
    Ok(())
}

/// At open: a lane that lost its newest file does not give its positions anew. A consumer's place may be behind them,
/// and it would go past the blocks that get them.
pub(crate) fn skip_lost_ends(store: &mut Store, now: UtcNanos) -> Result<(), StoreError> {
    let Some(ends) = store.value(ENDS)? else {
        return Ok(());
    };
    let ends: BTreeMap<String, u64> = serde_json::from_slice(&ends).unwrap_or_default();
    for (lane, end) in ends {
        let Ok(lane) = lane.parse::<LaneName>() else {
            continue;
        };
        let found = store.reader().head(&lane);
        if found.0 < end {
            tracing::error!(%lane, %found, end, "The newest blocks of a partition are gone");
            store.skip_through(&lane, Position(end.saturating_add(SKIP)), now)?;
        }
    }
    Ok(())
}

/// At open: what is neither held nor was let go. Gives how many blocks are lost, and not known as absent.
pub(crate) fn reckon(store: &mut Store, recovery: &Recovery) -> Result<u64, StoreError> {
    let reader = store.reader();
    let named = named(recovery);
    let mut lanes: BTreeSet<EpochLane> = reader.logs().into_iter().collect();
    lanes.extend(store.acked(RECEIVED).keys().chain(named.keys()));
    // An older build removed segments without a note: they had been taken, except for what the recovery names.
    let assume_retired = store.value(RETIRED_IS_KEPT)?.as_deref() != Some(b"1");
    for lane in &lanes {
        let held = reader.numbers(lane);
        let named = named.get(lane).cloned().unwrap_or_default();
        // A crash may have come before the last were noted.
        store.add_acked(RECEIVED, lane, &held);
        store.add_acked(RECEIVED, lane, &named);
        let mut gone = without(&of(store, RECEIVED, lane), &held);
        if assume_retired {
            store.add_acked(RETIRED, lane, &without(&gone, &named));
        }
        gone = without(&gone, &of(store, RETIRED, lane));
        store.add_acked(LOST, lane, &gone);
    }
    store.save_acked()?;
    store.put_value(RETIRED_IS_KEPT, b"1")?;
    let lost = missing(store, |_| true);
    Ok(lost.values().map(RangeSet::member_count).sum())
}

/// Numbers that the recovery knows to be gone.
fn named(recovery: &Recovery) -> BTreeMap<EpochLane, RangeSet> {
    let mut named: BTreeMap<EpochLane, RangeSet> = BTreeMap::new();
    for damaged in &recovery.damaged {
        for (lane, numbers) in &damaged.numbers {
            named.entry(*lane).or_default().union(numbers);
        }
    }
    let aside = recovery
        .set_aside
        .iter()
        .filter_map(|aside| aside.known.as_ref());
    for info in aside.chain(&recovery.missing) {
        for (lane, contents) in &info.contents.lanes {
            named.entry(*lane).or_default().union(&contents.numbers);
        }
    }
    named
}

/// What an edge may say was received.
pub(crate) fn received(store: &Store, lane: &EpochLane) -> RangeSet {
    let mut received = of(store, RECEIVED, lane);
    received.union(&store.reader().numbers(lane));
    without(&received, &of(store, LOST, lane))
}

pub(crate) fn received_lanes(store: &Store) -> BTreeSet<EpochLane> {
    let mut lanes: BTreeSet<EpochLane> = store.reader().logs().into_iter().collect();
    lanes.extend(store.acked(RECEIVED).keys());
    lanes
}

/// Lost, and not absent at the edge too.
pub(crate) fn missing(
    store: &Store,
    is_asked: impl Fn(&EpochLane) -> bool,
) -> BTreeMap<EpochLane, RangeSet> {
    let lost = store.acked(LOST).iter().filter(|(lane, _)| is_asked(lane));
    lost.map(|(lane, numbers)| (*lane, without(numbers, &of(store, ABSENT, lane))))
        .filter(|(_, numbers)| !numbers.is_empty())
        .collect()
}

pub(crate) fn missing_of(store: &Store, edge: EdgeId) -> BTreeMap<EpochLane, RangeSet> {
    missing(store, |lane| lane.edge == edge)
}

pub(crate) fn absent(store: &Store) -> &Acked {
    store.acked(ABSENT)
}

/// Durable with the next save; a lost note costs one more question.
pub(crate) fn note_received(store: &mut Store, lane: &EpochLane, number: u64) {
    store.add_acked(RECEIVED, lane, &RangeSet::from_iter([number..=number]));
    for set in [LOST, ABSENT] {
        let has = store.acked(set).get(lane);
        if has.is_some_and(|numbers| numbers.contains(number)) {
            store.remove_acked(set, lane, &RangeSet::from_iter([number..=number]));
        }
    }
}

/// Before a segment is removed.
pub(crate) fn note_retired(store: &mut Store, info: &SegmentInfo) -> Result<(), StoreError> {
    for (lane, contents) in &info.contents.lanes {
        store.add_acked(RETIRED, lane, &contents.numbers);
    }
    store.save_acked()
}

/// Gives those that the log did have, and that are news; durable.
pub(crate) fn note_absent(
    store: &mut Store,
    lane: &EpochLane,
    numbers: &RangeSet,
) -> Result<RangeSet, StoreError> {
    let known = of(store, ABSENT, lane);
    let lost = of(store, LOST, lane);
    let news = without(&without(&lost, &without(&lost, numbers)), &known);
    if !news.is_empty() {
        store.add_acked(ABSENT, lane, &news);
        make_durable(store)?;
    }
    Ok(news)
}

/// Gives how many are news; durable.
pub(crate) fn note_lost(
    store: &mut Store,
    lost: &BTreeMap<EpochLane, RangeSet>,
) -> Result<u64, StoreError> {
    let mut news = 0;
    for (lane, numbers) in lost {
        let numbers = without(numbers, &of(store, LOST, lane));
        news += numbers.member_count();
        store.add_acked(LOST, lane, &numbers);
    }
    if news > 0 {
        make_durable(store)?;
    }
    Ok(news)
}

/// Whatever of a segment no other segment holds: for damage of which nobody can tell what it hit.
pub(crate) fn only_in(store: &Store, key: &SegmentKey) -> BTreeMap<EpochLane, RangeSet> {
    let segments = store.segments();
    let Some(info) = segments.iter().find(|info| info.key == *key) else {
        return BTreeMap::new();
    };
    let others = |lane: &EpochLane, numbers: &RangeSet| {
        let others = segments.iter().filter(|other| other.key != *key);
        others
            .filter_map(|other| other.contents.lanes.get(lane))
            .fold(numbers.clone(), |left, other| {
                without(&left, &other.numbers)
            })
    };
    let lanes = info.contents.lanes.iter();
    lanes
        .map(|(lane, contents)| (*lane, others(lane, &contents.numbers)))
        .collect()
}

/// Sets are saved without an fsync; a value takes them along with its own.
fn make_durable(store: &mut Store) -> Result<(), StoreError> {
    store.save_acked()?;
    store.put_value(LOSSES, b"1")
}

fn of(store: &Store, set: &str, lane: &EpochLane) -> RangeSet {
    store.acked(set).get(lane).cloned().unwrap_or_default()
}

fn without(a: &RangeSet, b: &RangeSet) -> RangeSet {
    let mut rest = a.clone();
    for range in b.iter() {
        rest.remove_range(range);
    }
    rest
}
