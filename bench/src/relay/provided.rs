//! A ring of buffers that the kernel receives into (IORING_REGISTER_PBUF_RING).

#![allow(unsafe_code)] // memory that is shared with the kernel

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use super::BUFFER;

pub const GROUP: u16 = 0;
/// Enough for the scenarios: one or two for each exchange. A power of two.
const COUNT: u16 = 256;

/// Both live as long as the process.
pub struct Buffers {
    entries: *mut BufRingEntry,
    memory: *mut u8,
    tail: u16,
    /// Those that the kernel may fill.
    free: u16,
}

fn map(len: usize) -> io::Result<*mut u8> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a fresh private anonymous mapping; no address is asked for.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), len, access, flags, -1, 0) };
    if start == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(start.cast()) }
}

impl Buffers {
    pub fn register(ring: &IoUring) -> io::Result<Buffers> {
        let count = usize::from(COUNT);
        let entries = map(count * size_of::<BufRingEntry>())?.cast::<BufRingEntry>();
        let mut buffers = Buffers { entries, memory: map(count * BUFFER)?, tail: 0, free: 0 };
        // SAFETY: `entries` is page-aligned, holds COUNT entries, and is never unmapped.
        unsafe { ring.submitter().register_buf_ring(entries as u64, COUNT, GROUP)? };
        for id in 0..COUNT {
            buffers.give_back(id);
        }
        Ok(buffers)
    }

    pub fn any_free(&self) -> bool {
        self.free > 0
    }

    /// The kernel filled one.
    pub fn took(&mut self) {
        self.free -= 1;
    }

    /// The first `n` bytes of a buffer that the kernel filled and that was not given back.
    pub fn bytes(&mut self, id: u16, n: usize) -> &mut [u8] {
        assert!(id < COUNT && n <= BUFFER, "the kernel was given no such buffer");
        // SAFETY: within the mapping; the kernel writes no buffer that it has handed over.
        unsafe { std::slice::from_raw_parts_mut(self.memory.add(usize::from(id) * BUFFER), n) }
    }

    /// The kernel may fill it again.
    pub fn give_back(&mut self, id: u16) {
        let at = usize::from(self.tail & (COUNT - 1));
        // SAFETY: `at` is within the ring, and the kernel reads no entry beyond the tail. The
        // tail is the 16-bit field of the first entry that `tail` finds; only we write it.
        unsafe {
            let entry = &mut *self.entries.add(at);
            entry.set_addr(self.memory.add(usize::from(id) * BUFFER) as u64);
            entry.set_len(BUFFER as u32);
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(self.entries).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
        self.free += 1;
    }
}
