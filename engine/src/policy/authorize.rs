//! What callers may: by group, scope, claim or name.

use std::fmt::Write;

use super::cx::Who;
use super::{Phase, Policy, Refusal, RequestCx, Verdict};
use crate::auth::consumers::{has_all, has_any};
use crate::ids::WordId;

/// All that is said must hold: one of the names, one of the groups, all scopes, all claims.
#[derive(Debug, Default)]
pub struct Authorize {
    /// `None`: any.
    pub consumers: Option<Box<[Box<str>]>>,
    pub groups: Option<Box<[WordId]>>,
    pub scopes: Box<[Scope]>,
    pub claims: Box<[(Box<str>, Box<str>)]>,
}

/// A scope as consumers have it, and as tokens do.
#[derive(Debug)]
pub struct Scope {
    pub id: WordId,
    pub text: Box<str>,
}

impl Authorize {
    fn allows(&self, cx: &RequestCx<'_>) -> bool {
        let (consumers, admitted) = (cx.consumers, &*cx.admitted);
        let known = match admitted.who {
            Who::Consumer(id) => Some(id),
            Who::Named | Who::Nobody => None,
        };
        let name = admitted.consumer(consumers);
        let is_named = |names: &[Box<str>]| names.iter().any(|n| n.as_bytes() == name);
        if admitted.who == Who::Nobody
            || self.consumers.as_deref().is_some_and(|names| !is_named(names))
        {
            return false;
        }
        if let Some(groups) = &self.groups
            && !known.is_some_and(|id| has_any(consumers.groups(id), groups))
        {
            return false;
        }
        let claims = admitted.claims.as_deref();
        let has_scope = |scope: &Scope| {
            let own = known.is_some_and(|id| has_all(consumers.scopes(id), &[scope.id]));
            own || claims.is_some_and(|claims| claims.has_scope(&scope.text))
        };
        let has_claim = |(name, value): &(Box<str>, Box<str>)| {
            claims.is_some_and(|claims| claims.has(name, value))
        };
        self.scopes.iter().all(has_scope) && self.claims.iter().all(has_claim)
    }
}

impl Policy for Authorize {
    const KEY: &'static str = "allow";

    fn phase(&self) -> Phase {
        Phase::Authorize
    }

    fn on_request(&self, cx: &mut RequestCx<'_>) -> Verdict {
        match self.allows(cx) {
            true => Verdict::Pass,
            false => Verdict::Refuse(Refusal::FORBIDDEN),
        }
    }

    fn tell(&self, out: &mut String) {
        out.push_str("allow");
        let mut list = |what: &str, words: &mut dyn Iterator<Item = &str>| {
            let words: Vec<&str> = words.collect();
            if !words.is_empty() {
                let _ = write!(out, " {what} {}", words.join(" "));
            }
        };
        list("consumers", &mut self.consumers.iter().flatten().map(|name| &**name));
        list("scopes", &mut self.scopes.iter().map(|scope| &*scope.text));
        list("claims", &mut self.claims.iter().map(|(name, _)| &**name));
        if let Some(groups) = &self.groups {
            let _ = write!(out, " one of {} groups", groups.len());
        }
    }
}
