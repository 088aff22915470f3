//! Confluent's registry API over plain HTTP/1.1.

use std::time::Duration;

use efd_shared_model::Schema;
use serde_json::{Value, json};

use super::{Registry, RegistryError};
use crate::wire::SchemaId;

const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const REASON_CHARS_MAX: usize = 400;
/// Error code of a registry that takes no schema from anybody at the time (mode READONLY).
const NOT_PERMITTED: u64 = 42205;

#[derive(Debug)]
pub(crate) struct HttpRegistry {
    agent: ureq::Agent,
    base: String,
}

impl HttpRegistry {
    pub(crate) fn new(base: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(ANSWER_WITHIN))
            .http_status_as_error(false)
            .build();
        Self {
            agent: config.into(),
            base: base.to_owned(),
        }
    }
}

impl Registry for HttpRegistry {
    fn register(&mut self, subject: &str, schema: &Schema) -> Result<SchemaId, RegistryError> {
        // A subject is a legal topic name and a suffix: nothing in it needs escaping.
        let address = format!("{}/subjects/{subject}/versions", self.base);
        let unavailable =
            |reason: String| RegistryError::Unavailable(format!("POST {address}: {reason}"));
        let mut answer = self
            .agent
            .post(&address)
            .header("Accept", "application/vnd.schemaregistry.v1+json")
            .content_type("application/vnd.schemaregistry.v1+json")
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
    use super::*;

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
