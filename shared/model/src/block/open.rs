//! Reads the records of a block whose digest was right. The digest proves that nothing was altered on the way,
//! not that the sender was sane: every length is checked again.

use std::ops::Range;

use bytes::Bytes;

use crate::bytes::{ByteError, Reader};
use crate::ids::StreamNumber;
use crate::record::{RecordRef, RecordStamps};
use crate::time::UtcNanos;

use super::{BlockError, BlockHeader, PAYLOAD_BYTES_MAX, RECORDS_MAX};

/// A block's records, checked.
#[derive(Clone, Debug)]
pub struct Block {
    header: BlockHeader,
    payload: Bytes,
    sections: Vec<Entry>,
    /// Of all records, in the order of their index.
    stamps: Vec<RecordStamps>,
    /// Ends of the datums, counted from the begin of their section's datums.
    ends: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Entry {
    stream: StreamNumber,
    /// Of its records.
    indexes: Range<usize>,
    datums: Range<usize>,
    event_time_min: UtcNanos,
    event_time_max: UtcNanos,
}

/// The records of one stream in a block, in the order they were committed.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    entry: &'a Entry,
    block: &'a Block,
}

/// One line of the table that a payload begins with.
struct Row {
    stream: StreamNumber,
    records: usize,
    stamp_bytes: usize,
    datum_bytes: usize,
    event_time_min: UtcNanos,
    event_time_max: UtcNanos,
}

fn read_table(header: &BlockHeader, reader: &mut Reader<'_>) -> Result<Vec<Row>, BlockError> {
    let mut table = Vec::with_capacity(header.sections.min(4096) as usize);
    let mut last_stream = 0u32;
    for _ in 0..header.sections {
        let stream = u32::try_from(reader.varint()?)
            .ok()
            .filter(|&stream| last_stream < stream);
        let stream = stream.ok_or_else(|| reader.invalid("stream number"))?;
        last_stream = stream;
        let records = reader.count("records", RECORDS_MAX)?;
        let stamp_bytes = reader.count("bytes of stamps", PAYLOAD_BYTES_MAX)?;
        let datum_bytes = reader.count("bytes of datums", PAYLOAD_BYTES_MAX)?;
        let earliest = header
            .event_time_min
            .0
            .wrapping_add(reader.varint()? as i64);
        let latest = earliest.wrapping_add(reader.varint()? as i64);
        if records == 0
            || latest < earliest
            || earliest < header.event_time_min.0
            || header.event_time_max.0 < latest
        {
            return Err(reader.invalid("section").into());
        }
        table.push(Row {
            stream: StreamNumber(stream),
            records,
            stamp_bytes,
            datum_bytes,
            event_time_min: UtcNanos(earliest),
            event_time_max: UtcNanos(latest),
        });
    }
    Ok(table)
}

/// The streams of a payload of which only the beginning may be there; `None` if its table is longer than that.
pub(super) fn streams_of(
    header: &BlockHeader,
    beginning: &[u8],
) -> Result<Option<impl Iterator<Item = StreamNumber> + use<>>, BlockError> {
    match read_table(header, &mut Reader::new(beginning)) {
        Ok(table) => Ok(Some(table.into_iter().map(|row| row.stream))),
        Err(BlockError::Bytes(ByteError::Truncated { .. })) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Block {
    pub(super) fn new(header: BlockHeader, payload: Bytes) -> Result<Self, BlockError> {
        let disagrees = |what, stated: u64, found: u64| {
            Err(BlockError::Disagrees {
                id: header.id,
                what,
                stated,
                found,
            })
        };
        let mut reader = Reader::new(&payload);
        let table = read_table(&header, &mut reader)?;
        let records = table.iter().map(|row| row.records as u64).sum();
        if records != u64::from(header.records) {
            return disagrees("records", header.records.into(), records);
        }
        let last_stream = table.last().map_or(0, |row| row.stream.0);
        if last_stream != header.streams_through.0 {
            return disagrees(
                "largest stream",
                header.streams_through.0.into(),
                last_stream.into(),
            );
        }
        let stamp_bytes: usize = table.iter().map(|row| row.stamp_bytes).sum();
        let datum_bytes: usize = table.iter().map(|row| row.datum_bytes).sum();
        if reader.remaining() != stamp_bytes + datum_bytes {
            return disagrees(
                "bytes after the table",
                (stamp_bytes + datum_bytes) as u64,
                reader.remaining() as u64,
            );
        }
        // Each record has a byte of flags at least: what is stated asks for no more memory than what is there.
        let count = (header.records as usize).min(stamp_bytes);
        let (mut stamps, mut ends) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut sections = Vec::with_capacity(table.len());
        let mut datums_begin = reader.position() + stamp_bytes;
        for row in table {
            let (event_time_min, event_time_max) = (row.event_time_min, row.event_time_max);
            let mut stamp_reader = Reader::new(reader.take(row.stamp_bytes)?);
            let begin = stamps.len();
            read_stamps(&mut stamp_reader, &row, &mut stamps, &mut ends)?;
            stamp_reader.finish()?;
            let stated = ends.last().map_or(0, |&end| u64::from(end));
            if stated != row.datum_bytes as u64 {
                return disagrees("bytes of datums", row.datum_bytes as u64, stated);
            }
            let range = datums_begin..datums_begin + row.datum_bytes;
            datums_begin = range.end;
            sections.push(Entry {
                stream: row.stream,
                indexes: begin..stamps.len(),
                datums: range,
                event_time_min,
                event_time_max,
            });
        }
        Ok(Self {
            header,
            payload,
            sections,
            stamps,
            ends,
        })
    }

    pub fn header(&self) -> &BlockHeader {
        &self.header
    }

    /// Ascending by stream number.
    pub fn sections(&self) -> impl ExactSizeIterator<Item = Section<'_>> + '_ {
        self.sections
            .iter()
            .map(|entry| Section { entry, block: self })
    }

    /// Every record, in the order of its index.
    pub fn records(&self) -> impl Iterator<Item = (StreamNumber, RecordRef<'_>)> + '_ {
        self.sections().flat_map(|section| {
            section
                .records()
                .map(move |record| (section.stream(), record))
        })
    }
}

impl<'a> Section<'a> {
    pub fn stream(&self) -> StreamNumber {
        self.entry.stream
    }

    pub fn len(&self) -> usize {
        self.entry.indexes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entry.indexes.is_empty()
    }

    pub fn event_time_min(&self) -> UtcNanos {
        self.entry.event_time_min
    }

    pub fn event_time_max(&self) -> UtcNanos {
        self.entry.event_time_max
    }

    pub fn records(&self) -> Records<'a> {
        let (entry, block) = (self.entry, self.block);
        Records {
            stamps: &block.stamps[entry.indexes.clone()],
            ends: &block.ends[entry.indexes.clone()],
            datums: &block.payload[entry.datums.clone()],
            first_index: entry.indexes.start as u32,
            next: 0,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Records<'a> {
    stamps: &'a [RecordStamps],
    ends: &'a [u32],
    datums: &'a [u8],
    first_index: u32,
    next: usize,
}

impl<'a> Iterator for Records<'a> {
    type Item = RecordRef<'a>;

    fn next(&mut self) -> Option<RecordRef<'a>> {
        let stamps = *self.stamps.get(self.next)?;
        let begin = self
            .next
            .checked_sub(1)
            .map_or(0, |before| self.ends[before] as usize);
        let end = self.ends[self.next] as usize;
        let index = self.first_index + self.next as u32;
        self.next += 1;
        Some(RecordRef {
            index,
            stamps,
            datum: &self.datums[begin..end],
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.stamps.len() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Records<'_> {}

/// Appends those of one section.
fn read_stamps(
    reader: &mut Reader<'_>,
    row: &Row,
    stamps: &mut Vec<RecordStamps>,
    ends: &mut Vec<u32>,
) -> Result<(), BlockError> {
    let (count, earliest, latest) = (row.records, row.event_time_min, row.event_time_max);
    let begin = stamps.len();
    let flags = reader.take(count)?;
    let mut previous = earliest.0;
    for &flags in flags {
        previous = previous.wrapping_add(reader.zigzag()?);
        if previous < earliest.0 || latest.0 < previous {
            return Err(reader.invalid("event time").into());
        }
        let decoded = RecordStamps::from_flags(flags, UtcNanos(previous), None);
        stamps.push(decoded.ok_or_else(|| reader.invalid("flags of a record"))?);
    }
    for (stamps, _) in stamps[begin..]
        .iter_mut()
        .zip(flags)
        .filter(|&(_, &flags)| RecordStamps::has_instance(flags))
    {
        let instance = i32::try_from(reader.zigzag()?).map_err(|_| reader.invalid("instance"))?;
        stamps.instance = Some(instance);
    }
    let mut end = 0u32;
    for _ in 0..count {
        let length = reader.count("bytes of a datum", PAYLOAD_BYTES_MAX)? as u32;
        end = end
            .checked_add(length)
            .ok_or_else(|| reader.invalid("length of a datum"))?;
        ends.push(end);
    }
    Ok(())
}
