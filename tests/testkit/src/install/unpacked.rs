//! Debian packages unpacked into the cache and not installed, as installing them would do more than is wanted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cache::Pinned;
use super::{InstallError, Installer, at, debian};

/// The folder in which the package's `usr` is.
pub(super) fn unpacked(installer: &Installer, package: &str) -> Result<PathBuf, InstallError> {
    let pinned = Pinned {
        name: package,
        version: "debian",
        by: &[],
    };
    installer.cached(&pinned, |folder| unpack(installer, package, folder))
}

fn unpack(installer: &Installer, package: &str, folder: &Path) -> Result<(), InstallError> {
    let what = format!("Debian's {package}");
    let download = || {
        let mut download = Command::new("apt-get");
        download.args(["download", package]).current_dir(folder);
        download
    };
    if installer.run(&what, download()).is_err() {
        // Old lists name package files that the mirror no longer has.
        debian::update(installer)?;
        installer.run(&what, download())?;
    }
    for entry in fs::read_dir(folder).map_err(at("list", folder))? {
        let path = entry.map_err(at("list", folder))?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("-x").arg(&path).arg(folder);
            installer.run(&format!("unpacking {what}"), unpack)?;
            fs::remove_file(&path).map_err(at("remove", &path))?;
        }
    }
    Ok(())
}
