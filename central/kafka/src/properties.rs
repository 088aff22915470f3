//! librdkafka's own settings, as a user gives them.

use std::collections::BTreeMap;
use std::fmt;

use crate::ConnectionError;

/// `Debug` shows their names only: a password may stand among them.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Properties(BTreeMap<String, String>);

impl Properties {
    pub fn insert(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(crate) fn check(&self) -> Result<(), ConnectionError> {
        for (name, _) in self.iter() {
            let name = name.to_owned();
            if RESERVED.contains(&name.as_str()) {
                return Err(ConnectionError::Reserved(name));
            }
            if SECURED.iter().any(|prefix| name.starts_with(prefix)) {
                return Err(ConnectionError::Secured(name));
            }
        }
        Ok(())
    }
}

impl From<BTreeMap<String, String>> for Properties {
    fn from(properties: BTreeMap<String, String>) -> Self {
        Self(properties)
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What has settings of ours, or must not be had: peers that nobody verified.
const SECURED: [&str; 5] = [
    "security.protocol",
    "ssl.",
    "sasl.",
    "enable.ssl.",
    "enable.sasl.",
];

/// What a centre sets itself.
const RESERVED: [&str; 18] = [
    "bootstrap.servers",
    "metadata.broker.list",
    "enable.idempotence",
    "enable.gapless.guarantee",
    "acks",
    "request.required.acks",
    "message.timeout.ms",
    "delivery.timeout.ms",
    "retries",
    "message.send.max.retries",
    "transactional.id",
    "message.max.bytes",
    "enable.partition.eof",
    "isolation.level",
    "enable.auto.commit",
    "auto.offset.reset",
    "queue.buffering.max.messages",
    "queue.buffering.max.kbytes",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_cannot_be_had_are_refused_without_their_values() {
        let with = |name: &str| {
            let mut properties = Properties::default();
            properties.insert(name, "hunter2");
            properties
        };
        for name in ["linger.ms", "client.rack"] {
            assert_eq!(with(name).check(), Ok(()), "{name}");
        }
        for (name, wanted) in [
            ("acks", "being exactly once rests on it"),
            ("security.protocol", "kafka.tls"),
            ("sasl.password", "kafka.password_file"),
            ("ssl.key.password", "kafka.ca_file"),
            ("enable.ssl.certificate.verification", "kafka.ca_file"),
        ] {
            let properties = with(name);
            let error = properties.check().unwrap_err().to_string();
            assert!(error.contains(&format!("`{name}`")), "{error}");
            assert!(error.contains(wanted), "{error}");
            let shown = format!("{error} {properties:?}");
            assert!(
                !shown.contains("hunter2") && shown.contains(name),
                "{shown}"
            );
        }
    }
}
