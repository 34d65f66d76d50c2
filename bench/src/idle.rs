//! What connections cost that only wait: memory of the proxy for each.

use std::collections::BTreeMap;

use crate::client::Client;
use crate::peers::{Peer, Setup};
use crate::process;
use crate::table::{IdleTable, Rest};
use crate::tls::Trust;

/// Requests before the memory at rest is read.
const WARM_UP: usize = 200;
/// Connections that a proxy may have beyond the idle ones: its origin's and the warm-up's.
const SPARE: u32 = 256;

/// A scenario of connections that wait.
pub struct Idle<'a> {
    pub scenario: &'static str,
    pub connections: u32,
    pub rounds: usize,
    /// Starts the proxies; the word tells their files from others'.
    pub start: fn(&Setup, &str) -> Result<Vec<Peer>, String>,
    /// Where clients speak TLS.
    pub trust: Option<&'a Trust>,
}

/// Fresh proxies in every round, since none gives back all that it once took.
pub fn compare(setup: &Setup, idle: &Idle) -> Result<IdleTable, String> {
    process::raise_descriptors_max(idle.connections + SPARE)?;
    let setup = Setup { connections_max: idle.connections + SPARE, ..*setup };
    let mut rounds: BTreeMap<&'static str, Vec<Rest>> = BTreeMap::new();
    let mut order = Vec::new();
    for round in 0..idle.rounds {
        let peers = (idle.start)(&setup, &format!("idle{round}"))?;
        for peer in &peers {
            rounds.entry(peer.name).or_default().push(measure(peer, idle)?);
            if round == 0 {
                order.push(peer.name);
            }
        }
    }
    let rows = order.into_iter().map(|name| (name, rounds.remove(name).unwrap_or_default()));
    let Idle { scenario, connections, .. } = *idle;
    Ok(IdleTable { scenario, connections, rows: rows.collect() })
}

/// One request on each connection, then none.
fn measure(peer: &Peer, idle: &Idle) -> Result<Rest, String> {
    let connections = idle.connections;
    let failed = |e: String| format!("{}: {e}", peer.name);
    let get = |client: &mut Client| match client.get("/128") {
        Ok(200) => Ok(()),
        Ok(status) => Err(failed(format!("status {status}"))),
        Err(e) => Err(failed(e)),
    };
    let connect = || match idle.trust {
        None => Client::connect(peer.port).map_err(failed),
        Some(trust) => Client::connect_tls(peer.port, trust).map_err(failed),
    };
    let mut first = connect()?;
    for _ in 0..WARM_UP {
        get(&mut first)?;
    }
    drop(first);
    let before = peer.process.resident_kib();
    let mut clients = Vec::with_capacity(connections as usize);
    for _ in 0..connections {
        let mut client = connect()?;
        get(&mut client)?;
        clients.push(client);
    }
    let after = peer.process.resident_kib();
    let closed = clients.iter().filter(|client| !client.is_quiet()).count();
    if closed > 0 {
        return Err(failed(format!("{closed} of {connections} connections were closed")));
    }
    Ok(Rest {
        before_kib: before,
        each_kib: after.saturating_sub(before) as f64 / f64::from(connections),
    })
}
