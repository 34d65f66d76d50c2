//! What a listener speaks TLS with, frozen.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ServerConfig, SupportedProtocolVersion, version};

use super::tickets::Ticketer;
use super::verify::Clients;
use super::{Certs, Digest, Fault, digest, provider};

/// Of HTTP/1.1 (RFC 7301 §6).
pub const ALPN: &[u8] = b"http/1.1";
/// Old clients name what they speak, and it is spoken as well.
const ALPN_OLD: &[u8] = b"http/1.0";

pub struct ServerTerms {
    pub config: Arc<ServerConfig>,
    /// The same that `config` chooses from; each with its end, for the numbers.
    pub certs: Arc<Certs>,
    pub ticketer: Arc<Ticketer>,
    /// Listeners of two configurations with the same one share the keys of their tickets: a ticket
    /// lets in without a look at the client's certificate, so what is asked of it has to be the
    /// same.
    pub ticket_key: Digest,
    /// From accept to the end of the handshake.
    pub handshake_timeout: Duration,
    /// Under way at one time, in each worker.
    pub handshakes_max: u32,
    /// The value of `Strict-Transport-Security` (RFC 6797 §6.1).
    pub hsts: Option<Box<str>>,
    /// `X-Client-Cert-Subject`, `-San` and `-Fingerprint` go upstream.
    pub client_headers: bool,
}

/// What they are made from.
#[derive(Debug)]
pub struct Given<'g> {
    /// The listener's name.
    pub name: &'g str,
    pub certs: Certs,
    /// TLS 1.2 is refused.
    pub is_tls13_only: bool,
    /// `None`: clients are not asked for a certificate.
    pub clients: Option<&'g Clients>,
    pub handshake_timeout: Duration,
    pub handshakes_max: u32,
    pub hsts: Option<Box<str>>,
    pub client_headers: bool,
}

impl ServerTerms {
    pub fn of(given: Given<'_>) -> Result<ServerTerms, Fault> {
        let refused = |e: rustls::Error| Fault::Refused(e.to_string());
        let versions: &[&SupportedProtocolVersion] = match given.is_tls13_only {
            true => &[&version::TLS13],
            false => &[&version::TLS13, &version::TLS12],
        };
        let verifier = match given.clients {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(clients) => clients.verifier()?,
        };
        let (certs, ticketer) = (Arc::new(given.certs), Arc::new(Ticketer::default()));
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder.with_protocol_versions(versions).map_err(refused)?;
        let mut config =
            builder.with_client_cert_verifier(verifier).with_cert_resolver(certs.clone());
        config.alpn_protocols = vec![ALPN.to_vec(), ALPN_OLD.to_vec()];
        // What is known of sessions stands in tickets, which every worker can read.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = ticketer.clone();
        config.send_tls13_tickets = 1;
        // Each suite that is offered is good: this only makes one answer of many.
        config.ignore_client_order = true;
        // 0-RTT can be replayed (RFC 8446 §8).
        config.max_early_data_size = 0;
        let terms = given.clients.map_or([0; 32], |clients| clients.digest);
        Ok(ServerTerms {
            config: Arc::new(config),
            certs,
            ticketer,
            ticket_key: digest([given.name.as_bytes(), &terms]),
            handshake_timeout: given.handshake_timeout,
            handshakes_max: given.handshakes_max,
            hsts: given.hsts,
            client_headers: given.client_headers,
        })
    }
}

impl fmt::Debug for ServerTerms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTerms").field("certs", &self.certs).finish_non_exhaustive()
    }
}
