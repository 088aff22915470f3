//! The seam to the schema registry. `http` is the real one.

mod http;

use efd_shared_model::Schema;

use crate::wire::SchemaId;

pub(crate) use http::{HttpRegistry, count_subjects};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RegistryError {
    /// It does not take this schema under this subject, now or later.
    #[error("subject `{subject}` refused ({status}): {reason}")]
    Refused {
        subject: String,
        status: u16,
        reason: String,
    },
    /// No answer, or one that is not about the schema: the same call may succeed later.
    #[error("{0}")]
    Unavailable(String),
}

pub(crate) trait Registry {
    /// The id of `schema` under `subject`. May be called again with the same.
    fn register(&mut self, subject: &str, schema: &Schema) -> Result<SchemaId, RegistryError>;
}
