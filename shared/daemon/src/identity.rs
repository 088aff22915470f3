//! Certificates: who a peer is, and how the two sides come to believe it.
//!
//! A certificate carries exactly one URI of ours as a subject alternative name: `efd://<site>/<edge uuid>` for an
//! edge, `efd://<site>/<edge uuid>/rescue` for whoever ships a dead edge's buffer in its place, `efd://central/<name>`
//! for the centre. All are issued by one private CA ([`ca`]). An edge's and a rescuer's certificates serve TLS clients
//! only, the centre's serves TLS servers only, and each side also checks the URI of the other.

use std::fmt;
use std::str::FromStr;

use efd_shared_model::time::NANOS_PER_SECOND;
use efd_shared_model::{EdgeId, Site, UtcNanos};
use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

pub mod ca;
mod expiry;
mod folder;
mod pem;
#[cfg(test)]
mod tests;
mod tls;

pub use expiry::{CertificateMetrics, ExpiryLevel, ExpiryWatch};
pub use folder::FolderError;
pub use pem::{ExposedKey, PemError};
pub use tls::{ALPN, CertificateFiles, Credentials, CredentialsError};

/// The host part of the centre's URI, and so a name that no site may have.
pub const CENTRAL: &str = "central";

/// The last part of a rescuer's URI, and the first of its files' names; so a name that no site may have.
pub const RESCUE: &str = "rescue";

const SCHEME: &str = "efd://";

/// Who a certificate speaks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertificateIdentity {
    Edge {
        site: Site,
        edge: EdgeId,
    },
    /// Ships what that edge has left behind; may do nothing else in its name.
    Rescue {
        site: Site,
        edge: EdgeId,
    },
    Central {
        name: CentralName,
    },
}

/// As what a client speaks for its edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientRole {
    /// It is the edge.
    Edge,
    /// It has a copy of the edge's buffer, perhaps an old one or a part.
    Rescue,
}

impl ClientRole {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Rescue => "rescue",
        }
    }
}

/// The name of a centre: what a [`Site`] may be, with dots too, 1 to 64 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CentralName(String);

pub const CENTRAL_NAME_CHARS_MAX: usize = 64;

impl CentralName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CentralName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for CentralName {
    type Err = IdentityError;
    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        let begins = text.starts_with(|c: char| c.is_ascii_lowercase());
        if begins && text.len() <= CENTRAL_NAME_CHARS_MAX && text.chars().all(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdentityError::CentralName(shown(text)))
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    #[error("the peer showed no certificate")]
    None,
    #[error("not an X.509 certificate in DER: {0}")]
    NotACertificate(String),
    #[error(
        "the certificate names nobody: it has no subject alternative name that begins with {SCHEME}"
    )]
    NoUri,
    #[error("the certificate names both {0} and {1}")]
    TwoUris(String, String),
    #[error(
        "`{0}` is not `{SCHEME}<site>/<edge uuid>`, that with `/{RESCUE}`, or `{SCHEME}{CENTRAL}/<name>`, in lower case"
    )]
    Uri(String),
    #[error(
        "centre `{0}` is not 1 to {CENTRAL_NAME_CHARS_MAX} of a-z, 0-9, `-`, `_`, `.`, beginning with a letter"
    )]
    CentralName(String),
    #[error("this is the certificate of {found}; that of {needed} is needed here")]
    Kind { found: String, needed: &'static str },
}

impl fmt::Display for CertificateIdentity {
    /// The URI; [`FromStr`] reads it back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edge { site, edge } => write!(f, "{SCHEME}{site}/{edge}"),
            Self::Rescue { site, edge } => write!(f, "{SCHEME}{site}/{edge}/{RESCUE}"),
            Self::Central { name } => write!(f, "{SCHEME}{CENTRAL}/{name}"),
        }
    }
}

impl FromStr for CertificateIdentity {
    type Err = IdentityError;
    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let bad = || IdentityError::Uri(shown(text));
        let (host, path) = text
            .strip_prefix(SCHEME)
            .and_then(|rest| rest.split_once('/'))
            .ok_or_else(bad)?;
        let identity = if host == CENTRAL {
            Self::Central {
                name: path.parse()?,
            }
        } else {
            let site = host.parse().map_err(|_| bad())?;
            match path
                .strip_suffix(RESCUE)
                .and_then(|it| it.strip_suffix('/'))
            {
                Some(edge) => Self::Rescue {
                    site,
                    edge: edge.parse().map_err(|_| bad())?,
                },
                None => Self::Edge {
                    site,
                    edge: path.parse().map_err(|_| bad())?,
                },
            }
        };
        // A UUID has several spellings; one identity has one.
        if identity.to_string() == text {
            Ok(identity)
        } else {
            Err(bad())
        }
    }
}

impl CertificateIdentity {
    /// The site and the id, where it is an edge's.
    pub fn edge(&self) -> Result<(&Site, EdgeId), IdentityError> {
        match self {
            Self::Edge { site, edge } => Ok((site, *edge)),
            Self::Rescue { .. } | Self::Central { .. } => Err(self.is_not("an edge")),
        }
    }

    /// The site and the id of the edge whose buffer is rescued.
    pub fn rescue(&self) -> Result<(&Site, EdgeId), IdentityError> {
        match self {
            Self::Rescue { site, edge } => Ok((site, *edge)),
            Self::Edge { .. } | Self::Central { .. } => Err(self.is_not("a rescue")),
        }
    }

    /// For which edge of which site a client speaks, and as what.
    pub fn client(&self) -> Result<(&Site, EdgeId, ClientRole), IdentityError> {
        match self {
            Self::Edge { site, edge } => Ok((site, *edge, ClientRole::Edge)),
            Self::Rescue { site, edge } => Ok((site, *edge, ClientRole::Rescue)),
            Self::Central { .. } => Err(self.is_not("an edge or a rescue")),
        }
    }

    /// The name, where it is a centre's.
    pub fn central(&self) -> Result<&CentralName, IdentityError> {
        match self {
            Self::Central { name } => Ok(name),
            Self::Edge { .. } | Self::Rescue { .. } => Err(self.is_not("a centre")),
        }
    }

    fn is_not(&self, needed: &'static str) -> IdentityError {
        IdentityError::Kind {
            found: self.to_string(),
            needed,
        }
    }
}

/// What a certificate says, as far as we use it. Whether it may be believed is not looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    pub identity: CertificateIdentity,
    pub not_before: UtcNanos,
    /// The last instant at which it is good.
    pub not_after: UtcNanos,
    /// In hexadecimal, as `openssl x509 -serial` prints it.
    pub serial: String,
}

impl CertificateFacts {
    pub fn parse(der: &[u8]) -> Result<Self, IdentityError> {
        let not_a_certificate =
            |error: &dyn fmt::Display| IdentityError::NotACertificate(shown(&error.to_string()));
        let (rest, certificate) =
            x509_parser::parse_x509_certificate(der).map_err(|error| not_a_certificate(&error))?;
        if !rest.is_empty() {
            return Err(not_a_certificate(&"something follows it"));
        }
        let names = certificate
            .subject_alternative_name()
            .map_err(|error| not_a_certificate(&error))?;
        let names = names.map_or(&[][..], |extension| &extension.value.general_names);
        let mut ours = names.iter().filter_map(our_uri);
        let uri = ours.next().ok_or(IdentityError::NoUri)?;
        if let Some(other) = ours.next() {
            return Err(IdentityError::TwoUris(shown(uri), shown(other)));
        }
        let validity = certificate.validity();
        let instant = |seconds: i64| UtcNanos(seconds.saturating_mul(NANOS_PER_SECOND));
        Ok(Self {
            identity: uri.parse()?,
            not_before: instant(validity.not_before.timestamp()),
            not_after: instant(validity.not_after.timestamp()),
            serial: hex(certificate.raw_serial()),
        })
    }

    /// Whole days left at `now`, rounded down; negative once it has expired.
    pub fn days_left(&self, now: UtcNanos) -> i64 {
        now.days_until(self.not_after)
    }
}

fn our_uri<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "other names are not ours to judge"
    )]
    match name {
        GeneralName::URI(uri) if uri.starts_with(SCHEME) => Some(uri),
        _ => None,
    }
}

/// Who the peer of a TLS connection is: by the first certificate of the chain that it showed and that was verified.
pub fn peer_identity(chain: &[CertificateDer<'_>]) -> Result<CertificateIdentity, IdentityError> {
    let certificate = chain.first().ok_or(IdentityError::None)?;
    Ok(CertificateFacts::parse(certificate)?.identity)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn shown(text: &str) -> String {
    text.chars().take(120).collect()
}
