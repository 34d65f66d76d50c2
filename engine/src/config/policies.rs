//! Checked → chains: what layers say of who may call becomes the policies of each route.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::access;
use super::diagnostic::{At, Diagnostic, Diagnostics};
use super::keys::known;
use super::limits;
use super::merge::{Effective, and_more};
use super::model::{
    self, Allow, AuthMethod, AuthUse, Chain as Layers, CorsSource, Keys, Model, Per, PerRequests,
    RateLimit, Route, Setting,
};
use crate::auth::consumers::{self, Consumers};
use crate::auth::csv;
use crate::auth::texts::{WORDS_MAX, Words};
use crate::http::edit::EditName;
use crate::ids::{ConsumerId, PlanId, UpstreamId, WordId};
use crate::limit::gcra::{Rate, RateError};
use crate::policy::authorize::{Authorize, Scope};
use crate::policy::concurrency::{self, Concurrency, PlanConcurrency};
use crate::policy::cors::{self, Cors};
use crate::policy::identify::{Identify, Kind, Method};
use crate::policy::ip::Ip;
use crate::policy::rate_limit::{self, By, PlanLimits};
use crate::policy::{AnyPolicy, Chain};
use crate::snapshot::PermitCell;
use crate::tls::identity::HEADERS as CLIENT_CERT_HEADERS;

/// What chains are made of, once all of it was found to be there.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) consumers: Arc<Consumers>,
    pub(super) auths: Vec<Arc<Method>>,
    /// By the number that consumers' plans have.
    plans: Option<Arc<PlanLimits>>,
    plan_concurrency: Option<Arc<PlanConcurrency>>,
    pub(super) cells: Cells,
    /// Names by id.
    upstreams: Vec<String>,
    /// Fields that only policies write, on whatever route.
    identity: Vec<EditName>,
    shared: Shared,
}

/// What concurrency limits count in, once each.
#[derive(Debug, Default)]
pub(super) struct Cells {
    pub(super) all: Vec<PermitCell>,
    by_id: BTreeMap<u64, usize>,
}

/// Policies of a layer are the same for each of its routes.
#[derive(Debug, Default)]
struct Shared {
    allows: BTreeMap<At, Arc<Authorize>>,
    identifies: BTreeMap<At, Arc<Identify>>,
}

/// Reports what names nothing, and makes what chains share. `upstream_of` finds the upstream of a
/// URL.
pub(super) fn check(
    model: &mut Model,
    upstream_of: impl Fn(&str) -> Option<UpstreamId>,
    out: &mut Diagnostics,
) -> Access {
    let consumers = Arc::new(consumers(model, out));
    routes(model, &consumers, out);
    rates(model, out);
    limits::one_of_each_upstream(model, out);
    let mut access = Access {
        consumers,
        auths: Vec::new(),
        plans: None,
        plan_concurrency: None,
        cells: Cells::default(),
        upstreams: model.upstreams.iter().map(|upstream| upstream.name.clone()).collect(),
        identity: Vec::new(),
        shared: Shared::default(),
    };
    if out.is_torn() || out.errors() > 0 {
        return access;
    }
    let has_headers = |l: &model::Listener| l.terms.as_ref().is_some_and(|t| t.client_headers);
    if model.listeners.iter().any(has_headers) {
        access.identity.extend(CLIENT_CERT_HEADERS.map(EditName::new));
    }
    for (id, auth) in std::mem::take(&mut model.auths).into_iter().enumerate() {
        let Some(method) = auth.method else { continue };
        let kind = kind(method, &upstream_of, &mut access.identity);
        access.auths.push(Arc::new(Method { name: auth.name.into(), id: id as u32, kind }));
    }
    let limits = model.plans.iter().map(|plan| {
        let layer = format!("[plan.{}]", plan.name);
        let limits = plan.rate_limits.iter().enumerate();
        let mut told = Told::of("plan");
        limits.map(|(i, limit)| rate_policy(limit, &layer, i, &[By::Consumer], &mut told)).collect()
    });
    let plans: Vec<Box<[rate_limit::RateLimit]>> = limits.collect();
    if plans.iter().any(|limits| !limits.is_empty()) {
        access.plans = Some(Arc::new(PlanLimits { by_plan: plans.into() }));
    }
    let of_plan = |plan: &model::Plan, cells: &mut Cells| {
        let layer = format!("[plan.{}]", plan.name);
        let limits = plan.concurrency.iter().enumerate();
        let limits = limits.map(|(i, limit)| {
            let by_caller = model::Concurrency { per: PerRequests::Consumer, ..limit.clone() };
            concurrency_policy(&by_caller, &layer, id_of(&(&layer, "concurrency", i)), cells)
        });
        limits.collect::<Box<[Concurrency]>>()
    };
    let by_plan: Vec<_> = model.plans.iter().map(|plan| of_plan(plan, &mut access.cells)).collect();
    if by_plan.iter().any(|limits| !limits.is_empty()) {
        access.plan_concurrency = Some(Arc::new(PlanConcurrency { by_plan: by_plan.into() }));
    }
    access
}

/// What counts hang on: the same over restarts and reloads, whatever else changes.
fn id_of(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// A limit as a policy, with its cell.
fn concurrency_policy(
    limit: &model::Concurrency,
    layer: &str,
    id: u64,
    cells: &mut Cells,
) -> Concurrency {
    let per = match limit.per {
        PerRequests::Route => concurrency::Per::Route,
        PerRequests::Consumer => concurrency::Per::Consumer,
        PerRequests::Upstream => concurrency::Per::Upstream,
    };
    let cell = PermitCell {
        id,
        is_by_key: limit.per == PerRequests::Consumer,
        limit: limit.limit,
        queue: limit.queue,
        permits: None,
    };
    let number = *cells.by_id.entry(id).or_insert_with(|| {
        cells.all.push(cell);
        cells.all.len() - 1
    });
    // Workers find their desks by it after a reload.
    debug_assert!(
        (cells.all[number].limit, cells.all[number].queue) == (limit.limit, limit.queue),
        "one limit for each id"
    );
    Concurrency {
        number: number as u32,
        limit: limit.limit,
        per,
        queue: limit.queue,
        wait: limit.wait,
        name: layer.trim_matches(['[', ']']).into(),
    }
}

fn consumers(model: &Model, out: &mut Diagnostics) -> Consumers {
    let mut words = Words::new(access::seed());
    // What rules name comes first, so that its numbers are known before any consumer is.
    for spot in named_words(model) {
        if words.intern(spot.value.as_bytes()).is_none() {
            let title = "there are too many different groups and scopes";
            let error = Diagnostic::new("E103", spot.at, title);
            out.push(error.note(format!("at most {WORDS_MAX}; this one is one more")));
            break;
        }
    }
    let plans: Vec<&str> = model.plans.iter().map(|plan| plan.name.as_str()).collect();
    let plan_of = |name: &[u8]| {
        let found = plans.iter().position(|plan| plan.as_bytes() == name);
        found.map(|plan| PlanId(plan as u32))
    };
    let file = model.consumers_file.as_ref();
    let lines = file.map_or(0, |file| csv::lines(&file.value.1));
    let room = model.consumers.len() + lines;
    let mut builder = consumers::Builder::new(words, access::seed(), room);
    for consumer in &model.consumers {
        let plan = consumer.plan.as_ref().and_then(|spot| {
            let found = plan_of(spot.value.as_bytes());
            if found.is_none() {
                unknown_plan(spot, &plans, out);
            }
            found
        });
        add(consumer, plan, &mut builder, out);
    }
    if let Some(file) = file {
        let (path, bytes) = &file.value;
        if let Err(mistakes) = csv::read(bytes, &mut builder, plan_of) {
            access::file_mistakes(path, file.at, &mistakes, out);
        }
    }
    builder.finish()
}

fn add(
    consumer: &model::Consumer,
    plan: Option<PlanId>,
    builder: &mut consumers::Builder,
    out: &mut Diagnostics,
) {
    let groups = consumer.groups.iter().map(String::as_bytes);
    let scopes = consumer.scopes.iter().map(String::as_bytes);
    let id = match builder.add(consumer.name.as_bytes(), groups, scopes, plan) {
        Ok(id) => id,
        Err(mistake) => {
            return out.push(Diagnostic::new("E156", consumer.at, mistake.to_string()));
        }
    };
    for key in &consumer.api_keys {
        if let Err(mistake) = builder.add_key(id, key.value) {
            out.push(Diagnostic::new("E156", key.at, mistake.to_string()));
        }
    }
    if let Some(hash) = &consumer.basic
        && let Err(mistake) = builder.set_basic(id, hash.value.expose())
    {
        out.push(Diagnostic::new("E156", hash.at, mistake.to_string()));
    }
}

fn unknown_plan(spot: &model::Spot<String>, plans: &[&str], out: &mut Diagnostics) {
    let error = Diagnostic::new("E155", spot.at, format!("no plan is called `{}`", spot.value));
    let near = out.closest(&spot.value, plans.iter().copied());
    out.push(match near {
        Some(near) => error.note(format!("did you mean `{near}`?")),
        None => error.note(format!("give it a table [plan.{}]", spot.value)),
    });
}

/// Groups and scopes of all rules.
fn named_words(model: &Model) -> Vec<&model::Spot<String>> {
    let layers = model.chains.iter().flat_map(|chain| &chain.heirs).map(|heir| &*heir.value);
    let own = model.routes.iter().flat_map(|route| &route.layer.said).map(|said| &said.value);
    let allows = layers.chain(own).filter_map(|setting| match setting {
        Setting::Allow(allow) => Some(allow),
        _ => None,
    });
    allows.flat_map(|allow| allow.groups.iter().flatten().chain(&allow.scopes)).collect()
}

/// What routes name, and what they need.
fn routes(model: &Model, consumers: &Consumers, out: &mut Diagnostics) {
    let methods: BTreeMap<&str, &model::Auth> =
        model.auths.iter().map(|auth| (auth.name.as_str(), auth)).collect();
    let mut used = BTreeSet::new();
    let mut told = BTreeSet::new();
    let mut open: BTreeMap<At, (&'static str, Vec<&str>)> = BTreeMap::new();
    for route in &model.routes {
        let effective = Effective::of(route, &model.chains);
        let named = match effective.get(known::AUTH) {
            Some(Setting::Auth(auth)) => Some(auth),
            _ => None,
        };
        for spot in named.iter().flat_map(|auth| &auth.names) {
            used.insert(spot.value.as_str());
            if !methods.contains_key(spot.value.as_str()) && told.insert(spot.at) && !out.is_torn()
            {
                let title = format!("no authentication is called `{}`", spot.value);
                let error = Diagnostic::new("E154", spot.at, title);
                let near = out.closest(&spot.value, methods.keys().copied());
                out.push(match near {
                    Some(near) => error.note(format!("did you mean `{near}`?")),
                    None => error
                        .note(format!("give it a table [auth.{}], with its `method`", spot.value)),
                });
            }
        }
        if named.is_none() {
            for (at, what) in needs_a_caller(&effective) {
                open.entry(at).or_insert((what, Vec::new())).1.push(&route.name);
            }
        }
        let has_one =
            matches!(&route.action, Some(model::Action::To(targets)) if targets.len() == 1);
        for (setting, ..) in effective.all(known::CONCURRENCY) {
            let Setting::Concurrency(limits) = setting else { continue };
            let is_wrong = |l: &&model::Concurrency| l.per == PerRequests::Upstream && !has_one;
            for limit in limits.iter().filter(is_wrong) {
                if route.action.is_some() && told.insert(limit.at) {
                    let title = format!("route `{}` has no one upstream to count", route.name);
                    let error = Diagnostic::new("E159", limit.at, title);
                    out.push(error.note("say per = \"route\", or give it one"));
                }
            }
        }
        let is_closed = |auth: &&AuthUse| {
            auth.names.iter().all(|spot| {
                let method = methods.get(spot.value.as_str()).and_then(|a| a.method.as_ref());
                matches!(method, Some(AuthMethod::ApiKey(_) | AuthMethod::Basic { .. }))
            })
        };
        for (setting, ..) in effective.all(known::ALLOW) {
            if let (Setting::Allow(allow), Some(_)) = (setting, named.filter(is_closed)) {
                nobody_has(allow, model, consumers, &mut told, out);
            }
        }
    }
    for (at, (what, names)) in open {
        let error = Diagnostic::new("E140", at, format!("{what} needs to know the caller"));
        let many = names.len() > 1;
        let verb = if many { "routes" } else { "route" };
        let has = if many { "have" } else { "has" };
        let names = and_more(&names, names.len());
        out.push(error.note(format!("{verb} {names} {has} no `auth`, or \"none\"")));
    }
    let is_sure = !out.is_torn() && model.routes.iter().all(|route| !route.is_unsure);
    for auth in model.auths.iter().filter(|a| is_sure && !used.contains(a.name.as_str())) {
        let title = format!("no route uses the authentication `{}`", auth.name);
        out.push(Diagnostic::new("W213", auth.at, title));
    }
    nobody_can(model, consumers, &used, out);
}

/// Settings of an open route that count or judge by consumer.
fn needs_a_caller(effective: &Effective<'_>) -> Vec<(At, &'static str)> {
    let mut found = Vec::new();
    for (_, at, _) in effective.all(known::ALLOW) {
        found.push((at, "`allow`"));
    }
    for (setting, ..) in effective.all(known::RATE_LIMIT) {
        let Setting::RateLimits(limits) = setting else { continue };
        let is_personal = |per: &Per| matches!(per, Per::Consumer | Per::Claim(_));
        let personal = limits.iter().filter(|limit| limit.per.iter().any(is_personal));
        found.extend(personal.map(|limit| (limit.at, "a limit per consumer or claim")));
    }
    for (setting, ..) in effective.all(known::CONCURRENCY) {
        let Setting::Concurrency(limits) = setting else { continue };
        let personal = limits.iter().filter(|l| l.per == model::PerRequests::Consumer);
        found.extend(personal.map(|limit| (limit.at, "a limit per consumer")));
    }
    found
}

/// Where only known consumers come, `allow` can only name what one of them has.
fn nobody_has(
    allow: &Allow,
    model: &Model,
    consumers: &Consumers,
    told: &mut BTreeSet<At>,
    out: &mut Diagnostics,
) {
    let mut missing = |spot: &model::Spot<String>, what: &str, near: Option<&str>| {
        if told.insert(spot.at) && !out.is_torn() {
            let title = format!("no consumer {what} `{}`", spot.value);
            let error = Diagnostic::new("E157", spot.at, title);
            out.push(match near {
                Some(near) => error.note(format!("did you mean `{near}`?")),
                None => error.note("nobody would pass"),
            });
        }
    };
    for spot in allow.consumers.iter().flatten() {
        if consumers.by_name(spot.value.as_bytes()).is_none() {
            let names = model.consumers.iter().map(|consumer| consumer.name.as_str());
            let near = names.min_by_key(|name| {
                super::diagnostic::edits(name.as_bytes(), spot.value.as_bytes())
            });
            let is_near =
                |name: &&str| super::diagnostic::edits(name.as_bytes(), spot.value.as_bytes()) <= 2;
            missing(spot, "is called", near.filter(is_near));
        }
    }
    for spot in allow.groups.iter().flatten() {
        if !has_word(consumers, &spot.value, Consumers::groups) {
            missing(spot, "is part of", None);
        }
    }
    for spot in &allow.scopes {
        if !has_word(consumers, &spot.value, Consumers::scopes) {
            missing(spot, "has the scope", None);
        }
    }
}

/// Whether some consumer has a word among its groups or scopes.
fn has_word(
    consumers: &Consumers,
    word: &str,
    held: impl Fn(&Consumers, ConsumerId) -> &[WordId],
) -> bool {
    let Some(id) = consumers.words().id(word.as_bytes()) else { return false };
    let mut all = (0..consumers.len() as u32).map(ConsumerId);
    all.any(|consumer| held(consumers, consumer).contains(&id))
}

/// A method that no consumer has anything for.
fn nobody_can(model: &Model, consumers: &Consumers, used: &BTreeSet<&str>, out: &mut Diagnostics) {
    if out.errors() > 0 {
        return; // those of a file with mistakes are not there
    }
    for auth in model.auths.iter().filter(|auth| used.contains(auth.name.as_str())) {
        let what = match &auth.method {
            Some(AuthMethod::ApiKey(_)) if !consumers.has_keys() => "a key",
            Some(AuthMethod::Basic { users: None, .. }) if !consumers.has_passwords() => {
                "a password"
            }
            _ => continue,
        };
        let warning = Diagnostic::new("W214", auth.at, format!("no consumer has {what}"));
        out.push(warning.note("nobody can pass"));
    }
}

/// Rates that no table can count.
fn rates(model: &Model, out: &mut Diagnostics) {
    let layers = model.chains.iter().flat_map(|chain| &chain.heirs).map(|heir| &*heir.value);
    let own = model.routes.iter().flat_map(|route| &route.layer.said).map(|said| &said.value);
    let of_layers = layers.chain(own).filter_map(|setting| match setting {
        Setting::RateLimits(limits) => Some(limits.as_slice()),
        _ => None,
    });
    let of_plans = model.plans.iter().map(|plan| plan.rate_limits.as_slice());
    let of_listeners = model.listeners.iter().map(|listener| listener.rate_limits.as_slice());
    let mut told = BTreeSet::new();
    let all = of_layers.chain(of_plans).chain(of_listeners).flatten();
    for limit in all.filter(|limit| told.insert(limit.at)) {
        if let Err(error) = Rate::new(limit.count, limit.time, limit.burst()) {
            let note = match error {
                RateError::Count => "at most 1G in a time",
                RateError::Per => "from 1 in 30 days on",
                RateError::Burst => "a burst from 1 to 1000000000",
                RateError::TooFine => "rates above 125M/s must divide a second evenly",
            };
            let error = Diagnostic::new("E158", limit.at, "this rate can't be counted");
            out.push(error.note(note));
        }
    }
    for listener in &model.listeners {
        for limit in listener.rate_limits.iter().filter(|limit| limit.per != [Per::Client]) {
            let error = Diagnostic::new("E147", limit.at, "this limit can't stand here");
            out.push(error.note("before there is a route, only clients are told apart"));
        }
    }
}

fn kind(
    method: AuthMethod,
    upstream_of: &impl Fn(&str) -> Option<UpstreamId>,
    identity: &mut Vec<EditName>,
) -> Kind {
    use crate::policy::basic::Basic;
    use crate::policy::forward_auth::ForwardAuth;
    use crate::policy::jwt::{Jwt, KeySource};
    match method {
        AuthMethod::ApiKey(key) => Kind::ApiKey(key),
        AuthMethod::Basic { realm, keep, users } => {
            let secret = std::array::from_fn(|_| access::seed() as u8);
            Kind::Basic(Box::new(Basic { realm: realm.into(), keep, users, secret }))
        }
        AuthMethod::Jwt(source) => {
            identity.extend(source.to_headers.iter().map(|(name, _)| name.clone()));
            let keys = match source.keys {
                Keys::Known(keys) => KeySource::Known(keys),
                Keys::Fetched(url) => KeySource::Fetched(Box::new(crate::auth::fetch::Fetch {
                    is_https: url.is_https,
                    host: url.host.into(),
                    port: url.port,
                    authority: url.authority.into(),
                    target: url.target.into(),
                })),
            };
            let to_headers = source.to_headers.into_iter();
            Kind::Jwt(Box::new(Jwt {
                keys,
                algorithms: source.algorithms,
                rules: source.rules,
                to_headers: to_headers.map(|(name, claim)| (name, claim.into())).collect(),
                header: source.header,
                cookie: source.cookie,
                keep: source.keep,
            }))
        }
        AuthMethod::Forward(source) => {
            identity.extend(source.response_headers.iter().cloned());
            identity.extend(source.consumer_header.clone());
            let url = source.to.value;
            Kind::Forward(Box::new(ForwardAuth {
                upstream: upstream_of(&url.origin()).expect("an upstream was made for it"),
                target: url.target.into(),
                request_headers: source.request_headers.into(),
                response_headers: source.response_headers.into(),
                consumer_header: source.consumer_header,
                timeout: source.timeout.unwrap_or(std::time::Duration::from_secs(2)),
                remember: source.remember,
            }))
        }
    }
}

/// A limit as a policy. `told` is of all limits that one request may meet.
fn rate_policy(
    limit: &RateLimit,
    layer: &str,
    index: usize,
    by: &[By],
    told: &mut Told,
) -> rate_limit::RateLimit {
    let rate = Rate::new(limit.count, limit.time, limit.burst()).expect("checked rates can be");
    let name = match index {
        0 => layer.trim_matches(['[', ']']).to_owned(),
        _ => format!("{}-{}", layer.trim_matches(['[', ']']), index + 1),
    };
    rate_limit::RateLimit::new(rate_limit::Source {
        id: told.id(layer, by, limit.time),
        name,
        told: told.name(by, limit.time),
        rate,
        count: limit.count,
        time: limit.time,
        by: by.into(),
        cost: limit.cost,
        dry_run: limit.dry_run,
        refuse_when_full: limit.refuse_when_full,
    })
}

/// Names of limits in `RateLimit-Policy`, and ids. No two that one request meets are the same:
/// listeners' and plans' names begin with what they are, and the second of a kind has its number.
#[derive(Debug, Default)]
struct Told {
    kind: Option<&'static str>,
    taken: BTreeSet<String>,
    ids: BTreeSet<u64>,
}

impl Told {
    fn of(kind: &'static str) -> Told {
        Told { kind: Some(kind), ..Told::default() }
    }

    /// What its counts hang on: its layer, its parts and its time, and its number where a layer
    /// says two of a kind. Other limits beside it may come, go and change places.
    fn id(&mut self, layer: &str, by: &[By], time: std::time::Duration) -> u64 {
        let parts: Vec<_> = by.iter().map(By::parts).collect();
        let mut ids = (0..).map(|number: u32| id_of(&(layer, &parts, time, number)));
        ids.find(|id| self.ids.insert(*id)).expect("there are more numbers than limits")
    }

    fn name(&mut self, by: &[By], time: std::time::Duration) -> String {
        let words = self.kind.into_iter().chain(by.iter().map(By::word));
        let plain = format!("{}-{}s", words.collect::<Vec<_>>().join("-"), time.as_secs().max(1));
        let (mut name, mut number) = (plain.clone(), 1);
        while !self.taken.insert(name.clone()) {
            number += 1;
            name = format!("{plain}-{number}");
        }
        name
    }
}

fn by(per: &Per) -> By {
    match per {
        Per::Client => By::Client,
        Per::Consumer => By::Consumer,
        Per::Route => By::Route,
        Per::Header(name) => By::Header(name.clone()),
        Per::Claim(name) => By::Claim(name.as_str().into()),
    }
}

impl Access {
    /// What a listener asks before there is a route.
    pub(super) fn guards(&self, listener: &model::Listener) -> Chain {
        let mut policies: Vec<AnyPolicy> = Vec::new();
        policies.extend(listener.ip.iter().map(|lists| AnyPolicy::from(Ip::new(lists.clone()))));
        let layer = format!("[listener.{}]", listener.name);
        let mut told = Told::of("listener");
        for (index, limit) in listener.rate_limits.iter().enumerate() {
            policies.push(rate_policy(limit, &layer, index, &[By::Client], &mut told).into());
        }
        Chain::new(policies, Vec::new(), Vec::new())
    }

    /// The chain of a route.
    /// `upstream` is the only one that it has.
    pub(super) fn chain(
        &mut self,
        route: &Route,
        upstream: Option<UpstreamId>,
        chains: &[Layers],
    ) -> Chain {
        let upstream = upstream.map(|id| self.upstreams[id.index()].clone());
        let effective = Effective::of(route, chains);
        let mut policies: Vec<AnyPolicy> = Vec::new();
        for (setting, ..) in effective.all(known::IP) {
            if let Setting::Ip(lists) = setting {
                policies.push(Ip::new(lists.clone()).into());
            }
        }
        let cors = match effective.get(known::CORS) {
            Some(Setting::Cors(cors)) => Some(cors_policy(cors, &effective)),
            _ => None,
        };
        let answer_drops = if cors.is_some() { cors::answer_fields() } else { Vec::new() };
        policies.extend(cors.map(AnyPolicy::from));
        let mut drops = self.identity.clone();
        let identify = self.identify(&effective);
        if let Some(identify) = &identify {
            drops.extend(identify.drops());
            policies.push(AnyPolicy::Identify(identify.clone()));
        }
        for (setting, at, _) in effective.all(known::ALLOW) {
            if let Setting::Allow(allow) = setting {
                policies.push(AnyPolicy::Authorize(self.authorize(allow, at)));
            }
        }
        if let Some(plans) = self.plans.as_ref().filter(|_| identify.is_some()) {
            policies.push(AnyPolicy::PlanLimits(plans.clone()));
        }
        let mut told = Told::default();
        for (setting, _, layer) in effective.all(known::RATE_LIMIT) {
            let Setting::RateLimits(limits) = setting else { continue };
            let layer = layer_name(layer, route, chains);
            for (index, limit) in limits.iter().enumerate() {
                let by: Vec<By> = limit.per.iter().map(by).collect();
                policies.push(rate_policy(limit, &layer, index, &by, &mut told).into());
            }
        }
        if let Some(plans) = self.plan_concurrency.as_ref().filter(|_| identify.is_some()) {
            policies.push(AnyPolicy::PlanConcurrency(plans.clone()));
        }
        let mut taken = BTreeMap::new();
        for (setting, _, layer) in effective.all(known::CONCURRENCY) {
            let Setting::Concurrency(limits) = setting else { continue };
            let layer = layer_name(layer, route, chains);
            for (index, limit) in limits.iter().enumerate() {
                // By its number among its kind: others may come, go and change places.
                let number = limits[..index].iter().filter(|l| l.per == limit.per).count();
                let id = match limit.per {
                    PerRequests::Route => id_of(&(&layer, "route", number, &route.name)),
                    PerRequests::Consumer => id_of(&(&layer, "concurrency", number)),
                    PerRequests::Upstream => id_of(&("upstream", &upstream)),
                };
                let policy = concurrency_policy(limit, &layer, id, &mut self.cells);
                // A request takes one place of an upstream, however often its layers say so.
                taken.entry(policy.number).or_insert(policy);
            }
        }
        // All routes take places in one order, so that no two that wait hold each other's.
        policies.extend(taken.into_values().map(AnyPolicy::from));
        drops.sort_by(|a, b| a.text.cmp(&b.text));
        drops.dedup();
        Chain::new(policies, drops, answer_drops)
    }

    fn identify(&mut self, effective: &Effective<'_>) -> Option<Arc<Identify>> {
        let Some(Setting::Auth(auth)) = effective.get(known::AUTH) else { return None };
        let at = auth.names.first()?.at;
        if let Some(known) = self.shared.identifies.get(&at) {
            return Some(known.clone());
        }
        let method = |name: &str| self.auths.iter().find(|method| *method.name == *name).cloned();
        let methods = auth.names.iter().filter_map(|spot| method(&spot.value)).collect();
        let identify = Arc::new(Identify::new(methods, auth.all));
        self.shared.identifies.insert(at, identify.clone());
        Some(identify)
    }

    fn authorize(&mut self, allow: &Allow, at: At) -> Arc<Authorize> {
        let consumers = &self.consumers;
        let texts = |list: &Vec<model::Spot<String>>| {
            list.iter().map(|spot| Box::<str>::from(spot.value.as_str())).collect()
        };
        // A word left out would no longer be asked for.
        let id_of = |spot: &model::Spot<String>| {
            consumers.words().id(spot.value.as_bytes()).expect("rules' words came first")
        };
        let made = self.shared.allows.entry(at).or_insert_with(|| {
            Arc::new(Authorize {
                consumers: allow.consumers.as_ref().map(texts),
                groups: allow.groups.as_ref().map(|groups| {
                    let mut ids: Vec<WordId> = groups.iter().map(id_of).collect();
                    ids.sort_unstable();
                    ids.into()
                }),
                scopes: allow
                    .scopes
                    .iter()
                    .map(|spot| Scope { id: id_of(spot), text: spot.value.as_str().into() })
                    .collect(),
                claims: allow
                    .claims
                    .iter()
                    .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
                    .collect(),
            })
        });
        made.clone()
    }
}

fn layer_name(layer: Option<usize>, route: &Route, chains: &[Layers]) -> String {
    match layer {
        Some(index) => chains[index].name.clone(),
        None => format!("[route.{}]", route.name),
    }
}

fn cors_policy(source: &CorsSource, effective: &Effective<'_>) -> Cors {
    let of_route = || match effective.get(known::METHODS) {
        Some(Setting::Names(names)) => names.clone(),
        _ => ["GET", "HEAD", "POST"].map(str::to_owned).to_vec(),
    };
    let methods = source.methods.clone().unwrap_or_else(of_route);
    Cors {
        any: source.any,
        origins: source.origins.clone().into(),
        methods: methods.join(", ").into(),
        headers: source.headers.as_deref().map(Box::from),
        expose: source.expose.as_str().into(),
        credentials: source.credentials,
        max_age_s: source.max_age.as_secs(),
    }
}
