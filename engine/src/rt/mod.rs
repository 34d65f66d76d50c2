//! The one door to the kernel. Everything a shell may do with sockets, time and tasks.
//!
//! Readiness-shaped: a shell waits until a stream is ready, then reads or writes without waiting.
//! No operation ever owns a buffer, so an idle connection holds none, and a wait can be dropped
//! at any time without losing a byte. Measured, this costs the same as completions.
//!
//! ```text
//!  shells ──▶ mod (until, write_all) ──▶ net, uring   monoio and libc   the product
//!                │                  └──▶ crate::sim    seeded world      unit tests
//!                └─▶ timer, buf, slot   cores that both backends share
//! ```

pub mod alarm;
pub mod buf;
pub mod offload;
pub mod slot;
pub mod timer;

pub(crate) mod listen;
pub(crate) mod net;
pub(crate) mod turn;
pub(crate) mod uring;

#[cfg(test)]
pub use crate::sim::rt::*;
#[cfg(not(test))]
pub use listen::*;
#[cfg(not(test))]
pub use net::*;
#[cfg(not(test))]
pub use turn::turn;
#[cfg(not(test))]
pub use uring::*;

pub use buf::{Buf, BufPool, no_huge_pages, only_text_that_runs};
pub use timer::{Timers, Watch, WatchId};

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;

/// Why a wait ended without what was waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// The watch's deadline passed.
    Expired,
    /// The far end of the watched connection went away.
    Gone,
    /// The worker drains, and this wait may be given up.
    Drain,
    /// The stream broke.
    Broken(io::ErrorKind),
}

impl From<io::Error> for Stop {
    fn from(e: io::Error) -> Stop {
        Stop::Broken(e.kind())
    }
}

/// Which way a stream is shut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shut {
    Read,
    Write,
    Both,
}

/// The longest record that holds a close_notify (RFC 5246 §6.2.3.3: header, nonce, alert, tag).
/// The shortest request is longer, once it is encrypted.
pub const ALERT_BYTES_MAX: usize = 5 + 8 + 2 + 16;

/// What a look at a socket says about its far end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hangup {
    /// Still there.
    No,
    /// Sends no more, may still read.
    Half,
    /// The same, and bytes that it sent before wait to be read.
    HalfBehindBytes,
    /// The same, but no more of them than [`ALERT_BYTES_MAX`].
    HalfBehindFew,
    Gone,
}

/// What it means when a watched client sends no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Half {
    /// It has left.
    Leaves,
    /// It has left, unless bytes that it sent before wait to be read: further requests.
    FineBehindBytes,
    /// The same, but a few bytes are the record with which TLS ends.
    FineBehindRecords,
    /// It still wants its answers.
    Fine,
}

/// Waits for `io`, but no longer than `watch` allows. Dropping either loses nothing.
/// It comes pinned: by value it would be stored twice.
pub async fn until<T, F>(mut io: Pin<&mut F>, watch: &Watch) -> Result<T, Stop>
where
    F: Future<Output = io::Result<T>>,
{
    poll_fn(|cx| {
        if let Some(stop) = watch.fired() {
            return Poll::Ready(Err(stop));
        }
        match io.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(result.map_err(Stop::from)),
            Poll::Pending => {
                watch.register(cx.waker());
                Poll::Pending
            }
        }
    })
    .await
}

impl Stream {
    /// Waits until there is something to read, the end included. Holds no buffer.
    pub async fn readable(&self, watch: &Watch) -> Result<(), Stop> {
        until(pin!(self.wait_readable()), watch).await
    }

    /// As `readable`, but not when that is known already.
    pub async fn readable_unless(&self, is_ready: bool, watch: &Watch) -> Result<(), Stop> {
        if is_ready {
            return Ok(());
        }
        until(pin!(self.wait_readable()), watch).await
    }

    pub async fn writable(&self, watch: &Watch) -> Result<(), Stop> {
        until(pin!(self.wait_writable()), watch).await
    }
}
