//! Names to ids, routes to routers, and the checks that need the whole.

use std::collections::BTreeMap;

use super::actions::ActionModel;
use super::diagnostic::{Diagnostic, Diagnostics, Place};
use super::routes::RouteModel;
use super::server::Listeners;
use super::tree::At;
use super::upstreams::{Named, anonymous};
use crate::action::{Action, To};
use crate::http::template::nearest;
use crate::ids::{RouteId, UpstreamId};
use crate::router::{self, Router, Rule};
use crate::snapshot::{
    EndpointAddress, ListenAddress, Listener, Route, Server, Snapshot, Upstream,
};

/// What was read, table by table.
pub struct Parts {
    pub server: Server,
    pub listeners: Listeners,
    pub upstreams: Vec<Named>,
    pub routes: Vec<RouteModel>,
    /// The file was TOML to its end.
    pub is_whole: bool,
}

/// The snapshot; only of use when `found` holds no error.
pub fn compile(parts: Parts, found: &mut Diagnostics) -> Option<Snapshot> {
    let Parts { server, listeners, mut upstreams, mut routes, is_whole } = parts;
    check_listeners(&listeners, found);
    let mut index: BTreeMap<String, usize> = BTreeMap::new();
    for (n, named) in upstreams.iter().enumerate() {
        index.insert(named.upstream.name.to_string(), n);
    }
    let mut actions = Vec::new();
    for route in &mut routes {
        let action = route.action.take();
        actions.push(action.and_then(|a| resolve(a, &mut upstreams, &mut index, is_whole, found)));
    }
    check_upstreams(&upstreams, &listeners, is_whole, found);
    let names: Vec<String> = listeners.list.iter().map(|(l, _)| l.name.to_string()).collect();
    let routers = routers(&mut routes, &names, found);
    if routes.is_empty() && is_whole {
        let message = "there is no route: every request gets 404".to_owned();
        let hint = "add [route.app] with to = \"http://127.0.0.1:3000\"".to_owned();
        found.push("W204", Place::default(), message, hint);
    }
    if found.errors() > 0 {
        return None;
    }
    let (routers, of_listener) = routers?;
    let compiled: Option<Vec<Route>> =
        routes.into_iter().zip(actions).map(|(m, a)| Some(route(m, a?, found))).collect();
    let with_router = |((mut l, _), router): ((Listener, Place), usize)| {
        l.router = router;
        l
    };
    Some(Snapshot {
        generation: 1,
        server,
        listeners: listeners.list.into_iter().zip(of_listener).map(with_router).collect(),
        upstreams: upstreams.into_iter().map(|n| n.upstream).collect::<Vec<Upstream>>().into(),
        routes: compiled?.into(),
        routers: routers.into(),
    })
}

fn route(m: RouteModel, action: Action, found: &Diagnostics) -> Route {
    let s = m.settings;
    Route {
        place: found.line_of(m.place).into(),
        name: m.name.into(),
        action,
        headers: m
            .headers
            .filter(|h| !h.request.is_empty() || !h.response.is_empty())
            .map(Box::new),
        timeout: s.timeout,
        deadline: s.deadline,
        body_timeout: s.body_timeout,
        body_limit: s.body_limit,
        body_rate_min: s.body_rate_min,
        tunnel_timeout: s.tunnel_timeout,
        upgrade: s.upgrade.into_iter().map(Into::into).collect(),
        encoded_slash_keep: s.encoded_slash_keep,
        slashes_keep: s.slashes_keep,
        slash_redirect: s.slash_redirect,
    }
}

/// Looks names of upstreams up; a URL makes an anonymous one, shared by equal URLs.
fn resolve(
    action: ActionModel,
    upstreams: &mut Vec<Named>,
    index: &mut BTreeMap<String, usize>,
    is_whole: bool,
    found: &mut Diagnostics,
) -> Option<Action> {
    let targets = match action {
        ActionModel::Respond(respond) => return Some(Action::Respond(Box::new(respond))),
        ActionModel::Redirect(redirect) => return Some(Action::Redirect(Box::new(redirect))),
        ActionModel::Echo => return Some(Action::Echo),
        ActionModel::To(targets) => targets,
    };
    let mut ids = Vec::new();
    let mut missing = false;
    for (name, weight) in targets {
        match target(&name, upstreams, index, is_whole, found) {
            Some(n) => {
                upstreams[n].used = true;
                if weight > 0 {
                    ids.push((UpstreamId(n as u32), weight));
                }
            }
            None => missing = true,
        }
    }
    let weight_sum = ids.iter().map(|t| t.1).sum();
    (!missing).then(|| Action::To(To { targets: ids.into(), weight_sum }))
}

fn target(
    name: &At<String>,
    upstreams: &mut Vec<Named>,
    index: &mut BTreeMap<String, usize>,
    is_whole: bool,
    found: &mut Diagnostics,
) -> Option<usize> {
    if let Some(&n) = index.get(&name.value) {
        return Some(n);
    }
    if name.value.contains("://") || name.value.starts_with("unix:") {
        let named = anonymous(&At { value: name.value.as_str(), place: name.place }, found)?;
        upstreams.push(named);
        index.insert(name.value.clone(), upstreams.len() - 1);
        return Some(upstreams.len() - 1);
    }
    if is_whole {
        let known = index.keys().map(String::as_str).filter(|n| !n.contains("://"));
        let near = nearest(&name.value, known);
        let hint = match near.and_then(|near| Some((index.get(&near)?, near))) {
            Some((&n, near)) => {
                let (line, _) = found.position(upstreams[n].place);
                format!("did you mean `{near}` (line {line})?")
            }
            None => format!("add [upstream.{}], or write a URL: \"http://host:port\"", name.value),
        };
        let message = format!("no upstream is called `{}`", name.value);
        found.push("E120", name.place, message, hint);
    }
    None
}

fn check_listeners(listeners: &Listeners, found: &mut Diagnostics) {
    let mut seen: BTreeMap<String, &Place> = BTreeMap::new();
    for (listener, place) in &listeners.list {
        let addresses: Vec<String> = match &listener.address {
            ListenAddress::Tcp(list) => list.iter().map(ToString::to_string).collect(),
            ListenAddress::Unix(path) => vec![path.display().to_string()],
        };
        for address in addresses {
            if let Some(first) = seen.insert(address.clone(), place) {
                found.list.push(Diagnostic {
                    code: "E123",
                    place: *place,
                    message: format!("two listeners want {address}"),
                    hint: "give one of them another address".to_owned(),
                    other: Some(*first),
                });
                break;
            }
        }
    }
}

/// An endpoint that is one of our listeners would be a loop; an unused upstream is doubtful.
fn check_upstreams(
    upstreams: &[Named],
    listeners: &Listeners,
    is_whole: bool,
    found: &mut Diagnostics,
) {
    let is_ours = |endpoint: &EndpointAddress| {
        listeners.list.iter().find(|(l, _)| match (endpoint, &l.address) {
            (EndpointAddress::Ip(ip), ListenAddress::Tcp(list)) => list.iter().any(|a| {
                let same_ip = a.ip() == ip.ip()
                    || (a.ip().is_unspecified()
                        && ip.ip().is_loopback()
                        && a.is_ipv4() == ip.is_ipv4());
                a.port() == ip.port() && same_ip
            }),
            (EndpointAddress::Name { host, port }, ListenAddress::Tcp(list)) => {
                &**host == "localhost"
                    && list.iter().any(|a| {
                        a.port() == *port && (a.ip().is_loopback() || a.ip().is_unspecified())
                    })
            }
            (EndpointAddress::Unix(a), ListenAddress::Unix(b)) => a == b,
            _ => false,
        })
    };
    for named in upstreams {
        for (endpoint, place) in named.upstream.endpoints.iter().zip(&named.endpoint_places) {
            if let Some((listener, _)) = is_ours(&endpoint.address) {
                let message = format!("{} is our own listener `{}`", endpoint.text, listener.name);
                found.push("E122", *place, message, "requests would go round for ever".to_owned());
            }
        }
        if !named.used && is_whole {
            let message = format!("no route uses upstream `{}`", named.upstream.name);
            found.push("W203", named.place, message, String::new());
        }
    }
}

/// The routers, and which one each listener has. One serves all unless routes name listeners.
fn routers(
    routes: &mut [RouteModel],
    listeners: &[String],
    found: &mut Diagnostics,
) -> Option<(Vec<Router>, Vec<usize>)> {
    for (n, route) in routes.iter_mut().enumerate() {
        route.rule.route = Some(RouteId(n as u32));
        for name in route.listeners.iter().flatten() {
            if !listeners.contains(&name.value) {
                let known = listeners.iter().map(String::as_str);
                let hint = match nearest(&name.value, known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("listeners are: {}", listeners.join(", ")),
                };
                let message = format!("no listener is called `{}`", name.value);
                found.push("E121", name.place, message, hint);
            }
        }
    }
    let is_split = routes.iter().any(|r| r.listeners.is_some());
    let groups: Vec<Option<&String>> =
        if is_split { listeners.iter().map(Some).collect() } else { vec![None] };
    let mut built = Vec::new();
    let mut reported: Vec<(usize, usize)> = Vec::new();
    for group in groups {
        let belongs = |r: &&RouteModel| match (&r.listeners, group) {
            (Some(names), Some(listener)) => names.iter().any(|n| n.value == *listener),
            _ => true,
        };
        let of_group: Vec<usize> =
            routes.iter().enumerate().filter(|(_, r)| belongs(r)).map(|(n, _)| n).collect();
        let rules: Vec<Rule> = of_group.iter().map(|&n| routes[n].rule.clone()).collect();
        for (a, b) in router::overlaps(&rules) {
            report(routes, (of_group[a], of_group[b]), "W202", &mut reported, found);
        }
        match router::build(&rules) {
            Ok(router) => built.push(router),
            Err(problems) => {
                for problem in problems {
                    if let router::Problem::Conflict { first, second, .. } = problem {
                        let pair = (of_group[first], of_group[second]);
                        report(routes, pair, "E131", &mut reported, found);
                    }
                }
            }
        }
    }
    let of_listener =
        if is_split { (0..listeners.len()).collect() } else { vec![0; listeners.len()] };
    let expected = if is_split { listeners.len() } else { 1 };
    (built.len() == expected).then_some((built, of_listener))
}

fn report(
    routes: &[RouteModel],
    (a, b): (usize, usize),
    code: &'static str,
    reported: &mut Vec<(usize, usize)>,
    found: &mut Diagnostics,
) {
    if reported.contains(&(a, b)) {
        return;
    }
    reported.push((a, b));
    let (first, second) = (&routes[a], &routes[b]);
    let (message, hint) = match code {
        "E131" => (
            "two routes want the same requests".to_owned(),
            "names of parameters do not tell them apart; add `methods`, `host` or remove one",
        ),
        _ => (
            format!("conditions of routes `{}` and `{}` overlap", first.name, second.name),
            "where both hold, the route whose name sorts first wins",
        ),
    };
    found.list.push(Diagnostic {
        code,
        place: second.path_place,
        message,
        hint: hint.to_owned(),
        other: Some(first.path_place),
    });
}
