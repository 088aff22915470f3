//! The book of what was sent, acknowledged, found again and owed. Pure: the session tells it what happened, and it says
//! what a checkpoint may claim.

mod output;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use efd_central_log::{Partition, Place, Progress};
use efd_shared_model::{BlockId, RangeSet, RecordId, ids::EpochLane};

use crate::broker::{Ack, OutputIx, Refusal};
use crate::checkpoint::{Mark, OwedRecords};

pub(crate) use output::{OWED_SIZE_MAX, Output};

/// A block in flight, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SlotIx(pub u32);

/// Why a block is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It came from the log and is not in the progress.
    Deliver,
    /// An output is owed records of it.
    Retry(OutputIx),
}

/// Since the account was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Counters {
    pub blocks: u64,
    /// Acknowledged by the broker.
    pub records: u64,
    /// Left out because they were found in their topic.
    pub skipped: u64,
    /// Identities found more than once while reading back.
    pub duplicates: u64,
    /// Records of others in our topics, by the gaps between our own offsets.
    pub strangers: u64,
    /// Topics whose offsets went backwards: made anew, or their tail lost by the cluster.
    pub rewound: u64,
    pub refused: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Account {
    outputs: Vec<Output>,
    by_topic: BTreeMap<String, OutputIx>,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    /// Slots with [`Purpose::Deliver`].
    delivering: BTreeMap<BlockId, SlotIx>,
    /// Records behind the checkpoint that are in their topic already, until their block comes.
    found: BTreeMap<BlockId, Vec<Found>>,
    /// Blocks that could not be opened: passed, but not seen, so that a good copy is taken.
    unread: BTreeMap<EpochLane, RangeSet>,
    finished_retries: Vec<Retried>,
    counters: Counters,
}

#[derive(Debug)]
struct Slot {
    id: BlockId,
    partition: Partition,
    place: Place,
    purpose: Purpose,
    /// Ascending by output.
    parts: Vec<Part>,
    /// Sent, and not yet acknowledged or refused.
    waiting: u32,
    /// Every record has been offered.
    handed_over: bool,
}

/// What happened to a block's records of one output.
#[derive(Debug)]
struct Part {
    output: OutputIx,
    /// Lowest offset of a record of the block in the topic.
    held: Option<i64>,
    /// Indexes that were in the topic before.
    found: RangeSet,
    /// Indexes that are not in the topic and were not taken.
    refused: RangeSet,
    /// The topic refused during this retry: offer it nothing more.
    closed: bool,
}

#[derive(Debug)]
struct Found {
    output: OutputIx,
    offset: i64,
    indexes: RangeSet,
}

/// How the retry of one block ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retried {
    pub output: OutputIx,
    pub block: BlockId,
    /// The whole topic refuses: stop for now.
    pub closed: bool,
}

impl Account {
    /// The output of `topic`; a new one begins with what `mark` says.
    pub(crate) fn open(&mut self, topic: &str, mark: Option<Mark>) -> OutputIx {
        if let Some(&known) = self.by_topic.get(topic) {
            return known;
        }
        let output = OutputIx(self.outputs.len() as u32);
        self.outputs
            .push(Output::new(topic, mark.unwrap_or_default()));
        self.by_topic.insert(topic.to_owned(), output);
        output
    }

    pub(crate) fn lookup(&self, topic: &str) -> Option<OutputIx> {
        self.by_topic.get(topic).copied()
    }

    pub(crate) fn output(&self, output: OutputIx) -> &Output {
        &self.outputs[output.0 as usize]
    }

    pub(crate) fn output_mut(&mut self, output: OutputIx) -> &mut Output {
        &mut self.outputs[output.0 as usize]
    }

    pub(crate) fn outputs(&self) -> impl Iterator<Item = (OutputIx, &Output)> {
        (0..).map(OutputIx).zip(&self.outputs)
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// Of either purpose.
    pub(crate) fn blocks_in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn records_in_flight(&self) -> u64 {
        self.outputs
            .iter()
            .map(|output| u64::from(output.outstanding))
            .sum()
    }

    /// A record of ours stands at `offset` of the output's topic. `settled` is the progress without blocks in flight.
    pub(crate) fn note_found(
        &mut self,
        output: OutputIx,
        id: RecordId,
        offset: i64,
        settled: &Progress,
    ) {
        let is_new = self.find(output, id, offset, settled);
        self.counters.duplicates += u64::from(!is_new);
    }

    /// As [`Self::note_found`], where a part of the topic is read that may be known already.
    pub(crate) fn note_found_again(
        &mut self,
        output: OutputIx,
        id: RecordId,
        offset: i64,
        settled: &Progress,
    ) {
        self.find(output, id, offset, settled);
    }

    /// Whether it is the first of this identity, as far as is known.
    fn find(&mut self, output: OutputIx, id: RecordId, offset: i64, settled: &Progress) -> bool {
        let RecordId { block, index } = id;
        let index = u64::from(index);
        if has(settled, block) && !self.output(output).owed.has_block(block) {
            self.counters.skipped += u64::from(self.output_mut(output).is_paid(block, index));
            return true;
        }
        let delivering = self.delivering.get(&block).copied();
        if let Some(slot) = delivering.and_then(|ix| self.slot_mut(ix)) {
            let part = slot.part(output);
            part.held = Some(part.held.map_or(offset, |held| held.min(offset)));
            part.refused.remove_range(index..=index);
            return part.found.insert(index);
        }
        let founds = self.found.entry(block).or_default();
        if let Some(found) = founds.iter_mut().find(|found| found.output == output) {
            found.offset = found.offset.min(offset);
            return found.indexes.insert(index);
        }
        founds.push(Found {
            output,
            offset,
            indexes: [index..=index].into_iter().collect(),
        });
        true
    }

    /// A block goes in flight.
    pub(crate) fn begin(
        &mut self,
        id: BlockId,
        partition: Partition,
        place: Place,
        purpose: Purpose,
    ) -> SlotIx {
        let wanted = |found: &Found| match purpose {
            Purpose::Deliver => true,
            Purpose::Retry(output) => found.output == output,
        };
        let mut founds = self.found.remove(&id).unwrap_or_default();
        let others: Vec<Found> = founds.extract_if(.., |found| !wanted(found)).collect();
        if !others.is_empty() {
            self.found.insert(id, others);
        }
        let part = |found: Found| Part {
            held: Some(found.offset),
            found: found.indexes,
            ..Part::new(found.output)
        };
        let mut parts: Vec<Part> = founds.into_iter().map(part).collect();
        parts.sort_unstable_by_key(|part| part.output);
        let slot = Slot {
            id,
            partition,
            place,
            purpose,
            parts,
            waiting: 0,
            handed_over: false,
        };
        let ix = match self.free.pop() {
            Some(free) => SlotIx(free),
            None => {
                self.slots.push(None);
                SlotIx(self.slots.len() as u32 - 1)
            }
        };
        self.slots[ix.0 as usize] = Some(slot);
        if purpose == Purpose::Deliver {
            self.delivering.insert(id, ix);
        }
        ix
    }

    /// Whether the record is to be sent. Where not, it is in its topic, or noted as owed.
    pub(crate) fn offer(&mut self, ix: SlotIx, output: OutputIx, index: u32) -> bool {
        let Some(slot) = self.slots.get_mut(ix.0 as usize).and_then(Option::as_mut) else {
            return false;
        };
        let (purpose, id) = (slot.purpose, slot.id);
        let part = slot.part(output);
        let book = &self.outputs[output.0 as usize];
        let index = u64::from(index);
        if part.found.contains(index) {
            self.counters.skipped += 1;
            return false;
        }
        let (wanted, taken) = match purpose {
            Purpose::Deliver => (true, book.parked.is_none()),
            Purpose::Retry(owing) => (owing == output && book.is_owed(id, index), !part.closed),
        };
        if wanted && !taken {
            part.refused.insert(index);
        }
        wanted && taken
    }

    /// A record that was offered is on its way.
    pub(crate) fn sent(&mut self, ix: SlotIx, output: OutputIx) {
        if let Some(slot) = self.slot_mut(ix) {
            slot.waiting += 1;
        }
        self.output_mut(output).outstanding += 1;
    }

    /// A record that was offered could not be sent.
    pub(crate) fn refuse(&mut self, ix: SlotIx, output: OutputIx, index: u32, refusal: Refusal) {
        self.counters.refused += 1;
        let Some(slot) = self.slots.get_mut(ix.0 as usize).and_then(Option::as_mut) else {
            return;
        };
        let part = slot.part(output);
        part.refused.insert(index.into());
        let book = &mut self.outputs[output.0 as usize];
        match refusal {
            Refusal::Record(reason) => book.note_refusal(reason),
            Refusal::Output(reason) => {
                part.closed = true;
                book.park(reason);
            }
        }
    }

    /// Every record of the block has been offered.
    pub(crate) fn handed_over(&mut self, ix: SlotIx) {
        if let Some(slot) = self.slot_mut(ix) {
            slot.handed_over = true;
        }
        self.finish(ix);
    }

    /// The block cannot be read: it is passed, and a good copy will be taken.
    pub(crate) fn unreadable(&mut self, ix: SlotIx) {
        if let Some(slot) = self.slot_mut(ix) {
            let id = slot.id;
            self.unread.entry(id.lane).or_default().insert(id.number.0);
        }
        self.handed_over(ix);
    }

    pub(crate) fn handle_ack(&mut self, ack: Ack) {
        let Ack {
            output,
            token,
            result,
        } = ack;
        let ix = SlotIx(token.slot);
        let book = self.output_mut(output);
        book.outstanding = book.outstanding.saturating_sub(1);
        if let Some(slot) = self.slot_mut(ix) {
            slot.waiting = slot.waiting.saturating_sub(1);
        }
        match result {
            Ok(offset) => self.delivered(ix, output, offset),
            Err(refusal) => self.refuse(ix, output, token.index, refusal),
        }
        self.finish(ix);
    }

    fn delivered(&mut self, ix: SlotIx, output: OutputIx, offset: i64) {
        self.counters.records += 1;
        let book = self.output_mut(output);
        let expected = std::mem::replace(&mut book.next_offset, offset.saturating_add(1));
        if expected < offset {
            self.counters.strangers += offset.abs_diff(expected);
        } else if offset < expected {
            self.counters.rewound += 1;
            self.lower_holds(output, offset);
        }
        if let Some(slot) = self.slot_mut(ix) {
            let part = slot.part(output);
            part.held = Some(part.held.map_or(offset, |held| held.min(offset)));
        }
    }

    /// The topic was read to its end, or may not be read.
    pub(crate) fn handle_read_back(&mut self, output: OutputIx, end: Result<i64, String>) {
        match end {
            Ok(end) => self.set_end(output, end),
            // What it has cannot be told from what it has not: it is owed everything from here on.
            Err(reason) => self.output_mut(output).park(reason),
        }
    }

    /// What was read back says where the topic ends.
    pub(crate) fn set_end(&mut self, output: OutputIx, end: i64) {
        let expected = std::mem::replace(&mut self.output_mut(output).next_offset, end);
        if end < expected {
            self.counters.rewound += 1;
            self.lower_holds(output, end);
        }
    }

    /// The topic was made anew: offsets of before would hide its beginning.
    fn lower_holds(&mut self, output: OutputIx, offset: i64) {
        let parts = self
            .slots
            .iter_mut()
            .flatten()
            .flat_map(|slot| &mut slot.parts);
        for part in parts.filter(|part| part.output == output) {
            part.held = part.held.map(|held| held.min(offset));
        }
        let founds = self.found.values_mut().flatten();
        for found in founds.filter(|found| found.output == output) {
            found.offset = found.offset.min(offset);
        }
    }

    fn slot_mut(&mut self, ix: SlotIx) -> Option<&mut Slot> {
        self.slots.get_mut(ix.0 as usize).and_then(Option::as_mut)
    }

    fn finish(&mut self, ix: SlotIx) {
        let done = |slot: &mut Slot| slot.handed_over && slot.waiting == 0;
        let Some(slot) = self
            .slots
            .get_mut(ix.0 as usize)
            .and_then(|slot| slot.take_if(done))
        else {
            return;
        };
        self.free.push(ix.0);
        match slot.purpose {
            Purpose::Deliver => {
                self.delivering.remove(&slot.id);
                self.counters.blocks += 1;
                self.settle_delivery(slot);
            }
            Purpose::Retry(output) => {
                let part = slot.parts.into_iter().find(|part| part.output == output);
                let part = part.unwrap_or_else(|| Part::new(output));
                let (block, closed) = (slot.id, part.closed);
                let refused = OwedRecords {
                    partition: slot.partition,
                    place: slot.place,
                    indexes: part.refused,
                };
                let untouched = closed && part.held.is_none();
                self.output_mut(output)
                    .settle_retry(block, untouched, refused);
                self.finished_retries.push(Retried {
                    output,
                    block,
                    closed,
                });
            }
        }
    }

    fn settle_delivery(&mut self, slot: Slot) {
        // A parked output is owed this block too, though it has nothing in it: the ranges stay few.
        for (output, book) in (0..).map(OutputIx).zip(&mut self.outputs) {
            if book.parked.is_some() && slot.find(output).is_err() {
                book.owe_block(slot.id, &slot.partition, slot.place);
            }
        }
        let refusing = slot.parts.into_iter();
        for part in refusing.filter(|part| !part.refused.is_empty()) {
            let book = &mut self.outputs[part.output.0 as usize];
            if book.parked.is_some() && part.held.is_none() {
                book.owe_block(slot.id, &slot.partition, slot.place);
            } else {
                let records = OwedRecords {
                    partition: slot.partition.clone(),
                    place: slot.place,
                    indexes: part.refused,
                };
                book.owe_records(slot.id, records);
            }
        }
    }

    /// Whether every record of the block that was sent has been answered.
    pub(crate) fn is_answered(&self, ix: SlotIx) -> bool {
        let slot = self.slots.get(ix.0 as usize).and_then(Option::as_ref);
        slot.is_none_or(|slot| slot.waiting == 0)
    }

    /// Retries that ended since the last call.
    pub(crate) fn take_finished_retries(&mut self) -> Vec<Retried> {
        std::mem::take(&mut self.finished_retries)
    }

    /// Whether a block in flight has records that will be owed to `output` when it ends.
    pub(crate) fn will_owe(&self, output: OutputIx) -> bool {
        let parts = self.slots.iter().flatten().flat_map(|slot| &slot.parts);
        let mut of_output = parts.filter(|part| part.output == output);
        of_output.any(|part| !part.refused.is_empty())
    }

    /// Whether some output is owed as much as may be remembered.
    pub(crate) fn is_full(&self) -> bool {
        self.outputs
            .iter()
            .any(|output| OWED_SIZE_MAX <= output.owed.size())
    }

    /// What of `read` (everything handed to the session) is delivered, or owed in the same checkpoint.
    pub(crate) fn settle(&self, read: &Progress) -> Progress {
        let mut settled = read.clone();
        for (lane, numbers) in &self.unread {
            if let Some(seen) = settled.seen.get_mut(lane) {
                numbers.iter().for_each(|range| seen.remove_range(range));
            }
        }
        let delivering = self
            .delivering
            .values()
            .filter_map(|ix| self.slots[ix.0 as usize].as_ref());
        for slot in delivering {
            let number = slot.id.number.0;
            if let Some(seen) = settled.seen.get_mut(&slot.id.lane) {
                seen.remove_range(number..=number);
            }
            let place = settled
                .places
                .entry(slot.partition.clone())
                .or_insert(slot.place);
            *place = (*place).min(slot.place);
        }
        settled
    }

    /// By topic: what is owed, and the offset before which everything belongs to settled blocks.
    pub(crate) fn marks(&self) -> BTreeMap<String, Mark> {
        let mut ends: Vec<i64> = self
            .outputs
            .iter()
            .map(|output| output.next_offset)
            .collect();
        let parts = self.slots.iter().flatten().flat_map(|slot| &slot.parts);
        let held = parts.filter_map(|part| Some((part.output, part.held?)));
        let founds = self.found.values().flatten();
        for (output, offset) in held.chain(founds.map(|found| (found.output, found.offset))) {
            let end = &mut ends[output.0 as usize];
            *end = (*end).min(offset);
        }
        let outputs = self.outputs.iter().zip(ends);
        let mut marks: Vec<Mark> = outputs.map(|(output, end)| output.mark(end)).collect();
        // What is on its way to an output that is owed it is looked for again after a crash.
        for slot in self.slots.iter().flatten() {
            let Purpose::Retry(output) = slot.purpose else {
                continue;
            };
            let owed = &mut marks[output.0 as usize].owed;
            if owed.has_block(slot.id)
                && let Some(from) = owed.blocks.places.get_mut(&slot.partition)
            {
                *from = slot.place.min(*from);
            }
        }
        let topics = self.outputs.iter().map(|output| output.topic.clone());
        topics.zip(marks).collect()
    }

    /// [`Self::marks`] of one output.
    pub(crate) fn end(&self, output: OutputIx) -> i64 {
        let parts = self.slots.iter().flatten().flat_map(|slot| &slot.parts);
        let held = parts.filter_map(|part| Some((part.output, part.held?)));
        let founds = self
            .found
            .values()
            .flatten()
            .map(|found| (found.output, found.offset));
        let of_output = held.chain(founds).filter(|(of, _)| *of == output);
        let next_offset = self.output(output).next_offset;
        of_output
            .map(|(_, offset)| offset)
            .fold(next_offset, i64::min)
    }
}

pub(crate) fn has(progress: &Progress, id: BlockId) -> bool {
    let seen = progress.seen.get(&id.lane);
    seen.is_some_and(|seen| seen.contains(id.number.0))
}

impl Slot {
    fn find(&self, output: OutputIx) -> Result<usize, usize> {
        self.parts.binary_search_by_key(&output, |part| part.output)
    }

    fn part(&mut self, output: OutputIx) -> &mut Part {
        let at = match self.find(output) {
            Ok(at) => at,
            Err(at) => {
                self.parts.insert(at, Part::new(output));
                at
            }
        };
        &mut self.parts[at]
    }
}

impl Part {
    fn new(output: OutputIx) -> Self {
        Self {
            output,
            held: None,
            found: RangeSet::new(),
            refused: RangeSet::new(),
            closed: false,
        }
    }
}
