//! Numbers of all workers, collected when somebody asks: each hands its recorder over whole and
//! goes on with an empty one. A worker that does not answer in time is left out, and its age told.

use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::oneshot;

use super::{Control, process};
use crate::admin::Answer;
use crate::metrics::expose::{self, Facts, Format, Standing};
use crate::metrics::recorder::Recorder;
use crate::metrics::totals::Totals;
use crate::rt;
use crate::snapshot::Snapshot;
use crate::time::Mono;
use crate::worker::mailbox::ToWorker;

/// How long a collection waits for a worker.
const PATIENCE: Duration = Duration::from_millis(250);
/// Without anybody who asks, numbers are collected this often: a count of one worker has 32 bits,
/// which a busy one fills within hours.
const EVERY: Duration = Duration::from_secs(600);

/// Taken when it is answered.
type Asker = (Format, Option<oneshot::Sender<Answer>>);

/// A collection under way.
struct Collection {
    ends: Mono,
    askers: Vec<Asker>,
    /// A burial that had happened when it began: the keys before this generation are free once it
    /// is complete.
    free_before: Option<u64>,
}

/// The sums, and what is on its way to them.
pub(super) struct Numbers {
    pub(super) totals: Totals,
    /// By worker: its next recorder, unless that is with it.
    spares: Vec<Option<Box<Recorder>>>,
    heard: Vec<Mono>,
    /// By worker, as it last said.
    standing: Vec<Standing>,
    /// By worker: it has ended, and is not asked any more.
    ended: Vec<bool>,
    collected: Mono,
    collection: Option<Collection>,
    pub(super) free_before: Option<u64>,
    pub(super) adopted: u64,
    pub(super) refused: u64,
    /// Files of certificates and keys that could not be used when they were last read.
    pub(super) faulty: Vec<String>,
}

impl Numbers {
    pub(super) fn new(workers: usize) -> Numbers {
        Numbers {
            totals: Totals::default(),
            spares: (0..workers).map(|_| Some(Box::default())).collect(),
            heard: vec![rt::now(); workers],
            standing: vec![Standing::default(); workers],
            ended: vec![false; workers],
            collected: rt::now(),
            collection: None,
            free_before: None,
            adopted: 0,
            refused: 0,
            faulty: Vec::new(),
        }
    }

    /// The names of a configuration, by their keys.
    pub(super) fn adopt(&mut self, snapshot: &Snapshot) {
        let routes = snapshot.routes.iter().zip(&snapshot.keys.routes);
        let upstreams = snapshot.upstreams.iter().zip(&snapshot.keys.upstreams);
        self.totals.adopt(
            routes.map(|(route, key)| (*key, &*route.name)),
            upstreams.map(|(upstream, key)| (*key, &*upstream.name)),
        );
    }

    pub(super) fn ends(&self) -> Mono {
        self.collection.as_ref().map_or(Mono::NEVER, |collection| collection.ends)
    }

    fn is_complete(&self) -> bool {
        self.spares.iter().zip(&self.ended).all(|(spare, ended)| spare.is_some() || *ended)
    }

    /// Nobody has asked for long.
    pub(super) fn is_time(&self) -> bool {
        rt::now().since(self.collected) >= EVERY
    }

    /// What it did last is told with its report.
    pub(super) fn ended(&mut self, worker: usize) {
        self.ended[worker] = true;
        let Standing { panics, .. } = self.standing[worker];
        self.standing[worker] = Standing { panics, ..Standing::default() };
    }

    fn silence_us(&self) -> Vec<u64> {
        self.heard.iter().map(|heard| rt::now().since(*heard).as_micros() as u64).collect()
    }
}

impl Control {
    /// Collects for somebody who asks; those who ask meanwhile share the answer.
    pub(super) fn collect(&mut self, asker: Option<Asker>) {
        let numbers = &mut self.numbers;
        if let Some(collection) = &mut numbers.collection {
            collection.askers.extend(asker);
            return;
        }
        let ends = rt::now().after(PATIENCE);
        numbers.collected = rt::now();
        // What a worker hands over that was asked for before the burial frees nothing.
        let is_fresh = numbers.is_complete();
        let free_before = numbers.free_before.take_if(|_| is_fresh);
        let askers = asker.into_iter().collect();
        numbers.collection = Some(Collection { ends, askers, free_before });
        for (worker, spare) in numbers.spares.iter_mut().enumerate() {
            if numbers.ended[worker] {
                continue;
            }
            // One that has not come back from the last time is still being waited for.
            if let Some(spare) = spare.take() {
                self.workers.send(worker, ToWorker::Numbers(spare));
            }
        }
        self.finish_collection();
    }

    /// A worker has handed its recorder over.
    pub(super) fn collected(
        &mut self,
        worker: u32,
        mut recorder: Box<Recorder>,
        standing: Standing,
    ) {
        let numbers = &mut self.numbers;
        numbers.standing[worker as usize] = standing;
        numbers.totals.absorb(&mut recorder);
        numbers.spares[worker as usize] = Some(recorder);
        numbers.heard[worker as usize] = rt::now();
        self.finish_collection();
    }

    /// Answers when all have handed over, or those that have not in time are given up on.
    pub(super) fn finish_collection(&mut self) {
        let is_complete = self.numbers.is_complete();
        let is_due = is_complete || self.numbers.ends() <= rt::now();
        let Some(mut collection) = self.numbers.collection.take_if(|_| is_due) else { return };
        match collection.free_before {
            Some(before) if is_complete => self.publisher.free_keys(before),
            Some(before) => {
                let later = self.numbers.free_before.get_or_insert(before);
                *later = (*later).max(before);
            }
            None => {}
        }
        if collection.askers.is_empty() {
            return;
        }
        let facts = self.facts();
        // Those who share a collection and a format share the text, too.
        for format in [Format::Prometheus, Format::OpenMetrics] {
            let mut askers = collection.askers.iter_mut().filter(|(f, _)| *f == format).peekable();
            if askers.peek().is_none() {
                continue;
            }
            let text = Bytes::from(expose::write(&self.numbers.totals, &facts, format));
            for (_, asker) in askers {
                let answer = Answer::Text(format.content_type(), text.clone());
                let _ = asker.take().is_some_and(|asker| asker.send(answer).is_ok());
            }
        }
    }

    fn facts(&self) -> Facts {
        let snapshot = self.publisher.present().expect("it runs on one");
        let listeners = snapshot.listeners.iter().zip(&snapshot.keys.listeners);
        let open = |key| self.counted.open_of(key);
        Facts {
            version: env!("CARGO_PKG_VERSION"),
            driver: self.driver.name(),
            generation: snapshot.generation,
            snapshots: self.publisher.alive() as u64,
            adopted: self.numbers.adopted,
            refused: self.numbers.refused,
            connections_open: listeners.map(|(l, key)| (l.name.to_string(), open(key))).collect(),
            certificates: certificates(snapshot),
            certificates_faulty: self.numbers.faulty.clone(),
            listener_full: self.counted.full(),
            standing: self.numbers.standing.iter().copied().sum(),
            hangs: self.watchdog.hangs(),
            log_dropped: self.logger.lost(),
            limit_full: self.limits.table().map_or(0, |table| table.full()),
            limit_keys: self.limits.live() as u64,
            silence_us: self.numbers.silence_us(),
            connections: self.numbers.standing.iter().map(|s| s.connections).collect(),
            start_us: self.began_wall_us,
            process: process::process(),
        }
    }
}

/// Of each listener, its names with the end of what clients get for them.
fn certificates(snapshot: &Snapshot) -> Vec<(String, String, u64)> {
    let mut found = Vec::new();
    for listener in &snapshot.listeners {
        let ends = listener.tls.iter().flat_map(|tls| tls.certs.ends());
        found.extend(ends.map(|(name, end)| (listener.name.to_string(), name.to_owned(), end)));
    }
    found
}
