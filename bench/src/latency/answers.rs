//! Counts the answers in a stream of bytes, keeping no more than a head of them.

/// A head longer than this is not an answer to what is asked here.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const FIELDS_MAX: usize = 64;

/// What has come on one connection.
#[derive(Default)]
pub struct Answers {
    /// A head that is not whole yet.
    head: Vec<u8>,
    /// What is missing of the body.
    body_left: u64,
    /// The answer whose body is read is a good one.
    is_good: bool,
}

/// How many answers ended in a piece.
#[derive(Default, Debug, PartialEq)]
pub struct Ended {
    pub good: u64,
    /// Not 200.
    pub bad: u64,
}

impl Answers {
    /// Takes the next piece. An error: what came is no answer with a length, and the connection is
    /// of no more use.
    pub fn take(&mut self, mut piece: &[u8]) -> Result<Ended, String> {
        let mut ended = Ended::default();
        while !piece.is_empty() {
            if self.body_left == 0 {
                piece = self.take_head(piece)?;
            }
            let body = self.body_left.min(piece.len() as u64);
            self.body_left -= body;
            piece = &piece[body as usize..];
            if self.body_left == 0 && self.head.is_empty() {
                let count = if self.is_good { &mut ended.good } else { &mut ended.bad };
                *count += 1;
            }
        }
        Ok(ended)
    }

    /// What stands behind the head; nothing when it isn't whole.
    fn take_head<'a>(&mut self, piece: &'a [u8]) -> Result<&'a [u8], String> {
        if self.head.is_empty() {
            // Fast path: a whole head in one piece is not copied.
            if let Some(used) = self.parse(piece)? {
                return Ok(&piece[used..]);
            }
        }
        let before = self.head.len();
        self.head.extend_from_slice(piece);
        let head = std::mem::take(&mut self.head);
        match self.parse(&head)? {
            Some(used) => Ok(&piece[used - before..]),
            None if head.len() > HEAD_BYTES_MAX => Err("a head without end".to_owned()),
            None => {
                self.head = head;
                Ok(&[])
            }
        }
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<Option<usize>, String> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut answer = httparse::Response::new(&mut fields);
        let httparse::Status::Complete(used) = answer.parse(bytes).map_err(|e| e.to_string())?
        else {
            return Ok(None);
        };
        let length = answer.headers.iter().find(|f| f.name.eq_ignore_ascii_case("content-length"));
        let length = length.and_then(|f| std::str::from_utf8(f.value).ok()?.parse().ok());
        self.body_left = length.ok_or("an answer without a length")?;
        self.is_good = answer.code == Some(200);
        Ok(Some(used))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_at_every_split() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc\
                     HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n\
                     HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
        for split in 0..text.len() {
            let mut answers = Answers::default();
            let first = answers.take(&text[..split]).unwrap();
            let second = answers.take(&text[split..]).unwrap();
            assert_eq!((first.good + second.good, first.bad + second.bad), (2, 1), "at {split}");
        }
    }

    #[test]
    fn what_has_no_length_is_refused() {
        let mut answers = Answers::default();
        assert!(answers.take(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        assert!(Answers::default().take(b"SSH-2.0-x\r\n").is_err());
    }
}
