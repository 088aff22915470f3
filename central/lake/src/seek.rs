//! Rows of a topic near a time, and in which files of the lake they stand. By the folders, as any reader sees them: of a lake
//! with many commits that is much sooner than by their chain.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use efd_shared_model::{LeapTable, RecordId, Site, TaiNanos, UtcNanos};
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::file::statistics::Statistics;

use crate::chain;
use crate::error::LakeError;
use crate::examine::read_group;
use crate::identity::{Identities, Lanes, columns_in};
use crate::layout::{commit_path, folder_of};
use crate::table::TIME;

const NANOS_PER_DAY: i64 = 86_400 * 1_000_000_000;

/// A row of the lake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowFound {
    pub id: RecordId,
    pub time: UtcNanos,
    /// From the lake's root.
    pub file: String,
    /// From 0, within the file.
    pub row: u64,
    /// The commit that added the file. Compaction writes rows anew: then it is later than the one that first had the row.
    pub commit: u64,
    /// What the row says of who published it, and when it came.
    pub told: Told,
}

/// Columns of SAL's topics; `None` where there is none.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Told {
    pub time_origin: Option<String>,
    pub class: Option<String>,
    pub identity: Option<String>,
    pub origin: Option<i64>,
    pub number: Option<i64>,
    pub sent: Option<UtcNanos>,
    pub received: Option<UtcNanos>,
    pub encoded: Option<UtcNanos>,
}

const COLUMNS: [&str; 8] = [
    "efd_time_origin",
    "efd_class",
    "private_identity",
    "private_origin",
    "private_seqNum",
    "private_sndStamp",
    "private_rcvStamp",
    "private_kafkaStamp",
];

/// Both times inclusive. Each record once, in the newest file that has it; files that cannot be read are named beside.
///
/// A row is there when its commit is. A file that a commit has removed is still in its folder for an hour.
pub fn seek(
    root: &Path,
    site: &Site,
    topic: &str,
    (from, until): (UtcNanos, UtcNanos),
) -> Result<(Vec<RowFound>, Vec<String>), LakeError> {
    let mut seeker = Seeker {
        root,
        span: (from, until),
        lanes: Lanes::default(),
        leap: LeapTable::built_in(),
        rows: BTreeMap::new(),
        unread: Vec::new(),
    };
    for day in from.day()..=until.day() {
        let begin = UtcNanos(day.saturating_mul(NANOS_PER_DAY));
        seeker.seek_in(&folder_of(site, topic, begin))?;
    }
    let mut rows: Vec<RowFound> = seeker.rows.into_values().collect();
    rows.sort_by_key(|row| (row.time, row.id));
    Ok((rows, seeker.unread))
}

/// When a commit was made.
pub fn time_of(root: &Path, commit: u64) -> Result<UtcNanos, LakeError> {
    let path = commit_path(commit);
    let bytes = fs::read(root.join(&path)).map_err(|error| LakeError::io("read", &path, error))?;
    Ok(UtcNanos(chain::parse(&bytes, commit)?.time_ns))
}

struct Seeker<'a> {
    root: &'a Path,
    span: (UtcNanos, UtcNanos),
    lanes: Lanes,
    leap: LeapTable,
    rows: BTreeMap<RecordId, RowFound>,
    unread: Vec<String>,
}

/// A file of the folder that is looked at.
struct Place<'a> {
    path: &'a str,
    commit: u64,
}

impl Seeker<'_> {
    fn seek_in(&mut self, folder: &str) -> Result<(), LakeError> {
        let failed = |error| LakeError::io("list", Path::new(folder), error);
        let entries = match fs::read_dir(self.root.join(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let Some((name, commit)) = name
                .to_str()
                .and_then(|name| Some((name, commit_of(name)?)))
            else {
                continue;
            };
            let path = format!("{folder}/{name}");
            let place = Place {
                path: &path,
                commit,
            };
            // The libraries that read the file may not be ready for any bytes whatever.
            let read = catch_unwind(AssertUnwindSafe(|| self.read(&place)));
            let read = read.unwrap_or_else(|_panic| Err("reading it panics".into()));
            if let Err(reason) = read {
                self.unread.push(format!("{path}: {reason}"));
            }
        }
        Ok(())
    }

    fn read(&mut self, place: &Place<'_>) -> Result<(), String> {
        let file = match File::open(self.root.join(place.path)) {
            Ok(file) => file,
            // Compacted, and an hour is over.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let loaded =
            ArrowReaderMetadata::load(&file, Default::default()).map_err(|error| text(&error))?;
        let schema = loaded.schema();
        let mut columns = columns_in(schema).ok_or("its columns are not the lake's")?;
        columns.extend(COLUMNS.iter().filter_map(|name| schema.index_of(name).ok()));
        let mut first_row = 0;
        for group in 0..loaded.metadata().num_row_groups() {
            let rows = loaded
                .metadata()
                .row_group(group)
                .num_rows()
                .max(0)
                .cast_unsigned();
            if self.may_have(&loaded, group) {
                let mut row = first_row;
                for batch in read_group(&file, &loaded, group, &columns)? {
                    let batch = batch.map_err(|error| text(&error))?;
                    self.take(place, &batch, row)?;
                    row += batch.num_rows() as u64;
                }
            }
            first_row += rows;
        }
        Ok(())
    }

    /// By the statistics of its times; without them it may.
    fn may_have(&self, loaded: &ArrowReaderMetadata, group: usize) -> bool {
        let columns = loaded.metadata().row_group(group).columns();
        let time = columns
            .iter()
            .find(|column| column.column_path().string() == TIME);
        let bounds = time.and_then(|column| match column.statistics()? {
            Statistics::Int64(times) => Some((*times.min_opt()?, *times.max_opt()?)),
            Statistics::Boolean(_)
            | Statistics::Int32(_)
            | Statistics::Int96(_)
            | Statistics::Float(_)
            | Statistics::Double(_)
            | Statistics::ByteArray(_)
            | Statistics::FixedLenByteArray(_) => None,
        });
        bounds.is_none_or(|(min, max)| self.span.0.0 <= max && min <= self.span.1.0)
    }

    fn take(
        &mut self,
        place: &Place<'_>,
        batch: &RecordBatch,
        first_row: u64,
    ) -> Result<(), String> {
        let identities = Identities::of(batch)?;
        for row in 0..identities.len() {
            let Some((time, id)) = identities.row(row, &mut self.lanes) else {
                continue;
            };
            if time < self.span.0.0 || self.span.1.0 < time {
                continue;
            }
            let block = self
                .lanes
                .lane(id)
                .block(efd_shared_model::BlockNumber(id.block));
            let id = RecordId {
                block,
                index: id.index,
            };
            let is_newer = |known: &RowFound| known.commit < place.commit;
            if self.rows.get(&id).is_none_or(is_newer) {
                let found = RowFound {
                    id,
                    time: UtcNanos(time),
                    file: place.path.to_owned(),
                    row: first_row + row as u64,
                    commit: place.commit,
                    told: told(batch, row, &self.leap),
                };
                self.rows.insert(id, found);
            }
        }
        Ok(())
    }
}

fn told(batch: &RecordBatch, row: usize, leap: &LeapTable) -> Told {
    let cell = |name: &str, data_type: DataType| {
        let column = batch.column_by_name(name)?.slice(row, 1);
        let column = cast(&column, &data_type).ok()?;
        column.is_valid(0).then_some(column)
    };
    let text = |name| {
        let column = cell(name, DataType::Utf8)?;
        Some(column.as_string::<i32>().value(0).to_owned())
    };
    let number = |name| {
        let column = cell(name, DataType::Int64)?;
        Some(column.as_primitive::<Int64Type>().value(0))
    };
    let stamp = |name| {
        let column = cell(name, DataType::Float64)?;
        let seconds = column.as_primitive::<Float64Type>().value(0);
        let tai = TaiNanos::from_seconds(seconds).filter(|tai| tai.0 > 0)?;
        Some(leap.to_utc(tai))
    };
    Told {
        time_origin: text("efd_time_origin"),
        class: text("efd_class"),
        identity: text("private_identity"),
        origin: number("private_origin"),
        number: number("private_seqNum"),
        sent: stamp("private_sndStamp"),
        received: stamp("private_rcvStamp"),
        encoded: stamp("private_kafkaStamp"),
    }
}

/// Of a file of ours.
fn commit_of(name: &str) -> Option<u64> {
    let (commit, _) = name.strip_suffix(".parquet")?.split_once('-')?;
    commit.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_tells_its_commit() {
        assert_eq!(commit_of("0000000042-00007-1a2b3c4d.parquet"), Some(42));
        assert_eq!(commit_of("0000000042-00007-1a2b3c4d.parquet.tmp"), None);
        assert_eq!(commit_of("notes.parquet"), None);
    }
}
