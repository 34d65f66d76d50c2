//! Scripted clients: they know what they asked for and what they may get.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use parser::framing::{BodyFraming, response_framing};
use parser::head::ResponseHead;
use parser::scan::HeadScan;
use parser::{Fields, Limits, Method};

use crate::h1::relay::{Body, Out};
use crate::rng::Rng;
use crate::rt::{Shut, Stream, pause, sleep_until};
use crate::sim::ask::{Ask, Go, draw_all};
use crate::sim::exec::{note, spawn, world};
use crate::sim::fault::{Fault, strikes};
use crate::sim::net::{End, is_gateway};
use crate::sim::oracle::{Flaw, Got, Shared};
use crate::sim::seen::{Kind, Promise, checked, saw};
use crate::sim::tls;
use crate::time::Mono;
use crate::worker::wire::Wire;

/// Longest pause of a peer that is slow, at each of its steps.
const SLOW_MS_MAX: u32 = 300;
/// Bytes of a message that come later, and how much later.
const TAIL_MAX: u32 = 20;
const TAIL_LATE_MS_MAX: u32 = 30;
/// The pieces in which a slow peer sends a message.
const PIECES: usize = 16;

/// Who comes, where and when.
pub struct Story {
    pub number: u32,
    pub from: SocketAddr,
    pub at: SocketAddr,
    /// The address is never refused before a drain.
    pub promised: bool,
    /// Others of its address may have taken its share of connections.
    pub shares: bool,
    /// It speaks TLS there.
    pub is_tls: bool,
    /// Comes within a part of a millisecond from then on; zero: when it likes.
    pub when: Mono,
}

/// One connection with a few requests, one after the other or pipelined.
pub async fn client(story: Story, oracle: Shared) {
    let Story { number, from, at: gateway, promised, shares, is_tls, when } = story;
    debug_assert!(is_gateway(gateway));
    let mut rng = world(|w| Rng::from_u64(w.rng.next_u64()));
    let asks = draw_all(&mut rng, &oracle);
    let pipelined = rng.one_in(2);
    sleep_until(when).await;
    let late = if when == Mono(0) { 400_000 } else { 400 };
    pause(Duration::from_micros(u64::from(rng.below(late)))).await;
    let stream = match Stream::dial(from, gateway).await {
        Ok(stream) => stream,
        Err(e) => return not_let_in(&e, asks.len(), promised, &oracle),
    };
    if promised {
        checked(Promise::Kept);
    }
    let Some(stream) = tls::client(stream, is_tls).await else {
        oracle.borrow_mut().closed_early += asks.len() as u64;
        return;
    };
    let stream = Rc::new(stream);
    let left = Rc::new(Cell::new(false));
    if pipelined {
        if asks.len() > 1 {
            saw(Kind::Pipelined);
        }
        let (stream, asks, left) = (stream.clone(), asks.clone(), left.clone());
        spawn(async move { write_all(&stream, &asks, &left).await }, || {});
    }
    let mut reader = Reader::new(&stream);
    reader.is_slow = strikes(Fault::ClientReadsSlowly);
    let (mut offset, mut before) = (0, 0);
    for ask in &asks {
        if !pipelined {
            if rng.one_in(2) {
                pause(Duration::from_micros(u64::from(rng.below(150_000)))).await;
            }
            let (stream, ask, left) = (stream.clone(), ask.clone(), left.clone());
            spawn(async move { write_all(&stream, &[ask], &left).await }, || {});
        }
        if strikes(Fault::ClientReset) {
            pause(Duration::from_millis(u64::from(rng.below(30)))).await;
            note!("client {number} resets");
            world(|w| w.reset(stream.stream().end));
            return;
        }
        let answered = reader.answer(ask, &oracle).await;
        note!("client {number} has {answered:?} to {} {}", ask.method.name(), ask.nonce);
        ask.go.set(Go::Answered);
        if ask.flaw != Flaw::None {
            return refused(&mut reader, answered.is_some(), ask, &oracle).await;
        }
        let Some(closes) = answered else {
            note!("client {number} sees the end before an answer to {}", ask.nonce);
            oracle.borrow_mut().client_got_none(ask.nonce);
            if !shares {
                let is_wordless =
                    reader.ended_between && !left.get() && !oracle.borrow().may_end_unsaid(before);
                check_promise(&stream, offset, ask, is_wordless, &oracle);
            }
            return;
        };
        if closes {
            return last(&mut reader, &oracle).await;
        }
        offset += ask.wire.len();
        before = ask.nonce;
    }
}

/// Oracle 7: a listener that stays refuses nobody. Where it is full for long, nobody answers.
fn not_let_in(e: &std::io::Error, asks: usize, promised: bool, oracle: &Shared) {
    let mut oracle = oracle.borrow_mut();
    oracle.closed_early += asks as u64;
    let refused = e.kind() == std::io::ErrorKind::ConnectionRefused;
    if promised && refused && !oracle.draining {
        oracle.violated("a listener that stays has refused a connection".to_owned());
    }
}

/// Oracle 1: an answer that says so is the last one.
async fn last(reader: &mut Reader<'_>, oracle: &Shared) {
    while reader.more().await == Ok(true) {}
    // The body of a 408 may stand there: its writer could not know that HEAD was asked.
    if reader.buf.starts_with(b"HTTP/") {
        oracle.borrow_mut().violated("something was answered behind the last answer".to_owned());
    }
}

/// Oracle 12: behind what breaks the rules nothing is answered any more.
async fn refused(reader: &mut Reader<'_>, is_answered: bool, ask: &Ask, oracle: &Shared) {
    while is_answered && reader.more().await == Ok(true) {}
    if is_answered && !reader.buf.is_empty() {
        let what = format!("something was answered behind the illegal request {}", ask.nonce);
        oracle.borrow_mut().violated(what);
    }
    checked(Promise::Strict);
    match ask.flaw {
        Flaw::Head if is_answered => saw(Kind::BadHeadRefused),
        Flaw::Body if is_answered => saw(Kind::BadBodyRefused),
        _ => {}
    }
}

/// Oracle 7, where no fault can be the reason: `ask` begins at `offset` of what was sent.
/// With faults a connection may break, but not simply end behind an answer that did not say so.
fn check_promise(stream: &Wire, offset: usize, ask: &Ask, wordless: bool, oracle: &Shared) {
    if stream.is_tls() {
        return; // how many of its bytes have arrived can't be told
    }
    let far = End { link: stream.stream().end.link, side: 1 };
    let arrived = world(|w| w.arrived_at_end(far).unwrap_or(0));
    let mut oracle = oracle.borrow_mut();
    let must_answer = wordless && !oracle.is_hasty || world(|w| w.faults.are_off());
    if must_answer && arrived > offset && !oracle.cutting {
        oracle.violated(format!("request {} had begun and was not answered", ask.nonce));
    }
}

/// `left` says whether the client has left in the middle.
async fn write_all(stream: &Wire, asks: &[Ask], left: &Cell<bool>) {
    for ask in asks {
        let leaves = strikes(Fault::ClientLeaves);
        left.set(left.get() | leaves);
        let end = if leaves { ask.wire.len() / 2 } else { ask.wire.len() };
        let (head, body) = ask.wire[..end].split_at(ask.head_len.min(end));
        let drips = strikes(Fault::ClientDrips);
        let is_sent = match ask.expects {
            None => write_paced(stream, &ask.wire[..end], drips).await,
            Some(_) => {
                write_paced(stream, head, drips).await
                    && ask.may_go_on().await
                    && write_paced(stream, body, drips).await
            }
        };
        if !is_sent {
            return;
        }
        if leaves {
            stream.shut(Shut::Write);
            return;
        }
        if ask.close && strikes(Fault::HalfClose) {
            stream.shut(Shut::Write);
            saw(Kind::HalfClosedBehindLast);
        }
    }
}

/// Writes at once, or in pieces with pauses between them. False: the far end takes no more.
pub async fn write_paced(stream: &Wire, bytes: &[u8], drips: bool) -> bool {
    if !drips && strikes(Fault::LateTail) {
        let (tail, wait) = world(|w| (w.rng.below(TAIL_MAX), w.rng.below(TAIL_LATE_MS_MAX)));
        let (start, tail) = bytes.split_at(bytes.len().saturating_sub(1 + tail as usize));
        if !write(stream, start).await {
            return false;
        }
        pause(Duration::from_millis(u64::from(wait))).await;
        return write(stream, tail).await;
    }
    if !drips {
        return write(stream, bytes).await;
    }
    for piece in bytes.chunks(bytes.len() / PIECES + 1) {
        let wait = world(|w| w.rng.below(SLOW_MS_MAX));
        pause(Duration::from_millis(u64::from(wait))).await;
        if !write(stream, piece).await {
            return false;
        }
    }
    true
}

pub async fn write(stream: &Wire, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match stream.try_write(bytes, &[]) {
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                if stream.stream().wait_writable().await.is_err() {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
    true
}

/// Reads messages off a stream.
pub struct Reader<'s> {
    pub stream: &'s Wire,
    pub buf: Vec<u8>,
    /// It takes its time before each read.
    pub is_slow: bool,
    /// The connection has ended, plainly and before a byte of the next message.
    pub ended_between: bool,
}

impl<'s> Reader<'s> {
    pub fn new(stream: &'s Wire) -> Reader<'s> {
        Reader { stream, buf: Vec::new(), is_slow: false, ended_between: false }
    }
}

impl Reader<'_> {
    /// Appends what comes. False at the end; an error is a reset.
    pub async fn more(&mut self) -> Result<bool, ()> {
        if self.is_slow {
            let wait = world(|w| w.rng.below(SLOW_MS_MAX));
            pause(Duration::from_millis(u64::from(wait))).await;
        }
        loop {
            let mut room = [0u8; 4096];
            match self.stream.try_read(&mut room) {
                Ok(n) => {
                    self.buf.extend_from_slice(&room[..n]);
                    return Ok(n > 0);
                }
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                    self.stream.stream().wait_readable().await.map_err(drop)?;
                }
                Err(_) => return Err(()),
            }
        }
    }

    /// Reads the next head of an answer into `head`. `None`: the connection ended first.
    pub async fn head(&mut self, head: &mut ResponseHead, oracle: &Shared) -> Option<Vec<u8>> {
        let limits = Limits::default();
        let mut scan = HeadScan::response();
        let len = loop {
            match scan.push(&self.buf, &limits) {
                Ok(Some(len)) => break len,
                Ok(None) => {}
                Err(e) => {
                    let start = String::from_utf8_lossy(&self.buf[..self.buf.len().min(300)]);
                    let what = format!("the gateway sent a bad head: {:?} in {start:?}", e.kind);
                    oracle.borrow_mut().violated(what);
                    return None;
                }
            }
            let more = self.more().await;
            self.ended_between = more == Ok(false) && self.buf.is_empty();
            if more != Ok(true) {
                return None;
            }
        };
        let bytes: Vec<u8> = self.buf.drain(..len).collect();
        if head.parse(&bytes, &limits).is_err() {
            let text = String::from_utf8_lossy(&bytes);
            oracle.borrow_mut().violated(format!("the gateway sent a bad head: {text:?}"));
            return None;
        }
        Some(bytes)
    }

    /// Reads one final answer and shows it to the oracle; whether it says that the connection
    /// ends. `None`: the connection ended first.
    async fn answer(&mut self, ask: &Ask, oracle: &Shared) -> Option<bool> {
        let mut head = ResponseHead::with_capacity(64);
        let bytes = loop {
            let bytes = self.head(&mut head, oracle).await?;
            if head.status >= 200 {
                break bytes;
            }
            if ask.http10 {
                oracle.borrow_mut().violated("a 1xx to an HTTP/1.0 client".to_owned());
            }
            if head.status == 100 {
                ask.go.set(Go::Told);
            }
            saw(Kind::Interim);
            self.ended_between = false;
        };
        ask.go.set(Go::Answered);
        let Ok(framing) = response_framing(&head, &bytes, ask.method) else {
            oracle.borrow_mut().violated("the gateway sent a bad framing".to_owned());
            return None;
        };
        saw_framing(framing, &head, ask.method);
        let number = |name: &[u8]| {
            let field = head.fields.named(&bytes, name).next()?;
            std::str::from_utf8(field.value.of(&bytes)).ok()?.parse::<u64>().ok()
        };
        let (echoed, len) = (number(b"x-nonce"), number(b"x-length"));
        let body = Body::new(framing, Out::Data, &Limits::default());
        let body = read_body(self, body).await?;
        let has_body = ask.method != Method::Head && echoed.is_some();
        let len = len.filter(|_| has_body).map_or(body.len(), |len| len as usize);
        let got = Got { status: head.status, echoed, body: &body, len };
        oracle.borrow_mut().client_got(ask.nonce, &got);
        let mut connection = head.fields.named(&bytes, b"connection");
        Some(connection.any(|f| f.value.of(&bytes).eq_ignore_ascii_case(b"close")))
    }
}

fn saw_framing(framing: BodyFraming, head: &ResponseHead, method: Method) {
    saw(match framing {
        _ if method == Method::Head => Kind::HeadAnswer,
        _ if head.status == 204 => Kind::NoBodyAnswer,
        BodyFraming::None | BodyFraming::Length(_) => Kind::LengthAnswer,
        BodyFraming::Chunked => Kind::ChunkedAnswer,
        BodyFraming::UntilClose => Kind::CloseDelimitedAnswer,
    });
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
