//! A short cut into large tries: the first few static segments by one hash.
//!
//! Going down within a run remembers nothing (`trie.rs`), so a lookup may as well begin at the
//! node to which the path's first segments lead. Each trie has one number of segments that skips
//! most nodes; a path whose beginning is not known here goes down from the root.

/// `0x01` in every byte.
const ONES: u64 = u64::MAX / 255;
/// `0x80` in every byte.
const HIGHS: u64 = ONES << 7;
const SLASHES: u64 = ONES * b'/' as u64;
/// A beginning is kept in so many words; longer ones are not kept.
const WORDS: usize = 6;
/// Odd, one for each word (digits of the golden ratio, turned).
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

/// The first bytes of a path, filled up with zeros, which no path has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Beginning {
    words: [u64; WORDS],
    hash: u64,
}

/// One cache line.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
struct Slot {
    /// All zeros: the slot is free.
    words: [u64; WORDS],
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
        let free = Slot { words: [0; WORDS], root: 0, node: 0 };
        jumps.slots = vec![free; (list.len() * 2).next_power_of_two()];
        jumps.shift = 64 - jumps.slots.len().trailing_zeros();
        for (root, text, node) in list {
            let slashes = text.iter().filter(|b| **b == b'/').count();
            let Some(Beginning { words, hash }) = Beginning::of(text, slashes as u32) else {
                continue;
            };
            let mut at = jumps.home(*root, hash);
            while jumps.slots[at].words[0] != 0 {
                at = (at + 1) & (jumps.slots.len() - 1);
            }
            jumps.slots[at] = Slot { words, root: *root, node: *node };
        }
        jumps
    }

    /// The node behind the first `segments` segments of `path`.
    #[inline(always)]
    pub(super) fn find(&self, root: u32, path: &[u8], segments: u32) -> Option<u32> {
        let Beginning { words, hash } = Beginning::of(path, segments)?;
        let mut at = self.home(root, hash);
        loop {
            let slot = self.slots.get(at & (self.slots.len().wrapping_sub(1)))?;
            let differ = (0..WORDS).fold(0, |differ, i| differ | (slot.words[i] ^ words[i]));
            if differ == 0 && slot.root == root {
                return Some(slot.node);
            }
            if slot.words[0] == 0 {
                return None;
            }
            at += 1;
        }
    }

    #[inline(always)]
    fn home(&self, root: u32, hash: u64) -> usize {
        let hash = hash ^ u64::from(root);
        ((hash ^ hash >> 32).wrapping_mul(FACTORS[0]) >> self.shift) as usize
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.slots)
    }
}

impl Beginning {
    /// The first `segments` segments, which end before the next slash or with the path. `None`
    /// when there are fewer, or they are too long.
    ///
    /// Fast path: one pass finds the end and hashes, a word at a time. Each word has its own
    /// factor, so that the multiplications don't wait for each other. Only the configuration puts
    /// beginnings in, so no request can choose who collides: the hash needs no secret.
    #[inline(always)]
    fn of(path: &[u8], segments: u32) -> Option<Beginning> {
        let mut beginning = Beginning { words: [0; WORDS], hash: 0 };
        let mut left = segments;
        for (i, factor) in FACTORS.iter().enumerate() {
            let word = word_at(path, i * 8);
            // The upper bit of each byte that is a slash, exactly.
            let diff = word ^ SLASHES;
            let mut slashes = !(((diff & !HIGHS) + !HIGHS) | diff | !HIGHS);
            let count = ((slashes >> 7).wrapping_mul(ONES) >> 56) as u32;
            let is_end = count > left;
            let mut word = word;
            if is_end {
                for _ in 0..left {
                    slashes &= slashes - 1;
                }
                word &= (1 << (slashes.trailing_zeros() & 56)) - 1;
            }
            beginning.words[i] = word;
            beginning.hash = beginning.hash.wrapping_add(word.wrapping_mul(*factor));
            if is_end {
                return Some(beginning);
            }
            left -= count;
            if path.len() <= i * 8 + 8 {
                return (left == 0).then_some(beginning);
            }
        }
        None
    }
}

/// Eight bytes from `at`, zeros behind the path's end. `at` is a multiple of 8 within the path.
#[inline(always)]
fn word_at(path: &[u8], at: usize) -> u64 {
    let rest = &path[at..];
    match (rest.first_chunk::<8>(), path.last_chunk::<8>()) {
        (Some(word), _) => u64::from_le_bytes(*word),
        (None, Some(last)) => {
            let missing = 64 - 8 * rest.len() as u32;
            u64::from_le_bytes(*last).checked_shr(missing).unwrap_or(0)
        }
        (None, None) => rest.iter().rev().fold(0, |word, b| word << 8 | u64::from(*b)),
    }
}
