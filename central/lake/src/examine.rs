//! One live file against what its commit states.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use efd_shared_model::RangeSet;
use efd_shared_model::ids::EpochLane;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use sha2::{Digest, Sha256};

use crate::chain::staged_path;
use crate::commit::FileEntry;
use crate::identity::{Identities, Lanes, RowId, columns_in};
use crate::part::Part;
use crate::write::hexadecimal;

const READ_BYTES: usize = 256 << 10;
const BATCH_ROWS: usize = 8192;

/// A live file that is not what its commit states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// As the commit states it: path, rows, first and last time.
    pub file: FileEntry,
    pub kind: FaultKind,
    /// Rows of the part that can be read in it all the same.
    pub rows_found: u64,
    /// Rows of another topic or day, or whose identity cannot be one.
    pub rows_foreign: u64,
    /// Why no more rows of it can be read.
    pub unread: Option<String>,
    /// The blocks that `rows_found` are from. Which blocks the lost ones are from, no file tells.
    pub readable: BTreeMap<EpochLane, RangeSet>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    Missing,
    /// It has so many bytes.
    Size(u64),
    /// It has this SHA-256.
    Digest(String),
    /// Its bytes cannot be had, or are right and cannot be read.
    Unreadable,
    /// It is what is stated, and rows of it stand in another file too. Found by [`restore`](crate::Lake::restore_part).
    Twice,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FileEntry {
            path,
            rows,
            bytes,
            sha256,
            ..
        } = &self.file;
        write!(f, "{path}: ")?;
        match &self.kind {
            FaultKind::Missing => f.write_str("it is missing")?,
            FaultKind::Size(found) => write!(f, "it has {found} bytes and should have {bytes}")?,
            FaultKind::Digest(found) => write!(f, "its SHA-256 is {found} and should be {sha256}")?,
            FaultKind::Unreadable => f.write_str("it cannot be read")?,
            FaultKind::Twice => f.write_str("rows of it are in another file too")?,
        }
        write!(f, "; {} of {rows} rows can be read", self.rows_found)?;
        match &self.unread {
            Some(reason) => write!(f, "; {reason}"),
            None => Ok(()),
        }
    }
}

pub(crate) type Open<'a> = &'a dyn Fn(&Path) -> io::Result<File>;

/// What a file turned out to be; its rows went where they were to go.
#[derive(Debug)]
pub(crate) struct Examined {
    /// `None`: it is what the commit states.
    pub(crate) kind: Option<FaultKind>,
    pub(crate) rows: u64,
    pub(crate) foreign: u64,
    pub(crate) unread: Option<String>,
}

impl Examined {
    fn unread(kind: FaultKind, reason: Option<String>) -> Self {
        Self {
            kind: Some(kind),
            rows: 0,
            foreign: 0,
            unread: reason,
        }
    }

    pub(crate) fn fault(
        self,
        file: &FileEntry,
        readable: impl FnOnce() -> BTreeMap<EpochLane, RangeSet>,
    ) -> Option<Fault> {
        Some(Fault {
            file: file.clone(),
            kind: self.kind?,
            rows_found: self.rows,
            rows_foreign: self.foreign,
            unread: self.unread,
            readable: readable(),
        })
    }
}

/// A row that was read in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowFound {
    /// Of the file.
    pub(crate) is_sound: bool,
    pub(crate) time: i64,
    pub(crate) id: RowId,
    pub(crate) digest: u64,
}

/// In its place, or where it waits to be put there; it may be on its way between two looks.
pub(crate) fn open_live(open: Open<'_>, path: &str) -> io::Result<Option<File>> {
    let place = Path::new(path);
    let staged = staged_path(place);
    for path in [place, &staged, place] {
        match open(path) {
            Ok(file) => return Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Whether a file is what is stated. All of its rows that are of the part go to `take`, whether or not.
pub(crate) fn examine(
    open: Open<'_>,
    entry: &FileEntry,
    part: &Part,
    lanes: &mut Lanes,
    take: &mut dyn FnMut(RowFound),
) -> Examined {
    let mut file = match open_live(open, &entry.path) {
        Ok(Some(file)) => file,
        Ok(None) => return Examined::unread(FaultKind::Missing, None),
        Err(error) => return Examined::unread(FaultKind::Unreadable, Some(error.to_string())),
    };
    let kind = match digest(&mut file) {
        Err(error) => return Examined::unread(FaultKind::Unreadable, Some(error.to_string())),
        Ok((bytes, _)) if bytes != entry.bytes => Some(FaultKind::Size(bytes)),
        Ok((_, sha256)) if sha256 != entry.sha256 => Some(FaultKind::Digest(sha256)),
        Ok(_) => None,
    };
    let mut rows = Rows {
        part,
        lanes,
        is_sound: kind.is_none(),
        take,
        rows: 0,
        foreign: 0,
        unread: None,
    };
    // The libraries that read the file may not be ready for any bytes whatever.
    let read = catch_unwind(AssertUnwindSafe(|| rows.read(&file)));
    if read.is_err() {
        rows.unread = Some("reading it panics".into());
    }
    let Rows {
        rows,
        foreign,
        unread,
        ..
    } = rows;
    let is_whole = rows == entry.rows && unread.is_none();
    Examined {
        kind: kind.or_else(|| (!is_whole).then_some(FaultKind::Unreadable)),
        rows,
        foreign,
        unread,
    }
}

/// Bytes and SHA-256 of the whole file.
fn digest(file: &mut File) -> io::Result<(u64, String)> {
    let (mut digest, mut bytes) = (Sha256::new(), 0);
    let mut buffer = vec![0; READ_BYTES];
    file.rewind()?;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((bytes, hexadecimal(&digest.finalize()))),
            Ok(read) => {
                digest.update(&buffer[..read]);
                bytes += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

struct Rows<'a> {
    part: &'a Part,
    lanes: &'a mut Lanes,
    is_sound: bool,
    take: &'a mut dyn FnMut(RowFound),
    rows: u64,
    foreign: u64,
    unread: Option<String>,
}

impl Rows<'_> {
    /// As much as can be: each row group by itself, to its end or its first error.
    fn read(&mut self, file: &File) {
        let loaded = match ArrowReaderMetadata::load(file, Default::default()) {
            Ok(loaded) => loaded,
            Err(error) => return self.stop(error.to_string()),
        };
        let Some(columns) = columns_in(loaded.schema()) else {
            return self.stop("its columns are not the lake's".into());
        };
        let is_ours = is_of(&loaded, self.part);
        for group in 0..loaded.metadata().num_row_groups() {
            if let Err(reason) = self.read_group(file, &loaded, group, &columns, is_ours) {
                self.stop(reason);
            }
        }
    }

    fn stop(&mut self, reason: String) {
        self.unread.get_or_insert(reason);
    }

    fn read_group(
        &mut self,
        file: &File,
        loaded: &ArrowReaderMetadata,
        group: usize,
        columns: &[usize],
        is_ours: bool,
    ) -> Result<(), String> {
        for batch in read_group(file, loaded, group, columns)? {
            let batch = batch.map_err(|error| error.to_string())?;
            let identities = Identities::of(&batch)?;
            for row in 0..identities.len() {
                match identities.row(row, self.lanes) {
                    Some((time, id)) if is_ours && self.part.has(time) => {
                        self.rows += 1;
                        (self.take)(RowFound {
                            is_sound: self.is_sound,
                            time,
                            id,
                            digest: self.lanes.digest(id),
                        });
                    }
                    Some(_) | None => self.foreign += 1,
                }
            }
        }
        Ok(())
    }
}

/// Some columns of a row group.
pub(crate) fn read_group(
    file: &File,
    loaded: &ArrowReaderMetadata,
    group: usize,
    columns: &[usize],
) -> Result<ParquetRecordBatchReader, String> {
    let text = |error: &dyn fmt::Display| error.to_string();
    let file = file.try_clone().map_err(|error| text(&error))?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, loaded.clone());
    let mask = ProjectionMask::roots(builder.parquet_schema(), columns.iter().copied());
    let reader = builder
        .with_row_groups(vec![group])
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS)
        .build();
    reader.map_err(|error| text(&error))
}

/// Whether a file says that its rows are the part's. One that says nothing was written anew by another program.
pub(crate) fn is_of(loaded: &ArrowReaderMetadata, part: &Part) -> bool {
    let is = |key: &str, expected: &str| {
        let found = label(loaded, key);
        found.is_none_or(|found| found == expected)
    };
    is("efd.site", part.site.as_str()) && is("efd.topic", &part.topic)
}

pub(crate) fn label(loaded: &ArrowReaderMetadata, key: &str) -> Option<String> {
    let pairs = loaded.metadata().file_metadata().key_value_metadata()?;
    let pair = pairs.iter().find(|pair| pair.key == key)?;
    pair.value.clone()
}

/// The blocks that rows are from.
pub(crate) fn blocks_of(
    rows: impl IntoIterator<Item = RowId>,
    lanes: &Lanes,
) -> BTreeMap<EpochLane, RangeSet> {
    let mut blocks = BTreeMap::<EpochLane, RangeSet>::new();
    for id in rows {
        blocks.entry(lanes.lane(id)).or_default().insert(id.block);
    }
    blocks
}
