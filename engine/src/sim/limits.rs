//! Oracle 5: what limits admit, over all workers, with reloads in between, in virtual time.
//!
//! A rate never lets more than burst + rate × T pass in any time T. When a request was decided is
//! not seen from outside, but it was between its sending and its answer: so the requests that
//! were sent after `a` and answered before `b` were all decided within `b - a`.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::rng::Rng;
use crate::rt::{Listener, Stream, now, pause};
use crate::sim::client::Reader;
use crate::sim::exec::{self, spawn, world};
use crate::sim::fault::Faults;
use crate::sim::gateway::{Gateway, Size};
use crate::sim::oracle::Shared;
use crate::time::Mono;
use crate::worker::wire::Wire;

const SEEDS: u64 = 40;
const CLIENTS: u8 = 6;
const GATEWAY: ([u8; 4], u16) = ([10, 0, 0, 1], 8080);
const ORIGIN: ([u8; 4], u16) = ([10, 0, 1, 1], 9000);

/// One answer: when its request was sent, when it came, its status.
type Told = (Mono, Mono, u16);

/// Asks again and again on one connection after the other until `end`.
async fn ask_until(end: Mono, from: SocketAddr, told: Rc<RefCell<Vec<Told>>>) {
    while now() < end {
        let Ok(stream) = Stream::dial(from, GATEWAY.into()).await else { continue };
        let stream = Wire::plain(stream);
        let mut reader = Reader::new(&stream);
        while now() < end {
            let sent = now();
            let request = b"GET / HTTP/1.1\r\nHost: a\r\nX-Nonce: 1\r\n\r\n";
            if !matches!(stream.try_write(request, &[]), Ok(n) if n == request.len()) {
                break;
            }
            let Some(status) = answer(&mut reader).await else { break };
            told.borrow_mut().push((sent, now(), status));
            let us = world(|w| w.rng.below(3000));
            pause(Duration::from_micros(u64::from(us))).await;
        }
    }
}

/// The status of the next whole answer. Its body is as long as it says.
async fn answer(reader: &mut Reader<'_>) -> Option<u16> {
    loop {
        let text = String::from_utf8_lossy(&reader.buf).into_owned();
        if let Some(end) = text.find("\r\n\r\n") {
            let len = text[..end].split("Content-Length: ").nth(1);
            let len = len.and_then(|rest| rest.split("\r\n").next()?.parse().ok()).unwrap_or(0);
            if reader.buf.len() >= end + 4 + len {
                reader.buf.drain(..end + 4 + len);
                return text.get(9..12)?.parse().ok();
            }
        }
        if !reader.more().await.ok()? {
            return None;
        }
    }
}

/// Runs a gateway of `workers` on `text`, which is read again and again, and clients until `end`.
fn run(seed: u64, workers: u32, text: fn(u32) -> String, end: Mono) -> Vec<Told> {
    let told: Rc<RefCell<Vec<Told>>> = Rc::default();
    let all = told.clone();
    let (_, stuck) = exec::run(seed, Faults::default(), false, move || {
        let size = Size { workers, buf_bytes_max: 1 << 20, ring_bytes: 1 << 16 };
        let oracle = Shared::default();
        let first = format!("[log.access]\n{}", text(0));
        let gateway = Gateway::start(&first, size, seed, &oracle);
        let mut rng = Rng::from_u64(seed);
        let mut at = Mono(1_000_000_000);
        let reloads = (1..=rng.below(6)).map(|n| {
            at = at.after(Duration::from_millis(u64::from(rng.below(1500))));
            (at, format!("[log.access]\n{}", text(n)))
        });
        let reloads: Vec<_> = reloads.collect();
        for client in 0..CLIENTS {
            let from = SocketAddr::from(([10, 0, 2, client + 1], 1));
            spawn(ask_until(end, from, all.clone()), || {});
        }
        let operate = async move {
            gateway.operate(reloads, end.after(Duration::from_secs(5))).await;
            assert!(oracle.borrow().broken.is_empty(), "{:?}", oracle.borrow().broken);
        };
        spawn(operate, || panic!("the gateway panicked"));
    });
    let _ = stuck; // an origin waits for ever
    told.take()
}

const BURST: usize = 20;
const PER_SECOND: f64 = 50.0;

fn rate(n: u32) -> String {
    format!(
        "[listener.web]\naddress = \"10.0.0.1:8080\"\n[route.app]\nrespond = \"{n}\"\n\
         rate_limit = [{{ rate = \"50/s\", burst = 20, per = \"route\" }}, {{ rate = \"1000/s\" }}]\n"
    )
}

#[test]
fn rates_hold_over_all_workers_and_reloads() {
    for seed in 0..SEEDS {
        let end = Mono(5_000_000_000);
        let workers = 1 + (seed % 3) as u32;
        let told = run(seed, workers, rate, end);
        let admitted: Vec<_> = told.iter().filter(|(.., status)| *status == 200).collect();
        assert!(told.len() > admitted.len() * 2, "seed {seed}: it was asked for more");
        assert!(told.iter().all(|(.., s)| matches!(s, 200 | 429)), "seed {seed}");
        for (a, ..) in &admitted {
            for (_, b, _) in &admitted {
                let within = admitted.iter().filter(|(sent, got, _)| sent >= a && got <= b).count();
                let most = BURST as f64 + PER_SECOND * b.since(*a).as_secs_f64();
                assert!(within as f64 <= most + 1e-6, "seed {seed}: {within} of {most}");
            }
        }
        // And what may pass does: those who ask do so all the time.
        let (first, last) = (admitted.first().expect("some").0, admitted.last().expect("some").1);
        let least = 0.95 * PER_SECOND * last.since(first).as_secs_f64();
        assert!(admitted.len() as f64 >= least, "seed {seed}: {} of {least}", admitted.len());
    }
}

thread_local! {
    /// Requests at the origin now, and the most there were.
    static HELD: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
}

fn permits(n: u32) -> String {
    // The other route comes and goes; the limit stays.
    let other = if n % 2 == 1 { "[route.other]\npath = \"/x\"\nrespond = \"x\"\n" } else { "" };
    format!(
        "[listener.web]\naddress = \"10.0.0.1:8080\"\n[upstream.app]\nendpoints = \
         [\"10.0.1.1:9000\"]\n[route.app]\nto = \"app\"\n\
         concurrency = {{ limit = 3, queue = 4, wait = \"300ms\" }}\n{other}"
    )
}

/// Answers each request after a while.
async fn slow_origin() {
    let listener = Listener::bind(SocketAddr::from(ORIGIN));
    loop {
        match listener.try_accept() {
            Ok((end, _)) => {
                let stream = Stream::adopt(end).expect("simulated");
                spawn(serve_slowly(stream), || {});
            }
            Err(_) => _ = listener.wait().await,
        }
    }
}

async fn serve_slowly(stream: Stream) {
    let stream = Wire::plain(stream);
    let mut reader = Reader::new(&stream);
    while let Ok(true) = reader.more().await {
        if !reader.buf.ends_with(b"\r\n\r\n") {
            continue;
        }
        reader.buf.clear();
        let (held, most) = HELD.get();
        HELD.set((held + 1, most.max(held + 1)));
        let us = world(|w| w.rng.below(40_000));
        pause(Duration::from_micros(u64::from(us))).await;
        // Before the answer: the gateway may let the next one in as soon as it has it.
        let (held, most) = HELD.get();
        HELD.set((held - 1, most));
        let _ = stream.try_write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", &[]);
    }
}

#[test]
fn permits_hold_over_all_workers_and_reloads_and_nobody_waits_in_vain() {
    for seed in 0..SEEDS {
        HELD.set((0, 0));
        let told = run_with_origin(seed);
        let (held, most) = HELD.get();
        assert_eq!((held, most), (0, 3), "seed {seed}: as many as may, and no more");
        let served = told.iter().filter(|(.., status)| *status == 200).count();
        assert!(served > 100, "seed {seed}: {served} of {}", told.len());
        for (sent, got, status) in &told {
            assert!(matches!(status, 200 | 503), "seed {seed}: {status}");
            let took = got.since(*sent);
            // The wait, the service, and the way of a few packets.
            assert!(took < Duration::from_millis(420), "seed {seed}: {took:?}");
        }
    }
}

fn run_with_origin(seed: u64) -> Vec<Told> {
    let told: Rc<RefCell<Vec<Told>>> = Rc::default();
    let all = told.clone();
    let workers = 1 + (seed % 3) as u32;
    let end = Mono(4_000_000_000);
    let _ = exec::run(seed, Faults::default(), false, move || {
        spawn(slow_origin(), || {});
        let size = Size { workers, buf_bytes_max: 1 << 20, ring_bytes: 1 << 16 };
        let oracle = Shared::default();
        let text = |n| format!("[log.access]\n{}", permits(n));
        let gateway = Gateway::start(&text(0), size, seed, &oracle);
        let reloads = (1..=4).map(|n| (Mono(1_000_000_000 + u64::from(n) * 500_000_000), text(n)));
        let reloads: Vec<_> = reloads.collect();
        for client in 0..2 * CLIENTS {
            let from = SocketAddr::from(([10, 0, 2, client + 1], 1));
            spawn(ask_until(end, from, all.clone()), || {});
        }
        let operate = async move {
            gateway.operate(reloads, end.after(Duration::from_secs(5))).await;
            assert!(oracle.borrow().broken.is_empty(), "{:?}", oracle.borrow().broken);
        };
        spawn(operate, || panic!("the gateway panicked"));
    });
    told.take()
}
