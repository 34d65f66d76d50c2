//! A worker's connection buffers: leased when bytes are there to be read, returned when they
//! have been passed on.
//!
//! Blocks are 128 KiB of address space (only touched pages cost memory). Above `memory_max` the
//! blocks are 16 KiB; their number is bounded by the number of connections. A lease never waits,
//! so leases can't deadlock.

#![allow(unsafe_code)] // maps and unmaps its own blocks; nothing else

use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::rc::Rc;

/// Holds a head and a 64 KiB body part in one read; measured 15–20 % cheaper than 64 KiB.
pub const BLOCK: usize = 128 << 10;
/// What is leased above `memory_max`.
pub const BLOCK_SMALL: usize = 16 << 10;
/// Free blocks kept mapped per worker; further ones go back to the kernel.
const FREE_MAX: usize = 64;

#[derive(Debug)]
struct Block {
    start: NonNull<u8>,
    len: usize,
}

impl Block {
    fn map(len: usize) -> Block {
        // SAFETY: a fresh private anonymous mapping; no address is asked for.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            std::alloc::handle_alloc_error(std::alloc::Layout::new::<[u8; BLOCK]>());
        }
        let start = NonNull::new(start.cast()).expect("mmap never gives null");
        Block { start, len }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is `len` bytes, initialised to zero by the kernel, ours alone.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` makes it the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: unmaps exactly what `map` mapped; no reference outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// The free blocks of one worker.
#[derive(Debug)]
pub struct BufPool {
    free: RefCell<Vec<Block>>,
    free_small: RefCell<Vec<Block>>,
    leased: Cell<u32>,
    leased_bytes: Cell<usize>,
    high_water: Cell<usize>,
    bytes_max: usize,
}

impl BufPool {
    /// `bytes_max`: above it leases are small.
    pub fn new(bytes_max: usize) -> Rc<BufPool> {
        Rc::new(BufPool {
            free: RefCell::new(Vec::with_capacity(FREE_MAX)),
            free_small: RefCell::new(Vec::with_capacity(FREE_MAX)),
            leased: Cell::new(0),
            leased_bytes: Cell::new(0),
            high_water: Cell::new(0),
            bytes_max,
        })
    }

    pub fn lease(self: &Rc<BufPool>) -> Buf {
        let small = self.leased_bytes.get() + BLOCK > self.bytes_max;
        self.lease_of(if small { BLOCK_SMALL } else { BLOCK })
    }

    fn lease_of(self: &Rc<BufPool>, len: usize) -> Buf {
        let free = if len == BLOCK { &self.free } else { &self.free_small };
        let block = free.borrow_mut().pop().unwrap_or_else(|| Block::map(len));
        self.leased.set(self.leased.get() + 1);
        self.leased_bytes.set(self.leased_bytes.get() + len);
        self.high_water.set(self.high_water.get().max(self.leased_bytes.get()));
        Buf { block: Some(block), start: 0, end: 0, pool: self.clone() }
    }

    fn give_back(&self, block: Block) {
        self.leased.set(self.leased.get() - 1);
        self.leased_bytes.set(self.leased_bytes.get() - block.len);
        let free = if block.len == BLOCK { &self.free } else { &self.free_small };
        let mut free = free.borrow_mut();
        if free.len() < FREE_MAX {
            free.push(block);
        }
    }

    /// Leases out; zero at rest.
    pub fn leased(&self) -> u32 {
        self.leased.get()
    }

    /// Most bytes ever leased at one time.
    pub fn high_water(&self) -> usize {
        self.high_water.get()
    }
}

/// A leased buffer: `filled` bytes wait in the middle, `room` is behind them.
#[derive(Debug)]
pub struct Buf {
    block: Option<Block>,
    start: usize,
    end: usize,
    pool: Rc<BufPool>,
}

impl Buf {
    fn block(&self) -> &Block {
        self.block.as_ref().expect("a block is taken out only by drop")
    }

    fn block_mut(&mut self) -> &mut Block {
        self.block.as_mut().expect("a block is taken out only by drop")
    }

    /// Bytes that were read and not consumed.
    #[inline]
    pub fn filled(&self) -> &[u8] {
        &self.block().bytes()[self.start..self.end]
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    #[inline]
    pub fn room(&mut self) -> &mut [u8] {
        let end = self.end;
        &mut self.block_mut().bytes_mut()[end..]
    }

    #[inline]
    pub fn has_room(&self) -> bool {
        self.end < self.block().len
    }

    /// `n` bytes were read into the room.
    #[inline]
    pub fn commit(&mut self, n: usize) {
        assert!(n <= self.block().len - self.end, "more was read than there is room for");
        self.end += n;
    }

    /// The first `n` filled bytes are done with. An empty buffer starts over.
    #[inline]
    pub fn consume(&mut self, n: usize) {
        assert!(n <= self.len(), "more is consumed than was read");
        self.start += n;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    pub fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Makes room behind the filled bytes: moves them to the front or, when they fill a small
    /// block, into a big one. False when a big block is full.
    pub fn make_room(&mut self) -> bool {
        if self.start > 0 {
            let (start, end) = (self.start, self.end);
            self.block_mut().bytes_mut().copy_within(start..end, 0);
            (self.start, self.end) = (0, end - start);
        } else if self.end == BLOCK_SMALL && self.block().len == BLOCK_SMALL {
            let mut big = self.pool.lease_of(BLOCK);
            big.extend(self.filled());
            *self = big;
        }
        self.has_room()
    }

    /// Appends a copy of as much of `bytes` as there is room for.
    pub fn extend(&mut self, bytes: &[u8]) -> usize {
        let room = self.room();
        let n = room.len().min(bytes.len());
        room[..n].copy_from_slice(&bytes[..n]);
        self.commit(n);
        n
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            self.pool.give_back(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_counted_and_come_back() {
        let pool = BufPool::new(1 << 20);
        let mut a = pool.lease();
        assert_eq!(a.extend(b"hello"), 5);
        assert_eq!((pool.leased(), a.filled()), (1, &b"hello"[..]));
        a.consume(2);
        assert_eq!(a.filled(), b"llo");
        drop(a);
        assert_eq!((pool.leased(), pool.high_water()), (0, BLOCK));
        assert!(pool.lease().is_empty());
    }

    #[test]
    fn no_two_leases_share_a_block() {
        let pool = BufPool::new(1 << 20);
        drop(pool.lease()); // a free block, which the next lease takes
        let mut leases: Vec<Buf> = (0..3).map(|_| pool.lease()).collect();
        for (mark, lease) in leases.iter_mut().enumerate() {
            lease.extend(&[mark as u8; 9]);
        }
        for (mark, lease) in leases.iter().enumerate() {
            assert_eq!(lease.filled(), [mark as u8; 9]);
        }
    }

    #[test]
    fn above_the_bound_leases_are_small_and_grow_when_full() {
        let pool = BufPool::new(BLOCK);
        let _big = pool.lease();
        let mut small = pool.lease();
        assert_eq!(small.room().len(), BLOCK_SMALL);
        assert_eq!(small.extend(&[7; BLOCK_SMALL + 1]), BLOCK_SMALL);
        assert!(!small.has_room());
        assert!(small.make_room());
        assert_eq!(small.filled(), &[7; BLOCK_SMALL][..]);
        assert_eq!(small.room().len(), BLOCK - BLOCK_SMALL);
    }

    #[test]
    fn consumed_bytes_make_room() {
        let pool = BufPool::new(1 << 20);
        let mut b = pool.lease();
        b.extend(&[1; BLOCK]);
        assert!(!b.make_room());
        b.consume(10);
        assert!(b.make_room());
        assert_eq!((b.len(), b.room().len()), (BLOCK - 10, 10));
    }
}

#[cfg(test)]
mod model_tests {
    use super::*;
    use crate::rng::Rng;

    const STEPS: usize = if cfg!(miri) { 300 } else { 20_000 };

    /// A lease as it should be: what was read and not consumed, and where that stands.
    #[derive(Debug)]
    struct Model {
        filled: Vec<u8>,
        start: usize,
        len: usize,
    }

    impl Model {
        fn room(&self) -> usize {
            self.len - self.start - self.filled.len()
        }
    }

    fn bytes(rng: &mut Rng, most: usize) -> Vec<u8> {
        let len = match rng.below(4) {
            0 => rng.below(most as u32 + 2) as usize,
            1 => most,
            _ => rng.below(3_000) as usize,
        };
        let mut bytes = vec![rng.next_u64() as u8; len];
        if let Some(last) = bytes.last_mut() {
            *last = rng.next_u64() as u8;
        }
        bytes
    }

    /// One thing that a connection may do with its buffer.
    fn step(rng: &mut Rng, buf: &mut Buf, model: &mut Model) {
        match rng.below(6) {
            0 => {
                let bytes = bytes(rng, model.room());
                let n = bytes.len().min(model.room());
                assert_eq!(buf.extend(&bytes), n);
                model.filled.extend(&bytes[..n]);
            }
            1 => {
                // What the kernel does: writes somewhere into the room, then says how much.
                let bytes = bytes(rng, model.room());
                let n = bytes.len().min(model.room());
                buf.room()[..n].copy_from_slice(&bytes[..n]);
                buf.commit(n);
                model.filled.extend(&bytes[..n]);
            }
            2 | 3 => {
                let n = match rng.one_in(3) {
                    true => model.filled.len(),
                    false => rng.below(model.filled.len() as u32 + 1) as usize,
                };
                buf.consume(n);
                model.filled.drain(..n);
                model.start = if model.filled.is_empty() { 0 } else { model.start + n };
            }
            4 => {
                let is_whole = model.start == 0 && model.room() == 0;
                if is_whole && model.len == BLOCK_SMALL {
                    model.len = BLOCK;
                }
                model.start = 0;
                assert_eq!(buf.make_room(), model.room() > 0);
            }
            _ if rng.one_in(4) => {
                buf.clear();
                (model.filled, model.start) = (Vec::new(), 0);
            }
            _ => {}
        }
    }

    fn check(buf: &mut Buf, model: &Model) {
        assert_eq!(buf.filled(), &model.filled[..]);
        assert_eq!((buf.len(), buf.is_empty()), (model.filled.len(), model.filled.is_empty()));
        assert_eq!((buf.room().len(), buf.has_room()), (model.room(), model.room() > 0));
    }

    /// Leases come, are filled and emptied, and go in any order, each as if it had its own memory.
    #[test]
    fn leases_are_what_vectors_would_be() {
        const BYTES_MAX: usize = 4 * BLOCK;
        let (pool, mut rng) = (BufPool::new(BYTES_MAX), Rng::from_u64(12));
        let mut leases: Vec<(Buf, Model)> = Vec::new();
        let mut most = 0;
        for _ in 0..STEPS {
            if leases.len() < 12 && rng.one_in(4) || leases.is_empty() {
                let leased: usize = leases.iter().map(|(_, model)| model.len).sum();
                let len = if leased + BLOCK > BYTES_MAX { BLOCK_SMALL } else { BLOCK };
                leases.push((pool.lease(), Model { filled: Vec::new(), start: 0, len }));
            }
            let at = rng.below(leases.len() as u32) as usize;
            let (buf, model) = &mut leases[at];
            step(&mut rng, buf, model);
            check(buf, model);
            if rng.one_in(6) {
                leases.swap_remove(at);
            }
            let leased = leases.iter().map(|(_, model)| model.len).sum();
            most = most.max(leased);
            assert_eq!((pool.leased() as usize, pool.leased_bytes.get()), (leases.len(), leased));
        }
        // A block that grows is counted beside the big one for a moment.
        assert!((most..=most + BLOCK).contains(&pool.high_water()));
        leases.iter_mut().for_each(|(buf, model)| check(buf, model));
        drop(pool); // The last lease gives the memory back.
    }
}
