//! Model → Checked: what names what, what contradicts what. Only this makes a `Checked`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::diagnostic::{At, Diagnostic, Diagnostics};
use super::files::Outside;
use super::keys::known;
use super::merge::Effective;
use super::model::{
    Action, Auth, AuthMethod, Chain, Endpoint, Listener, Model, Route, Setting, Site, Spot, Target,
    TargetName, Upstream,
};
use super::policies::{self, Access};
use super::{address, defaults, doubt, tls};
use crate::ids::{RouteId, UpstreamId};
use crate::router::{self, Router, Rule};
use crate::snapshot::{Choice, EndpointAddress, ListenAddress};

/// A model without mistakes.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) model: Model,
    /// Of each route that has `to`, in the order of routes.
    pub(super) targets: Vec<Box<[(UpstreamId, u32)]>>,
    pub(super) routers: Vec<Router>,
    /// Of each listener.
    pub(super) router_of: Vec<usize>,
    pub(super) access: Access,
}

/// `None` when anything was wrong, here or before. What could be read is checked all the same.
pub(super) fn check(
    mut model: Model,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Option<Checked> {
    if model.listeners.is_empty() {
        model.listeners.push(default_listener(model.listener_defaults.clone()));
    }
    let targets = targets(&mut model, outside, out);
    proxied(&model, out);
    addresses(&model, out);
    let (routers, router_of) = routers(&model, out);
    let urls: BTreeMap<String, UpstreamId> = model
        .upstreams
        .iter()
        .enumerate()
        .map(|(i, upstream)| (upstream.name.clone(), UpstreamId(i as u32)))
        .collect();
    let access = policies::check(&mut model, |url| urls.get(url).copied(), out);
    doubt::warn(&model, outside, out);
    let is_whole = !out.is_torn() && out.errors() == 0;
    if is_whole && model.routes.is_empty() {
        let warning = Diagnostic::new("W206", At::default(), "there are no routes");
        out.push(warning.note("every request is answered with 404"));
    }
    is_whole.then_some(Checked { model, targets, routers, router_of, access })
}

/// Of a file that names none.
fn default_listener(settings: Listener) -> Listener {
    let value = address::listen(defaults::LISTENER_ADDRESS).expect("the default is an address");
    let address = Some(Spot { value, at: At::default() });
    Listener { name: "default".to_owned(), at: At::default(), address, ..settings }
}

/// Finds the upstream of each target, and makes those that are only given as URLs.
fn targets(
    model: &mut Model,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Vec<Box<[(UpstreamId, u32)]>> {
    let named: BTreeMap<&str, usize> =
        model.upstreams.iter().enumerate().map(|(i, u)| (u.name.as_str(), i)).collect();
    let mut by_url: BTreeMap<&str, (Site, At)> = BTreeMap::new();
    for target in all_targets(&model.routes) {
        if let TargetName::Url { url, site } = &target.to {
            by_url.entry(url).or_insert_with(|| (site.clone(), target.at));
        }
    }
    let asked: Vec<(String, &Spot<address::Url>)> =
        forwards(&model.auths).map(|to| (to.value.origin(), to)).collect();
    for (url, to) in &asked {
        by_url.entry(url).or_insert_with(|| (to.value.site(), to.at));
    }
    let fresh = model.upstreams.len();
    let urls: BTreeMap<&str, usize> =
        by_url.keys().enumerate().map(|(i, url)| (*url, fresh + i)).collect();
    let mut used = BTreeSet::new();
    let mut is_misspelt = false;
    let mut found = Vec::new();
    for route in &model.routes {
        let Some(Action::To(list)) = &route.action else { continue };
        let mut resolved = Vec::new();
        for target in list {
            let index = match &target.to {
                TargetName::Named(name) => named.get(name.as_str()),
                TargetName::Url { url, .. } => urls.get(url.as_str()),
            };
            match index {
                Some(index) => {
                    used.insert(*index);
                    resolved.push((UpstreamId(*index as u32), target.weight));
                }
                None => {
                    is_misspelt = true;
                    unknown_upstream(target, &named, &model.upstreams, out);
                }
            }
        }
        found.push(resolved.into());
    }
    let is_sure =
        !out.is_torn() && !is_misspelt && model.routes.iter().all(|route| route.action.is_some());
    for (i, upstream) in model.upstreams.iter().enumerate() {
        if is_sure && !used.contains(&i) {
            let title = format!("no route uses the upstream `{}`", upstream.name);
            out.push(Diagnostic::new("W203", upstream.at, title));
        }
    }
    let anonymous: Vec<Upstream> = by_url
        .into_iter()
        .map(|(url, (site, at))| {
            let Site { address, text, is_https } = site;
            let endpoint = Endpoint { address, weight: defaults::WEIGHT, text, is_https, at };
            let (name, endpoints) = (url.to_owned(), vec![endpoint]);
            let defaults = model.upstream_defaults.clone();
            let terms = (is_https == Some(true)).then(|| {
                let tls = defaults.tls.clone().unwrap_or_default();
                tls::client_terms(&tls, &endpoints, at, outside, out)
            });
            Upstream { name, at, endpoints, terms: terms.flatten(), ..defaults }
        })
        .collect();
    model.upstreams.extend(anonymous);
    found
}

/// Where authorisation services are.
fn forwards(auths: &[Auth]) -> impl Iterator<Item = &Spot<address::Url>> {
    auths.iter().filter_map(|auth| match &auth.method {
        Some(AuthMethod::Forward(source)) => Some(&source.to),
        _ => None,
    })
}

fn all_targets(routes: &[Route]) -> impl Iterator<Item = &Target> {
    routes.iter().flat_map(|route| match &route.action {
        Some(Action::To(targets)) => targets.as_slice(),
        _ => &[],
    })
}

fn unknown_upstream(
    target: &Target,
    named: &BTreeMap<&str, usize>,
    upstreams: &[Upstream],
    out: &mut Diagnostics,
) {
    let TargetName::Named(name) = &target.to else { return };
    if out.is_torn() {
        return;
    }
    let error = Diagnostic::new("E120", target.at, format!("no upstream is called `{name}`"));
    let near = out.closest(name, named.keys().copied());
    let error = match near {
        Some(near) => {
            let place = out.beside(target.at, upstreams[named[near]].at);
            error.note(format!("did you mean `{near}` {place}?"))
        }
        None => error.note(format!("give it a table [upstream.{name}], or write a URL")),
    };
    out.push(error);
}

/// A PROXY header says who the client is: it counts from those alone who may say it.
fn proxied(model: &Model, out: &mut Diagnostics) {
    for listener in &model.listeners {
        let Some(Spot { value: true, at }) = &listener.proxy_protocol else { continue };
        let is_unix = |spot: &Spot<ListenAddress>| matches!(spot.value, ListenAddress::Unix(_));
        if listener.address.as_ref().is_some_and(is_unix) {
            let error = Diagnostic::new("E168", *at, "a unix socket's peers have no addresses");
            out.push(error.note("`server.trusted_proxies` can't name them; listen on TCP"));
        } else if model.server.trusted_proxies.is_empty() && !out.is_torn() {
            let error = Diagnostic::new("E168", *at, "nobody may send a PROXY header");
            out.push(error.note("name the proxy in `server.trusted_proxies`"));
        }
    }
}

fn addresses(model: &Model, out: &mut Diagnostics) {
    let mut ours: BTreeMap<u16, Vec<(IpAddr, At)>> = BTreeMap::new();
    let mut sockets: BTreeMap<&std::path::Path, At> = BTreeMap::new();
    for listener in &model.listeners {
        let Some(Spot { value, at }) = &listener.address else { continue };
        let taken = match value {
            ListenAddress::Unix(path) => sockets.insert(path.as_path(), *at),
            ListenAddress::Tcp(list) => {
                let clash = clash(list, &ours);
                for address in list {
                    ours.entry(address.port()).or_default().push((address.ip(), *at));
                }
                clash
            }
        };
        if let Some(first) = taken {
            let error = Diagnostic::new("E126", first.min(*at), "two listeners, one address");
            out.push(error.note("only one of them can accept on it").other(first.max(*at)));
        }
    }
    admin_address(model, &ours, out);
    for endpoint in model.upstreams.iter().flat_map(|upstream| &upstream.endpoints) {
        let taken = match &endpoint.address {
            EndpointAddress::Unix(path) => sockets.get(path.as_path()).copied(),
            EndpointAddress::Ip(address) => own(&ours, *address),
            EndpointAddress::Name { host, port } if &**host == "localhost" => {
                own(&ours, (Ipv4Addr::LOCALHOST, *port).into())
            }
            EndpointAddress::Name { .. } => None,
        };
        if let Some(listener) = taken {
            let error = Diagnostic::new("E127", endpoint.at, "this endpoint is Busbar itself");
            out.push(match listener == At::default() {
                true => error.note("without a listener it accepts on \":8080\""),
                false => {
                    let place = out.beside(endpoint.at, listener);
                    error.note(format!("requests would run in a circle; see the listener {place}"))
                }
            });
        }
    }
}

fn admin_address(model: &Model, ours: &BTreeMap<u16, Vec<(IpAddr, At)>>, out: &mut Diagnostics) {
    let Choice::Given(list) = &model.admin.address else { return };
    let at = model.admin.address_at.unwrap_or_default();
    if let Some(listener) = clash(list, ours) {
        let (first, second) = (listener.min(at), listener.max(at));
        let error = Diagnostic::new("E126", first, "a listener and `[admin]`, one address");
        out.push(error.note("only one of them can accept on it").other(second));
    }
}

/// Where one of these addresses is taken already.
fn clash(list: &[SocketAddr], ours: &BTreeMap<u16, Vec<(IpAddr, At)>>) -> Option<At> {
    list.iter().find_map(|address| {
        let others = ours.get(&address.port())?;
        others.iter().find(|(ip, _)| is_shared(*ip, address.ip())).map(|(_, at)| *at)
    })
}

/// Whether two sockets on one port can't both be had.
fn is_shared(a: IpAddr, b: IpAddr) -> bool {
    a == b || a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified())
}

/// The listener that a connection to `address` would arrive at, as far as a file can tell.
fn own(ours: &BTreeMap<u16, Vec<(IpAddr, At)>>, address: SocketAddr) -> Option<At> {
    let to = address.ip().to_canonical();
    let arrives = |ip: IpAddr| {
        let is_here = to.is_loopback() || to.is_unspecified();
        ip == to || is_shared(ip, to) && ip.is_unspecified() && is_here
    };
    ours.get(&address.port())?.iter().find(|(ip, _)| arrives(*ip)).map(|(_, at)| *at)
}

/// One router for all listeners with the same routes, and which one each has.
fn routers(model: &Model, out: &mut Diagnostics) -> (Vec<Router>, Vec<usize>) {
    let names: BTreeSet<&str> = model.listeners.iter().map(|l| l.name.as_str()).collect();
    for spot in all_listener_names(model) {
        if !names.contains(spot.value.as_str()) && !out.is_torn() {
            let title = format!("no listener is called `{}`", spot.value);
            let near = out.closest(&spot.value, names.iter().copied());
            let note = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("give it a table [listener.{}]", spot.value),
            };
            out.push(Diagnostic::new("E121", spot.at, title).note(note));
        }
    }
    let mut groups: BTreeMap<Vec<usize>, usize> = BTreeMap::new();
    let mut router_of = Vec::new();
    for listener in &model.listeners {
        let is_here = |route: &Route| is_served_on(route, &listener.name, model);
        let sure = model.routes.iter().enumerate().filter(|(_, route)| !route.is_unsure);
        let here: Vec<usize> = sure.filter(|(_, r)| is_here(r)).map(|(i, _)| i).collect();
        let is_idle = here.is_empty() && listener.redirect.is_none();
        if is_idle && !model.routes.is_empty() && out.errors() == 0 {
            let title = format!("no route can be reached by `{}`", listener.name);
            let warning = Diagnostic::new("W204", listener.at, title);
            out.push(warning.note("every route names other listeners"));
        }
        let fresh = groups.len();
        router_of.push(*groups.entry(here).or_insert(fresh));
    }
    let mut groups: Vec<(Vec<usize>, usize)> = groups.into_iter().collect();
    groups.sort_by_key(|(_, number)| *number);
    let mut seen = Seen::default();
    let routers = groups.iter().filter_map(|(here, _)| router(model, here, &mut seen, out));
    (routers.collect(), router_of)
}

/// As they stand in layers, each once.
fn all_listener_names(model: &Model) -> impl Iterator<Item = &Spot<String>> {
    let own = model.routes.iter().flat_map(|route| &route.layer.said).map(|said| &said.value);
    let heirs = model.chains.iter().enumerate().flat_map(|(i, chain)| {
        let here = chain.heirs.iter().filter(move |heir| heir.layer == i);
        here.map(|heir| &*heir.value)
    });
    own.chain(heirs).flat_map(|setting| match setting {
        Setting::Listeners(names) => names.as_slice(),
        _ => &[],
    })
}

/// Whether requests that arrive at a listener can be for a route.
pub(super) fn is_served_on(route: &Route, listener: &str, model: &Model) -> bool {
    match Effective::of(route, &model.chains).get(known::LISTENER) {
        Some(Setting::Listeners(names)) => names.iter().any(|spot| spot.value == listener),
        _ => true,
    }
}

/// Pairs of routes that were reported, since listeners share routes.
#[derive(Default)]
struct Seen(BTreeSet<(usize, usize)>);

fn router(model: &Model, here: &[usize], seen: &mut Seen, out: &mut Diagnostics) -> Option<Router> {
    let rule = |i: &usize| rule(&model.routes[*i], *i, &model.chains);
    let rules: Vec<Rule> = here.iter().map(rule).collect();
    let survey = router::survey(&rules);
    for (a, b) in survey.overlaps {
        if seen.0.insert((here[a], here[b])) {
            let head = names_head_alone(&rules[a], &rules[b]);
            overlap(&model.routes[here[a]], &model.routes[here[b]], head, out);
        }
    }
    let problems = match survey.router {
        Ok(router) => return Some(router),
        Err(problems) => problems,
    };
    for problem in problems {
        match problem {
            router::Problem::Conflict { first, second, host } => {
                if seen.0.insert((here[first], here[second])) {
                    let routes = (&model.routes[here[first]], &model.routes[here[second]]);
                    conflict(routes, &host, out);
                }
            }
            // The reader refuses bad patterns, and routes that have one are not here.
            router::Problem::BadPattern { rule, .. } => {
                let at = model.routes[here[rule]].path.at;
                out.push(Diagnostic::new("E130", at, "this is no path"));
            }
        }
    }
    None
}

/// What the router is made of.
pub(super) fn rule(route: &Route, index: usize, chains: &[Chain]) -> Rule {
    let effective = Effective::of(route, chains);
    let names = |key| match effective.get(key) {
        Some(Setting::Names(names)) => names.clone(),
        _ => Vec::new(),
    };
    let (headers, query) = match effective.get(known::WHEN) {
        Some(Setting::When(when)) => (when.headers.clone(), when.query.clone()),
        _ => Default::default(),
    };
    Rule {
        route: Some(RouteId(index as u32)),
        name: route.name.clone(),
        hosts: names(known::HOST),
        path: route.path.value.clone(),
        methods: names(known::METHODS),
        headers,
        query,
    }
}

fn conflict((first, second): (&Route, &Route), host: &str, out: &mut Diagnostics) {
    let note = match (first.path.value == second.path.value, host.is_empty()) {
        (false, _) => "names of parameters do not tell them apart; ".to_owned(),
        (true, true) => String::new(),
        (true, false) => format!("both for {host}; "),
    };
    let places = (first.path.at.min(second.path.at), first.path.at.max(second.path.at));
    let error = Diagnostic::new("E131", places.0, "two routes want the same requests");
    out.push(
        error
            .note(format!("{note}add `methods`, `host` or remove one"))
            .help(format!("routes `{}` and `{}`", first.name, second.name))
            .other(places.1),
    );
}

/// `head`: they meet only in HEAD, and this one names it.
fn overlap(first: &Route, second: &Route, head: Option<&str>, out: &mut Diagnostics) {
    let places = (first.path.at.min(second.path.at), first.path.at.max(second.path.at));
    let warning = Diagnostic::new("W202", places.0, "two routes can want the same request");
    let (wins, loses) = match first.name < second.name {
        true => (first, second),
        false => (second, first),
    };
    let note = match head {
        Some(name) => format!("`{name}` gets HEAD, since it names it: GET takes in HEAD"),
        None => format!("`{}` gets it, since its name sorts before `{}`", wins.name, loses.name),
    };
    out.push(warning.note(note).other(places.1));
}

/// Of two rules that meet only in HEAD, the one that names it.
fn names_head_alone<'r>(first: &'r Rule, second: &'r Rule) -> Option<&'r str> {
    let takes = |rule: &Rule, name: &str| rule.methods.iter().any(|method| method == name);
    if first.methods.iter().any(|method| takes(second, method)) {
        return None;
    }
    [(first, second), (second, first)]
        .into_iter()
        .find(|(names, other)| takes(names, "HEAD") && takes(other, "GET"))
        .map(|(names, _)| names.name.as_str())
}
