//! Only a certain number of requests at one time: by route, by upstream, by consumer
//! (`limit/concurrency.rs`). Who finds all places taken may wait for one, by turns between callers.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use super::cx::{Question, Who};
use super::{Answer, Ask, Phase, Policy, Refusal, RequestCx, Verdict};
use crate::auth::consumers::Consumers;
use crate::ids::ConsumerId;
use crate::limit::concurrency::Permit;
use crate::limit::key::client_bits;

/// One limit of a layer or of a plan.
#[derive(Debug)]
pub struct Concurrency {
    /// Its place among the desks of each worker.
    pub number: u32,
    pub limit: u32,
    pub per: Per,
    /// How many more may wait in each worker.
    pub queue: u32,
    pub wait: Duration,
    /// Where it was said, for operators.
    pub name: Box<str>,
}

/// What counts on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    Route,
    Consumer,
    Upstream,
}

/// A request that waits for a place.
#[derive(Debug)]
pub struct Waiting {
    pub number: u32,
    pub key: u64,
    pub wait: Duration,
    /// Once it was its turn.
    pub permit: Option<Permit>,
}

impl Concurrency {
    fn enter(&self, cx: &mut RequestCx<'_>) -> Verdict {
        let Some(desk) = cx.desks.get(self.number as usize).filter(|_| !cx.is_told) else {
            return Verdict::Pass;
        };
        let key = self.key(cx);
        match desk.try_enter(key) {
            Some(permit) => {
                cx.admitted.permits.push(permit);
                Verdict::Pass
            }
            None if self.queue == 0 => self.refuse(cx),
            None => {
                let waiting = Waiting { number: self.number, key, wait: self.wait, permit: None };
                cx.admitted.question = Question::Permit(Box::new(waiting));
                Verdict::Ask(Ask::Permit)
            }
        }
    }

    fn heard(&self, cx: &mut RequestCx<'_>, answer: Answer) -> Verdict {
        let question = std::mem::take(&mut cx.admitted.question);
        match question {
            Question::Permit(mut waiting) if answer == Answer::Yes => {
                cx.admitted.permits.extend(waiting.permit.take());
                Verdict::Pass
            }
            _ => self.refuse(cx),
        }
    }

    fn refuse(&self, cx: &mut RequestCx<'_>) -> Verdict {
        cx.admitted.to_refused.extend_from_slice(b"Retry-After: 1\r\n");
        Verdict::Refuse(match self.per {
            Per::Consumer => Refusal::OWN_CONCURRENCY,
            Per::Route | Per::Upstream => Refusal::CONCURRENCY,
        })
    }

    /// Whose turn it is, and what is counted by consumer: the caller, as far as it is known.
    fn key(&self, cx: &RequestCx<'_>) -> u64 {
        match cx.admitted.who {
            Who::Nobody => cx.hasher.hash_one(turn_of(cx.client)),
            _ => cx.hasher.hash_one((true, cx.admitted.consumer(cx.consumers))),
        }
    }
}

/// Who is not known has turns as limits count: more addresses of one IPv6 network give no more.
fn turn_of(client: Option<IpAddr>) -> (bool, Option<u64>) {
    (false, client.map(client_bits))
}

impl Policy for Concurrency {
    const KEY: &'static str = "concurrency";

    fn phase(&self) -> Phase {
        Phase::Limit
    }

    fn on_request(&self, cx: &mut RequestCx<'_>) -> Verdict {
        self.enter(cx)
    }

    fn on_answer(&self, cx: &mut RequestCx<'_>, answer: Answer) -> Verdict {
        self.heard(cx, answer)
    }

    fn tell(&self, out: &mut String) {
        let per = match self.per {
            Per::Route => "route",
            Per::Consumer => "consumer",
            Per::Upstream => "upstream",
        };
        let _ = write!(out, "{} at one time by {per}, of {}", self.limit, self.name);
        if self.queue > 0 {
            let _ = write!(out, ", {} more wait in each worker", self.queue);
        }
    }
}

/// What consumers have bought: the limits of the caller's plan.
#[derive(Debug)]
pub struct PlanConcurrency {
    /// By the number of the plan.
    pub by_plan: Box<[Box<[Concurrency]>]>,
}

impl PlanConcurrency {
    fn of<'p>(&'p self, who: Who, consumers: &Consumers) -> &'p [Concurrency] {
        let plan = |id: ConsumerId| consumers.plan(id);
        let plan = match who {
            Who::Consumer(id) => plan(id),
            Who::Named | Who::Nobody => None,
        };
        plan.and_then(|plan| self.by_plan.get(plan.index())).map_or(&[], |limits| limits)
    }

    /// From the limit at `step` on.
    fn go_on(&self, cx: &mut RequestCx<'_>, mut step: usize) -> Verdict {
        let limits = self.of(cx.admitted.who, cx.consumers);
        while let Some(limit) = limits.get(step) {
            let verdict = limit.enter(cx);
            if verdict != Verdict::Pass {
                cx.admitted.step = step;
                return verdict;
            }
            step += 1;
        }
        Verdict::Pass
    }
}

impl Policy for PlanConcurrency {
    const KEY: &'static str = "plan";

    fn phase(&self) -> Phase {
        Phase::Limit
    }

    fn on_request(&self, cx: &mut RequestCx<'_>) -> Verdict {
        self.go_on(cx, 0)
    }

    fn on_answer(&self, cx: &mut RequestCx<'_>, answer: Answer) -> Verdict {
        let step = cx.admitted.step;
        let limits = self.of(cx.admitted.who, cx.consumers);
        let Some(limit) = limits.get(step) else {
            return Verdict::Refuse(Refusal::OWN_CONCURRENCY);
        };
        match limit.heard(cx, answer) {
            Verdict::Pass => self.go_on(cx, step + 1),
            verdict => verdict,
        }
    }

    fn tell(&self, out: &mut String) {
        out.push_str("the requests at one time of the caller's plan");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_share_a_turn() {
        let of = |text: &str| turn_of(Some(text.parse().expect("an address")));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_ne!(of("192.0.2.1"), turn_of(None));
    }
}
