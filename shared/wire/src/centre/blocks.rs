//! Blocks in, acknowledgements and credit out.

use std::collections::btree_map::Entry;
use std::mem;

use efd_shared_model::{BlockNumber, EpochId, EpochLane, RangeSet};

use super::{CentreSession, Command, State, Streaming, check_count};
use crate::frame::{CentreFrame, LaneKey};
use crate::limits::{BLOCK_BYTES_MAX, LANES_MAX, RANGES_MAX, UNSIZED_BLOCKS_MAX};
use crate::moment::Moment;
use crate::stream::{Class, ReceivedBlock, counted_bytes};
use crate::violation::Violation;

/// By so much may blocks pass the credit: the edge learns a block's size when it reads it.
const CREDIT_SLACK_BYTES: u64 = (UNSIZED_BLOCKS_MAX * BLOCK_BYTES_MAX) as u64;
/// A credit frame is worth sending from this part of the window on.
const CREDIT_STEPS: u64 = 8;

/// What happens in the log.
impl CentreSession {
    /// The block is durable in the log.
    pub fn handle_appended(&mut self, lane: EpochLane, number: BlockNumber, now: Moment) {
        let State::Streaming(streaming) = &mut self.state else {
            return;
        };
        let key = LaneKey::from(lane);
        let lane = streaming.lanes.entry(key).or_default();
        lane.received.insert(number.0);
        lane.wanted.remove_range(number.0..=number.0);
        let bytes = lane.appending.remove(&number.0).unwrap_or(0);
        streaming.done_bytes += bytes;
        self.on_ack_due(key, number.0, now);
        self.grant();
    }

    /// The log will never take the block as it came: asking again would give the same. An honest edge has no such
    /// block, and what it has besides comes in its next session.
    pub fn handle_append_refused(&mut self, lane: EpochLane, number: BlockNumber, reason: String) {
        let id = lane.block(number);
        self.close(Violation::BlockRefused { id, reason });
    }

    /// The log will never take the declarations as they came.
    pub fn handle_declare_refused(&mut self, epoch: EpochId, reason: String) {
        self.close(Violation::DeclarationRefused { epoch, reason });
    }

    /// All that the log has lost of the lane, as often as one likes: what was not yet asked for in this session is.
    pub fn handle_lost(&mut self, lane: EpochLane, lost: &RangeSet) {
        let State::Streaming(streaming) = &mut self.state else {
            return;
        };
        let wanted = streaming.lanes.get(&LaneKey::from(lane));
        let mut news = lost.clone();
        for range in wanted.into_iter().flat_map(|lane| lane.wanted.iter()) {
            news.remove_range(range);
        }
        self.handle_want(lane, &news);
    }

    /// The log lost these, or a consumer needs them again.
    pub fn handle_want(&mut self, lane: EpochLane, ranges: &RangeSet) {
        if ranges.is_empty() {
            return;
        }
        let State::Streaming(streaming) = &mut self.state else {
            return;
        };
        let key = LaneKey::from(lane);
        let lane = streaming.lanes.entry(key).or_default();
        for range in ranges.iter() {
            lane.received.remove_range(range.clone());
            lane.unsent_acks.remove_range(range);
        }
        lane.wanted.union(ranges);
        self.counters.blocks_wanted += ranges.member_count();
        streaming.count_acks(key);
        for part in split(ranges) {
            self.send(CentreFrame::Want {
                lane: key,
                ranges: part,
            });
        }
    }

    /// How many bytes the log takes beyond what it was handed; 0 where it is down. Report every change.
    pub fn handle_log_state(&mut self, room_bytes: u64) {
        self.log_room_bytes = room_bytes;
        self.grant();
    }
}

impl CentreSession {
    pub(super) fn on_block(
        &mut self,
        received: ReceivedBlock,
        now: Moment,
    ) -> Result<(), Violation> {
        let edge = self.certificate.edge;
        let streaming = match &mut self.state {
            State::Closed => return Ok(()),
            State::Greeting { .. } | State::Looking { .. } => {
                return Err(Violation::Unexpected {
                    frame: "block",
                    when: "before the welcome",
                });
            }
            State::Streaming(streaming) => streaming,
        };
        streaming.heard_at = now;
        let class = received.class();
        let block = received.into_block();
        let bytes = counted_bytes(&block);
        let (id, needs) = (block.id(), block.header().streams_through);
        if id.lane.edge != edge {
            return Err(Violation::ForeignBlock { id, edge });
        }
        if !id.lane.lane.kind.is_shipped() {
            return Err(Violation::NotShipped { id });
        }
        let epoch = streaming.epochs.get(&id.lane.epoch);
        let epoch = epoch.ok_or(Violation::UnknownEpoch {
            epoch: id.lane.epoch,
        })?;
        if epoch.declared < needs {
            return Err(Violation::Undeclared {
                id,
                needs,
                declared: epoch.declared,
            });
        }
        let received_bytes = streaming.received_bytes.saturating_add(bytes);
        if streaming.granted_bytes.saturating_add(CREDIT_SLACK_BYTES) < received_bytes {
            return Err(Violation::CreditExceeded {
                received: received_bytes,
                granted: streaming.granted_bytes,
            });
        }
        let key = LaneKey::from(id.lane);
        if !streaming.lanes.contains_key(&key) {
            check_count("lanes", streaming.lanes.len() + 1, LANES_MAX)?;
        }
        streaming.received_bytes = received_bytes;
        match class {
            Class::Live => self.counters.blocks_live += 1,
            Class::Fill => self.counters.blocks_fill += 1,
        }
        self.counters.block_bytes += bytes;

        let lane = streaming.lanes.entry(key).or_default();
        let is_durable = lane.received.contains(id.number.0);
        match lane.appending.entry(id.number.0) {
            Entry::Vacant(entry) if !is_durable => {
                entry.insert(bytes);
                self.outbox.push_back(Command::Append { block, class });
                return Ok(());
            }
            // Its first copy will be acknowledged.
            Entry::Vacant(_) | Entry::Occupied(_) => {
                streaming.done_bytes += bytes;
                self.counters.blocks_duplicate += 1;
            }
        }
        if is_durable {
            self.on_ack_due(key, id.number.0, now);
        }
        self.grant();
        Ok(())
    }

    fn on_ack_due(&mut self, key: LaneKey, number: u64, now: Moment) {
        let State::Streaming(streaming) = &mut self.state else {
            return;
        };
        let lane = streaming.lanes.entry(key).or_default();
        if lane.unsent_acks.insert(number) {
            streaming.ack_blocks += 1;
        }
        streaming.acks_due.insert(key);
        let ack_at = now + self.config.ack_within;
        streaming.ack_at.get_or_insert(ack_at);
        if streaming.ack_blocks >= self.config.ack_blocks_max {
            self.flush_acks();
        }
    }

    pub(super) fn flush_acks(&mut self) {
        let State::Streaming(streaming) = &mut self.state else {
            return;
        };
        for key in mem::take(&mut streaming.acks_due) {
            let Some(lane) = streaming.lanes.get_mut(&key) else {
                continue;
            };
            for ranges in split(&mem::take(&mut lane.unsent_acks)) {
                self.counters.blocks_acked += ranges.member_count();
                self.outbox
                    .push_back(Command::SendFrame(CentreFrame::Ack { lane: key, ranges }));
            }
        }
        streaming.ack_blocks = 0;
        streaming.ack_at = None;
    }

    /// Credit follows what the log has taken, and stands still while the log is down.
    fn grant(&mut self) {
        let State::Streaming(streaming) = &mut self.state else {
            return;
        };
        let window_bytes = self.config.window_bytes;
        let by_window = streaming.done_bytes.saturating_add(window_bytes);
        let by_log = streaming.received_bytes.saturating_add(self.log_room_bytes);
        let bytes_total = by_window.min(by_log);
        let step = (window_bytes / CREDIT_STEPS).max(1);
        let left = streaming
            .granted_bytes
            .saturating_sub(streaming.received_bytes);
        let gain = bytes_total.saturating_sub(streaming.granted_bytes);
        if gain >= step || (gain > 0 && left < step) {
            streaming.granted_bytes = bytes_total;
            self.send(CentreFrame::Credit { bytes_total });
        }
    }
}

impl Streaming {
    /// After acks of a lane were withdrawn.
    fn count_acks(&mut self, key: LaneKey) {
        if self
            .lanes
            .get(&key)
            .is_none_or(|lane| lane.unsent_acks.is_empty())
        {
            self.acks_due.remove(&key);
        }
        let due = self.acks_due.iter().filter_map(|key| self.lanes.get(key));
        self.ack_blocks = due.map(|lane| lane.unsent_acks.member_count()).sum();
        if self.acks_due.is_empty() {
            self.ack_at = None;
        }
    }
}

/// In parts that fit a frame.
fn split(ranges: &RangeSet) -> Vec<RangeSet> {
    let mut parts = Vec::new();
    let mut ranges = ranges.iter().peekable();
    while ranges.peek().is_some() {
        parts.push(ranges.by_ref().take(RANGES_MAX).collect());
    }
    parts
}
