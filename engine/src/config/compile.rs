//! Checked → Snapshot: defaults filled in, names become ids.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parser::Limits;

use super::check::{Checked, rule};
use super::diagnostic::{At, Diagnostics};
use super::keys::known;
use super::merge::{Effective, names_of};
use super::model::{self, Chain, Model, Setting, Spot};
use super::{defaults, marks};
use crate::action::{Action, Redirect, Respond, To};
use crate::http::edit::{Edit, EditName, Edits, HeaderEdits};
use crate::http::rewrite::Rewrite;
use crate::http::template::Template;
use crate::ids::UpstreamId;
use crate::policy::Chain as Policies;
use crate::router::check_pattern;
use crate::router::explain::{Conditions, Wanted};
use crate::snapshot::{
    Admin, Endpoint, EndpointAddress, HostMode, Listener, Route, Server, Snapshot, Upstream,
};

/// The frozen form. Routes, listeners and upstreams have the order of their names, upstreams
/// without one follow. `sources` tells where a route stands.
pub(super) fn compile(checked: Checked, sources: &Diagnostics) -> Snapshot {
    let Checked { model, targets, routers, router_of, mut access } = checked;
    let Model { server, admin, log, listeners, upstreams, chains, routes, .. } = model;
    let mut targets = targets.into_iter();
    let mut shared = Shared::default();
    let plain: Arc<Policies> = Arc::default();
    let route = |mut route: model::Route| {
        let action = route.action.take().expect("a checked route has an action");
        let action = self::action(action, || targets.next().expect("resolved for each `to`"));
        let upstream = match &action {
            Action::To(To { targets, .. }) if targets.len() == 1 => Some(targets[0].0),
            _ => None,
        };
        let policies = access.chain(&route, upstream, &chains);
        let policies = if policies.does_nothing() { plain.clone() } else { Arc::new(policies) };
        self::route(&route, action, policies, &chains, &mut shared, sources)
    };
    let routes: Box<[Route]> = routes.into_iter().map(route).collect();
    let listeners = listeners.into_iter().zip(router_of).map(|(listener, router)| {
        let guards = access.guards(&listener);
        self::listener(listener, guards, router)
    });
    let listeners: Box<[Listener]> = listeners.collect();
    Snapshot {
        generation: 1,
        server: self::server(server),
        admin: Admin { socket: admin.socket, address: admin.address, token: admin.token },
        log,
        listeners,
        upstreams: upstreams.into_iter().map(upstream).collect(),
        routes,
        consumers: access.consumers.clone(),
        auths: access.auths.into(),
        limits: None,
        permits: access.cells.all.into(),
        routers: routers.into(),
        keys: Default::default(),
        origin_tables: marks::tables(&chains, sources),
    }
}

fn action(action: model::Action, targets: impl FnOnce() -> Box<[(UpstreamId, u32)]>) -> Action {
    match action {
        model::Action::To(_) => to(targets()),
        model::Action::Respond(respond) => Action::Respond(Box::new(self::respond(respond))),
        model::Action::Redirect { status, to } => {
            Action::Redirect(Box::new(Redirect { status, to }))
        }
        model::Action::Echo => Action::Echo,
    }
}

fn route(
    route: &model::Route,
    action: Action,
    policies: Arc<Policies>,
    chains: &[Chain],
    shared: &mut Shared,
    sources: &Diagnostics,
) -> Route {
    let effective = Effective::of(route, chains);
    let time = |key, default| match effective.get(key) {
        Some(Setting::Time(limit)) => limit.option(),
        _ => default,
    };
    let bytes = |key, default| match effective.get(key) {
        Some(Setting::Bytes(limit)) => limit.option(),
        _ => Some(default),
    };
    let is = |key, word: &str| matches!(effective.get(key), Some(Setting::Word(w)) if *w == word);
    Route {
        headers: shared.headers(route, &effective, sources),
        rewrite: shared.rewrite(route, &effective, sources),
        timeout: time(known::TIMEOUT, Some(defaults::TIMEOUT)),
        deadline: time(known::DEADLINE, None),
        body_timeout: time(known::BODY_TIMEOUT, Some(defaults::BODY_TIMEOUT)),
        body_limit: bytes(known::BODY_LIMIT, defaults::BODY_LIMIT),
        body_rate_min: bytes(known::BODY_RATE_MIN, defaults::BODY_RATE_MIN),
        tunnel_timeout: time(known::TUNNEL_TIMEOUT, Some(defaults::TUNNEL_TIMEOUT)),
        upgrade: match effective.get(known::UPGRADE) {
            Some(Setting::Names(names)) => names.iter().map(|name| name.as_str().into()).collect(),
            _ => Box::new([defaults::UPGRADE.into()]),
        },
        encoded_slash_keep: is(known::ENCODED_SLASH, "keep"),
        slashes_keep: is(known::SLASHES, "keep"),
        slash_redirect: is(known::SLASH, "redirect"),
        policies,
        is_open_on_purpose: is(known::AUTH, "none"),
        name: route.name.as_str().into(),
        place: sources.place(route.at).into(),
        wanted: shared.wanted(route, &effective, chains),
        action,
        chain: route.chain as u32,
        origins: marks::of_route(route, sources),
    }
}

/// What routes of one group have in common. Templates that name params are the same for routes
/// that have these params in the same places of their paths.
#[derive(Default)]
struct Shared {
    headers: BTreeMap<(usize, Vec<u8>), Option<Arc<HeaderEdits>>>,
    rewrites: BTreeMap<(usize, Vec<u8>), Option<Arc<Rewrite>>>,
    conditions: BTreeSet<Arc<Conditions>>,
}

impl Shared {
    fn wanted(
        &mut self,
        route: &model::Route,
        effective: &Effective<'_>,
        chains: &[Chain],
    ) -> Wanted {
        let listeners = match effective.get(known::LISTENER) {
            Some(Setting::Listeners(names)) => names.iter().map(|s| s.value.clone()).collect(),
            _ => Vec::new(),
        };
        let rule = rule(route, 0, chains);
        let conditions = Conditions::of(&rule, &listeners);
        let conditions = match self.conditions.get(&conditions) {
            Some(known) => known.clone(),
            None => {
                let new = Arc::new(conditions);
                self.conditions.insert(new.clone());
                new
            }
        };
        Wanted { path: rule.path.into(), conditions }
    }

    fn headers(
        &mut self,
        route: &model::Route,
        effective: &Effective<'_>,
        sources: &Diagnostics,
    ) -> Option<Arc<HeaderEdits>> {
        let (setting, is_own) = effective.find(known::HEADERS)?;
        let Setting::Headers(headers) = setting else { return None };
        let params = Params::of(route, setting);
        match is_own {
            true => header_edits(headers, &params, sources),
            false => {
                let entry = self.headers.entry((route.chain, params.places(setting)));
                entry.or_insert_with(|| header_edits(headers, &params, sources)).clone()
            }
        }
    }

    fn rewrite(
        &mut self,
        route: &model::Route,
        effective: &Effective<'_>,
        sources: &Diagnostics,
    ) -> Option<Arc<Rewrite>> {
        let (setting, is_own) = effective.find(known::REWRITE)?;
        let Setting::Rewrite(rewrite) = setting else { return None };
        let params = Params::of(route, setting);
        match is_own {
            true => self::rewrite(rewrite, &params, sources),
            false => {
                let entry = self.rewrites.entry((route.chain, params.places(setting)));
                entry.or_insert_with(|| self::rewrite(rewrite, &params, sources)).clone()
            }
        }
    }
}

/// The names of a path's params, when a template asks for some.
struct Params<'m>(Vec<&'m str>);

impl<'m> Params<'m> {
    fn of(route: &'m model::Route, setting: &Setting) -> Params<'m> {
        match names_of(setting).next() {
            None => Params(Vec::new()), // Fast path.
            Some(_) => Params(check_pattern(&route.path.value).unwrap_or_default()),
        }
    }

    /// Where the params stand that the templates ask for, in their order.
    fn places(&self, setting: &Setting) -> Vec<u8> {
        let place = |name: &str| self.0.iter().position(|known| *known == name);
        names_of(setting).map(|(name, _)| place(name).map_or(u8::MAX, |i| i as u8)).collect()
    }

    fn resolve(&self, template: &Template) -> Template {
        template.resolved(&self.0)
    }
}

fn to(targets: Box<[(UpstreamId, u32)]>) -> Action {
    let weight_sum = targets.iter().map(|(_, weight)| weight).sum();
    Action::To(To { targets, weight_sum })
}

fn respond(respond: model::Respond) -> Respond {
    let headers = respond.headers.into_iter().map(|field| (field.name.into(), field.value));
    Respond {
        status: respond.status,
        content_type: respond.content_type.into(),
        body: respond.body,
        place: respond.place,
        headers: headers.collect(),
    }
}

fn header_edits(
    headers: &model::Headers,
    params: &Params<'_>,
    sources: &Diagnostics,
) -> Option<Arc<HeaderEdits>> {
    let edit = |field: &model::Field| Edit {
        name: EditName::new(&field.name),
        value: params.resolve(&field.value),
    };
    let one = |edits: &model::Edits| Edits {
        set: edits.set.iter().map(edit).collect(),
        add: edits.add.iter().map(edit).collect(),
        remove: edits.remove.iter().map(|name| EditName::new(name)).collect(),
    };
    let (request, response) = (&headers.request, &headers.response);
    let values = request.set.iter().chain(&request.add).map(|field| field.at);
    let hidden = hidden(values, sources);
    let edits = HeaderEdits { request: one(request), response: one(response), hidden };
    let is_empty = edits.request.is_empty() && edits.response.is_empty();
    (!is_empty).then(|| Arc::new(edits))
}

/// What came from the environment in some texts.
fn hidden(texts: impl Iterator<Item = At>, sources: &Diagnostics) -> Box<[Box<str>]> {
    texts.flat_map(|at| sources.values_at(at)).map(Box::from).collect()
}

fn rewrite(
    rewrite: &model::Rewrite,
    params: &Params<'_>,
    sources: &Diagnostics,
) -> Option<Arc<Rewrite>> {
    let part = |spot: &Option<Spot<Template>>| spot.as_ref().map(|s| params.resolve(&s.value));
    let model::Rewrite { path, query, host } = rewrite;
    let hidden = hidden(path.iter().chain(query).map(|spot| spot.at), sources);
    let rewrite = Rewrite { path: part(path), query: part(query), host: part(host), hidden };
    let is_empty = rewrite.path.is_none() && rewrite.query.is_none() && rewrite.host.is_none();
    (!is_empty).then(|| Arc::new(rewrite))
}

fn server(server: model::Server) -> Server {
    Server {
        workers: server.workers.map(|count| count as u16),
        pin: server.pin,
        driver: server.driver,
        drain_timeout: server.drain_timeout.unwrap_or(defaults::DRAIN_TIMEOUT),
        drain_delay: server.drain_delay.unwrap_or(defaults::DRAIN_DELAY),
        tunnel_drain: server.tunnel_drain.unwrap_or(defaults::TUNNEL_DRAIN),
        trusted_proxies: server.trusted_proxies.into(),
        memory_max: server.memory_max,
        via: server.via,
        limit_keys: server.limit_keys.unwrap_or(defaults::LIMIT_KEYS),
    }
}

fn listener(listener: model::Listener, guards: Policies, router: usize) -> Listener {
    let head_max = listener.head_max.unwrap_or(defaults::HEAD_MAX);
    let target_max = listener.target_max.map_or(defaults::TARGET_MAX, |spot| spot.value);
    let limits = Limits {
        head_bytes_max: head_max as u32,
        fields_max: listener.headers_max.unwrap_or(defaults::HEADERS_MAX) as u16,
        target_bytes_max: target_max.min(head_max) as u32,
        ..Limits::default()
    };
    Listener {
        name: listener.name.into(),
        address: listener.address.expect("a checked listener has an address").value,
        limits,
        head_timeout: listener.head_timeout.unwrap_or(defaults::HEAD_TIMEOUT),
        idle_timeout: listener.idle_timeout.unwrap_or(defaults::IDLE_TIMEOUT),
        connections_max: listener.connections_max.map(|count| count as u32),
        connections_per_client: listener
            .connections_per_client
            .and_then(model::Limit::option)
            .map(|count| count as u32),
        backlog: listener.backlog.unwrap_or(defaults::BACKLOG) as u32,
        defer_accept: listener.defer_accept.and_then(model::Limit::option),
        guards,
        router,
        // One that speaks TLS is where others send to, whatever all of them say.
        https_redirect: listener.redirect.filter(|_| listener.terms.is_none()).map(|to| to.value),
        tls: listener.terms,
        proxy_protocol: listener.proxy_protocol.is_some_and(|spot| spot.value),
    }
}

fn upstream(upstream: model::Upstream) -> Upstream {
    let time = |given: Option<Duration>, default| given.unwrap_or(default);
    // Services behind TLS are told apart by their names, which unix sockets don't have.
    let is_unix = |e: &model::Endpoint| matches!(e.address, EndpointAddress::Unix(_));
    let host = match upstream.terms.is_some() && !upstream.endpoints.iter().any(is_unix) {
        true => HostMode::Endpoint,
        false => HostMode::Keep,
    };
    let endpoints = upstream.endpoints.into_iter().map(|endpoint| Endpoint {
        address: endpoint.address,
        weight: endpoint.weight,
        text: endpoint.text.into(),
    });
    let limits = Limits {
        head_bytes_max: upstream.head_max.unwrap_or(defaults::UPSTREAM_HEAD_MAX) as u32,
        fields_max: defaults::UPSTREAM_FIELDS_MAX,
        ..Limits::default()
    };
    Upstream {
        name: upstream.name.into(),
        endpoints: endpoints.collect(),
        balance: upstream.balance.unwrap_or_default(),
        host: upstream.host.map_or(host, |spot| spot.value),
        pool_idle: upstream.pool_idle.unwrap_or(defaults::POOL_IDLE) as u16,
        pool_idle_timeout: time(upstream.pool_idle_timeout, defaults::POOL_IDLE_TIMEOUT),
        pool_lifetime: time(upstream.pool_lifetime, defaults::POOL_LIFETIME),
        connect_timeout: time(upstream.connect_timeout, defaults::CONNECT_TIMEOUT),
        connections_max: upstream
            .connections_max
            .and_then(model::Limit::option)
            .map(|count| count as u32),
        limits,
        tls: upstream.terms,
    }
}
