//! Answers the gateway makes itself, written whole into a buffer.

use parser::encode;

use crate::http::problem::{self, Problem};

/// The facts that decide how an own answer is written.
#[derive(Clone, Copy, Debug)]
pub struct ReplyHead<'a> {
    pub status: u16,
    /// Empty: no `Content-Type`.
    pub content_type: &'a str,
    /// Empty: no `Date`.
    pub date: &'a [u8],
    /// `Strict-Transport-Security`; empty: none.
    pub hsts: &'a str,
    pub close: bool,
    /// An HTTP/1.0 client is told that the connection stays.
    pub keep_alive: bool,
    /// The request was HEAD: the length is told, the body is not sent.
    pub head_only: bool,
}

/// Whether an answer with this status can have a body (RFC 9110 §6.4.1).
pub fn has_body(status: u16) -> bool {
    status >= 200 && status != 204 && status != 304
}

/// Appends a whole answer; `more` appends further fields.
pub fn write(
    out: &mut Vec<u8>,
    head: &ReplyHead<'_>,
    body: &[u8],
    more: impl FnOnce(&mut Vec<u8>),
) {
    encode::status_line(out, head.status, encode::reason_phrase(head.status).as_bytes());
    if !head.date.is_empty() {
        encode::field(out, b"Date", head.date);
    }
    if !head.hsts.is_empty() {
        encode::field(out, b"Strict-Transport-Security", head.hsts.as_bytes());
    }
    if !head.content_type.is_empty() && !body.is_empty() {
        encode::field(out, b"Content-Type", head.content_type.as_bytes());
    }
    if has_body(head.status) {
        out.extend_from_slice(b"Content-Length: ");
        encode::decimal(out, body.len() as u64);
        out.extend_from_slice(b"\r\n");
    }
    if head.close {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if head.keep_alive {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    more(out);
    out.extend_from_slice(b"\r\n");
    if !head.head_only && has_body(head.status) {
        out.extend_from_slice(body);
    }
}

/// Appends a problem answer; `body` is scratch. `allow` is the value of `Allow`, or empty.
pub fn write_problem(
    out: &mut Vec<u8>,
    body: &mut Vec<u8>,
    head: ReplyHead<'_>,
    problem: Problem,
    details: &ProblemDetails<'_>,
) {
    body.clear();
    let content_type = if details.html {
        problem::write_html(body, problem, details.detail, details.request_id);
        "text/html; charset=utf-8"
    } else {
        problem::write_json(body, problem, details.detail, details.request_id);
        "application/problem+json"
    };
    let head = ReplyHead { status: problem.status(), content_type, ..head };
    write(out, &head, body, |out| {
        if let Some(reason) = details.reason {
            encode::field(out, b"Busbar-Reason", reason.as_bytes());
        }
        if !details.allow.is_empty() {
            encode::field(out, b"Allow", details.allow.as_bytes());
        }
        details.lines.iter().for_each(|lines| out.extend_from_slice(lines));
        out.extend_from_slice(b"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n");
    });
}

#[derive(Clone, Copy, Debug)]
pub struct ProblemDetails<'a> {
    pub detail: &'a str,
    pub request_id: &'a [u8],
    pub html: bool,
    pub allow: &'a str,
    /// For a trusted peer that asks.
    pub reason: Option<&'a str>,
    /// Whole lines of further fields.
    pub lines: [&'a [u8]; 2],
}
