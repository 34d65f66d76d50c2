//! Many short texts in one piece of memory, each once, found in one step; and sets of them.

use crate::ids::WordId;

/// Slots of an open-addressed table that numbers others' entries: probing goes on to the next
/// slot, at most half of them are taken, nothing is ever taken out.
#[derive(Clone, Default)]
pub(super) struct Table {
    /// An entry's number and 1; 0 is free.
    slots: Box<[u32]>,
    count: usize,
}

impl Table {
    pub fn with_room(entries: usize) -> Table {
        Table { slots: vec![0; (entries.max(4) * 2).next_power_of_two()].into(), count: 0 }
    }

    /// The entry of this `hash` that `is_it`.
    #[inline]
    pub fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = hash as usize & mask;
        loop {
            match *self.slots.get(at)? {
                0 => return None,
                slot if is_it(slot - 1) => return Some(slot - 1),
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// Puts in an entry that is not there yet. When the table must grow, `hash_of` tells the
    /// hashes of those that are.
    pub fn insert(&mut self, hash: u64, entry: u32, hash_of: impl Fn(u32) -> u64) {
        if (self.count + 1) * 2 > self.slots.len() {
            let mut larger = Table::with_room((self.count + 1) * 2);
            self.slots.iter().filter(|&&s| s != 0).for_each(|s| larger.put(hash_of(s - 1), s - 1));
            *self = larger;
        }
        self.put(hash, entry);
    }

    pub fn bytes_used(&self) -> usize {
        4 * self.slots.len()
    }

    fn put(&mut self, hash: u64, entry: u32) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at] != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = entry + 1;
        self.count += 1;
    }
}

/// Texts in the order they came, each once.
#[derive(Clone)]
pub(super) struct Texts {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    table: Table,
    hasher: ahash::RandomState,
}

impl Texts {
    pub fn new(seed: u64, entries: usize) -> Texts {
        Texts {
            bytes: Vec::new(),
            ends: Vec::with_capacity(entries),
            table: Table::with_room(entries),
            hasher: ahash::RandomState::with_seeds(seed, !seed, seed.rotate_left(29), 2),
        }
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn text(&self, entry: u32) -> &[u8] {
        let at = entry as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.bytes[start..self.ends[at] as usize]
    }

    pub fn find(&self, text: &[u8]) -> Option<u32> {
        self.table.find(self.hasher.hash_one(text), |entry| self.text(entry) == text)
    }

    /// The new entry's number; the text isn't there yet, and there is room.
    pub fn push(&mut self, text: &[u8]) -> u32 {
        debug_assert!(self.find(text).is_none());
        let (entry, hash) = (self.ends.len() as u32, self.hasher.hash_one(text));
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len() as u32);
        let Texts { bytes, ends, table, hasher } = self;
        let hash_of = |entry: u32| {
            let start = if entry == 0 { 0 } else { ends[entry as usize - 1] as usize };
            hasher.hash_one(&bytes[start..ends[entry as usize] as usize])
        };
        table.insert(hash, entry, hash_of);
        entry
    }

    /// Whether `more` bytes fit what an offset counts.
    pub fn has_room(&self, more: usize) -> bool {
        self.bytes.len() + more <= u32::MAX as usize
    }

    pub fn bytes_used(&self) -> usize {
        self.bytes.capacity() + 4 * self.ends.capacity() + self.table.bytes_used()
    }

    pub fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
    }
}

/// Names of groups and scopes. Those that the configuration's rules name come first, so that a
/// rule's ids hold for every store of consumers that was made with the same list, however often
/// the file with the consumers is read again.
#[derive(Clone)]
pub struct Words(Texts);

/// Different groups and scopes together.
pub const WORDS_MAX: usize = 65_536;
pub const WORD_BYTES_MAX: usize = 128;

impl Words {
    pub fn new(seed: u64) -> Words {
        Words(Texts::new(seed, 16))
    }

    pub fn id(&self, word: &[u8]) -> Option<WordId> {
        self.0.find(word).map(WordId)
    }

    pub fn text(&self, id: WordId) -> &[u8] {
        self.0.text(id.0)
    }

    /// The word's id, a new one if need be. `None`: there are too many.
    pub fn intern(&mut self, word: &[u8]) -> Option<WordId> {
        debug_assert!(word.len() <= WORD_BYTES_MAX);
        if let Some(id) = self.id(word) {
            return Some(id);
        }
        (self.0.len() < WORDS_MAX).then(|| WordId(self.0.push(word)))
    }

    pub(super) fn bytes_used(&self) -> usize {
        self.0.bytes_used()
    }
}

/// Sorted sets of words, each once; the empty one is the first.
#[derive(Clone)]
pub(super) struct Sets {
    words: Vec<WordId>,
    ends: Vec<u32>,
    table: Table,
    hasher: ahash::RandomState,
}

/// Words in all different sets together: 16 MiB of them.
pub const SET_WORDS_MAX: usize = 4 << 20;

impl Sets {
    pub fn new(seed: u64) -> Sets {
        let hasher = ahash::RandomState::with_seeds(seed, !seed, seed.rotate_left(17), 3);
        let (words, ends, table) = (Vec::new(), Vec::new(), Table::with_room(16));
        let mut sets = Sets { words, ends, table, hasher };
        sets.intern(&[]);
        sets
    }

    pub fn words(&self, set: u32) -> &[WordId] {
        let at = set as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.words[start..self.ends[at] as usize]
    }

    /// The number of a sorted set. `None`: there are too many.
    pub fn intern(&mut self, set: &[WordId]) -> Option<u32> {
        debug_assert!(set.is_sorted_by(|a, b| a < b));
        let hash = self.hasher.hash_one(set);
        if let Some(known) = self.table.find(hash, |entry| self.words(entry) == set) {
            return Some(known);
        }
        if self.words.len() + set.len() > SET_WORDS_MAX {
            return None;
        }
        let entry = self.ends.len() as u32;
        self.words.extend_from_slice(set);
        self.ends.push(self.words.len() as u32);
        let Sets { words, ends, table, hasher } = self;
        let hash_of = |entry: u32| {
            let start = if entry == 0 { 0 } else { ends[entry as usize - 1] as usize };
            hasher.hash_one(&words[start..ends[entry as usize] as usize])
        };
        table.insert(hash, entry, hash_of);
        Some(entry)
    }

    pub fn bytes_used(&self) -> usize {
        4 * (self.words.capacity() + self.ends.capacity()) + self.table.bytes_used()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::rng::Rng;

    #[test]
    fn texts_agree_with_a_map_while_they_grow() {
        let (mut texts, mut map) = (Texts::new(1, 0), HashMap::new());
        let mut rng = Rng::from_u64(3);
        for _ in 0..20_000 {
            let text = format!("t{}", rng.below(6000)).into_bytes();
            assert_eq!(texts.find(&text), map.get(&text).copied());
            if texts.find(&text).is_none() {
                map.insert(text.clone(), texts.push(&text));
            }
        }
        map.iter().for_each(|(text, &entry)| assert_eq!(texts.text(entry), &text[..]));
        assert_eq!(texts.len(), map.len());
    }

    #[test]
    fn words_that_a_list_begins_with_keep_their_ids() {
        let mut first = Words::new(1);
        let admin = first.intern(b"admin").expect("there is room");
        let mut second = first.clone();
        second.intern(b"other").expect("there is room");
        assert_eq!(second.id(b"admin"), Some(admin));
        assert_eq!(first.id(b"other"), None);
    }

    #[test]
    fn words_and_sets_are_bounded() {
        let mut words = Words::new(1);
        for i in 0..WORDS_MAX {
            assert!(words.intern(format!("w{i}").as_bytes()).is_some());
        }
        assert_eq!(words.intern(b"one more"), None);
        assert_eq!(words.intern(b"w7"), Some(WordId(7)));
        let mut sets = Sets::new(1);
        assert_eq!(sets.intern(&[WordId(1), WordId(2)]), Some(1));
        assert_eq!(sets.intern(&[]), Some(0));
        assert_eq!(sets.intern(&[WordId(1), WordId(2)]), Some(1));
        let long: Vec<WordId> = (0..SET_WORDS_MAX as u32 - 2).map(WordId).collect();
        assert_eq!(sets.intern(&long), Some(2));
        assert_eq!(sets.intern(&[WordId(9)]), None);
    }
}
