//! After an Upgrade: bytes both ways until both ends have closed or both are silent too long.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::limit::concurrency::Permit;
use crate::rt::{self, Buf, Shut, Stop};
use crate::time::Mono;
use crate::worker::conn::Conn;
use crate::worker::dial::Lease;
use crate::worker::outcome::Next;
use crate::worker::relay::Stint;
use crate::worker::wire::Wire;

/// What a switched connection is made of.
#[derive(Debug)]
pub struct Tunnel {
    pub lease: Lease,
    /// What the origin sent behind its 101.
    pub sent: Option<Buf>,
    pub timeout: Option<Duration>,
    /// Places among those served at one time, which it holds as long as it is open.
    pub permits: Vec<Permit>,
}

/// Pumps both ways. `buf` holds what the client sent behind its request.
pub async fn tunnel(conn: &Conn, buf: &mut Buf, tunnel: Tunnel) -> Next {
    let Tunnel { lease, sent, timeout, permits: _held } = tunnel;
    conn.w.tunnels.set(conn.w.tunnels.get() + 1);
    let read = || conn.stream.bytes_read();
    let (read_before, written_before) =
        (read().saturating_sub(buf.len() as u64), conn.stream.bytes_written());
    conn.watch.tunnel();
    let early = (!buf.is_empty()).then(|| std::mem::replace(buf, conn.w.bufs.lease()));
    let both = Both { conn, timeout };
    both.alive();
    let mut up = pin!(both.pump(&conn.stream, lease.stream(), early));
    let mut down = pin!(both.pump(lease.stream(), &conn.stream, sent));
    let (mut up_done, mut down_done) = (false, false);
    let is_broken = std::future::poll_fn(|cx| {
        let is_broken =
            advance(&mut up_done, up.as_mut(), cx) || advance(&mut down_done, down.as_mut(), cx);
        match is_broken || up_done && down_done {
            true => Poll::Ready(is_broken),
            false => Poll::Pending,
        }
    })
    .await;
    if is_broken {
        // The end of its stream is all that tells either side that it is whole.
        conn.stream.abandon();
        lease.stream().abandon();
    }
    conn.w.tunnels.set(conn.w.tunnels.get() - 1);
    let whole = &mut conn.w.recorder.borrow_mut().whole;
    whole.tunnel_in += read() - read_before;
    whole.tunnel_out += conn.stream.bytes_written() - written_before;
    Next::Close
}

/// Polls one direction unless it is done. True when it broke.
fn advance<F: Future<Output = Result<(), Stop>>>(
    done: &mut bool,
    future: std::pin::Pin<&mut F>,
    cx: &mut std::task::Context<'_>,
) -> bool {
    if *done {
        return false;
    }
    match future.poll(cx) {
        Poll::Ready(Ok(())) => *done = true,
        Poll::Ready(Err(_)) => return true,
        Poll::Pending => {}
    }
    false
}

struct Both<'a> {
    conn: &'a Conn,
    timeout: Option<Duration>,
}

impl Both<'_> {
    /// A byte in either direction proves life: one deadline serves both.
    fn alive(&self) {
        let deadline = self.timeout.map_or(Mono::NEVER, |t| rt::now().after(t));
        self.conn.watch.arm(deadline);
    }

    async fn pump(&self, from: &Wire, to: &Wire, early: Option<Buf>) -> Result<(), Stop> {
        let watch = &self.conn.watch;
        let mut slot = early;
        let mut stint = Stint::default();
        loop {
            if let Some(bytes) = slot.take().filter(|b| !b.is_empty()) {
                to.write_all(bytes.filled(), watch, |_| self.alive()).await?;
            }
            stint.ends().await;
            let mut buf = self.conn.w.bufs.lease();
            let n = match from.try_read(buf.room()) {
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                    drop(buf);
                    from.readable(watch).await?;
                    stint.waited();
                    continue;
                }
                read => read?,
            };
            if n == 0 {
                to.shut(Shut::Write);
                return Ok(());
            }
            buf.commit(n);
            stint.moved(n);
            self.alive();
            slot = Some(buf);
        }
    }
}
