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
            let existing = folder.ancestors().skip(1).find(|above| above.exists());
            refuse_inside(existing.unwrap_or_else(|| Path::new(".")), from, folder)?;
            fs::create_dir_all(folder).map_err(failed)?;
            fs::read_dir(folder).map_err(failed)?
        }
        Err(error) => return Err(failed(error)),
    };
    refuse_inside(folder, from, folder)?;
    if entries.next().is_some() {
        return Err(InspectError::NotEmpty {
            path: folder.to_owned(),
        });
    }
    Ok(())
}

fn refuse_inside(existing: &Path, from: &Path, folder: &Path) -> Result<(), InspectError> {
    let inside = || {
        Some(
            existing
                .canonicalize()
                .ok()?
                .starts_with(from.canonicalize().ok()?),
        )
    };
    match inside() {
        Some(true) => Err(InspectError::Inside {
            path: folder.to_owned(),
            buffer: from.to_owned(),
        }),
        Some(false) | None => Ok(()),
    }
}

/// The names in a folder are on the disk.
pub(crate) fn sync(folder: &Path) -> Result<(), InspectError> {
    let synced = fs::File::open(folder).and_then(|file| file.sync_all());
    synced.map_err(|source| InspectError::Export {
        path: folder.to_owned(),
        source,
    })
}
