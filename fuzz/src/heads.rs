//! Heads: the quick reader and httparse agree with the strict one, splits don't matter, and what
//! was accepted means the same after it has been written and read again.

use parser::{
    BodyFraming, ErrorKind, Fields, HeadScan, Method, ParseError, RequestHead, ResponseHead, Span,
    Version, encode, request_framing, response_framing,
};

use crate::{cuts, limits};

type Parsed<H> = Result<Option<H>, ParseError>;

/// Spans of `fields` as bytes: what must survive a round trip.
fn meaning<'a>(fields: &Fields, buf: &'a [u8]) -> Vec<(&'a [u8], &'a [u8], parser::FieldId)> {
    fields.iter().map(|f| (f.name.of(buf), f.value.of(buf), f.id)).collect()
}

fn same_fields(a: &Fields, b: &Fields) -> bool {
    a.iter().eq(b.iter()) && Fields::iter(a).all(|f| f.id == parser::FieldId::Other || b.has(f.id))
}

fn read_request(bytes: &[u8], ends: &[usize]) -> Parsed<RequestHead> {
    let (mut head, mut scan) = (RequestHead::new(), HeadScan::request());
    for &end in ends {
        if head.parse_or_more(&bytes[..end], &mut scan, &limits())?.is_some() {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

fn read_response(bytes: &[u8], ends: &[usize]) -> Parsed<ResponseHead> {
    let (mut head, mut scan) = (ResponseHead::new(), HeadScan::response());
    for &end in ends {
        if head.parse_or_more(&bytes[..end], &mut scan, &limits())?.is_some() {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

/// A head as all readers tell it. The first line is method and target, or status and reason.
type Told<'a> = (&'a [u8], &'a [u8], u8, usize, Vec<(&'a [u8], &'a [u8])>);

fn minor(version: Version) -> u8 {
    u8::from(version == Version::Http11)
}

fn told_fields<'a>(fields: &Fields, buf: &'a [u8]) -> Vec<(&'a [u8], &'a [u8])> {
    fields.iter().map(|f| (f.name.of(buf), f.value.of(buf))).collect()
}

fn their_fields<'a>(headers: &[httparse::Header<'a>]) -> Vec<(&'a [u8], &'a [u8])> {
    headers.iter().map(|h| (h.name.as_bytes(), h.value)).collect()
}

/// What we refuse though httparse accepts it: more than one empty line before the head, lines that
/// end with a bare LF, and what exceeds our limits.
fn is_leniency(head: &[u8], kind: ErrorKind) -> bool {
    let is_bare = |i: usize| head[i] == b'\n' && (i == 0 || head[i - 1] != b'\r');
    match kind {
        ErrorKind::BareLf => (0..head.len()).any(is_bare),
        ErrorKind::EmptyLines => head.starts_with(b"\r\n\r\n"),
        ErrorKind::HeadTooLong => head.len() > limits().head_bytes_max as usize,
        ErrorKind::TargetTooLong => head.len() > limits().target_bytes_max as usize,
        ErrorKind::TooManyFields => {
            let lines_count = head.iter().filter(|&&b| b == b'\n').count();
            lines_count > limits().fields_max as usize
        }
        _ => false,
    }
}

/// httparse reads what the strict reader reads, or the difference is one of the listed ones.
fn assert_as_httparse_request(bytes: &[u8], ours: Parsed<&RequestHead>) {
    let mut headers = [httparse::EMPTY_HEADER; 80];
    let mut theirs = httparse::Request::new(&mut headers);
    match (theirs.parse(bytes), ours) {
        (Ok(httparse::Status::Complete(len)), Ok(Some(head))) => {
            let method = theirs.method.unwrap_or_default().as_bytes();
            let target = theirs.path.unwrap_or_default().as_bytes();
            let version = theirs.version.unwrap_or_default();
            let told: Told<'_> = (method, target, version, len, their_fields(theirs.headers));
            let (method, target) = (head.method_text.of(bytes), head.target.of(bytes));
            let fields = told_fields(&head.fields, bytes);
            assert_eq!(told, (method, target, minor(head.version), head.len as usize, fields));
        }
        (Ok(httparse::Status::Complete(len)), Err(error)) => {
            assert!(is_leniency(&bytes[..len], error.kind), "{error}");
        }
        (Ok(httparse::Status::Complete(_)), Ok(None)) => panic!("for httparse it is whole"),
        (Ok(httparse::Status::Partial), Ok(Some(_))) => panic!("for httparse it isn't whole"),
        (Err(error), Ok(Some(head))) => {
            // HTTP/1.2 counts as 1.1, a target need not be UTF-8.
            let is_utf8 = str::from_utf8(head.target.of(bytes)).is_ok();
            assert!(error == httparse::Error::Version || !is_utf8, "{error}");
        }
        _ => {}
    }
}

fn assert_as_httparse_response(bytes: &[u8], ours: Parsed<&ResponseHead>) {
    let mut headers = [httparse::EMPTY_HEADER; 80];
    let mut theirs = httparse::Response::new(&mut headers);
    match (theirs.parse(bytes), ours) {
        (Ok(httparse::Status::Complete(len)), Ok(Some(head))) => {
            assert_eq!((theirs.code, len), (Some(head.status), head.len as usize));
            assert_eq!(theirs.version, Some(minor(head.version)));
            // It gives no reason when that holds obs-text.
            let reason = theirs.reason.unwrap_or_default().as_bytes();
            assert!(reason == head.reason.of(bytes) || reason.is_empty());
            assert_eq!(their_fields(theirs.headers), told_fields(&head.fields, bytes));
        }
        (Ok(httparse::Status::Complete(len)), Err(error)) => {
            let head = &bytes[..len];
            // It also takes any three digits, does without the space before the reason, and skips
            // empty lines before an answer too.
            let is_lenient = match error.kind {
                ErrorKind::BadStatusLine => head.get(12) != Some(&b' '),
                ErrorKind::BadStatus => !theirs.code.is_some_and(|c| (100..=599).contains(&c)),
                ErrorKind::BadVersion => head.starts_with(b"\r\n"),
                kind => is_leniency(head, kind),
            };
            assert!(is_lenient, "{error}");
        }
        (Ok(httparse::Status::Complete(_)), Ok(None)) => panic!("for httparse it is whole"),
        (Ok(httparse::Status::Partial), Ok(Some(_))) => panic!("for httparse it isn't whole"),
        (Err(error), Ok(Some(_))) => {
            // HTTP/1.2 counts as 1.1.
            assert_eq!(error, httparse::Error::Version);
        }
        _ => {}
    }
}

pub fn request_head(bytes: &[u8]) {
    let whole = read_request(bytes, &[bytes.len()]);
    let [a, b, c] = cuts(bytes);
    let split = read_request(bytes, &[a, b, c, bytes.len()]);
    let mut strict = RequestHead::new();
    let by_strict = strict.parse_strict(bytes, &mut HeadScan::request(), &limits());
    let mut quick = RequestHead::new();
    if let Some(len) = quick.parse_quick(bytes, &limits()) {
        assert_eq!(by_strict, Ok(Some(len)), "the quick reader accepts what the strict doesn't");
        assert_same_request(&quick, &strict);
    }
    assert_as_httparse_request(bytes, by_strict.map(|len| len.map(|_| &strict)));
    match (&whole, &split) {
        (Ok(Some(x)), Ok(Some(y))) => assert_same_request(x, y),
        (Ok(None), Ok(None)) => {}
        (Err(x), Err(y)) => assert_eq!(x, y, "the refusal depends on the split"),
        _ => panic!("the answer depends on the split"),
    }
    let Ok(Some(head)) = whole else {
        assert_eq!(whole.err(), by_strict.err());
        return;
    };
    assert_eq!(by_strict, Ok(Some(head.len as usize)));
    assert_same_request(&head, &strict);
    assert_good_head(&bytes[..head.len as usize], &head.fields);
    let pushed = HeadScan::request().push(bytes, &limits());
    assert_eq!(pushed, Ok(Some(head.len as usize)));
    request_round_trip(&head, bytes);
}

fn assert_same_request(x: &RequestHead, y: &RequestHead) {
    assert_eq!(
        (x.method, x.method_text, x.target, x.version, x.len),
        (y.method, y.method_text, y.target, y.version, y.len)
    );
    assert!(same_fields(&x.fields, &y.fields));
}

/// No line of an accepted head is anything to a lenient parser but what it is to us.
fn assert_good_head(head: &[u8], fields: &Fields) {
    assert!(head.ends_with(b"\r\n\r\n"));
    for (i, &b) in head.iter().enumerate() {
        match b {
            b'\n' => assert!(i > 0 && head[i - 1] == b'\r', "bare LF"),
            b'\r' => assert!(head.get(i + 1) == Some(&b'\n'), "bare CR"),
            b'\t' | b' '..=0x7e | 0x80.. => {}
            _ => panic!("control byte"),
        }
    }
    for field in fields.iter() {
        assert!(encode::is_token(field.name.of(head)));
        assert!(encode::is_field_value(field.value.of(head)));
    }
    let lines_count = head.iter().filter(|&&b| b == b'\n').count();
    let empty_count = if head.starts_with(b"\r\n") { 2 } else { 1 };
    assert_eq!(lines_count, fields.len() + 1 + empty_count);
}

fn write_fields(out: &mut Vec<u8>, fields: &Fields, buf: &[u8]) {
    for field in fields.iter() {
        encode::field(out, field.name.of(buf), field.value.of(buf));
    }
    encode::end(out);
}

fn request_round_trip(head: &RequestHead, buf: &[u8]) {
    let text = |span: Span| span.of(buf);
    let mut out = Vec::new();
    encode::request_line(&mut out, text(head.method_text), text(head.target));
    write_fields(&mut out, &head.fields, buf);
    let roomy = parser::Limits::default();
    let mut again = RequestHead::new();
    again.parse(&out, &roomy).expect("what was accepted is accepted once written");
    assert_eq!(again.len as usize, out.len());
    assert_eq!(again.method_text.of(&out), text(head.method_text));
    assert_eq!(again.target.of(&out), text(head.target));
    assert_eq!(meaning(&again.fields, &out), meaning(&head.fields, buf));
    if head.version == again.version {
        let kind = |framing: Result<BodyFraming, ParseError>| framing.map_err(|e| e.kind);
        let before = kind(request_framing(head, buf));
        assert_eq!(kind(request_framing(&again, &out)), before);
        assert_framing(&head.fields, buf, before.ok());
    }
    let options = parser::connection::options(&head.fields, buf);
    let options_again = parser::connection::options(&again.fields, &out);
    assert_eq!(options.map_err(|e| e.kind), options_again.map_err(|e| e.kind));
    let target = parser::target::resolve(head, buf);
    if let Ok(target) = target {
        for span in [target.authority, target.host, target.query].into_iter().flatten() {
            assert!(span.end() <= head.len as usize);
        }
        let hosts_count = head.fields.all(parser::FieldId::Host).count();
        assert!(hosts_count <= 1 && !text(target.path).contains(&b'#'));
        assert!(target.form == parser::Form::Asterisk || target.path_of(buf).starts_with(b"/"));
    }
}

/// An accepted framing is the only one that can be read into the fields.
fn assert_framing(fields: &Fields, buf: &[u8], framing: Option<BodyFraming>) {
    let count = |name: &[u8]| fields.named(buf, name).count();
    let codings_count = count(b"transfer-encoding");
    let lengths_count = count(b"content-length");
    match framing {
        None => assert!(codings_count + lengths_count > 0),
        Some(BodyFraming::Chunked) => assert_eq!((codings_count, lengths_count), (1, 0)),
        Some(BodyFraming::Length(length)) => {
            assert_eq!((codings_count, lengths_count), (0, 1));
            let mut lines = fields.named(buf, b"content-length");
            let text = lines.next().map(|f| f.value.of(buf)).unwrap_or_default();
            let value = str::from_utf8(text).ok().and_then(|text| text.parse::<u64>().ok());
            assert_eq!(value, Some(length));
        }
        Some(BodyFraming::None) => assert_eq!(codings_count + lengths_count, 0),
        Some(BodyFraming::UntilClose) => panic!("a request has no such framing"),
    }
}

pub fn response_head(bytes: &[u8]) {
    let whole = read_response(bytes, &[bytes.len()]);
    let [a, b, c] = cuts(bytes);
    let split = read_response(bytes, &[a, b, c, bytes.len()]);
    let mut strict = ResponseHead::new();
    let by_strict = strict.parse_strict(bytes, &mut HeadScan::response(), &limits());
    let mut quick = ResponseHead::new();
    if let Some(len) = quick.parse_quick(bytes, &limits()) {
        assert_eq!(by_strict, Ok(Some(len)), "the quick reader accepts what the strict doesn't");
        assert_same_response(&quick, &strict);
    }
    assert_as_httparse_response(bytes, by_strict.map(|len| len.map(|_| &strict)));
    match (&whole, &split) {
        (Ok(Some(x)), Ok(Some(y))) => assert_same_response(x, y),
        (Ok(None), Ok(None)) => {}
        (Err(x), Err(y)) => assert_eq!(x, y, "the refusal depends on the split"),
        _ => panic!("the answer depends on the split"),
    }
    let Ok(Some(head)) = whole else {
        assert_eq!(whole.err(), by_strict.err());
        return;
    };
    assert_eq!(by_strict, Ok(Some(head.len as usize)));
    assert_same_response(&head, &strict);
    assert_good_head(&bytes[..head.len as usize], &head.fields);
    let mut out = Vec::new();
    encode::status_line(&mut out, head.status, head.reason.of(bytes));
    write_fields(&mut out, &head.fields, bytes);
    let mut again = ResponseHead::new();
    again.parse(&out, &parser::Limits::default()).expect("what was accepted is accepted again");
    assert_eq!((again.status, again.len as usize), (head.status, out.len()));
    assert_eq!(again.reason.of(&out), head.reason.of(bytes));
    assert_eq!(meaning(&again.fields, &out), meaning(&head.fields, bytes));
    for method in [Method::Get, Method::Head] {
        let before = response_framing(&head, bytes, method).map_err(|e| e.kind);
        if head.version == again.version {
            assert_eq!(response_framing(&again, &out, method).map_err(|e| e.kind), before);
        }
        if method == Method::Head {
            assert!(matches!(before, Ok(BodyFraming::None) | Err(_)));
        }
    }
}

fn assert_same_response(x: &ResponseHead, y: &ResponseHead) {
    assert_eq!((x.status, x.reason, x.version, x.len), (y.status, y.reason, y.version, y.len));
    assert!(same_fields(&x.fields, &y.fields));
}
