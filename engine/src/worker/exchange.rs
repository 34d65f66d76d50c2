//! ONE REQUEST, top to bottom: calls only.
//!
//! ```text
//!  find ─▶ respond | redirect | echo                                        ─▶ finish
//!     └──▶ proxy: pick ─▶ lease ─▶ start (head + what is there of the body) ─▶ finish
//!                   ▲                  ├─ all of it went: answer                 │
//!                   └── may_retry ◀────┴─ else: both directions at once     tunnel (101)
//! ```

use std::cell::Cell;
use std::rc::Rc;

use parser::framing::BodyFraming;
use parser::{FieldId, ParseError};

use crate::action::{Action, To};
use crate::h1::relay::{Body, Out, Step};
use crate::h1::server::Request;
use crate::http::forwarded::{AddressText, client_address, is_private};
use crate::http::problem::Problem;
use crate::http::rewrite::{Refused, Rewrite};
use crate::http::template::Facts;
use crate::ids::UpstreamId;
use crate::metrics::reason::Reason;
use crate::policy::{Admitted, Outcome, Refusal};
use crate::router::Params;
use crate::rt::{self, Buf, Half};
use crate::snapshot::{Route, Upstream};
use crate::time::Mono;
use crate::upstream::retry::{self, Retry, may_retry};
use crate::upstream::{Tried, balance};
use crate::way::{self, REQUEST_ID_MAX, Routed, Sending};
use crate::worker::admit::{self, request_marks};
use crate::worker::answer::{Answered, Failed, answer};
use crate::worker::conn::Conn;
use crate::worker::dial::{Lease, lease};
use crate::worker::learn::{From, Noted, learn, learn_unrouted, reason_of};
use crate::worker::mailbox::FromWorker;
use crate::worker::outcome::{Failure, Next};
use crate::worker::relay::{Gate, Relayed, Unsent, both};
use crate::worker::tunnel::{Tunnel, tunnel};
use crate::worker::view::View;
use crate::worker::{Scratch, echo, own};

/// The facts of one request that all steps share.
#[derive(Debug)]
pub struct Exchange<'a> {
    pub conn: &'a Conn,
    pub view: &'a View,
    pub request: &'a Request,
    /// What `request` was read from, and what follows its head.
    pub bytes: &'a [u8],
    pub route: &'a Route,
    pub params: &'a Params,
    pub request_id: RequestId,
    pub client: AddressText,
    /// What policies have left behind, where there are some.
    pub admitted: Option<Box<Admitted>>,
    pub trusted: bool,
    pub started: Mono,
    /// The route's hard total, or never.
    pub deadline: Mono,
    /// Set once the upstream is chosen.
    upstream: Cell<Option<UpstreamId>>,
    /// What it means when the client stops sending now.
    half: Cell<Half>,
    /// What attempts leave behind.
    pub noted: Noted,
}

/// What became of a request.
pub struct Done {
    /// Of the final answer; 0 when the client got none.
    pub status: u16,
    pub next: Next,
    /// Bytes of the connection's buffer that belong to this request.
    pub taken: usize,
    /// What was read beyond them into another buffer.
    pub leftover: Option<Buf>,
    /// Boxed: every exchange's outcome would have its room, and be moved with it.
    pub tunnel: Option<Box<Tunnel>>,
    /// Why it is not the service's answer, or not a whole one.
    pub reason: Reason,
    /// A part of the answer's body came behind its head.
    pub relayed: bool,
}

impl Done {
    pub fn new(status: u16, next: Next, taken: usize) -> Done {
        let (leftover, tunnel, reason, relayed) = Default::default();
        Done { status, next, taken, leftover, tunnel, reason, relayed }
    }

    pub fn because(self, reason: Reason) -> Done {
        Done { reason, ..self }
    }
}

/// A request id: a trusted proxy's, or 128 random bits of ours in hex.
#[derive(Clone, Copy, Debug)]
pub struct RequestId {
    text: [u8; REQUEST_ID_MAX],
    len: u8,
}

impl RequestId {
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..self.len as usize]
    }

    pub fn new(conn: &Conn, request: &Request, bytes: &[u8], trusted: bool) -> RequestId {
        let mut id = RequestId { text: [0; REQUEST_ID_MAX], len: 32 };
        if let Some(given) = way::given_request_id(request, bytes, trusted) {
            id.text[..given.len()].copy_from_slice(given);
            id.len = given.len() as u8;
            return id;
        }
        let mut rng = conn.w.rng.borrow_mut();
        for quarter in id.text[..32].as_chunks_mut::<16>().0 {
            let n = rng.next_u64();
            quarter[..8].copy_from_slice(&hex(n as u32));
            quarter[8..].copy_from_slice(&hex((n >> 32) as u32));
        }
        id
    }
}

/// Eight digits in hex, all at once: half a byte goes into each, then what is above 9 becomes a
/// letter.
#[inline]
fn hex(n: u32) -> [u8; 8] {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let mut digits = u64::from(n);
    digits = (digits | digits << 16) & 0x0000_ffff_0000_ffff;
    digits = (digits | digits << 8) & 0x00ff_00ff_00ff_00ff;
    digits = (digits | digits << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let is_letter = (digits + 6 * EACH) >> 4 & EACH;
    (digits + EACH * u64::from(b'0') + is_letter * u64::from(b'a' - b'9' - 1)).to_be_bytes()
}

impl Exchange<'_> {
    pub fn is_past_deadline(&self, now: Mono) -> bool {
        now >= self.deadline
    }

    /// Looks at the client from now on, see [`rt::Watch::busy`].
    pub fn watch_client(&self, watch: &rt::Watch) {
        watch.busy(self.conn.stream.handle(), self.half.get());
    }

    /// How much of the request was read: all of it, and whether more bytes are behind it.
    pub fn was_read(&self, whole: bool, is_more_behind: bool) {
        self.half.set(match whole {
            // Those bytes are requests, and whoever sends them together may half-close at once.
            true if is_more_behind || self.request.half_close_ok() => Half::Fine,
            true if self.conn.stream.is_tls() => Half::FineBehindRecords,
            true => Half::FineBehindBytes,
            false if self.request.half_close_ok() => Half::Fine,
            false => Half::Leaves,
        });
    }

    /// The upstream that was chosen, if it came so far.
    pub fn upstream_id(&self) -> Option<UpstreamId> {
        self.upstream.get()
    }

    /// The upstream that was chosen. Called only on the way to one.
    pub fn upstream(&self) -> &Upstream {
        self.view.snapshot.upstream(self.upstream.get().expect("chosen before it is asked"))
    }

    /// What variables stand for.
    pub fn facts(&self) -> Facts<'_> {
        let (request, bytes) = (self.request, self.bytes);
        Facts {
            client: self.client.as_bytes(),
            host: request.host(bytes).unwrap_or_default(),
            path: request.path(bytes),
            query: self.query().unwrap_or_default(),
            consumer: self.consumer(),
            method: request.method_text(bytes),
            request_id: self.request_id.as_bytes(),
            route: self.route.name.as_bytes(),
            params: self.params.as_slice(),
            fields: &request.head.fields,
            head: bytes,
        }
    }

    /// The query that goes on: without what proves who it is.
    pub fn query(&self) -> Option<&[u8]> {
        match self.admitted.as_deref() {
            Some(admitted) if admitted.has_query => {
                Some(&admitted.query[..]).filter(|query| !query.is_empty())
            }
            _ => self.request.query(self.bytes), // Fast path.
        }
    }

    /// The name of who sends it, empty when nobody has asked.
    pub fn consumer(&self) -> &[u8] {
        let consumers = &self.view.snapshot.consumers;
        self.admitted.as_deref().map_or(&[], |admitted| admitted.consumer(consumers))
    }

    /// The protocol this request may switch to.
    pub fn upgrade(&self) -> Option<&[u8]> {
        way::upgrade(self.route, self.request, self.bytes, &self.limits())
    }

    /// Takes what it can of the request's body.
    pub fn step(
        &self,
        body: &mut Body,
        input: &[u8],
        aux: &mut Scratch<'_>,
    ) -> Result<Step, ParseError> {
        let mut trailers = self.conn.w.trailers.borrow_mut();
        let drops = &self.route.policies.drops;
        body.step(input, aux, &mut trailers, |name| {
            self.request.is_nominated(self.bytes, name) || drops.iter().any(|d| d.reads_like(name))
        })
    }

    fn limits(&self) -> parser::Limits {
        self.conn.listener(self.view).limits
    }
}

/// Serves one request. Afterwards `buf` holds what followed it.
pub async fn exchange(conn: &Conn, buf: &mut Buf, request: &mut Request) -> Next {
    let started = rt::cached_now();
    let view = conn.view();
    let mut params = Params::default();
    let (snapshot, router) = (&*view.snapshot, conn.router(&view));
    let guarded = match conn.listener(&view).guards.is_empty() {
        true => Ok(None), // Fast path.
        false => admit::guard(conn, &view, request, buf.filled()).map(Some),
    };
    let routed = way::find(snapshot, router, view.relaxed, buf.filled(), request, &mut params);
    let from = From::now(conn, started, buf.len());
    let admitted = match guarded {
        Ok(admitted) => admitted,
        Err((refusal, admitted)) => {
            let done = own::stopped(conn, buf, request, refusal, &admitted).await;
            conn.w.give_admitted(admitted);
            learn_unrouted(conn, &view, request, buf.filled(), &done, from);
            return finish(conn, buf, view, done).await;
        }
    };
    if let Some(port) = conn.listener(&view).https_redirect.filter(|_| !conn.stream.is_tls()) {
        let done = match own::https_redirect(conn, buf.filled(), request, port).await {
            Some(done) => done,
            None => refuse(conn, buf, request, Problem::BadRequest, "").await,
        };
        learn_unrouted(conn, &view, request, buf.filled(), &done, from);
        return finish(conn, buf, view, done).await;
    }
    let done = match routed {
        Routed::Route(id, route) => {
            let mut x = begin(conn, &view, buf.filled(), request, route, &params, started);
            x.admitted = admitted;
            let mut done = match admit(&mut x).await {
                None => act(&x).await,
                Some(done) => done,
            };
            learn(&x, id, &done, from);
            if let Some(mut admitted) = x.admitted.take() {
                if let Some(open) = &mut done.tunnel {
                    open.permits = std::mem::take(&mut admitted.permits);
                }
                conn.w.give_admitted(admitted);
            }
            return finish(conn, buf, view, done).await;
        }
        Routed::Slash(_) => own::slash_redirect(conn, buf.filled(), request).await,
        Routed::Own => own::options(conn, buf.filled(), request).await,
        Routed::EncodedSlash(_) => refuse(conn, buf, request, Problem::EncodedSlash, "").await,
        Routed::Refused(problem, allow) => refuse(conn, buf, request, problem, allow).await,
    };
    learn_unrouted(conn, &view, request, buf.filled(), &done, from);
    finish(conn, buf, view, done).await
}

async fn refuse(conn: &Conn, buf: &Buf, request: &Request, problem: Problem, allow: &str) -> Done {
    let next = own::problem(conn, buf, request, problem, allow).await;
    let taken = body_in(request, buf.filled()).unwrap_or(0);
    Done::new(problem.status(), next, taken).because(reason_of(problem))
}

fn begin<'a>(
    conn: &'a Conn,
    view: &'a View,
    bytes: &'a [u8],
    request: &'a Request,
    route: &'a Route,
    params: &'a Params,
    started: Mono,
) -> Exchange<'a> {
    let trusted = conn.is_trusted(view);
    let client = match conn.peer {
        Some(peer) if trusted => {
            let proxies = &view.snapshot.server.trusted_proxies;
            AddressText::new(Some(client_address(peer, proxies, request.said(bytes))))
        }
        _ => conn.peer_text,
    };
    if !trusted && request.head.fields.has(FieldId::XForwardedFor) && !conn.w.told_untrusted.get() {
        tell_untrusted(conn);
    }
    let x = Exchange {
        conn,
        view,
        request,
        bytes,
        route,
        params,
        request_id: RequestId::new(conn, request, bytes, trusted),
        client,
        admitted: None,
        trusted,
        started,
        deadline: route.deadline.map_or(Mono::NEVER, |d| started.after(d)),
        upstream: Cell::new(None),
        half: Cell::new(Half::Leaves),
        noted: Noted::default(),
    };
    match body_in(request, bytes) {
        Some(end) => x.was_read(true, end < bytes.len()),
        None => {
            // A chunked body may be all there, with requests behind it: an attempt tells.
            let may_be =
                request.framing == BodyFraming::Chunked && bytes.len() > request.head_len();
            x.was_read(may_be, may_be);
        }
    }
    x
}

/// Says once that somebody who looks like a proxy of the operator's own is not believed.
#[cold]
fn tell_untrusted(conn: &Conn) {
    let w = &conn.w;
    if let Some(peer) = conn.peer.filter(|ip| is_private(*ip)) {
        w.told_untrusted.set(true);
        w.outbox.tell(w.id, FromWorker::Untrusted(peer));
    }
}

/// Asks the listener's and the route's policies. `None`: the request is let through.
async fn admit(x: &mut Exchange<'_>) -> Option<Done> {
    if x.route.policies.is_empty() {
        return None; // Fast path.
    }
    let said = match admit::now(x) {
        // Boxed: each exchange would have its room.
        Outcome::Ask(ask) => match Box::pin(admit::later(x, ask)).await {
            Ok(said) => said,
            Err(failure) => return Some(own::fail(x, failure).await),
        },
        said => said,
    };
    match said {
        Outcome::Pass => None,
        Outcome::Refuse(refusal) => Some(own::refused(x, refusal).await),
        Outcome::Reply(status, reason) => Some(own::policy_reply(x, status, reason).await),
        Outcome::Ask(_) => Some(own::refused(x, Refusal::AUTH_UNAVAILABLE).await),
    }
}

async fn act(x: &Exchange<'_>) -> Done {
    if way::is_too_long(x.route, x.request) {
        return own::fail(x, Failure::BodyTooLarge).await;
    }
    match &x.route.action {
        Action::To(to) => proxy(x, to).await,
        Action::Respond(respond) => own::respond(x, respond).await,
        Action::Redirect(redirect) => own::redirect(x, redirect).await,
        Action::Echo => echo::echo(x).await,
    }
}

/// Sends the request to an endpoint, another one when that is allowed, and relays the answer.
async fn proxy(x: &Exchange<'_>, to: &To) -> Done {
    let w = &x.conn.w;
    let id = balance::split(&to.targets, to.weight_sum, &mut w.rng.borrow_mut());
    x.upstream.set(Some(id));
    let due = x.route.timeout.map_or(Mono::NEVER, |t| x.started.after(t));
    let sent_as = match x.route.rewrite.as_deref() {
        None if x.admitted.as_deref().is_some_and(|a| a.has_query) => Some(without_key(x)),
        None => None, // Fast path.
        Some(rewrite) => match rewritten(x, rewrite) {
            Ok(sent_as) => Some(sent_as),
            Err(_) => return own::fail(x, Failure::Rewrite).await,
        },
    };
    let mut tried = Tried::default();
    let mut stale = 0;
    loop {
        let began = rt::cached_now();
        x.noted.sent.set(Mono(0));
        let leased = lease(x, id, due.min(x.deadline), &mut tried, stale > 0).await;
        x.noted.leased(began, rt::cached_now());
        let lease = match leased {
            Ok(lease) => lease,
            Err(failure) => return own::fail(x, failure).await,
        };
        let failed = match attempt(x, lease, due, sent_as.as_ref()).await {
            Ok(done) => return done,
            Err(failed) => failed,
        };
        let facts = retry::Facts {
            failed: match failed.failed.failure {
                Failure::Closed { sent } => retry::Failed::Closed { sent },
                _ => retry::Failed::Answer,
            },
            idempotent: x.request.head.method.is_idempotent(),
            resendable: failed.resendable,
            reused: failed.reused,
            stale_before: stale,
            client_has_bytes: failed.failed.client_has_bytes,
        };
        match may_retry(&facts) {
            Retry::Fresh => {
                stale += 1;
                w.recorder.borrow_mut().whole.retries += 1;
            }
            Retry::No | Retry::Elsewhere => return cut_off(x, failed.failed).await,
        }
    }
}

/// What goes upstream in place of the request's own target and host.
struct Rewritten<'a> {
    bytes: Scratch<'a>,
    /// Where the host begins; the end when the rewrite has none.
    host_at: usize,
}

fn rewritten<'a>(x: &Exchange<'a>, rewrite: &Rewrite) -> Result<Rewritten<'a>, Refused> {
    let (mut bytes, mut spare) = (x.conn.w.scratch(), x.conn.w.scratch());
    let host_at = way::rewrite(rewrite, x.route, x.request, &x.facts(), &mut bytes, &mut spare)?;
    Ok(Rewritten { bytes, host_at })
}

/// The target as it came, but for the credentials in its query.
fn without_key<'x>(x: &'x Exchange<'_>) -> Rewritten<'x> {
    let mut bytes = x.conn.w.scratch();
    bytes.extend_from_slice(x.request.path_sent(x.bytes));
    if let Some(query) = x.query() {
        bytes.push(b'?');
        bytes.extend_from_slice(query);
    }
    let host_at = bytes.len();
    Rewritten { bytes, host_at }
}

/// What is known when an attempt came to nothing.
struct AttemptFailed {
    failed: Failed,
    resendable: bool,
    reused: bool,
}

async fn attempt(
    x: &Exchange<'_>,
    lease: Lease,
    due: Mono,
    sent_as: Option<&Rewritten<'_>>,
) -> Result<Done, AttemptFailed> {
    let reused = lease.reused;
    x.noted.attempts.set(x.noted.attempts.get() + 1);
    x.noted.first_byte.set(Mono(0));
    x.noted.target.replace(Some(lease.target.clone()));
    if reused {
        x.conn.w.recorder.borrow_mut().whole.reused += 1;
    }
    let mut body = Body::new(x.request.framing, Out::Raw, &x.limits());
    let (mut head, mut aux) = (x.conn.w.scratch(), x.conn.w.scratch_for(&body));
    write_head(x, &lease, sent_as, &mut head);
    let rest = &x.bytes[x.request.head_len()..];
    let early = |failure| Failed { failure, head_sent: false, client_has_bytes: false };
    let step = x.step(&mut body, rest, &mut aux);
    let Ok(step) = step else {
        let failed = early(Failure::ClientBody);
        return Err(AttemptFailed { failed, resendable: false, reused });
    };
    if x.route.body_limit.is_some_and(|max| body.data() > max) {
        let failed = early(Failure::BodyTooLarge);
        return Err(AttemptFailed { failed, resendable: false, reused });
    }
    let sent = match lease.stream().try_write(&head, &rest[..step.raw]) {
        Ok(n) => n,
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => 0,
        Err(_) => {
            let failed = early(Failure::Closed { sent: false });
            return Err(AttemptFailed { failed, resendable: true, reused });
        }
    };
    x.noted.sent.set(rt::now());
    x.was_read(step.done, step.done && step.taken < rest.len());
    let gate = Gate::new(due);
    let whole = sent == head.len() + step.raw && aux.is_empty();
    let relayed = if whole && body.is_done() {
        drop((head, aux));
        gate.request_done.set(true);
        gate.clock_runs.set(true);
        // Fast path: one direction, and nobody looks at the client unless it takes long.
        x.watch_client(&x.conn.watch);
        let answered = answer(x, lease.stream(), &x.conn.watch, &gate).await;
        x.conn.watch.unwatched();
        Relayed { answered, leftover: None }
    } else {
        let unsent = unsent(&head, &aux, rest, &step, sent);
        both(x, lease.stream(), unsent, &mut body, &gate).await
    };
    let complete = gate.request_done.get();
    match relayed.answered {
        Ok(answered) => Ok(settle(x, lease, answered, step, complete, relayed.leftover)),
        Err(failed) => {
            // Only what never left the connection's buffer can be sent again.
            let resendable = (step.done && complete) || !gate.body_read.get();
            Err(AttemptFailed { failed, resendable, reused })
        }
    }
}

fn unsent<'a>(
    head: &'a [u8],
    aux: &'a [u8],
    rest: &'a [u8],
    step: &Step,
    sent: usize,
) -> Unsent<'a> {
    let of_head = sent.min(head.len());
    Unsent {
        head: &head[of_head..],
        body: &rest[sent - of_head..step.raw],
        tail: aux,
        untaken: if step.done { &[] } else { &rest[step.taken..] },
    }
}

fn write_head(x: &Exchange<'_>, lease: &Lease, sent_as: Option<&Rewritten<'_>>, out: &mut Scratch) {
    let facts = x.route.headers.is_some().then(|| x.facts());
    let sending = Sending {
        route: x.route,
        upstream: x.upstream(),
        request: x.request,
        bytes: x.bytes,
        sent_as: sent_as.map(|sent_as| sent_as.bytes.split_at(sent_as.host_at)),
        endpoint_host: lease.target.host_text(),
        peer: x.conn.peer_text.as_bytes(),
        is_tls: x.conn.stream.is_tls(),
        certificate: x.conn.stream.certificate_lines(),
        trusted: x.trusted,
        via: x.view.snapshot.server.via,
        request_id: x.request_id.as_bytes(),
        facts: facts.as_ref(),
        marks: request_marks(x),
        upgrade: x.upgrade(),
    };
    way::write_head(out, &sending);
}

/// The answer is delivered: the upstream connection goes back, the client's goes on.
fn settle(
    x: &Exchange<'_>,
    lease: Lease,
    answered: Answered,
    step: Step,
    complete: bool,
    leftover: Option<Buf>,
) -> Done {
    let taken = x.request.head_len() + if step.done { step.taken } else { x.bytes.len() };
    let taken = taken.min(x.bytes.len());
    let status = answered.status;
    if let Some(sent) = answered.tunnel {
        let timeout = x.route.tunnel_timeout;
        let permits = Vec::new(); // the exchange's, once it has ended
        let tunnel = Some(Box::new(Tunnel { lease, sent: *sent, timeout, permits }));
        return Done { leftover, tunnel, ..Done::new(status, Next::Close, taken) };
    }
    if let Some(keep_until) = answered.keep_until.filter(|_| complete) {
        lease.checkin(rt::cached_now(), keep_until);
        x.conn.w.sweep_pools();
    }
    let next = match (complete, answered.close) {
        (false, _) => Next::Linger,
        (true, true) if leftover.is_some() || taken < x.bytes.len() => Next::Linger,
        // It did not ask for the end: its next request may be under way.
        (true, true) if x.request.persistent => Next::Linger,
        (true, true) => Next::Close,
        (true, false) => Next::KeepAlive,
    };
    Done { leftover, relayed: answered.relayed, ..Done::new(status, next, taken) }
}

/// A failed exchange: the client is told, or cut off when its answer has begun.
async fn cut_off(x: &Exchange<'_>, failed: Failed) -> Done {
    if failed.head_sent {
        // An HTTP/1.0 client takes the end of the connection for the end of the body.
        let resets = x.request.is_http10() || failed.failure.leaves_unsent();
        let next = if resets { Next::Reset } else { Next::Close };
        return Done::new(0, next, 0).because(failed.failure.reason());
    }
    own::fail(x, failed.failure).await
}

/// Gives the connection's buffer what is left, and the connection its next state.
async fn finish(conn: &Conn, buf: &mut Buf, view: Rc<View>, done: Done) -> Next {
    match done.leftover {
        Some(leftover) => *buf = leftover,
        None => buf.consume(done.taken.min(buf.len())),
    }
    if let Some(open) = done.tunnel {
        drop(view); // a week-old WebSocket pins no configuration
        conn.place.needs_no_view();
        return tunnel(conn, buf, *open).await;
    }
    done.next
}

/// Bytes of `bytes` that head and body of this request take, when all of them are there.
pub fn body_in(request: &Request, bytes: &[u8]) -> Option<usize> {
    let head = request.head_len();
    match request.framing {
        BodyFraming::None => Some(head),
        BodyFraming::Length(n) => {
            let end = (head as u64).checked_add(n)?;
            (end <= bytes.len() as u64).then_some(end as usize)
        }
        BodyFraming::Chunked | BodyFraming::UntilClose => None,
    }
}

#[cfg(test)]
mod tests {
    use super::hex;

    #[test]
    fn hex_is_what_format_makes_of_it() {
        let mut n = 0x0123_4567u32;
        for _ in 0..10_000 {
            n = n.wrapping_mul(0x9e37_79b1).wrapping_add(1);
            assert_eq!(hex(n), format!("{n:08x}").as_bytes());
        }
    }
}
