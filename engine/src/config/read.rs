//! Tree → model: the process, listeners and upstreams. Routes are read in `route.rs`.

use super::address::{self, Fault, PrefixFault};
use super::diagnostic::{At, Diagnostic, Diagnostics};
use super::keys;
use super::model::{Endpoint, Listener, Model, Server, Spot, Upstream};
use super::reader::{Section, not_yet, table_of, text_of, wrong_type};
use super::route;
use super::source::{Entry, Node, Table, Value};
use super::{Files, defaults};
use crate::http::forwarded::Prefix;
use crate::snapshot::{Balance, Driver, HostMode};

/// Longest name of a table: it stands in metrics and log lines.
const NAME_BYTES_MAX: usize = 100;
/// Each has sockets of its own in every worker.
const LISTENERS_MAX: usize = 256;
/// Ids are 32 bits wide; the rest is memory.
const ROUTES_MAX: usize = 1_000_000;

/// Everything that could be read.
pub(super) fn read(table: &Table, files: &Files<'_>, out: &mut Diagnostics) -> Model {
    let top = Section::open(table, At::default(), keys::TOP, out);
    if let Some(node) = top.node("busbar")
        && !matches!(node.value, Value::Integer(1))
    {
        let error = Diagnostic::new("E111", node.at, "this build reads version 1");
        out.push(error.note("write `busbar = 1`, or leave it out"));
    }
    let server = top.section("server", keys::SERVER, out).map(|section| server(&section, out));
    let mut model = Model { server: server.unwrap_or_default(), ..Model::default() };
    for (entry, section) in tables(&top, "listener", keys::LISTENER, LISTENERS_MAX, out) {
        model.listeners.push(listener(&entry.key, &section, out));
    }
    for (entry, section) in tables(&top, "upstream", keys::UPSTREAM, ROUTES_MAX, out) {
        model.upstreams.push(upstream(&entry.key, &section, out));
    }
    for (entry, section) in tables(&top, "route", keys::ROUTE, ROUTES_MAX, out) {
        model.routes.push(route::read(&entry.key, &section, files, out));
    }
    model
}

/// The tables `[kind.NAME]`, sorted by name. A section's place is its name's when it has no head
/// of its own.
fn tables<'t>(
    top: &Section<'t>,
    kind: &str,
    keys: &'static [keys::Key],
    most: usize,
    out: &mut Diagnostics,
) -> Vec<(&'t Entry, Section<'t>)> {
    let entries = top.named(kind, out);
    if entries.len() > most {
        let error = Diagnostic::new("E115", entries[most].key_at, "this is too large");
        out.push(error.note(format!("at most {most} tables [{kind}.NAME]")));
        return Vec::new();
    }
    let mut found = Vec::with_capacity(entries.len());
    for entry in entries {
        check_name(entry, kind, out);
        if let Some(table) = table_of(&entry.node, out) {
            found.push((entry, Section::open(table, entry.node.at, keys, out)));
        }
    }
    found
}

fn check_name(entry: &Entry, kind: &str, out: &mut Diagnostics) {
    let name = entry.key.as_bytes();
    let is_good = |b: &u8| b.is_ascii_alphanumeric() || b"-_.".contains(b);
    let is_first = name.first().is_some_and(u8::is_ascii_alphanumeric);
    if !is_first || !name.iter().all(is_good) || name.len() > NAME_BYTES_MAX {
        let note = match matches!(entry.node.value, Value::Table(_)) {
            true => "letters, digits, `-`, `_` and `.`; at most 100",
            false => "this is a table of names",
        };
        let title = format!("`{}` can't be the name of a {kind}", entry.key);
        out.push(Diagnostic::new("E109", entry.key_at, title).note(note));
    }
}

fn server(section: &Section<'_>, out: &mut Diagnostics) -> Server {
    let driver = match section.word("driver", out) {
        Some("uring") => Driver::Uring,
        Some("epoll") => Driver::Epoll,
        _ => Driver::Auto,
    };
    let proxies = section.texts("trusted_proxies", true, out).unwrap_or_default();
    Server {
        workers: section.count("workers", out),
        pin: section.bool("pin", out),
        driver,
        drain_timeout: section.time("drain_timeout", out),
        drain_delay: section.time("drain_delay", out),
        tunnel_drain: section.time("tunnel_drain", out),
        trusted_proxies: proxies.iter().filter_map(|spot| prefix(spot, out)).collect(),
        memory_max: section.size("memory_max", out),
        via: section.bool("via", out).unwrap_or_default(),
    }
}

fn prefix(spot: &Spot<&str>, out: &mut Diagnostics) -> Option<Prefix> {
    let error = match address::prefix(spot.value) {
        Ok(prefix) => return Some(prefix),
        Err(PrefixFault::Bad) => {
            Diagnostic::new("E144", spot.at, format!("\"{}\" is no prefix", spot.value))
                .note("such as \"10.0.0.0/8\" or \"2001:db8::/32\"")
        }
        Err(PrefixFault::HostBits(fix)) => {
            let title = format!("\"{}\" has bits outside its prefix", spot.value);
            Diagnostic::new("E145", spot.at, title).note(format!("write \"{fix}\""))
        }
    };
    out.push(error);
    None
}

/// The diagnostic of a bad address.
pub(super) fn fault(code: &'static str, at: At, fault: Fault) -> Diagnostic {
    match fault {
        Fault::Bad(what, fix) => Diagnostic::new(code, at, what).note(fix),
        Fault::NotYet(what) => not_yet(at, what),
    }
}

/// Reports that `key` is missing, unless the file is broken: it may be in the broken part.
fn missing(key: &str, example: &str, section: &Section<'_>, out: &mut Diagnostics) {
    if !out.is_torn() {
        let error = Diagnostic::new("E107", section.at, format!("`{key}` is missing"));
        out.push(error.note(example));
    }
}

fn listener(name: &str, section: &Section<'_>, out: &mut Diagnostics) -> Listener {
    if section.entry("address").is_none() {
        missing("address", "such as address = \":8080\"", section, out);
    }
    let address = section.text("address", out).and_then(|(text, at)| {
        let read = address::listen(text);
        read.map_err(|error| out.push(fault("E125", at, error)))
            .ok()
            .map(|value| Spot { value, at })
    });
    let head_max = section.size("head_max", out);
    let target_max = section.size("target_max", out);
    if let Some(target) = target_max
        && target > head_max.unwrap_or(defaults::HEAD_MAX)
        && let Some(node) = section.node("target_max")
    {
        let error = Diagnostic::new("E106", node.at, "this is out of its range");
        out.push(error.note("a target is part of a head: at most `head_max`"));
    }
    Listener {
        name: name.to_owned(),
        at: section.at,
        address,
        head_timeout: section.time("head_timeout", out),
        idle_timeout: section.time("idle_timeout", out),
        connections_max: section.count("connections_max", out),
        connections_per_client: section.count_or_none("connections_per_client", out),
        head_max,
        headers_max: section.count("headers_max", out),
        target_max,
        backlog: section.count("backlog", out),
    }
}

fn upstream(name: &str, section: &Section<'_>, out: &mut Diagnostics) -> Upstream {
    let mut upstream = Upstream::new(name.to_owned(), section.at);
    match section.node("endpoints") {
        None => missing("endpoints", "such as endpoints = [\"127.0.0.1:3000\"]", section, out),
        Some(node) => upstream.endpoints = endpoints(node, out),
    }
    if let Some("least_request") = section.word("balance", out) {
        upstream.balance = Balance::LeastRequest;
    }
    if let Some((text, at)) = section.text("host", out) {
        upstream.host = host(text, at, &upstream.endpoints, out);
    }
    if let Some(pool) = section.section("pool", keys::POOL, out) {
        upstream.pool_idle = pool.count("idle", out);
        upstream.pool_idle_timeout = pool.time("idle_timeout", out);
        upstream.pool_lifetime = pool.time("lifetime", out);
    }
    upstream.connect_timeout = section.time("connect_timeout", out);
    upstream.connections_max = section.count_or_none("connections_max", out);
    upstream.head_max = section.size("head_max", out);
    upstream
}

fn host(text: &str, at: At, endpoints: &[Endpoint], out: &mut Diagnostics) -> HostMode {
    match text {
        "keep" => HostMode::Keep,
        "endpoint" => {
            if endpoints.iter().any(|endpoint| endpoint.text.starts_with("unix:")) {
                let error = Diagnostic::new("E129", at, "a unix socket has no name to send");
                out.push(error.note("write the name itself"));
            }
            HostMode::Endpoint
        }
        name => {
            if let Err(error) = address::authority(name) {
                out.push(fault("E132", at, error));
            }
            HostMode::Fixed(name.into())
        }
    }
}

fn endpoints(node: &Node, out: &mut Diagnostics) -> Vec<Endpoint> {
    let Value::List(list) = &node.value else {
        let error = wrong_type(node, "a list");
        out.push(match &node.value {
            Value::Text(text) => error.note(format!("write [\"{text}\"]")),
            _ => error,
        });
        return Vec::new();
    };
    let endpoints: Vec<_> = list.iter().filter_map(|node| endpoint(node, out)).collect();
    if list.is_empty() || endpoints.len() == list.len() && endpoints.iter().all(|e| e.weight == 0) {
        let error = Diagnostic::new("E128", node.at, "no endpoint takes requests");
        out.push(error.note("at least one is needed, with a weight above 0"));
    }
    let mut texts: Vec<(&str, At)> = endpoints.iter().map(|e| (e.text.as_str(), e.at)).collect();
    texts.sort_unstable();
    for pair in texts.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
        let warning = Diagnostic::new("W205", pair[1].1, "this endpoint is given twice");
        out.push(warning.note("it gets two shares; `weight` says so more clearly"));
    }
    endpoints
}

fn endpoint(node: &Node, out: &mut Diagnostics) -> Option<Endpoint> {
    let (text, at, weight) = match &node.value {
        Value::Table(table) => {
            let section = Section::open(table, node.at, keys::ENDPOINT, out);
            if section.entry("address").is_none() {
                missing("address", "such as address = \"127.0.0.1:3000\"", &section, out);
            }
            let weight = section.count("weight", out).map(|weight| weight as u16);
            let (text, at) = section.text("address", out)?;
            (text, at, weight.unwrap_or(defaults::WEIGHT))
        }
        _ => {
            let (text, at) = text_of(node, out)?;
            (text, at, defaults::WEIGHT)
        }
    };
    match address::endpoint(text) {
        Ok((address, text)) => Some(Endpoint { address, weight, text, at }),
        Err(error) => {
            out.push(fault("E124", at, error));
            None
        }
    }
}
