//! `encode(parse(x))` means `x`.

mod tables;

use parser::{
    BodyFraming, ChunkEvent, ChunkedDecoder, FieldId, Fields, Limits, Method, RequestHead,
    ResponseHead, encode, request_framing, response_framing,
};
use proptest::prelude::*;
use tables::requests::REQUESTS;
use tables::responses::RESPONSES;
use tables::{RequestReader, ResponseReader, Want, limits};

fn write_fields(out: &mut Vec<u8>, fields: &Fields, buf: &[u8]) {
    for field in fields.iter() {
        encode::field(out, field.name.of(buf), field.value.of(buf));
    }
    encode::end(out);
}

#[test]
fn every_accepted_request_of_the_table_means_the_same_once_written() {
    for row in REQUESTS {
        let Want::Is(meaning) = row.want else { continue };
        let mut head = RequestHead::new();
        head.parse(row.bytes, &limits()).expect("the row is accepted");
        if head.version == parser::Version::Http10 {
            continue;
        }
        let mut out = Vec::new();
        encode::request_line(&mut out, head.method_text.of(row.bytes), head.target.of(row.bytes));
        write_fields(&mut out, &head.fields, row.bytes);
        out.extend_from_slice(&row.bytes[head.len as usize..]);
        let again = RequestReader::default().feed(&out);
        assert_eq!(again, Ok(Some(meaning.to_owned())), "{}", row.name);
    }
}

#[test]
fn every_accepted_response_of_the_table_means_the_same_once_written() {
    for row in RESPONSES {
        let Want::Is(meaning) = row.want else { continue };
        let mut head = ResponseHead::new();
        head.parse(row.bytes, &limits()).expect("the row is accepted");
        let mut out = Vec::new();
        encode::status_line(&mut out, head.status, head.reason.of(row.bytes));
        write_fields(&mut out, &head.fields, row.bytes);
        out.extend_from_slice(&row.bytes[head.len as usize..]);
        let again = ResponseReader::new(Method::Get).feed(&out);
        assert_eq!(again, Ok(Some(meaning.to_owned())), "{}", row.name);
    }
}

#[test]
fn every_reason_phrase_is_read_back() {
    for status in 100..=599 {
        let reason = encode::reason_phrase(status);
        let mut out = Vec::new();
        encode::status_line(&mut out, status, reason.as_bytes());
        encode::end(&mut out);
        let mut head = ResponseHead::new();
        head.parse(&out, &Limits::default()).expect("we read what we write");
        assert_eq!((head.status, head.reason.of(&out)), (status, reason.as_bytes()));
    }
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}".prop_map(String::into_bytes)
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(b'\t'), 0x20..=0x7eu8, 0x80..=0xffu8];
    prop::collection::vec(byte, 0..40).prop_map(|bytes| bytes.trim_ascii().to_vec())
}

fn is_about_framing(name: &[u8]) -> bool {
    matches!(FieldId::of(name), FieldId::ContentLength | FieldId::TransferEncoding)
}

proptest! {
    #[test]
    fn any_fields_are_read_back_in_order(
        fields in prop::collection::vec((name(), value()), 0..80),
        length in any::<Option<u32>>(),
    ) {
        let mut out = Vec::new();
        encode::request_line(&mut out, b"POST", b"/a");
        let mut expected = Vec::new();
        for (name, value) in &fields {
            if !is_about_framing(name) {
                prop_assert!(encode::try_field(&mut out, name, value));
                expected.push((&name[..], &value[..]));
            }
        }
        let mut digits = Vec::new();
        let mut framing = BodyFraming::None;
        if let Some(length) = length {
            encode::decimal(&mut digits, length.into());
            encode::field(&mut out, b"content-length", &digits);
            expected.push((b"content-length", &digits));
            framing = BodyFraming::Length(length.into());
        }
        encode::end(&mut out);
        let mut head = RequestHead::new();
        prop_assert_eq!(head.parse(&out, &Limits::default()), Ok(()));
        let got: Vec<_> =
            head.fields.iter().map(|f| (f.name.of(&out), f.value.of(&out))).collect();
        prop_assert_eq!(got, expected);
        prop_assert_eq!(request_framing(&head, &out), Ok(framing));
    }

    #[test]
    fn any_data_framed_in_any_chunks_is_read_back(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..60), 0..10),
        step in 1usize..40,
    ) {
        let mut out = Vec::new();
        for chunk in &chunks {
            encode::chunk_head(&mut out, chunk.len() as u64);
            out.extend_from_slice(chunk);
            out.extend_from_slice(encode::CHUNK_END);
        }
        out.extend_from_slice(encode::LAST_CHUNK);
        let mut decoder = ChunkedDecoder::new(&Limits::default());
        let mut data = Vec::new();
        for piece in out.chunks(step) {
            let mut at = 0;
            while let ChunkEvent::Data(range) =
                decoder.next(piece, &mut at).expect("we read what we write")
            {
                data.extend_from_slice(&piece[range]);
            }
            prop_assert_eq!(at, piece.len());
        }
        prop_assert!(decoder.is_at_trailers());
        prop_assert_eq!(data, chunks.concat());
    }

    #[test]
    fn the_guards_refuse_what_parse_refuses(value in prop::collection::vec(any::<u8>(), 0..12)) {
        let mut out = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
        out.extend_from_slice(&value);
        out.extend_from_slice(b"\r\n\r\n");
        let mut head = ResponseHead::new();
        let is_read = head.parse(&out, &Limits::default()).is_ok()
            && head.len as usize == out.len()
            && head.fields.len() == 1
            && head.fields.iter().all(|f| f.value.of(&out) == value);
        prop_assert_eq!(encode::is_field_value(&value), is_read);
        let framing = response_framing(&head, &out, Method::Get);
        prop_assert!(!is_read || framing == Ok(BodyFraming::UntilClose));
    }
}
