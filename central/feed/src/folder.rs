//! The feed's own folder: one checkpoint, replaced as a whole, and a lock.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::checkpoint::{Checkpoint, VERSION};

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
        "checkpoint {}: version {found}, this build reads {VERSION}; run the newer build that wrote it, or move the \
         file away: the feed then reads all its topics back",
        path.display()
    )]
    TooNew { path: PathBuf, found: u64 },
}

impl FolderError {
    /// With its cause, on one line.
    pub(crate) fn one_line(&self) -> String {
        match std::error::Error::source(self) {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        }
    }
}

/// What a folder has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Loaded {
    /// No checkpoint yet.
    Nothing,
    Checkpoint(Checkpoint),
    /// A checkpoint that cannot be read. It stands out of the way, for people to look at.
    Damaged {
        moved_to: PathBuf,
        reason: String,
    },
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

    /// A damaged checkpoint is moved aside: beginning without one costs reading, not records.
    pub(crate) fn load(&self) -> Result<Loaded, FolderError> {
        let path = self.path.join(CHECKPOINT);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Loaded::Nothing),
            Err(source) => return Err(at("read", &path)(source)),
        };
        match Checkpoint::from_bytes(&bytes) {
            Ok(checkpoint) => Ok(Loaded::Checkpoint(checkpoint)),
            Err(error) => match error.newer() {
                Some(found) => Err(FolderError::TooNew { path, found }),
                None => Ok(Loaded::Damaged {
                    moved_to: self.move_aside(&path)?,
                    reason: error.to_string(),
                }),
            },
        }
    }

    /// To the first free of `checkpoint.json.damaged-1`, `-2`, …
    fn move_aside(&self, path: &Path) -> Result<PathBuf, FolderError> {
        let name = |number: u32| self.path.join(format!("{CHECKPOINT}.damaged-{number}"));
        let mut number = 1;
        while name(number).exists() {
            number += 1;
        }
        let aside = name(number);
        fs::rename(path, &aside).map_err(at("move aside to", &aside))?;
        self.sync()?;
        Ok(aside)
    }

    /// Makes a rename durable.
    fn sync(&self) -> Result<(), FolderError> {
        let folder = File::open(&self.path).map_err(at("open", &self.path))?;
        folder.sync_all().map_err(at("sync", &self.path))
    }

    /// Durable when this returns `Ok`.
    pub(crate) fn save(&mut self, checkpoint: &Checkpoint) -> Result<(), FolderError> {
        let (tmp, path) = (self.path.join(CHECKPOINT_TMP), self.path.join(CHECKPOINT));
        let mut file = File::create(&tmp).map_err(at("create", &tmp))?;
        let text = checkpoint.to_text();
        file.write_all(text.as_bytes()).map_err(at("write", &tmp))?;
        file.sync_all().map_err(at("sync", &tmp))?;
        fs::rename(&tmp, &path).map_err(at("rename to", &path))?;
        self.sync()
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
        assert_eq!(folder.load().unwrap(), Loaded::Nothing);
        let mut checkpoint = Checkpoint::default();
        for end in 0..3 {
            checkpoint.outputs.entry("t".into()).or_default().end = end;
            folder.save(&checkpoint).unwrap();
            assert_eq!(
                folder.load().unwrap(),
                Loaded::Checkpoint(checkpoint.clone())
            );
        }
        fs::write(path.join(CHECKPOINT_TMP), "torn").unwrap();
        drop(folder);
        let folder = Folder::open(&path).unwrap();
        assert_eq!(folder.load().unwrap(), Loaded::Checkpoint(checkpoint));
    }

    #[test]
    fn a_damaged_checkpoint_is_moved_aside() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = Folder::open(dir.path()).unwrap();
        let path = dir.path().join(CHECKPOINT);
        let damages: [&[u8]; 4] = [b"", b"{", b"\xff\xfe", b"{\"version\":0}"];
        for (number, bytes) in (1..).zip(damages) {
            fs::write(&path, bytes).unwrap();
            let Loaded::Damaged { moved_to, reason } = folder.load().unwrap() else {
                panic!("{bytes:?} was read");
            };
            assert!(!reason.is_empty());
            let wanted = dir.path().join(format!("{CHECKPOINT}.damaged-{number}"));
            assert_eq!(moved_to, wanted);
            assert_eq!(
                fs::read(&moved_to).unwrap(),
                bytes,
                "kept for people to look at"
            );
            assert_eq!(folder.load().unwrap(), Loaded::Nothing);
        }
        folder.save(&Checkpoint::default()).unwrap();
        let loaded = folder.load().unwrap();
        assert_eq!(loaded, Loaded::Checkpoint(Checkpoint::default()));
    }

    /// Of a newer build, it is not damaged: the file stays, and the start stops.
    #[test]
    fn a_newer_checkpoint_stays_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let path = dir.path().join(CHECKPOINT);
        fs::write(&path, r#"{"version":2,"more":[]}"#).unwrap();
        let error = folder.load().unwrap_err().to_string();
        assert!(error.contains("version 2, this build reads 1"), "{error}");
        assert!(path.exists());
    }
}
