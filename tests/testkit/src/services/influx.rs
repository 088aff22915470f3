//! An InfluxDB 1.x.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::ServiceError;
use crate::install::Installer;
use crate::process::{Daemon, Port};

const READY_WITHIN: Duration = Duration::from_secs(60);

/// A running InfluxDB with nothing in it.
#[derive(Debug)]
pub struct Influx {
    _daemon: Daemon,
    port: Port,
}

impl Influx {
    /// Installs what is missing, and starts a server with all that it has in `folder`, which is made.
    ///
    /// # Errors
    /// When it cannot be installed, or is not ready in time (with the end of its log).
    pub fn start(folder: &Path) -> Result<Self, ServiceError> {
        let home = Installer::new()?.influx()?;
        let ports = [Port::reserve(), Port::reserve()];
        let [port, backup] = ports.map(|port| port.map_err(ServiceError::Port));
        let (port, backup) = (port?, backup?);
        let settings = format!(
            "reporting-disabled = true\nbind-address = \"127.0.0.1:{backup}\"\n\
             [meta]\ndir = \"{folder}/meta\"\n[data]\ndir = \"{folder}/data\"\nwal-dir = \"{folder}/wal\"\n\
             [http]\nbind-address = \"127.0.0.1:{port}\"\nlog-enabled = false\n[monitor]\nstore-enabled = false\n",
            folder = folder.display(),
            port = port.number(),
            backup = backup.number(),
        );
        let file = folder.join("influxdb.conf");
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(&file, settings));
        written.map_err(|source| ServiceError::Prepare {
            path: file.clone(),
            source,
        })?;
        let mut command = Command::new(home.program());
        command.arg("-config").arg(&file);
        let mut daemon = Daemon::start("influxd", command, &folder.join("influxd.log"))?;
        daemon.wait_for_http(&format!("{}/ping", url(port.number())), READY_WITHIN)?;
        Ok(Self {
            _daemon: daemon,
            port,
        })
    }

    pub fn url(&self) -> String {
        url(self.port.number())
    }
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}
