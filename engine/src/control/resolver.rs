//! Names of endpoints to addresses: before a snapshot is published, and again every while.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use tokio::sync::mpsc::{self, Sender};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::snapshot::{EndpointAddress, Snapshot};
use crate::upstream::Resolved;

/// Addresses of names are looked up again this often.
const RESOLVE_EVERY: Duration = Duration::from_secs(30);
/// Names without an address are asked for this often.
const RETRY_EVERY: Duration = Duration::from_secs(5);
/// How long a start or a reload waits for names.
const LEARN_MAX: Duration = Duration::from_secs(1);
/// A lookup that takes longer counts as failed.
const LOOKUP_MAX: Duration = Duration::from_secs(5);
const LOOKUPS_AT_A_TIME: usize = 64;

type Name = (Box<str>, u16);
type Answer = Result<Box<[SocketAddr]>, String>;

/// What is known of the names in force. The last good answer stays.
#[derive(Debug, Default)]
pub struct Names {
    known: BTreeMap<Name, Option<Box<[SocketAddr]>>>,
    /// The task that looks them up again, once there are any. It lives over generations: reloads
    /// that come often do not put it off.
    refreshing: Option<(watch::Sender<Wanted>, Lookups)>,
}

/// What is looked up again.
#[derive(Debug, Clone, Default)]
struct Wanted {
    names: Vec<Name>,
    /// Those of them without an address.
    unknown: Vec<Name>,
}

fn names(snapshot: &Snapshot) -> BTreeMap<Name, Box<str>> {
    let mut names = BTreeMap::new();
    for upstream in &snapshot.upstreams {
        for endpoint in &upstream.endpoints {
            if let EndpointAddress::Name { host, port } = &endpoint.address {
                names.entry((host.clone(), *port)).or_insert_with(|| upstream.name.clone());
            }
        }
    }
    names
}

impl Names {
    /// Looks up the names that are new, for a bounded while. A failure is a warning: its requests
    /// get 503 until it resolves, and [`Names::keep`] goes on asking.
    pub async fn learn(&mut self, snapshot: &Snapshot) -> Vec<String> {
        let names = names(snapshot);
        let is_new = |name: &&Name| !matches!(self.known.get(*name), Some(Some(_)));
        let fresh: Vec<Name> = names.keys().filter(is_new).cloned().collect();
        let mut unknown: BTreeMap<&Name, String> = fresh
            .iter()
            .map(|name| (name, format!("no answer within {} s", LEARN_MAX.as_secs())))
            .collect();
        let (tell, mut answers) = mpsc::channel(LOOKUPS_AT_A_TIME);
        let lookups = Lookups(tokio::spawn(lookup_all(fresh.clone(), tell)));
        let end = Instant::now() + LEARN_MAX;
        while let Ok(Some((name, answer))) = tokio::time::timeout_at(end, answers.recv()).await {
            match answer {
                Ok(addresses) => {
                    unknown.remove(&name);
                    self.known.insert(name, Some(addresses));
                }
                Err(e) => _ = unknown.get_mut(&name).map(|why| *why = e),
            }
        }
        drop(lookups);
        for name in unknown.keys() {
            self.known.entry((*name).clone()).or_default();
        }
        let warning = |(name, e): (&&Name, &String)| {
            format!(
                "warning: `{}` of upstream `{}` does not resolve ({e}); its requests get 503 \
                 until it does",
                name.0, names[*name]
            )
        };
        unknown.iter().map(warning).collect()
    }

    /// Keeps the names of a snapshot that is in force now, and looks them up again and again;
    /// answers go to `tell`.
    pub fn keep(&mut self, snapshot: &Snapshot, tell: &Sender<Resolved>) {
        let names = names(snapshot);
        self.known.retain(|name, _| names.contains_key(name));
        let is_unknown = |name: &&Name| !matches!(self.known.get(*name), Some(Some(_)));
        let unknown = names.keys().filter(is_unknown).cloned().collect();
        self.want(Wanted { names: names.into_keys().collect(), unknown }, tell);
    }

    fn want(&mut self, wanted: Wanted, tell: &Sender<Resolved>) {
        match &self.refreshing {
            Some((running, _)) => _ = running.send_replace(wanted),
            None if wanted.names.is_empty() => {}
            None => {
                let (running, changes) = watch::channel(wanted);
                let task = tokio::spawn(refresh(changes, tell.clone()));
                self.refreshing = Some((running, Lookups(task)));
            }
        }
    }

    pub fn heard(&mut self, resolved: &Resolved) {
        let name = (resolved.host.clone(), resolved.port);
        if let Some(known) = self.known.get_mut(&name) {
            *known = Some(resolved.addresses.clone());
        }
    }

    /// All answers known, for workers.
    pub fn resolved(&self) -> Vec<Resolved> {
        let known = self.known.iter().filter_map(|(name, addresses)| {
            addresses.as_ref().map(|addresses| resolved(name, addresses.clone()))
        });
        known.collect()
    }
}

fn resolved((host, port): &Name, addresses: Box<[SocketAddr]>) -> Resolved {
    Resolved { host: host.clone(), port: *port, addresses }
}

/// A task that ends with its owner.
#[derive(Debug)]
struct Lookups(JoinHandle<()>);

impl Drop for Lookups {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Unknown names are asked for every few seconds, the others seldom.
async fn refresh(mut changes: watch::Receiver<Wanted>, tell: Sender<Resolved>) {
    let began = Instant::now();
    let (mut next_all, mut next_unknown) = (began + RESOLVE_EVERY, began + RETRY_EVERY);
    let Wanted { mut names, mut unknown } = changes.borrow_and_update().clone();
    loop {
        let soon = if unknown.is_empty() { next_all } else { next_all.min(next_unknown) };
        tokio::select! {
            () = tokio::time::sleep_until(soon) => {}
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                Wanted { names, unknown } = changes.borrow_and_update().clone();
                continue;
            }
        }
        next_unknown = soon + RETRY_EVERY;
        let asked = match soon >= next_all {
            true => {
                next_all = soon + RESOLVE_EVERY;
                names.clone()
            }
            false => unknown.clone(),
        };
        let (answered, mut answers) = mpsc::channel(LOOKUPS_AT_A_TIME);
        let _lookups = Lookups(tokio::spawn(lookup_all(asked, answered)));
        while let Some((name, answer)) = answers.recv().await {
            if let Ok(addresses) = answer {
                unknown.retain(|other| *other != name);
                if tell.send(resolved(&name, addresses)).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn resolver() -> Result<TokioResolver, String> {
    let builder = TokioResolver::builder_tokio().map_err(|e| e.to_string())?;
    builder.build().map_err(|e| e.to_string())
}

async fn lookup(resolver: &Result<TokioResolver, String>, (host, port): &Name) -> Answer {
    let addresses = |mut ips: Vec<IpAddr>| -> Box<[SocketAddr]> {
        ips.sort();
        ips.dedup();
        ips.into_iter().map(|ip| SocketAddr::new(ip, *port)).collect()
    };
    if &**host == "localhost" {
        // Every machine has it, and resolvers are not to be asked for it (RFC 6761 §6.3).
        return Ok(addresses(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]));
    }
    let resolver = resolver.as_ref().map_err(Clone::clone)?;
    let asked = tokio::time::timeout(LOOKUP_MAX, resolver.lookup_ip(&**host)).await;
    let answer = asked.map_err(|_| "no answer in 5s".to_owned())?.map_err(|e| e.to_string())?;
    let addresses = addresses(answer.iter().collect());
    if addresses.is_empty() { Err("no address".to_owned()) } else { Ok(addresses) }
}

/// The addresses of a name, for a request of control's own.
pub async fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    Ok(lookup(&resolver(), &(host.into(), port)).await?.into_vec())
}

/// Looks names up, a bounded number at a time; each answer is told as it comes.
async fn lookup_all(names: Vec<Name>, tell: Sender<(Name, Answer)>) {
    if names.is_empty() {
        return;
    }
    let resolver = Arc::new(resolver());
    let mut lookups = JoinSet::new();
    for name in names {
        if lookups.len() >= LOOKUPS_AT_A_TIME {
            lookups.join_next().await;
        }
        let (resolver, tell) = (resolver.clone(), tell.clone());
        lookups.spawn(async move {
            let answer = lookup(&resolver, &name).await;
            let _ = tell.send((name, answer)).await;
        });
    }
    while lookups.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twelve reloads, ten seconds apart: a name is looked up again all the same.
    #[test]
    fn reloads_do_not_put_lookups_off() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let asked = runtime.block_on(async {
            let (tell, mut told) = mpsc::channel(8);
            let mut kept = Names::default();
            let mut asked = 0;
            for _ in 0..12 {
                let names = vec![("localhost".into(), 80)];
                kept.want(Wanted { names, unknown: Vec::new() }, &tell);
                let end = Instant::now() + Duration::from_secs(10);
                while let Ok(Some(_)) = tokio::time::timeout_at(end, told.recv()).await {
                    asked += 1;
                }
            }
            asked
        });
        assert!((3..=4).contains(&asked), "{asked} times in two minutes");
    }
}
