//! A turn for the others: a task that has worked long lets the worker's other tasks run and the
//! kernel's news be heard, then goes on.
//!
//! A task that wakes itself would go to the front of monoio's queue and starve them, so one task
//! of the worker waits for a byte that it sends itself: that needs a way through the kernel, and
//! all that came before it is heard first. Then it wakes those who gave their turn away.

#![cfg_attr(test, allow(dead_code))]

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::task::{Poll, Waker};
use std::time::Duration;

use monoio::net::UnixStream as Ready;

#[derive(Default)]
struct Turns {
    waiting: Vec<Waker>,
    turner: Option<Waker>,
}

thread_local! {
    static TURNS: RefCell<Turns> = RefCell::default();
}

/// Lets the worker's other tasks and the kernel's news have their turn.
pub async fn turn() {
    let mut waited = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        let turner = TURNS.with_borrow_mut(|turns| {
            turns.waiting.push(cx.waker().clone());
            turns.turner.take()
        });
        if let Some(turner) = turner {
            turner.wake();
        }
        Poll::Pending
    })
    .await;
}

/// Serves turns until it is dropped, inside the same runtime.
pub(super) struct Served;

impl Drop for Served {
    fn drop(&mut self) {
        // The task that serves them ends with its last waker.
        drop(TURNS.take());
    }
}

/// Begins to serve turns on this thread, inside its runtime.
pub(super) fn start() -> io::Result<Served> {
    let (bell, door) = UnixStream::pair()?;
    bell.set_nonblocking(true)?;
    door.set_nonblocking(true)?;
    let heard = door.try_clone()?;
    let door = Ready::from_std(door)?;
    #[allow(clippy::disallowed_methods)] // this is the door
    monoio::spawn(async move {
        loop {
            asked().await;
            if pass(&door, &bell, &heard).await.is_err() {
                monoio::time::sleep(Duration::from_millis(1)).await;
            }
            let mut waiting = TURNS.with_borrow_mut(|turns| std::mem::take(&mut turns.waiting));
            waiting.drain(..).for_each(Waker::wake);
            // The room is kept for the next ones, unless some came meanwhile.
            TURNS.with_borrow_mut(|turns| {
                if turns.waiting.is_empty() {
                    turns.waiting = waiting;
                }
            });
        }
    });
    Ok(Served)
}

/// Waits until somebody gives a turn away.
async fn asked() {
    poll_fn(|cx| {
        TURNS.with_borrow_mut(|turns| {
            if !turns.waiting.is_empty() {
                return Poll::Ready(());
            }
            turns.turner = Some(cx.waker().clone());
            Poll::Pending
        })
    })
    .await;
}

/// A byte goes through the kernel. It is sent when the wait for it stands: monoio's epoll driver
/// forgets an old readiness only when it finds nothing.
async fn pass(door: &Ready, mut bell: &UnixStream, mut heard: &UnixStream) -> io::Result<()> {
    let mut ready = pin!(door.readable(false));
    let mut rung = false;
    poll_fn(|cx| match ready.as_mut().poll(cx) {
        Poll::Pending if !std::mem::replace(&mut rung, true) => match bell.write(b"!") {
            Ok(_) => Poll::Pending,
            Err(e) => Poll::Ready(Err(e)),
        },
        polled => polled,
    })
    .await?;
    _ = heard.read(&mut [0; 8])?;
    Ok(())
}

#[cfg(all(test, not(miri)))] // Miri has no sockets
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use crate::rt::uring;
    use crate::snapshot::Driver;

    /// Two tasks that only give turns away run in turns, and a timer beside them is heard.
    #[test]
    fn whoever_gives_turns_away_starves_nobody() {
        for driver in [Driver::Epoll, Driver::Auto] {
            let ran = uring::run(driver, |_| async {
                let counts: [Rc<Cell<u32>>; 2] = Default::default();
                let is_over = Rc::new(Cell::new(false));
                for own in &counts {
                    let (own, is_over) = (own.clone(), is_over.clone());
                    let work = async move {
                        while !is_over.get() {
                            own.set(own.get() + 1);
                            super::turn().await;
                        }
                    };
                    uring::spawn(work, || panic!("it has nothing to panic about"));
                }
                uring::pause(std::time::Duration::from_millis(30)).await;
                is_over.set(true);
                let [a, b] = counts.map(|count| count.get());
                assert!(a > 100 && a.abs_diff(b) <= 1, "{driver:?}: {a} and {b} turns");
            });
            ran.expect("epoll runs everywhere");
        }
    }
}
