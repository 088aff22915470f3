//! Where checkpoints are kept: in a folder of this machine, or in the cluster, where another process finds them.

use efd_central_log::{LogError, Seat};

use crate::checkpoint::{Checkpoint, VERSION};
use crate::folder::{Folder, FolderError, Loaded};

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Seat(#[from] LogError),
    #[error(
        "the checkpoint in the cluster is of version {found}, this build reads {VERSION}: run the newer build that wrote it"
    )]
    TooNew { found: u64 },
}

impl StoreError {
    /// With its cause, on one line.
    pub(crate) fn one_line(&self) -> String {
        match self {
            Self::Folder(error) => error.one_line(),
            Self::Seat(_) | Self::TooNew { .. } => self.to_string(),
        }
    }
}

/// In memory for tests of the session.
pub(crate) trait CheckpointStore {
    /// Durable when this returns `Ok`.
    fn save(&mut self, checkpoint: &Checkpoint) -> Result<(), StoreError>;
}

/// As found at the start of a session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    Checkpoint(Box<Checkpoint>),
    Damaged { reason: String },
}

#[derive(Debug)]
pub(crate) enum Store<'a> {
    Folder(&'a mut Folder),
    Seat {
        seat: &'a Seat,
        /// Of the last one that was saved or loaded.
        bytes: u64,
    },
}

impl Store<'_> {
    pub(crate) fn load(&mut self) -> Result<Found, StoreError> {
        match self {
            Self::Folder(folder) => Ok(match folder.load()? {
                Loaded::Nothing => Found::Nothing,
                Loaded::Checkpoint(checkpoint) => Found::Checkpoint(Box::new(checkpoint)),
                Loaded::Damaged { moved_to, reason } => Found::Damaged {
                    reason: format!("{reason}; moved to {}", moved_to.display()),
                },
            }),
            Self::Seat { seat, bytes } => {
                let Some(found) = seat.load()? else {
                    return Ok(Found::Nothing);
                };
                *bytes = found.len() as u64;
                match Checkpoint::from_bytes(&found) {
                    Ok(checkpoint) => Ok(Found::Checkpoint(Box::new(checkpoint))),
                    Err(error) => match error.newer() {
                        Some(found) => Err(StoreError::TooNew { found }),
                        None => Ok(Found::Damaged {
                            reason: error.to_string(),
                        }),
                    },
                }
            }
        }
    }

    /// Of the checkpoint, as it stands; 0 where there is none.
    pub(crate) fn checkpoint_bytes(&self) -> u64 {
        match self {
            Self::Folder(folder) => folder.checkpoint_bytes(),
            Self::Seat { bytes, .. } => *bytes,
        }
    }
}

impl CheckpointStore for Store<'_> {
    fn save(&mut self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        match self {
            Self::Folder(folder) => Ok(folder.save(checkpoint)?),
            Self::Seat { seat, bytes } => {
                let text = checkpoint.to_text();
                seat.save(text.as_bytes())?;
                *bytes = text.len() as u64;
                Ok(())
            }
        }
    }
}
