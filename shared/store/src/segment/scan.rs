//! Reads a segment's rows: whole at recovery, one by one where whole does not work.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;

use bytes::Bytes;
use efd_shared_model::{
    BlockNumber, EdgeId, EpochId, EpochLane, Lane, LaneKind, RangeSet, SealedBlock, UtcNanos,
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use xxhash_rust::xxh3::xxh3_64;

use super::{BlockRow, Contents};
use crate::error::{StoreError, sql};
use crate::lane::Position;
use crate::sealed::wrong_value;

/// Every column of `blocks` but the data, in the order that [`block_row`] reads.
pub(crate) const COLUMNS: &str = "position, epoch_lane, number, records, payload_bytes, stored_bytes, \
     event_time_min, event_time_max, committed, digest, checksum";

pub(crate) type LaneKeys = BTreeMap<i64, EpochLane>;

pub(crate) fn lane_keys(connection: &Connection) -> rusqlite::Result<LaneKeys> {
    let mut statement =
        connection.prepare_cached("SELECT key, edge, epoch, kind, shard FROM epoch_lanes")?;
    let rows = statement.query_map([], |row| {
        let kind = LaneKind::from_u8(row.get(3)?)
            .ok_or(rusqlite::Error::IntegralValueOutOfRange(3, row.get(3)?))?;
        let lane = EpochLane {
            edge: EdgeId(row.get(1)?),
            epoch: EpochId(row.get(2)?),
            lane: Lane {
                kind,
                shard: row.get(4)?,
            },
        };
        Ok((row.get(0)?, lane))
    })?;
    rows.collect()
}

pub(crate) struct StoredRow {
    pub row: BlockRow,
    /// XXH3-64 of the data as stored.
    pub checksum: u64,
}

/// Reads [`COLUMNS`].
pub(crate) fn block_row(row: &Row<'_>, lanes: &LaneKeys) -> rusqlite::Result<StoredRow> {
    block_row_or(row, lanes, None)
}

/// Takes the log from the block itself where `epoch_lanes` does not tell.
fn block_row_or(
    row: &Row<'_>,
    lanes: &LaneKeys,
    block: Option<&SealedBlock>,
) -> rusqlite::Result<StoredRow> {
    let key: i64 = row.get(1)?;
    let lane = lanes.get(&key).copied();
    let lane = lane.or_else(|| block.map(|block| block.id().lane));
    let lane = lane.ok_or(rusqlite::Error::IntegralValueOutOfRange(1, key))?;
    let unsigned = |column: usize| -> rusqlite::Result<u64> { row.get(column) };
    Ok(StoredRow {
        row: BlockRow {
            position: Position(unsigned(0)?),
            lane,
            number: unsigned(2)?,
            records: unsigned(3)?,
            payload_bytes: unsigned(4)?,
            stored_bytes: unsigned(5)?,
            event_time_min: UtcNanos(row.get(6)?),
            event_time_max: UtcNanos(row.get(7)?),
            committed: UtcNanos(row.get(8)?),
            digest: u128::from_be_bytes(row.get(9)?),
        },
        checksum: row.get::<_, i64>(10)? as u64,
    })
}

/// What a segment was found to hold.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// First and last position; `None` of an empty segment.
    pub positions: Option<(Position, Position)>,
    pub contents: Contents,
    /// Positions between first and last that cannot be read.
    pub damaged: RangeSet,
    /// Block numbers that those positions held, where their neighbours tell.
    pub lost: BTreeMap<EpochLane, RangeSet>,
    pub why: Option<String>,
    /// Commits after the last position were durable and are lost: nobody knows how many blocks.
    pub lost_tail: bool,
}

/// Reads every row below `limit`, but no data; where that fails, every position on its own, so that one damaged page
/// does not take the rest with it. `known`: the first and last position, as the catalogue has them. An error where
/// not even those can be told.
pub(crate) fn scan(
    connection: &Connection,
    path: &Path,
    limit: Position,
    known: Option<(Position, Position)>,
) -> Result<Scan, StoreError> {
    let whole = scan_in_order(connection, limit);
    let why = match whole {
        Ok(scan) if known.is_none() || scan.positions == known => return Ok(scan),
        Ok(_) => "it has not the positions that the catalogue has".to_owned(),
        Err(error) => error.to_string(),
    };
    let mut scan = scan_one_by_one(connection, limit, known).map_err(sql("scan", path))?;
    scan.why = Some(why);
    Ok(scan)
}

fn scan_in_order(connection: &Connection, limit: Position) -> rusqlite::Result<Scan> {
    let lanes = lane_keys(connection)?;
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM blocks WHERE position < ?1 ORDER BY position"
    ))?;
    let mut rows = statement.query([limit.0])?;
    let mut scan = Scan::default();
    while let Some(row) = rows.next()? {
        let row = block_row(row, &lanes)?.row;
        let (_, last) = scan
            .positions
            .get_or_insert_with(|| (row.position, row.position.previous()));
        if row.position != last.next() {
            let reason = format!("position {} follows {last}", row.position);
            return Err(wrong_value(reason));
        }
        *last = row.position;
        scan.contents.add(&row);
    }
    let indexed = indexed_ends(connection, limit)?;
    if indexed != scan.positions {
        let reason = format!("{:?} are indexed, {:?} are there", indexed, scan.positions);
        return Err(wrong_value(reason));
    }
    Ok(scan)
}

/// First and last position by the index: a damaged count of rows in a page is not noticed by a scan of the table.
fn indexed_ends(
    connection: &Connection,
    limit: Position,
) -> rusqlite::Result<Option<(Position, Position)>> {
    connection
        .prepare_cached(
            "SELECT min(position), max(position) FROM blocks INDEXED BY blocks_by_number
             WHERE number IS NOT NULL AND position < ?1",
        )?
        .query_row([limit.0], |row| {
            let (first, last): (Option<u64>, Option<u64>) = (row.get(0)?, row.get(1)?);
            Ok(first
                .zip(last)
                .map(|(first, last)| (Position(first), Position(last))))
        })
}

fn ends(connection: &Connection, limit: Position) -> rusqlite::Result<(Position, Position)> {
    let end = |order: &str| {
        let statement = format!(
            "SELECT position FROM blocks WHERE position < ?1 ORDER BY position {order} LIMIT 1"
        );
        connection.query_row(&statement, [limit.0], |row| row.get(0).map(Position))
    };
    let by_table = end("ASC").and_then(|first| Ok((first, end("DESC")?)));
    match (by_table, indexed_ends(connection, limit)) {
        (Ok(table), Ok(Some(index))) => Ok((table.0.min(index.0), table.1.max(index.1))),
        (Ok(ends), Ok(None) | Err(_)) | (Err(_), Ok(Some(ends))) => Ok(ends),
        (Err(error), Ok(None) | Err(_)) => Err(error),
    }
}

fn scan_one_by_one(
    connection: &Connection,
    limit: Position,
    known: Option<(Position, Position)>,
) -> rusqlite::Result<Scan> {
    let lanes = lane_keys(connection)?;
    let (first, last) = match known {
        Some(known) => known,
        None => ends(connection, limit)?,
    };
    if last < first || last.0 - first.0 > POSITIONS_MAX {
        return Err(wrong_value(format!("positions {first} to {last}")));
    }
    let mut scan = Scan {
        positions: Some((first, last)),
        ..Scan::default()
    };
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM blocks WHERE position = ?1"))?;
    let mut before: Option<BlockRow> = None;
    for position in first.0..=last.0 {
        let found = statement
            .query_row([position], |row| block_row(row, &lanes))
            .optional();
        let Ok(Some(StoredRow { row, .. })) = found else {
            scan.damaged.insert(position);
            continue;
        };
        // Of a hole whose two ends are blocks of one log, as many numbers apart as positions, the numbers are known.
        if let Some(before) = before
            && before.lane == row.lane
            && position - before.position.0 > 1
            && row.number.checked_sub(before.number) == Some(position - before.position.0)
        {
            let lost = scan.lost.entry(row.lane).or_default();
            lost.insert_range(before.number + 1..=row.number - 1);
        }
        scan.contents.add(&row);
        before = Some(row);
    }
    if scan.contents.lanes.is_empty() {
        return Err(wrong_value("none of its blocks can be read"));
    }
    Ok(scan)
}

/// A segment of the largest size full of the smallest blocks has fewer.
const POSITIONS_MAX: u64 = 1 << 26;

/// Why a block that must be there is not given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DamageReason {
    /// The device failed to read; it may succeed another time.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    #[error("the file is damaged: {0}")]
    Corrupt(String),
    #[error("the row is missing")]
    Missing,
    #[error("the stored bytes have checksum {computed:016x}, not {stated:016x}")]
    Checksum { stated: u64, computed: u64 },
    #[error("{0}")]
    Block(String),
    #[error("the row's {0} is not the block's")]
    Disagrees(&'static str),
}

impl DamageReason {
    pub(crate) fn of(error: &rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                Self::Corrupt(error.to_string())
            }
            _ if matches!(error, rusqlite::Error::QueryReturnedNoRows) => Self::Missing,
            _ => Self::Unreadable(error.to_string()),
        }
    }
}

/// Positions of a log's blocks with these numbers, up to and with `last`, at most `max`, and their numbers. By the
/// index; where that is damaged, row by row.
pub(crate) fn find(
    connection: &Connection,
    log: &EpochLane,
    numbers: (u64, u64),
    positions: (Position, Position),
    max: usize,
) -> rusqlite::Result<Vec<(u64, u64)>> {
    let lanes = lane_keys(connection)?;
    let Some((key, _)) = lanes.iter().find(|(_, lane)| *lane == log) else {
        return Ok(Vec::new());
    };
    let by_index = || {
        let mut statement = connection.prepare_cached(
            "SELECT position, number FROM blocks INDEXED BY blocks_by_number
             WHERE epoch_lane = ?1 AND number BETWEEN ?2 AND ?3 AND position <= ?4
             ORDER BY number, position LIMIT ?5",
        )?;
        let values = rusqlite::params![key, numbers.0, numbers.1, positions.1.0, max];
        let rows = statement.query_map(values, |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    };
    match by_index() {
        Err(rusqlite::Error::SqliteFailure(error, _))
            if error.code == rusqlite::ErrorCode::DatabaseCorrupt => {}
        found => return found,
    }
    let mut statement = connection.prepare_cached(
        "SELECT position, number FROM blocks NOT INDEXED
         WHERE position = ?1 AND epoch_lane = ?2 AND number BETWEEN ?3 AND ?4",
    )?;
    let mut found = Vec::new();
    for position in positions.0.0..=positions.1.0 {
        let values = rusqlite::params![position, key, numbers.0, numbers.1];
        found.extend(
            statement
                .query_row(values, |row| Ok((row.get(0)?, row.get(1)?)))
                .ok(),
        );
        if found.len() >= max {
            break;
        }
    }
    Ok(found)
}

/// What is known of a block without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSpan {
    pub position: Position,
    pub event_time_min: UtcNanos,
    pub event_time_max: UtcNanos,
    pub payload_bytes: u64,
}

/// Blocks that may have something of these event times, ascending by position.
pub(crate) fn spans(
    connection: &Connection,
    (first, last): (Position, Position),
    times: &RangeInclusive<UtcNanos>,
) -> rusqlite::Result<Vec<BlockSpan>> {
    let mut statement = connection.prepare_cached(
        "SELECT position, event_time_min, event_time_max, payload_bytes FROM blocks \
         WHERE position BETWEEN ?1 AND ?2 AND event_time_min <= ?3 AND ?4 <= event_time_max ORDER BY position",
    )?;
    let parameters = params![first.0, last.0, times.end().0, times.start().0];
    let rows = statement.query_map(parameters, |row| {
        Ok(BlockSpan {
            position: Position(row.get(0)?),
            event_time_min: UtcNanos(row.get(1)?),
            event_time_max: UtcNanos(row.get(2)?),
            payload_bytes: row.get(3)?,
        })
    })?;
    rows.collect()
}

pub(crate) fn committed(connection: &Connection, position: Position) -> rusqlite::Result<UtcNanos> {
    connection
        .prepare_cached("SELECT committed FROM blocks WHERE position = ?1")?
        .query_row([position.0], |row| row.get(0).map(UtcNanos))
}

/// Reads one block and checks that it is what was written.
pub(crate) fn read_block(
    connection: &Connection,
    lanes: &LaneKeys,
    position: Position,
) -> Result<SealedBlock, (Option<BlockRow>, DamageReason)> {
    let with_data = || -> rusqlite::Result<(StoredRow, Bytes)> {
        let mut statement = connection.prepare_cached(&format!(
            "SELECT {COLUMNS}, data FROM blocks WHERE position = ?1"
        ))?;
        let mut rows = statement.query([position.0])?;
        let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        let data = row.get_ref(11)?.as_blob().map_err(wrong_value)?;
        let data = Bytes::copy_from_slice(data);
        let block = SealedBlock::parse(data.clone()).ok();
        Ok((block_row_or(row, lanes, block.as_ref())?, data))
    };
    let without_data = || {
        let mut statement = connection
            .prepare_cached(&format!("SELECT {COLUMNS} FROM blocks WHERE position = ?1"))
            .ok()?;
        statement
            .query_row([position.0], |row| block_row(row, lanes))
            .ok()
            .map(|stored| stored.row)
    };
    let (stored, data) = with_data().map_err(|error| (without_data(), DamageReason::of(&error)))?;
    check(&stored, data).map_err(|reason| (Some(stored.row), reason))
}

pub(crate) fn check(stored: &StoredRow, data: Bytes) -> Result<SealedBlock, DamageReason> {
    let StoredRow { row, checksum } = stored;
    let computed = xxh3_64(&data);
    if computed != *checksum {
        return Err(DamageReason::Checksum {
            stated: *checksum,
            computed,
        });
    }
    let block = SealedBlock::parse(data).map_err(|error| DamageReason::Block(error.to_string()))?;
    let BlockRow {
        position,
        lane,
        number,
        records,
        payload_bytes,
        stored_bytes,
        event_time_min,
        event_time_max,
        committed,
        digest,
    } = BlockRow::of(row.position, &block, row.committed);
    debug_assert_eq!((position, committed), (row.position, row.committed));
    let same = [
        ("lane", lane == row.lane),
        ("number", number == row.number),
        ("count of records", records == row.records),
        ("size", payload_bytes == row.payload_bytes),
        ("stored size", stored_bytes == row.stored_bytes),
        ("event time", event_time_min == row.event_time_min),
        ("event time", event_time_max == row.event_time_max),
        ("digest", digest == row.digest),
    ];
    match same.iter().find(|(_, same)| !same) {
        Some((what, _)) => Err(DamageReason::Disagrees(what)),
        None => Ok(block),
    }
}

impl BlockRow {
    pub(crate) fn id(&self) -> efd_shared_model::BlockId {
        self.lane.block(BlockNumber(self.number))
    }
}

/// How much some blocks are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub blocks: u64,
    pub records: u64,
    /// Earliest and latest event time; `None` of no blocks.
    pub event_span: Option<(UtcNanos, UtcNanos)>,
    /// When the first of them was committed; `None` of no blocks.
    pub committed_first: Option<UtcNanos>,
}

pub(crate) fn tally(
    connection: &Connection,
    log: &EpochLane,
    numbers: &RangeSet,
) -> rusqlite::Result<Tally> {
    let lanes = lane_keys(connection)?;
    let mut statement = connection.prepare_cached(
        "SELECT count(*), total(records), min(event_time_min), max(event_time_max), min(committed)
         FROM blocks WHERE epoch_lane = ?1 AND number BETWEEN ?2 AND ?3",
    )?;
    let mut sum = Tally::default();
    for (key, _) in lanes.iter().filter(|(_, lane)| *lane == log) {
        for range in numbers.iter() {
            let end = |number: u64| number.min(i64::MAX as u64);
            let (first, last) = (end(*range.start()), end(*range.end()));
            statement.query_row(rusqlite::params![key, first, last], |row| {
                let span: (Option<i64>, Option<i64>) = (row.get(2)?, row.get(3)?);
                sum.blocks += row.get::<_, u64>(0)?;
                sum.records += row.get::<_, f64>(1)? as u64;
                if let (Some(min), Some(max)) = span {
                    let (min, max) = (UtcNanos(min), UtcNanos(max));
                    let known = sum.event_span.get_or_insert((min, max));
                    *known = (known.0.min(min), known.1.max(max));
                }
                if let Some(committed) = row.get::<_, Option<i64>>(4)?.map(UtcNanos) {
                    let first = sum.committed_first.get_or_insert(committed);
                    *first = (*first).min(committed);
                }
                Ok(())
            })?;
        }
    }
    Ok(sum)
}
