//! Which blocks windows were made of, and the notes of commits that tell it.

use std::collections::BTreeMap;

use efd_shared_model::bytes::{ByteError, Reader, Writer};
use efd_shared_model::{RangeSet, UtcNanos};
use efd_shared_store::{LANE_NAME_CHARS_MAX, LaneName};
use efd_shared_tiers::Note;

const LANES_MAX: usize = 1 << 16;
const RANGES_MAX: usize = 1 << 24;
const CORRECTIONS_MAX: usize = 1 << 16;

/// Blocks by lane and position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocks(BTreeMap<LaneName, RangeSet>);

impl Blocks {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn has(&self, lane: &LaneName, position: u64) -> bool {
        self.0
            .get(lane)
            .is_some_and(|ranges| ranges.contains(position))
    }

    pub fn insert(&mut self, lane: &LaneName, first: u64, last: u64) {
        match self.0.get_mut(lane) {
            Some(ranges) => ranges.insert_range(first..=last),
            None => {
                let ranges = RangeSet::from_iter([first..=last]);
                self.0.insert(lane.clone(), ranges);
            }
        }
    }

    pub fn union(&mut self, other: &Self) {
        for (lane, ranges) in &other.0 {
            match self.0.get_mut(lane) {
                Some(known) => known.union(ranges),
                None => {
                    self.0.insert(lane.clone(), ranges.clone());
                }
            }
        }
    }

    pub fn subtract(&mut self, other: &Self) {
        for (lane, ranges) in &other.0 {
            if let Some(known) = self.0.get_mut(lane) {
                known.subtract(ranges);
            }
        }
        self.0.retain(|_, ranges| !ranges.is_empty());
    }

    pub fn meets(&self, other: &Self) -> bool {
        let mut lanes = self.0.iter();
        lanes.any(|(lane, ranges)| {
            let others = other.0.get(lane);
            others.is_some_and(|others| !ranges.intersection(others).is_empty())
        })
    }

    /// Whether all of `other` is here.
    pub fn covers(&self, other: &Self) -> bool {
        let mut rest = other.clone();
        rest.subtract(self);
        rest.is_empty()
    }

    pub fn lanes(&self) -> impl Iterator<Item = (&LaneName, &RangeSet)> {
        self.0.iter()
    }

    pub fn remove_lane(&mut self, lane: &LaneName) {
        self.0.remove(lane);
    }

    pub fn write(&self, out: &mut Writer) {
        out.varint(self.0.len() as u64);
        for (lane, ranges) in &self.0 {
            out.text(lane.as_str());
            ranges.write(out);
        }
    }

    pub fn read(reader: &mut Reader<'_>) -> Result<Self, ByteError> {
        let mut all = BTreeMap::new();
        for _ in 0..reader.count("lanes", LANES_MAX)? {
            let name = reader.text("lane", LANE_NAME_CHARS_MAX)?.parse();
            let name = name.map_err(|_| reader.invalid("lane"))?;
            all.insert(name, RangeSet::read(reader, RANGES_MAX)?);
        }
        Ok(Self(all))
    }
}

/// What a commit was made of; of merged windows nothing is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// Of all windows that are not among the corrected.
    pub blocks: Blocks,
    /// By the digest of the series, and the start.
    pub corrected: BTreeMap<(u64, UtcNanos), Correction>,
}

/// A window that was computed anew, or that late samples were merged into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Correction {
    /// All that it is made of.
    pub blocks: Blocks,
    /// Of these, what came late, from the first correction on: it must not be merged twice.
    pub late: Blocks,
    /// It has samples besides: late ones were merged into what finer windows made.
    pub has_others: bool,
}

impl Made {
    pub fn note(&self) -> Note {
        let mut out = Writer::new();
        self.blocks.write(&mut out);
        out.varint(self.corrected.len() as u64);
        for (&(series, start), correction) in &self.corrected {
            out.u64(series);
            out.i64(start.0);
            correction.blocks.write(&mut out);
            correction.late.write(&mut out);
            out.u8(u8::from(correction.has_others));
        }
        out.into_bytes()
    }

    /// A note without corrections ends behind the blocks; that of a merge is empty.
    pub fn of(note: &[u8]) -> Result<Self, ByteError> {
        let mut reader = Reader::new(note);
        let mut made = Self::default();
        if note.is_empty() {
            return Ok(made);
        }
        made.blocks = Blocks::read(&mut reader)?;
        if reader.remaining() > 0 {
            for _ in 0..reader.count("corrections", CORRECTIONS_MAX)? {
                let name = (reader.u64()?, UtcNanos(reader.i64()?));
                let correction = Correction {
                    blocks: Blocks::read(&mut reader)?,
                    late: Blocks::read(&mut reader)?,
                    has_others: reader.u8()? != 0,
                };
                made.corrected.insert(name, correction);
            }
        }
        reader.finish()?;
        Ok(made)
    }

    /// All that the notes of a window tell of it. A note that cannot be read tells nothing.
    pub fn of_window(notes: &[Note], series: u64, start: UtcNanos) -> Correction {
        let mut all = Correction::default();
        for note in notes {
            let made = Self::of(note).unwrap_or_default();
            match made.corrected.get(&(series, start)) {
                Some(correction) => {
                    all.blocks.union(&correction.blocks);
                    all.late.union(&correction.late);
                    all.has_others |= correction.has_others;
                }
                None if made.blocks.is_empty() => all.has_others = true,
                None => all.blocks.union(&made.blocks),
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(lane: &str, first: u64, last: u64) -> Blocks {
        let mut blocks = Blocks::default();
        blocks.insert(&lane.parse().unwrap(), first, last);
        blocks
    }

    #[test]
    fn a_note_comes_back() {
        let mut both = blocks("telemetry", 3, 9);
        both.union(&blocks("telemetry.1", 1, 1));
        let correction = Correction {
            blocks: both.clone(),
            late: blocks("telemetry.1", 1, 1),
            has_others: false,
        };
        let made = Made {
            blocks: blocks("telemetry", 5, 8),
            corrected: [((7, UtcNanos(-1)), correction.clone())].into(),
        };
        let note = made.note();
        assert_eq!(Made::of(&note).unwrap(), made);
        assert_eq!(Made::of(&[]).unwrap(), Made::default());
        for length in 1..note.len() {
            let _either = Made::of(&note[..length]);
        }
        // As it was written without corrections.
        let mut old = Writer::new();
        made.blocks.write(&mut old);
        let old = old.into_bytes();
        assert_eq!(Made::of(&old).unwrap().blocks, made.blocks);
        let notes = [old, note];
        let mut expected = correction;
        assert_eq!(Made::of_window(&notes, 7, UtcNanos(-1)).blocks, both);
        expected.blocks = blocks("telemetry", 5, 8);
        expected.late = Blocks::default();
        assert_eq!(Made::of_window(&notes, 7, UtcNanos(0)), expected);
        expected.has_others = true;
        let notes = [notes[0].clone(), Note::new()];
        assert_eq!(Made::of_window(&notes, 7, UtcNanos(0)), expected);
    }

    #[test]
    fn sets_of_blocks() {
        let mut all = blocks("telemetry", 3, 9);
        assert!(all.covers(&blocks("telemetry", 4, 9)));
        assert!(!all.covers(&blocks("telemetry.1", 4, 4)));
        assert!(all.meets(&blocks("telemetry", 9, 12)));
        assert!(!all.meets(&blocks("telemetry", 10, 12)));
        all.subtract(&blocks("telemetry", 1, 8));
        assert_eq!(all, blocks("telemetry", 9, 9));
        all.subtract(&blocks("telemetry", 9, 9));
        assert!(all.is_empty());
    }
}
