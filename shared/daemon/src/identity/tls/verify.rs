//! The seams between rustls and [`Credentials`]: each asks for what is current.

use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::Credentials;
use crate::identity::{CertificateFacts, CertificateIdentity, IdentityError};

#[derive(Debug)]
pub(super) struct OwnCertificate(pub(super) Arc<Credentials>);

impl ResolvesServerCert for OwnCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.current().own))
    }
}

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.current().own))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Of our CA, good now, for TLS clients, and an edge's or a rescue's.
#[derive(Debug)]
pub(super) struct ClientsOnly(pub(super) Arc<Credentials>);

impl ClientCertVerifier for ClientsOnly {
    /// None: an edge has one certificate and needs no hint, and the CA may change.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let current = self.0.current();
        let verified = current
            .clients
            .verify_client_cert(end_entity, intermediates, now)?;
        check_identity(end_entity, |identity| identity.client().map(|_| ()))?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let current = self.0.current();
        current
            .clients
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let current = self.0.current();
        current
            .clients
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.current().clients.supported_verify_schemes()
    }
}

/// Of our CA, good now, for TLS servers, of the name that was connected to, and a centre's.
#[derive(Debug)]
pub(super) struct CentralOnly(pub(super) Arc<Credentials>);

impl ServerCertVerifier for CentralOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let current = self.0.current();
        let verified = current.centres.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        check_identity(end_entity, |identity| identity.central().map(|_| ()))?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let current = self.0.current();
        current
            .centres
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let current = self.0.current();
        current
            .centres
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.current().centres.supported_verify_schemes()
    }
}

fn check_identity(
    certificate: &CertificateDer<'_>,
    check: impl Fn(&CertificateIdentity) -> Result<(), IdentityError>,
) -> Result<(), Error> {
    CertificateFacts::parse(certificate)
        .and_then(|facts| check(&facts.identity))
        .map_err(|error| CertificateError::Other(OtherError(Arc::new(error))).into())
}
