//! `[kafka]`: the cluster, which public topics and a shared log have in common.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use efd_central_kafka::{
    ClientCertificate, Connection, Login, Mechanism, Password, Properties, Tls,
};
use serde::{Deserialize, Deserializer};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Kafka {
    /// Bootstrap servers; empty: there is no cluster.
    pub(crate) brokers: String,
    pub(crate) tls: bool,
    /// PEM, of the authority that signed the brokers' certificates; absent: those that the system trusts.
    pub(crate) ca_file: Option<PathBuf>,
    /// For brokers that ask for a certificate, PEM.
    pub(crate) certificate_file: Option<PathBuf>,
    pub(crate) key_file: Option<PathBuf>,
    /// Absent: no login.
    pub(crate) username: Option<String>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) sasl: Sasl,
    /// Copies of each topic.
    pub(crate) replication: u16,
    /// Copies that have a record before it counts.
    pub(crate) min_insync_replicas: u16,
    /// Further librdkafka properties.
    #[serde(deserialize_with = "properties")]
    pub(crate) properties: Properties,
}

fn properties<'de, D: Deserializer<'de>>(from: D) -> Result<Properties, D::Error> {
    Ok(BTreeMap::deserialize(from)?.into())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Sasl {
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "PLAIN")]
    Plain,
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            brokers: String::new(),
            tls: false,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            username: None,
            password_file: None,
            sasl: Sasl::ScramSha512,
            replication: 3,
            min_insync_replicas: 2,
            properties: Properties::default(),
        }
    }
}

impl Kafka {
    /// Reads the password.
    pub(crate) fn connection(&self) -> Result<Connection> {
        let certificate = match (&self.certificate_file, &self.key_file) {
            (Some(certificate), Some(key)) => Some(ClientCertificate {
                certificate_file: certificate.clone(),
                key_file: key.clone(),
            }),
            (Some(_), None) | (None, Some(_)) | (None, None) => None,
        };
        let tls = self.tls.then(|| Tls {
            ca_file: self.ca_file.clone(),
            certificate,
        });
        let login = match (&self.username, &self.password_file) {
            (Some(user), Some(file)) => Some(Login {
                mechanism: match self.sasl {
                    Sasl::ScramSha512 => Mechanism::ScramSha512,
                    Sasl::ScramSha256 => Mechanism::ScramSha256,
                    Sasl::Plain => Mechanism::Plain,
                },
                user: user.clone(),
                password: Password::from_file(file).context("kafka.password_file")?,
            }),
            (Some(_), None) | (None, Some(_)) | (None, None) => None,
        };
        let connection = Connection {
            brokers: self.brokers.clone(),
            tls,
            login,
            properties: self.properties.clone(),
        };
        connection.check()?;
        Ok(connection)
    }

    /// Of each topic: how many, and how many of them have a record before it counts.
    pub(crate) fn copies(&self) -> (u16, u16) {
        (self.replication, self.min_insync_replicas)
    }

    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut refuse = |bad: bool, text: String| bad.then(|| faults.push(text));
        refuse(
            self.replication < 1
                || self.min_insync_replicas < 1
                || self.min_insync_replicas > self.replication,
            format!(
                "kafka.replication = {} and kafka.min_insync_replicas = {}: the second is at least 1 and at most the first",
                self.replication, self.min_insync_replicas
            ),
        );
        let pair = |one: bool, other: bool| one != other;
        refuse(
            pair(self.username.is_some(), self.password_file.is_some()),
            "kafka.username and kafka.password_file: both, or neither".into(),
        );
        refuse(
            pair(self.certificate_file.is_some(), self.key_file.is_some()),
            "kafka.certificate_file and kafka.key_file: both, or neither".into(),
        );
        let of_tls = [&self.ca_file, &self.certificate_file, &self.key_file];
        refuse(
            !self.tls && of_tls.iter().any(|file| file.is_some()),
            "kafka.tls is false, and kafka.ca_file, kafka.certificate_file or kafka.key_file is set".into(),
        );
        faults
    }
}
