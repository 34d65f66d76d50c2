//! `cargo run --release -p busbar-bench -- compare`: Busbar beside nginx and HAProxy.
//!
//! Interleaved rounds; the proxies that are not being measured are stopped; one proxy worker on
//! CPU 0, origin and wrk on CPU 1. The figure is CPU µs per request of the proxy's processes and
//! its ratio to the best peer in the same run; see docs/performance.md.

mod latency;
mod peers;
mod process;
mod profile;
mod table;
mod wrk;

use std::process::ExitCode;

use peers::Peer;
use table::{Pairs, Table};

/// What is asked of each proxy.
#[derive(Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    pub path: &'static str,
    /// A wrk script, for what is not a plain GET.
    pub script: Option<&'static str>,
}

const SCENARIOS: [Scenario; 4] = [
    Scenario { name: "keep-alive 128 B", path: "/128", script: None },
    Scenario { name: "64 KiB answer", path: "/64k", script: None },
    Scenario {
        name: "POST 16 KiB",
        path: "/post",
        script: Some("wrk.method = 'POST' wrk.body = string.rep('x', 16384)"),
    },
    Scenario {
        name: "connection per request",
        path: "/128",
        script: Some("wrk.headers['Connection'] = 'close'"),
    },
];

/// What an access log adds, in paired rounds; the scenario's name for `--only`.
const LOG: &str = "access log";
/// Differences this small want many rounds (docs/performance.md).
const LOG_ROUNDS_MIN: usize = 15;

struct Options {
    rounds: usize,
    seconds: u32,
    connections: u32,
    only: Option<String>,
    busbar: Option<String>,
}

fn options() -> Result<Options, String> {
    let mut options = Options { rounds: 5, seconds: 2, connections: 64, only: None, busbar: None };
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("compare") => {}
        _ => {
            return Err("say: compare [--rounds N] [--seconds N] [--connections N] \
                         [--only SCENARIO] [--busbar PATH]"
                .to_owned());
        }
    }
    while let Some(flag) = args.next() {
        let value = args.next().ok_or(format!("{flag} needs a value"))?;
        let number = || value.parse::<u32>().map_err(|e| format!("{flag} {value}: {e}"));
        match flag.as_str() {
            "--rounds" => options.rounds = number()?.max(1) as usize,
            "--seconds" => options.seconds = number()?.max(1),
            "--connections" => options.connections = number()?.max(1),
            "--only" => options.only = Some(value),
            "--busbar" => options.busbar = Some(value),
            _ => return Err(format!("{flag} is not known")),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let done = match std::env::args().nth(1).as_deref() {
        Some("latency") => latency::run(),
        Some("profile") => profile::run(),
        _ => options().and_then(|o| compare(&o)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("bench: {e}");
            ExitCode::FAILURE
        }
    }
}

fn compare(options: &Options) -> Result<(), String> {
    let dir = process::scratch_dir()?;
    let origin = peers::origin(&dir)?;
    let peers = peers::start_all(&dir, origin.port, options.busbar.as_deref(), false)?;
    println!("{}", process::machine());
    println!(
        "rounds {}, {} s each, {} connections; CPU µs per request: median (min–max), ratio of \
         medians to the best peer\n",
        options.rounds, options.seconds, options.connections
    );
    peers.iter().for_each(|p| p.process.stop());
    let is_wanted = |name: &str| options.only.as_ref().is_none_or(|o| name.contains(o.as_str()));
    for scenario in SCENARIOS.iter().filter(|scenario| is_wanted(scenario.name)) {
        let mut table = Table::new(scenario.name);
        for round in 0..=options.rounds {
            for peer in &peers {
                let measured = measure(peer, scenario, options, round == 0)?;
                if round > 0 {
                    table.add(peer.name, measured);
                }
            }
        }
        println!("{table}");
    }
    if is_wanted(LOG) {
        let logging = peers::start_all(&dir, origin.port, options.busbar.as_deref(), true)?;
        logging.iter().for_each(|p| p.process.stop());
        println!("{}", compare_logs(&peers, &logging, options)?);
    }
    Ok(())
}

/// Each proxy without and with an access log, one after the other in each round.
fn compare_logs(plain: &[Peer], logging: &[Peer], options: &Options) -> Result<Pairs, String> {
    let mut pairs = Pairs::default();
    for round in 0..=options.rounds.max(LOG_ROUNDS_MIN) {
        for (plain, logging) in plain.iter().zip(logging) {
            let off = measure(plain, &SCENARIOS[0], options, round == 0)?;
            let on = measure(logging, &SCENARIOS[0], options, round == 0)?;
            if round > 0 {
                pairs.add(plain.name, off.cpu_us, on.cpu_us);
            }
        }
    }
    Ok(pairs)
}

/// One run. The first one, half a second, only warms up.
fn measure(
    peer: &Peer,
    scenario: &Scenario,
    options: &Options,
    warm_up: bool,
) -> Result<table::Measured, String> {
    peer.process.go_on();
    let before = peer.process.cpu_us();
    let seconds = if warm_up { 1 } else { options.seconds };
    let run = wrk::run(peer.port, scenario, options.connections, seconds)?;
    let after = peer.process.cpu_us();
    peer.process.stop();
    if run.requests == 0 || run.errors > run.requests / 100 {
        return Err(format!("{}: {} requests, {} errors", peer.name, run.requests, run.errors));
    }
    Ok(table::Measured {
        cpu_us: (after - before) as f64 / run.requests as f64,
        per_second: run.requests as f64 / f64::from(seconds),
        p99_us: run.p99_us,
        memory_kib: peer.process.memory_kib(),
    })
}
