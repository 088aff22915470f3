//! Rows as they come, on the disk until all are there: one file for all topics, however many they are. A file of columns
//! or of text that is written in thousands of small steps is slow to make, slow to read, or both.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use efd_shared_model::bytes::Writer;
use efd_shared_model::{
    BlockId, BlockNumber, EdgeId, EpochId, EpochLane, EventTimeOrigin, Lane, LaneKind, RecordId,
    RecordRef, RecordStamps, UtcNanos,
};

use crate::outcome::InspectError;

/// The log follows; else it is that of the row before.
const OTHER_LOG: u8 = 1;
const IMPLAUSIBLE: u8 = 1 << 1;
const LATIN1: u8 = 1 << 2;
const FROM_SOURCE: u8 = 1 << 3;
const FROM_RECEPTION: u8 = 1 << 4;

/// Extents of rows, each of one topic.
#[derive(Debug)]
pub(super) struct SpillFile {
    file: File,
    folder: PathBuf,
    end: u64,
}

impl SpillFile {
    /// Without a name: it is gone with its last user, however that ends.
    pub(super) fn create(folder: &Path) -> Result<Self, InspectError> {
        let path = folder.join("rows.partial");
        let opened = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .and_then(|file| fs::remove_file(&path).map(|()| file));
        match opened {
            Ok(file) => Ok(Self {
                file,
                folder: folder.to_owned(),
                end: 0,
            }),
            Err(source) => Err(InspectError::Export { path, source }),
        }
    }

    fn failed(&self, source: io::Error) -> InspectError {
        InspectError::Spill {
            folder: self.folder.clone(),
            source,
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<Extent, InspectError> {
        let written = self.file.write_all_at(bytes, self.end);
        written.map_err(|source| self.failed(source))?;
        let extent = Extent {
            offset: self.end,
            length: bytes.len() as u64,
        };
        self.end += extent.length;
        Ok(extent)
    }
}

/// Where in the file.
#[derive(Clone, Copy, Debug)]
struct Extent {
    offset: u64,
    length: u64,
}

impl Extent {
    /// That of the topic's extent before, which begins each; zeros begin the first. So a topic has to remember only its
    /// last, and memory does not grow with what is exported.
    const LINK_BYTES: usize = 16;

    fn put_link(to_previous: Option<Self>, out: &mut Writer) {
        out.u64(to_previous.map_or(0, |extent| extent.offset));
        out.u64(to_previous.map_or(0, |extent| extent.length));
    }

    /// What is behind the link.
    fn rows(self) -> Self {
        Self {
            offset: self.offset + Self::LINK_BYTES as u64,
            length: self.length - Self::LINK_BYTES as u64,
        }
    }

    /// That before this one.
    fn previous(self, file: &File) -> io::Result<Option<Self>> {
        let mut link = [[0; 8]; Self::LINK_BYTES / 8];
        file.read_exact_at(link.as_flattened_mut(), self.offset)?;
        let [offset, length] = link.map(u64::from_le_bytes);
        Ok((length > 0).then_some(Self { offset, length }))
    }
}

/// The rows of one topic.
#[derive(Debug)]
pub(super) struct Spill {
    rows: Writer,
    log: Option<EpochLane>,
    last: Option<Extent>,
}

impl Spill {
    pub(super) fn new() -> Self {
        Self {
            rows: Writer::new(),
            log: None,
            last: None,
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
        if self.rows.is_empty() {
            self.begin();
        }
        let BlockId { lane: log, number } = id.block;
        let is_other = self.log != Some(log);
        let set = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        let flags = set(is_other, OTHER_LOG)
            | set(implausible, IMPLAUSIBLE)
            | set(latin1, LATIN1)
            | set(origin == EventTimeOrigin::Source, FROM_SOURCE)
            | set(origin == EventTimeOrigin::Reception, FROM_RECEPTION);
        self.rows.u8(flags);
        if is_other {
            let EpochLane { edge, epoch, lane } = log;
            self.rows.raw(&edge.0);
            self.rows.raw(&epoch.0);
            self.rows.u8(lane.kind as u8);
            self.rows.u16(lane.shard);
            self.log = Some(log);
        }
        self.rows.u64(number.0);
        self.rows.u32(id.index);
        self.rows.i64(event_time.0);
        self.rows.u32(record.datum.len() as u32);
        self.rows.raw(record.datum);
    }

    /// As long as the extent before: that is not far from right, and nothing is copied while it grows.
    fn begin(&mut self) {
        let capacity = self.last.map_or(0, |extent| extent.length);
        self.rows = Writer::with_capacity(usize::try_from(capacity).unwrap_or(0));
        Extent::put_link(self.last, &mut self.rows);
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn write(&mut self, to: &mut SpillFile) -> Result<(), InspectError> {
        if !self.rows.is_empty() {
            let rows = std::mem::take(&mut self.rows).into_bytes();
            self.last = Some(to.append(&rows)?);
        }
        Ok(())
    }

    /// Everything that was written, from the first row on.
    pub(super) fn rows(self, of: &SpillFile) -> Result<SpilledRows<'_>, InspectError> {
        let mut extents = Vec::new();
        let mut next = self.last;
        while let Some(extent) = next {
            extents.push(extent.rows());
            let previous = extent.previous(&of.file);
            next = previous.map_err(|source| of.failed(source))?;
        }
        let reader = ExtentsReader {
            file: &of.file,
            left: extents,
        };
        Ok(SpilledRows {
            rows: BufReader::with_capacity(1 << 18, reader),
            of,
            log: None,
            datum: Vec::new(),
        })
    }
}

#[derive(Debug)]
struct ExtentsReader<'a> {
    file: &'a File,
    /// The next is the last here.
    left: Vec<Extent>,
}

impl Read for ExtentsReader<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let Some(next) = self.left.last_mut() else {
            return Ok(0);
        };
        let wanted = bytes
            .len()
            .min(usize::try_from(next.length).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut bytes[..wanted], next.offset)?;
        if read == 0 && wanted > 0 {
            return Err(damaged());
        }
        next.offset += read as u64;
        next.length -= read as u64;
        if next.length == 0 {
            self.left.pop();
        }
        Ok(read)
    }
}

/// With its datum.
type Row<'a> = (RecordId, RecordStamps, &'a [u8]);

#[derive(Debug)]
pub(super) struct SpilledRows<'a> {
    of: &'a SpillFile,
    rows: BufReader<ExtentsReader<'a>>,
    log: Option<EpochLane>,
    datum: Vec<u8>,
}

impl SpilledRows<'_> {
    pub(super) fn failed(&self, source: io::Error) -> InspectError {
        self.of.failed(source)
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
        if has(OTHER_LOG) {
            self.log = Some(self.log()?);
        }
        let log = self.log.ok_or_else(damaged)?;
        let number = BlockNumber(u64::from_le_bytes(self.array()?));
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
        let block = log.block(number);
        Ok(Some((RecordId { block, index }, stamps)))
    }

    fn log(&mut self) -> io::Result<EpochLane> {
        let edge = EdgeId(self.array()?);
        let epoch = EpochId(self.array()?);
        let [kind] = self.array()?;
        let kind = LaneKind::from_u8(kind).ok_or_else(damaged)?;
        let shard = u16::from_le_bytes(self.array()?);
        let lane = Lane { kind, shard };
        Ok(EpochLane { edge, epoch, lane })
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.rows.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

fn damaged() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the rows read back are not those written",
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn log() -> impl Strategy<Value = EpochLane> {
        let lane = (any::<[bool; 2]>(), 0..3u16).prop_map(|([is_event, is_far], shard)| {
            let kind = match is_event {
                true => LaneKind::Events,
                false => LaneKind::Telemetry,
            };
            let edge = EdgeId([u8::from(is_far); 16]);
            (edge, Lane { kind, shard })
        });
        lane.prop_map(|(edge, lane)| EpochLane {
            edge,
            epoch: EpochId([7; 16]),
            lane,
        })
    }

    fn row() -> impl Strategy<Value = (RecordId, RecordStamps, Vec<u8>)> {
        use EventTimeOrigin::{Reception, SndStamp, Source};
        let origin = prop::sample::select(vec![SndStamp, Source, Reception]);
        let stamps = (any::<i64>(), origin, any::<[bool; 2]>());
        let id = (log(), any::<u64>(), any::<u32>());
        let datum = prop::collection::vec(any::<u8>(), 0..300);
        (id, stamps, datum).prop_map(
            |((log, number, index), (time, origin, [implausible, latin1]), datum)| {
                let block = log.block(BlockNumber(number));
                let stamps = RecordStamps {
                    event_time: UtcNanos(time),
                    origin,
                    implausible,
                    latin1,
                    instance: None,
                };
                (RecordId { block, index }, stamps, datum)
            },
        )
    }

    proptest! {
        /// Rows of several topics, written at any moments, come back by topic as they were.
        #[test]
        fn rows_come_back(
            steps in prop::collection::vec((0..4usize, row(), prop::bool::weighted(0.2)), 0..200),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut file = SpillFile::create(folder.path()).unwrap();
            prop_assert!(fs::read_dir(folder.path()).unwrap().next().is_none(), "it has no name");
            let mut spills: BTreeMap<usize, Spill> = (0..4).map(|topic| (topic, Spill::new())).collect();
            for (topic, (id, stamps, datum), is_written) in &steps {
                let spill = spills.get_mut(topic).unwrap();
                spill.add(*id, &RecordRef { index: id.index, stamps: *stamps, datum });
                if *is_written {
                    spill.write(&mut file).unwrap();
                    prop_assert_eq!(spill.waiting_bytes(), 0);
                }
            }
            for (topic, mut spill) in spills {
                spill.write(&mut file).unwrap();
                let mut rows = spill.rows(&file).unwrap();
                for (_, (id, stamps, datum), _) in steps.iter().filter(|step| step.0 == topic) {
                    prop_assert_eq!(rows.next_row().unwrap(), Some((*id, *stamps, datum.as_slice())));
                }
                prop_assert_eq!(rows.next_row().unwrap(), None);
            }
        }
    }
}
