use std::io;
use std::path::{Path, PathBuf};

use efd_central_log::LogError;
use efd_shared_model::bytes::ByteError;

#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    #[error("lake {root} is in use by another process: stop it, or give this one another root")]
    Locked { root: PathBuf },
    #[error("{action} {path}: no space left: make room, the lake goes on by itself")]
    NoSpace { action: &'static str, path: PathBuf },
    #[error("{action} {path}: {source}")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("commit {path} cannot be read: {reason}")]
    BadCommit { path: PathBuf, reason: String },
    #[error("commit {path} has version {found}, this build reads up to {max}")]
    TooNew { path: PathBuf, found: u32, max: u32 },
    #[error("commit {path} exists and is not ours: two writers on one lake")]
    Conflict { path: PathBuf },
    #[error("write {path}: {reason}")]
    Parquet { path: PathBuf, reason: String },
    #[error("read back buffered records: {0}")]
    Buffer(#[from] BufferError),
    #[error("read the log: {0}")]
    Log(#[from] LogError),
}

/// The lake's own memory does not hold what was put there.
#[derive(Debug, thiserror::Error)]
pub enum BufferError {
    #[error("decompress: {0}")]
    Decompress(io::Error),
    #[error("{0}")]
    Bytes(#[from] ByteError),
    #[error("a record that was checked does not decode: {0}")]
    Datum(#[from] efd_shared_avro::DatumError),
}

impl LakeError {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        if matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            return Self::NoSpace { action, path };
        }
        Self::Io {
            action,
            path,
            source,
        }
    }

    pub(crate) fn is_no_space(&self) -> bool {
        matches!(self, Self::NoSpace { .. })
    }

    /// Whether trying again may help; what does not needs a person.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NoSpace { .. } | Self::Io { .. } | Self::Log(_) | Self::Parquet { .. } => true,
            Self::Locked { .. }
            | Self::BadCommit { .. }
            | Self::TooNew { .. }
            | Self::Conflict { .. }
            | Self::Buffer(_) => false,
        }
    }
}
