//! Many seeds, the replay of one, the determinism check.
//!
//! `BUSBAR_SIM_SEED=7 cargo test -p busbar-engine --lib sim` replays one seed with its trace;
//! `BUSBAR_SIM_SEEDS=100000` widens the swarm.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::rng::Rng;
use crate::sim::client::{Story, client};
use crate::sim::exec::{self, spawn};
use crate::sim::fault::Faults;
use crate::sim::gateway::Gateway;
use crate::sim::oracle::{Oracle, Shared};
use crate::sim::origin::origin;
use crate::sim::tunnel::tunneller;
use crate::time::Mono;

const SEEDS: u64 = 200;
const CLIENTS: u32 = 12;
const TUNNELS: u32 = 3;

/// A configuration of the same gateway: its listener at :8080 stays, whatever its name, and so
/// does the route; the rest comes and goes.
fn variant(rng: &mut Rng) -> String {
    let name = ["web", "web", "front"][rng.below(3) as usize];
    let extra = match rng.below(3) {
        0 => "[listener.extra]\naddress = \"10.0.0.1:8081\"\n",
        // A port that moves from one name to another.
        1 => "[listener.again]\naddress = \"10.0.0.1:8081\"\n",
        _ => "",
    };
    let endpoints = [
        "\"10.0.1.1:9000\", \"10.0.1.2:9000\"",
        "\"10.0.1.2:9000\"",
        "\"10.0.1.2:9000\", { address = \"10.0.1.1:9000\", weight = 3 }",
    ][rng.below(3) as usize];
    let upstream = ["app", "app", "renamed"][rng.below(3) as usize];
    let timeout = 20 + rng.below(20);
    let further = rng.below(4);
    let routes: String = (0..further)
        .map(|i| format!("[route.further-{i}]\npath = \"/further/{i}\"\nrespond = \"x\"\n"))
        .collect();
    format!(
        "[server]\ndrain_timeout = \"60s\"\ntunnel_drain = \"90s\"\n\
         [listener.{name}]\naddress = \"10.0.0.1:8080\"\n{extra}\
         [upstream.{upstream}]\nendpoints = [{endpoints}]\n\
         [route.app]\nto = \"{upstream}\"\ntimeout = \"{timeout}s\"\n{routes}"
    )
}

struct Ran {
    hash: u64,
    answers: u64,
    problems: u64,
    closed_early: u64,
    tunnelled: u64,
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
        tunnelled: oracle.tunnelled,
        broken: std::mem::take(&mut oracle.broken),
    }
}

fn build(seed: u64, oracle: &Shared) {
    let end = Mono(600_000_000_000);
    for host in [1, 2] {
        let at = SocketAddr::from(([10, 0, 1, host], 9000));
        spawn(origin(at, oracle.clone(), end), || {});
    }
    let mut rng = Rng::from_u64(seed ^ 0x0b);
    let workers = 1 + rng.below(3);
    // Some worlds have room for two whole buffers only.
    let buffers = if rng.one_in(4) { 256 << 10 } else { 1 << 20 };
    let gateway = Gateway::start(&variant(&mut rng), workers, seed, buffers, oracle);
    let mut at = Mono(1_000_000_000);
    let mut soon = |rng: &mut Rng, most_ms: u32| {
        at = at.after(Duration::from_micros(u64::from(rng.below(most_ms * 1000))));
        at
    };
    let reloads: Vec<(Mono, String)> =
        (0..rng.below(8)).map(|_| (soon(&mut rng, 200), variant(&mut rng))).collect();
    // Half of the drains begin among the clients, the others when all is done.
    let drain = match rng.one_in(2) {
        true => soon(&mut rng, 500),
        false => Mono(250_000_000_000),
    };
    let moments: Vec<Mono> = reloads.iter().map(|(at, _)| *at).chain([drain]).collect();
    spawn(gateway.operate(reloads, drain), || {});
    for number in 0..CLIENTS {
        let promised = !rng.one_in(4);
        let port = if promised { 8080 } else { 8081 };
        let at = SocketAddr::from(([10, 0, 0, 1], port));
        // Half of them come just when something is done to the gateway.
        let moment = moments[rng.below(moments.len() as u32) as usize];
        let moment = if rng.one_in(2) { moment.since(Mono(300_000)) } else { Duration::ZERO };
        let story = Story { number, at, promised, from: Mono(moment.as_nanos() as u64) };
        spawn(client(story, oracle.clone()), || {});
    }
    for number in 0..TUNNELS {
        let at = SocketAddr::from(([10, 0, 0, 1], 8080));
        spawn(tunneller(number, at, oracle.clone()), || {});
    }
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

/// Reloads and drains go on; only what they may end ends.
#[test]
fn without_faults_everything_that_may_completes() {
    if let Some(seed) = number("BUSBAR_SIM_CALM_SEED") {
        let ran = run(seed, Faults::default(), true);
        assert!(ran.broken.is_empty(), "seed {seed}: {:#?}", ran.broken);
        return;
    }
    let mut tunnelled = 0;
    for seed in 0..number("BUSBAR_SIM_SEEDS").map_or(100, |seeds| seeds / 2) {
        let ran = run(seed, Faults::default(), false);
        assert!(
            ran.broken.is_empty(),
            "seed {seed}: {:#?}\nBUSBAR_SIM_CALM_SEED={seed} cargo test -p busbar-engine --lib \
             swarm -- --nocapture",
            ran.broken
        );
        assert_eq!(ran.problems, 0, "seed {seed}");
        tunnelled += ran.tunnelled;
    }
    assert!(tunnelled > 100, "{tunnelled} tunnels were heard out");
}

#[test]
fn a_seed_runs_the_same_way_twice() {
    for seed in [1, 77] {
        let (a, b) = (run(seed, faults_of(seed), false), run(seed, faults_of(seed), false));
        assert_eq!((a.hash, a.answers), (b.hash, b.answers), "seed {seed}");
    }
    let (a, b) = (run(1, faults_of(1), false), run(2, faults_of(2), false));
    assert_ne!(a.hash, b.hash, "different seeds are different worlds");
}
