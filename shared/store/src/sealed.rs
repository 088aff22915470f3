//! A checksum on the small values of a database: SQLite finds a broken page, not a flipped bit inside a value.

use rusqlite::types::Type;
use xxhash_rust::xxh3::Xxh3Default;

const CHECKSUM_BYTES: usize = 8;

fn checksum(key: &[&[u8]], value: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = Xxh3Default::new();
    for part in key {
        hasher.update(part);
    }
    hasher.update(value);
    hasher.digest().to_le_bytes()
}

/// The value, then the XXH3-64 of its key and itself.
pub fn seal(key: &[&[u8]], value: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(value.len() + CHECKSUM_BYTES);
    sealed.extend_from_slice(value);
    sealed.extend_from_slice(&checksum(key, value));
    sealed
}

/// The value, if it is what was sealed under that key.
pub fn unseal<'a>(key: &[&[u8]], sealed: &'a [u8]) -> rusqlite::Result<&'a [u8]> {
    sealed
        .split_last_chunk::<CHECKSUM_BYTES>()
        .filter(|(value, sum)| checksum(key, value) == **sum)
        .map(|(value, _)| value)
        .ok_or_else(|| wrong_value("its checksum is wrong"))
}

/// A value that this crate cannot have written.
pub fn wrong_value(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Blob, reason.into())
}
