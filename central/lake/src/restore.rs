//! A part made whole: what is damaged goes out, and what belongs there and is not there comes in, in one commit.
//!
//! In:  blocks that may have records of the part; only those that the lake has taken count, for the others come by
//!      themselves. Out: a commit with the same progress as before, and the damaged files in `_damaged/`.
//!
//! Invariant: a row of a sound file stays where it is, so none is there twice, whatever blocks are offered and how often.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use efd_central_log::{BlockLog, LogError, Partition};
use efd_shared_model::ids::EpochLane;
use efd_shared_model::{Block, RangeSet, SealedBlock, Tally, UtcNanos};

use crate::buffer::{Buffer, Stamped};
use crate::carry::Carrier;
use crate::commit::{Change, FileEntry};
use crate::error::LakeError;
use crate::examine::{Fault, FaultKind, blocks_of, examine};
use crate::identity::{Lanes, RowId};
use crate::lake::Lake;
use crate::live::Live;
use crate::options::Now;
use crate::part::Part;
use crate::rejected::REJECTED_TOPIC;

/// Block numbers by lane.
pub type Blocks = BTreeMap<EpochLane, RangeSet>;

/// Blocks that may have records of a part, in whatever order, from wherever they still are.
pub type Candidates<'a> = dyn Iterator<Item = Result<(Partition, SealedBlock), LogError>> + 'a;

/// What became of a part.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Restored {
    /// `None`: there was nothing to do.
    pub commit: Option<u64>,
    /// The files that went out.
    pub damaged: Vec<Fault>,
    /// Rows that were put in from blocks.
    pub rows_from_blocks: u64,
    /// Rows of damaged files that no block had any more, and that were kept as they could be read.
    pub rows_kept: u64,
    /// Blocks that were offered and cannot be opened.
    pub blocks_unreadable: u64,
    /// Blocks that were offered and that the lake is still to take: they come by themselves.
    pub unseen: Blocks,
    /// Of the blocks that were expected: those of which no row is in the part, and that were not offered.
    pub missing: Blocks,
    /// What the part has afterwards, by [hour](UtcNanos::hour).
    pub hours: BTreeMap<i64, Tally>,
}

/// What is to be restored.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub part: &'a Part,
    /// Blocks that have records of the part, as far as the caller knows.
    pub expected: Option<&'a Blocks>,
}

/// On the way from what is damaged to what is staged.
pub(crate) struct Work<'a> {
    pub(crate) part: &'a Part,
    pub(crate) lanes: Lanes,
    /// Of sound files, and of damaged ones as they are kept. Ascending.
    pub(crate) sound: Vec<RowId>,
    /// Blocks of which every record is in its place.
    pub(crate) taken: Blocks,
    pub(crate) kept: BTreeSet<RowId>,
    pub(crate) change: Change,
    pub(crate) restored: Restored,
    buffer: Buffer,
    is_full_at: usize,
}

impl Work<'_> {
    pub(crate) fn is_sound(&self, id: RowId) -> bool {
        self.sound.binary_search(&id).is_ok()
    }

    pub(crate) fn is_taken(&self, id: RowId) -> bool {
        let taken = self.taken.get(&self.lanes.lane(id));
        taken.is_some_and(|taken| taken.contains(id.block))
    }

    pub(crate) fn tally(&mut self, time: i64, id: RowId) {
        let hour = self.restored.hours.entry(UtcNanos(time).hour());
        hour.or_default().add(self.lanes.digest(id));
    }
}

impl Lake {
    /// Takes the files of the part that are not what their commits state out of the lake, and puts in every record of the
    /// candidates that belongs there and is in no sound file. What is readable of the damaged files and in no candidate is
    /// kept.
    ///
    /// Blocks the thread for as long as it takes to read the part and the candidates. On an error the part is as before, or
    /// the commit is through with the next call of [`Self::commit`]; either way, ask again.
    pub fn restore_part<L: BlockLog + ?Sized>(
        &mut self,
        wanted: Wanted<'_>,
        log: &L,
        candidates: &mut Candidates<'_>,
        now: Now,
    ) -> Result<Restored, LakeError> {
        self.finish_pending()?;
        let gathered = self.gather(wanted.part, log, candidates);
        let work = self.settled(gathered)?;
        let Work {
            lanes,
            sound,
            taken,
            kept,
            change,
            mut restored,
            ..
        } = work;
        if let Some(expected) = wanted.expected {
            let rows = sound.into_iter().chain(kept);
            let there = blocks_of(rows, &lanes);
            for (lane, blocks) in expected {
                let mut missing = blocks.clone();
                for known in [&there, &taken, &restored.unseen] {
                    if let Some(known) = known.get(lane) {
                        missing.subtract(known);
                    }
                }
                if !missing.is_empty() {
                    restored.missing.insert(*lane, missing);
                }
            }
        }
        if change.added.is_empty() && change.removed.is_empty() {
            return Ok(restored);
        }
        self.touch(&change.added, now);
        self.counters.parts_restored += 1;
        self.counters.rows_restored += restored.rows_from_blocks;
        let progress = self.committed().clone();
        self.prepare(change, progress, now);
        restored.commit = self.finish_pending()?;
        tracing::warn!(
            part = %wanted.part, damaged = restored.damaged.len(), from_blocks = restored.rows_from_blocks,
            kept = restored.rows_kept, "Part of the lake restored"
        );
        Ok(restored)
    }

    /// Everything is staged, nothing is durable yet.
    fn gather<'a, L: BlockLog + ?Sized>(
        &mut self,
        part: &'a Part,
        log: &L,
        candidates: &mut Candidates<'_>,
    ) -> Result<Work<'a>, LakeError> {
        let room = self.options.memory_bytes / 4;
        let mut work = Work {
            part,
            lanes: Lanes::default(),
            sound: Vec::new(),
            taken: Blocks::new(),
            kept: BTreeSet::new(),
            change: Change::default(),
            restored: Restored::default(),
            buffer: Buffer::default(),
            is_full_at: room.max(1 << 20),
        };
        let disk = std::sync::Arc::clone(&self.disk);
        let mut live = Live::default();
        let is_wanted = |other: &Part| other == part;
        live.advance(
            &|path: &Path| disk.read(path),
            self.last_commit(),
            &is_wanted,
        )?;
        let files: Vec<FileEntry> = live
            .folder(&part.folder())
            .map_or_else(Vec::new, |folder| folder.files.values().cloned().collect());
        let damaged = self.look_at(files, &mut work);
        for candidate in candidates {
            let (partition, block) = candidate?;
            self.take_candidate(log, &mut work, &partition, &block)?;
            if work.buffer.bytes() >= work.is_full_at {
                self.write_parts(&work.buffer, &mut work.change.added)?;
                work.buffer.clear();
            }
        }
        self.write_parts(&work.buffer, &mut work.change.added)?;
        work.buffer.clear();
        let mut carrier = Carrier::new(self);
        for file in &damaged {
            carrier.carry(file, &mut work)?;
        }
        work.change.removed = damaged;
        work.change.is_damage = true;
        Ok(work)
    }

    /// Gives the damaged ones. Of files with the same row, the later one by name is damaged.
    fn look_at(&self, files: Vec<FileEntry>, work: &mut Work<'_>) -> Vec<FileEntry> {
        let open = |path: &Path| self.disk.open(path);
        let part = work.part;
        let mut damaged = Vec::new();
        for file in files {
            let (mut found, mut unsound) = (Vec::new(), Vec::new());
            let examined = examine(&open, &file, part, &mut work.lanes, &mut |row| match row
                .is_sound
            {
                true => found.push((row.id, row.time)),
                false => unsound.push(row.id),
            });
            let mut fault = examined.fault(&file, || blocks_of(unsound, &work.lanes));
            if fault.is_none() {
                found.sort_unstable();
                let is_twice = found.windows(2).any(|pair| pair[0].0 == pair[1].0)
                    || found.iter().any(|(id, _)| work.is_sound(*id));
                if is_twice {
                    let ids = found.iter().map(|(id, _)| *id);
                    fault = Some(Fault {
                        kind: FaultKind::Twice,
                        rows_found: file.rows,
                        rows_foreign: 0,
                        unread: None,
                        readable: blocks_of(ids, &work.lanes),
                        file: file.clone(),
                    });
                }
            }
            if let Some(fault) = fault {
                work.restored.damaged.push(fault);
                damaged.push(file);
                continue;
            }
            for (id, time) in &found {
                work.tally(*time, *id);
            }
            work.sound.extend(found.into_iter().map(|(id, _)| id));
            // Merges: what was there is sorted.
            work.sound.sort();
        }
        damaged
    }

    fn take_candidate<L: BlockLog + ?Sized>(
        &mut self,
        log: &L,
        work: &mut Work<'_>,
        partition: &Partition,
        sealed: &SealedBlock,
    ) -> Result<(), LakeError> {
        let (id, header) = (sealed.id(), sealed.header());
        let days = header.event_time_min.day()..=header.event_time_max.day();
        let is_taken = |taken: &Blocks| {
            let numbers = taken.get(&id.lane);
            numbers.is_some_and(|numbers| numbers.contains(id.number.0))
        };
        if partition.site != work.part.site
            || !days.contains(&work.part.day)
            || is_taken(&work.taken)
        {
            return Ok(());
        }
        if !self.committed().has(sealed) {
            let unseen = work.restored.unseen.entry(id.lane).or_default();
            unseen.insert(id.number.0);
            return Ok(());
        }
        let Ok(block) = sealed.open() else {
            work.restored.blocks_unreadable += 1;
            return Ok(());
        };
        self.take_block(log, work, partition, &block)?;
        let taken = work.taken.entry(id.lane).or_default();
        taken.insert(id.number.0);
        Ok(())
    }

    fn take_block<L: BlockLog + ?Sized>(
        &mut self,
        log: &L,
        work: &mut Work<'_>,
        partition: &Partition,
        block: &Block,
    ) -> Result<(), LakeError> {
        let id = block.header().id;
        let mut lane = None;
        for section in block.sections() {
            let table = self.table_of(log, id.lane.epoch, section.stream())?;
            let is_other = table.is_some_and(|table| !self.is_table_of(table, work.part));
            if is_other && work.part.topic != REJECTED_TOPIC {
                continue;
            }
            for record in section.records() {
                let time = record.stamps.event_time.0;
                if !work.part.has(time) {
                    continue;
                }
                let (stream, site) = (section.stream(), &partition.site);
                let sorted = self.sorted(site, stream, table, record.datum);
                if !self.is_table_of(sorted.table, work.part) {
                    continue;
                }
                let lane = *lane.get_or_insert_with(|| work.lanes.number(&id.lane));
                let row = RowId {
                    lane,
                    index: record.index,
                    block: id.number.0,
                };
                if work.is_sound(row) {
                    continue;
                }
                let stamped = Stamped {
                    block: id,
                    index: record.index,
                    class: partition.class,
                    stamps: record.stamps,
                };
                work.buffer.push(sorted.table, stamped, &sorted.datum);
                work.restored.rows_from_blocks += 1;
                work.tally(time, row);
            }
        }
        Ok(())
    }
}
