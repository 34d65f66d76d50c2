//! Chunked bodies: splits don't matter, and the data framed anew is the same data.

use parser::{
    ChunkEvent, ChunkedDecoder, Fields, HeadScan, Limits, ParseError, encode, parse_trailers,
};

use crate::{cuts, limits};

#[derive(PartialEq, Eq, Debug, Default)]
struct Body {
    data: Vec<u8>,
    trailers: Vec<(Vec<u8>, Vec<u8>)>,
    /// Bytes of the coded body.
    len: usize,
    is_whole: bool,
}

/// Reads `bytes` as they come in pieces ending at `ends`. With `forget`, the decoder sees each
/// piece in a buffer of its own, as after bytes that were passed on are dropped.
fn read(bytes: &[u8], ends: &[usize], forget: bool, limits: &Limits) -> Result<Body, ParseError> {
    let mut body = Body::default();
    let mut decoder = ChunkedDecoder::new(limits);
    let mut scan = HeadScan::trailers();
    let mut at = 0;
    for &end in ends {
        let base = if forget { at } else { 0 };
        let mut place = at - base;
        let buf = &bytes[base..end];
        loop {
            let before = place;
            let moved = |e: ParseError| ParseError { at: e.at + base as u32, ..e };
            match decoder.next(buf, &mut place).map_err(moved)? {
                ChunkEvent::Data(range) => {
                    assert!(range.start >= before && range.end == place && !range.is_empty());
                    body.data.extend_from_slice(&buf[range]);
                }
                ChunkEvent::NeedMore => {
                    assert_eq!(place, buf.len());
                    break;
                }
                ChunkEvent::Trailers => {
                    assert!(decoder.is_at_trailers());
                    at = base + place;
                    let rest = &bytes[at..end];
                    let moved = |e: ParseError| ParseError { at: e.at + at as u32, ..e };
                    if let Some(len) = scan.push(rest, limits).map_err(moved)? {
                        let mut fields = Fields::default();
                        parse_trailers(&rest[..len], &mut fields, limits).map_err(moved)?;
                        let text = |span: parser::Span| span.of(rest).to_vec();
                        body.trailers =
                            fields.iter().map(|f| (text(f.name), text(f.value))).collect();
                        body.len = at + len;
                        body.is_whole = true;
                        return Ok(body);
                    }
                    break;
                }
            }
        }
        at = base + place;
    }
    Ok(body)
}

pub fn chunked(bytes: &[u8]) {
    let len = bytes.len();
    let small = &limits();
    let whole = read(bytes, &[len], false, small);
    let [a, b, c] = cuts(bytes);
    assert_eq!(
        read(bytes, &[a, b, c, len], false, small),
        whole,
        "the answer depends on the split"
    );
    assert_eq!(
        read(bytes, &[a, b, c, len], true, small),
        whole,
        "the answer depends on the buffer"
    );
    if len <= 256 {
        let each: Vec<usize> = (0..=len).collect();
        assert_eq!(read(bytes, &each, true, small), whole, "the answer depends on single bytes");
    }
    let Ok(body) = whole else { return };
    if !body.is_whole {
        return;
    }
    let mut out = Vec::new();
    for piece in body.data.chunks(7) {
        encode::chunk_head(&mut out, piece.len() as u64);
        out.extend_from_slice(piece);
        out.extend_from_slice(encode::CHUNK_END);
    }
    out.extend_from_slice(encode::LAST_CHUNK);
    for (name, value) in &body.trailers {
        assert!(encode::is_token(name) && encode::is_field_value(value));
        let _ = parser::connection::is_forbidden_trailer(name);
        encode::field(&mut out, name, value);
    }
    encode::end(&mut out);
    // The space after each colon may make trailers longer than the small limit.
    let again = read(&out, &[out.len()], false, &Limits::default());
    let again = again.expect("what was accepted is accepted once framed anew");
    assert_eq!((&again.data, &again.trailers), (&body.data, &body.trailers));
    assert!(again.is_whole && again.len == out.len());
}
