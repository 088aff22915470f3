//! The chain of commits on disk: finding its end, and putting right what a crash left.

use std::io;
use std::path::{Path, PathBuf};

use crate::commit::{Commit, VERSION};
use crate::disk::Disk;
use crate::error::LakeError;
use crate::layout::{COMMITS, DAMAGED, HINT, STAGED, commit_number, commit_path};

/// Files that a commit has removed from the lake and that still are on disk.
#[derive(Debug)]
pub(crate) struct Grave {
    pub(crate) n: u64,
    pub(crate) removed_at: i64,
    pub(crate) paths: Vec<PathBuf>,
    /// They go to `_damaged/`, without waiting.
    pub(crate) is_damage: bool,
}

impl Grave {
    pub(crate) fn of(commit: Commit) -> Self {
        let Commit {
            n,
            time_ns,
            removed,
            damaged,
            ..
        } = commit;
        Self {
            n,
            removed_at: time_ns,
            paths: removed.into_iter().map(PathBuf::from).collect(),
            is_damage: !damaged.is_empty(),
        }
    }

    /// Takes what is damaged out of the sight of readers. What cannot be moved is tried again when the grave is swept.
    pub(crate) fn set_aside(&self, disk: &dyn Disk) {
        for path in self.paths.iter().filter(|_| self.is_damage) {
            if let Err(error) = set_aside(disk, path) {
                tracing::warn!(%error, "A damaged file is still in its place");
            }
        }
    }
}

/// Once done there is nothing to do.
pub(crate) fn set_aside(disk: &dyn Disk, path: &Path) -> Result<(), LakeError> {
    let folder = Path::new(DAMAGED);
    disk.create_dir_all(folder)
        .map_err(|error| LakeError::io("make", folder, error))?;
    let kept = folder.join(path.file_name().unwrap_or_default());
    match disk.rename(path, &kept) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(LakeError::io("set aside", path, error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) newest: Option<Commit>,
    /// Oldest first.
    pub(crate) graves: Vec<Grave>,
    /// Files that the newest commit names and that are nowhere.
    pub(crate) missing: u64,
}

pub(crate) fn open(disk: &dyn Disk) -> Result<Opened, LakeError> {
    for folder in [COMMITS, STAGED] {
        let folder = Path::new(folder);
        disk.create_dir_all(folder)
            .map_err(|error| LakeError::io("make", folder, error))?;
    }
    let Some(n) = newest(disk)? else {
        clear_staged(disk)?;
        return Ok(Opened {
            newest: None,
            graves: Vec::new(),
            missing: 0,
        });
    };
    let commit = read(disk, n)?;
    let mut missing = 0;
    for file in &commit.added {
        let place = Path::new(&file.path);
        if !exists(disk, place)? && !finish_rename(disk, place)? {
            tracing::error!(path = %file.path, commit = n, "File of the newest commit is missing");
            missing += 1;
        }
    }
    clear_staged(disk)?;
    let mut graves = Vec::new();
    for n in commit.swept_through + 1..=n {
        let commit = read(disk, n)?;
        if !commit.removed.is_empty() {
            let grave = Grave::of(commit);
            grave.set_aside(disk);
            graves.push(grave);
        }
    }
    Ok(Opened {
        newest: Some(commit),
        graves,
        missing,
    })
}

/// From the hint on, or by the folder's list where there is none. A hint is written after its commit is durable.
fn newest(disk: &dyn Disk) -> Result<Option<u64>, LakeError> {
    let hint = Path::new(COMMITS).join(HINT);
    let hinted = match disk.read(&hint) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).trim().parse::<u64>().ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(LakeError::io("read", &hint, error)),
    };
    if let Some(mut n) = hinted
        && exists(disk, &commit_path(n))?
    {
        while exists(disk, &commit_path(n + 1))? {
            n += 1;
        }
        return Ok(Some(n));
    }
    let names = disk
        .names(Path::new(COMMITS))
        .map_err(|error| LakeError::io("list", Path::new(COMMITS), error))?;
    Ok(names.iter().filter_map(|name| commit_number(name)).max())
}

pub(crate) fn read(disk: &dyn Disk, n: u64) -> Result<Commit, LakeError> {
    let path = commit_path(n);
    let bytes = disk
        .read(&path)
        .map_err(|error| LakeError::io("read", &path, error))?;
    parse(&bytes, n)
}

pub(crate) fn parse(bytes: &[u8], n: u64) -> Result<Commit, LakeError> {
    let path = commit_path(n);
    let bad = |reason: String| LakeError::BadCommit {
        path: path.clone(),
        reason,
    };
    let value: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
    let version = value.get("version").and_then(serde_json::Value::as_u64);
    match version.and_then(|version| u32::try_from(version).ok()) {
        None => return Err(bad("it has no version".into())),
        Some(found) if found > VERSION => {
            let max = VERSION;
            return Err(LakeError::TooNew { path, found, max });
        }
        Some(_) => {}
    }
    let commit: Commit = serde_json::from_value(value).map_err(|error| bad(error.to_string()))?;
    if commit.n == n {
        Ok(commit)
    } else {
        Err(bad(format!("it is commit {}", commit.n)))
    }
}

/// `false` if the file is not staged either.
fn finish_rename(disk: &dyn Disk, place: &Path) -> Result<bool, LakeError> {
    let staged = staged_path(place);
    if !exists(disk, &staged)? {
        return Ok(false);
    }
    let folder = place.parent().unwrap_or_else(|| Path::new(""));
    disk.create_dir_all(folder)
        .map_err(|error| LakeError::io("make", folder, error))?;
    disk.rename(&staged, place)
        .map_err(|error| LakeError::io("rename into", place, error))?;
    Ok(true)
}

/// Where a file waits for its commit: under its own name, which is unique in the lake.
pub(crate) fn staged_path(place: &Path) -> PathBuf {
    Path::new(STAGED).join(place.file_name().unwrap_or_default())
}

/// Deletes what is staged: only when no commit waits for it.
pub(crate) fn clear_staged(disk: &dyn Disk) -> Result<(), LakeError> {
    let folder = Path::new(STAGED);
    let names = disk
        .names(folder)
        .map_err(|error| LakeError::io("list", folder, error))?;
    for name in names {
        let stray = folder.join(name);
        disk.remove(&stray)
            .map_err(|error| LakeError::io("remove", &stray, error))?;
    }
    Ok(())
}

pub(crate) fn exists(disk: &dyn Disk, path: &Path) -> Result<bool, LakeError> {
    disk.exists(path)
        .map_err(|error| LakeError::io("look for", path, error))
}
