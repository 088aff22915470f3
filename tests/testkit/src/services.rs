//! Real services on free ports of 127.0.0.1: Kafka clusters, MirrorMaker 2 between two of them, one schema registry, one
//! InfluxDB.
//!
//! They run inside a private network (start them from within [`isolated`](crate::netns::isolated)) as well as outside.

mod influx;
mod kafka;
mod mirror;
mod registry;
mod secure;

use std::io;
use std::path::PathBuf;

pub use influx::Influx;
pub use kafka::{Broker, Kafka, KafkaOptions};
pub use mirror::{Mirror, MirrorOptions};
pub use registry::{Registry, RegistryOptions};
pub use secure::{Certificates, Gate};

use crate::install::InstallError;
use crate::process::ProcessError;
use crate::python::PythonError;

/// Why a service is not there.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error(transparent)]
    Install(#[from] InstallError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    Python(#[from] PythonError),
    #[error("reserve a port")]
    Port(#[source] io::Error),
    #[error("prepare {}", path.display())]
    Prepare {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}
