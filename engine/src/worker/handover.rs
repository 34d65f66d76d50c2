//! A connection on its way from the worker that accepted it to one that has fewer.
//!
//! ```text
//!  accept ─ counted ─ reserve ─ send ═══ inbox ═══▶ arrive ─ place ─ conn       as if accepted here
//!              └── kept: no peers, a change or a drain under way, others have as many ──▶ conn
//! ```
//!
//! It travels as a descriptor that no ring knows, and counts for its listener and client all the
//! way. What the other worker must know for it is its listener, which has come with a
//! configuration. So connections are handed over only under one that is settled: every worker has
//! adopted it. The other one may be ahead then, and have retired the listener; that one and its
//! view are kept until all know that it is retired. The inbox has an order: what was sent before
//! that is taken before.
//!
//! Invariant: who is about to send has reserved, and a worker ends only when it is closed and
//! nothing is on its way to it.

use std::mem;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::ids::Key;
use crate::limit::clients::ClientCounts;
use crate::rt::StreamEnd;
use crate::worker::Worker;
use crate::worker::accept::{Counts, Listening, Use, welcome};
use crate::worker::balance::Loads;
use crate::worker::mailbox::{Inbox, Mailbox, ToWorker};

/// All workers of a process that has several, as each sees them.
#[derive(Debug)]
pub struct Peers {
    mailboxes: Box<[Mailbox]>,
    pub(super) loads: Loads,
}

impl Peers {
    /// `None` for one worker: there is nobody to hand anything to.
    pub fn of(mailboxes: &[Mailbox]) -> Option<Arc<Peers>> {
        let several = mailboxes.len() > 1;
        several.then(|| {
            Arc::new(Peers { mailboxes: mailboxes.into(), loads: Loads::new(mailboxes.len()) })
        })
    }
}

/// A connection on its way.
#[derive(Debug)]
pub struct Arrival {
    end: StreamEnd,
    ip: Option<IpAddr>,
    listener: Key,
    counted: Counted,
}

/// What it is counted in; uncounted when it gets lost.
#[derive(Debug)]
struct Counted {
    counts: Option<Arc<Counts>>,
    client: Option<(Arc<ClientCounts>, u64)>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counts.iter().for_each(|counts| counts.leave());
        self.client.iter().for_each(|(clients, client)| clients.leave(*client));
    }
}

/// What a worker knows of the others.
#[derive(Debug, Default)]
pub(super) struct Others {
    peers: Option<Arc<Peers>>,
    /// The last generation that every worker has adopted, as far as this one was told.
    settled: u64,
    /// Listeners that have retired, by the generation that has them no more, until it is settled.
    leaving: Vec<(u64, Use)>,
    #[cfg(test)]
    arrivals: Arrivals,
}

/// Connections that came from others; for tests.
#[cfg(test)]
#[derive(Debug, Default, Clone, Copy)]
pub struct Arrivals {
    pub all: u32,
    /// On a listener that had retired, and on a worker that drained.
    pub retired: u32,
    pub draining: u32,
}

impl Others {
    /// Tells another worker that a place among those served at one time is free.
    pub(super) fn ring(&self, worker: usize) {
        if let Some(mailbox) = self.peers.as_ref().and_then(|peers| peers.mailboxes.get(worker)) {
            mailbox.send(ToWorker::PlaceFree);
        }
    }

    pub(super) fn new(peers: Option<Arc<Peers>>) -> Others {
        Others { peers, ..Others::default() }
    }

    /// Before `listening` retires with `generation`.
    pub(super) fn keep_leaving(&mut self, generation: u64, listening: &Rc<Listening>) {
        if self.peers.is_some() {
            self.leaving.push((generation, Use::of(listening)));
        }
    }
}

impl Worker {
    pub(super) fn set_connections(&self, connections: u32) {
        self.connections.set(connections);
        if let Some(peers) = &self.others.borrow().peers {
            peers.loads.set_open(self.id as usize, connections);
        }
    }

    /// A connection that was accepted and counted goes to another worker. `Some`: it stays.
    pub(super) fn hand_over(
        &self,
        end: StreamEnd,
        ip: Option<IpAddr>,
        client: Option<u64>,
        listening: &Listening,
    ) -> Option<StreamEnd> {
        let others = self.others.borrow();
        let Some(peers) = &others.peers else { return Some(end) };
        let is_settled = others.settled == self.view.borrow().snapshot.generation;
        if !is_settled || self.is_draining() || listening.is_retired() {
            return Some(end);
        }
        let Some(to) = peers.loads.reserve(self.id as usize) else { return Some(end) };
        let clients = self.clients.borrow();
        let client = clients.as_ref().zip(client).map(|(clients, c)| (clients.clone(), c));
        let counted = Counted { counts: Some(listening.counts().clone()), client };
        let arrival = Arrival { end, ip, listener: listening.key, counted };
        peers.mailboxes[to].send(ToWorker::Arrive(arrival));
        None
    }

    /// Takes a connection that another worker has accepted.
    pub(super) fn arrive(self: &Rc<Worker>, arrival: Arrival) {
        let Arrival { end, ip, listener, mut counted } = arrival;
        let Some(listening) = self.knows(listener) else {
            debug_assert!(false, "it is handed over under a configuration that all have");
            return self.arrived();
        };
        counted.counts.take();
        let client = counted.client.take().map(|(clients, client)| {
            // There is one table in the process, which this worker may not have been told of.
            self.clients.borrow_mut().get_or_insert(clients);
            client
        });
        #[cfg(test)]
        {
            let arrivals = &mut self.others.borrow_mut().arrivals;
            arrivals.all += 1;
            arrivals.retired += u32::from(listening.is_retired());
            arrivals.draining += u32::from(self.is_draining());
        }
        welcome(self, end, ip, client, &listening);
        self.arrived();
    }

    /// After it was counted here, so that it counts all the time.
    fn arrived(&self) {
        if let Some(peers) = &self.others.borrow().peers {
            peers.loads.arrived(self.id as usize);
        }
    }

    fn knows(&self, listener: Key) -> Option<Rc<Listening>> {
        let known = self.listenings.borrow().iter().find(|l| l.key == listener).cloned();
        known.or_else(|| {
            let others = self.others.borrow();
            others
                .leaving
                .iter()
                .map(|(_, leaving)| leaving.listening())
                .find(|l| l.key == listener)
        })
    }

    /// Every worker has adopted `generation`.
    pub(super) fn settled(&self, generation: u64) {
        let mut others = self.others.borrow_mut();
        others.settled = generation;
        let all_know = |(since, _): &mut (u64, Use)| *since <= generation;
        let gone: Vec<_> = others.leaving.extract_if(.., all_know).collect();
        drop(others);
        drop(gone); // and views with it, when nothing is borrowed
    }

    /// Connections on their way here.
    pub(super) fn coming(&self) -> u32 {
        let others = self.others.borrow();
        others.peers.as_ref().map_or(0, |peers| peers.loads.coming(self.id as usize))
    }

    /// No more connections come from others than those on their way.
    pub(super) fn expect_no_more(&self) {
        if let Some(peers) = &self.others.borrow().peers {
            peers.loads.close(self.id as usize);
        }
    }

    /// For tests.
    #[cfg(test)]
    pub fn arrivals(&self) -> Arrivals {
        self.others.borrow().arrivals
    }

    /// Nothing is on its way any more.
    pub(super) fn forget_leaving(&self) {
        let leaving = mem::take(&mut self.others.borrow_mut().leaving);
        drop(leaving); // and views with it, when nothing is borrowed
    }
}

/// Whatever ends a worker, a panic too: nobody sends it connections from then on, and those that
/// were on their way are closed.
pub(super) struct Closes<'a>(pub(super) Rc<Worker>, pub(super) &'a Inbox);

/// Looks for what is still on its way to a worker that has ended: who sends is between two calls.
const LAST_LOOKS_MAX: u32 = 100_000;

impl Drop for Closes<'_> {
    fn drop(&mut self) {
        let Closes(w, inbox) = self;
        w.expect_no_more();
        for _ in 0..LAST_LOOKS_MAX {
            if w.coming() == 0 {
                return; // As it is unless there was a panic.
            }
            inbox.drain(|message| {
                if let ToWorker::Arrive(arrival) = message {
                    drop(arrival);
                    w.arrived();
                }
            });
            std::hint::spin_loop();
        }
    }
}
