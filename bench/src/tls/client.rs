//! How a client of the scenarios speaks TLS: as rustls does with `ring`.

use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::certificate::NAME;

/// Sessions that one client keeps; a TLS 1.3 server sends two tickets for each connection.
const SESSIONS_MAX: usize = 8;

/// What clients believe.
pub struct Trust {
    roots: Arc<RootCertStore>,
    /// A client that resumes nothing.
    config: Arc<ClientConfig>,
}

impl Trust {
    pub fn in_file(path: &Path) -> Result<Trust, String> {
        let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let certificate = CertificateDer::from_pem_file(path).map_err(|e| failed(&e))?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate).map_err(|e| failed(&e))?;
        let roots = Arc::new(roots);
        Ok(Trust { config: Trust::config(&roots, Resumption::disabled())?, roots })
    }

    /// A client that resumes what it did itself.
    pub fn resuming(&self) -> Result<Arc<ClientConfig>, String> {
        Trust::config(&self.roots, Resumption::in_memory_sessions(SESSIONS_MAX))
    }

    /// A client that begins anew each time.
    pub fn forgetful(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }

    /// The machine of such a client's connection.
    pub fn begin(&self) -> Result<ClientConnection, String> {
        begin(&self.config)
    }

    fn config(
        roots: &Arc<RootCertStore>,
        resumption: Resumption,
    ) -> Result<Arc<ClientConfig>, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?;
        let mut config = builder.with_root_certificates(roots.clone()).with_no_client_auth();
        config.resumption = resumption;
        Ok(Arc::new(config))
    }
}

/// A connection's machine, before its first byte.
pub fn begin(config: &Arc<ClientConfig>) -> Result<ClientConnection, String> {
    let name = ServerName::try_from(NAME).map_err(|e| e.to_string())?;
    ClientConnection::new(config.clone(), name).map_err(|e| e.to_string())
}

/// Version, suite and key exchange.
pub fn spoken(tls: &ClientConnection) -> String {
    let version = tls.protocol_version().map(|v| format!("{v:?}"));
    let suite = tls.negotiated_cipher_suite().map(|s| format!("{:?}", s.suite()));
    let group = tls.negotiated_key_exchange_group().map(|g| format!("{:?}", g.name()));
    [version, suite, group].map(Option::unwrap_or_default).join(", ")
}
