//! Deadlines of connections in a coarse wheel, and the watch over peers that go away.
//!
//! One `Timers` per worker. Three levels of slots (10 ms, 1.28 s, 82 s); the driver sleeps until
//! the next occupied slot, so that a worker without deadlines does not wake. A watch that is
//! armed later than before stays linked where it is and moves on when the wheel looks at it: a
//! keep-alive connection relinks about once per idle timeout, not once per request.
//!
//! ```text
//!  tick      L0: 128 slots of 1 tick     fire, or relink when the deadline has moved on
//!  128       L1: 64 slots of 128 ticks   relink into L0
//!  8192      L2: 64 slots of 8192 ticks  relink into L1; later deadlines stay in the last slot
//! ```

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::{Half, Hangup, Stop};
use crate::time::Mono;

/// Length of one tick. Deadlines fire at most this much late.
pub const TICK: Duration = Duration::from_millis(10);
const TICK_NS: u64 = TICK.as_nanos() as u64;

const L0: u64 = 128;
const L1: u64 = 64;
const L2: u64 = 64;
const SLOTS: usize = (L0 + L1 + L2) as usize;
const NONE: u32 = u32::MAX;
/// What a drain's deadline ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    Exchanges,
    Tunnels,
    All,
}

/// The group of watches that are never drained by group.
pub const NO_GROUP: u32 = u32::MAX;

/// A peer whose connection waits for an answer is looked at this often, see [`Watch::busy`].
pub const HANGUP_EVERY: Duration = Duration::from_millis(50);
/// One look costs about 105 ns a socket: above this many the period stretches to stay below 1 %.
const HANGUP_SOCKETS_PER_PERIOD: u64 = 5000;

const EXPIRED: u8 = 1;
const GONE: u8 = 2;
const DRAIN: u8 = 4;
const LIVE: u8 = 8;
const HALF_FINE: u8 = 16;
const HALF_FINE_BEHIND_BYTES: u8 = 32;
const HALF_FINE_BEHIND_RECORDS: u8 = 64;
const HALF_FINE_EVER: u8 = HALF_FINE | HALF_FINE_BEHIND_BYTES | HALF_FINE_BEHIND_RECORDS;
const SECOND: u8 = 64;

#[derive(Debug)]
struct Entry {
    deadline: Mono,
    /// The tick at which the wheel looks at this entry; meaningless when unlinked.
    looked_at: u64,
    /// Slot it is linked in, `NONE` when unlinked.
    slot: u32,
    prev: u32,
    next: u32,
    flags: u8,
    /// Connections that may be drained together.
    group: u32,
    /// Socket to look at for a hang-up, -1 for none.
    handle: i32,
    /// The round of looks in which it became busy: only entries of earlier rounds are looked at.
    busy_round: u32,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Inner {
    entries: Vec<Entry>,
    free: Vec<u32>,
    heads: [u32; SLOTS],
    occupied: [u128; 3],
    /// All ticks up to this one have been looked at.
    tick: u64,
    driver: Option<Waker>,
    /// Tick the driver sleeps to.
    sleeping_to: u64,
    round: u32,
    /// Next look at busy peers, `NEVER` while nobody is busy.
    look_at: Mono,
    looks: Vec<(u32, i32)>,
}

/// The deadlines of one worker.
#[derive(Debug)]
pub struct Timers {
    inner: RefCell<Inner>,
    live: Cell<u32>,
    draining: Cell<bool>,
    stopped: Cell<bool>,
}

/// The name of a watch that is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WatchId(u32);

/// One connection's deadline and the facts that end its waits.
#[derive(Debug)]
pub struct Watch {
    timers: Rc<Timers>,
    index: u32,
}

fn tick_of(at: Mono) -> u64 {
    at.0.div_ceil(TICK_NS)
}

impl Timers {
    pub fn new(now: Mono) -> Rc<Timers> {
        let inner = Inner {
            entries: Vec::new(),
            free: Vec::new(),
            heads: [NONE; SLOTS],
            occupied: [0; 3],
            tick: now.0 / TICK_NS,
            driver: None,
            sleeping_to: 0,
            round: 0,
            look_at: Mono::NEVER,
            looks: Vec::new(),
        };
        Rc::new(Timers {
            inner: RefCell::new(inner),
            live: Cell::new(0),
            draining: Cell::new(false),
            stopped: Cell::new(false),
        })
    }

    /// Watches alive; zero at rest.
    pub fn live(&self) -> u32 {
        self.live.get()
    }

    /// A watch of a group that [`Timers::drain_group`] may drain.
    pub fn watch(self: &Rc<Timers>, group: u32) -> Watch {
        let entry = Entry {
            deadline: Mono::NEVER,
            looked_at: 0,
            slot: NONE,
            prev: NONE,
            next: NONE,
            flags: if self.draining.get() { LIVE | DRAIN } else { LIVE },
            group,
            handle: -1,
            busy_round: 0,
            waker: None,
        };
        let mut inner = self.inner.borrow_mut();
        let index = match inner.free.pop() {
            Some(index) => {
                inner.entries[index as usize] = entry;
                index
            }
            None => {
                inner.entries.push(entry);
                inner.entries.len() as u32 - 1
            }
        };
        self.live.set(self.live.get() + 1);
        Watch { timers: self.clone(), index }
    }

    /// Runs the wheel until `stop`.
    pub async fn drive(self: Rc<Timers>) {
        while !self.stopped.get() {
            let wake_at = self.inner.borrow_mut().next_wake();
            self.sleep_to(wake_at).await;
            self.advance(super::now());
        }
    }

    async fn sleep_to(&self, tick: u64) {
        self.inner.borrow_mut().sleeping_to = tick;
        let mut sleep = pin!(async {
            match tick {
                u64::MAX => std::future::pending().await,
                tick => super::sleep_until(Mono(tick.saturating_mul(TICK_NS))).await,
            }
        });
        poll_fn(|cx| {
            let mut inner = self.inner.borrow_mut();
            if inner.sleeping_to != tick {
                return Poll::Ready(()); // something earlier was linked
            }
            inner.driver = Some(cx.waker().clone());
            drop(inner);
            sleep.as_mut().poll(cx)
        })
        .await;
    }

    /// Ends `drive`.
    pub fn stop(&self) {
        self.stopped.set(true);
        self.inner.borrow_mut().nudge(0);
    }

    /// Fires what is due at `now` and looks at busy peers. Public for the model test.
    pub fn advance(&self, now: Mono) {
        let mut inner = self.inner.borrow_mut();
        inner.advance(now.0 / TICK_NS);
        if inner.look_at > now {
            return;
        }
        let mut looks = std::mem::take(&mut inner.looks);
        inner.collect_busy(&mut looks);
        let stretch = 1 + looks.len() as u64 / HANGUP_SOCKETS_PER_PERIOD;
        let busy = inner.entries.iter().any(|e| e.handle >= 0);
        inner.round = inner.round.wrapping_add(1);
        inner.look_at = if busy { now.after(HANGUP_EVERY * stretch as u32) } else { Mono::NEVER };
        drop(inner);
        super::hangups(&looks, |index, hangup| self.inner.borrow_mut().hung_up(index, hangup));
        looks.clear();
        self.inner.borrow_mut().looks = looks;
    }

    /// Ends every wait that may be given up, now and from now on, with [`Stop::Drain`].
    pub fn drain_idle(&self) {
        self.draining.set(true);
        let mut inner = self.inner.borrow_mut();
        for entry in inner.entries.iter_mut().filter(|e| e.flags & LIVE != 0) {
            entry.flags |= DRAIN;
            entry.waker.iter().for_each(Waker::wake_by_ref);
        }
    }

    /// As `drain_idle`, for the watches of one group that there are now.
    pub fn drain_group(&self, group: u32) {
        let mut inner = self.inner.borrow_mut();
        let is_of = |e: &&mut Entry| e.flags & LIVE != 0 && e.group == group;
        for entry in inner.entries.iter_mut().filter(is_of) {
            entry.flags |= DRAIN;
            entry.waker.iter().for_each(Waker::wake_by_ref);
        }
    }

    /// Ends the waits of one watch with [`Stop::Gone`].
    pub fn end(&self, watch: WatchId) {
        let mut inner = self.inner.borrow_mut();
        let entry = &mut inner.entries[watch.0 as usize];
        debug_assert!(entry.flags & LIVE != 0, "named as long as it is there");
        entry.flags |= GONE;
        entry.waker.iter().for_each(Waker::wake_by_ref);
    }

    /// Ends every wait with [`Stop::Gone`]: a deadline of the drain has passed. Tunnels have one
    /// of their own. Returns how many connections were cut.
    pub fn cut(&self, what: Cut) -> u32 {
        let mut inner = self.inner.borrow_mut();
        let mut cut = 0;
        let cuts = |e: &&mut Entry| {
            e.flags & LIVE != 0
                && match what {
                    Cut::Exchanges => e.handle != TUNNEL,
                    Cut::Tunnels => e.handle == TUNNEL,
                    Cut::All => true,
                }
        };
        for entry in inner.entries.iter_mut().filter(cuts) {
            let loses = entry.handle != IDLE && entry.handle != LINGERS;
            let counts = entry.flags & (GONE | SECOND) == 0 && loses;
            cut += u32::from(counts);
            entry.flags |= GONE;
            entry.waker.iter().for_each(Waker::wake_by_ref);
        }
        cut
    }
}

impl Inner {
    fn level_of(&self, tick: u64) -> (usize, u64) {
        // Invariant: tick > self.tick; the slot is looked at no later than the deadline.
        let ahead = tick - self.tick;
        if ahead < L0 {
            (0, tick % L0)
        } else if tick / L0 - self.tick / L0 < L1 {
            (1, (tick / L0) % L1)
        } else {
            let far = (tick / (L0 * L1)).min(self.tick / (L0 * L1) + L2 - 1);
            (2, far % L2)
        }
    }

    fn link(&mut self, index: u32) {
        let deadline = self.entries[index as usize].deadline;
        if deadline == Mono::NEVER {
            return;
        }
        let tick = tick_of(deadline).max(self.tick + 1);
        let (level, position) = self.level_of(tick);
        let (slot, looked_at) = match level {
            0 => (position, tick),
            1 => (L0 + position, tick / L0 * L0),
            _ => {
                let far = (tick / (L0 * L1)).min(self.tick / (L0 * L1) + L2 - 1);
                (L0 + L1 + position, far * L0 * L1)
            }
        };
        self.occupied[level] |= 1 << position;
        let head = std::mem::replace(&mut self.heads[slot as usize], index);
        let entry = &mut self.entries[index as usize];
        (entry.slot, entry.prev, entry.next) = (slot as u32, NONE, head);
        entry.looked_at = looked_at;
        if head != NONE {
            self.entries[head as usize].prev = index;
        }
        self.nudge(looked_at);
    }

    fn nudge(&mut self, tick: u64) {
        if tick < self.sleeping_to {
            self.sleeping_to = tick;
            if let Some(driver) = &self.driver {
                driver.wake_by_ref();
            }
        }
    }

    fn unlink(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        let (slot, prev, next) = (entry.slot, entry.prev, entry.next);
        if slot == NONE {
            return;
        }
        entry.slot = NONE;
        match prev {
            NONE => self.heads[slot as usize] = next,
            prev => self.entries[prev as usize].next = next,
        }
        if next != NONE {
            self.entries[next as usize].prev = prev;
        }
        if self.heads[slot as usize] == NONE {
            let (level, position) = match u64::from(slot) {
                s if s < L0 => (0, s),
                s if s < L0 + L1 => (1, s - L0),
                s => (2, s - L0 - L1),
            };
            self.occupied[level] &= !(1 << position);
        }
    }

    /// The next tick at which a slot is to be looked at; `u64::MAX` for never.
    fn next_wake(&self) -> u64 {
        let next = |bits: u128, slots: u64, from: u64| -> Option<u64> {
            (0..slots).map(|d| from + d).find(|p| bits & (1 << (p % slots)) != 0)
        };
        let mut at = u64::MAX;
        if self.occupied[0] != 0 {
            at = next(self.occupied[0], L0, self.tick + 1).unwrap_or(at);
        }
        if self.occupied[1] != 0 {
            let group = next(self.occupied[1], L1, self.tick / L0 + 1);
            at = at.min(group.map_or(at, |g| g * L0));
        }
        if self.occupied[2] != 0 {
            let group = next(self.occupied[2], L2, self.tick / (L0 * L1) + 1);
            at = at.min(group.map_or(at, |g| g * L0 * L1));
        }
        if self.look_at != Mono::NEVER {
            at = at.min(tick_of(self.look_at).max(self.tick + 1));
        }
        at
    }

    fn advance(&mut self, to: u64) {
        while self.tick < to {
            let next = self.next_wake();
            if next > to {
                self.tick = to;
                return;
            }
            self.tick = next;
            if next.is_multiple_of(L0 * L1) {
                self.take_slot(L0 + L1 + (next / (L0 * L1)) % L2);
            }
            if next.is_multiple_of(L0) {
                self.take_slot(L0 + (next / L0) % L1);
            }
            self.take_slot(next % L0);
        }
    }

    /// Fires or relinks every entry of a slot whose time has come.
    fn take_slot(&mut self, slot: u64) {
        let mut index = self.heads[slot as usize];
        while index != NONE {
            let next = self.entries[index as usize].next;
            self.unlink(index);
            let entry = &mut self.entries[index as usize];
            if entry.deadline != Mono::NEVER && tick_of(entry.deadline) <= self.tick {
                entry.deadline = Mono::NEVER;
                entry.flags |= EXPIRED;
                entry.waker.iter().for_each(Waker::wake_by_ref);
            } else {
                self.link(index);
            }
            index = next;
        }
    }

    fn collect_busy(&self, looks: &mut Vec<(u32, i32)>) {
        for (index, entry) in self.entries.iter().enumerate() {
            if entry.handle >= 0 && entry.busy_round != self.round && entry.flags & GONE == 0 {
                looks.push((index as u32, entry.handle));
            }
        }
    }

    fn hung_up(&mut self, index: u32, hangup: Hangup) {
        let entry = &mut self.entries[index as usize];
        let gone = match hangup {
            Hangup::No => false,
            Hangup::Gone => true,
            Hangup::Half => entry.flags & HALF_FINE == 0,
            Hangup::HalfBehindBytes => entry.flags & HALF_FINE_EVER == 0,
            Hangup::HalfBehindFew => entry.flags & (HALF_FINE | HALF_FINE_BEHIND_BYTES) == 0,
        };
        if gone {
            entry.flags |= GONE;
            entry.waker.iter().for_each(Waker::wake_by_ref);
        }
    }
}

impl Watch {
    /// Sets the deadline of what is waited for from now on. `Mono::NEVER` waits for ever.
    pub fn arm(&self, deadline: Mono) {
        let mut inner = self.timers.inner.borrow_mut();
        let entry = &mut inner.entries[self.index as usize];
        entry.deadline = deadline;
        entry.flags &= !EXPIRED;
        let linked = entry.slot != NONE;
        // Fast path: it is looked at before it is due, so the wheel moves it on later.
        if deadline == Mono::NEVER || (linked && entry.looked_at <= tick_of(deadline)) {
            return;
        }
        inner.unlink(self.index);
        inner.link(self.index);
    }

    pub fn disarm(&self) {
        self.arm(Mono::NEVER);
    }

    /// Names it towards [`Timers::end`], as long as it is there.
    pub fn id(&self) -> WatchId {
        WatchId(self.index)
    }

    /// From now on a wait between exchanges ends at once.
    pub fn drain(&self) {
        self.timers.inner.borrow_mut().entries[self.index as usize].flags |= DRAIN;
    }

    /// Whether and why waits on this watch end now. Waits that must survive a drain use a watch
    /// that is busy.
    pub fn fired(&self) -> Option<Stop> {
        let inner = self.timers.inner.borrow();
        let entry = &inner.entries[self.index as usize];
        if entry.flags & (EXPIRED | GONE | DRAIN) == 0 {
            return None;
        }
        if entry.flags & GONE != 0 {
            Some(Stop::Gone)
        } else if entry.flags & EXPIRED != 0 {
            Some(Stop::Expired)
        } else {
            (entry.handle == IDLE).then_some(Stop::Drain)
        }
    }

    /// Remembers whom to wake. Cloned once per task: later calls compare.
    pub fn register(&self, waker: &Waker) {
        let mut inner = self.timers.inner.borrow_mut();
        let entry = &mut inner.entries[self.index as usize];
        match &entry.waker {
            Some(known) if known.will_wake(waker) => {}
            _ => entry.waker = Some(waker.clone()),
        }
    }

    /// From now on the peer behind `handle` is looked at every [`HANGUP_EVERY`]; one that went
    /// away ends the wait with [`Stop::Gone`]; `half` says when a peer that only stops sending
    /// counts as gone. Costs two stores: fast exchanges are never looked at.
    pub fn busy(&self, handle: i32, half: Half) {
        let mut inner = self.timers.inner.borrow_mut();
        let round = inner.round;
        let entry = &mut inner.entries[self.index as usize];
        entry.handle = handle;
        entry.busy_round = round;
        entry.flags &= !HALF_FINE_EVER;
        entry.flags |= match half {
            Half::Leaves => 0,
            Half::FineBehindBytes => HALF_FINE_BEHIND_BYTES,
            Half::FineBehindRecords => HALF_FINE_BEHIND_RECORDS,
            Half::Fine => HALF_FINE,
        };
        if inner.look_at == Mono::NEVER {
            let at = Mono(inner.tick * TICK_NS).max(super::cached_now()).after(HANGUP_EVERY);
            inner.look_at = at;
            inner.nudge(tick_of(at));
        }
    }

    /// Ends `busy`; waits survive a drain all the same until `idle`.
    pub fn unwatched(&self) {
        self.timers.inner.borrow_mut().entries[self.index as usize].handle = UNWATCHED;
    }

    /// This is the second watch of an exchange: not a connection of its own.
    pub fn second(&self) {
        let mut inner = self.timers.inner.borrow_mut();
        let entry = &mut inner.entries[self.index as usize];
        entry.flags |= SECOND;
        entry.handle = UNWATCHED;
    }

    /// The connection has become a tunnel.
    pub fn tunnel(&self) {
        self.timers.inner.borrow_mut().entries[self.index as usize].handle = TUNNEL;
    }

    /// Answered, and left to the client to end: a drain waits for that, and cuts nothing with it.
    pub fn lingers(&self) {
        self.timers.inner.borrow_mut().entries[self.index as usize].handle = LINGERS;
    }

    /// Between exchanges: a drain may end the wait.
    pub fn idle(&self) {
        self.timers.inner.borrow_mut().entries[self.index as usize].handle = IDLE;
    }
}

const IDLE: i32 = -1;
const UNWATCHED: i32 = -2;
const TUNNEL: i32 = -3;
const LINGERS: i32 = -4;

impl Drop for Watch {
    fn drop(&mut self) {
        let mut inner = self.timers.inner.borrow_mut();
        inner.unlink(self.index);
        let entry = &mut inner.entries[self.index as usize];
        (entry.flags, entry.handle) = (0, IDLE);
        let waker = entry.waker.take();
        inner.free.push(self.index);
        self.timers.live.set(self.timers.live.get() - 1);
        drop(inner);
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn deadlines_fire_on_time_whatever_was_armed_before() {
        for seed in 0..20 {
            let mut rng = Rng::from_u64(seed);
            let mut now = Mono(1_000_000_000);
            let timers = Timers::new(now);
            let watches: Vec<Watch> = (0..50).map(|_| timers.watch(NO_GROUP)).collect();
            let mut armed = vec![Mono::NEVER; watches.len()];
            for _ in 0..5_000 {
                let n = rng.below(50) as usize;
                match rng.below(4) {
                    0 => {
                        // From milliseconds to hours: every level and beyond the last.
                        let far = 1u64 << rng.below(24);
                        armed[n] = now.after(Duration::from_millis(far + u64::from(rng.below(9))));
                        watches[n].arm(armed[n]);
                    }
                    1 if rng.one_in(4) => {
                        armed[n] = Mono::NEVER;
                        watches[n].disarm();
                    }
                    _ => {
                        let step = Duration::from_millis(u64::from(rng.below(3_000)));
                        now = now.after(step);
                        timers.advance(now);
                    }
                }
                for (watch, deadline) in watches.iter().zip(&armed) {
                    match watch.fired() {
                        Some(Stop::Expired) => assert!(*deadline <= now, "seed {seed}: early"),
                        None if *deadline == Mono::NEVER => {}
                        None => assert!(deadline.after(TICK) > now, "seed {seed}: late"),
                        other => panic!("{other:?}"),
                    }
                }
            }
        }
    }

    #[test]
    fn the_wheel_wakes_seldom_for_far_deadlines_and_not_at_all_for_none() {
        let timers = Timers::new(Mono(0));
        assert_eq!(timers.inner.borrow().next_wake(), u64::MAX);
        let watches: Vec<Watch> = (0..1000).map(|_| timers.watch(NO_GROUP)).collect();
        for (n, watch) in watches.iter().enumerate() {
            watch.arm(Mono(75_000_000_000 + n as u64 * 20_000_000));
        }
        let mut wakes = 0;
        loop {
            let next = timers.inner.borrow().next_wake();
            if next * TICK_NS > 70_000_000_000 {
                break;
            }
            timers.advance(Mono(next * TICK_NS));
            wakes += 1;
        }
        assert!(wakes <= 70, "{wakes} wakes in 70 s for 1000 idle connections");
        drop(watches);
        assert_eq!((timers.live(), timers.inner.borrow().next_wake()), (0, u64::MAX));
    }

    #[test]
    fn a_drain_ends_only_waits_that_may_be_given_up() {
        let timers = Timers::new(Mono(0));
        let (idle, busy, tunnel) =
            (timers.watch(NO_GROUP), timers.watch(NO_GROUP), timers.watch(NO_GROUP));
        idle.idle();
        busy.busy(5, Half::Leaves);
        tunnel.tunnel();
        timers.drain_idle();
        assert_eq!(idle.fired(), Some(Stop::Drain));
        assert_eq!((busy.fired(), tunnel.fired()), (None, None));
        busy.idle();
        assert_eq!(busy.fired(), Some(Stop::Drain), "from now on it may");
        busy.busy(5, Half::Leaves);
        let lingering = timers.watch(NO_GROUP);
        lingering.lingers();
        assert_eq!(lingering.fired(), None);
        assert_eq!(timers.cut(Cut::Exchanges), 1, "an idle or answered one loses nothing");
        assert_eq!(lingering.fired(), Some(Stop::Gone));
        assert_eq!((busy.fired(), tunnel.fired()), (Some(Stop::Gone), None));
        assert_eq!(timers.cut(Cut::All), 1);
        assert_eq!(tunnel.fired(), Some(Stop::Gone));
    }
}
