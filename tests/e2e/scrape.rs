//! A scrape of 10,000 routes while others are served. Its times are printed, not asserted: by
//! hand, with a release build and more rounds, they are those of docs/performance.md.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::client::Client;

use crate::numbers::{draw, numbers, with_admin};

const ROUTES: u64 = 10_000;
/// Requests in one piece, to use every route once.
const PIPELINE: u64 = 100;
const WORKERS: u32 = 2;
const CLIENTS: u64 = 6;
/// Of each half of a round: without scrapes and with one each second.
const HALF: Duration = Duration::from_secs(2);

fn request(route: u64) -> String {
    format!("GET /r{route} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// Uses every route once.
fn use_all(address: &str) -> u64 {
    for begin in (0..ROUTES).step_by(PIPELINE as usize) {
        let mut client = Client::connect(address);
        client.send((begin..begin + PIPELINE).map(request).collect::<String>());
        (0..PIPELINE).for_each(|_| assert_eq!(client.answer().unwrap().status, 200));
    }
    ROUTES
}

/// Clients that ask for one route after another, a millisecond apart, for some time.
fn load(address: &str, over: &Arc<AtomicBool>) -> Vec<std::thread::JoinHandle<Vec<Duration>>> {
    let client = |n| {
        let (over, mut client, mut seed) = (over.clone(), Client::connect(address), n);
        std::thread::spawn(move || {
            let mut times = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let request = request(draw(&mut seed) % ROUTES);
                let began = Instant::now();
                assert_eq!(client.ask(request).status, 200);
                times.push(began.elapsed());
                harness::pace(Duration::from_millis(1));
            }
            times
        })
    };
    (1..=CLIENTS).map(client).collect()
}

/// The medians of the rounds' quantiles, and how far these went.
fn said(rounds: &mut [Vec<Duration>]) -> String {
    rounds.iter_mut().for_each(|times| times.sort_unstable());
    let requests: usize = rounds.iter().map(Vec::len).sum();
    let mut said = format!("{requests} requests");
    for share in [0.5, 0.99, 0.999] {
        let at = |times: &Vec<Duration>| times[((times.len() - 1) as f64 * share) as usize];
        let mut all: Vec<Duration> = rounds.iter().map(at).collect();
        all.sort_unstable();
        let (least, most) = (all[0], all[all.len() - 1]);
        said += &format!(", p{share} {:?} ({least:?} to {most:?})", all[all.len() / 2]);
    }
    said
}

/// Half a round: `each` is done once a second meanwhile.
fn half(address: &str, mut each: impl FnMut()) -> Vec<Duration> {
    let over = Arc::new(AtomicBool::new(false));
    let clients = load(address, &over);
    for _ in 0..HALF.as_secs() {
        let began = Instant::now();
        each();
        harness::pace(Duration::from_secs(1).saturating_sub(began.elapsed()));
    }
    over.store(true, Ordering::Relaxed);
    clients.into_iter().flat_map(|client| client.join().expect("it was served")).collect()
}

/// One scrape, looked at only as far as is quick; how long it took.
fn scrape(admin: &str) -> Duration {
    let ask = format!(
        "GET /metrics HTTP/1.1\r\nHost: {admin}\r\nAccept: application/openmetrics-text\r\n\r\n"
    );
    let began = Instant::now();
    let answer = harness::client::ask(admin, ask);
    let took = began.elapsed();
    assert_eq!(answer.status, 200);
    assert!(answer.body.ends_with(b"\n# EOF\n"));
    let megabytes = answer.body.len() / 1_000_000;
    assert!((10..40).contains(&megabytes), "{megabytes} MB");
    took
}

/// Whether a scrape tells of every route, and of every worker.
fn assert_complete(admin: &str, count: u64) {
    let all = numbers(admin);
    assert_eq!(all.sum("busbar_requests_total", &[]) as u64, count, "nothing was lost");
    for name in [
        "busbar_requests_total",
        "busbar_request_duration_seconds_count",
        "busbar_request_bytes_total",
        "busbar_response_bytes_total",
    ] {
        assert_eq!(all.by(name, &["route"]).len() as u64, ROUTES, "{name}");
    }
    let quantiles = all.by("busbar_request_duration_quantiles_seconds_count", &["route"]);
    assert_eq!(quantiles.len(), 1 + 1536, "of all, and of the first routes");
    let told = all.by("busbar_request_duration_seconds_count", &["route"]);
    assert!(quantiles.iter().all(|(route, n)| route[0].is_empty() || told[route] == *n));
    let silence = all.by("busbar_worker_silence_seconds", &["worker"]);
    assert_eq!(silence.len(), WORKERS as usize);
    assert_eq!(all.sum("busbar_worker_hangs_total", &[]), 0.0);
}

on_both_drivers! {
    fn of_10_000_routes_under_load_is_complete_and_disturbs_nobody(driver: &str) {
        let rounds = std::env::var("BUSBAR_SCRAPE_ROUNDS").ok().and_then(|n| n.parse().ok());
        let mut text = String::new();
        for n in 0..ROUTES {
            text += &format!("[route.service-{n}]\npath = \"/r{n}\"\nrespond = \"ok\"\n");
        }
        let (gateway, admin) = with_admin(driver, WORKERS, &text);
        let address = gateway.address();
        let before = gateway.memory_kib("RssAnon");
        let mut count = 0;
        for _ in 0..2 {
            // Both recorders of each worker get their rows.
            count += use_all(&address);
            scrape(&admin);
        }
        let (mut without, mut with, mut took) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds.unwrap_or(1) {
            without.push(half(&address, || {}));
            with.push(half(&address, || took.push(scrape(&admin))));
        }
        count += without.iter().chain(&with).map(|times| times.len() as u64).sum::<u64>();
        assert_complete(&admin, count);
        let after = gateway.memory_kib("RssAnon");
        println!("{driver}: without scrapes: {}", said(&mut without));
        println!("{driver}: with scrapes:    {}", said(&mut with));
        took.sort_unstable();
        println!("{driver}: {} scrapes, {:?} to {:?}", took.len(), took[0], took[took.len() - 1]);
        println!("{driver}: {} MiB of memory, {} before", after / 1024, before / 1024);
        assert!(after < 512 * 1024, "{after} KiB");
        let (code, log) = gateway.stop();
        assert_eq!(code, Some(0));
        assert!(!log.contains("has not answered"), "{log}");
    }
}
