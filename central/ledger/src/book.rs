//! The book on disk: one SQLite file. Everything of a commit is one transaction.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use efd_central_log::{Partition, Place, Progress};
use efd_shared_model::digest::Tally;
use efd_shared_model::{Committed, EpochLane, Site, TopicKind, UtcNanos};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, params};

use crate::numbers::{Mark, Run, Runs, Span};
use crate::series::{LaneNumber, PublisherKey, PublisherNumber, SeriesNumber};
use crate::{Hour, LedgerError, compare};

const VERSION: i64 = 2;
const FILE: &str = "ledger.db";
pub(crate) const RETIRED_THROUGH: &str = "retired_through";
const BUSY: std::time::Duration = std::time::Duration::from_secs(10);

const SCHEMA: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
-- A topic of a site. kind: TopicKind.
CREATE TABLE series (id INTEGER PRIMARY KEY, site TEXT NOT NULL, topic TEXT NOT NULL, kind INTEGER NOT NULL, UNIQUE (site, topic));
-- Records by the hour of their event time; digest: wrapping sum of the digests of their identities.
CREATE TABLE hours (series INTEGER NOT NULL, hour INTEGER NOT NULL, records INTEGER NOT NULL, digest INTEGER NOT NULL,
    PRIMARY KEY (series, hour)) WITHOUT ROWID;
-- Whoever numbers its samples.
CREATE TABLE publishers (id INTEGER PRIMARY KEY, series INTEGER NOT NULL, instance INTEGER NOT NULL, identity TEXT NOT NULL,
    origin INTEGER NOT NULL, UNIQUE (series, instance, identity, origin));
CREATE TABLE runs (publisher INTEGER NOT NULL, run INTEGER NOT NULL, first INTEGER NOT NULL, first_utc INTEGER NOT NULL,
    last INTEGER NOT NULL, last_utc INTEGER NOT NULL, PRIMARY KEY (publisher, run)) WITHOUT ROWID;
CREATE TABLE spans (publisher INTEGER NOT NULL, run INTEGER NOT NULL, hour INTEGER NOT NULL, first INTEGER NOT NULL,
    last INTEGER NOT NULL, records INTEGER NOT NULL, PRIMARY KEY (publisher, run, hour)) WITHOUT ROWID;
-- Losses of numbered samples.
CREATE TABLE number_losses (id INTEGER PRIMARY KEY, publisher INTEGER NOT NULL, reason TEXT NOT NULL, first INTEGER NOT NULL,
    last INTEGER NOT NULL, count INTEGER NOT NULL, until_utc INTEGER NOT NULL);
CREATE INDEX number_losses_by_publisher ON number_losses (publisher);
-- Losses of blocks: epoch and lane in their text form.
CREATE TABLE block_losses (id INTEGER PRIMARY KEY, site TEXT NOT NULL, edge TEXT NOT NULL, epoch TEXT NOT NULL, lane TEXT NOT NULL,
    reason TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, count INTEGER NOT NULL, from_utc INTEGER NOT NULL,
    until_utc INTEGER NOT NULL, UNIQUE (edge, epoch, lane, reason, first, last));
-- All others, summed; topic may be empty. uncounted: losses whose count nobody can tell.
CREATE TABLE other_losses (site TEXT NOT NULL, topic TEXT NOT NULL, hour INTEGER NOT NULL, reason TEXT NOT NULL,
    losses INTEGER NOT NULL, samples INTEGER NOT NULL, uncounted INTEGER NOT NULL, PRIMARY KEY (site, topic, hour, reason)) WITHOUT ROWID;
-- Which block stands where in the log, as far back as the log goes.
CREATE TABLE lanes (id INTEGER PRIMARY KEY, lane TEXT NOT NULL UNIQUE, site TEXT NOT NULL);
CREATE TABLE blocks (partition TEXT NOT NULL, place INTEGER NOT NULL, lane INTEGER NOT NULL, number INTEGER NOT NULL,
    records INTEGER NOT NULL, sealed_utc INTEGER NOT NULL, taken_utc INTEGER NOT NULL, event_min INTEGER NOT NULL, event_max INTEGER NOT NULL,
    digest INTEGER, PRIMARY KEY (partition, place)) WITHOUT ROWID;
CREATE INDEX blocks_by_number ON blocks (lane, number);
";

/// With the tables, or after them in a book of version 1, which did not know statements.
const STATEMENTS: &str = "
-- What edges say they have committed; lane: with edge and epoch, datum: as it came.
CREATE TABLE committed (lane TEXT NOT NULL, first INTEGER NOT NULL, standing TEXT NOT NULL, datum BLOB NOT NULL,
    PRIMARY KEY (lane, first)) WITHOUT ROWID;
CREATE INDEX committed_by_standing ON committed (standing);
";

/// For whoever asks: never changes anything.
#[derive(Debug)]
pub struct Book {
    pub(crate) connection: Connection,
    file: PathBuf,
}

/// What one commit adds.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) hours: BTreeMap<(SeriesNumber, Hour), Tally>,
    pub(crate) runs: BTreeMap<(PublisherNumber, usize), Run>,
    pub(crate) spans: BTreeMap<(PublisherNumber, usize, Hour), Span>,
    pub(crate) number_losses: Vec<NumberLoss>,
    pub(crate) block_losses: Vec<BlockLoss>,
    pub(crate) other_losses: BTreeMap<OtherKey, Other>,
    pub(crate) blocks: Vec<BlockRow>,
    pub(crate) series: Vec<(SeriesNumber, Site, String, TopicKind)>,
    pub(crate) publishers: Vec<(PublisherNumber, PublisherKey)>,
    pub(crate) lanes: Vec<(LaneNumber, EpochLane, Site)>,
    pub(crate) committed: Vec<Committed>,
}

#[derive(Debug, Clone)]
pub(crate) struct NumberLoss {
    pub(crate) publisher: PublisherNumber,
    pub(crate) reason: &'static str,
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) count: i64,
    pub(crate) until: UtcNanos,
}

#[derive(Debug, Clone)]
pub(crate) struct BlockLoss {
    pub(crate) site: String,
    /// Edge, epoch and lane as text.
    pub(crate) lane: (String, String, String),
    pub(crate) reason: String,
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) count: i64,
    pub(crate) from: UtcNanos,
    pub(crate) until: UtcNanos,
}

/// Site, topic, hour, reason.
pub(crate) type OtherKey = (String, String, Hour, &'static str);

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Other {
    pub(crate) losses: u64,
    pub(crate) samples: u64,
    pub(crate) uncounted: u64,
}

/// A block in the log.
#[derive(Debug, Clone)]
pub(crate) struct BlockRow {
    pub(crate) partition: String,
    pub(crate) place: u64,
    pub(crate) lane: LaneNumber,
    pub(crate) number: u64,
    pub(crate) records: u32,
    pub(crate) sealed: UtcNanos,
    pub(crate) taken: UtcNanos,
    pub(crate) event: (UtcNanos, UtcNanos),
    /// Of its records' identities.
    pub(crate) digest: u64,
}

/// What a ledger begins with.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    pub(crate) progress: Progress,
    pub(crate) series: BTreeMap<(Site, String), SeriesNumber>,
    pub(crate) publishers: BTreeMap<PublisherKey, (PublisherNumber, Runs)>,
    pub(crate) lanes: BTreeMap<EpochLane, LaneNumber>,
}

fn signed(number: u64) -> i64 {
    number.cast_signed()
}

impl Book {
    pub fn file_in(folder: &Path) -> PathBuf {
        folder.join(FILE)
    }

    /// Makes it where there is none.
    pub(crate) fn create(folder: &Path) -> Result<Self, LedgerError> {
        std::fs::create_dir_all(folder).map_err(|source| LedgerError::Folder {
            folder: folder.to_owned(),
            source,
        })?;
        let file = Self::file_in(folder);
        let connection = Connection::open(&file).map_err(sqlite("open the book", &file))?;
        let mut book = Self { connection, file };
        book.prepare()?;
        Ok(book)
    }

    /// Beside the one who writes it.
    pub fn open(folder: &Path) -> Result<Self, LedgerError> {
        let file = Self::file_in(folder);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&file, flags)
            .and_then(|connection| connection.busy_timeout(BUSY).map(|()| connection))
            .map_err(sqlite("open the book", &file))?;
        Ok(Self { connection, file })
    }

    fn prepare(&mut self) -> Result<(), LedgerError> {
        let wrong = sqlite("prepare the book", &self.file);
        self.connection.busy_timeout(BUSY).map_err(&wrong)?;
        // What a power cut takes is counted again: progress stands in the same transaction.
        self.connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")
            .map_err(&wrong)?;
        let version = "PRAGMA user_version";
        let found: i64 = self
            .connection
            .query_row(version, [], |row| row.get(0))
            .map_err(&wrong)?;
        match found {
            VERSION => Ok(()),
            0 | 1 => {
                let transaction = self.connection.transaction().map_err(&wrong)?;
                let tables = match found {
                    0 => SCHEMA,
                    _ => "ALTER TABLE blocks ADD COLUMN digest INTEGER",
                };
                for change in [tables, STATEMENTS] {
                    transaction.execute_batch(change).map_err(&wrong)?;
                }
                transaction
                    .pragma_update(None, "user_version", VERSION)
                    .map_err(&wrong)?;
                transaction.commit().map_err(&wrong)
            }
            found => Err(LedgerError::TooNew {
                file: self.file.clone(),
                found,
                max: VERSION,
            }),
        }
    }

    pub(crate) fn wrong(
        &self,
        action: &'static str,
    ) -> impl Fn(rusqlite::Error) -> LedgerError + use<> {
        sqlite(action, &self.file)
    }

    pub(crate) fn damaged(&self, what: &dyn std::fmt::Display) -> LedgerError {
        LedgerError::Damaged {
            file: self.file.clone(),
            what: what.to_string(),
        }
    }

    pub fn progress(&self) -> Result<Progress, LedgerError> {
        let Some(text) = self.note("progress")? else {
            return Ok(Progress::default());
        };
        let value = serde_json::from_str(&text).map_err(|error| self.damaged(&error))?;
        Progress::from_json(&value).map_err(|error| self.damaged(&error))
    }

    pub(crate) fn note(&self, key: &str) -> Result<Option<String>, LedgerError> {
        self.connection
            .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| {
                row.get(0)
            })
            .optional()
            .map_err(self.wrong("read a note"))
    }

    pub(crate) fn load(&self) -> Result<Opened, LedgerError> {
        let wrong = self.wrong("read the book");
        let mut opened = Opened {
            progress: self.progress()?,
            ..Opened::default()
        };
        let site = |text: String| text.parse::<Site>().map_err(|error| self.damaged(&error));
        let connection = &self.connection;
        let mut statement = connection
            .prepare("SELECT id, site, topic FROM series")
            .map_err(&wrong)?;
        let mut rows = statement.query([]).map_err(&wrong)?;
        while let Some(row) = rows.next().map_err(&wrong)? {
            let read = || Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?));
            let (id, name, topic) = read().map_err(&wrong)?;
            opened.series.insert((site(name)?, topic), SeriesNumber(id));
        }
        let mut runs: BTreeMap<i64, Vec<Run>> = BTreeMap::new();
        let mut statement = connection
            .prepare("SELECT publisher, first, first_utc, last, last_utc FROM runs ORDER BY publisher, run")
            .map_err(&wrong)?;
        let mut rows = statement.query([]).map_err(&wrong)?;
        while let Some(row) = rows.next().map_err(&wrong)? {
            let (publisher, run) = read_run(row).map_err(&wrong)?;
            runs.entry(publisher).or_default().push(run);
        }
        let mut statement = connection
            .prepare("SELECT id, series, instance, identity, origin FROM publishers")
            .map_err(&wrong)?;
        let mut rows = statement.query([]).map_err(&wrong)?;
        while let Some(row) = rows.next().map_err(&wrong)? {
            let (id, key) = read_publisher(row).map_err(&wrong)?;
            let runs = Runs::from_iter(runs.remove(&id).unwrap_or_default());
            opened.publishers.insert(key, (PublisherNumber(id), runs));
        }
        let mut statement = connection
            .prepare("SELECT id, lane FROM lanes")
            .map_err(&wrong)?;
        let mut rows = statement.query([]).map_err(&wrong)?;
        while let Some(row) = rows.next().map_err(&wrong)? {
            let read = || Ok((row.get(0)?, row.get::<_, String>(1)?));
            let (id, text) = read().map_err(&wrong)?;
            let lane = text.parse().map_err(|error| self.damaged(&error))?;
            opened.lanes.insert(lane, LaneNumber(id));
        }
        Ok(opened)
    }

    /// All of the page, and how far the ledger is with it.
    pub(crate) fn commit(&mut self, page: &Page, progress: &Progress) -> Result<(), LedgerError> {
        let wrong = self.wrong("write a page");
        let transaction = self.connection.transaction().map_err(&wrong)?;
        write(&transaction, page).map_err(&wrong)?;
        let progress = progress.to_json().to_string();
        transaction
            .prepare_cached("INSERT OR REPLACE INTO meta VALUES ('progress', ?1)")
            .and_then(|mut statement| statement.execute([progress]))
            .map_err(&wrong)?;
        transaction.commit().map_err(&wrong)
    }

    /// Blocks that the log does not hold any more, and how late their records were.
    pub(crate) fn forget_blocks(
        &mut self,
        partition: &Partition,
        before: Place,
    ) -> Result<(), LedgerError> {
        let wrong = self.wrong("forget old blocks");
        let known = self.note(RETIRED_THROUGH)?;
        let known: Option<i64> = known.and_then(|text| text.parse().ok());
        let transaction = self.connection.transaction().map_err(&wrong)?;
        let of_them = params![partition.to_string(), signed(before.0)];
        let latest: Option<i64> = transaction
            .query_row(
                "SELECT max(event_max) FROM blocks WHERE partition = ?1 AND place < ?2",
                of_them,
                |row| row.get(0),
            )
            .map_err(&wrong)?;
        if let Some(latest) = latest.max(known).filter(|_| latest.is_some()) {
            let write = "INSERT OR REPLACE INTO meta VALUES (?1, ?2)";
            transaction
                .execute(write, params![RETIRED_THROUGH, latest.to_string()])
                .map_err(&wrong)?;
            let remove = "DELETE FROM blocks WHERE partition = ?1 AND place < ?2";
            transaction.execute(remove, of_them).map_err(&wrong)?;
        }
        transaction.commit().map_err(&wrong)
    }
}

fn sqlite(action: &'static str, file: &Path) -> impl Fn(rusqlite::Error) -> LedgerError + use<> {
    let file = file.to_owned();
    move |source| LedgerError::Sqlite {
        action,
        file: file.clone(),
        source,
    }
}

fn read_run(row: &rusqlite::Row<'_>) -> rusqlite::Result<(i64, Run)> {
    let mark = |number, time| {
        Ok::<_, rusqlite::Error>(Mark {
            number: row.get(number)?,
            time: UtcNanos(row.get(time)?),
        })
    };
    let (first, last) = (mark(1, 2)?, mark(3, 4)?);
    Ok((row.get(0)?, Run { first, last }))
}

fn read_publisher(row: &rusqlite::Row<'_>) -> rusqlite::Result<(i64, PublisherKey)> {
    let key = PublisherKey {
        series: SeriesNumber(row.get(1)?),
        instance: row.get(2)?,
        identity: row.get(3)?,
        origin: row.get(4)?,
    };
    Ok((row.get(0)?, key))
}

fn write(transaction: &Transaction<'_>, page: &Page) -> rusqlite::Result<()> {
    let Page {
        hours,
        runs,
        spans,
        number_losses,
        block_losses,
        other_losses,
        blocks,
        series,
        publishers,
        lanes,
        committed,
    } = page;
    for (number, site, topic, kind) in series {
        transaction
            .prepare_cached("INSERT INTO series VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![number.0, site.as_str(), topic, *kind as u8])?;
    }
    for (number, key) in publishers {
        transaction
            .prepare_cached("INSERT INTO publishers VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![
                number.0,
                key.series.0,
                key.instance,
                key.identity,
                key.origin
            ])?;
    }
    for (number, lane, site) in lanes {
        transaction
            .prepare_cached("INSERT INTO lanes VALUES (?1, ?2, ?3)")?
            .execute(params![number.0, lane.to_string(), site.as_str()])?;
    }
    for ((series, hour), count) in hours {
        write_hour(transaction, *series, *hour, *count)?;
    }
    for ((publisher, run), Run { first, last }) in runs {
        transaction
            .prepare_cached("INSERT OR REPLACE INTO runs VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute(params![
                publisher.0,
                *run as i64,
                first.number,
                first.time.0,
                last.number,
                last.time.0
            ])?;
    }
    for ((publisher, run, hour), span) in spans {
        transaction
            .prepare_cached(
                "INSERT INTO spans VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET
                 first = min(first, excluded.first), last = max(last, excluded.last), records = records + excluded.records",
            )?
            .execute(params![publisher.0, *run as i64, hour.0, span.first, span.last, signed(span.records)])?;
    }
    for loss in number_losses {
        transaction
            .prepare_cached("INSERT INTO number_losses VALUES (NULL, ?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute(params![
                loss.publisher.0,
                loss.reason,
                loss.first,
                loss.last,
                loss.count,
                loss.until.0
            ])?;
    }
    for loss in block_losses {
        // Killed between naming and removing, an edge names the same blocks again.
        let (edge, epoch, lane) = &loss.lane;
        transaction
            .prepare_cached("INSERT OR IGNORE INTO block_losses VALUES (NULL, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?
            .execute(params![
                loss.site, edge, epoch, lane, loss.reason, loss.first, loss.last, loss.count, loss.from.0, loss.until.0
            ])?;
    }
    for ((site, topic, hour, reason), other) in other_losses {
        transaction
            .prepare_cached(
                "INSERT INTO other_losses VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE SET
                 losses = losses + excluded.losses, samples = samples + excluded.samples, uncounted = uncounted + excluded.uncounted",
            )?
            .execute(params![
                site, topic, hour.0, reason, signed(other.losses), signed(other.samples), signed(other.uncounted)
            ])?;
    }
    for block in blocks {
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO blocks VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                block.partition,
                signed(block.place),
                block.lane.0,
                signed(block.number),
                block.records,
                block.sealed.0,
                block.taken.0,
                block.event.0.0,
                block.event.1.0,
                signed(block.digest)
            ])?;
    }
    for said in committed {
        compare::write(transaction, said)?;
    }
    Ok(())
}

/// SQLite's sums do not wrap.
fn write_hour(
    transaction: &Transaction<'_>,
    series: SeriesNumber,
    hour: Hour,
    count: Tally,
) -> rusqlite::Result<()> {
    let known = transaction
        .prepare_cached("SELECT records, digest FROM hours WHERE series = ?1 AND hour = ?2")?
        .query_row(params![series.0, hour.0], |row| read_count(row, 0))
        .optional()?;
    let mut sum = known.unwrap_or_default();
    sum.union(count);
    transaction
        .prepare_cached("INSERT OR REPLACE INTO hours VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            series.0,
            hour.0,
            signed(sum.rows),
            signed(sum.digest)
        ])?;
    Ok(())
}

/// From two columns.
pub(crate) fn read_count(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Tally> {
    Ok(Tally {
        rows: row.get::<_, i64>(first)?.cast_unsigned(),
        digest: row.get::<_, i64>(first + 1)?.cast_unsigned(),
    })
}
