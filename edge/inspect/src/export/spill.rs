//! Rows of one topic as they come, on the disk until all are there: a Parquet file that is written in many small steps
//! is slow to make and to read, and keeps in memory what it has to say of each step at its end.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::PathBuf;

use efd_shared_model::bytes::Writer;
use efd_shared_model::{
    BlockId, BlockNumber, EdgeId, EpochId, EpochLane, EventTimeOrigin, Lane, LaneKind, RecordId,
    RecordRef, RecordStamps, UtcNanos,
};

use super::files::Appending;
use crate::outcome::InspectError;

/// The block follows; else it is that of the row before.
const OTHER_BLOCK: u8 = 1;
const IMPLAUSIBLE: u8 = 1 << 1;
const LATIN1: u8 = 1 << 2;
const FROM_SOURCE: u8 = 1 << 3;
const FROM_RECEPTION: u8 = 1 << 4;

#[derive(Debug)]
pub(super) struct Spill {
    file: Appending,
    rows: Writer,
    block: Option<BlockId>,
}

impl Spill {
    pub(super) fn new(file: Appending) -> Self {
        Self {
            file,
            rows: Writer::new(),
            block: None,
        }
    }

    pub(super) fn add(&mut self, id: RecordId, record: &RecordRef<'_>) {
        let RecordStamps {
            event_time,
            origin,
            implausible,
            latin1,
            // No column.
            instance: _,
        } = record.stamps;
        let is_other = self.block != Some(id.block);
        let set = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        self.rows.u8(set(is_other, OTHER_BLOCK)
            | set(implausible, IMPLAUSIBLE)
            | set(latin1, LATIN1)
            | set(origin == EventTimeOrigin::Source, FROM_SOURCE)
            | set(origin == EventTimeOrigin::Reception, FROM_RECEPTION));
        if is_other {
            let BlockId { lane, number } = id.block;
            let EpochLane { edge, epoch, lane } = lane;
            self.rows.raw(&edge.0);
            self.rows.raw(&epoch.0);
            self.rows.u8(lane.kind as u8);
            self.rows.u16(lane.shard);
            self.rows.u64(number.0);
            self.block = Some(id.block);
        }
        self.rows.u32(id.index);
        self.rows.i64(event_time.0);
        self.rows.u32(record.datum.len() as u32);
        self.rows.raw(record.datum);
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn write(&mut self) -> Result<(), InspectError> {
        let rows = std::mem::take(&mut self.rows).into_bytes();
        let written = self.file.append(&rows);
        written.map_err(|source| self.file.failed(source))
    }

    /// Everything from the first row on; the file is gone when it is dropped.
    pub(super) fn into_rows(mut self) -> Result<SpilledRows, InspectError> {
        self.write()?;
        let path = self.file.path().to_owned();
        match File::open(&path) {
            Ok(file) => Ok(SpilledRows {
                rows: BufReader::with_capacity(1 << 18, file),
                path,
                block: None,
                datum: Vec::new(),
            }),
            Err(source) => Err(InspectError::Export { path, source }),
        }
    }
}

/// With its datum.
type Row<'a> = (RecordId, RecordStamps, &'a [u8]);

#[derive(Debug)]
pub(super) struct SpilledRows {
    path: PathBuf,
    rows: BufReader<File>,
    block: Option<BlockId>,
    datum: Vec<u8>,
}

impl SpilledRows {
    pub(super) fn failed(&self, source: io::Error) -> InspectError {
        InspectError::Export {
            path: self.path.clone(),
            source,
        }
    }

    /// `None` behind the last.
    pub(super) fn next_row(&mut self) -> Result<Option<Row<'_>>, InspectError> {
        let read = self.read_row().map_err(|source| self.failed(source))?;
        Ok(read.map(|(id, stamps)| (id, stamps, self.datum.as_slice())))
    }

    /// The datum is in its place.
    fn read_row(&mut self) -> io::Result<Option<(RecordId, RecordStamps)>> {
        let mut flags = [0];
        if self.rows.read(&mut flags)? == 0 {
            return Ok(None);
        }
        let flags = flags[0];
        let has = |bit: u8| flags & bit != 0;
        if has(OTHER_BLOCK) {
            self.block = Some(self.block()?);
        }
        let block = self.block.ok_or_else(damaged)?;
        let index = u32::from_le_bytes(self.array()?);
        let event_time = UtcNanos(i64::from_le_bytes(self.array()?));
        let length = u32::from_le_bytes(self.array()?);
        self.datum.clear();
        self.datum.resize(length as usize, 0);
        self.rows.read_exact(&mut self.datum)?;
        let origin = match (has(FROM_SOURCE), has(FROM_RECEPTION)) {
            (false, false) => EventTimeOrigin::SndStamp,
            (true, _) => EventTimeOrigin::Source,
            (false, true) => EventTimeOrigin::Reception,
        };
        let stamps = RecordStamps {
            event_time,
            origin,
            implausible: has(IMPLAUSIBLE),
            latin1: has(LATIN1),
            instance: None,
        };
        Ok(Some((RecordId { block, index }, stamps)))
    }

    fn block(&mut self) -> io::Result<BlockId> {
        let edge = EdgeId(self.array()?);
        let epoch = EpochId(self.array()?);
        let [kind] = self.array()?;
        let kind = LaneKind::from_u8(kind).ok_or_else(damaged)?;
        let shard = u16::from_le_bytes(self.array()?);
        let number = BlockNumber(u64::from_le_bytes(self.array()?));
        let lane = Lane { kind, shard };
        Ok(EpochLane { edge, epoch, lane }.block(number))
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.rows.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

impl Drop for SpilledRows {
    fn drop(&mut self) {
        // What stays in the way of the next export is named by that.
        fs::remove_file(&self.path).ok();
    }
}

fn damaged() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the rows read back are not those written",
    )
}
