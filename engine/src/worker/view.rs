//! One worker's use of a snapshot: the frozen part and, beside it, what this worker does with it.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::auth::remembered::{Known, Remembered};
use crate::ids::{Key, ListenerId, UpstreamId};
use crate::limit::concurrency::{Bells, Desk, Permits};
use crate::snapshot::{EndpointAddress, Listener, PermitCell, Snapshot};
use crate::upstream::{Local, Resolved, Seat};
use crate::way::Relaxed;
use crate::worker::dial::Connection;
use crate::worker::mailbox::IssuerKeys;

#[derive(Debug)]
pub struct View {
    pub snapshot: Arc<Snapshot>,
    /// By `UpstreamId`. Views share them: a pool outlives its generation.
    pub upstreams: Box<[Rc<Local<Connection>>]>,
    /// Which upstreams have endpoints of a name, sorted.
    names: Box<[(Box<str>, u16, UpstreamId)]>,
    /// By the key of a listener.
    listeners: Box<[Option<ListenerId>]>,
    pub relaxed: Relaxed,
    /// What this worker remembers of each `[auth.NAME]`.
    pub remembered: Remembered,
    /// By the number of the concurrency limit.
    pub desks: Box<[Rc<Desk>]>,
}

/// The desks of a snapshot's limits. One that `before` has, too, is taken over from it, with those
/// who wait.
fn desks(
    snapshot: &Snapshot,
    (me, _): Seat,
    bells: &Rc<Bells>,
    before: Option<&View>,
) -> Box<[Rc<Desk>]> {
    let ids = before.iter().flat_map(|b| b.snapshot.permits.iter().map(|cell| cell.id));
    let known: BTreeMap<u64, &Rc<Desk>> =
        ids.zip(before.iter().flat_map(|b| b.desks.iter())).collect();
    let known = |cell: &PermitCell, permits: &Arc<Permits>| {
        known.get(&cell.id).filter(|desk| desk.is_at(permits)).map(|desk| Rc::clone(desk))
    };
    let desk = |cell: &PermitCell| {
        let permits = cell.permits.as_ref().expect("control gives them before it publishes");
        let waiting_max = cell.queue as usize;
        match known(cell, permits) {
            Some(desk) => {
                desk.set_waiting_max(waiting_max);
                desk.set_max(cell.limit);
                desk
            }
            None => {
                let (permits, bells) = (permits.clone(), bells.clone());
                Rc::new(Desk::new(permits, me as usize, cell.limit, waiting_max, bells))
            }
        }
    };
    snapshot.permits.iter().map(desk).collect()
}

/// Whoever waits for a limit that `now` no longer has is let through: a ring would not reach them.
pub fn lift_gone(before: &View, now: &View) {
    let mut kept: Vec<*const Desk> = now.desks.iter().map(Rc::as_ptr).collect();
    kept.sort_unstable();
    let is_gone = |desk: &&Rc<Desk>| kept.binary_search(&Rc::as_ptr(desk)).is_err();
    before.desks.iter().filter(is_gone).for_each(|desk| desk.lift());
}

/// What each method's memory follows.
fn known(snapshot: &Snapshot) -> impl Iterator<Item = Known<'_>> {
    snapshot.auths.iter().map(|auth| (&*auth.name, auth.fetches().map(|(from, _)| from)))
}

impl View {
    /// Upstreams that `before` has, too, are taken over from it; those which only it has retire.
    pub fn new(
        snapshot: Arc<Snapshot>,
        seat: Seat,
        memory_seed: u64,
        bells: &Rc<Bells>,
        before: Option<&View>,
    ) -> View {
        let mut locals = before.map(View::by_key).unwrap_or_default();
        // It says what differs from the generation before, which must be the one we had.
        let is_next = before.is_some_and(|b| b.snapshot.generation + 1 == snapshot.generation);
        let mut upstreams = Vec::with_capacity(snapshot.upstreams.len());
        let mut names = Vec::new();
        for (index, upstream) in snapshot.upstreams.iter().enumerate() {
            let key = snapshot.keys.upstreams[index];
            upstreams.push(match locals.get_mut(key.index()).and_then(Option::take) {
                Some(local) if is_next && snapshot.keys.unchanged[index] => local,
                Some(local) => {
                    local.adopt(upstream, seat);
                    local
                }
                None => Rc::new(Local::new(upstream, seat)),
            });
            for endpoint in &upstream.endpoints {
                if let EndpointAddress::Name { host, port } = &endpoint.address {
                    names.push((host.clone(), *port, UpstreamId(index as u32)));
                }
            }
        }
        names.sort_unstable();
        names.dedup();
        locals.iter().flatten().for_each(|local| local.retire());
        let mut listeners = Vec::new();
        for (id, key) in snapshot.keys.listeners.iter().enumerate() {
            listeners.resize(listeners.len().max(key.index() + 1), None);
            listeners[key.index()] = Some(ListenerId(id as u32));
        }
        View {
            upstreams: upstreams.into(),
            names: names.into(),
            listeners: listeners.into(),
            relaxed: Relaxed::of(&snapshot),
            desks: desks(&snapshot, seat, bells, before),
            remembered: Remembered::new(
                known(&snapshot),
                before.map(|b| (known(&b.snapshot).collect(), &b.remembered)),
                memory_seed,
            ),
            snapshot,
        }
    }

    /// Takes an issuer's keys, wherever they count.
    pub fn take_keys(&self, issuer: &IssuerKeys) {
        for (auth, memory) in self.snapshot.auths.iter().zip(self.remembered.methods()) {
            if auth.fetches().is_some_and(|(from, _)| *from == issuer.from) {
                memory.take_keys(issuer.keys.clone());
            }
        }
    }

    /// Takes the addresses of a name, wherever it stands.
    pub fn resolve(&self, resolved: &Resolved) {
        let is_before = |name: &(Box<str>, u16, UpstreamId)| {
            (&*name.0, name.1) < (&*resolved.host, resolved.port)
        };
        let from = self.names.partition_point(is_before);
        let same = |name: &&(Box<str>, u16, UpstreamId)| {
            name.0 == resolved.host && name.1 == resolved.port
        };
        for (.., id) in self.names[from..].iter().take_while(same) {
            self.upstreams[id.index()].resolve(self.snapshot.upstream(*id), resolved);
        }
    }

    fn by_key(&self) -> Vec<Option<Rc<Local<Connection>>>> {
        let mut known = Vec::new();
        for (local, key) in self.upstreams.iter().zip(&self.snapshot.keys.upstreams) {
            known.resize(known.len().max(key.index() + 1), None);
            known[key.index()] = Some(local.clone());
        }
        known
    }

    /// The listener's number here, if this generation has it.
    #[inline]
    pub fn listener_id(&self, key: Key) -> Option<ListenerId> {
        self.listeners.get(key.index()).copied().flatten()
    }

    /// Of a connection that was accepted in this generation or before it retired.
    #[inline]
    pub fn listener(&self, key: Key) -> &Listener {
        let id = self.listener_id(key).expect("connections keep to views that have their listener");
        self.snapshot.listener(id)
    }
}
