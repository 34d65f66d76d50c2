//! Which endpoint, and what this worker believes about it.
//!
//! Everything here belongs to one worker: cursors, pools, failures. `Local` is an upstream as
//! this worker uses it, `Target` one address of it.

pub mod balance;
pub mod pool;
mod resolved;
pub mod retry;
pub mod state;
pub mod target;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use crate::ids::EndpointId;
use crate::rng::Rng;
use crate::snapshot::{Balance, Endpoint, EndpointAddress, Upstream};
use crate::time::Mono;
use crate::tls::ClientTerms;
pub use resolved::Resolved;
pub use target::{Share, Target, Tried};

/// Targets of one endpoint.
type Kept<C> = Vec<Rc<Target<C>>>;

/// Which of how many workers.
pub type Seat = (u32, u32);

/// An upstream as one worker uses it.
#[derive(Debug)]
pub struct Local<C> {
    balance: Cell<Balance>,
    /// By endpoint: those of one share stand together.
    targets: RefCell<Vec<Rc<Target<C>>>>,
    next_serial: Cell<u32>,
    /// What its connections speak TLS with.
    tls: RefCell<Option<Arc<ClientTerms>>>,
    pool_idle: Cell<usize>,
    /// Connections open, idle ones included.
    pub open: Cell<u32>,
    /// This worker's share of `connections_max`.
    pub open_max: Cell<u32>,
    /// Exchanges that wait for a connection below `open_max`.
    waiters: RefCell<Vec<Waker>>,
}

impl<C> Local<C> {
    /// Names have no target until [`Local::resolve`] tells their addresses.
    pub fn new(upstream: &Upstream, seat: Seat) -> Local<C> {
        let local = Local {
            balance: Cell::default(),
            targets: RefCell::default(),
            next_serial: Cell::new(0),
            tls: RefCell::default(),
            pool_idle: Cell::new(0),
            open: Cell::new(0),
            open_max: Cell::new(0),
            waiters: RefCell::default(),
        };
        local.adopt(upstream, seat);
        local
    }

    /// Takes over another generation's settings and endpoints. Targets of endpoints that stay
    /// keep their pools, counts and pauses; what comes back to the others is dropped.
    pub fn adopt(&self, upstream: &Upstream, seat: Seat) {
        self.balance.set(upstream.balance);
        self.speak(&upstream.tls);
        self.pool_idle.set(upstream.pool_idle as usize);
        let (id, workers) = (seat.0, seat.1.max(1));
        let share = |max: u32| max / workers + u32::from(id < max % workers);
        self.open_max.set(upstream.connections_max.map_or(u32::MAX, share));
        // By text, in the order they had: an endpoint that is written twice is two endpoints.
        let mut old: BTreeMap<Box<str>, VecDeque<(EndpointId, Kept<C>)>> = BTreeMap::new();
        for target in self.targets.take() {
            let same = old.entry(target.text.clone()).or_default();
            let id = target.endpoint.get();
            match same.back_mut() {
                Some((last, kept)) if *last == id => kept.push(target),
                _ => same.push_back((id, vec![target])),
            }
        }
        let mut targets = Vec::with_capacity(upstream.endpoints.len());
        for (index, endpoint) in upstream.endpoints.iter().enumerate() {
            let id = EndpointId(index as u32);
            match old.get_mut(&endpoint.text).and_then(VecDeque::pop_front) {
                Some((_, kept)) => targets.extend(kept.into_iter().inspect(|target| {
                    target.endpoint.set(id);
                    target.share.weight.set(endpoint.weight);
                    target.pool.borrow_mut().set_idle_max(upstream.pool_idle as usize);
                })),
                None if matches!(endpoint.address, EndpointAddress::Name { .. }) => {}
                None => {
                    let share = Share::new(endpoint.weight);
                    targets.push(self.target(id, endpoint, share, endpoint.address.clone()));
                }
            }
        }
        let gone = old.into_values().flatten().flat_map(|(_, kept)| kept);
        gone.for_each(|target| target.pool.borrow_mut().close());
        self.targets.replace(targets);
        self.wake_all();
    }

    /// Connections that were made on other terms are not used again: whom they reach was judged by
    /// those.
    fn speak(&self, tls: &Option<Arc<ClientTerms>>) {
        if *self.tls.borrow() == *tls {
            return;
        }
        self.tls.replace(tls.clone());
        let targets = self.targets.take();
        targets.iter().for_each(|target| target.pool.borrow_mut().close());
    }

    /// No snapshot has this upstream any more: what comes back is dropped.
    pub fn retire(&self) {
        self.targets.borrow().iter().for_each(|t| t.pool.borrow_mut().close());
    }

    fn target(
        &self,
        id: EndpointId,
        of: &Endpoint,
        share: Rc<Share>,
        address: EndpointAddress,
    ) -> Rc<Target<C>> {
        let serial = self.next_serial.get();
        self.next_serial.set(serial.wrapping_add(1));
        let idle_max = self.pool_idle.get();
        Target::new(serial, id, of, address, self.tls.borrow().clone(), share, idle_max)
    }

    /// Takes the addresses of a name. Those that stay keep their pools; an empty answer never
    /// reaches here (the last good one is kept).
    pub fn resolve(&self, upstream: &Upstream, resolved: &Resolved) {
        for (index, endpoint) in upstream.endpoints.iter().enumerate() {
            if resolved.is_of(endpoint) {
                self.resolve_endpoint(EndpointId(index as u32), endpoint, resolved);
            }
        }
    }

    fn resolve_endpoint(&self, id: EndpointId, endpoint: &Endpoint, resolved: &Resolved) {
        let mut targets = self.targets.borrow_mut();
        let share = targets.iter().find(|t| t.endpoint.get() == id).map(|t| t.share.clone());
        let share = share.unwrap_or_else(|| Share::new(endpoint.weight));
        let is_kept = |t: &Rc<Target<C>>| {
            t.endpoint.get() != id
                || matches!(&t.address, EndpointAddress::Ip(ip) if resolved.addresses.contains(ip))
        };
        targets.iter().filter(|t| !is_kept(t)).for_each(|t| t.pool.borrow_mut().close());
        targets.retain(is_kept);
        for &ip in &resolved.addresses {
            let address = EndpointAddress::Ip(ip);
            let known = |t: &Rc<Target<C>>| t.endpoint.get() == id && t.address == address;
            if !targets.iter().any(known) {
                let at = targets.partition_point(|t| t.endpoint.get().index() <= id.index());
                targets.insert(at, self.target(id, endpoint, share.clone(), address));
            }
        }
    }

    /// Chooses a target that was not tried yet. Shunned ones are taken only when nothing else
    /// is left: an upstream that is down as a whole is still asked.
    pub fn pick(&self, now: Mono, rng: &mut Rng, tried: &Tried) -> Option<Rc<Target<C>>> {
        let targets = self.targets.borrow();
        if let [only] = targets.as_slice() {
            let usable = only.share.weight.get() > 0 && tried.is_empty();
            return usable.then(|| only.clone()); // Fast path.
        }
        let fresh = |t: &Target<C>| !tried.has(t.serial) && t.share.weight.get() > 0;
        balance::pick(self.balance.get(), &targets, rng, |t| fresh(t) && !t.is_shunned(now))
            .or_else(|| balance::pick(self.balance.get(), &targets, rng, fresh))
            .cloned()
    }

    /// Drops idle connections whose time has come. True while any is left.
    pub fn expire(&self, now: Mono) -> bool {
        let targets = self.targets.borrow();
        targets.iter().filter(|t| t.pool.borrow_mut().expire(now)).count() > 0
    }

    /// Shows every idle connection.
    pub fn each_idle(&self, mut show: impl FnMut(&C)) {
        self.targets.borrow().iter().for_each(|t| t.pool.borrow().iter().for_each(&mut show));
    }

    /// Drops the idle connections for which `keep` says no.
    pub fn retain_idle(&self, keep: impl Fn(&C) -> bool) {
        self.targets.borrow().iter().for_each(|t| t.pool.borrow_mut().retain(&keep));
    }

    /// Makes room under `open_max` by dropping the idle connection of another target.
    pub fn drop_one_idle(&self) -> bool {
        self.targets.borrow().iter().any(|t| t.pool.borrow_mut().drop_oldest())
    }

    pub fn close_idle(&self) {
        self.targets.borrow().iter().for_each(|t| t.pool.borrow_mut().clear());
    }

    pub fn idle_len(&self) -> usize {
        self.targets.borrow().iter().map(|t| t.pool.borrow().len()).sum()
    }

    /// Exchanges under way on all its targets.
    pub fn inflight(&self) -> u32 {
        self.targets.borrow().iter().map(|t| t.inflight.get()).sum()
    }

    pub fn has_targets(&self) -> bool {
        !self.targets.borrow().is_empty()
    }

    pub fn may_open(&self) -> bool {
        self.open.get() < self.open_max.get()
    }

    pub fn wait_in_line(&self, waker: &Waker) {
        let mut waiters = self.waiters.borrow_mut();
        if !waiters.iter().any(|w| w.will_wake(waker)) {
            waiters.push(waker.clone());
        }
    }

    /// A connection became free or closed: those in line try again, the first one first.
    pub fn wake_next(&self) {
        if self.open_max.get() == u32::MAX {
            return; // Fast path: nobody ever waits.
        }
        self.wake_all();
    }

    fn wake_all(&self) {
        for waker in self.waiters.take() {
            waker.wake();
        }
    }
}
