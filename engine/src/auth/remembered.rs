//! What one worker remembers of each method: issuers' keys, verified tokens, good passwords, the
//! answers of authorisation services. Views share it: it outlives their generation.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::claims::Claims;
use super::fetch::Fetch;
use super::jwks::KeySet;
use super::memory::{Passwords, Proof, Tokens};
use super::{Now, Wall};
use crate::time::Mono;

/// Of one method and worker: tokens of a few thousand callers, at some 1 KiB each.
const TOKENS: usize = 4096;
const TOKENS_BYTES_MAX: usize = 8 << 20;
const PASSWORDS: usize = 4096;
/// A withdrawn token or user is believed for so long by those who have seen it.
const TOKEN_TTL: Duration = Duration::from_secs(300);
const PASSWORD_TTL: Duration = Duration::from_secs(60);

/// By the number of the method.
#[derive(Debug, Default)]
pub struct Remembered {
    methods: Box<[Memory]>,
}

/// What the memory of a method follows: its name, and where its keys are fetched from.
pub type Known<'a> = (&'a str, Option<&'a Fetch>);

impl Remembered {
    /// Of a new configuration. From `before` it takes what no rule of a method changes: an issuer's
    /// keys where they still come from the same place, and the passwords of a method of that name.
    /// Verdicts it takes none: rules may be others, and whoever is being judged by the old ones
    /// now remembers that in the old memory.
    pub fn new<'n>(
        methods: impl Iterator<Item = Known<'n>>,
        before: Option<(Vec<Known<'n>>, &Remembered)>,
        seed: u64,
    ) -> Remembered {
        let memory = |(n, (name, from)): (usize, Known<'n>)| {
            let (mut keys, mut passwords) = Default::default();
            if let Some((known, remembered)) = &before
                && let Some(at) = known.iter().position(|(known, _)| *known == name)
                && let Some(memory) = remembered.methods.get(at)
            {
                passwords = memory.passwords.clone();
                if known[at].1 == from {
                    keys = memory.keys.clone();
                }
            }
            let (tokens, yeses) = Default::default();
            Memory { keys, passwords, tokens, yeses, seed: seed ^ n as u64 }
        };
        Remembered { methods: methods.enumerate().map(memory).collect() }
    }

    pub fn methods(&self) -> impl Iterator<Item = &Memory> {
        self.methods.iter()
    }

    /// `None` where nothing is remembered at all.
    pub fn of(&self, method: u32) -> Option<&Memory> {
        self.methods.get(method as usize)
    }
}

/// What is remembered of one method. Its tables are made when they are first needed.
#[derive(Debug)]
pub struct Memory {
    keys: Rc<Keys>,
    passwords: Rc<RefCell<Option<Passwords<()>>>>,
    tokens: RefCell<Option<Tokens<Rc<Claims>>>>,
    yeses: RefCell<Option<Tokens<Rc<Yes>>>>,
    seed: u64,
}

/// An issuer's keys.
#[derive(Debug, Default)]
struct Keys {
    set: RefCell<Option<Arc<KeySet>>>,
    /// Counts key sets: verdicts of an older one are none.
    generation: Cell<u32>,
}

/// What an authorisation service said of somebody it lets through.
#[derive(Debug, Default)]
pub struct Yes {
    /// Whole field lines for the service behind.
    pub lines: Vec<u8>,
    /// Who it is; empty when it did not say.
    pub name: Vec<u8>,
}

impl Memory {
    /// The keys that were fetched last.
    pub fn keys(&self) -> Option<Arc<KeySet>> {
        self.keys.set.borrow().clone()
    }

    /// From now on these count.
    pub fn take_keys(&self, keys: Arc<KeySet>) {
        let before = self.keys.set.replace(Some(keys.clone()));
        if !before.is_some_and(|before| Arc::ptr_eq(&before, &keys)) {
            self.keys.generation.set(self.generation().wrapping_add(1));
        }
    }

    fn generation(&self) -> u32 {
        self.keys.generation.get()
    }

    pub fn token(&self, token: &[u8], now: Now) -> Option<Rc<Claims>> {
        let mut tokens = self.tokens.borrow_mut();
        tokens.as_mut()?.recall(token, self.generation(), now).cloned()
    }

    pub fn remember_token(&self, token: &[u8], claims: &Rc<Claims>, now: Now) {
        let mut tokens = self.tokens.borrow_mut();
        let seed = [self.seed, !self.seed];
        let tokens = tokens.get_or_insert_with(|| Tokens::new(TOKENS, TOKENS_BYTES_MAX, seed));
        let (bytes, until) = (claims.bytes_used(), (claims.until(), TOKEN_TTL));
        tokens.remember(token, (claims.clone(), bytes), until, self.generation(), now);
    }

    /// What a user, a password and the hash in the file come to.
    pub fn proof(
        &self,
        user: &[u8],
        password: &[u8],
        hash: &[u8],
        key: impl FnOnce() -> [u8; 32],
    ) -> Proof {
        let mut passwords = self.passwords.borrow_mut();
        let passwords = passwords.get_or_insert_with(|| Passwords::new(PASSWORDS, &key()));
        passwords.proof(user, password, hash)
    }

    pub fn knows_password(&self, proof: &Proof, now: Mono) -> bool {
        let mut passwords = self.passwords.borrow_mut();
        passwords.as_mut().is_some_and(|p| p.recall(proof, 0, now).is_some())
    }

    pub fn remember_password(&self, proof: Proof, now: Mono) {
        if let Some(passwords) = self.passwords.borrow_mut().as_mut() {
            passwords.remember(proof, (), PASSWORD_TTL, 0, now); // the hash is in its proof
        }
    }

    /// What a service said when it was shown `asked`.
    pub fn yes(&self, asked: &[u8], now: Now) -> Option<Rc<Yes>> {
        let mut yeses = self.yeses.borrow_mut();
        yeses.as_mut()?.recall(asked, 0, now).cloned()
    }

    pub fn remember_yes(&self, asked: &[u8], yes: &Rc<Yes>, ttl: Duration, now: Now) {
        let mut yeses = self.yeses.borrow_mut();
        let seed = [!self.seed, self.seed];
        let yeses = yeses.get_or_insert_with(|| Tokens::new(TOKENS, TOKENS_BYTES_MAX, seed));
        let bytes = yes.lines.len() + yes.name.len();
        yeses.remember(asked, (yes.clone(), bytes), (Wall::NEVER, ttl), 0, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::jwks::Algs;

    fn now(seconds: u64) -> Now {
        Now { mono: Mono(seconds * 1_000_000_000), wall: Wall(1_700_000_000) }
    }

    #[test]
    fn passwords_follow_a_name_and_a_new_configuration_asks_again() {
        let methods = |names: [&'static str; 2]| names.map(|name| (name, None));
        let first = Remembered::new(methods(["a", "b"]).into_iter(), None, 1);
        let yes = Rc::new(Yes::default());
        let old = first.of(1).expect("it has two");
        old.remember_yes(b"asked", &yes, Duration::from_secs(9), now(1));
        let proof = old.proof(b"u", b"p", b"h", || [7; 32]);
        assert!(!old.knows_password(&proof, Mono(0)));
        old.remember_password(proof, Mono(0));
        assert!(old.yes(b"asked", now(2)).is_some());
        assert!(old.yes(b"other", now(2)).is_none());
        assert!(old.yes(b"asked", now(10)).is_none(), "for as long as was said");
        let before = methods(["a", "b"]).to_vec();
        let second = Remembered::new(methods(["b", "c"]).into_iter(), Some((before, &first)), 2);
        let memory = second.of(0).expect("b is the first now");
        assert!(memory.yes(b"asked", now(2)).is_none(), "its rules may be others");
        assert!(memory.knows_password(&proof, Mono(1)), "a hash is what it was");
        assert!(second.of(1).expect("c").yes(b"asked", now(2)).is_none());
        assert!(second.of(2).is_none());
        // Who was asked for by the old rules gets its answer when there are new ones.
        old.remember_yes(b"late", &yes, Duration::from_secs(9), now(2));
        assert!(memory.yes(b"late", now(2)).is_none());
    }

    #[test]
    fn keys_follow_where_they_come_from() {
        let [here, there] = ["a.example", "b.example"].map(|host| Fetch {
            is_https: true,
            host: host.into(),
            port: 443,
            authority: host.into(),
            target: "/keys".into(),
        });
        let none = KeySet::parse(br#"{"keys":[]}"#, Algs::of(&[])).expect("an empty set");
        let first = Remembered::new([("j", Some(&here))].into_iter(), None, 1);
        first.of(0).expect("j").take_keys(Arc::new(none));
        let next = |from| {
            let before = vec![("j", Some(&here))];
            Remembered::new([("j", Some(from))].into_iter(), Some((before, &first)), 2)
        };
        assert!(next(&here).of(0).expect("j").keys().is_some());
        assert!(next(&there).of(0).expect("j").keys().is_none(), "another issuer's are none");
    }
}
