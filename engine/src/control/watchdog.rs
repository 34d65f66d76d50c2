//! Workers that stop answering. A core: `now` in, pings and lines out.
//!
//! ```text
//!  answered ── each second, pinged ──▶ waits ── a second without ──▶ hangs: said once
//!      ▲                                 │                             │
//!      └──────────── pong ◀──────────────┴───────── pong: said ◀───────┘
//! ```
//!
//! A ping rings the worker's doorbell: an idle worker wakes once a second for it, a busy one
//! answers between two turns. A worker that has not answered is not pinged again, so that its
//! mailbox doesn't fill.

use std::time::Duration;

use crate::time::Mono;

/// Between two pings, and how long an answer may take.
const EVERY: Duration = Duration::from_secs(1);
/// Control that is later than this for its own tick was stopped or starved, and workers with it:
/// it can't blame them.
const LATE_MAX: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Answered,
    Waits {
        since: Mono,
    },
    Hangs {
        since: Mono,
    },
    /// Its end was told; nothing more is expected of it.
    Ended,
}

/// All workers as the control thread sees them.
#[derive(Debug)]
pub struct Watchdog {
    workers: Vec<State>,
    next: Mono,
    hangs: u64,
}

/// What is to be done at a tick.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tick {
    /// Workers to send a ping to.
    pub pings: Vec<usize>,
    pub lines: Vec<String>,
}

impl Watchdog {
    pub fn new(workers: usize, now: Mono) -> Watchdog {
        Watchdog { workers: vec![State::Answered; workers], next: now.after(EVERY), hangs: 0 }
    }

    /// When the next tick is due.
    pub fn next_at(&self) -> Mono {
        self.next
    }

    /// Times that a worker was found hanging.
    pub fn hangs(&self) -> u64 {
        self.hangs
    }

    /// The tick that is due; nothing before its time. All that workers have said must have been
    /// heard before.
    pub fn tick(&mut self, now: Mono) -> Tick {
        let mut tick = Tick::default();
        if now < self.next {
            return tick;
        }
        let is_late = now.since(self.next) > LATE_MAX;
        self.next = now.after(EVERY);
        for (worker, state) in self.workers.iter_mut().enumerate() {
            match *state {
                State::Answered => {
                    *state = State::Waits { since: now };
                    tick.pings.push(worker);
                }
                State::Waits { .. } if is_late => *state = State::Waits { since: now },
                State::Waits { since } if now.since(since) >= EVERY => {
                    *state = State::Hangs { since };
                    self.hangs += 1;
                    let seconds = now.since(since).as_secs();
                    let line =
                        format!("worker {worker} has not answered for {seconds} s: it hangs");
                    tick.lines.push(line);
                }
                State::Waits { .. } | State::Hangs { .. } | State::Ended => {}
            }
        }
        tick
    }

    /// A pong has come. Some: the line that takes the complaint back.
    pub fn answered(&mut self, worker: usize, now: Mono) -> Option<String> {
        let state = self.workers.get_mut(worker)?;
        match std::mem::replace(state, State::Answered) {
            State::Hangs { since } => {
                let seconds = now.since(since).as_secs();
                Some(format!("worker {worker} answers again after {seconds} s"))
            }
            State::Ended => {
                *state = State::Ended;
                None
            }
            State::Answered | State::Waits { .. } => None,
        }
    }

    /// The worker has ended: it is not expected to answer.
    pub fn ended(&mut self, worker: usize) {
        if let Some(state) = self.workers.get_mut(worker) {
            *state = State::Ended;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono(1_000_000_000 + ms * 1_000_000)
    }

    fn pings(pings: &[usize]) -> Tick {
        Tick { pings: pings.to_vec(), lines: Vec::new() }
    }

    fn says(line: &str) -> Tick {
        Tick { pings: Vec::new(), lines: vec![line.to_owned()] }
    }

    #[test]
    fn a_worker_that_answers_is_pinged_each_second_and_not_spoken_of() {
        let mut dog = Watchdog::new(2, at(0));
        for second in 1..100 {
            assert_eq!(dog.tick(at(second * 1000 - 1)), Tick::default(), "not before its time");
            assert_eq!(dog.next_at(), at(second * 1000));
            assert_eq!(dog.tick(at(second * 1000)), pings(&[0, 1]));
            assert_eq!(dog.answered(0, at(second * 1000 + 1)), None);
            assert_eq!(dog.answered(1, at(second * 1000 + 999)), None);
        }
        assert_eq!(dog.hangs(), 0);
    }

    #[test]
    fn a_worker_that_does_not_is_named_once_and_taken_back_once() {
        let mut dog = Watchdog::new(2, at(0));
        assert_eq!(dog.tick(at(1000)), pings(&[0, 1]));
        dog.answered(0, at(1001));
        let hangs = "worker 1 has not answered for 1 s: it hangs";
        assert_eq!(dog.tick(at(2000)), Tick { pings: vec![0], ..says(hangs) });
        for second in 3..6 {
            dog.answered(0, at(second * 1000 - 1));
            assert_eq!(dog.tick(at(second * 1000)), pings(&[0]), "its mailbox doesn't fill");
        }
        let again = Some("worker 1 answers again after 5 s".to_owned());
        assert_eq!((dog.answered(1, at(6100)), dog.answered(1, at(6101))), (again, None));
        dog.answered(0, at(6100));
        assert_eq!((dog.tick(at(6200)), dog.hangs()), (pings(&[0, 1]), 1));
        dog.answered(0, at(6300));
        assert_eq!(dog.tick(at(7200)), Tick { pings: vec![0], ..says(hangs) });
        assert_eq!(dog.hangs(), 2);
    }

    /// A stopped process or machine: the clock went on without anybody.
    #[test]
    fn nobody_is_blamed_when_control_itself_was_late() {
        let mut dog = Watchdog::new(1, at(0));
        assert_eq!(dog.tick(at(1000)), pings(&[0]));
        assert_eq!(dog.tick(at(9000)), Tick::default());
        assert_eq!(dog.tick(at(10_000)), says("worker 0 has not answered for 1 s: it hangs"));
    }

    #[test]
    fn a_worker_that_has_ended_owes_nothing() {
        let mut dog = Watchdog::new(2, at(0));
        dog.tick(at(1000));
        dog.ended(0);
        dog.answered(1, at(1500));
        assert_eq!(dog.answered(0, at(1600)), None, "a late word of one that is gone");
        assert_eq!(dog.tick(at(2000)), pings(&[1]));
        assert_eq!(dog.hangs(), 0);
    }
}
