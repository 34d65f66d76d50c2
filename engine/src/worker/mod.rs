//! The shell of the data plane: one worker on one thread.
//!
//! ```text
//!  run ─▶ accept (a task per listener) ─▶ conn (a task per connection) ─▶ exchange (per request)
//!   │                                                                        │
//!   └── mailbox: adopt, drain, cut, arrive       dial ─ send ─ answer ─ relay ┘ tunnel, reply, echo
//! ```

mod accept;
mod admit;
mod adopt;
mod answer;
pub mod asks;
mod balance;
mod bells;
mod conn;
mod dial;
mod echo;
mod exchange;
mod find_out;
mod handover;
mod hello;
mod learn;
pub mod mailbox;
pub mod outcome;
mod own;
mod post;
mod relay;
mod scratch;
mod send;
mod tunnel;
pub mod view;
pub mod wire;

use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::h1::client::Answer;
use crate::h1::server::Request;
use crate::http::date::{DATE_LEN, DateCache};
use crate::limit::clients::ClientCounts;
use crate::limit::concurrency::Bells;
use crate::metrics::recorder::Recorder;
use crate::policy::Admitted;
use crate::rng::Rng;
use crate::rt::offload::Offload;
use crate::rt::slot::Slots;
use crate::rt::{self, BufPool, Timers};
use crate::snapshot::Snapshot;
use crate::time::Mono;
use crate::tls::tray::Tray;

use accept::{Acceptor, Listening};
pub use accept::{Bounds, Counts, Socket};
use asks::Asks;
pub use bells::hasher;
use bells::ring;
use dial::Connection;
pub use handover::Peers;
use handover::{Closes, Others};
use hello::Hellos;
use mailbox::{Adoption, Inbox, LogEnd, Mailbox, Outbox};
use scratch::{FREE_SCRATCH_MAX, Scratch};
use view::View;

/// How often idle upstream connections are looked at, while there are any.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);
/// Free request records kept; each is about 5 KiB.
const FREE_REQUESTS_MAX: usize = 256;

/// What a worker is started with.
#[derive(Debug)]
pub struct Seat {
    pub id: u32,
    pub workers: u32,
    pub adoption: Adoption,
    /// Where there are several.
    pub peers: Option<Arc<Peers>>,
    pub outbox: Outbox,
    /// Its own, for those who answer its questions.
    pub mailbox: Mailbox,
    pub offload: Arc<Offload>,
    /// Makes numbers of callers: the same in all workers, which count them together.
    pub hasher: ahash::RandomState,
    pub buf_bytes_max: usize,
    pub seed: [u8; 16],
}

/// One worker's own things. No other thread ever sees them.
#[derive(Debug)]
pub struct Worker {
    pub id: u32,
    workers: u32,
    view: RefCell<Rc<View>>,
    listenings: RefCell<Vec<Rc<Listening>>>,
    acceptors: RefCell<Vec<Rc<Acceptor>>>,
    clients: RefCell<Option<Arc<ClientCounts>>>,
    outbox: Outbox,
    mailbox: Mailbox,
    offload: Arc<Offload>,
    pub asks: Asks,
    /// Workers to be told that a place is free.
    bells: Rc<Bells>,
    hasher: ahash::RandomState,
    log: RefCell<Option<LogEnd>>,
    pub timers: Rc<Timers>,
    pub bufs: Rc<BufPool>,
    slots: Rc<Slots>,
    rng: RefCell<Rng>,
    date: RefCell<DateCache>,
    recorder: RefCell<Box<Recorder>>,
    /// Free scratch for heads on their way out.
    scratch: RefCell<Vec<Vec<u8>>>,
    answer: RefCell<Answer>,
    trailers: RefCell<parser::Fields>,
    /// Boxed: they move between here and their connections' futures.
    #[allow(clippy::vec_box)]
    requests: RefCell<Vec<Box<Request>>>,
    /// What policies leave behind, kept for reuse. Boxed as the requests are.
    #[allow(clippy::vec_box)]
    admitted: RefCell<Vec<Box<Admitted>>>,
    others: RefCell<Others>,
    hellos: Hellos,
    /// Made for the first connection with TLS.
    tray: OnceCell<Rc<RefCell<Tray>>>,
    connections: Cell<u32>,
    accepting: Cell<u32>,
    tunnels: Cell<u32>,
    panics: Cell<u32>,
    cut: Cell<u32>,
    draining: Cell<bool>,
    /// An acceptor waits for a connection to close.
    full: Cell<bool>,
    /// Wakes acceptors and the worker's end, when a connection closes or a drain begins.
    events: RefCell<Vec<Waker>>,
    sweeping: Cell<bool>,
    /// Control knows of a proxy that is not believed.
    told_untrusted: Cell<bool>,
    /// From then on control may be told again why handshakes fail.
    tells_tls_at: Cell<Mono>,
}

/// What a worker says at its end.
#[derive(Debug, Default)]
pub struct Report {
    pub worker: u32,
    pub recorder: Box<Recorder>,
    pub panics: u32,
    /// Exchanges and tunnels that a deadline of the drain ended.
    pub cut: u32,
}

impl Worker {
    /// On the first configuration; `adopt` opens what it listens on.
    pub fn new(seat: &Seat) -> Rc<Worker> {
        let snapshot = &seat.adoption.snapshot;
        let memory_seed = Rng::new(seat.seed).next_u64();
        let (bells, place) = (Rc::default(), (seat.id, seat.workers));
        let view = View::new(snapshot.clone(), place, memory_seed, &bells, None);
        Rc::new(Worker {
            id: seat.id,
            workers: seat.workers,
            view: RefCell::new(Rc::new(view)),
            listenings: RefCell::default(),
            acceptors: RefCell::default(),
            clients: RefCell::default(),
            outbox: seat.outbox.clone(),
            mailbox: seat.mailbox.clone(),
            offload: seat.offload.clone(),
            asks: Asks::default(),
            bells,
            hasher: seat.hasher.clone(),
            log: RefCell::default(),
            timers: Timers::new(rt::now()),
            bufs: BufPool::new(seat.buf_bytes_max),
            slots: Slots::new(),
            rng: RefCell::new(Rng::new(seat.seed)),
            date: RefCell::default(),
            recorder: RefCell::default(),
            scratch: RefCell::new(Vec::with_capacity(FREE_SCRATCH_MAX)),
            answer: RefCell::new(Answer::new(answer_fields_max(snapshot))),
            trailers: RefCell::new(parser::Fields::with_capacity(16)),
            requests: RefCell::new(Vec::with_capacity(FREE_REQUESTS_MAX)),
            admitted: RefCell::default(),
            others: RefCell::new(Others::new(seat.peers.clone())),
            hellos: Hellos::default(),
            tray: OnceCell::new(),
            connections: Cell::new(0),
            accepting: Cell::new(0),
            tunnels: Cell::new(0),
            panics: Cell::new(0),
            cut: Cell::new(0),
            draining: Cell::new(false),
            full: Cell::new(false),
            events: RefCell::default(),
            sweeping: Cell::new(false),
            told_untrusted: Cell::new(false),
            tells_tls_at: Cell::new(Mono(0)),
        })
    }

    pub fn view(&self) -> Rc<View> {
        self.view.borrow().clone()
    }

    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    fn date(&self, now: Mono) -> [u8; DATE_LEN] {
        *self.date.borrow_mut().at(now, rt::wall_seconds)
    }

    /// Where ciphertext is worked on.
    fn tray(&self) -> Rc<RefCell<Tray>> {
        self.tray.get_or_init(Rc::default).clone()
    }

    fn take_request(&self) -> Box<Request> {
        let free = self.requests.borrow_mut().pop();
        let mut request = free.unwrap_or_else(|| {
            Box::new(Request::new(usize::from(fields_max(&self.view().snapshot))))
        });
        request.reset();
        request
    }

    fn give_request(&self, request: Box<Request>) {
        let mut free = self.requests.borrow_mut();
        if free.len() < FREE_REQUESTS_MAX {
            free.push(request);
        }
    }

    fn take_admitted(&self) -> Box<Admitted> {
        self.admitted.borrow_mut().pop().unwrap_or_default()
    }

    fn give_admitted(&self, mut admitted: Box<Admitted>) {
        admitted.clear();
        let mut free = self.admitted.borrow_mut();
        if free.len() < FREE_REQUESTS_MAX && admitted.is_small() {
            free.push(admitted);
        }
    }

    /// Waits until a connection closes or a drain begins.
    async fn event(&self) {
        let mut waited = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut waited, true) {
                return Poll::Ready(());
            }
            let mut events = self.events.borrow_mut();
            if !events.iter().any(|w| w.will_wake(cx.waker())) {
                events.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    fn announce(&self) {
        for waker in self.events.take() {
            waker.wake();
        }
    }

    /// Keeps idle upstream connections from outliving their time or their origin, and buffers from
    /// staying that nobody needs, while there are any.
    pub(super) fn sweep_pools(self: &Rc<Worker>) {
        if self.sweeping.replace(true) {
            return;
        }
        let w = self.clone();
        let sweep = async move {
            loop {
                rt::pause(EXPIRE_EVERY).await;
                let (now, view) = (rt::now(), w.view());
                let mut idle = Vec::new();
                for upstream in &view.upstreams {
                    upstream.expire(now);
                    upstream.each_idle(|c| idle.push(c.stream.handle()));
                }
                w.bufs.trim();
                if idle.is_empty() && !w.bufs.has_spare() {
                    break;
                }
                let ended = rt::not_quiet(&idle);
                if !ended.is_empty() {
                    // TLS may have had something to say of its own.
                    let stays = |c: &Connection| {
                        !ended.contains(&c.stream.handle())
                            || c.stream.is_tls() && c.stream.is_quiet()
                    };
                    view.upstreams.iter().for_each(|u| u.retain_idle(stays));
                }
            }
            w.sweeping.set(false);
        };
        self.spawn(sweep);
    }

    fn spawn(self: &Rc<Worker>, task: impl Future<Output = ()> + 'static) {
        let w = self.clone();
        rt::spawn(task, move || w.panics.set(w.panics.get() + 1));
    }

    /// What is still held although no connection is open; for tests.
    #[cfg(test)]
    pub fn not_at_rest(&self) -> Option<String> {
        let view = self.view();
        let held = [
            ("buffers", self.bufs.leased()),
            ("watches", self.timers.live()),
            ("slots", self.slots.used()),
            ("tunnels", self.tunnels.get()),
            ("handshakes", self.hellos.len() as u32),
            ("questions", self.asks.open_count() as u32),
            ("connections on their way", self.coming()),
            ("upstream connections", view.upstreams.iter().map(|u| u.open.get()).sum()),
            ("exchanges", view.upstreams.iter().map(|u| u.inflight()).sum()),
        ];
        let held: Vec<_> = held.iter().filter(|h| h.1 > 0).collect();
        (!held.is_empty()).then(|| format!("not at rest: {held:?}"))
    }

    /// What is in use beyond what is open, between two steps; for tests.
    #[cfg(test)]
    pub fn overcommitted(&self) -> Option<String> {
        for upstream in &self.view().upstreams {
            let (open, open_max) = (upstream.open.get(), upstream.open_max.get());
            let (idle, used) = (upstream.idle_len() as u32, upstream.inflight());
            if idle + used > open || open > open_max {
                let what = format!("{idle} idle and {used} in use of {open} of {open_max}");
                return Some(format!("upstream connections: {what}"));
            }
        }
        let (slots, connections) = (self.slots.used(), self.connections.get());
        let (watches, tunnels) = (self.timers.live(), self.tunnels.get());
        let is_less = slots.max(tunnels) <= connections && connections <= watches;
        (!is_less).then(|| format!("{slots} slots, {connections} connections, {watches} watches"))
    }
}

fn fields_max(snapshot: &Snapshot) -> u16 {
    snapshot.listeners.iter().map(|l| l.limits.fields_max).max().unwrap_or(100)
}

fn answer_fields_max(snapshot: &Snapshot) -> usize {
    snapshot.upstreams.iter().map(|u| usize::from(u.limits.fields_max)).max().unwrap_or(0)
}

/// Runs one worker until it has drained.
pub async fn run(seat: Seat, inbox: Inbox) -> Report {
    serve(Worker::new(&seat), seat.adoption, inbox).await
}

/// The worker's life: accepts, hears control, drains.
pub async fn serve(w: Rc<Worker>, first: Adoption, inbox: Inbox) -> Report {
    let _closes = Closes(w.clone(), &inbox);
    w.spawn(w.timers.clone().drive());
    w.spawn(ring(w.clone()));
    let view = w.view();
    w.adopt(first, &view);
    drop(view);
    while inbox.heard().await {
        inbox.drain(|message| w.hear(message));
        if w.is_draining() {
            break;
        }
    }
    w.draining.set(true);
    w.expect_no_more();
    w.announce();
    while w.connections.get() > 0 || w.accepting.get() > 0 || w.coming() > 0 {
        let mut heard = pin!(inbox.heard());
        let mut event = pin!(w.event());
        poll_fn(|cx| match heard.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => event.as_mut().poll(cx),
        })
        .await;
        inbox.drain(|message| w.hear(message));
    }
    w.forget_leaving();
    w.view().upstreams.iter().for_each(|u| u.close_idle());
    w.timers.stop();
    w.bells.stop();
    Report { worker: w.id, recorder: w.recorder.take(), panics: w.panics.get(), cut: w.cut.get() }
}
