//! Answers what a request would get: the present configuration says it at once, and what workers
//! believe about its endpoints is asked of them, for a bounded while. A worker answers between two
//! turns of its own; nothing waits on a request's way.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::Control;
use crate::admin::Answer;
use crate::explain::state::Said;
use crate::explain::{Explanation, Query, Source, explain};
use crate::ids::{Key, UpstreamId};
use crate::rt;
use crate::time::Mono;
use crate::upstream::state::TargetState;
use crate::worker::mailbox::{AskedStates, ToWorker};

/// A worker that has not answered by then is reported as not answering.
const PATIENCE: Duration = Duration::from_millis(250);
/// Asks that wait for workers at once.
const ASKED_MAX: usize = 64;

/// Explanations that wait for workers.
#[derive(Default)]
pub(super) struct Asked {
    next: u64,
    waiting: Vec<Waiting>,
}

struct Waiting {
    ask: u64,
    ends: Mono,
    explanation: Explanation,
    /// What the explanation's upstreams are known by.
    upstreams: Vec<(Key, UpstreamId)>,
    said: Vec<Vec<Said>>,
    workers: usize,
    asker: oneshot::Sender<Answer>,
}

impl Asked {
    /// When the first wait ends.
    pub(super) fn next_at(&self) -> Mono {
        self.waiting.iter().map(|waiting| waiting.ends).min().unwrap_or(Mono::NEVER)
    }

    /// A worker has answered.
    pub(super) fn heard(&mut self, ask: u64, states: Vec<(Key, Vec<TargetState>)>) {
        let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.ask == ask) else {
            return; // It came too late.
        };
        let said = states.into_iter().filter_map(|(key, targets)| {
            let known = waiting.upstreams.iter().find(|(known, _)| *known == key);
            known.map(|(_, upstream)| Said { upstream: *upstream, targets })
        });
        waiting.said.push(said.collect());
    }

    /// Answers what is complete, or has waited long enough.
    pub(super) fn answer_due(&mut self, now: Mono) {
        let is_due = |w: &mut Waiting| w.said.len() == w.workers || w.ends <= now;
        for waiting in self.waiting.extract_if(.., is_due) {
            let mut explanation = waiting.explanation;
            explanation.add_states(&waiting.said, waiting.workers);
            answer(waiting.asker, true, explanation.json());
        }
    }
}

impl Control {
    /// Answers at once, or as soon as the workers have.
    pub(super) fn explain(&mut self, query: &str, asker: oneshot::Sender<Answer>) {
        let snapshot = self.publisher.present().expect("it runs on one");
        let explained = Query::from_json(query).and_then(|query| explain(snapshot, &query));
        let mut explanation = match explained {
            Ok(explanation) => explanation,
            Err(why) => return answer(asker, false, json!({ "error": why })),
        };
        let generation = Some(snapshot.generation);
        explanation.source = Source { name: self.loader.name.clone(), generation };
        let key = |id: UpstreamId| (snapshot.keys.upstreams[id.index()], id);
        let upstreams: Vec<(Key, UpstreamId)> =
            explanation.upstreams().into_iter().map(key).collect();
        if upstreams.is_empty() || self.asked.waiting.len() >= ASKED_MAX {
            return answer(asker, true, explanation.json());
        }
        let ask = self.asked.next;
        self.asked.next += 1;
        let keys = upstreams.iter().map(|(key, _)| *key).collect();
        let message = Arc::new(AskedStates { ask, upstreams: keys });
        self.workers.send_all(|| ToWorker::States(message.clone()));
        let (ends, workers) = (rt::now().after(PATIENCE), self.workers.len());
        let said = Vec::with_capacity(workers);
        let waiting = Waiting { ask, ends, explanation, upstreams, said, workers, asker };
        self.asked.waiting.push(waiting);
    }
}

fn answer(asker: oneshot::Sender<Answer>, is_done: bool, json: Value) {
    let _ = asker.send(match is_done {
        true => Answer::Done(json),
        false => Answer::Refused(json),
    });
}
