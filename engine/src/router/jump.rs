//! A short cut into large tries: the first few static segments by one hash.
//!
//! Going down within a run remembers nothing (`trie.rs`), so a lookup may as well begin at the
//! node to which the path's first segments lead. Each trie has one number of segments that skips
//! most nodes; a path whose beginning is not known here goes down from the root.

use std::hash::{BuildHasher, Hasher};

use ahash::RandomState;

/// Longer beginnings are not kept. Fills a slot to one cache line.
const TEXT_BYTES: usize = 54;
/// Most segments of a beginning.
pub(super) const SEGMENTS_MAX: usize = 8;
/// Nodes to skip that pay for one hash and one slot, measured. Tests jump wherever they can.
pub(super) const HOPS_WORTH: usize = if cfg!(any(test, fuzzing)) { 0 } else { 3 };

#[derive(Debug, Clone)]
#[repr(C, align(64))]
struct Slot {
    text: [u8; TEXT_BYTES],
    /// 0: the slot is free.
    len: u8,
    root: u32,
    node: u32,
}

const _: () = assert!(size_of::<Slot>() == 64);

/// Open addressing, at most half full, so that a search ends soon.
#[derive(Debug, Default)]
pub(super) struct Jumps {
    slots: Vec<Slot>,
    hasher: RandomState,
}

impl Jumps {
    /// `(root, beginning, node)`; each beginning once by root.
    pub(super) fn new(list: &[(u32, Vec<u8>, u32)]) -> Jumps {
        let mut jumps = Jumps::default();
        if list.is_empty() {
            return jumps;
        }
        let free = Slot { text: [0; TEXT_BYTES], len: 0, root: 0, node: 0 };
        jumps.slots = vec![free; (list.len() * 2).next_power_of_two()];
        for (root, beginning, node) in list {
            if beginning.len() > TEXT_BYTES {
                continue;
            }
            let mut at = jumps.home(*root, beginning);
            while jumps.slots[at].len != 0 {
                at = (at + 1) & (jumps.slots.len() - 1);
            }
            let slot = &mut jumps.slots[at];
            slot.text[..beginning.len()].copy_from_slice(beginning);
            (slot.len, slot.root, slot.node) = (beginning.len() as u8, *root, *node);
        }
        jumps
    }

    /// The node behind `beginning`.
    #[inline]
    pub(super) fn find(&self, root: u32, beginning: &[u8]) -> Option<u32> {
        if beginning.len() > TEXT_BYTES || self.slots.is_empty() {
            return None;
        }
        let mut at = self.home(root, beginning);
        loop {
            let slot = &self.slots[at & (self.slots.len() - 1)];
            if slot.len == 0 {
                return None;
            }
            if slot.root == root && slot.text.get(..slot.len as usize) == Some(beginning) {
                return Some(slot.node);
            }
            at += 1;
        }
    }

    #[inline]
    fn home(&self, root: u32, beginning: &[u8]) -> usize {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u32(root);
        hasher.write(beginning);
        hasher.finish() as usize & (self.slots.len() - 1)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.slots)
    }
}
