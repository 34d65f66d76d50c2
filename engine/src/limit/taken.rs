//! Several limits on one request: all allow, or nothing is taken of any.

use crate::limit::gcra::Rate;
use crate::limit::key::KeyHash;
use crate::limit::shard::{Answer, Decision, Table};
use crate::time::Mono;

/// Rate limits of one request, from all levels together.
pub const LIMITS_MAX: usize = 8;

/// One limit that a request has to pass.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub hash: KeyHash,
    pub rate: &'a Rate,
    pub cost: u64,
    /// The limit's `when_full`: a key without a place passes.
    pub passes_full: bool,
}

/// A limit that said no.
#[derive(Clone, Copy, Debug)]
pub struct Stopped {
    /// Its place in the list.
    pub at: usize,
    pub decision: Decision,
}

/// What one request has taken so far, in order. It lives as long as the request may still be
/// refused by a limit; dropping it keeps what was taken.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    decisions: [Option<Decision>; LIMITS_MAX],
    len: usize,
}

impl Taken {
    /// Passes all of the limits or none: when one refuses, those before it get their shares back,
    /// and so do those that were passed in an earlier call.
    ///
    /// All are asked before the first is taken of, so that as a rule nothing has to go back.
    /// `clock` reads the time anew; it is asked only when something has to go back. More than
    /// [`LIMITS_MAX`] limits are a mistake of who compiled them: the first too many refuses.
    pub fn take_all(
        &mut self,
        table: &Table,
        wanted: &[Wanted<'_>],
        now: Mono,
        clock: impl Fn() -> Mono,
    ) -> Result<(), Stopped> {
        let mut stopped = None;
        if wanted.len() > 1 {
            let asked = wanted.iter().map(|w| table.ask(w.hash, w.rate, w.cost, now));
            let no = |(at, decision): (usize, Decision)| {
                (decision.answer == Answer::Refused).then_some(Stopped { at, decision })
            };
            stopped = asked.enumerate().find_map(no);
        }
        if stopped.is_none() {
            stopped = self.take_each(table, wanted, now);
        }
        match stopped {
            Some(stopped) => {
                self.give_back(table, clock);
                Err(stopped)
            }
            None => Ok(()),
        }
    }

    fn take_each(&mut self, table: &Table, wanted: &[Wanted<'_>], now: Mono) -> Option<Stopped> {
        for (at, w) in wanted.iter().enumerate() {
            let Some(place) = self.decisions.get_mut(self.len) else {
                let decision = table.ask(w.hash, w.rate, u64::MAX, now);
                return Some(Stopped { at, decision });
            };
            let decision = table.take(w.hash, w.rate, w.cost, now);
            match decision.answer {
                Answer::Allowed => {}
                Answer::Full if w.passes_full => {}
                Answer::Refused | Answer::Full => return Some(Stopped { at, decision }),
            }
            *place = Some(decision);
            self.len += 1;
        }
        None
    }

    /// All that was taken; for a refusal by a limit of another kind.
    pub fn give_back(&mut self, table: &Table, clock: impl Fn() -> Mono) {
        self.decisions().for_each(|decision| table.give_back(&decision.receipt, &clock));
        *self = Taken::default();
    }

    /// Of the limits that were passed, in order.
    pub fn decisions(&self) -> impl Iterator<Item = &Decision> {
        self.decisions[..self.len].iter().flatten()
    }
}

#[cfg(all(test, not(busbar_loom)))]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Mono = Mono(1);

    fn per_second(burst: u64) -> Rate {
        Rate::new(1, Duration::from_secs(1), burst).unwrap()
    }

    fn wanted<'a>(table: &Table, rates: &'a [Rate]) -> Vec<Wanted<'a>> {
        let one = |(n, rate)| {
            let hash = table.key(n as u64).finish();
            Wanted { hash, rate, cost: 1, passes_full: false }
        };
        rates.iter().enumerate().map(one).collect()
    }

    fn left(table: &Table, wanted: &[Wanted<'_>]) -> Vec<u64> {
        let of = |w: &Wanted<'_>| w.rate.remaining(table.look(w.hash, w.rate, NOW));
        wanted.iter().map(of).collect()
    }

    #[test]
    fn all_limits_pass_or_none_is_taken_of() {
        let (table, rates) = (Table::new([1, 2, 3, 4], 64), [3, 2, 5].map(per_second));
        let wanted = wanted(&table, &rates);
        let take = || {
            let mut taken = Taken::default();
            let answer = taken.take_all(&table, &wanted, NOW, || NOW);
            (answer.map_err(|stopped| stopped.at), taken.decisions().count())
        };
        assert_eq!((take(), take()), ((Ok(()), 3), (Ok(()), 3)));
        assert_eq!(left(&table, &wanted), [1, 0, 3]);
        assert_eq!(take(), (Err(1), 0));
        assert_eq!(left(&table, &wanted), [1, 0, 3]);
    }

    /// What another phase took before goes back, too; and without the look before.
    #[test]
    fn what_was_passed_before_goes_back_with_a_refusal() {
        let (table, rates) = (Table::new([1, 2, 3, 4], 64), [3, 5, 1].map(per_second));
        let wanted = wanted(&table, &rates);
        let mut taken = Taken::default();
        taken.take_all(&table, &wanted[..1], NOW, || NOW).unwrap();
        taken.take_all(&table, &wanted[1..], NOW, || NOW).unwrap();
        let mut taken = Taken::default();
        taken.take_all(&table, &wanted[..1], NOW, || NOW).unwrap();
        assert_eq!(left(&table, &wanted), [1, 4, 0]);
        let stopped = taken.take_each(&table, &wanted[1..], NOW).unwrap();
        assert_eq!((stopped.at, stopped.decision.answer), (1, Answer::Refused));
        assert_eq!(left(&table, &wanted), [1, 3, 0]);
        taken.give_back(&table, || NOW);
        assert_eq!(left(&table, &wanted), [2, 4, 0]);
    }

    #[test]
    fn a_key_without_a_place_passes_where_its_limit_says_so() {
        let (table, rates) = (Table::new([1, 2, 3, 4], 8), [1000; 9].map(per_second));
        let mut wanted = wanted(&table, &rates);
        let mut taken = Taken::default();
        taken.take_all(&table, &wanted[..8], NOW, || NOW).unwrap();
        let take = |wanted: &Wanted<'_>| {
            let answer = Taken::default().take_all(&table, &[*wanted], NOW, || NOW);
            answer.map_err(|stopped| stopped.decision.answer)
        };
        assert_eq!(take(&wanted[8]), Err(Answer::Full));
        wanted[8].passes_full = true;
        assert_eq!(take(&wanted[8]), Ok(()));
        let too_many = taken.take_all(&table, &wanted[..1], NOW, || NOW).unwrap_err();
        assert_eq!(too_many.decision.answer, Answer::Refused);
        assert_eq!(left(&table, &wanted[..1]), [1000], "and all went back");
    }
}
