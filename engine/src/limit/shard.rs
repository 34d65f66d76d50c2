//! The table of rate limits that all workers share: what each key of each limit owes.
//!
//! ```text
//! bucket, two cache lines:  hash 0 | hash 1 | … | hash 7      (64 bits: which key)
//!                           word 0 | word 1 | … | word 7
//!         word:             4 bits occupancy | 60 bits stamp  (gcra.rs; unit 0: vacant)
//! ```
//!
//! A key lives in one bucket and nowhere else; nothing is moved or probed further. A hit is one
//! compare-and-swap of the word. It can't fall on another key's: the hash is read after the word,
//! and a place changes hands only through a vacant word with the next occupancy number, so that the
//! swap fails. (That sixteen keys take a place in turn between a look and its swap, and the last
//! leaves the same stamp, is ruled out by time: each has to be over before the next.)
//!
//! A word turns vacant by a swap, by anyone, when its stamp is over or the key is reset. Only who
//! holds the bucket's claim fills a vacant one: so two threads never give one key two places. A
//! claim is waited for a bounded time.
//!
//! A bucket full of keys that all owe something: the new key is told so, and no key loses its
//! state. Ten million strangers fill the table, but push out nobody.
//!
//! Each worker's `now` may lag behind another's by up to [`STALE_MAX`](super::gcra::STALE_MAX); a
//! debt only looks longer by that, and places are taken from none that could look unpaid.

use crate::limit::gcra::{Rate, STAMP_BITS, Stamp, State, Step};
use crate::limit::key::{KeyHash, KeyHasher, KeySeeds};
use crate::sync::{AtomicBool, AtomicU64, Ordering, spin_loop};
use crate::time::Mono;

/// A model has to be small.
const WAYS: usize = if cfg!(busbar_loom) { 2 } else { 8 };
const SLOTS_MIN: usize = WAYS;
/// 16 GiB.
const SLOTS_MAX: usize = 1 << 30;
/// Swaps of one key's word that others foil: each time one of them came through.
const SWAPS_MAX: usize = if cfg!(busbar_loom) { 8 } else { 4096 };
/// Looks at a bucket that another thread has claimed.
const CLAIMS_MAX: usize = if cfg!(busbar_loom) { 8 } else { 256 };
const STAMP_MASK: u64 = (1 << STAMP_BITS) - 1;

#[derive(Debug)]
pub struct Table {
    buckets: Box<[Bucket]>,
    /// By bucket: a thread is putting a new key in.
    claims: Box<[AtomicBool]>,
    seeds: KeySeeds,
    full: AtomicU64,
}

#[derive(Debug)]
#[repr(align(128))] // two lines that the processor fetches together
struct Bucket {
    hashes: [AtomicU64; WAYS],
    words: [AtomicU64; WAYS],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    Allowed,
    Refused,
    /// Nothing is known of the key, and there is no place for it (or none within bounds). Nothing
    /// was taken; the limit's `when_full` decides.
    Full,
}

/// What was decided, and what it left. [`Rate`] makes numbers for the client of `state`.
#[derive(Clone, Copy, Debug)]
pub struct Decision {
    pub answer: Answer,
    pub state: State,
    pub receipt: Receipt,
}

/// What it takes to give a share back.
#[derive(Clone, Copy, Debug)]
pub struct Receipt {
    hash: KeyHash,
    /// In the limit's unit; 0 when nothing was taken.
    share: u64,
    /// The key's word after the taking.
    word: u64,
}

impl Decision {
    fn new(hash: KeyHash, step: Step, share: u64, word: u64) -> Decision {
        let answer = if step.is_allowed { Answer::Allowed } else { Answer::Refused };
        let share = if step.is_allowed { share } else { 0 };
        Decision { answer, state: step.state, receipt: Receipt { hash, share, word } }
    }

    fn full(hash: KeyHash) -> Decision {
        let receipt = Receipt { hash, share: 0, word: 0 };
        Decision { answer: Answer::Full, state: State::default(), receipt }
    }
}

/// Where a sweep stands; one thread's.
#[derive(Debug, Default)]
pub struct Sweep {
    next: usize,
    live: usize,
}

impl Table {
    /// Of so many slots, rounded up to a power of two; 16 bytes each. The seeds are secret.
    ///
    /// Keys fall into buckets of eight by chance: with two slots for each key that owes something
    /// one of a hundred finds no place, with four one of some thousands.
    pub fn new(seeds: [u64; 4], slots: usize) -> Table {
        let slots = slots.clamp(SLOTS_MIN, SLOTS_MAX).next_power_of_two();
        let zeros = || std::array::from_fn(|_| AtomicU64::new(0));
        let bucket = |_| Bucket { hashes: zeros(), words: zeros() };
        let claims = (0..slots / WAYS).map(|_| AtomicBool::new(false)).collect();
        let buckets = (0..slots / WAYS).map(bucket).collect();
        Table { buckets, claims, seeds: KeySeeds::new(seeds), full: AtomicU64::new(0) }
    }

    pub fn slots(&self) -> usize {
        self.buckets.len() * WAYS
    }

    pub fn buckets(&self) -> usize {
        self.buckets.len()
    }

    /// Memory, all of it taken at the start.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.buckets) + size_of_val(&*self.claims)
    }

    /// How often a key was told [`Answer::Full`].
    pub fn full(&self) -> u64 {
        self.full.load(Ordering::Relaxed)
    }

    /// A key of a limit; add its parts and finish.
    #[inline]
    pub fn key(&self, limit: u64) -> KeyHasher {
        self.seeds.key(limit)
    }

    /// Takes `cost` units for a key when its limit allows.
    #[inline]
    pub fn take(&self, hash: KeyHash, rate: &Rate, cost: u64, now: Mono) -> Decision {
        // Fast path: it is there, and nobody else at it (10.3 ns; 11.3 as one loop).
        let hit = self.bucket(hash).find(hash);
        let hit = hit.and_then(|(place, word)| self.hit(hash, place, word, rate, cost, now));
        hit.unwrap_or_else(|| self.take_slowly(hash, rate, cost, now))
    }

    #[inline(never)]
    fn take_slowly(&self, hash: KeyHash, rate: &Rate, cost: u64, now: Mono) -> Decision {
        for _ in 0..SWAPS_MAX {
            let done = match self.bucket(hash).find(hash) {
                Some((place, word)) => self.hit(hash, place, word, rate, cost, now),
                None => self.take_new(hash, rate, cost, now),
            };
            if let Some(decision) = done {
                return decision;
            }
        }
        self.count_full(hash)
    }

    /// `None`: the word has changed since.
    #[inline]
    fn hit(
        &self,
        hash: KeyHash,
        place: usize,
        word: u64,
        rate: &Rate,
        cost: u64,
        now: Mono,
    ) -> Option<Decision> {
        let step = rate.take(Stamp::of_word(word), cost, now);
        let next = step.stamp.map_or(word, |stamp| word & !STAMP_MASK | stamp.bits());
        let is_done = self.bucket(hash).change(place, word, next);
        is_done.then(|| Decision::new(hash, step, rate.share(cost.min(rate.burst())), next))
    }

    /// What [`Table::take`] would say to a key that has a place; nothing is taken.
    #[inline]
    pub fn ask(&self, hash: KeyHash, rate: &Rate, cost: u64, now: Mono) -> Decision {
        let word = self.bucket(hash).find(hash).map_or(0, |(_, word)| word);
        Decision::new(hash, rate.take(Stamp::of_word(word), cost, now), 0, word)
    }

    /// What a key owes.
    pub fn look(&self, hash: KeyHash, rate: &Rate, now: Mono) -> State {
        let word = self.bucket(hash).find(hash).map_or(0, |(_, word)| word);
        rate.state(Stamp::of_word(word), now)
    }

    /// Gives back what a later limit's refusal made useless. Exactly the share when nobody else
    /// took of this key meanwhile, or all owed something without it; else so much of it as is
    /// certain to be still owed: never more than fair.
    ///
    /// `clock` reads the time anew, when others took: none of their `now`s is later, since the
    /// word they left was seen before.
    pub fn give_back(&self, receipt: &Receipt, clock: impl Fn() -> Mono) {
        if receipt.share == 0 {
            return;
        }
        let bucket = self.bucket(receipt.hash);
        for _ in 0..SWAPS_MAX {
            let Some((place, word)) = bucket.find(receipt.hash) else { return };
            if occupancy(word) != occupancy(receipt.word) {
                return; // reset since, or paid by time
            }
            let (stamp, taken) = (Stamp::of_word(word), Stamp::of_word(receipt.word));
            let stamp = match word == receipt.word {
                true => stamp.earlier(receipt.share),
                false => stamp.without(receipt.share, taken, clock()),
            };
            if bucket.change(place, word, word & !STAMP_MASK | stamp.bits()) {
                return;
            }
        }
    }

    /// Forgets what a key owes. Whether there was something.
    pub fn reset(&self, hash: KeyHash) -> bool {
        let bucket = self.bucket(hash);
        for _ in 0..SWAPS_MAX {
            let Some((place, word)) = bucket.find(hash) else { return false };
            if bucket.change(place, word, vacated(word)) {
                return true;
            }
        }
        false
    }

    /// Drops what is over from the next so many buckets; the number of keys that owe something,
    /// when that was the last of the table. The whole has to be swept within each
    /// [`SWEEP_WITHIN`](super::gcra::SWEEP_WITHIN).
    pub fn sweep(&self, sweep: &mut Sweep, buckets_max: usize, now: Mono) -> Option<usize> {
        let rest = &self.buckets[sweep.next..];
        let piece = &rest[..buckets_max.min(rest.len())];
        for word in piece.iter().flat_map(|bucket| &bucket.words) {
            let value = word.load(Ordering::Relaxed);
            let stamp = Stamp::of_word(value);
            if stamp.is_none() {
                continue;
            }
            // One that changes meanwhile is of use to somebody.
            let is_gone = stamp.is_over(now)
                && word
                    .compare_exchange(value, vacated(value), Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok();
            sweep.live += usize::from(!is_gone);
        }
        sweep.next += piece.len();
        (sweep.next == self.buckets.len()).then(|| std::mem::take(sweep).live)
    }

    /// `None`: the key is there now.
    #[cold]
    fn take_new(&self, hash: KeyHash, rate: &Rate, cost: u64, now: Mono) -> Option<Decision> {
        let Some(_claim) = self.claim(hash) else { return Some(self.count_full(hash)) };
        let bucket = self.bucket(hash);
        if bucket.find(hash).is_some() {
            return None;
        }
        let step = rate.take(Stamp::NONE, cost, now);
        let Some(stamp) = step.stamp else { return Some(Decision::new(hash, step, 0, 0)) };
        let Some((place, word)) = bucket.vacate(hash, now) else {
            return Some(self.count_full(hash));
        };
        // While it is claimed nobody else fills a vacant place; and whoever sees the new word sees
        // the new hash.
        let word = word | stamp.bits();
        bucket.hashes[place].store(hash.0, Ordering::Release);
        bucket.words[place].store(word, Ordering::Release);
        Some(Decision::new(hash, step, rate.share(cost), word))
    }

    #[cold]
    fn count_full(&self, hash: KeyHash) -> Decision {
        self.full.fetch_add(1, Ordering::Relaxed);
        Decision::full(hash)
    }

    #[inline]
    fn bucket(&self, hash: KeyHash) -> &Bucket {
        &self.buckets[self.index(hash)]
    }

    #[inline]
    fn index(&self, hash: KeyHash) -> usize {
        hash.0 as usize & (self.buckets.len() - 1)
    }

    fn claim(&self, hash: KeyHash) -> Option<Claim<'_>> {
        let claim = &self.claims[self.index(hash)];
        for _ in 0..CLAIMS_MAX {
            if claim.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return Some(Claim(claim));
            }
            spin_loop();
        }
        None
    }
}

impl Bucket {
    /// Where a key's looks begin: keys of one bucket start at places of their own.
    #[inline]
    fn places(hash: KeyHash) -> impl Iterator<Item = usize> {
        let first = (hash.0 >> 61) as usize;
        (first..first + WAYS).map(|place| place % WAYS)
    }

    /// A key's place and its word.
    #[inline]
    fn find(&self, hash: KeyHash) -> Option<(usize, u64)> {
        let first = (hash.0 >> 61) as usize % WAYS;
        let word = self.word_of(first, hash);
        word.map(|word| (first, word)).or_else(|| self.find_further(hash))
    }

    #[inline(never)]
    fn find_further(&self, hash: KeyHash) -> Option<(usize, u64)> {
        let mut places = Bucket::places(hash).skip(1);
        places.find_map(|place| self.word_of(place, hash).map(|word| (place, word)))
    }

    /// If the place is the key's.
    #[inline]
    fn word_of(&self, place: usize, hash: KeyHash) -> Option<u64> {
        if self.hashes[place].load(Ordering::Relaxed) != hash.0 {
            return None;
        }
        let word = self.words[place].load(Ordering::Acquire);
        // Read again after the word: if that is still there at the swap, it is this key's.
        let is_same = self.hashes[place].load(Ordering::Acquire) == hash.0;
        (is_same && !Stamp::of_word(word).is_none()).then_some(word)
    }

    #[inline]
    fn change(&self, place: usize, from: u64, to: u64) -> bool {
        let word = &self.words[place];
        if from == to {
            // A look that stands: the word was this key's when its hash was read.
            return word.load(Ordering::Relaxed) == from;
        }
        word.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// A place that is vacant, or whose key owes nothing any more. Under the claim.
    fn vacate(&self, hash: KeyHash, now: Mono) -> Option<(usize, u64)> {
        Bucket::places(hash).find_map(|place| {
            let word = self.words[place].load(Ordering::Acquire);
            let stamp = Stamp::of_word(word);
            if stamp.is_none() {
                return Some((place, word));
            }
            let is_ours = stamp.is_over(now) && self.change(place, word, vacated(word));
            is_ours.then(|| (place, vacated(word)))
        })
    }
}

fn occupancy(word: u64) -> u64 {
    word >> STAMP_BITS
}

/// Without a stamp, for the next key.
fn vacated(word: u64) -> u64 {
    (word & !STAMP_MASK).wrapping_add(1 << STAMP_BITS)
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
    use std::collections::HashMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::limit::gcra::STALE_MAX;
    use crate::rng::Rng;

    const SECOND: u64 = 1_000_000_000;

    fn rate(count: u64, seconds: u64, burst: u64) -> Rate {
        Rate::new(count, Duration::from_secs(seconds), burst).unwrap()
    }

    fn key(table: &Table, n: u64) -> KeyHash {
        table.key(1).route(n).finish()
    }

    #[test]
    fn a_key_has_its_burst_and_other_keys_theirs() {
        let (table, rate, now) = (Table::new([1, 2, 3, 4], 100), rate(1, 1, 2), Mono(5));
        assert_eq!((table.slots(), table.bytes()), (128, 16 * 129));
        let (a, b) = (key(&table, 1), key(&table, 2));
        let take = |hash| table.take(hash, &rate, 1, now).answer;
        assert_eq!(rate.remaining(table.look(a, &rate, now)), 2);
        assert_eq!(
            [take(a), take(a), take(a)],
            [Answer::Allowed, Answer::Allowed, Answer::Refused]
        );
        assert_eq!(take(b), Answer::Allowed);
        assert_eq!(table.take(b, &rate, 3, now).answer, Answer::Refused);
        assert_eq!(table.take(key(&table, 3), &rate, 3, now).answer, Answer::Refused);
        assert_eq!(rate.remaining(table.look(b, &rate, now)), 1);
        assert_eq!(table.ask(b, &rate, 1, now).answer, Answer::Allowed);
        assert_eq!(rate.remaining(table.look(b, &rate, now)), 1, "nothing was taken");
        assert!(table.reset(a) && !table.reset(a));
        assert_eq!(take(a), Answer::Allowed);
        assert_eq!(table.full(), 0);
    }

    #[test]
    fn what_is_given_back_may_be_taken_again() {
        let (table, rate, now) = (Table::new([1, 2, 3, 4], 8), rate(1, 1, 3), Mono(0));
        let hash = key(&table, 1);
        let left = |now| rate.remaining(table.look(hash, &rate, now));
        let first = table.take(hash, &rate, 2, now).receipt;
        table.give_back(&first, || now);
        assert_eq!(left(now), 3);
        let second = table.take(hash, &rate, 2, now).receipt;
        let later = Mono(SECOND);
        table.take(hash, &rate, 1, later);
        table.give_back(&second, || later);
        assert_eq!(left(later), 2, "one was taken, and of the other two one was paid by time");
        let refused = table.take(hash, &rate, 3, later);
        assert_eq!(refused.answer, Answer::Refused);
        table.give_back(&refused.receipt, || later);
        assert_eq!(left(later), 2, "nothing was taken");
        let third = table.take(hash, &rate, 1, later).receipt;
        table.reset(hash);
        table.take(hash, &rate, 1, later);
        table.give_back(&third, || later);
        assert_eq!(left(later), 2, "the share went with the reset");
    }

    #[test]
    fn a_full_bucket_takes_in_whom_time_makes_room_for() {
        let (table, rate, now) = (Table::new([1, 2, 3, 4], 8), rate(1, 1, 1), Mono(0));
        let take = |n, now| table.take(key(&table, n), &rate, 1, now).answer;
        assert!((0..8).all(|n| take(n, now) == Answer::Allowed));
        assert_eq!((take(8, now), table.full()), (Answer::Full, 1));
        assert_eq!(take(0, now), Answer::Refused, "none is pushed out");
        let over = Mono(SECOND).after(STALE_MAX);
        assert_eq!(take(8, over), Answer::Full, "one might still see a debt");
        let over = Mono(over.0 + 1);
        assert_eq!(take(0, over), Answer::Allowed);
        assert!((8..15).all(|n| take(n, over) == Answer::Allowed));
        assert_eq!((take(15, over), take(0, over)), (Answer::Full, Answer::Refused));
    }

    #[test]
    fn a_sweep_drops_what_is_over_piece_by_piece() {
        let (table, mut sweep) = (Table::new([1, 2, 3, 4], 1024), Sweep::default());
        let (short, long) = (rate(1, 1, 1), rate(1, 60, 1));
        let taken =
            |n: u64| table.take(key(&table, n), [&short, &long][n as usize % 2], 1, Mono(0));
        let live = (0..200).filter(|n| taken(*n).answer == Answer::Allowed).count();
        let mut round = |now| (0..9).find_map(|_| table.sweep(&mut sweep, 15, now));
        assert_eq!(round(Mono(0)), Some(live));
        assert_eq!(round(Mono(2 * SECOND)), Some(100));
        assert_eq!(round(Mono(2 * SECOND)), Some(100));
        assert_eq!(round(Mono(61 * SECOND)), Some(0));
    }

    /// Ten times as many strangers as there are slots, each of whom owes something to the end.
    #[test]
    fn strangers_neither_grow_the_table_nor_push_anyone_out() {
        let table = Table::new([5, 6, 7, 8], 1 << 15);
        let (bytes, honest) = (table.bytes(), rate(10, 1, 10));
        let hour = rate(1, 3600, 1);
        let hash = table.key(2).text(super::super::key::Part::Consumer, Some(b"honest")).finish();
        let (mut now, mut allowed, mut paid_at) = (1, 0, 0);
        for n in 0..10 << 15 {
            now += 3_000; // a second in all
            if n % 100 == 0 {
                let fair = paid_at.max(now) + SECOND / 10;
                let is_fair = fair <= now + SECOND;
                let answer = table.take(hash, &honest, 1, Mono(now)).answer;
                assert_eq!(answer, [Answer::Refused, Answer::Allowed][usize::from(is_fair)]);
                paid_at = if is_fair { fair } else { paid_at };
                allowed += u32::from(is_fair);
            }
            table.take(key(&table, n), &hour, 1, Mono(now));
        }
        assert!((18..=20).contains(&allowed), "{allowed}");
        assert!(table.full() > 9 << 15, "{} strangers found no place", table.full());
        assert_eq!(table.bytes(), bytes);
    }

    proptest! {
        /// Beside a map that forgets nothing. A key may be told `Full` only while eight others owe.
        #[test]
        fn the_table_decides_like_an_unbounded_map(
            seed in any::<u64>(), slots in prop_oneof![Just(8usize), Just(64)], keys in 1..60u32,
        ) {
            let (table, mut rng) = (Table::new([seed, 1, 2, 3], slots), Rng::from_u64(seed));
            let rates = [rate(10, 1, 3), rate(3, 60, 2), rate(1_000_000, 1, 500), rate(7, 3600, 9)];
            let mut map: HashMap<u64, Stamp> = HashMap::new();
            let mut sweep = Sweep::default();
            let mut now = Mono(u64::from(rng.below(1 << 30)));
            for _ in 0..400 {
                now = now.after(Duration::from_millis(rng.below(200).into()));
                let stale = Mono(now.0.saturating_sub(rng.below(1_000_000).into()));
                let n = u64::from(rng.below(keys));
                let (rate, hash) = (&rates[n as usize % 4], key(&table, n));
                let cost = 1 + u64::from(rng.below(3));
                if rng.one_in(20) {
                    table.sweep(&mut sweep, 3, now);
                }
                if rng.one_in(30) {
                    table.reset(hash);
                    map.remove(&n);
                }
                let stamp = map.get(&n).copied().unwrap_or(Stamp::NONE);
                let step = rate.take(stamp, cost, stale);
                let decision = table.take(hash, rate, cost, stale);
                if decision.answer == Answer::Full {
                    prop_assert_eq!(rate.remaining(rate.state(stamp, stale)), rate.burst());
                    let owing = map.iter().filter(|(k, s)| **k != n && !s.is_over(stale));
                    prop_assert!(owing.count() >= WAYS);
                    continue;
                }
                prop_assert_eq!(decision.answer == Answer::Allowed, step.is_allowed);
                prop_assert_eq!(decision.state, step.state);
                let mut stamp = step.stamp.unwrap_or(stamp);
                if step.is_allowed && rng.one_in(4) {
                    table.give_back(&decision.receipt, || now);
                    stamp = stamp.earlier(rate.share(cost));
                }
                map.insert(n, stamp);
            }
        }
    }

    /// A hit that is lost to another's would let one more pass.
    #[test]
    fn threads_together_take_the_burst_exactly() {
        let (table, burst) = (Table::new([3, 1, 4, 1], 8), 3_000_000);
        let rate = rate(1, 1, burst);
        let start = std::sync::Barrier::new(4);
        let work = || {
            start.wait();
            let take = || table.take(key(&table, 1), &rate, 1, Mono(9)).answer;
            std::iter::repeat_with(take).take_while(|answer| *answer == Answer::Allowed).count()
        };
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken as u64, burst);
    }

    /// A time that all threads drive on, but never further than half of [`STALE_MAX`] from one
    /// that read it and has not decided yet: the machine may keep such a one from running.
    struct Clock {
        time: AtomicU64,
        read: [AtomicU64; 4],
    }

    impl Clock {
        fn read(&self, thread: usize, step: u64) -> u64 {
            self.read[thread].store(self.fresh().0, Ordering::SeqCst);
            let time = self.time.fetch_add(step, Ordering::SeqCst);
            let oldest = || self.read.iter().map(|read| read.load(Ordering::SeqCst)).min();
            while oldest().is_some_and(|oldest| oldest + 50_000_000 < time) {
                self.read[thread].store(time, Ordering::SeqCst);
                std::thread::yield_now();
            }
            time
        }

        fn decided(&self, thread: usize) {
            self.read[thread].store(u64::MAX / 2, Ordering::SeqCst);
        }

        fn fresh(&self) -> Mono {
            Mono(self.time.load(Ordering::SeqCst))
        }
    }

    /// Four threads, each with a clock of its own that lags by up to a millisecond, on keys that
    /// are reclaimed and swept meanwhile: no window of any key holds more than it may.
    #[test]
    fn threads_together_pass_no_window() {
        let (count, burst) = (1000, 20);
        let (table, rate) = (Table::new([3, 1, 4, 1], 8), rate(count, 1, burst));
        let read = std::array::from_fn(|_| AtomicU64::new(u64::MAX / 2));
        let clock = Clock { time: AtomicU64::new(0), read };
        let start = std::sync::Barrier::new(4);
        let work = |thread: usize| {
            let (mut rng, mut sweep) = (Rng::from_u64(thread as u64), Sweep::default());
            let mut log = Vec::new();
            start.wait();
            for _ in 0..40_000 {
                // Some two per interval, with a pause now and then in which all is paid.
                let step = if rng.one_in(4000) { 400_000_000 } else { 150_000 };
                let real = clock.read(thread, u64::from(rng.below(step)));
                let now = Mono(real.saturating_sub(rng.below(1_000_000).into()));
                let n = u64::from(if rng.one_in(4) { rng.below(12) } else { rng.below(2) });
                let cost = 1 + u64::from(rng.below(3));
                let decision = table.take(key(&table, n), &rate, cost, now);
                match decision.answer {
                    Answer::Allowed if rng.one_in(5) => {
                        table.give_back(&decision.receipt, || clock.fresh());
                    }
                    Answer::Allowed => log.push((n, now.0, cost)),
                    Answer::Refused | Answer::Full => {}
                }
                if rng.one_in(50) {
                    table.sweep(&mut sweep, 1, now);
                }
                clock.decided(thread);
            }
            log
        };
        let work = &work;
        let mut log: Vec<(u64, u64, u64)> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|n| scope.spawn(move || work(n))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        log.sort_unstable();
        let took = |n| log.iter().filter(|entry| entry.0 == n).map(|entry| entry.2).sum::<u64>();
        assert!(took(0) > 3000, "{} for the busiest", took(0));
        for of_key in log.chunk_by(|a, b| a.0 == b.0) {
            // In 1/count ns: the fullest window that ends here against what it may hold.
            let (mut sum, mut least) = (0i128, i128::MAX);
            for (n, now, cost) in of_key {
                let gone = i128::from(*now) * i128::from(count);
                least = least.min(sum * i128::from(SECOND) - gone);
                sum += i128::from(*cost);
                let most = sum * i128::from(SECOND) - gone - least;
                assert!(most <= i128::from(burst * SECOND), "key {n} at {now}: {most}");
            }
        }
    }
}

#[cfg(all(test, busbar_loom))]
mod loom_tests {
    use std::time::Duration;

    use loom::sync::Arc;

    use super::*;
    use crate::model::spawn;

    const A: KeyHash = KeyHash(1);
    const B: KeyHash = KeyHash(2 | 1 << 61); // its looks begin at the other place
    const C: KeyHash = KeyHash(3);
    const NOW: Mono = Mono(10_000_000_000);

    fn of_burst(burst: u64) -> Rate {
        Rate::new(1, Duration::from_secs(1), burst).unwrap()
    }

    fn table() -> Arc<Table> {
        Arc::new(Table::new([1, 2, 3, 4], 2))
    }

    fn take(table: &Table, hash: KeyHash, burst: u64, now: Mono) -> Answer {
        table.take(hash, &of_burst(burst), 1, now).answer
    }

    fn allowed(answers: &[Answer]) -> usize {
        answers.iter().filter(|answer| **answer == Answer::Allowed).count()
    }

    /// Places that a key has.
    fn places(table: &Table, hash: KeyHash) -> usize {
        let bucket = &table.buckets[0];
        let is_its = |place: &usize| {
            let word = bucket.words[*place].load(Ordering::Relaxed);
            let is_vacant = Stamp::of_word(word).is_none();
            !is_vacant && bucket.hashes[*place].load(Ordering::Relaxed) == hash.0
        };
        (0..WAYS).filter(is_its).count()
    }

    #[test]
    fn two_that_take_of_one_key_pass_no_burst() {
        loom::model(|| {
            let table = table();
            assert_eq!(take(&table, A, 2, NOW), Answer::Allowed);
            let beside = table.clone();
            let first = spawn(move || take(&beside, A, 2, NOW));
            let second = take(&table, A, 2, NOW);
            assert_eq!(allowed(&[first.join().unwrap(), second]), 1);
        });
    }

    #[test]
    fn a_new_key_gets_one_place_of_two_who_bring_it() {
        loom::model(|| {
            let table = table();
            let beside = table.clone();
            let first = spawn(move || take(&beside, A, 1, NOW));
            let second = take(&table, A, 1, NOW);
            assert_eq!(allowed(&[first.join().unwrap(), second]), 1);
            assert_eq!((places(&table, A), table.full()), (1, 0));
        });
    }

    #[test]
    fn two_new_keys_get_a_place_each() {
        loom::model(|| {
            let table = table();
            let beside = table.clone();
            let first = spawn(move || take(&beside, A, 1, NOW));
            let second = take(&table, C, 1, NOW);
            assert_eq!(allowed(&[first.join().unwrap(), second]), 2);
            assert_eq!((places(&table, A), places(&table, C)), (1, 1));
        });
    }

    /// A owes nothing any more, B much. While A takes again, C wants its place: one of the two gets
    /// it, and what was taken stays taken.
    #[test]
    fn a_key_that_is_reclaimed_takes_of_its_own_or_not_at_all() {
        loom::model(|| {
            let table = table();
            take(&table, A, 1, Mono(0));
            assert_eq!(take(&table, B, 100, NOW), Answer::Allowed);
            let beside = table.clone();
            let stranger = spawn(move || take(&beside, C, 1, NOW));
            let own = take(&table, A, 1, NOW);
            let stranger = stranger.join().unwrap();
            assert_eq!(allowed(&[own, stranger]), 1, "{own:?} {stranger:?}");
            let is_taken = [(A, own), (C, stranger)].map(|(hash, answer)| {
                assert_ne!(answer, Answer::Refused);
                assert_eq!(places(&table, hash), allowed(&[answer]));
                answer == Answer::Allowed && take(&table, hash, 1, NOW) == Answer::Refused
            });
            assert!(is_taken.contains(&true));
            assert_eq!(places(&table, B), 1);
        });
    }

    /// The same with a sweep, which needs no claim.
    #[test]
    fn a_sweep_takes_nothing_from_who_takes() {
        loom::model(|| {
            let table = table();
            take(&table, A, 1, Mono(0));
            let beside = table.clone();
            let sweep = spawn(move || _ = beside.sweep(&mut Sweep::default(), 1, NOW));
            assert_eq!(take(&table, A, 1, NOW), Answer::Allowed);
            sweep.join().unwrap();
            assert_eq!((take(&table, A, 1, NOW), places(&table, A)), (Answer::Refused, 1));
        });
    }

    #[test]
    fn a_share_comes_back_beside_others_who_take() {
        loom::model(|| {
            let table = table();
            let receipt = table.take(A, &of_burst(2), 1, NOW).receipt;
            let beside = table.clone();
            let first = spawn(move || take(&beside, A, 2, NOW));
            table.give_back(&receipt, || NOW);
            assert_eq!(first.join().unwrap(), Answer::Allowed);
            let left = [take(&table, A, 2, NOW), take(&table, A, 2, NOW)];
            assert_eq!(left, [Answer::Allowed, Answer::Refused]);
        });
    }
}
