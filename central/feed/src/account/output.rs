//! The page of one topic.

use efd_central_log::{Partition, Place};
use efd_shared_model::BlockId;

use crate::checkpoint::{Mark, Owed, OwedRecords};

/// Blocks with single records owed to one topic; a topic that refuses more than these is parked as a whole.
const OWED_RECORD_BLOCKS_MAX: usize = 4096;
/// Ranges owed to one topic, in memory and in each checkpoint. A parked topic needs one for each gap in the block
/// numbers of its lane, so this is years; beyond it the feed takes no more blocks rather than forget any.
pub(crate) const OWED_SIZE_MAX: usize = 65_536;
const _: () = assert!(OWED_RECORD_BLOCKS_MAX < OWED_SIZE_MAX);

#[derive(Debug)]
pub(crate) struct Output {
    pub topic: String,
    /// Where the next record of ours should land.
    pub next_offset: i64,
    /// Sent, and not yet acknowledged or refused.
    pub outstanding: u32,
    /// Why it takes nothing: what comes for it is owed.
    pub parked: Option<String>,
    pub owed: Owed,
    /// The last reason for which a single record was refused.
    pub refusal: Option<String>,
}

impl Output {
    pub(super) fn new(topic: &str, mark: Mark) -> Self {
        let Mark { end, parked, owed } = mark;
        Self {
            topic: topic.to_owned(),
            next_offset: end,
            outstanding: 0,
            parked,
            owed,
            refusal: None,
        }
    }

    pub(super) fn mark(&self, end: i64) -> Mark {
        Mark {
            end,
            parked: self.parked.clone(),
            owed: self.owed.clone(),
        }
    }

    pub(crate) fn park(&mut self, reason: String) {
        if self.parked.is_none() {
            tracing::error!(
                topic = self.topic,
                reason,
                "Topic refuses records; they are owed to it"
            );
        }
        self.parked = Some(reason);
    }

    /// Nothing is owed in blocks any more.
    pub(crate) fn unpark(&mut self) {
        tracing::info!(topic = self.topic, "Topic takes records again");
        self.parked = None;
        self.owed.blocks.places.clear();
        self.owed.blocks.seen.clear();
    }

    pub(super) fn note_refusal(&mut self, reason: String) {
        if self.refusal.is_none() {
            tracing::error!(
                topic = self.topic,
                reason,
                "Topic refuses a record; it is owed to it"
            );
        }
        self.refusal = Some(reason);
    }

    /// Whether `index` of the block must still be brought here.
    pub(super) fn is_owed(&self, block: BlockId, index: u64) -> bool {
        let records = self.owed.records.get(&block);
        self.owed.has_block(block) || records.is_some_and(|owed| owed.indexes.contains(index))
    }

    /// The record is in the topic: whether it was owed on its own, and so is no longer.
    pub(super) fn is_paid(&mut self, block: BlockId, index: u64) -> bool {
        let Some(records) = self.owed.records.get_mut(&block) else {
            return false;
        };
        let paid = records.indexes.contains(index);
        records.indexes.remove_range(index..=index);
        if records.indexes.is_empty() {
            self.owed.records.remove(&block);
        }
        paid
    }

    pub(super) fn owe_block(&mut self, block: BlockId, partition: &Partition, place: Place) {
        let blocks = &mut self.owed.blocks;
        blocks
            .seen
            .entry(block.lane)
            .or_default()
            .insert(block.number.0);
        self.look_from(partition, place);
    }

    /// Blocks are owed at that place, or behind it.
    fn look_from(&mut self, partition: &Partition, place: Place) {
        let places = &mut self.owed.blocks.places;
        let from = places.entry(partition.clone()).or_insert(place);
        *from = (*from).min(place);
    }

    pub(super) fn owe_records(&mut self, block: BlockId, records: OwedRecords) {
        self.owed.records.insert(block, records);
        if OWED_RECORD_BLOCKS_MAX < self.owed.records.len() && self.parked.is_none() {
            let last = self.refusal.clone().unwrap_or_default();
            self.park(format!(
                "more than {OWED_RECORD_BLOCKS_MAX} blocks with refused records; the last: {last}"
            ));
        }
    }

    /// A retry of `block` ended. `untouched`: nothing of it is in the topic, which refuses as a whole.
    pub(super) fn settle_retry(&mut self, block: BlockId, untouched: bool, refused: OwedRecords) {
        if self.owed.has_block(block) {
            if untouched {
                // Blocks behind it may have been looked for already.
                self.look_from(&refused.partition, refused.place);
                return;
            }
            self.forget_block(block);
        }
        if refused.indexes.is_empty() {
            self.owed.records.remove(&block);
        } else {
            self.owe_records(block, refused);
        }
    }

    fn forget_block(&mut self, block: BlockId) {
        let seen = &mut self.owed.blocks.seen;
        if let Some(numbers) = seen.get_mut(&block.lane) {
            numbers.remove_range(block.number.0..=block.number.0);
            if numbers.is_empty() {
                seen.remove(&block.lane);
            }
        }
    }

    /// Whether more refused records may be noted one by one.
    pub(crate) fn has_record_room(&self) -> bool {
        self.owed.records.len() <= OWED_RECORD_BLOCKS_MAX
    }

    /// Blocks owed that are not in the log any more.
    pub(crate) fn forget_blocks(&mut self) -> u64 {
        let blocks = std::mem::take(&mut self.owed.blocks);
        blocks
            .seen
            .values()
            .map(|numbers| numbers.member_count())
            .sum()
    }
}
