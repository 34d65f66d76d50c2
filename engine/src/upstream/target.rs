//! One address of an upstream as one worker sees it, and which of them a request has tried.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::pool::Pool;
use crate::ids::EndpointId;
use crate::snapshot::{Endpoint, EndpointAddress, host_text};
use crate::time::Mono;
use crate::tls::ClientTerms;

/// First pause of a target that refused a connection; doubles with each refusal in a row.
pub const SHUN_FIRST: Duration = Duration::from_millis(500);
pub const SHUN_MAX: Duration = Duration::from_secs(15);
/// Targets tried for one request at most, within its time.
pub const TRIES_MAX: usize = 16;

/// An endpoint's place among the others. The targets of a name's addresses have one together, so
/// that its weight counts once.
#[derive(Debug)]
pub struct Share {
    pub weight: Cell<u16>,
    /// Cursor of weighted round robin.
    pub(crate) credit: Cell<i64>,
    /// Which of its targets is next.
    pub(crate) turn: Cell<u32>,
}

impl Share {
    pub fn new(weight: u16) -> Rc<Share> {
        let weight = Cell::new(weight);
        Rc::new(Share { weight, credit: Cell::new(0), turn: Cell::new(0) })
    }
}

/// One address of an upstream. `C` is a connection.
#[derive(Debug)]
pub struct Target<C> {
    /// Told apart from every other target of this worker.
    pub serial: u32,
    /// In the upstream as this worker last adopted it; exchanges may still run on an older one.
    pub(super) endpoint: Cell<EndpointId>,
    /// The endpoint as written: what it is known by over generations.
    pub text: Box<str>,
    pub address: EndpointAddress,
    /// The endpoint's own address: the name that a certificate is asked for.
    pub named: EndpointAddress,
    /// What its connections speak TLS with, whatever an exchange's own view says.
    pub tls: Option<Arc<ClientTerms>>,
    pub share: Rc<Share>,
    /// Exchanges under way on it.
    pub inflight: Cell<u32>,
    /// Refused connections in a row.
    refusals: Cell<u32>,
    pub(super) shunned_until: Cell<Mono>,
    pub pool: RefCell<Pool<C>>,
}

impl<C> Target<C> {
    pub fn new(
        serial: u32,
        endpoint: EndpointId,
        of: &Endpoint,
        address: EndpointAddress,
        tls: Option<Arc<ClientTerms>>,
        share: Rc<Share>,
        idle_max: usize,
    ) -> Rc<Target<C>> {
        Rc::new(Target {
            serial,
            endpoint: Cell::new(endpoint),
            text: of.text.clone(),
            address,
            named: of.address.clone(),
            tls,
            share,
            inflight: Cell::new(0),
            refusals: Cell::new(0),
            shunned_until: Cell::new(Mono(0)),
            pool: RefCell::new(Pool::new(idle_max)),
        })
    }

    pub fn is_shunned(&self, now: Mono) -> bool {
        self.shunned_until.get() > now
    }

    /// A connection was refused or timed out: skipped for a while, longer each time in a row.
    pub fn refused(&self, now: Mono) {
        let times = self.refusals.get().min(8);
        self.refusals.set(times + 1);
        self.shunned_until.set(now.after((SHUN_FIRST * (1 << times)).min(SHUN_MAX)));
        self.pool.borrow_mut().clear();
    }

    pub fn connected(&self) {
        if self.refusals.get() != 0 {
            self.refusals.set(0);
            self.shunned_until.set(Mono(0));
        }
    }

    /// The value of `Host` under `HostMode::Endpoint`; a unix socket's is `localhost`.
    pub fn host_text(&self) -> &[u8] {
        host_text(&self.address, &self.text)
    }
}

/// Targets one request has tried.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tried {
    serials: [u32; TRIES_MAX],
    len: u8,
}

impl Tried {
    pub fn add(&mut self, serial: u32) {
        if let Some(place) = self.serials.get_mut(self.len as usize) {
            *place = serial;
            self.len += 1;
        }
    }

    pub fn has(&self, serial: u32) -> bool {
        self.serials[..self.len as usize].contains(&serial)
    }

    pub fn len(&self) -> usize {
        self.len as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn is_full(&self) -> bool {
        self.len as usize == TRIES_MAX
    }
}
