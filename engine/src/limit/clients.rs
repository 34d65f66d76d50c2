//! Connections open by client address, over all workers.
//!
//! A fixed table of buckets of eight words; a word is a 48-bit tag of the address and a 16-bit
//! count. Nothing is moved or probed further: a client whose bucket is full of others is let in
//! uncounted, for a full table must not shut out the world.
//!
//! Invariant: no two words of a bucket count the same client. Counting up and down is one
//! compare-and-swap; a client that is new goes in under its bucket's claim, or two threads could
//! give it a word each when one falls free between their looks.

use std::net::IpAddr;

use crate::sync::{AtomicBool, AtomicU64, Ordering, spin_loop};

/// A model has to be small.
const BUCKETS: usize = if cfg!(busbar_loom) { 1 } else { 4096 };
const WAYS: usize = if cfg!(busbar_loom) { 2 } else { 8 };
const COUNT_BITS: u32 = 16;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
/// Looks at a bucket that others change meanwhile; then the client is let in uncounted.
const LOOKS_MAX: usize = 64;

#[derive(Debug)]
pub struct ClientCounts {
    words: Box<[AtomicU64]>,
    /// By bucket: a thread is putting a new client in.
    claims: Box<[AtomicBool]>,
    hasher: ahash::RandomState,
}

/// IPv6 clients count by /64: one customer has at least that much.
fn key_of(ip: IpAddr) -> u64 {
    match ip {
        IpAddr::V4(ip) => u64::from(u32::from(ip)),
        IpAddr::V6(ip) => (u128::from(ip) >> 64) as u64 | 1 << 63,
    }
}

impl ClientCounts {
    pub fn new(seed: u64) -> ClientCounts {
        let words = (0..BUCKETS * WAYS).map(|_| AtomicU64::new(0)).collect();
        let hasher = ahash::RandomState::with_seeds(seed, !seed, seed.rotate_left(17), 1);
        let claims = (0..BUCKETS).map(|_| AtomicBool::new(false)).collect();
        ClientCounts { words, claims, hasher }
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

    /// Counts one more connection. `None`: the client has `max` already. The token is for
    /// [`ClientCounts::leave`].
    pub fn enter(&self, ip: IpAddr, max: u32) -> Option<u64> {
        let hash = self.hasher.hash_one(key_of(ip)) | 1 << 63; // a tag is never zero
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
                        return Some(hash);
                    }
                }
                _ if max == 0 => return None,
                Seen::Full => return Some(0), // of others: uncounted
                Seen::Free(_) => {
                    let Some(_claim) = self.claim(hash) else {
                        spin_loop();
                        continue;
                    };
                    // While it is claimed, no free word is taken by anybody else.
                    match look(bucket, tag) {
                        Seen::Free(word) => {
                            word.store(tag | 1, Ordering::Release);
                            return Some(hash);
                        }
                        Seen::Mine(..) | Seen::Full => {}
                    }
                }
            }
        }
        Some(0)
    }

    /// On the thread that entered, or one that was handed the token through a mailbox: it sees the
    /// word for certain.
    pub fn leave(&self, token: u64) {
        if token == 0 {
            return;
        }
        let tag = token & !COUNT_MASK;
        for word in self.bucket(token) {
            let leave = |v: u64| (v & !COUNT_MASK == tag && v & COUNT_MASK > 0).then(|| v - 1);
            if word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, leave).is_ok() {
                return;
            }
        }
    }
}

/// A bucket as one thread sees it.
enum Seen<'a> {
    /// The client's word, and what it held.
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

/// The right to put new clients into one bucket.
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
    fn a_client_has_its_share_and_no_more() {
        let counts = ClientCounts::new(1);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let a = counts.enter(ip("192.0.2.1"), 2).unwrap();
        counts.enter(ip("192.0.2.1"), 2).unwrap();
        assert!(counts.enter(ip("192.0.2.1"), 2).is_none());
        assert!(counts.enter(ip("192.0.2.2"), 2).is_some(), "others are not concerned");
        counts.leave(a);
        assert!(counts.enter(ip("192.0.2.1"), 2).is_some());
        counts.enter(ip("2001:db8::1"), 1).unwrap();
        assert!(counts.enter(ip("2001:db8::2"), 1).is_none(), "one /64 is one client");
    }

    #[test]
    fn threads_never_pass_the_share_together() {
        let counts = ClientCounts::new(2);
        let entered: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let ip = "192.0.2.9".parse().unwrap();
                        (0..1000).filter(|_| counts.enter(ip, 300).is_some()).count()
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(entered, 300);
    }
}

#[cfg(all(test, busbar_loom))]
mod loom_tests {
    use loom::sync::Arc;

    use super::*;
    use crate::model::spawn;

    fn ip(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    fn counted(token: Option<u64>) -> usize {
        usize::from(token.is_some_and(|token| token != 0))
    }

    /// Connections that are counted now.
    fn open(counts: &ClientCounts) -> u64 {
        counts.words.iter().map(|word| word.load(Ordering::Relaxed) & COUNT_MASK).sum()
    }

    /// A place that falls free between two looks must not give one client two places.
    #[test]
    fn a_client_never_has_more_than_its_share() {
        loom::model(|| {
            let counts = Arc::new(ClientCounts::new(1));
            let other = counts.enter(ip(2), 1).expect("the table is empty");
            let beside = counts.clone();
            let first = spawn(move || beside.enter(ip(1), 1));
            counts.leave(other);
            let second = counts.enter(ip(1), 1);
            let first = first.join().unwrap();
            assert_eq!(counted(first) + counted(second), 1, "{first:?} {second:?}");
            assert_eq!(open(&counts), 1);
        });
    }

    #[test]
    fn all_that_enter_leave() {
        loom::model(|| {
            let counts = Arc::new(ClientCounts::new(1));
            let beside = counts.clone();
            let visit = |counts: &ClientCounts, n: u8| {
                let token = counts.enter(ip(n), 2).expect("two may, and two come");
                counts.leave(token);
            };
            let first = spawn(move || visit(&beside, 1));
            visit(&counts, 1);
            first.join().unwrap();
            assert_eq!(open(&counts), 0);
        });
    }

    /// Two new clients at once take a place each; a third finds the table full and is let in.
    #[test]
    fn a_full_table_shuts_nobody_out() {
        loom::model(|| {
            let counts = Arc::new(ClientCounts::new(1));
            let beside = counts.clone();
            let first = spawn(move || beside.enter(ip(1), 1));
            let second = counts.enter(ip(2), 1);
            assert_eq!(counted(first.join().unwrap()) + counted(second), 2);
            assert_eq!(open(&counts), 2);
            assert_eq!(counts.enter(ip(3), 1), Some(0));
        });
    }
}
