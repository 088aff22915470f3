//! Asks broker and registry whether they would do, before anything runs.

use std::time::Duration;

use efd_central_log::Tenure;

use crate::kafka::KafkaBroker;
use crate::options::FeedOptions;
use crate::registry::count_subjects;

/// Who answered. Each error says who was asked, and what came or did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// `host:port` of each broker, as the cluster itself names them.
    pub brokers: Vec<String>,
    pub topics: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    #[error("ask {brokers} for the cluster within {within:?}: {reason}")]
    Brokers {
        brokers: String,
        within: Duration,
        reason: String,
    },
    #[error(
        "the cluster has {found} brokers and topics need {replication} copies; for one broker say `replication = 1`"
    )]
    TooFewBrokers { found: usize, replication: u16 },
    #[error("{0}")]
    Registry(String),
}

/// The cluster's brokers. An error if new topics cannot have the copies that they need.
pub fn ask_brokers(options: &FeedOptions, within: Duration) -> Result<Cluster, ProbeError> {
    let cluster = KafkaBroker::connect(options, Tenure::begin())
        .and_then(|broker| broker.cluster(within))
        .map_err(|error| ProbeError::Brokers {
            brokers: options.kafka.brokers.clone(),
            within,
            reason: error.to_string(),
        })?;
    let (found, replication) = (cluster.brokers.len(), options.topics.replication);
    if found < usize::from(replication) {
        return Err(ProbeError::TooFewBrokers { found, replication });
    }
    Ok(cluster)
}

/// How many subjects the registry has.
pub fn ask_registry(options: &FeedOptions, within: Duration) -> Result<usize, ProbeError> {
    count_subjects(options, within).map_err(ProbeError::Registry)
}

#[cfg(test)]
mod tests {
    use efd_central_kafka::Connection;

    use super::*;

    /// A port that was free a moment ago.
    #[test]
    fn nobody_there_is_said_with_the_address() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let registry = format!("http://anna:hunter2@{address}");
        let options = FeedOptions::new("f", Connection::plaintext(&address), registry.as_str());
        let within = Duration::from_secs(1);
        let error = ask_brokers(&options, within).unwrap_err().to_string();
        assert!(
            error.contains(&address) && error.contains("refused"),
            "{error}"
        );
        let error = ask_registry(&options, within).unwrap_err().to_string();
        assert!(
            error.contains(&address) && !error.contains("hunter2"),
            "{error}"
        );
    }

    #[test]
    fn a_misspelt_property_is_named_without_its_value() {
        let mut options = FeedOptions::new(
            "f",
            Connection::plaintext("127.0.0.1:1"),
            "http://127.0.0.1:1",
        );
        options.kafka.properties.insert("sasl_password", "hunter2");
        let error = ask_brokers(&options, Duration::from_secs(1)).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("sasl_password") && !error.contains("hunter2"),
            "{error}"
        );
    }
}
