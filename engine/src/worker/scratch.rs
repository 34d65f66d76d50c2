//! Scratch buffers of one worker: heads on their way out, and what stands around bodies.

use crate::h1::relay::Body;
use crate::worker::Worker;

/// Free scratch buffers kept, of 4 KiB mostly, and the largest one. A rewrite holds one as long as
/// its exchange takes.
pub(super) const FREE_SCRATCH_MAX: usize = 128;
const FREE_SCRATCH_BYTES_MAX: usize = 64 << 10;

/// A borrowed scratch buffer.
#[derive(Debug)]
pub(super) struct Scratch<'a> {
    bytes: Vec<u8>,
    w: &'a Worker,
}

impl Scratch<'_> {
    /// Takes a buffer unless it has one: what comes can be written without allocating.
    pub(super) fn ready(&mut self) {
        if self.bytes.capacity() == 0 {
            let free = self.w.scratch.borrow_mut().pop();
            self.bytes = free.unwrap_or_else(|| Vec::with_capacity(4 << 10));
        }
    }
}

impl std::ops::Deref for Scratch<'_> {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl std::ops::DerefMut for Scratch<'_> {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        if self.bytes.capacity() == 0 {
            return;
        }
        let mut free = self.w.scratch.borrow_mut();
        if free.len() < FREE_SCRATCH_MAX && self.bytes.capacity() <= FREE_SCRATCH_BYTES_MAX {
            self.bytes.clear();
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}

impl Worker {
    /// An empty buffer for a head on its way out; it comes back when dropped.
    pub(super) fn scratch(&self) -> Scratch<'_> {
        let mut scratch = self.scratch_later();
        scratch.ready();
        scratch
    }

    /// The same, which takes its buffer when it is made [`Scratch::ready`]: for what may not be
    /// written at all, or after a wait only. (Those who wait would hold more than are kept.)
    pub(super) fn scratch_later(&self) -> Scratch<'_> {
        Scratch { bytes: Vec::new(), w: self }
    }

    /// What a body's next step may write into.
    pub(super) fn scratch_for(&self, body: &Body) -> Scratch<'_> {
        // Fast path: it goes as it came.
        if body.writes_aux() { self.scratch() } else { self.scratch_later() }
    }
}
