//! The requests that clients make: legal ones in every form, and others.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use parser::Method;

use crate::rng::Rng;
use crate::rt::pause;
use crate::sim::bad;
use crate::sim::fault::{Fault, strikes};
use crate::sim::oracle::{Flaw, Sent, Shared};
use crate::sim::seen::{Kind, saw};

/// Requests of one connection.
const REQUESTS_MAX: u32 = 6;
/// How long a client waits to be told to go on, at most.
const PATIENCE_MS_MAX: u32 = 1500;

/// Whether a client may send the body that it announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Go {
    Unknown,
    Told,
    /// The final answer is there.
    Answered,
}

#[derive(Debug, Clone)]
pub struct Ask {
    pub nonce: u64,
    pub method: Method,
    pub body: Vec<u8>,
    pub wire: Vec<u8>,
    pub head_len: usize,
    pub http10: bool,
    pub close: bool,
    pub flaw: Flaw,
    /// It announces its body (`Expect: 100-continue`) and waits for so many milliseconds.
    pub expects: Option<u32>,
    pub go: Rc<Cell<Go>>,
}

/// One connection's requests. Behind an illegal one there is none.
pub fn draw_all(rng: &mut Rng, oracle: &Shared) -> Vec<Ask> {
    let count = 1 + rng.below(REQUESTS_MAX);
    let mut asks = Vec::new();
    for i in 0..count {
        let ask = match (strikes(Fault::BadRequest), strikes(Fault::BadRequestBody)) {
            (false, false) => legal(rng, i + 1 == count),
            (head, _) => illegal(rng, head),
        };
        let flaw = ask.flaw;
        asks.push(ask);
        if flaw != Flaw::None {
            break;
        }
    }
    let mut oracle = oracle.borrow_mut();
    for ask in &asks {
        let idempotent = ask.method.is_idempotent();
        oracle.sent.insert(ask.nonce, Sent::new(ask.body.clone(), idempotent, ask.flaw));
    }
    asks
}

fn body(len: usize) -> Vec<u8> {
    (0..len).map(|i| b'0' + (i % 10) as u8).collect()
}

fn illegal(rng: &mut Rng, head: bool) -> Ask {
    let nonce = rng.next_u64();
    let (mut wire, head_len) = match head {
        true => (bad::request_head(rng, nonce), usize::MAX),
        false => bad::request_body(rng, nonce),
    };
    if rng.one_in(2) {
        wire.extend_from_slice(bad::SMUGGLED.as_bytes());
    }
    let head_len = head_len.min(wire.len());
    Ask {
        nonce,
        method: if head { Method::Get } else { Method::Post },
        body: Vec::new(),
        wire,
        head_len,
        http10: false,
        close: false,
        flaw: if head { Flaw::Head } else { Flaw::Body },
        expects: None,
        go: Rc::new(Cell::new(Go::Unknown)),
    }
}

fn legal(rng: &mut Rng, last: bool) -> Ask {
    let nonce = rng.next_u64();
    const METHODS: [Method; 5] =
        [Method::Get, Method::Get, Method::Post, Method::Put, Method::Head];
    let method = METHODS[rng.below(5) as usize];
    let has_body = matches!(method, Method::Post | Method::Put);
    let size = if has_body { [0, 5, 700, 9_000, 60_000][rng.below(5) as usize] } else { 0 };
    let body = body(size);
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
    let expects = (has_body && !http10 && rng.one_in(4)).then(|| rng.below(PATIENCE_MS_MAX));
    if expects.is_some() {
        wire.extend_from_slice(b"Expect: 100-continue\r\n");
    }
    let chunked = has_body && rng.one_in(3) && !http10;
    match (chunked, has_body) {
        (true, _) => wire.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n"),
        (false, true) => {
            wire.extend_from_slice(format!("Content-Length: {size}\r\n\r\n").as_bytes());
        }
        _ => wire.extend_from_slice(b"\r\n"),
    }
    let head_len = wire.len();
    if chunked {
        write_chunks(&mut wire, &body, 1 + rng.below(5000) as usize);
        let trailers = rng.one_in(2);
        wire.extend_from_slice(if trailers { b"0\r\nX-T: 1\r\n\r\n" } else { b"0\r\n\r\n" });
        saw(Kind::ChunkedRequest);
    } else {
        wire.extend_from_slice(&body);
        saw(Kind::LengthRequest);
    }
    if http10 {
        saw(Kind::Http10Request);
    }
    let go = Rc::new(Cell::new(Go::Unknown));
    let expects = expects.filter(|_| head_len < wire.len());
    let flaw = Flaw::None;
    Ask { nonce, method, body, wire, head_len, http10, close, flaw, expects, go }
}

/// `body` in chunks of `part` bytes, without the last one.
pub fn write_chunks(wire: &mut Vec<u8>, body: &[u8], part: usize) {
    for part in body.chunks(part) {
        wire.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        wire.extend_from_slice(part);
        wire.extend_from_slice(b"\r\n");
    }
}

impl Ask {
    /// Waits until the body may be sent. False: it was answered without it.
    pub async fn may_go_on(&self) -> bool {
        let Some(patience_ms) = self.expects else { return true };
        for _ in 0..patience_ms / 5 {
            match self.go.get() {
                Go::Unknown => pause(Duration::from_millis(5)).await,
                Go::Told => {
                    saw(Kind::ExpectTold);
                    return true;
                }
                Go::Answered => {
                    saw(Kind::ExpectAnsweredAtOnce);
                    return false;
                }
            }
        }
        saw(Kind::ExpectGivenUp);
        true
    }
}
