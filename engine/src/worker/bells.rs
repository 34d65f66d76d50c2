//! What workers tell each other of places among those that are served at one time.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use crate::rng::Rng;
use crate::worker::Worker;

/// Makes numbers of callers; all workers have the same one.
pub fn hasher(seed: [u8; 16]) -> ahash::RandomState {
    let mut rng = Rng::new(seed);
    let mut next = || rng.next_u64();
    ahash::RandomState::with_seeds(next(), next(), next(), next())
}

/// Tells other workers that a place has fallen free, for as long as the worker lives.
pub(super) async fn ring(w: Rc<Worker>) {
    poll_fn(|cx| {
        w.bells.watch(cx.waker());
        while let Some(worker) = w.bells.next() {
            w.others.borrow().ring(worker);
        }
        match w.bells.is_stopped() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}
