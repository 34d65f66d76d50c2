//! The request path allocates nothing after warm-up.

#![allow(unsafe_code)] // counts on behalf of the system's allocator
#![allow(clippy::disallowed_methods)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};

use engine::config::{self, Input};
use engine::ids::{Key, ListenerId, SocketId};
use engine::limit::concurrency::Permits;
use engine::limit::shard::Table;
use engine::rt;
use engine::snapshot::Driver;
use engine::worker::mailbox::{Adoption, Outbox, ToWorker, mailbox};
use engine::worker::{self, Bounds, Seat, Socket};

struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    if COUNTED.with(Cell::get) {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's contract is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes of a body that comes in several parts.
const BIG: usize = 1 << 18;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\n\r\nhello";

/// Requests that wait for their answers at a time.
const TOGETHER: usize = 40;

/// Answers each request that ends with an empty line or with `!`; one with `big` at length, and
/// those with `together` when so many are there.
fn origin() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut big =
        format!("HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: {BIG}\r\n\r\n").into_bytes();
    big.extend(std::iter::repeat_n(b'x', BIG - 5).chain(*b"hello"));
    let all = Arc::new(Barrier::new(TOGETHER));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let (big, all) = (big.clone(), all.clone());
            std::thread::spawn(move || {
                let (mut buf, mut seen) = ([0; 4096], Vec::new());
                while let Ok(n @ 1..) = stream.read(&mut buf) {
                    seen.extend_from_slice(&buf[..n]);
                    if seen.ends_with(b"\r\n\r\n") || seen.ends_with(b"!") {
                        let is_big = seen.starts_with(b"GET /b/big");
                        if seen.starts_with(b"GET /b/together") {
                            all.wait();
                        }
                        stream.write_all(if is_big { &big } else { ANSWER }).unwrap();
                        seen.clear();
                    }
                }
            });
        }
    });
    address
}

fn ask(stream: &mut TcpStream, request: &[u8]) {
    stream.write_all(request).unwrap();
    hear(stream);
}

fn hear(stream: &mut TcpStream) {
    let (mut buf, mut seen) = ([0; 4096], Vec::new());
    while !seen.ends_with(b"hello") {
        let n = stream.read(&mut buf).unwrap();
        assert!(n > 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buf[..n]);
    }
}

/// Allocations in 500 exchanges of each shape: small ones, a body of 16 KiB, an answer of 256 KiB, a
/// connection for each. The last is 100 times many small ones together.
fn allocations(driver: Driver) -> [u64; 5] {
    let text = format!(
        "[auth.keys]\nmethod = \"api_key\"\n[consumer.acme]\napi_keys = [\"${{KEY}}\"]\ngroups = \
         [\"b2b\"]\n[all]\nauth = \"keys\"\nallow = {{ groups = [\"b2b\"] }}\nip = {{ deny = \
         [\"192.0.2.0/24\"] }}\nrate_limit = [{{ rate = \"1M/s\", per = \"consumer\" }}, {{ rate = \
         \"1M/s\" }}]\nconcurrency = {{ limit = 1000, per = \"consumer\" }}\n[route.app]\npath = \"/a/{{id}}\"\nto = \"http://{}\"\nheaders = {{ request = {{ set = {{ \
         X-Id = \"{{id}}\" }} }} }}\nrewrite = {{ path = \"/b/{{id}}\", \
         query = \"v={{query.x}}&{{query}}\", host = \"{{id}}.internal\" }}\n",
        origin()
    );
    let loaded = config::load(Input {
        text,
        name: "test".to_owned(),
        base_dir: None,
        sets: Vec::new(),
        env: &|name| (name == "KEY").then(|| "k".to_owned()),
    });
    let mut snapshot = loaded.snapshot.expect("valid");
    snapshot.keys.listeners = Box::new([Key(0)]);
    snapshot.keys.upstreams = Box::new([Key(0)]);
    snapshot.keys.unchanged = Box::new([false]);
    // What control gives before it publishes.
    snapshot.limits = Some(Arc::new(Table::new([1, 2, 3, 4], 1024)));
    snapshot.permits[0].permits = Some(Arc::new(Permits::by_key(1, 1)));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let (mailbox, slot) = mailbox().unwrap();
    let adoption = Adoption {
        snapshot: Arc::new(snapshot),
        bounds: Box::new([Bounds { counts: Arc::default(), open_max: 100, per_client_max: None }]),
        clients: None,
        opened: vec![Socket { id: SocketId(0), end: listener.into(), unix: false }],
        sockets: Box::new([(SocketId(0), ListenerId(0))]),
        resolved: Vec::new(),
        keys: Vec::new(),
        log: None,
    };
    let seat = Seat {
        id: 0,
        workers: 1,
        adoption,
        peers: None,
        outbox: Outbox::new(|| {}),
        mailbox: mailbox.clone(),
        offload: Arc::default(),
        hasher: worker::hasher([1; 16]),
        buf_bytes_max: 1 << 24,
        seed: [7; 16],
    };
    let worker = std::thread::spawn(move || {
        rt::run(driver, |_| async move {
            COUNTED.with(|c| c.set(true));
            worker::run(seat, slot.open().unwrap()).await;
        })
        .unwrap();
    });
    let mut client = TcpStream::connect(address).unwrap();
    client.set_nodelay(true).unwrap();
    let get = b"GET /a/1?x=y HTTP/1.1\r\nHost: a.example\r\nX-Api-Key: k\r\nAccept: */*\r\nCookie: a=b\r\n\r\n";
    let post =
        b"POST /a/2 HTTP/1.1\r\nHost: a.example\r\nX-Api-Key: k\r\nContent-Length: 6\r\n\r\nworld!";
    let mut long =
        b"POST /a/3 HTTP/1.1\r\nHost: a.example\r\nX-Api-Key: k\r\nContent-Length: 16384\r\n\r\n"
            .to_vec();
    long.extend([b'w'; 16383]);
    long.push(b'!');
    let big = b"GET /a/big HTTP/1.1\r\nHost: a.example\r\nX-Api-Key: k\r\n\r\n";
    let last = b"GET /a/4 HTTP/1.1\r\nHost: a.example\r\nX-Api-Key: k\r\nConnection: close\r\n\r\n";
    let mut shapes: [&mut dyn FnMut(&mut TcpStream); 4] = [
        &mut |client| {
            ask(client, get);
            ask(client, post);
        },
        &mut |client| ask(client, &long),
        &mut |client| ask(client, big),
        &mut |_| ask(&mut TcpStream::connect(address).unwrap(), last),
    ];
    let counts = shapes.each_mut().map(|shape| {
        (0..200).for_each(|_| shape(&mut client));
        let before = COUNT.load(Ordering::Relaxed);
        (0..500).for_each(|_| shape(&mut client));
        COUNT.load(Ordering::Relaxed) - before
    });
    let [small, long, big, connection] = counts;
    let counts = [small, long, big, connection, together(address)];
    drop(client);
    mailbox.send(ToWorker::Drain);
    worker.join().unwrap();
    counts
}

/// Allocations in 100 rounds of requests that wait for their answers together.
fn together(gateway: std::net::SocketAddr) -> u64 {
    let get = b"GET /a/together HTTP/1.1\r\nHost: a.example\r\nX-Api-Key: k\r\n\r\n";
    let mut clients: Vec<_> = (0..TOGETHER).map(|_| TcpStream::connect(gateway).unwrap()).collect();
    let mut rounds = |count| {
        for _ in 0..count {
            clients.iter_mut().for_each(|client| client.write_all(get).unwrap());
            clients.iter_mut().for_each(hear);
        }
        COUNT.load(Ordering::Relaxed)
    };
    let before = rounds(50);
    rounds(100) - before
}

/// Allocations of a connection, its one request included.
const CONNECTION_MAX: u64 = 4;

/// One test, since the counter is one.
#[test]
fn the_request_path_allocates_nothing() {
    for driver in [Driver::Auto, Driver::Epoll] {
        let [small, long, big, connection, together] = allocations(driver);
        // Timers of the runtime itself may allocate now and then; never once per request.
        for count in [small, long, big] {
            assert!(count < 20, "{driver:?}: {small}, {long}, {big} allocations in 500 exchanges");
        }
        let exchanges = 100 * TOGETHER;
        assert!(together < 100, "{driver:?}: {together} allocations in {exchanges} together");
        // A connection is a task, its socket's place in the runtime, and its waits.
        assert!(connection <= 500 * CONNECTION_MAX, "{driver:?}: {connection} for 500 connections");
    }
}
