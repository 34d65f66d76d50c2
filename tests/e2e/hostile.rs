//! What networks, clients and services do on purpose: memory stays bounded, nothing panics, and
//! others are served meanwhile. What each sees is printed: `cargo test -p busbar-tests --test e2e
//! hostile -- --nocapture`.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use harness::client::{Client, End};
use harness::crowd::{Bystander, Meter, raise_descriptors};
use harness::gateway::Gateway;
use harness::origin::{Accepted, Origin, beside};
use harness::{PATIENCE, eventually, pace};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const MIB: u64 = 1024;

/// A gateway under attack, somebody else who uses it, and what it was before.
struct Scene {
    gateway: Gateway,
    address: String,
    what: &'static str,
    memory_kib: u64,
    descriptors: usize,
    watchers: Option<(Bystander, Meter)>,
}

impl Scene {
    /// `/by` is answered by the gateway itself, the rest as `text` says, which may
    /// name the upstream `app`: `origin`.
    fn before(what: &'static str, driver: &str, origin: &Origin, text: &str) -> Scene {
        let upstream = format!(
            "[upstream.app]\nendpoints = [\"{}\"]\n\
             [upstream.app.pool]\nidle_timeout = \"200ms\"\n",
            origin.address()
        );
        Scene::begin(what, driver, &format!("{text}{upstream}"))
    }

    /// As `before`, with nothing behind it.
    fn begin(what: &'static str, driver: &str, text: &str) -> Scene {
        raise_descriptors();
        let text = format!("{text}\n[route.by]\npath = \"/by\"\nrespond = \"ok\"\n");
        let gateway = Gateway::start(driver, &text);
        let (memory_kib, descriptors) = (gateway.memory_kib("RssAnon"), gateway.descriptors());
        let address = gateway.address();
        let watchers = Some((Bystander::begin(&address, "/by"), Meter::begin(gateway.pid())));
        Scene { gateway, address, what, memory_kib, descriptors, watchers }
    }

    fn client(&self) -> Client {
        Client::connect(&self.address)
    }

    /// A connection that never waits.
    fn raw(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("the gateway listens");
        stream.set_nonblocking(true).expect("ours");
        stream
    }

    /// Everything is given back; at no time was there more than `growth_max_kib` above the
    /// beginning.
    fn end(mut self, growth_max_kib: u64) {
        let (bystander, meter) = self.watchers.take().expect("ended once");
        let served = bystander.end();
        let grown = meter.end().saturating_sub(self.memory_kib);
        println!(
            "{}: {grown} KiB above {} KiB; a bystander had {} answers, p99 {:?}, worst {:?}",
            self.what, self.memory_kib, served.count, served.p99, served.worst
        );
        assert!(grown <= growth_max_kib, "{grown} KiB");
        assert!(served.p99 < Duration::from_secs(2), "{served:?}");
        let (gateway, descriptors) = (&self.gateway, self.descriptors);
        eventually("descriptors are back", || gateway.descriptors() <= descriptors);
        let (code, log) = self.gateway.stop();
        assert_eq!(code, Some(0), "{log}");
        // Not asserted: a machine with other work may keep a worker waiting for a second.
        log.lines().filter(|l| l.contains("answer")).for_each(|l| println!("{}: {l}", self.what));
    }
}

/// What became of a connection that never waits: nothing yet, or its end.
fn is_over(stream: &mut TcpStream) -> bool {
    loop {
        match stream.read(&mut [0; 4096]) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => return false,
            Err(_) => return true,
        }
    }
}

/// Sends `piece` again and again, up to `most` bytes, until the gateway takes no more.
fn flood(client: &mut Client, piece: &[u8], most: usize) {
    let pieces = piece.repeat((16 << 10) / piece.len() + 1);
    for _ in 0..most / pieces.len() {
        if !client.try_send(&pieces) {
            return;
        }
    }
}

/// The status of the answer; what was reset on its way counts as `refusal`.
fn refusal(client: &mut Client, refusal: u16) -> u16 {
    client.answer().map_or(refusal, |answer| answer.status)
}

fn reset_on_close(stream: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: passes a local linger of the right size for our socket.
    unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
}

/// Accepts in the background; each connection is played on a thread of its own.
fn play(origin: Origin, script: impl Fn(Accepted) + Send + Clone + 'static) {
    std::thread::spawn(move || {
        while let Some(accepted) = origin.accept_within(PATIENCE) {
            let script = script.clone();
            let run = move || script(accepted);
            std::thread::Builder::new().stack_size(256 << 10).spawn(run).expect("a thread");
        }
    });
}

/// Both drivers at once would need more descriptors than the test may have.
static CROWD: Mutex<()> = Mutex::new(());

on_both_drivers! {
    /// Two thousand heads that never end, a byte at a time.
    fn slow_heads(driver: &str) {
        let scene = Scene::begin("2,000 slow heads", driver,
            "[server]\nmemory_max = \"8MiB\"\n\
             [listener.web]\naddress = \"127.0.0.1:PORT\"\nhead_timeout = \"2s\"\n");
        let begin = b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ";
        let mut slow: Vec<TcpStream> = (0..2000).map(|_| {
            let mut stream = scene.raw();
            stream.write_all(begin).unwrap();
            stream
        }).collect();
        let began = Instant::now();
        while !slow.is_empty() {
            assert!(began.elapsed() < PATIENCE, "{} are still there", slow.len());
            slow.retain_mut(|stream| stream.write_all(b"a").is_ok() && !is_over(stream));
            pace(Duration::from_millis(100));
        }
        scene.end(40 * MIB);
    }

    /// Bodies that stand still, and bodies of some bytes a second.
    fn slow_bodies(driver: &str) {
        let origin = Origin::new();
        let scene = Scene::before("300 slow bodies", driver, &origin,
            "[server]\nmemory_max = \"8MiB\"\n[route.app]\nto = \"app\"\n\
             body_timeout = \"700ms\"\ndeadline = \"2s\"\n");
        play(origin, |mut up| _ = up.ends());
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
        let mut slow: Vec<(usize, TcpStream)> = (0..300).map(|i| {
            let mut stream = scene.raw();
            stream.write_all(head).unwrap();
            (i, stream)
        }).collect();
        let began = Instant::now();
        while !slow.is_empty() {
            assert!(began.elapsed() < PATIENCE, "{} are still there", slow.len());
            slow.retain_mut(|(i, stream)| {
                let drips = *i % 2 == 0;
                (!drips || stream.write_all(b"a").is_ok()) && !is_over(stream)
            });
            pace(Duration::from_millis(100));
        }
        scene.end(32 * MIB);
    }

    /// As many connections as the descriptors allow, most of which say nothing.
    fn idle_connections(driver: &str) {
        let _alone = CROWD.lock();
        let allowed = raise_descriptors().saturating_sub(2000) / 2;
        let count = allowed.min(9000) as usize;
        let scene = Scene::begin("9,000 idle connections", driver, &format!(
            "[listener.web]\naddress = \"127.0.0.1:PORT\"\nconnections_max = {}\n\
             head_timeout = \"60s\"\n[route.all]\nrespond = \"ok\"\n", count + 100));
        let mut idle: Vec<Client> = (0..count).map(|_| scene.client()).collect();
        for client in idle.iter_mut().step_by(7) {
            assert_eq!(client.ask(GET).status, 200);
        }
        for client in idle.iter_mut().rev().step_by(100) {
            assert_eq!(client.ask(GET).status, 200, "it is still there");
        }
        drop(idle);
        scene.end(4 * count as u64 + 4 * MIB);
    }

    fn header_bombs(driver: &str) {
        let origin = Origin::new();
        let scene = Scene::before("header bombs", driver, &origin, "[route.app]\nto = \"app\"\n");
        play(origin, |mut up| _ = up.ends());
        let line = "GET / HTTP/1.1\r\nHost: a\r\n";
        let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let bombs: [(&str, &[u8], u16); 11] = [
            (line, b"X: 1\r\n", 431),
            (line, b"Cookie: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", 431),
            (&format!("{line}X: "), b"a", 431),
            (&format!("{line}X"), b"a", 431),
            (&format!("{line}X: 1"), b"\r\n 2", 400),
            ("GET /", b"a", 414),
            ("", b"A", 431),
            ("", b"\r\n", 400),
            (&format!("{chunked}1"), b";a", 400),
            (chunked, b"0", 400),
            (&format!("{chunked}0\r\n"), b"X: 1\r\n", 400),
        ];
        for (begin, piece, status) in bombs {
            let mut clients: Vec<Client> = (0..4).map(|_| scene.client()).collect();
            for client in &mut clients {
                client.send(begin);
                flood(client, piece, 4 << 20);
                let got = refusal(client, status);
                assert_eq!(got, status, "{begin:?} {:?}", String::from_utf8_lossy(piece));
            }
        }
        scene.end(16 * MIB);
    }

    /// Chunks of one byte up to the limit of a body.
    fn a_body_without_end_in_tiny_chunks(driver: &str) {
        let origin = Origin::new();
        let scene = Scene::before("a body in tiny chunks", driver, &origin,
            "[route.app]\nto = \"app\"\nbody_limit = \"1MiB\"\n");
        play(origin, |mut up| _ = up.ends());
        let mut client = scene.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        flood(&mut client, b"1\r\na\r\n", 16 << 20);
        assert_eq!(refusal(&mut client, 413), 413);
        scene.end(8 * MIB);
    }

    /// Five thousand requests before the first answer is read, each answer in its place.
    fn long_pipelines(driver: &str) {
        const REQUESTS: usize = 5000;
        let origin = Origin::new();
        let scene = Scene::before("pipelines of 5,000", driver, &origin,
            "[route.app]\nto = \"app\"\n");
        origin.serve(|head| {
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len()).into()
        });
        let pipelines: Vec<_> = (0..3).map(|p| {
            let mut client = scene.client();
            beside(move || {
                let mut writing = client.stream.try_clone().unwrap();
                let written = beside(move || (0..REQUESTS).for_each(|n| {
                    let request = format!("GET /{p}/{n} HTTP/1.1\r\nHost: a\r\n\r\n");
                    writing.write_all(request.as_bytes()).unwrap();
                }));
                for n in 0..REQUESTS {
                    assert_eq!(client.answer().unwrap().text(), format!("/{p}/{n}"));
                }
                written.recv().unwrap();
            })
        }).collect();
        for pipeline in pipelines {
            pipeline.recv_timeout(PATIENCE * 2).expect("every answer came, in order");
        }
        scene.end(8 * MIB);
    }

    fn an_origin_that_sends_forever(driver: &str) {
        let origin = Origin::new();
        let scene = Scene::before("origins that send forever", driver, &origin,
            "[route.app]\nto = \"app\"\n");
        /// Sends until it is cut off.
        fn forever(mut up: Accepted, begin: &str, piece: &[u8]) {
            up.head();
            up.send(begin);
            let pieces = piece.repeat((16 << 10) / piece.len() + 1);
            while up.try_send(&pieces) {}
        }
        let heads: [(&str, &[u8]); 5] = [
            ("HTTP/1.1 200 OK\r\n", b"X: 1\r\n"),
            ("HTTP/1.1 200 OK\r\nX: ", b"a"),
            ("HTTP/1.1 200 ", b"a"),
            ("", b"HTTP/1.1 100 Continue\r\n\r\n"),
            ("", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
        ];
        for (begin, piece) in heads {
            let mut client = scene.client();
            client.send(GET);
            let up = origin.accept();
            let cut = beside(move || forever(up, begin, piece));
            let answer = loop {
                let answer = client.answer().expect("an answer");
                if answer.status >= 200 {
                    break answer;
                }
            };
            assert_eq!(answer.status, 502, "{begin:?}");
            cut.recv_timeout(PATIENCE).expect("the origin is cut off");
        }
        // Bodies, to a client that leaves after a while.
        let chunk = [&b"4000\r\n"[..], &[b'a'; 0x4000], b"\r\n"].concat();
        let framings = ["", "Content-Length: 9000000000000000000\r\n"];
        let bodies = framings.map(|f| (format!("HTTP/1.1 200 OK\r\n{f}\r\n"), vec![b'a'; 16384]));
        let coded = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
        for (begin, piece) in bodies.into_iter().chain([(coded, chunk)]) {
            let mut client = scene.client();
            client.send(GET);
            let up = origin.accept();
            let cut = beside(move || forever(up, &begin, &piece));
            client.exactly(4 << 20).expect("it comes");
            drop(client);
            cut.recv_timeout(PATIENCE).expect("the origin is cut off");
        }
        scene.end(32 * MIB);
    }

    /// Answers that nobody takes, of an origin and of our own.
    fn clients_that_never_read(driver: &str) {
        let origin = Origin::new();
        let scene = Scene::before("60 clients that never read", driver, &origin, &format!(
            "[server]\nmemory_max = \"8MiB\"\n[route.app]\nto = \"app\"\n\
             body_timeout = \"1500ms\"\n[route.own]\npath = \"/own\"\nrespond = \"{}\"\n\
             body_timeout = \"1500ms\"\n", "own".repeat(1000)));
        let cut = Arc::new(AtomicUsize::new(0));
        let counts = cut.clone();
        play(origin, move |mut up| {
            up.head();
            up.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
            while up.try_send([b'a'; 16384]) {}
            counts.fetch_add(1, Ordering::Relaxed);
        });
        let mut deaf: Vec<TcpStream> = (0..60).map(|i| {
            let mut stream = scene.raw();
            if i % 2 == 0 {
                stream.write_all(GET.as_bytes()).unwrap();
            }
            stream
        }).collect();
        // Half of them ask for more and more.
        let request = b"GET /own HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
        let mut open: Vec<&mut TcpStream> = deaf.iter_mut().skip(1).step_by(2).collect();
        eventually("all that only ask are cut off", || {
            open.retain_mut(|stream| match stream.write(&request) {
                Ok(_) => true,
                Err(e) => e.kind() == ErrorKind::WouldBlock,
            });
            open.is_empty()
        });
        eventually("their origins are", || cut.load(Ordering::Relaxed) == 30);
        deaf.clear();
        scene.end(24 * MIB);
    }

    fn an_origin_of_a_byte_a_second(driver: &str) {
        let origin = Origin::new();
        let scene = Scene::before("origins of a byte a second", driver, &origin,
            "[server]\nmemory_max = \"8MiB\"\n[route.app]\nto = \"app\"\ntimeout = \"2s\"\n");
        fn drip(up: &mut Accepted, text: &str) -> bool {
            text.bytes().all(|byte| {
                let sent = up.try_send([byte]);
                pace(Duration::from_secs(1));
                sent
            })
        }
        play(origin, |mut up| {
            if up.head().contains("/head ") {
                drip(&mut up, OK);
                return;
            }
            up.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n");
            drip(&mut up, "abc");
        });
        let mut clients: Vec<Client> = (0..100).map(|_| scene.client()).collect();
        for (i, client) in clients.iter_mut().enumerate() {
            client.send(GET.replace("/ ", if i % 2 == 0 { "/head " } else { "/body " }));
        }
        for (i, client) in clients.iter_mut().enumerate() {
            let answer = client.answer().unwrap();
            let expect = if i % 2 == 0 { (504, false) } else { (200, true) };
            assert_eq!((answer.status, answer.text() == "abc"), expect);
        }
        drop(clients);
        scene.end(16 * MIB);
    }

    fn garbage(driver: &str) {
        let scene = Scene::begin("garbage", driver, "[route.all]\nrespond = \"ok\"\n");
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = |n: usize| -> Vec<u8> {
            (0..n).map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 56) as u8
            }).collect()
        };
        let mut said: Vec<Vec<u8>> = [
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.7\r\n",
            b"\x00\x00\x00\x00\x00\x00\x00\x00",
            b"EHLO mail.example\r\n",
            b"*1\r\n$4\r\nPING\r\n",
            b"GET / HTTP/1.1\nHost: a\n\n",
            b"\r\n\r\n\r\n\r\n",
        ].map(<[u8]>::to_vec).into();
        said.extend((0..300).map(|i| random(1 + i * 97 % 20_000)));
        // A whole request with one byte of it replaced.
        said.extend((0..300).map(|i| {
            let mut request = b"POST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi".to_vec();
            let at = i * 31 % request.len();
            request[at] = random(1)[0];
            request
        }));
        for bytes in said {
            let mut client = scene.client();
            client.try_send(&bytes);
            let _ = client.stream.shutdown(Shutdown::Write);
            let (answer, _) = client.rest();
            let is_answer = answer.is_empty() || answer.starts_with(b"HTTP/1.1 ");
            assert!(is_answer, "{:?}", String::from_utf8_lossy(&answer));
        }
        scene.end(8 * MIB);
    }

    /// Five thousand connections that are closed at once, a third of them with a reset.
    fn connection_storms(driver: &str) {
        let scene = Scene::begin("a storm of 5,000 connections", driver,
            "[route.all]\nrespond = \"ok\"\n");
        for i in 0..5000 {
            let mut stream = TcpStream::connect(&scene.address).expect("the gateway listens");
            if i % 2 == 0 {
                let _ = stream.write_all(&GET.as_bytes()[..i % GET.len()]);
            }
            if i % 3 == 0 {
                reset_on_close(&stream);
            }
        }
        let mut after = scene.client();
        assert_eq!(after.ask(GET).status, 200);
        assert_eq!(after.half_close().ends(), End::Closed);
        scene.end(16 * MIB);
    }
}
