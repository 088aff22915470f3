//! Confluent's registry API over HTTP/1.1 or HTTPS.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use efd_central_kafka::SYSTEM_CA_FILE;
use efd_shared_model::Schema;
use serde_json::{Value, json};
use ureq::RequestBuilder;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::{Registry, RegistryError};
use crate::options::{FeedOptions, OptionsError, RegistryAddress};
use crate::wire::SchemaId;

const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";
const REASON_CHARS_MAX: usize = 400;
/// Error code of a registry that takes no schema from anybody at the time (mode READONLY).
const NOT_PERMITTED: u64 = 42205;

#[derive(Debug)]
pub(crate) struct HttpRegistry {
    agent: ureq::Agent,
    address: RegistryAddress,
}

fn agent(options: &FeedOptions, within: Duration) -> Result<ureq::Agent, OptionsError> {
    let mut config = ureq::Agent::config_builder()
        .timeout_global(Some(within))
        .http_status_as_error(false);
    if options.registry.is_https() {
        let ca_file = options.registry_ca_file.as_deref();
        let roots = roots(ca_file.unwrap_or_else(|| Path::new(SYSTEM_CA_FILE)))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder()
            .root_certs(roots)
            .unversioned_rustls_crypto_provider(provider)
            .build();
        config = config.tls_config(tls);
    }
    Ok(config.build().into())
}

fn roots(path: &Path) -> Result<RootCerts, OptionsError> {
    let fault = |reason: String| OptionsError::RegistryCa {
        path: PathBuf::from(path),
        reason,
    };
    let pem = std::fs::read(path).map_err(|error| fault(error.to_string()))?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| fault(error.to_string()))? {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        return Err(fault("no PEM with a certificate in it".into()));
    }
    Ok(RootCerts::Specific(Arc::new(found)))
}

impl HttpRegistry {
    pub(crate) fn new(options: &FeedOptions) -> Result<Self, OptionsError> {
        Ok(Self {
            agent: agent(options, ANSWER_WITHIN)?,
            address: options.registry.clone(),
        })
    }
}

fn with_headers<B>(request: RequestBuilder<B>, address: &RegistryAddress) -> RequestBuilder<B> {
    let request = request.header("Accept", CONTENT_TYPE);
    match address.authorization() {
        Some(authorization) => request.header("Authorization", authorization),
        None => request,
    }
}

impl Registry for HttpRegistry {
    fn register(&mut self, subject: &str, schema: &Schema) -> Result<SchemaId, RegistryError> {
        // A subject is a legal topic name and a suffix: nothing in it needs escaping.
        let path = format!("/subjects/{subject}/versions");
        let address = &self.address;
        let unavailable =
            |reason: String| RegistryError::Unavailable(format!("POST {address}{path}: {reason}"));
        let mut answer = with_headers(self.agent.post(format!("{address}{path}")), address)
            .content_type(CONTENT_TYPE)
            .send(json!({ "schema": schema.text() }).to_string())
            .map_err(|error| unavailable(error.to_string()))?;
        let status = answer.status().as_u16();
        let body = answer
            .body_mut()
            .read_to_string()
            .map_err(|error| unavailable(error.to_string()))?;
        judge(subject, status, &body).map_err(|error| match error {
            RegistryError::Unavailable(reason) => unavailable(reason),
            refused @ RegistryError::Refused { .. } => refused,
        })
    }
}

/// Asks a registry for its subjects and counts them; else why not.
pub(crate) fn count_subjects(options: &FeedOptions, within: Duration) -> Result<usize, String> {
    let address = &options.registry;
    let failed = |reason: String| format!("GET {address}/subjects: {reason}");
    let agent = agent(options, within).map_err(|error| error.to_string())?;
    let mut answer = with_headers(agent.get(format!("{address}/subjects")), address)
        .call()
        .map_err(|error| failed(error.to_string()))?;
    let status = answer.status().as_u16();
    let body = answer
        .body_mut()
        .read_to_string()
        .map_err(|error| failed(error.to_string()))?;
    count(status, &body).map_err(failed)
}

fn count(status: u16, body: &str) -> Result<usize, String> {
    let begin = || -> String { body.chars().take(REASON_CHARS_MAX).collect() };
    match status {
        200 => serde_json::from_str::<Vec<String>>(body)
            .map(|subjects| subjects.len())
            .map_err(|_| format!("no list of subjects, so no schema registry: {}", begin())),
        401 | 403 => Err(format!(
            "{status}: it asks for a login (`registry_username`, `registry_password_file`) that may read subjects: {}",
            begin()
        )),
        _ => Err(format!("{status}: {}", begin())),
    }
}

/// What an answer means.
fn judge(subject: &str, status: u16, body: &str) -> Result<SchemaId, RegistryError> {
    let parsed: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let field = |name: &str| parsed.get(name).and_then(Value::as_u64);
    let reason = || -> String {
        let message = parsed.get("message").and_then(Value::as_str);
        message
            .unwrap_or(body)
            .chars()
            .take(REASON_CHARS_MAX)
            .collect()
    };
    match status {
        200..=299 => {
            let id = field("id").and_then(|id| u32::try_from(id).ok());
            let odd =
                || RegistryError::Unavailable(format!("{status} without an id: {}", reason()));
            id.map(SchemaId).ok_or_else(odd)
        }
        409 | 422 if field("error_code") != Some(NOT_PERMITTED) => Err(RegistryError::Refused {
            subject: subject.to_owned(),
            status,
            reason: reason(),
        }),
        _ => Err(RegistryError::Unavailable(format!(
            "{status}: {}",
            reason()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use efd_central_kafka::Connection;

    use super::*;

    #[test]
    fn subjects_are_counted() {
        assert_eq!(count(200, "[]"), Ok(0));
        assert_eq!(count(200, r#"["a-value","b-value"]"#), Ok(2));
        for (status, body, wanted) in [
            (200, "<html>", "no schema registry"),
            (200, "{}", "no schema registry"),
            (401, "who are you", "asks for a login"),
            (404, "", "404"),
            (503, "later", "503: later"),
        ] {
            let error = count(status, body).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
    }

    /// Answers one request, and gives what came.
    fn answer_once(answer: &'static str) -> (String, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut request, mut buffer) = (String::new(), [0; 4096]);
            while !request.contains("\r\n\r\n") {
                let length = stream.read(&mut buffer).unwrap();
                request.push_str(str::from_utf8(&buffer[..length]).unwrap());
            }
            let length = answer.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{answer}"
            )
            .unwrap();
            request
        });
        (address, thread)
    }

    /// The login goes to the registry and nowhere else.
    #[test]
    fn a_login_is_sent_and_not_told() {
        let within = Duration::from_secs(5);
        let (host, thread) = answer_once("[]");
        let address = RegistryAddress::from(format!("http://{host}").as_str());
        let address = address.with_login("anna", &"hunter2@/".into());
        let options = FeedOptions::new("f", Connection::plaintext("b:9092"), address);
        assert_eq!(count_subjects(&options, within), Ok(0));
        let request = thread.join().unwrap();
        // `anna:hunter2@/`
        let wanted = "basic yw5uytpodw50zxiyqc8=";
        assert!(request.to_ascii_lowercase().contains(wanted), "{request}");

        // Nobody listens there any more.
        let error = count_subjects(&options, within).unwrap_err();
        let schema = Schema::new("\"long\"");
        let refused = HttpRegistry::new(&options).unwrap().register("s", &schema);
        let error = format!("{error} {}", refused.unwrap_err());
        assert!(
            error.contains(&host) && !error.contains("hunter2"),
            "{error}"
        );
    }

    #[test]
    fn authorities_that_cannot_be_read_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.crt");
        let error = roots(&path).unwrap_err().to_string();
        assert!(
            error.contains("registry_ca_file") && error.contains("ca.crt"),
            "{error}"
        );
        std::fs::write(&path, "no certificate").unwrap();
        let error = roots(&path).unwrap_err().to_string();
        assert!(error.contains("no PEM"), "{error}");
    }

    #[test]
    fn answers() {
        let refused = |result: Result<SchemaId, RegistryError>| {
            matches!(result, Err(RegistryError::Refused { .. }))
        };
        let unavailable = |result: Result<SchemaId, RegistryError>| {
            matches!(result, Err(RegistryError::Unavailable(_)))
        };
        assert_eq!(judge("s", 200, r#"{"id":7}"#), Ok(SchemaId(7)));
        assert!(refused(judge(
            "s",
            409,
            r#"{"error_code":409,"message":"incompatible"}"#
        )));
        assert!(refused(judge(
            "s",
            422,
            r#"{"error_code":42201,"message":"invalid"}"#
        )));
        assert!(unavailable(judge(
            "s",
            422,
            r#"{"error_code":42205,"message":"read-only"}"#
        )));
        assert!(unavailable(judge("s", 200, r#"{"id":-7}"#)));
        assert!(unavailable(judge("s", 200, "<html>")));
        for status in [401, 404, 500, 503] {
            assert!(unavailable(judge("s", status, "")), "{status}");
        }
    }
}
