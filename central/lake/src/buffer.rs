//! Records that wait for a commit, kept compactly: per stream's table and day, chunks of zstd and a raw tail.

use std::collections::BTreeMap;
use std::ops::Range;

use efd_central_log::Class;
use efd_shared_model::bytes::{Reader, Writer};
use efd_shared_model::ids::EpochLane;
use efd_shared_model::{BlockId, EventTimeOrigin, RecordStamps, UtcNanos};

use crate::error::BufferError;
use crate::table::TableNumber;

/// A tail is compressed when it reaches this. Thousands of quiet topics have a tail each, so it is small.
const TAIL_BYTES: usize = 32 << 10;
/// One file is made of at most about this many bytes of datums: it is sorted as a whole.
const RUN_BYTES: usize = 64 << 20;
const CHUNK_LEVEL: i32 = 1;
/// Of a datum and its block's, as the model bounds them.
const DATUM_BYTES_MAX: usize = 64 << 20;
/// What a part costs besides its records.
const PART_OVERHEAD: usize = 256;

/// The records of one file, or of several where one would be too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PartKey {
    pub(crate) table: TableNumber,
    /// Days since 1970-01-01, of the event time.
    pub(crate) day: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Buffer {
    parts: BTreeMap<PartKey, Part>,
    /// Each lane that has records here has a number.
    lanes: Vec<EpochLane>,
    bytes: usize,
    records: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Part {
    chunks: Vec<Chunk>,
    chunk_bytes: usize,
    tail: Writer,
    tail_records: usize,
    /// Of the last record in the tail: times are kept as differences.
    tail_time: i64,
}

#[derive(Debug)]
struct Chunk {
    compressed: Box<[u8]>,
    raw_bytes: usize,
    records: usize,
}

/// What a record has besides its datum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamped {
    pub(crate) block: BlockId,
    pub(crate) index: u32,
    pub(crate) class: Class,
    pub(crate) stamps: RecordStamps,
}

/// A record read back.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) time: i64,
    /// Into [`Buffer::lanes`].
    pub(crate) lane: u32,
    pub(crate) block: u64,
    pub(crate) index: u32,
    pub(crate) class: Class,
    pub(crate) origin: EventTimeOrigin,
    pub(crate) implausible: bool,
    pub(crate) latin1: bool,
    /// Into [`Run::bytes`].
    pub(crate) datum: Range<usize>,
}

/// The records of one file, in the order that they came.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) bytes: Vec<u8>,
    pub(crate) rows: Vec<Row>,
}

impl Buffer {
    pub(crate) fn is_empty(&self) -> bool {
        self.records == 0
    }

    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// About what it occupies.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn lanes(&self) -> &[EpochLane] {
        &self.lanes
    }

    pub(crate) fn parts(&self) -> impl Iterator<Item = (PartKey, &Part)> {
        self.parts.iter().map(|(key, part)| (*key, part))
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn push(&mut self, table: TableNumber, record: Stamped, datum: &[u8]) {
        let lane = self.lane_number(record.block.lane);
        let time = record.stamps.event_time;
        let key = PartKey {
            table,
            day: time.day(),
        };
        let bytes = &mut self.bytes;
        let part = self.parts.entry(key).or_insert_with(|| {
            *bytes += PART_OVERHEAD;
            Part::default()
        });
        let before = part.bytes();
        part.push(lane, record, datum);
        *bytes = *bytes + part.bytes() - before;
        self.records += 1;
    }

    /// Few are in use at a time, and the last one is the likeliest.
    fn lane_number(&mut self, lane: EpochLane) -> u32 {
        let known = self.lanes.iter().rposition(|known| *known == lane);
        let number = known.unwrap_or_else(|| {
            self.lanes.push(lane);
            self.lanes.len() - 1
        });
        number as u32
    }
}

impl Part {
    fn bytes(&self) -> usize {
        self.chunk_bytes + self.tail.len()
    }

    fn push(&mut self, lane: u32, record: Stamped, datum: &[u8]) {
        let Stamped {
            block,
            index,
            class,
            stamps,
        } = record;
        let RecordStamps {
            event_time,
            origin,
            implausible,
            latin1,
            instance: _,
        } = stamps;
        let tail = &mut self.tail;
        tail.zigzag(event_time.0.wrapping_sub(self.tail_time));
        tail.varint(lane.into());
        tail.varint(block.number.0);
        tail.varint(index.into());
        tail.u8(Flags {
            class,
            origin,
            implausible,
            latin1,
        }
        .to_u8());
        tail.blob(datum);
        self.tail_time = event_time.0;
        self.tail_records += 1;
        if self.tail.len() >= TAIL_BYTES {
            self.compress_tail();
        }
    }

    fn compress_tail(&mut self) {
        let raw = std::mem::take(&mut self.tail).into_bytes();
        // Compression of bytes in memory fails only for want of memory; then they stay as they are.
        let compressed = zstd::bulk::compress(&raw, CHUNK_LEVEL).unwrap_or_default();
        let raw_bytes = raw.len();
        let kept = match compressed.len() {
            length if 0 < length && length < raw_bytes => compressed,
            _ => raw,
        };
        self.chunk_bytes += kept.len() + size_of::<Chunk>();
        self.chunks.push(Chunk {
            compressed: kept.into_boxed_slice(),
            raw_bytes,
            records: std::mem::take(&mut self.tail_records),
        });
        self.tail_time = 0;
    }

    /// The part as the records of one file, or of several where one would be too large.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Result<Run, BufferError>> {
        let pieces = self.chunks.len() + usize::from(self.tail_records > 0);
        let bytes_of = |piece: usize| {
            self.chunks
                .get(piece)
                .map_or(self.tail.len(), |chunk| chunk.raw_bytes)
        };
        let mut next = 0;
        std::iter::from_fn(move || {
            let (begin, mut bytes) = (next, 0);
            while next < pieces && (next == begin || bytes + bytes_of(next) <= RUN_BYTES) {
                bytes += bytes_of(next);
                next += 1;
            }
            (begin < next).then(|| self.run(begin..next, bytes))
        })
    }

    /// The piece behind the last chunk is the tail.
    fn run(&self, pieces: Range<usize>, bytes: usize) -> Result<Run, BufferError> {
        let mut run = Run {
            bytes: Vec::with_capacity(bytes),
            rows: Vec::new(),
        };
        for piece in pieces {
            match self.chunks.get(piece) {
                None => run.add(self.tail.as_bytes(), self.tail_records)?,
                Some(chunk) if chunk.compressed.len() == chunk.raw_bytes => {
                    run.add(&chunk.compressed, chunk.records)?;
                }
                Some(chunk) => {
                    let raw = zstd::bulk::decompress(&chunk.compressed, chunk.raw_bytes)
                        .map_err(BufferError::Decompress)?;
                    run.add(&raw, chunk.records)?;
                }
            }
        }
        Ok(run)
    }
}

impl Run {
    fn add(&mut self, raw: &[u8], records: usize) -> Result<(), BufferError> {
        let base = self.bytes.len();
        self.bytes.extend_from_slice(raw);
        self.rows.reserve(records);
        let mut reader = Reader::new(raw);
        let mut time = 0i64;
        for _ in 0..records {
            time = time.wrapping_add(reader.zigzag()?);
            let lane = reader.varint()? as u32;
            let block = reader.varint()?;
            let index = reader.varint()? as u32;
            let flags = reader.u8()?;
            let Flags {
                class,
                origin,
                implausible,
                latin1,
            } = Flags::from_u8(flags).ok_or_else(|| reader.invalid("flags of a record"))?;
            let datum = reader.blob("bytes of a datum", DATUM_BYTES_MAX)?;
            let end = base + reader.position();
            self.rows.push(Row {
                time,
                lane,
                block,
                index,
                class,
                origin,
                implausible,
                latin1,
                datum: end - datum.len()..end,
            });
        }
        Ok(reader.finish()?)
    }

    /// By time, then identity. `rank` is the order of the lanes.
    pub(crate) fn sort(&mut self, rank: &[u32]) {
        let key = |row: &Row| (row.time, rank[row.lane as usize], row.block, row.index);
        if !self.rows.is_sorted_by_key(key) {
            self.rows.sort_unstable_by_key(key);
        }
    }

    pub(crate) fn time_span(&self) -> (UtcNanos, UtcNanos) {
        let of = |row: Option<&Row>| UtcNanos(row.map_or(0, |row| row.time));
        (of(self.rows.first()), of(self.rows.last()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flags {
    class: Class,
    origin: EventTimeOrigin,
    implausible: bool,
    latin1: bool,
}

const IMPLAUSIBLE: u8 = 1 << 2;
const LATIN1: u8 = 1 << 3;
const FILL: u8 = 1 << 4;

impl Flags {
    fn to_u8(self) -> u8 {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        self.origin as u8
            | bit(self.implausible, IMPLAUSIBLE)
            | bit(self.latin1, LATIN1)
            | bit(self.class == Class::Fill, FILL)
    }

    fn from_u8(flags: u8) -> Option<Self> {
        let origin = match flags & 0b11 {
            0 => EventTimeOrigin::SndStamp,
            1 => EventTimeOrigin::Source,
            2 => EventTimeOrigin::Reception,
            _ => return None,
        };
        Some(Self {
            origin,
            implausible: flags & IMPLAUSIBLE != 0,
            latin1: flags & LATIN1 != 0,
            class: if flags & FILL == 0 {
                Class::Live
            } else {
                Class::Fill
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use efd_shared_model::{BlockNumber, EdgeId, EpochId, Lane, LaneKind};
    use proptest::prelude::*;

    use super::*;

    fn lane(number: u8) -> EpochLane {
        EpochLane {
            edge: EdgeId([number; 16]),
            epoch: EpochId([1; 16]),
            lane: Lane::new(LaneKind::Events),
        }
    }

    type Given = (i64, u8, u64, u32, u8, Vec<u8>);

    fn push(buffer: &mut Buffer, (time, lane_number, block, index, flags, datum): &Given) {
        let Flags {
            class,
            origin,
            implausible,
            latin1,
        } = Flags::from_u8(*flags).unwrap();
        let record = Stamped {
            block: lane(*lane_number).block(BlockNumber(*block)),
            index: *index,
            class,
            stamps: RecordStamps {
                event_time: UtcNanos(*time),
                origin,
                implausible,
                latin1,
                instance: None,
            },
        };
        buffer.push(TableNumber(0), record, datum);
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(given in prop::collection::vec(
            (any::<i64>(), 0u8..3, any::<u64>(), any::<u32>(), 0u8..3, prop::collection::vec(any::<u8>(), 0..3000)), 0..60)) {
            let mut buffer = Buffer::default();
            given.iter().for_each(|given| push(&mut buffer, given));
            prop_assert_eq!(buffer.records(), given.len() as u64);
            let mut found = Vec::new();
            for (key, part) in buffer.parts() {
                for run in part.runs() {
                    let run = run.unwrap();
                    for row in &run.rows {
                        prop_assert_eq!(UtcNanos(row.time).day(), key.day);
                        let edge = buffer.lanes()[row.lane as usize].edge.0[0];
                        let flags = Flags { class: row.class, origin: row.origin, implausible: row.implausible, latin1: row.latin1 };
                        found.push((row.time, edge, row.block, row.index, flags.to_u8(), run.bytes[row.datum.clone()].to_vec()));
                    }
                }
            }
            let mut given = given;
            given.sort();
            found.sort();
            prop_assert_eq!(found, given);
        }
    }

    #[test]
    fn a_large_part_is_several_runs_and_little_memory() {
        let mut buffer = Buffer::default();
        let datum = vec![7; 1 << 20];
        for block in 1..=150 {
            push(&mut buffer, &(5, 0, block, 0, 0, datum.clone()));
        }
        let (_, part) = buffer.parts().next().unwrap();
        let rows: Vec<_> = part.runs().map(|run| run.unwrap().rows.len()).collect();
        assert_eq!(rows.iter().sum::<usize>(), 150);
        assert!(
            rows.len() >= 3 && rows.iter().all(|&rows| rows <= 64),
            "{rows:?}"
        );
        assert!(buffer.bytes() < 1 << 20, "{}", buffer.bytes());
    }

    #[test]
    fn flags_read_back() {
        for flags in (0..32).filter(|flags| flags & 0b11 != 3) {
            assert_eq!(Flags::from_u8(flags).unwrap().to_u8(), flags);
        }
        assert_eq!(Flags::from_u8(3), None);
    }
}
