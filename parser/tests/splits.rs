//! However a message is split into reads, it is read as the same message or refused at the same
//! place for the same reason.

mod tables;

use parser::{BodyFraming, HeadScan, Method, RequestHead};
use tables::bodies::BODIES;
use tables::requests::REQUESTS;
use tables::responses::RESPONSES;
use tables::{Answer, BodyReader, RequestReader, ResponseReader, Row, in_pieces, limits};

/// In two pieces at every place, in three at a few, byte by byte, and with bytes of the next
/// message behind.
fn check<F: FnMut(&[u8]) -> Answer>(rows: &[Row], reader: impl Fn() -> F) {
    for row in rows {
        let bytes = row.bytes;
        let whole = in_pieces(bytes, [], reader());
        for cut in 0..=bytes.len() {
            assert_eq!(in_pieces(bytes, [cut], reader()), whole, "{} at {cut}", row.name);
            let second = cut + (bytes.len() - cut) / 2;
            let ends = [cut, second];
            assert_eq!(in_pieces(bytes, ends, reader()), whole, "{} at {ends:?}", row.name);
        }
        assert_eq!(in_pieces(bytes, 0..bytes.len(), reader()), whole, "{} by bytes", row.name);
        if whole.as_ref().is_ok_and(Option::is_some) {
            let followed = [bytes, b"GET /next HTTP/1.1\r\n"].concat();
            assert_eq!(in_pieces(&followed, [], reader()), whole, "{} and more", row.name);
        }
    }
}

#[test]
fn requests_do_not_depend_on_splits() {
    check(REQUESTS, || {
        let mut reader = RequestReader::default();
        move |buf: &[u8]| reader.feed(buf)
    });
}

#[test]
fn responses_do_not_depend_on_splits() {
    check(RESPONSES, || {
        let mut reader = ResponseReader::new(Method::Get);
        move |buf: &[u8]| reader.feed(buf)
    });
}

#[test]
fn chunked_bodies_do_not_depend_on_splits() {
    check(BODIES, || {
        let mut reader = BodyReader::new(BodyFraming::Chunked, 0);
        move |buf: &[u8]| reader.feed(buf)
    });
}

/// `HeadScan` with `RequestHead::parse` says what `parse_or_more` says.
#[test]
fn scan_then_parse_equals_both_in_one() {
    for row in REQUESTS {
        let (mut one, mut two) = (RequestHead::new(), RequestHead::new());
        let both = one.parse_or_more(row.bytes, &mut HeadScan::request(), &limits());
        let apart = HeadScan::request().push(row.bytes, &limits()).and_then(|end| {
            end.map(|len| two.parse(&row.bytes[..len], &limits()).map(|()| len)).transpose()
        });
        assert_eq!(apart, both, "{}", row.name);
    }
}
