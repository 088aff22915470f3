//! Headers that a build script makes and also tells cargo to watch: they are younger than the script's start, so cargo takes
//! them for changed and builds Cyclone, and all that stands on it, a second time.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context as _, Result};

/// Folders of `target/<profile>/build` whose scripts do so.
const SCRIPTS: &str = "eclipse-cyclonedds-sys-";

/// Gives headers that were made during a build the time at which it began. To be called after each build.
pub(crate) fn settle(profile: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(profile.join("build")) else {
        return Ok(());
    };
    for entry in entries {
        let folder = entry.context("list build scripts")?.path();
        let is_one = folder
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(SCRIPTS));
        // Cargo compares with the time of this file, which it sets to that of the start.
        let began = fs::metadata(folder.join("output")).and_then(|output| output.modified());
        if let (true, Ok(began)) = (is_one, began) {
            age(&folder.join("out"), began)
                .with_context(|| format!("settle headers in {}", folder.display()))?;
        }
    }
    Ok(())
}

fn age(folder: &Path, began: SystemTime) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let metadata = path.symlink_metadata()?;
        if metadata.is_dir() {
            age(&path, began)?;
        } else if path.extension().is_some_and(|it| it == "h") && began < metadata.modified()? {
            File::options()
                .write(true)
                .open(&path)?
                .set_modified(began)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_a_build_made_is_not_younger_than_its_begin() {
        let profile = std::env::temp_dir().join(format!("efd-settle-{}", std::process::id()));
        let folder = profile.join("build").join(format!("{SCRIPTS}1"));
        fs::create_dir_all(folder.join("out/include")).unwrap();
        let (output, header) = (folder.join("output"), folder.join("out/include/dds.h"));
        fs::write(&output, "").unwrap();
        fs::write(&header, "").unwrap();
        let began = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let file = File::options().write(true).open(&output).unwrap();
        file.set_modified(began).unwrap();
        settle(&profile).unwrap();
        let modified = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        assert_eq!(modified(&header), modified(&output));
        fs::remove_dir_all(&profile).unwrap();
    }
}
