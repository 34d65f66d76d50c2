//! The quick reader says yes only to what the strict one accepts, with the same answer, and it
//! says yes to what is usually sent.

mod tables;

use parser::{Field, HeadScan, Limits, Method, RequestHead, ResponseHead, Span, Version};
use tables::requests::REQUESTS;
use tables::responses::RESPONSES;

/// Heads that must not take the slow way. They are also what mutants are made of.
const USUAL_REQUESTS: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"HEAD /a HTTP/1.1\r\nhost: a\r\nuser-agent: curl/8.5.0\r\naccept: */*\r\n\r\n",
    b"POST /upload?x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\
      Expect: 100-continue\r\n\r\nhello",
    b"PUT /a/b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n0\r\n\r\n",
    b"DELETE /x HTTP/1.1\r\nHOST: a\r\nIF-MATCH: \"1\"\r\n\r\n",
    b"PATCH /x HTTP/1.1\r\nHost:a\r\nX-Empty:\r\nX-Spaces: \t b \t \r\nX-Tab: a\tb\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\nOrigin: http://a\r\n\r\n",
    b"PROPFIND /dav/ HTTP/1.1\r\nHost: a\r\nDepth: 1\r\n\r\n",
    b"GET http://a.example:80/b HTTP/1.1\r\nHost: a.example:80\r\nVia: 1.1 x\r\n\r\n",
    b"GET /caf\xc3\xa9 HTTP/1.1\r\nHost: a\r\nX-Name: \xe9\xff\r\n\r\n",
    b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
      HTTP2-Settings: AAMAAABkAAQ\r\n\r\n",
    b"GET /t HTTP/1.1\r\nHost: a\r\nX-B3-TraceId: 1\r\nx_under: 2\r\nA.B: 3\r\n\
      A-Name-Of-Just-24-Letters: 4\r\nAccess-Control-Request-Headers: a, b\r\n\r\n",
    b"GET /p HTTP/1.1\r\nHost: a\r\nForwarded: for=1.2.3.4\r\nX-Forwarded-For: 1.2.3.4\r\n\
      X-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\nX-Request-Id: 7f3c\r\n\r\n",
    b"GET /static/app.js HTTP/1.1\r\nHost: www.example.com\r\nConnection: keep-alive\r\n\
      sec-ch-ua: \"Chromium\";v=\"124\"\r\nsec-ch-ua-mobile: ?0\r\n\
      User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)\r\n\
      Referer: https://www.example.com/\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
      Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\r\n",
];

const USUAL_RESPONSES: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Wed, 25 Nov 2026 12:30:54 GMT\r\n\
      Content-Type: application/octet-stream\r\nContent-Length: 3\r\n\
      Last-Modified: Wed, 25 Nov 2026 12:30:54 GMT\r\nConnection: keep-alive\r\n\
      ETag: \"6744707e-80\"\r\nAccept-Ranges: bytes\r\n\r\nabc",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.0 404 \r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 599 caf\xe9 au lait\r\nX: y\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a=b; Path=/; HttpOnly\r\n\
      Set-Cookie: c=d\r\nCache-Control: no-cache\r\nContent-Encoding: gzip\r\n\r\n",
    b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/2\r\nKeep-Alive: timeout=5\r\n\r\n",
    b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\
      WWW-Authenticate: Basic realm=\"a\"\r\nStrict-Transport-Security: max-age=1\r\n\r\n",
];

type Fields = Vec<Field>;

/// All that a reader says of a head, and what a head says of its fields.
fn request(head: &RequestHead) -> (Method, Span, Span, Version, u32, Fields) {
    let fields: Fields = head.fields.iter().copied().collect();
    check_fields(&head.fields);
    (head.method, head.method_text, head.target, head.version, head.len, fields)
}

fn response(head: &ResponseHead) -> (u16, Span, Version, u32, Fields) {
    let fields: Fields = head.fields.iter().copied().collect();
    check_fields(&head.fields);
    (head.status, head.reason, head.version, head.len, fields)
}

/// Each question about fields is answered as by a walk over all of them.
fn check_fields(fields: &parser::Fields) {
    for &(id, _) in parser::FieldId::KNOWN {
        let walk = || fields.iter().filter(|field| field.id == id);
        assert!(fields.all(id).eq(walk()));
        assert_eq!(fields.get(id), walk().next());
        assert_eq!(fields.has(id), walk().next().is_some());
    }
}

/// `true`: the quick reader said yes, as the strict one does.
fn same_request(bytes: &[u8], limits: &Limits, old: &mut RequestHead) -> bool {
    let Some(len) = old.parse_quick(bytes, limits) else { return false };
    let mut strict = RequestHead::new();
    let by_strict = strict.parse_strict(bytes, &mut HeadScan::request(), limits);
    let text = || String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(by_strict, Ok(Some(len)), "{}", text());
    assert_eq!(request(old), request(&strict), "{}", text());
    true
}

fn same_response(bytes: &[u8], limits: &Limits, old: &mut ResponseHead) -> bool {
    let Some(len) = old.parse_quick(bytes, limits) else { return false };
    let mut strict = ResponseHead::new();
    let by_strict = strict.parse_strict(bytes, &mut HeadScan::response(), limits);
    let text = || String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(by_strict, Ok(Some(len)), "{}", text());
    assert_eq!(response(old), response(&strict), "{}", text());
    true
}

/// Storage that has seen other heads, as a connection's has.
fn used() -> (RequestHead, ResponseHead) {
    (RequestHead::with_capacity(1), ResponseHead::with_capacity(1))
}

#[test]
fn usual_heads_are_read_quickly_and_as_by_the_strict_reader() {
    let (mut ask, mut answer) = used();
    for bytes in USUAL_REQUESTS {
        let text = String::from_utf8_lossy(bytes);
        assert!(same_request(bytes, &Limits::default(), &mut ask), "slow: {text}");
    }
    for bytes in USUAL_RESPONSES {
        let text = String::from_utf8_lossy(bytes);
        assert!(same_response(bytes, &Limits::default(), &mut answer), "slow: {text}");
    }
}

/// A head that ends at the end of its buffer is read without a byte behind it.
#[test]
fn no_head_is_quick_before_its_end_has_come() {
    let (mut ask, mut answer) = used();
    for bytes in USUAL_REQUESTS {
        ask.parse(bytes, &Limits::default()).expect("it is good");
        let len = ask.len as usize;
        for end in 0..=bytes.len() {
            let is_read = same_request(&bytes[..end], &Limits::default(), &mut ask);
            assert_eq!(is_read, end >= len);
        }
    }
    for bytes in USUAL_RESPONSES {
        answer.parse(bytes, &Limits::default()).expect("it is good");
        let len = answer.len as usize;
        for end in 0..=bytes.len() {
            let is_read = same_response(&bytes[..end], &Limits::default(), &mut answer);
            assert_eq!(is_read, end >= len);
        }
    }
}

#[test]
fn every_message_of_the_tables_is_read_alike_in_every_part() {
    let (mut ask, mut answer) = used();
    for row in REQUESTS.iter().chain(RESPONSES) {
        for cut in 0..=row.bytes.len() {
            for part in [&row.bytes[..cut], &row.bytes[cut..]] {
                same_request(part, &tables::limits(), &mut ask);
                same_response(part, &tables::limits(), &mut answer);
            }
        }
    }
}

/// Each byte replaced by each other, taken away, doubled.
fn mutants(bytes: &[u8], mut check: impl FnMut(&[u8])) {
    let mut mutant = bytes.to_vec();
    for at in 0..bytes.len() {
        for b in 0..=255 {
            mutant[at] = b;
            check(&mutant);
        }
        mutant[at] = bytes[at];
        check(&[&bytes[..at], &bytes[at + 1..]].concat());
        check(&[&bytes[..=at], &bytes[at..]].concat());
    }
}

#[test]
fn every_mutant_of_a_usual_head_is_read_alike_or_left_to_the_strict_reader() {
    let (mut ask, mut answer) = used();
    let limits = Limits::default();
    let (mut yes, mut no) = (0, 0);
    for bytes in USUAL_REQUESTS {
        mutants(bytes, |mutant| match same_request(mutant, &limits, &mut ask) {
            true => yes += 1,
            false => no += 1,
        });
    }
    for bytes in USUAL_RESPONSES {
        mutants(bytes, |mutant| match same_response(mutant, &limits, &mut answer) {
            true => yes += 1,
            false => no += 1,
        });
    }
    // Else the test would say nothing.
    assert!(yes > 100_000 && no > 100_000, "{yes} {no}");
}

/// Names of every length, values of every length, at every distance from the buffer's end.
#[test]
fn lengths_and_distances_do_not_matter() {
    let (mut ask, _) = used();
    for name_len in 1..40 {
        for value_len in 0..80 {
            for (pad, end) in [("", ""), (" ", ""), ("\t", " "), (" ", "\t "), ("  ", "")] {
                let (name, value) = ("n".repeat(name_len), "v".repeat(value_len));
                let mut text = format!("GET / HTTP/1.1\r\n{name}:{pad}{value}{end}\r\n\r\n");
                for _ in 0..9 {
                    let is_read = same_request(text.as_bytes(), &Limits::default(), &mut ask);
                    assert!(is_read, "{text}");
                    text.push('\x01');
                }
            }
        }
    }
}

#[test]
fn each_limit_is_exact_in_both_readers() {
    let bytes = b"GET /target HTTP/1.1\r\nHost: a\r\nVia: b\r\nVia: c\r\n\r\n";
    let fits = Limits {
        head_bytes_max: bytes.len() as u32,
        fields_max: 3,
        target_bytes_max: 7,
        ..Limits::default()
    };
    let (mut ask, _) = used();
    assert!(same_request(bytes, &fits, &mut ask));
    for limits in [
        Limits { head_bytes_max: fits.head_bytes_max - 1, ..fits },
        Limits { fields_max: 2, ..fits },
        Limits { target_bytes_max: 6, ..fits },
    ] {
        assert!(!same_request(bytes, &limits, &mut ask));
        assert!(ask.parse_strict(bytes, &mut HeadScan::request(), &limits).is_err());
    }
}

/// What a target is known to be while it is resolved is what a look at its path alone says, and
/// what makes a path unusual is seen wherever it stands.
#[test]
fn a_plain_path_is_canonical_as_it_is() {
    let (mut ask, _) = used();
    let mut out = Vec::new();
    let unusual = ["//", "/.", "%", "\\", "\u{e9}", "?", "?a=/./b%"];
    for len in 1..40 {
        for at in 0..=len {
            for middle in unusual.iter().chain(&["", "a.b", ".", "-~!"]) {
                let path = format!("/{}{middle}{}", "a".repeat(at), "/b".repeat(len - at));
                let bytes = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
                assert!(same_request(&bytes, &Limits::default(), &mut ask), "{path}");
                let target = parser::target::resolve(&ask, &bytes).expect("it is a target");
                let raw = target.path_of(&bytes);
                let is_plain = !unusual.iter().any(|part| path.contains(part));
                assert_eq!(target.is_plain, is_plain, "{path}");
                if is_plain {
                    let facts = parser::path::canonical(raw, Default::default(), &mut out);
                    let facts = facts.expect("it is a path");
                    assert_eq!(facts.canonical, parser::Canonical::AsIs);
                    assert!(!facts.had_double_slash && !facts.had_encoded_slash);
                }
                assert_eq!(raw.len(), path.find('?').unwrap_or(path.len()));
            }
        }
    }
}
