//! Collects the records of one commit by stream.

use crate::bytes::{Writer, push_varint, zigzag};
use crate::clock::ClockState;
use crate::ids::{BlockId, StreamNumber};
use crate::record::RecordStamps;
use crate::time::UtcNanos;

use super::{
    BlockHeader, DATUM_BYTES_MAX, PAYLOAD_BYTES_MAX, RECORDS_MAX, SECTIONS_MAX, SealedBlock,
    assemble,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    None = 0,
    Zstd = 1,
}

impl Codec {
    pub(super) fn from_u8(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::None),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Keeps its memory from block to block: filling it allocates nothing once it is warm.
///
/// A record is written in two steps, so that a datum goes straight into its section:
/// append its bytes to [`Self::datum`], then [`Self::finish`] or [`Self::abandon`] it.
#[derive(Debug, Default)]
pub struct BlockBuilder {
    /// By stream number − 1; empty where the block has nothing of the stream.
    sections: Vec<SectionBuilder>,
    used: Vec<u32>,
    records: usize,
    datum_bytes: usize,
}

#[derive(Debug, Default)]
struct SectionBuilder {
    stamps: Vec<RecordStamps>,
    lengths: Vec<u32>,
    datums: Vec<u8>,
    /// Bytes of `datums` that belong to finished records.
    finished_bytes: usize,
}

/// Upper bound of what stamps and table add to a record's datum.
const OVERHEAD_BYTES_MAX: usize = 1 + 10 + 5 + 4 + 40;

impl BlockBuilder {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    pub fn records(&self) -> usize {
        self.records
    }

    /// Bytes of the datums so far, uncompressed.
    pub fn datum_bytes(&self) -> usize {
        self.datum_bytes
    }

    /// What was collected, stream by stream: the stamps of its records.
    pub fn sections(&self) -> impl Iterator<Item = (StreamNumber, &[RecordStamps])> {
        self.used.iter().map(|&stream| {
            let section = &self.sections[stream as usize - 1];
            (StreamNumber(stream), section.stamps.as_slice())
        })
    }

    /// Whether a datum of any legal size still fits.
    pub fn has_room(&self) -> bool {
        let bytes = self.datum_bytes + self.records * OVERHEAD_BYTES_MAX + DATUM_BYTES_MAX;
        bytes <= PAYLOAD_BYTES_MAX && self.records < RECORDS_MAX && self.used.len() < SECTIONS_MAX
    }

    /// Where the next datum of `stream` is to be appended.
    pub fn datum(&mut self, stream: StreamNumber) -> &mut Vec<u8> {
        &mut self.section(stream).datums
    }

    fn section(&mut self, stream: StreamNumber) -> &mut SectionBuilder {
        let index = stream.0.max(1) as usize - 1;
        if self.sections.len() <= index {
            self.sections
                .resize_with(index + 1, SectionBuilder::default);
        }
        &mut self.sections[index]
    }

    /// The bytes appended since the last finished record of `stream` are its next one.
    pub fn finish(&mut self, stream: StreamNumber, stamps: RecordStamps) {
        let section = self.section(stream);
        let length = section.datums.len() - section.finished_bytes;
        debug_assert!(length <= DATUM_BYTES_MAX);
        section.finished_bytes = section.datums.len();
        section.lengths.push(length as u32);
        section.stamps.push(stamps);
        if section.stamps.len() == 1 {
            self.used.push(stream.0);
        }
        self.records += 1;
        self.datum_bytes += length;
    }

    /// Takes back the bytes appended since the last finished record of `stream`.
    pub fn abandon(&mut self, stream: StreamNumber) {
        let section = self.section(stream);
        section.datums.truncate(section.finished_bytes);
    }

    /// Freezes what was collected under `id` and begins anew; `None` if nothing was.
    pub fn seal(
        &mut self,
        id: BlockId,
        clock: ClockState,
        codec: Codec,
        level: i32,
    ) -> Option<SealedBlock> {
        let streams_through = StreamNumber(*self.used.iter().max()?);
        self.used.sort_unstable();
        let time_of = |section: &SectionBuilder| {
            let times = || section.stamps.iter().map(|stamps| stamps.event_time);
            Some((times().min()?, times().max()?))
        };
        let sections = || {
            self.used
                .iter()
                .map(|&stream| (stream, &self.sections[stream as usize - 1]))
        };
        let earliest = sections()
            .filter_map(|(_, section)| time_of(section))
            .map(|(min, _)| min)
            .min()?;
        let latest = sections()
            .filter_map(|(_, section)| time_of(section))
            .map(|(_, max)| max)
            .max()?;

        let mut table = Writer::new();
        let mut stamps = Vec::new();
        for (stream, section) in sections() {
            let (min, max) = time_of(section)?;
            let begin = stamps.len();
            section.write_stamps(min, &mut stamps);
            table.varint(stream.into());
            table.varint(section.stamps.len() as u64);
            table.varint((stamps.len() - begin) as u64);
            table.varint(section.finished_bytes as u64);
            table.varint(min.0.wrapping_sub(earliest.0) as u64);
            table.varint(max.0.wrapping_sub(min.0) as u64);
        }
        let mut payload = table.into_bytes();
        payload.reserve_exact(stamps.len() + self.datum_bytes);
        payload.extend_from_slice(&stamps);
        for (_, section) in sections() {
            payload.extend_from_slice(&section.datums[..section.finished_bytes]);
        }
        let header = BlockHeader {
            id,
            records: self.records as u32,
            sections: self.used.len() as u32,
            streams_through,
            event_time_min: earliest,
            event_time_max: latest,
            clock,
        };
        let sealed = assemble(&header, &payload, codec, level);
        self.clear();
        Some(sealed)
    }

    fn clear(&mut self) {
        for stream in self.used.drain(..) {
            let section = &mut self.sections[stream as usize - 1];
            section.stamps.clear();
            section.lengths.clear();
            section.datums.clear();
            section.finished_bytes = 0;
        }
        self.records = 0;
        self.datum_bytes = 0;
    }
}

impl SectionBuilder {
    fn write_stamps(&self, earliest: UtcNanos, out: &mut Vec<u8>) {
        out.extend(self.stamps.iter().map(RecordStamps::flags));
        let mut previous = earliest;
        for stamps in &self.stamps {
            push_varint(out, zigzag(stamps.event_time.0.wrapping_sub(previous.0)));
            previous = stamps.event_time;
        }
        for instance in self.stamps.iter().filter_map(|stamps| stamps.instance) {
            push_varint(out, zigzag(instance.into()));
        }
        for &length in &self.lengths {
            push_varint(out, length.into());
        }
    }
}
