//! Tree → model: the process, listeners and upstreams. Routes and groups are read in `route.rs`,
//! what they have in common in `layer.rs`.

use super::address::{self, Fault, PrefixFault};
use super::diagnostic::{At, Diagnostic, Diagnostics};
use super::files::Outside;
use super::model::{Chain, Endpoint, Listener, Model, Route, Server, Site, Spot, Upstream};
use super::reader::{Section, not_yet, table_of, text_of, wrong_type};
use super::route::{self, Groups};
use super::source::{Entry, Node, Table, Value};
use super::{access, admin, defaults, guards, keys, layer, merge, tls};
use crate::http::forwarded::Prefix;
use crate::snapshot::{Balance, Driver, HostMode};

/// Longest name of a table: it stands in metrics and log lines.
const NAME_BYTES_MAX: usize = 100;
/// Each has sockets of its own in every worker.
const LISTENERS_MAX: usize = 256;
/// Ids are 32 bits wide; the rest is memory.
const ROUTES_MAX: usize = 1_000_000;
/// They are for people; routes are for machines.
const GROUPS_MAX: usize = 10_000;
/// Each has a memory of its own in every worker.
const AUTHS_MAX: usize = 256;

/// Everything that could be read.
pub(super) fn read(table: &Table, outside: &Outside<'_>, out: &mut Diagnostics) -> Model {
    let top = Section::open(table, At::default(), keys::TOP, out);
    if let Some(node) = top.node("busbar")
        && !matches!(node.value, Value::Integer(1))
    {
        let error = Diagnostic::new("E111", node.at, "this build reads version 1");
        out.push(error.note("write `busbar = 1`, or leave it out"));
    }
    let server = top.section("server", keys::SERVER, out).map(|section| server(&section, out));
    let admin = top.section("admin", keys::ADMIN, out);
    let admin = admin.map(|section| admin::read(&section, outside, out));
    let log = top.section("log", keys::LOG, out);
    let log = log.and_then(|section| super::log::read(&section, outside, out));
    let (listener_defaults, upstream_defaults) = defaults_of(&top, outside, out);
    let mut model = Model {
        server: server.unwrap_or_default(),
        admin: admin.unwrap_or_default(),
        log,
        listener_defaults,
        upstream_defaults,
        ..Model::default()
    };
    for (entry, section) in tables(&top, "listener", keys::LISTENER, LISTENERS_MAX, out) {
        let listener = listener(&entry.key, &section, &model.listener_defaults, outside, out);
        model.listeners.push(listener);
    }
    for (entry, section) in tables(&top, "upstream", keys::UPSTREAM, ROUTES_MAX, out) {
        let upstream = upstream(&entry.key, &section, &model.upstream_defaults, outside, out);
        model.upstreams.push(upstream);
    }
    access(&top, &mut model, outside, out);
    model.chains = chains(&top, outside, out);
    model.routes = routes(&top, &model.chains, outside, out);
    merge::routes(&mut model, out);
    model
}

/// Who may call.
fn access(top: &Section<'_>, model: &mut Model, outside: &Outside<'_>, out: &mut Diagnostics) {
    for entry in top.named("auth", out).iter().take(AUTHS_MAX) {
        check_name(entry, "auth", out);
        if let Some(table) = table_of(&entry.node, out) {
            let section = Section::open(table, entry.node.at, access::keys_of(table), out);
            model.auths.push(access::auth(&entry.key, &section, outside, out));
        }
    }
    for (entry, section) in tables(top, "consumer", keys::CONSUMER, ROUTES_MAX, out) {
        model.consumers.push(access::consumer(&entry.key, &section, outside, out));
    }
    if let Some(section) = top.section("consumers", keys::CONSUMERS, out) {
        model.consumers_file = access::consumers_file(&section, outside, out);
    }
    for (entry, section) in tables(top, "plan", keys::PLAN, GROUPS_MAX, out) {
        model.plans.push(access::plan(&entry.key, &section, out));
    }
}

fn chains(top: &Section<'_>, outside: &Outside<'_>, out: &mut Diagnostics) -> Vec<Chain> {
    let all = match top.section("all", keys::ALL, out) {
        Some(section) => {
            let layer = layer::read(&section, None, outside, out);
            (layer, route::prefix(&section, out), section.at)
        }
        None => Default::default(),
    };
    let mut groups = Vec::new();
    for (entry, section) in tables(top, "group", keys::GROUP, GROUPS_MAX, out) {
        groups.push(route::read_group(&entry.key, &section, outside, out));
    }
    merge::chains(all, groups, out)
}

fn routes(
    top: &Section<'_>,
    chains: &[Chain],
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Vec<Route> {
    let by_name = chains.iter().enumerate().filter_map(|(i, chain)| {
        let name = chain.name.strip_prefix("[group.")?.strip_suffix(']')?;
        Some((name, i))
    });
    let groups = Groups { chains, by_name: by_name.collect() };
    let tables = tables(top, "route", keys::ROUTE, ROUTES_MAX, out);
    let read = |(entry, section): (&Entry, Section<'_>)| {
        route::read(&entry.key, &section, &groups, outside, out)
    };
    tables.into_iter().map(read).collect()
}

/// What holds for listeners and upstreams that do not say it.
fn defaults_of(
    top: &Section<'_>,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> (Listener, Upstream) {
    let Some(section) = top.section("defaults", keys::DEFAULTS, out) else {
        return Default::default();
    };
    let misplaced = |section: &Section<'_>, key: &str, out: &mut Diagnostics| {
        if let Some(entry) = section.entry(key) {
            let title = format!("`{key}` can't stand here");
            let error = Diagnostic::new("E147", entry.key_at, title);
            out.push(error.note("each table has its own; only settings have defaults"));
        }
    };
    let mut defaults = <(Listener, Upstream)>::default();
    if let Some(section) = section.section("listener", keys::LISTENER, out) {
        misplaced(&section, "address", out);
        defaults.0 = listener_settings(&section, &Listener::default(), outside, out);
    }
    if let Some(section) = section.section("upstream", keys::UPSTREAM, out) {
        misplaced(&section, "endpoints", out);
        defaults.1 = upstream_settings(&section, &Upstream::default(), outside, out);
    }
    defaults
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
        limit_keys: section.count("limit_keys", out),
    }
}

pub(super) fn prefix(spot: &Spot<&str>, out: &mut Diagnostics) -> Option<Prefix> {
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

fn listener(
    name: &str,
    section: &Section<'_>,
    defaults: &Listener,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Listener {
    if section.entry("address").is_none() {
        missing("address", "such as address = \":8080\"", section, out);
    }
    let address = section.text("address", out).and_then(|(text, at)| {
        let read = address::listen(text);
        read.map_err(|error| out.push(fault("E125", at, error)))
            .ok()
            .map(|value| Spot { value, at })
    });
    let settings = listener_settings(section, defaults, outside, out);
    tls::redirect_of_its_own(section, out);
    let tls = settings.tls.as_ref();
    let terms = tls.and_then(|tls| tls::server_terms(name, tls, outside, out));
    Listener { name: name.to_owned(), at: section.at, address, terms, ..settings }
}

fn listener_settings(
    section: &Section<'_>,
    defaults: &Listener,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Listener {
    let head_max = section.size("head_max", out).or(defaults.head_max);
    let target_max = section.size("target_max", out).zip(section.node("target_max"));
    let target_max = target_max.map(|(value, node)| Spot { value, at: node.at });
    let target_max = target_max.or_else(|| defaults.target_max.clone());
    if let Some(Spot { value, at }) = target_max
        && value > head_max.unwrap_or(defaults::HEAD_MAX)
    {
        let error = Diagnostic::new("E106", at, "this is out of its range");
        out.push(error.note("a target is part of a head: at most `head_max`"));
    }
    let proxy_protocol = section.bool("proxy_protocol", out).zip(section.entry("proxy_protocol"));
    let proxy_protocol = proxy_protocol.map(|(value, entry)| Spot { value, at: entry.key_at });
    let redirect = tls::redirect(section, out);
    Listener {
        head_timeout: section.time("head_timeout", out).or(defaults.head_timeout),
        idle_timeout: section.time("idle_timeout", out).or(defaults.idle_timeout),
        connections_max: section.count("connections_max", out).or(defaults.connections_max),
        connections_per_client: section
            .count_or_none("connections_per_client", out)
            .or(defaults.connections_per_client),
        head_max,
        headers_max: section.count("headers_max", out).or(defaults.headers_max),
        target_max,
        backlog: section.count("backlog", out).or(defaults.backlog),
        defer_accept: section.time_or_none("defer_accept", out).or(defaults.defer_accept),
        ip: guards::ip(section, outside, out).or_else(|| defaults.ip.clone()),
        rate_limits: guards::rate_limits(section, keys::RATE_LIMIT, out)
            .unwrap_or_else(|| defaults.rate_limits.clone()),
        tls: tls::listener(section, defaults.tls.as_ref(), outside, out),
        proxy_protocol: proxy_protocol.or_else(|| defaults.proxy_protocol.clone()),
        redirect: redirect.or_else(|| defaults.redirect.clone()),
        ..Listener::default()
    }
}

fn upstream(
    name: &str,
    section: &Section<'_>,
    defaults: &Upstream,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Upstream {
    let mut endpoints = Vec::new();
    match section.node("endpoints") {
        None => missing("endpoints", "such as endpoints = [\"127.0.0.1:3000\"]", section, out),
        Some(node) => endpoints = self::endpoints(node, out),
    }
    let settings = upstream_settings(section, defaults, outside, out);
    if let Some(Spot { value: HostMode::Endpoint, at }) = &settings.host
        && let Some(unix) = endpoints.iter().find(|e| e.text.starts_with("unix:"))
    {
        let error = Diagnostic::new("E129", *at, "a unix socket has no name to send");
        let is_far = at.source != unix.at.source || section.node("host").is_none();
        let error = error.note("write the name itself");
        out.push(if is_far { error.other(unix.at) } else { error });
    }
    let own_tls = section.entry("tls").map(|entry| entry.key_at);
    let terms = tls::is_tls(&endpoints, own_tls, out).then(|| {
        let tls = settings.tls.clone().or_else(|| defaults.tls.clone()).unwrap_or_default();
        tls::client_terms(&tls, &endpoints, section.at, outside, out)
    });
    let (name, at, terms) = (name.to_owned(), section.at, terms.flatten());
    Upstream { name, at, endpoints, terms, ..settings }
}

fn upstream_settings(
    section: &Section<'_>,
    defaults: &Upstream,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Upstream {
    let balance = section.word("balance", out).map(|word| match word {
        "least_request" => Balance::LeastRequest,
        _ => Balance::RoundRobin,
    });
    let host = section.text("host", out).map(|(text, at)| Spot { value: host(text, at, out), at });
    let pool = section.section("pool", keys::POOL, out);
    let pool_time = |name: &str, out: &mut Diagnostics| pool.as_ref()?.time(name, out);
    let connections_max = section.count_or_none("connections_max", out);
    Upstream {
        balance: balance.or(defaults.balance),
        host: host.or_else(|| defaults.host.clone()),
        pool_idle: pool.as_ref().and_then(|pool| pool.count("idle", out)).or(defaults.pool_idle),
        pool_idle_timeout: pool_time("idle_timeout", out).or(defaults.pool_idle_timeout),
        pool_lifetime: pool_time("lifetime", out).or(defaults.pool_lifetime),
        connect_timeout: section.time("connect_timeout", out).or(defaults.connect_timeout),
        connections_max: connections_max.or(defaults.connections_max),
        head_max: section.size("head_max", out).or(defaults.head_max),
        tls: tls::upstream(section, defaults.tls.as_ref(), outside, out),
        ..Upstream::default()
    }
}

fn host(text: &str, at: At, out: &mut Diagnostics) -> HostMode {
    match text {
        "keep" => HostMode::Keep,
        "endpoint" => HostMode::Endpoint,
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
        Ok(Site { address, text, is_https }) => {
            Some(Endpoint { address, weight, text, is_https, at })
        }
        Err(error) => {
            out.push(fault("E124", at, error));
            None
        }
    }
}
