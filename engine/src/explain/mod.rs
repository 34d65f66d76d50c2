//! What a request would get, and why; nothing is sent, counted or chosen.
//!
//! ```text
//!  Query ─▶ bytes of a head ─▶ h1 (parse) ─▶ way (find, write_head) ─▶ Explanation ─▶ text | JSON
//! ```
//! The calls are those of a worker (`worker/conn.rs`, `exchange.rs`). What only a running gateway
//! knows, the states of endpoints, is added by who asked it.

pub mod chain;
#[doc(hidden)]
pub mod fuzz;
mod json;
mod query;
mod seen;
mod settings;
pub mod state;
#[cfg(test)]
mod tests;
mod text;

use crate::auth::Now;
use crate::h1::server::Request;
use crate::http::forwarded::client_address;
use crate::http::https;
use crate::http::problem::Problem;
use crate::ids::UpstreamId;
use crate::router::Params;
use crate::snapshot::Snapshot;
use crate::way::{self, Relaxed, Routed};
pub use chain::Told;
pub use query::{Query, address};
use seen::Seen;
pub use settings::Setting;
use state::EndpointState;

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
    Refused(parser::ErrorKind),
    /// No route takes it: 404, 405 with its `Allow`, or 400 for a path that the route refuses.
    Problem {
        problem: Problem,
        allow: String,
        route: Option<String>,
    },
    /// OPTIONS for the gateway itself: 204.
    Own,
    /// The listener sends every request there.
    Https {
        location: String,
    },
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
    /// What policies say, in their order.
    pub chain: Vec<Told>,
    /// Who it is, when a policy has asked.
    pub consumer: Option<String>,
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
    /// Nothing of it: a policy answers, with this status.
    Policy(u16),
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
/// Limits and credentials are held against `now`.
pub fn explain(snapshot: &Snapshot, query: &Query, now: Now) -> Result<Explanation, String> {
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
        explanation.outcome = Outcome::Refused(kind);
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
    if let (Some(port), Some(host)) = (listener.https_redirect, request.host(bytes)) {
        let (path, query) = (request.target.path.of(bytes), request.query(bytes));
        let mut location = Vec::new();
        https::location(&mut location, host, port, path, query);
        explanation.outcome = Outcome::Https { location: lossy(&location) };
        return Ok(explanation);
    }
    let (limits, peer) = (&listener.limits, arrival.peer);
    let seen =
        Seen { snapshot, listener, bytes, limits, request: &request, params: &params, peer, now };
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
            Outcome::Refused(kind) => Some(kind.status()),
            Outcome::Problem { problem, .. } => Some(problem.status()),
            Outcome::Own => Some(204),
            Outcome::Slash { .. } | Outcome::Https { .. } => Some(308),
            Outcome::Route(chosen) => match &chosen.action {
                Act::To { .. } => None,
                Act::Respond { status, .. } | Act::Redirect { status, .. } => Some(*status),
                Act::Echo => Some(200),
                Act::Problem(problem) => Some(problem.status()),
                Act::Policy(status) => Some(*status),
            },
        }
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
