//! Real services on free ports of 127.0.0.1: a Kafka cluster, one schema registry, one InfluxDB.
//!
//! They run inside a private network (start them from within [`isolated`](crate::netns::isolated)) as well as outside.

mod influx;
mod kafka;
mod registry;

use std::io;
use std::path::PathBuf;

pub use influx::Influx;
pub use kafka::{Broker, Kafka, KafkaOptions};
pub use registry::{Registry, RegistryOptions};

use crate::install::InstallError;
use crate::process::ProcessError;

/// Why a service is not there.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error(transparent)]
    Install(#[from] InstallError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error("reserve a port")]
    Port(#[source] io::Error),
    #[error("prepare {}", path.display())]
    Prepare {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}
