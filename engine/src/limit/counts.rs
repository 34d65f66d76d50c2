//! How many there are of each key at one time, over all workers: connections of a client, requests
//! of a consumer.
//!
//! A fixed table of buckets of eight words; a word is a 48-bit tag of the key and a 16-bit count.
//! Nothing is moved or probed further: a key whose bucket is full of others is let in uncounted,
//! for a full table must not shut out the world.
//!
//! Invariant: no two words of a bucket count the same key. Counting up and down is one
//! compare-and-swap; a key that is new goes in under its bucket's claim, or two threads could give
//! it a word each when one falls free between their looks.

use crate::sync::{AtomicBool, AtomicU64, Ordering, spin_loop};

/// A model has to be small.
const BUCKETS: usize = if cfg!(busbar_loom) { 1 } else { 4096 };
const WAYS: usize = if cfg!(busbar_loom) { 2 } else { 8 };
const COUNT_BITS: u32 = 16;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
/// Looks at a bucket that others change meanwhile; then the key is let in uncounted.
const LOOKS_MAX: usize = 64;

/// Of one key there are at most 65,535.
#[derive(Debug)]
pub struct Counts {
    words: Box<[AtomicU64]>,
    /// By bucket: a thread is putting a new key in.
    claims: Box<[AtomicBool]>,
    hasher: ahash::RandomState,
}

/// One that entered, for its leaving.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token(pub(super) u64);

impl Token {
    /// Of one that is not counted.
    pub const UNCOUNTED: Token = Token(0);

    pub fn is_counted(self) -> bool {
        self != Token::UNCOUNTED
    }
}

impl Counts {
    pub fn new(seed: u64) -> Counts {
        let words = (0..BUCKETS * WAYS).map(|_| AtomicU64::new(0)).collect();
        let hasher = ahash::RandomState::with_seeds(seed, !seed, seed.rotate_left(17), 1);
        let claims = (0..BUCKETS).map(|_| AtomicBool::new(false)).collect();
        Counts { words, claims, hasher }
    }

    fn bucket(&self, hash: u64) -> &[AtomicU64] {
        let at = self.bucket_of(hash) * WAYS;
        &self.words[at..at + WAYS]
    }

    fn bucket_of(&self, hash: u64) -> usize {
        hash as usize % self.claims.len()
    }

    fn claim(&self, hash: u64) -> Option<Claim<'_>> {
        let claim = &self.claims[self.bucket_of(hash)];
        let is_free = claim.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
        is_free.ok().map(|_| Claim(claim)) // made only when it is: its drop gives the claim back
    }

    /// Counts one more of a key. `None`: there are `max` already. The token is for
    /// [`Counts::leave`].
    pub fn enter(&self, key: u64, max: u32) -> Option<Token> {
        let hash = self.hasher.hash_one(key) | 1 << 63; // a tag is never zero
        let (tag, bucket) = (hash & !COUNT_MASK, self.bucket(hash));
        let max = u64::from(max).min(COUNT_MASK);
        for _ in 0..LOOKS_MAX {
            match look(bucket, tag) {
                Seen::Mine(_, value) if value & COUNT_MASK >= max => return None,
                Seen::Mine(word, value) => {
                    let up = word.compare_exchange(
                        value,
                        value + 1,
                        Ordering::AcqRel,
                        Ordering::Relaxed,
                    );
                    if up.is_ok() {
                        return Some(Token(hash));
                    }
                }
                _ if max == 0 => return None,
                Seen::Full => return Some(Token::UNCOUNTED), // of others
                Seen::Free(_) => {
                    let Some(_claim) = self.claim(hash) else {
                        spin_loop();
                        continue;
                    };
                    // While it is claimed, no free word is taken by anybody else.
                    match look(bucket, tag) {
                        Seen::Free(word) => {
                            word.store(tag | 1, Ordering::Release);
                            return Some(Token(hash));
                        }
                        Seen::Mine(..) | Seen::Full => {}
                    }
                }
            }
        }
        Some(Token::UNCOUNTED)
    }

    /// On the thread that entered, or one that was handed the token through a mailbox: it sees the
    /// word for certain.
    pub fn leave(&self, token: Token) {
        if !token.is_counted() {
            return;
        }
        let tag = token.0 & !COUNT_MASK;
        for word in self.bucket(token.0) {
            let leave = |v: u64| (v & !COUNT_MASK == tag && v & COUNT_MASK > 0).then(|| v - 1);
            if word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, leave).is_ok() {
                return;
            }
        }
    }

    /// How many there are of a key now.
    pub fn open_of(&self, key: u64) -> u32 {
        let hash = self.hasher.hash_one(key) | 1 << 63;
        match look(self.bucket(hash), hash & !COUNT_MASK) {
            Seen::Mine(_, value) => (value & COUNT_MASK) as u32,
            Seen::Free(_) | Seen::Full => 0,
        }
    }

    /// All that are counted now.
    #[cfg(all(test, busbar_loom))]
    fn open(&self) -> u64 {
        self.words.iter().map(|word| word.load(Ordering::Relaxed) & COUNT_MASK).sum()
    }
}

/// A bucket as one thread sees it.
enum Seen<'a> {
    /// The key's word, and what it held.
    Mine(&'a AtomicU64, u64),
    Free(&'a AtomicU64),
    Full,
}

fn look(bucket: &[AtomicU64], tag: u64) -> Seen<'_> {
    let mut seen = Seen::Full;
    for word in bucket {
        let value = word.load(Ordering::Relaxed);
        match value & COUNT_MASK {
            0 if matches!(seen, Seen::Full) => seen = Seen::Free(word),
            1.. if value & !COUNT_MASK == tag => return Seen::Mine(word, value),
            _ => {}
        }
    }
    seen
}

/// The right to put new keys into one bucket.
struct Claim<'a>(&'a AtomicBool);

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(all(test, not(busbar_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_maximum_as_given_and_no_more() {
        let counts = Counts::new(1);
        let first = counts.enter(7, 2).unwrap();
        counts.enter(7, 2).unwrap();
        assert_eq!((counts.enter(7, 2), counts.open_of(7)), (None, 2));
        assert!(counts.enter(7, 3).is_some_and(Token::is_counted), "a maximum by call");
        assert!(counts.enter(8, 1).is_some_and(Token::is_counted), "others are not concerned");
        counts.leave(first);
        assert_eq!((counts.open_of(7), counts.open_of(9)), (2, 0));
        assert_eq!((counts.enter(7, 2), counts.enter(9, 0)), (None, None));
    }

    #[test]
    fn threads_never_pass_the_maximum_together() {
        let counts = Counts::new(2);
        let work = || (0..1000).filter(|_| counts.enter(9, 300).is_some()).count();
        let entered: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!((entered, counts.open_of(9)), (300, 300));
    }
}

#[cfg(all(test, busbar_loom))]
mod loom_tests {
    use loom::sync::Arc;

    use super::*;
    use crate::model::spawn;

    fn counted(token: Option<Token>) -> usize {
        usize::from(token.is_some_and(Token::is_counted))
    }

    /// A place that falls free between two looks must not give one key two places.
    #[test]
    fn a_key_never_has_more_than_its_maximum() {
        loom::model(|| {
            let counts = Arc::new(Counts::new(1));
            let other = counts.enter(2, 1).expect("the table is empty");
            let beside = counts.clone();
            let first = spawn(move || beside.enter(1, 1));
            counts.leave(other);
            let second = counts.enter(1, 1);
            let first = first.join().unwrap();
            assert_eq!(counted(first) + counted(second), 1, "{first:?} {second:?}");
            assert_eq!(counts.open(), 1);
        });
    }

    #[test]
    fn all_that_enter_leave() {
        loom::model(|| {
            let counts = Arc::new(Counts::new(1));
            let beside = counts.clone();
            let visit = |counts: &Counts, n: u64| {
                let token = counts.enter(n, 2).expect("two may, and two come");
                counts.leave(token);
            };
            let first = spawn(move || visit(&beside, 1));
            visit(&counts, 1);
            first.join().unwrap();
            assert_eq!(counts.open(), 0);
        });
    }

    /// Two new keys at once take a place each; a third finds the table full and is let in.
    #[test]
    fn a_full_table_shuts_nobody_out() {
        loom::model(|| {
            let counts = Arc::new(Counts::new(1));
            let beside = counts.clone();
            let first = spawn(move || beside.enter(1, 1));
            let second = counts.enter(2, 1);
            assert_eq!(counted(first.join().unwrap()) + counted(second), 2);
            assert_eq!(counts.open(), 2);
            assert_eq!(counts.enter(3, 1), Some(Token::UNCOUNTED));
        });
    }
}
