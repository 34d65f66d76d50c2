//! Why the other routes did not get a request, the nearest first.
//!
//! Rule by rule, as the precedence reads (`naive.rs`, which is held against `Router`). Which route
//! did get it comes from `Router::find` alone. Linear in the rules; for people, never on the
//! request path.

use std::cmp::Reverse;
use std::sync::Arc;

use super::naive::takes;
use super::naive::{HostLevel, Kind, count, header_holds, host_levels, path_match, query_holds};
use super::{Lookup, Rule, ValuePattern};

/// What a route wants, as it was written.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The pattern, with the prefixes of its groups.
    pub path: Box<str>,
    /// Routes of one group mostly share them.
    pub conditions: Arc<Conditions>,
}

/// What a route wants beside a path. Empty: anything.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conditions {
    pub hosts: Box<[Box<str>]>,
    pub methods: Box<[Box<str>]>,
    pub headers: Box<[(Box<str>, ValuePattern)]>,
    pub query: Box<[(Box<str>, ValuePattern)]>,
    /// Names of listeners.
    pub listeners: Box<[Box<str>]>,
}

impl Conditions {
    /// Those of a rule, on these listeners.
    pub fn of(rule: &Rule, listeners: &[String]) -> Conditions {
        let texts = |list: &[String]| list.iter().map(|text| text.as_str().into()).collect();
        let tests = |list: &[(String, ValuePattern)]| {
            list.iter().map(|(name, value)| (name.as_str().into(), value.clone())).collect()
        };
        Conditions {
            hosts: texts(&rule.hosts),
            methods: texts(&rule.methods),
            headers: tests(&rule.headers),
            query: tests(&rule.query),
            listeners: texts(listeners),
        }
    }
}

/// Why a route did not get a request. What fails first in the order of the precedence is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost<'w> {
    /// The request came in elsewhere.
    Listener,
    Host,
    /// `segment` counts from 1. An empty `has`: the path ends there; an empty `wants`: the pattern.
    Path {
        segment: usize,
        has: Vec<u8>,
        wants: &'w str,
    },
    Method,
    Header(&'w str, &'w ValuePattern),
    Query(&'w str, &'w ValuePattern),
    /// It matches, but another is more specific.
    Beaten(By<'w>),
}

/// What another route has that is more specific.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By<'w> {
    /// Its host.
    Host,
    /// Its path, at this segment, where this one has `wants`.
    Path {
        segment: usize,
        wants: &'w str,
    },
    Methods,
    /// It names HEAD.
    Head,
    Headers,
    Query,
    /// Its name sorts first.
    Name,
}

/// How specific a match is: smaller goes first. In the order of the precedence.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    host: HostLevel,
    kinds: Vec<Kind>,
    methods: Reverse<bool>,
    head: Reverse<bool>,
    headers: Reverse<usize>,
    query: Reverse<usize>,
}

/// A route that did not get the request.
#[derive(Debug)]
pub struct Near<'w, T> {
    pub route: T,
    pub lost: Lost<'w>,
}

/// The `most` routes that were nearest to getting a request which arrived at `listener`, the
/// nearest first; `winner` is the one that got it. Routes come as their name, what they want, and
/// what the caller knows them by.
pub fn nearest<'w, T: Copy + PartialEq>(
    routes: impl Iterator<Item = (T, &'w str, &'w Wanted)>,
    lookup: &Lookup<'_>,
    listener: &str,
    winner: Option<(T, &'w Wanted)>,
    most: usize,
) -> Vec<Near<'w, T>> {
    let best = winner.and_then(|(_, wanted)| rank(wanted, lookup));
    let others = routes.filter(|(route, ..)| winner.is_none_or(|(winner, _)| winner != *route));
    let mut found: Vec<_> = others
        .map(|(route, name, wanted)| {
            let lost = judge(wanted, lookup, listener, best.as_ref());
            (distance(&lost, wanted, lookup), name, Near { route, lost })
        })
        .collect();
    found.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    found.truncate(most);
    found.into_iter().map(|(_, _, near)| near).collect()
}

/// Smaller is nearer.
fn distance(lost: &Lost<'_>, wanted: &Wanted, lookup: &Lookup<'_>) -> (u8, Reverse<usize>) {
    let same = match path_miss(&wanted.path, lookup.path) {
        Some(Lost::Path { segment, .. }) => segment,
        _ => usize::MAX,
    };
    let class = match lost {
        Lost::Beaten(_) => 0,
        Lost::Header(..) | Lost::Query(..) => 1,
        Lost::Method => 2,
        Lost::Listener | Lost::Host if same == usize::MAX => 3,
        Lost::Path { .. } => 4,
        Lost::Listener | Lost::Host => 5,
    };
    (class, Reverse(same))
}

fn judge<'w>(
    wanted: &'w Wanted,
    lookup: &Lookup<'_>,
    listener: &str,
    winner: Option<&Rank>,
) -> Lost<'w> {
    let conditions = &*wanted.conditions;
    let listeners = &conditions.listeners;
    if !listeners.is_empty() && listeners.iter().all(|name| **name != *listener) {
        return Lost::Listener;
    }
    if host_levels(&conditions.hosts, lookup.host).is_empty() {
        return Lost::Host;
    }
    if let Some(lost) = path_miss(&wanted.path, lookup.path) {
        return lost;
    }
    if !takes(&conditions.methods, lookup) {
        return Lost::Method;
    }
    let failing = conditions.headers.iter().find(|(name, want)| !header_holds(name, want, lookup));
    if let Some((name, want)) = failing {
        return Lost::Header(name, want);
    }
    let failing = conditions.query.iter().find(|(name, want)| !query_holds(name, want, lookup));
    if let Some((name, want)) = failing {
        return Lost::Query(name, want);
    }
    let own = rank(wanted, lookup);
    Lost::Beaten(match (own, winner) {
        (Some(own), Some(winner)) => beaten(&own, winner, &wanted.path),
        _ => By::Name,
    })
}

/// `None`: the host or the path does not match.
fn rank(wanted: &Wanted, lookup: &Lookup<'_>) -> Option<Rank> {
    let Conditions { hosts, methods, headers, query, .. } = &*wanted.conditions;
    let own_head = methods.iter().any(|method| &**method == "HEAD");
    Some(Rank {
        host: host_levels(hosts, lookup.host).into_iter().min()?,
        kinds: path_match(&wanted.path, lookup.path)?.0,
        methods: Reverse(!methods.is_empty()),
        head: Reverse(lookup.method == parser::Method::Head && own_head),
        headers: Reverse(count(headers, true)),
        query: Reverse(count(query, false)),
    })
}

fn beaten<'w>(own: &Rank, winner: &Rank, path: &'w str) -> By<'w> {
    debug_assert!(winner <= own, "the router takes the most specific");
    let differs = own.kinds.iter().zip(&winner.kinds).position(|(a, b)| a != b);
    match differs {
        _ if own.host != winner.host => By::Host,
        Some(index) => By::Path { segment: index + 1, wants: segment(path, index) },
        None if own.methods != winner.methods => By::Methods,
        None if own.head != winner.head => By::Head,
        None if own.headers != winner.headers => By::Headers,
        None if own.query != winner.query => By::Query,
        None => By::Name,
    }
}

/// Where a path leaves a pattern; `None` when it does not.
fn path_miss<'w>(pattern: &'w str, path: &[u8]) -> Option<Lost<'w>> {
    if path_match(pattern, path).is_some() {
        return None;
    }
    let has: Vec<&[u8]> = path.strip_prefix(b"/").unwrap_or(path).split(|b| *b == b'/').collect();
    let mut index = 0;
    loop {
        let wants = segment(pattern, index);
        let part = has.get(index).copied();
        let is_same = match part {
            Some(part) if wants.starts_with('{') => !part.is_empty(),
            Some(part) => part == wants.as_bytes() && index < segments(pattern),
            None => false,
        };
        if !is_same || path == b"*" {
            let has = part.unwrap_or_default().to_vec();
            return Some(Lost::Path { segment: index + 1, has, wants });
        }
        index += 1;
    }
}

/// Panics unless every rule but the winner has a reason that is true; for `naive::check_bytes`.
pub(super) fn check(rules: &[Rule], lookup: &Lookup<'_>, winner: Option<usize>) {
    let wanted = |rule: &Rule| Wanted {
        path: rule.path.as_str().into(),
        conditions: Arc::new(Conditions::of(rule, &[])),
    };
    let all: Vec<Wanted> = rules.iter().map(wanted).collect();
    let routes = rules.iter().zip(&all).enumerate();
    let routes = routes.map(|(i, (rule, wanted))| (i, rule.name.as_str(), wanted));
    let winner = winner.map(|i| (i, &all[i]));
    let near = nearest(routes, lookup, "", winner, usize::MAX);
    assert_eq!(near.len() + usize::from(winner.is_some()), rules.len());
    for Near { route, lost } in near {
        let is_match = rank(&all[route], lookup).is_some()
            && takes(&rules[route].methods, lookup)
            && rules[route].headers.iter().all(|(name, want)| header_holds(name, want, lookup))
            && rules[route].query.iter().all(|(name, want)| query_holds(name, want, lookup));
        assert_eq!(matches!(lost, Lost::Beaten(_)), is_match, "{lost:?} {:?}", rules[route]);
        assert!(winner.is_some() || !is_match, "{:?}", rules[route]);
    }
}

fn segments(pattern: &str) -> usize {
    pattern.matches('/').count()
}

/// A segment of a pattern; empty behind its end.
fn segment(pattern: &str, index: usize) -> &str {
    pattern.split('/').nth(index + 1).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use parser::{Fields, Method};

    use super::*;

    fn wanted(path: &str, host: &str, methods: &[&str]) -> Wanted {
        let rule = Rule {
            hosts: host.split_whitespace().map(str::to_owned).collect(),
            methods: methods.iter().map(|method| (*method).to_owned()).collect(),
            ..Rule::default()
        };
        Wanted { path: path.into(), conditions: Arc::new(Conditions::of(&rule, &[])) }
    }

    fn lookup<'a>(path: &'a str, fields: &'a Fields) -> Lookup<'a> {
        Lookup {
            host: Some(b"api.h"),
            path: path.as_bytes(),
            query: b"",
            method: Method::Get,
            method_text: b"GET",
            fields,
            head: b"",
        }
    }

    #[test]
    fn each_reason_is_the_first_that_fails() {
        let fields = Fields::default();
        let path = |segment, has: &str, wants| Lost::Path { segment, has: has.into(), wants };
        let beaten = |segment, wants| Lost::Beaten(By::Path { segment, wants });
        let rows: &[(&str, &str, &[&str], Lost<'_>)] = &[
            ("/home", "", &[], path(1, "users", "home")),
            ("/users/{id}/x", "", &[], path(3, "", "x")),
            ("/users", "", &[], path(2, "me", "")),
            ("/", "", &[], path(1, "users", "")),
            ("/home", "other.h", &[], Lost::Host),
            ("/users/me", "", &["PUT"], Lost::Method),
            ("/users/{id}", "", &[], beaten(2, "{id}")),
            ("/users/*", "", &[], beaten(2, "*")),
            ("/*", "", &[], beaten(1, "*")),
            ("/users/me", "*.h", &[], Lost::Beaten(By::Host)),
        ];
        let winner = wanted("/users/me", "api.h", &["GET"]);
        let any_host = wanted("/users/me", "", &["GET"]);
        let lookup = lookup("/users/me", &fields);
        for (pattern, host, methods, expect) in rows {
            let own = wanted(pattern, host, methods);
            let winner = if host.is_empty() { &any_host } else { &winner };
            let best = rank(winner, &lookup);
            assert_eq!(judge(&own, &lookup, "", best.as_ref()), *expect, "{pattern}");
        }
        let own = wanted("/users/me", "", &[]);
        let best = rank(&any_host, &lookup);
        assert_eq!(judge(&own, &lookup, "", best.as_ref()), Lost::Beaten(By::Methods));
    }

    #[test]
    fn the_nearest_comes_first() {
        let fields = Fields::default();
        let all = [
            ("far", wanted("/x/y", "", &[])),
            ("near", wanted("/users/you", "", &[])),
            ("method", wanted("/users/me", "", &["PUT"])),
            ("wide", wanted("/*", "", &[])),
            ("host", wanted("/users/me", "other.h", &[])),
            ("won", wanted("/users/me", "", &[])),
        ];
        let routes = all.iter().map(|(name, wanted)| (*name, *name, wanted));
        let near =
            nearest(routes, &lookup("/users/me", &fields), "web", Some(("won", &all[5].1)), 4);
        let names: Vec<&str> = near.iter().map(|near| near.route).collect();
        assert_eq!(names, ["wide", "method", "host", "near"]);
    }
}
