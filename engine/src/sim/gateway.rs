//! A gateway in a world: workers, and the control thread's cores in the place of its shell.

use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use crate::config::{self, Input};
use crate::control::bounds::Counted;
use crate::control::drain::{Drain, Step};
use crate::control::limits::Limits;
use crate::control::publish::Publisher;
use crate::control::resolver::Names;
use crate::control::sockets::Sockets;
use crate::control::workers::adoptions;
use crate::rt::{now, pause, sleep_until};
use crate::sim::exec::{note, spawn, world};
use crate::sim::learned::Learned;
use crate::sim::oracle::Shared;
use crate::sim::seen::{Kind, Promise, checked, saw};
use crate::sim::tls;
use crate::snapshot::Snapshot;
use crate::time::Mono;
use crate::worker::mailbox::{Adoption, FromWorker, Mailbox, Outbox, Slot, ToWorker, mailbox};
use crate::worker::{self, Peers, Seat, Worker};

/// When numbers are asked for, after a reload.
const NUMBERS_AFTER: Duration = Duration::from_millis(5);
/// Between telling one worker and the next of a configuration, in microseconds.
const BETWEEN_US_MAX: u32 = 2_000;
/// Buffers above the budget are small, and a connection leases only a few.
const SMALL_LEASES_MAX: usize = 96;

pub fn snapshot(text: &str) -> Snapshot {
    let input = Input {
        text: text.to_owned(),
        name: "sim.toml".to_owned(),
        base_dir: Some(PathBuf::new()),
        sets: Vec::new(),
        env: &|_| None,
    };
    let loaded = config::load_from(input, &tls::files());
    let report = loaded.diagnostics.render(false);
    loaded.snapshot.unwrap_or_else(|| panic!("the simulated configuration is valid: {report}"))
}

/// Control's own things, as in `control`, without its shell.
pub struct Gateway {
    publisher: Publisher,
    sockets: Sockets,
    counted: Counted,
    limits: Limits,
    mailboxes: Vec<Mailbox>,
    outbox: Outbox,
    learned: Learned,
    reports: usize,
    buf_bytes_max: usize,
    oracle: Shared,
}

/// How a gateway is started.
#[derive(Clone, Copy)]
pub struct Size {
    pub workers: u32,
    pub buf_bytes_max: usize,
    /// Of each worker's log.
    pub ring_bytes: usize,
}

impl Gateway {
    /// Starts workers on a first configuration.
    pub fn start(text: &str, size: Size, seed: u64, oracle: &Shared) -> Gateway {
        let Size { workers, buf_bytes_max, ring_bytes } = size;
        let mut gateway = Gateway {
            publisher: Publisher::new(workers),
            sockets: Sockets::new(workers),
            counted: Counted::with_descriptors(20_000, workers, seed),
            limits: Limits::new(workers),
            mailboxes: Vec::new(),
            outbox: Outbox::new(|| {}),
            learned: Learned::new(workers),
            reports: 0,
            buf_bytes_max,
            oracle: oracle.clone(),
        };
        let adoptions = gateway.adoptions(text);
        let (mailboxes, slots): (_, Vec<_>) =
            adoptions.iter().map(|_| mailbox().expect("simulated")).unzip();
        gateway.mailboxes = mailboxes;
        let peers = Peers::of(&gateway.mailboxes);
        for (id, (mut adoption, slot)) in adoptions.into_iter().zip(slots).enumerate() {
            adoption.log = Some(gateway.learned.log_end(ring_bytes));
            let seat = Seat {
                id: id as u32,
                workers,
                adoption,
                peers: peers.clone(),
                outbox: gateway.outbox.clone(),
                mailbox: gateway.mailboxes[id].clone(),
                offload: Default::default(),
                hasher: crate::worker::hasher([seed as u8; 16]),
                buf_bytes_max,
                seed: [seed as u8 ^ id as u8; 16],
            };
            gateway.start_worker(seat, slot);
        }
        gateway.settled(gateway.publisher.generation());
        gateway
    }

    fn settled(&self, generation: u64) {
        self.mailboxes.iter().for_each(|mailbox| _ = mailbox.send(ToWorker::Settled(generation)));
    }

    fn start_worker(&mut self, seat: Seat, slot: Slot) {
        let (oracle, panicked) = (self.oracle.clone(), self.oracle.clone());
        let (outbox, id, budget) = (self.outbox.clone(), seat.id, self.buf_bytes_max);
        let work = async move {
            let inbox = slot.open().expect("simulated");
            let w = Worker::new(&seat);
            oracle.borrow_mut().workers.push(Rc::downgrade(&w));
            let report = worker::serve(w.clone(), seat.adoption, inbox).await;
            checked(Promise::NothingLeft);
            if w.bufs.high_water() > 0 {
                checked(Promise::WithinBudget);
            }
            if report.cut > 0 {
                saw(Kind::Cut);
            }
            let arrivals = w.arrivals();
            (0..arrivals.all).for_each(|_| saw(Kind::HandedOver));
            (0..arrivals.retired).for_each(|_| saw(Kind::HandedOverRetired));
            (0..arrivals.draining).for_each(|_| saw(Kind::HandedOverDraining));
            let mut oracle = oracle.borrow_mut();
            if report.panics > 0 {
                oracle.violated(format!("{} panics", report.panics));
            }
            if let Some(what) = w.not_at_rest() {
                oracle.violated(what);
            }
            let most = budget + SMALL_LEASES_MAX * crate::rt::buf::BLOCK_SMALL;
            if w.bufs.high_water() > most {
                oracle.violated(format!("{} bytes of buffers at once", w.bufs.high_water()));
            }
            outbox.tell(id, FromWorker::Report(Box::new(report)));
        };
        spawn(work, move || panicked.borrow_mut().violated("the worker panicked".to_owned()));
    }

    fn adoptions(&mut self, text: &str) -> Vec<Adoption> {
        let mut snapshot = snapshot(text);
        let derived = self.counted.check(&snapshot).expect("descriptors suffice");
        let plan = match self.sockets.plan(&snapshot) {
            Ok(plan) => plan,
            Err(e) => {
                self.oracle.borrow_mut().violated(e);
                return Vec::new();
            }
        };
        self.limits.give(&mut snapshot);
        let snapshot = self.publisher.publish(snapshot, now());
        let bounds = self.counted.adopt(&snapshot, derived);
        self.learned.adopt(&snapshot);
        let taken = self.sockets.take(plan);
        let no_logs = taken.0.iter().map(|_| None).collect();
        adoptions(&snapshot, &bounds, taken, no_logs, &self.counted, &Names::default(), &[])
    }

    /// Publishes another configuration; workers are told one after the other, and adopt it at their
    /// own time.
    async fn reload(&mut self, text: &str) {
        note!("reload");
        self.hear();
        for (worker, adoption) in self.adoptions(text).into_iter().enumerate() {
            if !adoption.opened.is_empty() {
                saw(Kind::ListenerOpened);
            }
            self.mailboxes[worker].send(ToWorker::Adopt(Box::new(adoption)));
            let us = world(|w| w.rng.below(BETWEEN_US_MAX));
            pause(Duration::from_micros(u64::from(us))).await;
        }
    }

    fn hear(&mut self) {
        while let Some((worker, message)) = self.outbox.next() {
            match message {
                FromWorker::Adopted(generation) => {
                    saw(Kind::Reload);
                    if self.publisher.adopted(generation) {
                        self.settled(generation);
                    }
                }
                FromWorker::Closed(socket) => {
                    saw(Kind::ListenerGone);
                    self.sockets.closed(socket);
                }
                FromWorker::Numbers(recorder, _) => self.learned.absorb(worker, recorder),
                FromWorker::Report(report) => {
                    self.reports += 1;
                    self.learned.absorb(worker, report.recorder);
                }
                FromWorker::Runs(_)
                | FromWorker::Failed(_)
                | FromWorker::Pong
                | FromWorker::Untrusted(_)
                | FromWorker::WantsKeys(..)
                | FromWorker::Unverified(_)
                | FromWorker::States(..) => {}
            }
        }
        self.learned.read_lines(&self.oracle);
        self.publisher.bury();
        self.publisher.free_keys(self.publisher.oldest());
    }

    /// Asks every worker for its numbers.
    fn ask_numbers(&mut self) {
        self.hear();
        for (worker, mailbox) in self.mailboxes.iter().enumerate() {
            if let Some(spare) = self.learned.spare(worker) {
                mailbox.send(ToWorker::Numbers(spare));
            }
        }
    }

    /// Drains to the end, which must come by the last deadline.
    pub async fn drain(mut self) {
        note!("drain");
        self.oracle.borrow_mut().draining = true;
        let server = &self.publisher.present().expect("started on one").server;
        let mut drain = Drain::begin(now(), server);
        while self.reports < self.mailboxes.len() {
            while let Some(step) = drain.due(now()) {
                note!("drain: {step:?}");
                let message = || match step {
                    Step::Close => ToWorker::Drain,
                    Step::CutExchanges => ToWorker::CutExchanges,
                    Step::CutTunnels => ToWorker::CutTunnels,
                    Step::CutAll | Step::GiveUp => ToWorker::CutAll,
                };
                self.mailboxes.iter().for_each(|mailbox| _ = mailbox.send(message()));
                if step == Step::CutAll && self.oracle.borrow().cutting {
                    // Only tunnels are left, and they need no configuration.
                    self.hear();
                    self.only_the_present();
                }
                self.oracle.borrow_mut().cutting |= step != Step::Close;
                if step == Step::GiveUp {
                    let mut oracle = self.oracle.borrow_mut();
                    return oracle.violated("a drain does not end by its deadline".to_owned());
                }
            }
            let next = drain.next_at().expect("the last step ends the loop");
            let soon = now().after(Duration::from_millis(100));
            sleep_until(next.min(soon)).await;
            self.hear();
        }
        // Nobody serves any more: only the present snapshot may be left, and only we hold it.
        self.hear();
        self.only_the_present();
        self.nobody_is_counted();
        self.learned.judge(&mut self.oracle.borrow_mut());
    }

    fn only_the_present(&self) {
        let alive = self.publisher.alive();
        if alive != 1 {
            self.oracle.borrow_mut().violated(format!("{alive} snapshots are alive at rest"));
        }
    }

    /// Oracle 4, for what workers count together.
    fn nobody_is_counted(&self) {
        let open = self.counted.open();
        let still = |ip: &IpAddr| {
            let clients = self.counted.clients();
            clients.is_some_and(|clients| clients.enter(*ip, 1).is_none())
        };
        let known = (1..=3).flat_map(|n| [[10, 0, 2, n], [10, 0, 3, n]]).map(IpAddr::from);
        let still: Vec<IpAddr> = known.filter(still).collect();
        if open > 0 || !still.is_empty() {
            let what = format!("at rest {open} connections are counted, and clients {still:?}");
            self.oracle.borrow_mut().violated(what);
        }
    }

    /// What an operator does to it: reloads, asks for numbers, then a drain.
    pub async fn operate(mut self, reloads: Vec<(Mono, String)>, drain: Mono) {
        for (at, text) in reloads {
            sleep_until(at).await;
            self.reload(&text).await;
            sleep_until(at.after(NUMBERS_AFTER)).await;
            self.ask_numbers();
        }
        sleep_until(drain).await;
        self.hear();
        self.drain().await;
    }
}
