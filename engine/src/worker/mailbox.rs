//! What control and one worker say to each other.

use std::net::IpAddr;
use std::sync::Arc;

use crate::auth::fetch::Fetch;
use crate::auth::jwks::KeySet;
use crate::ids::{Key, ListenerId, SocketId};
use crate::limit::clients::ClientCounts;
use crate::log::ring::Producer;
use crate::metrics::expose::Standing;
use crate::metrics::recorder::Recorder;
use crate::policy::Answer;
use crate::rt::Ran;
use crate::rt::alarm::Alarm;
use crate::snapshot::Snapshot;
use crate::upstream::Resolved;
use crate::upstream::state::TargetState;
use crate::worker::Report;
use crate::worker::accept::{Bounds, Socket};
use crate::worker::asks::Ticket;
use crate::worker::handover::Arrival;
use crate::worker::post::{self, Post};

/// Where a worker puts the records of its exchanges, and whom it wakes.
#[derive(Debug)]
pub struct LogEnd {
    pub producer: Producer,
    pub alarm: Arc<Alarm>,
}

/// A configuration for one worker: what it starts with, and each one after.
#[derive(Debug)]
pub struct Adoption {
    pub snapshot: Arc<Snapshot>,
    /// By `ListenerId`.
    pub bounds: Box<[Bounds]>,
    /// Once some listener has bounded connections by client.
    pub clients: Option<Arc<ClientCounts>>,
    /// Sockets that are new.
    pub opened: Vec<Socket>,
    /// Every socket that is in use from now on, and the listener it serves. The others retire.
    pub sockets: Box<[(SocketId, ListenerId)]>,
    /// All that is known of names.
    pub resolved: Vec<Resolved>,
    /// With the first configuration that has an access log.
    pub log: Option<LogEnd>,
    /// Issuers' keys, as far as they are known.
    pub keys: Vec<Arc<IssuerKeys>>,
}

#[derive(Debug)]
pub enum ToWorker {
    Adopt(Box<Adoption>),
    /// Accept no more, close idle connections, finish the others.
    Drain,
    /// The drain's deadline for exchanges has passed.
    CutExchanges,
    /// The drain's deadline for tunnels has passed.
    CutTunnels,
    /// Both have.
    CutAll,
    Resolved(Resolved),
    /// Are you there? Pong.
    Ping,
    /// Count into this from now on, and hand over what was counted.
    Numbers(Box<Recorder>),
    /// What it believes about these upstreams is asked.
    States(Arc<AskedStates>),
    /// Every worker has adopted this generation.
    Settled(u64),
    /// From another worker: a connection that it has accepted.
    Arrive(Arrival),
    /// What one of its questions came to.
    Found(Ticket, Answer),
    /// From another worker: a place among those served at one time is free.
    PlaceFree,
    /// An issuer's keys, newer than what it has.
    Keys(Arc<IssuerKeys>),
}

/// Keys of an issuer, and where they were fetched.
#[derive(Debug)]
pub struct IssuerKeys {
    pub from: Fetch,
    pub keys: Arc<KeySet>,
}

/// Upstreams whose states are asked, and the number of the ask.
#[derive(Debug)]
pub struct AskedStates {
    pub ask: u64,
    pub upstreams: Box<[Key]>,
}

#[derive(Debug)]
pub enum FromWorker {
    Runs(Ran),
    Failed(std::io::Error),
    /// It uses this generation for all that begins.
    Adopted(u64),
    /// What it has counted since the last time, and how it stands.
    Numbers(Box<Recorder>, Standing),
    /// A peer with a private address speaks of clients in `X-Forwarded-For`, and is not believed.
    /// Said once.
    Untrusted(IpAddr),
    /// Why an endpoint is not spoken with over TLS. At most one a second.
    Unverified(Box<str>),
    /// It has closed a socket that was given up.
    Closed(SocketId),
    /// It is there, and takes its messages.
    Pong,
    /// A token names a key that it does not have: are there newer ones?
    WantsKeys(Box<Fetch>, Ticket),
    /// The answer to an ask: by upstream, those which it has.
    States(u64, Vec<(Key, Vec<TargetState>)>),
    /// It has ended.
    Report(Box<Report>),
}

/// Control's end, and that of other workers.
#[derive(Debug, Clone)]
pub struct Mailbox(Arc<Post<ToWorker>>);

/// What travels to the worker's thread to become its inbox.
pub type Slot = post::Slot<ToWorker>;

/// The worker's end.
pub type Inbox = post::Inbox<ToWorker>;

/// What workers tell control.
pub type Outbox = post::Outbox<FromWorker>;

pub fn mailbox() -> std::io::Result<(Mailbox, Slot)> {
    let (post, slot) = post::post()?;
    Ok((Mailbox(Arc::new(post)), slot))
}

impl Mailbox {
    /// False when a message is left out that will be said again, since the worker has not taken
    /// its last thousand: it hangs.
    ///
    /// The others always arrive, for nobody would say them again. They are few: one ping and one
    /// spare recorder until the answer, the stages of one drain, and configurations, of which
    /// control makes no more while too many wait (`control/reload.rs`), each settled once.
    /// Each question is answered once, and keys are fetched seldom.
    /// Connections from other workers have a bound of their own (`worker/balance.rs`).
    pub fn send(&self, message: ToWorker) -> bool {
        match message {
            ToWorker::Resolved(_) | ToWorker::States(_) => self.0.offer(message),
            ToWorker::Adopt(_)
            | ToWorker::Drain
            | ToWorker::CutExchanges
            | ToWorker::CutTunnels
            | ToWorker::CutAll
            | ToWorker::Ping
            | ToWorker::Numbers(_)
            | ToWorker::Settled(_)
            | ToWorker::Arrive(_)
            | ToWorker::Found(..)
            | ToWorker::PlaceFree
            | ToWorker::Keys(_) => {
                self.0.send(message);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A spare recorder that got lost would be waited for until the end; a ping, too.
    #[test]
    fn a_worker_that_hangs_loses_nothing_that_is_said_once() {
        let (mailbox, slot) = mailbox().expect("simulated");
        let resolved = Resolved { host: "a".into(), port: 1, addresses: Box::default() };
        let asked = Arc::new(AskedStates { ask: 1, upstreams: Box::default() });
        while mailbox.send(ToWorker::States(asked.clone())) {}
        assert!(!mailbox.send(ToWorker::Resolved(resolved)));
        for _ in 0..2000 {
            assert!(mailbox.send(ToWorker::Numbers(Box::default())));
            assert!(mailbox.send(ToWorker::Ping) && mailbox.send(ToWorker::Drain));
        }
        let mut taken = [0; 3];
        slot.open().expect("simulated").drain(|message| match message {
            ToWorker::Numbers(_) => taken[0] += 1,
            ToWorker::Ping => taken[1] += 1,
            ToWorker::Drain => taken[2] += 1,
            _ => {}
        });
        assert_eq!(taken, [2000; 3]);
    }
}
