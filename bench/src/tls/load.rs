//! Clients that open a connection for each request, and resume sessions or don't, as they are told:
//! wrk resumes its last session whenever it connects again. Blocking, some threads on one core.
#![allow(clippy::disallowed_methods)] // a program of its own: it reads the clock, connects, spawns

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustls::{ClientConfig, HandshakeKind, Stream};

use super::client::{Trust, begin};
use crate::latency::poll;
use crate::wrk::Run;

/// Clients at once. They and the origin fill their core, so more would only wait for each other.
const CLIENTS: usize = 16;
/// The core that wrk has in the other scenarios.
const CORE: usize = 1;
/// An answer that is this late is none.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST: &[u8] = b"GET /128 HTTP/1.1\r\nHost: bench.example\r\nConnection: close\r\n\r\n";
/// What an answer is awaited with, its head included.
const ANSWER_BYTES_MAX: usize = 4096;

/// Clients that know a proxy already, if they are to resume.
pub struct Crowd {
    address: SocketAddr,
    kind: HandshakeKind,
    clients: Vec<Arc<ClientConfig>>,
}

/// What one client counted.
struct Counted {
    requests: u64,
    errors: u64,
    times_us: Histogram<u64>,
}

impl Counted {
    fn new() -> Counted {
        let times = Histogram::new_with_bounds(1, 60_000_000, 3);
        Counted { requests: 0, errors: 0, times_us: times.expect("bounds of a histogram") }
    }
}

impl Crowd {
    /// Each client opens one connection, so that those that are to resume have something to.
    pub fn gather(port: u16, trust: &Trust, kind: HandshakeKind) -> Result<Crowd, String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let client = |_| {
            let client = match kind {
                HandshakeKind::Resumed => trust.resuming()?,
                _ => trust.forgetful(),
            };
            once(address, &client).map(|_| client)
        };
        let clients = (0..CLIENTS).map(client).collect::<Result<Vec<_>, String>>()?;
        Ok(Crowd { address, kind, clients })
    }

    /// Connections for so long; one of another kind than was asked for is an error.
    pub fn run(&self, time: Duration) -> Result<Run, String> {
        let end = Instant::now() + time;
        let mut all = Counted::new();
        std::thread::scope(|scope| {
            let clients = self.clients.iter();
            let threads: Vec<_> =
                clients.map(|client| scope.spawn(|| self.drive(client, end))).collect();
            for thread in threads {
                let counted = thread.join().map_err(|_| "a client panicked".to_owned())?;
                all.requests += counted.requests;
                all.errors += counted.errors;
                all.times_us.add(&counted.times_us).map_err(|e| e.to_string())?;
            }
            Ok::<(), String>(())
        })?;
        let p99_us = all.times_us.value_at_quantile(0.99) as f64;
        Ok(Run { requests: all.requests, errors: all.errors, p99_us })
    }

    fn drive(&self, client: &Arc<ClientConfig>, end: Instant) -> Counted {
        poll::settle(CORE);
        let mut counted = Counted::new();
        loop {
            let began = Instant::now();
            if began >= end {
                return counted;
            }
            counted.requests += 1;
            match once(self.address, client) {
                Ok(kind) if kind == self.kind => {}
                _ => counted.errors += 1,
            }
            counted.times_us.saturating_record(began.elapsed().as_micros().max(1) as u64);
        }
    }
}

/// One connection with one request, up to the proxy's end of it; how its handshake went. What the
/// proxy sends for later sessions comes before the answer does.
fn once(address: SocketAddr, client: &Arc<ClientConfig>) -> Result<HandshakeKind, String> {
    let failed = |e: std::io::Error| e.to_string();
    let mut socket = TcpStream::connect(address).map_err(failed)?;
    socket.set_nodelay(true).map_err(failed)?;
    socket.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(failed)?;
    let mut tls = begin(client)?;
    let mut stream = Stream::new(&mut tls, &mut socket);
    stream.write_all(REQUEST).map_err(failed)?;
    let (mut answer, mut len) = ([0; ANSWER_BYTES_MAX], 0);
    loop {
        match stream.read(&mut answer[len..]).map_err(failed)? {
            0 => break,
            n => len += n,
        }
    }
    if !answer[..len].starts_with(b"HTTP/1.1 200 ") || !answer[..len].ends_with(b"aaa") {
        return Err("no whole answer".to_owned());
    }
    tls.handshake_kind().ok_or("no handshake".to_owned())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{ServerConfig, ServerConnection};

    use super::*;
    use crate::tls::certificate;

    /// Answers connections one after the other, until it is over; one that says nothing is passed.
    fn serve(listener: &TcpListener, config: &Arc<ServerConfig>, over: &AtomicBool) {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\naaa";
        for socket in listener.incoming() {
            if over.load(Ordering::Relaxed) {
                return;
            }
            let mut socket = socket.expect("a connection");
            let mut tls = ServerConnection::new(config.clone()).expect("a machine");
            let mut stream = Stream::new(&mut tls, &mut socket);
            if stream.read(&mut [0; 1024]).is_ok_and(|n| n > 0) {
                stream.write_all(head).expect("the client reads");
                stream.conn.send_close_notify();
                stream.flush().expect("the client reads");
            }
        }
    }

    #[test]
    fn only_handshakes_of_the_kind_that_was_asked_for_count() {
        let dir = std::env::temp_dir().join(format!("busbar-bench-load-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a folder");
        certificate::make(&dir).expect("openssl is there");
        let trust = Trust::in_file(&dir.join(certificate::CHAIN)).expect("a certificate");
        let chain = CertificateDer::from_pem_file(dir.join(certificate::CHAIN));
        let key = PrivateKeyDer::from_pem_file(dir.join("tls.key")).expect("a key");
        std::fs::remove_dir_all(&dir).expect("it is ours");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().expect("versions");
        let builder = builder.with_no_client_auth();
        let config = builder.with_single_cert(vec![chain.expect("a certificate")], key);
        let mut config = config.expect("they fit");
        config.ticketer = rustls::crypto::ring::Ticketer::new().expect("randomness");

        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (port, over) = (listener.local_addr().expect("bound").port(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| serve(&listener, &Arc::new(config), &over));
            let run = |kind: HandshakeKind, named: HandshakeKind| {
                let mut crowd = Crowd::gather(port, &trust, kind).expect("they are served");
                crowd.kind = named;
                let run = crowd.run(Duration::from_millis(50)).expect("they are served");
                assert!(run.requests > 0);
                (run.requests, run.errors)
            };
            use HandshakeKind::{Full, Resumed};
            assert_eq!(run(Full, Full).1, 0);
            assert_eq!(run(Resumed, Resumed).1, 0);
            let (requests, errors) = run(Resumed, Full);
            assert_eq!(errors, requests);
            let (requests, errors) = run(Full, Resumed);
            assert_eq!(errors, requests);
            over.store(true, Ordering::Relaxed);
            TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        });
    }
}
