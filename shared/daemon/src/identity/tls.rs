//! The TLS configurations of the link: TLS 1.3, certificates on both sides, one private CA, the ring provider.
//!
//! Sessions are not resumed, so each connection checks the certificates as they are.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use efd_shared_model::UtcNanos;
use efd_shared_model::time::NANOS_PER_SECOND;
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::UnixTime;

use super::pem::{self, ExposedKey, PemError};
use super::{
    CertificateFacts, CertificateIdentity, CertificateMetrics, ExpiryLevel, ExpiryWatch,
    IdentityError,
};
use crate::shutdown::Stop;
use crate::{clock, exit};

mod verify;

use verify::{CentralOnly, ClientsOnly, OwnCertificate};

/// The protocol that both sides must name.
pub const ALPN: &[u8] = b"efd/1";

/// The section `[tls]` of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// The CA's certificate; several while one CA takes over from another.
    pub ca: PathBuf,
    /// This daemon's certificate.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error(transparent)]
    Pem(#[from] PemError),
    #[error("read the identity in {}", path.display())]
    Identity {
        path: PathBuf,
        #[source]
        source: IdentityError,
    },
    #[error("{} cannot be used as a CA", path.display())]
    Ca {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{} is not the key of the certificate in {}", key.display(), certificate.display())]
    KeyMismatch { certificate: PathBuf, key: PathBuf },
    #[error("{} holds a key of an unknown kind; ECDSA P-256, Ed25519 and RSA are known", path.display())]
    KeyKind { path: PathBuf },
    #[error(
        "the certificate in {} was not issued by the CA in {}, or not for this use",
        certificate.display(),
        ca.display()
    )]
    NotOfCa {
        certificate: PathBuf,
        ca: PathBuf,
        #[source]
        source: rustls::Error,
    },
    #[error(
        "the new certificate is that of {found}, and this daemon is {own}; restart it to change that"
    )]
    OtherIdentity { own: String, found: String },
    #[error("set up TLS")]
    Tls(#[source] rustls::Error),
}

/// What a daemon shows to its peers and how it judges them. Follows the files as they change ([`Self::watch`]):
/// connections made from then on use the new ones, those that stand are left alone.
pub struct Credentials {
    files: CertificateFiles,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<Loaded>>,
    /// The state of the files that was last looked at, taken over or not.
    seen: Mutex<FileStates>,
}

pub(super) struct Loaded {
    facts: CertificateFacts,
    own: Arc<CertifiedKey>,
    clients: Arc<dyn ClientCertVerifier>,
    centres: Arc<WebPkiServerVerifier>,
}

/// Time of change, inode and length, where the file is there.
type FileStates = [Option<(SystemTime, u64, u64)>; 3];

impl Credentials {
    /// Reads the three files. The clock is not asked: an expired certificate loads, and is refused by peers.
    pub fn load(files: &CertificateFiles) -> Result<Arc<Self>, CredentialsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let seen = states(files);
        let loaded = Loaded::read(files, &provider)?;
        Ok(Arc::new(Self {
            files: files.clone(),
            provider,
            current: RwLock::new(Arc::new(loaded)),
            seen: Mutex::new(seen),
        }))
    }

    pub fn facts(&self) -> CertificateFacts {
        self.current().facts.clone()
    }

    pub fn identity(&self) -> CertificateIdentity {
        self.current().facts.identity.clone()
    }

    /// Whether others may read the key file.
    pub fn exposed_key(&self) -> Option<ExposedKey> {
        ExposedKey::find(&self.files.key)
    }

    /// The centre's side: asks for the certificate of an edge or a rescue. Fails where our own is not a centre's.
    pub fn server_config(self: &Arc<Self>) -> Result<ServerConfig, CredentialsError> {
        self.own_kind(|identity| identity.central().map(|_| ()))?;
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(CredentialsError::Tls)?
            .with_client_cert_verifier(Arc::new(ClientsOnly(Arc::clone(self))))
            .with_cert_resolver(Arc::new(OwnCertificate(Arc::clone(self))));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// The edge's or rescuer's side: shows its certificate, and asks for a centre's under the name that it connects to.
    /// Fails where our own is a centre's.
    pub fn client_config(self: &Arc<Self>) -> Result<ClientConfig, CredentialsError> {
        self.own_kind(|identity| identity.client().map(|_| ()))?;
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(CredentialsError::Tls)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(CentralOnly(Arc::clone(self))))
            .with_client_cert_resolver(Arc::new(OwnCertificate(Arc::clone(self))));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    fn own_kind(
        &self,
        check: impl Fn(&CertificateIdentity) -> Result<(), IdentityError>,
    ) -> Result<(), CredentialsError> {
        check(&self.identity()).map_err(|source| CredentialsError::Identity {
            path: self.files.certificate.clone(),
            source,
        })
    }

    /// Reads the files again if they have changed since they were last looked at. `Ok(true)`: taken over.
    /// On an error what was in use stays in use; the same files are not looked at again.
    pub fn reload_if_changed(&self) -> Result<bool, CredentialsError> {
        let states = states(&self.files);
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == states {
                return Ok(false);
            }
            *seen = states;
        }
        let loaded = Loaded::read(&self.files, &self.provider)?;
        let own = self.identity();
        if loaded.facts.identity != own {
            return Err(CredentialsError::OtherIdentity {
                own: own.to_string(),
                found: loaded.facts.identity.to_string(),
            });
        }
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
        Ok(true)
    }

    /// Until a stop is asked for: looks at the files, logs what changed and when the end comes near, keeps the metrics.
    pub async fn watch(self: Arc<Self>, every: Duration, metrics: CertificateMetrics, stop: Stop) {
        let mut expiry = ExpiryWatch::default();
        if let Some(exposed) = self.exposed_key() {
            tracing::warn!("{exposed}");
        }
        loop {
            let facts = self.facts();
            metrics.set_not_after(facts.not_after);
            let now = clock::utc_now();
            if let Some(level) = expiry.handle(facts.not_after, now) {
                report(&facts, level, now);
            }
            tokio::select! {
                () = stop.asked() => return,
                () = tokio::time::sleep(every) => {}
            }
            let credentials = Arc::clone(&self);
            let reloaded =
                tokio::task::spawn_blocking(move || credentials.reload_if_changed()).await;
            match reloaded {
                Ok(Ok(false)) | Err(_) => {}
                Ok(Ok(true)) => {
                    metrics.count_reload(true);
                    let facts = self.facts();
                    tracing::info!(
                        not_after = %facts.not_after,
                        serial = facts.serial,
                        "Certificate files reloaded"
                    );
                }
                Ok(Err(error)) => {
                    metrics.count_reload(false);
                    tracing::warn!(
                        error = exit::one_line(&error),
                        "Changed certificate files refused; the old ones stay in use"
                    );
                }
            }
        }
    }

    pub(super) fn current(&self) -> Arc<Loaded> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn report(facts: &CertificateFacts, level: ExpiryLevel, now: UtcNanos) {
    let CertificateFacts {
        identity,
        not_before: _,
        not_after,
        serial,
    } = facts;
    let days_left = facts.days_left(now);
    match level {
        ExpiryLevel::Ok => {}
        ExpiryLevel::Warn30 | ExpiryLevel::Warn7 => tracing::warn!(
            %identity, %not_after, days_left, serial,
            "Certificate {level}; issue another and put it in place of the old one"
        ),
        ExpiryLevel::Warn1 | ExpiryLevel::Expired => tracing::error!(
            %identity, %not_after, days_left, serial,
            "Certificate {level}; issue another and put it in place of the old one"
        ),
    }
}

impl Loaded {
    fn read(
        files: &CertificateFiles,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, CredentialsError> {
        let CertificateFiles {
            ca,
            certificate,
            key,
        } = files;
        let bad_ca = |source: Box<dyn std::error::Error + Send + Sync>| CredentialsError::Ca {
            path: ca.clone(),
            source,
        };
        let mut roots = RootCertStore::empty();
        for root in pem::certificates(ca)? {
            roots.add(root).map_err(|source| bad_ca(source.into()))?;
        }
        let roots = Arc::new(roots);
        let chain = pem::certificates(certificate)?;
        let facts =
            CertificateFacts::parse(&chain[0]).map_err(|source| CredentialsError::Identity {
                path: certificate.clone(),
                source,
            })?;
        let signing_key = provider
            .key_provider
            .load_private_key(pem::private_key(key)?)
            .map_err(|_| CredentialsError::KeyKind { path: key.clone() })?;
        let own = CertifiedKey::new(chain, signing_key);
        own.keys_match()
            .map_err(|_| CredentialsError::KeyMismatch {
                certificate: certificate.clone(),
                key: key.clone(),
            })?;
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider))
                .clear_root_hint_subjects()
                .build()
                .map_err(|source| bad_ca(source.into()))?;
        let centres =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider))
                .build()
                .map_err(|source| bad_ca(source.into()))?;
        let loaded = Self {
            facts,
            own: Arc::new(own),
            clients,
            centres,
        };
        loaded
            .check_own(&roots, provider)
            .map_err(|source| CredentialsError::NotOfCa {
                certificate: certificate.clone(),
                ca: ca.clone(),
                source,
            })?;
        Ok(loaded)
    }

    /// Whether a peer with the same CA would accept our certificate, at the instant at which it began:
    /// at start the clock may be wrong, and expiry is reported elsewhere.
    fn check_own(
        &self,
        roots: &RootCertStore,
        provider: &CryptoProvider,
    ) -> Result<(), rustls::Error> {
        let seconds = self.facts.not_before.0.div_euclid(NANOS_PER_SECOND);
        let at =
            UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
        let (own, intermediates) = (self.own.end_entity_cert()?, &self.own.cert[1..]);
        match self.facts.identity {
            CertificateIdentity::Edge { .. } | CertificateIdentity::Rescue { .. } => {
                self.clients.verify_client_cert(own, intermediates, at)?;
            }
            CertificateIdentity::Central { .. } => verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(own)?,
                roots,
                intermediates,
                at,
                provider.signature_verification_algorithms.all,
            )?,
        }
        Ok(())
    }
}

fn states(files: &CertificateFiles) -> FileStates {
    use std::os::unix::fs::MetadataExt;
    [&files.ca, &files.certificate, &files.key].map(|path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.ino(), metadata.len()))
    })
}

impl fmt::Debug for Credentials {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("files", &self.files)
            .field("facts", &self.current().facts)
            .finish_non_exhaustive()
    }
}
