//! A raw client: it sends bytes and reads messages, and knows nothing else.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use rustls::{ClientConnection, Stream};

use crate::PATIENCE;

pub struct Client {
    pub stream: TcpStream,
    /// What stands between bytes and `stream`, where TLS is spoken.
    pub tls: Option<Box<ClientConnection>>,
    buf: Vec<u8>,
    /// Bytes of the whole connection.
    pub sent: u64,
    pub received: u64,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// The head as it came.
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a field, by any case of its name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (n, v) = line.split_once(':')?;
            n.eq_ignore_ascii_case(name).then(|| v.trim())
        })
    }

    /// All values of a field.
    pub fn fields(&self, name: &str) -> Vec<&str> {
        crate::origin::fields(&self.head, name)
    }

    /// The last part of a problem's type; empty for what is none.
    pub fn problem(&self) -> String {
        let document: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let kind = document["type"].as_str().unwrap_or_default();
        kind.strip_prefix("urn:busbar:problem:").unwrap_or_default().to_owned()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Cleanly; over TLS with its farewell (close_notify).
    Closed,
    /// Over TLS without: anybody could have cut it.
    Cut,
    Reset,
}

impl Client {
    pub fn connect(address: &str) -> Client {
        let stream = TcpStream::connect(address).expect("the gateway listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout above zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout above zero");
        stream.set_nodelay(true).expect("a TCP stream");
        Client { stream, tls: None, buf: Vec::new(), sent: 0, received: 0 }
    }

    /// Over TLS, whose handshake goes with the first bytes.
    pub fn connect_tls(address: &str, tls: ClientConnection) -> Client {
        Client { tls: Some(Box::new(tls)), ..Client::connect(address) }
    }

    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.tls {
            None => self.stream.write_all(bytes),
            Some(tls) => Stream::new(tls.as_mut(), &mut self.stream).write_all(bytes),
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        match &mut self.tls {
            None => self.stream.read(bytes),
            Some(tls) => Stream::new(tls.as_mut(), &mut self.stream).read(bytes),
        }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Client {
        self.write_all(bytes.as_ref()).expect("the gateway reads");
        self.sent += bytes.as_ref().len() as u64;
        self
    }

    /// Sends what can be sent; the gateway may close meanwhile.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.write_all(bytes.as_ref()).is_ok()
    }

    /// Ends what it sends; over TLS by its farewell alone, as TLS 1.3 has it.
    pub fn half_close(&mut self) -> &mut Client {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            tls.write_tls(&mut self.stream).expect("the gateway reads");
            return self;
        }
        self.stream.shutdown(Shutdown::Write).expect("connected");
        self
    }

    /// Bytes as they are, below TLS.
    pub fn send_raw(&mut self, bytes: &[u8]) -> &mut Client {
        self.stream.write_all(bytes).expect("the gateway reads");
        self
    }

    /// The last bytes and the farewell in one packet; over TLS, after the handshake.
    pub fn send_and_end(&mut self, bytes: impl AsRef<[u8]>) -> &mut Client {
        let tls = self.tls.as_mut().expect("over TLS");
        tls.writer().write_all(bytes.as_ref()).expect("it has room");
        tls.send_close_notify();
        let mut out = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut out).expect("memory");
        }
        self.stream.write_all(&out).expect("the gateway reads");
        self
    }

    fn more(&mut self) -> Result<usize, End> {
        let mut part = [0; 65536];
        match self.read(&mut part) {
            Ok(0) => Err(End::Closed),
            Ok(n) => {
                self.buf.extend_from_slice(&part[..n]);
                self.received += n as u64;
                Ok(n)
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                let got = String::from_utf8_lossy(&self.buf).into_owned();
                panic!("nothing came within {PATIENCE:?}, after: {got:?}");
            }
            // rustls' word for an end without a farewell.
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => Err(End::Cut),
            Err(_) => Err(End::Reset),
        }
    }

    /// Reads until `n` bytes are there and takes them.
    pub fn exactly(&mut self, n: usize) -> Result<Vec<u8>, End> {
        while self.buf.len() < n {
            self.more()?;
        }
        Ok(self.buf.drain(..n).collect())
    }

    /// Reads up to and with `mark`.
    pub fn through(&mut self, mark: &[u8]) -> Result<Vec<u8>, End> {
        let mut from = 0;
        loop {
            if let Some(at) = self.buf[from..].windows(mark.len()).position(|w| w == mark) {
                return self.exactly(from + at + mark.len());
            }
            from = self.buf.len().saturating_sub(mark.len());
            self.more()?;
        }
    }

    pub fn head(&mut self) -> Result<Answer, End> {
        let head = self.through(b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&head).into_owned();
        let status = head.get(9..12).and_then(|s| s.parse().ok());
        let status = status.unwrap_or_else(|| panic!("not a status line: {head:?}"));
        Ok(Answer { status, head, body: Vec::new() })
    }

    /// Reads the answer to a request that is not HEAD.
    pub fn answer(&mut self) -> Result<Answer, End> {
        let head = self.head()?;
        self.body_of(head)
    }

    /// Reads the rest of an answer whose head was read.
    pub fn body_of(&mut self, mut answer: Answer) -> Result<Answer, End> {
        if answer.status < 200 || answer.status == 204 || answer.status == 304 {
            return Ok(answer);
        }
        if let Some(length) = answer.field("content-length") {
            let length = length.parse().expect("a length is a number");
            answer.body = self.exactly(length)?;
        } else if answer.field("transfer-encoding") == Some("chunked") {
            answer.body = self.chunks()?;
        } else {
            answer.body = self.rest().0;
        }
        Ok(answer)
    }

    fn chunks(&mut self) -> Result<Vec<u8>, End> {
        let mut body = Vec::new();
        loop {
            let line = self.through(b"\r\n")?;
            let line = String::from_utf8_lossy(&line[..line.len() - 2]).into_owned();
            let size = line.split(';').next().and_then(|s| usize::from_str_radix(s, 16).ok());
            let size = size.unwrap_or_else(|| panic!("not a chunk size: {line:?}"));
            if size == 0 {
                while self.through(b"\r\n")? != b"\r\n" {}
                return Ok(body);
            }
            body.extend(self.exactly(size)?);
            assert_eq!(self.exactly(2)?, b"\r\n", "a chunk ends with its line");
        }
    }

    /// Everything up to the end, and how it ended.
    pub fn rest(&mut self) -> (Vec<u8>, End) {
        let end = loop {
            if let Err(end) = self.more() {
                break end;
            }
        };
        (std::mem::take(&mut self.buf), end)
    }

    /// One request, one answer.
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        self.send(request).answer().expect("an answer comes")
    }

    /// Asserts that the gateway ends the connection and sends nothing more.
    pub fn ends(&mut self) -> End {
        let (rest, end) = self.rest();
        assert!(rest.is_empty(), "more came: {:?}", String::from_utf8_lossy(&rest));
        end
    }
}

/// Opens a connection, asks once.
pub fn ask(address: &str, request: impl AsRef<[u8]>) -> Answer {
    Client::connect(address).ask(request)
}

/// A GET with further field lines, in bytes.
pub fn asking(path: &str, lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    format!("GET {path} HTTP/1.1\r\nHost: test.example\r\n{lines}\r\n")
}

pub fn get(address: &str, path: &str) -> Answer {
    ask(address, format!("GET {path} HTTP/1.1\r\nHost: test.example\r\n\r\n"))
}
