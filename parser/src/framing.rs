//! How long is the body, and which messages are refused for what they say about it
//! (RFC 9112 §6). Requests and responses are held to the same rules.

use memchr::memchr_iter;

use crate::bytes;
use crate::error::{ErrorKind, ParseError, Version};
use crate::fields::{Field, FieldId, Fields};
use crate::head::{RequestHead, ResponseHead};
use crate::method::Method;

/// How the body's end is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyFraming {
    /// There is no body: a request without framing fields, a response that can't have one.
    None,
    /// So many bytes; `Length(0)` when the message says so.
    Length(u64),
    Chunked,
    /// Responses only: the body ends with the connection.
    UntilClose,
}

/// The largest Content-Length and chunk size: what every implementation can count.
pub(crate) const LENGTH_MAX: u64 = i64::MAX as u64;

/// RFC 9112 §6.3 for requests. One test of two bits when there is no body.
#[inline]
pub fn request_framing(head: &RequestHead, buf: &[u8]) -> Result<BodyFraming, ParseError> {
    framing(&head.fields, head.version, buf, BodyFraming::None)
}

/// RFC 9112 §6.3 for responses to a request with method `request`.
///
/// An answer to HEAD, 1xx, 204 and 304 have no body whatever their fields say, but the fields are
/// checked all the same; in 1xx and 204 Transfer-Encoding, in 1xx Content-Length is refused.
#[inline]
pub fn response_framing(
    head: &ResponseHead,
    buf: &[u8],
    request: Method,
) -> Result<BodyFraming, ParseError> {
    let stated = framing(&head.fields, head.version, buf, BodyFraming::UntilClose)?;
    let is_interim = head.status < 200;
    let forbidden = match stated {
        BodyFraming::Chunked if is_interim || head.status == 204 => FieldId::TransferEncoding,
        BodyFraming::Length(_) if is_interim => FieldId::ContentLength,
        _ if is_interim || request == Method::Head || matches!(head.status, 204 | 304) => {
            return Ok(BodyFraming::None);
        }
        _ => return Ok(stated),
    };
    let at = head.fields.get(forbidden).map_or(0, |field| field.name.start as usize);
    Err(ParseError::new(ErrorKind::BodyForbidden, at))
}

#[inline]
fn framing(
    fields: &Fields,
    version: Version,
    buf: &[u8],
    otherwise: BodyFraming,
) -> Result<BodyFraming, ParseError> {
    let Some(coding) = fields.get(FieldId::TransferEncoding) else {
        return match fields.has(FieldId::ContentLength) {
            true => content_length(fields, buf).map(BodyFraming::Length),
            false => Ok(otherwise),
        };
    };
    if fields.has(FieldId::ContentLength) {
        return refuse(ErrorKind::LengthAndEncoding, coding);
    }
    if version == Version::Http10 {
        return refuse(ErrorKind::EncodingInHttp10, coding);
    }
    transfer_encoding(fields, buf).map(|()| BodyFraming::Chunked)
}

fn refuse<T>(kind: ErrorKind, field: &Field) -> Result<T, ParseError> {
    Err(ParseError::new(kind, field.name.start as usize))
}

/// Exactly one field line with 1*DIGIT. Equal repetitions are refused as well: a list is what one
/// parser reads as its first and another as its last member.
#[inline]
fn content_length(fields: &Fields, buf: &[u8]) -> Result<u64, ParseError> {
    let Some(field) = fields.only(FieldId::ContentLength) else {
        let second = fields.all(FieldId::ContentLength).nth(1);
        return second.map_or(Ok(0), |second| refuse(ErrorKind::LengthRepeated, second));
    };
    match decimal(field.value.of(buf)) {
        Ok(length) => Ok(length),
        Err(kind) => Err(ParseError::new(kind, field.value.start as usize)),
    }
}

#[inline]
fn decimal(digits: &[u8]) -> Result<u64, ErrorKind> {
    let (mut value, mut is_number) = (0u64, !digits.is_empty());
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        is_number &= digit <= 9;
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    if !is_number {
        let is_list = digits.contains(&b',');
        return Err(if is_list { ErrorKind::LengthRepeated } else { ErrorKind::BadLength });
    }
    // 19 digits fit into 64 bits; more are refused even when they are leading zeros.
    if digits.len() > 19 {
        return Err(ErrorKind::LengthTooLarge);
    }
    if value > LENGTH_MAX { Err(ErrorKind::LengthTooLarge) } else { Ok(value) }
}

/// Exactly one field line that says `chunked` and nothing else.
fn transfer_encoding(fields: &Fields, buf: &[u8]) -> Result<(), ParseError> {
    let mut lines = fields.all(FieldId::TransferEncoding);
    let Some(field) = lines.next() else { return Ok(()) };
    if let Some(second) = lines.next() {
        return refuse(ErrorKind::EncodingRepeated, second);
    }
    let value = field.value.of(buf);
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    Err(ParseError::new(coding_fault(value), field.value.start as usize))
}

/// What is wrong with a Transfer-Encoding other than `chunked`.
#[cold]
fn coding_fault(value: &[u8]) -> ErrorKind {
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let ends = memchr_iter(b',', value).chain([value.len()]);
    let (mut start, mut chunked_count, mut is_last) = (0, 0, false);
    for end in ends {
        let coding = bytes::trim_ows(&value[start..end]);
        if !bytes::is_token(coding) {
            return ErrorKind::BadTransferEncoding;
        }
        is_last = is_chunked(coding);
        chunked_count += usize::from(is_last);
        start = end + 1;
    }
    match (chunked_count, is_last) {
        (0 | 1, false) => ErrorKind::ChunkedNotLast,
        (0 | 1, true) => ErrorKind::UnknownCoding,
        _ => ErrorKind::ChunkedRepeated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_digits_up_to_2_63_minus_1() {
        assert_eq!(decimal(b"0"), Ok(0));
        assert_eq!(decimal(b"007"), Ok(7));
        assert_eq!(decimal(b"9223372036854775807"), Ok(LENGTH_MAX));
        assert_eq!(decimal(b"9223372036854775808"), Err(ErrorKind::LengthTooLarge));
        assert_eq!(decimal(b"99999999999999999999"), Err(ErrorKind::LengthTooLarge));
        assert_eq!(decimal(b""), Err(ErrorKind::BadLength));
        assert_eq!(decimal(b"+1"), Err(ErrorKind::BadLength));
        assert_eq!(decimal(b"1 2"), Err(ErrorKind::BadLength));
        assert_eq!(decimal(b"5, 5"), Err(ErrorKind::LengthRepeated));
    }
}
