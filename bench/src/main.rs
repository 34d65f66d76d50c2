//! `cargo run --release -p busbar-bench -- compare`: Busbar beside nginx and HAProxy.
//!
//! Interleaved rounds; the proxies that are not being measured are stopped; one proxy worker on
//! CPU 0, origin and wrk on CPU 1. The figure is CPU µs per request of the proxy's processes and
//! its ratio to the best peer in the same run; see docs/performance.md.
//!
//! ```text
//! compare                           every scenario; `--only routes` or another part of a name
//! compare --logs                    the same, every proxy with an access log
//! compare --only idle --idle 9000   memory for each connection that only waits
//! compare --only TLS                with TLS towards the client
//! floor                             relays that only find message ends, beside nginx
//! ```

mod client;
mod guarded;
mod idle;
mod latency;
mod measure;
mod options;
mod peers;
mod process;
mod profile;
mod relay;
mod routes;
mod scenario;
mod table;
mod tls;
mod wrk;

use std::process::ExitCode;

use idle::Idle;
use options::{Options, Task};
use peers::{Peer, Setup};
use process::Scratch;
use scenario::{BASIC, GUARDED, IDLE, LOG, POLICIES, ROUTES, Scenario};
use table::{Pairs, Table};

/// Differences as small as those of a log or a policy want many rounds (docs/performance.md).
const PAIRED_ROUNDS_MIN: usize = 15;

fn main() -> ExitCode {
    let done = match std::env::args().nth(1).as_deref() {
        Some("latency") => latency::run(),
        Some("profile") => profile::run(),
        _ => options::read(std::env::args().skip(1)).and_then(|task| match task {
            Task::Compare(options) => with_origin(&options, compare),
            Task::Floor(options) => with_origin(&options, floor),
            Task::Relay { kind, port, origin } => relay::run(kind, port, origin),
        }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("bench: {e}");
            ExitCode::FAILURE
        }
    }
}

type Comparison = fn(&Scratch, &Setup, &Options) -> Result<(), String>;

fn with_origin(options: &Options, compare: Comparison) -> Result<(), String> {
    let scratch = process::scratch_dir()?;
    let dir = scratch.path();
    let origin = peers::origin(dir)?;
    let setup = Setup {
        dir,
        origin: origin.port,
        busbar: options.busbar.as_deref(),
        logs: options.logs,
        tls: false,
        connections_max: peers::CONNECTIONS_MAX,
    };
    println!("{}", process::machine());
    println!(
        "rounds {}, {} s each, {} connections{}; CPU µs per request: median (min–max), ratio of \
         medians to the best peer\n",
        options.rounds,
        options.seconds,
        options.connections,
        if options.logs { ", access logs on" } else { "" },
    );
    compare(&scratch, &setup, options)
}

fn compare(scratch: &Scratch, setup: &Setup, options: &Options) -> Result<(), String> {
    if BASIC.iter().any(|scenario| options.wants(scenario.name)) {
        let mut peers = stopped(peers::start_all(setup, "one", &routes::one())?);
        peers.extend(stopped(peers::start_relays(setup)?));
        basic(&peers, scratch, options)?;
    }
    for (name, count) in ROUTES.into_iter().filter(|(name, _)| options.wants(name)) {
        let routes = routes::many(count, setup.dir)?;
        let peers = peers::start_all(setup, &format!("{count}-routes"), &routes)?;
        peers.iter().try_for_each(|peer| routes::check(peer, count))?;
        let script = Some(routes::script(count).into());
        let scenario = Scenario { name, path: "/r0/x", script };
        println!("{}", rounds(&stopped(peers), &scenario, options)?);
        scratch.empty_logs();
    }
    if options.wants(GUARDED) {
        let peers = stopped(peers::start_all(setup, "guarded", &guarded::keys(setup.dir)?)?);
        let script = Some(guarded::keys_script().into());
        let scenario = Scenario { name: GUARDED, path: "/128", script };
        println!("{}", rounds(&peers, &scenario, options)?);
        scratch.empty_logs();
    }
    if options.wants(POLICIES) {
        println!("{}", policies(setup, options)?);
    }
    if options.wants(IDLE) {
        let idle = Idle {
            scenario: IDLE,
            connections: options.idle,
            rounds: options.rounds,
            start: |setup, tag| peers::start_all(setup, tag, &routes::one()),
            trust: None,
        };
        println!("{}", idle::compare(setup, &idle)?);
    }
    if options.wants(LOG) {
        let (off, on) = (Setup { logs: false, ..*setup }, Setup { logs: true, ..*setup });
        let plain = stopped(peers::start_all(&off, "off", &routes::one())?);
        let logging = stopped(peers::start_all(&on, "on", &routes::one())?);
        println!("{}", compare_logs(&plain, &logging, options)?);
    }
    tls::compare(scratch, setup, options)
}

/// The relays beside nginx.
fn floor(scratch: &Scratch, setup: &Setup, options: &Options) -> Result<(), String> {
    let mut peers = vec![peers::start_nginx(setup, "one", &routes::one())?];
    peers.extend(peers::start_relays(setup)?);
    basic(&stopped(peers), scratch, options)
}

fn stopped(peers: Vec<Peer>) -> Vec<Peer> {
    peers.iter().for_each(|peer| peer.process.stop());
    peers
}

fn basic(peers: &[Peer], scratch: &Scratch, options: &Options) -> Result<(), String> {
    for scenario in BASIC.iter().filter(|scenario| options.wants(scenario.name)) {
        println!("{}", rounds(peers, scenario, options)?);
        scratch.empty_logs();
    }
    Ok(())
}

fn rounds(peers: &[Peer], scenario: &Scenario, options: &Options) -> Result<Table, String> {
    let one = |peer: &Peer, seconds| measure::by_wrk(peer, scenario, options, seconds);
    measure::rounds(peers, Table::new(scenario.name, "request"), options, one)
}

/// Busbar's plain route, and one with policies, one after the other in each round; the requests are
/// the same.
fn policies(setup: &Setup, options: &Options) -> Result<Pairs, String> {
    let plain = stopped(vec![peers::start_busbar(setup, "plain", &routes::one())?]);
    let (tokens, token_script) = guarded::tokens(setup.dir)?;
    let kinds = [
        ("key + limit + IP list", guarded::keys(setup.dir)?, guarded::keys_script()),
        ("JWT (ES256, remembered)", tokens, token_script),
    ];
    let mut pairs = Pairs::new("policies: what they add to a plain route");
    for (n, (name, texts, script)) in kinds.into_iter().enumerate() {
        let tag = format!("policies-{n}");
        let guarded = stopped(vec![peers::start_busbar(setup, &tag, &texts)?]);
        let scenario = Scenario { name, path: "/128", script: Some(script.into()) };
        for round in 0..=options.rounds.max(PAIRED_ROUNDS_MIN) {
            let seconds = measure::seconds_of(round, options);
            let off = measure::by_wrk(&plain[0], &scenario, options, seconds)?;
            let on = measure::by_wrk(&guarded[0], &scenario, options, seconds)?;
            if round > 0 {
                pairs.add(name, off.cpu_us, on.cpu_us);
            }
        }
    }
    Ok(pairs)
}

/// Each proxy without and with an access log, one after the other in each round.
fn compare_logs(plain: &[Peer], logging: &[Peer], options: &Options) -> Result<Pairs, String> {
    let mut pairs = Pairs::new("access log: what a JSON line for each request adds");
    for round in 0..=options.rounds.max(PAIRED_ROUNDS_MIN) {
        for (plain, logging) in plain.iter().zip(logging) {
            let seconds = measure::seconds_of(round, options);
            let off = measure::by_wrk(plain, &BASIC[0], options, seconds)?;
            let on = measure::by_wrk(logging, &BASIC[0], options, seconds)?;
            if round > 0 {
                pairs.add(plain.name, off.cpu_us, on.cpu_us);
            }
        }
    }
    Ok(pairs)
}
