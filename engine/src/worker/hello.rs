//! What goes before the first request: a PROXY header, a TLS handshake.
//!
//! ```text
//!  accept ─▶ [PROXY header, from trusted addresses only] ─▶ [handshake] ─▶ idle
//!                                                              │
//!     waits for the client's first byte: nothing is made yet ──┤
//!     has a place among those in flight, the oldest gives way ─┤
//!     some 100 µs of work, a few in a turn ────────────────────┘
//! ```
//! A handshake costs its client nothing and us a signature. So those in flight are bounded by
//! number (whoever stalls is the oldest soon and goes first), each has a deadline, and in one turn
//! of the worker only a few are worked on: requests go on in between.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parser::proxy::{self, Proxied};

use crate::http::forwarded::{AddressText, is_trusted};
use crate::metrics::greeting::Greeting;
use crate::rt::{self, Stop, Timers, WatchId};
use crate::tls::identity::Identity;
use crate::tls::server::ServerTerms;
use crate::tls::session::Session;
use crate::worker::conn::Conn;
use crate::worker::outcome::Next;
use crate::worker::own;
use crate::worker::wire::Client;

/// Handshakes worked on before other connections get their turn: some 0.2 ms.
const STEPS_IN_A_TURN: u32 = 2;
/// A PROXY header of either version, with what else it may carry.
const PROXY_BYTES_MAX: usize = proxy::HEADER_BYTES_MAX;

/// Handshakes in flight on one worker.
#[derive(Debug, Default)]
pub struct Hellos {
    /// By their order, with what ends their waits.
    in_flight: RefCell<BTreeMap<u64, WatchId>>,
    next: Cell<u64>,
    /// Worked on in this turn.
    steps: Cell<u32>,
    turns: Cell<u64>,
}

/// A place among those in flight.
struct InFlight<'a> {
    hellos: &'a Hellos,
    number: u64,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.hellos.in_flight.borrow_mut().remove(&self.number);
    }
}

impl Hellos {
    /// A place; where all `max` are taken the oldest of them ends.
    fn enter(&self, watch: WatchId, max: u32, timers: &Timers) -> InFlight<'_> {
        let number = self.next.get();
        self.next.set(number + 1);
        let mut in_flight = self.in_flight.borrow_mut();
        if in_flight.len() >= max as usize
            && let Some((_, oldest)) = in_flight.pop_first()
        {
            timers.end(oldest);
        }
        in_flight.insert(number, watch);
        InFlight { hellos: self, number }
    }

    fn is_in(&self, place: &InFlight<'_>) -> bool {
        self.in_flight.borrow().contains_key(&place.number)
    }

    /// Waits until this turn has room for one more piece of work.
    async fn step(&self) {
        while self.steps.get() >= STEPS_IN_A_TURN {
            let turn = self.turns.get();
            rt::turn().await;
            if self.turns.get() == turn {
                self.turns.set(turn + 1); // the first that comes back begins the next one
                self.steps.set(0);
            }
        }
        self.steps.set(self.steps.get() + 1);
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.in_flight.borrow().len()
    }
}

fn greeted(conn: &Conn, how: Greeting) {
    conn.w.recorder.borrow_mut().whole.greeted(how);
}

/// Greets a connection whose listener wants more than requests. `Some`: it got no further.
pub(super) async fn hello(conn: &mut Conn) -> Option<Next> {
    let view = conn.view();
    let listener = conn.listener(&view);
    let (is_proxied, terms) = (listener.proxy_protocol, listener.tls.clone());
    let patience = terms.as_ref().map_or(listener.head_timeout, |terms| terms.handshake_timeout);
    drop(view);
    conn.watch.arm(rt::now().after(patience));
    if is_proxied && let Err(how) = proxied(conn).await {
        how.inspect(|how| greeted(conn, *how));
        return Some(Next::Reset);
    }
    match terms {
        Some(terms) => secured(conn, &terms).await.err(),
        None => None,
    }
}

/// Reads the header that says where a connection came from before its proxy.
async fn proxied(conn: &mut Conn) -> Result<(), Option<Greeting>> {
    let is_from_proxy = {
        let view = conn.view();
        let trusted = &view.snapshot.server.trusted_proxies;
        conn.peer.is_some_and(|ip| is_trusted(ip, trusted))
    };
    if !is_from_proxy {
        return Err(Some(Greeting::ProxyUntrusted));
    }
    let bad = Some(Greeting::ProxyHeader);
    let mut bytes = [0; PROXY_BYTES_MAX];
    let mut len = 0;
    loop {
        match conn.stream.stream().readable(&conn.watch).await {
            Ok(()) => {}
            // What was sent before a drain began is still served.
            Err(Stop::Drain) if conn.stream.has_unread() => {}
            Err(_) => return Err(bad.filter(|_| len > 0)),
        }
        // What follows the header is not for us: it is looked at, and read as far as it goes.
        let seen = match conn.stream.stream().try_peek(&mut bytes[len..]) {
            Ok(0) => return Err(bad.filter(|_| len > 0)),
            Ok(n) => len + n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => return Err(None),
        };
        let (takes, source) = match proxy::parse(&bytes[..seen]) {
            Err(_) => return Err(bad),
            Ok(None) if seen == bytes.len() => return Err(bad),
            Ok(None) => (seen, None),
            Ok(Some(Proxied::Addr { source, len })) => (len, Some(Some(source))),
            Ok(Some(Proxied::Local { len })) => (len, Some(None)),
        };
        while len < takes {
            len += conn.stream.stream().try_read(&mut bytes[len..takes]).map_err(|_| None)?;
        }
        match source {
            None => continue,
            Some(None) => {
                conn.is_nobodys = true;
                return Ok(());
            }
            Some(Some(source)) => {
                conn.peer = Some(source.ip().to_canonical());
                conn.peer_text = AddressText::new(conn.peer);
                return conn.place.is_within_share(conn.peer).then_some(()).ok_or(None);
            }
        }
    }
}

/// Shakes hands. `Err`: how the connection ends.
async fn secured(conn: &mut Conn, terms: &Arc<ServerTerms>) -> Result<(), Next> {
    match begins(conn).await {
        Ok(()) => {}
        Err(None) => return Err(Next::Close),
        Err(Some(Greeting::PlainHttp)) => {
            greeted(conn, Greeting::PlainHttp);
            own::plain_http(conn).await;
            return Err(Next::Linger);
        }
        Err(Some(how)) => {
            greeted(conn, how);
            return Err(Next::Close);
        }
    }
    let w = conn.w.clone();
    let place = w.hellos.enter(conn.watch.id(), terms.handshakes_max, &w.timers);
    w.hellos.step().await;
    if !w.hellos.is_in(&place) {
        greeted(conn, Greeting::Crowded);
        return Err(Next::Close);
    }
    // A drain waits for it, and cuts nothing with it.
    conn.watch.lingers();
    let session = Session::server(terms.config.clone()).map_err(|_| Next::Close)?;
    conn.stream.begin_tls(session, w.tray(), terms.ticket_key);
    loop {
        match conn.stream.shake() {
            Ok(true) if !w.hellos.is_in(&place) => {
                greeted(conn, Greeting::Crowded);
                return Err(Next::Close);
            }
            Ok(true) => break,
            Ok(false) => {}
            Err(_) => {
                // Behind a plain close, what it still sends would reset our alert away.
                greeted(conn, Greeting::Failed);
                return Err(Next::Linger);
            }
        }
        if let Err(stop) = conn.stream.shaken(&conn.watch).await {
            greeted(conn, of_stop(stop, w.hellos.is_in(&place)));
            return Err(Next::Close);
        }
        w.hellos.step().await;
    }
    drop(place);
    let (is_resumed, client) = conn
        .stream
        .session(|s| {
            let first = s.peer_certificates().and_then(|all| all.first());
            (s.is_resumed(), first.and_then(|der| Identity::of(der)))
        })
        .unwrap_or_default();
    // A ticket tells of the certificate that was judged with it, each time anew.
    if client.as_ref().is_some_and(|identity| identity.not_after < rt::wall_seconds()) {
        greeted(conn, Greeting::Failed);
        return Err(Next::Close);
    }
    if let Some(identity) = client {
        let lines = if terms.client_headers { lines(&identity) } else { Box::default() };
        conn.stream.set_client(Client { identity, lines });
    }
    greeted(conn, if is_resumed { Greeting::Resumed } else { Greeting::Full });
    Ok(())
}

/// What services are told of a certificate. What is not visible ASCII is written as in URLs.
fn lines(identity: &Identity) -> Box<[u8]> {
    let mut out = Vec::new();
    let mut line = |name: &str, value: &str| {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        for &byte in value.as_bytes() {
            match byte {
                b' '..=b'~' if byte != b'%' => out.push(byte),
                byte => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            }
        }
        out.extend_from_slice(b"\r\n");
    };
    line("X-Client-Cert-Subject", &identity.subject);
    if !identity.sans.is_empty() {
        line("X-Client-Cert-San", &identity.sans.join(", "));
    }
    line("X-Client-Cert-Fingerprint", &identity.fingerprint);
    out.into()
}

/// Why a wait in a handshake ended without it.
fn of_stop(stop: Stop, is_in_flight: bool) -> Greeting {
    match stop {
        Stop::Gone if !is_in_flight => Greeting::Crowded,
        Stop::Expired => Greeting::TimedOut,
        Stop::Gone | Stop::Drain | Stop::Broken(_) => Greeting::Failed,
    }
}

/// Waits for the first byte, which tells what the client speaks. `Err(None)`: it left before.
async fn begins(conn: &Conn) -> Result<(), Option<Greeting>> {
    let mut first = [0];
    loop {
        conn.watch.idle();
        let waited = conn.stream.readable(&conn.watch).await;
        conn.watch.unwatched();
        match waited {
            Ok(()) => {}
            // What was sent before a drain began is still served.
            Err(Stop::Drain) if conn.stream.has_unread() => {}
            Err(Stop::Expired) => return Err(Some(Greeting::TimedOut)),
            Err(_) => return Err(None),
        }
        match conn.stream.stream().try_peek(&mut first) {
            Ok(0) => return Err(None),
            // A method, which no record of TLS begins with (RFC 8446 §5.1).
            Ok(_) if first[0].is_ascii_uppercase() => return Err(Some(Greeting::PlainHttp)),
            Ok(_) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(None),
        }
    }
}

/// Whether a connection begins with a TLS record of a handshake, and not with a request: no
/// request has such a byte, though it may come alone.
pub(super) fn is_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [0x16] | [0x16, 0x03, ..])
}
