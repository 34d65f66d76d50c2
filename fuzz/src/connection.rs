//! A whole connection, both directions: what goes out means to everybody what it meant to us.
//!
//! An input is one byte of facts about the setting, what the client sends, a line `--`, and what
//! the origin sends. The cores are driven as a worker drives them, with the bytes arriving in
//! pieces that depend on the input, and again in others.

use engine::h1::client::{Answer, AnswerOut, Marks, RequestOut, encode_answer, encode_request};
use engine::h1::relay::{Body, Out};
use engine::h1::server::Request;
use parser::{
    BodyFraming, Fields, HeadScan, Limits, Method, ParseError, RequestHead, ResponseHead,
    request_framing, response_framing,
};

use crate::{cuts, limits};

const BETWEEN: &[u8] = b"\n--\n";
/// Interim answers passed on for one request, as in `worker/answer.rs`.
const INTERIM_MAX: usize = 16;
/// Exchanges on one connection: enough for bytes of one to be taken for another's.
const EXCHANGES_MAX: usize = 8;
/// What the gateway writes is longer than what it was sent.
const ROOMY: Limits = Limits {
    head_bytes_max: 1 << 20,
    fields_max: 300,
    target_bytes_max: 1 << 16,
    chunk_ext_bytes_max: 256,
    trailer_bytes_max: 8 << 10,
};
const HOP_BY_HOP: [&[u8]; 9] = [
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"te",
    b"transfer-encoding",
    b"upgrade",
    b"http2-settings",
];
/// What the gateway writes anew, whatever the client says of fields with these names.
const OURS_IN_REQUESTS: [&[u8]; 7] = [
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-forwarded-host",
    b"x-request-id",
    b"via",
    b"expect",
    b"max-forwards",
];
const OURS_IN_ANSWERS: [&[u8]; 2] = [b"date", b"via"];

/// The setting of one run.
struct Setting {
    limits: Limits,
    origin_ends: bool,
    trusted: bool,
    via: bool,
    upgrades: bool,
    keep_encoded_slash: bool,
}

impl Setting {
    fn of(flags: u8) -> Setting {
        let bit = |n: u8| flags >> n & 1 == 1;
        Setting {
            origin_ends: bit(0),
            trusted: bit(1),
            via: bit(2),
            upgrades: bit(3),
            limits: if bit(4) { limits() } else { Limits::default() },
            keep_encoded_slash: bit(5),
        }
    }
}

/// How far a message came.
#[derive(PartialEq, Eq, Debug, Clone)]
enum Fate {
    Whole,
    /// What was there was not all of it.
    Open,
    Refused(String),
    /// The connection is a tunnel from here on.
    Tunnel,
}

/// One message as it went out. A head that was refused has no bytes.
#[derive(PartialEq, Eq, Debug, Clone)]
struct Sent {
    /// Where its head begins, and where its body would, in what came.
    from: usize,
    body_from: usize,
    head: Vec<u8>,
    body: Vec<u8>,
    fate: Fate,
    way: Out,
    /// Which request an answer belongs to.
    asked: usize,
}

/// What an answer depends on.
#[derive(Clone, Debug)]
struct Asked {
    method: Method,
    http10: bool,
    persistent: bool,
    upgrade: Option<Vec<u8>>,
}

pub fn connection(bytes: &[u8]) {
    let Some((&flags, rest)) = bytes.split_first() else { return };
    let at = rest.windows(BETWEEN.len()).position(|w| w == BETWEEN);
    let (client, origin) = match at {
        Some(at) => (&rest[..at], &rest[at + BETWEEN.len()..]),
        None => (rest, &b""[..]),
    };
    let setting = Setting::of(flags);
    let mut asked = Vec::new();
    let requests = at_every_split(client, |ends| {
        asked.clear();
        setting.requests(client, ends, &mut asked)
    });
    for sent in &requests {
        check_request(client, sent, &setting);
    }
    check_requests_together(&requests);
    if asked.is_empty() {
        let (method, http10, persistent, upgrade) = (Method::Get, false, true, None);
        asked.push(Asked { method, http10, persistent, upgrade });
    }
    let answers = at_every_split(origin, |ends| setting.answers(origin, ends, &asked));
    for sent in &answers {
        check_answer(origin, sent, &asked[sent.asked]);
    }
}

/// The result for `bytes` in one piece, which must be the same for any other pieces.
fn at_every_split(bytes: &[u8], mut run: impl FnMut(&[usize]) -> Vec<Sent>) -> Vec<Sent> {
    let len = bytes.len();
    let [a, b, c] = cuts(bytes);
    assert_same(&run(&[a, b, c, len]), &run(&[len]));
    if len <= 512 {
        let each: Vec<usize> = (0..=len).collect();
        assert_same(&run(&each), &run(&[len]));
    }
    run(&[len]) // last, so that what it leaves behind is of the whole
}

fn assert_same(split: &[Sent], whole: &[Sent]) {
    assert_eq!(split.len(), whole.len(), "the number of messages depends on the split");
    for (a, b) in split.iter().zip(whole) {
        let (a_body, b_body) = (&a.body, &b.body);
        assert_eq!((a.from, a.body_from, &a.head), (b.from, b.body_from, &b.head));
        assert_eq!((&a.fate, a.way, a.asked), (&b.fate, b.way, b.asked));
        match (&a.fate, a.way) {
            // What went out before a mistake was seen depends on how much was looked at.
            (Fate::Refused(_), _) => {
                assert!(a_body.starts_with(b_body) || b_body.starts_with(a_body));
            }
            // Each read is a chunk.
            (_, Out::Chunked) => assert_eq!(unchunked(a_body).data, unchunked(b_body).data),
            _ => assert_eq!(a_body, b_body, "the body depends on the split"),
        }
    }
}

/// Bytes that arrive in pieces.
struct Feed<'a> {
    bytes: &'a [u8],
    ends: std::slice::Iter<'a, usize>,
    /// Consumed, and arrived.
    taken: usize,
    here: usize,
}

impl<'a> Feed<'a> {
    fn new(bytes: &'a [u8], ends: &'a [usize]) -> Feed<'a> {
        Feed { bytes, ends: ends.iter(), taken: 0, here: 0 }
    }

    fn pending(&self) -> &'a [u8] {
        &self.bytes[self.taken..self.here]
    }

    /// False when nothing more comes.
    fn more(&mut self) -> bool {
        for &end in self.ends.by_ref() {
            if end > self.here {
                self.here = end;
                return true;
            }
        }
        false
    }

    /// Offers what is there until `look` finds a whole head.
    fn head(&mut self, mut look: impl FnMut(&[u8]) -> Result<bool, ParseError>) -> Option<Fate> {
        loop {
            if !self.pending().is_empty() {
                match look(self.pending()) {
                    Ok(true) => return None,
                    Ok(false) => {}
                    Err(e) => return Some(refused(e)),
                }
            }
            if !self.more() {
                return Some(Fate::Open);
            }
        }
    }

    /// Relays a body as the worker does.
    fn body(
        &mut self,
        body: &mut Body,
        ends: bool,
        out: &mut Vec<u8>,
        is_nominated: impl Fn(&[u8]) -> bool,
    ) -> Fate {
        let mut trailers = Fields::default();
        loop {
            let mut aux = Vec::new();
            let input = self.pending();
            let step = match body.step(input, &mut aux, &mut trailers, &is_nominated) {
                Ok(step) => step,
                Err(e) => return refused(e),
            };
            assert!(step.raw <= step.taken && step.taken <= input.len());
            out.extend_from_slice(&input[..step.raw]);
            out.extend_from_slice(&aux);
            self.taken += step.taken;
            assert_eq!(step.done, body.is_done());
            if step.done {
                return Fate::Whole;
            }
            if !self.more() {
                let mut aux = Vec::new();
                let is_whole = ends && body.end(&mut aux);
                out.extend_from_slice(&aux);
                return if is_whole { Fate::Whole } else { Fate::Open };
            }
        }
    }
}

fn refused(e: ParseError) -> Fate {
    Fate::Refused(format!("{:?}", e.kind))
}

const REQUEST_ID: &[u8] = b"0123456789abcdef";

impl Setting {
    fn upgrade<'a>(&self, request: &'a Request, buf: &'a [u8]) -> Option<&'a [u8]> {
        let has_body = !matches!(request.framing, BodyFraming::None | BodyFraming::Length(0));
        request.upgrade(buf).next().filter(|_| self.upgrades && !has_body)
    }

    /// What goes upstream of what a client sends, one after the other.
    fn requests(&self, bytes: &[u8], ends: &[usize], asked: &mut Vec<Asked>) -> Vec<Sent> {
        let mut feed = Feed::new(bytes, ends);
        let mut request = Request::new(self.limits.fields_max.into());
        let mut all = Vec::new();
        while all.len() < EXCHANGES_MAX {
            request.reset();
            let from = feed.taken;
            let look = |buf: &[u8]| request.begin(buf, &self.limits, self.keep_encoded_slash);
            if let Some(fate) = feed.head(look) {
                all.push(unread(from, fate, asked.len()));
                break;
            }
            let buf = feed.pending();
            let mut head = Vec::new();
            self.encode_request(&mut head, &request, buf);
            asked.push(Asked {
                method: request.head.method,
                http10: request.is_http10(),
                persistent: request.persistent,
                upgrade: self.upgrade(&request, buf).map(<[u8]>::to_vec),
            });
            feed.taken += request.head_len();
            let body_from = feed.taken;
            let mut relayed = Body::new(request.framing, Out::Raw, &self.limits);
            let mut body = Vec::new();
            let is_nominated = |name: &[u8]| request.is_nominated(buf, name);
            let fate = feed.body(&mut relayed, false, &mut body, is_nominated);
            let goes_on = fate == Fate::Whole && request.persistent;
            let asked = asked.len() - 1;
            all.push(Sent { from, body_from, head, body, fate, way: Out::Raw, asked });
            if !goes_on {
                break;
            }
        }
        all
    }

    fn encode_request(&self, out: &mut Vec<u8>, request: &Request, buf: &[u8]) {
        let authority = request.authority(buf).unwrap_or_default();
        let is_options = request.head.method == Method::Options;
        let forwards = is_options.then(|| parser::connection::max_forwards(&request.head, buf));
        encode_request(
            out,
            &RequestOut {
                request,
                buf,
                target: None,
                host: if authority.is_empty() { b"origin.test" } else { authority },
                authority,
                peer: b"192.0.2.1",
                is_tls: false,
                certificate: &[],
                trusted: self.trusted,
                request_id: REQUEST_ID,
                edits: None,
                marks: Marks::default(),
                upgrade: self.upgrade(request, buf),
                via: self.via,
                max_forwards: forwards.and_then(|f| f.ok().flatten()).map(|n| n.saturating_sub(1)),
            },
        );
    }

    /// What goes to the client of what an origin answers to `asked`.
    fn answers(&self, bytes: &[u8], ends: &[usize], asked: &[Asked]) -> Vec<Sent> {
        let mut feed = Feed::new(bytes, ends);
        let mut all = Vec::new();
        for (number, asked) in asked.iter().enumerate() {
            let mut interims = 0;
            loop {
                let (mut answer, mut scan) =
                    (Answer::new(self.limits.fields_max.into()), HeadScan::response());
                let from = feed.taken;
                let look = |buf: &[u8]| answer.begin(buf, &mut scan, &self.limits, asked.method);
                if let Some(fate) = feed.head(look) {
                    all.push(unread(from, fate, number));
                    return all;
                }
                let mut sent = self.answer_head(&answer, feed.pending(), asked);
                (sent.from, sent.asked) = (from, number);
                feed.taken += answer.head.len as usize;
                sent.body_from = feed.taken;
                let is_interim = answer.head.status < 200 && answer.head.status != 101;
                if is_interim && sent.fate == Fate::Whole {
                    interims += 1;
                    if interims > INTERIM_MAX {
                        all.push(unread(from, Fate::Refused("interims".to_owned()), number));
                        return all;
                    }
                    if !sent.head.is_empty() {
                        all.push(sent);
                    }
                    continue;
                }
                if sent.fate == Fate::Whole {
                    let mut body = Body::new(answer.framing, sent.way, &self.limits);
                    // As the worker does: an answer's trailers are not held against its head.
                    sent.fate = feed.body(&mut body, self.origin_ends, &mut sent.body, |_| false);
                }
                let stays = asked.persistent && sent.way != Out::Data;
                let goes_on = sent.fate == Fate::Whole && answer.is_persistent() && stays;
                all.push(sent);
                if !goes_on {
                    return all;
                }
                break;
            }
        }
        all
    }

    /// The decisions of `worker/answer.rs: look`.
    fn answer_head(&self, answer: &Answer, buf: &[u8], asked: &Asked) -> Sent {
        let (status, http10) = (answer.head.status, asked.http10);
        let is_tunnel = status == 101;
        let mut sent = unread(0, Fate::Whole, 0);
        let upgrade = match &asked.upgrade {
            Some(name) if is_tunnel => answer.upgrade_among(buf, name),
            _ => None,
        };
        if is_tunnel {
            sent.fate = Fate::Tunnel;
            if upgrade.is_none() {
                sent.fate = Fate::Refused("nobody asked".to_owned());
                return sent;
            }
        }
        let is_interim = status < 200 && !is_tunnel;
        sent.way = match answer.framing {
            BodyFraming::Chunked | BodyFraming::UntilClose if http10 => Out::Data,
            BodyFraming::UntilClose => Out::Chunked,
            _ => Out::Raw,
        };
        let stays = asked.persistent && sent.way != Out::Data;
        if is_interim && http10 {
            return sent;
        }
        let o = AnswerOut {
            answer,
            buf,
            chunked: !http10
                && !is_interim
                && matches!(answer.framing, BodyFraming::Chunked | BodyFraming::UntilClose),
            close: !stays && !is_interim && !is_tunnel,
            keep_alive: http10 && stays && !is_interim,
            upgrade,
            hsts: "",
            date: b"Sun, 06 Nov 1994 08:49:37 GMT",
            edits: None,
            marks: Marks::default(),
            via: self.via,
        };
        encode_answer(&mut sent.head, &o);
        sent
    }
}

fn unread(from: usize, fate: Fate, asked: usize) -> Sent {
    let (head, body) = (Vec::new(), Vec::new());
    Sent { from, body_from: from, head, body, fate, way: Out::Raw, asked }
}

/// Names and values of a head as it went out, by our strict parser and by httparse, which agree.
type Lines<'a> = Vec<(&'a [u8], &'a [u8])>;

fn lines<'a>(fields: &Fields, buf: &'a [u8]) -> Lines<'a> {
    fields.iter().map(|f| (f.name.of(buf), f.value.of(buf))).collect()
}

fn assert_same_lines(ours: &Lines<'_>, theirs: &[httparse::Header<'_>]) {
    let theirs: Lines<'_> = theirs.iter().map(|h| (h.name.as_bytes(), h.value)).collect();
    assert_eq!(*ours, theirs, "httparse reads other fields");
}

/// How a reader who takes the first of each would frame a message with these fields. No second
/// one may be there to disagree about.
fn naive_framing(lines: &Lines<'_>) -> (Option<u64>, bool) {
    let all = |name: &[u8]| -> Vec<&[u8]> {
        lines.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| *v).collect()
    };
    let (lengths, codings) = (all(b"content-length"), all(b"transfer-encoding"));
    assert!(lengths.len() + codings.len() <= 1, "framed twice");
    assert!(codings.iter().all(|c| *c == b"chunked"));
    let number = |l: &&[u8]| str::from_utf8(l).ok().and_then(|l| l.parse().ok());
    let length = lengths.first().map(|l| number(l).expect("a length is a number"));
    (length, !codings.is_empty())
}

fn check_request(client: &[u8], sent: &Sent, setting: &Setting) {
    if sent.head.is_empty() {
        return;
    }
    let came = &client[sent.from..];
    let mut request = Request::new(setting.limits.fields_max.into());
    let read = request.begin(came, &setting.limits, setting.keep_encoded_slash);
    assert_eq!(read, Ok(true));

    // Our own strict parser reads the same request, and its end in the same place.
    let out = [&sent.head[..], &sent.body].concat();
    let mut strict = RequestHead::with_capacity(300);
    let len = strict.parse_strict(&out, &mut HeadScan::request(), &ROOMY);
    assert_eq!(len, Ok(Some(sent.head.len())), "the head ends elsewhere");
    assert_eq!(strict.method_text.of(&out), request.method_text(came));
    assert_eq!(request_framing(&strict, &out), Ok(request.framing));
    let target = parser::target::resolve(&strict, &out).expect("what is sent is accepted");
    assert_eq!(target.path_of(&out), request.path_sent(came));
    assert_eq!(target.query.map(|q| q.of(&out)), request.query(came));
    let lines = lines(&strict.fields, &out);

    // So does httparse. It refuses targets that are no UTF-8.
    if str::from_utf8(strict.target.of(&out)).is_ok() {
        let mut headers = [httparse::EMPTY_HEADER; 300];
        let mut theirs = httparse::Request::new(&mut headers);
        assert_eq!(theirs.parse(&out), Ok(httparse::Status::Complete(sent.head.len())));
        assert_eq!(theirs.method.map(str::as_bytes), Some(request.method_text(came)));
        assert_eq!(theirs.path.map(str::as_bytes), Some(strict.target.of(&out)));
        assert_eq!(theirs.version, Some(1));
        assert_same_lines(&lines, theirs.headers);
    }
    let framing = match naive_framing(&lines) {
        (None, false) => BodyFraming::None,
        (Some(n), _) => BodyFraming::Length(n),
        (None, true) => BodyFraming::Chunked,
    };
    assert_eq!(framing, request.framing);

    let upgrade = setting.upgrade(&request, came);
    let may_be = |name: &[u8], value: &[u8]| match name {
        b"te" => value == b"trailers",
        b"transfer-encoding" => request.framing == BodyFraming::Chunked,
        b"upgrade" => Some(value) == upgrade,
        b"http2-settings" => upgrade.is_some(),
        b"connection" => members(value).all(|m| {
            matches!(&m[..], b"te" | b"http2-settings") || (m == b"upgrade" && upgrade.is_some())
        }),
        _ => false,
    };
    assert_end_to_end(&request.head.fields, came, &lines, &OURS_IN_REQUESTS, may_be);
    check_body(&client[sent.body_from..], request.framing, sent, &setting.limits);
    if request.framing == BodyFraming::Chunked && sent.fate == Fate::Whole {
        let (trailers, mut fields) = (unchunked(&sent.body).trailers, Fields::default());
        parser::parse_trailers(&trailers, &mut fields, &ROOMY).expect("what is sent is accepted");
        for field in fields.iter() {
            let name = field.name.of(&trailers).to_ascii_lowercase();
            assert!(
                !nominated(&request.head.fields, came).contains(&name),
                "a trailer is nominated"
            );
        }
    }
}

/// The stream as the origin reads it falls apart into the same messages.
fn check_requests_together(requests: &[Sent]) {
    let stream: Vec<u8> =
        requests.iter().flat_map(|r| r.head.iter().chain(&r.body)).copied().collect();
    let mut at = 0;
    for sent in requests.iter().filter(|r| r.fate == Fate::Whole) {
        let rest = &stream[at..];
        let mut head = RequestHead::with_capacity(300);
        head.parse(rest, &ROOMY).expect("a whole request");
        let len = head.len as usize;
        let body = match request_framing(&head, rest).expect("accepted") {
            BodyFraming::Length(n) => n as usize,
            BodyFraming::Chunked => unchunked(&rest[len..]).len,
            BodyFraming::None | BodyFraming::UntilClose => 0,
        };
        assert_eq!((len, body), (sent.head.len(), sent.body.len()));
        at += len + body;
    }
}

fn check_answer(origin: &[u8], sent: &Sent, asked: &Asked) {
    if sent.head.is_empty() {
        return;
    }
    let came = &origin[sent.from..];
    let mut answer = Answer::new(300);
    let read = answer.begin(came, &mut HeadScan::response(), &ROOMY, asked.method);
    assert_eq!(read, Ok(true));
    let status = answer.head.status;

    let out = [&sent.head[..], &sent.body].concat();
    let mut strict = ResponseHead::with_capacity(300);
    let len = strict.parse_strict(&out, &mut HeadScan::response(), &ROOMY);
    assert_eq!(len, Ok(Some(sent.head.len())), "the head ends elsewhere");
    assert_eq!((strict.status, strict.reason.of(&out)), (status, answer.head.reason.of(came)));
    let framing = response_framing(&strict, &out, asked.method).expect("what is sent is accepted");
    let expect = match sent.way {
        Out::Raw => answer.framing,
        Out::Data => BodyFraming::UntilClose,
        Out::Chunked => BodyFraming::Chunked,
    };
    assert_eq!(framing, expect, "the client reads another framing");
    let lines = lines(&strict.fields, &out);
    naive_framing(&lines);
    if asked.http10 {
        assert!(lines.iter().all(|(n, _)| !n.eq_ignore_ascii_case(b"transfer-encoding")));
    }

    let mut headers = [httparse::EMPTY_HEADER; 300];
    let mut theirs = httparse::Response::new(&mut headers);
    assert_eq!(theirs.parse(&out), Ok(httparse::Status::Complete(sent.head.len())));
    assert_eq!((theirs.code, theirs.version), (Some(status), Some(1)));
    assert_same_lines(&lines, theirs.headers);

    let may_be = |name: &[u8], value: &[u8]| match name {
        b"transfer-encoding" => framing == BodyFraming::Chunked,
        b"upgrade" => matches!(status, 101 | 426),
        b"connection" => members(value).all(|m| {
            matches!(&m[..], b"close" | b"keep-alive")
                || (m == b"upgrade" && matches!(status, 101 | 426))
        }),
        _ => false,
    };
    assert_end_to_end(&answer.head.fields, came, &lines, &OURS_IN_ANSWERS, may_be);
    if status >= 200 {
        check_body(&origin[sent.body_from..], answer.framing, sent, &ROOMY);
    }
}

fn members(value: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    value.split(|b| *b == b',').map(|m| m.trim_ascii().to_ascii_lowercase())
}

/// Names that a head's Connection fields list.
fn nominated(fields: &Fields, buf: &[u8]) -> Vec<Vec<u8>> {
    let is_connection = |f: &&parser::Field| f.name.of(buf).eq_ignore_ascii_case(b"connection");
    fields.iter().filter(is_connection).flat_map(|f| members(f.value.of(buf))).collect()
}

/// Nothing that was meant for one hop is in `out`, but what `may_be` there as ours.
fn assert_end_to_end(
    came: &Fields,
    buf: &[u8],
    out: &Lines<'_>,
    ours: &[&[u8]],
    may_be: impl Fn(&[u8], &[u8]) -> bool,
) {
    let nominated = nominated(came, buf);
    for (name, value) in out {
        let name = name.to_ascii_lowercase();
        let shown = String::from_utf8_lossy(&name);
        if HOP_BY_HOP.contains(&&name[..]) {
            assert!(may_be(&name, value), "{shown} is for one hop");
            let count = out.iter().filter(|(n, _)| n.eq_ignore_ascii_case(&name)).count();
            // What a 426 offers is a list, which may stand on several lines.
            assert!(count == 1 || name == b"upgrade", "{shown}");
        } else if nominated.contains(&name) {
            assert!(ours.contains(&&name[..]), "{shown} is nominated");
        }
    }
}

/// The data is what came, and a body that did not come whole never looks whole.
fn check_body(came: &[u8], framing: BodyFraming, sent: &Sent, limits: &Limits) {
    let is_whole = sent.fate == Fate::Whole;
    let refused = matches!(sent.fate, Fate::Refused(_));
    match (framing, sent.way) {
        _ if sent.fate == Fate::Tunnel => assert!(sent.body.is_empty()),
        (BodyFraming::None, _) => assert!(sent.body.is_empty() && is_whole),
        (BodyFraming::Length(n), _) => {
            let len = came.len().min(usize::try_from(n).unwrap_or(usize::MAX));
            assert_eq!(sent.body, came[..len]);
            assert_eq!(is_whole, len as u64 == n);
        }
        (BodyFraming::UntilClose, Out::Chunked) => {
            let read = unchunked(&sent.body);
            assert_eq!((&read.data[..], read.is_whole), (came, is_whole));
            assert_eq!(read.len, sent.body.len());
        }
        (BodyFraming::UntilClose, _) => assert_eq!(sent.body, came),
        (BodyFraming::Chunked, way) => {
            let read = unchunked(came);
            assert!(!is_whole || read.is_whole);
            if way == Out::Data {
                assert!(read.data.starts_with(&sent.body));
                assert!(!is_whole || read.data == sent.body);
                return;
            }
            let out = unchunked(&sent.body);
            assert_eq!(out.is_whole, is_whole, "a broken body looks whole");
            assert!(read.data.starts_with(&out.data) || refused);
            if is_whole {
                assert_eq!((out.len, &out.data), (sent.body.len(), &read.data));
                assert_trailers(&out.trailers, &read.trailers, limits);
            }
        }
    }
}

fn assert_trailers(out: &[u8], came: &[u8], limits: &Limits) {
    let (mut ours, mut theirs) = (Fields::default(), Fields::default());
    let roomy = Limits { trailer_bytes_max: 1 << 20, ..*limits };
    parser::parse_trailers(out, &mut ours, &roomy).expect("what is sent is accepted");
    parser::parse_trailers(came, &mut theirs, &roomy).expect("it was accepted");
    let theirs = lines(&theirs, came);
    for line in lines(&ours, out) {
        assert!(theirs.contains(&line), "a trailer from nowhere");
        assert!(!parser::connection::is_forbidden_trailer(line.0));
        assert!(!HOP_BY_HOP.contains(&&line.0.to_ascii_lowercase()[..]));
    }
}

#[derive(Default)]
struct Unchunked {
    data: Vec<u8>,
    /// The section with its empty line.
    trailers: Vec<u8>,
    len: usize,
    is_whole: bool,
}

/// A chunk reader as simple as there can be, which believes that what it reads is well formed.
fn unchunked(bytes: &[u8]) -> Unchunked {
    let mut read = Unchunked::default();
    let line = |at: usize| {
        let rest = bytes.get(at..)?;
        rest.windows(2).position(|w| w == b"\r\n").map(|end| &rest[..end])
    };
    while let Some(size_line) = line(read.len) {
        let digits = size_line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let size = str::from_utf8(&size_line[..digits]).unwrap_or_default();
        let Ok(size) = usize::from_str_radix(size, 16) else { return read };
        let at = read.len + size_line.len() + 2;
        if size == 0 {
            let mut end = at;
            while let Some(trailer) = line(end) {
                end += trailer.len() + 2;
                if trailer.is_empty() {
                    read.trailers = bytes[at..end].to_vec();
                    (read.len, read.is_whole) = (end, true);
                    break;
                }
            }
            return read;
        }
        let Some(end) = at.checked_add(size) else { return read };
        read.data.extend_from_slice(&bytes[at..end.min(bytes.len())]);
        if bytes.get(end..end + 2) != Some(b"\r\n") {
            read.len = bytes.len();
            return read;
        }
        read.len = end + 2;
    }
    read
}
