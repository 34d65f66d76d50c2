//! Two machines back to back, in pieces of every size.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, version};

use super::server::Given;
use super::session::{RECORD_BYTES_MAX, Session};
use super::tray::{Out, Tray};
use super::{Certificate, Certs, ServerTerms, provider};

/// A certificate of its own for `a.test`, and the key.
pub(crate) fn own_certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).expect("made");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// What a listener with it speaks, and a client that trusts it.
pub(crate) fn terms(is_tls13: bool) -> (ServerTerms, Arc<ClientConfig>) {
    let (cert, key) = own_certificate();
    let certificate = Certificate::of(cert.as_bytes(), key.as_bytes()).expect("it fits");
    let der = rustls::pki_types::pem::PemObject::from_pem_slice(cert.as_bytes()).expect("PEM");
    let terms = ServerTerms::of(Given {
        name: "web",
        certs: Certs::new(vec![certificate], 0, 1_800_000_000),
        is_tls13_only: is_tls13,
        clients: None,
        handshake_timeout: Duration::from_secs(10),
        handshakes_max: 8,
        hsts: None,
        client_headers: false,
    });
    let terms = terms.expect("they are possible");
    terms.ticketer.give(super::tickets::fresh().expect("randomness"));
    let mut roots = RootCertStore::empty();
    roots.add(der).expect("a certificate");
    let versions = if is_tls13 { [&version::TLS13] } else { [&version::TLS12] };
    let client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&versions)
        .expect("known")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (terms, Arc::new(client))
}

/// One end: its session, and what it has read.
struct End {
    session: Session,
    read: Vec<u8>,
    room: usize,
}

impl End {
    /// Shown `bytes` behind what is kept of earlier ones.
    fn hear(&mut self, bytes: &[u8], out: &mut Out) -> Result<(), rustls::Error> {
        let mut cipher = self.session.kept().to_vec();
        cipher.extend_from_slice(bytes);
        let mut room = vec![0; self.room];
        let n = self.session.receive(&mut cipher, &mut room, out)?;
        self.read.extend_from_slice(&room[..n]);
        while self.session.has_plain() {
            let n = self.session.read(&mut room);
            self.read.extend_from_slice(&room[..n]);
        }
        Ok(())
    }
}

struct Pair {
    client: End,
    server: End,
    tray: Tray,
    piece: usize,
}

impl Pair {
    fn new(terms: &ServerTerms, client: &Arc<ClientConfig>, piece: usize, room: usize) -> Pair {
        let end = |session| End { session, read: Vec::new(), room };
        let name = ServerName::try_from("a.test").expect("a name");
        Pair {
            client: end(Session::client(client.clone(), name).expect("a client")),
            server: end(Session::server(terms.config.clone()).expect("a server")),
            tray: Tray::default(),
            piece,
        }
    }

    /// Hands ciphertext over, in pieces, until both are silent.
    fn talk(&mut self, mut to_server: bool, mut bytes: Vec<u8>) {
        while !bytes.is_empty() {
            let mut answer = Vec::new();
            let end = if to_server { &mut self.server } else { &mut self.client };
            for piece in bytes.chunks(self.piece) {
                self.tray.out.clear();
                end.hear(piece, &mut self.tray.out).expect("they understand each other");
                answer.extend_from_slice(self.tray.out.filled());
            }
            (bytes, to_server) = (answer, !to_server);
        }
    }

    fn shake(&mut self) {
        self.tray.out.clear();
        self.client.session.begin(&mut self.tray.out).expect("it begins");
        let first = self.tray.out.filled().to_vec();
        self.talk(true, first);
        assert!(!self.client.session.is_handshaking() && !self.server.session.is_handshaking());
    }

    fn send(&mut self, from_client: bool, head: &[u8], body: &[u8]) -> Vec<usize> {
        let (mut head, mut body) = (head, body);
        let mut sizes = Vec::new();
        while !head.is_empty() || !body.is_empty() {
            let end = if from_client { &mut self.client } else { &mut self.server };
            self.tray.out.clear();
            let max = Tray::SEND_BYTES_MAX;
            let n = end.session.send(head, body, max, &mut self.tray).expect("it is sent");
            assert!(n > 0);
            let of_head = n.min(head.len());
            (head, body) = (&head[of_head..], &body[n - of_head..]);
            let bytes = self.tray.out.filled().to_vec();
            sizes.extend(records(&bytes));
            self.talk(from_client, bytes);
        }
        sizes
    }
}

/// Sizes of the records that some ciphertext is made of.
fn records(mut bytes: &[u8]) -> Vec<usize> {
    let mut sizes = Vec::new();
    while let [_, _, _, high, low, rest @ ..] = bytes {
        let len = usize::from(*high) << 8 | usize::from(*low);
        sizes.push(len);
        bytes = &rest[len..];
    }
    assert!(bytes.is_empty(), "whole records");
    sizes
}

fn text(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 % 251) as u8).collect()
}

#[test]
fn any_pieces_make_the_same_conversation() {
    for is_tls13 in [true, false] {
        let (terms, client) = terms(is_tls13);
        for piece in (1..40).chain([100, 517, 1400, 5000, 1 << 20]) {
            for room in [1, 700, 1 << 17] {
                let mut pair = Pair::new(&terms, &client, piece, room);
                pair.shake();
                pair.send(true, b"GET / HTTP/1.1\r\n\r\n", b"");
                let body = text(if piece < 100 { 9_000 } else { 300_000 });
                pair.send(false, b"HTTP/1.1 200 OK\r\n\r\n", &body);
                assert_eq!(pair.server.read, b"GET / HTTP/1.1\r\n\r\n");
                assert!(pair.client.read.ends_with(&body));
                assert_eq!(pair.client.read.len(), 19 + body.len());
                assert!(pair.server.session.kept().is_empty() && !pair.client.session.has_ended());
                pair.tray.out.clear();
                pair.server.session.close(&mut pair.tray.out);
                let bytes = pair.tray.out.filled().to_vec();
                pair.talk(false, bytes);
                assert!(pair.client.session.has_ended());
            }
        }
    }
}

#[test]
fn a_second_connection_is_resumed() {
    for is_tls13 in [true, false] {
        let (terms, client) = terms(is_tls13);
        for round in 0..3 {
            let mut pair = Pair::new(&terms, &client, 1 << 20, 1 << 17);
            pair.shake();
            pair.send(true, b"x", b"");
            assert_eq!(pair.server.session.is_resumed(), round > 0);
            assert_eq!(pair.client.session.is_resumed(), round > 0);
        }
    }
}

/// Head and body of a small answer are one record; a long body begins with small ones.
#[test]
fn records_grow_and_small_answers_are_one() {
    let (terms, client) = terms(true);
    let mut pair = Pair::new(&terms, &client, 1 << 20, 1 << 17);
    pair.shake();
    assert_eq!(pair.send(false, &text(300), &text(128)), [300 + 128 + 17]);
    pair.send(true, b"again", b"");
    let sizes = pair.send(false, &text(300), &text(100_000));
    assert_eq!(sizes[..5], [4017, 4017, 4017, 4017, 4017]);
    assert!(sizes[5..sizes.len() - 1].iter().all(|size| *size == 16384 + 17), "{sizes:?}");
    pair.send(true, b"again", b"");
    assert_eq!(pair.send(false, &text(300), &text(5000))[0], 4017, "each answer begins anew");
}

#[test]
fn garbage_is_an_error_with_an_alert() {
    let (terms, _) = terms(true);
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 1, 0, 4, 1, 2, 3, 4], &[0xff; 64]] {
        let mut session = Session::server(terms.config.clone()).expect("a server");
        let mut out = Out::default();
        let mut bytes = garbage.to_vec();
        let done = session.receive(&mut bytes, &mut [], &mut out);
        assert!(done.is_err() && session.is_broken(), "{garbage:?}");
        assert!(matches!(out.filled(), [] | [0x15, ..]), "an alert, and nothing else");
        assert!(session.send(b"x", b"", 1, &mut Tray::default()).is_err());
        out.clear();
        session.close(&mut out);
        assert!(out.filled().is_empty(), "nothing is said behind it");
    }
}

/// What comes in drops is kept, and never more than a message's worth.
#[test]
fn a_hello_in_drops_keeps_no_more_than_itself() {
    let (terms, client) = terms(true);
    let mut pair = Pair::new(&terms, &client, 1, 0);
    pair.tray.out.clear();
    pair.client.session.begin(&mut pair.tray.out).expect("it begins");
    let hello = pair.tray.out.filled().to_vec();
    for (n, byte) in hello[..hello.len() - 1].iter().enumerate() {
        pair.server.hear(&[*byte], &mut Out::default()).expect("so far so good");
        assert!(pair.server.session.kept().len() <= n + 1);
    }
    assert!(pair.server.session.kept().len() < RECORD_BYTES_MAX);
}

#[test]
fn what_follows_the_goodbye_is_not_read() {
    let (terms, client) = terms(true);
    let mut pair = Pair::new(&terms, &client, 1 << 20, 1 << 17);
    pair.shake();
    pair.tray.out.clear();
    pair.client.session.close(&mut pair.tray.out);
    let mut bytes = pair.tray.out.filled().to_vec();
    bytes.extend_from_slice(&[0x17, 3, 3, 0, 20]);
    bytes.extend_from_slice(&[7; 20]);
    pair.server.hear(&bytes, &mut Out::default()).expect("the rest is passed over");
    assert!(pair.server.session.has_ended() && pair.server.session.kept().is_empty());
    pair.send(false, b"an answer all the same", b"");
    assert_eq!(pair.client.read, b"an answer all the same");
}

/// The alert comes behind the part of a flight that was made before: the client is told.
#[test]
fn no_common_protocol_is_an_alert() {
    for is_tls13 in [true, false] {
        let (terms, client) = terms(is_tls13);
        let mut client = (*client).clone();
        for (offers, is_spoken) in
            [(&["h2"][..], false), (&["h2", "http/1.1"], true), (&["http/1.0"], true), (&[], true)]
        {
            client.alpn_protocols = offers.iter().map(|name| name.as_bytes().to_vec()).collect();
            let mut pair = Pair::new(&terms, &Arc::new(client.clone()), 1 << 20, 0);
            let mut out = Out::default();
            pair.client.session.begin(&mut out).expect("it begins");
            let heard = pair.server.hear(out.filled(), &mut pair.tray.out);
            assert_eq!(heard.is_ok(), is_spoken, "{offers:?}");
            let flight = pair.tray.out.filled().to_vec();
            let heard = pair.client.hear(&flight, &mut out);
            let alert = rustls::AlertDescription::NoApplicationProtocol;
            let told = heard == Err(rustls::Error::AlertReceived(alert));
            assert_eq!(told, !is_spoken, "{offers:?}: {heard:?}");
        }
    }
}

/// What was read together with the error has no place to be whole in.
#[test]
fn behind_an_error_nothing_is_read() {
    for is_tls13 in [true, false] {
        let (terms, client) = terms(is_tls13);
        let mut pair = Pair::new(&terms, &client, 1 << 20, 10);
        pair.shake();
        pair.tray.out.clear();
        let body = text(100);
        pair.client.session.send(&body, b"", 1 << 17, &mut pair.tray).expect("it is sent");
        let mut bytes = pair.tray.out.filled().to_vec();
        bytes.extend_from_slice(&[0x17, 3, 3, 0, 40]);
        bytes.extend_from_slice(&[7; 40]);
        assert!(pair.server.hear(&bytes, &mut Out::default()).is_err());
        let session = &mut pair.server.session;
        assert!(session.is_broken() && !session.has_plain() && session.kept().is_empty());
        assert_eq!(session.read(&mut [0; 200]), 0);
    }
}
