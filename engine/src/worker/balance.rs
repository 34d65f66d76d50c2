//! Which worker serves a connection that one of them has accepted. Decides only; the way there is
//! `handover`.
//!
//! `SO_REUSEPORT` spreads connections by a hash. That is even for many of them, and for few it is
//! not: of 16 on four workers the busiest has half as many again as its share. So a worker that
//! has few looks at the others before it keeps another one:
//!
//! - With none, or with [`FEW`] or more, it keeps what it accepts, without a look.
//! - Else it gives it to the one with the fewest of the eight workers behind itself, if it has more than that one by one, and by
//!   one more for each eight: each connection of a small number counts, and where there are more,
//!   small differences are not worth the way.
//! - Among equals it is the next one behind itself, so that those who give at the same moment give
//!   to different ones.
//!
//! Connections on their way count for the worker that they go to, as if they were there: or a
//! burst would all go to the same one. A worker has at most [`COMING_MAX`] of them; one that hangs
//! draws no more.

use crossbeam::utils::CachePadded;

use crate::sync::{AtomicU32, Ordering};

/// From so many connections on a worker keeps what it accepts.
const FEW: u32 = 32;
/// A worker's connections for which a difference of one more is let be.
const PER_DIFFERENCE: u32 = 8;
/// Others that are looked at: a line of each one's memory has to come here. The next ones behind a
/// worker are others for each worker, so many workers have them all looked at.
const LOOKS_MAX: usize = 8;
/// Connections on their way to one worker that it has not taken yet.
const COMING_MAX: u32 = 8;
/// In `coming`: this worker takes no more.
const CLOSED: u32 = 1 << 31;
/// The load of a worker that takes none.
const NONE_TAKEN: u32 = u32::MAX;

/// The worker that should have a connection which `own` has accepted. `None`: `own` keeps it.
fn place(own: usize, workers: usize, load: impl Fn(usize) -> u32) -> Option<usize> {
    let mine = load(own);
    // Fast path: others' memory is not touched.
    if mine == 0 || mine >= FEW {
        return None;
    }
    let (mut found, mut least) = (own, mine);
    for worker in (own + 1..workers).chain(0..own).take(LOOKS_MAX) {
        let load = load(worker);
        if load < least {
            (found, least) = (worker, load);
        }
    }
    let is_worth_it = mine > least + least / PER_DIFFERENCE;
    (found != own && is_worth_it).then_some(found)
}

/// What the others may know of one worker.
#[derive(Debug, Default)]
struct Load {
    /// Connections that it has. Only it writes this.
    open: AtomicU32,
    /// Connections on their way to it, and whether it takes none.
    coming: AtomicU32,
}

/// By worker. Read by others while they accept and have few, written by others at a hand-over.
#[derive(Debug)]
pub struct Loads(Box<[CachePadded<Load>]>);

impl Loads {
    pub fn new(workers: usize) -> Loads {
        Loads((0..workers).map(|_| CachePadded::default()).collect())
    }

    /// `worker` has so many connections now; on its own thread.
    pub fn set_open(&self, worker: usize, open: u32) {
        self.0[worker].open.store(open, Ordering::Relaxed);
    }

    fn of(&self, worker: usize) -> u32 {
        let load = &self.0[worker];
        match load.coming.load(Ordering::Relaxed) {
            COMING_MAX.. => NONE_TAKEN,
            coming => load.open.load(Ordering::Relaxed) + coming,
        }
    }

    /// Where what `own` has accepted should go. That worker waits for it from now on: it must be
    /// sent. `None`: it stays.
    pub fn reserve(&self, own: usize) -> Option<usize> {
        let to = place(own, self.0.len(), |worker| self.of(worker))?;
        let one_more = |coming| (coming < COMING_MAX).then_some(coming + 1);
        let coming = &self.0[to].coming;
        coming.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more).is_ok().then_some(to)
    }

    /// `worker` has taken one that was on its way.
    pub fn arrived(&self, worker: usize) {
        self.0[worker].coming.fetch_sub(1, Ordering::AcqRel);
    }

    /// `worker` takes no more than those that are on their way.
    pub fn close(&self, worker: usize) {
        self.0[worker].coming.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// On their way to `worker`.
    pub fn coming(&self, worker: usize) -> u32 {
        self.0[worker].coming.load(Ordering::Acquire) & !CLOSED
    }
}

#[cfg(all(test, not(busbar_loom)))]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn check(own: usize, loads: &[u32], expect: Option<usize>) {
        assert_eq!(place(own, loads.len(), |w| loads[w]), expect, "{own} of {loads:?}");
    }

    #[test]
    fn a_worker_gives_to_the_one_with_the_fewest() {
        check(0, &[0, 0], None);
        check(0, &[1, 0], Some(1));
        check(0, &[1, 1], None);
        check(0, &[3], None);
        check(2, &[4, 1, 5, 2], Some(1));
        // Among equals the next one behind itself.
        check(1, &[2, 3, 2, 2], Some(2));
        check(3, &[2, 2, 2, 3], Some(0));
        // Where there are more, small differences are let be.
        check(0, &[8, 7], Some(1));
        check(0, &[9, 8], None);
        check(0, &[10, 8], Some(1));
        check(0, &[18, 16], None);
        check(0, &[19, 16], Some(1));
        // And from some number on all.
        check(0, &[31, 0], Some(1));
        check(0, &[32, 0], None);
        check(1, &[NONE_TAKEN, 5, NONE_TAKEN], None);
    }

    #[test]
    fn what_is_on_its_way_counts_and_is_bounded() {
        let loads = Loads::new(3);
        loads.set_open(0, 3);
        let to: Vec<_> = (0..7).map(|_| loads.reserve(0)).collect();
        let expect = [Some(1), Some(2), Some(1), Some(2), Some(1), Some(2), None];
        assert_eq!(to, expect, "a burst does not go to one");
        // The first takes one; the second hangs, and draws no more than it may.
        loads.set_open(1, 1);
        loads.arrived(1);
        assert_eq!((loads.of(1), loads.coming(1)), (3, 2));
        loads.set_open(0, 31);
        loads.set_open(1, 31);
        let to = std::iter::from_fn(|| loads.reserve(0)).count();
        assert_eq!((to, loads.coming(2)), (5, COMING_MAX));
        assert_eq!(loads.of(2), NONE_TAKEN);
    }

    #[test]
    fn who_is_closed_waits_only_for_what_is_on_its_way() {
        let loads = Loads::new(2);
        loads.set_open(0, 2);
        assert_eq!(loads.reserve(0), Some(1));
        loads.close(1);
        assert_eq!((loads.reserve(0), loads.coming(1)), (None, 1));
        loads.arrived(1);
        assert_eq!(loads.coming(1), 0);
        loads.set_open(1, 2);
        assert_eq!(loads.reserve(1), None, "nor does the first get one that has as many");
    }

    /// Connections by worker after `count` that a hash has spread, one after the other.
    fn spread(rng: &mut Rng, workers: usize, count: u32, balanced: bool) -> Vec<u32> {
        let mut open = vec![0; workers];
        for _ in 0..count {
            let own = rng.below(workers as u32) as usize;
            let to = if balanced { place(own, workers, |w| open[w]) } else { None };
            open[to.unwrap_or(own)] += 1;
        }
        open
    }

    /// The busiest worker's share over the even one: in the mean, and at worst.
    fn busiest(workers: usize, count: u32, balanced: bool) -> (f64, f64) {
        const DRAWS: u32 = 2_000;
        let mut rng = Rng::from_u64(u64::from(count));
        let (mut sum, mut worst) = (0.0, 0.0f64);
        for _ in 0..DRAWS {
            let most = spread(&mut rng, workers, count, balanced).into_iter().max().unwrap_or(0);
            let share = f64::from(most) * workers as f64 / f64::from(count);
            (sum, worst) = (sum + share, worst.max(share));
        }
        (sum / f64::from(DRAWS), worst)
    }

    #[test]
    fn the_busiest_worker_has_hardly_more_than_its_share() {
        // Workers, connections; without the rule, and with it, in the mean and at worst.
        let cases = [
            (4, 16, 1.5, 1.0, 1.0),
            (8, 32, 1.7, 1.0, 1.0),
            (8, 64, 1.4, 1.13, 1.13),
            (8, 512, 1.15, 1.15, 1.4),
        ];
        for (workers, count, by_hash, mean_max, worst_max) in cases {
            let (before, before_worst) = busiest(workers, count, false);
            let (mean, worst) = busiest(workers, count, true);
            eprintln!(
                "{count} on {workers}: {before:.2} by the hash ({before_worst:.2} at worst), \
                 {mean:.2} ({worst:.2})"
            );
            assert!(before > by_hash, "{count} on {workers}: {before} by the hash alone");
            assert!(mean <= mean_max, "{count} on {workers}: {mean}");
            assert!(worst <= worst_max, "{count} on {workers}: {worst} at worst");
        }
    }
}

#[cfg(all(test, busbar_loom))]
mod loom_tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::spawn;
    use crate::sync::spin_loop;
    use crate::worker::post::post;

    /// What was reserved before the close is waited for; what comes after it is kept.
    #[test]
    fn who_ends_has_taken_all_that_was_sent_to_it() {
        loom::model(|| {
            let loads = Arc::new(Loads::new(2));
            loads.set_open(0, 1);
            let (post, slot) = post::<u32>().expect("a model");
            let accepts = loads.clone();
            let accepting = spawn(move || {
                let reserved = accepts.reserve(0);
                reserved.iter().for_each(|_| post.send(7));
                u32::from(reserved.is_some())
            });
            let inbox = slot.open().expect("a model");
            let mut taken = 0;
            loads.close(1);
            while loads.coming(1) > 0 {
                inbox.drain(|_| {
                    taken += 1;
                    loads.arrived(1);
                });
                spin_loop();
            }
            assert_eq!(accepting.join().unwrap(), taken);
            inbox.drain(|_| panic!("nothing comes behind the end"));
        });
    }
}
