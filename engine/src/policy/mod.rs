//! What may stop or shape a request before it reaches its service: one file per policy.
//!
//! A route's chain is a compiled slice, sorted by phase; a route without policies has none and
//! pays for none. A policy is synchronous: what takes time is asked for ([`Ask`]), awaited by the
//! shell, and told to the policy again.

use std::sync::Arc;

use crate::http::problem::Problem;
use crate::metrics::reason::Reason;

pub mod api_key;
pub mod authorize;
pub mod basic;
pub mod chain;
pub mod concurrency;
pub mod cors;
pub mod cx;
pub mod forward_auth;
pub mod identify;
pub mod ip;
pub mod jwt;
pub mod rate_limit;

pub use chain::{Chain, Outcome};
pub use cx::{Admitted, RequestCx, Who};

/// Where a policy runs, whatever the order in the file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// By what is known of everyone: the address, the origin of a page.
    Guard,
    /// Who it is.
    Identify,
    /// What they may do.
    Authorize,
    /// How much of it.
    Limit,
}

impl Phase {
    pub const fn word(self) -> &'static str {
        match self {
            Phase::Guard => "Guard",
            Phase::Identify => "Identify",
            Phase::Authorize => "Authorize",
            Phase::Limit => "Limit",
        }
    }
}

/// What a policy says of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Pass,
    /// The client is told; challenges and waits stand in the context.
    Refuse(Refusal),
    /// The gateway answers with this status and what stands in the context: a preflight, or what
    /// an authorisation service wants the client to be told.
    Reply(u16, Reason),
    /// Something has to be found out first.
    Ask(Ask),
}

/// A question that the shell answers; what it is about stands in [`Admitted`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    /// Whether a password fits its hash, which takes a helper thread some milliseconds.
    Password,
    /// Newer keys of an issuer, since a token names one that is not known.
    Keys,
    /// What an authorisation service says.
    Forward,
    /// A place among those that are served at one time.
    Permit,
}

/// What a shell found out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    Yes,
    No,
    /// It could not be found out.
    Unknown,
}

/// A stop, with what the client and the operator are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    pub problem: Problem,
    pub reason: Reason,
}

impl Refusal {
    /// What a limit refuses has cost its caller nothing; a wrong credential has.
    pub fn is_by_limit(self) -> bool {
        matches!(
            self.problem,
            Problem::RateLimited | Problem::TooManyAtOnce | Problem::TooManyOfYours
        )
    }
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $id:ident = $problem:ident $reason:ident,)*) => {
        impl Refusal {
            $($(#[$doc])*
            pub const $id: Refusal =
                Refusal { problem: Problem::$problem, reason: Reason::$reason };)*
        }
    };
}

refusals! {
    /// From an address that may not.
    ADDRESS = AddressDenied AddressDenied,
    /// No credential came with it.
    NO_CREDENTIAL = Unauthenticated NoCredential,
    /// What came proves nothing: unknown, wrong, malformed, twice, too long. Which of it is the
    /// operator's to know.
    BAD_CREDENTIAL = BadCredential BadCredential,
    /// It was good once, or is not yet.
    EXPIRED = BadCredential ExpiredCredential,
    /// Who it is is known, and may not.
    FORBIDDEN = Forbidden Forbidden,
    /// Credentials can't be checked now.
    AUTH_UNAVAILABLE = AuthUnavailable AuthUnavailable,
    /// More than a rate allows.
    RATE = RateLimited RateLimited,
    /// No memory for one more key, and the limit says that it is refused then.
    LIMITS_FULL = RateLimited LimitsFull,
    /// More at one time than may be, by all together.
    CONCURRENCY = TooManyAtOnce Concurrency,
    /// The same, by one caller.
    OWN_CONCURRENCY = TooManyOfYours Concurrency,
}

/// One rule of a chain.
pub trait Policy {
    /// The key that makes it, as files have it.
    const KEY: &'static str;

    /// May depend on the instance: a limit by address guards, one by consumer limits.
    fn phase(&self) -> Phase;

    fn on_request(&self, cx: &mut RequestCx<'_>) -> Verdict;

    /// After an `Ask`. A policy that asks and forgets to listen refuses.
    fn on_answer(&self, _cx: &mut RequestCx<'_>, _answer: Answer) -> Verdict {
        Verdict::Refuse(Refusal::AUTH_UNAVAILABLE)
    }

    /// What it would say, as one line for people, beside its verdict.
    fn tell(&self, out: &mut String);
}

/// What is known of each policy, for documents and their tests.
#[derive(Debug, Clone, Copy)]
pub struct PolicyInfo {
    pub key: &'static str,
}

macro_rules! policies {
    ($($module:ident::$name:ident,)*) => {
        /// Made once, when a configuration compiles, and shared by the routes of a layer: a chain
        /// is a slice of 16 bytes each.
        #[derive(Debug)]
        pub enum AnyPolicy { $($name(Arc<$module::$name>),)* }

        impl AnyPolicy {
            pub fn phase(&self) -> Phase {
                match self { $(AnyPolicy::$name(policy) => policy.phase(),)* }
            }

            #[inline]
            pub fn on_request(&self, cx: &mut RequestCx<'_>) -> Verdict {
                match self { $(AnyPolicy::$name(policy) => policy.on_request(cx),)* }
            }

            pub fn on_answer(&self, cx: &mut RequestCx<'_>, answer: Answer) -> Verdict {
                match self { $(AnyPolicy::$name(policy) => policy.on_answer(cx, answer),)* }
            }

            /// Whether it needs the table of rate limits.
            pub fn counts(&self) -> bool {
                matches!(self, AnyPolicy::RateLimit(_) | AnyPolicy::PlanLimits(_))
            }

            pub fn key(&self) -> &'static str {
                match self { $(AnyPolicy::$name(_) => <$module::$name as Policy>::KEY,)* }
            }

            pub fn tell(&self, out: &mut String) {
                match self { $(AnyPolicy::$name(policy) => policy.tell(out),)* }
            }
        }

        $(impl From<$module::$name> for AnyPolicy {
            fn from(policy: $module::$name) -> AnyPolicy {
                AnyPolicy::$name(Arc::new(policy))
            }
        })*

        /// THE LIST, in the order of the documents.
        pub const POLICIES: &[PolicyInfo] =
            &[$(PolicyInfo { key: <$module::$name as Policy>::KEY },)*];
    };
}

policies! {
    ip::Ip,
    cors::Cors,
    identify::Identify,
    authorize::Authorize,
    rate_limit::RateLimit,
    rate_limit::PlanLimits,
    concurrency::Concurrency,
    concurrency::PlanConcurrency,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_has_its_part_of_the_page() {
        let page = include_str!("../../../docs/policies.md");
        for policy in POLICIES {
            let heading = format!("## `{}`", policy.key);
            assert!(page.lines().any(|line| line == heading), "{heading}");
        }
    }
}
