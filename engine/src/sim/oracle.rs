//! What must hold, after each step and at rest.
//!
//!  1. One final answer for each request, in order, or a closed connection; never somebody
//!     else's (the nonce tells).
//!  2. Bodies arrive whole or visibly broken.
//!  3. An upstream connection serves one exchange at a time and is never used again with unread
//!     bytes (the origin sees a request that begins inside another, or a foreign answer arrives).
//!  4. Buffers, watches, slots, connections and tasks return to zero at rest; after each step no
//!     more is in use than is open.
//!  6. A request that can't be repeated is sent at most once, any other at most twice.
//!  7. A reload or drain resets nothing it promised to keep: a request of which a byte had arrived
//!     is answered, a listener that stays refuses nobody, a tunnel lives until the drain's cut.
//!  8. Buffers stay within their budget.
//!  9. With faults off, everything completes.
//! 10. Every exchange is counted once and has one line; both tell what its client got.
//! 11. Bounds of connections hold after each step, over all workers.
//! 12. What breaks the rules reaches nobody, and ends the connection it came on.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::{Rc, Weak};

use crate::sim::exec::world;
use crate::sim::fault::Fault;
use crate::sim::seen::{Kind, Promise, checked, saw};
use crate::worker::Worker;

/// In what a request breaks the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    None,
    Head,
    Body,
}

/// One request as its client made it.
#[derive(Debug, Clone)]
pub struct Sent {
    body: Vec<u8>,
    idempotent: bool,
    flaw: Flaw,
    /// Times its head arrived whole at an origin.
    seen: u32,
    /// In what the last answer to it broke the rules.
    answered: Flaw,
    /// It was answered before it was whole, by an answer that did not come as one piece: when that
    /// began, nobody could know that the connection ends with it.
    ends_unsaid: bool,
    /// The status of the answer that its client read.
    got: Option<u16>,
    /// What lines say of it: a status and a number of attempts each.
    lines: Vec<(u16, u16)>,
}

impl Sent {
    pub fn new(body: Vec<u8>, idempotent: bool, flaw: Flaw) -> Sent {
        let (seen, answered, ends_unsaid) = (0, Flaw::None, false);
        let (got, lines) = Default::default();
        Sent { body, idempotent, flaw, seen, answered, ends_unsaid, got, lines }
    }
}

/// A final answer as a client read it.
pub struct Got<'b> {
    pub status: u16,
    pub echoed: Option<u64>,
    pub body: &'b [u8],
    /// The length that its origin gave it.
    pub len: usize,
}

/// The bounds of a world's connections, which no reload changes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bounds {
    /// Of the listener that stays.
    pub listener: Option<usize>,
    pub client: Option<usize>,
    pub upstream: Option<usize>,
}

#[derive(Debug, Default)]
pub struct Oracle {
    pub sent: BTreeMap<u64, Sent>,
    pub broken: Vec<String>,
    pub answers: u64,
    pub problems: u64,
    pub closed_early: u64,
    pub tunnelled: u64,
    pub bounds: Bounds,
    /// Times are short: connections may end idle just as they are used.
    pub is_hasty: bool,
    pub workers: Vec<Weak<Worker>>,
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
        let (seen, flaw) = (sent.seen, sent.flaw);
        let most = if sent.idempotent { 2 } else { 1 };
        match sent.idempotent {
            true if seen == 2 => saw(Kind::Retried),
            true => {}
            false => checked(Promise::SentOnce),
        }
        if seen > most {
            self.violated(format!("request {nonce} was sent {seen} times"));
        }
        if flaw == Flaw::Head {
            self.violated(format!("the illegal request {nonce} reached an origin"));
        }
    }

    /// An origin breaks the rules in its answer. (A client that gets it sees a wrong answer.)
    pub fn origin_breaks(&mut self, nonce: u64, flaw: Flaw) {
        self.sent.get_mut(&nonce).into_iter().for_each(|sent| sent.answered = flaw);
    }

    /// An origin answers a request that is not whole.
    pub fn origin_is_early(&mut self, nonce: u64, is_one_piece: bool) {
        self.sent.get_mut(&nonce).into_iter().for_each(|sent| sent.ends_unsaid = !is_one_piece);
    }

    /// Whether the connection may end with the answer to `nonce` although that does not say so.
    pub fn may_end_unsaid(&self, nonce: u64) -> bool {
        self.sent.get(&nonce).is_some_and(|sent| sent.ends_unsaid)
    }

    /// A client has got no whole answer to `nonce`.
    pub fn client_got_none(&mut self, nonce: u64) {
        self.closed_early += 1;
        if self.sent.get(&nonce).is_some_and(|sent| sent.answered == Flaw::Body) {
            saw(Kind::BadAnswerBroken);
        }
    }

    /// An origin has read a whole body.
    pub fn origin_saw_body(&mut self, nonce: u64, body: &[u8]) {
        let Some(sent) = self.sent.get(&nonce) else { return };
        let (changed, flaw) = (sent.body != body, sent.flaw);
        if !body.is_empty() {
            checked(Promise::WholeBodies);
        }
        if flaw == Flaw::Body {
            self.violated(format!("the illegal body of request {nonce} reached an origin"));
        } else if changed {
            self.violated(format!("the body of request {nonce} changed on its way"));
        }
    }

    /// A client has read a whole final answer to `nonce`.
    pub fn client_got(&mut self, nonce: u64, got: &Got<'_>) {
        self.answers += 1;
        checked(Promise::OneAnswer);
        if world(|w| w.faults.are_off()) {
            checked(Promise::Completes);
        }
        match got.echoed {
            Some(other) if other != nonce => {
                self.violated(format!("request {nonce} got the answer to {other}"));
            }
            Some(_) if got.body.len() != got.len => {
                let (got, len) = (got.body.len(), got.len);
                self.violated(format!("the answer to {nonce} is {got} bytes instead of {len}"));
            }
            Some(_) if got.body != answer_body(nonce, got.len) => {
                self.violated(format!("the answer to {nonce} changed on its way"));
            }
            Some(_) => checked(Promise::WholeBodies),
            None if got.status >= 400 => {
                self.judge_problem(nonce, got.status);
                self.problems += 1;
                saw(Kind::Problem);
            }
            None => self.violated(format!("request {nonce} got a {} from nowhere", got.status)),
        }
        let Some(sent) = self.sent.get_mut(&nonce) else { return };
        if got.status == 502 && sent.answered != Flaw::None {
            checked(Promise::Strict);
            saw(Kind::BadAnswerHidden);
        }
        if sent.got.replace(got.status).is_some() {
            self.violated(format!("request {nonce} was answered twice"));
        }
    }

    /// Who keeps to the rules may be late, and its service may fail; it is never told otherwise.
    fn judge_problem(&mut self, nonce: u64, status: u16) {
        let is_legal = self.sent.get(&nonce).is_some_and(|sent| sent.flaw == Flaw::None);
        let is_late = [Fault::ClientDrips, Fault::ClientLeaves];
        let may_be_late = self.is_hasty || world(|w| is_late.iter().any(|f| w.faults.has(*f)));
        if is_legal && status < 500 && !(status == 408 && may_be_late) {
            self.violated(format!("the legal request {nonce} was refused: {status}"));
        }
    }

    /// A line of the access log tells of `nonce`.
    pub fn line(&mut self, nonce: u64, status: u16, attempts: u16) {
        match self.sent.get_mut(&nonce) {
            Some(sent) => sent.lines.push((status, attempts)),
            None => self.violated(format!("a line tells of {nonce}, which nobody sent")),
        }
    }

    /// Whether lines tell of each request what its client got. Some may be missing only where
    /// lines were dropped.
    pub fn judge_lines(&mut self, dropped: bool) {
        let mut wrong = Vec::new();
        for (nonce, sent) in self.sent.iter().filter(|(_, sent)| sent.flaw != Flaw::Head) {
            let lines = &sent.lines;
            // A head that was not read in time has a line without its path.
            let has_line = sent.got.is_some_and(|got| got != 408 || sent.seen > 0);
            let misses = has_line && lines.is_empty() && !dropped;
            let differs = lines.iter().any(|(status, attempts)| {
                sent.got.is_some_and(|got| got != *status) || u32::from(*attempts) < sent.seen
            });
            if misses || differs || lines.len() > 1 {
                wrong.push(format!("{nonce}: {:?}, seen {}, {lines:?}", sent.got, sent.seen));
            }
            checked(Promise::CountedOnce);
        }
        for what in wrong {
            self.violated(format!("lines do not tell of a request what it was: {what}"));
        }
    }

    /// Oracles 3, 4 and 11, between two steps.
    pub fn look(&mut self) {
        let mut wrong = world(|w| w.net.misused());
        for worker in &self.workers {
            wrong.extend(worker.upgrade().and_then(|w| w.overcommitted()));
        }
        if world(|w| w.net.has_moved()) {
            wrong.extend(self.out_of_bounds());
        }
        for what in wrong {
            if !self.broken.contains(&what) {
                self.violated(what);
            }
        }
    }

    fn out_of_bounds(&self) -> Option<String> {
        let Bounds { listener, client, upstream } = self.bounds;
        if let Some(max) = upstream {
            let open = world(|w| w.net.open_upstream());
            reached(open, max, Kind::UpstreamFull);
            if open > max {
                return Some(format!("{open} upstream connections instead of {max}"));
            }
        }
        // Whoever is queued when a drain begins is let in, whatever the bound.
        if (listener.is_none() && client.is_none()) || self.draining {
            return None;
        }
        let open: Vec<_> = world(|w| w.net.open_clients().collect());
        let stays = open.iter().filter(|(_, to)| to.port() == 8080).count();
        if let Some(max) = listener {
            reached(stays, max, Kind::ListenerFull);
            if stays > max {
                return Some(format!("{stays} connections on a listener instead of {max}"));
            }
        }
        let mut by_client: BTreeMap<IpAddr, usize> = BTreeMap::new();
        open.iter().for_each(|(from, _)| *by_client.entry(from.ip()).or_default() += 1);
        let most = by_client.into_values().max().unwrap_or(0);
        if let Some(max) = client {
            reached(most, max, Kind::ClientHasItsShare);
            if most > max {
                return Some(format!("{most} connections of a client instead of {max}"));
            }
        }
        None
    }
}

fn reached(open: usize, max: usize, kind: Kind) {
    checked(Promise::WithinBounds);
    if open == max {
        saw(kind);
    }
}
