//! What an upstream is spoken TLS with, frozen.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;

use super::server::ALPN;
use super::verify::{Trust, Upstreams};
use super::{Certificate, Digest, Fault, digest, provider};

/// Sessions of one upstream that may be resumed, over all workers and endpoints.
const SESSIONS_MAX: usize = 256;

/// Two that say the same are equal, though each has sessions of its own.
pub struct ClientTerms {
    pub config: Arc<ClientConfig>,
    /// The name that is asked for and has to be in the certificate; `None`: the endpoint's own.
    pub server_name: Option<ServerName<'static>>,
    digest: Digest,
}

/// What they are made from.
#[derive(Debug)]
pub struct Given<'g> {
    pub trust: &'g Trust,
    /// Names what `trust` trusts: all authorities' bytes.
    pub trust_digest: Digest,
    pub pins: &'g [Digest],
    pub server_name: Option<ServerName<'static>>,
    /// Who we are, to services that ask.
    pub own: Option<&'g Certificate>,
}

impl ClientTerms {
    pub fn of(given: Given<'_>) -> Result<ClientTerms, Fault> {
        let refused = |e: rustls::Error| Fault::Refused(e.to_string());
        let verifier = Arc::new(Upstreams::new(given.trust.clone(), given.pins));
        let builder = ClientConfig::builder_with_provider(provider());
        let builder = builder.with_safe_default_protocol_versions().map_err(refused)?;
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match given.own {
            None => builder.with_no_client_auth(),
            Some(own) => builder.with_client_cert_resolver(Arc::new(
                rustls::sign::SingleCertAndKey::from(own.certified()),
            )),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        let name = given.server_name.as_ref().map(|name| name.to_str());
        let pins = given.pins.iter().map(|pin| &pin[..]);
        let parts = [
            &given.trust_digest[..],
            name.as_deref().unwrap_or_default().as_bytes(),
            given.own.map_or(&[][..], |own| own.digest()),
        ];
        let digest = digest(parts.into_iter().chain(pins));
        Ok(ClientTerms { config: Arc::new(config), server_name: given.server_name, digest })
    }

    /// The name for an endpoint whose own is `host`: `server_name`, else that.
    pub fn name_for(&self, host: Option<&str>) -> Option<ServerName<'static>> {
        match &self.server_name {
            Some(name) => Some(name.clone()),
            None => {
                // The dot that roots a name is no part of it here (RFC 6066 §3).
                let host = host?;
                ServerName::try_from(host.strip_suffix('.').unwrap_or(host).to_owned()).ok()
            }
        }
    }

    /// The same for an endpoint with an address.
    pub fn name_for_ip(&self, ip: IpAddr) -> ServerName<'static> {
        self.server_name.clone().unwrap_or_else(|| ServerName::IpAddress(ip.into()))
    }
}

impl PartialEq for ClientTerms {
    fn eq(&self, other: &ClientTerms) -> bool {
        self.digest == other.digest
    }
}

impl Eq for ClientTerms {}

impl fmt::Debug for ClientTerms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.server_name;
        f.debug_struct("ClientTerms").field("server_name", name).finish_non_exhaustive()
    }
}
