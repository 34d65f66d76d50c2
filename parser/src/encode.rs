//! Heads and chunk heads into a buffer, in the one spelling that `parse` accepts.
//!
//! These functions append what they are given. Names, values and targets come from parsed
//! messages or from configuration, which asks [`is_token`] and [`is_field_value`]; for text of any
//! other source there is [`try_field`].

use crate::bytes::{self, VALUE};
use crate::fields::Field;

/// The last chunk's line. Trailer fields and [`end`] follow.
pub const LAST_CHUNK: &[u8] = b"0\r\n";
/// What follows the data of each chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// `GET /path HTTP/1.1`
#[inline]
pub fn request_line(out: &mut Vec<u8>, method: &[u8], target: &[u8]) {
    debug_assert!(is_token(method) && !target.is_empty());
    out.extend_from_slice(method);
    out.push(b' ');
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// `HTTP/1.1 200 OK`. The space stays when there is no reason (RFC 9112 §4).
#[inline]
pub fn status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    debug_assert!((100..=599).contains(&status));
    let digit = |power: u16| b'0' + (status / power % 10) as u8;
    let mut begin = *b"HTTP/1.1 200 ";
    [begin[9], begin[10], begin[11]] = [digit(100), digit(10), digit(1)];
    out.extend_from_slice(&begin);
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}

/// `name: value`. Fast path: always inlined, since a name that is known then costs two stores
/// in place of a call (half of the field's instructions).
#[inline(always)]
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    debug_assert!(is_token(name) && is_field_value(value));
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Copies fields of a parsed head as they came. Those that stand behind each other in the one
/// spelling of this crate go out together, others one by one.
#[derive(Debug)]
pub struct Runs<'a> {
    buf: &'a [u8],
    start: usize,
    end: usize,
}

impl<'a> Runs<'a> {
    /// Of fields whose spans are places in `buf`.
    #[inline]
    pub fn of(buf: &'a [u8]) -> Runs<'a> {
        Runs { buf, start: 0, end: 0 }
    }

    /// Appends `next`, now or with those that follow it.
    #[inline(always)] // in a loop over fields a call is half of it
    pub fn keep(&mut self, out: &mut Vec<u8>, next: &Field) {
        let (name, value) = (next.name, next.value);
        let (name_end, value_end) = (name.end(), value.end());
        let is_plain = value.start as usize == name_end + 2
            && self.buf.get(name_end..name_end + 2) == Some(b": ")
            && self.buf.get(value_end..value_end + 2) == Some(b"\r\n");
        if !is_plain {
            self.finish(out);
            respelled(out, name.of(self.buf), value.of(self.buf));
            return;
        }
        if name.start as usize != self.end {
            self.finish(out);
            self.start = name.start as usize;
        }
        self.end = value_end + 2;
    }

    /// Appends what waits. To be called behind the last `keep`, and before anything else is
    /// appended.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.buf[self.start..self.end]);
        (self.start, self.end) = (0, 0);
    }
}

/// A field whose name or value the sender wrote in another spelling.
#[cold]
fn respelled(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    field(out, name, value);
}

/// As [`field`], for text that nobody has checked. `false`: it is refused, nothing is written.
#[must_use]
pub fn try_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) -> bool {
    let is_good = is_token(name) && is_field_value(value);
    if is_good {
        field(out, name, value);
    }
    is_good
}

/// The size line of a chunk of `len` bytes, which must not be 0: that is [`LAST_CHUNK`].
#[inline]
pub fn chunk_head(out: &mut Vec<u8>, len: u64) {
    debug_assert!(len > 0);
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digits_count = (67 - len.leading_zeros()) / 4;
    for i in (0..digits_count).rev() {
        out.push(HEX[(len >> (4 * i)) as usize & 15]);
    }
    out.extend_from_slice(b"\r\n");
}

/// A decimal number, as Content-Length has it.
#[inline]
pub fn decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The empty line that ends a head or a trailer section.
#[inline]
pub fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// A method or field name (RFC 9110 §5.6.2).
#[inline]
pub fn is_token(text: &[u8]) -> bool {
    bytes::is_token(text)
}

/// A field value as `parse` gives them: no control bytes but HTAB, no white space around it.
#[inline]
pub fn is_field_value(text: &[u8]) -> bool {
    let is_trimmed = bytes::trim_ows(text).len() == text.len();
    is_trimmed && bytes::first_outside(text, VALUE).is_none()
}

/// The reason phrase of RFC 9110 §15 and the IANA registry; empty for an unknown status.
pub const fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        208 => "Already Reported",
        226 => "IM Used",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        305 => "Use Proxy",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        _ => error_phrase(status),
    }
}

const fn error_phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        506 => "Variant Also Negotiates",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        511 => "Network Authentication Required",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("ASCII was written")
    }

    #[test]
    fn chunk_heads_are_hexadecimal_without_leading_zeros() {
        for len in [1, 9, 15, 16, 255, 256, 0xfff, 0x1000, u64::MAX >> 1, u64::MAX] {
            assert_eq!(written(|out| chunk_head(out, len)), format!("{len:x}\r\n"));
        }
    }

    #[test]
    fn decimals_are_written_without_leading_zeros() {
        for value in [0, 9, 10, 1234567890, u64::MAX] {
            assert_eq!(written(|out| decimal(out, value)), value.to_string());
        }
    }

    /// Every choice of fields, in every spelling, is what writing them one by one would be.
    #[test]
    fn runs_are_what_single_fields_would_be() {
        let head =
            b"GET / HTTP/1.1\r\nA: 1\r\nBb:22\r\nC:\t3\r\nD: 4 \r\nE:\r\nF: 6\r\nG: 7\r\n\r\n";
        let mut request = crate::head::RequestHead::new();
        request.parse(head, &crate::Limits::default()).expect("it is a head");
        for kept in 0u32..1 << request.fields.len() {
            let fields = request.fields.iter().enumerate();
            let fields = fields.filter(|(i, _)| kept & (1 << i) != 0).map(|(_, field)| field);
            let single = written(|out| {
                for f in fields.clone() {
                    field(out, f.name.of(head), f.value.of(head));
                }
            });
            let runs = written(|out| {
                let mut runs = Runs::of(head);
                fields.for_each(|f| runs.keep(out, f));
                runs.finish(out);
            });
            assert_eq!(runs, single);
        }
    }

    #[test]
    fn an_unchecked_field_is_written_whole_or_not_at_all() {
        assert_eq!(written(|out| assert!(try_field(out, b"a", b"b c"))), "a: b c\r\n");
        assert_eq!(written(|out| assert!(!try_field(out, b"a", b"b\r\nc: d"))), "");
        assert_eq!(written(|out| assert!(!try_field(out, b"a:", b"b"))), "");
        assert_eq!(written(|out| assert!(!try_field(out, b"a", b" b"))), "");
    }
}
