//! Folders that a command makes: never inside what is inspected, never over anything that is there.

use std::fs;
use std::io;
use std::path::Path;

use crate::outcome::InspectError;

/// Makes `folder`, or takes it if it is empty. `from` is what is inspected, and never written to.
pub(crate) fn make(folder: &Path, from: &Path) -> Result<(), InspectError> {
    let failed = |source| InspectError::Export {
        path: folder.to_owned(),
        source,
    };
    let mut entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            refuse_inside(folder, from)?;
            fs::create_dir_all(folder).map_err(failed)?;
            let above = folder.parent().filter(|above| *above != Path::new(""));
            sync(above.unwrap_or_else(|| Path::new(".")))?;
            fs::read_dir(folder).map_err(failed)?
        }
        Err(error) => return Err(failed(error)),
    };
    refuse_above(Some(folder), from, folder)?;
    let path = folder.to_owned();
    if folder.join(crate::export::UNFINISHED).exists() {
        return Err(InspectError::Unfinished { path });
    }
    if entries.next().is_some() {
        return Err(InspectError::NotEmpty { path });
    }
    Ok(())
}

/// Of a folder or a file that is not there yet.
pub(crate) fn refuse_inside(wanted: &Path, from: &Path) -> Result<(), InspectError> {
    let mut above = wanted.ancestors().skip(1);
    refuse_above(above.find(|above| above.exists()), from, wanted)
}

/// `existing` is where `wanted` is to be, as far as that is there; relative paths may end before.
fn refuse_above(existing: Option<&Path>, from: &Path, wanted: &Path) -> Result<(), InspectError> {
    let existing = existing.unwrap_or_else(|| Path::new("."));
    let (Ok(existing), Ok(from)) = (existing.canonicalize(), from.canonicalize()) else {
        return Ok(());
    };
    // `segments/telemetry/0000000001.db` is a part of the folder that it is in.
    let buffer = match from.ancestors().nth(3) {
        Some(root) if from.is_file() && root.join("segments").is_dir() => root,
        _ => &from,
    };
    if existing.starts_with(buffer) {
        return Err(InspectError::Inside {
            path: wanted.to_owned(),
            buffer: buffer.to_owned(),
        });
    }
    Ok(())
}

/// The names in a folder are on the disk.
pub(crate) fn sync(folder: &Path) -> Result<(), InspectError> {
    let synced = fs::File::open(folder).and_then(|file| file.sync_all());
    synced.map_err(|source| InspectError::Export {
        path: folder.to_owned(),
        source,
    })
}
