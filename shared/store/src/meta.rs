//! `meta.db`: declarations, the catalogue of closed segments, acknowledgements, small values.
//!
//! All but the acknowledgements and values can be derived from the segments. A closed segment is in the catalogue
//! only together with every declaration it uses.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use efd_shared_model::bytes::{Reader, Writer};
use efd_shared_model::epoch::{read_lane, write_lane};
use efd_shared_model::{
    EdgeId, EpochDeclaration, EpochId, EpochLane, Fingerprint, RangeSet, Schema, StreamDeclaration,
};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, params};

use crate::declare::{DECLARATION_TABLES, Declared};
use crate::disk::{self, Disk, FileKind};
use crate::error::{StoreError, sql};
use crate::lane::{LaneNameError, SegmentKey};
use crate::sealed::{seal, unseal, wrong_value};
use crate::segment::{RANGES_MAX, SegmentInfo};

/// Acknowledged block numbers by log.
pub type Acked = BTreeMap<EpochLane, RangeSet>;

const TABLES: &str = "
CREATE TABLE meta (one INTEGER PRIMARY KEY CHECK (one = 1), format INTEGER NOT NULL) STRICT;
INSERT INTO meta VALUES (1, 1);
CREATE TABLE segments (
    lane TEXT NOT NULL, id INTEGER NOT NULL, leaving INTEGER NOT NULL, info BLOB NOT NULL,
    PRIMARY KEY (lane, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE acked (
    destination TEXT NOT NULL, log BLOB NOT NULL, ranges BLOB NOT NULL, PRIMARY KEY (destination, log)
) STRICT, WITHOUT ROWID;
CREATE TABLE kept_values (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
";

pub(crate) const META: &str = "meta.db";
const _: () = assert!(disk::FORMAT == 1, "`meta.format` above is written by hand");

#[derive(Debug)]
pub(crate) struct Meta {
    path: PathBuf,
    connection: Connection,
    disk: Disk,
    wal_bytes: u64,
}

/// A segment as the catalogue has it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub info: SegmentInfo,
    /// Its removal was begun.
    pub leaving: bool,
}

impl Meta {
    pub(crate) fn create(root: &Path, disk: &Disk) -> Result<(), StoreError> {
        let tables = format!("{TABLES}{DECLARATION_TABLES}");
        disk.create(&root.join(META), FileKind::Meta, &tables)
    }

    pub(crate) fn open(root: &Path, disk: &Disk) -> Result<Self, StoreError> {
        let path = root.join(META);
        let connection = disk.open_writer(&path)?;
        check_format(&connection, &path)?;
        check_whole(&connection).map_err(sql("check", &path))?;
        Ok(Self {
            path,
            connection,
            disk: disk.clone(),
            wal_bytes: 0,
        })
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// One transaction; on the disk when this returns if `durable`, else with the next that is.
    fn write(
        &mut self,
        what: &'static str,
        durable: bool,
        change: impl FnOnce(&Connection) -> rusqlite::Result<u64>,
    ) -> Result<(), StoreError> {
        let path = self.path.clone();
        let wrong = sql(what, &path);
        let level = if durable { "FULL" } else { "NORMAL" };
        self.disk
            .set_synchronous(&self.connection, level)
            .map_err(&wrong)?;
        let transaction = self.connection.unchecked_transaction().map_err(&wrong)?;
        let bytes = change(&transaction).map_err(&wrong)?;
        transaction.commit().map_err(&wrong)?;
        self.wal_bytes += bytes;
        Ok(())
    }

    /// Between commits: copies the WAL when it has grown.
    pub(crate) fn maintain(&mut self) -> Result<(), StoreError> {
        const WAL_BYTES: u64 = 4 << 20;
        if self.wal_bytes < WAL_BYTES {
            return Ok(());
        }
        if disk::checkpoint(&self.connection, "PASSIVE").map_err(sql("checkpoint", &self.path))? {
            self.wal_bytes = 0;
        }
        Ok(())
    }

    pub(crate) fn declare(
        &mut self,
        epoch: &EpochDeclaration,
        streams: &[&StreamDeclaration],
        schemas: &[(Fingerprint, u64, Vec<u8>)],
    ) -> Result<(), StoreError> {
        self.write("declare", true, |transaction| {
            let declared = Declared::new(transaction);
            let mut bytes = declared.put_epoch(epoch)?;
            for (fingerprint, text_bytes, zstd) in schemas {
                bytes += declared.put_schema(fingerprint, *text_bytes, zstd)?;
            }
            for stream in streams {
                bytes += declared.put_stream(epoch.epoch, stream)?;
            }
            Ok(bytes)
        })
    }

    /// Takes over what a segment declares. Where the two differ, what is here stays.
    pub(crate) fn adopt_declarations(&mut self, segment: &Connection) -> Result<(), StoreError> {
        let theirs = Declared::new(segment);
        let ours = Declared::new(&self.connection);
        let path = self.path.clone();
        let wrong = sql("adopt declarations", &path);
        let mut grown = Vec::new();
        for EpochDeclaration { epoch, .. } in theirs.epochs().map_err(&wrong)? {
            let (known, through) = (ours.through(epoch), theirs.through(epoch));
            let (known, through) = (known.map_err(&wrong)?, through.map_err(&wrong)?);
            if known < through || ours.epoch(epoch).map_err(&wrong)?.is_none() {
                grown.push((epoch, known, through));
            }
        }
        if grown.is_empty() {
            return Ok(());
        }
        self.write("adopt declarations", true, |transaction| {
            let ours = Declared::new(transaction);
            grown.iter().try_fold(0, |bytes, &(epoch, known, through)| {
                Ok(bytes + ours.copy_from(theirs, epoch, known, through)?)
            })
        })
    }

    pub(crate) fn segments(&self) -> Result<Vec<Entry>, StoreError> {
        read_segments(&self.connection).map_err(sql("read catalogue", &self.path))
    }

    pub(crate) fn put_segment(&mut self, info: &SegmentInfo) -> Result<(), StoreError> {
        let key = &info.key;
        let id = key.id.to_le_bytes();
        let encoded = seal(&[key.lane.as_str().as_bytes(), &id], &info.encode());
        self.write("catalogue", true, |transaction| {
            transaction
                .prepare_cached("INSERT OR REPLACE INTO segments VALUES (?1, ?2, 0, ?3)")?
                .execute(params![key.lane.as_str(), key.id, encoded])?;
            Ok(encoded.len() as u64 + PAGES)
        })
    }

    /// Says that the files of a segment are about to go, so that their absence is no surprise.
    pub(crate) fn mark_leaving(&mut self, key: &SegmentKey) -> Result<(), StoreError> {
        let statement = "UPDATE segments SET leaving = 1 WHERE lane = ?1 AND id = ?2";
        self.on_segment(key, statement, true)
    }

    /// What is not durable may be back at the next start, and is then dropped again.
    pub(crate) fn drop_segment(
        &mut self,
        key: &SegmentKey,
        durable: bool,
    ) -> Result<(), StoreError> {
        let statement = "DELETE FROM segments WHERE lane = ?1 AND id = ?2";
        self.on_segment(key, statement, durable)
    }

    fn on_segment(
        &mut self,
        key: &SegmentKey,
        statement: &str,
        durable: bool,
    ) -> Result<(), StoreError> {
        self.write("catalogue", durable, |transaction| {
            transaction
                .prepare_cached(statement)?
                .execute(params![key.lane.as_str(), key.id])?;
            Ok(PAGES)
        })
    }

    pub(crate) fn acked(&self) -> Result<BTreeMap<String, Acked>, StoreError> {
        read_acked(&self.connection).map_err(sql("read acknowledgements", &self.path))
    }

    /// Not durable at once: a lost acknowledgement costs a duplicate that the centre drops.
    pub(crate) fn put_acked<'a>(
        &mut self,
        changed: impl Iterator<Item = (&'a str, &'a EpochLane, Option<&'a RangeSet>)>,
    ) -> Result<(), StoreError> {
        self.write("note acknowledgements", false, |transaction| {
            let mut put =
                transaction.prepare_cached("INSERT OR REPLACE INTO acked VALUES (?1, ?2, ?3)")?;
            let mut drop = transaction
                .prepare_cached("DELETE FROM acked WHERE destination = ?1 AND log = ?2")?;
            let mut bytes = 0;
            for (destination, lane, ranges) in changed {
                let log = encode_log(lane);
                match ranges {
                    Some(ranges) => {
                        let mut out = Writer::new();
                        ranges.write(&mut out);
                        bytes += out.len() as u64 + PAGES;
                        let ranges = seal(&[destination.as_bytes(), &log], out.as_bytes());
                        put.execute(params![destination, log, ranges])?;
                    }
                    None => {
                        drop.execute(params![destination, log])?;
                    }
                }
            }
            Ok(bytes)
        })
    }

    pub(crate) fn value(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.connection
            .prepare_cached("SELECT value FROM kept_values WHERE key = ?1")
            .and_then(|mut statement| {
                statement
                    .query_row([key], |row| {
                        let sealed: Vec<u8> = row.get(0)?;
                        unseal(&[key.as_bytes()], &sealed).map(<[u8]>::to_vec)
                    })
                    .optional()
            })
            .map_err(sql("read value", &self.path))
    }

    pub(crate) fn put_value(&mut self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        self.write("keep value", true, |transaction| {
            transaction
                .prepare_cached("INSERT OR REPLACE INTO kept_values VALUES (?1, ?2)")?
                .execute(params![key, seal(&[key.as_bytes()], value)])?;
            Ok(value.len() as u64 + PAGES)
        })
    }

    /// Leaves one file behind, if nobody else has it open: the last to close a WAL removes it.
    pub(crate) fn close(self) -> Result<(), StoreError> {
        let wrong = sql("close", &self.path);
        disk::checkpoint(&self.connection, "TRUNCATE").map_err(&wrong)?;
        self.connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
            .map_err(&wrong)?;
        self.connection.close().map_err(|(_, error)| wrong(error))
    }
}

/// What a small transaction adds to the WAL, about.
const PAGES: u64 = 2 * 8192;

/// `TooNew` only where both places say so: one alone is damage.
pub(crate) fn check_format(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let wrong = sql("read format", path);
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let version = pragma("user_version").map_err(&wrong)?;
    let application_id = pragma("application_id").map_err(&wrong)?;
    let format = || connection.query_row("SELECT format FROM meta", [], |row| row.get::<_, i64>(0));
    let damaged = |reason: String| StoreError::Damaged {
        path: path.to_owned(),
        reason,
    };
    if application_id != FileKind::Meta.application_id() {
        return Err(damaged("the application id is not ours".into()));
    }
    let format = format().map_err(&wrong)?;
    match (version, format) {
        (disk::FORMAT, disk::FORMAT) => Ok(()),
        (found, same) if found == same && disk::FORMAT < found => Err(StoreError::TooNew {
            path: path.to_owned(),
            found,
            newest: disk::FORMAT,
        }),
        (version, format) => Err(damaged(format!(
            "its header says format {version}, its table {format}"
        ))),
    }
}

pub(crate) fn read_segments(connection: &Connection) -> rusqlite::Result<Vec<Entry>> {
    let mut statement =
        connection.prepare("SELECT lane, id, leaving, info FROM segments ORDER BY lane, id")?;
    let rows = statement.query_map([], |row| {
        let (name, id): (String, u64) = (row.get(0)?, row.get(1)?);
        let sealed: Vec<u8> = row.get(3)?;
        let info = unseal(&[name.as_bytes(), &id.to_le_bytes()], &sealed)?;
        let lane = name
            .parse()
            .map_err(|error: LaneNameError| wrong_value(error))?;
        let info = SegmentInfo::decode(SegmentKey { lane, id }, info).map_err(wrong_value)?;
        Ok(Entry {
            info,
            leaving: row.get(2)?,
        })
    })?;
    rows.collect()
}

pub(crate) fn read_acked(connection: &Connection) -> rusqlite::Result<BTreeMap<String, Acked>> {
    let mut statement = connection.prepare("SELECT destination, log, ranges FROM acked")?;
    let mut rows = statement.query([])?;
    let mut all: BTreeMap<String, Acked> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let destination: String = row.get(0)?;
        let (log, sealed): (Vec<u8>, Vec<u8>) = (row.get(1)?, row.get(2)?);
        let ranges = unseal(&[destination.as_bytes(), &log], &sealed)?;
        let ranges = RangeSet::read(&mut Reader::new(ranges), RANGES_MAX).map_err(wrong_value)?;
        let log = decode_log(&log).map_err(wrong_value)?;
        all.entry(destination).or_default().insert(log, ranges);
    }
    Ok(all)
}

/// Reads all of a small database: what is wrong in it comes out at the start, when it can still be derived anew.
pub(crate) fn check_whole(connection: &Connection) -> rusqlite::Result<()> {
    let answer: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if answer != "ok" {
        return Err(wrong_value(answer));
    }
    let declared = Declared::new(connection);
    for epoch in declared.epochs()? {
        declared.streams(epoch.epoch)?;
    }
    read_values(connection)?;
    Ok(())
}

pub(crate) fn read_values(connection: &Connection) -> rusqlite::Result<BTreeMap<String, Vec<u8>>> {
    let mut statement = connection.prepare("SELECT key, value FROM kept_values")?;
    let mut rows = statement.query([])?;
    let mut values = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (key, sealed): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let value = unseal(&[key.as_bytes()], &sealed)?.to_vec();
        values.insert(key, value);
    }
    Ok(values)
}

fn encode_log(log: &EpochLane) -> Vec<u8> {
    let EpochLane { edge, epoch, lane } = log;
    let mut out = Writer::new();
    out.raw(&edge.0);
    out.raw(&epoch.0);
    write_lane(&mut out, *lane);
    out.into_bytes()
}

fn decode_log(bytes: &[u8]) -> Result<EpochLane, efd_shared_model::bytes::ByteError> {
    let mut reader = Reader::new(bytes);
    let log = EpochLane {
        edge: EdgeId(reader.array()?),
        epoch: EpochId(reader.array()?),
        lane: read_lane(&mut reader)?,
    };
    reader.finish()?;
    Ok(log)
}

/// Compressed once, written to `meta.db` and to every segment that uses it.
pub(crate) fn compress(schema: &Schema) -> (Fingerprint, u64, Vec<u8>) {
    let text = schema.text().as_bytes();
    let zstd = zstd::bulk::compress(text, 3).unwrap_or_default();
    (schema.fingerprint(), text.len() as u64, zstd)
}
