//! When a key set is fetched: a core that is told what happened and says what to do.
//!
//! ```text
//!          ┌──────────── time, unknown kid ───────────┐
//!          ▼                                          │
//!      Fetching ── fetched ──▶ Resting until max-age ─┤
//!          │                                          │
//!          └───── failed ────▶ Resting until backoff ─┘
//! ```
//!
//! One fetch at a time. The set that was last read stays in use however old it is: an issuer that
//! can't be reached must not lock everybody out, and its tokens end by themselves.

use std::time::Duration;

use crate::rng::Rng;
use crate::time::Mono;

/// Without `Cache-Control`: a key that its issuer withdraws is believed for five minutes more, at
/// twelve small requests an hour. New keys don't wait for it: an unknown `kid` asks at once.
pub const AGE: Duration = Duration::from_secs(300);
/// An issuer that forbids caching is not asked more often.
pub const AGE_MIN: Duration = Duration::from_secs(60);
/// A withdrawn key is not believed for longer.
pub const AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Between two fetches for an unknown `kid`: anybody can invent one. Those that are due anyway
/// don't count, so that a new key is known at once however short ago they were.
pub const UNKNOWN_FLOOR: Duration = Duration::from_secs(30);
/// After a first failure; twice as long after each further one.
pub const BACKOFF: Duration = Duration::from_secs(1);
pub const BACKOFF_MAX: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// It begins, or the time has come that was asked for.
    Time,
    /// A token names a key that the set doesn't have.
    UnknownKid,
    /// A fetch brought a set that can be read, and how long it may be used.
    Fetched { max_age: Option<Duration> },
    /// A fetch brought none.
    Failed,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Fetch now, and tell what came of it.
    Fetch,
    /// Come again with [`Event::Time`] then. An earlier such wish is void.
    Wait(Mono),
    /// A fetch is on its way; its end is waited for.
    Nothing,
}

#[derive(Clone, Debug)]
pub struct Refresh {
    is_fetching: bool,
    /// When the next fetch is due.
    next: Mono,
    /// When the last one for an unknown `kid` began.
    asked: Option<Mono>,
    /// The next one is for an unknown `kid`.
    is_asked: bool,
    /// Fetches in a row that brought nothing.
    failures: u32,
}

impl Default for Refresh {
    fn default() -> Refresh {
        Refresh { is_fetching: false, next: Mono(0), asked: None, is_asked: false, failures: 0 }
    }
}

impl Refresh {
    pub fn on(&mut self, event: Event, now: Mono, rng: &mut Rng) -> Action {
        match event {
            Event::Fetched { max_age } => {
                self.is_fetching = false;
                self.failures = 0;
                let age = max_age.unwrap_or(AGE).clamp(AGE_MIN, AGE_MAX);
                // A tenth less at most, so that gateways started together ask apart.
                self.next = now.after(age - share(age / 10, rng));
            }
            Event::Failed => {
                self.is_fetching = false;
                let backoff = BACKOFF * 2u32.pow(self.failures.min(16));
                self.failures = self.failures.saturating_add(1);
                let backoff = backoff.min(BACKOFF_MAX);
                self.next = now.after(backoff / 2 + share(backoff / 2, rng));
            }
            // Failures have their own pace, which nobody's tokens hasten.
            Event::UnknownKid if self.failures == 0 && !self.is_fetching => {
                let soonest = self.asked.map_or(now, |asked| asked.after(UNKNOWN_FLOOR));
                self.next = self.next.min(soonest.max(now));
                self.is_asked = true;
            }
            Event::UnknownKid | Event::Time => {}
        }
        self.decide(now)
    }

    fn decide(&mut self, now: Mono) -> Action {
        if self.is_fetching {
            return Action::Nothing;
        }
        if now < self.next {
            return Action::Wait(self.next);
        }
        self.is_fetching = true;
        if std::mem::take(&mut self.is_asked) {
            self.asked = Some(now);
        }
        Action::Fetch
    }
}

/// Anything from nothing to `all`.
fn share(all: Duration, rng: &mut Rng) -> Duration {
    Duration::from_nanos((all.as_nanos() as u64 >> 16) * u64::from(rng.below(1 << 16)))
}

/// How long an answer may be used by its `Cache-Control` (RFC 9111 §5.2.2): `max-age`, or nothing
/// for `no-cache` and `no-store`. `None` when it doesn't say.
pub fn max_age(value: &[u8]) -> Option<Duration> {
    let directives = value.split(|&b| b == b',').map(<[u8]>::trim_ascii);
    let mut age = None;
    for directive in directives {
        if directive.eq_ignore_ascii_case(b"no-cache")
            || directive.eq_ignore_ascii_case(b"no-store")
        {
            return Some(Duration::ZERO);
        }
        let Some((name, seconds)) = directive.split_at_checked(8) else { continue };
        if name.eq_ignore_ascii_case(b"max-age=") && age.is_none() {
            let digits = seconds.strip_prefix(b"\"").unwrap_or(seconds);
            let digits = digits.strip_suffix(b"\"").unwrap_or(digits);
            let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
            // More than a number holds is a very long time (RFC 9111 §1.2.2).
            let number = |text: &str| text.parse().unwrap_or(u64::from(u32::MAX));
            let text = std::str::from_utf8(digits).ok().filter(|_| is_number);
            age = text.map(number).map(Duration::from_secs);
        }
    }
    age
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(seconds: u64) -> Mono {
        Mono(seconds * SECOND)
    }

    fn waits(action: Action, from: u64, to: u64) -> Mono {
        let Action::Wait(until) = action else { panic!("{action:?} is no wait") };
        assert!((at(from)..=at(to)).contains(&until), "{until:?} is not within {from} to {to} s");
        until
    }

    #[test]
    fn the_first_fetch_is_at_once_and_the_next_when_the_age_is_over() {
        let (mut refresh, mut rng) = (Refresh::default(), Rng::from_u64(1));
        assert_eq!(refresh.on(Event::Time, at(100), &mut rng), Action::Fetch);
        assert_eq!(refresh.on(Event::Time, at(101), &mut rng), Action::Nothing);
        let ages = [(None, 270, 300), (Some(3600), 3240, 3600), (Some(0), 54, 60)];
        let ages = ages.into_iter().chain([(Some(1 << 40), 77_760, 86_400)]);
        for (age, from, to) in ages {
            let mut refresh = refresh.clone();
            let fetched = Event::Fetched { max_age: age.map(Duration::from_secs) };
            let until = waits(refresh.on(fetched, at(102), &mut rng), 102 + from, 102 + to);
            waits(refresh.on(Event::Time, Mono(until.0 - 1), &mut rng), 102 + from, 102 + to);
            assert_eq!(refresh.on(Event::Time, until, &mut rng), Action::Fetch);
        }
    }

    #[test]
    fn unknown_keys_ask_at_most_once_in_the_floor_however_many_come() {
        let (mut refresh, mut rng) = (Refresh::default(), Rng::from_u64(2));
        assert_eq!(refresh.on(Event::Time, at(0), &mut rng), Action::Fetch);
        let fetched = Event::Fetched { max_age: Some(AGE_MAX) };
        refresh.on(fetched, at(0), &mut rng);
        let mut fetches = Vec::new();
        for tenth in 0..36_000 {
            let now = Mono(tenth * SECOND / 10);
            if refresh.on(Event::UnknownKid, now, &mut rng) == Action::Fetch {
                fetches.push(now);
                assert_eq!(refresh.on(Event::UnknownKid, now, &mut rng), Action::Nothing);
                refresh.on(fetched, now, &mut rng);
            }
        }
        assert_eq!(fetches.len(), 120);
        assert!(fetches.windows(2).all(|pair| pair[1].since(pair[0]) >= UNKNOWN_FLOOR));
        assert_eq!(fetches[0], at(0), "the one that was due doesn't count");
    }

    #[test]
    fn an_unknown_key_within_the_floor_is_fetched_when_it_ends() {
        let (mut refresh, mut rng) = (Refresh::default(), Rng::from_u64(2));
        refresh.on(Event::Time, at(0), &mut rng);
        refresh.on(Event::Fetched { max_age: None }, at(1), &mut rng);
        assert_eq!(refresh.on(Event::UnknownKid, at(10), &mut rng), Action::Fetch);
        refresh.on(Event::Fetched { max_age: None }, at(11), &mut rng);
        assert_eq!(refresh.on(Event::UnknownKid, at(15), &mut rng), Action::Wait(at(40)));
        assert_eq!(refresh.on(Event::Time, at(40), &mut rng), Action::Fetch);
    }

    #[test]
    fn failures_wait_longer_each_time_and_no_token_hastens_them() {
        let (mut refresh, mut rng) = (Refresh::default(), Rng::from_u64(3));
        assert_eq!(refresh.on(Event::Time, at(0), &mut rng), Action::Fetch);
        let (mut now, mut bound) = (at(0), 1);
        for _ in 0..40 {
            let action = refresh.on(Event::Failed, now, &mut rng);
            let Action::Wait(until) = action else { panic!("{action:?}") };
            let wait = until.since(now);
            let bound_now = Duration::from_secs(bound);
            assert!(wait >= bound_now / 2 && wait <= bound_now, "{wait:?} of {bound_now:?}");
            assert_eq!(refresh.on(Event::UnknownKid, now, &mut rng), action);
            assert_eq!(refresh.on(Event::Time, until, &mut rng), Action::Fetch);
            (now, bound) = (until, (bound * 2).min(120));
        }
        let fetched = Event::Fetched { max_age: None };
        refresh.on(fetched, now, &mut rng);
        assert_eq!(refresh.failures, 0);
    }

    #[test]
    fn cache_control_says_how_long() {
        let check = |value: &str, expect: Option<u64>| {
            assert_eq!(max_age(value.as_bytes()), expect.map(Duration::from_secs), "{value}");
        };
        check("max-age=600", Some(600));
        check("public, Max-Age=\"600\", must-revalidate", Some(600));
        check("max-age=600, max-age=5", Some(600));
        check("max-age=600, no-store", Some(0));
        check("NO-CACHE", Some(0));
        check("max-age=99999999999999999999999", Some(u64::from(u32::MAX)));
        check("max-age=-1", None);
        check("max-age=", None);
        check("s-maxage=5", None);
        check("", None);
    }
}
