//! The readers' side of a file.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use efd_shared_avro::RecordSchema;
use efd_shared_model::schema::SCHEMA_BYTES_MAX;
use efd_shared_model::{Fingerprint, Schema, UtcNanos};
use efd_shared_stats::{Resolution, Summary};
use efd_shared_store::StoreError;
use efd_shared_store::database::{Disk, decompress_schema, sql, unseal, wrong_value};
use rusqlite::{Connection, OptionalExtension};

use super::{Found, Known, Note, Series, SeriesKey, Span, row_key, settled_key};
use crate::channels::Measured;
use crate::piece::{self, Piece, newest, sources};
use crate::statistic::Statistics;

#[derive(Debug)]
pub struct TierReader {
    connection: Connection,
    path: PathBuf,
    span: Span,
}

/// Of [`TierReader::steady`].
#[derive(Debug)]
pub struct Steady<'a>(
    #[expect(dead_code, reason = "held until it is dropped")] rusqlite::Transaction<'a>,
);

impl TierReader {
    /// Of a file that another process may have open, that is at rest, or on a disk that cannot be written.
    pub fn open(path: &Path, disk: &Disk) -> Result<Self, StoreError> {
        let (connection, _) = disk.open_as_possible(path)?;
        Self::new(connection, path)
    }

    pub(super) fn new(connection: Connection, path: &Path) -> Result<Self, StoreError> {
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

    /// As long as it is held all that is read is as of one commit.
    pub fn steady(&self) -> Result<Steady<'_>, StoreError> {
        let transaction = self.connection.unchecked_transaction();
        transaction.map(Steady).map_err(sql("read", &self.path))
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn into_connection(self) -> Connection {
        self.connection
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
        let mut all = self.known(series, &[start])?;
        Ok(all
            .remove(&start)
            .map(|known| known.notes)
            .unwrap_or_default())
    }

    /// Of these windows of a series, those that are there.
    pub fn known(
        &self,
        series: &Series,
        starts: &[UtcNanos],
    ) -> Result<BTreeMap<UtcNanos, Known>, StoreError> {
        let settled = self.settled(series.id, 0, Statistics::NONE)?;
        let pieces = self.pieces_with_commits(series.id, 0, Statistics::NONE)?;
        let mut notes: BTreeMap<u32, Note> = BTreeMap::new();
        let mut all: BTreeMap<UtcNanos, Known> = BTreeMap::new();
        for &start in starts {
            let Some(window) = self.span.window(start) else {
                continue;
            };
            let place = |piece: &Piece| piece.windows.binary_search(&window).ok();
            let mut found = Vec::new();
            if let Some(piece) = &settled
                && let Some(index) = place(piece)
            {
                found.push((piece.origins.get(index).copied(), piece.rows[index]));
            }
            for (commit, piece) in &pieces {
                found.extend(place(piece).map(|index| (Some(*commit), piece.rows[index])));
            }
            for (commit, rows) in found {
                let known = all.entry(start).or_default();
                known.rows = rows;
                if let Some(commit) = commit {
                    let note = match notes.get(&commit) {
                        Some(note) => note.clone(),
                        None => {
                            let note = self.note(commit)?;
                            notes.entry(commit).or_insert(note).clone()
                        }
                    };
                    known.notes.push(note);
                }
            }
        }
        Ok(all)
    }

    fn note(&self, commit: u32) -> Result<Note, StoreError> {
        self.connection
            .prepare_cached("SELECT id, note FROM commits WHERE id = ?1")
            .and_then(|mut statement| statement.query_row([commit], note_of))
            .map_err(sql("read notes", &self.path))
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
