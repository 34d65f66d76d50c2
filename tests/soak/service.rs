//! A service that says what it was asked, and that dies and comes back.
//!
//! ```text
//!  /n/NONCE        NONCE, the length and a hash of the request's body
//!  /chunked/NONCE  the same in chunks
//!  /close/NONCE    the same, up to the end of the connection
//!  /big/NONCE      NONCE over and over, 300 kB
//! ```

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::pace;

use crate::load::{BIG, Draw, hash};

pub struct Service {
    pub address: String,
    deaths: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

type Open = Arc<Mutex<Vec<TcpStream>>>;

impl Service {
    /// The first of them never dies.
    pub fn start(number: u64, seed: u64) -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let address = listener.local_addr().expect("bound").to_string();
        let (deaths, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counts, ends, at) = (deaths.clone(), over.clone(), address.clone());
        std::thread::spawn(move || {
            let mut draw = Draw(seed << 8 | number);
            let mut listener = Some(listener);
            while !ends.load(Ordering::Relaxed) {
                // Its port may be taken for a moment by a connection of somebody else.
                let Some(alive) = listener.take().or_else(|| TcpListener::bind(&at).ok()) else {
                    pace(Duration::from_millis(20));
                    continue;
                };
                let time = 300 + draw.below(1500);
                live(alive, Duration::from_millis(time), number == 0, &ends);
                counts.fetch_add(1, Ordering::Relaxed);
                pace(Duration::from_millis(50 + draw.below(400)));
            }
        });
        Service { address, deaths, over }
    }

    pub fn deaths(&self) -> u64 {
        self.deaths.load(Ordering::Relaxed)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Serves for `time`, then breaks every connection wherever it is.
fn live(listener: TcpListener, time: Duration, forever: bool, over: &AtomicBool) {
    listener.set_nonblocking(true).expect("ours");
    let open = Open::default();
    let begin = std::time::Instant::now();
    while (forever || begin.elapsed() < time) && !over.load(Ordering::Relaxed) {
        let Ok((stream, _)) = listener.accept() else {
            pace(Duration::from_millis(1));
            continue;
        };
        stream.set_nonblocking(false).expect("ours");
        stream.set_nodelay(true).expect("a TCP stream");
        let mut list = open.lock().expect("no panic while locked");
        list.retain(|stream| stream.peer_addr().is_ok());
        list.push(stream.try_clone().expect("descriptors suffice"));
        std::thread::spawn(move || serve(stream));
    }
    drop(listener);
    for stream in open.lock().expect("no panic while locked").iter() {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

struct Input {
    stream: TcpStream,
    buf: Vec<u8>,
}

impl Input {
    fn more(&mut self) -> Option<()> {
        let mut part = [0; 16384];
        let n = self.stream.read(&mut part).ok().filter(|n| *n > 0)?;
        self.buf.extend_from_slice(&part[..n]);
        Some(())
    }

    fn through(&mut self, mark: &[u8]) -> Option<String> {
        loop {
            if let Some(at) = self.buf.windows(mark.len()).position(|w| w == mark) {
                let text = self.exactly(at + mark.len())?;
                return Some(String::from_utf8_lossy(&text).into_owned());
            }
            self.more()?;
        }
    }

    fn exactly(&mut self, n: usize) -> Option<Vec<u8>> {
        while self.buf.len() < n {
            self.more()?;
        }
        Some(self.buf.drain(..n).collect())
    }

    fn body(&mut self, head: &str) -> Option<Vec<u8>> {
        if let Some(length) = harness::origin::field(head, "content-length") {
            return self.exactly(length.parse().expect("the gateway sends numbers"));
        }
        let mut body = Vec::new();
        if harness::origin::field(head, "transfer-encoding").is_some() {
            loop {
                let line = self.through(b"\r\n")?;
                let size = usize::from_str_radix(line.trim(), 16).expect("a chunk's size");
                body.extend(self.exactly(size)?);
                assert_eq!(self.exactly(2)?, b"\r\n", "a chunk ends with its line");
                if size == 0 {
                    break;
                }
            }
        }
        Some(body)
    }
}

fn serve(stream: TcpStream) {
    let mut out = stream.try_clone().expect("descriptors suffice");
    let mut input = Input { stream, buf: Vec::new() };
    while let Some(head) = input.through(b"\r\n\r\n") {
        let path = head.split(' ').nth(1).expect("a request line").to_owned();
        let Some(body) = input.body(&head) else { return };
        let (kind, nonce) = path[1..].split_once('/').expect("what the load asks for");
        let text = format!("{nonce} {} {:x}", body.len(), hash(&body));
        let answer = match kind {
            "chunked" => {
                let (a, b) = text.split_at(text.len() / 2);
                let (m, n) = (a.len(), b.len());
                format!(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                     {m:x}\r\n{a}\r\n{n:x}\r\n{b}\r\n0\r\n\r\n"
                )
            }
            "close" => format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{text}"),
            "big" => {
                let text: String = format!("{nonce} ").chars().cycle().take(BIG).collect();
                format!("HTTP/1.1 200 OK\r\nContent-Length: {BIG}\r\n\r\n{text}")
            }
            _ => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()),
        };
        if out.write_all(answer.as_bytes()).is_err() || kind == "close" {
            let _ = out.shutdown(Shutdown::Both);
            return;
        }
    }
}
