//! A file whose span is over, written anew: one row for each channel, so that a year of one of them is a few reads.

use std::collections::BTreeMap;
use std::path::Path;

use efd_shared_store::StoreError;
use efd_shared_store::database::{Disk, FileKind, checkpoint, file, sql, with_suffix, wrong_value};
use rusqlite::{Connection, params};

use crate::column::Packing;
use crate::file::{Series, TABLES, TierReader, settled_key};
use crate::piece::{self, Piece, sources};
use crate::statistic::Statistics;

/// Takes what the file has into one that replaces it, as one step; the file stays as it was if that fails. Nobody may
/// write to it meanwhile; who reads it goes on with what was there. False where a reader has to be waited for: nothing
/// was done.
///
/// Memory: the windows of 128 channels of one series.
pub fn settle(path: &Path, disk: &Disk) -> Result<bool, StoreError> {
    // As long as a part of it is in its WAL, the one must not be replaced without the other.
    let writer = disk.open_writer(path)?;
    if !checkpoint(&writer, "TRUNCATE").map_err(sql("settle", path))? {
        return Ok(false);
    }
    crate::file::close(writer, path)?;
    let reader = TierReader::open(path, disk)?;
    let new = with_suffix(path, ".settling");
    disk.unlink_database(&new).map_err(file("remove", &new))?;
    disk.create(&new, FileKind::Tier, TABLES)?;
    let target = disk.open_writer(&new)?;
    let transaction = target
        .unchecked_transaction()
        .map_err(sql("settle", &new))?;
    copy_others(&reader, &transaction).map_err(sql("settle", &new))?;
    for series in reader.series()? {
        settle_series(&reader, &series, &transaction, &new)?;
    }
    transaction.commit().map_err(sql("settle", &new))?;
    crate::file::close(target, &new)?;
    drop(reader);
    disk.unlink_beside(path).map_err(file("settle", path))?;
    disk.rename(&new, path).map_err(file("settle", path))?;
    let folder = path.parent().unwrap_or(path);
    disk.sync_dir(folder).map_err(file("settle", path))?;
    Ok(true)
}

/// All but the windows. The ids of commits stay, so that those to come are larger.
fn copy_others(reader: &TierReader, target: &Connection) -> rusqlite::Result<()> {
    let source = reader.connection();
    for (table, columns) in [("tier", 5), ("schemas", 2), ("series", 2), ("commits", 2)] {
        let places = vec!["?"; columns].join(", ");
        let mut put = target.prepare(&format!("INSERT INTO {table} VALUES ({places})"))?;
        let mut all = source.prepare(&format!("SELECT * FROM {table}"))?;
        let mut rows = all.query([])?;
        while let Some(row) = rows.next()? {
            let values = (0..columns).map(|column| row.get::<_, rusqlite::types::Value>(column));
            let values: Vec<_> = values.collect::<Result<_, _>>()?;
            put.execute(rusqlite::params_from_iter(values))?;
        }
    }
    Ok(())
}

fn settle_series(
    reader: &TierReader,
    series: &Series,
    target: &Connection,
    new: &Path,
) -> Result<(), StoreError> {
    let channels = series.key.shape.channels();
    for number in 0..channels.div_ceil(piece::CHANNELS_MAX) {
        let first = number * piece::CHANNELS_MAX;
        let rows = reader.pieces_with_commits(series.id, number, Statistics::ALL)?;
        for channel in first..channels.min(first + piece::CHANNELS_MAX) {
            let before = reader.settled(series.id, channel, Statistics::ALL)?;
            let pieces = rows.iter().map(|(_, piece)| piece);
            let sources = sources(before.as_ref(), pieces, channel - first);
            let Some(mut whole) = Piece::merged(sources) else {
                continue;
            };
            if channel == 0 {
                whole.origins = origins(&whole, before.as_ref(), &rows);
            }
            whole.round_merged();
            let key = settled_key(series.id, channel);
            let put = || -> rusqlite::Result<()> {
                let bytes = whole.encode(key, Packing::Small).map_err(wrong_value)?;
                target
                    .prepare_cached("INSERT INTO settled VALUES (?1, ?2)")?
                    .execute(params![key as i64, bytes])?;
                Ok(())
            };
            put().map_err(sql("settle", new))?;
        }
    }
    Ok(())
}

/// The commit that each window of the whole came with last.
fn origins(whole: &Piece, before: Option<&Piece>, rows: &[(u32, Piece)]) -> Vec<u32> {
    let mut all = BTreeMap::new();
    if let Some(before) = before {
        all.extend(
            before
                .windows
                .iter()
                .copied()
                .zip(before.origins.iter().copied()),
        );
    }
    for (commit, piece) in rows {
        all.extend(piece.windows.iter().map(|&window| (window, *commit)));
    }
    let of = |window| all.get(window).copied().unwrap_or_default();
    whole.windows.iter().map(of).collect()
}
