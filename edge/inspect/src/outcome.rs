//! How a command ends.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use efd_shared_model::{BlockId, RecordId};
use efd_shared_store::{LaneNameError, StoreError};

use efd_shared_daemon::when::WindowError;

/// The numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Done; nothing met was damaged.
    Intact = 0,
    /// Not done: wrong arguments, nothing there, no permission.
    Failed = 1,
    /// Done; something is damaged, or may not be all, and was named.
    Damaged = 2,
    /// Not done: a newer version has written it.
    TooNew = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is no tier `{name}` here: there are {}", tiers.join(", "))]
    NoTier { name: String, tiers: Vec<String> },
    #[error("there is no lane `{lane}` here: there are {}", lanes.join(", "))]
    NoLane { lane: String, lanes: Vec<String> },
    #[error(transparent)]
    LaneName(#[from] LaneNameError),
    #[error("no topic of {of} matches `{pattern}`{}", did_you_mean(similar))]
    NoTopic {
        pattern: String,
        of: usize,
        /// A few that could have been meant.
        similar: Vec<String>,
    },
    #[error(
        "none of the {of} fields of these topics is `{name}`{}",
        did_you_mean(similar)
    )]
    NoField {
        name: String,
        of: usize,
        /// A few that could have been meant.
        similar: Vec<String>,
    },
    #[error(transparent)]
    Window(#[from] WindowError),
    #[error("`{0}` is neither a topic nor edge/epoch/lane/number[/index]")]
    NotAnId(String),
    #[error("block {0} is not held")]
    NoBlock(BlockId),
    #[error("block {id} cannot be shown: {reason}")]
    DamagedBlock { id: BlockId, reason: String },
    #[error("record {id} is not there: its block has {records}, counted from 0")]
    NoRecord { id: RecordId, records: u32 },
    #[error("nobody named `{name}` has acknowledged anything: there are {}", known.join(", "))]
    NoDestination { name: String, known: Vec<String> },
    #[error("write {}", path.display())]
    Export {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not empty: what is written needs a folder of its own", path.display())]
    NotEmpty { path: PathBuf },
    #[error(
        "{} has an export that is under way or was interrupted (`export.partial` is there): choose another folder, or remove it",
        path.display()
    )]
    Unfinished { path: PathBuf },
    #[error("keep the records that wait until all are there, on the disk of {}", folder.display())]
    Spill {
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is inside {}, which is never written to", path.display(), buffer.display())]
    Inside { path: PathBuf, buffer: PathBuf },
    #[error("{} is not what it was made to be, and was removed again: {finding}", path.display())]
    Unsound { path: PathBuf, finding: String },
    #[error("make Parquet of {topic}: {reason}")]
    Parquet { topic: String, reason: String },
    #[cfg(feature = "rescue")]
    #[error(transparent)]
    Send(#[from] crate::send::SendError),
    #[cfg(feature = "play")]
    #[error(transparent)]
    Play(#[from] crate::play::PlayError),
    #[error("write the output")]
    Output(#[from] io::Error),
}

fn did_you_mean(similar: &[String]) -> String {
    match similar {
        [] => String::new(),
        similar => format!(": there are {}", similar.join(", ")),
    }
}

impl InspectError {
    /// Whoever read our output has had enough (`| head`).
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    pub fn exit(&self) -> Exit {
        match self {
            Self::Store(StoreError::TooNew { .. }) => Exit::TooNew,
            Self::Store(StoreError::Damaged { .. }) | Self::DamagedBlock { .. } => Exit::Damaged,
            #[cfg(feature = "rescue")]
            Self::Send(error) if error.is_too_new() => Exit::TooNew,
            #[cfg(feature = "rescue")]
            Self::Send(_) => Exit::Failed,
            #[cfg(feature = "play")]
            Self::Play(_) => Exit::Failed,
            Self::Store(_)
            | Self::NoTier { .. }
            | Self::NoLane { .. }
            | Self::LaneName(_)
            | Self::NoTopic { .. }
            | Self::NoField { .. }
            | Self::Window(_)
            | Self::NotAnId(_)
            | Self::NoBlock(_)
            | Self::NoRecord { .. }
            | Self::NoDestination { .. }
            | Self::Export { .. }
            | Self::NotEmpty { .. }
            | Self::Unfinished { .. }
            | Self::Spill { .. }
            | Self::Inside { .. }
            | Self::Parquet { .. }
            | Self::Unsound { .. }
            | Self::Output(_) => Exit::Failed,
        }
    }
}
