//! Where messages end, and nothing else: as much as the scenarios of `compare` need.
//!
//! Known are `Content-Length` and answers without a body; whatever else there is ends with its
//! connection. Chunked bodies, interim answers, HEAD and pipelining are not known.

use memchr::memchr;

/// Not what the scenarios send, or more than one message at a time.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct Broken;

/// What bytes are to their message. Parts and wholes may be passed on.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Step {
    /// The head has not ended: come again with these bytes and more.
    Partial,
    /// More will follow.
    Part,
    /// The message ends with the last of them.
    Whole,
}

/// A body that ends when its connection does.
const UNTIL_CLOSE: u64 = u64::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Request,
    /// The client shall be told that its connection closes.
    Answer {
        say_close: bool,
    },
}

/// Follows one message.
#[derive(Debug)]
pub struct Tracker {
    side: Side,
    /// Bytes to come, once the head was seen.
    left: Option<u64>,
    closes: bool,
}

/// What a head says about its message's end.
#[derive(Debug, PartialEq, Eq, Clone, Copy, Default)]
struct Head {
    len: usize,
    content_length: Option<u64>,
    /// The `Connection` line: its first byte, and its value's first byte and length.
    connection: Option<(usize, usize, usize)>,
}

impl Tracker {
    pub fn request() -> Tracker {
        Tracker { side: Side::Request, left: None, closes: false }
    }

    /// `say_close`: the answer's `Connection: keep-alive` becomes `close`.
    pub fn answer(say_close: bool) -> Tracker {
        Tracker { side: Side::Answer { say_close }, left: None, closes: false }
    }

    pub fn is_whole(&self) -> bool {
        self.left == Some(0)
    }

    /// Whether the end of the connection is the end of the message.
    pub fn ends_with_connection(&self) -> bool {
        self.left == Some(UNTIL_CLOSE)
    }

    /// Whether the message asks that its connection be closed after it.
    pub fn closes(&self) -> bool {
        self.closes
    }

    /// The next bytes. Only the `Connection` field is touched, in place, since it speaks about
    /// one connection and would end the pooled one as well.
    pub fn step(&mut self, bytes: &mut [u8]) -> Result<Step, Broken> {
        let mut n = bytes.len() as u64;
        let left = match self.left {
            Some(left) => left,
            None => {
                let Some(head) = head(bytes)? else { return Ok(Step::Partial) };
                n -= head.len as u64;
                self.begin(bytes, &head)
            }
        };
        if left == UNTIL_CLOSE {
            self.left = Some(UNTIL_CLOSE);
            return Ok(Step::Part);
        }
        let left = left.checked_sub(n).ok_or(Broken)?;
        self.left = Some(left);
        Ok(if left == 0 { Step::Whole } else { Step::Part })
    }

    /// The length of the body that follows a head.
    fn begin(&mut self, bytes: &mut [u8], head: &Head) -> u64 {
        if let Some((name, value, len)) = head.connection {
            let said = &mut bytes[value..value + len];
            self.closes = said.eq_ignore_ascii_case(b"close");
            match self.side {
                Side::Request if self.closes => bytes[name] = b'X',
                Side::Answer { say_close: true } if len >= 5 => {
                    said.fill(b' ');
                    said[..5].copy_from_slice(b"close");
                }
                _ => {}
            }
        }
        match self.side {
            Side::Request => head.content_length.unwrap_or(0),
            Side::Answer { .. } => match bytes.get(9..12) {
                Some(b"204" | b"304") => 0,
                _ => head.content_length.unwrap_or(UNTIL_CLOSE),
            },
        }
    }
}

/// `None`: it has not ended.
fn head(bytes: &[u8]) -> Result<Option<Head>, Broken> {
    let mut head = Head::default();
    let Some(first) = memchr(b'\n', bytes) else { return Ok(None) };
    let mut at = first + 1;
    loop {
        let Some(len) = memchr(b'\n', &bytes[at..]) else { return Ok(None) };
        let line = &bytes[at..at + len];
        match line.first() {
            Some(b'\r') => {
                head.len = at + len + 1;
                return Ok(Some(head));
            }
            Some(b'c' | b'C') => field(line, at, &mut head)?,
            Some(_) => {}
            None => return Err(Broken),
        }
        at += len + 1;
    }
}

fn field(line: &[u8], at: usize, head: &mut Head) -> Result<(), Broken> {
    const LENGTH: &[u8] = b"content-length:";
    const CONNECTION: &[u8] = b"connection:";
    let is = |name: &[u8]| line.get(..name.len()).is_some_and(|l| l.eq_ignore_ascii_case(name));
    if is(LENGTH) {
        let value = line[LENGTH.len()..].trim_ascii();
        let text = std::str::from_utf8(value).map_err(|_| Broken)?;
        head.content_length = Some(text.parse().map_err(|_| Broken)?);
    } else if is(CONNECTION) {
        let value = line[CONNECTION.len()..].trim_ascii_start();
        let begins = at + line.len() - value.len();
        head.connection = Some((at, begins, value.trim_ascii_end().len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cuts a message in two at every place; what is passed on and when it is whole.
    fn check(make: fn() -> Tracker, message: &[u8], passed: &[u8]) {
        for at in 0..=message.len() {
            let (mut tracker, mut waits, mut out) = (make(), Vec::new(), Vec::new());
            let mut last = Step::Partial;
            for part in [&message[..at], &message[at..]] {
                waits.extend_from_slice(part);
                if waits.is_empty() {
                    continue;
                }
                last = tracker.step(&mut waits).unwrap();
                if last != Step::Partial {
                    out.append(&mut waits);
                }
            }
            assert_eq!((last, tracker.is_whole()), (Step::Whole, true), "cut at {at}");
            assert_eq!(out, passed, "cut at {at}");
        }
    }

    #[test]
    fn requests_end_with_their_head_or_body() {
        let get = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        check(Tracker::request, get, get);
        let post = b"POST / HTTP/1.1\r\ncontent-LENGTH:  3\r\nHost: x\r\n\r\nabc";
        check(Tracker::request, post, post);
    }

    #[test]
    fn answers_end_with_their_length_or_without_a_body() {
        let ok = b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi";
        check(|| Tracker::answer(false), ok, ok);
        let none = b"HTTP/1.1 204 No Content\r\nServer: x\r\n\r\n";
        check(|| Tracker::answer(false), none, none);
        let told = b"HTTP/1.1 200 OK\r\nConnection: close     \r\nContent-Length: 2\r\n\r\nhi";
        check(|| Tracker::answer(true), ok, told);
    }

    #[test]
    fn a_close_is_kept_from_the_origin() {
        let asked = b"GET / HTTP/1.1\r\nConnection: close\r\nHost: x\r\n\r\n";
        let passed = b"GET / HTTP/1.1\r\nXonnection: close\r\nHost: x\r\n\r\n";
        check(Tracker::request, asked, passed);
        let mut tracker = Tracker::request();
        assert!(tracker.step(&mut asked.to_vec()).is_ok() && tracker.closes());
    }

    #[test]
    fn what_has_no_length_ends_with_its_connection() {
        let mut tracker = Tracker::answer(false);
        let mut bytes = b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\nabc".to_vec();
        assert_eq!(tracker.step(&mut bytes), Ok(Step::Part));
        assert_eq!(tracker.step(&mut bytes), Ok(Step::Part));
        assert!(tracker.ends_with_connection());
    }

    #[test]
    fn more_than_one_message_is_refused() {
        let mut two = b"GET / HTTP/1.1\r\nHost: x\r\n\r\nG".to_vec();
        assert_eq!(Tracker::request().step(&mut two), Err(Broken));
        let mut bad = b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n".to_vec();
        assert_eq!(Tracker::request().step(&mut bad), Err(Broken));
    }
}
