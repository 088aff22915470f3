//! The one connection that writes a segment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use efd_shared_model::{EpochId, EpochLane, SealedBlock, UtcNanos};
use rusqlite::{Connection, params};
use xxhash_rust::xxh3::xxh3_64;

use super::{BlockRow, Contents};
use crate::declare::{DECLARATION_TABLES, Declared};
use crate::disk::{self, Disk, FileKind};
use crate::error::{StoreError, sql};
use crate::lane::{LaneName, Position};
use crate::sealed::seal;

const TABLES: &str = "
CREATE TABLE segment (
    one INTEGER PRIMARY KEY CHECK (one = 1), lane TEXT NOT NULL, id INTEGER NOT NULL, format INTEGER NOT NULL,
    created INTEGER NOT NULL, first_position INTEGER NOT NULL, closed INTEGER, summary BLOB
) STRICT;
CREATE TABLE epoch_lanes (
    key INTEGER PRIMARY KEY, edge BLOB NOT NULL, epoch BLOB NOT NULL, kind INTEGER NOT NULL,
    shard INTEGER NOT NULL, UNIQUE (edge, epoch, kind, shard)
) STRICT;
CREATE TABLE blocks (
    position INTEGER PRIMARY KEY, epoch_lane INTEGER NOT NULL, number INTEGER NOT NULL,
    records INTEGER NOT NULL, payload_bytes INTEGER NOT NULL, stored_bytes INTEGER NOT NULL,
    event_time_min INTEGER NOT NULL, event_time_max INTEGER NOT NULL, committed INTEGER NOT NULL,
    digest BLOB NOT NULL, checksum INTEGER NOT NULL, data BLOB NOT NULL
) STRICT;
CREATE INDEX blocks_by_number ON blocks (epoch_lane, number);
CREATE TABLE state (key TEXT PRIMARY KEY, through INTEGER NOT NULL, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
";

/// Newest value of each key of a lane, with the lane's head when it was written.
pub(crate) type States = BTreeMap<String, (Position, Vec<u8>)>;

/// What one transaction adds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch<'a> {
    pub lane: &'a LaneName,
    pub id: u64,
    /// Of the first block; where there is none, of the next one to come.
    pub first: Position,
    pub blocks: &'a [SealedBlock],
    pub values: &'a [(&'a str, &'a [u8])],
    pub committed: UtcNanos,
}

#[derive(Debug)]
pub(crate) struct SegmentWriter {
    pub path: PathBuf,
    pub id: u64,
    /// Of its first transaction; `None` while it is a spare that has none.
    pub begun: Option<UtcNanos>,
    connection: Connection,
    /// Streams of each epoch that are declared in it, up to and with this number.
    declared: BTreeMap<EpochId, u32>,
    keys: BTreeMap<EpochLane, i64>,
    /// Bytes of blocks in it.
    pub bytes: u64,
    /// About what was added to the WAL since it was last copied.
    pub wal_bytes: u64,
}

impl SegmentWriter {
    /// A new file without blocks.
    pub(crate) fn create(disk: &Disk, path: &Path, id: u64) -> Result<Self, StoreError> {
        disk.create(
            path,
            FileKind::Segment,
            &format!("{TABLES}{DECLARATION_TABLES}"),
        )?;
        let connection = disk.open_writer(path)?;
        Ok(Self {
            path: path.to_owned(),
            id,
            begun: None,
            connection,
            declared: BTreeMap::new(),
            keys: BTreeMap::new(),
            bytes: 0,
            wal_bytes: 0,
        })
    }

    /// Goes on with a segment that was found whole.
    pub(crate) fn resume(
        connection: Connection,
        path: &Path,
        id: u64,
        begun: UtcNanos,
        contents: &Contents,
    ) -> Result<Self, StoreError> {
        let wrong = sql("resume segment", path);
        let declarations = Declared::new(&connection);
        let mut declared = BTreeMap::new();
        for epoch in declarations.epochs().map_err(&wrong)? {
            let through = declarations.through(epoch.epoch).map_err(&wrong)?;
            declared.insert(epoch.epoch, through);
        }
        let keys = super::scan::lane_keys(&connection).map_err(&wrong)?;
        let keys = keys.into_iter().map(|(key, lane)| (lane, key)).collect();
        Ok(Self {
            path: path.to_owned(),
            id,
            begun: Some(begun),
            declared,
            keys,
            bytes: contents.stored_bytes(),
            wal_bytes: disk::file_bytes(&disk::with_suffix(path, "-wal")),
            connection,
        })
    }

    /// Writes into a spare what its first blocks will need, while there is time.
    pub(crate) fn declare_ahead(
        &mut self,
        meta: &Connection,
        epochs: &BTreeMap<EpochId, u32>,
    ) -> Result<(), StoreError> {
        let wrong = sql("declare in segment", &self.path);
        let transaction = self.connection.unchecked_transaction().map_err(&wrong)?;
        let ours = Declared::new(&transaction);
        let mut bytes = 0;
        for (&epoch, &through) in epochs {
            bytes += ours
                .copy_from(Declared::new(meta), epoch, 0, through)
                .map_err(&wrong)?;
        }
        transaction.commit().map_err(&wrong)?;
        self.wal_bytes += bytes;
        self.declared.clone_from(epochs);
        Ok(())
    }

    /// One durable transaction. After an error nothing of the batch is to be relied on, and the file may only be
    /// written on if the error was [`StoreError::NoSpace`] and [`Self::is_usable`].
    pub(crate) fn append(
        &mut self,
        batch: &Batch<'_>,
        meta: &Connection,
        states: &States,
    ) -> Result<(), StoreError> {
        let wrong = sql("append to segment", &self.path);
        let transaction = self.connection.unchecked_transaction().map_err(&wrong)?;
        let written = write(
            &transaction,
            batch,
            Known {
                begun: self.begun.is_some(),
                declared: &self.declared,
                keys: &self.keys,
            },
            meta,
            states,
        );
        let written = written.map_err(&wrong)?;
        transaction.commit().map_err(&wrong)?;

        // Only what is durable is remembered.
        self.begun.get_or_insert(batch.committed);
        self.declared.extend(written.declared);
        self.keys.extend(written.keys);
        self.bytes += written.block_bytes;
        self.wal_bytes += written.bytes;
        Ok(())
    }

    /// Whether the last failure was undone completely.
    pub(crate) fn is_usable(&self) -> bool {
        self.connection.is_autocommit()
    }

    /// Copies the WAL into the database as far as readers allow.
    pub(crate) fn checkpoint(&mut self) -> Result<(), StoreError> {
        let done = disk::checkpoint(&self.connection, "PASSIVE");
        if done.map_err(sql("checkpoint segment", &self.path))? {
            self.wal_bytes = 0;
        }
        Ok(())
    }

    /// Streams that are declared in it, by epoch.
    pub(crate) fn declared(&self) -> &BTreeMap<EpochId, u32> {
        &self.declared
    }

    /// Leaves it to be gone on with later.
    pub(crate) fn pause(self, disk: &Disk) -> Result<(), StoreError> {
        finish(
            self.connection,
            disk,
            &self.path,
            Position::NONE,
            UtcNanos(0),
            None,
        )
    }

    /// Makes it one file that never changes again. `last`: rows behind it belong to a commit that was reported as
    /// failed and has been repeated in another segment, and so do the values set with them.
    pub(crate) fn finish(
        self,
        disk: &Disk,
        last: Position,
        now: UtcNanos,
        contents: Option<&Contents>,
    ) -> Result<(), StoreError> {
        finish(self.connection, disk, &self.path, last, now, contents)
    }
}

/// See [`SegmentWriter::finish`]. Of a damaged segment no `contents` are given: its rows stay as they are.
pub(crate) fn finish(
    connection: Connection,
    disk: &Disk,
    path: &Path,
    last: Position,
    now: UtcNanos,
    contents: Option<&Contents>,
) -> Result<(), StoreError> {
    let wrong = sql("close segment", path);
    if let Some(contents) = contents {
        let transaction = connection.unchecked_transaction().map_err(&wrong)?;
        delete_void(&transaction, last)
            .and_then(|()| {
                transaction.execute(
                    "UPDATE segment SET closed = ?1, summary = ?2",
                    params![now.0, seal(&[], &contents.encode())],
                )
            })
            .map_err(&wrong)?;
        transaction.commit().map_err(&wrong)?;
    }
    // A reader in the middle of a read is waited for shortly; the next attempt comes soon enough.
    let copied = connection
        .busy_timeout(Duration::from_millis(100))
        .and_then(|()| disk::checkpoint(&connection, "TRUNCATE"))
        .map_err(&wrong)?;
    if !copied {
        return Err(StoreError::Sqlite {
            what: "close segment",
            path: path.to_owned(),
            source: rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
                Some("a reader holds its WAL".into()),
            ),
        });
    }
    connection
        .close()
        .map_err(|(_, error)| StoreError::sqlite("close segment", path, error))?;
    if !disk::has_wal(path) {
        for suffix in ["-wal", "-shm"] {
            disk.unlink(&disk::with_suffix(path, suffix))
                .map_err(crate::error::file("close segment", path))?;
        }
    }
    Ok(())
}

/// Deletes rows behind `last`, and the values set with them: see [`SegmentWriter::finish`].
pub(crate) fn delete_void(transaction: &Connection, last: Position) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM blocks WHERE ?1 < position", [last.0])?;
    transaction.execute("DELETE FROM state WHERE ?1 < through", [last.0])?;
    Ok(())
}

/// What the file holds before the transaction.
struct Known<'a> {
    begun: bool,
    declared: &'a BTreeMap<EpochId, u32>,
    keys: &'a BTreeMap<EpochLane, i64>,
}

/// What the transaction adds.
#[derive(Default)]
struct Written {
    declared: BTreeMap<EpochId, u32>,
    keys: BTreeMap<EpochLane, i64>,
    block_bytes: u64,
    bytes: u64,
}

fn write(
    transaction: &Connection,
    batch: &Batch<'_>,
    known: Known<'_>,
    meta: &Connection,
    states: &States,
) -> rusqlite::Result<Written> {
    let Batch {
        lane,
        id,
        first,
        blocks,
        values,
        committed,
    } = *batch;
    let mut written = Written {
        // A leaf of `blocks`, one of its index, one of the state.
        bytes: 3 * 8192,
        ..Written::default()
    };
    let mut put_state =
        transaction.prepare_cached("INSERT OR REPLACE INTO state VALUES (?1, ?2, ?3)")?;
    if !known.begun {
        transaction.execute(
            "INSERT INTO segment VALUES (1, ?1, ?2, ?3, ?4, ?5, NULL, NULL)",
            params![lane.as_str(), id, disk::FORMAT, committed.0, first.0],
        )?;
        // Older segments, and the values in them, may leave.
        for (key, (through, value)) in states {
            put_state.execute(params![key, through.0, seal(&[key.as_bytes()], value)])?;
        }
    }
    let mut put_block = transaction.prepare_cached(
        "INSERT INTO blocks VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?;
    let mut position = first;
    for block in blocks {
        let row = BlockRow::of(position, block, committed);
        let epoch = row.lane.epoch;
        let through = block.header().streams_through.0;
        let declared = written
            .declared
            .get(&epoch)
            .or_else(|| known.declared.get(&epoch));
        if declared.is_none_or(|&declared| declared < through) {
            let after = declared.copied().unwrap_or_default();
            let source = Declared::new(meta);
            written.bytes += Declared::new(transaction).copy_from(source, epoch, after, through)?;
            written.declared.insert(epoch, through);
        }
        let key = match known
            .keys
            .get(&row.lane)
            .or_else(|| written.keys.get(&row.lane))
        {
            Some(&key) => key,
            None => {
                let key = put_lane(transaction, &row.lane)?;
                written.keys.insert(row.lane, key);
                key
            }
        };
        let data = block.bytes();
        put_block.execute(params![
            position.0,
            key,
            row.number,
            row.records,
            row.payload_bytes,
            row.stored_bytes,
            row.event_time_min.0,
            row.event_time_max.0,
            row.committed.0,
            row.digest.to_be_bytes(),
            xxh3_64(data) as i64,
            &data[..],
        ])?;
        written.block_bytes += row.stored_bytes;
        written.bytes += row.stored_bytes;
        position = position.next();
    }
    for (key, value) in values {
        put_state.execute(params![
            key,
            position.previous().0,
            seal(&[key.as_bytes()], value)
        ])?;
        written.bytes += value.len() as u64;
    }
    Ok(written)
}

fn put_lane(transaction: &Connection, log: &EpochLane) -> rusqlite::Result<i64> {
    let EpochLane { edge, epoch, lane } = log;
    transaction.execute(
        "INSERT INTO epoch_lanes (edge, epoch, kind, shard) VALUES (?1, ?2, ?3, ?4)",
        params![edge.0, epoch.0, lane.kind as u8, lane.shard],
    )?;
    Ok(transaction.last_insert_rowid())
}
