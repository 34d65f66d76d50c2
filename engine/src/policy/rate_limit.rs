//! How much each may: rates that all workers count together, exactly (`limit/shard.rs`).
//!
//! What one limit took is given back when a later one refuses, so that a refused request costs
//! its caller nothing. Clients are told where they stand (draft-ietf-httpapi-ratelimit-headers).

use std::fmt::Write;
use std::time::Duration;

use parser::encode;

use super::cx::Who;
use super::{Phase, Policy, Refusal, RequestCx, Verdict};
use crate::http::edit::EditName;
use crate::ids::ConsumerId;
use crate::limit::gcra::{Rate, State};
use crate::limit::key::{KeyHash, Part};
use crate::limit::shard::{Answer, Receipt, Table};
use crate::time::Mono;

/// A part of what a limit counts by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    Client,
    Consumer,
    Route,
    Header(EditName),
    Claim(Box<str>),
}

/// A part of what is known of somebody, as an operator names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    Client(std::net::IpAddr),
    Consumer(String),
    Route(String),
    Header(String, String),
    /// The value as the token has it, in JSON.
    Claim(String, String),
}

impl Given {
    /// `client`, `consumer`, `route`, `header:NAME` or `claim:NAME`, and its value.
    pub fn of(name: &str, value: &str) -> Result<Given, String> {
        let value = value.to_owned();
        Ok(match name {
            "client" => {
                let ip = value.parse().map_err(|_| format!("{value} is no address"))?;
                Given::Client(ip)
            }
            "consumer" => Given::Consumer(value),
            "route" => Given::Route(value),
            _ => match (name.strip_prefix("header:"), name.strip_prefix("claim:")) {
                (Some(name), _) => Given::Header(name.to_owned(), value),
                (_, Some(name)) => Given::Claim(name.to_owned(), value),
                _ => return Err(format!("no limit counts by `{name}`")),
            },
        })
    }

    fn is_of(&self, by: &By) -> bool {
        match (self, by) {
            (Given::Client(_), By::Client)
            | (Given::Consumer(_), By::Consumer)
            | (Given::Route(_), By::Route) => true,
            (Given::Header(name, _), By::Header(known)) => known.text.eq_ignore_ascii_case(name),
            (Given::Claim(name, _), By::Claim(known)) => **known == **name,
            _ => false,
        }
    }
}

/// What a limit is made of.
#[derive(Debug)]
pub struct Source {
    /// The same over generations.
    pub id: u64,
    /// Where it was said, for operators.
    pub name: String,
    /// Its name in what clients are told; no other limit of a request has it.
    pub told: String,
    pub rate: Rate,
    pub count: u64,
    pub time: Duration,
    pub by: Box<[By]>,
    pub cost: u32,
    pub dry_run: bool,
    pub refuse_when_full: bool,
}

/// One limit of a layer, of a listener or of a plan.
#[derive(Debug)]
pub struct RateLimit {
    source: Source,
    /// `RateLimit-Policy`, and `RateLimit` up to the number that is left.
    line: Box<[u8]>,
}

/// Shares that were taken of one request's limits, until it is let through.
#[derive(Debug, Default)]
pub struct Takings(Vec<Receipt>);

impl Takings {
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// A later limit has refused. `clock` reads the time anew.
    pub fn give_back(&mut self, table: &Table, clock: impl Fn() -> Mono) {
        for receipt in self.0.drain(..) {
            table.give_back(&receipt, &clock);
        }
    }
}

impl RateLimit {
    pub fn new(source: Source) -> RateLimit {
        let (name, seconds) = (&source.told, source.time.as_secs().max(1));
        let line = format!(
            "RateLimit-Policy: \"{name}\";q={};w={seconds}\r\nRateLimit: \"{name}\";r=",
            source.count
        );
        RateLimit { source, line: line.into_bytes().into() }
    }

    /// Where it was said.
    pub fn name(&self) -> &str {
        &self.source.name
    }

    pub fn rate(&self) -> &Rate {
        &self.source.rate
    }

    pub fn is_by_route(&self) -> bool {
        self.source.by.contains(&By::Route)
    }

    /// `10 in 1s by client`.
    pub fn text(&self) -> String {
        let Source { count, time, .. } = &self.source;
        format!("{count} in {}s by {}", time.as_secs(), self.parts())
    }

    /// `route and header:X-Tenant`, as operators name them.
    pub fn parts(&self) -> String {
        let part = |by: &By| match by {
            By::Header(name) => format!("header:{}", name.text),
            By::Claim(name) => format!("claim:{name}"),
            By::Client | By::Consumer | By::Route => by.word().to_owned(),
        };
        self.source.by.iter().map(part).collect::<Vec<_>>().join(" and ")
    }

    /// The key of somebody of whom these parts are known, and no others. `None`: the limit counts
    /// by other parts.
    pub fn key_of(&self, table: &Table, given: &[Given], route: &str) -> Option<KeyHash> {
        let is_used = |given: &Given| self.source.by.iter().any(|by| given.is_of(by));
        if !given.iter().all(is_used) {
            return None;
        }
        let mut key = table.key(self.source.id);
        for by in &self.source.by {
            let known = given.iter().find(|given| given.is_of(by));
            key = match (by, known) {
                (By::Client, Some(Given::Client(ip))) => key.client(*ip),
                (By::Consumer, Some(Given::Consumer(name))) => {
                    key.text(Part::Consumer, Some(name.as_bytes()))
                }
                (By::Route, Some(Given::Route(name))) if name == route => {
                    key.text(Part::Route, Some(name.as_bytes()))
                }
                (By::Route, None) => key.text(Part::Route, Some(route.as_bytes())),
                (By::Header(_), Some(Given::Header(_, value))) => {
                    key.text(Part::Header, Some(value.as_bytes()))
                }
                (By::Claim(_), Some(Given::Claim(_, value))) => {
                    key.text(Part::Claim, Some(value.as_bytes()))
                }
                _ => return None,
            };
        }
        Some(key.finish())
    }

    fn take(&self, cx: &mut RequestCx<'_>) -> Verdict {
        let Some(table) = cx.limits else { return Verdict::Pass };
        let Source { rate, cost, dry_run, refuse_when_full, .. } = &self.source;
        let hash = self.key(table, cx);
        let cost = u64::from(*cost);
        let decision = match cx.is_told {
            true => table.ask(hash, rate, cost, cx.now),
            false => table.take(hash, rate, cost, cx.now),
        };
        let admitted = &mut *cx.admitted;
        match decision.answer {
            Answer::Allowed => {
                admitted.takings.0.push(decision.receipt);
                if !dry_run {
                    self.tell_client(&mut admitted.to_client, decision.state);
                }
                Verdict::Pass
            }
            Answer::Full if !refuse_when_full => Verdict::Pass, // counted by the table
            _ if *dry_run => {
                admitted.dry_refusals += 1;
                Verdict::Pass
            }
            Answer::Full => {
                admitted.to_refused.extend_from_slice(b"Retry-After: 1\r\n");
                Verdict::Refuse(Refusal::LIMITS_FULL)
            }
            Answer::Refused => {
                self.tell_client(&mut admitted.to_client, decision.state);
                let wait = rate.wait(decision.state, cost).map_or(1, seconds_up);
                admitted.to_refused.extend_from_slice(b"Retry-After: ");
                encode::decimal(&mut admitted.to_refused, wait.max(1));
                admitted.to_refused.extend_from_slice(b"\r\n");
                Verdict::Refuse(Refusal::RATE)
            }
        }
    }

    fn key(&self, table: &Table, cx: &RequestCx<'_>) -> KeyHash {
        let facts = cx.facts;
        let mut key = table.key(self.source.id);
        for by in &self.source.by {
            key = match by {
                By::Client => match cx.client {
                    Some(ip) => key.client(ip),
                    None => key.text(Part::Header, None), // a unix socket: all are one
                },
                By::Consumer => key.text(Part::Consumer, Some(cx.admitted.consumer(cx.consumers))),
                By::Route => key.text(Part::Route, Some(facts.route)),
                By::Header(name) => {
                    let field = facts.fields.iter().find(|field| name.is(field, facts.head));
                    key.text(Part::Header, field.map(|field| field.value.of(facts.head)))
                }
                By::Claim(name) => {
                    let claims = cx.admitted.claims.as_deref();
                    key.text(
                        Part::Claim,
                        claims.and_then(|claims| claims.raw(name).map(str::as_bytes)),
                    )
                }
            };
        }
        key.finish()
    }

    fn tell_client(&self, out: &mut Vec<u8>, state: State) {
        out.extend_from_slice(&self.line);
        encode::decimal(out, self.source.rate.remaining(state));
        out.extend_from_slice(b";t=");
        encode::decimal(out, seconds_up(self.source.rate.reset(state)));
        out.extend_from_slice(b"\r\n");
    }
}

fn seconds_up(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

impl By {
    pub fn word(&self) -> &'static str {
        match self {
            By::Client => "client",
            By::Consumer => "consumer",
            By::Route => "route",
            By::Header(_) => "header",
            By::Claim(_) => "claim",
        }
    }

    /// Its word, and the name that stands behind it.
    pub fn parts(&self) -> (&'static str, Option<String>) {
        let name = match self {
            By::Header(name) => Some(name.text.to_ascii_lowercase()),
            By::Claim(name) => Some(name.to_string()),
            By::Client | By::Consumer | By::Route => None,
        };
        (self.word(), name)
    }
}

impl Policy for RateLimit {
    const KEY: &'static str = "rate_limit";

    /// By what is known of everyone it guards; what asks for a caller has to wait for one.
    fn phase(&self) -> Phase {
        match self.source.by.iter().all(|by| matches!(by, By::Client)) {
            true => Phase::Guard,
            false => Phase::Limit,
        }
    }

    fn on_request(&self, cx: &mut RequestCx<'_>) -> Verdict {
        self.take(cx)
    }

    fn tell(&self, out: &mut String) {
        let Source { name, dry_run, .. } = &self.source;
        let dry = if *dry_run { ", dry run" } else { "" };
        let _ = write!(out, "{}, of {name}{dry}", self.text());
    }
}

/// What consumers have bought: the limits of the caller's plan.
#[derive(Debug)]
pub struct PlanLimits {
    /// By the number of the plan.
    pub by_plan: Box<[Box<[RateLimit]>]>,
}

impl PlanLimits {
    fn of<'p>(
        &'p self,
        who: Who,
        consumers: &crate::auth::consumers::Consumers,
    ) -> &'p [RateLimit] {
        let plan = |id: ConsumerId| consumers.plan(id);
        let plan = match who {
            Who::Consumer(id) => plan(id),
            Who::Named | Who::Nobody => None,
        };
        plan.and_then(|plan| self.by_plan.get(plan.index())).map_or(&[], |limits| limits)
    }
}

impl Policy for PlanLimits {
    const KEY: &'static str = "plan";

    fn phase(&self) -> Phase {
        Phase::Limit
    }

    fn on_request(&self, cx: &mut RequestCx<'_>) -> Verdict {
        for limit in self.of(cx.admitted.who, cx.consumers) {
            let verdict = limit.take(cx);
            if verdict != Verdict::Pass {
                return verdict;
            }
        }
        Verdict::Pass
    }

    fn tell(&self, out: &mut String) {
        out.push_str("the limits of the caller's plan");
    }
}
