//! Request and response heads as spans of the read buffer.
//!
//! Two readers stand behind `parse`. The quick one is httparse followed by a few looks at what
//! httparse is lenient about; it may only say yes. Whatever it does not say yes to (and heads
//! that are valid but unusual: HTTP/1.2, a target that isn't UTF-8, more than 64 fields) goes to
//! the strict one, `scan` and `line`, which defines what is a head and names the fault.

use std::mem::MaybeUninit;

use crate::error::{ErrorKind, ParseError, Version};
use crate::fields::{Field, FieldId, Fields};
use crate::limits::Limits;
use crate::line;
use crate::method::Method;
use crate::scan::HeadScan;
use crate::span::Span;

/// Fields that the quick reader has room for on the stack (2 KiB).
const QUICK_FIELDS: usize = 64;

/// A request line and its fields. Keep one per connection or worker: its storage is reused.
#[derive(Debug, Default, Clone)]
pub struct RequestHead {
    pub method: Method,
    pub method_text: Span,
    pub target: Span,
    pub version: Version,
    pub fields: Fields,
    /// Bytes of the head, a leading empty line and the final one included.
    pub len: u32,
}

/// A status line and its fields. Keep one per connection or worker: its storage is reused.
#[derive(Debug, Default, Clone)]
pub struct ResponseHead {
    /// 100..=599.
    pub status: u16,
    /// May be empty.
    pub reason: Span,
    pub version: Version,
    pub fields: Fields,
    /// Bytes of the head, the final empty line included.
    pub len: u32,
}

impl RequestHead {
    pub fn new() -> RequestHead {
        RequestHead::default()
    }

    pub fn with_capacity(fields_max: usize) -> RequestHead {
        RequestHead { fields: Fields::with_capacity(fields_max), ..RequestHead::default() }
    }

    /// Reads a whole head at the start of `buf`; more may follow it. Spans are relative to `buf`.
    /// After an error the contents are unspecified.
    pub fn parse(&mut self, buf: &[u8], limits: &Limits) -> Result<(), ParseError> {
        if self.quick(buf, limits).is_some() {
            return Ok(());
        }
        match self.parse_strict(buf, &mut HeadScan::request(), limits)? {
            Some(_) => Ok(()),
            None => Err(ParseError::new(ErrorKind::Incomplete, buf.len())),
        }
    }

    /// Scan and parse in one: `Some(len)` once the head is whole and good, `None` while it is
    /// not whole. `buf` is everything from the head's first byte on, `scan` begins fresh.
    ///
    /// Fast path: a head that arrives whole is read once, without a search for its end.
    #[inline]
    pub fn parse_or_more(
        &mut self,
        buf: &[u8],
        scan: &mut HeadScan,
        limits: &Limits,
    ) -> Result<Option<usize>, ParseError> {
        if scan.is_fresh()
            && let Some(len) = self.quick(buf, limits)
        {
            return Ok(Some(len));
        }
        self.parse_strict(buf, scan, limits)
    }

    /// The strict reader alone; what it refuses is refused, what it accepts is accepted.
    pub fn parse_strict(
        &mut self,
        buf: &[u8],
        scan: &mut HeadScan,
        limits: &Limits,
    ) -> Result<Option<usize>, ParseError> {
        let Some(len) = scan.walk(buf, limits)? else { return Ok(None) };
        let base = if buf.starts_with(b"\r\n") { 2 } else { 0 };
        let head = &buf[..len];
        let line_end = line_end(head, base);
        let line = line::request(&head[base..line_end])?;
        self.method_text = Span::new(base, base + line.method_end);
        self.method = Method::of(self.method_text.of(head));
        self.target = Span::new(base + line.method_end + 1, base + line.target_end);
        self.version = line.version;
        self.len = len as u32;
        collect_fields(head, line_end + 2, &mut self.fields)?;
        Ok(Some(len))
    }

    #[inline]
    fn quick(&mut self, buf: &[u8], limits: &Limits) -> Option<usize> {
        let mut fields = [const { MaybeUninit::uninit() }; QUICK_FIELDS];
        let mut request = httparse::Request::new(&mut []);
        let parsed = request.parse_with_uninit_headers(buf, &mut fields);
        let Ok(httparse::Status::Complete(len)) = parsed else { return None };
        let (method, target) = (request.method?, request.path?);
        // httparse skips any number of empty lines, we allow one.
        let base = offset(buf, method.as_bytes());
        if base != 0 && (base != 2 || buf[0] != b'\r') {
            return None;
        }
        self.method_text = Span::new(base, base + method.len());
        self.method = Method::of(method.as_bytes());
        self.target = span(buf, target.as_bytes());
        self.version = quick_version(request.version)?;
        self.len = len as u32;
        if target.len() > limits.target_bytes_max as usize {
            return None;
        }
        quick_fields(buf, len, request.headers, limits, &mut self.fields)?;
        Some(len)
    }
}

impl ResponseHead {
    pub fn new() -> ResponseHead {
        ResponseHead::default()
    }

    pub fn with_capacity(fields_max: usize) -> ResponseHead {
        ResponseHead { fields: Fields::with_capacity(fields_max), ..ResponseHead::default() }
    }

    /// As [`RequestHead::parse`].
    pub fn parse(&mut self, buf: &[u8], limits: &Limits) -> Result<(), ParseError> {
        if self.quick(buf, limits).is_some() {
            return Ok(());
        }
        match self.parse_strict(buf, &mut HeadScan::response(), limits)? {
            Some(_) => Ok(()),
            None => Err(ParseError::new(ErrorKind::Incomplete, buf.len())),
        }
    }

    /// As [`RequestHead::parse_or_more`]; `scan` begins as [`HeadScan::response`].
    #[inline]
    pub fn parse_or_more(
        &mut self,
        buf: &[u8],
        scan: &mut HeadScan,
        limits: &Limits,
    ) -> Result<Option<usize>, ParseError> {
        if scan.is_fresh()
            && let Some(len) = self.quick(buf, limits)
        {
            return Ok(Some(len));
        }
        self.parse_strict(buf, scan, limits)
    }

    /// As [`RequestHead::parse_strict`].
    pub fn parse_strict(
        &mut self,
        buf: &[u8],
        scan: &mut HeadScan,
        limits: &Limits,
    ) -> Result<Option<usize>, ParseError> {
        let Some(len) = scan.walk(buf, limits)? else { return Ok(None) };
        let head = &buf[..len];
        let line_end = line_end(head, 0);
        let (version, status) = line::status(&head[..line_end])?;
        self.version = version;
        self.status = status;
        self.reason = Span::new(REASON_AT, line_end);
        self.len = len as u32;
        collect_fields(head, line_end + 2, &mut self.fields)?;
        Ok(Some(len))
    }

    #[inline]
    fn quick(&mut self, buf: &[u8], limits: &Limits) -> Option<usize> {
        let mut fields = [const { MaybeUninit::uninit() }; QUICK_FIELDS];
        let mut response = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            buf,
            &mut fields,
        );
        let Ok(httparse::Status::Complete(len)) = parsed else { return None };
        self.status = response.code.filter(|code| (100..=599).contains(code))?;
        self.version = quick_version(response.version)?;
        self.len = len as u32;
        // httparse skips empty lines, and gives no reason when that holds obs-text.
        if buf[0] != b'H' {
            return None;
        }
        let line_end = match response.headers.first() {
            Some(first) => offset(buf, first.name.as_bytes()) - 2,
            None => len - 4,
        };
        // It also does without the space before the reason.
        if line_end < REASON_AT {
            return None;
        }
        self.reason = Span::new(REASON_AT, line_end);
        quick_fields(buf, len, response.headers, limits, &mut self.fields)?;
        Some(len)
    }
}

/// After `HTTP/1.1 200 `.
const REASON_AT: usize = 13;

#[inline]
fn quick_version(minor: Option<u8>) -> Option<Version> {
    match minor? {
        0 => Some(Version::Http10),
        _ => Some(Version::Http11),
    }
}

/// `None` when there is something httparse allows and we don't: a bare LF at the end of any line.
/// Names begin lines, so the byte two before each of them must be the CR of the line before.
#[inline]
fn quick_fields(
    buf: &[u8],
    len: usize,
    headers: &[httparse::Header<'_>],
    limits: &Limits,
    fields: &mut Fields,
) -> Option<()> {
    if len > limits.head_bytes_max as usize || headers.len() > limits.fields_max as usize {
        return None;
    }
    let head = &buf[..len];
    if !head.ends_with(b"\r\n\r\n") {
        return None;
    }
    let mut has_bare_lf = false;
    fields.fill(headers.iter().map(|header| {
        let name = span(buf, header.name.as_bytes());
        has_bare_lf |= head[name.start as usize - 2] != b'\r';
        (name, span(buf, header.value), FieldId::of(header.name.as_bytes()))
    }));
    (!has_bare_lf).then_some(())
}

/// Fields of a head that `HeadScan::walk` has accepted, from `start` on.
pub(crate) fn collect_fields(
    head: &[u8],
    mut start: usize,
    fields: &mut Fields,
) -> Result<(), ParseError> {
    fields.clear();
    while start < head.len() {
        let end = line_end(head, start);
        if end == start {
            break;
        }
        let text = &head[start..end];
        let (name_end, value_start, value_end) =
            line::field(text).map_err(|error| error.moved(start))?;
        fields.push(Field {
            name: Span::new(start, start + name_end),
            value: Span::new(start + value_start, start + value_end),
            id: FieldId::of(&text[..name_end]),
        });
        start = end + 2;
    }
    Ok(())
}

/// Where the CR of the line that begins at `start` is.
fn line_end(head: &[u8], start: usize) -> usize {
    memchr::memchr(b'\r', &head[start..]).map_or(head.len(), |i| start + i)
}

/// Where `part`, a slice of `buf`, begins.
#[inline]
fn offset(buf: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).wrapping_sub(buf.as_ptr() as usize)
}

#[inline]
fn span(buf: &[u8], part: &[u8]) -> Span {
    let start = offset(buf, part);
    Span::new(start, start + part.len())
}
