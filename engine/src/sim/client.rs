//! Scripted clients: they know what they asked for and what they may get.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use parser::framing::response_framing;
use parser::head::ResponseHead;
use parser::scan::HeadScan;
use parser::{Fields, Limits, Method};

use crate::h1::relay::{Body, Out};
use crate::rng::Rng;
use crate::rt::{Shut, Stream, pause, sleep_until};
use crate::sim::exec::{note, spawn, world};
use crate::sim::fault::Faults;
use crate::sim::net::{End, is_gateway};
use crate::sim::oracle::{Sent, Shared};
use crate::time::Mono;

#[derive(Debug, Clone)]
struct Ask {
    nonce: u64,
    method: Method,
    wire: Vec<u8>,
    http10: bool,
    close: bool,
}

fn draw(rng: &mut Rng, faults: &Faults, oracle: &Shared, last: bool) -> Ask {
    let nonce = rng.next_u64();
    let method =
        [Method::Get, Method::Get, Method::Post, Method::Put, Method::Head][rng.below(5) as usize];
    let has_body = matches!(method, Method::Post | Method::Put);
    let size = if has_body { [0, 5, 700, 9_000, 60_000][rng.below(5) as usize] } else { 0 };
    let body: Vec<u8> = (0..size).map(|i| b'0' + (i % 10) as u8).collect();
    let http10 = last && rng.one_in(5);
    let close = last && (http10 || rng.one_in(2));
    let version = if http10 { "1.0" } else { "1.1" };
    let mut wire = format!(
        "{} /n/{nonce} HTTP/{version}\r\nHost: sim.test\r\nX-Nonce: {nonce}\r\n",
        method.name()
    )
    .into_bytes();
    if close && !http10 {
        wire.extend_from_slice(b"Connection: close\r\n");
    }
    if has_body && rng.one_in(3) && !http10 {
        wire.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        for part in body.chunks(1 + rng.below(5000) as usize) {
            wire.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
            wire.extend_from_slice(part);
            wire.extend_from_slice(b"\r\n");
        }
        let trailers = rng.one_in(2);
        wire.extend_from_slice(if trailers { b"0\r\nX-T: 1\r\n\r\n" } else { b"0\r\n\r\n" });
    } else if has_body {
        wire.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        wire.extend_from_slice(&body);
    } else {
        wire.extend_from_slice(b"\r\n");
    }
    let _ = faults;
    let sent = Sent { body, idempotent: method.is_idempotent(), seen: 0, answered: false };
    oracle.borrow_mut().sent.insert(nonce, sent);
    Ask { nonce, method, wire, http10, close }
}

/// Who comes, where and when.
pub struct Story {
    pub number: u32,
    pub at: SocketAddr,
    /// The address is never refused before a drain.
    pub promised: bool,
    /// Comes within a part of a millisecond from then on; zero: when it likes.
    pub from: Mono,
}

/// One connection with a few requests, one after the other or pipelined.
pub async fn client(story: Story, oracle: Shared) {
    let Story { number, at: gateway, promised, from } = story;
    debug_assert!(is_gateway(gateway));
    let (asks, pipelined, faults) = world(|w| {
        let count = 1 + w.rng.below(4);
        let faults = w.faults;
        let mut rng = Rng::from_u64(w.rng.next_u64());
        let asks: Vec<Ask> =
            (0..count).map(|i| draw(&mut rng, &faults, &oracle, i + 1 == count)).collect();
        (asks, rng.one_in(2), faults)
    });
    sleep_until(from).await;
    let late = if from == Mono(0) { 400_000 } else { 400 };
    pause(Duration::from_micros(u64::from(world(|w| w.rng.below(late))))).await;
    let from = SocketAddr::from(([10, 0, 2, (number % 250) as u8 + 1], 40_000));
    let Ok(stream) = Stream::dial(from, gateway).await else {
        let mut oracle = oracle.borrow_mut();
        oracle.closed_early += asks.len() as u64;
        if promised && !oracle.draining {
            oracle.violated("a listener that stays has refused a connection".to_owned());
        }
        return;
    };
    let stream = Rc::new(stream);
    if pipelined {
        let (stream, asks) = (stream.clone(), asks.clone());
        spawn(async move { write_all(&stream, &asks, &faults).await }, || {});
    }
    let mut reader = Reader { stream: &stream, buf: Vec::new() };
    let (mut offset, mut told) = (0, false);
    for ask in &asks {
        if !pipelined {
            if world(|w| w.rng.one_in(2)) {
                pause(Duration::from_micros(u64::from(world(|w| w.rng.below(150_000))))).await;
            }
            let (stream, ask) = (stream.clone(), ask.clone());
            spawn(async move { write_all(&stream, &[ask], &faults).await }, || {});
        }
        if world(|w| Faults::strikes(w.faults.client_reset, &mut w.rng)) {
            pause(Duration::from_millis(u64::from(world(|w| w.rng.below(30))))).await;
            note!("client {number} resets");
            world(|w| w.reset(stream.end));
            return;
        }
        let Some(closes) = reader.answer(ask, &oracle).await else {
            note!("client {number} sees the end before an answer to {}", ask.nonce);
            oracle.borrow_mut().closed_early += 1;
            if !told {
                check_promise(&stream, offset, ask, &oracle);
            }
            return;
        };
        told |= closes;
        offset += ask.wire.len();
    }
}

/// Oracle 7, where no fault can be the reason: `ask` begins at `offset` of what was sent.
fn check_promise(stream: &Stream, offset: usize, ask: &Ask, oracle: &Shared) {
    let far = End { link: stream.end.link, side: 1 };
    let arrived = world(|w| w.arrived_at_end(far).unwrap_or(0));
    let mut oracle = oracle.borrow_mut();
    if world(|w| w.faults.are_off()) && arrived > offset && !oracle.cutting {
        oracle.violated(format!("request {} had begun and was not answered", ask.nonce));
    }
}

async fn write_all(stream: &Stream, asks: &[Ask], faults: &Faults) {
    for ask in asks {
        let leaves = world(|w| Faults::strikes(faults.client_leaves, &mut w.rng));
        let end = if leaves { ask.wire.len() / 2 } else { ask.wire.len() };
        let mut rest = &ask.wire[..end];
        while !rest.is_empty() {
            match stream.try_write(rest, &[]) {
                Ok(n) => rest = &rest[n..],
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                    if stream.wait_writable().await.is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
        if leaves {
            stream.shut(Shut::Write);
            return;
        }
        let half_close = ask.close && world(|w| Faults::strikes(faults.half_close, &mut w.rng));
        if half_close {
            stream.shut(Shut::Write);
        }
    }
}

/// Reads messages off a stream.
pub struct Reader<'s> {
    pub stream: &'s Stream,
    pub buf: Vec<u8>,
}

impl Reader<'_> {
    /// Appends what comes. False at the end; an error is a reset.
    pub async fn more(&mut self) -> Result<bool, ()> {
        loop {
            let mut room = [0u8; 4096];
            match self.stream.try_read(&mut room) {
                Ok(n) => {
                    self.buf.extend_from_slice(&room[..n]);
                    return Ok(n > 0);
                }
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                    self.stream.wait_readable().await.map_err(drop)?;
                }
                Err(_) => return Err(()),
            }
        }
    }

    /// Reads one final answer and shows it to the oracle; whether it says that the connection
    /// ends. `None`: the connection ended first.
    async fn answer(&mut self, ask: &Ask, oracle: &Shared) -> Option<bool> {
        let limits = Limits::default();
        let mut head = ResponseHead::with_capacity(64);
        loop {
            let mut scan = HeadScan::response();
            let len = loop {
                match scan.push(&self.buf, &limits) {
                    Ok(Some(len)) => break len,
                    Ok(None) => {}
                    Err(e) => {
                        let what = format!("the gateway sent a bad head: {:?}", e.kind);
                        oracle.borrow_mut().violated(what);
                        return None;
                    }
                }
                if self.more().await != Ok(true) {
                    return None;
                }
            };
            let bytes: Vec<u8> = self.buf.drain(..len).collect();
            if head.parse(&bytes, &limits).is_err() {
                oracle.borrow_mut().violated("the gateway sent a bad head".to_owned());
                return None;
            }
            if head.status < 200 {
                if ask.http10 {
                    oracle.borrow_mut().violated("a 1xx to an HTTP/1.0 client".to_owned());
                }
                continue;
            }
            let Ok(framing) = response_framing(&head, &bytes, ask.method) else {
                oracle.borrow_mut().violated("the gateway sent a bad framing".to_owned());
                return None;
            };
            let nonce =
                head.fields.named(&bytes, b"x-nonce").next().and_then(|f| {
                    std::str::from_utf8(f.value.of(&bytes)).ok()?.parse::<u64>().ok()
                });
            let body = Body::new(framing, Out::Data, &limits);
            let body = read_body(self, body).await?;
            oracle.borrow_mut().client_got(ask.nonce, head.status, nonce, &body);
            let mut connection = head.fields.named(&bytes, b"connection");
            return Some(connection.any(|f| f.value.of(&bytes).eq_ignore_ascii_case(b"close")));
        }
    }
}

/// The data of a whole body; `None` when it is visibly broken.
pub async fn read_body(reader: &mut Reader<'_>, mut body: Body) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    let mut fields = Fields::default();
    loop {
        let mut aux = Vec::new();
        let step = body.step(&reader.buf, &mut aux, &mut fields, |_| false).ok()?;
        data.extend_from_slice(&reader.buf[..step.raw]);
        data.extend_from_slice(&aux);
        reader.buf.drain(..step.taken);
        if body.is_done() {
            return Some(data);
        }
        match reader.more().await {
            Ok(true) => {}
            Ok(false) => return body.end(&mut aux).then_some(data),
            Err(()) => return None,
        }
    }
}
