//! The upstream side: the head that is sent, and what its answer says.

use parser::connection::{self, ConnectionOptions};
use parser::encode;
use parser::error::{ParseError, Version};
use parser::framing::{self, BodyFraming};
use parser::head::ResponseHead;
use parser::scan::HeadScan;
use parser::{Field, FieldId, Fields, Limits, Method};

use crate::h1::server::Request;
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
    /// The peer is a trusted proxy: what it says of the client is passed on.
    pub trusted: bool,
    pub facts: &'a Facts<'a>,
    pub edits: Option<&'a Edits>,
    /// The protocol the client may switch to.
    pub upgrade: Option<&'a [u8]>,
    pub via: bool,
    /// Remaining forwards of an OPTIONS request (RFC 9110 §7.6.2).
    pub max_forwards: Option<u32>,
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
    let fields = &request.head.fields;
    for field in fields.iter() {
        if keeps_request_field(o, field) {
            encode::field(out, field.name.of(buf), field.value.of(buf));
        }
    }
    // What the route sets or removes of these is not written twice, or at all.
    let is_set = |id| o.edits.is_some_and(|e| is_replaced(e, id, b""));
    write_forwarded(out, o.peer, o.trusted, fields, buf, o.authority, is_set);
    if !is_set(FieldId::XRequestId) {
        encode::field(out, b"X-Request-Id", o.facts.request_id);
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
        write_decimal(out, u64::from(left));
        out.extend_from_slice(b"\r\n");
    }
    if o.via && !is_set(FieldId::Via) {
        write_via(out, request.is_http10());
    }
    write_connection(out, o.upgrade, request.options.te_trailers);
    if let Some(edits) = o.edits {
        write_edits(out, edits, o.facts);
    }
    out.extend_from_slice(b"\r\n");
}

fn keeps_request_field(o: &RequestOut<'_>, field: &Field) -> bool {
    use FieldId as F;
    let name = field.name.of(o.buf);
    let keeps = match field.id {
        // Written anew, or meant for us alone.
        F::Host | F::ContentLength | F::TransferEncoding | F::Expect | F::XRequestId => false,
        F::MaxForwards => o.max_forwards.is_none(),
        F::XForwardedFor | F::XForwardedProto | F::XForwardedHost => false,
        F::Forwarded | F::XRealIp => o.trusted,
        id if connection::is_hop_by_hop(id) => false,
        F::Other => !is_forwarding_name(name) || (o.trusted && is_proxys_own_name(name)),
        _ => true,
    };
    keeps
        && !(o.request.options.nominated
            && connection::is_nominated(&o.request.head.fields, o.buf, name))
        && !o.edits.is_some_and(|e| is_replaced(e, field.id, name))
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
    pub facts: &'a Facts<'a>,
    pub edits: Option<&'a Edits>,
    pub via: bool,
}

/// Appends the answer's head as it goes to the client.
pub fn encode_answer(out: &mut Vec<u8>, o: &AnswerOut<'_>) {
    let (head, buf) = (&o.answer.head, o.buf);
    encode::status_line(out, head.status, head.reason.of(buf));
    for field in head.fields.iter() {
        let name = field.name.of(buf);
        let keeps = match field.id {
            FieldId::ContentLength | FieldId::TransferEncoding => false,
            // What the client should switch to (RFC 9110 §15.5.22).
            FieldId::Upgrade if head.status == 426 => true,
            id => !connection::is_hop_by_hop(id),
        };
        let nominated =
            o.answer.options.nominated && connection::is_nominated(&head.fields, buf, name);
        if keeps && !nominated && !o.edits.is_some_and(|e| is_replaced(e, field.id, name)) {
            encode::field(out, name, field.value.of(buf));
        }
    }
    let is_set = |id| o.edits.is_some_and(|e| is_replaced(e, id, b""));
    if !head.fields.has(FieldId::Date) && head.status >= 200 && !is_set(FieldId::Date) {
        encode::field(out, b"Date", o.date);
    }
    if o.chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    } else if let Some(length) = o.answer.length_field(buf) {
        encode::field(out, b"Content-Length", length);
    }
    if o.via && !is_set(FieldId::Via) {
        write_via(out, head.version == Version::Http10);
    }
    if o.close {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if o.keep_alive {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    } else {
        write_connection(out, o.upgrade, false);
    }
    if let Some(edits) = o.edits {
        write_edits(out, edits, o.facts);
    }
    out.extend_from_slice(b"\r\n");
}

fn write_connection(out: &mut Vec<u8>, upgrade: Option<&[u8]>, te: bool) {
    match (upgrade, te) {
        (Some(name), te) => {
            encode::field(out, b"Upgrade", name);
            out.extend_from_slice(if te {
                b"TE: trailers\r\nConnection: upgrade, te\r\n"
            } else {
                b"Connection: upgrade\r\n"
            });
        }
        (None, true) => out.extend_from_slice(b"TE: trailers\r\nConnection: te\r\n"),
        (None, false) => {}
    }
}

fn write_via(out: &mut Vec<u8>, http10: bool) {
    out.extend_from_slice(if http10 { b"Via: 1.0 busbar\r\n" } else { b"Via: 1.1 busbar\r\n" });
}

fn write_length(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(b"Content-Length: ");
    write_decimal(out, n);
    out.extend_from_slice(b"\r\n");
}

/// Appends `n` in decimal digits.
pub fn write_decimal(out: &mut Vec<u8>, n: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut n = n;
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn is_replaced(edits: &Edits, id: FieldId, name: &[u8]) -> bool {
    let same = |n: &EditName| match n.id {
        FieldId::Other => n.text.as_bytes().eq_ignore_ascii_case(name),
        known => known == id,
    };
    edits.remove.iter().any(same) || edits.set.iter().any(|e| same(&e.name))
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
        let field = self.head.fields.get(FieldId::KeepAlive)?;
        connection::list_members(field.value.of(buf)).find_map(|member| {
            let value = member.strip_prefix(b"timeout=")?;
            std::str::from_utf8(value).ok()?.parse().ok()
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
