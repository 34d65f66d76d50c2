//! How control and one worker reach each other, whatever they say: a queue with a doorbell one
//! way, a queue with a wake the other. Neither side ever waits for the other. Other workers reach
//! it as control does.
//!
//! ```text
//!  control   push ─ fence ─ ring            hear ─ fence ─ drain   worker
//!  control   next … none ─ sleep ◀── wake ─ push                   worker
//! ```
//!
//! Invariant: a message that is in the queue and was not seen by a drain has a ring that is not
//! heard yet. A ring is heard before the drain, so what was pushed before it is seen. A ring that
//! finds the bell full is left out: then others are still to be heard, and the fences make the
//! drain after them see this push as well.

use std::fmt;
use std::sync::Arc;

use crate::rt::{Bell, BellEnd, Doorbell};
use crate::sync::{Ordering, Queue, fence};

/// Messages a worker has not taken yet, from which on those that will be said again are left out.
/// (A model has to be small.)
const WAITING_MAX: usize = if cfg!(busbar_loom) { 1 } else { 1024 };

/// Control's end, and that of other workers.
#[derive(Debug)]
pub struct Post<T> {
    queue: Arc<Queue<T>>,
    bell: Bell,
}

/// What travels to the worker's thread to become its inbox.
#[derive(Debug)]
pub struct Slot<T> {
    queue: Arc<Queue<T>>,
    doorbell: BellEnd,
}

/// The worker's end.
#[derive(Debug)]
pub struct Inbox<T> {
    queue: Arc<Queue<T>>,
    doorbell: Doorbell,
}

pub fn post<T>() -> std::io::Result<(Post<T>, Slot<T>)> {
    let queue = Arc::new(Queue::new());
    let (bell, doorbell) = crate::rt::bell()?;
    Ok((Post { queue: queue.clone(), bell }, Slot { queue, doorbell }))
}

impl<T> Post<T> {
    /// What is said once. It always finds room: the sender bounds how many there are.
    pub fn send(&self, message: T) {
        self.queue.push(message);
        fence(Ordering::SeqCst);
        self.bell.ring();
    }

    /// What will be said again. False, and it is dropped, when much waits already: the worker
    /// hangs.
    pub fn offer(&self, message: T) -> bool {
        let has_room = self.queue.len() < WAITING_MAX;
        if has_room {
            self.send(message);
        }
        has_room
    }
}

impl<T> Slot<T> {
    /// On the worker's thread, inside its runtime.
    pub fn open(self) -> std::io::Result<Inbox<T>> {
        Ok(Inbox { queue: self.queue, doorbell: Doorbell::adopt(self.doorbell)? })
    }
}

impl<T> Inbox<T> {
    /// Waits for a ring; false when nobody is left who could.
    pub async fn heard(&self) -> bool {
        let is_there = self.doorbell.heard().await;
        fence(Ordering::SeqCst);
        is_there
    }

    pub fn drain(&self, mut take: impl FnMut(T)) {
        while let Some(message) = self.queue.pop() {
            take(message);
        }
    }
}

/// What workers tell control, each with its number. Bounded by what control asks: one answer for
/// each message, and the few of a start and an end.
pub struct Outbox<T> {
    queue: Arc<Queue<(u32, T)>>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Outbox<T> {
        Outbox { queue: self.queue.clone(), wake: self.wake.clone() }
    }
}

impl<T> Outbox<T> {
    /// `wake` is called, on the worker's thread, after each message. It must be remembered until
    /// control sleeps next.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Outbox<T> {
        Outbox { queue: Arc::new(Queue::new()), wake: Arc::new(wake) }
    }

    pub fn tell(&self, worker: u32, message: T) {
        self.queue.push((worker, message));
        (self.wake)();
    }

    pub fn next(&self) -> Option<(u32, T)> {
        self.queue.pop()
    }
}

impl<T> fmt::Debug for Outbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("waiting", &self.queue.len()).finish()
    }
}

#[cfg(all(test, not(busbar_loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_once_finds_room_where_nothing_else_does() {
        let (post, slot) = post::<usize>().expect("simulated");
        let offered = (0..2 * WAITING_MAX).take_while(|n| post.offer(*n)).count();
        assert_eq!(offered, WAITING_MAX);
        (0..2 * WAITING_MAX).for_each(|n| post.send(n));
        assert!(!post.offer(0), "still full");
        let mut taken = Vec::new();
        slot.open().expect("simulated").drain(|message| taken.push(message));
        let expect: Vec<usize> = (0..WAITING_MAX).chain(0..2 * WAITING_MAX).collect();
        assert_eq!(taken, expect, "and in order");
        assert!(post.offer(0), "there is room again");
    }
}

#[cfg(all(test, busbar_loom))]
mod loom_tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::model::spawn;
    use crate::sync::AtomicBool;

    fn hears(inbox: &Inbox<u32>) -> bool {
        pin!(inbox.heard()).poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(true)
    }

    /// Turns of a worker: each begins with a ring. `true` when it would sleep now.
    fn turns(inbox: &Inbox<u32>, turns: usize, taken: &mut Vec<u32>) -> bool {
        for _ in 0..turns {
            if !hears(inbox) {
                return true;
            }
            inbox.drain(|message| taken.push(message));
        }
        false
    }

    /// A worker that sleeps has taken all, whatever it heard while control sent. The bell holds
    /// one ring, so that it is full at each second one.
    #[test]
    fn nothing_is_left_in_a_mailbox_without_a_ring() {
        loom::model(|| {
            let (post, slot) = post::<u32>().expect("a model");
            let sending = spawn(move || {
                (0..3).for_each(|n| post.send(n));
                post
            });
            let (inbox, mut taken) = (slot.open().expect("a model"), Vec::new());
            turns(&inbox, 2, &mut taken);
            let _post = sending.join().unwrap();
            assert!(turns(&inbox, 2, &mut taken), "the bell holds one ring");
            assert_eq!(taken, [0, 1, 2]);
        });
    }

    /// Whatever the worker takes meanwhile, only what was refused is missing.
    #[test]
    fn a_full_mailbox_refuses_only_what_is_offered() {
        loom::model(|| {
            let (post, slot) = post::<u32>().expect("a model");
            let sending = spawn(move || {
                let first = post.offer(0);
                let second = post.offer(1);
                post.send(2);
                assert!(first, "it was empty");
                if second { vec![0, 1, 2] } else { vec![0, 2] }
            });
            let (inbox, mut taken) = (slot.open().expect("a model"), Vec::new());
            turns(&inbox, 1, &mut taken);
            let sent = sending.join().unwrap();
            turns(&inbox, 2, &mut taken);
            assert_eq!(taken, sent);
        });
    }

    /// Control that sleeps has heard all that workers told it.
    #[test]
    fn nothing_is_left_in_the_outbox_without_a_wake() {
        loom::model(|| {
            let woken = Arc::new(AtomicBool::new(false));
            let wake = woken.clone();
            let outbox = Outbox::new(move || {
                wake.swap(true, Ordering::AcqRel);
            });
            let workers = [0, 1].map(|worker| {
                let outbox = outbox.clone();
                spawn(move || outbox.tell(worker, worker + 7))
            });
            let mut heard = Vec::new();
            let mut hear = || {
                while woken.swap(false, Ordering::AcqRel) {
                    heard.extend(std::iter::from_fn(|| outbox.next()));
                }
            };
            hear();
            workers.into_iter().for_each(|worker| worker.join().unwrap());
            hear();
            heard.sort_unstable();
            assert_eq!(heard, [(0, 7), (1, 8)]);
        });
    }
}
