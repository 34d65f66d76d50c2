//! Where everything learns what an exchange was: the recorder, and the access log where there is
//! one.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use crate::h1::server::Request;
use crate::ids::RouteId;
use crate::log::format::{Field, Format};
use crate::log::record::Record;
use crate::metrics::reason::Reason;
use crate::metrics::recorder::Exchanged;
use crate::policy::identify::without_credentials;
use crate::rt;
use crate::snapshot::AccessLog;
use crate::time::Mono;
use crate::upstream::Target;
use crate::worker::conn::Conn;
use crate::worker::dial::Connection;
use crate::worker::exchange::{Done, Exchange, body_in};
use crate::worker::view::View;

/// What attempts leave behind for their exchange.
#[derive(Debug, Default)]
pub struct Noted {
    /// When the last attempt had its connection, was sent, and had its answer's head; zero for
    /// never.
    attempt: Cell<Mono>,
    pub sent: Cell<Mono>,
    pub first_byte: Cell<Mono>,
    pub attempts: Cell<u16>,
    /// For connections, all attempts together.
    waited: Cell<Duration>,
    /// Where the last attempt went.
    pub target: RefCell<Option<Rc<Target<Connection>>>>,
}

impl Noted {
    /// Whatever came of it: the wait for a connection is over.
    pub fn leased(&self, began: Mono, now: Mono) {
        self.waited.set(self.waited.get() + now.since(began));
        self.attempt.set(now);
    }
}

/// Where a connection's byte counts stood when an exchange began.
#[derive(Debug, Clone, Copy)]
pub struct From {
    started: Mono,
    consumed: u64,
    written: u64,
}

impl From {
    /// `buffered` bytes of what was read belong to this exchange or to later ones.
    pub fn now(conn: &Conn, started: Mono, buffered: usize) -> From {
        let consumed = conn.stream.bytes_read().saturating_sub(buffered as u64);
        From { started, consumed, written: conn.stream.bytes_written() }
    }
}

/// Learns of an exchange that had a route. `buffered` bytes were there when it began.
pub fn learn(x: &Exchange<'_>, id: RouteId, done: &Done, from: From) {
    let now = rt::now();
    let noted = &x.noted;
    let (sent, first_byte) = (noted.sent.get(), noted.first_byte.get());
    let total = now.since(from.started);
    let (first_byte_us, own) = match (sent, first_byte) {
        (Mono(0), _) => (None, total.saturating_sub(noted.waited.get())),
        (sent, Mono(0)) => (None, sent.since(noted.attempt.get())),
        (sent, first) => {
            let before = sent.since(noted.attempt.get());
            // A body that was relayed behind the head was waited for on both sides.
            let behind = if done.relayed { Duration::ZERO } else { now.since(first) };
            (Some(us(first.since(sent))), before + behind)
        }
    };
    let keys = &x.view.snapshot.keys;
    let upstream = x.upstream_id();
    let exchanged = Exchanged {
        route: keys.routes.get(id.index()).copied(),
        upstream: upstream.and_then(|id| keys.upstreams.get(id.index()).copied()),
        status: done.status,
        reason: done.reason,
        time_us: us(total),
        first_byte_us,
        own_us: us(own),
        bytes_in: bytes_in(x.conn, x.request, x.bytes, done, from),
        bytes_out: x.conn.stream.bytes_written() - from.written,
    };
    x.conn.w.recorder.borrow_mut().exchange(&exchanged);
    let Some(log) = x.view.snapshot.log.as_ref() else { return }; // Fast path.
    let target = noted.target.borrow();
    let mut query = x.conn.w.scratch();
    if log.format.has_query() {
        let came = x.request.query(x.bytes).unwrap_or_default();
        without_credentials(&x.view.snapshot.auths, came, &mut query);
    }
    let known = Known {
        route: x.route.name.as_bytes(),
        upstream: upstream.map_or(&[][..], |id| x.view.snapshot.upstream(id).name.as_bytes()),
        endpoint: target.as_deref().map_or(&[][..], |target| target.text.as_bytes()),
        client: x.client.as_bytes(),
        request_id: x.request_id.as_bytes(),
        consumer: x.consumer(),
        attempts: noted.attempts.get(),
        query: &query,
    };
    write(x.conn, x.view, log, Some(x.request), x.bytes, &exchanged, &known);
}

/// Learns of a request that was answered before it had a route.
pub fn learn_unrouted(
    conn: &Conn,
    view: &View,
    request: &Request,
    bytes: &[u8],
    done: &Done,
    from: From,
) {
    let time_us = us(rt::now().since(from.started));
    let exchanged = Exchanged {
        status: done.status,
        reason: done.reason,
        time_us,
        own_us: time_us,
        bytes_in: bytes_in(conn, request, bytes, done, from),
        bytes_out: conn.stream.bytes_written() - from.written,
        ..Exchanged::default()
    };
    conn.w.recorder.borrow_mut().exchange(&exchanged);
    let Some(log) = view.snapshot.log.as_ref() else { return };
    let request = Some(request).filter(|request| request.is_read);
    let mut query = conn.w.scratch();
    if log.format.has_query() {
        let came = request.and_then(|request| request.query(bytes)).unwrap_or_default();
        without_credentials(&view.snapshot.auths, came, &mut query);
    }
    let client = conn.peer_text.as_bytes();
    let known = Known { client, query: &query, ..Known::default() };
    write(conn, view, log, request, bytes, &exchanged, &known);
}

fn us(time: Duration) -> u64 {
    (time.as_nanos() / 1000) as u64
}

/// Bytes of the connection that the exchange has used up.
fn bytes_in(conn: &Conn, request: &Request, bytes: &[u8], done: &Done, from: From) -> u64 {
    let left = match (&done.leftover, done.taken) {
        (Some(leftover), _) => leftover.len(),
        // Its connection ends. What is not known to be behind it belongs to it.
        (None, 0) => bytes.len().saturating_sub(body_in(request, bytes).unwrap_or(bytes.len())),
        (None, taken) => bytes.len() - taken.min(bytes.len()),
    };
    let consumed = conn.stream.bytes_read().saturating_sub(left as u64);
    consumed.saturating_sub(from.consumed)
}

/// What a line says beside the request and the numbers.
#[derive(Debug, Default)]
struct Known<'a> {
    route: &'a [u8],
    upstream: &'a [u8],
    endpoint: &'a [u8],
    client: &'a [u8],
    request_id: &'a [u8],
    consumer: &'a [u8],
    attempts: u16,
    /// Without credentials; empty where no line shows it.
    query: &'a [u8],
}

/// Whether an exchange has a line.
fn is_wanted(conn: &Conn, log: &AccessLog, x: &Exchanged) -> bool {
    let is_error = x.status >= 500 || x.status == 0;
    let is_slow = log.slower_than.is_some_and(|time| x.time_us > us(time));
    let whole = crate::snapshot::SHARE_WHOLE;
    let is_sampled = || log.sample >= whole || conn.w.rng.borrow_mut().below(whole) < log.sample;
    log.errors && is_error || is_slow || is_sampled()
}

fn write(
    conn: &Conn,
    view: &View,
    log: &AccessLog,
    request: Option<&Request>,
    bytes: &[u8],
    x: &Exchanged,
    known: &Known<'_>,
) {
    if !is_wanted(conn, log, x) {
        return;
    }
    let mut end = conn.w.log.borrow_mut();
    let Some(end) = end.as_mut() else { return };
    let named = |name: &[u8]| {
        let request = request?;
        request.head.fields.named(bytes, name).next().map(|field| field.value.of(bytes))
    };
    let wants = |field: Field| match log.format {
        Format::Json(fields) => fields.has(field),
        Format::Combined { .. } => true,
        Format::Short { .. } => false,
    };
    let field = |which: Field, name: &[u8]| match wants(which) {
        true => named(name).unwrap_or_default(),
        false => &[],
    };
    let record = Record {
        time_us: rt::wall_us().saturating_sub(x.time_us),
        generation: view.snapshot.generation,
        bytes_in: x.bytes_in,
        bytes_out: x.bytes_out,
        duration_us: x.time_us,
        first_byte_us: x.first_byte_us.unwrap_or(u64::MAX),
        own_us: x.own_us,
        status: x.status,
        attempts: known.attempts,
        minor: u16::from(request.is_none_or(|r| !r.is_http10())),
        reason: x.reason,
        client: known.client,
        method: request.map_or(&[][..], |r| r.method_text(bytes)),
        host: request.and_then(|r| r.host(bytes)).unwrap_or_default(),
        path: request.map_or(&[][..], |r| r.target.path.of(bytes)),
        query: known.query,
        route: known.route,
        upstream: known.upstream,
        endpoint: known.endpoint,
        consumer: known.consumer,
        request_id: known.request_id,
        user_agent: field(Field::UserAgent, b"user-agent"),
        referer: field(Field::Referer, b"referer"),
    };
    let mut packed = conn.w.scratch();
    record.pack(&mut packed);
    end.producer.push(&packed);
    end.alarm.ring();
}

/// The word for a refusal that is told as this problem.
pub fn reason_of(problem: crate::http::problem::Problem) -> Reason {
    use crate::http::problem::Problem as P;
    match problem {
        P::BadRequest | P::HttpsRequired => Reason::BadRequest,
        P::EncodedSlash => Reason::EncodedSlash,
        P::BadRewrite => Reason::Rewrite,
        P::Unauthenticated => Reason::NoCredential,
        P::BadCredential => Reason::BadCredential,
        P::Forbidden => Reason::Forbidden,
        P::AddressDenied => Reason::AddressDenied,
        P::RateLimited => Reason::RateLimited,
        P::AuthUnavailable => Reason::AuthUnavailable,
        P::TooManyAtOnce | P::TooManyOfYours => Reason::Concurrency,
        P::NotFound => Reason::NoRoute,
        P::MethodNotAllowed => Reason::Method,
        P::RequestTimeout => Reason::HeadTimeout,
        P::BodyTooLarge => Reason::BodyTooLarge,
        P::TargetTooLong => Reason::TargetTooLong,
        P::ExpectationFailed => Reason::Expectation,
        P::HeadTooLarge => Reason::HeadTooLarge,
        P::NotImplemented => Reason::TransferCoding,
        P::VersionNotSupported => Reason::Version,
        P::BadGateway => Reason::BadAnswer,
        P::Unavailable => Reason::ConnectRefused,
        P::GatewayTimeout => Reason::AnswerTimeout,
    }
}
