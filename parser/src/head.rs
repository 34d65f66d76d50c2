//! Request and response heads as spans of the read buffer.
//!
//! Two readers stand behind `parse`. `quick` may only say yes. Whatever it does not say yes to
//! goes to the strict one, `scan` and `line`, which defines what is a head and names the fault.

use crate::error::{ErrorKind, ParseError, Version};
use crate::fields::{Field, FieldId, Fields};
use crate::limits::Limits;
use crate::line;
use crate::method::Method;
use crate::quick;
use crate::scan::HeadScan;
use crate::span::Span;

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
        if self.parse_quick(buf, limits).is_some() {
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
            && let Some(len) = self.parse_quick(buf, limits)
        {
            return Ok(Some(len));
        }
        self.parse_strict(buf, scan, limits)
    }

    /// The quick reader alone: the head's length, or nothing when the strict reader is to decide.
    /// The contents are unspecified then.
    #[inline]
    pub fn parse_quick(&mut self, buf: &[u8], limits: &Limits) -> Option<usize> {
        quick::request(self, buf, limits)
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
        if self.parse_quick(buf, limits).is_some() {
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
            && let Some(len) = self.parse_quick(buf, limits)
        {
            return Ok(Some(len));
        }
        self.parse_strict(buf, scan, limits)
    }

    /// As [`RequestHead::parse_quick`].
    #[inline]
    pub fn parse_quick(&mut self, buf: &[u8], limits: &Limits) -> Option<usize> {
        quick::response(self, buf, limits)
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
}

/// After `HTTP/1.1 200 `.
pub(crate) const REASON_AT: usize = 13;

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
