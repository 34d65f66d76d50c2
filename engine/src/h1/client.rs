//! The upstream side: the head that is sent, and what its answer says.

use parser::connection::{self, ConnectionOptions};
use parser::encode::{self, Runs};
use parser::error::{ParseError, Version};
use parser::framing::{self, BodyFraming};
use parser::head::ResponseHead;
use parser::scan::HeadScan;
use parser::{Field, FieldId, FieldSet, Fields, Limits, Method};

use crate::h1::server::{Request, is_h2c};
use crate::http::edit::{EditName, Edits};
use crate::http::forwarded::{is_forwarding_name, is_proxys_own_name, write_forwarded};
use crate::http::template::{Facts, Place};

/// What a request head is made of besides the request itself.
#[derive(Debug)]
pub struct RequestOut<'a> {
    pub request: &'a Request,
    /// What `request` was read from.
    pub buf: &'a [u8],
    /// Path and query in place of the request's own.
    pub target: Option<&'a [u8]>,
    pub host: &'a [u8],
    /// The client's Host, port included.
    pub authority: &'a [u8],
    /// The immediate peer's address; empty on a unix socket.
    pub peer: &'a [u8],
    /// The client speaks TLS.
    pub is_tls: bool,
    /// Whole lines that say who the client is by its certificate.
    pub certificate: &'a [u8],
    /// The peer is a trusted proxy: what it says of the client is passed on.
    pub trusted: bool,
    pub request_id: &'a [u8],
    /// What the route changes, and what its variables stand for.
    pub edits: Option<(&'a Edits, &'a Facts<'a>)>,
    /// What the route's policies take away and write.
    pub marks: Marks<'a>,
    /// The protocol the client may switch to.
    pub upgrade: Option<&'a [u8]>,
    pub via: bool,
    /// Remaining forwards of an OPTIONS request (RFC 9110 §7.6.2).
    pub max_forwards: Option<u32>,
}

const HSTS: &[u8] = b"strict-transport-security";

/// What policies do to a head: fields that do not go on, and whole lines in their place.
#[derive(Debug, Clone, Copy, Default)]
pub struct Marks<'a> {
    pub drops: &'a [EditName],
    pub lines: &'a [u8],
}

impl Marks<'_> {
    #[inline]
    fn drop(&self, field: &Field, head: &[u8]) -> bool {
        !self.drops.is_empty() && self.names(field, head)
    }

    /// Out of the way of heads from which nothing is taken.
    #[inline(never)]
    fn names(&self, field: &Field, head: &[u8]) -> bool {
        self.drops.iter().any(|name| name.is_like(field, head))
    }
}

/// Appends the request head as it goes to the origin.
pub fn encode_request(out: &mut Vec<u8>, o: &RequestOut<'_>) {
    let (request, buf) = (o.request, o.buf);
    out.extend_from_slice(request.method_text(buf));
    out.push(b' ');
    match o.target {
        Some(target) => out.extend_from_slice(target),
        None => {
            out.extend_from_slice(request.path_sent(buf));
            if let Some(query) = request.query(buf) {
                out.push(b'?');
                out.extend_from_slice(query);
            }
        }
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    encode::field(out, b"Host", o.host);
    let mut runs = Runs::of(buf);
    let goes = if o.trusted { STAYS } else { STAYS.with(STAYS_UNTRUSTED) };
    for field in request.head.fields.iter() {
        if !goes.has(field.id) && keeps_request_field(o, field) {
            runs.keep(out, field);
        }
    }
    runs.finish(out);
    // What the route sets or removes of these is not written twice, or at all.
    let is_set = |id| o.edits.is_some_and(|(e, _)| e.replaces(id, b""));
    let said = o.trusted.then(|| request.said(buf));
    write_forwarded(out, o.peer, o.is_tls, said, o.authority, is_set);
    out.extend_from_slice(o.certificate);
    if !is_set(FieldId::XRequestId) {
        encode::field(out, b"X-Request-Id", o.request_id);
    }
    match request.framing {
        BodyFraming::Length(n) => write_length(out, n),
        BodyFraming::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        BodyFraming::None | BodyFraming::UntilClose => {}
    }
    if request.expect_continue {
        out.extend_from_slice(b"Expect: 100-continue\r\n");
    }
    if let Some(left) = o.max_forwards {
        out.extend_from_slice(b"Max-Forwards: ");
        encode::decimal(out, u64::from(left));
        out.extend_from_slice(b"\r\n");
    }
    if o.via && !is_set(FieldId::Via) {
        write_via(out, request.is_http10());
    }
    write_hop(out, o);
    out.extend_from_slice(o.marks.lines);
    if let Some((edits, facts)) = o.edits {
        write_edits(out, edits, facts);
    }
    out.extend_from_slice(b"\r\n");
}

/// Fields of a request that are for us alone, or written anew.
const STAYS: FieldSet = FieldSet::of(&[
    FieldId::Host,
    FieldId::ContentLength,
    FieldId::Expect,
    FieldId::XRequestId,
    FieldId::XForwardedFor,
    FieldId::XForwardedProto,
    FieldId::XForwardedHost,
])
.with(connection::HOP_BY_HOP);
/// Further ones that are only passed on for a trusted proxy. The last one asks the next gateway,
/// which may trust us, what it would tell nobody else.
const STAYS_UNTRUSTED: FieldSet =
    FieldSet::of(&[FieldId::Forwarded, FieldId::XRealIp, FieldId::BusbarReason]);

/// Of those that no set decides on.
fn keeps_request_field(o: &RequestOut<'_>, field: &Field) -> bool {
    let name = field.name.of(o.buf);
    let keeps = match field.id {
        FieldId::MaxForwards => o.max_forwards.is_none(),
        FieldId::Other => !is_forwarding_name(name) || (o.trusted && is_proxys_own_name(name)),
        _ => true,
    };
    keeps
        && !o.request.is_nominated(o.buf, name)
        && !o.marks.drop(field, o.buf)
        && !o.edits.is_some_and(|(e, _)| e.replaces(field.id, name))
}

/// What is for the next hop alone: TE and Upgrade, and the Connection field that says so.
fn write_hop(out: &mut Vec<u8>, o: &RequestOut<'_>) {
    let te = o.request.options.te_trailers;
    if te {
        out.extend_from_slice(b"TE: trailers\r\n");
    }
    let Some(name) = o.upgrade else {
        if te {
            out.extend_from_slice(b"Connection: te\r\n");
        }
        return;
    };
    encode::field(out, b"Upgrade", name);
    // HTTP/2 in clear text begins with settings in the request (RFC 7540 §3.2.1).
    let settings = o.request.http2_settings(o.buf).filter(|_| is_h2c(name));
    if let Some(settings) = settings {
        encode::field(out, b"HTTP2-Settings", settings);
    }
    out.extend_from_slice(b"Connection: upgrade");
    if settings.is_some() {
        out.extend_from_slice(b", HTTP2-Settings");
    }
    out.extend_from_slice(if te { b", te\r\n" } else { b"\r\n" });
}

/// What an answer's head is made of besides the answer itself.
#[derive(Debug)]
pub struct AnswerOut<'a> {
    pub answer: &'a Answer,
    pub buf: &'a [u8],
    /// `Transfer-Encoding: chunked` goes to the client.
    pub chunked: bool,
    /// `Connection: close` goes to the client.
    pub close: bool,
    /// An HTTP/1.0 client is told that the connection stays.
    pub keep_alive: bool,
    /// For a 101: the protocol.
    pub upgrade: Option<&'a [u8]>,
    pub date: &'a [u8],
    /// `Strict-Transport-Security` in place of the service's own; empty: as it came.
    pub hsts: &'a str,
    /// What the route changes, and what its variables stand for.
    pub edits: Option<(&'a Edits, &'a Facts<'a>)>,
    /// What the route's policies take away and write.
    pub marks: Marks<'a>,
    pub via: bool,
}

/// Appends the answer's head as it goes to the client.
pub fn encode_answer(out: &mut Vec<u8>, o: &AnswerOut<'_>) {
    let (head, buf) = (&o.answer.head, o.buf);
    // What the client should switch to (RFC 9110 §15.5.22).
    let offers = head.status == 426 && head.fields.has(FieldId::Upgrade);
    let nominated = |name: &[u8]| {
        o.answer.options.nominated && connection::is_nominated(&head.fields, buf, name)
    };
    encode::status_line(out, head.status, head.reason.of(buf));
    let mut runs = Runs::of(buf);
    for field in head.fields.iter() {
        let name = field.name.of(buf);
        let keeps = match STAYS_OF_ANSWER.has(field.id) {
            true => offers && field.id == FieldId::Upgrade, // which is always nominated
            false => !nominated(name),
        };
        let is_replaced = || o.edits.is_some_and(|(e, _)| e.replaces(field.id, name));
        let is_ours = || !o.hsts.is_empty() && name.eq_ignore_ascii_case(HSTS);
        if keeps && !is_replaced() && !is_ours() && !o.marks.drop(field, buf) {
            runs.keep(out, field);
        }
    }
    runs.finish(out);
    let is_set = |id| o.edits.is_some_and(|(e, _)| e.replaces(id, b""));
    let has_date = head.fields.has(FieldId::Date) && !nominated(b"date");
    if !has_date && head.status >= 200 && !is_set(FieldId::Date) {
        encode::field(out, b"Date", o.date);
    }
    let sets_hsts = || o.edits.is_some_and(|(e, _)| e.replaces(FieldId::of(HSTS), HSTS));
    if !o.hsts.is_empty() && head.status >= 200 && !sets_hsts() {
        encode::field(out, b"Strict-Transport-Security", o.hsts.as_bytes());
    }
    if o.chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    } else if let Some(length) = o.answer.length_field(buf) {
        encode::field(out, b"Content-Length", length);
    }
    if o.via && !is_set(FieldId::Via) {
        write_via(out, head.version == Version::Http10);
    }
    if let Some(name) = o.upgrade {
        encode::field(out, b"Upgrade", name);
    }
    write_options(out, o, offers || o.upgrade.is_some());
    out.extend_from_slice(o.marks.lines);
    if let Some((edits, facts)) = o.edits {
        write_edits(out, edits, facts);
    }
    out.extend_from_slice(b"\r\n");
}

/// Fields of an answer that are for us alone, or written anew.
const STAYS_OF_ANSWER: FieldSet =
    FieldSet::of(&[FieldId::ContentLength]).with(connection::HOP_BY_HOP);

/// The answer's Connection field. Upgrade is never sent without being named there (RFC 9110 §7.8).
fn write_options(out: &mut Vec<u8>, o: &AnswerOut<'_>, upgrade: bool) {
    let options: &[u8] = match (o.close, o.keep_alive, upgrade) {
        (true, _, false) => b"close",
        (true, _, true) => b"close, upgrade",
        (false, true, false) => b"keep-alive",
        (false, true, true) => b"keep-alive, upgrade",
        (false, false, true) => b"upgrade",
        (false, false, false) => return,
    };
    encode::field(out, b"Connection", options);
}

fn write_via(out: &mut Vec<u8>, http10: bool) {
    out.extend_from_slice(if http10 { b"Via: 1.0 busbar\r\n" } else { b"Via: 1.1 busbar\r\n" });
}

fn write_length(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(b"Content-Length: ");
    encode::decimal(out, n);
    out.extend_from_slice(b"\r\n");
}

/// Appends the fields that `edits` sets and adds.
pub fn write_edits(out: &mut Vec<u8>, edits: &Edits, facts: &Facts<'_>) {
    for edit in edits.set.iter().chain(edits.add.iter()) {
        out.extend_from_slice(edit.name.text.as_bytes());
        out.extend_from_slice(b": ");
        edit.value.render(facts, Place::FieldValue, out);
        out.extend_from_slice(b"\r\n");
    }
}

/// What was read of one answer's head. Storage is kept for the next one.
#[derive(Debug)]
pub struct Answer {
    pub head: ResponseHead,
    pub framing: BodyFraming,
    pub options: ConnectionOptions,
}

impl Answer {
    pub fn new(fields_max: usize) -> Answer {
        Answer {
            head: ResponseHead::with_capacity(fields_max),
            framing: BodyFraming::None,
            options: ConnectionOptions::default(),
        }
    }

    /// Reads the head at the start of `buf`, which is shown from its first byte each time; `scan`
    /// is where the last look ended. `Ok(false)`: more bytes are needed.
    pub fn begin(
        &mut self,
        buf: &[u8],
        scan: &mut HeadScan,
        limits: &Limits,
        method: Method,
    ) -> Result<bool, ParseError> {
        if self.head.parse_or_more(buf, scan, limits)?.is_none() {
            return Ok(false);
        }
        self.framing = framing::response_framing(&self.head, buf, method)?;
        self.options = connection::options(&self.head.fields, buf)?;
        Ok(true)
    }

    /// Whether the origin keeps the connection after this answer.
    pub fn is_persistent(&self) -> bool {
        self.framing != BodyFraming::UntilClose
            && connection::is_persistent(self.head.version, &self.options)
    }

    /// Seconds the origin says it keeps an idle connection (`Keep-Alive: timeout=5`).
    pub fn keep_alive_seconds(&self, buf: &[u8]) -> Option<u64> {
        let lines = self.head.fields.all(FieldId::KeepAlive);
        lines.flat_map(|line| connection::list_members(line.value.of(buf))).find_map(|member| {
            let (name, value) = member.split_at_checked(b"timeout=".len())?;
            let is_timeout = name.eq_ignore_ascii_case(b"timeout=");
            std::str::from_utf8(value).ok().filter(|_| is_timeout)?.parse().ok()
        })
    }

    /// The Content-Length to pass on: none in a 1xx or 204 (RFC 9110 §8.6).
    fn length_field<'a>(&self, buf: &'a [u8]) -> Option<&'a [u8]> {
        if self.head.status < 200 || self.head.status == 204 {
            return None;
        }
        Some(self.head.fields.get(FieldId::ContentLength)?.value.of(buf))
    }

    /// The protocol a 101 switches to, when it is one of those that were asked for.
    pub fn upgrade_among<'a>(&self, buf: &'a [u8], asked: &[u8]) -> Option<&'a [u8]> {
        let mut names = self
            .head
            .fields
            .all(FieldId::Upgrade)
            .flat_map(|f| connection::list_members(f.value.of(buf)));
        let name = names.next()?;
        (names.next().is_none() && name.eq_ignore_ascii_case(asked)).then_some(name)
    }

    pub fn is_event_stream(&self, buf: &[u8]) -> bool {
        is_event_stream(&self.head.fields, buf)
    }
}

fn is_event_stream(fields: &Fields, buf: &[u8]) -> bool {
    const EVENTS: &[u8] = b"text/event-stream";
    fields.get(FieldId::ContentType).is_some_and(|f| {
        let value = f.value.of(buf);
        value.get(..EVENTS.len()).is_some_and(|v| v.eq_ignore_ascii_case(EVENTS))
    })
}
