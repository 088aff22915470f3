//! How the brokers are reached: in plaintext or over TLS, with or without a login.

use std::fs;
use std::path::{Path, PathBuf};

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

use crate::{Password, Properties};

/// Where Debian has the authorities that it trusts.
pub const SYSTEM_CA_FILE: &str = "/etc/ssl/certs/ca-certificates.crt";

#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// `host:port`, more than one separated by commas.
    pub brokers: String,
    /// `None`: in plaintext.
    pub tls: Option<Tls>,
    pub login: Option<Login>,
    /// Handed to librdkafka as they are, where it is used.
    pub properties: Properties,
}

#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// PEM, of the authority that signed the brokers' certificates. `None`: those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// For brokers that ask for a certificate.
    pub certificate: Option<ClientCertificate>,
}

/// Both PEM; the key without a passphrase.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
}

#[derive(Clone, Debug)]
pub struct Login {
    pub mechanism: Mechanism,
    pub user: String,
    pub password: Password,
}

/// Of SASL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    ScramSha512,
    ScramSha256,
    /// Sends the password itself, so over TLS only.
    Plain,
}

impl Mechanism {
    /// IANA's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::Plain => "PLAIN",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    #[error("no broker is named")]
    NoBrokers,
    #[error(
        "broker `{0}` names a protocol: say `host:port`, and `kafka.tls = true` where it speaks TLS"
    )]
    Protocol(String),
    #[error("librdkafka property `{0}` is set by the centre: being exactly once rests on it")]
    Reserved(String),
    #[error(
        "librdkafka property `{0}` has no effect beside kafka.tls, kafka.ca_file, kafka.certificate_file, kafka.key_file, \
         kafka.username, kafka.password_file and kafka.sasl: say it by these"
    )]
    Secured(String),
    #[error(
        "kafka.sasl = \"PLAIN\" sends the password as it is: needs kafka.tls = true, or take SCRAM"
    )]
    PlainWithoutTls,
    #[error("kafka.username is empty")]
    NoUser,
    #[error("{setting} = {}: {reason}", path.display())]
    File {
        setting: &'static str,
        path: PathBuf,
        reason: String,
    },
}

impl Connection {
    /// In plaintext and without a login.
    pub fn plaintext(brokers: &str) -> Self {
        Self {
            brokers: brokers.to_owned(),
            ..Self::default()
        }
    }

    pub fn check(&self) -> Result<(), ConnectionError> {
        if self.brokers.trim().is_empty() {
            return Err(ConnectionError::NoBrokers);
        }
        let mut brokers = self.brokers.split(',').map(str::trim);
        if let Some(broker) = brokers.find(|broker| broker.contains("://")) {
            return Err(ConnectionError::Protocol(broker.to_owned()));
        }
        if let Some(tls) = &self.tls {
            tls.check()?;
        }
        if let Some(login) = &self.login {
            if login.user.is_empty() {
                return Err(ConnectionError::NoUser);
            }
            if login.mechanism == Mechanism::Plain && self.tls.is_none() {
                return Err(ConnectionError::PlainWithoutTls);
            }
        }
        self.properties.check()
    }

    /// For any client; `id` is how it calls itself.
    pub fn config(&self, id: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in self.properties.iter() {
            config.set(name, value);
        }
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", id)
            .set_log_level(RDKafkaLogLevel::Notice);
        let protocol = match (&self.tls, &self.login) {
            (None, None) => "plaintext",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), None) => "ssl",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let Some(Tls {
            ca_file,
            certificate,
        }) = &self.tls
        {
            // A certificate for another host is refused.
            config.set("ssl.endpoint.identification.algorithm", "https");
            let own = certificate.as_ref();
            let files = [
                ("ssl.ca.location", ca_file.as_ref()),
                (
                    "ssl.certificate.location",
                    own.map(|own| &own.certificate_file),
                ),
                ("ssl.key.location", own.map(|own| &own.key_file)),
            ];
            for (name, path) in files {
                if let Some(path) = path {
                    config.set(name, path.to_string_lossy());
                }
            }
        }
        if let Some(login) = &self.login {
            config
                .set("sasl.mechanisms", login.mechanism.name())
                .set("sasl.username", &login.user)
                .set("sasl.password", login.password.expose());
        }
        config
    }
}

impl Tls {
    fn check(&self) -> Result<(), ConnectionError> {
        if let Some(path) = &self.ca_file {
            holds("kafka.ca_file", path, "CERTIFICATE")?;
        }
        if let Some(own) = &self.certificate {
            holds(
                "kafka.certificate_file",
                &own.certificate_file,
                "CERTIFICATE",
            )?;
            holds("kafka.key_file", &own.key_file, "PRIVATE KEY")?;
        }
        Ok(())
    }
}

/// librdkafka says of a file that it cannot use only that something failed.
fn holds(setting: &'static str, path: &Path, label: &str) -> Result<(), ConnectionError> {
    let fault = |reason: String| ConnectionError::File {
        setting,
        path: path.to_owned(),
        reason,
    };
    let bytes = fs::read(path).map_err(|error| fault(error.to_string()))?;
    let ends = format!("{label}-----");
    let is_there = bytes
        .windows(ends.len())
        .any(|window| window == ends.as_bytes());
    if !is_there {
        return Err(fault(format!("no PEM with a {label} in it")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scram() -> Login {
        Login {
            mechanism: Mechanism::ScramSha512,
            user: "efd".into(),
            password: "hunter2".into(),
        }
    }

    #[test]
    fn the_protocol_follows_from_what_is_said() {
        let check = |tls: Option<Tls>, login: Option<Login>, wanted: &str| {
            let connection = Connection {
                tls,
                login,
                ..Connection::plaintext("b:9092")
            };
            assert_eq!(connection.check(), Ok(()));
            let config = connection.config("x");
            assert_eq!(config.get("security.protocol"), Some(wanted));
            assert!(!format!("{connection:?}").contains("hunter2"));
        };
        check(None, None, "plaintext");
        check(None, Some(scram()), "sasl_plaintext");
        check(Some(Tls::default()), None, "ssl");
        check(Some(Tls::default()), Some(scram()), "sasl_ssl");
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let good = Connection::plaintext("a:9092, b:9092");
        let refused = |change: &dyn Fn(&mut Connection), wanted: &str| {
            let mut connection = good.clone();
            change(&mut connection);
            let error = connection.check().unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        };
        refused(&|c| c.brokers = " ".into(), "no broker");
        refused(&|c| c.brokers = "a:1, SSL://b:2".into(), "`SSL://b:2`");
        refused(
            &|c| {
                c.login = Some(Login {
                    mechanism: Mechanism::Plain,
                    ..scram()
                });
            },
            "needs kafka.tls",
        );
        refused(
            &|c| {
                c.login = Some(Login {
                    user: String::new(),
                    ..scram()
                });
            },
            "kafka.username",
        );
        refused(&|c| c.properties.insert("acks", "1"), "`acks`");

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.crt");
        let with_ca = |c: &mut Connection| {
            c.tls = Some(Tls {
                ca_file: Some(path.clone()),
                certificate: None,
            });
        };
        refused(&with_ca, "kafka.ca_file");
        fs::write(&path, "not a certificate").unwrap();
        refused(&with_ca, "no PEM with a CERTIFICATE");
    }
}
