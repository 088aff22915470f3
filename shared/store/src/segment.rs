//! What is known of a segment without opening it, kept in memory and in the catalogue.

pub(crate) mod scan;
pub(crate) mod writer;

use std::collections::BTreeMap;

use efd_shared_model::bytes::{ByteError, Reader, Writer};
use efd_shared_model::epoch::{read_lane, write_lane};
use efd_shared_model::{EdgeId, EpochId, EpochLane, RangeSet, SealedBlock, UtcNanos};

use crate::lane::{Position, SegmentKey};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentState {
    /// Blocks are added to it, or its WAL is not yet copied. Never removed.
    Open,
    /// One file that never changes again.
    Closed,
}

/// One segment file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    pub key: SegmentKey,
    pub state: SegmentState,
    pub created: UtcNanos,
    /// Positions from `first` through `last`; `last < first` while it has no block.
    pub first: Position,
    pub last: Position,
    pub contents: Contents,
    /// Bytes on the disk, WAL included, when last looked at.
    pub file_bytes: u64,
    /// Positions of it that could not be read when it was recovered. Damage that reading finds is not noted here.
    pub damaged: RangeSet,
}

impl SegmentInfo {
    pub(crate) fn new(key: SegmentKey, first: Position, created: UtcNanos) -> Self {
        Self {
            key,
            state: SegmentState::Open,
            created,
            first,
            last: first.previous(),
            contents: Contents::default(),
            file_bytes: 0,
            damaged: RangeSet::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.last < self.first
    }

    /// The bytes of the catalogue.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self {
            key: _,
            state,
            created,
            first,
            last,
            contents,
            file_bytes,
            damaged,
        } = self;
        let mut out = Writer::new();
        out.u8(u8::from(*state == SegmentState::Closed));
        out.i64(created.0);
        for value in [first.0, last.0, *file_bytes] {
            out.u64(value);
        }
        damaged.write(&mut out);
        out.raw(&contents.encode());
        out.into_bytes()
    }

    pub(crate) fn decode(key: SegmentKey, bytes: &[u8]) -> Result<Self, ByteError> {
        let mut reader = Reader::new(bytes);
        let state = match reader.u8()? {
            0 => SegmentState::Open,
            1 => SegmentState::Closed,
            _ => return Err(reader.invalid("state of a segment")),
        };
        Ok(Self {
            key,
            state,
            created: UtcNanos(reader.i64()?),
            first: Position(reader.u64()?),
            last: Position(reader.u64()?),
            file_bytes: reader.u64()?,
            damaged: RangeSet::read(&mut reader, RANGES_MAX)?,
            contents: Contents::decode(reader.take(reader.remaining())?)?,
        })
    }

    /// When its newest block was committed; of an empty one, when it was made.
    pub fn newest(&self) -> UtcNanos {
        let newest = self.contents.lanes.values().map(|lane| lane.committed_max);
        newest.max().unwrap_or(self.created)
    }
}

/// Blocks by the log that they are numbered in.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Contents {
    pub lanes: BTreeMap<EpochLane, LaneContents>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneContents {
    pub numbers: RangeSet,
    pub blocks: u64,
    pub records: u64,
    /// Uncompressed.
    pub payload_bytes: u64,
    pub stored_bytes: u64,
    pub event_time_min: UtcNanos,
    pub event_time_max: UtcNanos,
    pub committed_max: UtcNanos,
}

/// One row of `blocks` without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockRow {
    pub position: Position,
    pub lane: EpochLane,
    pub number: u64,
    pub records: u64,
    pub payload_bytes: u64,
    pub stored_bytes: u64,
    pub event_time_min: UtcNanos,
    pub event_time_max: UtcNanos,
    pub committed: UtcNanos,
    pub digest: u128,
}

impl BlockRow {
    pub(crate) fn of(position: Position, block: &SealedBlock, committed: UtcNanos) -> Self {
        let header = block.header();
        Self {
            position,
            lane: header.id.lane,
            number: header.id.number.0,
            records: header.records.into(),
            payload_bytes: block.payload_bytes() as u64,
            stored_bytes: block.bytes().len() as u64,
            event_time_min: header.event_time_min,
            event_time_max: header.event_time_max,
            committed,
            digest: block.digest(),
        }
    }
}

impl Contents {
    pub(crate) fn add(&mut self, row: &BlockRow) {
        let lane = self.lanes.entry(row.lane).or_insert_with(|| LaneContents {
            numbers: RangeSet::new(),
            blocks: 0,
            records: 0,
            payload_bytes: 0,
            stored_bytes: 0,
            event_time_min: row.event_time_min,
            event_time_max: row.event_time_max,
            committed_max: row.committed,
        });
        lane.numbers.insert(row.number);
        lane.blocks += 1;
        lane.records += row.records;
        lane.payload_bytes += row.payload_bytes;
        lane.stored_bytes += row.stored_bytes;
        lane.event_time_min = lane.event_time_min.min(row.event_time_min);
        lane.event_time_max = lane.event_time_max.max(row.event_time_max);
        lane.committed_max = lane.committed_max.max(row.committed);
    }

    pub fn blocks(&self) -> u64 {
        self.lanes.values().map(|lane| lane.blocks).sum()
    }

    pub fn records(&self) -> u64 {
        self.lanes.values().map(|lane| lane.records).sum()
    }

    pub fn stored_bytes(&self) -> u64 {
        self.lanes.values().map(|lane| lane.stored_bytes).sum()
    }

    /// Earliest and latest event time; `None` of nothing.
    pub fn event_span(&self) -> Option<(UtcNanos, UtcNanos)> {
        let min = self.lanes.values().map(|lane| lane.event_time_min).min()?;
        let max = self.lanes.values().map(|lane| lane.event_time_max).max()?;
        Some((min, max))
    }

    /// The bytes of `segment.summary` and of the catalogue.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.varint(self.lanes.len() as u64);
        for (EpochLane { edge, epoch, lane }, contents) in &self.lanes {
            let LaneContents {
                numbers,
                blocks,
                records,
                payload_bytes,
                stored_bytes,
                event_time_min,
                event_time_max,
                committed_max,
            } = contents;
            out.raw(&edge.0);
            out.raw(&epoch.0);
            write_lane(&mut out, *lane);
            numbers.write(&mut out);
            for count in [blocks, records, payload_bytes, stored_bytes] {
                out.varint(*count);
            }
            for time in [event_time_min, event_time_max, committed_max] {
                out.i64(time.0);
            }
        }
        out.into_bytes()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ByteError> {
        let mut reader = Reader::new(bytes);
        let mut lanes = BTreeMap::new();
        for _ in 0..reader.count("lanes of a segment", LANES_MAX)? {
            let edge = EdgeId(reader.array()?);
            let epoch = EpochId(reader.array()?);
            let lane = read_lane(&mut reader)?;
            let contents = LaneContents {
                numbers: RangeSet::read(&mut reader, RANGES_MAX)?,
                blocks: reader.varint()?,
                records: reader.varint()?,
                payload_bytes: reader.varint()?,
                stored_bytes: reader.varint()?,
                event_time_min: UtcNanos(reader.i64()?),
                event_time_max: UtcNanos(reader.i64()?),
                committed_max: UtcNanos(reader.i64()?),
            };
            lanes.insert(EpochLane { edge, epoch, lane }, contents);
        }
        reader.finish()?;
        Ok(Self { lanes })
    }
}

/// More than a segment of the smallest blocks can have.
const LANES_MAX: usize = 1 << 20;
pub(crate) const RANGES_MAX: usize = 1 << 22;
