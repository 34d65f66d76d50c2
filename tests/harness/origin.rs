//! An origin that does what the test says, byte by byte.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::PATIENCE;

/// A listening origin; the test accepts and speaks for it.
pub struct Origin {
    listener: TcpListener,
}

/// One connection from the gateway.
pub struct Accepted {
    pub stream: TcpStream,
    buf: Vec<u8>,
}

impl Default for Origin {
    fn default() -> Origin {
        Origin::new()
    }
}

impl Origin {
    pub fn new() -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        Origin { listener }
    }

    pub fn address(&self) -> String {
        self.listener.local_addr().expect("bound").to_string()
    }

    /// The next connection.
    pub fn accept(&self) -> Accepted {
        self.accept_within(PATIENCE).expect("the gateway connects")
    }

    /// The next connection, if one comes within `patience`.
    pub fn accept_within(&self, patience: Duration) -> Option<Accepted> {
        self.listener.set_nonblocking(true).expect("ours");
        let end = std::time::Instant::now() + patience;
        let stream = loop {
            match self.listener.accept() {
                Ok((stream, _)) => break stream,
                Err(_) if std::time::Instant::now() < end => crate::pause(),
                Err(_) => return None,
            }
        };
        stream.set_nonblocking(false).expect("ours");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout above zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout above zero");
        stream.set_nodelay(true).expect("a TCP stream");
        Some(Accepted { stream, buf: Vec::new() })
    }

    /// Serves every connection on threads of its own: each request head is given to `answer`,
    /// whose bytes are sent. Bodies with a Content-Length are read first.
    pub fn serve(self, answer: impl Fn(&str) -> Vec<u8> + Send + Sync + Clone + 'static) {
        self.listener.set_nonblocking(false).expect("ours");
        std::thread::spawn(move || {
            for stream in self.listener.incoming().map_while(Result::ok) {
                let answer = answer.clone();
                std::thread::spawn(move || {
                    let mut accepted = Accepted { stream, buf: Vec::new() };
                    while let Some(head) = accepted.try_head() {
                        let length = field(&head, "content-length").and_then(|l| l.parse().ok());
                        if accepted.try_exactly(length.unwrap_or(0)).is_none() {
                            return;
                        }
                        if accepted.stream.write_all(&answer(&head)).is_err() {
                            return;
                        }
                    }
                });
            }
        });
    }
}

/// An origin that answers each request with the head that it got. Its address.
pub fn mirror() -> String {
    let origin = Origin::new();
    let address = origin.address();
    origin.serve(|head| {
        let length = head.len();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{head}").into_bytes()
    });
    address
}

/// The value of a field in a head.
pub fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    fields(head, name).into_iter().next()
}

pub fn fields<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let value = |line: &'a str| {
        let (n, v) = line.split_once(':')?;
        n.eq_ignore_ascii_case(name).then(|| v.trim())
    };
    head.lines().skip(1).filter_map(value).collect()
}

impl Accepted {
    fn more(&mut self) -> Option<()> {
        let mut part = [0; 65536];
        match self.stream.read(&mut part) {
            Ok(0) | Err(_) => None,
            Ok(n) => {
                self.buf.extend_from_slice(&part[..n]);
                Some(())
            }
        }
    }

    pub fn try_head(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.buf.windows(4).position(|w| w == b"\r\n\r\n") {
                let head: Vec<u8> = self.buf.drain(..at + 4).collect();
                return Some(String::from_utf8_lossy(&head).into_owned());
            }
            self.more()?;
        }
    }

    /// The next request's head.
    pub fn head(&mut self) -> String {
        self.try_head().expect("the gateway sends a request")
    }

    pub fn try_exactly(&mut self, n: usize) -> Option<Vec<u8>> {
        while self.buf.len() < n {
            self.more()?;
        }
        Some(self.buf.drain(..n).collect())
    }

    pub fn exactly(&mut self, n: usize) -> Vec<u8> {
        self.try_exactly(n).expect("the gateway sends more")
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Accepted {
        self.stream.write_all(bytes.as_ref()).expect("the gateway reads");
        self
    }

    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Waits for the end of the gateway's sending; what came before it is returned.
    pub fn ends(&mut self) -> Vec<u8> {
        while self.more().is_some() {}
        std::mem::take(&mut self.buf)
    }

    /// Closes with a reset.
    pub fn reset(self) {
        use std::os::fd::AsRawFd;
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        // SAFETY: passes a local linger of the right size for our socket.
        unsafe {
            libc::setsockopt(
                self.stream.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const linger).cast(),
                size_of::<libc::linger>() as libc::socklen_t,
            )
        };
    }
}

/// Runs `f` beside the test and gives its result on demand.
pub fn beside<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || drop(sender.send(f())));
    receiver
}
