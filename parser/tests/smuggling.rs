//! Messages that two parsers could read differently are refused, in both directions, and their
//! honest neighbours are accepted.

mod tables;

use parser::{BodyFraming, Method};
use tables::bodies::BODIES;
use tables::requests::REQUESTS;
use tables::responses::RESPONSES;
use tables::{BodyReader, RequestReader, ResponseReader, assert_row};

#[test]
fn requests_are_read_in_one_way_or_refused() {
    for row in REQUESTS {
        assert_row(row, &RequestReader::default().feed(row.bytes));
    }
}

#[test]
fn responses_are_read_in_one_way_or_refused() {
    for row in RESPONSES {
        assert_row(row, &ResponseReader::new(Method::Get).feed(row.bytes));
    }
}

#[test]
fn chunked_bodies_are_read_in_one_way_or_refused() {
    for row in BODIES {
        assert_row(row, &BodyReader::new(BodyFraming::Chunked, 0).feed(row.bytes));
    }
}

/// Strictness is symmetric: the field part of every request is refused in a response as well.
#[test]
fn what_is_refused_in_request_fields_is_refused_in_response_fields() {
    let mut rows_count = 0;
    for row in REQUESTS {
        let tables::Want::No(kind) = row.want else { continue };
        let Some(fields) = row.bytes.strip_prefix(b"POST / HTTP/1.1\r\nHost: a\r\n") else {
            continue;
        };
        let mut response = b"HTTP/1.1 200 OK\r\n".to_vec();
        response.extend_from_slice(fields);
        let answer = ResponseReader::new(Method::Get).feed(&response);
        assert_eq!(answer.map_err(|e| e.kind), Err(kind), "{}", row.name);
        rows_count += 1;
    }
    assert!(rows_count > 20);
}

#[test]
fn the_tables_have_their_size() {
    assert!(REQUESTS.len() + RESPONSES.len() + BODIES.len() >= 200);
}
