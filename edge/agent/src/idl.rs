//! The folders of IDL files, watched by looking at them: a file dropped in makes its topics flow.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use efd_shared_types::registry::{Change, Registry};

/// A file that is larger is no IDL file; CCCamera's, the largest, has 575 kB.
const FILE_BYTES_MAX: u64 = 16 << 20;
const FILES_MAX: usize = 10_000;

#[derive(Debug)]
pub struct IdlFolders {
    folders: Vec<PathBuf>,
    seen: BTreeMap<PathBuf, (SystemTime, u64)>,
    registry: Registry,
    /// Folders that could not be read when last looked at.
    unreadable: BTreeMap<PathBuf, String>,
}

impl IdlFolders {
    pub fn new(folders: Vec<PathBuf>) -> Self {
        Self {
            folders,
            seen: BTreeMap::new(),
            registry: Registry::default(),
            unreadable: BTreeMap::new(),
        }
    }

    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    pub fn unreadable(&self) -> &BTreeMap<PathBuf, String> {
        &self.unreadable
    }

    /// Takes files that are new, changed or gone since the last call; gives what that did to the types.
    pub fn look(&mut self) -> Vec<Change> {
        let mut present = BTreeMap::new();
        self.unreadable.clear();
        for folder in &self.folders {
            if let Err(error) = list(folder, &mut present) {
                self.unreadable.insert(folder.clone(), error.to_string());
            }
        }
        let mut changes = Vec::new();
        let gone: Vec<PathBuf> = self
            .seen
            .keys()
            .filter(|path| !present.contains_key(*path))
            .cloned()
            .collect();
        for path in gone {
            // A folder that cannot be read for a moment must not take its types away.
            if self
                .unreadable
                .keys()
                .any(|folder| path.starts_with(folder))
            {
                continue;
            }
            self.seen.remove(&path);
            tracing::info!(file = %path.display(), "IDL file is gone");
            changes.push(self.registry.remove(&path.display().to_string()));
        }
        let mut read = BTreeSet::new();
        for (path, stamp) in present {
            if self.seen.get(&path) == Some(&stamp) {
                continue;
            }
            match std::fs::read(&path) {
                Ok(text) => {
                    let name = path.display().to_string();
                    changes.push(self.registry.load(&name, &text));
                    read.insert(name);
                    self.seen.insert(path, stamp);
                }
                Err(error) => {
                    tracing::warn!(file = %path.display(), %error, "IDL file cannot be read")
                }
            }
        }
        // Of all at the end: what a file includes may have come after it.
        let errors = self.registry.errors();
        for (file, error) in errors.filter(|(file, _)| read.contains(*file)) {
            tracing::warn!(file, %error, "IDL error; the file's other structs are read");
        }
        changes
    }
}

fn list(folder: &Path, present: &mut BTreeMap<PathBuf, (SystemTime, u64)>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "idl") || present.len() >= FILES_MAX
        {
            continue;
        }
        let metadata = std::fs::metadata(&path)?;
        if metadata.is_file() && metadata.len() <= FILE_BYTES_MAX {
            present.insert(path, (metadata.modified()?, metadata.len()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDL: &str = "module Test {\n struct logevent_a_00000001 {\n string<8> private_revCode; double private_sndStamp; double private_rcvStamp; long private_seqNum; };\n#pragma keylist logevent_a_00000001\n};\n";

    #[test]
    fn files_come_change_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let mut folders = IdlFolders::new(vec![folder.path().to_owned()]);
        assert!(folders.look().is_empty());
        let path = folder.path().join("sal_revCoded_Test.idl");
        std::fs::write(&path, IDL).unwrap();
        let changes = folders.look();
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].added[0].as_str(), "Test::logevent_a_00000001");
        assert!(folders.look().is_empty(), "nothing has changed");
        std::fs::write(
            &path,
            IDL.replace("long private_seqNum;", "long private_seqNum; long more;"),
        )
        .unwrap();
        assert_eq!(folders.look()[0].changed.len(), 1);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(folders.look()[0].removed.len(), 1);
    }
}
