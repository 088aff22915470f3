//! What makes services safe to reach over a network that is not trusted: certificates, users with rights, and a gate of
//! TLS and a login before a registry.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Kafka, Registry, ServiceError};
use crate::process::{Daemon, Port};
use crate::python::Python;

const SOON: Duration = Duration::from_secs(60);

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("services/secure.py")
}

/// `ca.crt`; `server.pem`, the key and certificate that it signed for 127.0.0.1; `other-ca.crt`, which signed nothing.
#[derive(Clone, Debug)]
pub struct Certificates {
    pub folder: PathBuf,
}

impl Certificates {
    /// Makes them in `folder`, which is made.
    ///
    /// # Errors
    /// With what the script said.
    pub fn make(python: &Python, folder: &Path) -> Result<Self, ServiceError> {
        python.run(
            script(),
            ["certificates".as_ref(), folder.as_os_str()],
            SOON,
        )?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    pub fn other_ca(&self) -> PathBuf {
        self.folder.join("other-ca.crt")
    }
}

impl Kafka {
    /// Makes a user for SCRAM-SHA-512. `rights` are such as `topic:efd.:read,write`, for names that begin so.
    ///
    /// # Errors
    /// With what the script said.
    pub fn admit(
        &self,
        python: &Python,
        user: &str,
        password: &str,
        rights: &[&str],
    ) -> Result<(), ServiceError> {
        let bootstrap = self.bootstrap();
        let words = ["admit", &bootstrap, user, password].into_iter();
        python.run(script(), words.chain(rights.iter().copied()), SOON)?;
        Ok(())
    }
}

/// TLS and HTTP Basic before a registry, until it is dropped.
#[derive(Debug)]
pub struct Gate {
    _daemon: Daemon,
    port: Port,
    path: String,
}

impl Gate {
    /// # Errors
    /// When it is not ready in time.
    pub fn start(
        python: &Python,
        certificates: &Certificates,
        (user, password): (&str, &str),
        registry: &Registry,
        log: &Path,
    ) -> Result<Self, ServiceError> {
        let port = Port::reserve().map_err(ServiceError::Port)?;
        let url = registry.url();
        let path_at = url
            .find("/apis")
            .expect("the address of a registry has its path");
        let (target, path) = url.split_at(path_at);
        let mut command = python.command(script());
        command
            .args(["gate", &port.number().to_string()])
            .arg(&certificates.folder)
            .args([user, password, target]);
        let mut daemon = Daemon::start("gate", command, log)?;
        daemon.wait_for_line("ready", SOON)?;
        Ok(Self {
            _daemon: daemon,
            path: path.to_owned(),
            port,
        })
    }

    /// The base of Confluent's API behind it.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}{}", self.port.number(), self.path)
    }
}
