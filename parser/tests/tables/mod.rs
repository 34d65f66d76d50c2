//! Messages, what becomes of them, and readers that take them in pieces.
//!
//! An accepted message is described by one line: `METHOD path authority framing body` or
//! `status framing body`, so that a row says all that two parsers could disagree about.
#![allow(dead_code, reason = "each test file uses its share")]

pub(crate) mod bodies;
pub(crate) mod requests;
pub(crate) mod responses;

use parser::{
    BodyFraming, Canonical, ChunkEvent, ChunkedDecoder, ErrorKind, Fields, HeadScan, Limits,
    Method, ParseError, PathOptions, RequestHead, ResponseHead, connection, path, target,
};

#[derive(Clone, Copy)]
pub(crate) enum Want {
    Is(&'static str),
    No(ErrorKind),
}

pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) bytes: &'static [u8],
    pub(crate) want: Want,
}

pub(crate) const fn ok(name: &'static str, bytes: &'static [u8], text: &'static str) -> Row {
    Row { name, bytes, want: Want::Is(text) }
}

pub(crate) const fn no(name: &'static str, bytes: &'static [u8], kind: ErrorKind) -> Row {
    Row { name, bytes, want: Want::No(kind) }
}

pub(crate) type Answer = Result<Option<String>, ParseError>;

/// Small bounds, so that the rows which exceed them stay readable.
pub(crate) fn limits() -> Limits {
    Limits {
        head_bytes_max: 400,
        fields_max: 8,
        target_bytes_max: 60,
        chunk_ext_bytes_max: 20,
        trailer_bytes_max: 60,
    }
}

pub(crate) fn assert_row(row: &Row, answer: &Answer) {
    match (row.want, answer) {
        (Want::Is(text), Ok(Some(got))) => assert_eq!(got, text, "{}", row.name),
        (Want::No(kind), Err(error)) => assert_eq!(error.kind, kind, "{} {error}", row.name),
        (Want::Is(_), got) => panic!("{}: should be accepted, got {got:?}", row.name),
        (Want::No(kind), got) => panic!("{}: should be {kind:?}, got {got:?}", row.name),
    }
}

/// Reads the body of a message whose head is done.
pub(crate) struct BodyReader {
    framing: BodyFraming,
    decoder: ChunkedDecoder,
    scan: HeadScan,
    at: usize,
    data: Vec<u8>,
}

impl BodyReader {
    pub(crate) fn new(framing: BodyFraming, at: usize) -> BodyReader {
        BodyReader {
            framing,
            decoder: ChunkedDecoder::new(&limits()),
            scan: HeadScan::trailers(),
            at,
            data: Vec::new(),
        }
    }

    pub(crate) fn feed(&mut self, buf: &[u8]) -> Answer {
        match self.framing {
            BodyFraming::None => Ok(Some("none".into())),
            BodyFraming::UntilClose => Ok(Some("close".into())),
            BodyFraming::Length(length) => Ok(Some(format!("length {length}"))),
            BodyFraming::Chunked => self.chunks(buf),
        }
    }

    fn chunks(&mut self, buf: &[u8]) -> Answer {
        let moved = |error: ParseError, at: usize| ParseError { at: error.at + at as u32, ..error };
        loop {
            match self.decoder.next(buf, &mut self.at)? {
                ChunkEvent::Data(range) => {
                    assert!(!range.is_empty());
                    self.data.extend_from_slice(&buf[range]);
                }
                ChunkEvent::NeedMore => {
                    assert_eq!(self.at, buf.len());
                    return Ok(None);
                }
                ChunkEvent::Trailers => break,
            }
        }
        assert!(self.decoder.is_at_trailers());
        let rest = &buf[self.at..];
        let end = self.scan.push(rest, &limits()).map_err(|e| moved(e, self.at))?;
        let Some(len) = end else { return Ok(None) };
        let mut fields = Fields::default();
        parser::parse_trailers(&rest[..len], &mut fields, &limits())
            .map_err(|e| moved(e, self.at))?;
        let mut text = format!("chunked {}", String::from_utf8_lossy(&self.data));
        for field in fields.iter() {
            let part = |span: parser::Span| String::from_utf8_lossy(span.of(rest)).into_owned();
            text += &format!(" +{}={}", part(field.name), part(field.value));
        }
        Ok(Some(text))
    }
}

/// Reads one request from a growing buffer, asking every question the gateway asks.
#[derive(Default)]
pub(crate) struct RequestReader {
    scan: HeadScan,
    head: RequestHead,
    said: String,
    body: Option<BodyReader>,
}

impl RequestReader {
    pub(crate) fn feed(&mut self, buf: &[u8]) -> Answer {
        if self.body.is_none() {
            let end = self.head.parse_or_more(buf, &mut self.scan, &limits())?;
            let Some(len) = end else { return Ok(None) };
            assert_eq!(len, self.head.len as usize);
            self.said = describe_request(&self.head, buf)?;
            let framing = parser::request_framing(&self.head, buf)?;
            connection::options(&self.head.fields, buf)?;
            connection::expect(&self.head, buf)?;
            self.body = Some(BodyReader::new(framing, len));
        }
        let body = self.body.as_mut().expect("set above");
        Ok(body.feed(buf)?.map(|body| format!("{} {body}", self.said)))
    }
}

fn describe_request(head: &RequestHead, buf: &[u8]) -> Result<String, ParseError> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let target = target::resolve(head, buf)?;
    let mut out = Vec::new();
    let raw = target.path_of(buf);
    let facts = path::canonical(raw, PathOptions::default(), &mut out)?;
    let path = if facts.canonical == Canonical::AsIs { raw } else { &out };
    let authority = target.authority.map_or("-".into(), |span| text(span.of(buf)));
    let query = target.query.map_or(String::new(), |span| format!("?{}", text(span.of(buf))));
    Ok(format!("{} {}{query} {authority}", text(head.method_text.of(buf)), text(path)))
}

/// Reads one response to a GET (or to `request`) from a growing buffer.
pub(crate) struct ResponseReader {
    scan: HeadScan,
    head: ResponseHead,
    request: Method,
    body: Option<BodyReader>,
}

impl ResponseReader {
    pub(crate) fn new(request: Method) -> ResponseReader {
        ResponseReader {
            scan: HeadScan::response(),
            head: ResponseHead::new(),
            request,
            body: None,
        }
    }

    pub(crate) fn feed(&mut self, buf: &[u8]) -> Answer {
        if self.body.is_none() {
            let end = self.head.parse_or_more(buf, &mut self.scan, &limits())?;
            let Some(len) = end else { return Ok(None) };
            assert_eq!(len, self.head.len as usize);
            let framing = parser::response_framing(&self.head, buf, self.request)?;
            connection::options(&self.head.fields, buf)?;
            self.body = Some(BodyReader::new(framing, len));
        }
        let body = self.body.as_mut().expect("set above");
        let said = self.head.status;
        Ok(body.feed(buf)?.map(|body| format!("{said} {body}")))
    }
}

/// The answer to `bytes` arriving in pieces that end at `ends`.
pub(crate) fn in_pieces(
    bytes: &[u8],
    ends: impl IntoIterator<Item = usize>,
    mut feed: impl FnMut(&[u8]) -> Answer,
) -> Answer {
    for end in ends.into_iter().chain([bytes.len()]) {
        let answer = feed(&bytes[..end])?;
        if answer.is_some() {
            return Ok(answer);
        }
    }
    Ok(None)
}
