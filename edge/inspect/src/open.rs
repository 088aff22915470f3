//! Opens what is to be inspected.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use efd_shared_store::{FORMAT, ReadOnlyStore};

use crate::outcome::InspectError;
use crate::screen::Screen;

/// Opens a buffer's folder or a segment file. What cannot be seen of it is named on the screen.
pub(crate) fn open(
    path: &Path,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<ReadOnlyStore, InspectError> {
    refuse_newer(path)?;
    let store = ReadOnlyStore::open(path)?;
    for notice in store.notices() {
        screen.damaged(notice)?;
    }
    Ok(store)
}

/// A file of a newer format is found before anything of it is read: what it means is not known here.
pub(crate) fn refuse_newer(path: &Path) -> Result<(), InspectError> {
    for file in databases(path) {
        if let Some(found) = format_of(&file).filter(|&found| i64::from(found) > FORMAT) {
            return Err(InspectError::TooNew { path: file, found });
        }
    }
    Ok(())
}

/// What cannot be listed is left to the store, which names it.
fn databases(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let lanes = entries(&path.join("segments"));
    let mut files: Vec<_> = lanes.iter().flat_map(|lane| entries(lane)).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "db"));
    files.push(path.join("meta.db"));
    files.sort();
    files
}

/// `user_version` in the header of an SQLite file of ours.
fn format_of(path: &Path) -> Option<u32> {
    let mut header = [0; 100];
    File::open(path).ok()?.read_exact(&mut header).ok()?;
    let be = |at: usize| {
        header
            .get(at..at + 4)?
            .try_into()
            .ok()
            .map(u32::from_be_bytes)
    };
    let is_sqlite = header.starts_with(b"SQLite format 3\0");
    let is_ours = matches!(&be(68)?.to_be_bytes(), b"EFDM" | b"EFDS");
    if is_sqlite && is_ours { be(60) } else { None }
}
