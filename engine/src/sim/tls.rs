//! TLS in a world: one authority, one certificate for all that listen, and both kinds of peers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::config::{Files, MemoryFile};
use crate::rt::Stream;
use crate::sim::seen::{Kind, saw};
use crate::tls::made::{self, Authority, Pair};
use crate::tls::provider;
use crate::tls::session::Session;
use crate::worker::wire::Wire;

/// Of all that listen.
const NAME: &str = "sim.test";

struct Made {
    authority: String,
    pair: Pair,
}

/// The same in all worlds. Ed25519: its signatures have one length, and worlds must not differ by
/// that.
fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let authority = Authority::new("sim");
        let pair = authority.make(&[NAME], made::Kind::Ed25519, made::LONG, 7);
        Made { authority: authority.pem.clone(), pair }
    })
}

/// What a configuration finds in its folder.
pub fn files() -> Files {
    let Made { authority, pair } = made();
    let file = |text: &str| MemoryFile { bytes: text.as_bytes().to_vec(), mode: 0o600 };
    let files = [("ca.pem", authority), ("a.pem", &pair.cert), ("a.key", &pair.key)];
    Files::Memory(BTreeMap::from(files.map(|(name, text)| (PathBuf::from(name), file(text)))))
}

/// A listener's keys, and an upstream's.
pub const OF_LISTENER: &str = "tls = { cert = \"a.pem\", key = \"a.key\" }\n";
pub const OF_UPSTREAM: &str = "tls = { ca = \"ca.pem\", server_name = \"sim.test\" }\n";

/// A client's end. `None`: the handshake came to nothing.
pub async fn client(stream: Stream, is_tls: bool) -> Option<Wire> {
    if !is_tls {
        return Some(Wire::plain(stream));
    }
    let root = PemObject::from_pem_slice(made().authority.as_bytes()).expect("PEM");
    let mut roots = RootCertStore::empty();
    roots.add(root).expect("a certificate");
    // Its own, or what one world leaves behind would change the next.
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("known")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(NAME).expect("a name");
    let wire = shaken(stream, Session::client(Arc::new(config), name).expect("a client")).await;
    if wire.is_some() {
        saw(Kind::TlsDownstream);
    }
    wire
}

/// An origin's end.
pub async fn server(stream: Stream, is_tls: bool) -> Option<Wire> {
    if !is_tls {
        return Some(Wire::plain(stream));
    }
    static CONFIG: OnceLock<Arc<ServerConfig>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let Pair { cert, key } = &made().pair;
        let chain = PemObject::pem_slice_iter(cert.as_bytes()).collect::<Result<Vec<_>, _>>();
        let key = PemObject::from_pem_slice(key.as_bytes()).expect("PEM");
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("known")
            .with_no_client_auth()
            .with_single_cert(chain.expect("PEM"), key);
        Arc::new(config.expect("it fits"))
    });
    let wire = shaken(stream, Session::server(config.clone()).expect("a server")).await;
    if wire.is_some() {
        saw(Kind::TlsUpstream);
    }
    wire
}

async fn shaken(stream: Stream, session: Session) -> Option<Wire> {
    let mut wire = Wire::plain(stream);
    let is_client = session.is_client();
    wire.begin_tls(session, Rc::default(), [0; 32]);
    if is_client {
        wire.first_flight().ok()?;
    }
    while !wire.shake().ok()? {
        let stream = wire.stream();
        match wire.is_blocked() {
            true => stream.wait_writable().await.ok()?,
            false => stream.wait_readable().await.ok()?,
        }
    }
    Some(wire)
}
