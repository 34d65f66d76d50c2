//! One run of one proxy, and rounds in which all of them take turns.

use crate::options::Options;
use crate::peers::Peer;
use crate::scenario::Scenario;
use crate::table::{Measured, Table};
use crate::wrk::{self, Run};

/// How long a round's runs last. The first round only warms up.
pub fn seconds_of(round: usize, options: &Options) -> u32 {
    if round == 0 { 1 } else { options.seconds }
}

/// Every proxy in turn, `one` run of so many seconds each, again and again.
pub fn rounds(
    peers: &[Peer],
    mut table: Table,
    options: &Options,
    one: impl Fn(&Peer, u32) -> Result<Measured, String>,
) -> Result<Table, String> {
    for round in 0..=options.rounds {
        for peer in peers {
            let measured = one(peer, seconds_of(round, options))?;
            if round > 0 {
                table.add(peer.name, measured);
            }
        }
    }
    Ok(table)
}

/// What a run of wrk costs the proxy.
pub fn by_wrk(
    peer: &Peer,
    scenario: &Scenario,
    options: &Options,
    seconds: u32,
) -> Result<Measured, String> {
    peer.process.go_on();
    counted(peer, seconds, || wrk::run(peer, scenario, options.connections, seconds))
}

/// What a run costs the proxy, which goes on already and is stopped afterwards.
pub fn counted(
    peer: &Peer,
    seconds: u32,
    run: impl FnOnce() -> Result<Run, String>,
) -> Result<Measured, String> {
    let before = peer.process.cpu_us();
    let run = run()?;
    let after = peer.process.cpu_us();
    peer.process.stop();
    if run.requests == 0 || run.errors > run.requests / 100 {
        return Err(format!("{}: {} requests, {} errors", peer.name, run.requests, run.errors));
    }
    Ok(Measured {
        cpu_us: (after - before) as f64 / run.requests as f64,
        per_second: run.requests as f64 / f64::from(seconds),
        p99_us: run.p99_us,
        memory_kib: peer.process.memory_kib(),
    })
}
