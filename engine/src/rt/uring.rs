//! monoio: one runtime per pinned thread, io_uring where the kernel grants it, else epoll.

#![cfg_attr(test, allow(dead_code))]

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::snapshot::Driver;
use crate::time::Mono;

/// Entries of a worker's submission ring.
const RING_ENTRIES: u32 = 4096;

thread_local! {
    static NOW: Cell<Mono> = const { Cell::new(Mono(0)) };
}

/// Reads the monotonic clock (about 26 ns) and remembers it for [`cached_now`].
#[inline]
pub fn now() -> Mono {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes into a local timespec; CLOCK_MONOTONIC exists on every Linux.
    #[allow(unsafe_code)]
    unsafe {
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t)
    };
    let now = Mono(t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64);
    NOW.with(|n| n.set(now));
    now
}

/// The clock as this thread last read it.
#[inline]
pub fn cached_now() -> Mono {
    NOW.with(Cell::get)
}

/// Seconds since 1970, for `Date`.
pub fn wall_seconds() -> u64 {
    #[allow(clippy::disallowed_methods)] // this is the door
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// Microseconds since 1970, for log lines.
pub fn wall_us() -> u64 {
    #[allow(clippy::disallowed_methods)] // this is the door
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64)
}

/// Sixteen bytes from the kernel, to seed a worker's generator.
pub fn entropy() -> [u8; 16] {
    let mut seed = [0u8; 16];
    // SAFETY: writes at most 16 bytes into a local array.
    #[allow(unsafe_code)]
    let n = unsafe { libc::getrandom(seed.as_mut_ptr().cast(), seed.len(), 0) };
    if n != 16 {
        // Only before the kernel's pool is ready, at boot: the clock must do.
        seed[..8].copy_from_slice(&now().0.to_le_bytes());
    }
    seed
}

/// Starts a task on this worker. A panic in it ends that task alone and calls `on_panic`.
pub fn spawn<F>(task: F, on_panic: impl FnOnce() + 'static)
where
    F: Future<Output = ()> + 'static,
{
    #[allow(clippy::disallowed_methods)] // this is the door
    monoio::spawn(Guarded { task, on_panic: Some(on_panic) });
}

/// A task whose panics end it alone. By hand, since an async block would store the task twice,
/// and an idle connection is little else.
struct Guarded<F, P> {
    task: F,
    on_panic: Option<P>,
}

impl<F: Future<Output = ()>, P: FnOnce()> Future for Guarded<F, P> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: `task` is never moved out of a pinned `Guarded`, which has no Drop of its own;
        // `on_panic` is not pinned by anyone.
        #[allow(unsafe_code)]
        let (task, on_panic) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.task), &mut this.on_panic)
        };
        match catch_unwind(AssertUnwindSafe(|| task.poll(cx))) {
            Ok(polled) => polled,
            Err(_) => {
                if let Some(on_panic) = on_panic.take() {
                    on_panic();
                }
                Poll::Ready(())
            }
        }
    }
}

pub async fn sleep_until(at: Mono) {
    let wait = at.since(now());
    if !wait.is_zero() {
        monoio::time::sleep(wait).await;
    }
}

/// Sleeps by the runtime's own timer; for rare, short pauses.
pub async fn pause(wait: Duration) {
    monoio::time::sleep(wait).await;
}

/// What a worker's runtime turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ran {
    /// io_uring with SINGLE_ISSUER and DEFER_TASKRUN (kernel 6.1).
    UringDefer,
    /// io_uring with COOP_TASKRUN (kernel 5.19).
    UringCoop,
    UringPlain,
    Epoll,
}

impl Ran {
    pub fn name(self) -> &'static str {
        match self {
            Ran::UringDefer => "io_uring (defer_taskrun)",
            Ran::UringCoop => "io_uring (coop_taskrun)",
            Ran::UringPlain => "io_uring",
            Ran::Epoll => "epoll",
        }
    }
}

fn uring(flags: fn(&mut io_uring::Builder)) -> io::Result<UringRuntime> {
    let mut ring = io_uring::IoUring::builder();
    flags(&mut ring);
    monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
        .uring_builder(ring)
        .with_entries(RING_ENTRIES)
        .enable_timer()
        .build()
}

type UringRuntime = monoio::Runtime<monoio::time::TimeDriver<monoio::IoUringDriver>>;

/// Runs one worker on this thread until its future ends. `make` is called inside the runtime,
/// with the driver that was found.
pub fn run<F: Future<Output = ()>>(driver: Driver, make: impl FnOnce(Ran) -> F) -> io::Result<()> {
    type Rung = (Ran, fn(&mut io_uring::Builder));
    let ladder: [Rung; 3] = [
        (Ran::UringDefer, |b| {
            b.setup_single_issuer().setup_defer_taskrun();
        }),
        (Ran::UringCoop, |b| {
            b.setup_coop_taskrun();
        }),
        (Ran::UringPlain, |_| {}),
    ];
    let mut refused = io::Error::from(io::ErrorKind::Unsupported);
    if driver != Driver::Epoll {
        for (ran, flags) in ladder {
            match uring(flags) {
                Ok(mut runtime) => {
                    return runtime.block_on(worker(ran, make));
                }
                Err(e) => refused = e,
            }
        }
        if driver == Driver::Uring {
            let text = format!("io_uring is refused here ({refused}); say driver = \"auto\"");
            return Err(io::Error::new(refused.kind(), text));
        }
    }
    let mut runtime =
        monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().enable_timer().build()?;
    runtime.block_on(worker(Ran::Epoll, make))
}

async fn worker<F: Future<Output = ()>>(ran: Ran, make: impl FnOnce(Ran) -> F) -> io::Result<()> {
    let _served = super::turn::start()?;
    make(ran).await;
    Ok(())
}

#[cfg(test)]
mod model_tests {
    use std::panic::resume_unwind;
    use std::rc::Rc;
    use std::task::Waker;

    use super::*;
    use crate::rng::Rng;

    const TASKS: u32 = if cfg!(miri) { 30 } else { 2_000 };

    /// A task that knows where it stands, for so many turns. Then it ends, or panics.
    struct Task {
        turns: u32,
        panics: bool,
        at: Option<*const Task>,
        dropped: Rc<Cell<u32>>,
        _pinned: std::marker::PhantomPinned,
    }

    impl Future for Task {
        type Output = ();

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            // SAFETY: nothing is moved out.
            #[allow(unsafe_code)]
            let task = unsafe { self.get_unchecked_mut() };
            let here = &raw const *task;
            assert_eq!(*task.at.get_or_insert(here), here, "it was moved");
            if task.turns == 0 {
                // (Without a word on standard error.)
                return if task.panics { resume_unwind(Box::new(())) } else { Poll::Ready(()) };
            }
            task.turns -= 1;
            Poll::Pending
        }
    }

    impl Drop for Task {
        fn drop(&mut self) {
            self.dropped.set(self.dropped.get() + 1);
        }
    }

    /// A guarded task is the task itself, but for its panic, which is told once.
    #[test]
    fn a_guarded_task_ends_once_and_tells_of_a_panic_once() {
        let mut rng = Rng::from_u64(13);
        let cx = &mut Context::from_waker(Waker::noop());
        for _ in 0..TASKS {
            let (turns, panics) = (rng.below(4), rng.one_in(3));
            let (dropped, told) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
            let _pinned = std::marker::PhantomPinned;
            let task = Task { turns, panics, at: None, dropped: dropped.clone(), _pinned };
            let tells = told.clone();
            let on_panic = Some(move || tells.set(tells.get() + 1));
            let mut guarded = Box::pin(Guarded { task, on_panic });
            let gives_up_after = rng.below(6);
            let polls = (0..gives_up_after).map(|_| guarded.as_mut().poll(cx));
            let ended = polls.take_while(Poll::is_pending).count() < gives_up_after as usize;
            assert_eq!(ended, turns < gives_up_after);
            assert_eq!((dropped.get(), told.get()), (0, u32::from(ended && panics)));
            drop(guarded);
            assert_eq!((dropped.get(), told.get()), (1, u32::from(ended && panics)));
        }
    }

    #[test]
    fn the_clock_never_goes_back_and_is_remembered() {
        let mut last = now();
        for _ in 0..100 {
            assert_eq!(cached_now(), last);
            let next = now();
            assert!(next >= last);
            last = next;
        }
        assert_ne!(entropy(), entropy());
    }
}
