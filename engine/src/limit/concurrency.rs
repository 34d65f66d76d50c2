//! Only a certain number of requests at one time, over all workers.
//!
//! [`Permits`] are what all workers share: a count (or one for each key), and which workers have
//! requests that wait. A [`Desk`] is one worker's way to them, with its queue. A [`Permit`] holds
//! its desk by `Rc`, so that it can stand in a struct without a lifetime at the price of a plain
//! increment; it is freed by its drop, panics included.
//!
//! ```text
//! free: somebody waits at this desk ── the permit is his, the count stays
//!       else                        ── count down, fence, look for a waiting worker ─▶ its bell
//! wait: into the queue, bit of this worker up, fence, try once more
//! bell: serve the queue; still waiting: bit up, fence, try once more;
//!       nobody waits here any more, but a permit is free: look for another waiting worker
//! ```
//!
//! Invariant: while a permit is free and somebody waits, a bell is on its way or the waiter is
//! about to try. Of who frees and who waits, one sees the other, since each has the fence between
//! its write and its look. Who takes a bit down owes that worker a ring, and a ring that comes too
//! late for its waiter goes on to the next.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use crate::limit::counts::{Counts, Token};
use crate::limit::queue::{Queue, Ticket, Waits};
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};
use crate::time::Mono;

/// Permits that a desk hands over to its own queue in a row while other workers wait.
const OWN_MAX: u32 = 8;

/// What all workers share of one limit; it lives on over reloads.
#[derive(Debug)]
pub struct Permits {
    held: Held,
    /// A bit for each worker with requests that wait.
    waiting: Box<[AtomicU64]>,
}

#[derive(Debug)]
enum Held {
    /// By all together (a route, an upstream).
    Together(AtomicU32),
    /// By each key (a consumer).
    ByKey(Counts),
}

impl Permits {
    pub fn together(workers: usize) -> Permits {
        Permits::new(Held::Together(AtomicU32::new(0)), workers)
    }

    /// `seed` is secret.
    pub fn by_key(workers: usize, seed: u64) -> Permits {
        Permits::new(Held::ByKey(Counts::new(seed)), workers)
    }

    fn new(held: Held, workers: usize) -> Permits {
        let waiting = (0..workers.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Permits { held, waiting }
    }

    /// How many are held now, of this key where they count by key.
    pub fn held(&self, key: u64) -> u32 {
        match &self.held {
            Held::Together(count) => count.load(Ordering::Relaxed),
            Held::ByKey(counts) => counts.open_of(key),
        }
    }

    fn is_by_key(&self) -> bool {
        matches!(self.held, Held::ByKey(_))
    }

    /// Lock-free without a bound: whoever is foiled was foiled by one who came through.
    #[inline]
    fn try_enter(&self, key: u64, max: u32) -> Option<Token> {
        match &self.held {
            Held::Together(count) => {
                let up = |held: u32| (held < max).then(|| held + 1);
                let entered = count.fetch_update(Ordering::AcqRel, Ordering::Relaxed, up);
                entered.ok().map(|_| Token::UNCOUNTED)
            }
            Held::ByKey(counts) => counts.enter(key, max),
        }
    }

    fn leave(&self, token: Token) {
        match &self.held {
            Held::Together(count) => _ = count.fetch_sub(1, Ordering::AcqRel),
            Held::ByKey(counts) => counts.leave(token),
        }
    }

    /// Before another try to enter: whoever frees one after that sees that this worker waits.
    fn announce(&self, worker: usize) {
        self.waiting[worker / 64].fetch_or(1 << (worker % 64), Ordering::AcqRel);
        fence(Ordering::SeqCst);
    }

    fn withdraw(&self, worker: usize) {
        self.waiting[worker / 64].fetch_and(!(1 << (worker % 64)), Ordering::AcqRel);
    }

    fn do_others_wait(&self, me: usize) -> bool {
        let others = |(at, word): (usize, &AtomicU64)| {
            let mine = if at == me / 64 { 1 << (me % 64) } else { 0 };
            word.load(Ordering::Relaxed) & !mine != 0
        };
        self.waiting.iter().enumerate().any(others)
    }

    /// After something was freed: takes down the bit of one waiting worker, the next after `me`
    /// and itself at last. Ring its bell.
    fn next_waiting(&self, me: usize) -> Option<usize> {
        let words = self.waiting.len();
        let (mine, above) = (me / 64, u64::MAX.checked_shl(me as u32 % 64 + 1).unwrap_or(0));
        for step in 0..=words {
            let at = (mine + step) % words;
            let part = match step {
                0 => above,
                _ if step == words => !above,
                _ => u64::MAX,
            };
            let mut word = self.waiting[at].load(Ordering::Relaxed) & part;
            while word != 0 {
                let bit = word & word.wrapping_neg();
                if self.waiting[at].fetch_and(!bit, Ordering::AcqRel) & bit != 0 {
                    return Some(at * 64 + bit.trailing_zeros() as usize);
                }
                word &= !bit; // another took it down and rings
            }
        }
        None
    }
}

/// Workers whose bells a worker has to ring: the shell's to do, after each exchange, after a panic
/// that it caught, or when its waker is woken.
#[derive(Debug, Default)]
pub struct Bells {
    due: RefCell<Vec<usize>>,
    waker: RefCell<Option<Waker>>,
    is_stopped: Cell<bool>,
}

impl Bells {
    pub fn next(&self) -> Option<usize> {
        self.due.borrow_mut().pop()
    }

    /// Nobody is to be rung any more.
    pub fn stop(&self) {
        self.is_stopped.set(true);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    pub fn is_stopped(&self) -> bool {
        self.is_stopped.get()
    }

    /// Woken when there is something to ring, so that no drop of a permit is overlooked.
    pub fn watch(&self, waker: &Waker) {
        *self.waker.borrow_mut() = Some(waker.clone());
    }

    fn add(&self, worker: usize) {
        let mut due = self.due.borrow_mut();
        if !due.contains(&worker) {
            due.push(worker);
        }
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// One worker's way to the permits of one limit.
#[derive(Debug)]
pub struct Desk {
    permits: Arc<Permits>,
    me: usize,
    max: Cell<u32>,
    queue: RefCell<Queue<Waker>>,
    /// Permits in a row that went to its own queue while others waited.
    own: Cell<u32>,
    bells: Rc<Bells>,
}

impl Desk {
    pub fn new(
        permits: Arc<Permits>,
        me: usize,
        max: u32,
        waiting_max: usize,
        bells: Rc<Bells>,
    ) -> Desk {
        let queue = RefCell::new(Queue::new(waiting_max));
        Desk { permits, me, max: Cell::new(max), queue, own: Cell::new(0), bells }
    }

    /// A permit, unless all are held or somebody waits for one here already. `key`: whom it is
    /// for; whose turn it is, and what is counted where permits count by key.
    #[inline]
    pub fn try_enter(self: &Rc<Desk>, key: u64) -> Option<Permit> {
        let queue = self.queue.borrow();
        let is_behind =
            if self.permits.is_by_key() { queue.has_waiting(key) } else { queue.waiting() > 0 };
        if is_behind {
            return None;
        }
        let token = self.permits.try_enter(key, self.max.get())?;
        Some(self.permit(key, token))
    }

    /// Into the queue; `None` when it is full. A permit may be there at once: ask for the state
    /// before waiting.
    pub fn wait(self: &Rc<Desk>, key: u64, deadline: Mono, waker: &Waker) -> Option<Wait> {
        let ticket = self.queue.borrow_mut().push(key, deadline, waker.clone()).ok()?;
        self.permits.announce(self.me);
        self.grant();
        Some(Wait { desk: self.clone(), key, ticket: Some(ticket) })
    }

    /// This worker's bell was rung for this limit (or for any: it costs little), or `max` rose.
    pub fn serve(&self) {
        self.grant();
        if self.queue.borrow().waiting() > 0 {
            self.permits.announce(self.me);
            self.grant();
        }
        // What is still free is for others; the ring was theirs as well.
        if self.queue.borrow().waiting() == 0 {
            self.pass_on();
        }
    }

    /// Wakes those whose deadline has passed; they leave by themselves.
    pub fn expire(&self, now: Mono) {
        while let Some(waker) = { self.queue.borrow_mut().expire(now) } {
            waker.wake();
        }
    }

    /// When [`Desk::expire`] has something to do.
    pub fn deadline(&self) -> Option<Mono> {
        self.queue.borrow().deadline()
    }

    /// From the next decision on.
    pub fn set_max(&self, max: u32) {
        self.max.set(max);
        self.serve();
    }

    /// No configuration has the limit any more: whoever waits goes on, and so does whoever still
    /// comes by an older configuration. Nobody rings for this desk from now on. All at once, since
    /// that is how they would come if they came now: to let them go by and by would keep a limit
    /// that is no longer said, and holds nobody else back.
    pub fn lift(&self) {
        self.set_max(u32::MAX);
    }

    /// From the next who comes on.
    pub fn set_waiting_max(&self, waiting_max: usize) {
        self.queue.borrow_mut().set_waiting_max(waiting_max);
    }

    /// Which cell it is at.
    pub fn is_at(&self, permits: &Arc<Permits>) -> bool {
        Arc::ptr_eq(&self.permits, permits)
    }

    pub fn waiting(&self) -> usize {
        self.queue.borrow().waiting()
    }

    fn permit(self: &Rc<Desk>, key: u64, token: Token) -> Permit {
        Permit { desk: self.clone(), key, token }
    }

    /// As many as there are permits for.
    fn grant(&self) {
        let max = self.max.get();
        let next = || self.queue.borrow_mut().grant(|key| self.permits.try_enter(key, max));
        while let Some(waker) = next() {
            waker.wake();
        }
        if self.queue.borrow().waiting() == 0 {
            self.permits.withdraw(self.me);
        }
    }

    fn freed(&self, key: u64, token: Token) {
        let is_own = self.own.get() < OWN_MAX || !self.permits.do_others_wait(self.me);
        let is_above = self.permits.held(key) > self.max.get(); // which was lowered
        if is_own && !is_above && self.hand_over(key, token) {
            self.own.set(self.own.get() + 1);
            return;
        }
        self.own.set(0);
        self.permits.leave(token);
        fence(Ordering::SeqCst);
        self.pass_on();
    }

    /// To the next who waits here; the count stays as it is.
    fn hand_over(&self, key: u64, token: Token) -> bool {
        let mut queue = self.queue.borrow_mut();
        let waker = match self.permits.is_by_key() {
            true if !token.is_counted() => None,
            true => queue.grant_of(key, token),
            false => queue.grant(|_| Some(token)),
        };
        drop(queue);
        waker.map(Waker::wake).is_some()
    }

    /// Rings for what is free: by key only who waits knows for which, so all that wait are rung.
    fn pass_on(&self) {
        let is_free = |permits: &Permits| match &permits.held {
            Held::Together(count) => count.load(Ordering::Relaxed) < self.max.get(),
            Held::ByKey(_) => true,
        };
        while is_free(&self.permits) {
            let Some(worker) = self.permits.next_waiting(self.me) else { return };
            match worker == self.me {
                true => self.grant_again(),
                false => self.bells.add(worker),
            }
            if !self.permits.is_by_key() || worker == self.me {
                return;
            }
        }
    }

    /// Its own bit was taken down.
    fn grant_again(&self) {
        self.grant();
        if self.queue.borrow().waiting() > 0 {
            self.permits.announce(self.me);
            self.grant();
        }
    }
}

/// Freed when dropped.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    desk: Rc<Desk>,
    key: u64,
    token: Token,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.desk.freed(self.key, self.token);
    }
}

/// A request in the queue. Dropped, it leaves, and frees the permit that it may have been granted.
#[derive(Debug)]
#[must_use]
pub struct Wait {
    desk: Rc<Desk>,
    key: u64,
    ticket: Option<Ticket>,
}

/// What became of a request that waits.
#[derive(Debug)]
pub enum Waited {
    NotYet,
    Permit(Permit),
    Expired,
}

impl Wait {
    /// To be asked after each wake; `waker` is woken by the next change. Not again after the end.
    pub fn state(&mut self, waker: &Waker) -> Waited {
        let Some(ticket) = self.ticket.take() else { return Waited::Expired };
        let mut queue = self.desk.queue.borrow_mut();
        if queue.state(&ticket) == Waits::Waiting {
            queue.replace(&ticket, waker.clone());
            self.ticket = Some(ticket);
            return Waited::NotYet;
        }
        let state = queue.leave(ticket);
        drop(queue);
        match state {
            Waits::Granted(token) => Waited::Permit(self.desk.permit(self.key, token)),
            Waits::Waiting | Waits::Expired => Waited::Expired,
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        let state = self.desk.queue.borrow_mut().leave(ticket);
        if let Waits::Granted(token) = state {
            self.desk.freed(self.key, token);
        } else if self.desk.waiting() == 0 {
            self.desk.permits.withdraw(self.desk.me);
        }
    }
}
