//! What the commands of a daemon ask of a running one.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use serde_json::Value as Json;

use super::client::{self, GetError};
use super::{HttpAddress, HttpError, listen_error};

const PROBE_WITHIN: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    #[error(transparent)]
    Get(#[from] GetError),
    #[error("{address} does not answer as {wanted} does; another program may own that port")]
    NotOurs {
        address: SocketAddr,
        wanted: &'static str,
    },
    #[error("{address} is {found}, not {wanted}: `http.listen` says where it is")]
    Other {
        address: SocketAddr,
        found: String,
        wanted: &'static str,
    },
}

impl HttpAddress {
    /// `/status` of the daemon there, which must be a `program`.
    pub fn status(&self, program: &'static str, within: Duration) -> Result<Json, StatusError> {
        let address = self.listen;
        let reply = client::get(address, "/status", self.token.as_ref(), within)?;
        let status: Option<Json> = serde_json::from_slice(&reply.body).ok();
        let found = status
            .as_ref()
            .and_then(|status| status["program"].as_str());
        match (found, &status) {
            (Some(found), Some(status)) if found == program => Ok(status.clone()),
            (Some(found), _) => Err(StatusError::Other {
                address,
                found: found.to_owned(),
                wanted: program,
            }),
            (None, _) => Err(StatusError::NotOurs {
                address,
                wanted: program,
            }),
        }
    }

    /// Whether a `program` that starts now could listen, in words; one that runs already has the address by right.
    pub fn probe(&self, program: &'static str) -> Result<String, HttpError> {
        let address = self.listen;
        match TcpListener::bind(address).map_err(|source| listen_error(address, source)) {
            Ok(_free) => Ok(address.to_string()),
            Err(HttpError::InUse { .. }) if self.status(program, PROBE_WITHIN).is_ok() => {
                Ok(format!("{address}, of the {program} that runs"))
            }
            Err(error) => Err(error),
        }
    }
}
