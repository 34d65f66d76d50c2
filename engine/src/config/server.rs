//! `[server]` and `[listener.NAME]`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use parser::Limits;

use super::diagnostic::Place;
use super::model::{self, default};
use super::reader::{Found, Reader, table_of};
use super::tree::{At, Table, Value};
use crate::http::forwarded::Prefix;
use crate::snapshot::{Driver, ListenAddress, Listener, Server};

pub fn server(table: Option<&At<Value>>, found: Found<'_>) -> Server {
    let empty = Table::default();
    let (table, place) =
        table.and_then(|at| table_of(at, found)).unwrap_or((&empty, Place::default()));
    let r = Reader::new(table, place, &model::SERVER, found);
    let driver = r.choice("driver", &["auto", "uring", "epoll"], found);
    Server {
        workers: r.count("workers", (1, 1024), found).map(|n| n as u16),
        pin: r.flag("pin", found),
        driver: [Driver::Auto, Driver::Uring, Driver::Epoll][driver.unwrap_or(0)],
        drain_timeout: r.time("drain_timeout", found).unwrap_or(default::DRAIN_TIMEOUT),
        drain_delay: r.time("drain_delay", found).unwrap_or_default(),
        tunnel_drain: r.time("tunnel_drain", found).unwrap_or(default::TUNNEL_DRAIN),
        trusted_proxies: prefixes(&r, found),
        memory_max: r.size("memory_max", (1 << 20, 1 << 50), found),
        via: r.flag("via", found).unwrap_or(false),
    }
}

fn prefixes(r: &Reader<'_>, found: Found<'_>) -> Box<[Prefix]> {
    let texts = r.texts("trusted_proxies", found).unwrap_or_default();
    texts.iter().filter_map(|text| prefix(text, found)).collect()
}

/// `10.0.0.0/8`, `::1`; bits outside the prefix are a mistake.
fn prefix(text: &At<&str>, found: Found<'_>) -> Option<Prefix> {
    let (address, bits) = match text.value.split_once('/') {
        Some((address, bits)) => (address, bits.parse::<u8>().ok()),
        None => (text.value, Some(128)),
    };
    let address = address.parse::<IpAddr>().ok();
    let most = if matches!(address, Some(IpAddr::V4(_))) { 32 } else { 128 };
    let bits = bits.map(|b| if text.value.contains('/') { b } else { most });
    let (Some(address), Some(bits)) = (address, bits.filter(|b| *b <= most)) else {
        let hint = "as \"10.0.0.0/8\", \"2001:db8::/32\" or one address".to_owned();
        found.push("E114", text.place, format!("\"{}\" is not a prefix", text.value), hint);
        return None;
    };
    let cut = match address {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(ip) & mask))
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(ip) & mask))
        }
    };
    if cut != address {
        let message = format!("\"{}\" has bits outside its prefix", text.value);
        found.push("E145", text.place, message, format!("write \"{cut}/{bits}\""));
    }
    Some(Prefix { address: cut, bits })
}

/// A listener and where its address stands.
pub struct Listeners {
    pub list: Vec<(Listener, Place)>,
}

pub fn listeners(tables: Option<&At<Value>>, found: Found<'_>) -> Listeners {
    let mut list = Vec::new();
    let named = tables.and_then(|at| table_of(at, found)).map(|(t, _)| t);
    for (name, at) in named.map_or(&[][..], |t| &t.entries) {
        let Some((table, _)) = table_of(at, found) else { continue };
        if let Some(one) = listener(&name.value, table, name.place, found) {
            list.push((one, name.place));
        }
    }
    if named.is_none_or(|t| t.entries.is_empty()) {
        let r = Table::default();
        let address = both_families(8080);
        let place = Place::default();
        list.push((
            build("default", address, &Reader::new(&r, place, &model::LISTENER, found), found),
            place,
        ));
    }
    Listeners { list }
}

fn listener(name: &str, table: &Table, place: Place, found: Found<'_>) -> Option<Listener> {
    let r = Reader::new(table, place, &model::LISTENER, found);
    let Some(text) = r.text("address", found) else {
        if r.raw("address").is_none() {
            let message = format!("listener `{name}` has no address");
            found.push("E105", place, message, "add address = \":8080\"".to_owned());
        }
        return None;
    };
    let address = address(&text, found)?;
    Some(build(name, address, &r, found))
}

fn build(name: &str, address: ListenAddress, r: &Reader<'_>, found: Found<'_>) -> Listener {
    const HEAD: (u64, u64) = (1 << 10, 96 << 10);
    let head_max = r.size("head_max", HEAD, found).unwrap_or(default::HEAD_MAX);
    let target_max = r.size("target_max", (16, 96 << 10), found).unwrap_or(default::TARGET_MAX);
    let count = |key, most, found: Found<'_>| r.count(key, (1, most), found).map(|n| n as u32);
    Listener {
        name: name.into(),
        address,
        limits: Limits {
            head_bytes_max: head_max as u32,
            fields_max: r.count("headers_max", (1, 1000), found).unwrap_or(default::HEADERS_MAX)
                as u16,
            target_bytes_max: target_max as u32,
            ..Limits::default()
        },
        head_timeout: r.time("head_timeout", found).unwrap_or(default::HEAD_TIMEOUT),
        idle_timeout: r.time("idle_timeout", found).unwrap_or(default::IDLE_TIMEOUT),
        connections_max: count("connections_max", 10_000_000, found),
        connections_per_client: count("connections_per_client", 65_535, found),
        backlog: count("backlog", 1 << 20, found).unwrap_or(default::BACKLOG as u32),
        router: 0,
    }
}

fn both_families(port: u16) -> ListenAddress {
    let six = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let four = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    ListenAddress::Tcp(Box::new([four, six]))
}

/// `:8080`, `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`, `unix:/path`.
fn address(text: &At<&str>, found: Found<'_>) -> Option<ListenAddress> {
    if let Some(path) = text.value.strip_prefix("unix:") {
        if path.starts_with('/') && path.len() < 108 {
            return Some(ListenAddress::Unix(path.into()));
        }
    } else if let Some(port) = text.value.strip_prefix(':') {
        if let Some(port) = port.parse().ok().filter(|p| *p > 0) {
            return Some(both_families(port));
        }
    } else if let Some(port) = text.value.strip_prefix("localhost:") {
        if let Some(port) = port.parse::<u16>().ok().filter(|p| *p > 0) {
            let four = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let six = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
            return Some(ListenAddress::Tcp(Box::new([four, six])));
        }
    } else if let Ok(address) = text.value.parse::<SocketAddr>() {
        return Some(ListenAddress::Tcp(Box::new([address])));
    }
    let hint = "as \":8080\", \"127.0.0.1:8080\", \"[::1]:8080\" or \"unix:/path\"".to_owned();
    let message = format!("\"{}\" is not an address to listen on", text.value);
    found.push("E114", text.place, message, hint);
    None
}
