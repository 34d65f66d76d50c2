//! A seeded scheduler with virtual time. Everything of one world lives on one thread.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::rng::Rng;
use crate::sim::fault::{Fault, Faults};
use crate::sim::net::Net;
use crate::sim::seen::Seen;
use crate::time::Mono;

/// A run that takes more steps than this hangs.
const STEPS_MAX: u64 = 3_000_000;
/// Longest time that the machine stands still.
const STALL_US_MAX: u32 = 40_000;

type Task = Pin<Box<dyn Future<Output = ()>>>;

#[derive(Default)]
struct Tasks {
    tasks: Vec<Option<Task>>,
    on_panic: Vec<Option<Box<dyn FnOnce()>>>,
    ready: Vec<usize>,
    queued: Vec<bool>,
    live: usize,
}

/// One simulated world.
pub struct World {
    pub now: Mono,
    pub rng: Rng,
    pub net: Net,
    pub faults: Faults,
    pub seen: Seen,
    timers: BinaryHeap<Reverse<(u64, u64, usize)>>,
    timer_wakers: Vec<Option<Waker>>,
    timer_serial: u64,
    pub trace: Trace,
}

/// What happened, as a running hash and, when asked for, as text.
#[derive(Default)]
pub struct Trace {
    pub hash: u64,
    pub loud: bool,
}

impl Trace {
    pub fn note(&mut self, now: Mono, what: std::fmt::Arguments<'_>) {
        let text = format!("{:>12} {what}", now.0 / 1000);
        for byte in text.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.loud {
            eprintln!("{text}");
        }
    }
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
    static TASKS: RefCell<Tasks> = RefCell::default();
}

/// Calls `f` with the world of this thread.
pub fn world<T>(f: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with(|w| f(w.borrow_mut().as_mut().expect("inside a simulated world")))
}

/// Notes a step in the trace.
macro_rules! note {
    ($($text:tt)*) => {
        $crate::sim::exec::world(|w| { let now = w.now; w.trace.note(now, format_args!($($text)*)) })
    };
}
pub(crate) use note;

struct Wakes(usize);

impl Wake for Wakes {
    fn wake(self: Arc<Wakes>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Wakes>) {
        TASKS.with(|t| {
            let mut t = t.borrow_mut();
            let id = self.0;
            if t.queued.get(id) == Some(&false) {
                t.queued[id] = true;
                t.ready.push(id);
            }
        });
    }
}

pub fn spawn(task: impl Future<Output = ()> + 'static, on_panic: impl FnOnce() + 'static) {
    TASKS.with(|t| {
        let mut t = t.borrow_mut();
        let id = t.tasks.len();
        t.tasks.push(Some(Box::pin(task)));
        t.on_panic.push(Some(Box::new(on_panic)));
        t.queued.push(true);
        t.ready.push(id);
        t.live += 1;
    });
}

/// Tasks that have not ended.
pub fn live_tasks() -> usize {
    TASKS.with(|t| t.borrow().live)
}

pub async fn sleep_until(at: Mono) {
    let mut registered = false;
    poll_fn(|cx| {
        world(|w| {
            if w.now >= at {
                return Poll::Ready(());
            }
            if !std::mem::replace(&mut registered, true) {
                w.wake_at(at, cx.waker().clone());
            }
            Poll::Pending
        })
    })
    .await
}

impl World {
    pub fn wake_at(&mut self, at: Mono, waker: Waker) {
        let slot = self.timer_wakers.len();
        self.timer_wakers.push(Some(waker));
        self.timer_serial += 1;
        self.timers.push(Reverse((at.0, self.timer_serial, slot)));
    }
}

/// Runs a world until every task has ended or nothing can happen any more. Returns the world and
/// how many tasks are stuck.
pub fn run(seed: u64, faults: Faults, loud: bool, main: impl FnOnce()) -> (World, usize) {
    run_watched(seed, faults, loud, main, || {})
}

/// The same, with a look at everything after each step.
pub fn run_watched(
    seed: u64,
    faults: Faults,
    loud: bool,
    main: impl FnOnce(),
    mut after_step: impl FnMut(),
) -> (World, usize) {
    let world = World {
        now: Mono(1_000_000_000),
        rng: Rng::from_u64(seed),
        net: Net::default(),
        faults,
        seen: Seen::default(),
        timers: BinaryHeap::new(),
        timer_wakers: Vec::new(),
        timer_serial: 0,
        trace: Trace { hash: 0xcbf2_9ce4_8422_2325, loud },
    };
    WORLD.with(|w| *w.borrow_mut() = Some(world));
    TASKS.with(|t| *t.borrow_mut() = Tasks::default());
    main();
    let mut steps = 0;
    while step() {
        after_step();
        steps += 1;
        assert!(steps < STEPS_MAX, "seed {seed}: no end after {steps} steps");
    }
    let stuck = live_tasks();
    let tasks = TASKS.with(|t| std::mem::take(&mut *t.borrow_mut()));
    drop(tasks); // their streams close in the world, which must still be there
    let world = WORLD.with(|w| w.borrow_mut().take()).expect("set above");
    (world, stuck)
}

/// Polls one ready task, or lets time pass. False when nothing is left to happen.
fn step() -> bool {
    let drawn = TASKS.with(|t| {
        let mut t = t.borrow_mut();
        if t.ready.is_empty() {
            return None;
        }
        let n = t.ready.len() as u32;
        let at = world(|w| w.rng.below(n)) as usize;
        let id = t.ready.swap_remove(at);
        t.queued[id] = false;
        Some((id, t.tasks[id].take()))
    });
    let Some((id, task)) = drawn else { return let_time_pass() };
    let Some(mut task) = task else { return true };
    let waker = Waker::from(Arc::new(Wakes(id)));
    let mut cx = Context::from_waker(&waker);
    match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(&mut cx))) {
        Ok(Poll::Pending) => TASKS.with(|t| t.borrow_mut().tasks[id] = Some(task)),
        ended => {
            drop(task);
            let on_panic = TASKS.with(|t| {
                let mut t = t.borrow_mut();
                t.live -= 1;
                t.on_panic[id].take()
            });
            if let (Err(_), Some(on_panic)) = (ended, on_panic) {
                on_panic();
            }
        }
    }
    true
}

fn let_time_pass() -> bool {
    let due = world(|w| {
        if live_tasks() == 0 {
            return Vec::new();
        }
        let Some(Reverse((at, _, slot))) = w.timers.pop() else { return Vec::new() };
        w.now = w.now.max(Mono(at));
        let mut due = vec![w.timer_wakers[slot].take()];
        if w.strikes(Fault::Stall) {
            let stall = w.rng.below(STALL_US_MAX);
            w.now = w.now.after(Duration::from_micros(u64::from(stall)));
            while w.timers.peek().is_some_and(|Reverse((at, ..))| *at <= w.now.0) {
                let Reverse((.., slot)) = w.timers.pop().expect("seen above");
                due.push(w.timer_wakers[slot].take());
            }
        }
        due
    });
    let something = !due.is_empty();
    due.into_iter().flatten().for_each(Waker::wake);
    something
}

/// The world's time, or `otherwise` on a thread without a world.
pub fn now_or(otherwise: Mono) -> Mono {
    WORLD.with(|w| w.borrow().as_ref().map_or(otherwise, |w| w.now))
}
