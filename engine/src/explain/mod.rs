//! What a request would get, and why; nothing is sent, counted or chosen.
//!
//! ```text
//!  Query ─▶ bytes of a head ─▶ h1 (parse) ─▶ way (find, write_head) ─▶ Explanation ─▶ text | JSON
//! ```
//! The calls are those of a worker (`worker/conn.rs`, `exchange.rs`). What only a running gateway
//! knows, the states of endpoints, is added by who asked it.

#[doc(hidden)]
pub mod fuzz;
mod json;
mod query;
mod settings;
pub mod state;
#[cfg(test)]
mod tests;
mod text;

use std::net::IpAddr;

use parser::Limits;

use crate::action::{Action, Redirect, Respond, To};
use crate::h1::server::Request;
use crate::http::forwarded::{AddressText, client_address, is_trusted};
use crate::http::problem::Problem;
use crate::http::template::{Facts, Place};
use crate::ids::{RouteId, UpstreamId};
use crate::router::explain::nearest;
use crate::router::{Params, check_pattern};
use crate::snapshot::{Route, Snapshot, Upstream};
use crate::way::{self, Relaxed, Routed, Sending};
pub use query::{Query, address};
pub use settings::Setting;
use state::EndpointState;

/// Routes that are shown with the reason why they lost.
const NEAR_MAX: usize = 8;
/// Bytes of a body of our own that are shown.
const BODY_SHOWN_MAX: usize = 200;
/// Stands where a worker puts 128 random bits.
const REQUEST_ID: &[u8] = b"(new for each request)";

/// What a request would get.
#[derive(Debug)]
pub struct Explanation {
    pub query: Query,
    /// Whose answer this is: a file, or a running gateway and its generation.
    pub source: Source,
    pub listener: String,
    /// Its address.
    pub address: String,
    /// What had to be assumed.
    pub notes: Vec<String>,
    /// `None`: the head was refused before it had a path.
    pub path: Option<Path>,
    pub host: Option<String>,
    pub peer: String,
    /// The client's address, through trusted proxies.
    pub client: String,
    pub outcome: Outcome,
    /// Other routes, the nearest first.
    pub near: Vec<Near>,
    /// Routes beside the winner that are not in `near`.
    pub farther: usize,
}

/// Where the configuration comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    pub name: String,
    /// Of a running gateway.
    pub generation: Option<u64>,
}

/// A path in its three forms.
#[derive(Debug, PartialEq, Eq)]
pub struct Path {
    pub received: String,
    /// What is routed and authorised.
    pub canonical: String,
    /// What an upstream would see, a rewrite left out.
    pub sent: String,
}

/// A route that lost, and why.
#[derive(Debug)]
pub struct Near {
    pub route: String,
    pub place: String,
    pub why: String,
}

#[derive(Debug)]
pub enum Outcome {
    /// The head breaks a rule.
    Refused {
        status: u16,
        rule: &'static str,
        section: &'static str,
    },
    /// No route takes it: 404, 405 with its `Allow`, or 400 for a path that the route refuses.
    Problem {
        problem: Problem,
        allow: String,
        route: Option<String>,
    },
    /// OPTIONS for the gateway itself: 204.
    Own,
    /// A redirect over a last slash.
    Slash {
        route: String,
        place: String,
        location: String,
    },
    Route(Box<Chosen>),
}

/// The route that a request has.
#[derive(Debug)]
pub struct Chosen {
    pub name: String,
    pub place: String,
    pub pattern: String,
    /// `methods GET`, `header x = "1"`: what it asks beside the path.
    pub conditions: Vec<String>,
    /// What its path captures.
    pub params: Vec<(String, String)>,
    pub settings: Vec<Setting>,
    pub action: Act,
    /// Fields that the answer gets, and loses.
    pub answer_edits: Vec<String>,
}

/// What the route does.
#[derive(Debug)]
pub enum Act {
    To {
        /// The largest share first.
        targets: Vec<Target>,
        /// The head as the first endpoint would get it.
        sent: String,
        retry: &'static str,
    },
    Respond {
        status: u16,
        content_type: String,
        body: String,
        body_bytes: usize,
    },
    Redirect {
        status: u16,
        location: String,
    },
    Echo,
    /// Nothing of it: the gateway answers with this problem.
    Problem(Problem),
}

/// A share of the requests.
#[derive(Debug)]
pub struct Target {
    pub id: UpstreamId,
    pub name: String,
    pub weight: u32,
    pub connect_timeout: String,
    pub endpoints: Vec<Endpoint>,
}

#[derive(Debug)]
pub struct Endpoint {
    pub text: String,
    pub weight: u16,
    /// `None`: no running gateway was asked.
    pub state: Option<EndpointState>,
}

/// Explains a request; or says why that is none, in one line.
pub fn explain(snapshot: &Snapshot, query: &Query) -> Result<Explanation, String> {
    let arrival = query.arrive(snapshot)?;
    let (listener, bytes) = (snapshot.listener(arrival.listener), &*arrival.head);
    let mut explanation = Explanation {
        query: query.clone(),
        source: Source::default(),
        listener: listener.name.to_string(),
        address: listener.address.to_string(),
        notes: arrival.notes,
        path: None,
        host: None,
        peer: arrival.peer.to_string(),
        client: arrival.peer.to_string(),
        outcome: Outcome::Own,
        near: Vec::new(),
        farther: 0,
    };
    let mut request = Request::new(usize::from(listener.limits.fields_max));
    let relaxed = Relaxed::of(snapshot);
    let kind = match request.begin(bytes, &listener.limits, relaxed.encoded_slash) {
        Ok(true) => None,
        Ok(false) => Some(parser::ErrorKind::HeadTooLong),
        Err(error) => Some(error.kind),
    };
    if let Some(kind) = kind {
        let (status, rule, section) = (kind.status(), kind.text(), kind.section());
        explanation.outcome = Outcome::Refused { status, rule, section };
        return Ok(explanation);
    }
    let mut params = Params::default();
    let router = snapshot.router_of(arrival.listener);
    let routed = way::find(snapshot, router, relaxed, bytes, &mut request, &mut params);
    let proxies = &snapshot.server.trusted_proxies;
    let client = client_address(arrival.peer, proxies, request.said(bytes));
    explanation.client = client.to_string();
    explanation.host = request.host(bytes).map(lossy);
    explanation.path = Some(Path {
        received: lossy(request.target.path.of(bytes)),
        canonical: lossy(request.path(bytes)),
        sent: lossy(request.path_sent(bytes)),
    });
    let (limits, peer) = (&listener.limits, arrival.peer);
    let seen = Seen { snapshot, bytes, limits, request: &request, params: &params, peer };
    let winner = match &routed {
        Routed::Route(id, _) | Routed::EncodedSlash(id) => Some(*id),
        _ => None,
    };
    explanation.outcome = seen.outcome(routed, client);
    (explanation.near, explanation.farther) = seen.near(&listener.name, winner);
    Ok(explanation)
}

impl Explanation {
    /// The upstreams it speaks of.
    pub fn upstreams(&self) -> Vec<UpstreamId> {
        self.targets().iter().map(|target| target.id).collect()
    }

    fn targets(&self) -> &[Target] {
        match &self.outcome {
            Outcome::Route(chosen) => match &chosen.action {
                Act::To { targets, .. } => targets,
                _ => &[],
            },
            _ => &[],
        }
    }

    /// The status that the gateway itself would answer with; `None` when a service does.
    pub fn own_status(&self) -> Option<u16> {
        match &self.outcome {
            Outcome::Refused { status, .. } => Some(*status),
            Outcome::Problem { problem, .. } => Some(problem.status()),
            Outcome::Own => Some(204),
            Outcome::Slash { .. } => Some(308),
            Outcome::Route(chosen) => match &chosen.action {
                Act::To { .. } => None,
                Act::Respond { status, .. } | Act::Redirect { status, .. } => Some(*status),
                Act::Echo => Some(200),
                Act::Problem(problem) => Some(problem.status()),
            },
        }
    }
}

/// A request that was read and routed.
struct Seen<'a> {
    snapshot: &'a Snapshot,
    bytes: &'a [u8],
    limits: &'a Limits,
    request: &'a Request,
    params: &'a Params,
    peer: IpAddr,
}

impl Seen<'_> {
    fn outcome(&self, routed: Routed<'_>, client: IpAddr) -> Outcome {
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
    fn near(&self, listener: &str, winner: Option<RouteId>) -> (Vec<Near>, usize) {
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
        let client = AddressText::new(Some(client));
        let is_trusted = is_trusted(self.peer, &self.snapshot.server.trusted_proxies);
        let given = way::given_request_id(self.request, self.bytes, is_trusted);
        let path = self.request.path(self.bytes);
        let facts = Facts {
            client: client.as_bytes(),
            host: self.request.host(self.bytes).unwrap_or_default(),
            path,
            query: self.request.query(self.bytes).unwrap_or_default(),
            method: self.request.method_text(self.bytes),
            request_id: given.unwrap_or(REQUEST_ID),
            route: route.name.as_bytes(),
            params: self.params.as_slice(),
            fields: &self.request.head.fields,
            head: self.bytes,
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
            action: self.action(route, &facts, is_trusted),
            answer_edits: answer_edits(route, &facts),
        }
    }

    fn action(&self, route: &Route, facts: &Facts<'_>, is_trusted: bool) -> Act {
        if way::is_too_long(route, self.request) {
            return Act::Problem(Problem::BodyTooLarge);
        }
        match &route.action {
            Action::To(to) => self.to(route, to, facts, is_trusted),
            Action::Respond(respond) => self::respond(respond, facts),
            Action::Redirect(redirect) => self::redirect(redirect, facts),
            Action::Echo => Act::Echo,
        }
    }

    fn to(&self, route: &Route, to: &To, facts: &Facts<'_>, is_trusted: bool) -> Act {
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
            trusted: is_trusted,
            via: self.snapshot.server.via,
            facts,
            upgrade: way::upgrade(route, self.request, self.bytes, self.limits),
        };
        way::write_head(&mut head, &sending);
        let target =
            |&(id, weight): &(UpstreamId, u32)| target(id, weight, self.snapshot.upstream(id));
        Act::To {
            targets: targets.iter().map(target).collect(),
            sent: lossy(&head),
            retry: match self.request.head.method.is_idempotent() {
                true => "once on a fresh connection, when a kept one turns out closed",
                false => "none, once something of it was sent",
            },
        }
    }
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

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
