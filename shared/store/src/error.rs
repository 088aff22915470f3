//! What can go wrong, by what a caller can do about it.

use std::io;
use std::path::{Path, PathBuf};

use efd_shared_model::{BlockError, BlockId, EpochId, Fingerprint, StreamNumber};
use rusqlite::ErrorCode;

use crate::lane::{LaneName, Position, SegmentKey};

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing was changed. Free space, by retention or by hand, and do it again.
    #[error("{what} {}: no space left on the device", path.display())]
    NoSpace { what: &'static str, path: PathBuf },
    /// The device or the file system failed. What was to be written is not durable: write it again.
    #[error("{what} {}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// SQLite failed, most often because the device did. What was to be written is not durable: write it again.
    #[error("{what} {}", path.display())]
    Sqlite {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error("{} is damaged: {reason}", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("{} has format {found}, this build reads up to {newest}: use the release that wrote it, or a newer one", path.display())]
    TooNew {
        path: PathBuf,
        found: i64,
        newest: i64,
    },
    #[error("{} is in use by another process (its lock is held)", path.display())]
    Locked { path: PathBuf },
    #[error("{} is not a store: it has neither `meta.db` nor `segments`", path.display())]
    NotAStore { path: PathBuf },
    #[error("SQLite {found} is linked; older than {needed} corrupts WAL files")]
    OldSqlite { found: String, needed: String },
    #[error("block {block} may not be stored before its {what} is declared")]
    Undeclared { block: BlockId, what: Undeclared },
    #[error("epoch {epoch}: {what} is declared otherwise already")]
    Conflict { epoch: EpochId, what: String },
    #[error("stream {} of epoch {epoch} needs schema {fingerprint}, which is not known", stream.0)]
    NoSchema {
        epoch: EpochId,
        stream: StreamNumber,
        fingerprint: Fingerprint,
    },
    #[error("epoch {0} is not declared")]
    NoEpoch(EpochId),
    #[error("block refused")]
    Block(#[from] BlockError),
    #[error("lane {lane} is full: position {at} is the last")]
    LaneFull { lane: LaneName, at: Position },
    #[error("{what} of {found}, at most {max} are taken")]
    TooLarge {
        what: &'static str,
        found: usize,
        max: usize,
    },
    #[error("segment {0} is not held")]
    NoSegment(SegmentKey),
    #[error("segment {0} is still written to: only closed segments are removed")]
    StillOpen(SegmentKey),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Undeclared {
    #[error("epoch")]
    Epoch,
    #[error("stream {}", .0.0)]
    Stream(StreamNumber),
}

impl StoreError {
    pub(crate) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        if matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            return Self::NoSpace { what, path };
        }
        Self::Io { what, path, source }
    }

    pub(crate) fn sqlite(what: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::NoSpace { what, path },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged {
                path,
                reason: source.to_string(),
            },
            _ if is_a_wrong_value(&source) => Self::Damaged {
                path,
                reason: source.to_string(),
            },
            _ => Self::Sqlite { what, path, source },
        }
    }

    /// Free space and do it again.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::NoSpace { .. })
    }

    /// What was asked for is wrong in itself, and will be the next time.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Undeclared { .. } | Self::Conflict { .. } | Self::NoSchema { .. } => true,
            Self::NoEpoch(_) | Self::Block(_) | Self::TooLarge { .. } => true,
            Self::NoSpace { .. } | Self::Io { .. } | Self::Sqlite { .. } => false,
            Self::Damaged { .. } | Self::TooNew { .. } | Self::Locked { .. } => false,
            Self::NotAStore { .. } | Self::OldSqlite { .. } | Self::LaneFull { .. } => false,
            Self::NoSegment(_) | Self::StillOpen(_) => false,
        }
    }

    /// The device, the file system or a file failed, not the caller.
    pub fn is_device(&self) -> bool {
        matches!(
            self,
            Self::Io { .. } | Self::Sqlite { .. } | Self::Damaged { .. }
        )
    }
}

/// A column that does not hold what this crate wrote there.
fn is_a_wrong_value(error: &rusqlite::Error) -> bool {
    matches!(
        error,
        rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::Utf8Error(..)
    )
}

/// For use with `map_err`.
pub fn sql<'a>(what: &'static str, path: &'a Path) -> impl Fn(rusqlite::Error) -> StoreError + 'a {
    move |source| StoreError::sqlite(what, path, source)
}

/// For use with `map_err`.
pub fn file<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> StoreError + 'a {
    move |source| StoreError::io(what, path, source)
}

/// With what is behind it, in one line.
pub fn chain(error: &StoreError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
