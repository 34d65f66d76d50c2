//! One TLS connection as a machine: ciphertext in, plaintext out, and back.
//!
//! ```text
//!  receive:  ciphertext ──▶ rustls ──▶ plaintext, and what is to be sent back (flights, alerts)
//!  send:     plaintext ──▶ records, small ones first ──▶ ciphertext
//! ```
//! It owns no buffer while nothing is under way: what is left of a record, or did not fit its
//! reader, is kept until it can go on, and that is all.

use std::sync::Arc;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{ClientConfig, CommonState, Error, ServerConfig};

use super::tray::{Out, Tray};

/// The largest record: header, fragment, and what encryption may add (RFC 8446 §5.2, RFC 5246
/// §6.2.3).
pub const RECORD_BYTES_MAX: usize = 5 + FRAGMENT_BYTES_MAX + 2048;
/// Plaintext of one record.
const FRAGMENT_BYTES_MAX: usize = 16 << 10;
/// Plaintext of a record at the beginning of an answer: such a record is whole after three
/// packets, and a page can begin to render.
const FIRST_FRAGMENT_BYTES_MAX: usize = 4000;
/// So many bytes of an answer go in small records.
const FIRST_BYTES: usize = 16 << 10;
/// What is kept of a message that is not whole. A handshake message has at most 64 KiB.
const KEPT_BYTES_MAX: usize = 72 << 10;
/// After the handshake: a record, and a ticket before it that is not whole.
const KEPT_LATER_MAX: usize = RECORD_BYTES_MAX + (6 << 10);
/// Of a flight that an alert ends.
const LAST_RECORDS_MAX: usize = 16;

/// A connection's side of TLS.
pub struct Session {
    side: Side,
    /// Ciphertext of a record or message whose end has not come.
    kept: Vec<u8>,
    /// Plaintext that found no room.
    spilt: Vec<u8>,
    spilt_read: usize,
    /// Sent since something was received.
    sent: usize,
    has_ended: bool,
    is_broken: bool,
}

enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    pub fn server(config: Arc<ServerConfig>) -> Result<Session, Error> {
        UnbufferedServerConnection::new(config).map(|side| Session::of(Side::Server(side)))
    }

    pub fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Session, Error> {
        UnbufferedClientConnection::new(config, name).map(|side| Session::of(Side::Client(side)))
    }

    fn of(side: Side) -> Session {
        Session {
            side,
            kept: Vec::new(),
            spilt: Vec::new(),
            spilt_read: 0,
            sent: 0,
            has_ended: false,
            is_broken: false,
        }
    }

    fn common(&self) -> &CommonState {
        match &self.side {
            Side::Server(side) => side,
            Side::Client(side) => side,
        }
    }

    pub fn is_client(&self) -> bool {
        matches!(self.side, Side::Client(_))
    }

    pub fn is_handshaking(&self) -> bool {
        self.common().is_handshaking()
    }

    /// Whether the handshake made use of an earlier one.
    pub fn is_resumed(&self) -> bool {
        self.common().handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }

    /// The far end's certificates, its own first.
    pub fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.common().peer_certificates()
    }

    /// Plaintext waits to be read.
    #[inline]
    pub fn has_plain(&self) -> bool {
        !self.spilt.is_empty()
    }

    /// The far end has said that it sends no more (close_notify).
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Reads plaintext that is there without more ciphertext.
    pub fn read(&mut self, room: &mut [u8]) -> usize {
        let rest = &self.spilt[self.spilt_read..];
        let n = rest.len().min(room.len());
        room[..n].copy_from_slice(&rest[..n]);
        self.spilt_read += n;
        if self.spilt_read == self.spilt.len() {
            (self.spilt, self.spilt_read) = (Vec::new(), 0);
        }
        n
    }

    /// Ciphertext that was shown before and has to stand before what comes next.
    pub fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// Works through `cipher`, which begins with what was [`kept`](Session::kept). Plaintext goes
    /// into `room` as far as there is some; what has to be sent goes to `out`, after an error too:
    /// an alert.
    pub fn receive(
        &mut self,
        cipher: &mut [u8],
        room: &mut [u8],
        out: &mut Out,
    ) -> Result<usize, Error> {
        debug_assert!(cipher.starts_with(&self.kept));
        if self.is_broken {
            return Err(Error::General("it has failed before".into()));
        }
        let kept_max = if self.is_handshaking() { KEPT_BYTES_MAX } else { KEPT_LATER_MAX };
        let mut sink = Sink { room, len: 0, spilt: &mut self.spilt };
        let worked = match &mut self.side {
            Side::Server(side) => work(side, cipher, &mut sink, out),
            Side::Client(side) => work(side, cipher, &mut sink, out),
        };
        let plain = sink.len;
        if plain > 0 {
            self.sent = 0;
        }
        let worked = worked.and_then(|worked| {
            self.has_ended |= worked.has_ended;
            let rest = if self.has_ended { &[] } else { &cipher[worked.used..] };
            if rest.len() > kept_max {
                return Err(Error::General("a message is too long".into()));
            }
            self.keep(rest);
            Ok(plain)
        });
        if worked.is_err() {
            self.is_broken = true;
            // What was read before the error is not told: it has a hole where the room was.
            (self.kept, self.spilt, self.spilt_read) = (Vec::new(), Vec::new(), 0);
        }
        worked
    }

    fn keep(&mut self, rest: &[u8]) {
        match rest.is_empty() {
            true if self.kept.capacity() == 0 => {} // Fast path.
            true => self.kept = Vec::new(),
            false => {
                self.kept.clear();
                self.kept.extend_from_slice(rest);
            }
        }
    }

    /// Encrypts `head` and `body`, at most `bytes_max` of both, into `tray.out`. Returns how many
    /// of their bytes are in it; those count as sent.
    pub fn send(
        &mut self,
        head: &[u8],
        body: &[u8],
        bytes_max: usize,
        tray: &mut Tray,
    ) -> Result<usize, Error> {
        if self.is_broken {
            return Err(Error::General("it has failed before".into()));
        }
        let plain = Plain { head, body, left: bytes_max, sent: self.sent, stage: &mut tray.stage };
        let done = match &mut self.side {
            Side::Server(side) => seal(side, &mut self.kept, plain, &mut tray.out),
            Side::Client(side) => seal(side, &mut self.kept, plain, &mut tray.out),
        };
        match done {
            Ok(n) => self.sent += n,
            Err(_) => self.is_broken = true,
        }
        done
    }

    /// Says that nothing more is sent.
    pub fn close(&mut self, out: &mut Out) {
        if !self.is_broken {
            let closed = match &mut self.side {
                Side::Server(side) => farewell(side, &mut self.kept, out),
                Side::Client(side) => farewell(side, &mut self.kept, out),
            };
            self.is_broken |= closed.is_err();
        }
    }

    /// What the machine wants to send of its own: a client's first flight.
    pub fn begin(&mut self, out: &mut Out) -> Result<(), Error> {
        self.receive(&mut [], &mut [], out).map(drop)
    }
}

/// Where plaintext goes.
struct Sink<'a> {
    room: &'a mut [u8],
    len: usize,
    spilt: &'a mut Vec<u8>,
}

impl Sink<'_> {
    fn take(&mut self, bytes: &[u8]) {
        // Once something was spilt all that follows it is.
        let free = if self.spilt.is_empty() { self.room.len() - self.len } else { 0 };
        let (fits, rest) = bytes.split_at(free.min(bytes.len()));
        self.room[self.len..self.len + fits.len()].copy_from_slice(fits);
        self.len += fits.len();
        self.spilt.extend_from_slice(rest);
    }
}

/// The two sides' machines, which differ in a type only.
trait Machine {
    type Data;

    fn step<'c, 'i>(&'c mut self, cipher: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Machine for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn step<'c, 'i>(&'c mut self, cipher: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(cipher)
    }
}

impl Machine for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn step<'c, 'i>(&'c mut self, cipher: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(cipher)
    }
}

#[derive(Default)]
struct Worked {
    used: usize,
    has_ended: bool,
}

fn work<M: Machine>(
    machine: &mut M,
    cipher: &mut [u8],
    sink: &mut Sink<'_>,
    out: &mut Out,
) -> Result<Worked, Error> {
    let mut worked = Worked::default();
    loop {
        let UnbufferedStatus { discard, state } = machine.step(&mut cipher[worked.used..]);
        let mut discard = discard;
        let state = match state {
            Ok(state) => state,
            Err(e) => {
                alert(machine, &mut cipher[worked.used + discard..], out);
                return Err(e);
            }
        };
        let mut is_done = false;
        match state {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    discard += record.discard;
                    sink.take(record.payload);
                }
            }
            ConnectionState::EncodeTlsData(mut data) => encode(&mut data, out)?,
            ConnectionState::TransmitTlsData(data) => data.done(),
            ConnectionState::PeerClosed => worked.has_ended = true,
            _ => is_done = true,
        }
        worked.used += discard;
        if is_done {
            return Ok(worked);
        }
    }
}

/// Takes what is still to be sent, the last of it the alert that says what was wrong: a flight may
/// have begun before. (The machine is shown what is left all the same, since it remembers places in
/// it; and not once more than it has something to send, for it would judge that anew.)
fn alert<M: Machine>(machine: &mut M, rest: &mut [u8], out: &mut Out) {
    for _ in 0..LAST_RECORDS_MAX {
        let UnbufferedStatus { discard: 0, state: Ok(ConnectionState::EncodeTlsData(mut data)) } =
            machine.step(rest)
        else {
            return;
        };
        let before = out.filled().len();
        if encode(&mut data, out).is_err() || is_alert(&out.filled()[before..]) {
            return;
        }
    }
}

/// An alert has two bytes. Encrypted by TLS 1.3 its type stands behind them, and no message that is
/// sent in its place is as short (RFC 8446 §5.2, §6).
fn is_alert(record: &[u8]) -> bool {
    record.first() == Some(&0x15) || record.first() == Some(&0x17) && record.len() == 5 + 3 + 16
}

fn encode<D>(
    data: &mut rustls::unbuffered::EncodeTlsData<'_, D>,
    out: &mut Out,
) -> Result<(), Error> {
    match data.encode(out.room()) {
        Ok(n) => {
            out.commit(n);
            Ok(())
        }
        Err(EncodeError::AlreadyEncoded) => Ok(()),
        Err(EncodeError::InsufficientSize(_)) => Err(Error::General("too much to send".into())),
    }
}

/// What is to be sent, in the pieces that become records.
struct Plain<'a> {
    head: &'a [u8],
    body: &'a [u8],
    left: usize,
    sent: usize,
    stage: &'a mut [u8],
}

impl Plain<'_> {
    /// The next record's plaintext; empty at the end.
    fn next(&mut self) -> &[u8] {
        let size = match self.sent < FIRST_BYTES {
            true => FIRST_FRAGMENT_BYTES_MAX,
            false => FRAGMENT_BYTES_MAX,
        };
        let len = size.min(self.left).min(self.head.len() + self.body.len());
        self.left -= len;
        self.sent += len;
        let of_head = len.min(self.head.len());
        let (head, body) = (&self.head[..of_head], &self.body[..len - of_head]);
        (self.head, self.body) = (&self.head[of_head..], &self.body[len - of_head..]);
        if head.is_empty() {
            return body; // Fast path: no copy.
        }
        if body.is_empty() {
            return head;
        }
        self.stage[..of_head].copy_from_slice(head);
        self.stage[of_head..len].copy_from_slice(body);
        &self.stage[..len]
    }
}

fn seal<M: Machine>(
    machine: &mut M,
    kept: &mut [u8],
    mut plain: Plain<'_>,
    out: &mut Out,
) -> Result<usize, Error> {
    let sent_before = plain.sent;
    loop {
        match step_without_news(machine, kept)? {
            ConnectionState::EncodeTlsData(mut data) => encode(&mut data, out)?,
            ConnectionState::TransmitTlsData(data) => data.done(),
            ConnectionState::PeerClosed => {}
            ConnectionState::WriteTraffic(mut traffic) => loop {
                let piece = plain.next();
                if piece.is_empty() {
                    return Ok(plain.sent - sent_before);
                }
                match traffic.encrypt(piece, out.room()) {
                    Ok(n) => out.commit(n),
                    Err(EncryptError::InsufficientSize(_)) => {
                        return Err(Error::General("more than was made room for".into()));
                    }
                    Err(EncryptError::EncryptExhausted) => return Err(Error::EncryptError),
                }
            },
            _ => return Err(Error::HandshakeNotComplete),
        }
    }
}

/// Nothing has come, and what is kept of a message is as it was.
fn step_without_news<'c, 'i, M: Machine>(
    machine: &'c mut M,
    kept: &'i mut [u8],
) -> Result<ConnectionState<'c, 'i, M::Data>, Error> {
    let UnbufferedStatus { discard, state } = machine.step(kept);
    debug_assert_eq!(discard, 0, "all that was whole has been taken");
    state
}

fn farewell<M: Machine>(machine: &mut M, kept: &mut [u8], out: &mut Out) -> Result<(), Error> {
    loop {
        match step_without_news(machine, kept)? {
            ConnectionState::EncodeTlsData(mut data) => encode(&mut data, out)?,
            ConnectionState::TransmitTlsData(data) => data.done(),
            ConnectionState::PeerClosed => {}
            ConnectionState::WriteTraffic(mut traffic) => {
                if let Ok(n) = traffic.queue_close_notify(out.room()) {
                    out.commit(n);
                }
                return Ok(());
            }
            _ => return Ok(()),
        }
    }
}
