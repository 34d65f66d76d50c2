//! A route's policies in their order, run to a verdict.

use super::{Answer, AnyPolicy, Ask, Refusal, RequestCx, Verdict};
use crate::http::edit::EditName;
use crate::metrics::reason::Reason;

/// The policies of one route or listener.
#[derive(Debug, Default)]
pub struct Chain {
    /// Sorted by phase; within one, as the configuration has them.
    policies: Box<[AnyPolicy]>,
    /// Fields of requests that do not go on: credentials, and what only policies say.
    pub drops: Box<[EditName]>,
    /// Fields of the service's answers that policies write themselves.
    pub answer_drops: Box<[EditName]>,
}

/// How a chain ended, or why it waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Pass,
    Refuse(Refusal),
    Reply(u16, Reason),
    Ask(Ask),
}

impl Chain {
    pub fn new(
        mut policies: Vec<AnyPolicy>,
        drops: Vec<EditName>,
        answer_drops: Vec<EditName>,
    ) -> Chain {
        policies.sort_by_key(AnyPolicy::phase); // stable
        Chain { policies: policies.into(), drops: drops.into(), answer_drops: answer_drops.into() }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// Whether it asks who it is.
    pub fn identifies(&self) -> bool {
        self.policies.iter().any(|policy| matches!(policy, AnyPolicy::Identify(_)))
    }

    /// Whether preflights for its route are not routed by their own method.
    pub fn answers_preflights(&self) -> bool {
        self.policies.iter().any(|policy| matches!(policy, AnyPolicy::Cors(_)))
    }

    /// Whether it leaves requests and answers as they are.
    pub fn does_nothing(&self) -> bool {
        self.is_empty() && self.drops.is_empty() && self.answer_drops.is_empty()
    }

    pub fn policies(&self) -> &[AnyPolicy] {
        &self.policies
    }

    /// From the first policy on.
    pub fn on_request(&self, cx: &mut RequestCx<'_>) -> Outcome {
        self.run(0, cx)
    }

    /// Goes on where it asked.
    pub fn on_answer(&self, cx: &mut RequestCx<'_>, answer: Answer) -> Outcome {
        let at = cx.admitted.at;
        let verdict = self.policies[at].on_answer(cx, answer);
        match self.judge(at, verdict, cx) {
            Some(outcome) => outcome,
            None => self.run(at + 1, cx),
        }
    }

    fn run(&self, from: usize, cx: &mut RequestCx<'_>) -> Outcome {
        for (at, policy) in self.policies.iter().enumerate().skip(from) {
            let verdict = policy.on_request(cx);
            if let Some(outcome) = self.judge(at, verdict, cx) {
                return outcome;
            }
        }
        Outcome::Pass
    }

    #[inline]
    fn judge(&self, at: usize, verdict: Verdict, cx: &mut RequestCx<'_>) -> Option<Outcome> {
        Some(match verdict {
            Verdict::Pass => return None,
            Verdict::Refuse(refusal) => Outcome::Refuse(refusal),
            Verdict::Reply(status, reason) => Outcome::Reply(status, reason),
            Verdict::Ask(ask) => {
                cx.admitted.at = at;
                Outcome::Ask(ask)
            }
        })
    }
}
