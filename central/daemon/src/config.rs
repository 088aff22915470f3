//! The configuration of a centre. Every default is stated in `central/daemon/central.toml`, which a test reads.

mod kafka;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Result;
use efd_central_feed::RegistryAddress;
use efd_central_kafka::{Password, exposed};
use efd_central_log::Keep;
use efd_shared_daemon::disk::bytes_of_disk;
use efd_shared_daemon::http::HttpConfig;
use efd_shared_daemon::identity::CentralName;
use efd_shared_daemon::units::{ByteSize, Span};
use efd_shared_model::Shard;
use serde::de::IntoDeserializer as _;
use serde::{Deserialize, Deserializer};

pub(crate) use kafka::Kafka;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// UDP address for edges.
    #[serde(default = "default_listen")]
    pub(crate) listen: SocketAddr,
    /// Folder with `ca.crt`, and `central-<name>.crt` and `.key` as `efd-central ca` issued them.
    pub(crate) certificates: PathBuf,
    /// The log and all state.
    #[serde(default = "default_state_folder")]
    pub(crate) path: PathBuf,
    /// This process among those that share a log; absent: the certificate's name.
    #[serde(default, deserialize_with = "central_name")]
    pub(crate) name: Option<CentralName>,
    /// What this process does.
    #[serde(default = "Role::all")]
    pub(crate) roles: BTreeSet<Role>,
    #[serde(default)]
    pub(crate) log: Log,
    #[serde(default)]
    pub(crate) lake: Lake,
    #[serde(default)]
    pub(crate) kafka: Kafka,
    #[serde(default)]
    pub(crate) feed: Feed,
    #[serde(default)]
    pub(crate) http: HttpConfig,
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 4433))
}

fn default_state_folder() -> PathBuf {
    PathBuf::from("/var/lib/efd-central")
}

/// A part of a centre. With the log on a cluster, processes may share them out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Takes edges.
    Ingest,
    Feed,
    Lake,
    /// The account of what is complete. Every process that has it keeps a book of its own.
    Ledger,
}

impl Role {
    fn all() -> BTreeSet<Self> {
        [Self::Ingest, Self::Feed, Self::Lake, Self::Ledger].into()
    }
}

impl FromStr for Role {
    type Err = serde::de::value::Error;
    /// As in a configuration.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::deserialize(text.into_deserializer())
    }
}

/// Where the log of blocks is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogStore {
    /// On this machine's disk, for one process.
    Embedded,
    /// On the cluster, for any number of processes.
    Kafka,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    pub(crate) store: LogStore,
    /// Blocks that every consumer has taken are removed when they are older; on a cluster, whether taken or not.
    pub(crate) retain: Span,
    /// Of the embedded log: above it they are removed when they are younger too; absent means 80 % of its disk.
    pub(crate) bytes_max: Option<ByteSize>,
    /// Of the embedded log.
    pub(crate) segment_bytes_max: ByteSize,
    pub(crate) segment_age_max: Span,
    /// Of the log on a cluster: what its topics' names begin with.
    pub(crate) topic_prefix: String,
}

impl Log {
    /// `path`: of the centre.
    pub(crate) fn keep(&self, path: &Path) -> Result<Keep> {
        let bytes_max = match self.bytes_max {
            Some(size) => size.bytes(),
            None => bytes_of_disk(path)? / 10 * 8,
        };
        Ok(Keep {
            age_max: self.retain.duration(),
            bytes_max,
        })
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            store: LogStore::Embedded,
            retain: Span::from_days(7),
            bytes_max: None,
            segment_bytes_max: ByteSize::from_mib(256),
            segment_age_max: Span::from_secs(3600),
            topic_prefix: "efd.".into(),
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Lake {
    pub(crate) enabled: bool,
    /// Root folder; absent means `<path>/lake`.
    pub(crate) path: Option<PathBuf>,
    /// A record is visible at the latest after so long.
    pub(crate) commit_every: Span,
    /// Records waiting for their commit.
    pub(crate) memory_max: ByteSize,
}

impl Default for Lake {
    fn default() -> Self {
        Self {
            enabled: true,
            path: None,
            commit_every: Span::from_secs(60),
            memory_max: ByteSize::from_mib(256),
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Feed {
    /// Base URL of the schema registry (Confluent API); a login in it is never shown.
    #[serde(deserialize_with = "registry_address")]
    pub(crate) registry: RegistryAddress,
    pub(crate) registry_ca_file: Option<PathBuf>,
    pub(crate) registry_username: Option<String>,
    pub(crate) registry_password_file: Option<PathBuf>,
    /// Public topics are named so.
    pub(crate) topic: String,
    /// Among how many workers, by component, the processes share the work.
    pub(crate) workers: u16,
    pub(crate) checkpoint_every: Span,
}

fn central_name<'de, D: Deserializer<'de>>(from: D) -> Result<Option<CentralName>, D::Error> {
    let name = String::deserialize(from)?.parse();
    name.map(Some).map_err(serde::de::Error::custom)
}

fn registry_address<'de, D: Deserializer<'de>>(from: D) -> Result<RegistryAddress, D::Error> {
    Ok(String::deserialize(from)?.as_str().into())
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            registry: RegistryAddress::default(),
            registry_ca_file: None,
            registry_username: None,
            registry_password_file: None,
            topic: "{site}.{topic}".into(),
            workers: 1,
            checkpoint_every: Span::from_secs(5),
        }
    }
}

impl Feed {
    /// The registry's address with the login that it gets.
    pub(crate) fn registry_access(&self) -> Result<RegistryAddress> {
        match (&self.registry_username, &self.registry_password_file) {
            (Some(user), Some(file)) => {
                Ok(self.registry.with_login(user, &Password::from_file(file)?))
            }
            (Some(_), None) | (None, Some(_)) | (None, None) => Ok(self.registry.clone()),
        }
    }
}

impl Config {
    pub(crate) fn lake_path(&self) -> PathBuf {
        self.lake
            .path
            .clone()
            .unwrap_or_else(|| self.path.join("lake"))
    }

    pub(crate) fn has_feed(&self) -> bool {
        self.roles.contains(&Role::Feed) && !self.kafka.brokers.is_empty()
    }

    pub(crate) fn has_lake(&self) -> bool {
        self.roles.contains(&Role::Lake) && self.lake.enabled
    }

    /// What no type can refuse. One line per fault.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut refuse = |bad: bool, text: String| bad.then(|| faults.push(text));
        let feed = &self.feed;
        let is_embedded = self.log.store == LogStore::Embedded;
        refuse(
            self.roles.is_empty(),
            "roles is empty: ingest, feed and lake can be had".into(),
        );
        refuse(
            is_embedded && !self.roles.contains(&Role::Ingest),
            "roles has no ingest, and log.store is \"embedded\": nobody else can fill that log"
                .into(),
        );
        refuse(
            !is_embedded && self.kafka.brokers.is_empty(),
            "log.store is \"kafka\" and kafka.brokers is not set".into(),
        );
        let prefix = &self.log.topic_prefix;
        refuse(
            prefix.is_empty()
                || prefix.len() > 64
                || !prefix
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)),
            format!("log.topic_prefix = \"{prefix}\": 1 to 64 letters, digits, `.`, `_`, `-`"),
        );
        refuse(
            self.has_feed() && feed.registry.is_empty(),
            "kafka.brokers is set and feed.registry is not: public topics need a schema registry; where there shall be none, \
             leave feed out of roles"
                .into(),
        );
        if let Some(error) = Shard::all(feed.workers).err() {
            refuse(true, format!("feed.workers = {error}"));
        }
        refuse(
            is_embedded && feed.workers > 1,
            format!(
                "feed.workers = {}, and log.store is \"embedded\": workers share a log on the cluster",
                feed.workers
            ),
        );
        refuse(
            feed.registry_username.is_some() != feed.registry_password_file.is_some(),
            "feed.registry_username and feed.registry_password_file: both, or neither".into(),
        );
        refuse(
            feed.registry_username.is_some() && feed.registry.has_login(),
            "feed.registry has a login in it and feed.registry_username is set: one of the two"
                .into(),
        );
        refuse(
            !feed.topic.contains("{topic}") || !feed.topic.contains("{site}"),
            format!(
                "feed.topic = \"{}\": needs {{site}} and {{topic}}, or sites would share a topic",
                feed.topic
            ),
        );
        faults.extend(self.kafka.faults());
        faults
    }

    /// Files with secrets that too many may read.
    pub(crate) fn exposures(&self) -> Vec<String> {
        let files = [
            &self.kafka.password_file,
            &self.kafka.key_file,
            &self.feed.registry_password_file,
        ];
        let files = files.into_iter().flatten();
        files.filter_map(|path| exposed(path)).collect()
    }
}

pub(crate) const HTTP_PORT: u16 = 9465;

pub(crate) fn default_path() -> &'static Path {
    Path::new("/etc/efd/central.toml")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The commented example states every default: with the certificates alone the configuration is the same.
    #[test]
    fn the_example_states_the_defaults() {
        let read = |text: &str| -> Config {
            efd_shared_daemon::config::parse(Path::new("central.toml"), text, "NOTHING__", [], &[])
                .unwrap()
        };
        let (whole, short) = (
            read(include_str!("../central.toml")),
            read("certificates = \"/etc/efd/certificates\"\n"),
        );
        assert!(whole.faults().is_empty(), "{:?}", whole.faults());
        let shown = |config: &Config| {
            let mut config = config.clone();
            config.http = HttpConfig::default();
            format!("{config:#?}")
        };
        assert_eq!(shown(&whole), shown(&short));
        assert_eq!(whole.http.listen, Some(([127, 0, 0, 1], HTTP_PORT).into()));
    }

    /// Nothing that prints a configuration prints a password.
    #[test]
    fn passwords_are_not_shown() {
        let text = "certificates = \"c\"\n[feed]\nregistry = \"http://anna:hunter2@r:8081\"\n\
                    [kafka]\nbrokers = \"b:9092\"\n[kafka.properties]\n\"sasl.password\" = \"hunter2\"\n";
        let config: Config =
            efd_shared_daemon::config::parse(Path::new("central.toml"), text, "NOTHING__", [], &[])
                .unwrap();
        let refused = crate::run::feed_options(&config).unwrap_err();
        let shown = format!("{config:?} {:?} {refused:#}", config.faults());
        assert!(
            shown.contains("http://r:8081") && shown.contains("`sasl.password`"),
            "{shown}"
        );
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn faults_are_named() {
        let text = "certificates = \"c\"\n[kafka]\nbrokers = \"b:9092\"\nreplication = 1\nusername = \"efd\"\n\
                    key_file = \"k\"\n[feed]\ntopic = \"{topic}\"\nregistry_username = \"efd\"\n";
        let config: Config =
            efd_shared_daemon::config::parse(Path::new("central.toml"), text, "NOTHING__", [], &[])
                .unwrap();
        let faults = config.faults().join("\n");
        for wanted in [
            "feed.registry is not",
            "kafka.min_insync_replicas = 2",
            "kafka.password_file",
            "kafka.tls is false",
            "feed.registry_password_file",
            "needs {site} and {topic}",
        ] {
            assert!(faults.contains(wanted), "{wanted} in {faults}");
        }
    }
}
