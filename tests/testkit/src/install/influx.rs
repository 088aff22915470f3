//! Debian's InfluxDB 1.6, unpacked into the cache: its package would start a server of its own.

use std::path::PathBuf;

use super::unpacked::unpacked;
use super::{InstallError, Installer};

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

pub(super) fn influx(installer: &Installer) -> Result<InfluxHome, InstallError> {
    let folder = unpacked(installer, "influxdb")?;
    Ok(InfluxHome { folder })
}
