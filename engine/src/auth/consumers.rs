//! Known callers, frozen: up to a million in a few large pieces of memory, none of it one
//! caller's own, so that making and burying a store costs little. Shared by all workers.

use std::collections::BTreeMap;
use std::fmt;

use super::hash::{Costs, Mistake as HashMistake, PasswordHash};
use super::is_printable;
use super::keys::{Digest, KEY_BYTES_MAX, KEYS_MAX, Keys, digest_of};
use super::texts::{Sets, Texts, WORD_BYTES_MAX, Words};
use crate::ids::{ConsumerId, PlanId, WordId};

pub const CONSUMERS_MAX: usize = 2 << 20;
pub const NAME_BYTES_MAX: usize = 256;
/// Of one consumer, and so many scopes.
pub const GROUPS_MAX: usize = 64;
/// Hashes of passwords as text; the longest that is accepted is shorter.
const HASH_BYTES_MAX: usize = 512;

const NONE: u32 = u32::MAX;

/// Why a consumer or what belongs to it was not taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mistake {
    NoName,
    LongName,
    /// Control characters, or spaces around it.
    BadName,
    NameTwice(ConsumerId),
    KeyTwice(ConsumerId),
    BasicTwice,
    /// A name with a colon can't be sent as a user (RFC 7617 §2).
    ColonInUser,
    Hash(HashMistake),
    /// A group or scope that is empty, too long, or has characters that none may have.
    BadWord,
    ManyConsumers,
    ManyKeys,
    ManyWords,
    ManyOfOne,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mistake::NoName => f.write_str("a consumer needs a name"),
            Mistake::LongName => write!(f, "a name has at most {NAME_BYTES_MAX} bytes"),
            Mistake::BadName => f.write_str("a name has no control characters or spaces around it"),
            Mistake::NameTwice(_) => f.write_str("this name is another consumer's"),
            Mistake::KeyTwice(_) => f.write_str("this key is another consumer's"),
            Mistake::BasicTwice => f.write_str("a consumer has one password"),
            Mistake::ColonInUser => f.write_str("a name with `:` can't have a password"),
            Mistake::Hash(why) => why.fmt(f),
            Mistake::BadWord => {
                write!(f, "a group or scope has 1 to {WORD_BYTES_MAX} printable bytes")
            }
            Mistake::ManyConsumers => write!(f, "there are at most {CONSUMERS_MAX} consumers"),
            Mistake::ManyKeys => write!(f, "there are at most {KEYS_MAX} keys"),
            Mistake::ManyWords => f.write_str("there are too many different groups and scopes"),
            Mistake::ManyOfOne => {
                write!(f, "a consumer has at most {GROUPS_MAX} groups and as many scopes")
            }
        }
    }
}

/// Gathers consumers; [`Builder::finish`] freezes them.
pub struct Builder {
    out: Consumers,
    /// How often each cost was seen, for the decoy.
    costs: BTreeMap<Costs, u32>,
    scratch: Vec<WordId>,
}

/// The store. Its ids count within it: another store's consumer of the same id is someone else.
#[derive(Clone)]
pub struct Consumers {
    names: Texts,
    words: Words,
    sets: Sets,
    keys: Keys,
    groups: Vec<u32>,
    scopes: Vec<u32>,
    plans: Vec<u32>,
    /// By consumer: which of `hashes`. Empty when nobody has a password.
    basics: Vec<u32>,
    hashes: Vec<u8>,
    hash_ends: Vec<u32>,
    decoy: PasswordHash,
}

impl Builder {
    /// `words` are those that rules name (their ids hold in the store); `seed` is random, against
    /// names and keys chosen to crowd a table; `entries` is what to make room for.
    pub fn new(words: Words, seed: u64, entries: usize) -> Builder {
        let entries = entries.min(CONSUMERS_MAX);
        let out = Consumers {
            names: Texts::new(seed, entries),
            words,
            sets: Sets::new(seed),
            keys: Keys::new(seed, entries),
            groups: Vec::with_capacity(entries),
            scopes: Vec::with_capacity(entries),
            plans: Vec::with_capacity(entries),
            basics: Vec::new(),
            hashes: Vec::new(),
            hash_ends: Vec::new(),
            decoy: PasswordHash::decoy(None),
        };
        Builder { out, costs: BTreeMap::new(), scratch: Vec::new() }
    }

    /// A new consumer. After a mistake nothing of it is there.
    pub fn add<'a>(
        &mut self,
        name: &[u8],
        groups: impl IntoIterator<Item = &'a [u8]>,
        scopes: impl IntoIterator<Item = &'a [u8]>,
        plan: Option<PlanId>,
    ) -> Result<ConsumerId, Mistake> {
        let has_spaces = name.first() == Some(&b' ') || name.last() == Some(&b' ');
        match name {
            b"" => return Err(Mistake::NoName),
            _ if name.len() > NAME_BYTES_MAX => return Err(Mistake::LongName),
            _ if has_spaces || !is_printable(name) => return Err(Mistake::BadName),
            _ => {}
        }
        if let Some(taken) = self.out.names.find(name) {
            return Err(Mistake::NameTwice(ConsumerId(taken)));
        }
        if self.out.names.len() == CONSUMERS_MAX || !self.out.names.has_room(name.len()) {
            return Err(Mistake::ManyConsumers);
        }
        let groups = self.set(groups)?;
        let scopes = self.set(scopes)?;
        let id = ConsumerId(self.out.names.push(name));
        self.out.groups.push(groups);
        self.out.scopes.push(scopes);
        self.out.plans.push(plan.map_or(NONE, |plan| plan.0));
        Ok(id)
    }

    fn set<'a>(&mut self, words: impl IntoIterator<Item = &'a [u8]>) -> Result<u32, Mistake> {
        self.scratch.clear();
        for word in words {
            // RFC 6749 §3.3: spaces part scopes, and quotes and backslashes are in none.
            let is_plain = |b: &u8| *b > 0x20 && *b != 0x7f && *b != b'"' && *b != b'\\';
            if word.is_empty() || word.len() > WORD_BYTES_MAX || !word.iter().all(is_plain) {
                return Err(Mistake::BadWord);
            }
            if self.scratch.len() == GROUPS_MAX {
                return Err(Mistake::ManyOfOne);
            }
            self.scratch.push(self.out.words.intern(word).ok_or(Mistake::ManyWords)?);
        }
        self.scratch.sort_unstable();
        self.scratch.dedup();
        self.out.sets.intern(&self.scratch).ok_or(Mistake::ManyWords)
    }

    /// One more key by which the consumer is known.
    pub fn add_key(&mut self, owner: ConsumerId, digest: Digest) -> Result<(), Mistake> {
        debug_assert!(owner.index() < self.len());
        if let Some(taken) = self.out.keys.owner(&digest) {
            return Err(Mistake::KeyTwice(taken));
        }
        if self.out.keys.len() == KEYS_MAX {
            return Err(Mistake::ManyKeys);
        }
        self.out.keys.push(digest, owner);
        Ok(())
    }

    /// The consumer's password, as its hash.
    pub fn set_basic(&mut self, owner: ConsumerId, hash: &[u8]) -> Result<(), Mistake> {
        debug_assert!(owner.index() < self.len());
        if self.out.names.text(owner.0).contains(&b':') {
            return Err(Mistake::ColonInUser);
        }
        if hash.len() > HASH_BYTES_MAX || self.out.hashes.len() + hash.len() > NONE as usize {
            return Err(Mistake::Hash(HashMistake::Malformed));
        }
        let parsed = PasswordHash::parse(hash).map_err(Mistake::Hash)?;
        let len = self.out.basics.len().max(owner.index() + 1);
        self.out.basics.resize(len, NONE);
        let basic = &mut self.out.basics[owner.index()];
        if *basic != NONE {
            return Err(Mistake::BasicTwice);
        }
        *basic = self.out.hash_ends.len() as u32;
        self.out.hashes.extend_from_slice(hash);
        self.out.hash_ends.push(self.out.hashes.len() as u32);
        *self.costs.entry(parsed.costs()).or_default() += 1;
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn finish(self) -> Consumers {
        let mut out = self.out;
        let usual = self.costs.iter().max_by_key(|(_, count)| **count).map(|(costs, _)| *costs);
        out.decoy = PasswordHash::decoy(usual);
        out.names.shrink();
        out.keys.shrink();
        for list in [&mut out.groups, &mut out.scopes, &mut out.plans, &mut out.basics] {
            list.shrink_to_fit();
        }
        out.hashes.shrink_to_fit();
        out.hash_ends.shrink_to_fit();
        out
    }
}

impl Consumers {
    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether anybody has a key.
    pub fn has_keys(&self) -> bool {
        self.keys.len() > 0
    }

    /// Whether anybody has a password.
    pub fn has_passwords(&self) -> bool {
        !self.hash_ends.is_empty()
    }

    /// Whose key this is, as sent.
    pub fn by_key(&self, key: &[u8]) -> Option<ConsumerId> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return None;
        }
        self.by_digest(&digest_of(key))
    }

    pub fn by_digest(&self, digest: &Digest) -> Option<ConsumerId> {
        self.keys.owner(digest)
    }

    pub fn by_name(&self, name: &[u8]) -> Option<ConsumerId> {
        self.names.find(name).map(ConsumerId)
    }

    pub fn name(&self, id: ConsumerId) -> &[u8] {
        self.names.text(id.0)
    }

    /// Sorted, each once.
    pub fn groups(&self, id: ConsumerId) -> &[WordId] {
        self.sets.words(self.groups[id.index()])
    }

    /// Sorted, each once.
    pub fn scopes(&self, id: ConsumerId) -> &[WordId] {
        self.sets.words(self.scopes[id.index()])
    }

    pub fn plan(&self, id: ConsumerId) -> Option<PlanId> {
        Some(self.plans[id.index()]).filter(|&plan| plan != NONE).map(PlanId)
    }

    /// Names of groups and scopes, with the ids that this store uses.
    pub fn words(&self) -> &Words {
        &self.words
    }

    /// The hash of the user's password. Without one, what is verified is the [`Consumers::decoy`].
    pub fn basic(&self, user: &[u8]) -> Option<(ConsumerId, PasswordHash)> {
        let id = self.by_name(user)?;
        let hash = PasswordHash::parse(self.basic_text(id)?);
        Some((id, hash.expect("the builder takes what parses")))
    }

    /// The hash as the file has it: a part of what a remembered verdict is known by.
    pub fn basic_text(&self, id: ConsumerId) -> Option<&[u8]> {
        let at = *self.basics.get(id.index()).filter(|&&at| at != NONE)? as usize;
        let start = if at == 0 { 0 } else { self.hash_ends[at - 1] as usize };
        Some(&self.hashes[start..self.hash_ends[at] as usize])
    }

    /// A hash that no password has, as dear to verify as most of the store's: for users that
    /// nobody knows, so that the time of an answer doesn't tell whether a user exists.
    pub fn decoy(&self) -> PasswordHash {
        self.decoy
    }

    /// Memory held, to be told.
    pub fn bytes_used(&self) -> usize {
        let ids = [&self.groups, &self.scopes, &self.plans, &self.basics, &self.hash_ends];
        ids.iter().map(|list| 4 * list.capacity()).sum::<usize>()
            + self.names.bytes_used()
            + self.words.bytes_used()
            + self.sets.bytes_used()
            + self.keys.bytes_used()
            + self.hashes.capacity()
    }
}

impl fmt::Debug for Consumers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (consumers, keys) = (self.len(), self.keys.len());
        write!(f, "Consumers({consumers} with {keys} keys, {} passwords)", self.hash_ends.len())
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.out.fmt(f)
    }
}

/// Whether a consumer with `held` is in one of the groups that are `asked` for. Both are sorted.
pub fn has_any(held: &[WordId], asked: &[WordId]) -> bool {
    asked.iter().any(|word| held.binary_search(word).is_ok())
}

/// Whether `held` has all that are `asked` for. Both are sorted.
pub fn has_all(held: &[WordId], asked: &[WordId]) -> bool {
    asked.iter().all(|word| held.binary_search(word).is_ok())
}
