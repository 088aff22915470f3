//! What a feed may be told, checked before anything starts.

mod hidden;

use std::path::PathBuf;
use std::time::Duration;

use efd_central_kafka::{Connection, ConnectionError};
use efd_shared_model::block::DATUM_BYTES_MAX;
use efd_shared_model::{Shard, Site};

pub use hidden::RegistryAddress;

/// Kafka's own limit for a topic's name.
pub(crate) const TOPIC_CHARS_MAX: usize = 249;
/// What framing, key and headers add to a datum, and room for the batch around it.
const RECORD_OVERHEAD_BYTES: usize = 64 << 10;
/// The largest Kafka record that can come out of a block.
pub(crate) const RECORD_BYTES_MAX: usize = DATUM_BYTES_MAX + RECORD_OVERHEAD_BYTES;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    #[error(
        "topic format `{0}` has no `{{topic}}`: every stream would go to one topic; say for example `{{site}}.{{topic}}`"
    )]
    NoTopic(String),
    #[error("topic format `{format}`: `{found}` is not `{{site}}` or `{{topic}}`")]
    Placeholder { format: String, found: String },
    #[error(
        "topic format `{format}`: `{found}` may not stand in a Kafka topic; letters, digits, `.`, `_` and `-` may"
    )]
    Character { format: String, found: char },
    #[error("{name} is {found}, at least {least} is needed")]
    TooSmall {
        name: &'static str,
        found: u64,
        least: u64,
    },
    #[error(
        "min_insync_replicas is {min_insync}, replication only {replication}: nothing could be produced"
    )]
    MinInsync { min_insync: u16, replication: u16 },
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error("feed.registry_ca_file = {}: {reason}", path.display())]
    RegistryCa { path: PathBuf, reason: String },
    #[error("registry `{address}` {what}; say for example `http://registry:8081`")]
    Registry { address: String, what: &'static str },
}

/// `{site}.{topic}`: how public topics are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFormat(String);

impl TopicFormat {
    pub fn new(format: &str) -> Result<Self, OptionsError> {
        if !format.contains("{topic}") {
            return Err(OptionsError::NoTopic(format.to_owned()));
        }
        let rest = format.replace("{topic}", "").replace("{site}", "");
        match rest.chars().find(|&c| !is_legal(c)) {
            None => Ok(Self(format.to_owned())),
            Some('{' | '}') => {
                let begin = rest.find('{').unwrap_or(0);
                let found = rest[begin..].split_inclusive('}').next().unwrap_or(&rest);
                Err(OptionsError::Placeholder {
                    format: format.to_owned(),
                    found: found.to_owned(),
                })
            }
            Some(found) => Err(OptionsError::Character {
                format: format.to_owned(),
                found,
            }),
        }
    }

    /// Characters that Kafka does not take become `_`.
    pub fn name(&self, site: &Site, topic: &str) -> String {
        let name = self
            .0
            .replace("{site}", site.as_str())
            .replace("{topic}", topic);
        name.chars()
            .map(|c| if is_legal(c) { c } else { '_' })
            .collect()
    }
}

impl Default for TopicFormat {
    fn default() -> Self {
        Self("{site}.{topic}".to_owned())
    }
}

fn is_legal(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// How topics are made. A topic that exists is taken as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// Copies of each topic. Defaults to 3; a cluster of one broker must be asked for with 1.
    pub replication: u16,
    /// Copies that must have a record before it counts. Defaults to 2, or to `replication` where that is less.
    pub min_insync_replicas: Option<u16>,
    /// How long records stay, by when they were appended, so that back-fill does not expire on arrival.
    /// `None`: the cluster's default.
    pub retention: Option<Duration>,
}

impl TopicSettings {
    pub(crate) fn min_insync(&self) -> u16 {
        self.min_insync_replicas
            .unwrap_or_else(|| self.replication.min(2))
    }
}

impl Default for TopicSettings {
    fn default() -> Self {
        Self {
            replication: 3,
            min_insync_replicas: None,
            retention: None,
        }
    }
}

/// A promise broken on purpose, to see the test that guards it turn red, or a death at a chosen moment.
#[cfg(feature = "sabotage")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Nothing is read back after a crash: everything behind the checkpoint is produced again.
    NoDedup,
    /// The process dies when records are in their topics that no checkpoint has.
    DieBeforeCheckpoint,
}

#[derive(Clone, Debug)]
pub struct FeedOptions {
    /// The feed's own folder: checkpoint and lock.
    pub folder: PathBuf,
    pub kafka: Connection,
    /// Base address of the registry's Confluent API, for example `https://registry:8081`.
    pub registry: RegistryAddress,
    /// PEM, of the authority that signed the certificate of an https registry. `None`: those that Debian trusts.
    pub registry_ca_file: Option<PathBuf>,
    pub topic_format: TopicFormat,
    pub topics: TopicSettings,
    /// The components whose topics are fed.
    pub shard: Shard,
    /// How often the checkpoint is written: what is read back after a crash is at most what was produced meanwhile.
    pub checkpoint_every: Duration,
    /// How soon an output that refused something is tried again; doubles up to ten minutes.
    pub retry_after: Duration,
    /// Records waiting for the broker's acknowledgement.
    pub in_flight_records_max: u32,
    /// Bytes of them.
    pub in_flight_bytes_max: usize,
    pub in_flight_blocks_max: usize,
    /// How long the topics' ends must stand still before they are believed: requests of a process that was killed may
    /// still be on their way through the broker.
    pub settle: Duration,
    /// How long a stop waits for acknowledgements; what is still open then is read back at the next start.
    pub drain_within: Duration,
    #[cfg(feature = "sabotage")]
    pub sabotage: Option<Sabotage>,
}

pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

impl FeedOptions {
    /// Defaults for everything that has one.
    pub fn new(
        folder: impl Into<PathBuf>,
        kafka: Connection,
        registry: impl Into<RegistryAddress>,
    ) -> Self {
        Self {
            folder: folder.into(),
            kafka,
            registry: registry.into(),
            registry_ca_file: None,
            topic_format: TopicFormat::default(),
            topics: TopicSettings::default(),
            shard: Shard::WHOLE,
            checkpoint_every: Duration::from_secs(5),
            retry_after: Duration::from_secs(10),
            in_flight_records_max: 100_000,
            in_flight_bytes_max: 64 << 20,
            in_flight_blocks_max: 256,
            settle: Duration::from_millis(500),
            drain_within: Duration::from_secs(10),
            #[cfg(feature = "sabotage")]
            sabotage: None,
        }
    }

    pub fn check(&self) -> Result<(), OptionsError> {
        let at_least = |name, found: u64, least: u64| match found < least {
            true => Err(OptionsError::TooSmall { name, found, least }),
            false => Ok(()),
        };
        self.kafka.check()?;
        at_least("replication", self.topics.replication.into(), 1)?;
        at_least("min_insync_replicas", self.topics.min_insync().into(), 1)?;
        if self.topics.replication < self.topics.min_insync() {
            return Err(OptionsError::MinInsync {
                min_insync: self.topics.min_insync(),
                replication: self.topics.replication,
            });
        }
        at_least(
            "in_flight_records_max",
            self.in_flight_records_max.into(),
            1,
        )?;
        at_least("in_flight_blocks_max", self.in_flight_blocks_max as u64, 1)?;
        at_least(
            "in_flight_bytes_max",
            self.in_flight_bytes_max as u64,
            RECORD_BYTES_MAX as u64,
        )?;
        self.registry.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names() {
        let site: Site = "summit".parse().unwrap();
        let name = |format: &str, topic: &str| TopicFormat::new(format).unwrap().name(&site, topic);
        assert_eq!(
            name("{site}.{topic}", "lsst.sal.Test.scalars"),
            "summit.lsst.sal.Test.scalars"
        );
        assert_eq!(name("efd-{topic}", "rt/ümlaut a"), "efd-rt__mlaut_a");
        for bad in [
            "",
            "{site}",
            "{site}.{topic}.{edge}",
            "{topic} x",
            "a/{topic}",
        ] {
            assert!(TopicFormat::new(bad).is_err(), "{bad}");
        }
        let error = TopicFormat::new("{site}.{topic}.{edge}").unwrap_err();
        assert!(error.to_string().contains("`{edge}`"), "{error}");
    }

    #[test]
    fn impossible_options_are_refused() {
        let good = FeedOptions::new(
            "f",
            Connection::plaintext("127.0.0.1:9092"),
            "http://127.0.0.1:8081/",
        );
        assert_eq!(good.check(), Ok(()));
        assert_eq!(good.registry.to_string(), "http://127.0.0.1:8081");
        let check = |change: &dyn Fn(&mut FeedOptions)| {
            let mut options = good.clone();
            change(&mut options);
            options.check().unwrap_err().to_string()
        };
        assert!(check(&|o| o.topics.replication = 0).contains("replication is 0"));
        assert!(check(&|o| o.topics.min_insync_replicas = Some(4)).contains("only 3"));
        assert!(check(&|o| o.in_flight_bytes_max = 5).contains("in_flight_bytes_max is 5"));
        assert!(check(&|o| o.kafka.brokers.clear()).contains("no broker"));
        assert!(check(&|o| o.registry = "r:8081".into()).contains("http://"));
    }
}
