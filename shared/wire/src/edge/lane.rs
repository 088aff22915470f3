//! What one lane still has to ship. Ranges, not lists: a backlog of a week costs what its gaps cost.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use efd_shared_model::{RangeSet, StreamNumber};

use super::FillOrder;
use crate::frame::UnableReason;
use crate::moment::Moment;

/// Every held block that is not acknowledged is in exactly one of `flying`, `fresh`, `waiting`, `fill`.
#[derive(Debug, Default)]
pub(super) struct LaneShip {
    /// The highest durable number, removed since or not.
    pub(super) head: u64,
    /// Durable here, neither removed nor damaged.
    held: RangeSet,
    damaged: RangeSet,
    /// The centre has it. Never beyond `head`.
    acked: RangeSet,
    /// Handed to the shell on this connection, and not acknowledged. May outlive `held` by retention.
    flying: BTreeMap<u64, Flight>,
    /// Committed so short a time ago that they go out as live.
    fresh: BTreeMap<u64, Fresh>,
    /// Not fresh, and streams 1 to n of the epoch must be declared first; n ascends.
    waiting: VecDeque<(StreamNumber, RangeSet)>,
    /// Not fresh, free to go.
    fill: RangeSet,
    /// What this lane had of its kind's turn, so that the shards of one kind take turns by bytes.
    pub(super) turn_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Fresh {
    pub(super) committed_at: Moment,
    /// This block and those before it in the epoch use streams 1 to n.
    pub(super) streams_through: StreamNumber,
    pub(super) bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    /// As charged to the window: an estimate until the shell has read the block.
    bytes: u64,
    fresh: Option<Fresh>,
}

/// What an acknowledgement came to.
#[derive(Debug, Default)]
pub(super) struct Landed {
    /// Newly acknowledged.
    pub(super) news: RangeSet,
    /// Bytes that no longer count as in flight.
    pub(super) bytes: u64,
    /// When what went out live was committed.
    pub(super) live: Vec<Moment>,
}

/// What became of a centre's wish.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Bytes that no longer count as in flight.
    pub(super) landed_bytes: u64,
    /// To be sent again.
    pub(super) granted: RangeSet,
    pub(super) unable: Vec<(UnableReason, RangeSet)>,
}

impl LaneShip {
    pub(super) fn new(head: u64, held: RangeSet, acked: RangeSet) -> Self {
        let within = |set: &RangeSet| RangeSet::intersection(set, &whole(head));
        let (held, acked) = (within(&held), within(&acked));
        Self {
            head,
            fill: RangeSet::difference(&held, &acked),
            held,
            acked,
            ..Self::default()
        }
    }

    pub(super) fn acked(&self) -> &RangeSet {
        &self.acked
    }

    /// Lowest number held; one past the head where nothing is.
    pub(super) fn floor(&self) -> u64 {
        let above = self.head.saturating_add(1);
        let first = self.held.iter().next();
        first.map_or(above, |range| *range.start())
    }

    /// Nothing held and nothing in the air.
    pub(super) fn is_spent(&self) -> bool {
        self.held.is_empty() && self.flying.is_empty()
    }

    /// `streams_through` ascends with `number`. A number that is not new is ignored.
    pub(super) fn on_durable(&mut self, number: u64, fresh: Fresh) -> bool {
        let is_new = self.head < number && number < u64::MAX;
        if is_new {
            self.head = number;
            self.held.insert(number);
            self.fresh.insert(number, fresh);
        }
        is_new
    }

    /// Begins a connection on which the centre has `received`, and knows streams 1 to `known` of the epoch, which has
    /// 1 to `through`. Returns what the centre has that was not acknowledged, and what was and it has not.
    pub(super) fn on_welcome(
        &mut self,
        received: &RangeSet,
        known: StreamNumber,
        through: StreamNumber,
    ) -> (RangeSet, RangeSet) {
        let received = RangeSet::intersection(received, &whole(self.head));
        let news = RangeSet::difference(&received, &self.acked);
        let withdrawn =
            RangeSet::intersection(&RangeSet::difference(&self.acked, &received), &self.held);
        self.acked.union(&news);
        self.acked.subtract(&withdrawn);
        self.fresh.retain(|&number, _| !received.contains(number));
        let mut backlog = RangeSet::difference(&self.held, &self.acked);
        for &number in self.fresh.keys() {
            backlog.remove_range(number..=number);
        }
        debug_assert!(self.flying.is_empty(), "nothing flies before the welcome");
        self.fill = RangeSet::new();
        self.waiting.clear();
        self.shelve(&backlog, known, through);
        (news, withdrawn)
    }

    /// Streams 1 to `known` are declared.
    pub(super) fn release(&mut self, known: StreamNumber) {
        while let Some((_, ranges)) = self.waiting.pop_front_if(|(through, _)| *through <= known) {
            self.fill.union(&ranges);
        }
    }

    /// What was committed before `now - live_for` is fill. Amortised: each block passes once.
    pub(super) fn expire(&mut self, now: Moment, live_for: Duration, known: StreamNumber) {
        while let Some(entry) = self.fresh.first_entry() {
            if now < entry.get().committed_at + live_for {
                break;
            }
            let (number, fresh) = entry.remove_entry();
            self.shelve_one(number, known, fresh.streams_through);
        }
    }

    fn shelve_one(&mut self, number: u64, known: StreamNumber, through: StreamNumber) {
        if through <= known {
            self.fill.insert(number);
            return;
        }
        // Almost always at the back: numbers come with ascending streams.
        let at = self.waiting.partition_point(|(other, _)| *other < through);
        match self.waiting.get_mut(at) {
            Some((other, ranges)) if *other == through => {
                ranges.insert(number);
            }
            Some(_) | None => {
                let ranges = RangeSet::from_iter([number..=number]);
                self.waiting.insert(at, (through, ranges));
            }
        }
    }

    fn shelve(&mut self, ranges: &RangeSet, known: StreamNumber, through: StreamNumber) {
        if ranges.is_empty() {
            return;
        }
        if through <= known {
            self.fill.union(ranges);
            return;
        }
        let at = self.waiting.partition_point(|(other, _)| *other < through);
        match self.waiting.get_mut(at) {
            Some((other, set)) if *other == through => set.union(ranges),
            Some(_) | None => self.waiting.insert(at, (through, ranges.clone())),
        }
    }

    pub(super) fn has_live(&self, known: StreamNumber) -> bool {
        self.next_live(known).is_some()
    }

    /// In order: a block that must wait for a declaration keeps those behind it waiting, for one round trip.
    pub(super) fn next_live(&self, known: StreamNumber) -> Option<(u64, Fresh)> {
        let (&number, &fresh) = self.fresh.first_key_value()?;
        (fresh.streams_through <= known).then_some((number, fresh))
    }

    pub(super) fn has_fill(&self) -> bool {
        !self.fill.is_empty()
    }

    pub(super) fn take_live(&mut self) -> Option<(u64, u64)> {
        let (number, fresh) = self.fresh.pop_first()?;
        let flight = Flight {
            bytes: fresh.bytes,
            fresh: Some(fresh),
        };
        self.flying.insert(number, flight);
        Some((number, fresh.bytes))
    }

    /// `bytes` is what a block of this lane probably has.
    pub(super) fn take_fill(&mut self, order: FillOrder, bytes: u64) -> Option<u64> {
        let number = match order {
            FillOrder::OldestFirst => *self.fill.iter().next()?.start(),
            FillOrder::NewestFirst => self.fill.last()?,
        };
        self.fill.remove_range(number..=number);
        let flight = Flight { bytes, fresh: None };
        self.flying.insert(number, flight);
        Some(number)
    }

    /// The flight has that many bytes; returns what it was charged before.
    pub(super) fn on_sized(&mut self, number: u64, bytes: u64) -> Option<u64> {
        let flight = self.flying.get_mut(&number)?;
        Some(std::mem::replace(&mut flight.bytes, bytes))
    }

    /// Fails with the last number where it is beyond the head.
    pub(super) fn on_acked(&mut self, ranges: &RangeSet) -> Result<Landed, u64> {
        if let Some(last) = ranges.last().filter(|&last| self.head < last) {
            return Err(last);
        }
        let mut landed = Landed::default();
        let ranges = RangeSet::intersection(ranges, &whole(self.head));
        for range in ranges.iter() {
            self.fill.remove_range(range.clone());
            for (_, waiting) in &mut self.waiting {
                waiting.remove_range(range.clone());
            }
            self.forget_fresh(&range);
            // What flies is not acknowledged yet: only for the rest need `acked` be searched, which takes long where
            // it has many gaps.
            let mut rest = RangeSet::from_iter([range.clone()]);
            for number in keys_within(&self.flying, &range) {
                if let Some(flight) = self.flying.remove(&number) {
                    landed.bytes += flight.bytes;
                    landed
                        .live
                        .extend(flight.fresh.map(|fresh| fresh.committed_at));
                    landed.news.insert(number);
                    rest.remove_range(number..=number);
                }
            }
            for hole in rest.iter().flat_map(|range| self.acked.missing(range)) {
                landed.news.insert_range(hole);
            }
            self.acked.insert_range(range);
        }
        self.waiting.retain(|(_, ranges)| !ranges.is_empty());
        Ok(landed)
    }

    pub(super) fn on_wanted(
        &mut self,
        ranges: &RangeSet,
        known: StreamNumber,
        through: StreamNumber,
    ) -> Wanted {
        let mut wanted = Wanted {
            granted: RangeSet::intersection(ranges, &self.held),
            ..Wanted::default()
        };
        let absent = RangeSet::difference(ranges, &self.held);
        let existed = RangeSet::intersection(&absent, &whole(self.head));
        let unable = [
            (
                UnableReason::Damaged,
                RangeSet::intersection(&existed, &self.damaged),
            ),
            (
                UnableReason::Removed,
                RangeSet::difference(&existed, &self.damaged),
            ),
            (
                UnableReason::Unknown,
                RangeSet::difference(&absent, &existed),
            ),
        ];
        wanted.unable = unable
            .into_iter()
            .filter(|(_, set)| !set.is_empty())
            .collect();

        self.acked.subtract(&wanted.granted);
        let mut again = wanted.granted.clone();
        for range in wanted.granted.iter() {
            for number in keys_within(&self.flying, &range) {
                if let Some(flight) = self.flying.remove(&number) {
                    wanted.landed_bytes += flight.bytes;
                }
            }
            for (&number, _) in self.fresh.range(range) {
                again.remove_range(number..=number);
            }
        }
        self.fill.subtract(&again);
        for (_, waiting) in &mut self.waiting {
            waiting.subtract(&again);
        }
        self.waiting.retain(|(_, ranges)| !ranges.is_empty());
        self.shelve(&again, known, through);
        wanted
    }

    /// By retention. What flies may still arrive and be acknowledged.
    pub(super) fn on_removed(&mut self, ranges: &RangeSet) {
        for range in ranges.iter() {
            self.held.remove_range(range.clone());
            self.fill.remove_range(range.clone());
            for (_, waiting) in &mut self.waiting {
                waiting.remove_range(range.clone());
            }
            self.forget_fresh(&range);
        }
        self.waiting.retain(|(_, ranges)| !ranges.is_empty());
    }

    /// Returns the bytes that landed.
    pub(super) fn on_damaged(&mut self, number: u64) -> u64 {
        let flight = self.flying.remove(&number);
        if self.held.contains(number) {
            self.on_removed(&RangeSet::from_iter([number..=number]));
            self.damaged.insert(number);
        }
        flight.map_or(0, |flight| flight.bytes)
    }

    /// The connection is gone, with all that flew. What is still fresh keeps its precedence on the next one.
    pub(super) fn on_closed(&mut self, now: Moment, live_for: Duration) {
        for (number, flight) in std::mem::take(&mut self.flying) {
            match flight.fresh {
                _ if !self.held.contains(number) => {}
                Some(fresh) if now < fresh.committed_at + live_for => {
                    self.fresh.insert(number, fresh);
                }
                Some(_) | None => {
                    self.fill.insert(number);
                }
            }
        }
    }

    fn forget_fresh(&mut self, range: &RangeInclusive<u64>) {
        for number in keys_within(&self.fresh, range) {
            self.fresh.remove(&number);
        }
    }

    /// Held and not acknowledged, and the lowest of them.
    pub(super) fn unacked(&self) -> (u64, Option<u64>) {
        let unacked = RangeSet::difference(&self.held, &self.acked);
        let first = unacked.iter().next().map(|range| *range.start());
        (unacked.member_count(), first)
    }

    /// The relation that the type promises, for tests: a description of what breaks it.
    pub(super) fn self_check(&self) -> Option<String> {
        let mut seen = RangeSet::new();
        let parts = [
            ("fill", self.fill.clone()),
            ("fresh", self.fresh.keys().map(|&n| n..=n).collect()),
            ("flying", self.flying.keys().map(|&n| n..=n).collect()),
        ];
        let waiting = self
            .waiting
            .iter()
            .map(|(_, ranges)| ("waiting", ranges.clone()));
        for (name, part) in parts.into_iter().chain(waiting) {
            let twice = RangeSet::intersection(&seen, &part);
            if !twice.is_empty() {
                return Some(format!("{twice} in {name} and in another place"));
            }
            seen.union(&part);
        }
        let seen = RangeSet::intersection(&seen, &self.held);
        let due = RangeSet::difference(&self.held, &self.acked);
        if seen != due {
            return Some(format!("{due} are due, {seen} are accounted for"));
        }
        let ascending = self
            .waiting
            .iter()
            .zip(self.waiting.iter().skip(1))
            .all(|(a, b)| a.0 < b.0);
        let head = self.held.last().max(self.acked.last()).unwrap_or(0);
        match (ascending, head <= self.head) {
            (false, _) => Some("waiting does not ascend".into()),
            (true, false) => Some(format!("{head} is beyond the head {}", self.head)),
            (true, true) => None,
        }
    }

    pub(super) fn flying_bytes(&self) -> u64 {
        self.flying.values().map(|flight| flight.bytes).sum()
    }
}

fn keys_within<T>(map: &BTreeMap<u64, T>, range: &RangeInclusive<u64>) -> Vec<u64> {
    map.range(range.clone())
        .map(|(&number, _)| number)
        .collect()
}

/// 1 to `head`.
fn whole(head: u64) -> RangeSet {
    RangeSet::from_iter([1..=head])
}
