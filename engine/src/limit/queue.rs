//! Requests of one worker that wait for permits of one limit: by turns between keys (consumers),
//! in order within a key.
//!
//! ```text
//! turn ─▶ line of a ─▶ line of b ─▶ line of c ─▶ (round)       a key has a line while it waits
//!          a1 a2 a3     b1           c1 c2                     granted: a1 b1 c1 a2 c2 a3
//! ```
//!
//! Places are used again, so that after warm-up nothing is allocated. A waiter keeps its place
//! until it leaves with its ticket, whatever became of it meanwhile.

use crate::limit::counts::Token;
use crate::time::Mono;

const NONE: u32 = u32::MAX;
const CHAINS_MAX: usize = 1 << 16;

/// `T` is what it takes to wake a waiter.
#[derive(Debug)]
pub struct Queue<T> {
    waiters: Vec<Waiter<T>>,
    lines: Vec<Line>,
    /// Chains of lines by key.
    chains: Box<[u32]>,
    free_waiter: u32,
    free_line: u32,
    /// The line whose turn it is.
    turn: u32,
    /// Who waits for the longest time, and who came last.
    oldest: u32,
    newest: u32,
    waiting: usize,
    waiting_max: usize,
}

#[derive(Debug)]
struct Waiter<T> {
    item: Option<T>,
    state: Waits,
    deadline: Mono,
    line: u32,
    /// In its line; `next` also chains free places.
    before: u32,
    next: u32,
    older: u32,
    newer: u32,
}

#[derive(Debug)]
struct Line {
    key: u64,
    first: u32,
    last: u32,
    /// In the round of turns.
    before: u32,
    next: u32,
    /// In the chain of its key; also chains free places.
    chained: u32,
}

/// The right to one place. It has to be given back by [`Queue::leave`].
#[derive(Debug)]
#[must_use]
pub struct Ticket(u32);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waits {
    Waiting,
    /// It has a permit, with this token, and has to free it.
    Granted(Token),
    Expired,
}

/// As many as may wait, within reason.
fn chains_for(waiting_max: usize) -> usize {
    waiting_max.clamp(1, CHAINS_MAX).next_power_of_two()
}

impl<T> Queue<T> {
    pub fn new(waiting_max: usize) -> Queue<T> {
        Queue {
            waiters: Vec::new(),
            lines: Vec::new(),
            chains: vec![NONE; chains_for(waiting_max)].into(),
            free_waiter: NONE,
            free_line: NONE,
            turn: NONE,
            oldest: NONE,
            newest: NONE,
            waiting: 0,
            waiting_max,
        }
    }

    /// From the next who comes on. Lines that are there are chained anew when there are more
    /// chains, lest each look-up walk many; chains never become fewer.
    pub fn set_waiting_max(&mut self, waiting_max: usize) {
        self.waiting_max = waiting_max;
        let chains = chains_for(waiting_max);
        if chains <= self.chains.len() {
            return;
        }
        self.chains = vec![NONE; chains].into();
        let mut at = self.turn;
        while at != NONE {
            let chain = self.chain_of(self.lines[at as usize].key);
            self.lines[at as usize].chained = std::mem::replace(&mut self.chains[chain], at);
            let next = self.lines[at as usize].next;
            at = if next == self.turn { NONE } else { next };
        }
    }

    pub fn waiting(&self) -> usize {
        self.waiting
    }

    pub fn has_waiting(&self, key: u64) -> bool {
        self.line_of(key) != NONE
    }

    /// Behind all others of its key. Gives `item` back when as many wait as may.
    pub fn push(&mut self, key: u64, deadline: Mono, item: T) -> Result<Ticket, T> {
        if self.waiting >= self.waiting_max {
            return Err(item);
        }
        let line = match self.line_of(key) {
            NONE => self.open_line(key),
            line => line,
        };
        let (before, older) = (self.lines[line as usize].last, self.newest);
        let waiter = Waiter {
            item: Some(item),
            state: Waits::Waiting,
            deadline,
            line,
            before,
            next: NONE,
            older,
            newer: NONE,
        };
        let at = match self.free_waiter {
            NONE => {
                self.waiters.push(waiter);
                self.waiters.len() as u32 - 1
            }
            at => {
                let place = &mut self.waiters[at as usize];
                self.free_waiter = place.next;
                *place = waiter;
                at
            }
        };
        match before {
            NONE => self.lines[line as usize].first = at,
            before => self.waiters[before as usize].next = at,
        }
        self.lines[line as usize].last = at;
        match older {
            NONE => self.oldest = at,
            older => self.waiters[older as usize].newer = at,
        }
        self.newest = at;
        self.waiting += 1;
        Ok(Ticket(at))
    }

    /// Grants a permit to whose turn it is of those whose key gets one; wake it.
    pub fn grant(&mut self, mut permit: impl FnMut(u64) -> Option<Token>) -> Option<T> {
        let mut line = self.turn;
        while line != NONE {
            let Line { key, first, next, .. } = self.lines[line as usize];
            if let Some(token) = permit(key) {
                self.turn = next;
                return self.take_out(first, Waits::Granted(token));
            }
            line = if next == self.turn { NONE } else { next };
        }
        None
    }

    /// Grants a permit to the first of this key.
    pub fn grant_of(&mut self, key: u64, token: Token) -> Option<T> {
        let line = self.line_of(key);
        let first = self.lines.get(line as usize)?.first;
        self.take_out(first, Waits::Granted(token))
    }

    /// One that waited beyond its deadline, if there is one; wake it. All wait equally long, but
    /// for a reload that changes it: then a shorter wait may end late.
    pub fn expire(&mut self, now: Mono) -> Option<T> {
        let oldest = self.waiters.get(self.oldest as usize)?;
        let is_due = oldest.deadline <= now;
        is_due.then(|| self.take_out(self.oldest, Waits::Expired)).flatten()
    }

    /// When the next one expires.
    pub fn deadline(&self) -> Option<Mono> {
        self.waiters.get(self.oldest as usize).map(|waiter| waiter.deadline)
    }

    pub fn state(&self, ticket: &Ticket) -> Waits {
        self.waiters[ticket.0 as usize].state
    }

    /// What wakes the waiter from now on.
    pub fn replace(&mut self, ticket: &Ticket, item: T) {
        let waiter = &mut self.waiters[ticket.0 as usize];
        if waiter.state == Waits::Waiting {
            waiter.item = Some(item);
        }
    }

    /// The waiter goes, from the middle too. What became of it: one that was granted a permit and
    /// no longer wants it has to free it.
    pub fn leave(&mut self, ticket: Ticket) -> Waits {
        let state = self.state(&ticket);
        if state == Waits::Waiting {
            self.take_out(ticket.0, Waits::Expired);
        }
        self.waiters[ticket.0 as usize].next = self.free_waiter;
        self.free_waiter = ticket.0;
        state
    }

    /// Out of its line and out of the order of ages; the place stays its own.
    fn take_out(&mut self, at: u32, state: Waits) -> Option<T> {
        let waiter = &mut self.waiters[at as usize];
        debug_assert_eq!(waiter.state, Waits::Waiting);
        waiter.state = state;
        let item = waiter.item.take();
        let Waiter { line, before, next, older, newer, .. } = *waiter;
        match before {
            NONE => self.lines[line as usize].first = next,
            before => self.waiters[before as usize].next = next,
        }
        match next {
            NONE => self.lines[line as usize].last = before,
            next => self.waiters[next as usize].before = before,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.waiters[older as usize].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.waiters[newer as usize].older = older,
        }
        self.waiting -= 1;
        if self.lines[line as usize].first == NONE {
            self.close_line(line);
        }
        item
    }

    /// Keys are chosen by hash or are few; a chain is short.
    fn chain_of(&self, key: u64) -> usize {
        (key ^ key >> 32) as usize & (self.chains.len() - 1)
    }

    fn line_of(&self, key: u64) -> u32 {
        let mut line = self.chains[self.chain_of(key)];
        while line != NONE && self.lines[line as usize].key != key {
            line = self.lines[line as usize].chained;
        }
        line
    }

    /// Its turn comes when all others had theirs.
    fn open_line(&mut self, key: u64) -> u32 {
        let chain = self.chain_of(key);
        let chained = self.chains[chain];
        let at = match self.free_line {
            NONE => self.lines.len() as u32,
            at => at,
        };
        let (before, next) = match self.turn {
            NONE => (at, at),
            turn => (self.lines[turn as usize].before, turn),
        };
        let line = Line { key, first: NONE, last: NONE, before, next, chained };
        match self.lines.get_mut(at as usize) {
            Some(place) => {
                self.free_line = place.chained;
                *place = line;
            }
            None => self.lines.push(line),
        }
        self.lines[before as usize].next = at;
        self.lines[next as usize].before = at;
        if self.turn == NONE {
            self.turn = at;
        }
        self.chains[chain] = at;
        at
    }

    fn close_line(&mut self, at: u32) {
        let Line { key, before, next, chained, .. } = self.lines[at as usize];
        self.lines[before as usize].next = next;
        self.lines[next as usize].before = before;
        if self.turn == at {
            self.turn = if next == at { NONE } else { next };
        }
        let chain = self.chain_of(key);
        match self.chains[chain] {
            first if first == at => self.chains[chain] = chained,
            mut line => {
                while self.lines[line as usize].chained != at {
                    line = self.lines[line as usize].chained;
                }
                self.lines[line as usize].chained = chained;
            }
        }
        self.lines[at as usize].chained = self.free_line;
        self.free_line = at;
    }
}

#[cfg(all(test, not(busbar_loom)))]
mod tests {
    use std::collections::{HashMap, VecDeque};

    use super::*;
    use crate::rng::Rng;

    const TOKEN: Token = Token::UNCOUNTED;

    fn push(queue: &mut Queue<u32>, key: u64, item: u32) -> Ticket {
        queue.push(key, Mono(u64::from(item)), item).expect("there is room")
    }

    fn next(queue: &mut Queue<u32>) -> Option<u32> {
        queue.grant(|_| Some(TOKEN))
    }

    #[test]
    fn keys_have_their_turns_and_each_its_order() {
        let mut queue = Queue::new(10);
        let waiters = [(1, 10), (1, 11), (1, 12), (2, 20), (3, 30), (3, 31)];
        let tickets = waiters.map(|(key, item)| push(&mut queue, key, item));
        let order: Vec<u32> = std::iter::from_fn(|| next(&mut queue)).collect();
        assert_eq!(order, [10, 20, 30, 11, 31, 12]);
        for ticket in tickets {
            assert_eq!(queue.leave(ticket), Waits::Granted(TOKEN));
        }
    }

    #[test]
    fn so_many_wait_as_may() {
        let mut queue = Queue::new(2);
        let first = push(&mut queue, 1, 1);
        let _second = push(&mut queue, 1, 2);
        assert_eq!(queue.push(2, Mono(3), 3).unwrap_err(), 3);
        assert_eq!(queue.leave(first), Waits::Waiting);
        assert!(queue.push(2, Mono(3), 3).is_ok());
        assert!(Queue::new(0).push(1, Mono(1), 1).is_err());
    }

    /// With those who wait, in their order; look-ups stay short.
    #[test]
    fn a_queue_that_grows_keeps_its_lines_and_has_more_chains() {
        let mut queue = Queue::new(2);
        let mut tickets = vec![push(&mut queue, 7, 1), push(&mut queue, 9, 2)];
        queue.set_waiting_max(100);
        for key in 0..98 {
            tickets.push(push(&mut queue, key, 10 + key as u32));
        }
        let chained = |queue: &Queue<u32>, mut at: u32| {
            let step = || {
                let here = (at != NONE).then_some(at)?;
                at = queue.lines[here as usize].chained;
                Some(here)
            };
            std::iter::from_fn(step).count()
        };
        let longest = queue.chains.iter().map(|at| chained(&queue, *at)).max();
        assert_eq!((queue.chains.len(), longest), (128, Some(1)));
        assert!((0..98).all(|key| queue.has_waiting(key)) && !queue.has_waiting(98));
        // Fewer may wait: those who do keep their turns.
        queue.set_waiting_max(0);
        assert!(queue.push(7, Mono(1), 1).is_err());
        let order: Vec<u32> = std::iter::from_fn(|| next(&mut queue)).collect();
        assert_eq!((order.len(), &order[..4]), (100, &[1, 2, 10, 11][..]));
        for ticket in tickets {
            assert_eq!(queue.leave(ticket), Waits::Granted(TOKEN));
        }
        assert!(queue.chains.iter().all(|at| *at == NONE));
    }

    #[test]
    fn who_waits_too_long_expires_in_order() {
        let mut queue = Queue::new(4);
        let tickets = [(1, 5), (2, 6), (1, 7)].map(|(key, item)| push(&mut queue, key, item));
        assert_eq!((queue.deadline(), queue.expire(Mono(4))), (Some(Mono(5)), None));
        assert_eq!((queue.expire(Mono(6)), queue.expire(Mono(6))), (Some(5), Some(6)));
        assert_eq!((queue.expire(Mono(6)), queue.deadline()), (None, Some(Mono(7))));
        assert_eq!((next(&mut queue), next(&mut queue)), (Some(7), None));
        let states = tickets.map(|ticket| queue.leave(ticket));
        assert_eq!(states, [Waits::Expired, Waits::Expired, Waits::Granted(TOKEN)]);
    }

    /// Beside lists of lists, in any order of calls; places don't grow beyond the most at once.
    #[test]
    fn it_behaves_like_plain_lists() {
        for seed in 0..200 {
            let (mut rng, mut queue) = (Rng::from_u64(seed), Queue::new(12));
            let mut turns: VecDeque<u64> = VecDeque::new();
            let mut lines: HashMap<u64, VecDeque<u32>> = HashMap::new();
            let mut tickets: HashMap<u32, (u64, Ticket)> = HashMap::new();
            let mut waiting = VecDeque::new();
            for item in 0..600u32 {
                let key = u64::from(rng.below(5)) << 32;
                let gone = match rng.below(6) {
                    0..=2 if waiting.len() < 12 => {
                        // Due at 1 at the earliest: at 0 nothing is.
                        let due = Mono(u64::from(item) + 1);
                        let ticket = queue.push(key, due, item).expect("there is room");
                        tickets.insert(item, (key, ticket));
                        if lines.entry(key).or_default().is_empty() {
                            turns.push_back(key);
                        }
                        lines.entry(key).or_default().push_back(item);
                        waiting.push_back(item);
                        None
                    }
                    0..=3 => {
                        let is_open = |key: u64| key >> 32 != u64::from(item % 5);
                        let granted = queue.grant(|key| is_open(key).then_some(TOKEN));
                        let at = turns.iter().position(|key| is_open(*key));
                        assert_eq!(granted, at.map(|at| lines[&turns[at]][0]));
                        if let Some(at) = at {
                            turns.rotate_left(at + 1);
                        }
                        granted
                    }
                    4 if item % 2 == 0 => {
                        let granted = queue.grant_of(key, TOKEN);
                        let line = lines.get(&key);
                        assert_eq!(granted, line.and_then(|line| line.front().copied()));
                        granted
                    }
                    4 => {
                        let due = waiting.front().filter(|due| **due + 40 < item).copied();
                        let now = Mono(u64::from(item.saturating_sub(40)));
                        assert_eq!(queue.expire(now), due);
                        due
                    }
                    _ => (!waiting.is_empty())
                        .then(|| waiting[rng.below(waiting.len() as u32) as usize]),
                };
                let Some(gone) = gone else { continue };
                let (key, ticket) = tickets.remove(&gone).expect("it waits");
                queue.leave(ticket);
                waiting.retain(|item| *item != gone);
                let line = lines.get_mut(&key).expect("a line");
                line.retain(|item| *item != gone);
                if line.is_empty() {
                    turns.retain(|turn| *turn != key);
                }
                assert_eq!(queue.waiting(), waiting.len());
                assert_eq!(queue.has_waiting(key), turns.contains(&key));
            }
            assert!(queue.waiters.len() <= 12 && queue.lines.len() <= 5);
        }
    }
}
