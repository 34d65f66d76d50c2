//! A client that does what it draws, and believes no answer that does not carry its nonce.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::client::{Answer, Client};

/// Bytes of a big answer.
pub const BIG: usize = 300_000;
const PIPELINE: usize = 12;
/// Requests on one connection before a new one is opened.
const REQUESTS_MAX: u64 = 200;

/// A small generator.
pub struct Draw(pub u64);

impl Draw {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

/// FNV-1a.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

/// What became of requests.
#[derive(Default, Debug)]
pub struct Tally {
    /// With their nonce and body.
    pub right: u64,
    /// 502, 503, 504: a service died.
    refused: u64,
    /// Visibly broken in the body.
    cut: u64,
    /// The client left before the end of the answer.
    left: u64,
    connections: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.right += other.right;
        self.refused += other.refused;
        self.cut += other.cut;
        self.left += other.left;
        self.connections += other.connections;
    }

    pub fn answers(&self) -> u64 {
        self.right + self.refused + self.cut
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { right, refused, cut, left, connections } = self;
        write!(
            f,
            "{right} right, {refused} refused, {cut} cut, {left} left by the client, on \
             {connections} connections"
        )
    }
}

/// What a right answer says.
struct Expect {
    nonce: String,
    body: Vec<u8>,
    is_big: bool,
}

/// Asks until it is `over`.
pub fn run(address: &str, seed: u64, over: &AtomicBool) -> Tally {
    let mut draw = Draw(seed);
    let mut tally = Tally::default();
    while !over.load(Ordering::Relaxed) {
        tally.connections += 1;
        let mut client = Client::connect(address);
        let mut requests = 0;
        while !over.load(Ordering::Relaxed) && requests < REQUESTS_MAX {
            requests += 1;
            if !one_turn(&mut client, &mut draw, &mut tally) {
                break;
            }
        }
    }
    tally
}

/// False: the connection is over.
fn one_turn(client: &mut Client, draw: &mut Draw, tally: &mut Tally) -> bool {
    match draw.below(20) {
        0 => {
            // Gone in the middle of its own request.
            let (bytes, _) = request(draw);
            let part = draw.below(bytes.len() as u64) as usize;
            client.try_send(&bytes[..part]);
            tally.left += 1;
            false
        }
        1 => {
            // Gone before or in the middle of the answer.
            let (bytes, _) = request(draw);
            client.try_send(&bytes);
            let _ = client.exactly(draw.below(80) as usize); // every answer is longer
            tally.left += 1;
            false
        }
        2 | 3 => {
            let all: Vec<_> = (0..PIPELINE).map(|_| request(draw)).collect();
            let bytes: Vec<u8> = all.iter().flat_map(|(bytes, _)| bytes).copied().collect();
            client.try_send(&bytes);
            all.iter().all(|(_, expect)| answered(client, expect, tally))
        }
        _ => {
            let (bytes, expect) = request(draw);
            client.try_send(&bytes);
            answered(client, &expect, tally)
        }
    }
}

fn request(draw: &mut Draw) -> (Vec<u8>, Expect) {
    let nonce = format!("{:x}-{:x}", draw.below(1 << 30), draw.below(1 << 30));
    let kind = match draw.below(40) {
        0 => "big",
        1..4 => "chunked",
        4 => "close",
        _ => "n",
    };
    let is_big = kind == "big";
    let host = "Host: soak.example\r\n";
    let mut body = Vec::new();
    let mut bytes;
    match draw.below(4) {
        0 => {
            body = vec![nonce.as_bytes()[0]; draw.below(40_000) as usize];
            let length = body.len();
            bytes =
                format!("POST /{kind}/{nonce} HTTP/1.1\r\n{host}Content-Length: {length}\r\n\r\n")
                    .into_bytes();
            bytes.extend_from_slice(&body);
        }
        1 => {
            let head =
                format!("PUT /{kind}/{nonce} HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n");
            bytes = head.into_bytes();
            for _ in 0..draw.below(5) {
                let part = vec![nonce.as_bytes()[1]; 1 + draw.below(3000) as usize];
                bytes.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                bytes.extend_from_slice(&part);
                bytes.extend_from_slice(b"\r\n");
                body.extend_from_slice(&part);
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        }
        _ => bytes = format!("GET /{kind}/{nonce} HTTP/1.1\r\n{host}\r\n").into_bytes(),
    }
    (bytes, Expect { nonce, body, is_big })
}

/// Reads one answer and judges it. True: another can follow.
fn answered(client: &mut Client, expect: &Expect, tally: &mut Tally) -> bool {
    let nonce = &expect.nonce;
    // Without a head there is no answer at all, which nothing that happens here explains.
    let head = client.head().unwrap_or_else(|end| panic!("no answer for {nonce}: {end:?}"));
    let Ok(answer) = client.body_of(head) else {
        tally.cut += 1;
        return false;
    };
    match answer.status {
        200 => {
            assert_right(&answer, expect);
            tally.right += 1;
        }
        502..=504 => tally.refused += 1,
        _ => panic!("{nonce}: {}", answer.head),
    }
    answer.field("connection") != Some("close")
}

fn assert_right(answer: &Answer, expect: &Expect) {
    let Expect { nonce, body, is_big } = expect;
    if *is_big {
        assert_eq!(answer.body.len(), BIG);
        let text = format!("{nonce} ");
        let expect = text.bytes().cycle().take(BIG);
        assert!(answer.body.iter().copied().eq(expect), "{nonce}: another's answer");
        return;
    }
    assert_eq!(answer.text(), format!("{nonce} {} {:x}", body.len(), hash(body)));
}
