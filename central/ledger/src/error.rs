use std::path::PathBuf;

use efd_central_log::LogError;

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("make the folder {}", folder.display())]
    Folder {
        folder: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{action} of the ledger {}", file.display())]
    Sqlite {
        action: &'static str,
        file: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error(
        "the ledger {} has version {found}, this build knows up to {max}; it can be deleted: it is made anew from the log",
        file.display()
    )]
    TooNew { file: PathBuf, found: i64, max: i64 },
    #[error(
        "the ledger {}: {what} cannot be read; it can be deleted: it is made anew from the log",
        file.display()
    )]
    Damaged { file: PathBuf, what: String },
    #[error("read the log")]
    Log(#[from] LogError),
}
