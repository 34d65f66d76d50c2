//! Incremental decoder of the chunked coding (RFC 9112 §7.1): validates every byte and yields
//! ranges of data, so that a body can pass on as it is or be framed anew.
//!
//! ```text
//!   Start ─hex▶ Size ─CR▶ LineLf ─LF▶ Data ─▶ DataCr ─CR▶ DataLf ─LF▶ Start
//!                │ ▲          │ size 0
//!                ; │          └───────▶ Trailers
//!                ▼ │
//!      ExtName0 ▶ ExtName ─=▶ ExtValue0 ▶ ExtToken │ ExtQuoted ⇄ ExtEscaped ▶ ExtClosed
//! ```

use std::ops::Range;

use crate::bytes::{self, QDTEXT, TOKEN, VALUE};
use crate::error::{ErrorKind, ParseError};
use crate::fields::Fields;
use crate::framing::LENGTH_MAX;
use crate::head::collect_fields;
use crate::limits::Limits;
use crate::scan::HeadScan;

/// Digits of a chunk size, leading zeros included.
const SIZE_DIGITS_MAX: u8 = 16;
/// Extensions of a whole body, in multiples of the limit for one chunk.
const EXT_TOTAL_FACTOR: u32 = 16;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Start,
    Size,
    ExtName0,
    ExtName,
    ExtValue0,
    ExtToken,
    ExtQuoted,
    ExtEscaped,
    ExtClosed,
    LineLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
}

/// What the decoder found next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChunkEvent {
    /// Body data: this range of `buf`, never empty. A chunk may come in several.
    Data(Range<usize>),
    /// All of `buf` is consumed.
    NeedMore,
    /// The last chunk's line is consumed; the trailer section begins at `*at` (see
    /// [`HeadScan::trailers`] and [`parse_trailers`]). Said again on every further call.
    Trailers,
}

/// The decoder's whole state, which is independent of buffers: 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkedDecoder {
    /// Data bytes of the current chunk not yet seen; its size while that is read.
    remaining: u64,
    /// Extension bytes that this chunk's line, and that the body may still have.
    ext_line_left: u32,
    ext_total_left: u32,
    ext_bytes_max: u32,
    digits_count: u8,
    state: State,
}

impl ChunkedDecoder {
    pub fn new(limits: &Limits) -> ChunkedDecoder {
        ChunkedDecoder {
            remaining: 0,
            ext_line_left: 0,
            ext_total_left: limits.chunk_ext_bytes_max.saturating_mul(EXT_TOTAL_FACTOR),
            ext_bytes_max: limits.chunk_ext_bytes_max,
            digits_count: 0,
            state: State::Start,
        }
    }

    #[inline]
    pub fn is_at_trailers(&self) -> bool {
        self.state == State::Trailers
    }

    /// Reads `buf[*at..]` and advances `*at` past what is consumed. An error is final.
    #[inline]
    pub fn next(&mut self, buf: &[u8], at: &mut usize) -> Result<ChunkEvent, ParseError> {
        while *at < buf.len() || self.is_at_trailers() {
            match self.state {
                State::Data => {
                    let start = *at;
                    let room = (buf.len() - start) as u64;
                    let taken = self.remaining.min(room);
                    self.remaining -= taken;
                    *at += taken as usize;
                    if self.remaining == 0 {
                        self.state = State::DataCr;
                    }
                    return Ok(ChunkEvent::Data(start..*at));
                }
                State::Trailers => return Ok(ChunkEvent::Trailers),
                State::DataCr if buf[*at..].starts_with(b"\r\n") => {
                    self.state = State::Start;
                    *at += 2;
                }
                State::Start if let Some((size, len)) = quick_line(&buf[*at..]) => {
                    self.remaining = size;
                    *at += len;
                    self.end_line();
                }
                _ => match self.step(buf[*at]) {
                    Ok(()) => *at += 1,
                    Err(kind) => return Err(ParseError::new(kind, *at)),
                },
            }
        }
        Ok(ChunkEvent::NeedMore)
    }

    /// One byte outside of data.
    #[inline]
    fn step(&mut self, b: u8) -> Result<(), ErrorKind> {
        match (self.state, b) {
            (State::Size, b'\r') => self.state = State::LineLf,
            (State::LineLf, b'\n') => self.end_line(),
            (State::LineLf, _) => return Err(ErrorKind::BareCr),
            (State::DataCr, b'\r') => self.state = State::DataLf,
            (State::DataLf, b'\n') => self.state = State::Start,
            (State::DataCr, b'\n') => return Err(ErrorKind::BareLf),
            (State::DataLf, _) => return Err(ErrorKind::BareCr),
            (State::DataCr, _) => return Err(ErrorKind::BadChunkEnd),
            (State::Start, _) => {
                self.remaining = 0;
                self.digits_count = 0;
                self.state = State::Size;
                return self.digit(b);
            }
            (State::Size, b';') => {
                self.ext_line_left = self.ext_bytes_max;
                return self.extension(b);
            }
            (State::Size, _) => return self.digit(b),
            _ => return self.extension(b),
        }
        Ok(())
    }

    fn end_line(&mut self) {
        self.state = if self.remaining == 0 { State::Trailers } else { State::Data };
    }

    #[inline]
    fn digit(&mut self, b: u8) -> Result<(), ErrorKind> {
        let Some(value) = bytes::hex_value(b) else {
            return Err(if b == b'\n' { ErrorKind::BareLf } else { ErrorKind::BadChunkSize });
        };
        self.digits_count += 1;
        if self.digits_count > SIZE_DIGITS_MAX || self.remaining > LENGTH_MAX >> 4 {
            return Err(ErrorKind::ChunkTooLarge);
        }
        self.remaining = self.remaining << 4 | u64::from(value);
        Ok(())
    }

    /// `*( ";" token [ "=" ( token / quoted-string ) ] )`. The grammar's BWS is what recipients
    /// disagree about, so that it is refused here as everywhere.
    fn extension(&mut self, b: u8) -> Result<(), ErrorKind> {
        let next = match (self.state, b) {
            (State::ExtName | State::ExtToken | State::ExtClosed, b'\r') => {
                self.state = State::LineLf;
                return Ok(());
            }
            (State::Size | State::ExtName | State::ExtToken | State::ExtClosed, b';') => {
                State::ExtName0
            }
            (State::ExtName, b'=') => State::ExtValue0,
            (State::ExtValue0, b'"') => State::ExtQuoted,
            (State::ExtQuoted, b'"') => State::ExtClosed,
            (State::ExtQuoted, b'\\') => State::ExtEscaped,
            (State::ExtName0 | State::ExtName, _) if bytes::is(b, TOKEN) => State::ExtName,
            (State::ExtValue0 | State::ExtToken, _) if bytes::is(b, TOKEN) => State::ExtToken,
            (State::ExtQuoted, _) if bytes::is(b, QDTEXT) => State::ExtQuoted,
            (State::ExtEscaped, _) if bytes::is(b, VALUE) => State::ExtQuoted,
            (_, b'\n') => return Err(ErrorKind::BareLf),
            _ => return Err(ErrorKind::BadChunkExtension),
        };
        if self.ext_line_left == 0 || self.ext_total_left == 0 {
            return Err(ErrorKind::ChunkExtensionTooLong);
        }
        self.ext_line_left -= 1;
        self.ext_total_left -= 1;
        self.state = next;
        Ok(())
    }
}

/// Fast path: `(size, bytes)` of a whole size line without extensions, of at most 15 digits:
/// more could overflow. All else goes byte by byte.
#[inline]
fn quick_line(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut size = 0;
    for (i, &b) in bytes.iter().enumerate().take(16) {
        match bytes::hex_value(b) {
            Some(value) => size = size << 4 | u64::from(value),
            None if i > 0 && bytes[i..].starts_with(b"\r\n") => return Some((size, i + 2)),
            _ => return None,
        }
    }
    None
}

/// Reads a whole trailer section, its final CRLF included, as [`HeadScan::trailers`] delimited
/// it. What may be passed on is for [`crate::connection::is_forbidden_trailer`] to say.
pub fn parse_trailers(buf: &[u8], fields: &mut Fields, limits: &Limits) -> Result<(), ParseError> {
    match HeadScan::trailers().walk(buf, limits)? {
        Some(len) => collect_fields(&buf[..len], 0, fields),
        None => Err(ParseError::new(ErrorKind::Incomplete, buf.len())),
    }
}
