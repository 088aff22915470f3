//! Installs what builds and tests need: Debian packages, a Kafka broker, a schema registry, a Python environment.
//!
//! Each installer looks first and returns at once when all is there; nothing is fetched twice. What is not a Debian
//! package goes to a cache folder: `$EFD_TEST_CACHE`, else `$XDG_CACHE_HOME/efd-tests`, else `~/.cache/efd-tests`. A
//! folder in there is named after its contents' version and a digest of what pins it, is complete when it holds a stamp,
//! and is never changed afterwards; one that was left without a stamp is made anew. A lock file keeps two processes from
//! installing the same thing.

mod cache;
mod debian;
mod influx;
mod maven;
mod promtool;
mod unpacked;
mod vendors;
mod venv;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

pub use cache::Cache;
pub use debian::Group;
pub use influx::InfluxHome;
pub use maven::{KafkaHome, MirrorHome, RegistryHome};
pub use vendors::Vendor;

use crate::process::{self, Captured, ProcessError};
use crate::python::Python;

/// Why something is not installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("no folder for the cache: set EFD_TEST_CACHE, XDG_CACHE_HOME or HOME")]
    NoCache,
    #[error("{action} {}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "install {what}: `{command}` failed ({status}):\n{tail}\nto see it again, type:\n  {command}"
    )]
    Failed {
        what: String,
        command: String,
        status: ExitStatus,
        tail: String,
    },
    #[error("install {what}; to see it again, type:\n  {command}")]
    NotRun {
        what: String,
        command: String,
        #[source]
        source: Box<ProcessError>,
    },
    #[error(
        "missing: {missing}; and this user may not install packages (neither root nor `sudo` without a password). Type:\n  {by_hand}"
    )]
    NotPermitted { missing: String, by_hand: String },
    #[error(
        "missing: {missing}; and this is no Debian (there is no apt-get). Install what is missing, named there: {packages}"
    )]
    NotDebian { missing: String, packages: String },
    #[error("still missing after `{command}`: {missing}")]
    StillMissing { missing: String, command: String },
}

/// The installers, with the cache they use and the one who is told what they do.
pub struct Installer {
    cache: Cache,
    report: Box<dyn Fn(&str) + Send + Sync>,
}

impl std::fmt::Debug for Installer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Installer")
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

impl Installer {
    /// Uses the cache of this user and tells standard error, one line when work begins and one when it is done.
    ///
    /// # Errors
    /// When no variable says where the cache is.
    pub fn new() -> Result<Self, InstallError> {
        Ok(Self::with(Cache::of_this_user()?, crate::say))
    }

    /// Uses another cache or another listener.
    pub fn with(cache: Cache, report: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self {
            cache,
            report: Box::new(report),
        }
    }

    /// Debian packages: as root with apt-get, else with `sudo -n`, else the error holds the line to type.
    ///
    /// # Errors
    /// When something is missing afterwards.
    pub fn packages(&self, group: Group) -> Result<(), InstallError> {
        debian::provide(self, group.needs())
    }

    /// What [`Kafka::start`](crate::services::Kafka::start) needs: Java, and the broker's jars through Maven.
    ///
    /// # Errors
    /// When a package or a download fails; the error names the command.
    pub fn kafka(&self) -> Result<KafkaHome, InstallError> {
        maven::kafka(self)
    }

    /// What [`Mirror::start`](crate::services::Mirror::start) needs.
    ///
    /// # Errors
    /// As [`kafka`](Self::kafka).
    pub fn mirror(&self) -> Result<MirrorHome, InstallError> {
        maven::mirror(self)
    }

    /// What [`Registry::start`](crate::services::Registry::start) needs.
    ///
    /// # Errors
    /// As [`kafka`](Self::kafka).
    pub fn registry(&self) -> Result<RegistryHome, InstallError> {
        maven::registry(self)
    }

    /// A Python with the pinned packages of `services/requirements.txt`.
    ///
    /// # Errors
    /// As [`kafka`](Self::kafka).
    pub fn python(&self) -> Result<Python, InstallError> {
        venv::python(self, &venv::CHECKERS)
    }

    /// A Python as the observatory's users have it, with the pinned packages of `services/observatory.txt`.
    ///
    /// # Errors
    /// As [`kafka`](Self::kafka).
    pub fn observatory(&self) -> Result<Python, InstallError> {
        venv::python(self, &venv::OBSERVATORY)
    }

    /// What [`Influx::start`](crate::services::Influx::start) needs: Debian's package, unpacked and not installed, as it
    /// would start a server of its own.
    ///
    /// # Errors
    /// As [`kafka`](Self::kafka).
    pub fn influx(&self) -> Result<InfluxHome, InstallError> {
        influx::influx(self)
    }

    /// Debian's promtool, unpacked and not installed, as its package would start a Prometheus.
    ///
    /// # Errors
    /// As [`kafka`](Self::kafka).
    pub fn promtool(&self) -> Result<PathBuf, InstallError> {
        promtool::promtool(self)
    }

    /// A publisher on another vendor's DDS, made of sources of a test, and where it is: built once for the same sources.
    ///
    /// # Errors
    /// As [`kafka`](Self::kafka).
    pub fn publisher(&self, vendor: Vendor, sources: &Path) -> Result<PathBuf, InstallError> {
        vendors::publisher(self, vendor, sources)
    }

    /// The folder of kafka-aggregator 0.2.0, for a benchmark beside it.
    ///
    /// # Errors
    /// As [`kafka`](Self::kafka).
    pub fn kafka_aggregator(&self) -> Result<PathBuf, InstallError> {
        venv::kafka_aggregator(self)
    }

    fn report(&self, line: &str) {
        (self.report)(line);
    }

    /// Runs one command of an installation; anything but success is an error with the line to type.
    fn run(&self, what: &str, command: Command) -> Result<Captured, InstallError> {
        let typed = process::typed(&command);
        let captured =
            process::run(command, COMMAND_WITHIN).map_err(|source| InstallError::NotRun {
                what: what.into(),
                command: typed.clone(),
                source: Box::new(source),
            })?;
        if captured.status.success() {
            return Ok(captured);
        }
        let said = format!("{}{}", captured.stdout, captured.stderr);
        let tail = process::last_lines(&said, 20);
        Err(InstallError::Failed {
            what: what.into(),
            command: typed,
            status: captured.status,
            tail,
        })
    }
}

/// The longest is some 150 MB over the network; a command that takes this long hangs.
const COMMAND_WITHIN: Duration = Duration::from_secs(30 * 60);

/// Gives an I/O error its file.
fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    let path = path.to_owned();
    move |source| InstallError::File {
        action,
        path,
        source,
    }
}
