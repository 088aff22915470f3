//! A private CA in a folder: `ca.crt` and `ca.key`, and the certificates that it issues.
//!
//! ECDSA P-256 throughout, serial numbers of 127 random bits. Files appear whole or not at all, keys with mode 0600,
//! and nothing is ever overwritten.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use efd_shared_model::time::NANOS_PER_SECOND;
use efd_shared_model::{EdgeId, Site, UtcNanos};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};
use rustls_pki_types::ServerName;
use time::OffsetDateTime;

use super::pem::{self, PemError};
use super::{CENTRAL, CentralName, CertificateIdentity, RESCUE, hex};

/// Life of a CA where none is stated: 10 years.
pub const CA_DAYS: u32 = 3_650;

/// Life of a certificate where none is stated: a year.
pub const LEAF_DAYS: u32 = 365;

/// Life of a rescuer's certificate where none is stated: a rescue is done, or begun again.
pub const RESCUE_DAYS: u32 = 7;

/// A century.
pub const DAYS_MAX: u32 = 36_500;

/// A certificate is good from a day before it is made, for peers whose clock is behind.
const BACKDATED_DAYS: i64 = 1;

const DAY_NANOS: i64 = 86_400 * NANOS_PER_SECOND;

pub const CA_CERTIFICATE_FILE: &str = "ca.crt";
pub const CA_KEY_FILE: &str = "ca.key";

#[derive(Debug, thiserror::Error)]
pub enum CaError {
    #[error("{} exists and is not overwritten; move it away, or write elsewhere with --folder", path.display())]
    Exists { path: PathBuf },
    #[error("write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("open the CA in {}; `efd-central ca init` makes one", dir.display())]
    Open {
        dir: PathBuf,
        #[source]
        source: PemError,
    },
    #[error("the CA in {} is not usable: its key and its certificate do not belong together", dir.display())]
    NotOurs { dir: PathBuf },
    #[error("a life of {days} days is not 1 to {DAYS_MAX}")]
    Days { days: u32 },
    #[error(
        "the certificate would end {ends}, after its CA ({ca_ends}); a life of at most {days_max} days is possible, or a new CA"
    )]
    OutlivesCa {
        ends: String,
        ca_ends: String,
        days_max: i64,
    },
    #[error("`{site}` has another meaning in certificates; name the site otherwise")]
    ReservedSite { site: Site },
    #[error(
        "`{host}` is not a DNS name or an IP address; state what edges connect to, without a port"
    )]
    Host { host: String },
    #[error("no DNS name or IP address; state what edges connect to, so that they can check it")]
    NoHost,
    #[error("make the certificate")]
    Make(#[source] rcgen::Error),
    #[error("read random bytes from the system")]
    Random,
}

/// What was made. The paths are those that were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// The URI in the certificate, or the CA's name.
    pub subject: String,
    pub not_after: UtcNanos,
    /// In hexadecimal.
    pub serial: String,
}

/// A CA that was opened to issue certificates. `Debug` does not show its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    not_after: UtcNanos,
    certificate: PathBuf,
}

/// Makes a CA in `dir`, which is created if need be. `name` is for people; `days` is counted from `now`.
pub fn create(dir: &Path, name: &str, days: u32, now: UtcNanos) -> Result<Written, CaError> {
    let serial = random_serial()?;
    let mut params = params(days, now, &serial)?;
    // Two CAs of one name must differ in their subject, or peers that trust both try the wrong one.
    let subject = format!("EFD CA {name} {}", hex(&serial[..4]));
    params
        .distinguished_name
        .push(DnType::CommonName, subject.as_str());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().map_err(CaError::Make)?;
    let certificate = params.self_signed(&key).map_err(CaError::Make)?;
    let written = Written {
        certificate: dir.join(CA_CERTIFICATE_FILE),
        key: dir.join(CA_KEY_FILE),
        subject,
        not_after: end(days, now),
        serial: hex(&serial),
    };
    written.write(&certificate.pem(), &key.serialize_pem())?;
    Ok(written)
}

impl Authority {
    /// Opens the CA that [`create`] made in `dir`.
    pub fn open(dir: &Path) -> Result<Self, CaError> {
        let open = |source| CaError::Open {
            dir: dir.to_owned(),
            source,
        };
        let not_ours = || CaError::NotOurs {
            dir: dir.to_owned(),
        };
        let certificate = dir.join(CA_CERTIFICATE_FILE);
        let chain = pem::certificates(&certificate).map_err(open)?;
        let key = pem::private_key_text(&dir.join(CA_KEY_FILE)).map_err(open)?;
        let key = KeyPair::from_pem(&key).map_err(|_| not_ours())?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&chain[0]).map_err(|_| not_ours())?;
        if *parsed.public_key().subject_public_key.data != *key.public_key_raw() {
            return Err(not_ours());
        }
        let seconds = parsed.validity().not_after.timestamp();
        Ok(Self {
            not_after: UtcNanos(seconds.saturating_mul(NANOS_PER_SECOND)),
            issuer: Issuer::from_ca_cert_der(&chain[0], key).map_err(CaError::Make)?,
            certificate,
        })
    }

    pub fn not_after(&self) -> UtcNanos {
        self.not_after
    }

    /// What every peer needs beside its own two files.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// Issues the certificate of an edge as `<site>-<edge>.crt` and `.key` in `dir`.
    pub fn issue_edge(
        &self,
        dir: &Path,
        site: &Site,
        edge: EdgeId,
        days: u32,
        now: UtcNanos,
    ) -> Result<Written, CaError> {
        let identity = CertificateIdentity::Edge {
            site: site.clone(),
            edge,
        };
        self.issue(
            dir,
            client(site, identity, format!("{site}-{edge}"))?,
            days,
            now,
        )
    }

    /// Issues the certificate that ships the buffer of one dead edge, as `rescue-<site>-<edge>.crt` and `.key` in `dir`.
    pub fn issue_rescue(
        &self,
        dir: &Path,
        site: &Site,
        edge: EdgeId,
        days: u32,
        now: UtcNanos,
    ) -> Result<Written, CaError> {
        let identity = CertificateIdentity::Rescue {
            site: site.clone(),
            edge,
        };
        let stem = format!("{RESCUE}-{site}-{edge}");
        self.issue(dir, client(site, identity, stem)?, days, now)
    }

    /// Issues the certificate of a centre as `central-<name>.crt` and `.key` in `dir`.
    /// `hosts` are the DNS names and IP addresses under which edges connect to it.
    pub fn issue_central(
        &self,
        dir: &Path,
        name: &CentralName,
        hosts: &[String],
        days: u32,
        now: UtcNanos,
    ) -> Result<Written, CaError> {
        if hosts.is_empty() {
            return Err(CaError::NoHost);
        }
        let leaf = Leaf {
            identity: CertificateIdentity::Central { name: name.clone() },
            hosts: hosts
                .iter()
                .map(|host| host_name(host))
                .collect::<Result<_, _>>()?,
            usage: ExtendedKeyUsagePurpose::ServerAuth,
            stem: format!("{CENTRAL}-{name}"),
        };
        self.issue(dir, leaf, days, now)
    }

    fn issue(&self, dir: &Path, leaf: Leaf, days: u32, now: UtcNanos) -> Result<Written, CaError> {
        let Leaf {
            identity,
            hosts,
            usage,
            stem,
        } = leaf;
        let serial = random_serial()?;
        let mut params = params(days, now, &serial)?;
        let not_after = end(days, now);
        if not_after > self.not_after {
            return Err(CaError::OutlivesCa {
                ends: not_after.date(),
                ca_ends: self.not_after.date(),
                days_max: self.not_after.since(now).div_euclid(DAY_NANOS).max(0),
            });
        }
        params
            .distinguished_name
            .push(DnType::CommonName, stem.as_str());
        params.subject_alt_names = hosts;
        let uri = identity.to_string();
        let uri_name = Ia5String::try_from(uri.as_str()).map_err(CaError::Make)?;
        params.subject_alt_names.push(SanType::URI(uri_name));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(CaError::Make)?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .map_err(CaError::Make)?;
        let written = Written {
            certificate: dir.join(format!("{stem}.crt")),
            key: dir.join(format!("{stem}.key")),
            subject: uri,
            not_after,
            serial: hex(&serial),
        };
        written.write(&certificate.pem(), &key.serialize_pem())?;
        Ok(written)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("certificate", &self.certificate)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

struct Leaf {
    identity: CertificateIdentity,
    hosts: Vec<SanType>,
    usage: ExtendedKeyUsagePurpose,
    /// File name without its ending.
    stem: String,
}

fn client(site: &Site, identity: CertificateIdentity, stem: String) -> Result<Leaf, CaError> {
    if [CENTRAL, RESCUE].contains(&site.as_str()) {
        return Err(CaError::ReservedSite { site: site.clone() });
    }
    Ok(Leaf {
        identity,
        hosts: Vec::new(),
        usage: ExtendedKeyUsagePurpose::ClientAuth,
        stem,
    })
}

fn host_name(host: &str) -> Result<SanType, CaError> {
    let bad = || CaError::Host {
        host: host.chars().take(120).collect(),
    };
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    // What an edge's TLS will make of the name that it connects to.
    ServerName::try_from(host).map_err(|_| bad())?;
    Ok(SanType::DnsName(
        Ia5String::try_from(host).map_err(|_| bad())?,
    ))
}

fn params(days: u32, now: UtcNanos, serial: &[u8]) -> Result<CertificateParams, CaError> {
    if !(1..=DAYS_MAX).contains(&days) {
        return Err(CaError::Days { days });
    }
    let date = |at: UtcNanos| {
        OffsetDateTime::from_unix_timestamp(at.0.div_euclid(NANOS_PER_SECOND))
            .map_err(|_| CaError::Days { days })
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = date(now.saturating_sub(BACKDATED_DAYS * DAY_NANOS))?;
    params.not_after = date(end(days, now))?;
    params.serial_number = Some(SerialNumber::from_slice(serial));
    Ok(params)
}

/// Whole seconds, as a certificate has them.
fn end(days: u32, now: UtcNanos) -> UtcNanos {
    let end = now.saturating_add(i64::from(days) * DAY_NANOS);
    UtcNanos(end.0 - end.0.rem_euclid(NANOS_PER_SECOND))
}

/// Positive and of full length: the first bit is clear, the second set.
fn random_serial() -> Result<[u8; 16], CaError> {
    let mut serial = [0; 16];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut serial)
        .map_err(|_| CaError::Random)?;
    serial[0] = serial[0] & 0x7f | 0x40;
    Ok(serial)
}

impl Written {
    /// The key first: a certificate without its key is of no use, a key without its certificate is no secret lost.
    fn write(&self, certificate: &str, key: &str) -> Result<(), CaError> {
        let dir = folder_of(&self.key);
        std::fs::create_dir_all(dir).map_err(|source| CaError::Write {
            path: dir.to_owned(),
            source,
        })?;
        for path in [&self.key, &self.certificate] {
            if path.symlink_metadata().is_ok() {
                return Err(CaError::Exists { path: path.clone() });
            }
        }
        write_new(&self.key, key.as_bytes(), 0o600)?;
        write_new(&self.certificate, certificate.as_bytes(), 0o644).inspect_err(|_| {
            // It was made a moment ago, for the certificate that is not there.
            let _removed = std::fs::remove_file(&self.key).is_ok();
        })
    }
}

/// Puts a file in place whole, durably, and only where there is none.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), CaError> {
    let failed = |source: io::Error| {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::AlreadyExists {
            CaError::Exists { path }
        } else {
            CaError::Write { path, source }
        }
    };
    let mut staged = path.as_os_str().to_owned();
    staged.push(format!(".{}.tmp", std::process::id()));
    let staged = PathBuf::from(staged);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&staged)
        .map_err(failed)?;
    // A link, unlike a rename, never replaces what is there.
    let outcome = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::hard_link(&staged, path));
    let _removed = std::fs::remove_file(&staged).is_ok();
    outcome.map_err(failed)?;
    File::open(folder_of(path))
        .and_then(|dir| dir.sync_all())
        .map_err(failed)
}

/// `ca.key` stands in `.`, though its parent is the empty path.
fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."))
}
