//! Debian's InfluxDB 1.6, unpacked into the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cache::Pinned;
use super::{InstallError, Installer, at};

/// An unpacked InfluxDB.
#[derive(Clone, Debug)]
pub struct InfluxHome {
    folder: PathBuf,
}

impl InfluxHome {
    pub(crate) fn program(&self) -> PathBuf {
        self.folder.join("usr/bin/influxd")
    }
}

const PACKAGE: &str = "influxdb";

pub(super) fn influx(installer: &Installer) -> Result<InfluxHome, InstallError> {
    let pinned = Pinned {
        name: PACKAGE,
        version: "debian",
        by: &[],
    };
    let folder = installer.cached(&pinned, |folder| unpack(installer, folder))?;
    Ok(InfluxHome { folder })
}

fn unpack(installer: &Installer, folder: &Path) -> Result<(), InstallError> {
    let download = || {
        let mut download = Command::new("apt-get");
        download.args(["download", PACKAGE]).current_dir(folder);
        download
    };
    if installer.run("Debian's InfluxDB", download()).is_err() {
        // Old lists name package files that the mirror no longer has.
        super::debian::update(installer)?;
        installer.run("Debian's InfluxDB", download())?;
    }
    for entry in fs::read_dir(folder).map_err(at("list", folder))? {
        let path = entry.map_err(at("list", folder))?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("-x").arg(&path).arg(folder);
            installer.run("unpacking InfluxDB", unpack)?;
            fs::remove_file(&path).map_err(at("remove", &path))?;
        }
    }
    Ok(())
}
