//! A connection to a broker: TCP or TLS, the versions that both speak, the login; then requests and answers in turns.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{Bytes, BytesMut};
use efd_central_kafka::{Connection, Login, Mechanism};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader,
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::scram::{First, Hash, ScramError};
use crate::tls;
use crate::wire::VERSIONS;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// More than a broker waits for its followers.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: usize = 64 << 20;
const CLIENT_ID: &str = "efd-feed";
const NONCE_BYTES: usize = 24;

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("{address}: {error}")]
    Connect { address: String, error: io::Error },
    #[error("TLS: {0}")]
    Tls(String),
    #[error("no answer: {0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Refused(String),
    #[error("{address} speaks {api:?} in versions {found}, {wanted} is needed")]
    Versions {
        address: String,
        api: ApiKey,
        found: String,
        wanted: String,
    },
    #[error("login as {user}: {reason}")]
    Login { user: String, reason: String },
    #[error("{api:?}: {reason}")]
    Malformed { api: ApiKey, reason: String },
}

/// How brokers are reached.
#[derive(Clone)]
pub(crate) struct Access {
    tls: Option<Arc<ClientConfig>>,
    login: Option<Login>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

impl Access {
    /// Reads the files.
    pub(crate) fn new(connection: &Connection) -> Result<Self, LinkError> {
        Ok(Self {
            tls: connection.tls.as_ref().map(tls::config).transpose()?,
            login: connection.login.clone(),
        })
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    fn both(&mut self) -> &mut dyn ReadWrite {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream,
        }
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

pub(crate) struct Link {
    stream: Stream,
    socket: TcpStream,
    /// Of each of [`VERSIONS`].
    versions: [i16; VERSIONS.len()],
    correlation: i32,
    out: BytesMut,
}

impl Link {
    /// `address`: `host:port`.
    pub(crate) fn open(address: &str, access: &Access) -> Result<Self, LinkError> {
        let failed = |error: io::Error| LinkError::Connect {
            address: address.to_owned(),
            error,
        };
        let socket = connect(address).map_err(failed)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(ANSWER_WITHIN))?;
        socket.set_write_timeout(Some(ANSWER_WITHIN))?;
        let stream = match &access.tls {
            None => Stream::Plain(socket.try_clone()?),
            Some(config) => {
                let host = address
                    .rsplit_once(':')
                    .map_or(address, |(host, _)| host)
                    .trim_matches(['[', ']']);
                let name = ServerName::try_from(host.to_owned())
                    .map_err(|error| LinkError::Tls(error.to_string()))?;
                let session = ClientConnection::new(Arc::clone(config), name)
                    .map_err(|error| LinkError::Tls(error.to_string()))?;
                Stream::Tls(Box::new(StreamOwned::new(session, socket.try_clone()?)))
            }
        };
        let mut link = Self {
            stream,
            socket,
            versions: VERSIONS.map(|(_, _, highest)| highest),
            correlation: 0,
            out: BytesMut::new(),
        };
        link.agree(address)?;
        if let Some(login) = &access.login {
            link.log_in(login)?;
        }
        Ok(link)
    }

    /// By which another thread can end a wait.
    pub(crate) fn socket(&self) -> io::Result<TcpStream> {
        self.socket.try_clone()
    }

    fn agree(&mut self, address: &str) -> Result<(), LinkError> {
        let answer: ApiVersionsResponse =
            self.call_version(ApiKey::ApiVersions, 0, &ApiVersionsRequest::default())?;
        for (version, (api, lowest, highest)) in self.versions.iter_mut().zip(VERSIONS) {
            let theirs = answer
                .api_keys
                .iter()
                .find(|found| found.api_key == api as i16);
            *version = match theirs {
                Some(theirs) if lowest <= theirs.max_version && theirs.min_version <= highest => {
                    theirs.max_version.min(highest)
                }
                // Brokers without logins need not know of them.
                None if matches!(api, ApiKey::SaslHandshake | ApiKey::SaslAuthenticate) => continue,
                Some(_) | None => {
                    return Err(LinkError::Versions {
                        address: address.to_owned(),
                        api,
                        found: theirs.map_or_else(
                            || "none".to_owned(),
                            |theirs| format!("{} to {}", theirs.min_version, theirs.max_version),
                        ),
                        wanted: format!("{lowest} to {highest}"),
                    });
                }
            };
        }
        Ok(())
    }

    fn log_in(&mut self, login: &Login) -> Result<(), LinkError> {
        let failed = |reason: String| LinkError::Login {
            user: login.user.clone(),
            reason,
        };
        let mechanism = login.mechanism.name();
        let request =
            SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism));
        let answer: SaslHandshakeResponse = self.call(ApiKey::SaslHandshake, &request)?;
        if let Some(error) = ResponseError::try_from_code(answer.error_code) {
            let theirs: Vec<&str> = answer.mechanisms.iter().map(StrBytes::as_str).collect();
            return Err(failed(format!(
                "{mechanism}: {error}; the broker takes {}",
                theirs.join(", ")
            )));
        }
        let password = login.password.expose();
        let hash = match login.mechanism {
            Mechanism::ScramSha256 => Hash::Sha256,
            Mechanism::ScramSha512 => Hash::Sha512,
            Mechanism::Plain => {
                let message = format!("\0{}\0{password}", login.user);
                self.authenticate(message).map_err(failed)?;
                return Ok(());
            }
        };
        let refused = |error: ScramError| failed(error.to_string());
        let nonce = nonce().ok_or_else(|| failed("no random numbers".to_owned()))?;
        let (first, message) = First::new(hash, &login.user, nonce);
        let challenge = self.authenticate(message).map_err(failed)?;
        let (second, message) = first.answer(&challenge, password).map_err(refused)?;
        let answer = self.authenticate(message).map_err(failed)?;
        second.finish(&answer).map_err(refused)
    }

    fn authenticate(&mut self, message: String) -> Result<String, String> {
        let request = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from(message));
        let answer: SaslAuthenticateResponse = self
            .call(ApiKey::SaslAuthenticate, &request)
            .map_err(|error| error.to_string())?;
        if let Some(error) = ResponseError::try_from_code(answer.error_code) {
            let message = answer.error_message.as_ref().map(StrBytes::as_str);
            return Err(message.map_or_else(|| error.to_string(), str::to_owned));
        }
        Ok(String::from_utf8_lossy(&answer.auth_bytes).into_owned())
    }

    /// Sends a request, in the version that was agreed upon, and waits for its answer.
    pub(crate) fn call<Q, A>(&mut self, api: ApiKey, request: &Q) -> Result<A, LinkError>
    where
        Q: Encodable + HeaderVersion,
        A: Decodable + HeaderVersion,
    {
        let at = VERSIONS.iter().position(|(known, _, _)| *known == api);
        let version = at.map_or(0, |at| self.versions[at]);
        self.call_version(api, version, request)
    }

    fn call_version<Q, A>(&mut self, api: ApiKey, version: i16, request: &Q) -> Result<A, LinkError>
    where
        Q: Encodable + HeaderVersion,
        A: Decodable + HeaderVersion,
    {
        let malformed = |reason: String| LinkError::Malformed { api, reason };
        self.correlation = self.correlation.wrapping_add(1);
        let header = RequestHeader::default()
            .with_request_api_key(api as i16)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(StrBytes::from_static_str(CLIENT_ID)));
        self.out.clear();
        self.out.extend_from_slice(&[0; 4]);
        header
            .encode(&mut self.out, Q::header_version(version))
            .and_then(|()| request.encode(&mut self.out, version))
            .map_err(|error| malformed(error.to_string()))?;
        let length = i32::try_from(self.out.len() - 4)
            .map_err(|_| malformed(format!("a request of {} bytes", self.out.len())))?;
        self.out[..4].copy_from_slice(&length.to_be_bytes());

        let stream = self.stream.both();
        stream.write_all(&self.out)?;
        stream.flush()?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let found = i32::from_be_bytes(length);
        let length = usize::try_from(found)
            .ok()
            .filter(|length| *length <= ANSWER_BYTES_MAX)
            .ok_or_else(|| malformed(format!("an answer of {found} bytes")))?;
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer)?;

        let mut answer = Bytes::from(answer);
        let header = ResponseHeader::decode(&mut answer, A::header_version(version))
            .map_err(|error| malformed(error.to_string()))?;
        if header.correlation_id != self.correlation {
            let found = header.correlation_id;
            return Err(malformed(format!("an answer to request {found}")));
        }
        A::decode(&mut answer, version).map_err(|error| malformed(error.to_string()))
    }
}

/// The first of the host's addresses that answers.
fn connect(address: &str) -> io::Result<TcpStream> {
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_WITHIN) {
            Ok(stream) => return Ok(stream),
            Err(refused) => error = refused,
        }
    }
    Err(error)
}

fn nonce() -> Option<String> {
    let mut bytes = [0; NONCE_BYTES];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(STANDARD_NO_PAD.encode(bytes))
}
