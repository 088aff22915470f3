//! What the edge says it has committed, lane by lane, for the centre to compare: a record of the lane `losses` for each lane
//! and hour.
//!
//! Statements are in memory until their hour is over; of what a killed process had committed, none is made. The centre tells
//! at every session what it has of each lane, so those blocks are compared then.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use efd_shared_model::{BlockBuilder, Committed, Lane, SealedBlock, UtcNanos};

use super::Committer;
use crate::intake::record_committed;

#[derive(Debug)]
pub struct Statements {
    every_ns: i64,
    /// Of this span, counted from 1970.
    span: Option<i64>,
    open: BTreeMap<Lane, Committed>,
    /// To be made durable.
    due: Vec<Committed>,
}

impl Statements {
    /// `every`: spans begin at its multiples since 1970.
    pub fn new(every: Duration) -> Self {
        Self {
            every_ns: i64::try_from(every.as_nanos()).unwrap_or(i64::MAX).max(1),
            span: None,
            open: BTreeMap::new(),
            due: Vec::new(),
        }
    }

    pub fn add(&mut self, block: &SealedBlock, committed: UtcNanos) {
        let of_block = || Committed::of(block, committed);
        match self.open.entry(block.id().lane.lane) {
            Entry::Vacant(new) => {
                new.insert(of_block());
            }
            Entry::Occupied(mut open) => {
                if !open.get_mut().extend(block, committed) {
                    self.due.push(open.insert(of_block()));
                }
            }
        }
    }

    /// Those whose span is over. They are given until [`Self::said`].
    fn due(&mut self, now: UtcNanos) -> &[Committed] {
        let span = now.0.div_euclid(self.every_ns);
        if self.span.replace(span).is_some_and(|known| known != span) {
            self.due
                .extend(std::mem::take(&mut self.open).into_values());
        }
        &self.due
    }

    fn said(&mut self) {
        self.due.clear();
    }
}

impl Committer {
    /// What fails is tried again the next time.
    pub(super) fn state_committed(&mut self, now: UtcNanos) {
        if self.state.has_given_up || self.statements.due(now).is_empty() {
            return;
        }
        let mut builder = BlockBuilder::new();
        for committed in &self.statements.due {
            record_committed(&mut builder, committed, now);
        }
        match self.commit_losses(&mut builder, now) {
            Ok(()) => self.statements.said(),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "What was committed is not stated yet; it is tried again"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use efd_shared_model::block::Codec;
    use efd_shared_model::{
        BlockNumber, ClockState, EdgeId, EpochId, EpochLane, EventTimeOrigin, LaneKind,
        RecordStamps, StreamNumber,
    };

    use super::*;

    const HOUR: i64 = 3_600_000_000_000;

    fn block(kind: LaneKind, number: u64) -> SealedBlock {
        let mut builder = BlockBuilder::new();
        builder.datum(StreamNumber(1)).push(1);
        let stamps = RecordStamps {
            event_time: UtcNanos(1),
            origin: EventTimeOrigin::SndStamp,
            implausible: false,
            latin1: false,
            instance: None,
        };
        builder.finish(StreamNumber(1), stamps);
        let lane = EpochLane {
            edge: EdgeId([1; 16]),
            epoch: EpochId([2; 16]),
            lane: Lane::new(kind),
        };
        let id = lane.block(BlockNumber(number));
        let sealed = builder.seal(id, ClockState::default(), Codec::None, 1);
        sealed.unwrap()
    }

    fn told(statements: &mut Statements, now: i64) -> Vec<(LaneKind, u64, u64)> {
        let due = statements.due(UtcNanos(now)).to_vec();
        statements.said();
        let told = |it: Committed| (it.lane.lane.kind, it.first_block, it.last_block);
        due.into_iter().map(told).collect()
    }

    #[test]
    fn each_lane_is_stated_once_its_hour_is_over_with_every_block_once() {
        let mut statements = Statements::new(Duration::from_secs(3600));
        let all = [
            (LaneKind::Events, 1),
            (LaneKind::Telemetry, 1),
            (LaneKind::Events, 2),
            // The third was refused by the store.
            (LaneKind::Events, 4),
        ];
        assert!(told(&mut statements, 10).is_empty());
        for (kind, number) in all {
            statements.add(&block(kind, number), UtcNanos(20));
        }
        assert_eq!(told(&mut statements, 30), [(LaneKind::Events, 1, 2)]);
        let rest = [(LaneKind::Events, 4, 4), (LaneKind::Telemetry, 1, 1)];
        let mut found = told(&mut statements, HOUR + 1);
        found.sort_unstable();
        assert_eq!(found, rest);
        assert!(told(&mut statements, HOUR + 2).is_empty());
        assert!(told(&mut statements, 3 * HOUR).is_empty(), "nothing came");
    }

    /// What could not be made durable is told again.
    #[test]
    fn what_is_not_said_stays_due() {
        let mut statements = Statements::new(Duration::from_secs(3600));
        statements.due(UtcNanos(1));
        statements.add(&block(LaneKind::Events, 1), UtcNanos(2));
        assert_eq!(statements.due(UtcNanos(HOUR)).len(), 1);
        assert_eq!(statements.due(UtcNanos(HOUR + 1)).len(), 1);
    }
}
