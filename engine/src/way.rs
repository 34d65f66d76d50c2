//! The way of a request, as decisions: which route it has, or who answers in its place, and the
//! head that goes upstream. A worker does what they say, and `explain` tells it: there is no
//! second way that could differ.

use parser::path::PathOptions;
use parser::target::Form;
use parser::{FieldId, Limits, Method};

use crate::h1::client::{Marks, RequestOut, encode_request};
use crate::h1::relay::{Body, Out};
use crate::h1::server::Request;
use crate::http::problem::Problem;
use crate::http::rewrite::{Refused, Rewrite, Target};
use crate::http::template::Facts;
use crate::ids::RouteId;
use crate::policy::cors;
use crate::router::{Found, Lookup, Params, Router};
use crate::snapshot::{HostMode, Route, Snapshot, Upstream};

/// Longest request id that is passed on from a trusted proxy.
pub const REQUEST_ID_MAX: usize = 64;

/// What some route of a snapshot allows, so that requests need not ask where none does.
#[derive(Debug, Clone, Copy, Default)]
pub struct Relaxed {
    /// `%2F` in a path.
    pub encoded_slash: bool,
    /// `//` in a path is kept.
    pub slashes: bool,
    /// A redirect over a last slash.
    pub slash_redirect: bool,
    /// Preflights of browsers are answered.
    pub cors: bool,
}

impl Relaxed {
    pub fn of(snapshot: &Snapshot) -> Relaxed {
        let any = |is: fn(&Route) -> bool| snapshot.routes.iter().any(is);
        Relaxed {
            encoded_slash: any(|route| route.encoded_slash_keep),
            slashes: any(|route| route.slashes_keep),
            slash_redirect: any(|route| route.slash_redirect),
            cors: any(|route| route.policies.answers_preflights()),
        }
    }
}

/// Who answers a request.
#[derive(Debug)]
pub enum Routed<'s> {
    Route(RouteId, &'s Route),
    /// The path is this route's but for its last slash: a redirect.
    Slash(RouteId),
    /// `OPTIONS *` or `Max-Forwards: 0`: the gateway itself is asked.
    Own,
    /// The path holds `%2F`, which the route does not keep.
    EncodedSlash(RouteId),
    /// 404, or 405 with its `Allow`.
    Refused(Problem, &'s str),
}

/// What the router is asked.
pub fn lookup<'a>(request: &'a Request, bytes: &'a [u8], path: &'a [u8]) -> Lookup<'a> {
    Lookup {
        host: request.host(bytes),
        path,
        query: request.query(bytes).unwrap_or_default(),
        method: request.head.method,
        method_text: request.method_text(bytes),
        fields: &request.head.fields,
        head: bytes,
    }
}

/// Finds the route of a request. Afterwards its path is the one that is sent, and `params` are
/// spans of it.
pub fn find<'s>(
    snapshot: &'s Snapshot,
    router: &'s Router,
    relaxed: Relaxed,
    bytes: &[u8],
    request: &mut Request,
    params: &mut Params,
) -> Routed<'s> {
    if request.head.method == Method::Options
        && let Ok(Some(0)) = parser::connection::max_forwards(&request.head, bytes)
    {
        return Routed::Own;
    }
    if relaxed.slashes && request.had_double_slash && request.unmerged_path(bytes).is_ok() {
        request.keep_slashes();
        if let Found::Route(id) = router.find(&lookup(request, bytes, request.path(bytes)), params)
            && snapshot.route(id).slashes_keep
        {
            return take_route(snapshot, id, request);
        }
        request.merge_slashes();
    }
    if relaxed.cors
        && let Some(id) = preflight(snapshot, router, bytes, request, params)
    {
        return take_route(snapshot, id, request);
    }
    match router.find(&lookup(request, bytes, request.path(bytes)), params) {
        Found::Route(id) => take_route(snapshot, id, request),
        Found::NotFound if request.target.form == Form::Asterisk => Routed::Own,
        missed => {
            if relaxed.slash_redirect && request.target.form != Form::Asterisk {
                request.toggle_slash(bytes);
                let toggled = lookup(request, bytes, request.toggled());
                if let Found::Route(id) = router.find(&toggled, params)
                    && snapshot.route(id).slash_redirect
                {
                    return Routed::Slash(id);
                }
            }
            match missed {
                Found::MethodNotAllowed { allow } => {
                    Routed::Refused(Problem::MethodNotAllowed, allow)
                }
                _ => Routed::Refused(Problem::NotFound, ""),
            }
        }
    }
}

/// The route that a preflight asks about, when it answers for pages of other origins: the one
/// that the request it announces would have.
fn preflight(
    snapshot: &Snapshot,
    router: &Router,
    bytes: &[u8],
    request: &Request,
    params: &mut Params,
) -> Option<RouteId> {
    let fields = &request.head.fields;
    if !cors::is_preflight(request.head.method, fields, bytes) {
        return None;
    }
    let asked = cors::asked_method(fields, bytes)?;
    let path = request.path(bytes);
    let announced =
        Lookup { method: Method::of(asked), method_text: asked, ..lookup(request, bytes, path) };
    match router.find(&announced, params) {
        Found::Route(id) if snapshot.route(id).policies.answers_preflights() => Some(id),
        _ => None,
    }
}

/// A path with `%2F` is only for routes that say so.
fn take_route<'s>(snapshot: &'s Snapshot, id: RouteId, request: &Request) -> Routed<'s> {
    let route = snapshot.route(id);
    match request.had_encoded_slash && !route.encoded_slash_keep {
        true => Routed::EncodedSlash(id),
        false => Routed::Route(id, route),
    }
}

/// The request id of a trusted proxy, when it can be passed on.
pub fn given_request_id<'a>(request: &Request, bytes: &'a [u8], trusted: bool) -> Option<&'a [u8]> {
    let field = request.head.fields.get(FieldId::XRequestId).filter(|_| trusted)?;
    if request.is_nominated(bytes, b"x-request-id") {
        return None;
    }
    let value = field.value.of(bytes);
    let is_plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.:+/=".contains(b);
    let is_good = !value.is_empty() && value.len() <= REQUEST_ID_MAX && value.iter().all(is_plain);
    is_good.then_some(value)
}

/// Whether a request says that its body is longer than the route takes.
pub fn is_too_long(route: &Route, request: &Request) -> bool {
    matches!((request.framing, route.body_limit),
        (parser::framing::BodyFraming::Length(n), Some(max)) if n > max)
}

/// The protocol a request may switch to: asked for, listed by the route, no body.
pub fn upgrade<'a>(
    route: &Route,
    request: &'a Request,
    bytes: &'a [u8],
    limits: &Limits,
) -> Option<&'a [u8]> {
    if !request.options.upgrade || !Body::new(request.framing, Out::Raw, limits).is_done() {
        return None; // Fast path.
    }
    let is_listed =
        |name: &&[u8]| route.upgrade.iter().any(|u| u.as_bytes().eq_ignore_ascii_case(name));
    request.upgrade(bytes).find(is_listed)
}

/// Writes target and host as a rewrite wants them, as [`Rewrite::write`] does.
pub fn rewrite(
    rewrite: &Rewrite,
    route: &Route,
    request: &Request,
    facts: &Facts<'_>,
    out: &mut Vec<u8>,
    spare: &mut Vec<u8>,
) -> Result<usize, Refused> {
    // Without what policies have taken out; a bare `?` stays one.
    let came = request.query(facts.head);
    let query = came.map(|query| if query.is_empty() { query } else { facts.query });
    let target = Target {
        path: request.path_sent(facts.head),
        query: query.filter(|query| !query.is_empty() || came == Some(&[])),
        is_asterisk: request.target.form == Form::Asterisk,
    };
    let options = PathOptions {
        encoded_slash_keep: route.encoded_slash_keep,
        slashes_keep: route.slashes_keep,
    };
    rewrite.write(facts, &target, options, out, spare)
}

/// What a head that goes upstream is made of.
#[derive(Debug)]
pub struct Sending<'a> {
    pub route: &'a Route,
    pub upstream: &'a Upstream,
    pub request: &'a Request,
    /// What `request` was read from.
    pub bytes: &'a [u8],
    /// What a rewrite made of target and host; the host is empty when it has none.
    pub sent_as: Option<(&'a [u8], &'a [u8])>,
    /// The endpoint's own `Host`.
    pub endpoint_host: &'a [u8],
    /// The peer's address.
    pub peer: &'a [u8],
    /// It speaks TLS.
    pub is_tls: bool,
    /// Whole lines that say who it is by its certificate.
    pub certificate: &'a [u8],
    pub trusted: bool,
    pub via: bool,
    pub request_id: &'a [u8],
    /// What variables stand for; needed where the route changes fields.
    pub facts: Option<&'a Facts<'a>>,
    /// What the route's policies take away and write.
    pub marks: Marks<'a>,
    pub upgrade: Option<&'a [u8]>,
}

/// Appends the head as it goes to an endpoint.
pub fn write_head(out: &mut Vec<u8>, s: &Sending<'_>) {
    let (request, bytes) = (s.request, s.bytes);
    let authority = request.authority(bytes).unwrap_or_default();
    let (target, new_host) = match s.sent_as {
        None => (None, &[][..]),
        Some((target, host)) => (Some(target), host),
    };
    let host = match &s.upstream.host {
        _ if !new_host.is_empty() => new_host,
        HostMode::Keep if !authority.is_empty() => authority,
        HostMode::Keep | HostMode::Endpoint => s.endpoint_host,
        HostMode::Fixed(host) => host.as_bytes(),
    };
    let is_options = request.head.method == Method::Options;
    let forwards = is_options.then(|| parser::connection::max_forwards(&request.head, bytes));
    let edits = s.route.headers.as_deref().map(|h| &h.request).filter(|e| !e.is_empty());
    debug_assert!(edits.is_none() || s.facts.is_some(), "a route's changes would be lost");
    let o = RequestOut {
        request,
        buf: bytes,
        target,
        host,
        authority,
        peer: s.peer,
        is_tls: s.is_tls,
        certificate: s.certificate,
        trusted: s.trusted,
        request_id: s.request_id,
        edits: edits.zip(s.facts),
        marks: s.marks,
        upgrade: s.upgrade,
        via: s.via,
        max_forwards: forwards.and_then(|f| f.ok().flatten()).map(|n| n.saturating_sub(1)),
    };
    encode_request(out, &o);
}
