//! Answers what a request would get: the present configuration says it at once, and what workers
//! believe about its endpoints is asked of them, for a bounded while. A worker answers between two
//! turns of its own; nothing waits on a request's way.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::Control;
use crate::admin::Answer;
use crate::auth::{Now, Wall};
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
        let explained = Query::from_json(query).and_then(|query| explain(snapshot, &query, now()));
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

fn now() -> Now {
    Now { mono: rt::now(), wall: Wall(rt::wall_seconds()) }
}

fn answer(asker: oneshot::Sender<Answer>, is_done: bool, json: Value) {
    let _ = asker.send(match is_done {
        true => Answer::Done(json),
        false => Answer::Refused(json),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Input, load};

    fn waiting(ask: u64, workers: usize) -> (Waiting, oneshot::Receiver<Answer>) {
        let (text, name) = ("[route.a]\nto = \"http://127.0.0.1:1\"\n", "x.toml");
        let (text, name) = (text.to_owned(), name.to_owned());
        let loaded = load(Input { text, name, base_dir: None, sets: Vec::new(), env: &|_| None });
        let query = Query { method: "GET".into(), target: "/".into(), ..Query::default() };
        let explanation =
            explain(&loaded.snapshot.expect("good"), &query, now()).expect("a request");
        let (asker, answered) = oneshot::channel();
        let (ends, said) = (Mono(0).after(PATIENCE), Vec::new());
        let upstreams = vec![(Key(7), explanation.upstreams()[0])];
        (Waiting { ask, ends, explanation, upstreams, said, workers, asker }, answered)
    }

    fn states(key: u32) -> Vec<(Key, Vec<TargetState>)> {
        let text = "127.0.0.1:1";
        let (text, address) = (text.into(), text.to_owned());
        let state = TargetState { text, address, inflight: 2, idle: 1, shunned_for: None };
        vec![(Key(key), vec![state])]
    }

    #[test]
    fn an_answer_waits_for_all_workers_and_no_longer_than_its_patience() {
        let mut asked = Asked::default();
        let ((whole, mut a), (partly, mut b)) = (waiting(1, 2), waiting(2, 2));
        asked.waiting.extend([whole, partly]);
        asked.heard(1, states(7));
        asked.heard(2, states(7));
        asked.heard(9, states(7));
        asked.answer_due(Mono(1));
        assert!(a.try_recv().is_err() && b.try_recv().is_err(), "a worker is missing");
        asked.heard(1, states(8));
        asked.answer_due(Mono(2));
        let answer = a.try_recv().expect("both have answered");
        let Answer::Done(json) = answer else { panic!("refused") };
        let state = &json["action"]["to"][0]["endpoints"][0]["state"];
        assert_eq!((&state["inflight"], &state["workers"]), (&2.into(), &1.into()), "one has it");
        assert_eq!(asked.next_at(), Mono(0).after(PATIENCE));
        asked.answer_due(asked.next_at());
        let answer = b.try_recv().expect("long enough");
        let Answer::Done(json) = answer else { panic!("refused") };
        assert_eq!(json["notes"][0], "1 of 2 workers did not answer in time");
        assert_eq!(asked.next_at(), Mono::NEVER);
    }
}
