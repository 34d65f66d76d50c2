//! Connections open by client address, over all workers.
//!
//! A fixed table of buckets of eight words; a word is a 48-bit tag of the address and a 16-bit
//! count. Nothing is moved or probed further: a client whose bucket is full of others is let in
//! uncounted, for a full table must not shut out the world.

use std::net::IpAddr;

use crate::sync::{AtomicU64, Ordering};

const BUCKETS: usize = 4096;
const WAYS: usize = 8;
const COUNT_BITS: u32 = 16;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

#[derive(Debug)]
pub struct ClientCounts {
    words: Box<[AtomicU64]>,
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
        ClientCounts { words, hasher }
    }

    fn bucket(&self, hash: u64) -> &[AtomicU64] {
        let at = (hash as usize % BUCKETS) * WAYS;
        &self.words[at..at + WAYS]
    }

    /// Counts one more connection. `None`: the client has `max` already. The token is for
    /// [`ClientCounts::leave`].
    pub fn enter(&self, ip: IpAddr, max: u32) -> Option<u64> {
        let hash = self.hasher.hash_one(key_of(ip)) | 1 << 63; // a tag is never zero
        let (tag, bucket) = (hash & !COUNT_MASK, self.bucket(hash));
        let max = u64::from(max).min(COUNT_MASK);
        let mut tries = 0;
        while tries < 64 {
            tries += 1;
            let mut free = None;
            let mut mine = None;
            for word in bucket {
                let value = word.load(Ordering::Relaxed);
                if value & !COUNT_MASK == tag && value & COUNT_MASK > 0 {
                    mine = Some((word, value));
                    break;
                }
                if value & COUNT_MASK == 0 && free.is_none() {
                    free = Some((word, value));
                }
            }
            let (word, old, new) = match (mine, free) {
                (Some((_, value)), _) if value & COUNT_MASK >= max => return None,
                (Some((word, value)), _) => (word, value, value + 1),
                (None, _) if max == 0 => return None,
                (None, Some((word, value))) => (word, value, tag | 1),
                (None, None) => return Some(0), // full of others: uncounted
            };
            if word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return Some(hash);
            }
        }
        Some(0)
    }

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

#[cfg(test)]
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
