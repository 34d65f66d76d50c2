//! Messages that break the rules, each in one place. `$` stands for the request's nonce.

use crate::rng::Rng;
use crate::sim::exec::world;

/// A request that may stand behind an illegal one; nobody may ever take it for one.
pub const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\nX-Nonce: 13\r\n\r\n";

/// Heads of requests, with what looks like their bodies. None may reach an origin.
const REQUEST_HEADS: &[&str] = &[
    "POST /n/$ HTTP/1.1\r\nHost: a\r\nX-Nonce: $\r\nContent-Length: 5\r\n\
     Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /n/$ HTTP/1.1\r\nHost: a\r\nX-Nonce: $\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n\
     hello!",
    "POST /n/$ HTTP/1.1\r\nHost: a\r\nX-Nonce: $\r\nContent-Length: +5\r\n\r\nhello",
    "POST /n/$ HTTP/1.1\r\nHost: a\r\nX-Nonce: $\r\nContent-Length: 5 5\r\n\r\nhello",
    "POST /n/$ HTTP/1.1\r\nHost: a\r\nX-Nonce: $\r\nContent-Length: 18446744073709551621\r\n\r\n",
    "POST /n/$ HTTP/1.1\r\nHost: a\r\nX-Nonce: $\r\nTransfer-Encoding: gzip, chunked\r\n\r\n\
     0\r\n\r\n",
    "POST /n/$ HTTP/1.1\r\nHost: a\r\nX-Nonce: $\r\nTransfer-Encoding: chunked, identity\r\n\r\n\
     0\r\n\r\n",
    "POST /n/$ HTTP/1.0\r\nHost: a\r\nX-Nonce: $\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET /n/$ HTTP/1.1\nHost: a\nX-Nonce: $\n\n",
    "GET /n/$ HTTP/1.1\r\nHost: a\r\nX-Nonce: $\r\nX: a\r\n folded\r\n\r\n",
    "GET /n/$ HTTP/1.1\r\nHost: a\r\nX-Nonce: $\r\nX : a\r\n\r\n",
    "GET /n/$ HTTP/1.1\r\nHost: a\r\nX-Nonce: $\r\nno colon\r\n\r\n",
    "GET /n/$ HTTP/1.1\r\nHost: a\r\nX-Nonce: $\r\nX: a\0b\r\n\r\n",
    "GET /n/$ HTTP/1.1\r\nHost: a\r\nX-Nonce: $\r\nX: a\rb\r\n\r\n",
    "GET /n/$ HTTP/1.1\r\nX-Nonce: $\r\n\r\n",
    "GET /n/$ HTTP/1.1\r\nHost: a\r\nHost: b\r\nX-Nonce: $\r\n\r\n",
    "GET http://b/n/$ HTTP/1.1\r\nHost: a, b\r\nX-Nonce: $\r\n\r\n",
    "GET /n/$ HTTP/1.1\r\nHost: a\r\nConnection: content-length\r\nX-Nonce: $\r\n\r\n",
    "GET /n/%00$ HTTP/1.1\r\nHost: a\r\nX-Nonce: $\r\n\r\n",
    "GET /n/$#x HTTP/1.1\r\nHost: a\r\nX-Nonce: $\r\n\r\n",
    "GET  /n/$ HTTP/1.1\r\nHost: a\r\nX-Nonce: $\r\n\r\n",
    "GET /n/$ HTTP/1.2x\r\nHost: a\r\nX-Nonce: $\r\n\r\n",
    "G\x01T /n/$ HTTP/1.1\r\nHost: a\r\nX-Nonce: $\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03",
    "\r\n\r\n\r\nGET /n/$ HTTP/1.1\r\nHost: a\r\nX-Nonce: $\r\n\r\n",
];

/// What may follow good chunks of a request; no origin may take it for a body's end.
const CHUNKS: &[&str] = &[
    "xyz\r\nhello\r\n0\r\n\r\n",
    "5\r\nhelloworld\r\n0\r\n\r\n",
    "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
    "5\nhello\r\n0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "-5\r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\r\nX: a\n\r\n",
    "5\r\nhello\r\n0\r\nX : a\r\n\r\n",
    "5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n",
    "5;a\x01\r\nhello\r\n0\r\n\r\n",
    "\r\n5\r\nhello\r\n0\r\n\r\n",
];

/// Heads of answers. No client may see them.
const ANSWER_HEADS: &[&str] = &[
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
    "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 2000 High\r\nContent-Length: 0\r\n\r\n",
    "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "SSH-2.0-OpenSSH\r\n\r\n",
];

/// One more interim answer than anybody passes on.
const INTERIMS: usize = 17;
/// Longer than any head may be.
const LONG: usize = 70 << 10;
/// More fields than a head may have.
const FIELDS: usize = 101;

fn filled(text: &str, nonce: u64) -> Vec<u8> {
    text.replace('$', &nonce.to_string()).into_bytes()
}

/// Where a message breaks the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    RequestHead,
    RequestBody,
    AnswerHead,
    AnswerBody,
}

impl Place {
    pub const ALL: &'static [Place] =
        &[Place::RequestHead, Place::RequestBody, Place::AnswerHead, Place::AnswerBody];

    /// Ways to break them there.
    pub const fn forms(self) -> usize {
        match self {
            Place::RequestHead => REQUEST_HEADS.len() + 2,
            Place::AnswerHead => ANSWER_HEADS.len() + 2,
            Place::RequestBody | Place::AnswerBody => CHUNKS.len(),
        }
    }

    fn draw(self, rng: &mut Rng) -> usize {
        let form = rng.below(self.forms() as u32) as usize;
        world(|w| w.seen.broke(self, form));
        form
    }
}

/// One of all requests with an illegal head.
pub fn request_head(rng: &mut Rng, nonce: u64) -> Vec<u8> {
    let start = "GET /n/$ HTTP/1.1\r\nHost: a\r\nX-Nonce: $\r\n";
    let form = Place::RequestHead.draw(rng);
    match REQUEST_HEADS.get(form) {
        Some(text) => filled(text, nonce),
        None if form == REQUEST_HEADS.len() => {
            filled(&format!("{start}X: {}\r\n\r\n", "a".repeat(LONG)), nonce)
        }
        None => filled(&format!("{start}{}\r\n", "X: a\r\n".repeat(FIELDS)), nonce),
    }
}

/// One of all requests with an illegal body, and the length of its head.
pub fn request_body(rng: &mut Rng, nonce: u64) -> (Vec<u8>, usize) {
    let start = "POST /n/$ HTTP/1.1\r\nHost: a\r\nX-Nonce: $\r\n\
         Transfer-Encoding: chunked\r\n\r\n";
    let mut wire = filled(start, nonce);
    let head_len = wire.len();
    if rng.one_in(2) {
        wire.extend_from_slice(b"4\r\ngood\r\n");
    }
    wire.extend_from_slice(CHUNKS[Place::RequestBody.draw(rng)].as_bytes());
    (wire, head_len)
}

/// One of all answers with an illegal head.
pub fn answer_head(rng: &mut Rng) -> Vec<u8> {
    let form = Place::AnswerHead.draw(rng);
    match ANSWER_HEADS.get(form) {
        Some(text) => text.as_bytes().to_vec(),
        None if form == ANSWER_HEADS.len() => {
            "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(INTERIMS).into_bytes()
        }
        None => format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(LONG)).into_bytes(),
    }
}

/// One of all answers with an illegal body.
pub fn answer_body(rng: &mut Rng, nonce: u64) -> Vec<u8> {
    let start = "HTTP/1.1 200 OK\r\nX-Nonce: $\r\nX-Length: 5\r\n\
         Transfer-Encoding: chunked\r\n\r\n";
    let mut wire = filled(start, nonce);
    wire.extend_from_slice(CHUNKS[Place::AnswerBody.draw(rng)].as_bytes());
    wire
}
