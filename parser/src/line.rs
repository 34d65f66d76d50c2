//! One line of a head, read strictly: request line, status line, field line.
//!
//! These functions define what a line may be. They see a line without its CRLF, free of control
//! bytes other than HTAB (`scan` has made sure), and report places relative to the line.

use memchr::memchr;

use crate::bytes::{self, TARGET, TOKEN};
use crate::error::{ErrorKind, ParseError, Version};

/// Ends of method and target, and the version (RFC 9112 §3). Exactly two single spaces.
pub(crate) struct RequestLine {
    pub(crate) method_end: usize,
    pub(crate) target_end: usize,
    pub(crate) version: Version,
}

pub(crate) fn request(line: &[u8]) -> Result<RequestLine, ParseError> {
    let refuse = |kind, at| Err(ParseError::new(kind, at));
    let Some(method_end) = memchr(b' ', line) else {
        return refuse(ErrorKind::BadRequestLine, line.len());
    };
    if let Some(at) = bytes::first_outside(&line[..method_end], TOKEN) {
        return refuse(ErrorKind::BadMethod, at);
    }
    if method_end == 0 {
        return refuse(ErrorKind::BadMethod, 0);
    }
    let start = method_end + 1;
    let Some(target_len) = memchr(b' ', &line[start..]) else {
        return refuse(ErrorKind::BadRequestLine, line.len());
    };
    let target_end = start + target_len;
    if target_len == 0 {
        return refuse(ErrorKind::BadRequestLine, start);
    }
    if let Some(at) = bytes::first_outside(&line[start..target_end], TARGET) {
        return refuse(ErrorKind::BadTarget, start + at);
    }
    let text = &line[target_end + 1..];
    if text.is_empty() || memchr(b' ', text).is_some() {
        return refuse(ErrorKind::BadRequestLine, target_end + 1);
    }
    match version(text) {
        Ok(version) => Ok(RequestLine { method_end, target_end, version }),
        Err(kind) => refuse(kind, target_end + 1),
    }
}

/// Status and version of a status line (RFC 9112 §4). The reason is what follows byte 13.
pub(crate) fn status(line: &[u8]) -> Result<(Version, u16), ParseError> {
    let refuse = |kind, at| Err(ParseError::new(kind, at));
    let version = match version(line.get(..8).unwrap_or(line)) {
        Ok(version) => version,
        Err(kind) => return refuse(kind, 0),
    };
    let [_, _, _, _, _, _, _, _, b' ', hundreds, tens, ones, b' ', ..] = *line else {
        return refuse(ErrorKind::BadStatusLine, line.len().min(8));
    };
    match status_code([hundreds, tens, ones]) {
        Some(code) => Ok((version, code)),
        None => refuse(ErrorKind::BadStatus, 9),
    }
}

fn status_code(digits: [u8; 3]) -> Option<u16> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = digits.iter().fold(0, |code, d| code * 10 + u16::from(d - b'0'));
    // Others are invalid (RFC 9110 §15), and clients take them for different things.
    (100..=599).contains(&code).then_some(code)
}

/// `HTTP/1.0`, or `HTTP/1.` and any other digit (RFC 9110 §2.5: a higher minor version is served
/// as the highest one known).
fn version(text: &[u8]) -> Result<Version, ErrorKind> {
    match *text {
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            match (major, minor) {
                (b'1', b'0') => Ok(Version::Http10),
                (b'1', _) => Ok(Version::Http11),
                _ => Err(ErrorKind::UnsupportedVersion),
            }
        }
        _ => Err(ErrorKind::BadVersion),
    }
}

/// `(name_end, value_start, value_end)` of a field line (RFC 9112 §5).
pub(crate) fn field(line: &[u8]) -> Result<(usize, usize, usize), ParseError> {
    let refuse = |kind, at| Err(ParseError::new(kind, at));
    if line.first().is_some_and(|&b| bytes::is_ows(b)) {
        return refuse(ErrorKind::ObsFold, 0);
    }
    let Some(name_end) = memchr(b':', line) else {
        return refuse(ErrorKind::MissingColon, line.len());
    };
    let name = &line[..name_end];
    match name.last() {
        None => return refuse(ErrorKind::EmptyFieldName, 0),
        Some(&b) if bytes::is_ows(b) => {
            return refuse(ErrorKind::SpaceBeforeColon, name_end - 1);
        }
        Some(_) => {}
    }
    if let Some(at) = bytes::first_outside(name, TOKEN) {
        return refuse(ErrorKind::BadFieldName, at);
    }
    let rest = &line[name_end + 1..];
    let value = bytes::trim_ows(rest);
    let lead = rest.iter().position(|&b| !bytes::is_ows(b)).unwrap_or(rest.len());
    let start = name_end + 1 + lead;
    Ok((name_end, start, start + value.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_value_is_trimmed_and_may_be_empty() {
        assert_eq!(field(b"a:b").map_err(|e| e.kind), Ok((1, 2, 3)));
        assert_eq!(field(b"a: \tb c\t ").map_err(|e| e.kind), Ok((1, 4, 7)));
        assert_eq!(field(b"a: \t").map_err(|e| e.kind), Ok((1, 4, 4)));
        assert_eq!(field(b"a:").map_err(|e| e.kind), Ok((1, 2, 2)));
    }

    #[test]
    fn a_higher_minor_version_counts_as_1_1() {
        assert_eq!(version(b"HTTP/1.0"), Ok(Version::Http10));
        assert_eq!(version(b"HTTP/1.1"), Ok(Version::Http11));
        assert_eq!(version(b"HTTP/1.2"), Ok(Version::Http11));
        assert_eq!(version(b"HTTP/2.0"), Err(ErrorKind::UnsupportedVersion));
        assert_eq!(version(b"HTTP/2"), Err(ErrorKind::BadVersion));
        assert_eq!(version(b"http/1.1"), Err(ErrorKind::BadVersion));
        assert_eq!(version(b"HTTP/1.10"), Err(ErrorKind::BadVersion));
    }
}
