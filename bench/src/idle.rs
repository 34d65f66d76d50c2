//! What connections cost that only wait: memory of the proxy for each.

use std::collections::BTreeMap;

use crate::client::Client;
use crate::options::Options;
use crate::peers::{self, Peer, Setup};
use crate::process;
use crate::routes;
use crate::table::{IdleTable, Rest};

/// Requests before the memory at rest is read.
const WARM_UP: usize = 200;
/// Connections that a proxy may have beyond the idle ones: its origin's and the warm-up's.
const SPARE: u32 = 256;

/// Fresh proxies in every round, since none gives back all that it once took.
pub fn compare(setup: &Setup, options: &Options) -> Result<IdleTable, String> {
    process::raise_descriptors_max(options.idle + SPARE)?;
    let setup = Setup { connections_max: options.idle + SPARE, ..*setup };
    let mut rounds: BTreeMap<&'static str, Vec<Rest>> = BTreeMap::new();
    let mut order = Vec::new();
    for round in 0..options.rounds {
        let peers = peers::start_all(&setup, &format!("idle{round}"), &routes::one())?;
        for peer in &peers {
            rounds.entry(peer.name).or_default().push(measure(peer, options.idle)?);
            if round == 0 {
                order.push(peer.name);
            }
        }
    }
    let rows = order.into_iter().map(|name| (name, rounds.remove(name).unwrap_or_default()));
    Ok(IdleTable { connections: options.idle, rows: rows.collect() })
}

/// One request on each connection, then none.
fn measure(peer: &Peer, connections: u32) -> Result<Rest, String> {
    let failed = |e: String| format!("{}: {e}", peer.name);
    let get = |client: &mut Client| match client.get("/128") {
        Ok(200) => Ok(()),
        Ok(status) => Err(failed(format!("status {status}"))),
        Err(e) => Err(failed(e)),
    };
    let mut first = Client::connect(peer.port).map_err(failed)?;
    for _ in 0..WARM_UP {
        get(&mut first)?;
    }
    drop(first);
    let before = peer.process.resident_kib();
    let mut clients = Vec::with_capacity(connections as usize);
    for _ in 0..connections {
        let mut client = Client::connect(peer.port).map_err(failed)?;
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
