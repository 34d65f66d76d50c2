//! Checked → Snapshot: defaults filled in, names become ids.

use std::time::Duration;

use parser::Limits;

use super::check::Checked;
use super::defaults;
use super::diagnostic::Diagnostics;
use super::model;
use crate::action::{Action, Redirect, Respond, To};
use crate::http::edit::{Edit, EditName, Edits, HeaderEdits};
use crate::http::template::Template;
use crate::ids::UpstreamId;
use crate::snapshot::{Endpoint, Listener, Route, Server, Snapshot, Upstream};

/// The frozen form. Routes, listeners and upstreams have the order of their names, upstreams
/// without one follow. `sources` tells where a route stands.
pub(super) fn compile(checked: Checked, sources: &Diagnostics) -> Snapshot {
    let Checked { model, targets, routers, router_of } = checked;
    let mut targets = targets.into_iter();
    let listeners = model.listeners.into_iter().zip(router_of);
    let route = |route: model::Route| {
        let place = sources.place(route.at);
        let action = route.action.expect("a checked route has an action");
        let action = match action {
            model::Action::To(_) => to(targets.next().expect("resolved for each `to`")),
            model::Action::Respond(respond) => Action::Respond(Box::new(self::respond(respond))),
            model::Action::Redirect { status, to } => {
                Action::Redirect(Box::new(Redirect { status, to }))
            }
            model::Action::Echo => Action::Echo,
        };
        let edits = (route.request_edits, route.response_edits);
        Route {
            name: route.name.into(),
            place: place.into(),
            action,
            headers: header_edits(edits.0, edits.1),
            timeout: or_limit(route.timeout, Some(defaults::TIMEOUT)),
            deadline: or_limit(route.deadline, None),
            body_timeout: or_limit(route.body_timeout, Some(defaults::BODY_TIMEOUT)),
            body_limit: or_limit(route.body_limit, Some(defaults::BODY_LIMIT)),
            body_rate_min: or_limit(route.body_rate_min, Some(defaults::BODY_RATE_MIN)),
            tunnel_timeout: or_limit(route.tunnel_timeout, Some(defaults::TUNNEL_TIMEOUT)),
            upgrade: match route.upgrade {
                Some(names) => names.into_iter().map(Into::into).collect(),
                None => Box::new([defaults::UPGRADE.into()]),
            },
            encoded_slash_keep: route.encoded_slash_keep,
            slashes_keep: route.slashes_keep,
            slash_redirect: route.slash_redirect,
        }
    };
    Snapshot {
        generation: 1,
        server: server(model.server),
        listeners: listeners.map(|(listener, router)| self::listener(listener, router)).collect(),
        upstreams: model.upstreams.into_iter().map(upstream).collect(),
        routes: model.routes.into_iter().map(route).collect(),
        routers: routers.into(),
        keys: Default::default(),
    }
}

fn or_limit<T>(limit: Option<model::Limit<T>>, default: Option<T>) -> Option<T> {
    limit.map_or(default, model::Limit::option)
}

fn to(targets: Box<[(UpstreamId, u32)]>) -> Action {
    let weight_sum = targets.iter().map(|(_, weight)| weight).sum();
    Action::To(To { targets, weight_sum })
}

fn respond(respond: model::Respond) -> Respond {
    let headers = respond.headers.into_iter().map(|(name, value)| (name.into(), value));
    Respond {
        status: respond.status,
        content_type: respond.content_type.into(),
        body: respond.body,
        place: respond.place,
        headers: headers.collect(),
    }
}

fn header_edits(request: model::Edits, response: model::Edits) -> Option<Box<HeaderEdits>> {
    let edit = |(name, value): (String, Template)| Edit { name: EditName::new(&name), value };
    let one = |edits: model::Edits| Edits {
        set: edits.set.into_iter().map(edit).collect(),
        add: edits.add.into_iter().map(edit).collect(),
        remove: edits.remove.iter().map(|name| EditName::new(name)).collect(),
    };
    let edits = HeaderEdits { request: one(request), response: one(response) };
    let is_empty = edits.request.is_empty() && edits.response.is_empty();
    (!is_empty).then(|| Box::new(edits))
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
    }
}

fn listener(listener: model::Listener, router: usize) -> Listener {
    let head_max = listener.head_max.unwrap_or(defaults::HEAD_MAX);
    let limits = Limits {
        head_bytes_max: head_max as u32,
        fields_max: listener.headers_max.unwrap_or(defaults::HEADERS_MAX) as u16,
        target_bytes_max: listener.target_max.unwrap_or(defaults::TARGET_MAX).min(head_max) as u32,
        ..Limits::default()
    };
    Listener {
        name: listener.name.into(),
        address: listener.address.expect("a checked listener has an address").value,
        limits,
        head_timeout: listener.head_timeout.unwrap_or(defaults::HEAD_TIMEOUT),
        idle_timeout: listener.idle_timeout.unwrap_or(defaults::IDLE_TIMEOUT),
        connections_max: listener.connections_max.map(|count| count as u32),
        connections_per_client: or_limit(listener.connections_per_client, None)
            .map(|count| count as u32),
        backlog: listener.backlog.unwrap_or(defaults::BACKLOG) as u32,
        router,
    }
}

fn upstream(upstream: model::Upstream) -> Upstream {
    let time = |given: Option<Duration>, default| given.unwrap_or(default);
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
        balance: upstream.balance,
        host: upstream.host,
        pool_idle: upstream.pool_idle.unwrap_or(defaults::POOL_IDLE) as u16,
        pool_idle_timeout: time(upstream.pool_idle_timeout, defaults::POOL_IDLE_TIMEOUT),
        pool_lifetime: time(upstream.pool_lifetime, defaults::POOL_LIFETIME),
        connect_timeout: time(upstream.connect_timeout, defaults::CONNECT_TIMEOUT),
        connections_max: or_limit(upstream.connections_max, None).map(|count| count as u32),
        limits,
    }
}
