//! Names of endpoints to addresses: at load, and again every while.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;

use crate::control::say;
use crate::ids::{EndpointId, UpstreamId};
use crate::snapshot::{EndpointAddress, Snapshot};
use crate::upstream::Resolved;

/// A lookup that takes longer counts as failed.
const LOOKUP_MAX: Duration = Duration::from_secs(5);
const LOOKUPS_AT_A_TIME: usize = 64;

#[derive(Clone)]
struct Name {
    upstream: UpstreamId,
    endpoint: EndpointId,
    host: Box<str>,
    port: u16,
}

fn names(snapshot: &Snapshot) -> Vec<Name> {
    let mut names = Vec::new();
    for (u, upstream) in snapshot.upstreams.iter().enumerate() {
        for (e, endpoint) in upstream.endpoints.iter().enumerate() {
            if let EndpointAddress::Name { host, port } = &endpoint.address {
                let (upstream, endpoint) = (UpstreamId(u as u32), EndpointId(e as u32));
                names.push(Name { upstream, endpoint, host: host.clone(), port: *port });
            }
        }
    }
    names
}

fn resolver() -> Result<TokioResolver, String> {
    let builder = TokioResolver::builder_tokio().map_err(|e| e.to_string())?;
    builder.build().map_err(|e| e.to_string())
}

async fn lookup(resolver: &Result<TokioResolver, String>, name: &Name) -> Result<Resolved, String> {
    let addresses = |ips: Vec<std::net::IpAddr>| Resolved {
        upstream: name.upstream,
        endpoint: name.endpoint,
        addresses: ips.into_iter().map(|ip| SocketAddr::new(ip, name.port)).collect(),
    };
    if &*name.host == "localhost" {
        // Every machine has it, and resolvers are not to be asked for it (RFC 6761 §6.3).
        let both = [std::net::Ipv4Addr::LOCALHOST.into(), std::net::Ipv6Addr::LOCALHOST.into()];
        return Ok(addresses(both.to_vec()));
    }
    let resolver = resolver.as_ref().map_err(Clone::clone)?;
    let asked = tokio::time::timeout(LOOKUP_MAX, resolver.lookup_ip(&*name.host)).await;
    let answer = asked.map_err(|_| "no answer in 5s".to_owned())?.map_err(|e| e.to_string())?;
    let mut ips: Vec<_> = answer.iter().collect();
    ips.sort();
    ips.dedup();
    if ips.is_empty() { Err("no address".to_owned()) } else { Ok(addresses(ips)) }
}

/// Looks names up, a bounded number at a time. Results come in the order of the names.
async fn lookup_all(names: &[Name]) -> Vec<(Name, Result<Resolved, String>)> {
    let resolver = std::sync::Arc::new(resolver());
    let mut results = Vec::with_capacity(names.len());
    for part in names.chunks(LOOKUPS_AT_A_TIME) {
        let tasks: Vec<_> = part
            .iter()
            .map(|name| {
                let (name, resolver) = (name.clone(), resolver.clone());
                tokio::spawn(async move {
                    let result = lookup(&resolver, &name).await;
                    (name, result)
                })
            })
            .collect();
        for task in tasks {
            if let Ok(result) = task.await {
                results.push(result);
            }
        }
    }
    results
}

/// Looks every name up once. A failure is a warning; its requests get 503 until it resolves.
pub async fn resolve_all(snapshot: &Snapshot) -> Vec<Resolved> {
    let mut all = Vec::new();
    for (name, result) in lookup_all(&names(snapshot)).await {
        match result {
            Ok(resolved) => all.push(resolved),
            Err(e) => say(&format!(
                "warning: `{}` of upstream `{}` does not resolve ({e}); its requests get 503 \
                 until it does",
                name.host,
                snapshot.upstream(name.upstream).name
            )),
        }
    }
    all
}

/// Looks names up again and again; the last good answer stays in force.
pub async fn keep_resolving(snapshot: &Snapshot, every: Duration, mut tell: impl FnMut(Resolved)) {
    let names = names(snapshot);
    if names.is_empty() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(every).await;
        for (_, result) in lookup_all(&names).await {
            if let Ok(resolved) = result {
                tell(resolved);
            }
        }
    }
}
