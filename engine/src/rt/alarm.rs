//! Wakes one sleeping thread that is no worker. Ringing costs a fence while it is awake.

use std::sync::OnceLock;
use std::time::Duration;

use crate::sync::{self, AtomicBool, Ordering, Thread, fence};

#[derive(Debug, Default)]
pub struct Alarm {
    asleep: AtomicBool,
    sleeper: OnceLock<Thread>,
}

impl Alarm {
    /// After something was put where the sleeper looks.
    #[inline]
    pub fn ring(&self) {
        // Between the put and the look at `asleep`; the sleeper has one the other way round, so
        // that one of the two sees the other.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel) {
            self.sleeper.get().inspect(|sleeper| sleeper.unpark());
        }
    }

    /// Sleeps on the calling thread until a ring, unless `is_due`, and no longer than `most`.
    /// Only one thread ever may.
    pub fn sleep(&self, most: Duration, is_due: impl Fn() -> bool) {
        #[allow(clippy::disallowed_methods)] // this is the door
        self.sleeper.get_or_init(sync::current);
        // (Swaps, since a model knows how they stand to a ring's, and a sleep is dear anyway.)
        self.asleep.swap(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !is_due() {
            #[allow(clippy::disallowed_methods)] // this is the door
            sync::park_timeout(most);
        }
        self.asleep.swap(false, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(busbar_loom)))]
mod tests {
    use super::*;
    use crate::sync::AtomicU32;

    /// Ping-pong over two alarms: a lost ring would take a minute.
    #[test]
    fn no_ring_is_lost() {
        let (ping, pong) = (Alarm::default(), Alarm::default());
        let (asked, answered) = (AtomicU32::new(0), AtomicU32::new(0));
        let minute = Duration::from_secs(60);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 1..=20_000 {
                    while asked.load(Ordering::Acquire) < n {
                        ping.sleep(minute, || asked.load(Ordering::Acquire) >= n);
                    }
                    answered.store(n, Ordering::Release);
                    pong.ring();
                }
            });
            for n in 1..=20_000 {
                asked.store(n, Ordering::Release);
                ping.ring();
                while answered.load(Ordering::Acquire) < n {
                    pong.sleep(minute, || answered.load(Ordering::Acquire) >= n);
                }
            }
        });
    }
}

#[cfg(all(test, busbar_loom))]
mod loom_tests {
    use super::*;
    use crate::model::spawn;
    use crate::sync::AtomicU32;

    /// The sleep of the model has no end but a ring: one that got lost would hang it.
    #[test]
    fn a_sleeper_is_woken_for_all_that_was_put() {
        loom::model(|| {
            let alarm = std::sync::Arc::new(Alarm::default());
            let put = std::sync::Arc::new(AtomicU32::new(0));
            let (bell, puts) = (alarm.clone(), put.clone());
            let putting = spawn(move || {
                for n in 1..=2 {
                    puts.store(n, Ordering::Release);
                    bell.ring();
                }
            });
            for n in 1..=2 {
                while put.load(Ordering::Acquire) < n {
                    alarm.sleep(Duration::MAX, || put.load(Ordering::Acquire) >= n);
                }
            }
            putting.join().unwrap();
        });
    }
}
