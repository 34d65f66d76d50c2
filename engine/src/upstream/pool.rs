//! Idle connections of one worker to one address: bookkeeping over opaque handles.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Mono;

/// Connections above the bound stay this long, so that a burst of more exchanges at a time than
/// `pool.idle` does not open and close a connection for each (measured: 20 % of the CPU).
pub const SURPLUS: Duration = Duration::from_secs(1);
/// And no more than this many times the bound.
const SURPLUS_TIMES_MAX: usize = 8;

#[derive(Debug)]
struct Idle<C> {
    connection: C,
    expires: Mono,
}

/// Most recently used first, so that the others may expire.
#[derive(Debug)]
pub struct Pool<C> {
    /// Oldest in front.
    idle: VecDeque<Idle<C>>,
    idle_max: usize,
    closed: bool,
}

impl<C> Pool<C> {
    pub fn new(idle_max: usize) -> Pool<C> {
        Pool { idle: VecDeque::with_capacity(idle_max.min(64)), idle_max, closed: false }
    }

    /// The connection that was used last and has not expired.
    pub fn checkout(&mut self, now: Mono) -> Option<C> {
        while let Some(idle) = self.idle.pop_back() {
            if idle.expires > now {
                return Some(idle.connection);
            }
        }
        None
    }

    /// Keeps a connection until `expires`, or for [`SURPLUS`] when there are enough. False when it
    /// was dropped instead.
    pub fn checkin(&mut self, connection: C, now: Mono, expires: Mono) -> bool {
        if self.closed || self.idle_max == 0 || expires <= now {
            return false;
        }
        if self.idle.len() >= self.idle_max.saturating_mul(SURPLUS_TIMES_MAX) {
            return false;
        }
        let is_surplus = self.idle.len() >= self.idle_max;
        let expires = if is_surplus { expires.min(now.after(SURPLUS)) } else { expires };
        self.idle.push_back(Idle { connection, expires });
        true
    }

    /// Drops what has expired. True while any is left.
    pub fn expire(&mut self, now: Mono) -> bool {
        self.idle.retain(|i| i.expires > now);
        !self.idle.is_empty()
    }

    /// Those that wait, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &C> {
        self.idle.iter().map(|idle| &idle.connection)
    }

    /// Drops those for which `keep` says no.
    pub fn retain(&mut self, keep: impl Fn(&C) -> bool) {
        self.idle.retain(|idle| keep(&idle.connection));
    }

    pub fn drop_oldest(&mut self) -> bool {
        self.idle.pop_front().is_some()
    }

    pub fn clear(&mut self) {
        self.idle.clear();
    }

    /// Another bound; what is above it goes at once.
    pub fn set_idle_max(&mut self, idle_max: usize) {
        self.idle_max = idle_max;
        let surplus = self.idle.len().saturating_sub(idle_max);
        self.idle.drain(..surplus);
    }

    /// Its address is gone: what comes back is dropped.
    pub fn close(&mut self) {
        self.closed = true;
        self.clear();
    }

    pub fn len(&self) -> usize {
        self.idle.len()
    }

    pub fn is_empty(&self) -> bool {
        self.idle.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn it_agrees_with_a_plain_list() {
        let mut rng = Rng::from_u64(11);
        let (mut pool, mut list) = (Pool::new(4), Vec::<(u32, Mono)>::new());
        let mut now = Mono(1);
        for serial in 0..20_000u32 {
            now = Mono(now.0 + u64::from(rng.below(3)));
            match rng.below(4) {
                0 => {
                    let expected = loop {
                        match list.pop() {
                            Some((c, at)) if at > now => break Some(c),
                            Some(_) => {}
                            None => break None,
                        }
                    };
                    assert_eq!(pool.checkout(now), expected);
                }
                1 => {
                    list.retain(|&(_, at)| at > now);
                    assert_eq!(pool.expire(now), !list.is_empty());
                }
                _ => {
                    let expires = Mono(now.0 + u64::from(rng.below(20)));
                    let kept = expires > now && list.len() < 4 * SURPLUS_TIMES_MAX;
                    if kept {
                        list.push((serial, expires));
                    }
                    assert_eq!(pool.checkin(serial, now, expires), kept);
                }
            }
            assert_eq!(pool.len(), list.len());
        }
    }

    #[test]
    fn a_surplus_goes_after_a_second_and_the_bound_stays() {
        let mut pool = Pool::new(2);
        let now = Mono(1);
        for serial in 0..5 {
            assert!(pool.checkin(serial, now, Mono::NEVER));
        }
        assert!(pool.expire(now.after(SURPLUS)));
        assert_eq!(pool.len(), 2);
        assert!(!Pool::new(0).checkin(1, now, Mono::NEVER), "0 keeps none");
    }
}
