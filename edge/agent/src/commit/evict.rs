//! Carries out what retention plans: a loss is committed before the data that it names are removed.

use efd_shared_daemon::clock::utc_now;
use efd_shared_model::ids::EpochLane;
use efd_shared_model::{
    BlockBuilder, BlockId, Lane, LaneKind, Loss, LossReason, RangeSet, SealedBlock, UtcNanos,
};
use efd_shared_store::retention::{Lost, Policy, Step, Why, plan};
use efd_shared_store::{Recovery, SegmentInfo, StoreError};

use efd_edge_ship::{CENTRE, Notice};

use super::substitute::{Room, Substitute};
use super::{Committer, lane_name, unread};
use crate::intake::{named_samples, record_loss};

impl Committer {
    /// Plans and carries out. What fails is tried again the next time.
    pub(super) fn retain(&mut self, now: UtcNanos, room: Room) {
        self.note_reserve();
        let due = self.room_due.unwrap_or(0);
        let policy = Policy {
            make_room: match room {
                Room::Enough => due,
                Room::None => due.max(1),
            },
            ..self.options.policy.clone()
        };
        let (segments, acked) = (self.store.segments(), self.store.acked(CENTRE));
        let steps = plan(&segments, &[acked], &policy, now);
        let asked = self.reducer.asked();
        let is_planned = asked.is_none_or(|key| steps.iter().any(|step| step.segment == *key));
        if !is_planned {
            // Acknowledged meanwhile, or there is room again.
            self.reducer.give_up();
        }
        for step in steps {
            if self.state.is_naming && !step.lost.is_empty() {
                continue;
            }
            let substitute = self.substitute(&step, room);
            if matches!(substitute, Substitute::Wait) {
                // What follows is worth more.
                return;
            }
            let substitute = self.put_substitute(&step, substitute, now);
            if let Err(error) = self.carry_out(&step, &substitute, now) {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    segment = %step.segment,
                    "Removing a segment failed"
                );
                return;
            }
        }
    }

    /// Before the loss that says where it is.
    fn put_substitute(&mut self, step: &Step, substitute: Substitute, now: UtcNanos) -> String {
        let text = match substitute {
            Substitute::Wait | Substitute::NotNeeded => return String::new(),
            Substitute::Missing(reason) => Err(reason),
            Substitute::Committed => Ok("statistics stand in its place, lane reduced".into()),
            Substitute::Made(reduced) => self
                .commit_reduced(step, &reduced, now)
                .map_err(|error| error.to_string()),
        };
        match text {
            Ok(text) => format!("; {text}"),
            Err(reason) => {
                tracing::error!(segment = %step.segment, reason, "A segment leaves without a substitute");
                format!("; no statistics in its place: {reason}")
            }
        }
    }

    fn carry_out(
        &mut self,
        step: &Step,
        substitute: &str,
        now: UtcNanos,
    ) -> Result<(), StoreError> {
        let Step {
            segment,
            why,
            file_bytes,
            lost,
        } = step;
        let losses = self.losses(step, substitute, now);
        self.name(&losses)?;
        let removed: Vec<(EpochLane, RangeSet)> = self
            .store
            .segments()
            .into_iter()
            .filter(|info| info.key == *segment)
            .flat_map(|info| info.contents.lanes)
            .map(|(lane, contents)| (lane, contents.numbers))
            .collect();
        self.store.remove(segment)?;
        if let Some(due) = &mut self.room_due {
            *due = due.saturating_sub(*file_bytes);
        }
        self.meters.segments_removed.inc();
        match why {
            Why::Age => {
                tracing::info!(%segment, file_bytes, "Segment removed: acknowledged, and older than kept")
            }
            Why::Bytes | Why::Quota if lost.is_empty() => {
                tracing::info!(%segment, file_bytes, "Segment removed: acknowledged, and the buffer is full");
            }
            Why::Quota => {
                tracing::error!(%segment, file_bytes, "Segment EVICTED: its lane is over its quota; the loss is named");
            }
            Why::Bytes | Why::UnshippedBytes => {
                tracing::error!(%segment, file_bytes, "Segment EVICTED: the buffer is full; the loss is named");
            }
        }
        for (lane, ranges) in removed {
            self.notify(Notice::Removed { lane, ranges });
        }
        Ok(())
    }

    fn losses(&self, step: &Step, substitute: &str, now: UtcNanos) -> Vec<Loss> {
        let detail = format!(
            "segment {} of {} bytes{substitute}",
            step.segment, step.file_bytes
        );
        match step.why {
            Why::UnshippedBytes => {
                let segments = self.store.segments();
                let info = segments.iter().find(|info| info.key == step.segment);
                let losses = info.map(|info| unread::losses(self.store.reader(), info, &detail));
                return losses.unwrap_or_default();
            }
            Why::Age | Why::Quota | Why::Bytes => {}
        }
        let reason = LossReason::Evicted;
        let exact = |lost: &Lost| {
            if lost.is_exact {
                return Some(lost.records_max);
            }
            self.store
                .tally(&step.segment, &lost.log, &lost.numbers)
                .ok()
                .map(|tally| tally.records)
        };
        step.lost
            .iter()
            .flat_map(|lost| {
                let count = exact(lost).map_or(-1, |records| records as i64);
                let span = (lost.event_time_min, lost.event_time_max.saturating_add(1));
                block_losses(reason, &lost.log, &lost.numbers, count, span, &detail)
            })
            .map(|loss| Loss {
                until: loss.until.max(loss.from),
                ..loss
            })
            .inspect(|loss| debug_assert!(loss.from <= now.max(loss.until)))
            .collect()
    }

    /// A block that the store will never take: the fault is ours, and the samples are gone.
    pub(super) fn name_refused(&mut self, blocks: &[SealedBlock], reason: &str) {
        let losses: Vec<Loss> = blocks
            .iter()
            .map(|block| {
                let header = block.header();
                Loss {
                    epoch: header.id.lane.epoch.to_string(),
                    lane: header.id.lane.lane.to_string(),
                    count: i64::from(header.records),
                    detail: format!("the buffer refused the block: {reason}"),
                    ..Loss::new(
                        LossReason::Corrupt,
                        header.event_time_min,
                        header.event_time_max.saturating_add(1),
                    )
                }
            })
            .collect();
        if let Err(error) = self.name(&losses) {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "Naming a loss failed"
            );
        }
    }

    /// What was found damaged when the buffer was opened.
    pub fn name_damage(&mut self, recovery: &Recovery) -> Result<(), StoreError> {
        let mut losses = Vec::new();
        let acked = self.store.acked(CENTRE).clone();
        let mut whole = |info: &SegmentInfo, detail: &str| {
            for (lane, contents) in &info.contents.lanes {
                let missing = unacknowledged(&contents.numbers, acked.get(lane));
                let span = (
                    contents.event_time_min,
                    contents.event_time_max.saturating_add(1),
                );
                let count = if missing == contents.numbers {
                    contents.records as i64
                } else {
                    -1
                };
                losses.extend(block_losses(
                    LossReason::Corrupt,
                    lane,
                    &missing,
                    count,
                    span,
                    detail,
                ));
            }
        };
        for set_aside in &recovery.set_aside {
            tracing::error!(
                file = %set_aside.file.display(), moved_to = %set_aside.moved_to.display(),
                reason = set_aside.reason, "A damaged file was set aside"
            );
            if let Some(info) = &set_aside.known {
                whole(info, &set_aside.reason);
            }
        }
        for info in &recovery.missing {
            tracing::error!(segment = %info.key, "A segment is missing from the disk");
            whole(info, "the file is missing");
        }
        for damaged in &recovery.damaged {
            tracing::error!(segment = %damaged.key, positions = %damaged.positions, reason = damaged.reason, "Blocks are damaged");
            for (lane, numbers) in &damaged.numbers {
                let missing = unacknowledged(numbers, acked.get(lane));
                let now = utc_now();
                losses.extend(block_losses(
                    LossReason::Corrupt,
                    lane,
                    &missing,
                    -1,
                    (now, now),
                    &damaged.reason,
                ));
            }
        }
        self.name(&losses)
    }

    /// A block that the shipper could not read. One that retention removed meanwhile has been named by it.
    pub(super) fn name_unreadable(&mut self, id: &BlockId, reason: &str) {
        if !self.store.reader().numbers(&id.lane).contains(id.number.0) {
            return;
        }
        let (numbers, now) = (RangeSet::from_iter([id.number.0..=id.number.0]), utc_now());
        // Beside a block that cannot be read its row often can.
        let (count, span) = match self.row_of(id, &numbers) {
            Some((records, (first, last))) => (records as i64, (first, last.saturating_add(1))),
            None => (-1, (now, now)),
        };
        let losses = block_losses(LossReason::Corrupt, &id.lane, &numbers, count, span, reason);
        if let Err(error) = self.name(&losses) {
            tracing::error!(error = &error as &dyn std::error::Error, block = %id, "Naming a damaged block failed");
        }
    }

    /// Records and event times of a block, by its row.
    fn row_of(&mut self, id: &BlockId, numbers: &RangeSet) -> Option<(u64, (UtcNanos, UtcNanos))> {
        let holds = |info: &&SegmentInfo| {
            let contents = info.contents.lanes.get(&id.lane);
            contents.is_some_and(|contents| contents.numbers.contains(id.number.0))
        };
        let key = self.store.segments().iter().find(holds)?.key.clone();
        let tally = self.store.tally(&key, &id.lane, numbers).ok()?;
        Some((tally.records, tally.event_span?))
    }

    /// One block of the lane `losses`, durable when this returns.
    fn name(&mut self, losses: &[Loss]) -> Result<(), StoreError> {
        if losses.is_empty() {
            return Ok(());
        }
        let now = utc_now();
        let mut builder = BlockBuilder::new();
        for loss in losses {
            record_loss(&mut builder, loss, now);
        }
        self.commit_losses(&mut builder, now)?;
        let named: Vec<_> = losses
            .iter()
            .map(|loss| (loss.reason, named_samples(loss)))
            .collect();
        self.meters.losses_named(&named, now);
        Ok(())
    }

    /// A block of the lane `losses` beside those of batches, durable when this returns.
    pub(super) fn commit_losses(
        &mut self,
        builder: &mut BlockBuilder,
        now: UtcNanos,
    ) -> Result<(), StoreError> {
        self.declare_epoch()?;
        let lane = Lane::new(LaneKind::Losses);
        let number = self.next_number(lane);
        let blocks: Vec<SealedBlock> = self.seal(lane, builder).into_iter().collect();
        self.store
            .append(&lane_name(LaneKind::Losses), &blocks, None, now)?;
        self.next.insert(lane, number.next());
        self.announce(&blocks, now);
        Ok(())
    }
}

fn unacknowledged(numbers: &RangeSet, acked: Option<&RangeSet>) -> RangeSet {
    let mut missing = numbers.clone();
    for range in acked.into_iter().flat_map(RangeSet::iter) {
        missing.remove_range(range);
    }
    missing
}

/// One loss for each range; the count stands with the first.
fn block_losses(
    reason: LossReason,
    lane: &EpochLane,
    numbers: &RangeSet,
    count: i64,
    span: (UtcNanos, UtcNanos),
    detail: &str,
) -> Vec<Loss> {
    let ranges = numbers.iter().enumerate();
    ranges
        .map(|(index, range)| Loss {
            epoch: lane.epoch.to_string(),
            lane: lane.lane.to_string(),
            first_block: i64::try_from(*range.start()).unwrap_or(i64::MAX),
            last_block: i64::try_from(*range.end()).unwrap_or(i64::MAX),
            count: if index == 0 { count } else { 0 },
            detail: detail.to_owned(),
            ..Loss::new(reason, span.0, span.1)
        })
        .collect()
}
