//! What a worker remembers of verdicts: good passwords and verified tokens. Bounded in entries and
//! bytes, in memory of its own; a hit allocates nothing.
//!
//! Both are sets of a few ways. A newcomer takes a free way, else a dead one, else one that nobody
//! used since the last newcomer looked. Only good verdicts are remembered: bad ones would be
//! anybody's to fill the memory with.
//!
//! A `generation` is the caller's number of the keys or consumers that a verdict was made with
//! (the same keys fetched again are the same generation); a verdict of another one is none.

use std::fmt;
use std::time::Duration;

use ring::hmac;

use super::{Now, Wall, same};
use crate::time::Mono;

const WAYS: usize = 4;

fn sets(entries: usize) -> usize {
    entries.div_ceil(WAYS).max(1).next_power_of_two()
}

/// Verified tokens, known by all their bytes.
pub struct Tokens<V> {
    entries: Box<[Token<V>]>,
    hasher: ahash::RandomState,
    bytes_max: usize,
    bytes: usize,
    /// Where bytes are looked for next, when there are too many.
    hand: usize,
}

struct Token<V> {
    hash: u64,
    text: Vec<u8>,
    value: Option<V>,
    /// Of the token's room and the value.
    bytes: usize,
    until: Mono,
    ends: Wall,
    generation: u32,
    was_used: bool,
}

impl<V> Tokens<V> {
    /// Room for `entries` tokens, or a few more, as long as they and their values have no more than
    /// `bytes_max` bytes. Some places are asked for more often than others: give room for twice as
    /// many as are to stay. `seed` is random, so that nobody can choose tokens for one place.
    pub fn new(entries: usize, bytes_max: usize, seed: [u64; 2]) -> Tokens<V> {
        let free = || Token {
            hash: 0,
            text: Vec::new(),
            value: None,
            bytes: 0,
            until: Mono(0),
            ends: Wall(0),
            generation: 0,
            was_used: false,
        };
        let entries = (0..sets(entries) * WAYS).map(|_| free()).collect();
        let hasher = ahash::RandomState::with_seeds(seed[0], seed[1], !seed[0], !seed[1]);
        Tokens { entries, hasher, bytes_max, bytes: 0, hand: 0 }
    }

    /// What was remembered of exactly this token.
    #[inline]
    pub fn recall(&mut self, token: &[u8], generation: u32, now: Now) -> Option<&V> {
        let hash = self.hasher.hash_one(token);
        let set = self.set(hash);
        let entry = self.entries[set..set + WAYS]
            .iter_mut()
            .find(|e| e.hash == hash && e.value.is_some() && e.text == token)?;
        if !entry.is_alive(generation, now) {
            return None;
        }
        entry.was_used = true;
        entry.value.as_ref()
    }

    /// Remembers a token that is good until `ends`, for `ttl` at most. The value takes
    /// `value_bytes`.
    pub fn remember(
        &mut self,
        token: &[u8],
        (value, value_bytes): (V, usize),
        (ends, ttl): (Wall, Duration),
        generation: u32,
        now: Now,
    ) {
        let bytes = token.len() + value_bytes;
        let ttl = ttl.min(ends.since(now.wall));
        if bytes > self.bytes_max || ttl.is_zero() {
            return;
        }
        let hash = self.hasher.hash_one(token);
        let set = self.set(hash);
        let ways = &mut self.entries[set..set + WAYS];
        let known = ways.iter().position(|e| e.hash == hash && e.text == token);
        let way = known.unwrap_or_else(|| victim(ways, |e| e.is_alive(generation, now)));
        self.forget(set + way);
        self.make_room(bytes, generation, now);
        self.bytes += bytes;
        let entry = &mut self.entries[set + way];
        entry.text.extend_from_slice(token);
        *entry = Token {
            hash,
            text: std::mem::take(&mut entry.text),
            value: Some(value),
            bytes,
            until: now.mono.after(ttl),
            ends,
            generation,
            was_used: false,
        };
        self.check_invariants();
    }

    /// Bytes of tokens and values now.
    pub fn bytes_used(&self) -> usize {
        self.bytes
    }

    fn set(&self, hash: u64) -> usize {
        // The upper bits: a table's entries are told apart by all of them.
        (hash >> 32) as usize % (self.entries.len() / WAYS) * WAYS
    }

    fn forget(&mut self, at: usize) {
        let entry = &mut self.entries[at];
        self.bytes -= entry.bytes;
        entry.bytes = 0;
        entry.value = None;
        // Memory of the token goes too: what is bounded is what is held.
        entry.text = Vec::new();
    }

    /// Two rounds of the hand at most: the first may only find entries in use.
    fn make_room(&mut self, bytes: usize, generation: u32, now: Now) {
        for _ in 0..self.entries.len() * 2 {
            if self.bytes + bytes <= self.bytes_max {
                return;
            }
            let at = self.hand;
            self.hand = (at + 1) % self.entries.len();
            let entry = &mut self.entries[at];
            let is_spared = entry.was_used && entry.is_alive(generation, now);
            entry.was_used = false;
            if !is_spared {
                self.forget(at);
            }
        }
    }

    fn check_invariants(&self) {
        debug_assert!(self.bytes <= self.bytes_max);
        debug_assert_eq!(self.bytes, self.entries.iter().map(|e| e.bytes).sum::<usize>());
    }
}

impl<V> Way for Token<V> {
    fn was_used(&mut self) -> &mut bool {
        &mut self.was_used
    }
}

impl<V> Token<V> {
    fn is_alive(&self, generation: u32, now: Now) -> bool {
        let is_in_time = now.mono < self.until && now.wall < self.ends;
        self.value.is_some() && self.generation == generation && is_in_time
    }
}

impl<V> fmt::Debug for Tokens<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.entries.iter().filter(|e| e.value.is_some()).count();
        write!(f, "Tokens({count}, {} bytes)", self.bytes)
    }
}

trait Way {
    fn was_used(&mut self) -> &mut bool;
}

/// Which way of a set a newcomer takes.
fn victim<W: Way>(ways: &mut [W], is_alive: impl Fn(&W) -> bool) -> usize {
    if let Some(dead) = ways.iter().position(|way| !is_alive(way)) {
        return dead;
    }
    let unused = ways.iter_mut().position(|way| !*way.was_used());
    // All are in use: each has to prove it again.
    ways.iter_mut().for_each(|way| *way.was_used() = false);
    unused.unwrap_or(0)
}

/// Good passwords, known by a keyed MAC of user, password and the hash that it was verified
/// against, so that no memory of a worker has a password, and a changed hash is another entry.
pub struct Passwords<V> {
    entries: Box<[Password<V>]>,
    key: hmac::Key,
}

/// What a user, a password and a stored hash come to.
#[derive(Clone, Copy)]
pub struct Proof([u8; 32]);

struct Password<V> {
    proof: Proof,
    value: Option<V>,
    until: Mono,
    generation: u32,
    was_used: bool,
}

impl<V: Copy> Passwords<V> {
    /// `key` is random, of this process or worker alone.
    pub fn new(entries: usize, key: &[u8; 32]) -> Passwords<V> {
        let free = || Password {
            proof: Proof([0; 32]),
            value: None,
            until: Mono(0),
            generation: 0,
            was_used: false,
        };
        let entries = (0..sets(entries) * WAYS).map(|_| free()).collect();
        Passwords { entries, key: hmac::Key::new(hmac::HMAC_SHA256, key) }
    }

    pub fn proof(&self, user: &[u8], password: &[u8], hash: &[u8]) -> Proof {
        let mut mac = hmac::Context::with_key(&self.key);
        // Lengths first, so that no two lists of pieces are the same bytes.
        let mut lengths = [0; 12];
        for (to, piece) in lengths.chunks_exact_mut(4).zip([user, password, hash]) {
            to.copy_from_slice(&(piece.len() as u32).to_le_bytes());
        }
        [&lengths, user, password, hash].into_iter().for_each(|piece| mac.update(piece));
        let mut proof = Proof([0; 32]);
        proof.0.copy_from_slice(mac.sign().as_ref());
        proof
    }

    pub fn recall(&mut self, proof: &Proof, generation: u32, now: Mono) -> Option<V> {
        let set = self.set(proof);
        let is_it = |e: &&mut Password<V>| e.is_alive(generation, now) && e.is_of(proof);
        let entry = self.entries[set..set + WAYS].iter_mut().find(is_it)?;
        entry.was_used = true;
        entry.value
    }

    pub fn remember(&mut self, proof: Proof, value: V, ttl: Duration, generation: u32, now: Mono) {
        let set = self.set(&proof);
        let ways = &mut self.entries[set..set + WAYS];
        let known = ways.iter().position(|e| e.is_of(&proof));
        let way = known.unwrap_or_else(|| victim(ways, |e| e.is_alive(generation, now)));
        let until = now.after(ttl);
        ways[way] = Password { proof, value: Some(value), until, generation, was_used: false };
    }

    fn set(&self, proof: &Proof) -> usize {
        let (low, _) = proof.0.split_first_chunk::<8>().expect("a MAC has 32 bytes");
        u64::from_le_bytes(*low) as usize % (self.entries.len() / WAYS) * WAYS
    }
}

impl<V> Way for Password<V> {
    fn was_used(&mut self) -> &mut bool {
        &mut self.was_used
    }
}

impl<V> Password<V> {
    fn is_alive(&self, generation: u32, now: Mono) -> bool {
        self.value.is_some() && self.generation == generation && now < self.until
    }

    fn is_of(&self, proof: &Proof) -> bool {
        self.value.is_some() && same(&self.proof.0, &proof.0)
    }
}

impl<V> fmt::Debug for Passwords<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.entries.iter().filter(|e| e.value.is_some()).count();
        write!(f, "Passwords({count})")
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof(***)")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::rng::Rng;

    fn now(seconds: u64) -> Now {
        Now { mono: Mono(seconds * 1_000_000_000), wall: Wall(1_700_000_000 + seconds) }
    }

    const TTL: Duration = Duration::from_secs(60);

    fn tokens(entries: usize, bytes_max: usize) -> Tokens<u32> {
        Tokens::new(entries, bytes_max, [1, 2])
    }

    #[test]
    fn a_token_is_known_by_all_its_bytes_until_the_first_of_its_ends() {
        let mut memory = tokens(16, 4096);
        memory.remember(b"abc", (7, 10), (now(30).wall, TTL), 1, now(0));
        assert_eq!(memory.recall(b"abc", 1, now(29)), Some(&7));
        assert_eq!(memory.recall(b"abc", 1, now(30)), None, "it has expired");
        assert_eq!(memory.recall(b"abd", 1, now(0)), None);
        assert_eq!(memory.recall(b"abc", 2, now(0)), None, "keys have changed");
        memory.remember(b"abc", (8, 10), (Wall::NEVER, TTL), 1, now(0));
        assert_eq!(memory.recall(b"abc", 1, now(59)), Some(&8));
        assert_eq!(memory.recall(b"abc", 1, now(60)), None, "remembered for long enough");
        let set_forward = Now { wall: Wall::NEVER, ..now(1) };
        memory.remember(b"abc", (9, 10), (now(30).wall, TTL), 1, now(0));
        assert_eq!(memory.recall(b"abc", 1, set_forward), None, "the clock was set");
        memory.remember(b"dead", (9, 10), (now(0).wall, TTL), 1, now(1));
        assert_eq!(memory.recall(b"dead", 1, now(0)), None, "never remembered");
    }

    #[test]
    fn a_clash_of_hashes_is_no_hit() {
        let mut memory = tokens(4, 4096);
        memory.remember(b"abc", (7, 10), (Wall::NEVER, TTL), 1, now(0));
        let hash = memory.hasher.hash_one(&b"xyz"[..]);
        memory.entries.iter_mut().for_each(|e| e.hash = hash);
        assert_eq!(memory.recall(b"xyz", 1, now(0)), None);
    }

    #[test]
    fn memory_is_bounded_and_never_wrong() {
        let (mut memory, mut rng) = (tokens(64, 3000), Rng::from_u64(5));
        let mut model: HashMap<Vec<u8>, u32> = HashMap::new();
        let (mut hits, mut most) = (0, 0);
        for i in 0..20_000u32 {
            let token = format!("token-{}", rng.below(200)).into_bytes();
            if let Some(value) = memory.recall(&token, 1, now(0)) {
                assert_eq!(Some(value), model.get(&token));
                hits += 1;
                continue;
            }
            let bytes = rng.below(100) as usize;
            memory.remember(&token, (i, bytes), (Wall::NEVER, TTL), 1, now(0));
            model.insert(token, i);
            most = most.max(memory.bytes_used());
        }
        assert!(most <= 3000 && most > 2000 && hits > 2000, "{most} bytes, {hits} hits");
        memory.remember(&[0; 3001], (1, 0), (Wall::NEVER, TTL), 1, now(0));
        assert_eq!(memory.recall(&[0; 3001], 1, now(0)), None, "larger than the memory");
    }

    #[test]
    fn what_is_used_stays_when_others_pass_by() {
        let mut memory = tokens(4, 1 << 20);
        memory.remember(b"used", (1, 0), (Wall::NEVER, TTL), 1, now(0));
        for i in 0..1000u32 {
            assert_eq!(memory.recall(b"used", 1, now(0)), Some(&1), "after {i}");
            let passing = format!("passing-{i}");
            memory.remember(passing.as_bytes(), (2, 0), (Wall::NEVER, TTL), 1, now(0));
        }
    }

    #[test]
    fn a_proof_is_of_user_password_and_hash() {
        let mut memory: Passwords<u32> = Passwords::new(64, &[9; 32]);
        let good = memory.proof(b"ann", b"secret", b"$2b$hash");
        let at = Mono(5);
        memory.remember(good, 3, TTL, 1, at);
        assert_eq!(memory.recall(&good, 1, at), Some(3));
        for (user, password, hash) in [
            (&b"ann"[..], &b"secre"[..], &b"$2b$hash"[..]),
            (b"bob", b"secret", b"$2b$hash"),
            (b"ann", b"secret", b"$2b$hasi"),
            (b"anns", b"ecret", b"$2b$hash"),
            (b"ann", b"secret$", b"2b$hash"),
        ] {
            let other = memory.proof(user, password, hash);
            assert_eq!(memory.recall(&other, 1, at), None);
        }
        let elsewhere: Passwords<u32> = Passwords::new(64, &[8; 32]);
        assert_ne!(elsewhere.proof(b"ann", b"secret", b"$2b$hash").0, good.0);
        assert_eq!(memory.recall(&good, 2, at), None, "consumers have changed");
        assert_eq!(memory.recall(&good, 1, at.after(TTL)), None, "remembered for long enough");
    }

    #[test]
    fn passwords_are_bounded_and_never_wrong() {
        let (mut memory, mut rng) = (Passwords::new(64, &[9; 32]), Rng::from_u64(5));
        let mut hits = 0;
        for _ in 0..5000 {
            let user = rng.below(100);
            let proof = memory.proof(&user.to_le_bytes(), b"x", b"y");
            match memory.recall(&proof, 1, Mono(1)) {
                Some(value) => {
                    assert_eq!(value, user);
                    hits += 1;
                }
                None => memory.remember(proof, user, TTL, 1, Mono(1)),
            }
        }
        assert!(hits > 1500, "{hits}");
        assert_eq!(memory.entries.len(), 64);
    }

    #[test]
    fn memories_can_be_printed() {
        let mut tokens: Tokens<&str> = Tokens::new(4, 1000, [1, 2]);
        tokens.remember(b"tok", ("secret", 6), (Wall::NEVER, TTL), 1, now(0));
        let passwords: Passwords<u32> = Passwords::new(4, &[9; 32]);
        let proof = passwords.proof(b"a", b"b", b"c");
        let shown = format!("{tokens:?} {passwords:?} {proof:?}");
        assert_eq!(shown, "Tokens(1, 9 bytes) Passwords(0) Proof(***)");
    }
}
