//! The scenarios with TLS towards the client: kept connections, handshakes, connections that wait.

mod certificate;
mod client;
mod load;

use std::time::Duration;

use rustls::HandshakeKind;

use crate::client::Client;
use crate::idle::{self, Idle};
use crate::measure;
use crate::options::Options;
use crate::peers::{self, Peer, Setup};
use crate::process::Scratch;
use crate::routes;
use crate::scenario::{TLS, TLS_FULL, TLS_IDLE, TLS_RESUMED};
use crate::table::{Measured, Table};
pub use client::{Trust, spoken};
use load::Crowd;

/// What scenarios of handshakes begin each connection with.
const HANDSHAKES: [(&str, HandshakeKind); 2] =
    [(TLS_FULL, HandshakeKind::Full), (TLS_RESUMED, HandshakeKind::Resumed)];

pub fn compare(scratch: &Scratch, setup: &Setup, options: &Options) -> Result<(), String> {
    let kept = TLS.iter().filter(|scenario| options.wants(scenario.name));
    let handshakes = HANDSHAKES.iter().filter(|(name, _)| options.wants(name));
    let (kept, handshakes): (Vec<_>, Vec<_>) = (kept.collect(), handshakes.collect());
    let waits = options.wants(TLS_IDLE);
    if kept.is_empty() && handshakes.is_empty() && !waits {
        return Ok(());
    }
    certificate::make(setup.dir)?;
    let trust = Trust::in_file(&setup.dir.join(certificate::CHAIN))?;
    let setup = Setup { tls: true, ..*setup };
    if !kept.is_empty() || !handshakes.is_empty() {
        let peers = start_all(&setup, "tls")?;
        println!("TLS: {}\n", agreed(&peers, &trust)?);
        peers.iter().for_each(|peer| peer.process.stop());
        for scenario in kept {
            let one = |peer: &Peer, seconds| measure::by_wrk(peer, scenario, options, seconds);
            let table = Table::new(scenario.name, "request");
            println!("{}", measure::rounds(&peers, table, options, one)?);
            scratch.empty_logs();
        }
        for (name, kind) in handshakes {
            let one = |peer: &Peer, seconds| by_crowd(peer, &trust, *kind, seconds);
            let table = Table::new(name, "handshake");
            println!("{}", measure::rounds(&peers, table, options, one)?);
            scratch.empty_logs();
        }
    }
    if waits {
        let idle = Idle {
            scenario: TLS_IDLE,
            connections: options.idle_tls,
            rounds: options.rounds,
            start: start_all,
            trust: Some(&trust),
        };
        println!("{}", idle::compare(&setup, &idle)?);
    }
    Ok(())
}

/// The proxies with TLS. A gateway that can't speak it yet is left out, and said so.
fn start_all(setup: &Setup, tag: &str) -> Result<Vec<Peer>, String> {
    let routes = routes::one();
    let mut peers = Vec::new();
    match peers::start_busbar(setup, tag, &routes) {
        Ok(busbar) => peers.push(busbar),
        Err(e) => {
            let reason = e.lines().next().unwrap_or_default();
            eprintln!("bench: without a row for busbar, which does not start: {reason}");
        }
    }
    peers.push(peers::start_nginx(setup, tag, &routes)?);
    peers.push(peers::start_haproxy(setup, tag, &routes)?);
    Ok(peers)
}

/// Version, suite and key exchange, which must be the same with all of them: otherwise figures
/// would compare ciphers.
fn agreed(peers: &[Peer], trust: &Trust) -> Result<String, String> {
    let mut all: Option<String> = None;
    for peer in peers {
        let mut client = Client::connect_tls(peer.port, trust)?;
        if client.get("/128")? != 200 {
            return Err(format!("{}: no answer over TLS", peer.name));
        }
        let spoken = client.spoken();
        match &all {
            Some(all) if *all != spoken => {
                return Err(format!("{} speaks {spoken}, another one {all}", peer.name));
            }
            _ => all = Some(spoken),
        }
    }
    all.ok_or("nobody speaks TLS".to_owned())
}

/// What a run of handshakes costs the proxy; the crowd's first connections are not counted.
fn by_crowd(
    peer: &Peer,
    trust: &Trust,
    kind: HandshakeKind,
    seconds: u32,
) -> Result<Measured, String> {
    peer.process.go_on();
    let crowd = Crowd::gather(peer.port, trust, kind).map_err(|e| format!("{}: {e}", peer.name))?;
    let time = Duration::from_secs(u64::from(seconds));
    measure::counted(peer, seconds, || crowd.run(time))
}
