//! `[upstream.NAME]` and the anonymous upstreams of routes.

use parser::Limits;
use parser::target::check_authority;

use super::diagnostic::Place;
use super::model::{self, default};
use super::reader::{Found, Reader, table_of, text_of};
use super::tree::{At, Table, Value};
use crate::snapshot::{Balance, Endpoint, EndpointAddress, HostMode, Upstream};

/// An upstream and where it stands.
pub struct Named {
    pub upstream: Upstream,
    pub place: Place,
    pub endpoint_places: Vec<Place>,
    pub used: bool,
}

pub fn upstreams(tables: Option<&At<Value>>, found: Found<'_>) -> Vec<Named> {
    let Some((tables, _)) = tables.and_then(|at| table_of(at, found)) else { return Vec::new() };
    let mut list = Vec::new();
    for (name, at) in &tables.entries {
        if let Some((table, _)) = table_of(at, found) {
            list.push(upstream(&name.value, table, name.place, found));
        }
    }
    list
}

fn upstream(name: &str, table: &Table, place: Place, found: Found<'_>) -> Named {
    let r = Reader::new(table, place, &model::UPSTREAM, found);
    let (endpoints, endpoint_places) = endpoints(name, &r, found);
    let balance = r.choice("balance", &["round_robin", "least_request"], found);
    let host = match r.text("host", found) {
        None => HostMode::Keep,
        Some(At { value: "keep", .. }) => HostMode::Keep,
        Some(At { value: "endpoint", .. }) => HostMode::Endpoint,
        Some(text) => {
            if check_authority(text.value.as_bytes()).is_err() {
                let hint = "\"keep\", \"endpoint\" or a host name".to_owned();
                found.push("E103", text.place, format!("\"{}\" is no host", text.value), hint);
            }
            HostMode::Fixed(text.value.into())
        }
    };
    let empty = Table::default();
    let (pool, pool_place) = r.table("pool", found).unwrap_or((&empty, place));
    let pool = Reader::new(pool, pool_place, &model::POOL, found);
    let head_max = r.size("head_max", (1 << 10, 96 << 10), found);
    let upstream = Upstream {
        name: name.into(),
        endpoints: endpoints.into(),
        balance: [Balance::RoundRobin, Balance::LeastRequest][balance.unwrap_or(0)],
        host,
        pool_idle: pool.count("idle", (0, 10_000), found).unwrap_or(default::POOL_IDLE) as u16,
        pool_idle_timeout: pool.time("idle_timeout", found).unwrap_or(default::POOL_IDLE_TIMEOUT),
        pool_lifetime: pool.time("lifetime", found).unwrap_or(default::POOL_LIFETIME),
        connect_timeout: r.time("connect_timeout", found).unwrap_or(default::CONNECT_TIMEOUT),
        connections_max: r.count("connections_max", (1, 1 << 24), found).map(|n| n as u32),
        limits: limits(head_max.unwrap_or(default::UPSTREAM_HEAD_MAX)),
    };
    Named { upstream, place, endpoint_places, used: false }
}

fn limits(head_max: u64) -> Limits {
    Limits { head_bytes_max: head_max as u32, fields_max: 1000, ..Limits::default() }
}

fn endpoints(name: &str, r: &Reader<'_>, found: Found<'_>) -> (Vec<Endpoint>, Vec<Place>) {
    const MODEL: model::TableModel = model::TableModel {
        title: "an endpoint",
        doc: "",
        keys: &[
            model::Key { name: "address", kind: "", default: "", doc: "" },
            model::Key { name: "weight", kind: "", default: "", doc: "" },
        ],
        later: &["zone", "priority"],
    };
    let list = match r.raw("endpoints") {
        Some(At { value: Value::List(list), .. }) => list.as_slice(),
        Some(other) => std::slice::from_ref(other),
        None => &[],
    };
    let (mut endpoints, mut places) = (Vec::new(), Vec::new());
    for at in list {
        let (text, weight) = match &at.value {
            Value::Table(table) => {
                let r = Reader::new(table, at.place, &MODEL, found);
                let weight = r.count("weight", (0, 1000), found).unwrap_or(1) as u16;
                let text = r.text("address", found);
                if r.raw("address").is_none() {
                    let hint = "add address = \"host:port\"".to_owned();
                    found.push("E105", at.place, "an endpoint has no address".to_owned(), hint);
                }
                (text, weight)
            }
            _ => (text_of(at, found), 1),
        };
        let Some(text) = text else { continue };
        if let Some(endpoint) = endpoint(&text, weight, found) {
            endpoints.push(endpoint);
            places.push(text.place);
        }
    }
    if list.is_empty() {
        let message = format!("upstream `{name}` has no endpoints");
        found.push("E105", r.place, message, "add endpoints = [\"host:port\"]".to_owned());
    }
    (endpoints, places)
}

/// `host:port`, `http://host:port`, `unix:/path`.
pub fn endpoint(text: &At<&str>, weight: u16, found: Found<'_>) -> Option<Endpoint> {
    if let Some(path) = text.value.strip_prefix("unix:") {
        if path.starts_with('/') && path.len() < 108 {
            let address = EndpointAddress::Unix(path.into());
            return Some(Endpoint { address, weight, text: text.value.into() });
        }
        let hint = "as \"unix:/run/app.sock\", an absolute path below 108 bytes".to_owned();
        found.push("E114", text.place, "this is no socket path".to_owned(), hint);
        return None;
    }
    for scheme in ["https://", "dns://", "srv://", "docker:", "file:"] {
        if text.value.starts_with(scheme) {
            let message = format!("this build does not know {scheme} endpoints yet");
            found.push("E190", text.place, message, "as \"host:port\"".to_owned());
            return None;
        }
    }
    let (authority, default_port) = match text.value.strip_prefix("http://") {
        Some(rest) => (rest.strip_suffix('/').unwrap_or(rest), Some(80)),
        None => (text.value, None),
    };
    if authority.contains(['/', '?', '#']) {
        let hint = "leave the path out, and say `rewrite` on the route".to_owned();
        found.push("E114", text.place, "an endpoint has no path".to_owned(), hint);
        return None;
    }
    let checked = check_authority(authority.as_bytes());
    let Some((len, port)) =
        checked.ok().and_then(|(len, port)| Some((len, port.or(default_port)?)))
    else {
        let hint = "as \"10.0.0.1:8080\", \"app.internal:80\", \"[::1]:80\" or \"unix:/path\"";
        let message = format!("\"{}\" is not an endpoint", text.value);
        found.push("E114", text.place, message, hint.to_owned());
        return None;
    };
    let host = authority[..len].trim_start_matches('[').trim_end_matches(']');
    let address = match host.parse() {
        Ok(ip) => EndpointAddress::Ip(std::net::SocketAddr::new(ip, port)),
        Err(_) => EndpointAddress::Name { host: host.to_ascii_lowercase().into(), port },
    };
    Some(Endpoint { address, weight, text: authority.into() })
}

/// The upstream that a route's URL means.
pub fn anonymous(text: &At<&str>, found: Found<'_>) -> Option<Named> {
    let endpoint = endpoint(text, 1, found)?;
    let upstream = Upstream {
        name: text.value.into(),
        endpoints: Box::new([endpoint]),
        balance: Balance::RoundRobin,
        host: HostMode::Keep,
        pool_idle: default::POOL_IDLE as u16,
        pool_idle_timeout: default::POOL_IDLE_TIMEOUT,
        pool_lifetime: default::POOL_LIFETIME,
        connect_timeout: default::CONNECT_TIMEOUT,
        connections_max: None,
        limits: limits(default::UPSTREAM_HEAD_MAX),
    };
    Some(Named { upstream, place: text.place, endpoint_places: vec![text.place], used: true })
}
