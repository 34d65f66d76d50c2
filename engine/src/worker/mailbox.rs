//! From control to one worker: a bounded queue and a doorbell.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use crate::rt::{Bell, BellEnd, Doorbell};
use crate::upstream::Resolved;

/// Messages a worker has not taken yet; control sends few.
const QUEUE_MAX: usize = 1024;

#[derive(Debug)]
pub enum ToWorker {
    /// Accept no more, close idle connections, finish the others.
    Drain,
    /// The drain's deadline for exchanges has passed.
    CutExchanges,
    /// The drain's deadline for tunnels has passed too.
    CutAll,
    Resolved(Resolved),
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
