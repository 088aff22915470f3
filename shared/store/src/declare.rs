//! Epochs, streams and schemas as rows: the same tables in `meta.db` and in every segment.

use efd_shared_model::bytes::{ByteError, Reader, Writer};
use efd_shared_model::schema::SCHEMA_BYTES_MAX;
use efd_shared_model::{EpochDeclaration, EpochId, Fingerprint, Schema, StreamDeclaration};
use rusqlite::{Connection, OptionalExtension, params};

use crate::sealed::{seal, unseal, wrong_value};

pub(crate) const DECLARATION_TABLES: &str = "
CREATE TABLE epochs (epoch BLOB PRIMARY KEY, declaration BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE schemas (fingerprint BLOB NOT NULL UNIQUE, text_bytes INTEGER NOT NULL, zstd BLOB NOT NULL) STRICT;
CREATE TABLE streams (
    epoch BLOB NOT NULL, number INTEGER NOT NULL, declaration BLOB NOT NULL, PRIMARY KEY (epoch, number)
) STRICT, WITHOUT ROWID;
";

/// A schema whose text was compressed. What does not have its fingerprint is an error.
pub fn decompress_schema(
    fingerprint: &Fingerprint,
    zstd: &[u8],
    bytes_max: usize,
) -> rusqlite::Result<Schema> {
    let text = zstd::bulk::decompress(zstd, bytes_max)
        .map_err(|error| wrong_value(format!("decompress schema {fingerprint}: {error}")))?;
    let schema = String::from_utf8(text)
        .map(Schema::new)
        .map_err(|error| wrong_value(format!("schema {fingerprint}: {error}")))?;
    if schema.fingerprint() == *fingerprint {
        Ok(schema)
    } else {
        let found = schema.fingerprint();
        Err(wrong_value(format!(
            "schema {fingerprint} has the text of {found}"
        )))
    }
}

/// The declarations in one database.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Declared<'a> {
    connection: &'a Connection,
}

impl<'a> Declared<'a> {
    pub(crate) fn new(connection: &'a Connection) -> Self {
        Self { connection }
    }

    /// Ascending by id.
    pub(crate) fn epochs(self) -> rusqlite::Result<Vec<EpochDeclaration>> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT declaration, epoch FROM epochs ORDER BY epoch")?;
        let rows = statement.query_map([], |row| decode(row, EpochDeclaration::read))?;
        rows.collect()
    }

    pub(crate) fn epoch(self, epoch: EpochId) -> rusqlite::Result<Option<EpochDeclaration>> {
        self.connection
            .prepare_cached("SELECT declaration, epoch FROM epochs WHERE epoch = ?1")?
            .query_row([epoch.0], |row| decode(row, EpochDeclaration::read))
            .optional()
    }

    /// Ascending by number.
    pub(crate) fn streams(self, epoch: EpochId) -> rusqlite::Result<Vec<StreamDeclaration>> {
        self.streams_between(epoch, 0, u32::MAX)
    }

    /// Those with numbers above `after`, up to and with `through`.
    pub(crate) fn streams_between(
        self,
        epoch: EpochId,
        after: u32,
        through: u32,
    ) -> rusqlite::Result<Vec<StreamDeclaration>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT declaration, epoch FROM streams WHERE epoch = ?1 AND ?2 < number AND number <= ?3
             ORDER BY number",
        )?;
        let rows = statement.query_map(params![epoch.0, after, through], |row| {
            decode(row, StreamDeclaration::read)
        })?;
        rows.collect()
    }

    /// Takes over an epoch and a span of its streams, with their schemas. Gives about the bytes that were written.
    pub(crate) fn copy_from(
        self,
        source: Declared<'_>,
        epoch: EpochId,
        after: u32,
        through: u32,
    ) -> rusqlite::Result<u64> {
        let declaration = source.epoch(epoch)?;
        let declaration = declaration.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        let mut bytes = self.put_epoch(&declaration)?;
        for stream in source.streams_between(epoch, after, through)? {
            if !self.has_schema(&stream.schema)?
                && let Some((text_bytes, zstd)) = source.schema_zstd(&stream.schema)?
            {
                bytes += self.put_schema(&stream.schema, text_bytes, &zstd)?;
            }
            bytes += self.put_stream(epoch, &stream)?;
        }
        Ok(bytes)
    }

    /// The largest stream number declared; 0 if none is.
    pub(crate) fn through(self, epoch: EpochId) -> rusqlite::Result<u32> {
        self.connection
            .prepare_cached("SELECT max(number) FROM streams WHERE epoch = ?1")?
            .query_row([epoch.0], |row| row.get::<_, Option<u32>>(0))
            .map(Option::unwrap_or_default)
    }

    pub(crate) fn has_schema(self, fingerprint: &Fingerprint) -> rusqlite::Result<bool> {
        self.connection
            .prepare_cached("SELECT 1 FROM schemas WHERE fingerprint = ?1")?
            .exists([fingerprint.0])
    }

    /// Bytes of the text, and the text compressed.
    pub(crate) fn schema_zstd(
        self,
        fingerprint: &Fingerprint,
    ) -> rusqlite::Result<Option<(u64, Vec<u8>)>> {
        self.connection
            .prepare_cached("SELECT text_bytes, zstd FROM schemas WHERE fingerprint = ?1")?
            .query_row([fingerprint.0], |row| {
                Ok((row.get::<_, u32>(0)?.into(), row.get(1)?))
            })
            .optional()
    }

    /// `None` if it is not here. What does not have its fingerprint is an error.
    pub(crate) fn schema(self, fingerprint: &Fingerprint) -> rusqlite::Result<Option<Schema>> {
        let Some((text_bytes, zstd)) = self.schema_zstd(fingerprint)? else {
            return Ok(None);
        };
        let bytes_max = (text_bytes as usize).min(SCHEMA_BYTES_MAX);
        decompress_schema(fingerprint, &zstd, bytes_max).map(Some)
    }

    /// What is declared already stays. Gives about the bytes that were written.
    pub(crate) fn put_epoch(self, epoch: &EpochDeclaration) -> rusqlite::Result<u64> {
        let mut out = Writer::new();
        epoch.write(&mut out);
        self.put(
            "INSERT OR IGNORE INTO epochs VALUES (?1, ?2)",
            params![epoch.epoch.0, seal(&[&epoch.epoch.0], out.as_bytes())],
            out.len(),
        )
    }

    pub(crate) fn put_stream(
        self,
        epoch: EpochId,
        stream: &StreamDeclaration,
    ) -> rusqlite::Result<u64> {
        let mut out = Writer::new();
        stream.write(&mut out);
        self.put(
            "INSERT OR IGNORE INTO streams VALUES (?1, ?2, ?3)",
            params![epoch.0, stream.number.0, seal(&[&epoch.0], out.as_bytes())],
            out.len(),
        )
    }

    pub(crate) fn put_schema(
        self,
        fingerprint: &Fingerprint,
        text_bytes: u64,
        zstd: &[u8],
    ) -> rusqlite::Result<u64> {
        self.put(
            "INSERT OR IGNORE INTO schemas VALUES (?1, ?2, ?3)",
            params![fingerprint.0, text_bytes as i64, zstd],
            zstd.len(),
        )
    }

    fn put(
        self,
        statement: &str,
        values: impl rusqlite::Params,
        bytes: usize,
    ) -> rusqlite::Result<u64> {
        let added = self.connection.prepare_cached(statement)?.execute(values)?;
        Ok(added as u64 * (bytes as u64 + 64))
    }
}

fn decode<T>(
    row: &rusqlite::Row<'_>,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, ByteError>,
) -> rusqlite::Result<T> {
    let (sealed, key): (Vec<u8>, [u8; 16]) = (row.get(0)?, row.get(1)?);
    let mut reader = Reader::new(unseal(&[&key], &sealed)?);
    read(&mut reader)
        .and_then(|value| reader.finish().map(|()| value))
        .map_err(wrong_value)
}
