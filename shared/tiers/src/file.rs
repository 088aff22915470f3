//! One file of a tier: a span of time, all series.
//!
//! While its span lasts, a commit adds a row for each series and 128 channels of it, with the few windows that have closed.
//! Once it is over the file is settled: written anew with one row for each channel, all windows in it. Corrections that
//! come later are commits again, and win over what was settled.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};

use efd_shared_avro::RecordSchema;
use efd_shared_model::bytes::{Reader, Writer};
use efd_shared_model::schema::SCHEMA_BYTES_MAX;
use efd_shared_model::{Fingerprint, Schema, UtcNanos};
use efd_shared_stats::{Resolution, Summary};
use efd_shared_store::StoreError;
use efd_shared_store::database::{
    Disk, FileKind, checkpoint, decompress_schema, seal, sql, unseal, wrong_value,
};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, params};
use xxhash_rust::xxh3::xxh3_64;

use crate::channels::{CHANNELS_MAX, Measured, Shape};
use crate::piece::{self, Piece, newest, sources};
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
        if reader.span != span {
            return Err(StoreError::Damaged {
                path: path.to_owned(),
                reason: format!("it covers {:?}, not {span:?}", reader.span),
            });
        }
        let all = reader.series()?;
        let last: Option<u32> = reader
            .connection
            .query_row("SELECT max(id) FROM commits", [], |row| row.get(0))
            .map_err(sql("read commits", path))?;
        Ok(Self {
            connection: reader.connection,
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
        let bytes = piece.encode(key, 1).map_err(wrong_value)?;
        put.execute(params![key as i64, bytes])?;
    }
    Ok(())
}

/// The readers' side.
#[derive(Debug)]
pub struct TierReader {
    connection: Connection,
    path: PathBuf,
    span: Span,
}

impl TierReader {
    /// Of a file that another process may have open, that is at rest, or on a disk that cannot be written.
    pub fn open(path: &Path, disk: &Disk) -> Result<Self, StoreError> {
        let (connection, _) = disk.open_as_possible(path)?;
        Self::new(connection, path)
    }

    fn new(connection: Connection, path: &Path) -> Result<Self, StoreError> {
        let row =
            |row: &rusqlite::Row<'_>| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]);
        let [resolution, begin, end, sum] = connection
            .query_row("SELECT resolution, begins, ends, sum FROM tier", [], row)
            .map_err(sql("read", path))?;
        let damaged = |reason: String| StoreError::Damaged {
            path: path.to_owned(),
            reason,
        };
        let resolution = Resolution::from_nanos(resolution);
        let span = Span {
            resolution: resolution.map_err(|error| damaged(error.to_string()))?,
            begin: UtcNanos(begin),
            end: UtcNanos(end),
        };
        if span.sum() != sum {
            return Err(damaged("the checksum of its span is wrong".into()));
        }
        Ok(Self {
            connection,
            path: path.to_owned(),
            span,
        })
    }

    pub fn span(&self) -> Span {
        self.span
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// In the order in which they came.
    pub fn series(&self) -> Result<Vec<Series>, StoreError> {
        let read = || -> rusqlite::Result<_> {
            let mut statement = self
                .connection
                .prepare_cached("SELECT id, declaration FROM series ORDER BY id")?;
            let rows = statement.query_map([], |row| {
                let (id, sealed): (u32, Vec<u8>) = (row.get(0)?, row.get(1)?);
                let declaration = unseal(&[&id.to_le_bytes()], &sealed)?;
                let key = SeriesKey::decode(declaration).map_err(wrong_value)?;
                Ok(Series { id, key })
            })?;
            rows.collect()
        };
        read().map_err(sql("read series", &self.path))
    }

    /// Those of one topic: its other instances, schemas and shapes.
    pub fn series_of(&self, topic: &str) -> Result<Vec<Series>, StoreError> {
        let mut all = self.series()?;
        all.retain(|series| series.key.topic == topic);
        Ok(all)
    }

    /// `None` if it is not here.
    pub fn schema(&self, fingerprint: &Fingerprint) -> Result<Option<Schema>, StoreError> {
        let read = || -> rusqlite::Result<_> {
            let zstd: Option<Vec<u8>> = self
                .connection
                .prepare_cached("SELECT zstd FROM schemas WHERE fingerprint = ?1")?
                .query_row([fingerprint.0], |row| row.get(0))
                .optional()?;
            zstd.map(|zstd| decompress_schema(fingerprint, &zstd, SCHEMA_BYTES_MAX))
                .transpose()
        };
        read().map_err(sql("read schema", &self.path))
    }

    /// What was measured of that schema.
    pub fn measured(&self, fingerprint: &Fingerprint) -> Result<Option<Measured>, StoreError> {
        let Some(schema) = self.schema(fingerprint)? else {
            return Ok(None);
        };
        let parsed = RecordSchema::parse(schema.text()).map_err(|error| StoreError::Damaged {
            path: self.path.clone(),
            reason: error.to_string(),
        })?;
        Ok(Some(Measured::new(parsed.into())))
    }

    /// Whether it has been written anew since its span was over.
    pub fn is_settled(&self) -> Result<bool, StoreError> {
        self.connection
            .query_row("SELECT EXISTS (SELECT 1 FROM settled)", [], |row| {
                row.get(0)
            })
            .map_err(sql("read", &self.path))
    }

    /// The start of the newest window of each series.
    pub fn newest(&self) -> Result<BTreeMap<u32, UtcNanos>, StoreError> {
        let read = || -> rusqlite::Result<BTreeMap<u32, UtcNanos>> {
            let mut all = BTreeMap::new();
            // Of each series the first piece, or the first channel.
            let firsts = [
                (
                    "SELECT key, piece FROM rows WHERE key & 4095 = 0",
                    12,
                    0xf_ffff,
                ),
                (
                    "SELECT key, piece FROM settled WHERE key & 4294967295 = 0",
                    32,
                    u64::MAX,
                ),
            ];
            for (text, shift, mask) in firsts {
                let mut statement = self.connection.prepare_cached(text)?;
                let mut rows = statement.query([])?;
                while let Some(row) = rows.next()? {
                    let key = row.get::<_, i64>(0)? as u64;
                    let piece = Piece::decode(row.get_ref(1)?.as_blob()?, key, Statistics::NONE);
                    let piece = piece.map_err(wrong_value)?;
                    if let Some(&last) = piece.windows.last() {
                        let newest = all
                            .entry((key >> shift & mask) as u32)
                            .or_insert(UtcNanos(i64::MIN));
                        *newest = self.span.start(last).max(*newest);
                    }
                }
            }
            Ok(all)
        };
        read().map_err(sql("read windows", &self.path))
    }

    /// The start of the oldest window of its first commit, or of those that were settled; `None` of none.
    pub fn oldest(&self) -> Result<Option<UtcNanos>, StoreError> {
        let read = || -> rusqlite::Result<Option<u32>> {
            let firsts = [
                "SELECT key, piece FROM settled WHERE key & 4294967295 = 0",
                "SELECT key, piece FROM rows WHERE key & 4095 = 0 AND key >> 32 = (SELECT min(key) FROM rows) >> 32",
            ];
            let mut oldest: Option<u32> = None;
            for text in firsts {
                let mut statement = self.connection.prepare_cached(text)?;
                let mut rows = statement.query([])?;
                while let Some(row) = rows.next()? {
                    let key = row.get::<_, i64>(0)? as u64;
                    let piece = Piece::decode(row.get_ref(1)?.as_blob()?, key, Statistics::NONE);
                    let piece = piece.map_err(wrong_value)?;
                    let first = piece.windows.first().copied();
                    oldest = oldest.into_iter().chain(first).min();
                }
            }
            Ok(oldest)
        };
        let oldest = read().map_err(sql("read windows", &self.path))?;
        Ok(oldest.map(|window| self.span.start(window)))
    }

    /// The notes of the commits that this window came with, the newest last; empty if it is not there.
    pub fn notes_of(&self, series: &Series, start: UtcNanos) -> Result<Vec<Note>, StoreError> {
        let Some(window) = self.span.window(start) else {
            return Ok(Vec::new());
        };
        let has_it = |piece: &Piece| piece.windows.binary_search(&window);
        let mut commits = Vec::new();
        if let Some(piece) = self.settled(series.id, 0, Statistics::NONE)?
            && let Ok(index) = has_it(&piece)
        {
            commits.extend(piece.origins.get(index));
        }
        for (commit, piece) in self.pieces_with_commits(series.id, 0, Statistics::NONE)? {
            if has_it(&piece).is_ok() {
                commits.push(commit);
            }
        }
        let read = || -> rusqlite::Result<_> {
            let mut statement = self
                .connection
                .prepare_cached("SELECT id, note FROM commits WHERE id = ?1")?;
            let notes = commits
                .iter()
                .map(|commit| statement.query_row([commit], note_of));
            notes.collect()
        };
        read().map_err(sql("read notes", &self.path))
    }

    /// The notes of all commits, in their order.
    pub fn notes(&self) -> Result<Vec<Note>, StoreError> {
        let read = || -> rusqlite::Result<_> {
            let mut statement = self
                .connection
                .prepare_cached("SELECT id, note FROM commits ORDER BY id")?;
            let rows = statement.query_map([], note_of)?;
            rows.collect()
        };
        read().map_err(sql("read notes", &self.path))
    }

    /// Windows of some channels that begin in `from..until`: for each channel what is there of `wanted`.
    pub fn read(
        &self,
        series: &Series,
        channels: Range<usize>,
        wanted: Statistics,
        times: Range<UtcNanos>,
    ) -> Result<Vec<Found>, StoreError> {
        let channels = channels.start..channels.end.min(series.key.shape.channels());
        let mut all: Vec<Found> = Vec::new();
        let mut at = channels.start;
        while at < channels.end {
            let number = at / piece::CHANNELS_MAX;
            let through = channels.end.min((number + 1) * piece::CHANNELS_MAX);
            let first = number * piece::CHANNELS_MAX;
            let rows = self.pieces(series.id, number, wanted)?;
            for channel in at..through {
                let settled = self.settled(series.id, channel, wanted)?;
                let sources = sources(settled.as_ref(), &rows, channel - first);
                all.push(found(&self.span, sources, wanted, &times));
            }
            at = through;
        }
        Ok(all)
    }

    /// Windows of a series that begin in `times`, whole: start, samples, and a summary of each channel.
    pub fn windows(
        &self,
        series: &Series,
        times: Range<UtcNanos>,
    ) -> Result<BTreeMap<UtcNanos, (u64, Vec<Summary>)>, StoreError> {
        let mut all: BTreeMap<UtcNanos, (u64, Vec<Summary>)> = BTreeMap::new();
        let channels = series.key.shape.channels();
        for number in 0..channels.div_ceil(piece::CHANNELS_MAX) {
            let first = number * piece::CHANNELS_MAX;
            let rows = self.pieces(series.id, number, Statistics::ALL)?;
            for channel in first..channels.min(first + piece::CHANNELS_MAX) {
                let settled = self.settled(series.id, channel, Statistics::ALL)?;
                let sources = sources(settled.as_ref(), &rows, channel - first);
                let channel_number = channel;
                for (window, (piece, channel, index)) in newest(sources) {
                    let start = self.span.start(window);
                    if times.contains(&start) {
                        let (rows, summaries) = all.entry(start).or_default();
                        if summaries.len() != channel_number {
                            return Err(StoreError::Damaged {
                                path: self.path.clone(),
                                reason: format!("{start} of {} lacks channels", series.key.topic),
                            });
                        }
                        *rows = piece.rows[index];
                        summaries.push(piece.summary(channel, index));
                    }
                }
            }
        }
        Ok(all)
    }

    /// Of every commit that has any of it, oldest first.
    pub(crate) fn pieces(
        &self,
        series: u32,
        number: usize,
        wanted: Statistics,
    ) -> Result<Vec<Piece>, StoreError> {
        let all = self.pieces_with_commits(series, number, wanted)?;
        Ok(all.into_iter().map(|(_, piece)| piece).collect())
    }

    pub(crate) fn pieces_with_commits(
        &self,
        series: u32,
        number: usize,
        wanted: Statistics,
    ) -> Result<Vec<(u32, Piece)>, StoreError> {
        let read = || -> rusqlite::Result<_> {
            // Each by itself is a look at one end.
            let first =
                "SELECT (SELECT min(key) FROM rows) >> 32, (SELECT max(key) FROM rows) >> 32";
            let [first, last]: [Option<u32>; 2] = self
                .connection
                .prepare_cached(first)?
                .query_row([], |row| Ok([row.get(0)?, row.get(1)?]))?;
            let mut statement = self
                .connection
                .prepare_cached("SELECT piece FROM rows WHERE key = ?1")?;
            let mut all = Vec::new();
            for commit in first.unwrap_or(1)..=last.unwrap_or(0) {
                let key = row_key(commit, series, number);
                let piece = statement
                    .query_row([key as i64], |row| decode(row, key, wanted))
                    .optional()?;
                all.extend(piece.map(|piece| (commit, piece)));
            }
            Ok(all)
        };
        read().map_err(sql("read windows", &self.path))
    }

    pub(crate) fn settled(
        &self,
        series: u32,
        channel: usize,
        wanted: Statistics,
    ) -> Result<Option<Piece>, StoreError> {
        let key = settled_key(series, channel);
        self.connection
            .prepare_cached("SELECT piece FROM settled WHERE key = ?1")
            .and_then(|mut statement| {
                statement
                    .query_row([key as i64], |row| decode(row, key, wanted))
                    .optional()
            })
            .map_err(sql("read windows", &self.path))
    }
}

fn note_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Note> {
    let (id, sealed): (u32, Vec<u8>) = (row.get(0)?, row.get(1)?);
    unseal(&[&id.to_le_bytes()], &sealed).map(<[u8]>::to_vec)
}

fn decode(row: &rusqlite::Row<'_>, key: u64, wanted: Statistics) -> rusqlite::Result<Piece> {
    let bytes = row.get_ref(0)?.as_blob()?;
    Piece::decode(bytes, key, wanted).map_err(wrong_value)
}

fn found<'a>(
    span: &Span,
    sources: impl Iterator<Item = (&'a Piece, usize)>,
    wanted: Statistics,
    times: &Range<UtcNanos>,
) -> Found {
    let statistics: Vec<_> = crate::Statistic::ALL
        .into_iter()
        .filter(|&one| wanted.has(one))
        .collect();
    let mut found = Found {
        columns: vec![Vec::new(); statistics.len()],
        ..Found::default()
    };
    for (window, (piece, channel, index)) in newest(sources) {
        let start = span.start(window);
        if !times.contains(&start) {
            continue;
        }
        found.starts.push(start);
        found.rows.push(piece.rows[index]);
        for (column, &statistic) in found.columns.iter_mut().zip(&statistics) {
            let values = piece.column(statistic, channel);
            column.push(values.map_or(f64::NAN, |values| values[index]));
        }
    }
    found
}

#[cfg(test)]
mod tests;
