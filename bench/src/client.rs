//! One keep-alive connection to a proxy, for what wrk can't do.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustls::{ClientConnection, StreamOwned};

use crate::relay::message::{Step, Tracker};
use crate::tls::{self, Trust};

/// Longest wait for an answer; a proxy that is this late has failed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

pub struct Client {
    stream: Stream,
    port: u16,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    fn socket(&self) -> &TcpStream {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(tls) => &tls.sock,
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Stream::Plain(socket) => socket.write_all(bytes),
            Stream::Tls(tls) => tls.write_all(bytes),
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.read(bytes),
            Stream::Tls(tls) => tls.read(bytes),
        }
    }
}

impl Client {
    pub fn connect(port: u16) -> Result<Client, String> {
        Ok(Client { stream: Stream::Plain(Client::socket(port)?), port })
    }

    pub fn connect_tls(port: u16, trust: &Trust) -> Result<Client, String> {
        let tls = StreamOwned::new(trust.begin()?, Client::socket(port)?);
        Ok(Client { stream: Stream::Tls(Box::new(tls)), port })
    }

    #[allow(clippy::disallowed_methods)] // a program of its own
    fn socket(port: u16) -> Result<TcpStream, String> {
        let failed = |e: std::io::Error| format!("port {port}: {e}");
        let stream = TcpStream::connect(("127.0.0.1", port)).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(failed)?;
        // Its close is a reset: thousands of them would leave their ports waiting.
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).map_err(failed)?;
        Ok(stream)
    }

    /// What TLS settled; nothing without it.
    pub fn spoken(&self) -> String {
        match &self.stream {
            Stream::Plain(_) => String::new(),
            Stream::Tls(tls) => tls::spoken(&tls.conn),
        }
    }

    /// The status of the answer, which is read to its end.
    pub fn get(&mut self, path: &str) -> Result<u16, String> {
        let failed = |e: std::io::Error| format!("GET {path}: {e}");
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", self.port);
        self.stream.write_all(request.as_bytes()).map_err(failed)?;
        let mut answer = Vec::new();
        let mut tracker = Tracker::answer(false);
        let mut part = [0; 4096];
        let mut seen = 0;
        loop {
            let n = self.stream.read(&mut part).map_err(failed)?;
            if n == 0 {
                return Err(format!("GET {path}: the connection ended"));
            }
            answer.extend(&part[..n]);
            match tracker.step(&mut answer[seen..]) {
                Ok(Step::Partial) => {}
                Ok(Step::Part) => seen = answer.len(),
                Ok(Step::Whole) => break,
                Err(_) => return Err(format!("GET {path}: more than an answer")),
            }
        }
        let status = answer.get(9..12).and_then(|s| std::str::from_utf8(s).ok()?.parse().ok());
        status.ok_or(format!("GET {path}: no status"))
    }

    /// Whether the proxy has left it open, and silent since the answer. With TLS too: what a proxy
    /// sends for later sessions comes before its first answer.
    pub fn is_quiet(&self) -> bool {
        let look = |stream: &TcpStream| {
            stream.set_nonblocking(true)?;
            let seen = stream.peek(&mut [0; 1]);
            stream.set_nonblocking(false)?;
            seen
        };
        look(self.stream.socket()).is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock)
    }
}
