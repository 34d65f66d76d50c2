//! Everything at once for a while: full load, endpoints that die and come back, a reload each
//! second, clients that hang up anywhere. Afterwards nothing is missing and nothing is left.
//!
//! `cargo test -p busbar-tests --test soak -- --nocapture` takes 20 seconds, half for each driver;
//! `BUSBAR_SOAK_SECONDS=3600` makes it an hour, `BUSBAR_SOAK_SEED=7` draws other choices.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod load;
mod service;

use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::crowd::{Bystander, raise_descriptors};
use harness::gateway::{Config, Gateway};
use harness::{eventually, pace};

use load::Tally;
use service::Service;

const CLIENTS: u64 = 8;
/// What the second part may add to the memory of the first.
const GROWTH_MAX_KIB: u64 = 12 << 10;

/// One driver at a time has the machine.
static ALONE: Mutex<()> = Mutex::new(());

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().expect("a number"))
}

#[test]
fn uring() {
    soak("uring");
}

#[test]
fn epoll() {
    soak("epoll");
}

/// Version `n` of the configuration: its times, routes and listeners come and go, what the load
/// asks for stays.
fn version(n: u64, services: &[Service], extra_port: u16) -> String {
    let endpoints: Vec<String> = services.iter().map(|s| format!("\"{}\"", s.address)).collect();
    let mut text = format!(
        "[server]\n[listener.web]\naddress = \"127.0.0.1:PORT\"\n\
         [upstream.app]\nendpoints = [{}]\nconnect_timeout = \"{}s\"\n\
         [upstream.app.pool]\nidle_timeout = \"{}ms\"\n\
         [route.app]\nto = \"app\"\ntimeout = \"{}s\"\n\
         [route.own]\npath = \"/own\"\nrespond = \"own\"\n",
        endpoints.join(", "),
        2 + n % 3,
        500 + n % 7,
        20 + n % 5,
    );
    for i in 0..n % 5 {
        text += &format!("[route.more-{i}]\npath = \"/more/{n}/{i}\"\nrespond = \"{n}\"\n");
    }
    if n.is_multiple_of(3) {
        text += &format!("[listener.extra]\naddress = \"127.0.0.1:{extra_port}\"\n");
    }
    text
}

fn soak(driver: &'static str) {
    let _alone = ALONE.lock();
    raise_descriptors();
    let (seconds, seed) = (number("BUSBAR_SOAK_SECONDS", 20), number("BUSBAR_SOAK_SEED", 1));
    let half = Duration::from_secs(seconds).div_f64(2.0);
    let services: Vec<Service> = (0..4).map(|n| Service::start(n, seed)).collect();
    let extra = harness::free_port();
    let gateway = Gateway::with(&Config {
        text: &version(0, &services, extra),
        driver,
        workers: 2,
        args: &[],
    });
    let mut reloads = 0;
    let mut part = |part: u64, time: Duration| {
        let tally = under_load(&gateway, part + seed, time, || {
            reloads += 1;
            gateway.rewrite(&version(reloads, &services, extra));
            gateway.reload();
        });
        comes_to_rest(&gateway);
        (tally, gateway.memory_kib("RssAnon"), gateway.descriptors())
    };
    // The first part fills what is kept for the next ones: pools, buffers, tables.
    let (first, memory, descriptors) = part(1, half.mul_f64(0.4));
    let (second, memory_after, descriptors_after) = part(2, half.mul_f64(0.6));
    println!(
        "{driver}: {first}\n{driver}: {second}\n{driver}: {reloads} reloads, {} deaths of \
         services; {memory} KiB and {descriptors} descriptors, then {memory_after} KiB and \
         {descriptors_after}",
        services.iter().map(Service::deaths).sum::<u64>(),
    );
    assert!(second.right > second.answers() / 2, "most of them are served: {second}");
    assert!(memory_after <= memory + GROWTH_MAX_KIB, "{memory} KiB, then {memory_after}");
    // The extra listener may be there or not.
    assert!(descriptors_after <= descriptors + 4, "{descriptors}, then {descriptors_after}");
    let (code, log) = gateway.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    let last = log.lines().last().unwrap_or_default();
    println!("{driver}: {last}");
}

/// Loads `gateway` for `time`, and calls `reload` each second.
fn under_load(gateway: &Gateway, seed: u64, time: Duration, mut reload: impl FnMut()) -> Tally {
    let (over, address) = (AtomicBool::new(false), gateway.address());
    let bystander = Bystander::begin(&address, "/own");
    let mut wrk = wrk(&address, time);
    let tally = std::thread::scope(|scope| {
        let client = |n| {
            let (over, address) = (&over, &address);
            scope.spawn(move || load::run(address, seed << 32 | n, over))
        };
        let clients: Vec<_> = (0..CLIENTS).map(client).collect();
        let began = Instant::now();
        while began.elapsed() < time {
            pace(Duration::from_millis(1000).min(time));
            reload();
        }
        over.store(true, Ordering::Relaxed);
        let mut tally = Tally::default();
        for client in clients {
            tally.add(&client.join().expect("every answer was right"));
        }
        tally
    });
    if let Some(wrk) = &mut wrk {
        served_all(wrk);
    }
    let served = bystander.end();
    println!("a bystander had {} answers, p99 {:?}", served.count, served.p99);
    tally
}

/// wrk beside it, where it is installed: on a route that no service is needed for.
fn wrk(address: &str, time: Duration) -> Option<Child> {
    let mut command = Command::new("wrk");
    command.args(["-t", "1", "-c", "32", "-d", &format!("{}s", time.as_secs().max(1))]);
    command.arg(format!("http://{address}/own"));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    child.inspect_err(|e| println!("without wrk: {e}")).ok()
}

/// Over all the reloads, wrk has seen no error.
fn served_all(wrk: &mut Child) {
    use std::io::Read;
    let mut said = String::new();
    wrk.stdout.take().expect("piped").read_to_string(&mut said).expect("text");
    assert!(wrk.wait().expect("our child").success(), "{said}");
    assert!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
    let requests = said.lines().find(|l| l.contains("requests in")).unwrap_or_default();
    println!("wrk: {}", requests.trim());
}

fn comes_to_rest(gateway: &Gateway) {
    let status = || gateway.admin("GET", "/status").1;
    eventually("connections are closed", || status().contains("\"connections\":0,"));
    eventually("old snapshots are freed", || status().contains("\"snapshots\":1,"));
    // Pooled connections and lingering ones have their time.
    let begin = Instant::now();
    eventually("what is kept for a while is gone", || begin.elapsed().as_secs() >= 2);
}
