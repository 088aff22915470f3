//! The feed's own folder: one checkpoint, replaced as a whole, and a lock.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::checkpoint::{Checkpoint, CheckpointError};

const CHECKPOINT: &str = "checkpoint.json";
const CHECKPOINT_TMP: &str = "checkpoint.json.tmp";
const LOCK: &str = "lock";

#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("{action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is in use by another feed", path.display())]
    Locked { path: PathBuf },
    #[error(
        "checkpoint {}: {source}; moved aside, the feed begins with no checkpoint and reads all its topics back",
        path.display()
    )]
    Checkpoint {
        path: PathBuf,
        #[source]
        source: CheckpointError,
    },
}

/// Where checkpoints are kept. In memory for tests of the session.
pub(crate) trait CheckpointStore {
    /// Durable when this returns `Ok`.
    fn save(&mut self, checkpoint: &Checkpoint) -> Result<(), FolderError>;
}

#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Held as long as this lives; the system frees it when the process ends, however it ends.
    _lock: File,
}

impl Folder {
    pub(crate) fn open(path: &Path) -> Result<Self, FolderError> {
        fs::create_dir_all(path).map_err(at("create", path))?;
        let lock_path = path.join(LOCK);
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(at("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(FolderError::Locked {
                path: path.to_owned(),
            }),
            Err(TryLockError::Error(source)) => Err(at("lock", &lock_path)(source)),
        }
    }

    /// Of the checkpoint, as it stands; 0 where there is none.
    pub(crate) fn checkpoint_bytes(&self) -> u64 {
        fs::metadata(self.path.join(CHECKPOINT)).map_or(0, |metadata| metadata.len())
    }

    /// `None` where there is none yet.
    pub(crate) fn load(&self) -> Result<Option<Checkpoint>, FolderError> {
        let path = self.path.join(CHECKPOINT);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(at("read", &path)(source)),
        };
        let checkpoint = Checkpoint::from_text(&text);
        checkpoint
            .map(Some)
            .map_err(|source| FolderError::Checkpoint { path, source })
    }
}

impl CheckpointStore for Folder {
    fn save(&mut self, checkpoint: &Checkpoint) -> Result<(), FolderError> {
        let (tmp, path) = (self.path.join(CHECKPOINT_TMP), self.path.join(CHECKPOINT));
        let mut file = File::create(&tmp).map_err(at("create", &tmp))?;
        let text = checkpoint.to_text();
        file.write_all(text.as_bytes()).map_err(at("write", &tmp))?;
        file.sync_all().map_err(at("sync", &tmp))?;
        fs::rename(&tmp, &path).map_err(at("rename to", &path))?;
        let folder = File::open(&self.path).map_err(at("open", &self.path))?;
        folder.sync_all().map_err(at("sync", &self.path))
    }
}

fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Io {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_owner_and_whole_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new").join("feed");
        let mut folder = Folder::open(&path).unwrap();
        assert!(matches!(
            Folder::open(&path),
            Err(FolderError::Locked { .. })
        ));
        assert_eq!(folder.load().unwrap(), None);
        let mut checkpoint = Checkpoint::default();
        for end in 0..3 {
            checkpoint.outputs.entry("t".into()).or_default().end = end;
            folder.save(&checkpoint).unwrap();
            assert_eq!(folder.load().unwrap().as_ref(), Some(&checkpoint));
        }
        fs::write(path.join(CHECKPOINT_TMP), "torn").unwrap();
        drop(folder);
        let folder = Folder::open(&path).unwrap();
        assert_eq!(folder.load().unwrap(), Some(checkpoint));
        fs::write(path.join(CHECKPOINT), "{").unwrap();
        let error = folder.load().unwrap_err().to_string();
        assert!(error.contains("reads all its topics back"), "{error}");
    }
}
