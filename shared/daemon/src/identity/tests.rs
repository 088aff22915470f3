use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::quic::{ClientConnection, Connection, ServerConnection, Version};
use rustls::{AlertDescription, CertificateError};
use rustls_pki_types::ServerName;
use rustls_pki_types::pem::PemObject;

use super::ca::{Authority, CaError, Written};
use super::*;
use crate::clock::utc_now;
use crate::exit::chain;
use crate::shutdown::Stop;

mod ca_files;

const EDGE: &str = "0191d6a0-5c1e-7b32-9d2a-3f0c8a4be001";
const DAY: i64 = 86_400 * NANOS_PER_SECOND;

/// A CA, a centre and an edge in a folder of their own.
struct World {
    dir: tempfile::TempDir,
    central: CertificateFiles,
    edge: CertificateFiles,
}

impl World {
    fn new() -> Self {
        Self::at(utc_now())
    }

    /// As if all had been made at `now`.
    fn at(now: UtcNanos) -> Self {
        let dir = tempfile::tempdir().unwrap();
        ca::create(dir.path(), "test", ca::CA_DAYS, now).unwrap();
        let authority = Authority::open(dir.path()).unwrap();
        let central = issue_central(&authority, dir.path(), "ldf", now);
        let edge = issue_edge(&authority, dir.path(), EDGE, now);
        Self {
            central: files(&authority, &central),
            edge: files(&authority, &edge),
            dir,
        }
    }

    fn authority(&self) -> Authority {
        Authority::open(self.dir.path()).unwrap()
    }
}

fn issue_central(authority: &Authority, dir: &Path, name: &str, now: UtcNanos) -> Written {
    let hosts = ["efd.example.org".to_owned(), "192.0.2.7".to_owned()];
    authority
        .issue_central(dir, &name.parse().unwrap(), &hosts, ca::LEAF_DAYS, now)
        .unwrap()
}

fn issue_edge(authority: &Authority, dir: &Path, edge: &str, now: UtcNanos) -> Written {
    authority
        .issue_edge(
            dir,
            &"summit".parse().unwrap(),
            edge.parse().unwrap(),
            ca::LEAF_DAYS,
            now,
        )
        .unwrap()
}

fn files(authority: &Authority, written: &Written) -> CertificateFiles {
    CertificateFiles {
        ca: authority.certificate().to_owned(),
        certificate: written.certificate.clone(),
        key: written.key.clone(),
    }
}

/// Which side gave up, and why.
#[derive(Debug)]
enum Refused {
    ByEdge(rustls::Error),
    ByCentral(rustls::Error),
}

/// A QUIC handshake without the packets. On success what each side believes of the other.
fn handshake(
    client: rustls::ClientConfig,
    server: rustls::ServerConfig,
    name: &str,
) -> Result<(CertificateIdentity, CertificateIdentity), Refused> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let client = ClientConnection::new(Arc::new(client), Version::V1, name, Vec::new());
    let server = ServerConnection::new(Arc::new(server), Version::V1, Vec::new());
    let mut client = Connection::from(client.unwrap());
    let mut server = Connection::from(server.unwrap());
    for _ in 0..8 {
        transfer(&mut client, &mut server).map_err(Refused::ByCentral)?;
        transfer(&mut server, &mut client).map_err(Refused::ByEdge)?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    assert_eq!(client.alpn_protocol(), Some(ALPN));
    assert_eq!(
        client.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_3)
    );
    let of_central = peer_identity(client.peer_certificates().unwrap()).unwrap();
    let of_edge = peer_identity(server.peer_certificates().unwrap()).unwrap();
    Ok((of_central, of_edge))
}

fn transfer(from: &mut Connection, to: &mut Connection) -> Result<(), rustls::Error> {
    loop {
        let mut bytes = Vec::new();
        let change = from.write_hs(&mut bytes);
        if bytes.is_empty() && change.is_none() {
            return Ok(());
        }
        to.read_hs(&bytes)?;
    }
}

fn connect(edge: &CertificateFiles, central: &CertificateFiles) -> Result<(), Refused> {
    let client = Credentials::load(edge).unwrap().client_config().unwrap();
    let server = Credentials::load(central).unwrap().server_config().unwrap();
    handshake(client, server, "efd.example.org").map(|_| ())
}

#[test]
fn an_edge_and_a_centre_of_one_ca_meet() {
    let world = World::new();
    let edge = Credentials::load(&world.edge).unwrap();
    let central = Credentials::load(&world.central).unwrap();
    for name in ["efd.example.org", "192.0.2.7"] {
        let (of_central, of_edge) = handshake(
            edge.client_config().unwrap(),
            central.server_config().unwrap(),
            name,
        )
        .unwrap();
        assert_eq!(of_central.to_string(), "efd://central/ldf");
        assert_eq!(of_edge.to_string(), format!("efd://summit/{EDGE}"));
        assert_eq!(of_central, central.identity());
        assert_eq!(of_edge, edge.identity());
    }
    assert!(edge.exposed_key().is_none());
    assert!(!format!("{edge:?}").contains("PRIVATE"));
}

#[test]
fn a_centre_under_another_name_is_refused() {
    let world = World::new();
    let client = Credentials::load(&world.edge)
        .unwrap()
        .client_config()
        .unwrap();
    let server = Credentials::load(&world.central)
        .unwrap()
        .server_config()
        .unwrap();
    let refused = handshake(client, server, "evil.example.org").unwrap_err();
    let Refused::ByEdge(error) = refused else {
        panic!("{refused:?}")
    };
    assert!(error.to_string().contains("evil.example.org"), "{error}");
}

#[test]
fn certificates_of_another_ca_are_refused_by_both() {
    let (ours, theirs) = (World::new(), World::new());
    let unknown = |error: &rustls::Error| {
        matches!(
            error,
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)
        )
    };
    let refused = connect(&ours.edge, &theirs.central).unwrap_err();
    assert!(
        matches!(&refused, Refused::ByEdge(error) if unknown(error)),
        "{refused:?}"
    );

    // An edge that believes the centre, and shows a certificate of its own CA.
    let stranger = Credentials::load(&theirs.edge)
        .unwrap()
        .client_config()
        .unwrap();
    let mut believer = Credentials::load(&ours.edge)
        .unwrap()
        .client_config()
        .unwrap();
    believer.client_auth_cert_resolver = stranger.client_auth_cert_resolver;
    let server = Credentials::load(&ours.central)
        .unwrap()
        .server_config()
        .unwrap();
    let refused = handshake(believer, server, "efd.example.org").unwrap_err();
    assert!(
        matches!(&refused, Refused::ByCentral(error) if unknown(error)),
        "{refused:?}"
    );
}

#[test]
fn an_edge_without_a_certificate_is_refused() {
    let world = World::new();
    let mut client = Credentials::load(&world.edge)
        .unwrap()
        .client_config()
        .unwrap();
    let roots = rustls::RootCertStore::empty();
    let nobody = rustls::ClientConfig::builder_with_provider(
        rustls::crypto::ring::default_provider().into(),
    )
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_root_certificates(roots)
    .with_no_client_auth();
    client.client_auth_cert_resolver = nobody.client_auth_cert_resolver;
    let server = Credentials::load(&world.central)
        .unwrap()
        .server_config()
        .unwrap();
    let refused = handshake(client, server, "efd.example.org").unwrap_err();
    assert!(
        matches!(
            &refused,
            Refused::ByCentral(rustls::Error::NoCertificatesPresented)
        ),
        "{refused:?}"
    );
}

#[test]
fn the_wrong_kind_of_certificate_is_refused() {
    let world = World::new();
    let edge = Credentials::load(&world.edge).unwrap();
    let central = Credentials::load(&world.central).unwrap();

    // Our own configuration says so before a connection is made.
    let error = chain(&edge.server_config().unwrap_err());
    assert!(error.contains("that of a centre is needed"), "{error}");
    let error = chain(&central.client_config().unwrap_err());
    assert!(
        error.contains("that of an edge or a rescue is needed"),
        "{error}"
    );

    // An edge that plays the centre: an edge's certificate is not for servers.
    let mut server = central.server_config().unwrap();
    server.cert_resolver = Arc::new(Shows(edge_key(&world.edge)));
    let refused = handshake(edge.client_config().unwrap(), server, "efd.example.org").unwrap_err();
    assert!(matches!(refused, Refused::ByEdge(_)), "{refused:?}");

    // A centre that plays an edge: a centre's certificate is not for clients.
    let mut client = edge.client_config().unwrap();
    client.client_auth_cert_resolver = Arc::new(Shows(edge_key(&world.central)));
    let refused =
        handshake(client, central.server_config().unwrap(), "efd.example.org").unwrap_err();
    assert!(matches!(refused, Refused::ByCentral(_)), "{refused:?}");
}

/// Certificates for clients and servers alike, of our CA, with names of their own choice.
#[test]
fn the_uri_is_checked_beside_the_usage() {
    let world = World::new();
    let edge = Credentials::load(&world.edge).unwrap();
    let central = Credentials::load(&world.central).unwrap();
    let check = |uri: &str, by_central: bool, by_edge: bool| {
        let key = both_usages(&world, uri);
        let mut client = edge.client_config().unwrap();
        client.client_auth_cert_resolver = Arc::new(Shows(Arc::clone(&key)));
        let outcome = handshake(client, central.server_config().unwrap(), "efd.example.org");
        assert_eq!(outcome.is_ok(), by_central, "{uri}: {outcome:?}");
        let mut server = central.server_config().unwrap();
        server.cert_resolver = Arc::new(Shows(key));
        let outcome = handshake(edge.client_config().unwrap(), server, "efd.example.org");
        assert_eq!(outcome.is_ok(), by_edge, "{uri}: {outcome:?}");
    };
    check(&format!("efd://summit/{EDGE}"), true, false);
    check(&format!("efd://summit/{EDGE}/rescue"), true, false);
    check("efd://central/other", false, true);
    check("efd://summit/not-a-uuid", false, false);
    check("https://example.org/", false, false);
}

fn both_usages(world: &World, uri: &str) -> Arc<rustls::sign::CertifiedKey> {
    use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
    let ca_key = std::fs::read_to_string(world.dir.path().join(ca::CA_KEY_FILE)).unwrap();
    let ca = std::fs::read_to_string(world.dir.path().join(ca::CA_CERTIFICATE_FILE)).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&ca, KeyPair::from_pem(&ca_key).unwrap()).unwrap();
    let mut params = CertificateParams::new(vec!["efd.example.org".to_owned()]).unwrap();
    params
        .subject_alt_names
        .push(SanType::URI(uri.try_into().unwrap()));
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::ServerAuth,
    ];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let provider = rustls::crypto::ring::default_provider();
    let der = rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let signing = provider.key_provider.load_private_key(der).unwrap();
    Arc::new(rustls::sign::CertifiedKey::new(
        vec![certificate.der().clone()],
        signing,
    ))
}

fn edge_key(files: &CertificateFiles) -> Arc<rustls::sign::CertifiedKey> {
    let provider = rustls::crypto::ring::default_provider();
    let signing = provider
        .key_provider
        .load_private_key(pem::private_key(&files.key).unwrap())
        .unwrap();
    let chain = pem::certificates(&files.certificate).unwrap();
    Arc::new(rustls::sign::CertifiedKey::new(chain, signing))
}

#[derive(Debug)]
struct Shows(Arc<rustls::sign::CertifiedKey>);

impl rustls::server::ResolvesServerCert for Shows {
    fn resolve(
        &self,
        _: rustls::server::ClientHello<'_>,
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl rustls::client::ResolvesClientCert for Shows {
    fn resolve(
        &self,
        _: &[&[u8]],
        _: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[test]
fn expired_certificates_are_refused_and_still_load() {
    let long_ago = utc_now().saturating_sub(400 * DAY);
    let world = World::at(long_ago);
    let authority = world.authority();
    let fresh_dir = world.dir.path().join("fresh");
    let fresh = |written: Written| files(&authority, &written);
    let edge = fresh(issue_edge(&authority, &fresh_dir, EDGE, utc_now()));
    let central = fresh(issue_central(&authority, &fresh_dir, "ldf", utc_now()));
    let expired = |error: &rustls::Error| {
        matches!(
            error,
            rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { .. })
        )
    };
    assert!(connect(&edge, &central).is_ok());
    let refused = connect(&world.edge, &central).unwrap_err();
    assert!(
        matches!(&refused, Refused::ByCentral(error) if expired(error)),
        "{refused:?}"
    );
    let refused = connect(&edge, &world.central).unwrap_err();
    assert!(
        matches!(&refused, Refused::ByEdge(error) if expired(error)),
        "{refused:?}"
    );
    let facts = Credentials::load(&world.edge).unwrap().facts();
    assert_eq!(facts.days_left(utc_now()), -36);
    assert_eq!(facts.days_left(long_ago), 364);
}

#[test]
fn other_protocols_are_refused() {
    let world = World::new();
    let mut client = Credentials::load(&world.edge)
        .unwrap()
        .client_config()
        .unwrap();
    client.alpn_protocols = vec![b"efd/9".to_vec()];
    let server = Credentials::load(&world.central)
        .unwrap()
        .server_config()
        .unwrap();
    let refused = handshake(client, server, "efd.example.org").unwrap_err();
    let Refused::ByCentral(error) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(error, rustls::Error::NoApplicationProtocol);
    assert_eq!(u8::from(AlertDescription::NoApplicationProtocol), 120);
}

#[test]
fn rotated_files_are_taken_over_without_a_restart() {
    let world = World::new();
    let edge = Credentials::load(&world.edge).unwrap();
    let central = Credentials::load(&world.central).unwrap();
    let (client, server) = (
        edge.client_config().unwrap(),
        central.server_config().unwrap(),
    );
    let meet = || handshake(client.clone(), server.clone(), "efd.example.org");
    assert!(!edge.reload_if_changed().unwrap());

    // A new CA, trusted beside the old one, then new certificates from it.
    let next = World::new();
    let both = [&world.edge.ca, &next.edge.ca].map(|path| std::fs::read(path).unwrap());
    replace(&world.edge.ca, &both.concat());
    assert!(edge.reload_if_changed().unwrap() && central.reload_if_changed().unwrap());
    assert!(meet().is_ok());
    replace(
        &world.edge.certificate,
        &std::fs::read(&next.edge.certificate).unwrap(),
    );
    let before = edge.facts();
    // Half of a rotation: refused once, and what was in use stays in use.
    let error = edge.reload_if_changed().unwrap_err();
    assert!(
        matches!(error, CredentialsError::KeyMismatch { .. }),
        "{error}"
    );
    assert!(!edge.reload_if_changed().unwrap());
    assert_eq!(edge.facts(), before);
    assert!(meet().is_ok());
    replace(&world.edge.key, &std::fs::read(&next.edge.key).unwrap());
    assert!(edge.reload_if_changed().unwrap());
    assert_ne!(edge.facts().serial, before.serial);
    assert!(meet().is_ok());
    // The old CA is gone: the old centre is no longer believed, the same configuration as at first.
    replace(&world.edge.ca, &std::fs::read(&next.edge.ca).unwrap());
    assert!(edge.reload_if_changed().unwrap());
    assert!(matches!(meet(), Err(Refused::ByEdge(_))));
}

fn replace(path: &Path, bytes: &[u8]) {
    let staged = path.with_extension("new");
    std::fs::write(&staged, bytes).unwrap();
    std::fs::rename(staged, path).unwrap();
}

#[test]
fn a_new_file_cannot_change_who_we_are() {
    let world = World::new();
    let edge = Credentials::load(&world.edge).unwrap();
    let other = issue_edge(
        &world.authority(),
        &world.dir.path().join("other"),
        "0191d6a0-5c1e-7b32-9d2a-3f0c8a4be002",
        utc_now(),
    );
    replace(
        &world.edge.certificate,
        &std::fs::read(other.certificate).unwrap(),
    );
    replace(&world.edge.key, &std::fs::read(other.key).unwrap());
    let error = edge.reload_if_changed().unwrap_err();
    assert!(
        matches!(error, CredentialsError::OtherIdentity { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn the_watch_takes_files_over_and_counts() {
    let world = World::new();
    let edge = Credentials::load(&world.edge).unwrap();
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = CertificateMetrics::register(&mut registry);
    let stop = Stop::new();
    let watch =
        tokio::spawn(Arc::clone(&edge).watch(Duration::from_millis(5), metrics, stop.clone()));
    let text = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    };
    let shows = async |part: &str| {
        for _ in 0..2_000 {
            if text().contains(part) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("no `{part}` in {}", text());
    };
    let seconds = edge.facts().not_after.0 / NANOS_PER_SECOND;
    shows(&format!(
        "efd_certificate_not_after_timestamp_seconds {seconds}\n"
    ))
    .await;
    replace(&world.edge.certificate, b"half");
    shows("efd_certificate_reload_failures_total 1\n").await;
    let renewed = issue_edge(
        &world.authority(),
        &world.dir.path().join("renewed"),
        EDGE,
        utc_now().saturating_add(DAY),
    );
    replace(&world.edge.key, &std::fs::read(&renewed.key).unwrap());
    replace(
        &world.edge.certificate,
        &std::fs::read(&renewed.certificate).unwrap(),
    );
    let seconds = renewed.not_after.0 / NANOS_PER_SECOND;
    shows(&format!(
        "efd_certificate_not_after_timestamp_seconds {seconds}\n"
    ))
    .await;
    shows("efd_certificate_reloads_total 1\n").await;
    stop.ask("test");
    watch.await.unwrap();
}

#[test]
fn wrong_files_are_named_with_what_was_expected() {
    let world = World::new();
    let other = World::new();
    let broken = world.dir.path().join("broken");
    std::fs::write(
        &broken,
        "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let empty = world.dir.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    let check = |change: &dyn Fn(&mut CertificateFiles), parts: &[&str]| {
        let mut files = world.edge.clone();
        change(&mut files);
        let error = chain(&Credentials::load(&files).unwrap_err());
        for part in parts {
            assert!(error.contains(part), "no `{part}` in {error}");
        }
    };
    check(
        &|f| f.ca = "absent.crt".into(),
        &["absent.crt", "BEGIN CERTIFICATE", "No such file"],
    );
    check(
        &|f| std::mem::swap(&mut f.certificate, &mut f.key),
        &[".key should hold a certificate", "and holds PRIVATE KEY"],
    );
    check(
        &|f| f.key = f.certificate.clone(),
        &[".crt should hold a private key", "and holds CERTIFICATE"],
    );
    check(
        &|f| f.key = other.edge.key.clone(),
        &["is not the key of the certificate in"],
    );
    check(&|f| f.ca = broken.clone(), &["broken is damaged PEM"]);
    check(
        &|f| f.key = empty.clone(),
        &["empty should hold", "holds no PEM section"],
    );
    check(
        &|f| f.ca = other.edge.ca.clone(),
        &["was not issued by the CA in", "UnknownIssuer"],
    );
    check(
        &|f| {
            f.certificate = f.ca.clone();
            f.key = f.ca.with_extension("key");
        },
        &["names nobody"],
    );
}

#[test]
fn a_key_that_others_may_read_is_noticed() {
    let world = World::new();
    let edge = Credentials::load(&world.edge).unwrap();
    assert_eq!(edge.exposed_key(), None);
    std::fs::set_permissions(&world.edge.key, PermissionsExt::from_mode(0o640)).unwrap();
    let exposed = edge.exposed_key().unwrap().to_string();
    assert!(
        exposed.contains("mode 0640") && exposed.contains("chmod 600"),
        "{exposed}"
    );
}

#[test]
fn identities_have_one_spelling() {
    for good in [
        format!("efd://summit/{EDGE}"),
        format!("efd://summit/{EDGE}/rescue"),
        "efd://central/ldf-1.example".to_owned(),
    ] {
        assert_eq!(
            good.parse::<CertificateIdentity>().unwrap().to_string(),
            good
        );
    }
    for bad in [
        "efd://summit".to_owned(),
        "efd:///".to_owned(),
        "efd://central/".to_owned(),
        "efd://central/LDF".to_owned(),
        "efd://central/a/b".to_owned(),
        format!("EFD://summit/{EDGE}"),
        format!("efd://Summit/{EDGE}"),
        format!("efd://summit/{}", EDGE.to_uppercase()),
        format!("efd://summit/{}", EDGE.replace('-', "")),
        format!("efd://summit/{{{EDGE}}}"),
        format!("efd://summit/{EDGE}/x"),
        format!("efd://summit/{EDGE}/"),
        format!("efd://summit/{EDGE}/rescue/rescue"),
        "efd://summit/rescue".to_owned(),
        format!("efd://central/{EDGE}"),
    ] {
        assert!(bad.parse::<CertificateIdentity>().is_err(), "{bad}");
    }
}

#[test]
fn each_warning_is_given_once() {
    use ExpiryLevel::{Expired, Ok, Warn1, Warn7, Warn30};
    let end = UtcNanos(1_000 * DAY);
    let before = |days: i64| end.saturating_sub(days * DAY);
    let level = |days| ExpiryLevel::of(end, before(days));
    assert_eq!(
        [31, 30, 8, 7, 2, 1, 0, -1].map(level),
        [Ok, Warn30, Warn30, Warn7, Warn7, Warn1, Warn1, Expired]
    );
    let mut watch = ExpiryWatch::default();
    let said: Vec<_> = (-5..100)
        .rev()
        .flat_map(|days| {
            [
                watch.handle(end, before(days)),
                watch.handle(end, before(days)),
            ]
        })
        .flatten()
        .collect();
    assert_eq!(said, [Warn30, Warn7, Warn1, Expired]);
    // A clock set back takes nothing back; a renewed certificate starts anew.
    assert_eq!(watch.handle(end, before(3)), None);
    let renewed = end.saturating_add(365 * DAY);
    assert_eq!(watch.handle(renewed, end), None);
    assert_eq!(watch.handle(renewed, renewed), Some(Warn1));
}

#[test]
fn hostile_certificates_are_errors() {
    let world = World::new();
    let der = pem::certificates(&world.edge.certificate)
        .unwrap()
        .remove(0)
        .to_vec();
    assert!(CertificateFacts::parse(&der).is_ok());
    for end in 0..der.len() {
        assert!(
            CertificateFacts::parse(&der[..end]).is_err(),
            "cut at {end}"
        );
    }
    for index in 0..der.len() {
        let mut flipped = der.clone();
        flipped[index] ^= 0x55;
        // Some flips only alter the signature or a name; none may panic.
        if let Ok(facts) = CertificateFacts::parse(&flipped) {
            assert!(facts.identity.to_string().starts_with("efd://"));
        }
    }
    let mut longer = der;
    longer.push(0);
    assert!(CertificateFacts::parse(&longer).is_err());
    assert_eq!(peer_identity(&[]), Err(IdentityError::None));
}
