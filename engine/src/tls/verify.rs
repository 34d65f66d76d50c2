//! Whom to believe: certificates of clients, and of the services behind.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use super::x509::next_update;
use super::{Digest, Fault, digest, provider, sha256};

/// What a listener asks of its clients' certificates.
#[derive(Debug, Clone)]
pub struct Clients {
    roots: Arc<RootCertStore>,
    crls: Vec<CertificateRevocationListDer<'static>>,
    is_required: bool,
    /// Of all of it.
    pub digest: Digest,
}

impl Clients {
    pub fn new(
        authorities: &[CertificateDer<'static>],
        crls: Vec<CertificateRevocationListDer<'static>>,
        is_required: bool,
    ) -> Result<Clients, Fault> {
        let roots = Arc::new(roots_of(authorities)?);
        let count = authorities.len().to_le_bytes();
        let parts =
            authorities.iter().map(|der| der.as_ref()).chain(crls.iter().map(|d| d.as_ref()));
        let flag: &[u8] = if is_required { b"required" } else { b"optional" };
        let digest = digest([flag, &count].into_iter().chain(parts));
        Ok(Clients { roots, crls, is_required, digest })
    }

    /// Without lists nobody is revoked. With them, each authority that issues has to have one; one
    /// that is out of date still counts.
    pub(super) fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, Fault> {
        let builder = WebPkiClientVerifier::builder_with_provider(self.roots.clone(), provider());
        let builder = builder.with_crls(self.crls.iter().cloned());
        let builder = if self.is_required { builder } else { builder.allow_unauthenticated() };
        builder.build().map_err(|e| Fault::Refused(e.to_string()))
    }
}

/// That each of them can be used, and when the first of them is out of date.
pub fn check_crls(
    authorities: &[CertificateDer<'static>],
    crls: &[CertificateRevocationListDer<'static>],
) -> Result<Option<u64>, Fault> {
    let roots = Arc::new(roots_of(authorities)?);
    for (i, crl) in crls.iter().enumerate() {
        let builder = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider());
        builder.with_crls([crl.clone()]).build().map_err(|_| Fault::BadCrl(i + 1))?;
    }
    Ok(crls.iter().filter_map(|crl| next_update(crl)).min())
}

/// A store of the authorities given, each of which has to be one.
pub fn roots_of(authorities: &[CertificateDer<'static>]) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    for (i, authority) in authorities.iter().enumerate() {
        roots.add(authority.clone()).map_err(|_| Fault::BadAuthority(i + 1))?;
    }
    if roots.is_empty() {
        return Err(Fault::NoCertificate);
    }
    Ok(roots)
}

/// Whose word counts for a service behind.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Chains that end in one of these.
    Roots(Arc<RootCertStore>),
    /// `verify = false`: anybody's, or, with pins, theirs.
    Anyone,
}

/// A service's certificate: by its chain and name, by its key, by both, or by neither.
#[derive(Debug)]
pub(super) struct Upstreams {
    trust: Trust,
    /// SHA-256 of public keys (RFC 7469 §2.4); one of them, unless there are none.
    pins: Box<[Digest]>,
    provider: Arc<CryptoProvider>,
}

impl Upstreams {
    pub(super) fn new(trust: Trust, pins: &[Digest]) -> Upstreams {
        Upstreams { trust, pins: pins.into(), provider: provider() }
    }
}

impl ServerCertVerifier for Upstreams {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let cert = ParsedCertificate::try_from(end_entity)?;
        if let Trust::Roots(roots) = &self.trust {
            let algorithms = self.provider.signature_verification_algorithms.all;
            let (chain, roots) = (intermediates, &**roots);
            verify_server_cert_signed_by_trust_anchor(&cert, roots, chain, now, algorithms)?;
            verify_server_name(&cert, server_name)?;
        }
        // Only the certificate whose key signs the handshake: what else is sent proves nothing.
        let key = sha256(&cert.subject_public_key_info());
        match self.pins.is_empty() || self.pins.contains(&key) {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
