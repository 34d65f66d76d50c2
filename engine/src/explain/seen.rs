//! A request that was read and routed, and what follows from it.

use std::net::IpAddr;

use parser::Limits;

use super::chain::{Chains, End};
use super::{Act, Chosen, Endpoint, Near, Outcome, Target, lossy, settings, text};
use crate::action::{Action, Redirect, Respond, To};
use crate::auth::Now;
use crate::h1::client::Marks;
use crate::h1::server::Request;
use crate::http::forwarded::{AddressText, is_trusted};
use crate::http::problem::Problem;
use crate::http::template::{Facts, Place};
use crate::ids::{RouteId, UpstreamId};
use crate::policy::Admitted;
use crate::router::explain::nearest;
use crate::router::{Params, check_pattern};
use crate::snapshot::{Route, Snapshot, Upstream};
use crate::way::{self, Routed, Sending};

/// Routes that are shown with the reason why they lost.
const NEAR_MAX: usize = 8;
/// Bytes of a body of our own that are shown.
const BODY_SHOWN_MAX: usize = 200;
/// Stands where a worker puts 128 random bits.
const REQUEST_ID: &[u8] = b"(new for each request)";

/// A request that was read and routed.
pub(super) struct Seen<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) listener: &'a crate::snapshot::Listener,
    pub(super) now: Now,
    pub(super) bytes: &'a [u8],
    pub(super) limits: &'a Limits,
    pub(super) request: &'a Request,
    pub(super) params: &'a Params,
    pub(super) peer: IpAddr,
}

impl Seen<'_> {
    pub(super) fn outcome(&self, routed: Routed<'_>, client: IpAddr) -> Outcome {
        let name = |id: RouteId| self.snapshot.route(id).name.to_string();
        let problem = |problem, allow: &str, route| Outcome::Problem {
            problem,
            allow: allow.to_owned(),
            route,
        };
        match routed {
            Routed::Route(id, route) => Outcome::Route(Box::new(self.chosen(id, route, client))),
            Routed::Own => Outcome::Own,
            Routed::EncodedSlash(id) => problem(Problem::EncodedSlash, "", Some(name(id))),
            Routed::Refused(which, allow) => problem(which, allow, None),
            Routed::Slash(id) => {
                let query = self.request.query(self.bytes).map(lossy);
                let query = query.map(|query| format!("?{query}")).unwrap_or_default();
                let location = lossy(self.request.toggled()) + &query;
                let place = self.snapshot.route(id).place.to_string();
                Outcome::Slash { route: name(id), place, location }
            }
        }
    }

    /// The routes that were nearest, and how many are not shown.
    pub(super) fn near(&self, listener: &str, winner: Option<RouteId>) -> (Vec<Near>, usize) {
        let routes = self.snapshot.routes.iter().enumerate();
        let routes = routes.map(|(i, route)| (RouteId(i as u32), &*route.name, &route.wanted));
        let path = self.request.path(self.bytes);
        let lookup = way::lookup(self.request, self.bytes, path);
        let won = winner.map(|id| (id, &self.snapshot.route(id).wanted));
        let near = nearest(routes, &lookup, listener, won, NEAR_MAX);
        let others = self.snapshot.routes.len() - usize::from(winner.is_some());
        let farther = others - near.len();
        let shown = near.into_iter().map(|near| {
            let route = self.snapshot.route(near.route);
            let why = text::why(&near.lost, route);
            Near { route: route.name.to_string(), place: route.place.to_string(), why }
        });
        (shown.collect(), farther)
    }

    fn chosen(&self, id: RouteId, route: &Route, client: IpAddr) -> Chosen {
        let address = client;
        let client = AddressText::new(Some(address));
        let is_trusted = is_trusted(self.peer, &self.snapshot.server.trusted_proxies);
        let given = way::given_request_id(self.request, self.bytes, is_trusted);
        let path = self.request.path(self.bytes);
        let facts = Facts {
            client: client.as_bytes(),
            host: self.request.host(self.bytes).unwrap_or_default(),
            path,
            query: self.request.query(self.bytes).unwrap_or_default(),
            method: self.request.method_text(self.bytes),
            consumer: &[],
            request_id: given.unwrap_or(REQUEST_ID),
            route: route.name.as_bytes(),
            params: self.params.as_slice(),
            fields: &self.request.head.fields,
            head: self.bytes,
        };
        let mut admitted = Admitted::default();
        let chains = Chains {
            snapshot: self.snapshot,
            listener: self.listener,
            id,
            client: address,
            method: self.request.head.method,
            now: self.now,
        };
        let (chain, end) = chains.run(&facts, &mut admitted);
        let consumer = lossy(admitted.consumer(&self.snapshot.consumers));
        let query = if admitted.has_query { &admitted.query } else { facts.query };
        let facts = Facts { consumer: consumer.as_bytes(), query, ..facts };
        let action = match end {
            End::Passed => self.action(route, &facts, is_trusted, &admitted),
            End::Refused(refusal) => Act::Problem(refusal.problem),
            End::Replied(status, _) => Act::Policy(status),
        };
        let names = check_pattern(&route.wanted.path).unwrap_or_default();
        let captured = self.params.as_slice().iter().map(|span| lossy(span.of(path)));
        Chosen {
            name: route.name.to_string(),
            place: route.place.to_string(),
            pattern: route.wanted.path.to_string(),
            conditions: text::conditions(&route.wanted.conditions),
            params: names.into_iter().map(str::to_owned).zip(captured).collect(),
            settings: settings::of(self.snapshot, id),
            action,
            chain,
            consumer: Some(consumer.clone()).filter(|name| !name.is_empty()),
            answer_edits: answer_edits(route, &facts),
        }
    }

    fn action(
        &self,
        route: &Route,
        facts: &Facts<'_>,
        is_trusted: bool,
        admitted: &Admitted,
    ) -> Act {
        if way::is_too_long(route, self.request) {
            return Act::Problem(Problem::BodyTooLarge);
        }
        match &route.action {
            Action::To(to) => self.to(route, to, facts, is_trusted, admitted),
            Action::Respond(respond) => self::respond(respond, facts),
            Action::Redirect(redirect) => self::redirect(redirect, facts),
            Action::Echo => Act::Echo,
        }
    }

    fn to(
        &self,
        route: &Route,
        to: &To,
        facts: &Facts<'_>,
        is_trusted: bool,
        admitted: &Admitted,
    ) -> Act {
        let (mut rewritten, mut spare) = (Vec::new(), Vec::new());
        let mut sent_as = None;
        if let Some(rewrite) = route.rewrite.as_deref() {
            let written =
                way::rewrite(rewrite, route, self.request, facts, &mut rewritten, &mut spare);
            match written {
                Ok(host_at) => sent_as = Some(rewritten.split_at(host_at)),
                Err(_) => return Act::Problem(Problem::BadRewrite),
            }
        }
        if sent_as.is_none() && admitted.has_query {
            rewritten.extend_from_slice(self.request.path_sent(self.bytes));
            if !facts.query.is_empty() {
                rewritten.push(b'?');
                rewritten.extend_from_slice(facts.query);
            }
            sent_as = Some((&rewritten[..], &[][..]));
        }
        let mut targets = to.targets.to_vec();
        targets.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
        let first = self.snapshot.upstream(targets[0].0);
        let peer = AddressText::new(Some(self.peer));
        let mut head = Vec::new();
        let sending = Sending {
            route,
            upstream: first,
            request: self.request,
            bytes: self.bytes,
            sent_as,
            endpoint_host: endpoint_host(first),
            peer: peer.as_bytes(),
            is_tls: self.listener.tls.is_some(),
            certificate: &[],
            trusted: is_trusted,
            via: self.snapshot.server.via,
            request_id: facts.request_id,
            facts: Some(facts),
            marks: Marks { drops: &route.policies.drops, lines: &admitted.to_service },
            upgrade: way::upgrade(route, self.request, self.bytes, self.limits),
        };
        way::write_head(&mut head, &sending);
        let target =
            |&(id, weight): &(UpstreamId, u32)| target(id, weight, self.snapshot.upstream(id));
        Act::To {
            targets: targets.iter().map(target).collect(),
            sent: without_hidden(lossy(&head), route),
            retry: match self.request.head.method.is_idempotent() {
                true => "once on a fresh connection, when a kept one turns out closed",
                false => "none, once something of it was sent",
            },
        }
    }
}

/// What the configuration has from the environment may be a secret: it is shown as `***`.
fn without_hidden(mut sent: String, route: &Route) -> String {
    let headers = route.headers.iter().flat_map(|headers| &headers.hidden);
    for value in headers.chain(route.rewrite.iter().flat_map(|rewrite| &rewrite.hidden)) {
        sent = sent.replace(&**value, "***");
    }
    sent
}

fn target(id: UpstreamId, weight: u32, upstream: &Upstream) -> Target {
    let endpoint = |endpoint: &crate::snapshot::Endpoint| Endpoint {
        text: endpoint.text.to_string(),
        weight: endpoint.weight,
        state: None,
    };
    Target {
        id,
        name: upstream.name.to_string(),
        weight,
        connect_timeout: settings::time(Some(upstream.connect_timeout)),
        endpoints: upstream.endpoints.iter().map(endpoint).collect(),
    }
}

/// Of the first endpoint that takes requests.
fn endpoint_host(upstream: &Upstream) -> &[u8] {
    let usable = upstream.endpoints.iter().find(|endpoint| endpoint.weight > 0);
    usable.map_or(&[], |endpoint| endpoint.host_text())
}

fn respond(respond: &Respond, facts: &Facts<'_>) -> Act {
    let mut body = Vec::new();
    respond.body.render(facts, respond.place, &mut body);
    let shown = body.len().min(BODY_SHOWN_MAX);
    Act::Respond {
        status: respond.status,
        content_type: respond.content_type.to_string(),
        body: lossy(&body[..shown]),
        body_bytes: body.len(),
    }
}

fn redirect(redirect: &Redirect, facts: &Facts<'_>) -> Act {
    let mut location = Vec::new();
    redirect.to.render(facts, Place::Uri, &mut location);
    Act::Redirect { status: redirect.status, location: lossy(&location) }
}

/// `set Name: value`, `add Name: value`, `remove Name`.
fn answer_edits(route: &Route, facts: &Facts<'_>) -> Vec<String> {
    let Some(edits) = route.headers.as_deref().map(|headers| &headers.response) else {
        return Vec::new();
    };
    let one = |verb: &str, edit: &crate::http::edit::Edit| {
        let mut value = Vec::new();
        edit.value.render(facts, Place::FieldValue, &mut value);
        format!("{verb} {}: {}", edit.name.text, lossy(&value))
    };
    let removed = edits.remove.iter().map(|name| format!("remove {}", name.text));
    let set = edits.set.iter().map(|edit| one("set", edit));
    removed.chain(set).chain(edits.add.iter().map(|edit| one("add", edit))).collect()
}
