//! What must hold, after each step and at rest.
//!
//! 1. One final answer for each request, in order, or a closed connection; never somebody else's
//!    (the nonce tells).
//! 2. Bodies arrive whole or visibly broken.
//! 3. An upstream connection serves one exchange at a time and is never used again with unread
//!    bytes (the origin sees a request that begins inside another, or a foreign answer arrives).
//! 4. Buffers, watches, slots, connections and tasks return to zero at rest.
//! 6. A request that can't be repeated is sent at most once.
//! 7. A reload or drain resets nothing it promised to keep: a request of which a byte had arrived
//!    is answered, a listener that stays refuses nobody, a tunnel lives until the drain's cut.
//! 8. Buffers stay within their budget.
//! 9. With faults off, everything completes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// One request as its client made it.
#[derive(Debug, Clone)]
pub struct Sent {
    pub body: Vec<u8>,
    pub idempotent: bool,
    /// Times its head arrived whole at an origin.
    pub seen: u32,
    pub answered: bool,
}

#[derive(Debug, Default)]
pub struct Oracle {
    pub sent: BTreeMap<u64, Sent>,
    pub broken: Vec<String>,
    pub answers: u64,
    pub problems: u64,
    pub closed_early: u64,
    pub tunnelled: u64,
    /// A drain has begun.
    pub draining: bool,
    /// A drain's deadline has passed.
    pub cutting: bool,
}

pub type Shared = Rc<RefCell<Oracle>>;

/// The body an origin answers a request with: anyone can tell what it should be.
pub fn answer_body(nonce: u64, len: usize) -> Vec<u8> {
    let mut rng = crate::rng::Rng::from_u64(nonce ^ 0xa5a5);
    (0..len).map(|_| b'a' + rng.below(26) as u8).collect()
}

impl Oracle {
    pub fn violated(&mut self, what: String) {
        crate::sim::exec::note!("VIOLATED {what}");
        self.broken.push(what);
    }

    /// An origin has read a whole head.
    pub fn origin_saw_head(&mut self, nonce: u64) {
        let Some(sent) = self.sent.get_mut(&nonce) else {
            return self.violated(format!("an origin got a request nobody sent: {nonce}"));
        };
        sent.seen += 1;
        let most = if sent.idempotent { 2 } else { 1 };
        if sent.seen > most {
            let seen = sent.seen;
            self.violated(format!("request {nonce} was sent {seen} times"));
        }
    }

    /// An origin has read a whole body.
    pub fn origin_saw_body(&mut self, nonce: u64, body: &[u8]) {
        if self.sent.get(&nonce).is_some_and(|s| s.body != body) {
            self.violated(format!("the body of request {nonce} changed on its way"));
        }
    }

    /// A client has read a whole final answer to `nonce`.
    pub fn client_got(&mut self, nonce: u64, status: u16, echoed: Option<u64>, body: &[u8]) {
        self.answers += 1;
        match echoed {
            Some(other) if other != nonce => {
                self.violated(format!("request {nonce} got the answer to {other}"));
            }
            Some(_) => {
                if body != answer_body(nonce, body.len()) {
                    self.violated(format!("the answer to {nonce} changed on its way"));
                }
            }
            None if status >= 400 => self.problems += 1,
            None => self.violated(format!("request {nonce} got a {status} from nowhere")),
        }
        let Some(sent) = self.sent.get_mut(&nonce) else { return };
        if std::mem::replace(&mut sent.answered, true) {
            self.violated(format!("request {nonce} was answered twice"));
        }
    }
}
