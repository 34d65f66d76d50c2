//! A few threads for what takes milliseconds of a processor: hashes of passwords. What they can't
//! take up is refused at once, and what nobody waits for any more is not begun.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};

use crate::sync::{AtomicBool, AtomicU32, Ordering};

/// Threads for slow work; the kernel shares the cores out between them and the workers.
const THREADS: u32 = 2;
/// Jobs that wait: at 50 ms each the last one is begun after some 800 ms.
const WAITING_MAX: u32 = 32;
/// Those, and such as nobody waits for any more.
const QUEUED_MAX: usize = 8 * WAITING_MAX as usize;

type Job = Box<dyn FnOnce() + Send>;

/// Shared by all workers. Its threads begin with the first jobs.
#[derive(Debug)]
pub struct Offload {
    jobs: Sender<Queued>,
    taken: Receiver<Queued>,
    threads: AtomicU32,
    waiting: Arc<AtomicU32>,
}

struct Queued {
    place: Arc<Place>,
    job: Job,
}

/// One of the places of jobs that wait. It is left once: by the job that begins, or by the one
/// who waited for it.
#[derive(Debug)]
struct Place {
    is_left: AtomicBool,
    waiting: Arc<AtomicU32>,
}

/// Too many jobs wait, or no thread could be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Busy;

/// Somebody waits for a job. When that goes before the job is begun, the job never is, and its
/// place is free.
#[derive(Debug)]
#[must_use = "nobody waits for the job once this is gone"]
pub struct Waits(Arc<Place>);

impl Default for Offload {
    fn default() -> Offload {
        let (jobs, taken) = bounded(QUEUED_MAX);
        Offload { jobs, taken, threads: AtomicU32::new(0), waiting: Arc::default() }
    }
}

impl Offload {
    /// Has `job` run on a helper thread. It tells whom it concerns by itself.
    pub fn submit(&self, job: impl FnOnce() + Send + 'static) -> Result<Waits, Busy> {
        if cfg!(test) {
            job(); // a simulated world has one thread
            return Ok(Waits(self.take_place().ok_or(Busy)?));
        }
        self.queue(Box::new(job), |n| self.start(n))
    }

    /// `start` makes the thread of that number. Where it can't, the next job tries again.
    fn queue(&self, job: Job, start: impl FnOnce(u32) -> bool) -> Result<Waits, Busy> {
        let threads = self.threads.load(Ordering::Relaxed);
        if threads < THREADS {
            let next = (threads, threads + 1, Ordering::Relaxed, Ordering::Relaxed);
            let is_ours = self.threads.compare_exchange(next.0, next.1, next.2, next.3).is_ok();
            if is_ours && !start(threads) {
                self.threads.fetch_sub(1, Ordering::Relaxed);
            }
        }
        if self.threads.load(Ordering::Relaxed) == 0 {
            return Err(Busy);
        }
        let place = self.take_place().ok_or(Busy)?;
        self.put(Queued { place: place.clone(), job });
        Ok(Waits(place))
    }

    fn take_place(&self) -> Option<Arc<Place>> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Arc::new(Place { is_left: AtomicBool::new(false), waiting: self.waiting.clone() }))
    }

    /// The queue is full only of jobs that nobody waits for: those go, the others go to its end.
    fn put(&self, queued: Queued) {
        let mut kept = VecDeque::from([queued]);
        while let Some(queued) = kept.pop_front() {
            let Err(TrySendError::Full(queued)) = self.jobs.try_send(queued) else { continue };
            kept.push_front(queued);
            let old = self.taken.try_recv().ok();
            kept.extend(old.filter(|old| !old.place.is_left.load(Ordering::Relaxed)));
        }
    }

    fn start(&self, n: u32) -> bool {
        let jobs = self.taken.clone();
        let work = move || while jobs.recv().map(Queued::run).is_ok() {};
        std::thread::Builder::new().name(format!("helper-{n}")).spawn(work).is_ok()
    }
}

impl Queued {
    /// A job that panics ends nothing but itself.
    fn run(self) {
        if self.place.leave() {
            _ = catch_unwind(AssertUnwindSafe(self.job));
        }
    }
}

impl Place {
    fn leave(&self) -> bool {
        let is_first = !self.is_left.swap(true, Ordering::Relaxed);
        if is_first {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        is_first
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> Job {
        Box::new(|| {})
    }

    fn run_all(offload: &Offload) {
        offload.taken.try_iter().for_each(Queued::run);
    }

    #[test]
    fn what_nobody_waits_for_is_not_begun_and_holds_no_place() {
        let offload = Offload::default();
        let (told, heard) = std::sync::mpsc::channel();
        let submit = |n: u32| {
            let told = told.clone();
            offload.queue(Box::new(move || told.send(n).unwrap()), |_| true)
        };
        let mut all: Vec<_> = (0..WAITING_MAX).map(|n| Some(submit(n).unwrap())).collect();
        assert_eq!(submit(99).err(), Some(Busy));
        // All but every eighth leave.
        (0..WAITING_MAX).filter(|n| n % 8 != 3).for_each(|n| all[n as usize] = None);
        let last = submit(99).expect("their places are free");
        run_all(&offload);
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), [3, 11, 19, 27, 99]);
        drop((last, all));
        assert_eq!(offload.waiting.load(Ordering::Relaxed), 0, "each place is left once");
    }

    /// Nothing that is waited for is lost when many come and leave.
    #[test]
    fn those_who_come_and_leave_fill_no_queue() {
        let offload = Offload::default();
        let (told, heard) = std::sync::mpsc::channel();
        let mut waits = Vec::new();
        for n in 0..20_u32 {
            let told = told.clone();
            let job = Box::new(move || told.send(n).unwrap());
            waits.push(offload.queue(job, |_| true).unwrap());
            for _ in 0..100 {
                drop(offload.queue(nothing(), |_| true).unwrap());
            }
        }
        run_all(&offload);
        let mut found: Vec<u32> = heard.try_iter().collect();
        found.sort_unstable();
        assert_eq!(found, (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn a_thread_that_could_not_be_made_is_tried_again() {
        let offload = Offload::default();
        assert_eq!(offload.queue(nothing(), |_| false).err(), Some(Busy));
        let first = offload.queue(nothing(), |n| n == 0).expect("there is one now");
        let second = offload.queue(nothing(), |_| false).expect("one is enough");
        let third = offload.queue(nothing(), |n| n == 1).unwrap();
        let fourth = offload.queue(nothing(), |_| panic!("there are enough")).unwrap();
        drop((first, second, third, fourth));
    }

    #[test]
    fn a_job_that_panics_ends_no_thread() {
        let offload = Offload::default();
        let (told, heard) = std::sync::mpsc::channel();
        let fails = offload.queue(Box::new(|| panic!("a job")), |n| offload.start(n)).unwrap();
        let works = offload.queue(Box::new(move || told.send(1).unwrap()), |_| false).unwrap();
        assert_eq!(heard.recv(), Ok(1));
        drop((fails, works));
    }
}
