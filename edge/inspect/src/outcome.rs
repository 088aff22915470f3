//! How a command ends.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use efd_shared_store::{FORMAT, LaneNameError, StoreError};

use crate::when::WindowError;

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
    #[error(
        "{} has format {found}, this build reads up to {FORMAT}: use the efd-inspect of the release that wrote it, or a newer one",
        path.display()
    )]
    TooNew { path: PathBuf, found: u32 },
    #[error(transparent)]
    Store(#[from] StoreError),
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
    #[error(transparent)]
    Window(#[from] WindowError),
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
            Self::TooNew { .. } | Self::Store(StoreError::TooNew { .. }) => Exit::TooNew,
            Self::Store(StoreError::Damaged { .. }) => Exit::Damaged,
            Self::Store(_)
            | Self::NoLane { .. }
            | Self::LaneName(_)
            | Self::NoTopic { .. }
            | Self::Window(_)
            | Self::Output(_) => Exit::Failed,
        }
    }
}
