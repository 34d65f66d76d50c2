//! From one worker to the writer thread: a bounded queue of packed records. One side only pushes,
//! the other only pops; neither ever waits.
//!
//! The words are atomics of their own, so that no unsafe code is needed: a relaxed store costs as
//! much as a plain one. `head` and `tail` publish them.

use std::sync::Arc;

use crossbeam::utils::CachePadded;

use crate::sync::{AtomicU64, Ordering};

#[derive(Debug)]
struct Ring {
    words: Box<[AtomicU64]>,
    /// Words ever pushed. Written by the producer.
    head: CachePadded<AtomicU64>,
    /// Words ever popped. Written by the consumer.
    tail: CachePadded<AtomicU64>,
    /// Records that did not fit.
    dropped: CachePadded<AtomicU64>,
}

/// The worker's end.
#[derive(Debug)]
pub struct Producer {
    ring: Arc<Ring>,
    head: u64,
}

/// The writer's end.
#[derive(Debug)]
pub struct Consumer {
    ring: Arc<Ring>,
    tail: u64,
}

/// A ring of at least `bytes`, a power of two.
pub fn ring(bytes: usize) -> (Producer, Consumer) {
    let words = (bytes / 8).next_power_of_two().max(2);
    let ring = Arc::new(Ring {
        words: (0..words).map(|_| AtomicU64::new(0)).collect(),
        head: CachePadded::new(AtomicU64::new(0)),
        tail: CachePadded::new(AtomicU64::new(0)),
        dropped: CachePadded::new(AtomicU64::new(0)),
    });
    (Producer { ring: ring.clone(), head: 0 }, Consumer { ring, tail: 0 })
}

impl Ring {
    fn at(&self, position: u64) -> &AtomicU64 {
        &self.words[position as usize & (self.words.len() - 1)]
    }
}

/// Words that a record takes: its length and its bytes.
fn words_of(bytes: usize) -> u64 {
    1 + bytes.div_ceil(8) as u64
}

impl Producer {
    /// False when there is no room: the record is counted as dropped.
    pub fn push(&mut self, record: &[u8]) -> bool {
        let ring = &*self.ring;
        // Acquire: the consumer has read what it gave back.
        let used = self.head - ring.tail.load(Ordering::Acquire);
        let wanted = words_of(record.len());
        if used + wanted > ring.words.len() as u64 {
            ring.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        ring.at(self.head).store(record.len() as u64, Ordering::Relaxed);
        let (words, rest) = record.as_chunks();
        let mut at = self.head + 1;
        for word in words {
            ring.at(at).store(u64::from_le_bytes(*word), Ordering::Relaxed);
            at += 1;
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            ring.at(at).store(u64::from_le_bytes(word), Ordering::Relaxed);
        }
        self.head += wanted;
        ring.head.store(self.head, Ordering::Release);
        true
    }
}

impl Consumer {
    /// The oldest record, into `out`. False when there is none.
    pub fn pop(&mut self, out: &mut Vec<u8>) -> bool {
        let ring = &*self.ring;
        let head = ring.head.load(Ordering::Acquire);
        if head == self.tail {
            return false;
        }
        let len = ring.at(self.tail).load(Ordering::Relaxed) as usize;
        debug_assert!(words_of(len) <= head - self.tail, "no record ends behind what was pushed");
        out.resize(len.next_multiple_of(8), 0);
        for (i, word) in out.as_chunks_mut().0.iter_mut().enumerate() {
            *word = ring.at(self.tail + 1 + i as u64).load(Ordering::Relaxed).to_le_bytes();
        }
        out.truncate(len);
        self.tail += words_of(len);
        ring.tail.store(self.tail, Ordering::Release);
        true
    }

    pub fn is_empty(&self) -> bool {
        self.ring.head.load(Ordering::Acquire) == self.tail
    }

    /// Records that did not fit, ever.
    pub fn dropped(&self) -> u64 {
        self.ring.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, not(busbar_loom)))]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn what_goes_in_comes_out_in_order_or_is_counted() {
        let (mut producer, mut consumer) = ring(256);
        let (mut rng, mut out) = (Rng::from_u64(3), Vec::new());
        let mut expect = std::collections::VecDeque::new();
        let mut dropped = 0;
        for n in 0..20_000u32 {
            if rng.one_in(2) {
                let record: Vec<u8> = (0..rng.below(60)).map(|i| (n + i) as u8).collect();
                match producer.push(&record) {
                    true => expect.push_back(record),
                    false => dropped += 1,
                }
            } else if consumer.pop(&mut out) {
                assert_eq!(Some(&out), expect.pop_front().as_ref());
            } else {
                assert!(expect.is_empty());
            }
        }
        assert_eq!(consumer.dropped(), dropped);
        assert!(dropped > 0, "the ring was full at times");
        assert!(!producer.push(&[0; 300]), "longer than the ring");
    }

    #[test]
    fn two_threads_lose_nothing_that_was_taken() {
        let (mut producer, mut consumer) = ring(1 << 10);
        let pushed = std::thread::scope(|scope| {
            let pushing = scope.spawn(move || {
                (0..200_000u64).filter(|n| producer.push(&n.to_le_bytes()[..7])).collect::<Vec<_>>()
            });
            let (mut popped, mut out) = (Vec::new(), Vec::new());
            loop {
                let over = pushing.is_finished();
                while consumer.pop(&mut out) {
                    out.resize(8, 0);
                    popped.push(u64::from_le_bytes(out[..8].try_into().unwrap()));
                }
                if over {
                    break (pushing.join().unwrap(), popped);
                }
            }
        });
        assert_eq!(pushed.0, pushed.1);
        assert_eq!(pushed.0.len() as u64 + consumer.dropped(), 200_000);
    }
}

#[cfg(all(test, busbar_loom))]
mod loom_tests {
    use super::*;
    use crate::model::spawn;

    /// Two records through a ring that holds one: in every order, what is popped was pushed.
    #[test]
    fn every_interleaving_gives_whole_records_in_order() {
        loom::model(|| {
            let (mut producer, mut consumer) = ring(24);
            let pushing =
                spawn(move || [[1u8; 12], [2u8; 12]].map(|record| producer.push(&record)));
            let (mut popped, mut out) = (Vec::new(), Vec::new());
            if consumer.pop(&mut out) {
                popped.push(out.clone());
            }
            let pushed = pushing.join().unwrap();
            while consumer.pop(&mut out) {
                popped.push(out.clone());
            }
            let count = pushed.iter().filter(|p| **p).count();
            assert_eq!(popped.len(), count);
            for (i, record) in popped.iter().enumerate() {
                assert!(record.iter().all(|b| usize::from(*b) == i + 1 || !pushed[0]));
            }
        });
    }
}
