//! A schema registry with Confluent's API (Apicurio, in memory).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::ServiceError;
use crate::install::{Installer, RegistryHome};
use crate::process::{Daemon, Port};

/// How a registry is started.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    pub heap_mib: u32,
    /// On an idle machine a start takes 3.5 to 5 s.
    pub ready_within: Duration,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            heap_mib: 256,
            ready_within: Duration::from_secs(90),
        }
    }
}

/// A running (or killed) registry. It keeps its schemas in memory: a restart forgets them.
#[derive(Debug)]
pub struct Registry {
    daemon: Daemon,
    home: RegistryHome,
    folder: PathBuf,
    options: RegistryOptions,
    port: Port,
}

impl Registry {
    /// Installs what is missing, and starts a registry with its log in `folder`, which is made.
    ///
    /// # Errors
    /// When it cannot be installed, or is not ready in time (with the end of its log).
    pub fn start(folder: &Path, options: RegistryOptions) -> Result<Self, ServiceError> {
        let home = Installer::new()?.registry()?;
        let port = Port::reserve().map_err(ServiceError::Port)?;
        let daemon = launch(&home, folder, &options, port.number())?;
        Ok(Self {
            daemon,
            home,
            folder: folder.into(),
            options,
            port,
        })
    }

    /// The base of Confluent's API, for `schema.registry.url`.
    pub fn url(&self) -> String {
        url(self.port.number())
    }

    /// The process: its log, its usage, stop and continue.
    pub fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// When the kernel does not let us.
    pub fn kill9(&mut self) -> Result<(), ServiceError> {
        Ok(self.daemon.kill9().map(drop)?)
    }

    /// SIGTERM, and waits.
    ///
    /// # Errors
    /// When it does not end in a minute.
    pub fn stop(&mut self) -> Result<(), ServiceError> {
        Ok(self.daemon.stop(Duration::from_secs(60)).map(drop)?)
    }

    /// Starts it again on the same port, empty; one that still runs is killed first. Waits until it is ready.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn restart(&mut self) -> Result<(), ServiceError> {
        self.kill9()?;
        self.daemon = launch(&self.home, &self.folder, &self.options, self.port.number())?;
        Ok(())
    }
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}/apis/ccompat/v7")
}

fn launch(
    home: &RegistryHome,
    folder: &Path,
    options: &RegistryOptions,
    port: u16,
) -> Result<Daemon, ServiceError> {
    let mut command = Command::new("java");
    command.arg(format!("-Xmx{}m", options.heap_mib));
    // It answers a few requests: small and quick to start matters, peak speed does not.
    command.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    command.args([
        "-Dquarkus.http.host=127.0.0.1".into(),
        format!("-Dquarkus.http.port={port}"),
    ]);
    // Ids as Confluent's registry gives them: one per content, the same for a schema registered twice.
    command.arg("-Dregistry.ccompat.legacy-id-mode.enabled=false");
    command.arg("-jar").arg(home.jar());
    let mut daemon = Daemon::start("registry", command, &folder.join("registry.log"))?;
    daemon.wait_for_http(&format!("{}/subjects", url(port)), options.ready_within)?;
    Ok(daemon)
}
