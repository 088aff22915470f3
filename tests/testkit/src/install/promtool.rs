//! Debian's promtool, out of the package of Prometheus: it checks and tests rules of alerts.

use std::path::PathBuf;

use super::unpacked::unpacked;
use super::{InstallError, Installer};

pub(super) fn promtool(installer: &Installer) -> Result<PathBuf, InstallError> {
    Ok(unpacked(installer, "prometheus")?.join("usr/bin/promtool"))
}
