//! What is to be removed, and in which order: the one that loses least. Pure: the same plan is carried out by a daemon
//! and printed by the tool.

use std::collections::BTreeMap;
use std::time::Duration;

use efd_shared_model::{EpochLane, Lane, LaneKind, RangeSet, UtcNanos};

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
    pub quotas: Quotas,
    /// Bytes to be freed whatever the limits say, in the same order: the disk has no space. It is asked for anew each time.
    pub make_room: u64,
    /// All segments that are never shipped; the oldest go first. They do not count towards `bytes_max`.
    pub unshipped_bytes_max: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            age_max: Duration::from_secs(7 * 86_400),
            events_age_max: Duration::from_secs(31 * 86_400),
            bytes_max: u64::MAX,
            quotas: Quotas::default(),
            make_room: 0,
            unshipped_bytes_max: 256 << 20,
        }
    }
}

/// Bytes that some of the shipped segments may have, open ones included, however much room there is. Above it closed ones
/// leave in the order that `bytes_max` has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    pub events: u64,
    pub telemetry: u64,
    pub reduced: u64,
    /// Of each lane of a topic that is over its budget.
    pub flood: u64,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            events: u64::MAX,
            telemetry: u64::MAX,
            reduced: u64::MAX,
            flood: u64::MAX,
        }
    }
}

impl Quotas {
    /// As they are where nothing else is said: a flood gets a quarter of the buffer, so that it cannot push out what others
    /// keep there.
    pub fn of_buffer(bytes_max: u64) -> Self {
        Self {
            flood: match bytes_max {
                u64::MAX => u64::MAX,
                bytes_max => bytes_max / 4,
            },
            ..Self::default()
        }
    }
}

/// What has a quota of its own. A segment with several is of that which is worth most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Flood(Lane),
    Telemetry,
    Reduced,
    Events,
    Losses,
}

impl Group {
    fn of(info: &SegmentInfo) -> Self {
        let lanes = info.contents.lanes.keys().map(|log| log.lane);
        let groups = lanes.map(|lane| match lane.kind {
            LaneKind::Losses => Self::Losses,
            LaneKind::Events | LaneKind::Telemetry if lane.is_diverted() => Self::Flood(lane),
            LaneKind::Events => Self::Events,
            LaneKind::Reduced => Self::Reduced,
            LaneKind::Telemetry | LaneKind::Parked => Self::Telemetry,
        });
        groups.max().unwrap_or(Self::Losses)
    }

    fn quota(self, quotas: &Quotas) -> u64 {
        match self {
            Self::Flood(_) => quotas.flood,
            Self::Telemetry => quotas.telemetry,
            Self::Reduced => quotas.reduced,
            Self::Events => quotas.events,
            Self::Losses => u64::MAX,
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
    /// The lane exceeds its quota.
    Quota,
    /// The shipped segments exceed their bytes, or the disk has no space.
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
    AcknowledgedFlood,
    Acknowledged,
    AcknowledgedEvents,
    /// Of a topic that is over its budget, events or not: before its neighbours.
    Flood,
    Telemetry,
    Reduced,
    Events,
}

/// `destinations`: what each of those that matter has; a block is acknowledged when all have it. Steps are in the order
/// in which they are to be carried out. `plan` of what is left after them is empty, unless room is to be made.
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

    let mut groups: BTreeMap<Group, u64> = BTreeMap::new();
    for (info, _) in &shipped {
        *groups.entry(Group::of(info)).or_default() += info.file_bytes;
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
    candidates.retain(|(_, info, lost)| {
        let group = Group::of(info);
        let bytes = groups.entry(group).or_default();
        if *bytes <= group.quota(&policy.quotas) {
            return true;
        }
        *bytes -= info.file_bytes;
        shipped_bytes -= info.file_bytes;
        steps.push(step(info, Why::Quota, lost.clone()));
        false
    });
    let mut freed: u64 = steps.iter().map(|step| step.file_bytes).sum();
    for (_, info, lost) in candidates {
        if shipped_bytes <= policy.bytes_max && policy.make_room <= freed {
            break;
        }
        shipped_bytes -= info.file_bytes;
        freed = freed.saturating_add(info.file_bytes);
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
        LaneKind::Losses => None,
        LaneKind::Events | LaneKind::Telemetry if lost.log.lane.is_diverted() => Some(Rank::Flood),
        LaneKind::Telemetry | LaneKind::Parked => Some(Rank::Telemetry),
        LaneKind::Reduced => Some(Rank::Reduced),
        LaneKind::Events => Some(Rank::Events),
    };
    // What is worth most decides for the whole segment.
    let least = match Group::of(info) {
        Group::Flood(_) => Rank::AcknowledgedFlood,
        Group::Events => Rank::AcknowledgedEvents,
        Group::Telemetry | Group::Reduced | Group::Losses if is_of_events(info) => {
            Rank::AcknowledgedEvents
        }
        Group::Telemetry | Group::Reduced | Group::Losses => Rank::Acknowledged,
    };
    lost.iter()
        .map(of)
        .try_fold(least, |worst, rank| Some(worst.max(rank?)))
}
