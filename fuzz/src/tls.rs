//! TLS: two sessions back to back, over a wire that cuts, doubles, drops, changes and adds bytes.
//!
//! Whatever becomes of the wire, what one end reads is the beginning of what the other has sent, an
//! end is one that the other has said, nothing is read behind an error, and little is kept. Over a
//! wire that only cuts, all that was sent is read.
//!
//! An input is one byte of facts, and a script: what the ends and the wire do, one after the other.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use engine::tls::session::Session;
use engine::tls::tray::Tray;
use engine::tls::verify::Trust;
use engine::tls::{Certificate, Certs, ClientTerms, ServerTerms, client, server, tickets};

/// A certificate for `a.test` and its key, which nobody has a use for.
const OWN: &[u8] = include_bytes!("tls.pem");
/// A message of 64 KiB, in records.
const KEPT_BYTES_MAX: usize = 72 << 10;
const STEPS_MAX: usize = 200;
const SENT_BYTES_MAX: usize = 256 << 10;
const ROOMS: [usize; 4] = [1, 700, 5000, 1 << 17];

pub fn tls(bytes: &[u8]) {
    let Some((&facts, script)) = bytes.split_first() else { return };
    let (server, client) = (listener(facts & 1 != 0), upstream());
    let room = ROOMS[usize::from(facts >> 2 & 3)];
    let is_twice = facts & 2 != 0;
    // The second connection resumes what the first has begun, if it came so far.
    let (first, second) = script.split_at(if is_twice { script.len() / 2 } else { script.len() });
    talk(&server, &client, room, first);
    if is_twice {
        talk(&server, &client, room, second);
    }
}

/// The same for all inputs of a kind: keys of tickets outlive a connection.
fn listener(is_tls13_only: bool) -> Arc<ServerTerms> {
    static TERMS: [OnceLock<Arc<ServerTerms>>; 2] = [OnceLock::new(), OnceLock::new()];
    let made = || {
        let terms = ServerTerms::of(server::Given {
            name: "web",
            certs: Certs::new(vec![own()], 0, 1_800_000_000),
            is_tls13_only,
            clients: None,
            handshake_timeout: Duration::from_secs(10),
            handshakes_max: 8,
            hsts: None,
            client_headers: false,
        });
        let terms = terms.expect("they are possible");
        terms.ticketer.give(tickets::fresh().expect("there is randomness"));
        Arc::new(terms)
    };
    TERMS[usize::from(is_tls13_only)].get_or_init(made).clone()
}

fn own() -> Certificate {
    Certificate::of(OWN, OWN).expect("it fits")
}

/// One of its own for each input: sessions of another would be resumed.
fn upstream() -> ClientTerms {
    let given = client::Given {
        trust: &Trust::Anyone,
        trust_digest: [0; 32],
        pins: &[],
        server_name: None,
        own: None,
    };
    ClientTerms::of(given).expect("they are possible")
}

/// One end, and what is on its way from it.
struct End {
    session: Session,
    sent: Vec<u8>,
    read: Vec<u8>,
    wire: Vec<u8>,
    has_said_all: bool,
    /// Not all that comes is what was sent.
    is_fooled: bool,
    room: usize,
}

impl End {
    fn new(session: Session, room: usize) -> End {
        let (sent, read, wire) = Default::default();
        End { session, sent, read, wire, has_said_all: false, is_fooled: false, room }
    }

    fn may_send(&self) -> bool {
        let session = &self.session;
        !(session.is_handshaking() || session.is_broken() || self.has_said_all)
    }

    fn send(&mut self, len: usize, tray: &mut Tray) {
        let len = len.min(SENT_BYTES_MAX - self.sent.len());
        let plain: Vec<u8> = (0..len).map(|n| (n * 7 + self.sent.len()) as u8).collect();
        let (mut head, mut body) = plain.split_at(len.min(300));
        while self.may_send() && !(head.is_empty() && body.is_empty()) {
            tray.out.clear();
            let max = Tray::SEND_BYTES_MAX;
            let n = self.session.send(head, body, max, tray).expect("it is not broken");
            assert!(n > 0 && n <= head.len() + body.len());
            let of_head = n.min(head.len());
            self.sent.extend_from_slice(&head[..of_head]);
            self.sent.extend_from_slice(&body[..n - of_head]);
            (head, body) = (&head[of_head..], &body[n - of_head..]);
            self.wire.extend_from_slice(tray.out.filled());
        }
    }

    fn close(&mut self, tray: &mut Tray) {
        tray.out.clear();
        let may_send = self.may_send();
        self.session.close(&mut tray.out);
        self.wire.extend_from_slice(tray.out.filled());
        self.has_said_all |= may_send;
    }

    /// As a connection does that is shown `bytes`.
    fn hear(&mut self, bytes: &[u8], tray: &mut Tray) {
        // rustls 0.23 asserts in debug builds that it has no alert to send behind its close_notify
        // (`CommonState::send_fatal_alert`); where that is not built in, it sends one.
        let is_untestable = cfg!(debug_assertions) && self.is_fooled && self.has_said_all;
        if self.session.has_ended() || is_untestable {
            return;
        }
        let was_broken = self.session.is_broken();
        let mut cipher = self.session.kept().to_vec();
        cipher.extend_from_slice(bytes);
        let mut room = vec![0; self.room];
        tray.out.clear();
        match self.session.receive(&mut cipher, &mut room, &mut tray.out) {
            Ok(n) => {
                assert!(!was_broken, "what is broken hears nothing");
                self.read.extend_from_slice(&room[..n]);
                while self.session.has_plain() {
                    let n = self.session.read(&mut room);
                    assert!(n > 0, "what is there can be read");
                    self.read.extend_from_slice(&room[..n]);
                }
            }
            Err(_) => assert!(self.session.is_broken()),
        }
        if self.session.is_broken() {
            assert!(!self.session.has_plain() && self.session.read(&mut room) == 0);
            assert!(!was_broken || tray.out.filled().is_empty(), "its last word was the alert");
        }
        assert!(self.session.kept().len() <= KEPT_BYTES_MAX, "it is bounded");
        self.wire.extend_from_slice(tray.out.filled());
    }
}

/// What an input still has to say.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn next(&mut self) -> Option<usize> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(usize::from(first))
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

fn talk(server: &ServerTerms, client: &ClientTerms, room: usize, script: &[u8]) {
    let name = client.name_for(Some("a.test")).expect("a name");
    let made = Session::client(client.config.clone(), name).expect("a client");
    let server = Session::server(server.config.clone()).expect("a server");
    let mut ends = [End::new(made, room), End::new(server, room)];
    let mut tray = Tray::default();
    ends[0].session.begin(&mut tray.out).expect("it begins");
    ends[0].wire.extend_from_slice(tray.out.filled());
    let mut is_honest = true;
    let mut script = Script(script);
    for _ in 0..STEPS_MAX {
        let Some(step) = script.next() else { break };
        let from = step >> 3 & 1;
        let Some(n) = script.next() else { break };
        match step & 7 {
            0 => ends[from].send(n * 97, &mut tray),
            1 => pass(&mut ends, from, n, &mut tray),
            2 => pass(&mut ends, from, n * 251, &mut tray),
            3 => settle(&mut ends, &mut tray),
            4 => ends[from].close(&mut tray),
            kind => {
                is_honest = false;
                ends[1 - from].is_fooled = true;
                tamper(&mut ends[from].wire, kind, n, &mut script);
            }
        }
        check(&ends);
    }
    settle(&mut ends, &mut tray);
    check(&ends);
    if is_honest {
        for (end, other) in [(&ends[0], &ends[1]), (&ends[1], &ends[0])] {
            assert!(!end.session.is_broken() && !end.session.is_handshaking());
            assert!(end.read == other.sent, "all of it came");
            assert_eq!(end.session.has_ended(), other.has_said_all);
            assert!(end.session.kept().is_empty(), "nothing is left of it");
        }
    }
}

/// The first `n` bytes of a wire come to its end.
fn pass(ends: &mut [End; 2], from: usize, n: usize, tray: &mut Tray) {
    let n = n.min(ends[from].wire.len());
    let bytes: Vec<u8> = ends[from].wire.drain(..n).collect();
    if n > 0 {
        ends[1 - from].hear(&bytes, tray);
    }
}

/// Everything comes, until both are silent. Each answers a bounded number of times.
fn settle(ends: &mut [End; 2], tray: &mut Tray) {
    for _ in 0..64 {
        if ends.iter().all(|end| end.wire.is_empty()) {
            return;
        }
        for from in 0..2 {
            pass(ends, from, 60_000, tray);
        }
    }
    panic!("they never fall silent");
}

/// Adds, changes, drops or doubles something at a place that the script names.
fn tamper(wire: &mut Vec<u8>, kind: usize, n: usize, script: &mut Script<'_>) {
    let place = script.next().unwrap_or(0) * 256 + script.next().unwrap_or(0);
    match kind {
        5 => {
            let at = place % (wire.len() + 1);
            wire.splice(at..at, script.take(n & 63).iter().copied());
        }
        6 if !wire.is_empty() => {
            let at = place % wire.len();
            wire[at] ^= (n as u8).max(1);
        }
        7 if !wire.is_empty() => {
            let begin = place % wire.len();
            let end = (begin + n * 4).min(wire.len());
            match n % 2 {
                0 => drop(wire.drain(begin..end)),
                _ => wire.splice(end..end, wire[begin..end].to_vec()).for_each(drop),
            }
        }
        _ => {}
    }
}

fn check(ends: &[End; 2]) {
    for (end, other) in [(&ends[0], &ends[1]), (&ends[1], &ends[0])] {
        assert!(other.sent.starts_with(&end.read), "another text was read than was sent");
        // Before there are keys anybody can say that this is the end.
        let may_end = other.has_said_all || end.session.is_handshaking();
        assert!(!end.session.has_ended() || may_end, "nobody has said that this is the end");
    }
}
