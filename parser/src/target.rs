//! What is asked for, and of whom: request-target forms and Host (RFC 9112 §3.2).

use std::net::Ipv6Addr;

use memchr::{memchr, memchr2};

use crate::bytes::{self, UNRESERVED};
use crate::error::{ErrorKind, ParseError, Version};
use crate::fields::FieldId;
use crate::head::RequestHead;
use crate::method::Method;
use crate::path;
use crate::span::Span;

/// The forms of a request target (RFC 9112 §3.2). The authority form belongs to CONNECT, which
/// isn't served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    Origin,
    Absolute,
    /// `OPTIONS *`, or `OPTIONS http://host` without path and query (RFC 9112 §3.2.4).
    Asterisk,
}

/// The target of one request, as spans of the read buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    pub form: Form,
    /// The effective `host[:port]`: the target's own in absolute form, else Host's. `None` only
    /// in HTTP/1.0.
    pub authority: Option<Span>,
    /// The authority without its port; an IPv6 address keeps its brackets.
    pub host: Option<Span>,
    pub port: Option<u16>,
    /// As received. Empty when an absolute form had no path: use [`Target::path_of`], which
    /// gives `/` then (and `*` for the asterisk form).
    pub path: Span,
    /// Without the `?`; `Some` and empty when nothing follows it.
    pub query: Option<Span>,
    /// Absolute form only.
    pub scheme_https: bool,
    /// The path is known to be canonical as it is (`path::canonical` would say `AsIs`).
    pub is_plain: bool,
}

impl Target {
    /// The path to route and to send, before it is made canonical.
    #[inline]
    pub fn path_of<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        match self.form {
            Form::Asterisk => b"*",
            _ if self.path.is_empty() => b"/",
            _ => self.path.of(buf),
        }
    }
}

/// The target and effective host of a request that `RequestHead::parse` has accepted.
#[inline]
pub fn resolve(head: &RequestHead, buf: &[u8]) -> Result<Target, ParseError> {
    if matches!(head.method, Method::Connect | Method::Trace) {
        let at = head.method_text.start as usize;
        return Err(ParseError::new(ErrorKind::MethodRefused, at));
    }
    let host = host_field(head, buf)?;
    let text = head.target.of(buf);
    if text.first() != Some(&b'/') {
        return unusual(head, buf, host);
    }
    let mut target = Target {
        form: Form::Origin,
        authority: None,
        host: None,
        port: None,
        path: head.target,
        query: None,
        scheme_https: false,
        is_plain: false,
    };
    target.take(host);
    // Fast path: such a path has no query behind it.
    target.is_plain = path::is_plain(text);
    if !target.is_plain {
        split_query(&mut target, head.target, buf)?;
    }
    Ok(target)
}

#[derive(Clone, Copy)]
struct Authority {
    whole: Span,
    host: Span,
    port: Option<u16>,
}

impl Target {
    #[inline]
    fn take(&mut self, authority: Option<Authority>) {
        if let Some(authority) = authority {
            self.authority = Some(authority.whole);
            self.host = Some(authority.host);
            self.port = authority.port;
        }
    }
}

/// Exactly one valid Host; HTTP/1.0 may do without.
#[inline]
fn host_field(head: &RequestHead, buf: &[u8]) -> Result<Option<Authority>, ParseError> {
    let mut lines = head.fields.all(FieldId::Host);
    let Some(field) = lines.next() else {
        return match head.version {
            Version::Http10 => Ok(None),
            Version::Http11 => Err(ParseError::new(ErrorKind::HostMissing, head.len as usize)),
        };
    };
    if let Some(second) = lines.next() {
        return Err(ParseError::new(ErrorKind::HostRepeated, second.name.start as usize));
    }
    authority(field.value, buf).map(Some)
}

#[inline]
fn authority(whole: Span, buf: &[u8]) -> Result<Authority, ParseError> {
    let start = whole.start as usize;
    match check_authority(whole.of(buf)) {
        Ok((host_len, port)) => {
            Ok(Authority { whole, host: Span::new(start, start + host_len), port })
        }
        Err(kind) => Err(ParseError::new(kind, start)),
    }
}

/// `(host length, port)` of `host[:port]` (RFC 3986 §3.2). Also what configuration may say.
///
/// A host is an IPv6 address in brackets, or unreserved characters: the escapes and sub-delims
/// that the grammar's reg-name allows occur in no host name, and are read differently by others.
#[inline]
pub fn check_authority(bytes: &[u8]) -> Result<(usize, Option<u16>), ErrorKind> {
    let host_len = match bytes.first() {
        None => return Err(ErrorKind::BadHost),
        Some(b'[') => ip_literal(bytes)?,
        Some(_) => bytes::first_outside(bytes, UNRESERVED).unwrap_or(bytes.len()),
    };
    match bytes.get(host_len) {
        None => Ok((host_len, None)),
        Some(_) if memchr(b'@', bytes).is_some() => Err(ErrorKind::Userinfo),
        Some(b':') if host_len > 0 => Ok((host_len, Some(port(&bytes[host_len + 1..])?))),
        Some(_) => Err(ErrorKind::BadHost),
    }
}

fn ip_literal(bytes: &[u8]) -> Result<usize, ErrorKind> {
    let end = memchr(b']', bytes).ok_or(ErrorKind::BadHost)?;
    let text = std::str::from_utf8(&bytes[1..end]).map_err(|_| ErrorKind::BadHost)?;
    text.parse::<Ipv6Addr>().map_err(|_| ErrorKind::BadHost)?;
    Ok(end + 1)
}

/// 1 to 65535 without leading zeros.
fn port(digits: &[u8]) -> Result<u16, ErrorKind> {
    if digits.is_empty() || digits.len() > 5 || digits[0] == b'0' {
        return Err(ErrorKind::BadPort);
    }
    let mut value = 0u32;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(ErrorKind::BadPort);
        }
        value = value * 10 + u32::from(digit - b'0');
    }
    u16::try_from(value).map_err(|_| ErrorKind::BadPort)
}

/// Splits `rest`, path and query, at the first `?`; refuses a fragment.
#[inline]
fn split_query(target: &mut Target, rest: Span, buf: &[u8]) -> Result<(), ParseError> {
    let text = rest.of(buf);
    let start = rest.start as usize;
    target.path = rest;
    let Some(at) = memchr2(b'?', b'#', text) else { return Ok(()) };
    if text[at] == b'#' {
        return Err(ParseError::new(ErrorKind::Fragment, start + at));
    }
    if let Some(i) = memchr(b'#', &text[at..]) {
        return Err(ParseError::new(ErrorKind::Fragment, start + at + i));
    }
    target.path = Span::new(start, start + at);
    target.query = Some(Span::new(start + at + 1, rest.end()));
    Ok(())
}

/// Targets that don't begin with `/`.
fn unusual(head: &RequestHead, buf: &[u8], host: Option<Authority>) -> Result<Target, ParseError> {
    let text = head.target.of(buf);
    let start = head.target.start as usize;
    let refuse = |kind| Err(ParseError::new(kind, start));
    let mut target = Target {
        form: Form::Asterisk,
        authority: None,
        host: None,
        port: None,
        path: head.target,
        query: None,
        scheme_https: false,
        is_plain: false,
    };
    if text == b"*" {
        if head.method != Method::Options {
            return refuse(ErrorKind::AsteriskForm);
        }
        target.take(host);
        return Ok(target);
    }
    let Some(colon) = memchr(b':', text) else { return refuse(ErrorKind::BadTarget) };
    if !text[colon..].starts_with(b"://") {
        return refuse(ErrorKind::AuthorityForm);
    }
    target.scheme_https = match &text[..colon] {
        scheme if scheme.eq_ignore_ascii_case(b"http") => false,
        scheme if scheme.eq_ignore_ascii_case(b"https") => true,
        _ => return refuse(ErrorKind::BadScheme),
    };
    let from = colon + 3;
    let len = text[from..].iter().position(|b| matches!(b, b'/' | b'?' | b'#'));
    let end = len.map_or(text.len(), |len| from + len);
    // The target's authority takes precedence; Host has been checked all the same.
    target.take(Some(authority(Span::new(start + from, start + end), buf)?));
    split_query(&mut target, Span::new(start + end, head.target.end()), buf)?;
    let is_whole_server = target.path.is_empty() && target.query.is_none();
    if !(is_whole_server && head.method == Method::Options) {
        target.form = Form::Absolute;
    }
    Ok(target)
}
