//! Scripted origins: they answer what they are asked, in every legal way and some that are not.

use std::net::SocketAddr;
use std::time::Duration;

use parser::framing::{BodyFraming, request_framing};
use parser::head::RequestHead;
use parser::scan::HeadScan;
use parser::{Limits, Method};

use crate::h1::relay::{Body, Out};
use crate::rng::Rng;
use crate::rt::{Listener, Peer, Stream, pause};
use crate::sim::ask::write_chunks;
use crate::sim::bad;
use crate::sim::client::{Reader, read_body, write, write_paced};
use crate::sim::exec::{note, spawn, world};
use crate::sim::fault::{Fault, strikes};
use crate::sim::oracle::{Flaw, Shared, answer_body};
use crate::sim::seen::{Kind, Promise, checked, saw};
use crate::sim::{tls, tunnel};
use crate::worker::wire::Wire;

fn below(n: u32) -> u32 {
    world(|w| w.rng.below(n))
}

fn fresh_rng() -> Rng {
    world(|w| Rng::from_u64(w.rng.next_u64()))
}

async fn some_ms(most: u32) {
    pause(Duration::from_millis(u64::from(below(most)))).await;
}

/// Accepts for ever; the world ends it.
pub async fn origin(at: SocketAddr, is_tls: bool, oracle: Shared, until: crate::time::Mono) {
    let listener = Listener::bind(at);
    loop {
        match listener.try_accept() {
            Ok((end, Peer::Ip(_) | Peer::Unix)) => {
                let (stream, oracle) = (Stream::adopt(end).expect("simulated"), oracle.clone());
                spawn(async move { serve(stream, is_tls, oracle).await }, || {});
            }
            Err(_) => {
                let mut wait = std::pin::pin!(listener.wait());
                let mut end = std::pin::pin!(crate::rt::sleep_until(until));
                let ended = std::future::poll_fn(|cx| {
                    if end.as_mut().poll(cx).is_ready() {
                        return std::task::Poll::Ready(true);
                    }
                    wait.as_mut().poll(cx).map(|_| false)
                })
                .await;
                if ended {
                    return;
                }
            }
        }
    }
}

/// One request as an origin reads it.
struct Asked {
    nonce: u64,
    method: Method,
    framing: BodyFraming,
    expects: bool,
}

async fn serve(stream: Stream, is_tls: bool, oracle: Shared) {
    let Some(stream) = tls::server(stream, is_tls).await else { return };
    let mut reader = Reader::new(&stream);
    let limits = Limits::default();
    let mut head = RequestHead::with_capacity(64);
    for served in 0.. {
        let mut scan = HeadScan::request();
        let len = loop {
            match scan.push(&reader.buf, &limits) {
                Ok(Some(len)) => break len,
                Ok(None) => {}
                Err(e) => {
                    let what = format!("an origin got a bad head: {:?}", e.kind);
                    return oracle.borrow_mut().violated(what);
                }
            }
            if reader.more().await != Ok(true) {
                return;
            }
        };
        let bytes: Vec<u8> = reader.buf.drain(..len).collect();
        if head.parse(&bytes, &limits).is_err() {
            return oracle.borrow_mut().violated("an origin got a bad head".to_owned());
        }
        let nonce = head.fields.named(&bytes, b"x-nonce").next();
        let nonce = nonce.and_then(|f| std::str::from_utf8(f.value.of(&bytes)).ok()?.parse().ok());
        let Some(nonce) = nonce else {
            return oracle.borrow_mut().violated("an origin got a request out of step".to_owned());
        };
        note!("origin gets {} {nonce}", head.method.name());
        if served > 0 {
            saw(Kind::Reused);
        }
        checked(Promise::OneAtATime);
        oracle.borrow_mut().origin_saw_head(nonce);
        let Ok(framing) = request_framing(&head, &bytes) else {
            return oracle.borrow_mut().violated("an origin got a bad framing".to_owned());
        };
        let asks_upgrade = head.fields.named(&bytes, b"upgrade").next().is_some();
        if asks_upgrade && !strikes(Fault::UpgradeRefused) {
            return tunnel::echo(&mut reader, nonce).await;
        }
        let expects = head.fields.named(&bytes, b"expect").next().is_some();
        let asked = Asked { nonce, method: head.method, framing, expects };
        if !exchange(&mut reader, &asked, &oracle).await {
            return;
        }
    }
}

/// One request; false ends the connection.
async fn exchange(reader: &mut Reader<'_>, asked: &Asked, oracle: &Shared) -> bool {
    let nonce = asked.nonce;
    if strikes(Fault::OriginReset) {
        note!("origin resets {nonce}");
        world(|w| w.reset(reader.stream.stream().end));
        return false;
    }
    let has_body = asked.framing != BodyFraming::None;
    if has_body && strikes(Fault::OriginLeavesBody) {
        let _ = reader.more().await;
        return false;
    }
    let closes_early = has_body && strikes(Fault::EarlyAnswer);
    let goes_on = has_body && !closes_early && strikes(Fault::EarlyAndGoesOn);
    if closes_early || goes_on {
        saw(Kind::EarlyAnswer);
    } else {
        let told = !asked.expects || below(3) == 0 || write(reader.stream, CONTINUE).await;
        if !told || !take_body(reader, asked, oracle).await {
            return false;
        }
    }
    if strikes(Fault::OriginSlow) {
        some_ms(40_000).await;
    }
    if strikes(Fault::Interim) && !interims(reader.stream).await {
        return false;
    }
    if strikes(Fault::BadAnswer) {
        note!("origin answers {nonce} badly");
        oracle.borrow_mut().origin_breaks(nonce, Flaw::Head);
        write(reader.stream, &bad::answer_head(&mut fresh_rng())).await;
        return false;
    }
    if asked.method != Method::Head && strikes(Fault::BadAnswerBody) {
        note!("origin answers {nonce} with a bad body");
        oracle.borrow_mut().origin_breaks(nonce, Flaw::Body);
        let wire = bad::answer_body(&mut fresh_rng(), nonce);
        write_paced(reader.stream, &wire, below(2) == 0).await;
        return false;
    }
    let answer = draw_answer(asked.method, nonce);
    if closes_early || goes_on {
        oracle.borrow_mut().origin_is_early(nonce, answer.is_one_piece());
    }
    let stays = send(reader.stream, answer, !closes_early && !goes_on).await && !closes_early;
    if !stays || goes_on && !take_body(reader, asked, oracle).await {
        return false;
    }
    // The next request may have come with the end of a body that was answered early.
    if reader.buf.is_empty() {
        world(|w| w.rest(reader.stream.stream().end));
    }
    if strikes(Fault::LateExtraBytes) {
        pause(Duration::from_micros(u64::from(below(3000)))).await;
        // Behind the next request they could not be told from its answer.
        if world(|w| w.is_at_rest(reader.stream.stream().end)) {
            world(|w| w.write_unasked(reader.stream.stream().end, EXTRA));
        }
    }
    if strikes(Fault::OriginClosesIdle) {
        pause(Duration::from_micros(u64::from(below(3000)))).await;
        return false;
    }
    true
}

const EXTRA: &[u8] = b"HTTP/1.1 200 OK\r\nX-Nonce: 7\r\nContent-Length: 0\r\n\r\n";
/// Longest answer that surely arrives at once.
const ONE_PIECE_MAX: usize = 6000;
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Reads a request's body and shows it to the oracle. False: it was cut short.
async fn take_body(reader: &mut Reader<'_>, asked: &Asked, oracle: &Shared) -> bool {
    reader.is_slow = strikes(Fault::OriginReadsSlowly);
    let body = Body::new(asked.framing, Out::Data, &Limits::default());
    let Some(body) = read_body(reader, body).await else { return false };
    reader.is_slow = false;
    oracle.borrow_mut().origin_saw_body(asked.nonce, &body);
    true
}

async fn interims(stream: &Wire) -> bool {
    const INTERIMS: [&[u8]; 3] = [
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ];
    for _ in 0..=below(3) {
        if !write(stream, INTERIMS[below(3) as usize]).await {
            return false;
        }
    }
    true
}

/// Sends an answer, or a part of it. False: that ends the connection.
async fn send(stream: &Wire, answer: Answer, may_add: bool) -> bool {
    let Answer { mut wire, closes, until_close } = answer;
    let truncates = strikes(Fault::OriginTruncates);
    let extra = may_add && !truncates && !closes && strikes(Fault::ExtraBytes);
    let mut end = if truncates { below(wire.len() as u32) as usize } else { wire.len() };
    if extra {
        // A desync in the making: nobody may ever read this as an answer. It arrives together
        // with the answer's last byte; what comes later can't be told from an answer.
        end -= 1;
        wire.extend_from_slice(EXTRA);
    }
    let drips = strikes(Fault::OriginDrips);
    let is_sent = write_paced(stream, &wire[..end], drips).await;
    if truncates && until_close {
        world(|w| w.reset(stream.stream().end)); // a plain end would be the body's
    }
    if closes && is_sent && !truncates {
        stream.farewell(); // in TLS an end that nobody announces is none
    }
    if !is_sent || truncates || closes {
        return false;
    }
    if extra {
        world(|w| w.write_unasked(stream.stream().end, &wire[end..]));
    }
    true
}

/// An answer on the wire.
struct Answer {
    wire: Vec<u8>,
    /// The connection ends with it, and maybe only that ends the body.
    closes: bool,
    until_close: bool,
}

impl Answer {
    /// Whoever reads its head reads all of it, and sees that.
    fn is_one_piece(&self) -> bool {
        const SPLITS: [Fault; 4] =
            [Fault::ShortRead, Fault::ShortWrite, Fault::OriginDrips, Fault::LateTail];
        let is_split = SPLITS.iter().any(|fault| world(|w| w.faults.has(*fault)));
        let ends_plainly = !self.until_close && !self.wire.ends_with(b"X-Sum: 1\r\n\r\n");
        !is_split && ends_plainly && self.wire.len() < ONE_PIECE_MAX
    }
}

/// A legal answer in one of its framings.
fn draw_answer(method: Method, nonce: u64) -> Answer {
    let len = [0, 1, 300, 5_000, 70_000][below(5) as usize];
    let body = answer_body(nonce, len);
    let start = |version: &str, status: &str, len: usize| {
        format!("HTTP/{version} {status}\r\nX-Nonce: {nonce}\r\nX-Length: {len}\r\n").into_bytes()
    };
    let mut wire = start("1.1", "200 OK", len);
    let (mut closes, mut until_close) = (false, false);
    if method == Method::Head {
        wire.extend_from_slice(format!("Content-Length: {len}\r\n\r\n").as_bytes());
        return Answer { wire, closes, until_close };
    }
    let length = format!("Content-Length: {len}\r\n");
    match below(8) {
        0 | 1 => {
            wire.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            write_chunks(&mut wire, &body, 1 + below(9000) as usize);
            let trailers = below(2) == 0;
            wire.extend_from_slice(if trailers { b"0\r\nX-Sum: 1\r\n\r\n" } else { b"0\r\n\r\n" });
        }
        2 => {
            (closes, until_close) = (true, true);
            wire.extend_from_slice(b"\r\n");
            wire.extend_from_slice(&body);
        }
        3 => {
            closes = true;
            wire = start("1.0", "200 OK", len);
            saw(Kind::Http10Answer);
            wire.extend_from_slice(format!("{length}\r\n").as_bytes());
            wire.extend_from_slice(&body);
        }
        4 => {
            closes = true;
            wire.extend_from_slice(format!("{length}Connection: close\r\n\r\n").as_bytes());
            wire.extend_from_slice(&body);
        }
        5 => {
            wire = start("1.1", "204 No Content", 0);
            wire.extend_from_slice(b"\r\n");
        }
        _ => {
            wire.extend_from_slice(format!("{length}\r\n").as_bytes());
            wire.extend_from_slice(&body);
        }
    }
    Answer { wire, closes, until_close }
}
