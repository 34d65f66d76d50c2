//! What belongs to one connection only: hop-by-hop fields, keep-alive, Expect, Upgrade
//! (RFC 9110 §7.6, §7.8, §10.1; RFC 9112 §9), and what trailers may not carry (§6.5.1).

use crate::bytes;
use crate::error::{ErrorKind, ParseError, Version};
use crate::fields::{FieldId, FieldSet, Fields};
use crate::head::RequestHead;
use crate::method::Method;
use crate::span::Span;

/// What the Connection field of a message says, and what goes with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ConnectionOptions {
    pub close: bool,
    pub keep_alive: bool,
    /// `upgrade` is nominated and there is an Upgrade field. Ask [`may_upgrade`].
    pub upgrade: bool,
    /// `te` is nominated and TE says `trailers` (RFC 9110 §10.1.4).
    pub te_trailers: bool,
    /// Fields other than those of the options above are nominated: see [`is_nominated`].
    pub nominated: bool,
}

/// Reads Connection, TE and Upgrade. One test of a bit when there is no Connection field.
#[inline]
pub fn options(fields: &Fields, buf: &[u8]) -> Result<ConnectionOptions, ParseError> {
    if !fields.has(FieldId::Connection) {
        return Ok(ConnectionOptions::default());
    }
    // Fast path: the one word that most senders say.
    if let Some(field) = fields.only(FieldId::Connection) {
        let value = field.value.of(buf);
        let none = ConnectionOptions::default();
        if value == b"keep-alive" {
            return Ok(ConnectionOptions { keep_alive: true, ..none });
        }
        if value == b"close" {
            return Ok(ConnectionOptions { close: true, ..none });
        }
    }
    nominated_options(fields, buf)
}

#[inline(never)]
fn nominated_options(fields: &Fields, buf: &[u8]) -> Result<ConnectionOptions, ParseError> {
    let mut found = ConnectionOptions::default();
    for field in fields.all(FieldId::Connection) {
        let refuse = |kind| Err(ParseError::new(kind, field.value.start as usize));
        for option in list_members(field.value.of(buf)) {
            if option.eq_ignore_ascii_case(b"keep-alive") {
                found.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"close") {
                found.close = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                found.upgrade = fields.has(FieldId::Upgrade);
            } else if option.eq_ignore_ascii_case(b"te") {
                found.te_trailers = accepts_trailers(fields, buf);
            } else if !bytes::is_token(option) {
                return refuse(ErrorKind::BadConnection);
            } else if matches!(
                FieldId::of(option),
                FieldId::Host | FieldId::ContentLength | FieldId::TransferEncoding
            ) {
                return refuse(ErrorKind::NominatedFraming);
            } else {
                found.nominated = true;
            }
        }
    }
    Ok(found)
}

fn accepts_trailers(fields: &Fields, buf: &[u8]) -> bool {
    fields
        .all(FieldId::Te)
        .flat_map(|field| list_members(field.value.of(buf)))
        .any(|member| member.eq_ignore_ascii_case(b"trailers"))
}

/// The connection may carry another exchange (RFC 9112 §9.3).
#[inline]
pub fn is_persistent(version: Version, o: &ConnectionOptions) -> bool {
    !o.close && (version == Version::Http11 || o.keep_alive)
}

/// An Upgrade field counts (RFC 9110 §7.8: not in HTTP/1.0).
#[inline]
pub fn may_upgrade(version: Version, o: &ConnectionOptions) -> bool {
    o.upgrade && version == Version::Http11
}

/// The protocols of the Upgrade fields, in the sender's order of preference.
pub fn upgrade_protocols<'a>(fields: &'a Fields, buf: &'a [u8]) -> impl Iterator<Item = Span> + 'a {
    fields.all(FieldId::Upgrade).flat_map(move |field| {
        let value = field.value.of(buf);
        list_members(value).map(move |member| {
            let start =
                field.value.start as usize + (member.as_ptr() as usize) - (value.as_ptr() as usize);
            Span::new(start, start + member.len())
        })
    })
}

/// Connection nominates the field `name`, which must then not be forwarded (RFC 9110 §7.6.1).
/// Ask only when [`ConnectionOptions::nominated`] is set.
pub fn is_nominated(fields: &Fields, buf: &[u8], name: &[u8]) -> bool {
    fields
        .all(FieldId::Connection)
        .flat_map(|field| list_members(field.value.of(buf)))
        .any(|option| option.eq_ignore_ascii_case(name))
}

/// Fields that are never forwarded, nominated or not. Trailer is not among them: it is about the
/// message, and goes with its trailers.
pub const HOP_BY_HOP: FieldSet = FieldSet::of(&[
    FieldId::Connection,
    FieldId::KeepAlive,
    FieldId::ProxyConnection,
    FieldId::ProxyAuthenticate,
    FieldId::ProxyAuthorization,
    FieldId::Te,
    FieldId::TransferEncoding,
    FieldId::Upgrade,
    FieldId::Http2Settings,
]);

#[inline]
pub fn is_hop_by_hop(id: FieldId) -> bool {
    HOP_BY_HOP.has(id)
}

/// What a client waits for before it sends its body.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Expect {
    #[default]
    None,
    Continue,
}

/// RFC 9110 §10.1.1. Ignored in HTTP/1.0; anything but `100-continue` is 417.
#[inline]
pub fn expect(head: &RequestHead, buf: &[u8]) -> Result<Expect, ParseError> {
    if !head.fields.has(FieldId::Expect) || head.version == Version::Http10 {
        return Ok(Expect::None);
    }
    for field in head.fields.all(FieldId::Expect) {
        if !field.value.of(buf).eq_ignore_ascii_case(b"100-continue") {
            let at = field.value.start as usize;
            return Err(ParseError::new(ErrorKind::BadExpectation, at));
        }
    }
    Ok(Expect::Continue)
}

/// The members of a comma-separated list, without white space around them; empty ones are
/// skipped (RFC 9110 §5.6.1.2). Quoted strings are not looked for: the lists of this crate have
/// none.
#[inline]
pub fn list_members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(bytes::trim_ows).filter(|member| !member.is_empty())
}

/// Max-Forwards of OPTIONS and TRACE (RFC 9110 §7.6.2); it means nothing to other methods. A
/// number beyond 32 bits counts as the largest.
pub fn max_forwards(head: &RequestHead, buf: &[u8]) -> Result<Option<u32>, ParseError> {
    if !matches!(head.method, Method::Options | Method::Trace) {
        return Ok(None);
    }
    let mut lines = head.fields.all(FieldId::MaxForwards);
    let Some(field) = lines.next() else { return Ok(None) };
    let digits = field.value.of(buf);
    if lines.next().is_some() || digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        let at = field.value.start as usize;
        return Err(ParseError::new(ErrorKind::BadMaxForwards, at));
    }
    let value = digits
        .iter()
        .fold(0u32, |value, d| value.saturating_mul(10).saturating_add(u32::from(d - b'0')));
    Ok(Some(value))
}

/// Names that a trailer section must not carry on (RFC 9110 §6.5.1): framing, routing, request
/// modifiers, authentication, cookies, hop-by-hop fields, content description, and who the client
/// is (what this gateway says of consumers, what proxies say of clients). `_` is read
/// as `-`, since some services do.
pub fn is_forbidden_trailer(name: &[u8]) -> bool {
    if !bytes::is_token(name) {
        return true;
    }
    let begins = |prefix: &str| {
        name.len() >= prefix.len() && is_name(&name[..prefix.len()], prefix.as_bytes())
    };
    let is_one = |known: &[&str]| known.iter().any(|known| is_name(name, known.as_bytes()));
    // Content-Digest is made for trailers (RFC 9530 §2).
    if begins("content-") {
        return !is_one(&["content-digest"]);
    }
    FORBIDDEN_PREFIXES.iter().any(|prefix| begins(prefix)) || is_one(FORBIDDEN_TRAILERS)
}

fn is_name(name: &[u8], known: &[u8]) -> bool {
    let fold = |b: &u8| if *b == b'_' { b'-' } else { b.to_ascii_lowercase() };
    name.len() == known.len() && name.iter().map(fold).eq(known.iter().copied())
}

const FORBIDDEN_PREFIXES: &[&str] = &[
    "if-",
    "proxy-",
    "x-forwarded-",
    "x-consumer-",
    "x-client-cert-",
    "sec-",
    "access-control-",
    "x-original-",
    "x-rewrite-",
];

const FORBIDDEN_TRAILERS: &[&str] = &[
    "transfer-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "http2-settings",
    "host",
    "forwarded",
    "via",
    "x-forwarded",
    "x-real-ip",
    "x-request-id",
    "cache-control",
    "expect",
    "max-forwards",
    "pragma",
    "range",
    "authorization",
    "www-authenticate",
    "authentication-info",
    "cookie",
    "set-cookie",
    "age",
    "date",
    "expires",
    "location",
    "retry-after",
    "vary",
    "warning",
    "origin",
    "traceparent",
    "tracestate",
    "strict-transport-security",
];
