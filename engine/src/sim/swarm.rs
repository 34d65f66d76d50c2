//! Many seeds, the replay of one, the determinism check.
//!
//! `BUSBAR_SIM_SEED=7 cargo test -p busbar-engine --lib sim` replays one seed with its trace;
//! `BUSBAR_SIM_SEEDS=100000` widens the swarm.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{self, Input};
use crate::ids::ListenerId;
use crate::rng::Rng;
use crate::rt::{Listener, sleep_until};
use crate::sim::client::client;
use crate::sim::exec::{self, spawn, world};
use crate::sim::fault::Faults;
use crate::sim::oracle::{Oracle, Shared};
use crate::sim::origin::origin;
use crate::snapshot::Snapshot;
use crate::time::Mono;
use crate::worker::mailbox::{ToWorker, mailbox};
use crate::worker::{self, Seat, Shared as SharedCounts};

const SEEDS: u64 = 200;
const CLIENTS: u32 = 12;

const CONFIG: &str = r#"
[listener.web]
address = "10.0.0.1:8080"
[upstream.app]
endpoints = ["10.0.1.1:9000", "10.0.1.2:9000"]
[route.app]
to = "app"
"#;

fn snapshot() -> Arc<Snapshot> {
    let loaded = config::load(Input {
        text: CONFIG.to_owned(),
        name: "sim.toml".to_owned(),
        base_dir: None,
        sets: Vec::new(),
        env: &|_| None,
    });
    Arc::new(loaded.snapshot.expect("the simulated configuration is valid"))
}

struct Ran {
    hash: u64,
    answers: u64,
    problems: u64,
    closed_early: u64,
    broken: Vec<String>,
}

/// Runs one world: workers, origins, clients, then a drain.
fn run(seed: u64, faults: Faults, loud: bool) -> Ran {
    let oracle: Shared = Rc::new(RefCell::new(Oracle::default()));
    let o = oracle.clone();
    let (world, stuck) = exec::run(seed, faults, loud, move || build(seed, &o));
    let mut oracle = oracle.borrow_mut();
    if stuck > 0 {
        oracle.broken.push(format!("{stuck} tasks are stuck"));
    }
    if world.net.open_ends() > 0 {
        oracle.broken.push(format!("{} ends of connections leak", world.net.open_ends()));
    }
    Ran {
        hash: world.trace.hash,
        answers: oracle.answers,
        problems: oracle.problems,
        closed_early: oracle.closed_early,
        broken: std::mem::take(&mut oracle.broken),
    }
}

fn build(seed: u64, oracle: &Shared) {
    let gateway = SocketAddr::from(([10, 0, 0, 1], 8080));
    let end = Mono(400_000_000_000);
    for host in [1, 2] {
        let at = SocketAddr::from(([10, 0, 1, host], 9000));
        spawn(origin(at, oracle.clone(), end), || {});
    }
    let shared = SharedCounts::new(&[(1000, None)], seed);
    let seat = Seat {
        id: 0,
        workers: 1,
        snapshot: snapshot(),
        sockets: Vec::new(),
        shared,
        buf_bytes_max: 1 << 20,
        seed: [seed as u8; 16],
    };
    let (mailbox, slot) = mailbox().expect("simulated");
    let panicked = oracle.clone();
    let at_rest = oracle.clone();
    let work = async move {
        let inbox = slot.open().expect("simulated");
        let w = worker::Worker::new(&seat);
        let listeners = vec![(Listener::bind(gateway), ListenerId(0))];
        let report = worker::serve(w.clone(), listeners, inbox).await;
        let mut oracle = at_rest.borrow_mut();
        if report.panics > 0 {
            oracle.violated(format!("{} panics", report.panics));
        }
        if let Some(what) = w.not_at_rest() {
            oracle.violated(what);
        }
    };
    spawn(work, move || panicked.borrow_mut().violated("the worker panicked".to_owned()));
    for number in 0..CLIENTS {
        spawn(client(number, gateway, oracle.clone()), || {});
    }
    let control = async move {
        sleep_until(Mono(200_000_000_000)).await;
        mailbox.send(ToWorker::Drain);
        sleep_until(Mono(300_000_000_000)).await;
        mailbox.send(ToWorker::CutAll);
        sleep_until(end).await;
    };
    spawn(control, || {});
    let _ = world(|w| w.now);
}

fn faults_of(seed: u64) -> Faults {
    Faults::draw(&mut Rng::from_u64(seed ^ 0xfa))
}

fn number(name: &str) -> Option<u64> {
    #[allow(clippy::disallowed_methods)] // a test's own switch
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn a_swarm_of_seeds_breaks_no_promise() {
    if let Some(seed) = number("BUSBAR_SIM_SEED") {
        let ran = run(seed, faults_of(seed), true);
        assert!(ran.broken.is_empty(), "seed {seed}: {:#?}", ran.broken);
        return;
    }
    let mut total = (0, 0, 0);
    for seed in 0..number("BUSBAR_SIM_SEEDS").unwrap_or(SEEDS) {
        let ran = run(seed, faults_of(seed), false);
        total = (total.0 + ran.answers, total.1 + ran.problems, total.2 + ran.closed_early);
        assert!(
            ran.broken.is_empty(),
            "seed {seed}: {:#?}\nBUSBAR_SIM_SEED={seed} cargo test -p busbar-engine --lib swarm \
             -- --nocapture",
            ran.broken
        );
    }
    let (answers, problems, closed) = total;
    eprintln!("{answers} answers, {problems} of them problems, {closed} connections ended early");
    assert!(answers > problems * 2, "most requests are answered in spite of the faults");
}

#[test]
fn without_faults_everything_completes() {
    for seed in 0..50 {
        let ran = run(seed, Faults::default(), false);
        assert!(ran.broken.is_empty(), "seed {seed}: {:#?}", ran.broken);
        assert_eq!((ran.problems, ran.closed_early), (0, 0), "seed {seed}");
        assert!(ran.answers > 0);
    }
}

#[test]
fn a_seed_runs_the_same_way_twice() {
    for seed in [1, 77] {
        let (a, b) = (run(seed, faults_of(seed), false), run(seed, faults_of(seed), false));
        assert_eq!((a.hash, a.answers), (b.hash, b.answers), "seed {seed}");
    }
    let (a, b) = (run(1, faults_of(1), false), run(2, faults_of(2), false));
    assert_ne!(a.hash, b.hash, "different seeds are different worlds");
    let _ = Duration::ZERO;
}
