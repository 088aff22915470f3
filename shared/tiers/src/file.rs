//! One file of a tier: a span of time, all series.
//!
//! While its span lasts, a commit adds a row for each series and 128 channels of it, with the few windows that have closed.
//! Once it is over the file is settled: written anew with one row for each channel, all windows in it. Corrections that
//! come later are commits again, and win over what was settled.

mod reader;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use efd_shared_model::bytes::{Reader, Writer};
use efd_shared_model::{Fingerprint, Schema, UtcNanos};
use efd_shared_stats::{Resolution, Summary};
use efd_shared_store::StoreError;
use efd_shared_store::database::{Disk, FileKind, checkpoint, seal, sql, wrong_value};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, params};
use xxhash_rust::xxh3::xxh3_64;

pub use self::reader::{Steady, TierReader};
use crate::channels::{CHANNELS_MAX, Shape};
use crate::column::Packing;
use crate::piece::{self, Piece};
use crate::statistic::Statistics;

pub(crate) const TABLES: &str = "
CREATE TABLE tier (
    one INTEGER PRIMARY KEY CHECK (one = 1), resolution INTEGER NOT NULL, begins INTEGER NOT NULL, ends INTEGER NOT NULL,
    sum INTEGER NOT NULL
) STRICT;
CREATE TABLE schemas (fingerprint BLOB NOT NULL UNIQUE, zstd BLOB NOT NULL) STRICT;
CREATE TABLE series (id INTEGER PRIMARY KEY, declaration BLOB NOT NULL) STRICT;
CREATE TABLE commits (id INTEGER PRIMARY KEY, note BLOB NOT NULL) STRICT;
CREATE TABLE rows (key INTEGER PRIMARY KEY, piece BLOB NOT NULL) STRICT;
CREATE TABLE settled (key INTEGER PRIMARY KEY, piece BLOB NOT NULL) STRICT;
";

/// Of a topic's name.
pub const TOPIC_BYTES_MAX: usize = 1 << 10;
/// Series of a file, each at most once.
const SERIES_MAX: usize = 1 << 20;
const PIECES_MAX: usize = CHANNELS_MAX / piece::CHANNELS_MAX;
const _: () = assert!(
    PIECES_MAX <= 1 << 12,
    "the key of a row has twelve bits for it"
);

/// A row: its commit in the upper half, then 20 bits of series and 12 of piece. One written later has the larger key.
fn row_key(commit: u32, series: u32, piece: usize) -> u64 {
    u64::from(commit) << 32 | u64::from(series) << 12 | piece as u64
}

pub(crate) fn settled_key(series: u32, channel: usize) -> u64 {
    u64::from(series) << 32 | channel as u64
}

/// What a file covers: whole windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub resolution: Resolution,
    pub begin: UtcNanos,
    pub end: UtcNanos,
}

impl Span {
    /// As the file keeps it: XXH3, 64 bits, of the three numbers.
    fn sum(&self) -> i64 {
        let mut out = Writer::new();
        out.i64(self.resolution.nanos());
        out.i64(self.begin.0);
        out.i64(self.end.0);
        xxh3_64(out.as_bytes()) as i64
    }

    /// The window that begins then, counted from the begin of the span.
    pub fn window(&self, start: UtcNanos) -> Option<u32> {
        let is_inside = self.begin <= start && start < self.end;
        let index = start.0.checked_sub(self.begin.0)? / self.resolution.nanos();
        u32::try_from(index).ok().filter(|_| is_inside)
    }

    pub fn start(&self, window: u32) -> UtcNanos {
        UtcNanos(self.begin.0 + i64::from(window) * self.resolution.nanos())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey {
    pub topic: String,
    pub instance: Option<i32>,
    pub schema: Fingerprint,
    pub shape: Shape,
}

impl SeriesKey {
    /// Names it in few bytes: XXH3, 64 bits.
    pub fn digest(&self) -> u64 {
        xxh3_64(&self.encode())
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.text(&self.topic);
        out.u8(u8::from(self.instance.is_some()));
        out.i32(self.instance.unwrap_or_default());
        out.raw(&self.schema.0);
        out.varint(self.shape.0.len() as u64);
        for &elements in &self.shape.0 {
            out.varint(elements.into());
        }
        out.into_bytes()
    }

    fn decode(bytes: &[u8]) -> Result<Self, efd_shared_model::bytes::ByteError> {
        let mut reader = Reader::new(bytes);
        let topic = reader.text("topic", TOPIC_BYTES_MAX)?.to_owned();
        let has_instance = reader.u8()? != 0;
        let instance = Some(reader.i32()?).filter(|_| has_instance);
        let schema = Fingerprint(reader.array()?);
        let fields = reader.count("fields", CHANNELS_MAX)?;
        let elements = (0..fields).map(|_| reader.count("elements", CHANNELS_MAX));
        let shape = elements
            .map(|elements| elements.map(|it| it as u32))
            .collect::<Result<_, _>>()?;
        let shape = Shape(shape);
        if CHANNELS_MAX < shape.channels() {
            return Err(reader.invalid("number of channels"));
        }
        reader.finish()?;
        Ok(Self {
            topic,
            instance,
            schema,
            shape,
        })
    }
}

/// A series of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    pub id: u32,
    pub key: SeriesKey,
}

/// Windows of one series that are to be committed together.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    pub series: &'a SeriesKey,
    pub schema: &'a Schema,
    /// Starts of windows, ascending, all in the span of the file.
    pub starts: &'a [UtcNanos],
    /// Samples in each.
    pub rows: &'a [u64],
    /// Of each channel, its windows one after the other.
    pub summaries: &'a [Summary],
    pub kept: Statistics,
}

/// What whoever commits wants to be told of a commit later: at most a few KiB.
pub type Note = Vec<u8>;

/// What is told of a window without its statistics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Samples in it.
    pub rows: u64,
    /// Of the commits that it came with, the newest last.
    pub notes: Vec<Note>,
}

/// Windows of a channel, by the begin of each, and a column of each wanted statistic that is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    pub starts: Vec<UtcNanos>,
    pub rows: Vec<u64>,
    /// In the order of [`crate::Statistic::ALL`], those wanted; NaN where a window has none.
    pub columns: Vec<Vec<f64>>,
}

/// The writer's side of a file.
#[derive(Debug)]
pub struct TierFile {
    connection: Connection,
    path: PathBuf,
    span: Span,
    series: HashMap<SeriesKey, u32>,
    commit: u32,
}

impl TierFile {
    /// Opens the file, which is made where it is not there.
    pub fn open(path: &Path, span: Span, disk: &Disk) -> Result<Self, StoreError> {
        if !path.exists() {
            let row = format!(
                "INSERT INTO tier VALUES (1, {}, {}, {}, {});",
                span.resolution.nanos(),
                span.begin.0,
                span.end.0,
                span.sum()
            );
            disk.create(path, FileKind::Tier, &format!("{TABLES}{row}"))?;
        }
        let connection = disk.open_writer(path)?;
        let reader = TierReader::new(connection, path)?;
        if reader.span() != span {
            return Err(StoreError::Damaged {
                path: path.to_owned(),
                reason: format!("it covers {:?}, not {span:?}", reader.span()),
            });
        }
        let all = reader.series()?;
        let last: Option<u32> = reader
            .connection()
            .query_row("SELECT max(id) FROM commits", [], |row| row.get(0))
            .map_err(sql("read commits", path))?;
        Ok(Self {
            connection: reader.into_connection(),
            path: path.to_owned(),
            span,
            series: all.into_iter().map(|it| (it.key, it.id)).collect(),
            commit: last.unwrap_or(0),
        })
    }

    pub fn span(&self) -> Span {
        self.span
    }

    /// All of it, durably, or nothing.
    pub fn commit(&mut self, runs: &[Run<'_>], note: &Note) -> Result<(), StoreError> {
        let path = self.path.clone();
        let wrong = sql("commit", &path);
        let id = self.commit + 1;
        let mut added = Vec::new();
        let transaction = self.connection.unchecked_transaction().map_err(&wrong)?;
        for run in runs {
            let known = self.series.get(run.series).copied();
            let series = match known {
                Some(series) => series,
                None => {
                    let count = self.series.len() + added.len();
                    if SERIES_MAX <= count {
                        return Err(StoreError::TooLarge {
                            what: "series of a tier's file",
                            found: count + 1,
                            max: SERIES_MAX,
                        });
                    }
                    let series = count as u32;
                    put_series(&transaction, series, run).map_err(&wrong)?;
                    added.push((run.series.clone(), series));
                    series
                }
            };
            put_run(&transaction, &self.span, id, series, run).map_err(&wrong)?;
        }
        transaction
            .prepare_cached("INSERT INTO commits VALUES (?1, ?2)")
            .and_then(|mut put| put.execute(params![id, seal(&[&id.to_le_bytes()], note)]))
            .map_err(&wrong)?;
        transaction.commit().map_err(&wrong)?;
        self.series.extend(added);
        self.commit = id;
        Ok(())
    }

    /// Copies the WAL, where nobody reads.
    pub fn maintain(&self) -> Result<(), StoreError> {
        checkpoint(&self.connection, "PASSIVE")
            .map(drop)
            .map_err(sql("checkpoint", &self.path))
    }

    /// Leaves one file behind, if nobody else has it open.
    pub fn close(self) -> Result<(), StoreError> {
        close(self.connection, &self.path)
    }
}

pub(crate) fn close(connection: Connection, path: &Path) -> Result<(), StoreError> {
    let wrong = sql("close", path);
    checkpoint(&connection, "TRUNCATE").map_err(&wrong)?;
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
        .map_err(&wrong)?;
    connection.close().map_err(|(_, error)| wrong(error))
}

fn put_series(connection: &Connection, id: u32, run: &Run<'_>) -> rusqlite::Result<()> {
    let text = zstd::bulk::compress(run.schema.text().as_bytes(), 3)
        .map_err(|error| wrong_value(error.to_string()))?;
    connection
        .prepare_cached("INSERT OR IGNORE INTO schemas VALUES (?1, ?2)")?
        .execute(params![run.series.schema.0, text])?;
    let declaration = seal(&[&id.to_le_bytes()], &run.series.encode());
    connection
        .prepare_cached("INSERT INTO series VALUES (?1, ?2)")?
        .execute(params![id, declaration])?;
    Ok(())
}

fn put_run(
    connection: &Connection,
    span: &Span,
    commit: u32,
    series: u32,
    run: &Run<'_>,
) -> rusqlite::Result<()> {
    let windows: Option<Vec<u32>> = run.starts.iter().map(|&start| span.window(start)).collect();
    let windows = windows.ok_or_else(|| wrong_value("a window outside of its file"))?;
    let mut put = connection.prepare_cached("INSERT INTO rows VALUES (?1, ?2)")?;
    let pieces = run.summaries.chunks(piece::CHANNELS_MAX * windows.len());
    for (index, summaries) in pieces.enumerate() {
        let piece = Piece::new(windows.clone(), run.rows.to_vec(), summaries, run.kept);
        let key = row_key(commit, series, index);
        let bytes = piece.encode(key, Packing::Quick).map_err(wrong_value)?;
        put.execute(params![key as i64, bytes])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
