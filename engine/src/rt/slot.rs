//! Recycled boxes for the large futures of busy connections.
//!
//! An idle connection costs its small future; the exchange's large one lives in a slot for one
//! busy spell. Slots of one worker have one layout, so a freed one serves the next spell and the
//! request path does not allocate.

#![allow(unsafe_code)] // a box whose memory is recycled; the model test is below

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::ptr::NonNull;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Free slots kept per worker.
const FREE_MAX: usize = 1024;

/// The free slots of one worker. The first future decides the layout; others are boxed anew.
#[derive(Debug, Default)]
pub struct Slots {
    layout: Cell<Option<Layout>>,
    free: RefCell<Vec<NonNull<u8>>>,
    used: Cell<u32>,
}

impl Slots {
    pub fn new() -> Rc<Slots> {
        Rc::default()
    }

    /// Slots in use; zero at rest.
    pub fn used(&self) -> u32 {
        self.used.get()
    }

    /// Makes a future in a slot, where it stays until it is dropped. A panic of `make` loses the
    /// slot's memory.
    ///
    /// Fast path: nothing can fail between the future's making and its write, so only what it was
    /// given is written. One that came by value was copied whole: 400 instructions, 3.7 KiB twice.
    #[inline]
    pub fn place<F: Future>(self: &Rc<Slots>, make: impl FnOnce() -> F) -> Placed<F> {
        let layout = Layout::new::<F>();
        assert!(layout.size() > 0, "an exchange's future has state");
        if self.layout.get().is_none() {
            self.layout.set(Some(layout));
        }
        let recycled = match self.layout.get() {
            Some(known) if known == layout => self.free.borrow_mut().pop(),
            _ => None,
        };
        let memory = recycled.unwrap_or_else(|| {
            // SAFETY: the layout has a size above zero.
            NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
        });
        let memory = memory.cast::<F>();
        // SAFETY: fresh or recycled memory of exactly F's layout that nobody else refers to.
        unsafe { memory.write(make()) };
        self.used.set(self.used.get() + 1);
        Placed { memory, slots: self.clone() }
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        if let Some(layout) = self.layout.get() {
            for memory in self.free.get_mut().drain(..) {
                // SAFETY: free slots were allocated with this very layout.
                unsafe { dealloc(memory.as_ptr(), layout) };
            }
        }
    }
}

/// A future in its slot.
#[derive(Debug)]
pub struct Placed<F> {
    memory: NonNull<F>,
    slots: Rc<Slots>,
}

impl<F: Future> Future for Placed<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: the future never moves out of its slot until it is dropped in place, so it is
        // pinned; `&mut self` makes this the only reference.
        unsafe { Pin::new_unchecked(&mut *self.get_mut().memory.as_ptr()) }.poll(cx)
    }
}

impl<F> Drop for Placed<F> {
    fn drop(&mut self) {
        let layout = Layout::new::<F>();
        // SAFETY: written in `place`, dropped once, here.
        unsafe { self.memory.as_ptr().drop_in_place() };
        self.slots.used.set(self.slots.used.get() - 1);
        let mut free = self.slots.free.borrow_mut();
        if self.slots.layout.get() == Some(layout) && free.len() < FREE_MAX {
            free.push(self.memory.cast());
        } else {
            // SAFETY: allocated in `place` with this layout and not kept.
            unsafe { dealloc(self.memory.as_ptr().cast(), layout) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[test]
    fn a_slot_is_recycled_and_its_future_dropped_once() {
        let slots = Slots::new();
        let token = Rc::new(());
        let future = |t: Rc<()>| async move { Rc::strong_count(&t) };
        let first = slots.place(|| future(token.clone()));
        let at = first.memory.cast::<u8>();
        assert_eq!(slots.used(), 1);
        drop(first);
        assert_eq!((slots.used(), Rc::strong_count(&token)), (0, 1));
        let mut second = slots.place(|| future(token.clone()));
        assert_eq!(second.memory.cast::<u8>(), at);
        let cx = &mut Context::from_waker(Waker::noop());
        assert_eq!(Pin::new(&mut second).poll(cx), Poll::Ready(2));
        drop(second);
        // Another layout is boxed for itself and never enters the free list.
        drop(slots.place(|| async { [0u8; 64] }));
        assert_eq!(slots.free.borrow().len(), 1);
    }
}

#[cfg(test)]
mod model_tests {
    use std::task::Waker;

    use super::*;
    use crate::rng::Rng;

    const STEPS: usize = if cfg!(miri) { 1_000 } else { 100_000 };

    /// What a future holds that is dropped too early, too late or twice shows here.
    struct Held {
        id: u64,
        dropped: Rc<RefCell<Vec<u64>>>,
    }

    impl Drop for Held {
        fn drop(&mut self) {
            self.dropped.borrow_mut().push(self.id);
        }
    }

    async fn turn() {
        let mut is_second = false;
        std::future::poll_fn(|_| match std::mem::replace(&mut is_second, true) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await
    }

    /// Waits `turns` times; a reference into itself lives across each wait.
    async fn life(held: Held, turns: u32) -> u64 {
        let mut local = [held.id; 9];
        for word in &mut local {
            *word += 1;
        }
        for _ in 0..turns {
            let inside = &local[3];
            turn().await;
            assert_eq!(*inside, held.id + 1);
        }
        local[8]
    }

    /// Another layout, and one that wants its place aligned.
    async fn other_life(held: Held, turns: u32) -> u64 {
        #[repr(align(64))]
        struct Aligned(u64);
        let aligned = Aligned(held.id);
        for _ in 0..turns {
            assert!((&raw const aligned).is_aligned());
            turn().await;
        }
        aligned.0 + 1
    }

    enum Either<A, B> {
        One(Placed<A>),
        Other(Placed<B>),
    }

    impl<A: Future<Output = u64>, B: Future<Output = u64>> Either<A, B> {
        fn poll(&mut self) -> Poll<u64> {
            let cx = &mut Context::from_waker(Waker::noop());
            match self {
                Either::One(placed) => Pin::new(placed).poll(cx),
                Either::Other(placed) => Pin::new(placed).poll(cx),
            }
        }
    }

    /// Futures come, take turns and go in any order, as in a list of boxes.
    #[test]
    fn slots_are_what_boxes_would_be() {
        let (slots, dropped) = (Slots::new(), Rc::<RefCell<Vec<u64>>>::default());
        let mut rng = Rng::from_u64(11);
        // With each, the turns that it still waits.
        let mut placed = Vec::new();
        for id in 0..STEPS as u64 {
            let full = placed.len() > 40;
            if !full && rng.one_in(3) || placed.is_empty() {
                let (held, turns) = (Held { id, dropped: dropped.clone() }, rng.below(4));
                let one = match id > 0 && rng.one_in(4) {
                    true => Either::Other(slots.place(|| other_life(held, turns))),
                    false => Either::One(slots.place(|| life(held, turns))),
                };
                placed.push((id, turns, one));
            } else {
                let at = rng.below(placed.len() as u32) as usize;
                let (id, turns, future) = &mut placed[at];
                let id = *id;
                let is_over = match rng.one_in(8) {
                    true => true, // given up on
                    false => match future.poll() {
                        Poll::Ready(said) => {
                            assert_eq!((said, *turns), (id + 1, 0));
                            true
                        }
                        Poll::Pending => {
                            *turns -= 1;
                            false
                        }
                    },
                };
                if is_over {
                    placed.swap_remove(at);
                    assert!(dropped.borrow_mut().drain(..).eq([id]), "once, and no other");
                }
            }
            assert!(dropped.borrow().is_empty());
            assert_eq!(slots.used() as usize, placed.len());
            assert!(slots.free.borrow().len() <= 41, "only what was used at once");
        }
        let mut left: Vec<u64> = placed.iter().map(|(id, ..)| *id).collect();
        drop(slots); // The last future gives the memory back.
        drop(placed);
        let mut gone = dropped.take();
        left.sort_unstable();
        gone.sort_unstable();
        assert_eq!(left, gone);
    }
}
