//! A door through which only so many come at a time, and nobody stands in it for ever.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// Connections at a time; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 32;
/// A peer that is silent for longer is hung up on. Not the minute in which Prometheus asks again.
const SILENCE_MAX: Duration = Duration::from_secs(90);
/// A peer that takes an answer in parts must take so much of it a second, beyond that time: all
/// numbers of 10,000 routes are 25 MB, and their memory is held so long.
const TAKEN_BYTES_MIN: u64 = 256 << 10;

pub(super) struct Bounded<L> {
    inner: L,
    permits: Arc<Semaphore>,
}

impl<L> Bounded<L> {
    pub(super) fn new(inner: L) -> Bounded<L> {
        Bounded { inner, permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
    }
}

impl<L: Listener> Listener for Bounded<L> {
    type Io = Guest<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Guest<L::Io>, L::Addr) {
        let permit = self.permits.clone().acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        let (io, address) = self.inner.accept().await;
        (Guest::new(io, SILENCE_MAX, permit), address)
    }

    fn local_addr(&self) -> io::Result<L::Addr> {
        self.inner.local_addr()
    }
}

/// A connection with its place among those allowed.
pub(super) struct Guest<I> {
    io: I,
    silence_max: Duration,
    patience: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl<I> Guest<I> {
    fn new(io: I, silence_max: Duration, permit: OwnedSemaphorePermit) -> Guest<I> {
        let patience = Box::pin(tokio::time::sleep(silence_max));
        Guest { io, silence_max, patience, _permit: permit }
    }

    /// Renews the patience with who takes its answer: wholly with the last of it.
    fn took(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
        offered: usize,
    ) -> Poll<io::Result<usize>> {
        let latest = Instant::now() + self.silence_max;
        match written {
            Poll::Ready(Ok(n)) if n == offered => self.patience.as_mut().reset(latest),
            Poll::Ready(Ok(n)) => {
                let more = Duration::from_micros(n as u64 * 1_000_000 / TAKEN_BYTES_MIN);
                let renewed = self.patience.deadline() + more;
                self.patience.as_mut().reset(renewed.min(latest));
            }
            Poll::Pending if self.patience.as_mut().poll(cx).is_ready() => {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            _ => {}
        }
        written
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Guest<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Only an answer renews it: who trickles a request in is hung up on, too.
        if self.patience.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Guest<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.took(cx, written, buf.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.took(cx, written, bufs.iter().map(|buf| buf.len()).sum())
    }

    /// Otherwise a long answer would be copied together with its head.
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const SHORT: Duration = Duration::from_millis(50);

    /// Writes an answer to a peer that takes `taken` of its bytes, in a pipe of 64.
    fn write(answer: usize, taken: usize) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (io, mut peer) = tokio::io::duplex(64);
            let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
            let mut guest = Guest::new(io, SHORT, permit);
            let reads = tokio::spawn(async move {
                let _ = peer.read_exact(&mut vec![0; taken]).await;
                std::future::pending::<()>().await;
            });
            let written = guest.write_all(&vec![b'x'; answer]).await;
            reads.abort();
            written
        })
    }

    #[test]
    fn who_takes_nothing_is_hung_up_on() {
        assert!(write(64, 0).is_ok(), "the pipe takes it");
        assert_eq!(write(65, 0).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(write(10_000, 9_936).is_ok());
        assert_eq!(write(10_000, 9_000).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_trickle_does_not_renew_the_patience() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (io, mut peer) = tokio::io::duplex(64);
            let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
            let mut guest = Guest::new(io, SHORT, permit);
            let trickle = tokio::spawn(async move {
                while peer.read_u8().await.is_ok() {
                    tokio::time::sleep(SHORT / 5).await;
                }
            });
            let written = guest.write_all(&[b'x'; 10_000]).await;
            assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
            trickle.abort();
        });
    }
}
