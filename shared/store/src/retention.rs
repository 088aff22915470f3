//! What is to be removed, and in which order: the one that loses least. Pure: the same plan is carried out by a daemon
//! and printed by the tool.

use std::collections::BTreeMap;
use std::time::Duration;

use efd_shared_model::{EpochLane, LaneKind, RangeSet, UtcNanos};

use crate::lane::SegmentKey;
use crate::meta::Acked;
use crate::segment::{SegmentInfo, SegmentState};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// A closed segment whose newest block is older than this is removed, once all of it is acknowledged.
    pub age_max: Duration,
    /// The same for events, commands and acknowledgements, which are few and are not averaged.
    pub events_age_max: Duration,
    /// All segments that are shipped, open ones included. Above it closed segments are removed: acknowledged ones
    /// first, then the oldest that are not, of both telemetry before events. Losses that nobody has are never removed.
    pub bytes_max: u64,
    /// All segments that are never shipped; the oldest go first. They do not count towards `bytes_max`.
    pub unshipped_bytes_max: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            age_max: Duration::from_secs(7 * 86_400),
            events_age_max: Duration::from_secs(31 * 86_400),
            bytes_max: u64::MAX,
            unshipped_bytes_max: 256 << 20,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub segment: SegmentKey,
    pub why: Why,
    pub file_bytes: u64,
    /// What nobody else has: a loss to be committed before the segment is removed. Empty where all is acknowledged.
    pub lost: Vec<Lost>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Older than the policy keeps, and acknowledged.
    Age,
    /// The shipped segments exceed their bytes.
    Bytes,
    /// The segments that are never shipped exceed theirs.
    UnshippedBytes,
}

/// Blocks of one log that exist only in a segment about to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    pub log: EpochLane,
    pub numbers: RangeSet,
    /// Records of them; an upper bound where some blocks of the log in the segment are acknowledged.
    /// [`Store::tally`](crate::Store::tally) counts exactly.
    pub records_max: u64,
    pub is_exact: bool,
    /// Earliest and latest event time of the log in the segment.
    pub event_time_min: UtcNanos,
    pub event_time_max: UtcNanos,
}

/// In this order segments leave when there are too many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Acknowledged,
    AcknowledgedEvents,
    Telemetry,
    Reduced,
    Events,
}

/// `destinations`: what each of those that matter has; a block is acknowledged when all have it. Steps are in the order
/// in which they are to be carried out. `plan` of what is left after them is empty.
pub fn plan(
    segments: &[SegmentInfo],
    destinations: &[&Acked],
    policy: &Policy,
    now: UtcNanos,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let (mut shipped_bytes, mut unshipped_bytes) = (0u64, 0u64);
    let mut shipped = Vec::new();
    let mut unshipped = Vec::new();
    let nanos = |span: Duration| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
    let (age_max, events_age_max) = (nanos(policy.age_max), nanos(policy.events_age_max));
    for info in segments {
        let is_shipped = info
            .contents
            .lanes
            .keys()
            .any(|log| log.lane.kind.is_shipped());
        if !is_shipped && !info.contents.lanes.is_empty() {
            unshipped_bytes += info.file_bytes;
            unshipped.push(info);
            continue;
        }
        let lost = lost(info, destinations);
        let age_max = if is_of_events(info) {
            events_age_max
        } else {
            age_max
        };
        let is_old = age_max <= now.since(info.newest());
        if info.state == SegmentState::Closed && lost.is_empty() && is_old {
            steps.push(step(info, Why::Age, Vec::new()));
        } else {
            shipped_bytes += info.file_bytes;
            shipped.push((info, lost));
        }
    }

    let is_closed = |info: &SegmentInfo| info.state == SegmentState::Closed;
    let mut candidates: Vec<_> = shipped
        .into_iter()
        .filter(|(info, _)| is_closed(info))
        .filter_map(|(info, lost)| Some((rank(info, &lost)?, info, lost)))
        .collect();
    candidates.sort_by(|(rank_a, a, _), (rank_b, b, _)| {
        (rank_a, a.newest(), &a.key).cmp(&(rank_b, b.newest(), &b.key))
    });
    for (_, info, lost) in candidates {
        if shipped_bytes <= policy.bytes_max {
            break;
        }
        shipped_bytes -= info.file_bytes;
        steps.push(step(info, Why::Bytes, lost));
    }

    unshipped.retain(|info| is_closed(info));
    unshipped.sort_by_key(|info| (info.newest(), &info.key));
    for info in unshipped {
        if unshipped_bytes <= policy.unshipped_bytes_max {
            break;
        }
        unshipped_bytes -= info.file_bytes;
        steps.push(step(info, Why::UnshippedBytes, lost(info, &[])));
    }
    steps
}

fn step(info: &SegmentInfo, why: Why, lost: Vec<Lost>) -> Step {
    Step {
        segment: info.key.clone(),
        why,
        file_bytes: info.file_bytes,
        lost,
    }
}

/// What of a segment not every destination has. Without a destination nobody has anything.
fn lost(info: &SegmentInfo, destinations: &[&Acked]) -> Vec<Lost> {
    let mut all = BTreeMap::new();
    for (log, contents) in &info.contents.lanes {
        let mut numbers = RangeSet::new();
        if destinations.is_empty() {
            numbers.union(&contents.numbers);
        }
        for acked in destinations {
            let acked = acked.get(log);
            for range in contents.numbers.iter() {
                match acked {
                    Some(acked) => {
                        let missing = acked.missing(range);
                        missing
                            .into_iter()
                            .for_each(|hole| numbers.insert_range(hole));
                    }
                    None => numbers.insert_range(range),
                }
            }
        }
        if !numbers.is_empty() {
            let lost = Lost {
                log: *log,
                is_exact: numbers == contents.numbers,
                numbers,
                records_max: contents.records,
                event_time_min: contents.event_time_min,
                event_time_max: contents.event_time_max,
            };
            all.insert(log, lost);
        }
    }
    all.into_values().collect()
}

fn is_of_events(info: &SegmentInfo) -> bool {
    let mut logs = info.contents.lanes.keys();
    logs.any(|log| log.lane.kind == LaneKind::Events)
}

/// `None`: never to be removed.
fn rank(info: &SegmentInfo, lost: &[Lost]) -> Option<Rank> {
    let of = |lost: &Lost| match lost.log.lane.kind {
        LaneKind::Telemetry | LaneKind::Parked => Some(Rank::Telemetry),
        LaneKind::Reduced => Some(Rank::Reduced),
        LaneKind::Events => Some(Rank::Events),
        LaneKind::Losses => None,
    };
    // What is worth most decides for the whole segment.
    let least = if is_of_events(info) {
        Rank::AcknowledgedEvents
    } else {
        Rank::Acknowledged
    };
    lost.iter()
        .map(of)
        .try_fold(least, |worst, rank| Some(worst.max(rank?)))
}
