//! What the policies of a listener and of a route say of a request: asked as a worker asks them,
//! but nothing is taken and nobody else is asked.

use std::net::IpAddr;

use crate::auth::Now;
use crate::auth::remembered::Remembered;
use crate::http::template::Facts;
use crate::ids::RouteId;
use crate::limit::concurrency::Desk;
use crate::metrics::reason::Reason;
use crate::policy::cx::Question;
use crate::policy::{Admitted, Answer, AnyPolicy, Ask, Refusal, RequestCx, Verdict};
use crate::snapshot::{Listener, Snapshot};

/// One policy, and what it says.
#[derive(Debug)]
pub struct Told {
    pub phase: &'static str,
    pub what: String,
    /// `[group.api]`, and the place.
    pub from: String,
    pub place: String,
    pub says: String,
}

/// What ended a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Passed,
    Refused(Refusal),
    Replied(u16, Reason),
}

/// Whose policies are asked, of which request.
pub(super) struct Chains<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) listener: &'a Listener,
    pub(super) id: RouteId,
    pub(super) client: IpAddr,
    pub(super) method: parser::Method,
    pub(super) now: Now,
}

impl Chains<'_> {
    /// Asks all of them in turn. What they leave behind is in `admitted`.
    pub(super) fn run(&self, facts: &Facts<'_>, admitted: &mut Admitted) -> (Vec<Told>, End) {
        let route = self.snapshot.route(self.id);
        let guards = self.listener.guards.policies().iter().map(|policy| (policy, true));
        let all = guards.chain(route.policies.policies().iter().map(|policy| (policy, false)));
        let (mut told, mut end) = (Vec::new(), End::Passed);
        for (policy, is_guard) in all {
            let says = match end {
                End::Passed => {
                    let before = admitted.to_client.len();
                    let (verdict, unsure) = self.ask(policy, facts, admitted);
                    end = match verdict {
                        Verdict::Refuse(refusal) => End::Refused(refusal),
                        Verdict::Reply(status, reason) => End::Replied(status, reason),
                        Verdict::Pass | Verdict::Ask(_) => End::Passed,
                    };
                    self.says(verdict, unsure, &admitted.to_client[before..], admitted)
                }
                _ => "not reached".to_owned(),
            };
            told.push(self.told(policy, is_guard, says));
        }
        (told, end)
    }

    /// What one says; and what can't be told without asking others.
    fn ask(
        &self,
        policy: &AnyPolicy,
        facts: &Facts<'_>,
        admitted: &mut Admitted,
    ) -> (Verdict, Option<&'static str>) {
        let (remembered, hasher) = (Remembered::default(), ahash::RandomState::with_seed(0));
        let no_desks: [std::rc::Rc<Desk>; 0] = [];
        let mut cx = RequestCx {
            now: self.now.mono,
            wall: self.now.wall.0,
            client: Some(self.client),
            certificate: None,
            method: self.method,
            facts,
            consumers: &self.snapshot.consumers,
            limits: self.snapshot.limits.as_deref(),
            desks: &no_desks,
            hasher: &hasher,
            remembered: &remembered,
            is_told: true,
            admitted,
        };
        let mut verdict = policy.on_request(&mut cx);
        let mut unsure = None;
        while let Verdict::Ask(ask) = verdict {
            let answer = match (ask, &cx.admitted.question) {
                (Ask::Password, Question::Password(asked)) => {
                    match asked.hash.verify(asked.credentials.password()) {
                        true => Answer::Yes,
                        false => Answer::No,
                    }
                }
                (Ask::Forward, _) => {
                    unsure = Some("only the authorisation service knows");
                    return (Verdict::Pass, unsure);
                }
                _ => Answer::Unknown,
            };
            verdict = policy.on_answer(&mut cx, answer);
        }
        if verdict == Verdict::Refuse(Refusal::AUTH_UNAVAILABLE) {
            unsure = Some("its issuer's keys are not known here");
            verdict = Verdict::Pass;
        }
        (verdict, unsure)
    }

    fn says(
        &self,
        verdict: Verdict,
        unsure: Option<&'static str>,
        lines: &[u8],
        admitted: &Admitted,
    ) -> String {
        if let Some(unsure) = unsure {
            return format!("can't be told: {unsure}");
        }
        match verdict {
            Verdict::Refuse(Refusal { problem, reason }) => {
                format!("REFUSES {}: {}", problem.status(), reason.word())
            }
            Verdict::Reply(status, _) => format!("ANSWERS {status}"),
            Verdict::Pass | Verdict::Ask(_) => {
                let lines = String::from_utf8_lossy(lines);
                let left = lines.split(";r=").nth(1).and_then(|rest| rest.split(';').next());
                let consumer = admitted.consumer(&self.snapshot.consumers);
                match left {
                    Some(left) => format!("passes ({left} left after it)"),
                    None if !consumer.is_empty() => {
                        format!("passes: {}", String::from_utf8_lossy(consumer))
                    }
                    None => "passes".to_owned(),
                }
            }
        }
    }

    fn told(&self, policy: &AnyPolicy, is_guard: bool, says: String) -> Told {
        let mut what = String::new();
        policy.tell(&mut what);
        let origin = match is_guard {
            true => None,
            false => self.snapshot.origin(self.id, policy.key()),
        };
        let (from, place) = match origin {
            Some(origin) => (origin.layer, origin.place),
            None if is_guard => (format!("[listener.{}]", self.listener.name), String::new()),
            None => (String::new(), String::new()),
        };
        Told { phase: policy.phase().word(), what, from, place, says }
    }
}
