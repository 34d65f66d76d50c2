//! A worker's connection buffers: leased when bytes are there to be read, returned when they
//! have been passed on.
//!
//! Free blocks stay mapped as long as they are needed: those that no lease took since the last
//! look go back to the kernel ([`BufPool::trim`]). Free and leased ones together keep to
//! `memory_max`.
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
/// Free blocks that stay mapped however long nobody needs them.
const FREE_KEPT: usize = 16;

/// Blocks of a size that go back at one look: some µs each, in which nobody is served.
const TRIMMED_MAX: usize = 128;

/// Where blocks begin in their mappings: so many places, so far from each other. Were they all the
/// same, the heads of all connections would share a few lines of the processor's caches.
const PLACES: usize = 12;
const PLACE: usize = 5 * 64;
/// Room for the places in each mapping. It also keeps blocks off each other's multiples.
const PLACES_LEN: usize = 4 << 10;
const _: () = assert!(PLACES * PLACE <= PLACES_LEN);

#[derive(Debug)]
struct Block {
    start: NonNull<u8>,
    len: usize,
    /// Bytes of the mapping before `start`.
    place: usize,
}

impl Block {
    fn map(len: usize, number: usize) -> Block {
        // SAFETY: a fresh private anonymous mapping; no address is asked for.
        let mapped = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len + PLACES_LEN,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if mapped == libc::MAP_FAILED {
            std::alloc::handle_alloc_error(std::alloc::Layout::new::<[u8; BLOCK]>());
        }
        let place = number % PLACES * PLACE;
        let mapped: NonNull<u8> = NonNull::new(mapped.cast()).expect("mmap never gives null");
        // SAFETY: `place` is below `PLACES_LEN`, and `len` bytes are mapped behind that.
        Block { start: unsafe { mapped.add(place) }, len, place }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: `len` bytes are mapped, initialised to zero by the kernel, ours alone.
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
        unsafe {
            let mapped = self.start.sub(self.place);
            libc::munmap(mapped.as_ptr().cast(), self.len + PLACES_LEN)
        };
    }
}

/// No memory of this process is made of huge pages any more. A table that doubles would touch one
/// of 2 MiB for what it needs of it: nine thousand idle connections held twice their memory, and
/// requests cost the same (docs/performance.md).
pub fn no_huge_pages() {
    const ON: libc::c_ulong = 1;
    const UNUSED: libc::c_ulong = 0;
    // SAFETY: a plain call that says how later pages are made; an error leaves it as it was.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, ON, UNUSED, UNUSED, UNUSED) };
}

/// Text of the program that only its start needed is mapped no more; what runs on comes back with
/// its next call, from the page cache. (Reading configurations is half of the program.)
pub fn only_text_that_runs() {
    // SAFETY: the linker's own marks around the program's text; only their addresses are taken.
    unsafe extern "C" {
        static __executable_start: u8;
        static etext: u8;
    }
    let (from, to) = (&raw const __executable_start, &raw const etext);
    // SAFETY: a plain call.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(4096) as usize;
    let len = to.addr().saturating_sub(from.addr()) / page * page;
    if !from.addr().is_multiple_of(page) {
        return; // no segment begins there: another linker
    }
    // SAFETY: pages of a file that nobody has written to: whoever reads them again finds the same.
    // An error leaves them mapped.
    unsafe { libc::madvise(from.cast_mut().cast(), len, libc::MADV_DONTNEED) };
}

/// The free blocks of one worker.
#[derive(Debug)]
pub struct BufPool {
    free: RefCell<Vec<Block>>,
    free_small: RefCell<Vec<Block>>,
    leased: Cell<u32>,
    leased_bytes: Cell<usize>,
    free_bytes: Cell<usize>,
    /// Fewest free blocks, big and small, since the last look.
    idle: [Cell<usize>; 2],
    high_water: Cell<usize>,
    /// Blocks ever mapped.
    mapped: Cell<usize>,
    bytes_max: usize,
}

impl BufPool {
    /// `bytes_max`: above it leases are small.
    pub fn new(bytes_max: usize) -> Rc<BufPool> {
        Rc::new(BufPool {
            free: RefCell::default(),
            free_small: RefCell::default(),
            leased: Cell::new(0),
            leased_bytes: Cell::new(0),
            free_bytes: Cell::new(0),
            idle: Default::default(),
            high_water: Cell::new(0),
            mapped: Cell::new(0),
            bytes_max,
        })
    }

    pub fn lease(self: &Rc<BufPool>) -> Buf {
        let small = self.leased_bytes.get() + BLOCK > self.bytes_max;
        self.lease_of(if small { BLOCK_SMALL } else { BLOCK })
    }

    fn lease_of(self: &Rc<BufPool>, len: usize) -> Buf {
        let block = self.take_free(len).unwrap_or_else(|| self.map(len));
        self.leased.set(self.leased.get() + 1);
        self.leased_bytes.set(self.leased_bytes.get() + len);
        self.high_water.set(self.high_water.get().max(self.leased_bytes.get()));
        Buf { block: Some(block), start: 0, end: 0, pool: self.clone() }
    }

    /// Free blocks of the other size make room for it.
    #[cold]
    fn map(&self, len: usize) -> Block {
        let other = if len == BLOCK { BLOCK_SMALL } else { BLOCK };
        for _ in 0..BLOCK / BLOCK_SMALL {
            let bytes = self.leased_bytes.get() + self.free_bytes.get() + len;
            if bytes <= self.bytes_max || self.take_free(other).is_none() {
                break;
            }
        }
        let number = self.mapped.get();
        self.mapped.set(number.wrapping_add(1));
        Block::map(len, number)
    }

    fn free_of(&self, len: usize) -> (&RefCell<Vec<Block>>, &Cell<usize>) {
        let [big, small] = &self.idle;
        if len == BLOCK { (&self.free, big) } else { (&self.free_small, small) }
    }

    #[inline]
    fn take_free(&self, len: usize) -> Option<Block> {
        let (free, idle) = self.free_of(len);
        let mut free = free.borrow_mut();
        let block = free.pop()?;
        idle.set(idle.get().min(free.len()));
        self.free_bytes.set(self.free_bytes.get() - len);
        Some(block)
    }

    fn give_back(&self, block: Block) {
        let len = block.len;
        self.leased.set(self.leased.get() - 1);
        self.leased_bytes.set(self.leased_bytes.get() - len);
        let mut free = self.free_of(len).0.borrow_mut();
        let is_bounded = self.leased_bytes.get() + self.free_bytes.get() + len <= self.bytes_max;
        if is_bounded || free.len() < FREE_KEPT {
            self.free_bytes.set(self.free_bytes.get() + len);
            free.push(block);
        }
    }

    /// Blocks wait that may turn out not to be needed.
    #[inline]
    pub fn has_spare(&self) -> bool {
        self.free.borrow().len() > FREE_KEPT || self.free_small.borrow().len() > FREE_KEPT
    }

    /// Gives blocks back to the kernel that no lease took since the last call.
    pub fn trim(&self) {
        for len in [BLOCK, BLOCK_SMALL] {
            let (free, idle) = self.free_of(len);
            let mut free = free.borrow_mut();
            // The last given back is the next to be leased: those in front are the idle ones.
            let spare = idle.get().min(free.len().saturating_sub(FREE_KEPT)).min(TRIMMED_MAX);
            free.drain(..spare);
            self.free_bytes.set(self.free_bytes.get() - spare * len);
            idle.set(free.len());
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
    fn blocks_stay_while_they_are_needed_and_go_when_they_are_not() {
        let pool = BufPool::new(64 << 20);
        let lease_many = |n| drop((0..n).map(|_| pool.lease()).collect::<Vec<Buf>>());
        lease_many(100);
        pool.trim(); // looks for the first time
        lease_many(60);
        pool.trim();
        assert_eq!((pool.free.borrow().len(), pool.has_spare()), (60, true), "60 were in use");
        pool.trim();
        assert_eq!((pool.free.borrow().len(), pool.has_spare()), (FREE_KEPT, false));
        assert_eq!(pool.free_bytes.get(), FREE_KEPT * BLOCK);
    }

    #[test]
    fn free_blocks_keep_to_the_bound_together_with_leased_ones() {
        let pool = BufPool::new(32 * BLOCK);
        let leases: Vec<Buf> = (0..40).map(|_| pool.lease()).collect();
        drop(leases);
        let bytes = pool.free_bytes.get();
        assert!((31 * BLOCK..=32 * BLOCK).contains(&bytes), "{bytes}");
        // Small ones that nobody needs give way to big ones.
        let pool = BufPool::new(32 * BLOCK);
        drop((0..32 * 8).map(|_| pool.lease_of(BLOCK_SMALL)).collect::<Vec<Buf>>());
        let leases: Vec<Buf> = (0..31).map(|_| pool.lease()).collect();
        assert!(pool.leased_bytes.get() + pool.free_bytes.get() <= 32 * BLOCK, "{leases:?}");
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
