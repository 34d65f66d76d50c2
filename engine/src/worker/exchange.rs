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

use parser::path::PathOptions;
use parser::target::Form;
use parser::{FieldId, Method};

use crate::action::{Action, To};
use crate::h1::client::{RequestOut, encode_request};
use crate::h1::relay::{Body, Out, Step};
use crate::h1::server::Request;
use crate::http::forwarded::{AddressText, client_address};
use crate::http::problem::Problem;
use crate::http::rewrite::{Refused, Rewrite, Target};
use crate::http::template::Facts;
use crate::ids::UpstreamId;
use crate::metrics::recorder::Exchanged;
use crate::router::{Found, Lookup, Params};
use crate::rt::{self, Buf};
use crate::snapshot::{HostMode, Route, Upstream};
use crate::time::Mono;
use crate::upstream::retry::{self, Retry, may_retry};
use crate::upstream::{Tried, balance};
use crate::worker::answer::{Answered, Failed, answer};
use crate::worker::conn::Conn;
use crate::worker::dial::{Lease, lease};
use crate::worker::outcome::{Failure, Next};
use crate::worker::relay::{Gate, Relayed, Unsent, both};
use crate::worker::tunnel::{Tunnel, tunnel};
use crate::worker::view::View;
use crate::worker::{Scratch, echo, own};

/// Longest request id that is passed on from a trusted proxy.
const REQUEST_ID_MAX: usize = 64;

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
    pub trusted: bool,
    pub started: Mono,
    /// The route's hard total, or never.
    pub deadline: Mono,
    /// Set once the upstream is chosen.
    upstream: Cell<Option<UpstreamId>>,
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
    pub tunnel: Option<Tunnel>,
}

impl Done {
    pub fn new(status: u16, next: Next, taken: usize) -> Done {
        Done { status, next, taken, leftover: None, tunnel: None }
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
        let given = request.head.fields.get(FieldId::XRequestId).filter(|_| trusted);
        let mut id = RequestId { text: [0; REQUEST_ID_MAX], len: 32 };
        if let Some(field) = given {
            let value = field.value.of(bytes);
            let is_plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.:+/=".contains(b);
            if !value.is_empty() && value.len() <= REQUEST_ID_MAX && value.iter().all(is_plain) {
                id.text[..value.len()].copy_from_slice(value);
                id.len = value.len() as u8;
                return id;
            }
        }
        let mut rng = conn.w.rng.borrow_mut();
        for half in id.text[..32].chunks_exact_mut(16) {
            let n = rng.next_u64();
            for (i, digit) in half.iter_mut().enumerate() {
                *digit = b"0123456789abcdef"[(n >> (i * 4)) as usize & 15];
            }
        }
        id
    }
}

impl Exchange<'_> {
    pub fn is_past_deadline(&self, now: Mono) -> bool {
        now >= self.deadline
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
            query: request.query(bytes).unwrap_or_default(),
            method: request.method_text(bytes),
            request_id: self.request_id.as_bytes(),
            route: self.route.name.as_bytes(),
            params: self.params.as_slice(),
            fields: &request.head.fields,
            head: bytes,
        }
    }

    /// The protocol this request may switch to: asked for, listed by the route, no body.
    pub fn upgrade(&self) -> Option<&[u8]> {
        if !self.request.options.upgrade || self.request_has_body() {
            return None; // Fast path.
        }
        let is_listed = |name: &&[u8]| {
            self.route.upgrade.iter().any(|u| u.as_bytes().eq_ignore_ascii_case(name))
        };
        self.request.upgrade(self.bytes).find(is_listed)
    }

    fn request_has_body(&self) -> bool {
        !Body::new(self.request.framing, Out::Raw, &self.limits()).is_done()
    }

    fn limits(&self) -> parser::Limits {
        self.conn.listener(self.view).limits
    }
}

enum Routed<'v> {
    Route(&'v Route),
    /// The path is another route's but for its last slash.
    Slash,
    /// `OPTIONS *` or `Max-Forwards: 0`: the gateway itself is asked.
    Own,
    Refused(Problem, &'v str),
}

/// Serves one request. Afterwards `buf` holds what followed it.
pub async fn exchange(conn: &Conn, buf: &mut Buf, request: &mut Request) -> Next {
    let started = rt::cached_now();
    let view = conn.view();
    let mut params = Params::default();
    let routed = find(&view, conn, buf.filled(), request, &mut params);
    let done = match routed {
        Routed::Route(route) => {
            let x = begin(conn, &view, buf.filled(), request, route, &params, started);
            act(&x).await
        }
        Routed::Slash => own::slash_redirect(conn, buf.filled(), request).await,
        Routed::Own => own::options(conn, buf.filled(), request).await,
        Routed::Refused(problem, allow) => {
            let next = own::problem(conn, buf, request, problem, allow).await;
            Done::new(problem.status(), next, body_in(request, buf.filled()).unwrap_or(0))
        }
    };
    finish(conn, buf, view, done, started).await
}

fn find<'v>(
    view: &'v View,
    conn: &Conn,
    bytes: &[u8],
    request: &mut Request,
    params: &mut Params,
) -> Routed<'v> {
    if request.head.method == Method::Options
        && let Ok(Some(0)) = parser::connection::max_forwards(&request.head, bytes)
    {
        return Routed::Own;
    }
    let router = conn.router(view);
    let lookup = |request: &Request, path: &[u8], params: &mut Params| {
        let lookup = Lookup {
            host: request.host(bytes),
            path,
            query: request.query(bytes).unwrap_or_default(),
            method: request.head.method,
            method_text: request.method_text(bytes),
            fields: &request.head.fields,
            head: bytes,
        };
        router.find(&lookup, params)
    };
    if view.any_slashes && request.had_double_slash && request.unmerged_path(bytes).is_ok() {
        request.keep_slashes();
        if let Found::Route(id) = lookup(request, request.path(bytes), params)
            && view.snapshot.route(id).slashes_keep
        {
            return take_route(view.snapshot.route(id), request);
        }
        request.merge_slashes();
    }
    match lookup(request, request.path(bytes), params) {
        Found::Route(id) => take_route(view.snapshot.route(id), request),
        Found::NotFound if request.target.form == Form::Asterisk => Routed::Own,
        Found::NotFound => {
            if view.any_slash_redirect {
                let mut toggled = conn.w.scratch();
                own::toggle_slash(request.path(bytes), &mut toggled);
                if let Found::Route(id) = lookup(request, &toggled, params)
                    && view.snapshot.route(id).slash_redirect
                {
                    return Routed::Slash;
                }
            }
            Routed::Refused(Problem::NotFound, "")
        }
        Found::MethodNotAllowed { allow } => Routed::Refused(Problem::MethodNotAllowed, allow),
    }
}

/// A path with `%2F` is only for routes that say so.
fn take_route<'v>(route: &'v Route, request: &Request) -> Routed<'v> {
    match request.had_encoded_slash && !route.encoded_slash_keep {
        true => Routed::Refused(Problem::EncodedSlash, ""),
        false => Routed::Route(route),
    }
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
            AddressText::new(Some(client_address(peer, proxies, &request.head.fields, bytes)))
        }
        _ => conn.peer_text,
    };
    Exchange {
        conn,
        view,
        request,
        bytes,
        route,
        params,
        request_id: RequestId::new(conn, request, bytes, trusted),
        client,
        trusted,
        started,
        deadline: route.deadline.map_or(Mono::NEVER, |d| started.after(d)),
        upstream: Cell::new(None),
    }
}

async fn act(x: &Exchange<'_>) -> Done {
    if let (parser::framing::BodyFraming::Length(n), Some(max)) =
        (x.request.framing, x.route.body_limit)
        && n > max
    {
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
        None => None, // Fast path.
        Some(rewrite) => match rewritten(x, rewrite) {
            Ok(sent_as) => Some(sent_as),
            Err(_) => return own::fail(x, Failure::Rewrite).await,
        },
    };
    let mut tried = Tried::default();
    let mut stale = 0;
    loop {
        let lease = match lease(x, id, due.min(x.deadline), &mut tried, stale > 0).await {
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
struct Rewritten {
    bytes: Scratch,
    /// Where the host begins; the end when the rewrite has none.
    host_at: usize,
}

fn rewritten(x: &Exchange<'_>, rewrite: &Rewrite) -> Result<Rewritten, Refused> {
    let (mut bytes, mut spare) = (x.conn.w.scratch(), x.conn.w.scratch());
    let target = Target {
        path: x.request.path_sent(x.bytes),
        query: x.request.query(x.bytes),
        is_asterisk: x.request.target.form == Form::Asterisk,
    };
    let options = PathOptions {
        encoded_slash_keep: x.route.encoded_slash_keep,
        slashes_keep: x.route.slashes_keep,
    };
    let host_at = rewrite.write(&x.facts(), &target, options, &mut bytes, &mut spare)?;
    Ok(Rewritten { bytes, host_at })
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
    sent_as: Option<&Rewritten>,
) -> Result<Done, AttemptFailed> {
    let reused = lease.reused;
    let mut body = Body::new(x.request.framing, Out::Raw, &x.limits());
    let (mut head, mut aux) = (x.conn.w.scratch(), x.conn.w.scratch());
    write_head(x, &lease, sent_as, &mut head);
    let rest = &x.bytes[x.request.head_len()..];
    let early = |failure| Failed { failure, head_sent: false, client_has_bytes: false };
    let resendable = |body: &Body| body.is_done();
    let step = body.step(rest, &mut aux, &mut x.conn.w.trailers.borrow_mut());
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
            return Err(AttemptFailed { failed, resendable: resendable(&body), reused });
        }
    };
    let gate = Gate {
        request_done: Cell::new(false),
        clock_runs: Cell::new(false),
        head_seen: Cell::new(false),
        writing: Cell::new(false),
        due: Cell::new(due),
    };
    let whole = sent == head.len() + step.raw && aux.is_empty();
    let relayed = if whole && body.is_done() {
        drop((head, aux));
        gate.request_done.set(true);
        gate.clock_runs.set(true);
        // Fast path: one direction, and nobody looks at the client unless it takes long.
        x.conn.watch.busy(x.conn.stream.handle(), x.request.half_close_ok());
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
            let resendable = step.done && complete;
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

fn write_head(x: &Exchange<'_>, lease: &Lease, sent_as: Option<&Rewritten>, out: &mut Scratch) {
    let (request, bytes) = (x.request, x.bytes);
    let upstream = x.upstream();
    let authority = request.authority(bytes).unwrap_or_default();
    let (target, new_host) = match sent_as {
        None => (None, &[][..]),
        Some(sent_as) => {
            let (target, host) = sent_as.bytes.split_at(sent_as.host_at);
            (Some(target), host)
        }
    };
    let host = match &upstream.host {
        _ if !new_host.is_empty() => new_host,
        HostMode::Keep if !authority.is_empty() => authority,
        HostMode::Keep | HostMode::Endpoint => lease.target.host_text(),
        HostMode::Fixed(host) => host.as_bytes(),
    };
    let is_options = request.head.method == Method::Options;
    let forwards = is_options.then(|| parser::connection::max_forwards(&request.head, bytes));
    let edits = x.route.headers.as_deref().map(|h| &h.request).filter(|e| !e.is_empty());
    let o = RequestOut {
        request,
        buf: bytes,
        target,
        host,
        authority,
        peer: x.conn.peer_text.as_bytes(),
        trusted: x.trusted,
        facts: &x.facts(),
        edits,
        upgrade: x.upgrade(),
        via: x.view.snapshot.server.via,
        max_forwards: forwards.and_then(|f| f.ok().flatten()).map(|n| n.saturating_sub(1)),
    };
    encode_request(out, &o);
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
        let tunnel = Some(Tunnel { lease, sent, timeout });
        return Done { status, next: Next::Close, taken, leftover, tunnel };
    }
    if let Some(keep_until) = answered.keep_until.filter(|_| complete) {
        lease.checkin(rt::cached_now(), keep_until);
        x.conn.w.sweep_pools();
    }
    let next = match (complete, answered.close) {
        (false, _) => Next::Linger,
        (true, true) if leftover.is_some() || taken < x.bytes.len() => Next::Linger,
        (true, true) => Next::Close,
        (true, false) => Next::KeepAlive,
    };
    Done { status, next, taken, leftover, tunnel: None }
}

/// A failed exchange: the client is told, or cut off when its answer has begun.
async fn cut_off(x: &Exchange<'_>, failed: Failed) -> Done {
    if failed.head_sent {
        // An HTTP/1.0 client takes the end of the connection for the end of the body.
        let next = if x.request.is_http10() { Next::Reset } else { Next::Close };
        return Done::new(0, next, 0);
    }
    own::fail(x, failed.failure).await
}

/// The one place where everything learns.
async fn finish(conn: &Conn, buf: &mut Buf, view: Rc<View>, done: Done, started: Mono) -> Next {
    let time = rt::now().since(started);
    let exchanged = Exchanged {
        status: done.status,
        time_us: (time.as_nanos() / 1000) as u64,
        ..Exchanged::default()
    };
    conn.w.recorder.borrow_mut().exchange(&exchanged);
    match done.leftover {
        Some(leftover) => *buf = leftover,
        None => buf.consume(done.taken.min(buf.len())),
    }
    if let Some(open) = done.tunnel {
        drop(view); // a week-old WebSocket pins no configuration
        conn.place.needs_no_view();
        return tunnel(conn, buf, open).await;
    }
    done.next
}

/// Bytes of `bytes` that head and body of this request take, when all of them are there.
pub fn body_in(request: &Request, bytes: &[u8]) -> Option<usize> {
    use parser::framing::BodyFraming;
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
