//! A short cut into large tries: the first few static segments by one hash.
//!
//! Going down within a run remembers nothing (`trie.rs`), so a lookup may as well begin at the
//! node to which the path's first segments lead. Each trie has one number of segments that skips
//! most nodes; a path whose beginning is not known here goes down from the root.

/// Longer beginnings are not kept. Fills a slot to one cache line.
const TEXT_BYTES: usize = 54;
const WORDS: usize = TEXT_BYTES.div_ceil(8);
/// Odd, one for each word of a beginning (digits of the golden ratio, turned).
const FACTORS: [u64; WORDS] = {
    let mut factors = [0; WORDS];
    let mut i = 0;
    while i < WORDS {
        factors[i] = 0x9E37_79B9_7F4A_7C15u64.rotate_left(9 * i as u32) | 1;
        i += 1;
    }
    factors
};
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
    /// A hash's upper bits are its home.
    shift: u32,
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
        jumps.shift = 64 - jumps.slots.len().trailing_zeros();
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
            if slot.root == root
                && slot.len as usize == beginning.len()
                && is_same(&slot.text, beginning)
            {
                return Some(slot.node);
            }
            at += 1;
        }
    }

    /// Only the configuration puts beginnings in, so that no request can choose who collides: a
    /// hash without a secret will do. Each word has its own factor, so that the multiplications
    /// don't wait for each other (ahash here: 8 ns more of a lookup).
    #[inline(always)]
    fn home(&self, root: u32, beginning: &[u8]) -> usize {
        let mut hash = u64::from(root) ^ beginning.len() as u64;
        let mut i = 0;
        while let Some(word) = beginning.get(i * 8..).and_then(|rest| rest.first_chunk::<8>()) {
            hash = hash.wrapping_add(u64::from_le_bytes(*word).wrapping_mul(FACTORS[i]));
            i += 1;
        }
        let last = match beginning.last_chunk::<8>() {
            Some(word) => u64::from_le_bytes(*word),
            None => beginning.iter().fold(0, |word, b| word << 8 | u64::from(*b)),
        };
        hash = hash.wrapping_add(last.rotate_left(32).wrapping_mul(FACTORS[WORDS - 1]));
        hash ^= hash >> 32;
        (hash.wrapping_mul(FACTORS[0]) >> self.shift) as usize
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.slots)
    }
}

/// Whether `text` begins with `beginning`, which is not longer.
#[inline(always)]
fn is_same(text: &[u8; TEXT_BYTES], beginning: &[u8]) -> bool {
    let text = &text[..beginning.len()];
    let (Some(a), Some(b)) = (text.last_chunk::<8>(), beginning.last_chunk::<8>()) else {
        return text.iter().zip(beginning).all(|(a, b)| a == b);
    };
    let mut diff = u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b);
    for (a, b) in text.as_chunks::<8>().0.iter().zip(beginning.as_chunks::<8>().0) {
        diff |= u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b);
    }
    diff == 0
}
