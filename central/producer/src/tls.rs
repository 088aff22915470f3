//! TLS to a broker: by the authority that is named, or those that Debian trusts; always with the broker's name checked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use efd_central_kafka::{SYSTEM_CA_FILE, Tls};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::link::LinkError;

pub(crate) fn config(tls: &Tls) -> Result<Arc<ClientConfig>, LinkError> {
    let path = tls
        .ca_file
        .clone()
        .unwrap_or_else(|| PathBuf::from(SYSTEM_CA_FILE));
    let mut roots = RootCertStore::empty();
    // Authorities that nobody can use are passed over, as there are some in every system's list.
    let (added, _) = roots.add_parsable_certificates(certificates(&path)?);
    if added == 0 {
        return Err(fault(&path, "no certificate of an authority in it"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| LinkError::Tls(error.to_string()))?
        .with_root_certificates(roots);
    let config = match &tls.certificate {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let chain = certificates(&own.certificate_file)?;
            let key = PrivateKeyDer::from_pem_file(&own.key_file)
                .map_err(|error| fault(&own.key_file, &error.to_string()))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| fault(&own.certificate_file, &error.to_string()))?
        }
    };
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, LinkError> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| fault(path, &error.to_string()))
}

fn fault(path: &Path, reason: &str) -> LinkError {
    LinkError::Tls(format!("{}: {reason}", path.display()))
}
