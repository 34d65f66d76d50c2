//! Warnings about what is legal and may not be meant.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::check::is_served_on;
use super::diagnostic::{At, Diagnostic, Diagnostics};
use super::files::Outside;
use super::keys::known;
use super::merge::{Effective, and_more};
use super::model::{Action, Listener, Model, Per, Route, Setting};
use crate::snapshot::{Choice, ListenAddress};

pub(super) fn warn(model: &Model, outside: &Outside<'_>, out: &mut Diagnostics) {
    let public: Vec<&Listener> =
        model.listeners.iter().filter(|listener| is_public(listener, outside)).collect();
    for listener in public.iter().filter(|listener| listener.tls.is_none()) {
        let Some(address) = &listener.address else { continue };
        clear_text(&format!("`{}`", listener.name), address.at, out);
    }
    if let (Choice::Given(list), Some(at)) = (&model.admin.address, model.admin.address_at)
        && is_beyond_loopback(list)
        && outside.origin(at.source).is_file
    {
        clear_text("`[admin]`", at, out);
    }
    open_routes(model, &public, out);
    unused_groups(model, out);
    without_addresses(model, out);
    model.routes.iter().for_each(|route| idle_rewrite(route, out));
}

/// Whether a file, and no flag, says that other machines can reach it.
fn is_public(listener: &Listener, outside: &Outside<'_>) -> bool {
    // The listener that is there when no file names one has no place.
    let written = |at: At| at != At::default() && outside.origin(at.source).is_file;
    // Nothing is served there, and nothing said that is worth hearing.
    if listener.redirect.is_some() && listener.tls.is_none() {
        return false;
    }
    listener.address.as_ref().is_some_and(|address| match &address.value {
        ListenAddress::Tcp(list) => is_beyond_loopback(list) && written(address.at),
        ListenAddress::Unix(_) => false,
    })
}

fn is_beyond_loopback(list: &[SocketAddr]) -> bool {
    list.iter().any(|address| !address.ip().to_canonical().is_loopback())
}

fn clear_text(who: &str, at: At, out: &mut Diagnostics) {
    let warning = Diagnostic::new("W207", at, format!("{who} can be reached, without TLS"));
    out.push(warning.note("what passes here can be read: keep it to \"127.0.0.1\" or behind TLS"));
}

/// One warning per file.
fn open_routes(model: &Model, public: &[&Listener], out: &mut Diagnostics) {
    if public.is_empty() {
        return;
    }
    let is_open = |route: &&Route| {
        Effective::of(route, &model.chains).get(known::AUTH).is_none()
            && public.iter().any(|listener| is_served_on(route, &listener.name, model))
    };
    let mut by_file: BTreeMap<u32, (At, Vec<&str>)> = BTreeMap::new();
    for route in model.routes.iter().filter(is_open) {
        let (first, names) = by_file.entry(route.at.source).or_insert((route.at, Vec::new()));
        *first = route.at.min(*first);
        names.push(&route.name);
    }
    for (at, names) in by_file.into_values() {
        let title = match names.len() {
            1 => "this route is open to everyone".to_owned(),
            count => format!("{count} routes are open to everyone"),
        };
        let warning = Diagnostic::new("W201", at, title).note("auth = \"none\" says it is meant");
        out.push(match names.len() {
            1 => warning,
            count => warning.help(and_more(&names, count)),
        });
    }
}

fn unused_groups(model: &Model, out: &mut Diagnostics) {
    // A route whose group could not be read may be part of any.
    if out.is_torn() || model.routes.iter().any(|route| route.is_unsure) {
        return;
    }
    let mut used: BTreeSet<usize> = BTreeSet::new();
    for route in &model.routes {
        let mut next = Some(route.chain);
        while let Some(index) = next.filter(|index| used.insert(*index)) {
            next = model.chains[index].parent;
        }
    }
    for (i, chain) in model.chains.iter().enumerate().skip(1) {
        if !used.contains(&i) {
            let title = format!("no route is part of {}", chain.name);
            out.push(Diagnostic::new("W209", chain.at, title).note("what it says has no effect"));
        }
    }
}

/// A rewrite that a group brings is for those of its routes that send requests on.
fn idle_rewrite(route: &Route, out: &mut Diagnostics) {
    let own = route.layer.said.iter().find(|said| said.key == known::REWRITE);
    if let (Some(said), Some(action)) = (own, &route.action)
        && !matches!(action, Action::To(_))
    {
        let warning = Diagnostic::new("W212", said.at, "this rewrite has no effect");
        out.push(warning.note("only what `to` sends upstream is rewritten"));
    }
}

/// What judges or counts by address, where there are none.
fn without_addresses(model: &Model, out: &mut Diagnostics) {
    let is_unix = |listener: &&Listener| {
        let address = listener.address.as_ref().map(|spot| &spot.value);
        matches!(address, Some(ListenAddress::Unix(_)))
    };
    let mut told = BTreeSet::new();
    let mut warn = |at: At, title: String, out: &mut Diagnostics| {
        if told.insert(at) {
            let note = "a unix socket tells no addresses";
            let help = "let the proxy in front do it, or listen on TCP and name the proxy in \
                        `server.trusted_proxies`";
            out.push(Diagnostic::new("W216", at, title).note(note).help(help));
        }
    };
    for listener in model.listeners.iter().filter(is_unix) {
        let name = &listener.name;
        let one = format!("all clients of listener `{name}` count as one");
        let nothing = format!("`ip` does nothing on listener `{name}`");
        if listener.ip.is_some() {
            warn(listener.at, nothing.clone(), out);
        }
        for limit in &listener.rate_limits {
            warn(limit.at, one.clone(), out);
        }
        for route in model.routes.iter().filter(|route| is_served_on(route, name, model)) {
            let effective = Effective::of(route, &model.chains);
            for (_, at, _) in effective.all(known::IP) {
                warn(at, nothing.clone(), out);
            }
            for (setting, ..) in effective.all(known::RATE_LIMIT) {
                let Setting::RateLimits(limits) = setting else { continue };
                for limit in limits.iter().filter(|limit| limit.per.contains(&Per::Client)) {
                    warn(limit.at, one.clone(), out);
                }
            }
        }
    }
}
