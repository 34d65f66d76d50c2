//! Between control and one worker: a bounded queue with a doorbell one way, a queue with a wake
//! the other.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crossbeam::queue::{ArrayQueue, SegQueue};

use crate::ids::{Key, ListenerId, SocketId};
use crate::limit::clients::ClientCounts;
use crate::log::ring::Producer;
use crate::metrics::expose::Standing;
use crate::metrics::recorder::Recorder;
use crate::rt::alarm::Alarm;
use crate::rt::{Bell, BellEnd, Doorbell, Ran};
use crate::snapshot::Snapshot;
use crate::upstream::Resolved;
use crate::upstream::state::TargetState;
use crate::worker::Report;
use crate::worker::accept::{Bounds, Socket};

/// Messages a worker has not taken yet; control sends few.
const QUEUE_MAX: usize = 1024;

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
    /// It has closed a socket that was given up.
    Closed(SocketId),
    /// It is there, and takes its messages.
    Pong,
    /// The answer to an ask: by upstream, those which it has.
    States(u64, Vec<(Key, Vec<TargetState>)>),
    /// It has ended.
    Report(Box<Report>),
}

/// Control's end.
#[derive(Debug)]
pub struct Mailbox {
    queue: Arc<ArrayQueue<ToWorker>>,
    bell: Bell,
}

/// What travels to the worker's thread to become its inbox.
#[derive(Debug)]
pub struct Slot {
    queue: Arc<ArrayQueue<ToWorker>>,
    doorbell: BellEnd,
}

/// The worker's end.
#[derive(Debug)]
pub struct Inbox {
    queue: Arc<ArrayQueue<ToWorker>>,
    doorbell: Doorbell,
}

pub fn mailbox() -> std::io::Result<(Mailbox, Slot)> {
    let queue = Arc::new(ArrayQueue::new(QUEUE_MAX));
    let (bell, doorbell) = crate::rt::bell()?;
    Ok((Mailbox { queue: queue.clone(), bell }, Slot { queue, doorbell }))
}

impl Mailbox {
    /// False when the worker has not taken its last thousand messages: it hangs.
    pub fn send(&self, message: ToWorker) -> bool {
        // What will be said again leaves room for what is said once.
        let is_minor =
            matches!(message, ToWorker::Resolved(_) | ToWorker::Ping | ToWorker::States(_));
        if is_minor && self.queue.len() >= QUEUE_MAX / 2 {
            return false;
        }
        let taken = self.queue.push(message).is_ok();
        self.bell.ring();
        taken
    }
}

impl Slot {
    /// On the worker's thread, inside its runtime.
    pub fn open(self) -> std::io::Result<Inbox> {
        Ok(Inbox { queue: self.queue, doorbell: Doorbell::adopt(self.doorbell)? })
    }
}

impl Inbox {
    /// Waits for a ring; false when control is gone.
    pub async fn heard(&self) -> bool {
        self.doorbell.heard().await
    }

    pub fn drain(&self, mut take: impl FnMut(ToWorker)) {
        while let Some(message) = self.queue.pop() {
            take(message);
        }
    }
}

/// What workers tell control, each with its number. Bounded by what control asks: one answer for
/// each message, and the few of a start and an end.
#[derive(Clone)]
pub struct Outbox {
    queue: Arc<SegQueue<(u32, FromWorker)>>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl Outbox {
    /// `wake` is called, on the worker's thread, after each message.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Outbox {
        Outbox { queue: Arc::default(), wake: Arc::new(wake) }
    }

    pub fn tell(&self, worker: u32, message: FromWorker) {
        self.queue.push((worker, message));
        (self.wake)();
    }

    pub fn next(&self) -> Option<(u32, FromWorker)> {
        self.queue.pop()
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("waiting", &self.queue.len()).finish()
    }
}
