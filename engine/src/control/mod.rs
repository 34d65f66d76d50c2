//! The shell of the control plane: one thread on tokio. Starts workers, hears signals, asks and
//! changes of files, resolves names, publishes configurations, drains. A worker never waits for
//! it.
//!
//! ```text
//!  signals ─┐                       ┌─▶ reload: load ─ sockets ─ names ─ publish ─▶ workers
//!  admin ───┼─▶ Control::hear ──────┼─▶ drain: stages, deadlines, the last line
//!  watch ───┤                       └─▶ answers
//!  workers ─┘  (adopted, closed, reports)
//! ```

#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // clocks and threads live here

mod asks;
pub(crate) mod bounds;
mod cores;
mod doors;
pub(crate) mod drain;
mod explain;
mod fetch;
mod jwks;
pub(crate) mod limits;
mod logger;
mod numbers;
mod process;
pub(crate) mod publish;
mod reload;
pub(crate) mod resolver;
pub(crate) mod sockets;
mod start;
mod status;
mod tickets;
mod voice;
mod watch;
pub(crate) mod watchdog;
pub(crate) mod workers;

use std::net::IpAddr;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::admin::Ask;
use crate::rt;
use crate::time::Mono;
use crate::upstream::Resolved;
use crate::worker::Report;
use crate::worker::mailbox::{FromWorker, ToWorker};
use bounds::Counted;
use drain::{Drain, Step};
use logger::Logger;
use numbers::Numbers;
use publish::Publisher;
pub use reload::Loader;
use reload::Pending;
use resolver::Names;
use sockets::Sockets;
pub use start::{Options, run};
use voice::systemd;
pub use voice::{may_colour, say, say_json, speak_json};
use watch::Watch;
use watchdog::Watchdog;
use workers::Workers;

/// How often freed snapshots are looked for while there are old ones.
const BURY_EVERY: Duration = Duration::from_secs(1);

/// Why the gateway did not start.
#[derive(Debug)]
pub enum Failed {
    /// One line: what, where, what to do.
    Start(String),
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Ended {
    /// Everything that was in flight was finished.
    Drained,
    /// A deadline of the drain cut some of it.
    Cut,
    /// A second signal ended it at once.
    AtOnce,
}

/// Everything that can happen to the control thread.
enum Event {
    End,
    Hup,
    /// SIGUSR1: the log has been moved away.
    Reopen,
    Worker(u32, FromWorker),
    Ask(Ask),
    Learned(Resolved),
    /// An issuer's keys, or why there are none.
    Fetched(jwks::Outcome),
    Changed,
    Due,
}

struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    usr1: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
        })
    }

    /// SIGTERM or SIGINT.
    async fn end(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}

/// The control thread's own things.
struct Control {
    loader: Loader,
    driver: rt::Ran,
    began: Mono,
    workers: Workers,
    publisher: Publisher,
    sockets: Sockets,
    counted: Counted,
    limits: limits::Limits,
    tickets: tickets::Tickets,
    issuers: jwks::Issuers,
    names: Names,
    learned: (mpsc::Sender<Resolved>, mpsc::Receiver<Resolved>),
    signals: Signals,
    asks: mpsc::Receiver<Ask>,
    doors: doors::Doors,
    watch: Option<Watch>,
    /// All files of the configuration, not only lists.
    watches_all: bool,
    /// Reloads that some worker has not adopted yet, oldest first.
    pending: Vec<Pending>,
    /// Of the configuration in force.
    digests: crate::config::Digests,
    /// By worker.
    adopted: Vec<u64>,
    numbers: Numbers,
    logger: Logger,
    /// What the process runs on, whatever was published since.
    began_with: reload::Fixed,
    /// Microseconds since 1970, of the start.
    began_wall_us: u64,
    drain: Option<Drain>,
    untrusted: Untrusted,
    asked: explain::Asked,
    total: Total,
    watchdog: Watchdog,
}

/// Whether it was said that a proxy is not believed: once for all.
#[derive(Default)]
struct Untrusted {
    is_told: bool,
}

impl Untrusted {
    fn tell(&mut self, peer: IpAddr) {
        if !std::mem::replace(&mut self.is_told, true) {
            say(&format!(
                "X-Forwarded-For from {peer} is ignored: add it to server.trusted_proxies if it \
                 is a proxy of yours"
            ));
        }
    }
}

/// What workers said at their end.
#[derive(Default)]
struct Total {
    reports: usize,
    cut: u32,
    panics: u32,
}

impl Total {
    fn add(&mut self, report: &Report) {
        self.reports += 1;
        self.cut += report.cut;
        self.panics += report.panics;
    }
}

impl Control {
    async fn run(mut self) -> Ended {
        loop {
            let event = self.next().await;
            if let Some(ended) = self.hear(event).await {
                return ended;
            }
        }
    }

    async fn next(&mut self) -> Event {
        let due = self.next_due();
        let is_draining = self.drain.is_some();
        let changed = async {
            match &mut self.watch {
                Some(watch) if !is_draining => watch.changed().await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.signals.term.recv() => Event::End,
            _ = self.signals.int.recv() => Event::End,
            _ = self.signals.hup.recv() => Event::Hup,
            _ = self.signals.usr1.recv() => Event::Reopen,
            (worker, message) = self.workers.next() => Event::Worker(worker, message),
            Some(ask) = self.asks.recv() => Event::Ask(ask),
            Some(resolved) = self.learned.1.recv() => Event::Learned(resolved),
            Some(fetched) = self.issuers.heard.recv() => Event::Fetched(fetched),
            () = changed => Event::Changed,
            () = sleep_until(due) => Event::Due,
        }
    }

    /// When something is to be done although nothing happens.
    fn next_due(&self) -> Mono {
        let bury = match self.publisher.alive() {
            0 | 1 => Mono::NEVER,
            _ => rt::now().after(BURY_EVERY),
        };
        let pending = self.pending.first().map_or(Mono::NEVER, |pending| pending.patience_ends);
        let drain = self.drain.as_ref().and_then(Drain::next_at).unwrap_or(Mono::NEVER);
        let asked = self.asked.next_at();
        let (numbers, pings) = (self.numbers.ends(), self.watchdog.next_at());
        bury.min(pending)
            .min(drain)
            .min(asked)
            .min(numbers)
            .min(pings)
            .min(self.limits.next_at())
            .min(self.issuers.next_at())
    }

    async fn hear(&mut self, event: Event) -> Option<Ended> {
        match event {
            Event::End if self.drain.is_some() => return Some(self.end_at_once()),
            Event::End => self.begin_drain(),
            Event::Hup | Event::Changed => self.reload(None).await,
            Event::Reopen => self.logger.reopen(),
            Event::Ask(ask) => self.answer(ask).await,
            Event::Learned(resolved) => {
                self.names.heard(&resolved);
                self.workers.send_all(|| ToWorker::Resolved(resolved.clone()));
            }
            Event::Fetched(outcome) => {
                let news = self.issuers.fetched(outcome);
                self.tell_news(news);
            }
            Event::Worker(id, message) => self.hear_worker(id, message),
            Event::Due => {
                // What has come while this thread was busy is not late.
                while let Some((id, message)) = self.workers.try_next() {
                    self.hear_worker(id, message);
                }
                self.tell_overdue();
                self.finish_collection();
                self.ping_workers();
                self.limits.sweep(rt::now());
                self.issuers.fetch_due();
            }
        }
        if !self.publisher.bury().is_empty() {
            self.numbers.free_before = Some(self.publisher.oldest());
            self.collect(None);
        }
        self.asked.answer_due(rt::now());
        self.step_drain()
    }

    fn hear_worker(&mut self, id: u32, message: FromWorker) {
        match message {
            FromWorker::Adopted(generation) => {
                self.adopted[id as usize] = generation;
                if self.publisher.adopted(generation) {
                    self.in_force(generation);
                }
            }
            FromWorker::Closed(socket) => self.sockets.closed(socket),
            FromWorker::Report(mut report) => {
                self.watchdog.ended(id as usize);
                self.numbers.ended(id as usize);
                self.numbers.totals.absorb(&mut report.recorder);
                self.total.add(&report);
            }
            FromWorker::Numbers(recorder, standing) => self.collected(id, recorder, standing),
            FromWorker::Failed(e) => {
                self.watchdog.ended(id as usize);
                self.numbers.ended(id as usize);
                say(&format!("worker {id} has ended: {e}"));
            }
            FromWorker::Pong => {
                let again = self.watchdog.answered(id as usize, rt::now());
                again.iter().for_each(|line| say(line));
            }
            FromWorker::Untrusted(peer) => self.untrusted.tell(peer),
            FromWorker::Unverified(text) => say(&text),
            FromWorker::WantsKeys(from, ticket) => {
                let news = self.issuers.wanted(&from, id, ticket);
                self.tell_news(news);
            }
            FromWorker::States(ask, states) => self.asked.heard(ask, states),
            FromWorker::Runs(_) => {}
        }
    }

    /// Asks workers whether they are there, and says which of them are not.
    fn ping_workers(&mut self) {
        if rt::now() < self.watchdog.next_at() {
            return;
        }
        // A worker's counts are narrow: they are emptied now and then, whoever asks.
        if self.numbers.is_time() {
            self.collect(None);
        }
        let tick = self.watchdog.tick(rt::now());
        tick.lines.iter().for_each(|line| say(line));
        tick.pings.iter().for_each(|worker| self.workers.send(*worker, ToWorker::Ping));
    }

    fn begin_drain(&mut self) {
        let open = self.counted.open();
        say(&format!("draining {open} connections (a second signal ends at once)"));
        systemd::stopping(&format!("draining {open} connections"));
        let snapshot = self.publisher.present().expect("it runs on one").clone();
        self.drain = Some(Drain::begin(rt::now(), &snapshot.server));
    }

    /// Takes the steps of a drain that are due. Some: it is over.
    fn step_drain(&mut self) -> Option<Ended> {
        let now = rt::now();
        while let Some(step) = self.drain.as_mut()?.due(now) {
            match step {
                Step::Close => {
                    // Whoever starts in our place makes files of its own.
                    self.sockets.remove_files();
                    self.workers.send_all(|| ToWorker::Drain);
                }
                Step::CutExchanges => self.workers.send_all(|| ToWorker::CutExchanges),
                Step::CutTunnels => self.workers.send_all(|| ToWorker::CutTunnels),
                Step::CutAll => self.workers.send_all(|| ToWorker::CutAll),
                Step::GiveUp => {
                    say("a worker did not end: giving up on it");
                    self.logger.end();
                    return Some(Ended::Cut);
                }
            }
        }
        if self.total.reports < self.workers.len() {
            return None;
        }
        self.logger.end();
        say(&status::summary(&self.numbers.totals, &self.total, &self.counted));
        Some(if self.total.cut > 0 { Ended::Cut } else { Ended::Drained })
    }

    fn end_at_once(&mut self) -> Ended {
        self.logger.end();
        say(&format!("ended at once by a second signal, {} connections cut", self.counted.open()));
        Ended::AtOnce
    }
}

async fn sleep_until(at: Mono) {
    if at == Mono::NEVER {
        return std::future::pending().await;
    }
    tokio::time::sleep(at.since(rt::now())).await;
}

/// A task that ends with its owner.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
