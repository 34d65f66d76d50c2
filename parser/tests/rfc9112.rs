//! One module per section; each rule has a test that names it. What the tables of `smuggling`
//! cover row by row is not repeated here.

use parser::{
    BodyFraming, ChunkEvent, ChunkedDecoder, ErrorKind, Fields, HeadScan, Limits, Method,
    RequestHead, ResponseHead, Version,
};

fn request(bytes: &[u8]) -> Result<RequestHead, ErrorKind> {
    let mut head = RequestHead::new();
    head.parse(bytes, &Limits::default()).map(|()| head).map_err(|error| error.kind)
}

fn response(bytes: &[u8]) -> Result<ResponseHead, ErrorKind> {
    let mut head = ResponseHead::new();
    head.parse(bytes, &Limits::default()).map(|()| head).map_err(|error| error.kind)
}

/// A GET with these field lines beside Host.
fn with_fields(fields: &str) -> (RequestHead, Vec<u8>) {
    let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes();
    (request(&bytes).expect("the fields are well-formed"), bytes)
}

mod section_2_message {
    use super::*;

    #[test]
    fn spans_name_the_parts_of_a_request_after_an_empty_line() {
        let buf = b"\r\nPOST /a?b HTTP/1.0\r\nHost: \t x \r\nEmpty:\r\n\r\nbody";
        let head = request(buf).expect("good");
        assert_eq!(head.method, Method::Post);
        assert_eq!(head.method_text.of(buf), b"POST");
        assert_eq!(head.target.of(buf), b"/a?b");
        assert_eq!(head.version, Version::Http10);
        assert_eq!(head.len as usize, buf.len() - 4);
        let fields: Vec<_> =
            head.fields.iter().map(|f| (f.name.of(buf), f.value.of(buf))).collect();
        assert_eq!(fields, [(&b"Host"[..], &b"x"[..]), (b"Empty", b"")]);
    }

    #[test]
    fn an_unfinished_head_is_incomplete_for_parse_and_none_for_scan() {
        let buf = b"GET / HTTP/1.1\r\nHost: a\r\n";
        assert_eq!(request(buf).map(|_| ()), Err(ErrorKind::Incomplete));
        assert_eq!(HeadScan::request().push(buf, &Limits::default()), Ok(None));
        assert_eq!(HeadScan::request().push(b"", &Limits::default()), Ok(None));
        assert_eq!(HeadScan::request().push(b"\r\n", &Limits::default()), Ok(None));
    }

    #[test]
    fn a_bare_lf_is_refused_as_soon_as_it_is_seen() {
        let error = HeadScan::request().push(b"GET / HTTP/1.1\n", &Limits::default());
        assert_eq!(error.map_err(|e| (e.kind, e.at)), Err((ErrorKind::BareLf, 14)));
    }

    #[test]
    fn a_control_byte_is_refused_before_its_line_is_whole() {
        let error = HeadScan::request().push(b"GE\x01", &Limits::default());
        assert_eq!(error.map_err(|e| (e.kind, e.at)), Err((ErrorKind::ControlByte, 2)));
    }

    #[test]
    fn a_head_of_exactly_the_limit_is_accepted_and_one_byte_more_is_431() {
        let buf = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let limits = |head_bytes_max| Limits { head_bytes_max, ..Limits::default() };
        let len = buf.len() as u32;
        let mut head = RequestHead::new();
        assert_eq!(head.parse(buf, &limits(len)), Ok(()));
        for max in [len - 1, len - 2, 10] {
            let error = head.parse(buf, &limits(max)).expect_err("too long");
            assert_eq!((error.kind, error.kind.status()), (ErrorKind::HeadTooLong, 431));
            let pushed = HeadScan::request().push(buf, &limits(max));
            assert_eq!(pushed.map_err(|e| e.kind), Err(ErrorKind::HeadTooLong));
        }
        let endless = HeadScan::request().push(&buf[..len as usize - 1], &limits(len - 1));
        assert_eq!(endless.map_err(|e| e.kind), Err(ErrorKind::HeadTooLong));
    }

    #[test]
    fn a_long_target_is_414_before_the_head_is_too_long() {
        let limits = Limits { target_bytes_max: 4, head_bytes_max: 64, ..Limits::default() };
        let mut head = RequestHead::new();
        let good = b"GET /abc HTTP/1.1\r\n\r\n";
        assert_eq!(head.parse(good, &limits), Ok(()));
        let long = [b"GET /".to_vec(), vec![b'a'; 100]].concat();
        let error = HeadScan::request().push(&long, &limits).expect_err("too long");
        assert_eq!((error.kind.status(), error.at), (414, 8));
    }

    #[test]
    fn fields_are_counted_and_those_above_the_bound_refused() {
        for count in [0, 1, 63, 64, 65, 100] {
            let buf = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(count));
            assert_eq!(request(buf.as_bytes()).map(|head| head.fields.len()), Ok(count));
            let buf = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(count));
            assert_eq!(response(buf.as_bytes()).map(|head| head.fields.len()), Ok(count));
        }
        let buf = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(101));
        assert_eq!(request(buf.as_bytes()).map(|_| ()), Err(ErrorKind::TooManyFields));
    }

    #[test]
    fn a_head_keeps_nothing_of_the_one_before() {
        let limits = Limits::default();
        let mut head = RequestHead::new();
        let first = b"POST /long HTTP/1.0\r\nContent-Length: 1\r\nTe: a\r\n\r\n";
        head.parse(first, &limits).expect("good");
        head.parse(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", &limits).expect("good");
        assert_eq!((head.method, head.version), (Method::Get, Version::Http11));
        assert_eq!(head.fields.len(), 1);
        assert!(!head.fields.has(parser::FieldId::ContentLength));
    }
}

mod section_3_request_line {
    use super::*;
    use parser::target::{check_authority, resolve};
    use parser::{Form, path};

    fn target(line: &str) -> Result<(Form, String, String), ErrorKind> {
        let buf = format!("{line} HTTP/1.1\r\nHost: h:1\r\n\r\n").into_bytes();
        let head = request(&buf)?;
        let target = resolve(&head, &buf).map_err(|error| error.kind)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let authority = target.authority.map_or(String::new(), |span| text(span.of(&buf)));
        Ok((target.form, authority, text(target.path_of(&buf))))
    }

    #[test]
    fn each_form_has_its_effective_authority_and_path() {
        let of = |form, authority: &str, path: &str| Ok((form, authority.into(), path.into()));
        assert_eq!(target("GET /a?b"), of(Form::Origin, "h:1", "/a"));
        assert_eq!(target("GET //a"), of(Form::Origin, "h:1", "//a"));
        assert_eq!(target("GET HtTp://x:2/a?b"), of(Form::Absolute, "x:2", "/a"));
        assert_eq!(target("GET http://x"), of(Form::Absolute, "x", "/"));
        assert_eq!(target("GET http://x?q"), of(Form::Absolute, "x", "/"));
        assert_eq!(target("OPTIONS *"), of(Form::Asterisk, "h:1", "*"));
        assert_eq!(target("OPTIONS http://x"), of(Form::Asterisk, "x", "*"));
        assert_eq!(target("OPTIONS http://x?q"), of(Form::Absolute, "x", "/"));
        assert_eq!(target("OPTIONS **"), Err(ErrorKind::BadTarget));
    }

    #[test]
    fn connect_and_trace_are_405_whatever_their_target() {
        for line in ["CONNECT a:1", "CONNECT /", "TRACE /", "TRACE *"] {
            assert_eq!(target(line).map_err(ErrorKind::status), Err(405), "{line}");
        }
    }

    #[test]
    fn a_query_may_be_empty_and_is_not_decoded() {
        let buf = b"GET /a?%zz&b=/../? HTTP/1.1\r\nHost: a\r\n\r\n";
        let head = request(buf).expect("good");
        let query = resolve(&head, buf).expect("good").query.expect("a query");
        assert_eq!(query.of(buf), b"%zz&b=/../?");
        let buf = b"GET /a? HTTP/1.1\r\nHost: a\r\n\r\n";
        let head = request(buf).expect("good");
        assert!(resolve(&head, buf).expect("good").query.expect("a query").is_empty());
    }

    #[test]
    fn an_authority_is_host_and_port_and_nothing_else() {
        assert_eq!(check_authority(b"a"), Ok((1, None)));
        assert_eq!(check_authority(b"a-b.c_d.example.:80"), Ok((16, Some(80))));
        assert_eq!(check_authority(b"127.0.0.1:1"), Ok((9, Some(1))));
        assert_eq!(check_authority(b"[::1]"), Ok((5, None)));
        assert_eq!(check_authority(b"[::ffff:1.2.3.4]:9"), Ok((16, Some(9))));
        for (text, kind) in [
            ("", ErrorKind::BadHost),
            (":80", ErrorKind::BadHost),
            ("a:", ErrorKind::BadPort),
            ("a:080", ErrorKind::BadPort),
            ("a:+1", ErrorKind::BadPort),
            ("a:99999", ErrorKind::BadPort),
            ("a:1:2", ErrorKind::BadPort),
            ("a,b", ErrorKind::BadHost),
            ("a b", ErrorKind::BadHost),
            ("a%41", ErrorKind::BadHost),
            ("a?b", ErrorKind::BadHost),
            ("\u{e9}", ErrorKind::BadHost),
            ("u@a", ErrorKind::Userinfo),
            ("a:80@b", ErrorKind::Userinfo),
            ("[]", ErrorKind::BadHost),
            ("[::1", ErrorKind::BadHost),
            ("[::1]x", ErrorKind::BadHost),
            ("[fe80::1%eth0]", ErrorKind::BadHost),
            ("[v1.a]", ErrorKind::BadHost),
            ("[1.2.3.4]", ErrorKind::BadHost),
        ] {
            assert_eq!(check_authority(text.as_bytes()), Err(kind), "{text}");
        }
    }

    #[test]
    fn an_empty_path_is_the_root_and_the_asterisk_stays() {
        let mut out = Vec::new();
        let facts = path::canonical(b"", Default::default(), &mut out).expect("good");
        assert_eq!((facts.canonical, &out[..]), (parser::Canonical::Rewritten, &b"/"[..]));
        let facts = path::canonical(b"*", Default::default(), &mut out).expect("good");
        assert_eq!(facts.canonical, parser::Canonical::AsIs);
    }
}

mod section_4_status_line {
    use super::*;

    #[test]
    fn spans_name_the_parts_of_a_response() {
        let buf = b"HTTP/1.0 404 Not\tF\xe9und\r\nServer: x\r\n\r\n";
        let head = response(buf).expect("good");
        assert_eq!((head.status, head.version), (404, Version::Http10));
        assert_eq!(head.reason.of(buf), b"Not\tF\xe9und");
        let buf = b"HTTP/1.1 200 \r\n\r\n";
        assert!(response(buf).expect("good").reason.is_empty());
    }

    #[test]
    fn a_line_without_the_space_before_its_reason_is_refused() {
        assert_eq!(response(b"HTTP/1.1 200\r\n\r\n").map(|_| ()), Err(ErrorKind::BadStatusLine));
    }
}

mod section_5_fields {
    use super::*;

    #[test]
    fn white_space_around_a_value_is_no_part_of_it_and_inside_it_is() {
        let (head, buf) = with_fields("X: \t a \t b\t \r\n");
        let field = head.fields.named(&buf, b"x").next().expect("there is one");
        assert_eq!(field.value.of(&buf), b"a \t b");
    }

    #[test]
    fn the_limit_on_fields_is_exact_and_431() {
        let limits = Limits { fields_max: 2, ..Limits::default() };
        let mut head = RequestHead::new();
        assert_eq!(head.parse(b"GET / HTTP/1.1\r\na:\r\nb:\r\n\r\n", &limits), Ok(()));
        let error = head.parse(b"GET / HTTP/1.1\r\na:\r\nb:\r\nc:\r\n\r\n", &limits);
        let error = error.expect_err("three fields");
        assert_eq!((error.kind.status(), error.at), (431, 24));
    }
}

mod section_6_framing {
    use super::*;
    use parser::{request_framing, response_framing};

    fn to(method: Method, head: &str) -> Result<BodyFraming, ErrorKind> {
        let buf = format!("{head}\r\n\r\n").into_bytes();
        response_framing(&response(&buf)?, &buf, method).map_err(|error| error.kind)
    }

    #[test]
    fn a_request_without_framing_fields_has_no_body_and_length_0_is_said() {
        let (head, buf) = with_fields("");
        assert_eq!(request_framing(&head, &buf), Ok(BodyFraming::None));
        let (head, buf) = with_fields("Content-Length: 0\r\n");
        assert_eq!(request_framing(&head, &buf), Ok(BodyFraming::Length(0)));
    }

    #[test]
    fn an_answer_to_head_has_no_body_but_its_fields_are_checked() {
        let none = Ok(BodyFraming::None);
        assert_eq!(to(Method::Head, "HTTP/1.1 200 OK\r\nContent-Length: 5"), none);
        assert_eq!(to(Method::Head, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked"), none);
        assert_eq!(to(Method::Head, "HTTP/1.1 200 OK"), none);
        let bad = to(Method::Head, "HTTP/1.1 200 OK\r\nContent-Length: x");
        assert_eq!(bad, Err(ErrorKind::BadLength));
        let close = Ok(BodyFraming::UntilClose);
        assert_eq!(to(Method::Get, "HTTP/1.1 200 OK"), close);
        assert_eq!(to(Method::Get, "HTTP/1.0 200 OK"), close);
        assert_eq!(to(Method::Get, "HTTP/1.1 205 Reset Content"), close);
    }

    #[test]
    fn an_unknown_coding_is_501_only_before_chunked() {
        let coding = |value: &str| {
            let (head, buf) = with_fields(&format!("Transfer-Encoding: {value}\r\n"));
            request_framing(&head, &buf).map_err(|error| error.kind.status())
        };
        assert_eq!(coding("chunked"), Ok(BodyFraming::Chunked));
        assert_eq!(coding("CHUNKED"), Ok(BodyFraming::Chunked));
        assert_eq!(coding("gzip, chunked"), Err(501));
        assert_eq!(coding("a ,b,\tchunked"), Err(501));
        for value in [
            "gzip",
            "chunked, gzip",
            "chunked, chunked",
            "chunked, x, chunked",
            ",",
            "a;b, chunked",
        ] {
            assert_eq!(coding(value), Err(400), "{value}");
        }
    }
}

mod section_7_chunked {
    use super::*;
    use parser::connection::is_forbidden_trailer;

    #[test]
    fn data_is_yielded_as_it_comes_and_the_decoder_needs_no_earlier_bytes() {
        let mut decoder = ChunkedDecoder::new(&Limits::default());
        let mut next = |buf: &[u8]| {
            let mut at = 0;
            let event = decoder.next(buf, &mut at).expect("good");
            (event, at)
        };
        assert_eq!(next(b"5"), (ChunkEvent::NeedMore, 1));
        assert_eq!(next(b"\r\nab"), (ChunkEvent::Data(2..4), 4));
        assert_eq!(next(b""), (ChunkEvent::NeedMore, 0));
        assert_eq!(next(b"cde\r"), (ChunkEvent::Data(0..3), 3));
        assert_eq!(next(b"\r\n0\r\nA: b"), (ChunkEvent::Trailers, 5));
        assert_eq!(next(b""), (ChunkEvent::Trailers, 0));
    }

    #[test]
    fn extensions_are_bounded_per_chunk_and_over_the_body() {
        let limits = Limits { chunk_ext_bytes_max: 4, ..Limits::default() };
        let read = |body: &[u8]| {
            let (mut decoder, mut at) = (ChunkedDecoder::new(&limits), 0);
            loop {
                match decoder.next(body, &mut at) {
                    Ok(ChunkEvent::Data(_)) => {}
                    Ok(event) => return Ok(event),
                    Err(error) => return Err(error.kind),
                }
            }
        };
        assert_eq!(read(b"1;abc\r\nx\r\n0\r\n"), Ok(ChunkEvent::Trailers));
        assert_eq!(read(b"1;abcd\r\nx\r\n0\r\n"), Err(ErrorKind::ChunkExtensionTooLong));
        let sixteen = b"1;abc\r\nx\r\n".repeat(16);
        assert_eq!(read(&[&sixteen[..], b"0\r\n"].concat()), Ok(ChunkEvent::Trailers));
        let one_more = [&sixteen[..], b"0;a\r\n"].concat();
        assert_eq!(read(&one_more), Err(ErrorKind::ChunkExtensionTooLong));
    }

    #[test]
    fn the_largest_chunk_is_2_63_minus_1() {
        let first = |line: &[u8]| {
            let (mut decoder, mut at) = (ChunkedDecoder::new(&Limits::default()), 0);
            decoder.next(line, &mut at).map_err(|error| error.kind)
        };
        assert_eq!(first(b"7fffffffffffffff\r\nx"), Ok(ChunkEvent::Data(18..19)));
        assert_eq!(first(b"8000000000000000\r\nx"), Err(ErrorKind::ChunkTooLarge));
        assert_eq!(first(b"fffffffffffffffff\r\n"), Err(ErrorKind::ChunkTooLarge));
    }

    #[test]
    fn a_trailer_section_is_parsed_like_fields_and_must_be_whole() {
        let mut fields = Fields::default();
        let limits = Limits::default();
        assert_eq!(parser::parse_trailers(b"\r\n", &mut fields, &limits), Ok(()));
        assert!(fields.is_empty());
        let buf = b"Content-Digest: a\r\nhost:b\r\n\r\n";
        assert_eq!(parser::parse_trailers(buf, &mut fields, &limits), Ok(()));
        assert_eq!(fields.len(), 2);
        let half = parser::parse_trailers(b"a: b\r\n", &mut fields, &limits);
        assert_eq!(half.map_err(|e| e.kind), Err(ErrorKind::Incomplete));
    }

    #[test]
    fn trailers_may_not_frame_route_or_authenticate_in_any_spelling() {
        for name in [
            "Content-Length",
            "content_length",
            "Transfer_Encoding",
            "HOST",
            "Authorization",
            "cookie",
            "X-Forwarded-For",
            "x_forwarded_proto",
            "X-Forwarded",
            "X-Consumer-Name",
            "X-Client-Cert-Subject",
            "x_client_cert_san",
            "x_consumer_name",
            "X_Real_IP",
            "Connection",
            "If-None-Match",
            "Content-Type",
            "Proxy-Anything",
            "not a token",
            "",
        ] {
            assert!(is_forbidden_trailer(name.as_bytes()), "{name}");
        }
        for name in
            ["ETag", "Server-Timing", "Content-Digest", "grpc-status", "X-Checksum", "X-Consumer"]
        {
            assert!(!is_forbidden_trailer(name.as_bytes()), "{name}");
        }
    }
}

mod section_9_connection {
    use super::*;
    use parser::connection::{
        Expect, expect, is_hop_by_hop, is_nominated, is_persistent, list_members, max_forwards,
        may_upgrade, options, upgrade_protocols,
    };
    use parser::{ConnectionOptions, FieldId};

    fn read(fields: &str) -> Result<ConnectionOptions, ErrorKind> {
        let (head, buf) = with_fields(fields);
        options(&head.fields, &buf).map_err(|error| error.kind)
    }

    #[test]
    fn http_1_1_persists_unless_closed_and_1_0_only_when_asked() {
        let o = |fields| read(fields).expect("good");
        let persists = |fields| {
            (is_persistent(Version::Http10, &o(fields)), is_persistent(Version::Http11, &o(fields)))
        };
        assert_eq!(persists(""), (false, true));
        assert_eq!(persists("Connection: Keep-Alive\r\n"), (true, true));
        assert_eq!(persists("Connection: CLOSE\r\n"), (false, false));
        assert_eq!(persists("Connection: keep-alive\r\nConnection: x,, close\r\n"), (false, false));
    }

    #[test]
    fn upgrade_counts_when_nominated_and_not_in_http_1_0() {
        let both = "Connection: Upgrade\r\nUpgrade: websocket, h2c/1\r\nUpgrade: x\r\n";
        let o = read(both).expect("good");
        assert!(o.upgrade && !o.nominated);
        assert!(may_upgrade(Version::Http11, &o) && !may_upgrade(Version::Http10, &o));
        let (head, buf) = with_fields(both);
        let names: Vec<_> = upgrade_protocols(&head.fields, &buf).map(|s| s.of(&buf)).collect();
        assert_eq!(names, [&b"websocket"[..], b"h2c/1", b"x"]);
        assert!(!read("Upgrade: websocket\r\n").expect("good").upgrade);
        assert!(!read("Connection: upgrade\r\n").expect("good").upgrade);
    }

    #[test]
    fn te_trailers_counts_when_te_is_nominated() {
        assert!(read("Connection: te\r\nTE: x, Trailers\r\n").expect("good").te_trailers);
        assert!(!read("TE: trailers\r\n").expect("good").te_trailers);
        assert!(!read("Connection: TE\r\nTE: gzip\r\n").expect("good").te_trailers);
    }

    #[test]
    fn nominating_host_or_framing_is_refused_and_anything_else_is_found() {
        for name in ["Host", "content-length", "TRANSFER-ENCODING"] {
            let refused = read(&format!("Connection: close, {name}\r\n"));
            assert_eq!(refused, Err(ErrorKind::NominatedFraming), "{name}");
        }
        let fields = "Connection: close, X-Secret\r\nX-Secret: a\r\n";
        assert!(read(fields).expect("good").nominated);
        let (head, buf) = with_fields(fields);
        assert!(is_nominated(&head.fields, &buf, b"x-secret"));
        assert!(!is_nominated(&head.fields, &buf, b"x-other"));
        assert_eq!(read("Connection: \"x\"\r\n"), Err(ErrorKind::BadConnection));
    }

    #[test]
    fn hop_by_hop_fields_stay_on_their_hop_and_trailer_does_not() {
        let hop: Vec<_> =
            FieldId::KNOWN.iter().filter(|(id, _)| is_hop_by_hop(*id)).map(|row| row.1).collect();
        let expected = [
            "transfer-encoding",
            "connection",
            "keep-alive",
            "proxy-connection",
            "proxy-authenticate",
            "proxy-authorization",
            "te",
            "upgrade",
            "http2-settings",
        ];
        assert_eq!(hop, expected);
        assert!(!is_hop_by_hop(FieldId::Trailer) && !is_hop_by_hop(FieldId::Other));
    }

    #[test]
    fn only_100_continue_may_be_expected() {
        let ask = |fields| {
            let (head, buf) = with_fields(fields);
            expect(&head, &buf).map_err(|error| error.kind.status())
        };
        assert_eq!(ask(""), Ok(Expect::None));
        assert_eq!(ask("Expect: 100-Continue\r\n"), Ok(Expect::Continue));
        assert_eq!(ask("Expect: 200-ok\r\n"), Err(417));
        assert_eq!(ask("Expect: 100-continue\r\nExpect: x\r\n"), Err(417));
        assert_eq!(ask("Expect:\r\n"), Err(417));
    }

    #[test]
    fn max_forwards_is_one_number_and_means_nothing_to_get() {
        let ask = |method: &str, fields: &str| {
            let buf = format!("{method} * HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes();
            let head = request(&buf).expect("good");
            max_forwards(&head, &buf).map_err(|error| error.kind)
        };
        assert_eq!(ask("OPTIONS", ""), Ok(None));
        assert_eq!(ask("OPTIONS", "Max-Forwards: 0\r\n"), Ok(Some(0)));
        assert_eq!(ask("TRACE", "Max-Forwards: 99999999999\r\n"), Ok(Some(u32::MAX)));
        assert_eq!(ask("GET", "Max-Forwards: x\r\n"), Ok(None));
        for bad in ["", "x", "-1", "+1", "1, 2", "1\r\nMax-Forwards: 1"] {
            let refused = ask("OPTIONS", &format!("Max-Forwards: {bad}\r\n"));
            assert_eq!(refused, Err(ErrorKind::BadMaxForwards), "{bad}");
        }
    }

    #[test]
    fn list_members_are_trimmed_and_empty_ones_skipped() {
        let members: Vec<_> = list_members(b" a ,\t,b c,, ").collect();
        assert_eq!(members, [&b"a"[..], b"b c"]);
        assert_eq!(list_members(b"").count(), 0);
    }
}
