//! A gateway that speaks TLS, the authority that vouches for it, and clients that believe that one.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};

use crate::certs::{Authority, Pair};
use crate::client::{Answer, Client};
use crate::gateway::Gateway;
use crate::metrics::Exposition;
use crate::tls::{speaking, to};

/// Whom the gateway's certificate names.
pub const HOST: &str = "shop.example";

/// A request that keeps its connection.
pub const ASK: &str = "GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n";

/// Both versions, the newer first.
pub const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

pub struct Secure {
    pub authority: Authority,
    pub pair: Pair,
    pub gateway: Gateway,
}

/// A listener `web` at `PORT` with this certificate; `more` are further keys of its `tls`.
pub fn listener(pair: &Pair, more: &str) -> String {
    let (cert, key) = (pair.cert.display(), pair.key.display());
    format!(
        "[listener.web]\naddress = \"127.0.0.1:PORT\"\n\
         tls = {{ cert = \"{cert}\", key = \"{key}\"{more} }}\n"
    )
}

impl Secure {
    /// On two workers. `more` begins with a comma, `rest` with a table.
    pub fn start(driver: &str, more: &str, rest: &str) -> Secure {
        Secure::of(Authority::new("Root"), driver, more, rest)
    }

    /// The same where the authority had something to do before.
    pub fn of(authority: Authority, driver: &str, more: &str, rest: &str) -> Secure {
        let pair = authority.server("shop", &["DNS:shop.example"]);
        let gateway = Gateway::two(driver, &format!("{}{rest}", listener(&pair, more)));
        Secure { authority, pair, gateway }
    }

    /// How clients speak that believe the authority.
    pub fn believing(&self, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
        speaking(&[version], &self.authority.cert(), None)
    }

    /// One that has something to show of itself.
    pub fn known(
        &self,
        version: &'static SupportedProtocolVersion,
        who: &Pair,
    ) -> Arc<ClientConfig> {
        speaking(&[version], &self.authority.cert(), Some(who))
    }

    pub fn connect(&self, config: &Arc<ClientConfig>) -> Client {
        Client::connect_tls(&self.gateway.address(), to(HOST, config))
    }

    /// A client of TLS 1.3 that has resumed nothing.
    pub fn client(&self) -> Client {
        self.connect(&self.believing(&TLS13))
    }

    /// One connection for one request.
    pub fn ask(&self, request: impl AsRef<[u8]>) -> Answer {
        self.client().ask(request)
    }

    pub fn numbers(&self) -> Exposition {
        Exposition::read(&self.gateway.admin("GET", "/metrics").1)
    }

    /// Handshakes that ended so.
    pub fn greeted(&self, result: &str) -> u64 {
        self.numbers().sum("busbar_tls_handshakes_total", &[("result", result)]) as u64
    }

    /// Connections that got no further than this.
    pub fn refused(&self, reason: &str) -> u64 {
        self.numbers().sum("busbar_connections_refused_total", &[("reason", reason)]) as u64
    }
}

/// What an origin of ours speaks with this certificate.
pub fn serving(pair: &Pair) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = CertificateDer::pem_file_iter(&pair.cert).expect("a file");
    let chain = chain.collect::<Result<_, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_file(&pair.key).expect("a key");
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(&VERSIONS).expect("ring has both");
    Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).expect("they fit"))
}
