//! What a worker hears: from control another configuration, names, the stages of a drain; from
//! other workers connections.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::ids::SocketId;
use crate::metrics::expose::Standing;
use crate::rt;
use crate::rt::timer::Cut;
use crate::snapshot::Listener;
use crate::worker::Worker;
use crate::worker::accept::{self, Acceptor, Listening, Socket, Use};
use crate::worker::mailbox::{Adoption, AskedStates, FromWorker, ToWorker};
use crate::worker::view::{View, lift_gone};

/// Whole seconds, as the kernel counts them.
fn deferred(listener: &Listener) -> u32 {
    listener.defer_accept.map_or(0, |time| time.as_millis().div_ceil(1000) as u32)
}

impl Worker {
    pub(super) fn hear(self: &Rc<Worker>, message: ToWorker) {
        match message {
            ToWorker::Adopt(adoption) => {
                let generation = adoption.snapshot.generation;
                let before = self.view();
                let seed = self.rng.borrow_mut().next_u64();
                let seat = (self.id, self.workers);
                let view =
                    View::new(adoption.snapshot.clone(), seat, seed, &self.bells, Some(&before));
                lift_gone(&before, &view);
                self.view.replace(Rc::new(view));
                self.adopt(*adoption, &before);
                self.outbox.tell(self.id, FromWorker::Adopted(generation));
            }
            ToWorker::Drain => {
                self.draining.set(true);
                self.view().upstreams.iter().for_each(|u| u.close_idle());
                self.timers.drain_idle();
                self.announce();
            }
            ToWorker::CutExchanges => self.cut(Cut::Exchanges),
            ToWorker::CutTunnels => self.cut(Cut::Tunnels),
            ToWorker::CutAll => self.cut(Cut::All),
            ToWorker::Numbers(spare) => {
                let counted = self.recorder.replace(spare);
                self.outbox.tell(self.id, FromWorker::Numbers(counted, self.standing()));
            }
            ToWorker::Resolved(resolved) => self.view().resolve(&resolved),
            ToWorker::Ping => self.outbox.tell(self.id, FromWorker::Pong),
            ToWorker::States(asked) => self.tell_states(&asked),
            ToWorker::Settled(generation) => self.settled(generation),
            ToWorker::Arrive(arrival) => self.arrive(arrival),
            ToWorker::Found(ticket, answer) => self.asks.answer(ticket, answer),
            ToWorker::PlaceFree => self.view().desks.iter().for_each(|desk| desk.serve()),
            ToWorker::Keys(keys) => self.view().take_keys(&keys),
        }
    }

    fn standing(&self) -> Standing {
        let (busy, tunnels) = (u64::from(self.slots.used()), u64::from(self.tunnels.get()));
        let (panics, open) = (u64::from(self.panics.get()), self.connections.get());
        let requests = busy.saturating_sub(tunnels);
        Standing { panics, requests, tunnels, connections: u64::from(open) }
    }

    fn tell_states(&self, asked: &AskedStates) {
        let view = self.view();
        let known = view.upstreams.iter().zip(&view.snapshot.keys.upstreams);
        let here = known.filter(|(_, key)| asked.upstreams.contains(key));
        let states = here.map(|(local, key)| (*key, local.states(rt::now()))).collect();
        self.outbox.tell(self.id, FromWorker::States(asked.ask, states));
    }

    fn cut(&self, what: Cut) {
        self.cut.set(self.cut.get() + self.timers.cut(what));
    }

    /// Listeners and sockets as the present view wants them; `before` is the view until now.
    pub(super) fn adopt(self: &Rc<Worker>, adoption: Adoption, before: &Rc<View>) {
        let view = self.view();
        adoption.resolved.iter().for_each(|resolved| view.resolve(resolved));
        adoption.keys.iter().for_each(|keys| view.take_keys(keys));
        if adoption.clients.is_some() {
            self.clients.replace(adoption.clients);
        }
        if let Some(log) = adoption.log {
            self.log.replace(Some(log));
        }
        let mut old = self.listenings.take();
        let mut listenings = Vec::with_capacity(adoption.bounds.len());
        for (bounds, key) in adoption.bounds.iter().zip(&view.snapshot.keys.listeners) {
            let listening = match old.iter().position(|l| l.key == *key) {
                Some(known) => old.swap_remove(known),
                None => Listening::new(*key, bounds),
            };
            listening.adopt(bounds);
            listenings.push(listening);
        }
        for gone in old {
            self.others.borrow_mut().keep_leaving(view.snapshot.generation, &gone);
            gone.retire(before.clone());
            self.timers.drain_group(gone.key.0);
        }
        let serves = |id: SocketId| {
            let found = adoption.sockets.iter().find(|(socket, _)| *socket == id);
            found.map(|(_, listener)| {
                (Use::of(&listenings[listener.index()]), view.snapshot.listener(*listener))
            })
        };
        self.acceptors.borrow_mut().retain(|acceptor| match serves(acceptor.id) {
            Some((listening, settings)) => {
                acceptor.listener.set_backlog(settings.backlog);
                acceptor.listener.defer_accept(deferred(settings));
                acceptor.listening.replace(listening);
                true
            }
            None => {
                acceptor.retired.set(true);
                false
            }
        });
        for socket in adoption.opened {
            match serves(socket.id) {
                Some((listening, settings)) => {
                    self.accept_on(socket, listening, deferred(settings));
                }
                None => debug_assert!(false, "a socket is opened for a listener"),
            }
        }
        self.listenings.replace(listenings);
        self.announce();
    }

    fn accept_on(self: &Rc<Worker>, socket: Socket, listening: Use, defer_seconds: u32) {
        let Ok(listener) = rt::Listener::adopt(socket.end, socket.unix) else {
            return self.panics.set(self.panics.get() + 1);
        };
        listener.defer_accept(defer_seconds);
        let acceptor = Rc::new(Acceptor {
            id: socket.id,
            listener,
            listening: RefCell::new(listening),
            retired: Cell::new(false),
        });
        self.acceptors.borrow_mut().push(acceptor.clone());
        self.accepting.set(self.accepting.get() + 1);
        let w = self.clone();
        self.spawn(async move {
            let id = acceptor.id;
            accept::accept_loop(w.clone(), &acceptor).await;
            // A drain ends the loop with the acceptor still in the list.
            w.acceptors.borrow_mut().retain(|a| a.id != id);
            drop(acceptor);
            w.accepting.set(w.accepting.get() - 1);
            w.outbox.tell(w.id, FromWorker::Closed(id));
            w.announce();
        });
    }
}
