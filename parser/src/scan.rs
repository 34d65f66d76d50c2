//! Finds the end of a head in a growing buffer, and refuses a bad line as soon as it is whole.
//!
//! ```text
//!            CRLF (request only, once)
//!   Start ──────────────────────────────┐
//!     │                                 ▼
//!     └── request or status line ──▶ Fields ── field line ──▶ Fields
//!                                       └───── empty line ──▶ end
//! ```
//!
//! A head that arrives whole costs one search for its line ends; its reading is left to `head`.
//! One that arrives in pieces is checked line by line as it comes, each byte once, so that its
//! cost is linear however small the pieces are.

use memchr::{memchr, memchr_iter};

use crate::bytes::{self, VALUE};
use crate::error::{ErrorKind, ParseError};
use crate::limits::Limits;
use crate::line;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Kind {
    #[default]
    Request,
    Response,
    Trailers,
}

/// How far a head has been looked at. The default is a request of which nothing was seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HeadScan {
    kind: Kind,
    /// The start line has been read.
    is_in_fields: bool,
    /// The space after the request target has been seen.
    target_ended: bool,
    fields: u16,
    /// Bytes looked at.
    seen: u32,
    /// Where the current line begins.
    line: u32,
    /// Where the request target begins; 0 as long as that is unknown.
    target: u32,
}

impl HeadScan {
    pub fn request() -> HeadScan {
        HeadScan::default()
    }

    pub fn response() -> HeadScan {
        HeadScan { kind: Kind::Response, ..HeadScan::default() }
    }

    pub fn trailers() -> HeadScan {
        HeadScan { kind: Kind::Trailers, is_in_fields: true, ..HeadScan::default() }
    }

    /// Nothing has been seen yet.
    #[inline]
    pub fn is_fresh(&self) -> bool {
        self.seen == 0
    }

    /// `buf` is everything from the head's first byte on, grown since the last call. `Some(len)`:
    /// the head ends at `len`; only `parse` says whether it is a good one.
    pub fn push(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<usize>, ParseError> {
        if self.is_fresh()
            && let Some(end) = self.quick_end(buf, limits)
        {
            return Ok(Some(end));
        }
        self.walk(buf, limits)
    }

    /// Fast path: the end of a head that arrived whole and without a bare LF.
    fn quick_end(&self, buf: &[u8], limits: &Limits) -> Option<usize> {
        let window = self.window(buf, limits);
        let mut start = 0;
        let mut has_lines = self.kind == Kind::Trailers;
        for lf in memchr_iter(b'\n', window) {
            if lf == start || window[lf - 1] != b'\r' {
                return None;
            }
            let is_empty = lf - start == 1;
            if is_empty && has_lines {
                return Some(lf + 1);
            }
            if is_empty && (start > 0 || self.kind != Kind::Request) {
                return None;
            }
            has_lines |= !is_empty;
            start = lf + 1;
        }
        None
    }

    /// Reads line by line from where the last call stopped. Everything before the returned end
    /// has been checked in full; the first fault in the order of reading is the one reported, so
    /// that the answer is the same however the bytes were split.
    pub(crate) fn walk(
        &mut self,
        buf: &[u8],
        limits: &Limits,
    ) -> Result<Option<usize>, ParseError> {
        let window = self.window(buf, limits);
        loop {
            let from = self.seen as usize;
            if from >= window.len() {
                break;
            }
            let lf = memchr(b'\n', &window[from..]).map(|i| from + i);
            let to = lf.unwrap_or(window.len());
            self.check_bytes(window, from, to, limits)?;
            let Some(lf) = lf else {
                self.seen = to as u32;
                break;
            };
            let start = self.line as usize;
            if lf == start || window[lf - 1] != b'\r' {
                return Err(ParseError::new(ErrorKind::BareLf, lf));
            }
            let is_end = self
                .end_line(&window[start..lf - 1], limits)
                .map_err(|error| error.moved(start))?;
            self.line = lf as u32 + 1;
            self.seen = self.line;
            if is_end {
                return Ok(Some(lf + 1));
            }
        }
        if buf.len() >= self.bytes_max(limits) {
            return Err(ParseError::new(self.too_long(), window.len()));
        }
        Ok(None)
    }

    fn bytes_max(&self, limits: &Limits) -> usize {
        match self.kind {
            Kind::Trailers => limits.trailer_bytes_max as usize,
            _ => limits.head_bytes_max as usize,
        }
    }

    fn too_long(&self) -> ErrorKind {
        match self.kind {
            Kind::Trailers => ErrorKind::TrailersTooLong,
            _ => ErrorKind::HeadTooLong,
        }
    }

    fn window<'a>(&self, buf: &'a [u8], limits: &Limits) -> &'a [u8] {
        &buf[..buf.len().min(self.bytes_max(limits))]
    }

    /// New bytes `from..to` of the current line, which ends at `to` or isn't whole yet.
    fn check_bytes(
        &mut self,
        window: &[u8],
        from: usize,
        to: usize,
        limits: &Limits,
    ) -> Result<(), ParseError> {
        if from > self.line as usize && window[from - 1] == b'\r' && to != from {
            return Err(ParseError::new(ErrorKind::BareCr, from - 1));
        }
        let excess = self.target_excess(&window[..to], limits);
        let end = excess.map_or(to, |at| at + 1);
        if let Some(i) = bytes::first_outside(&window[from.min(end)..end], VALUE) {
            let at = from + i;
            if window[at] != b'\r' {
                return Err(ParseError::new(ErrorKind::ControlByte, at));
            }
            if at + 1 != to {
                return Err(ParseError::new(ErrorKind::BareCr, at));
            }
        }
        match excess {
            Some(at) => Err(ParseError::new(ErrorKind::TargetTooLong, at)),
            None => Ok(()),
        }
    }

    /// The first byte of the request target beyond its limit, `seen` being the end of what is
    /// known of the request line.
    fn target_excess(&mut self, seen: &[u8], limits: &Limits) -> Option<usize> {
        if self.is_in_fields || self.target_ended || self.kind != Kind::Request {
            return None;
        }
        let from = self.seen as usize;
        if self.target == 0 {
            let space = memchr(b' ', seen.get(from..)?)?;
            self.target = (from + space) as u32 + 1;
        }
        let start = self.target as usize;
        let limit = start + limits.target_bytes_max as usize;
        let known = &seen[..seen.len().min(limit + 1)];
        let rest = known.get(from.max(start)..)?;
        if rest.iter().any(|&b| b == b' ' || b == b'\r') {
            self.target_ended = true;
            return None;
        }
        (known.len() > limit).then_some(limit)
    }

    /// One whole line. `true`: it was the empty line that ends the head.
    fn end_line(&mut self, text: &[u8], limits: &Limits) -> Result<bool, ParseError> {
        if self.is_in_fields {
            if text.is_empty() {
                return Ok(true);
            }
            if self.fields >= limits.fields_max {
                return Err(ParseError::new(ErrorKind::TooManyFields, 0));
            }
            self.fields += 1;
            line::field(text)?;
            return Ok(false);
        }
        match self.kind {
            Kind::Request if text.is_empty() && self.line == 0 => return Ok(false),
            Kind::Request if text.is_empty() => {
                return Err(ParseError::new(ErrorKind::EmptyLines, 0));
            }
            Kind::Request => {
                line::request(text)?;
            }
            Kind::Response => {
                line::status(text)?;
            }
            Kind::Trailers => {}
        }
        self.is_in_fields = true;
        Ok(false)
    }
}
