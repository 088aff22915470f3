//! Many small files of a topic's day become few: the same rows in the same order, in one commit.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{Int32Type, Int64Type, SchemaRef, TimestampNanosecondType};
use efd_shared_model::UtcNanos;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::file::statistics::Statistics;

use crate::commit::{Change, FileEntry};
use crate::error::LakeError;
use crate::lake::Lake;
use crate::layout::file_name;
use crate::options::Now;
use crate::table::{OUR_COLUMNS, is_ours};
use crate::write::FileWriter;

const NANOS_PER_DAY: i64 = 86_400 * 1_000_000_000;
/// Of a topic and day, after compaction.
const FILES_MAX: usize = 4;
/// A day's rows are spread over more than one file only where one would be larger.
const FILE_BYTES: u64 = 512 << 20;
/// What one step reads at the most, unless one topic alone has more.
const STEP_BYTES: u64 = 256 << 20;
const STEP_FILES: usize = 4096;
/// Of one source, decoded, in memory at a time.
const BATCH_BYTES: u64 = 4 << 20;
const BATCH_ROWS: u64 = 8192;

/// What a step of compaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Compacted {
    pub files_before: u64,
    pub files_after: u64,
    /// Nothing is left to do for the day.
    pub is_done: bool,
}

impl Lake {
    /// One step of merging the files of `date` (`2026-11-24`) where a topic has more than four: bounded work and one
    /// commit, so that the present is not kept waiting. Call it until it [is done](Compacted::is_done); a day that gets
    /// more rows later may be compacted again. The replaced files are deleted after [`Options::grace`](crate::Options).
    pub fn compact(&mut self, date: &str, now: Now) -> Result<Compacted, LakeError> {
        self.finish_pending()?;
        let (mut work, is_done) = self.crowded(date)?;
        if work.is_empty() {
            return Ok(Compacted {
                is_done,
                ..Compacted::default()
            });
        }
        let change = self.staged(|lake| {
            let mut change = Change::default();
            for group in &mut work {
                lake.merge(group, &mut change)?;
            }
            Ok(change)
        })?;
        let compacted = Compacted {
            files_before: change.removed.len() as u64,
            files_after: change.added.len() as u64,
            is_done,
        };
        let progress = self.committed().clone();
        self.prepare(change, progress, now);
        self.finish_pending()?;
        Ok(compacted)
    }

    /// One step of compacting a day that is over and quiet (see [`Options::compact_after`](crate::Options)), if there is
    /// one; `false` if not.
    pub fn compact_due(&mut self, now: Now) -> Result<bool, LakeError> {
        let quiet = self.options.compact_after;
        let today = now.utc.day();
        let touched = self.touched(now);
        let is_due =
            |day: i64, last: Duration| day < today && now.monotonic.saturating_sub(last) >= quiet;
        let due = touched.iter().find(|(day, last)| is_due(**day, **last));
        let Some((&day, _)) = due else {
            return Ok(false);
        };
        let date = UtcNanos(day.saturating_mul(NANOS_PER_DAY)).date();
        let compacted = self.compact(&date, now)?;
        if compacted.is_done {
            self.touched(now).remove(&day);
        }
        tracing::info!(date, ?compacted, "Compaction step");
        Ok(true)
    }

    /// At first: yesterday, which an earlier process may have left.
    fn touched(&mut self, now: Now) -> &mut BTreeMap<i64, Duration> {
        let yesterday = now.utc.day() - 1;
        self.touched
            .get_or_insert_with(|| BTreeMap::from([(yesterday, now.monotonic)]))
    }

    pub(crate) fn touch(&mut self, added: &[FileEntry], now: Now) {
        let touched = self.touched(now);
        for file in added {
            touched.insert(UtcNanos(file.time_min).day(), now.monotonic);
        }
    }

    /// The first of the day's crowded folders, and whether these are all.
    fn crowded(&self, date: &str) -> Result<(Vec<Group>, bool), LakeError> {
        let (mut work, mut bytes, mut files) = (Vec::new(), 0, 0);
        for site in self.folders(Path::new(""), "efd_site=")? {
            for topic in self.folders(Path::new(&site), "efd_topic=")? {
                let folder = format!("{topic}/efd_date={date}");
                let names = self.names(Path::new(&folder))?;
                let paths: Vec<_> = names
                    .into_iter()
                    .filter(|name| name.ends_with(".parquet"))
                    .map(|name| format!("{folder}/{name}"))
                    .filter(|path| !self.is_grave(path))
                    .collect();
                if paths.len() <= FILES_MAX {
                    continue;
                }
                if bytes > STEP_BYTES || files > STEP_FILES {
                    return Ok((work, false));
                }
                let groups = self.groups(&folder, &paths)?;
                let schemas = groups.len();
                for mut group in groups {
                    group.files_max = (FILES_MAX / schemas).max(1);
                    if group.sources.len() > group.files_max {
                        bytes += group.sources.iter().map(|source| source.bytes).sum::<u64>();
                        files += group.sources.len();
                        work.push(group);
                    }
                }
            }
        }
        Ok((work, true))
    }

    fn names(&self, folder: &Path) -> Result<Vec<String>, LakeError> {
        self.disk
            .names(folder)
            .map_err(|error| LakeError::io("list", folder, error))
    }

    fn folders(&self, within: &Path, prefix: &str) -> Result<Vec<String>, LakeError> {
        let names = self.names(within)?.into_iter();
        Ok(names
            .filter(|name| name.starts_with(prefix))
            .map(|name| within.join(name).to_string_lossy().into_owned())
            .collect())
    }

    /// The files by what they hold: only those of one schema and the same columns can be one.
    fn groups(&self, folder: &str, paths: &[String]) -> Result<Vec<Group>, LakeError> {
        let mut groups: Vec<Group> = Vec::new();
        for path in paths {
            let (columns, label, source) = self.source(path)?;
            let same = |group: &&mut Group| group.label == label && group.columns == columns;
            match groups.iter_mut().find(same) {
                Some(group) => group.sources.push(source),
                None => groups.push(Group {
                    folder: folder.to_owned(),
                    columns,
                    label,
                    files_max: 1,
                    sources: vec![source],
                }),
            }
        }
        Ok(groups)
    }

    fn source(&self, path: &str) -> Result<(SchemaRef, Label, Source), LakeError> {
        let bad = |reason: String| LakeError::Parquet {
            path: path.into(),
            reason,
        };
        let file = self
            .disk
            .open(Path::new(path))
            .map_err(|error| LakeError::io("open", Path::new(path), error))?;
        let length = file
            .metadata()
            .map_err(|error| LakeError::io("look at", Path::new(path), error))?
            .len();
        let loaded = ArrowReaderMetadata::load(&file, Default::default())
            .map_err(|error| bad(error.to_string()))?;
        let metadata = loaded.metadata();
        let pairs = metadata.file_metadata().key_value_metadata();
        let value = |key: &str| {
            let pair = pairs?.iter().find(|pair| pair.key == key)?;
            pair.value.clone()
        };
        let label = || {
            Some(Label {
                site: value("efd.site")?,
                topic: value("efd.topic")?,
                schema: value("efd.schema")?,
            })
        };
        let label = label().ok_or_else(|| bad("it does not say whose rows it has".into()))?;
        let span = metadata
            .row_groups()
            .iter()
            .map(|group| match group.column(0).statistics() {
                Some(Statistics::Int64(times)) => Some((*times.min_opt()?, *times.max_opt()?)),
                _ => None,
            });
        let times = span.collect::<Option<Vec<_>>>().unwrap_or_default();
        if !is_ours(loaded.schema()) {
            return Err(bad("its columns are not the lake's".into()));
        }
        let source = Source {
            path: path.to_owned(),
            rows: metadata.file_metadata().num_rows().max(0) as u64,
            bytes: length,
            decoded_bytes: metadata
                .row_groups()
                .iter()
                .map(|group| group.total_byte_size().max(0) as u64)
                .sum(),
            time_min: times.iter().map(|(min, _)| *min).min().unwrap_or(i64::MIN),
            time_max: times.iter().map(|(_, max)| *max).max().unwrap_or(i64::MAX),
        };
        Ok((Arc::clone(loaded.schema()), label, source))
    }

    fn merge(&self, group: &mut Group, change: &mut Change) -> Result<(), LakeError> {
        let sum = |of: fn(&Source) -> u64| group.sources.iter().map(of).sum::<u64>();
        let (rows, bytes) = (sum(|source| source.rows), sum(|source| source.bytes));
        let decoded = sum(|source| source.decoded_bytes);
        let files = bytes.div_ceil(FILE_BYTES).clamp(1, group.files_max as u64);
        let rows_per_file = rows.div_ceil(files).max(1);
        group.sources.sort_by_key(|source| source.time_min);
        let mut merger = Merger {
            lake: self,
            columns: Arc::clone(&group.columns),
            waiting: group.sources.iter().collect(),
            heads: Vec::new(),
            batches: Vec::new(),
            picked: Vec::new(),
            picked_max: rows_of(decoded, rows),
        };
        let mut written = 0;
        while written < rows {
            let index = change.added.len();
            let wanted = rows_per_file.min(rows - written);
            let file = merger.write_file(self, group, index, wanted)?;
            written += file.rows;
            change.added.push(file);
        }
        // Pair assertion: what is removed and what is added are the same number of rows.
        if merger.next()?.is_some() {
            return Err(LakeError::Parquet {
                path: group.folder.clone().into(),
                reason: format!("its files have more than the {rows} rows that they state"),
            });
        }
        let removed = group.sources.iter().map(|source| group.entry(source));
        change.removed.extend(removed);
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Label {
    site: String,
    topic: String,
    schema: String,
}

/// Files of one folder that can be merged.
#[derive(Debug)]
struct Group {
    folder: String,
    columns: SchemaRef,
    label: Label,
    files_max: usize,
    sources: Vec<Source>,
}

#[derive(Debug)]
struct Source {
    path: String,
    rows: u64,
    bytes: u64,
    decoded_bytes: u64,
    time_min: i64,
    time_max: i64,
}

impl Group {
    fn entry(&self, source: &Source) -> FileEntry {
        let Label {
            site,
            topic,
            schema,
        } = self.label.clone();
        FileEntry {
            path: source.path.clone(),
            site,
            topic,
            schema,
            rows: source.rows,
            bytes: source.bytes,
            sha256: String::new(),
            time_min: source.time_min,
            time_max: source.time_max,
        }
    }
}

/// A sorted source that is being read.
struct Head {
    reader: ParquetRecordBatchReader,
    path: String,
    /// Into [`Merger::batches`].
    batch: usize,
    row: usize,
}

/// Merges sorted sources. A source is opened when its time has come, so few are open at once.
struct Merger<'a> {
    lake: &'a Lake,
    columns: SchemaRef,
    /// By their earliest row.
    waiting: VecDeque<&'a Source>,
    heads: Vec<Head>,
    batches: Vec<RecordBatch>,
    /// (batch, row) of the rows that come next.
    picked: Vec<(usize, usize)>,
    picked_max: usize,
}

/// How many rows are about [`BATCH_BYTES`], of `rows` that are `bytes`.
fn rows_of(bytes: u64, rows: u64) -> usize {
    let row_bytes = (bytes / rows.max(1)).max(1);
    (BATCH_BYTES / row_bytes).clamp(16, BATCH_ROWS) as usize
}

/// As in [`Run::sort`](crate::buffer::Run::sort).
type Key<'a> = (i64, &'a str, &'a str, &'a str, i64, i32);

/// Our columns stand first and last: `groups` has seen that all sources have the same.
fn key(batch: &RecordBatch, row: usize) -> Key<'_> {
    let columns = batch.columns();
    let ours = &columns[columns.len() - OUR_COLUMNS.len()..];
    let text = |column: usize| ours[column].as_string::<i32>().value(row);
    (
        columns[0]
            .as_primitive::<TimestampNanosecondType>()
            .value(row),
        text(0),
        text(1),
        text(2),
        ours[3].as_primitive::<Int64Type>().value(row),
        ours[4].as_primitive::<Int32Type>().value(row),
    )
}

impl Merger<'_> {
    fn write_file(
        &mut self,
        lake: &Lake,
        group: &Group,
        index: usize,
        rows: u64,
    ) -> Result<FileEntry, LakeError> {
        let label = group.label.clone();
        let fingerprint = label.schema.parse().map_err(|_| LakeError::Parquet {
            path: group.folder.clone().into(),
            reason: format!("schema `{}` is not a fingerprint", label.schema),
        })?;
        let name = file_name(lake.last_commit() + 1, index, fingerprint);
        let mut file = FileEntry {
            path: format!("{}/{name}", group.folder),
            site: label.site,
            topic: label.topic,
            schema: label.schema,
            rows: 0,
            bytes: 0,
            sha256: String::new(),
            time_min: i64::MAX,
            time_max: i64::MIN,
        };
        let level = lake.options.compression_level;
        let mut writer = FileWriter::create(&*lake.disk, &file, &self.columns, level)?;
        while file.rows < rows {
            let Some(time) = self.next()? else {
                return Err(LakeError::Parquet {
                    path: group.folder.clone().into(),
                    reason: "its files have fewer rows than they state".into(),
                });
            };
            file.rows += 1;
            file.time_min = file.time_min.min(time);
            file.time_max = file.time_max.max(time);
            if self.picked.len() >= self.picked_max {
                self.flush(&mut writer)?;
            }
        }
        self.flush(&mut writer)?;
        (file.bytes, file.sha256) = writer.finish()?;
        Ok(file)
    }

    /// Picks the next row and tells its time; `None` at the end.
    fn next(&mut self) -> Result<Option<i64>, LakeError> {
        loop {
            let mut least: Option<(usize, Key<'_>)> = None;
            for (index, head) in self.heads.iter().enumerate() {
                let key = key(&self.batches[head.batch], head.row);
                if least.as_ref().is_none_or(|(_, least)| key < *least) {
                    least = Some((index, key));
                }
            }
            let time = least.as_ref().map(|(_, key)| key.0);
            let is_due = |source: &&Source| time.is_none_or(|time| source.time_min <= time);
            if let Some(source) = self.waiting.front().filter(|source| is_due(source)) {
                let head = self.open(source)?;
                self.waiting.pop_front();
                self.heads.extend(head);
                continue;
            }
            let Some((index, _)) = least else {
                return Ok(None);
            };
            let head = &mut self.heads[index];
            self.picked.push((head.batch, head.row));
            head.row += 1;
            if head.row == self.batches[head.batch].num_rows() && !advance(head, &mut self.batches)?
            {
                self.heads.swap_remove(index);
            }
            return Ok(time);
        }
    }

    fn open(&mut self, source: &Source) -> Result<Option<Head>, LakeError> {
        let path = Path::new(&source.path);
        let file = self
            .lake
            .disk
            .open(path)
            .map_err(|error| LakeError::io("open", path, error))?;
        let rows = rows_of(source.decoded_bytes, source.rows);
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)
            .and_then(|builder| builder.with_batch_size(rows).build())
            .map_err(|error| LakeError::Parquet {
                path: path.into(),
                reason: error.to_string(),
            })?;
        let mut head = Head {
            reader,
            path: source.path.clone(),
            batch: 0,
            row: 0,
        };
        Ok(advance(&mut head, &mut self.batches)?.then_some(head))
    }

    /// Writes what is picked; keeps the batches that heads stand in.
    fn flush(&mut self, writer: &mut FileWriter) -> Result<(), LakeError> {
        if self.picked.is_empty() {
            return Ok(());
        }
        let batches: Vec<_> = self.batches.iter().collect();
        let merged = interleave_record_batch(&batches, &self.picked).map_err(|error| {
            LakeError::Parquet {
                path: "merged rows".into(),
                reason: error.to_string(),
            }
        })?;
        writer.write(&merged)?;
        self.picked.clear();
        let mut kept = BTreeMap::new();
        for head in &mut self.heads {
            let next = kept.len();
            head.batch = *kept.entry(head.batch).or_insert(next);
        }
        let mut batches = vec![None; kept.len()];
        for (from, to) in kept {
            batches[to] = Some(self.batches[from].clone());
        }
        self.batches = batches.into_iter().flatten().collect();
        Ok(())
    }
}

/// `false` at the source's end.
fn advance(head: &mut Head, batches: &mut Vec<RecordBatch>) -> Result<bool, LakeError> {
    loop {
        match head.reader.next() {
            None => return Ok(false),
            Some(Ok(batch)) if batch.num_rows() == 0 => {}
            Some(Ok(batch)) => {
                (head.batch, head.row) = (batches.len(), 0);
                batches.push(batch);
                return Ok(true);
            }
            Some(Err(error)) => {
                return Err(LakeError::Parquet {
                    path: head.path.clone().into(),
                    reason: error.to_string(),
                });
            }
        }
    }
}
