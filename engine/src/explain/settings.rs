//! What holds for a route, and which layer says so.

use std::time::Duration;

use crate::config::units::{size_text, time_text};
use crate::ids::RouteId;
use crate::snapshot::origin::Origin;
use crate::snapshot::{Route, Snapshot};

/// One key with its value.
#[derive(Debug)]
pub struct Setting {
    pub key: &'static str,
    pub value: String,
    /// The narrowest layer first; empty: it is the default.
    pub from: Vec<Origin>,
}

type Show = fn(&Route) -> String;

/// THE LIST: keys that hold for every route, in the order in which they are shown.
const SETTINGS: [(&str, Show); 10] = [
    ("timeout", |route| time(route.timeout)),
    ("deadline", |route| time(route.deadline)),
    ("body_timeout", |route| time(route.body_timeout)),
    ("body_limit", |route| route.body_limit.map_or_else(none, size_text)),
    ("body_rate_min", |route| {
        route.body_rate_min.map_or_else(none, |bytes| size_text(bytes) + "/s")
    }),
    ("tunnel_timeout", |route| time(route.tunnel_timeout)),
    ("upgrade", |route| match &*route.upgrade {
        [] => none(),
        names => names.join(", "),
    }),
    ("encoded_slash", |route| keep(route.encoded_slash_keep, "refuse")),
    ("slashes", |route| keep(route.slashes_keep, "merge")),
    ("slash", |route| if route.slash_redirect { "redirect" } else { "exact" }.to_owned()),
];

/// Keys that are shown elsewhere: what the route wants and does.
const ELSEWHERE: [&str; 12] = [
    "path",
    "group",
    "without",
    "to",
    "respond",
    "redirect",
    "echo",
    "allow",
    "ip",
    "cors",
    "rate_limit",
    "concurrency",
];

/// Of one route: those of the list, and further ones that some layer says.
pub(super) fn of(snapshot: &Snapshot, id: RouteId) -> Vec<Setting> {
    let route = snapshot.route(id);
    let listed = SETTINGS.iter().map(|(key, show)| Setting {
        key,
        value: show(route),
        from: snapshot.origins(id, key),
    });
    let is_further =
        |key: &&str| !ELSEWHERE.contains(key) && SETTINGS.iter().all(|(listed, _)| listed != key);
    let further = snapshot.said(id).into_iter().filter(is_further).map(|key| Setting {
        key,
        value: further(route, key),
        from: snapshot.origins(id, key),
    });
    listed.chain(further).collect()
}

/// What is said of a key that has no single value.
fn further(route: &Route, key: &str) -> String {
    let conditions = &route.wanted.conditions;
    match key {
        "host" => conditions.hosts.join(", "),
        "methods" => conditions.methods.join(", "),
        "listener" => conditions.listeners.join(", "),
        "when" => {
            let names = conditions.headers.iter().chain(&conditions.query);
            names.map(|(name, _)| &**name).collect::<Vec<_>>().join(", ")
        }
        "auth" if route.is_open_on_purpose => none(),
        "auth" => "see the chain".to_owned(),
        "headers" => route.headers.as_deref().map_or_else(none, |headers| {
            let of = |edits: &crate::http::edit::Edits| {
                edits.set.len() + edits.add.len() + edits.remove.len()
            };
            format!("{} on requests, {} on answers", of(&headers.request), of(&headers.response))
        }),
        "rewrite" => route.rewrite.as_deref().map_or_else(none, |rewrite| {
            let parts =
                [("path", &rewrite.path), ("query", &rewrite.query), ("host", &rewrite.host)];
            let there = parts.iter().filter(|(_, part)| part.is_some()).map(|(name, _)| *name);
            there.collect::<Vec<_>>().join(", ")
        }),
        _ => String::new(),
    }
}

pub(super) fn time(time: Option<Duration>) -> String {
    time.map_or_else(none, time_text)
}

fn keep(is_kept: bool, otherwise: &str) -> String {
    if is_kept { "keep" } else { otherwise }.to_owned()
}

fn none() -> String {
    "none".to_owned()
}
