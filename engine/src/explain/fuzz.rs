//! The property that fuzzing and tests share.

use std::collections::BTreeMap;

use super::{Outcome, Query, explain};
use crate::auth::{Now, Wall};
use crate::config::{Files, Input, load_from};
use crate::h1::server::Request;
use crate::router::{Found, Params};
use crate::snapshot::Snapshot;
use crate::time::Mono;
use crate::way::{Relaxed, lookup};

/// As good a time as any.
const BEGIN: Now = Now { mono: Mono(0), wall: Wall(0) };
/// Requests that one input asks about at most.
const ASKS_MAX: usize = 16;

/// Whatever the text: a snapshot explains every request without panic, in lines that a terminal
/// can show, and names the route that `Router::find` finds. A line `#ask METHOD TARGET` asks, each
/// `#field Name: value` goes with all asks.
pub fn property(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let lines = |mark: &str| {
        let found = text.lines().filter_map(|line| line.strip_prefix(mark));
        found.take(ASKS_MAX).map(str::to_owned).collect::<Vec<String>>()
    };
    let (asks, headers) = (lines("#ask "), lines("#field "));
    let name = "fuzz.toml".to_owned();
    let input = Input { text, name, base_dir: None, sets: Vec::new(), env: &|_| None };
    let Some(snapshot) = load_from(input, &Files::Memory(BTreeMap::new())).snapshot else { return };
    for ask in asks {
        let (method, target) = ask.split_once(' ').unwrap_or((&ask, "/"));
        let (method, target) = (method.to_owned(), target.to_owned());
        let from = headers.first().and_then(|line| line.split_once(' ')?.1.parse().ok());
        let headers = headers.clone();
        check(&snapshot, &Query { method, target, headers, from, listener: None });
    }
}

fn check(snapshot: &Snapshot, query: &Query) {
    let Ok(explanation) = explain(snapshot, query, BEGIN) else { return };
    let (text, json) = (explanation.text(), explanation.json());
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    assert_eq!(json["text"].as_str(), Some(&*text));
    assert_eq!(Query::from_json(&query.to_json().to_string()).as_ref(), Ok(query));
    let found = found(snapshot, query);
    match &explanation.outcome {
        Outcome::Refused(_) => assert_eq!(found, None),
        Outcome::Route(chosen) => {
            let line = format!("route {}", chosen.name);
            assert!(text.lines().any(|l| l.starts_with(&line)), "{text}");
            // With `//` kept another path was looked for.
            if !Relaxed::of(snapshot).slashes {
                assert_eq!(found, Some(Some(chosen.name.to_string())), "{text}");
            }
        }
        // Before there is a route.
        Outcome::Https { .. } => {}
        Outcome::Slash { .. } => assert_eq!(found, Some(None), "{text}"),
        Outcome::Own | Outcome::Problem { .. } => {}
    }
    let is_lost = |name: &String| explanation.near.iter().any(|near| near.route == *name);
    if let Some(Some(name)) = found.filter(|_| matches!(explanation.outcome, Outcome::Route(_))) {
        assert!(Relaxed::of(snapshot).slashes || !is_lost(&name), "the winner did not lose");
    }
}

/// The route by the router alone: `None` for a head that is refused.
fn found(snapshot: &Snapshot, query: &Query) -> Option<Option<String>> {
    let arrival = query.arrive(snapshot).ok()?;
    let limits = &snapshot.listener(arrival.listener).limits;
    let mut request = Request::new(usize::from(limits.fields_max));
    let keep = Relaxed::of(snapshot).encoded_slash;
    if !matches!(request.begin(&arrival.head, limits, keep), Ok(true)) {
        return None;
    }
    let path = request.path(&arrival.head);
    let lookup = lookup(&request, &arrival.head, path);
    let router = snapshot.router_of(arrival.listener);
    Some(match router.find(&lookup, &mut Params::default()) {
        Found::Route(id) => Some(snapshot.route(id).name.to_string()),
        _ => None,
    })
}
