//! The log that the configuration asks for, and the turns that processes take where they share it.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use efd_central_log::{BlockLog, EmbeddedLog, KafkaLog, KafkaOptions, Lease, Seats, TopicSettings};
use efd_shared_daemon::clock::utc_now;
use efd_shared_daemon::identity::Credentials;
use efd_shared_store::Options;

use crate::config::{Config, LogStore};

/// What runs where the log is.
#[derive(Debug)]
pub(crate) enum Place {
    Here,
    Cluster(Box<KafkaOptions>),
}

impl Place {
    pub(crate) fn of(config: &Config, credentials: &Credentials) -> Result<Self> {
        match config.log.store {
            LogStore::Embedded => Ok(Self::Here),
            LogStore::Kafka => {
                let centre = match &config.name {
                    Some(name) => name.to_string(),
                    None => credentials.identity().central()?.to_string(),
                };
                let options = kafka_options(config, centre)?;
                Ok(Self::Cluster(Box::new(options)))
            }
        }
    }

    pub(crate) fn open_log(&self, config: &Config) -> Result<Arc<dyn BlockLog>> {
        match self {
            Self::Here => {
                let options = Options {
                    segment_bytes_max: config.log.segment_bytes_max.bytes(),
                    segment_age_max: config.log.segment_age_max.duration(),
                    ..Options::default()
                };
                let (log, recovery) = EmbeddedLog::open(config.path.join("log"), options, utc_now)?;
                if !recovery.is_clean() {
                    tracing::error!(?recovery, "The log was damaged");
                }
                Ok(Arc::new(log))
            }
            Self::Cluster(options) => {
                let log = KafkaLog::open(options).context("open the log on the cluster")?;
                Ok(Arc::new(log))
            }
        }
    }

    /// Whether the log could be opened, and where it is.
    pub(crate) fn check(&self) -> Result<String> {
        match self {
            Self::Here => Ok("in this folder".into()),
            Self::Cluster(options) => {
                let count = KafkaLog::check(options)?;
                let prefix = &options.topics.prefix;
                Ok(format!("on the cluster, {count} topics {prefix}*"))
            }
        }
    }

    /// `None`: this process is alone.
    pub(crate) fn lease(&self, role: &str, seats: Seats) -> Result<Option<Lease>> {
        match self {
            Self::Here => Ok(None),
            Self::Cluster(options) => {
                let lease = Lease::join(options, role, seats)
                    .with_context(|| format!("join those that run the {role}"))?;
                Ok(Some(lease))
            }
        }
    }
}

fn kafka_options(config: &Config, centre: String) -> Result<KafkaOptions> {
    let (replication, min_insync_replicas) = config.kafka.copies();
    Ok(KafkaOptions {
        connection: config.kafka.connection()?,
        topics: TopicSettings {
            prefix: config.log.topic_prefix.clone(),
            replication,
            min_insync_replicas,
            retain: config.log.retain.duration(),
        },
        centre,
        clock: utc_now,
    })
}
