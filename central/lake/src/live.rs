//! The lake's files by its commits: all that was added less all that was removed.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::Deserialize;

use crate::chain::parse;
use crate::commit::{FileEntry, VERSION};
use crate::error::LakeError;
use crate::layout::commit_path;
use crate::part::Part;

/// What of a commit is about files. The rest of it, which may be much, is passed over.
#[derive(Debug, Deserialize)]
struct Files {
    version: u32,
    n: u64,
    added: Vec<FileEntry>,
    removed: Vec<String>,
}

/// The files of the parts that are wanted, and no others: memory is by these.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// The newest commit that is in this.
    through: u64,
    folders: BTreeMap<String, Folder>,
}

#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) part: Part,
    /// By path.
    pub(crate) files: BTreeMap<String, FileEntry>,
}

pub(crate) type Read<'a> = &'a dyn Fn(&Path) -> io::Result<Vec<u8>>;

impl Live {
    pub(crate) fn through(&self) -> u64 {
        self.through
    }

    pub(crate) fn folder(&self, folder: &str) -> Option<&Folder> {
        self.folders.get(folder)
    }

    /// The first folder whose path comes after this one.
    pub(crate) fn after(&self, folder: &str) -> Option<&str> {
        use std::ops::Bound::{Excluded, Unbounded};
        let mut rest = self.folders.range::<str, _>((Excluded(folder), Unbounded));
        rest.next().map(|(folder, _)| folder.as_str())
    }

    /// Adds the commits that came since, up to `through`.
    pub(crate) fn advance(
        &mut self,
        read: Read<'_>,
        through: u64,
        wanted: &dyn Fn(&Part) -> bool,
    ) -> Result<(), LakeError> {
        while self.through < through {
            let commit = files(read, self.through + 1)?;
            for path in &commit.removed {
                self.remove(path);
            }
            for file in commit.added {
                self.add(file, commit.n, wanted)?;
            }
            self.through = commit.n;
        }
        Ok(())
    }

    fn remove(&mut self, path: &str) {
        let folder = folder_of_path(path);
        if let Some(found) = self.folders.get_mut(folder) {
            found.files.remove(path);
            if found.files.is_empty() {
                self.folders.remove(folder);
            }
        }
    }

    fn add(
        &mut self,
        file: FileEntry,
        n: u64,
        wanted: &dyn Fn(&Part) -> bool,
    ) -> Result<(), LakeError> {
        let part = Part::of(&file).ok_or_else(|| LakeError::BadCommit {
            path: commit_path(n),
            reason: format!("`{}` is not a site", file.site),
        })?;
        if wanted(&part) {
            let folder = folder_of_path(&file.path).to_owned();
            let folder = self.folders.entry(folder).or_insert_with(|| Folder {
                part,
                files: BTreeMap::new(),
            });
            folder.files.insert(file.path.clone(), file);
        }
        Ok(())
    }
}

fn folder_of_path(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn files(read: Read<'_>, n: u64) -> Result<Files, LakeError> {
    let path = commit_path(n);
    let bytes = read(&path).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            LakeError::BadCommit {
                path: path.clone(),
                reason: "it is missing, and later ones are there".into(),
            }
        } else {
            LakeError::io("read", &path, error)
        }
    })?;
    match serde_json::from_slice::<Files>(&bytes) {
        Ok(files) if files.version <= VERSION && files.n == n => Ok(files),
        // Slower, and says what is wrong with it.
        Ok(_) | Err(_) => {
            let commit = parse(&bytes, n)?;
            Ok(Files {
                version: commit.version,
                n: commit.n,
                added: commit.added,
                removed: commit.removed,
            })
        }
    }
}
