//! How many in what time: the arithmetic of a rate limit, as numbers.
//!
//! The generic cell rate algorithm by virtual scheduling (ITU-T I.371 annex A, ATM Forum TM 4.0
//! §4.4.2). A key owes one interval for each unit that it took, and pays with time. What is kept of
//! it is the moment at which all is paid, its stamp; one more is allowed while the debt stays
//! within `burst` intervals. In any time T at most burst + rate × T pass, exactly: rounding is
//! always on the strict side.
//!
//! ```text
//! stamp: .... | 6 bits unit | 54 bits time in that unit, modulo 2^54 |   (4 bits are the table's)
//! ```
//!
//! A unit is a power of two of nanoseconds, chosen by limit:
//! - 1 ns where that is fine enough, which it is when the interval is a whole number of them
//!   (1000/s) or some 2^20 long (more than a millisecond);
//! - less (down to 2^-17 ns) for shorter intervals until they are whole or 2^20 units long, so that
//!   rounding them up costs the caller at most a millionth of the rate;
//! - more where the longest debt would pass 2^52 units. `now` is rounded down then; one unit more
//!   for each interval outweighs that, and is less than a millionth of it.
//!
//! A stamp is past when it lies at most 2^53 units behind `now`, that is 68 s in the finest unit
//! and 104 days in the usual one. Who keeps stamps must drop those that are over sooner than that
//! ([`SWEEP_WITHIN`]). One that was kept for too long looks like a debt, which is cut down to the
//! longest possible, so that it ends: a caller is refused wrongly, never allowed.

use std::time::Duration;

use crate::time::Mono;

const TIME_BITS: u32 = 54;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
/// Of debt, in units: a quarter of the circle of times.
const DEBT_MAX: u128 = 1 << 52;
/// A unit is 2^(code - 24) ns. Code 0: there is no stamp.
const CODE_BITS: u32 = 6;
const CODE_ZERO: i32 = 24;
const SHIFT_MIN: i32 = -17;
/// Intervals of so many units may be rounded up by one.
const FINE: u128 = 1 << 20;

/// Bits of a stamp in a word; those above are free for another use.
pub const STAMP_BITS: u32 = TIME_BITS + CODE_BITS;
/// Stamps that are over must be dropped within this time, lest they look like debts.
pub const SWEEP_WITHIN: Duration = Duration::from_secs(60);
/// A worker decides at most so long after it read its clock. A stamp is dropped only when it is
/// over for everyone.
pub const STALE_MAX: Duration = Duration::from_millis(100);

pub const COUNT_MAX: u64 = 1_000_000_000;
pub const BURST_MAX: u64 = 1_000_000_000;
pub const PER_MIN: Duration = Duration::from_secs(1);
pub const PER_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A limit of `count` in each `per`, of which `burst` may come at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// In units.
    interval: u64,
    /// The longest debt: `burst` intervals.
    full: u64,
    /// What can be owed at all, as one sees it whose `now` lags behind that of who took last.
    longest: u64,
    burst: u64,
    unit: Unit,
    /// A time in units is its nanoseconds shifted up or down.
    up: u8,
    down: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RateError {
    /// Not in 1..=[`COUNT_MAX`].
    Count,
    /// Not in [`PER_MIN`]..=[`PER_MAX`].
    Per,
    /// Not in 1..=[`BURST_MAX`].
    Burst,
    /// One every so few nanoseconds (less than 8, above 125 million a second) that no unit fits: a
    /// finer one would come round within [`SWEEP_WITHIN`]. Rates whose interval is a whole number
    /// of nanoseconds, or of a power of two's part of one, work up to [`COUNT_MAX`].
    TooFine,
}

impl Rate {
    pub fn new(count: u64, per: Duration, burst: u64) -> Result<Rate, RateError> {
        if !(1..=COUNT_MAX).contains(&count) {
            return Err(RateError::Count);
        }
        if !(PER_MIN..=PER_MAX).contains(&per) {
            return Err(RateError::Per);
        }
        if !(1..=BURST_MAX).contains(&burst) {
            return Err(RateError::Burst);
        }
        let (per, count) = (per.as_nanos(), u128::from(count));
        let mut shift = 0;
        while !is_fine(per << -shift, count) {
            shift -= 1;
            if shift < SHIFT_MIN {
                return Err(RateError::TooFine);
            }
        }
        // Coarser only from 1 ns: an interval of finer units has less than 2^21, and 2^51 debt.
        while interval(per, count, shift) * u128::from(burst) > DEBT_MAX {
            shift += 1;
        }
        let interval = interval(per, count, shift) as u64; // below DEBT_MAX
        let (unit, full) = (Unit::of_shift(shift), interval * burst);
        let longest = full + unit.count(STALE_MAX);
        let (up, down) = ((-shift).max(0) as u8, shift.max(0) as u8);
        Ok(Rate { interval, full, longest, burst, unit, up, down })
    }

    pub fn burst(&self) -> u64 {
        self.burst
    }

    /// What `cost` units make of a key's stamp. Costs above the burst are never allowed.
    #[inline]
    pub fn take(&self, stamp: Stamp, cost: u64, now: Mono) -> Step {
        let (owed, is_cut) = self.owed(stamp, now);
        let fits = cost <= self.burst && owed + cost * self.interval <= self.full;
        let after = if fits { owed + cost * self.interval } else { owed };
        let stamp =
            (fits || is_cut).then(|| Stamp::new(self.unit, self.at(now).wrapping_add(after)));
        Step { is_allowed: fits, state: State { owed: after }, stamp }
    }

    /// As [`Unit::at`], without asking which way.
    #[inline]
    fn at(&self, now: Mono) -> u64 {
        now.0 << self.up >> self.down
    }

    /// What a key owes, nothing taken.
    #[inline]
    pub fn state(&self, stamp: Stamp, now: Mono) -> State {
        State { owed: self.owed(stamp, now).0 }
    }

    /// In units, and whether that was cut down: a debt longer than this limit's longest is of an
    /// older, slower rate, or a stamp that was kept too long.
    #[inline]
    fn owed(&self, stamp: Stamp, now: Mono) -> (u64, bool) {
        let owed = match stamp.unit() == self.unit {
            true => signed(stamp.0.wrapping_sub(self.at(now))).max(0) as u64,
            false => self.converted(stamp, stamp.ahead_of(now)),
        };
        match owed > self.longest {
            true => (self.full, true),
            false => (owed, false),
        }
    }

    /// Of another unit, or of no stamp.
    #[cold]
    fn converted(&self, stamp: Stamp, owed: u64) -> u64 {
        let finer = stamp.unit().shift() - self.unit.shift();
        match finer {
            0.. => (u128::from(owed) << finer).min(u128::from(u64::MAX)) as u64,
            _ => owed.div_ceil(1 << -finer),
        }
    }

    /// What `cost` units are in this limit's unit.
    #[inline]
    pub(super) fn share(&self, cost: u64) -> u64 {
        cost * self.interval
    }

    /// Units that would be allowed at once.
    #[inline]
    pub fn remaining(&self, state: State) -> u64 {
        self.full.saturating_sub(state.owed) / self.interval
    }

    /// Until `cost` more units are allowed if nothing else is taken. `None`: never.
    pub fn wait(&self, state: State, cost: u64) -> Option<Duration> {
        let over = |price: u64| self.unit.duration((state.owed + price).saturating_sub(self.full));
        (cost <= self.burst).then(|| over(cost * self.interval))
    }

    /// Until the whole burst is there again.
    pub fn reset(&self, state: State) -> Duration {
        self.unit.duration(state.owed)
    }
}

/// Whether an interval of `per / count` units is whole, or long enough to be rounded.
fn is_fine(per: u128, count: u128) -> bool {
    per.is_multiple_of(count) || per / count >= FINE
}

/// In units of 2^`shift` ns, rounded so that no more pass than may.
fn interval(per: u128, count: u128, shift: i32) -> u128 {
    match shift {
        ..=0 => (per << -shift).div_ceil(count),
        _ => per.div_ceil(count << shift) + 1,
    }
}

/// What a key owes, in its limit's unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct State {
    owed: u64,
}

/// One decision: what it is, what is owed after it, and the stamp to keep when that changed.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub is_allowed: bool,
    pub state: State,
    pub stamp: Option<Stamp>,
}

/// The moment at which a key has paid for all that it took.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp(u64);

impl Stamp {
    /// Nothing was taken.
    pub const NONE: Stamp = Stamp(0);

    #[inline]
    fn new(unit: Unit, time: u64) -> Stamp {
        Stamp(u64::from(unit.0) << TIME_BITS | time & TIME_MASK)
    }

    /// Of a word whose other bits are another's.
    #[inline]
    pub(super) fn of_word(word: u64) -> Stamp {
        Stamp(word & ((1 << STAMP_BITS) - 1))
    }

    #[inline]
    pub(super) fn bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub fn is_none(self) -> bool {
        self.0 >> TIME_BITS == 0
    }

    #[inline]
    fn unit(self) -> Unit {
        Unit((self.0 >> TIME_BITS) as u8)
    }

    /// In its own unit; 0 when it is past.
    #[inline]
    fn ahead_of(self, now: Mono) -> u64 {
        if self.is_none() {
            return 0;
        }
        signed(self.0.wrapping_sub(self.unit().at(now))).max(0) as u64
    }

    /// Whether it is past for everyone, however old his `now`: forgetting it changes nothing.
    #[inline]
    pub fn is_over(self, now: Mono) -> bool {
        let oldest = Mono(now.0.saturating_sub(STALE_MAX.as_nanos() as u64));
        !self.is_none() && signed(self.0.wrapping_sub(self.unit().at(oldest))) < 0
    }

    /// Without the `share` that led to `taken`, when others took after it: never earlier than if
    /// it had not been. `now` is no earlier than that of any who took meanwhile; whoever found
    /// nothing owed would have begun at his own `now`, and so much of the share is gone by time.
    pub(super) fn without(self, share: u64, taken: Stamp, now: Mono) -> Stamp {
        let unit = taken.unit();
        if self.unit() != unit {
            return self; // counted by another rate since
        }
        let before = taken.0.wrapping_sub(share);
        let gone = signed(unit.at(now).wrapping_sub(before)).max(0) as u64;
        self.earlier(share.saturating_sub(gone))
    }

    /// By as much as a share that nobody built upon.
    pub(super) fn earlier(self, share: u64) -> Stamp {
        Stamp::new(self.unit(), self.0.wrapping_sub(share))
    }
}

/// The difference of two times on the circle.
#[inline]
fn signed(difference: u64) -> i64 {
    ((difference << (64 - TIME_BITS)) as i64) >> (64 - TIME_BITS)
}

/// A power of two of nanoseconds, by its code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Unit(u8);

impl Unit {
    fn of_shift(shift: i32) -> Unit {
        let code = shift + CODE_ZERO;
        assert!((1..1 << CODE_BITS).contains(&code), "a unit that a stamp can name");
        Unit(code as u8)
    }

    #[inline]
    fn shift(self) -> i32 {
        i32::from(self.0) - CODE_ZERO
    }

    /// The time in units, of which the low bits count.
    #[inline]
    fn at(self, now: Mono) -> u64 {
        match self.shift() {
            shift @ 0.. => now.0 >> shift,
            shift => now.0 << -shift,
        }
    }

    /// Rounded up; for times of seconds at most.
    #[inline]
    fn count(self, time: Duration) -> u64 {
        self.at(Mono(time.as_nanos() as u64)) + 1
    }

    fn duration(self, units: u64) -> Duration {
        let ns = match self.shift() {
            shift @ 0.. => u128::from(units) << shift,
            shift => u128::from(units.div_ceil(1 << -shift)),
        };
        const SECOND: u128 = 1_000_000_000;
        Duration::new((ns / SECOND) as u64, (ns % SECOND) as u32)
    }
}

#[cfg(all(test, not(busbar_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const DAY: Duration = Duration::from_secs(86_400);

    /// One key under one limit, and what it was allowed.
    struct Key {
        rate: Rate,
        stamp: Stamp,
        /// When a sweep will have dropped the stamp.
        until: Mono,
    }

    impl Key {
        fn new(count: u64, per: Duration, burst: u64) -> Key {
            let rate = Rate::new(count, per, burst).expect("a limit");
            Key { rate, stamp: Stamp::NONE, until: Mono::NEVER }
        }

        fn take(&mut self, cost: u64, now: u64) -> bool {
            if Mono(now) > self.until {
                self.stamp = Stamp::NONE;
            }
            let step = self.rate.take(self.stamp, cost, Mono(now));
            if let Some(stamp) = step.stamp {
                self.stamp = stamp;
                let over = self.rate.reset(step.state).saturating_add(STALE_MAX + SWEEP_WITHIN);
                self.until = Mono(now).after(over);
            }
            step.is_allowed
        }

        fn remaining(&self, now: u64) -> u64 {
            self.rate.remaining(self.rate.state(self.stamp, Mono(now)))
        }

        fn wait(&self, cost: u64, now: u64) -> Option<Duration> {
            self.rate.wait(self.rate.state(self.stamp, Mono(now)), cost)
        }
    }

    /// The same rule in whole numbers of 1/`count` ns, which rounds nothing.
    struct Exact {
        count: u128,
        per: u128,
        burst: u128,
        paid_at: u128,
    }

    impl Exact {
        fn fits(&self, cost: u64, now: u64) -> bool {
            let now = u128::from(now) * self.count;
            let paid_at = self.paid_at.max(now) + u128::from(cost) * self.per;
            paid_at <= now + self.burst * self.per
        }

        fn charge(&mut self, cost: u64, now: u64) {
            let now = u128::from(now) * self.count;
            self.paid_at = self.paid_at.max(now) + u128::from(cost) * self.per;
        }

        fn take(&mut self, cost: u64, now: u64) -> bool {
            let fits = self.fits(cost, now);
            if fits {
                self.charge(cost, now);
            }
            fits
        }
    }

    fn exact(count: u64, per: Duration, burst: u64) -> Exact {
        let (count, per, burst) = (count.into(), per.as_nanos(), burst.into());
        Exact { count, per, burst, paid_at: 0 }
    }

    #[test]
    fn a_limit_is_accepted_when_a_unit_fits_it() {
        let check = |count, per, burst, expect: Result<(), RateError>| {
            assert_eq!(Rate::new(count, per, burst).map(|_| ()), expect, "{count} {per:?} {burst}");
        };
        check(1_000_000, SECOND, 1, Ok(()));
        check(1_000_000, SECOND, BURST_MAX, Ok(()));
        check(1, DAY, 1000, Ok(()));
        check(1, PER_MAX, BURST_MAX, Ok(()));
        check(COUNT_MAX, SECOND, BURST_MAX, Ok(()));
        check(COUNT_MAX, PER_MAX, BURST_MAX, Ok(()));
        check(120_000_007, SECOND, BURST_MAX, Ok(()));
        check(800_000_000, SECOND, 1, Ok(())); // 1.25 ns
        check(999_999_937, SECOND, 1, Err(RateError::TooFine));
        check(130_000_007, SECOND, 1, Err(RateError::TooFine));
        check(0, SECOND, 1, Err(RateError::Count));
        check(COUNT_MAX + 1, SECOND, 1, Err(RateError::Count));
        check(1, Duration::from_millis(999), 1, Err(RateError::Per));
        check(1, PER_MAX + SECOND, 1, Err(RateError::Per));
        check(1, SECOND, 0, Err(RateError::Burst));
        check(1, SECOND, BURST_MAX + 1, Err(RateError::Burst));
    }

    #[test]
    fn a_decision_says_what_the_client_is_told() {
        let mut key = Key::new(2, SECOND, 3);
        let half = 500_000_000;
        assert_eq!(key.remaining(0), 3);
        assert!(key.take(2, 0));
        assert_eq!((key.remaining(0), key.wait(1, 0)), (1, Some(Duration::ZERO)));
        assert_eq!(key.wait(2, 0), Some(Duration::from_nanos(half)));
        assert!(!key.take(2, 0), "one is left");
        assert!(key.take(1, 0));
        assert!(!key.take(1, half - 1));
        assert_eq!(key.wait(1, half - 1), Some(Duration::from_nanos(1)));
        assert_eq!(key.rate.reset(key.rate.state(key.stamp, Mono(0))), SECOND * 3 / 2);
        assert!(key.take(1, half));
        assert_eq!(key.wait(4, half), None, "more than the burst is never allowed");
        assert!(!key.take(4, 100 * half));
        assert!(!key.take(u64::MAX, 100 * half));
        assert_eq!(key.remaining(100 * half), 3);
    }

    #[test]
    fn a_day_is_as_exact_as_a_microsecond() {
        let day = DAY.as_nanos() as u64;
        let mut key = Key::new(1, DAY, 1000);
        assert!((0..1000).all(|_| key.take(1, 5)));
        assert!(!key.take(1, 5));
        assert!(!key.take(1, day));
        assert!(key.take(1, 5 + day + day / 1_000_000));
        let mut key = Key::new(1_000_000, SECOND, 1);
        assert!(key.take(1, 0));
        assert!(!key.take(1, 999));
        assert!(key.take(1, 1000));
    }

    /// The unit is not the same, so what is owed is converted; never more than the new longest.
    #[test]
    fn a_new_rate_takes_over_what_is_owed() {
        let mut key = Key::new(1, DAY, 1000);
        assert!(key.take(900, 7));
        key.rate = Rate::new(3_000_000, SECOND, 10).unwrap();
        assert!(!key.take(1, 7), "much is owed");
        assert_eq!(key.wait(10, 7).map(|wait| wait.as_micros()), Some(3), "but no more than ten");
        assert!(key.take(10, 3_400 + 7));
        let mut key = Key::new(3_000_000, SECOND, 3_000_000);
        assert!(key.take(1_500_000, 9));
        key.rate = Rate::new(1, SECOND, 1_000_000_000).unwrap();
        assert!(matches!(
            key.rate.reset(key.rate.state(key.stamp, Mono(9))).as_millis(),
            500..=501
        ));
    }

    #[test]
    fn a_stamp_is_over_when_nobody_can_see_a_debt() {
        let (mut key, stale) = (Key::new(1, SECOND, 1), STALE_MAX.as_nanos() as u64);
        assert!(!key.stamp.is_over(Mono(0)), "there is none");
        assert!(key.take(1, 0));
        let over = 1_000_000_000 + stale;
        assert!(!key.stamp.is_over(Mono(over)) && key.stamp.is_over(Mono(over + 1)));
    }

    /// Every limit's stamps are past for at least as long as a sweep may take, and one that is
    /// kept until it looks like a debt is paid within the longest.
    #[test]
    fn a_stamp_that_is_kept_too_long_ends() {
        let within = SWEEP_WITHIN.as_nanos() as u64;
        for (count, per, burst) in [(120_000_007, SECOND, BURST_MAX), (1, PER_MAX, 100)] {
            let mut key = Key::new(count, per, burst);
            assert!(key.take(1, 0));
            let end = key.rate.reset(key.rate.state(key.stamp, Mono(0)));
            assert!(key.stamp.is_over(Mono::default().after(end + STALE_MAX + SWEEP_WITHIN)));
        }
        let mut key = Key::new(120_000_007, SECOND, 5);
        assert!(key.take(1, 0));
        key.until = Mono::NEVER;
        let late = (1 << 36) + 1000;
        assert!(late > within && !key.take(1, late), "it looks alive again");
        assert_eq!(key.wait(5, late).map(|w| w.as_nanos()), Some(42), "for five intervals");
        assert!(key.take(5, late + 42));
    }

    fn rates() -> impl Strategy<Value = (u64, Duration, u64)> {
        let count = prop_oneof![1..20u64, 1..100_000u64, 1..120_000_000u64, Just(COUNT_MAX)];
        let per = prop_oneof![Just(1), Just(7), Just(60), Just(86_400), 1..=30 * 86_400u64];
        let burst = prop_oneof![Just(1), 1..20u64, 1..100_000u64, 1..=BURST_MAX];
        (count, per, burst).prop_map(|(count, per, burst)| (count, Duration::from_secs(per), burst))
    }

    /// Gaps in thousandths of an interval, and costs in thousandths of the burst (0: one).
    fn arrivals() -> impl Strategy<Value = Vec<(u64, u64)>> {
        let gap = prop_oneof![Just(0), Just(1000), 0..3000u64, 0..200_000u64];
        let cost = prop_oneof![3 => Just(0), 1 => 0..600u64, 1 => Just(1000)];
        prop::collection::vec((gap, cost), 1..120)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Where nothing is rounded every decision is the exact one; elsewhere no window holds
        /// more than it may, and who waits a millionth longer is never refused.
        #[test]
        fn decisions_are_those_of_exact_arithmetic(
            (count, per, burst) in rates(),
            start in any::<u64>(),
            arrivals in arrivals(),
        ) {
            let rate = Rate::new(count, per, burst);
            prop_assume!(rate.is_ok());
            let mut key = Key::new(count, per, burst);
            let (per_ns, interval) = (per.as_nanos(), per.as_nanos() as u64 / count);
            let is_exact = rate.unwrap().unit.shift() <= 0
                && (per_ns << -key.rate.unit.shift()).is_multiple_of(count.into());
            let mut oracle = exact(count, per, burst);
            let mut slower = exact(count, per + per / 1_000_000 + Duration::from_nanos(1), burst);
            let mut now = start >> 4;
            let mut allowed: Vec<(u64, u64)> = Vec::new();
            for (gap, cost) in arrivals {
                now += (u128::from(interval.max(1)) * u128::from(gap) / 1000) as u64;
                let cost = (u128::from(burst) * u128::from(cost) / 1000).max(1) as u64;
                let is_kept = Mono(now) <= key.until;
                let (remaining, wait) = (key.remaining(now), key.wait(cost, now));
                let is_allowed = key.take(cost, now);
                prop_assert!(!is_kept || is_allowed == (cost <= remaining));
                prop_assert!(!is_kept || is_allowed == (wait == Some(Duration::ZERO)));
                if is_exact {
                    prop_assert_eq!(is_allowed, oracle.take(cost, now));
                }
                if is_allowed {
                    allowed.push((now, cost));
                    let mut sum = 0;
                    for (then, cost) in allowed.iter().rev() {
                        sum += u128::from(*cost);
                        let may = u128::from(burst) * per_ns
                            + u128::from(count) * u128::from(now - then);
                        prop_assert!(sum * per_ns <= may, "{} in {}", sum, now - then);
                    }
                }
                // A rate less by a millionth, seen a little earlier, would not have allowed it.
                if is_allowed {
                    slower.charge(cost, now);
                } else {
                    prop_assert!(!slower.fits(cost, now - interval.div_ceil(1_000_000)));
                }
            }
        }

        /// At exactly the rate after the burst: refused at most once in a million. (A burst of one
        /// has no room for a clock that counts whole nanoseconds: his gaps are longer by a bit.)
        #[test]
        fn a_caller_at_the_rate_is_not_refused(
            (count, per, burst) in rates(), start in 0..1u64 << 60,
        ) {
            let rate = Rate::new(count, per, burst);
            prop_assume!(rate.is_ok());
            let mut key = Key::new(count, per, burst);
            prop_assert!(key.take(burst, start));
            let (per, count) = (per.as_nanos(), u128::from(count));
            let whole = per.is_multiple_of(count) && key.rate.unit.shift() <= 0;
            let mut refused = 0;
            for n in 1..=1000u128 {
                let now = match burst {
                    1 if !whole => n * (per.div_ceil(count) + per / count / 1_000_000),
                    _ => (per * n).div_ceil(count),
                };
                let Ok(now) = u64::try_from(u128::from(start) + now) else { break };
                refused += u32::from(!key.take(1, now));
            }
            prop_assert!(refused <= u32::from(!whole && burst > 1), "{}", refused);
        }

        /// Waiting as long as was said is enough.
        #[test]
        fn a_caller_who_waits_is_allowed(
            (count, per, burst) in rates(), cost in 0..1000u64, start in 0..1u64 << 60,
        ) {
            let rate = Rate::new(count, per, burst);
            prop_assume!(rate.is_ok());
            let mut key = Key::new(count, per, burst);
            prop_assert!(key.take(burst, start));
            let cost = (u128::from(burst) * u128::from(cost) / 1000).max(1) as u64;
            let wait = key.wait(cost, start).unwrap();
            prop_assume!(wait < Duration::from_secs(1 << 33));
            let then = start + wait.as_nanos() as u64;
            prop_assert!(key.take(cost, then));
        }

        /// Given back, a share leaves at least what would be owed had it never been taken, and
        /// exactly that when nobody took after it.
        #[test]
        fn a_share_given_back_is_as_if_never_taken(
            gaps in prop::collection::vec((0..900u64, 1..4u64, 0..3usize), 1..40),
        ) {
            let rate = Rate::new(10, SECOND, 1000).unwrap();
            let (mut stamp, mut now) = (Stamp::NONE, 1u64 << 40);
            // (when, share or none when given back, stamp after it)
            let mut taken: Vec<(u64, Option<u64>, Stamp)> = Vec::new();
            for (gap, cost, what) in gaps {
                now += gap * 1_000_000;
                let last = taken.iter().rposition(|t| t.1.is_some()).filter(|_| what > 0);
                let Some(mut at) = last else {
                    let step = rate.take(stamp, cost, Mono(now));
                    let Some(after) = step.stamp else { continue };
                    stamp = after;
                    taken.push((now, Some(rate.share(cost)), after));
                    continue;
                };
                if what == 2 {
                    at = at.saturating_sub(cost as usize); // an earlier one, others after it
                }
                let (_, Some(share), after) = taken[at] else { continue };
                let is_last = at + 1 == taken.len();
                stamp = match stamp == after {
                    true => stamp.earlier(share),
                    false => stamp.without(share, after, Mono(now)),
                };
                taken[at].1 = None;
                let left = taken.iter().filter_map(|(now, share, _)| Some((*now, (*share)?)));
                let fair = left.fold(0, |paid_at, (now, share)| paid_at.max(now) + share);
                let fair = fair.saturating_sub(now);
                let owed = stamp.ahead_of(Mono(now));
                prop_assert!(owed >= fair, "{} owed, {} fair", owed, fair);
                if is_last && taken.iter().filter(|t| t.1.is_none()).count() == 1 {
                    prop_assert_eq!(owed, fair);
                }
            }
        }
    }
}
