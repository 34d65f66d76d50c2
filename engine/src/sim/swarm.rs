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
use crate::sim::exec::{self, spawn, world};
use crate::sim::fault::Faults;
use crate::sim::gateway::{Gateway, Size};
use crate::sim::oracle::{Bounds, Oracle, Shared};
use crate::sim::origin::origin;
use crate::sim::seen::{Kind, Seen, saw};
use crate::sim::tls;
use crate::sim::tunnel::tunneller;
use crate::time::Mono;

const SEEDS: u64 = 200;
const CLIENTS: u32 = 20;
const TUNNELS: u32 = 3;

/// What stays as it is for the whole life of a world.
struct Nature {
    bounds: Bounds,
    /// Its times are short, so that much ends by them.
    is_hasty: bool,
    drain: &'static str,
    /// TLS is spoken on the listener that stays, and with origins.
    is_tls: bool,
    is_tls_upstream: bool,
}

/// A configuration of the same gateway: its listener at :8080 stays, whatever its name, and so
/// does the route; the rest comes and goes. Bounds stay, and with them the names they belong to.
fn variant(rng: &mut Rng, nature: &Nature) -> String {
    let bounds = &nature.bounds;
    let is_bounded = bounds.listener.or(bounds.client).is_some();
    let name = ["web", "web", "front"][if is_bounded { 0 } else { rng.below(3) as usize }];
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
    let scheme = if nature.is_tls_upstream { "https://" } else { "" };
    let endpoints = endpoints.replace("10.0.1.", &format!("{scheme}10.0.1."));
    let upstream = ["app", "app", "renamed"]
        [if bounds.upstream.is_some() { 0 } else { rng.below(3) as usize }];
    let (timeout, times, idle_time) = match nature.is_hasty {
        true => (
            1 + rng.below(2),
            "head_timeout = \"800ms\"\nidle_timeout = \"300ms\"\n",
            ", idle_timeout = \"200ms\"",
        ),
        false => (20 + rng.below(20), "", ""),
    };
    let idle = [0, 1, 32, 32][rng.below(4) as usize];
    let further = rng.below(4);
    let routes: String = (0..further)
        .map(|i| format!("[route.further-{i}]\npath = \"/further/{i}\"\nrespond = \"x\"\n"))
        .collect();
    let max = |key: &str, max: Option<usize>| {
        max.map(|max| format!("{key} = {max}\n")).unwrap_or_default()
    };
    format!(
        "[server]\n{}[log.access]\n\
         [defaults.listener]\n{times}{}[listener.{name}]\naddress = \"10.0.0.1:8080\"\n{}{}{extra}\
         [upstream.{upstream}]\nendpoints = [{endpoints}]\n{}{}pool = {{ idle = {idle}{idle_time} }}\n\
         [route.app]\nto = \"{upstream}\"\ntimeout = \"{timeout}s\"\n{routes}",
        nature.drain,
        max("connections_per_client", bounds.client),
        max("connections_max", bounds.listener),
        if nature.is_tls { tls::OF_LISTENER } else { "" },
        max("connections_max", bounds.upstream),
        if nature.is_tls_upstream { tls::OF_UPSTREAM } else { "" },
    )
}

struct Ran {
    hash: u64,
    answers: u64,
    problems: u64,
    closed_early: u64,
    tunnelled: u64,
    seen: Seen,
    broken: Vec<String>,
}

/// Runs one world: workers, origins, clients, then a drain.
fn run(seed: u64, faults: Faults, loud: bool) -> Ran {
    let oracle: Shared = Rc::new(RefCell::new(Oracle::default()));
    let (o, looks) = (oracle.clone(), oracle.clone());
    let after_step = move || looks.borrow_mut().look();
    let (world, stuck) = exec::run_watched(seed, faults, loud, move || build(seed, &o), after_step);
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
        seen: world.seen,
        broken: std::mem::take(&mut oracle.broken),
    }
}

/// Half of the worlds have no bounds; in the others each is there or not.
fn draw_bounds(rng: &mut Rng) -> Bounds {
    if rng.one_in(2) {
        return Bounds::default();
    }
    let mut some = |least: u32, more: u32| {
        let max = (least + rng.below(more)) as usize;
        rng.one_in(2).then_some(max)
    };
    Bounds { listener: some(3, 6), client: some(2, 4), upstream: some(3, 6) }
}

fn build(seed: u64, oracle: &Shared) {
    let end = Mono(600_000_000_000);
    let mut rng = Rng::from_u64(seed ^ 0x0b);
    let (is_tls, is_tls_upstream) = (rng.one_in(3), rng.one_in(3));
    for host in [1, 2] {
        let at = SocketAddr::from(([10, 0, 1, host], 9000));
        spawn(origin(at, is_tls_upstream, oracle.clone(), end), || {});
    }
    let bounds = draw_bounds(&mut rng);
    oracle.borrow_mut().bounds = bounds;
    let nature = Nature {
        bounds,
        is_hasty: world(|w| !w.faults.are_off()) && rng.one_in(3),
        drain: match rng.one_in(3) {
            true => "drain_timeout = \"1s\"\ntunnel_drain = \"2s\"\n",
            false => "drain_timeout = \"60s\"\ntunnel_drain = \"90s\"\n",
        },
        is_tls,
        is_tls_upstream,
    };
    let size = Size {
        workers: 1 + rng.below(3),
        // Some worlds have room for two whole buffers only, some for a few lines.
        buf_bytes_max: if rng.one_in(4) { 256 << 10 } else { 1 << 20 },
        ring_bytes: if rng.one_in(4) { 2 << 10 } else { 256 << 10 },
    };
    oracle.borrow_mut().is_hasty = nature.is_hasty;
    if size.workers > 1 {
        saw(Kind::SeveralWorkers);
    }
    let gateway = Gateway::start(&variant(&mut rng, &nature), size, seed, oracle);
    let mut at = Mono(1_000_000_000);
    let mut soon = |rng: &mut Rng, most_ms: u32| {
        at = at.after(Duration::from_micros(u64::from(rng.below(most_ms * 1000))));
        at
    };
    let reloads: Vec<(Mono, String)> =
        (0..rng.below(8)).map(|_| (soon(&mut rng, 200), variant(&mut rng, &nature))).collect();
    // Half of the drains begin among the clients, the others when all is done.
    let drain = match rng.one_in(2) {
        true => soon(&mut rng, 500),
        false => Mono(250_000_000_000),
    };
    if drain < Mono(250_000_000_000) {
        saw(Kind::DrainAmongClients);
    }
    let moments: Vec<Mono> = reloads.iter().map(|(at, _)| *at).chain([drain]).collect();
    spawn(gateway.operate(reloads, drain), || {});
    // Where a client has a share, several come from one address.
    let addresses = if bounds.client.is_some() { 3 } else { 250 };
    for number in 0..CLIENTS {
        let promised = !rng.one_in(4);
        let port = if promised { 8080 } else { 8081 };
        let at = SocketAddr::from(([10, 0, 0, 1], port));
        // Half of them come just when something is done to the gateway.
        let moment = moments[rng.below(moments.len() as u32) as usize];
        let moment = if rng.one_in(2) { moment.since(Mono(300_000)) } else { Duration::ZERO };
        let from = SocketAddr::from(([10, 0, 2, (number % addresses) as u8 + 1], 40_000));
        let when = Mono(moment.as_nanos() as u64);
        let shares = bounds.client.is_some();
        let is_tls = is_tls && promised;
        let story = Story { number, from, at, promised, shares, is_tls, when };
        spawn(client(story, oracle.clone()), || {});
    }
    for number in 0..TUNNELS {
        let at = SocketAddr::from(([10, 0, 0, 1], 8080));
        let from = SocketAddr::from(([10, 0, 3, number as u8 + 1], 40_000));
        spawn(tunneller(number, from, at, is_tls, oracle.clone()), || {});
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
    let (mut total, mut seen) = ((0, 0, 0), Seen::default());
    for seed in 0..number("BUSBAR_SIM_SEEDS").unwrap_or(SEEDS) {
        let ran = run(seed, faults_of(seed), false);
        seen.add(&ran.seen);
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
    nothing_is_missing(&seen);
}

/// The swarm is as good as what happens in it: every fault, every kind of traffic, every oracle.
fn nothing_is_missing(seen: &Seen) {
    let all = seen.all();
    all.iter().for_each(|(name, count)| eprintln!("{count:>9} {name}"));
    // Whether everything completes is asked where nothing may get in the way.
    let needed = all.iter().filter(|(name, _)| name != "oracle Completes");
    let missing: Vec<_> = needed.filter(|(_, count)| *count == 0).map(|(name, _)| name).collect();
    assert!(missing.is_empty(), "these worlds have nothing of {missing:?}");
    assert_eq!(seen.unbroken(), [], "rules that nobody breaks");
}

/// Reloads and drains go on; only what they may end ends.
#[test]
fn without_faults_everything_that_may_completes() {
    if let Some(seed) = number("BUSBAR_SIM_CALM_SEED") {
        let ran = run(seed, Faults::default(), true);
        assert!(ran.broken.is_empty(), "seed {seed}: {:#?}", ran.broken);
        return;
    }
    let (mut tunnelled, mut seen) = (0, Seen::default());
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
        seen.add(&ran.seen);
    }
    let completed = seen.all().into_iter().find(|(name, _)| name == "oracle Completes");
    assert!(completed.is_some_and(|(_, count)| count > 1000));
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
