//! What stands in for things that are not ours: each promises as little as the real one does.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use loom::sync::Mutex;

use crate::sync::{AtomicBool, AtomicU32, Ordering};

/// A thread of a model. loom 0.7 takes the first step that follows a spawn for one before it, and
/// tries no other order of the two; so that step is one that concerns nobody.
pub fn spawn<T: 'static>(body: impl FnOnce() -> T + 'static) -> loom::thread::JoinHandle<T> {
    let thread = loom::thread::spawn(body);
    AtomicBool::new(false).load(Ordering::Relaxed);
    thread
}

/// Messages of one model.
const PLACES: usize = 4;

/// A queue of many that push and one that pops. What is popped was pushed before; that nothing
/// is there may be said too late, unless fences or something else order it.
#[derive(Debug)]
pub struct Queue<T> {
    places: [Place<T>; PLACES],
    tail: AtomicU32,
    head: AtomicU32,
}

#[derive(Debug)]
struct Place<T> {
    is_full: AtomicBool,
    value: Mutex<Option<T>>,
}

impl<T> Queue<T> {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Queue<T> {
        let place = |_| Place { is_full: AtomicBool::new(false), value: Mutex::new(None) };
        let places = std::array::from_fn(place);
        Queue { places, tail: AtomicU32::new(0), head: AtomicU32::new(0) }
    }

    pub fn push(&self, value: T) {
        let place = &self.places[self.tail.fetch_add(1, Ordering::Relaxed) as usize];
        *place.value.lock().unwrap() = Some(value);
        place.is_full.store(true, Ordering::Release);
    }

    pub fn pop(&self) -> Option<T> {
        let head = self.head.load(Ordering::Relaxed);
        let place = self.places.get(head as usize)?;
        if !place.is_full.load(Ordering::Acquire) {
            return None;
        }
        self.head.store(head + 1, Ordering::Relaxed);
        place.value.lock().unwrap().take()
    }

    pub fn len(&self) -> usize {
        let head = self.head.load(Ordering::Relaxed);
        (self.tail.load(Ordering::Relaxed).saturating_sub(head)) as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A socket pair that holds one ring: a send sees that it is full without any order, like the
/// kernel, which looks at a counter without a lock.
#[derive(Debug)]
pub struct Bell(Arc<AtomicBool>);

#[derive(Debug)]
pub struct Doorbell(Arc<AtomicBool>);

pub type BellEnd = Doorbell;

pub fn bell() -> std::io::Result<(Bell, BellEnd)> {
    let rung = Arc::new(AtomicBool::new(false));
    Ok((Bell(rung.clone()), Doorbell(rung)))
}

impl Bell {
    pub fn ring(&self) {
        let is_full = self.0.load(Ordering::Relaxed);
        if !is_full {
            self.0.swap(true, Ordering::AcqRel);
        }
    }
}

impl Doorbell {
    pub fn adopt(end: BellEnd) -> std::io::Result<Doorbell> {
        Ok(end)
    }

    /// Wakes nobody: a model polls it again. (A swap where a look would do: loom 0.7 forgets a
    /// thread's look when the other looks before it writes, and does not try them the other way
    /// round.)
    pub async fn heard(&self) -> bool {
        poll_fn(|_| match self.0.swap(false, Ordering::AcqRel) {
            true => Poll::Ready(true),
            false => Poll::Pending,
        })
        .await
    }
}

/// Without an end but a ring, so that one that got lost is a deadlock.
pub fn park_timeout(_: Duration) {
    loom::thread::park();
}
