//! Every checksum of a file.

use std::path::Path;

use efd_shared_store::StoreError;
use efd_shared_store::database::{Disk, chain};
use rusqlite::Connection;

use crate::file::TierReader;
use crate::piece::Piece;
use crate::statistic::Statistics;

/// Reads all of a file; `damaged` is told what is not as it was written. An error: the file cannot be opened.
pub fn verify(path: &Path, disk: &Disk, mut damaged: impl FnMut(String)) -> Result<(), StoreError> {
    let reader = TierReader::open(path, disk)?;
    let connection = reader.connection();
    match connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0)) {
        Ok(answer) if answer == "ok" => {}
        Ok(answer) => damaged(answer),
        Err(error) => damaged(error.to_string()),
    }
    match reader.series() {
        Ok(all) => {
            for series in all {
                match reader.schema(&series.key.schema) {
                    Ok(Some(_)) => {}
                    Ok(None) => damaged(format!("{} has no schema", series.key.topic)),
                    Err(error) => damaged(chain(&error)),
                }
            }
        }
        Err(error) => damaged(chain(&error)),
    }
    if let Err(error) = reader.notes() {
        damaged(chain(&error));
    }
    for table in ["rows", "settled"] {
        if let Err(error) = check_pieces(connection, table, &mut damaged) {
            damaged(format!("{table}: {error}"));
        }
    }
    Ok(())
}

fn check_pieces(
    connection: &Connection,
    table: &str,
    damaged: &mut impl FnMut(String),
) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare(&format!("SELECT key, piece FROM {table} ORDER BY key"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let key = row.get::<_, i64>(0)? as u64;
        let bytes = row.get_ref(1)?.as_blob()?;
        if let Err(error) = Piece::decode(bytes, key, Statistics::ALL) {
            damaged(format!("{table}, key {key:#x}: {error}"));
        }
    }
    Ok(())
}
