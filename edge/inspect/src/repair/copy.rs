//! Blocks, values and acknowledgements on their way to the new store.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

use efd_shared_model::{SealedBlock, UtcNanos};
use efd_shared_store::{
    Item, LaneName, Notice, Position, ReadOnlyStore, Reader, SegmentInfo, Store,
};

use super::declared::Declared;
use super::report::{Lost, LostBlocks, Report};
use crate::outcome::InspectError;
use crate::screen::Screen;
use crate::table::size;

/// Read at a time, and committed at a time: a block can be larger, and is then alone.
const BATCH_BYTES: usize = 1 << 20;
/// Where the end of a lane is not known, positions go on behind the next multiple of 2^32, as the edge's own would.
const SKIP: u64 = u32::MAX as u64;
/// No lane gets this far; a damaged position may say so.
const POSITION_MAX: u64 = 1 << 62;

pub(super) struct Copying<'a, O, E> {
    source: &'a ReadOnlyStore,
    reader: Reader,
    target: &'a mut Store,
    declared: Declared,
    report: &'a mut Report,
    screen: &'a mut Screen<O, E>,
    /// Lost neighbours, not yet named.
    losing: Option<LostBlocks>,
}

/// A lane under way.
struct LaneCopy {
    name: LaneName,
    /// Of the last block that the new store has, or has skipped.
    head: Position,
    /// Values to be set when the lane has come to their positions, the next one last.
    values: Vec<(Position, String, Vec<u8>)>,
    /// Neighbours that are committed together.
    batch: Vec<SealedBlock>,
    batch_bytes: usize,
    /// When the newest block of the batch was committed at first.
    committed: UtcNanos,
}

impl LaneCopy {
    /// Where the next block would stand.
    fn next(&self) -> Position {
        Position(self.head.0 + self.batch.len() as u64 + 1)
    }

    fn has_value_before(&self, position: Position) -> bool {
        let next = self.values.last();
        next.is_some_and(|(through, _, _)| *through < position)
    }
}

impl<'a, O: Write, E: Write> Copying<'a, O, E> {
    pub(super) fn new(
        source: &'a ReadOnlyStore,
        target: &'a mut Store,
        report: &'a mut Report,
        screen: &'a mut Screen<O, E>,
    ) -> Result<Self, InspectError> {
        let mut copying = Self {
            source,
            reader: source.reader(),
            target,
            declared: Declared::default(),
            report,
            screen,
            losing: None,
        };
        let reasons = copying
            .declared
            .carry_all(&mut copying.reader, copying.target)?;
        for reason in reasons {
            copying.screen.damaged(&reason)?;
            copying.report.lost(&Lost::Declaration(reason))?;
        }
        Ok(copying)
    }

    pub(super) fn run(mut self) -> Result<(), InspectError> {
        let mut by_lane: BTreeMap<LaneName, Vec<SegmentInfo>> = BTreeMap::new();
        for lane in self.reader.lanes() {
            by_lane.insert(lane, Vec::new());
        }
        for info in self.source.segments() {
            by_lane.entry(info.key.lane.clone()).or_default().push(info);
        }
        let unknown_ends = unknown_ends(self.source, &by_lane);
        for (name, segments) in by_lane {
            let is_end_unknown = unknown_ends.contains(&name);
            self.lane(name, &segments, is_end_unknown)?;
        }
        for (destination, logs) in self.source.acked() {
            for (log, ranges) in logs {
                self.target.add_acked(destination, log, ranges);
            }
        }
        self.target.save_acked()?;
        for (key, value) in self.source.values() {
            self.target.put_value(key, value)?;
        }
        Ok(self.screen.clear_progress()?)
    }

    fn lane(
        &mut self,
        name: LaneName,
        segments: &[SegmentInfo],
        is_end_unknown: bool,
    ) -> Result<(), InspectError> {
        let states = self.reader.states(&name);
        let mut values: Vec<_> = states
            .into_iter()
            .map(|(key, (through, value))| (through, key, value))
            .collect();
        values.sort_unstable_by(|a, b| b.cmp(a));
        let source_head = self.reader.head(&name);
        let mut lane = LaneCopy {
            name,
            head: Position::NONE,
            values,
            batch: Vec::new(),
            batch_bytes: 0,
            committed: UtcNanos(0),
        };
        for info in segments {
            self.segment(info, &mut lane)?;
            self.commit(&mut lane)?;
            self.target.maintain(lane.committed);
        }
        let source = self.source;
        for info in source
            .lost()
            .iter()
            .filter(|info| info.key.lane == lane.name)
        {
            self.lose(LostBlocks {
                lane: lane.name.clone(),
                first: info.first,
                last: info.last,
                id: None,
                reason: format!("the file of segment {} cannot be read", info.key),
            })?;
        }
        self.name_losses()?;
        // Positions that were given are not given again, whatever became of their blocks.
        self.go_to(Position(POSITION_MAX), &mut lane)?;
        if is_end_unknown {
            let end = Position((lane.head.max(source_head).0 | SKIP).min(POSITION_MAX));
            self.skip(end, &mut lane)?;
        } else {
            self.skip(source_head, &mut lane)?;
        }
        Ok(())
    }

    fn segment(&mut self, info: &SegmentInfo, lane: &mut LaneCopy) -> Result<(), InspectError> {
        let path = self.source.path(&info.key);
        let mut next = info.first;
        while next <= info.last {
            let items = self.reader.read_of(info, next, BATCH_BYTES)?;
            let Some(end) = items.last().map(Item::next) else {
                break;
            };
            next = end;
            for item in items {
                match item {
                    Item::Block(position, block) => {
                        self.block(position, block, &path, lane)?;
                    }
                    Item::Damaged(damaged) => {
                        self.lose(LostBlocks {
                            lane: lane.name.clone(),
                            first: damaged.position,
                            last: damaged.position,
                            id: damaged.id.map(|id| id.to_string()),
                            reason: damaged.reason.to_string(),
                        })?;
                    }
                    Item::Absent { .. } => {}
                }
            }
            let (blocks, size) = (self.report.sum.blocks, size(self.report.sum.bytes));
            self.screen
                .progress(format_args!("{}: {blocks} blocks, {size}", info.key))?;
        }
        Ok(())
    }

    fn block(
        &mut self,
        position: Position,
        block: SealedBlock,
        segment: &Path,
        lane: &mut LaneCopy,
    ) -> Result<(), InspectError> {
        if let Some(reason) = self.refuse(position, &block, segment, lane)? {
            return self.lose(LostBlocks {
                lane: lane.name.clone(),
                first: position,
                last: position,
                id: Some(block.id().to_string()),
                reason,
            });
        }
        let bytes = block.bytes().len();
        let fits = lane.batch.is_empty() || lane.batch_bytes + bytes <= BATCH_BYTES;
        let goes_on = lane.next() == position && !lane.has_value_before(position);
        if !(fits && goes_on) {
            self.commit(lane)?;
        }
        if let Some(committed) = self.reader.committed(&lane.name, position) {
            lane.committed = lane.committed.max(committed);
        }
        if !goes_on {
            self.go_to(position, lane)?;
        }
        let sum = &mut self.report.sum;
        sum.blocks += 1;
        sum.records += u64::from(block.header().records);
        sum.bytes += bytes as u64;
        lane.batch_bytes += bytes;
        lane.batch.push(block);
        Ok(())
    }

    /// Why a block that could be read is not carried over.
    fn refuse(
        &mut self,
        position: Position,
        block: &SealedBlock,
        segment: &Path,
        lane: &LaneCopy,
    ) -> Result<Option<String>, InspectError> {
        if position < lane.next() || POSITION_MAX <= position.0 {
            return Ok(Some("its position cannot be right".to_owned()));
        }
        if POSITION_MAX <= block.id().number.0 {
            return Ok(Some("its number cannot be right".to_owned()));
        }
        if let Err(error) = block.verify() {
            return Ok(Some(error.to_string()));
        }
        let (log, through) = (block.id().lane, block.header().streams_through.0);
        let needed = (log.edge, log.epoch, through);
        let is_covered = self.declared.covers(needed, segment, self.target)?;
        Ok((!is_covered)
            .then(|| format!("the declarations of streams up to {through} cannot be read")))
    }

    /// Sets the values that belong before a block at `position`, each where it was, and goes on there.
    fn go_to(&mut self, position: Position, lane: &mut LaneCopy) -> Result<(), InspectError> {
        while let Some((through, key, value)) = lane.values.pop() {
            if position <= through {
                if POSITION_MAX <= through.0 {
                    self.lose_value(lane, key)?;
                    continue;
                }
                lane.values.push((through, key, value));
                break;
            }
            self.skip(through, lane)?;
            let state = Some((key.as_str(), value.as_slice()));
            let at = self.target.append(&lane.name, &[], state, lane.committed)?;
            debug_assert_eq!(at.start, through.next());
        }
        if position.0 < POSITION_MAX {
            self.skip(Position(position.0 - 1), lane)?;
        }
        Ok(())
    }

    fn lose_value(&mut self, lane: &LaneCopy, key: String) -> Result<(), InspectError> {
        let reason = "the position that it was set at cannot be right".to_owned();
        self.screen
            .damaged(format_args!("lane {}, value {key}: {reason}", lane.name))?;
        self.report.lost(&Lost::Value {
            lane: lane.name.clone(),
            key,
            reason,
        })
    }

    fn skip(&mut self, through: Position, lane: &mut LaneCopy) -> Result<(), InspectError> {
        if lane.head < through {
            self.target
                .skip_through(&lane.name, through, lane.committed)?;
            lane.head = through;
        }
        Ok(())
    }

    fn commit(&mut self, lane: &mut LaneCopy) -> Result<(), InspectError> {
        if lane.batch.is_empty() {
            return Ok(());
        }
        let at = self
            .target
            .append(&lane.name, &lane.batch, None, lane.committed)?;
        debug_assert_eq!(at.start, lane.head.next());
        lane.head = Position(lane.head.0 + lane.batch.len() as u64);
        lane.batch.clear();
        lane.batch_bytes = 0;
        Ok(())
    }

    fn lose(&mut self, lost: LostBlocks) -> Result<(), InspectError> {
        if let Some(losing) = &mut self.losing {
            if losing.join(&lost) {
                return Ok(());
            }
            self.name_losses()?;
        }
        self.losing = Some(lost);
        Ok(())
    }

    fn name_losses(&mut self) -> Result<(), InspectError> {
        if let Some(lost) = self.losing.take() {
            self.screen.damaged(&lost)?;
            self.report.lost(&Lost::Blocks(lost))?;
        }
        Ok(())
    }
}

/// Lanes of which something was seen to be wrong at the newest file: more may have been there.
fn unknown_ends(
    source: &ReadOnlyStore,
    by_lane: &BTreeMap<LaneName, Vec<SegmentInfo>>,
) -> BTreeSet<LaneName> {
    let newest = |lane: &LaneName| {
        let segments = by_lane.get(lane).into_iter().flatten();
        segments.map(|info| info.key.id).max().unwrap_or(0)
    };
    let of_file = |path: &Path| {
        let lane: LaneName = path.parent()?.file_name()?.to_str()?.parse().ok()?;
        let id: u64 = path.file_stem()?.to_str()?.parse().ok()?;
        Some((lane, id))
    };
    let named = source.notices().iter().filter_map(|notice| match notice {
        Notice::UnseenWal(path) => of_file(path),
        Notice::Unreadable { path, .. } | Notice::Damaged { path, .. } => of_file(path),
        Notice::Missing(key) => Some((key.lane.clone(), key.id)),
        Notice::NoMeta => None,
    });
    named
        .filter(|(lane, id)| newest(lane) <= *id)
        .map(|(lane, _)| lane)
        .collect()
}
