//! Answers the gateway makes itself: refusals, fixed answers, redirects.

use parser::error::ParseError;
use parser::target::Form;
use parser::{FieldId, Method};

use crate::action::{Redirect, Respond};
use crate::h1::server::Request;
use crate::http::https;
use crate::http::problem::{Problem, prefers_html};
use crate::http::reply::{self, ProblemDetails, ReplyHead};
use crate::http::template::Place;
use crate::metrics::reason::Reason;
use crate::policy::{Admitted, Refusal};
use crate::rt::{self, Buf};
use crate::time::Mono;
use crate::worker::conn::Conn;
use crate::worker::exchange::{Done, Exchange, RequestId, body_in};
use crate::worker::learn::{From, learn_unrouted, reason_of};
use crate::worker::outcome::{Failure, Next};
use crate::worker::send::{Pace, send};

const HSTS: &str = "strict-transport-security";
/// A client has this long to take an answer of ours.
const REPLY_MAX: std::time::Duration = std::time::Duration::from_secs(10);

/// Refuses a head that breaks the rules. Nothing after it can be trusted.
pub async fn refuse_head(conn: &Conn, buf: &Buf, request: &Request, e: ParseError) -> Next {
    let problem = Problem::of_head(e.kind);
    let request_id = request_id(conn, request, buf.filled());
    let reason = reason_of(problem);
    let is_asked = request.is_read && conn.is_trusted(&conn.view());
    let details = ProblemDetails {
        detail: e.kind.text(),
        request_id: request_id.as_bytes(),
        html: wants_html(request, buf.filled()),
        allow: if problem == Problem::MethodNotAllowed { KNOWN_METHODS } else { "" },
        reason: Some(reason.word()).filter(|_| is_asked && request.asks_reason(buf.filled())),
        lines: [&[]; 2],
    };
    let head_only = request.head.method == Method::Head;
    let from = From::now(conn, rt::cached_now(), buf.len());
    write_problem(conn, problem, &details, true, head_only, false).await;
    let done = Done::new(problem.status(), Next::Linger, buf.len()).because(reason);
    learn_unrouted(conn, &conn.view(), request, buf.filled(), &done, from);
    Next::Linger
}

/// `Allow` where no route is known to say better.
const KNOWN_METHODS: &str = "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH";

fn request_id(conn: &Conn, request: &Request, bytes: &[u8]) -> RequestId {
    let trusted = request.is_read && conn.is_trusted(&conn.view());
    RequestId::new(conn, request, bytes, trusted)
}

/// Tells a client that its head did not come in time.
pub async fn timed_out(conn: &Conn, buf: &Buf, request: &Request) -> Next {
    let from = From::now(conn, rt::cached_now(), buf.len());
    let next = problem(conn, buf, request, Problem::RequestTimeout, "").await;
    let status = Problem::RequestTimeout.status();
    let done = Done::new(status, next, buf.len()).because(Reason::HeadTimeout);
    learn_unrouted(conn, &conn.view(), request, buf.filled(), &done, from);
    next
}

/// Tells the client that a policy of the listener has stopped its request.
pub async fn stopped(
    conn: &Conn,
    buf: &Buf,
    request: &Request,
    refusal: Refusal,
    admitted: &Admitted,
) -> Done {
    let lines = [&admitted.to_client[..], &admitted.to_refused];
    let next = unrouted(conn, buf, request, refusal.problem, refusal.reason, "", lines).await;
    let taken = body_in(request, buf.filled()).unwrap_or(0);
    Done::new(refusal.problem.status(), next, taken).because(refusal.reason)
}

/// Answers a problem before any route was found.
pub async fn problem(
    conn: &Conn,
    buf: &Buf,
    request: &Request,
    problem: Problem,
    allow: &str,
) -> Next {
    unrouted(conn, buf, request, problem, reason_of(problem), allow, [&[]; 2]).await
}

async fn unrouted(
    conn: &Conn,
    buf: &Buf,
    request: &Request,
    problem: Problem,
    reason: Reason,
    allow: &str,
    lines: [&[u8]; 2],
) -> Next {
    let bytes = buf.filled();
    let is_read = request.is_read;
    // Who sends what no other server would take is not talked to for longer.
    let may_stay = is_read && problem != Problem::EncodedSlash;
    let stays = may_stay && request.persistent && body_in(request, bytes).is_some();
    let close = !stays || conn.is_draining();
    let request_id = request_id(conn, request, bytes);
    let is_asked = is_read && conn.is_trusted(&conn.view()) && request.asks_reason(bytes);
    let details = ProblemDetails {
        detail: "",
        request_id: request_id.as_bytes(),
        html: wants_html(request, bytes),
        allow,
        reason: Some(reason.word()).filter(|_| is_asked),
        lines,
    };
    let head_only = is_read && request.head.method == Method::Head;
    let keep_alive = !close && request.is_http10();
    if !write_problem(conn, problem, &details, close, head_only, keep_alive).await {
        return Next::Reset;
    }
    if close { Next::Linger } else { Next::KeepAlive }
}

fn wants_html(request: &Request, bytes: &[u8]) -> bool {
    let accept = request.head.fields.all(FieldId::Accept);
    request.is_read && prefers_html(accept.map(|f| f.value.of(bytes)))
}

async fn write_problem(
    conn: &Conn,
    problem: Problem,
    details: &ProblemDetails<'_>,
    close: bool,
    head_only: bool,
    keep_alive: bool,
) -> bool {
    let (mut out, mut body) = (conn.w.scratch(), conn.w.scratch());
    let date = conn.w.date(rt::cached_now());
    let view = conn.view();
    let hsts = conn.hsts(&view);
    let (status, content_type) = (0, "");
    let head = ReplyHead { status, content_type, date: &date, hsts, close, keep_alive, head_only };
    reply::write_problem(&mut out, &mut body, head, problem, details);
    deliver(conn, &out).await
}

/// Sends an answer of ours. False when the client did not take it.
async fn deliver(conn: &Conn, out: &[u8]) -> bool {
    conn.watch.disarm();
    let mut pace = Pace::plain(Some(REPLY_MAX), Mono::NEVER);
    send(&conn.stream, out, &[], &[], &conn.watch, &mut pace).await.is_ok()
}

/// Tells the client why its exchange failed, when that is its business and still possible.
pub async fn fail(x: &Exchange<'_>, failure: Failure) -> Done {
    let Some(problem) = failure.problem() else {
        return Done::new(0, Next::Close, 0).because(failure.reason());
    };
    // After a broken or unread body the next request's first byte can't be told.
    let whole = body_in(x.request, x.bytes).filter(|_| failure != Failure::ClientBody);
    let lines = [x.admitted.as_deref().map_or(&[][..], |admitted| &admitted.to_client), &[]];
    tell(x, problem, failure.reason(), whole, lines).await
}

/// Tells the client that a policy has stopped its request.
pub async fn refused(x: &Exchange<'_>, refusal: Refusal) -> Done {
    let Refusal { problem, reason } = refusal;
    let lines = x.admitted.as_deref().map_or([&[][..]; 2], |a| [&a.to_client, &a.to_refused]);
    tell(x, problem, reason, body_in(x.request, x.bytes), lines).await
}

async fn tell(
    x: &Exchange<'_>,
    problem: Problem,
    reason: Reason,
    whole: Option<usize>,
    lines: [&[u8]; 2],
) -> Done {
    let close = whole.is_none() || !x.request.persistent || x.conn.is_draining();
    let details = ProblemDetails {
        detail: "",
        request_id: x.request_id.as_bytes(),
        html: wants_html(x.request, x.bytes),
        allow: "",
        reason: Some(reason.word()).filter(|_| x.trusted && x.request.asks_reason(x.bytes)),
        lines,
    };
    let head_only = x.request.head.method == Method::Head;
    let keep_alive = !close && x.request.is_http10();
    let sent = write_problem(x.conn, problem, &details, close, head_only, keep_alive).await;
    let next = match (sent, close) {
        (false, _) => Next::Reset,
        (true, true) => Next::Linger,
        (true, false) => Next::KeepAlive,
    };
    Done::new(problem.status(), next, whole.unwrap_or(0)).because(reason)
}

/// Answers in place of the service, as a policy says: a preflight.
pub async fn policy_reply(x: &Exchange<'_>, status: u16, reason: Reason) -> Done {
    answer(x, status, "", &[], |_| {}).await.because(reason)
}

/// Whether the connection stays after an answer of ours, and how much of the buffer is done.
fn stays(x: &Exchange<'_>) -> (bool, usize) {
    match body_in(x.request, x.bytes) {
        Some(taken) => (x.request.persistent && !x.conn.is_draining(), taken),
        None => (false, 0),
    }
}

/// Answers as the route says. `more` appends further fields: like a service's, those that the
/// route's own edits set or remove are left out ([`is_kept`]).
async fn answer(
    x: &Exchange<'_>,
    status: u16,
    content_type: &str,
    body: &[u8],
    more: impl FnOnce(&mut Vec<u8>),
) -> Done {
    let (stays, taken) = stays(x);
    let edits = x.route.headers.as_deref().map(|h| &h.response);
    let is_replaced = |id| edits.is_some_and(|e| e.replaces(id, b""));
    let date = x.conn.w.date(rt::cached_now());
    let head = ReplyHead {
        status,
        content_type: if is_replaced(FieldId::ContentType) { "" } else { content_type },
        date: if is_replaced(FieldId::Date) { &[] } else { &date },
        hsts: Some(x.conn.hsts(x.view)).filter(|_| is_kept(x, HSTS)).unwrap_or_default(),
        close: !stays,
        keep_alive: stays && x.request.is_http10(),
        head_only: x.request.head.method == Method::Head,
    };
    let mut out = x.conn.w.scratch();
    reply::write(&mut out, &head, body, |out| {
        more(out);
        out.extend_from_slice(x.admitted.as_deref().map_or(&[][..], |a| &a.to_client));
        if let Some(edits) = edits {
            crate::h1::client::write_edits(out, edits, &x.facts());
        }
    });
    let next = match (deliver(x.conn, &out).await, stays) {
        (false, _) => Next::Reset,
        (true, true) => Next::KeepAlive,
        // Unread bytes of a body would turn a plain close into a reset.
        (true, false) => Next::Linger,
    };
    Done::new(status, next, taken)
}

/// Whether a field of the route's action stays beside the route's edits of answers.
fn is_kept(x: &Exchange<'_>, name: &str) -> bool {
    let edits = x.route.headers.as_deref().map(|h| &h.response);
    let name = name.as_bytes();
    !edits.is_some_and(|e| e.replaces(FieldId::of(name), name))
}

pub async fn respond(x: &Exchange<'_>, respond: &Respond) -> Done {
    let mut body = x.conn.w.scratch();
    respond.body.render(&x.facts(), respond.place, &mut body);
    answer(x, respond.status, &respond.content_type, &body, |out| {
        for (name, value) in respond.headers.iter().filter(|(name, _)| is_kept(x, name)) {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            value.render(&x.facts(), Place::FieldValue, out);
            out.extend_from_slice(b"\r\n");
        }
    })
    .await
}

pub async fn redirect(x: &Exchange<'_>, redirect: &Redirect) -> Done {
    answer(x, redirect.status, "", &[], |out| {
        if is_kept(x, "location") {
            out.extend_from_slice(b"Location: ");
            redirect.to.render(&x.facts(), Place::Uri, out);
            out.extend_from_slice(b"\r\n");
        }
    })
    .await
}

/// 308 to the same path with or without its last slash.
pub async fn slash_redirect(conn: &Conn, bytes: &[u8], request: &Request) -> Done {
    let mut location = conn.w.scratch();
    location.extend_from_slice(request.toggled());
    if let Some(query) = request.query(bytes) {
        location.push(b'?');
        location.extend_from_slice(query);
    }
    plain(conn, bytes, request, 308, |out| {
        parser::encode::field(out, b"Location", &location);
    })
    .await
}

/// 308 to the same with `https`, on `port`. `None`: the request does not say where it went.
pub async fn https_redirect(
    conn: &Conn,
    bytes: &[u8],
    request: &Request,
    port: u16,
) -> Option<Done> {
    let host = request.host(bytes).filter(|host| !host.is_empty())?;
    let mut location = conn.w.scratch();
    https::location(&mut location, host, port, request.path_sent(bytes), request.query(bytes));
    let to_https = |out: &mut Vec<u8>| parser::encode::field(out, b"Location", &location);
    Some(plain(conn, bytes, request, 308, to_https).await)
}

/// Tells a client that speaks plain HTTP where TLS is spoken, before anything was read.
pub async fn plain_http(conn: &Conn) {
    let (mut out, mut body) = (conn.w.scratch(), conn.w.scratch());
    let date = conn.w.date(rt::cached_now());
    let (status, content_type, hsts) = (0, "", "");
    let (close, keep_alive, head_only) = (true, false, false);
    let head = ReplyHead { status, content_type, date: &date, hsts, close, keep_alive, head_only };
    let details = ProblemDetails {
        detail: "",
        request_id: &[],
        html: false,
        allow: "",
        reason: None,
        lines: [&[]; 2],
    };
    reply::write_problem(&mut out, &mut body, head, Problem::HttpsRequired, &details);
    deliver(conn, &out).await;
}

/// Answers an OPTIONS request that is meant for the gateway itself.
pub async fn options(conn: &Conn, bytes: &[u8], request: &Request) -> Done {
    debug_assert!(request.target.form == Form::Asterisk || request.head.method == Method::Options);
    plain(conn, bytes, request, 204, |out| {
        parser::encode::field(out, b"Allow", KNOWN_METHODS.as_bytes());
    })
    .await
}

async fn plain(
    conn: &Conn,
    bytes: &[u8],
    request: &Request,
    status: u16,
    more: impl FnOnce(&mut Vec<u8>),
) -> Done {
    let taken = body_in(request, bytes);
    let stays = taken.is_some() && request.persistent && !conn.is_draining();
    let date = conn.w.date(rt::cached_now());
    let view = conn.view();
    let head = ReplyHead {
        status,
        content_type: "",
        date: &date,
        hsts: conn.hsts(&view),
        close: !stays,
        keep_alive: stays && request.is_http10(),
        head_only: request.head.method == Method::Head,
    };
    let mut out = conn.w.scratch();
    reply::write(&mut out, &head, &[], more);
    let next = match (deliver(conn, &out).await, stays) {
        (false, _) => Next::Reset,
        (true, true) => Next::KeepAlive,
        (true, false) => Next::Linger,
    };
    Done::new(status, next, taken.unwrap_or(0))
}
