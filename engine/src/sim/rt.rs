//! The simulated backend of `rt`: the same names as the real one, inside a world.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub use crate::rt::listen::Peer;
pub use crate::rt::uring::{Ran, entropy, run};
use crate::rt::{Hangup, Shut};
use crate::sim::exec::{self, world};
use crate::sim::fault::{Fault, strikes};
use crate::sim::net::{Dialled, End, is_gateway};
use crate::snapshot::EndpointAddress;
use crate::time::Mono;

pub use exec::sleep_until;

/// How often an attempt to connect is made before it has timed out: 127 s in all.
const SYN_REPEATS: u32 = 7;

/// How long after a ring a worker hears it, in microseconds: as a rule, and when it is busy.
const USUAL_US_MAX: u32 = 200;
const BUSY_US_MAX: u32 = 5_000;

pub fn now() -> Mono {
    // A thread without a world (a core's own test) stands still at one second.
    exec::now_or(Mono(1_000_000_000))
}

pub fn cached_now() -> Mono {
    now()
}

pub fn wall_seconds() -> u64 {
    784_111_777 + now().0 / 1_000_000_000
}

pub fn wall_us() -> u64 {
    wall_seconds() * 1_000_000 + now().0 / 1000 % 1_000_000
}

pub fn spawn<F>(task: F, on_panic: impl FnOnce() + 'static)
where
    F: Future<Output = ()> + 'static,
{
    exec::spawn(task, on_panic);
}

pub async fn pause(wait: Duration) {
    sleep_until(now().after(wait)).await;
}

pub async fn turn() {
    pause(Duration::from_millis(1)).await;
}

/// One end of a simulated connection.
#[derive(Debug)]
pub struct Stream {
    pub end: End,
    read: Cell<u64>,
    written: Cell<u64>,
    /// Somebody waits for bytes.
    waits: Cell<bool>,
}

/// A connection that no worker serves yet; dropped, it closes.
#[derive(Debug)]
pub struct StreamEnd(Stream);

impl Stream {
    pub fn adopt(end: StreamEnd) -> io::Result<Stream> {
        Ok(end.0)
    }

    fn of(end: End) -> Stream {
        let (read, written, waits) = Default::default();
        Stream { end, read, written, waits }
    }

    pub fn bytes_read(&self) -> u64 {
        self.read.get()
    }

    pub fn bytes_written(&self) -> u64 {
        self.written.get()
    }

    pub async fn connect(address: &EndpointAddress) -> io::Result<Stream> {
        let EndpointAddress::Ip(to) = address else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        Stream::dial(SocketAddr::from(([10, 9, 9, 9], 1)), *to).await
    }

    pub async fn dial(from: SocketAddr, to: SocketAddr) -> io::Result<Stream> {
        let mut attempt = Attempt { from, to, is_over: false };
        let (wait, lost) = world(|w| {
            let lost = !is_gateway(to) && w.strikes(Fault::Blackhole);
            (Duration::from_micros(u64::from(w.rng.below(300))), lost)
        });
        pause(wait).await;
        // As Linux repeats a SYN: 1, 3, 7… seconds after the first.
        for repeats in 0..SYN_REPEATS {
            let dialled = if lost { Dialled::Full } else { world(|w| w.dial(from, to)) };
            attempt.is_over = dialled != Dialled::Full;
            match dialled {
                Dialled::Made(end) => return Ok(Stream::of(end)),
                Dialled::Refused => return Err(io::ErrorKind::ConnectionRefused.into()),
                Dialled::Full => pause(Duration::from_secs(1 << repeats)).await,
            }
        }
        attempt.is_over = true;
        Err(io::ErrorKind::TimedOut.into())
    }

    pub fn wait_readable(&self) -> Readable<'_> {
        Readable(self)
    }

    pub async fn wait_writable(&self) -> io::Result<()> {
        let ready = |w: &Waker| world(|world| world.can_write(self.end, w));
        poll_fn(|cx| if ready(cx.waker()) { Poll::Ready(Ok(())) } else { Poll::Pending }).await
    }

    pub fn try_read(&self, room: &mut [u8]) -> io::Result<usize> {
        assert!(!room.is_empty(), "a read of nothing looks like the end");
        let done = world(|w| w.read(self.end, room));
        self.read.set(self.read.get() + *done.as_ref().unwrap_or(&0) as u64);
        done
    }

    pub fn try_peek(&self, room: &mut [u8]) -> io::Result<usize> {
        world(|w| w.peek(self.end, room))
    }

    pub fn try_write(&self, head: &[u8], body: &[u8]) -> io::Result<usize> {
        let both = [head, body].concat();
        assert!(!both.is_empty(), "a write of nothing");
        let done = world(|w| w.write(self.end, &both));
        self.written.set(self.written.get() + *done.as_ref().unwrap_or(&0) as u64);
        done
    }

    pub fn is_quiet(&self) -> bool {
        world(|w| w.is_quiet(self.end))
    }

    pub fn has_unread(&self) -> bool {
        world(|w| w.has_unread(self.end))
    }

    pub fn unsent(&self) -> usize {
        world(|w| w.unsent(self.end))
    }

    pub fn shut(&self, how: Shut) {
        if how != Shut::Read {
            world(|w| w.shut_write(self.end));
        }
    }

    pub fn reset_on_close(&self) {
        world(|w| w.reset(self.end));
    }

    pub fn handle(&self) -> i32 {
        (self.end.link * 2 + self.end.side) as i32
    }
}

/// An attempt to connect, which may be given up.
struct Attempt {
    from: SocketAddr,
    to: SocketAddr,
    is_over: bool,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        // Given up too late: it was made, and is closed at once.
        if !self.is_over && strikes(Fault::LateConnect) {
            let dialled = world(|w| w.dial(self.from, self.to));
            if let Dialled::Made(end) = dialled {
                world(|w| w.close(end));
            }
        }
    }
}

/// A wait for bytes, which may be given up.
pub struct Readable<'s>(&'s Stream);

impl Future for Readable<'_> {
    type Output = io::Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ready = world(|w| w.can_read(self.0.end, cx.waker()));
        self.0.waits.set(!ready);
        if ready { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl Drop for Readable<'_> {
    fn drop(&mut self) {
        if self.0.waits.replace(false) {
            world(|w| w.give_up(self.0.end));
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        world(|w| w.close(self.end));
    }
}

pub fn not_quiet(handles: &[i32]) -> Vec<i32> {
    let end = |handle: i32| End { link: handle as usize / 2, side: handle as usize % 2 };
    handles.iter().copied().filter(|h| !world(|w| w.is_quiet(end(*h)))).collect()
}

pub fn hangups(looks: &[(u32, i32)], mut report: impl FnMut(u32, Hangup)) {
    for &(index, handle) in looks {
        let end = End { link: handle as usize / 2, side: handle as usize % 2 };
        report(index, world(|w| w.hangup(end)));
    }
}

/// A listening socket on its way to a worker: bound, and queueing.
#[derive(Debug)]
pub struct ListenerEnd(pub Listener);

#[derive(Debug)]
pub struct Listener {
    /// Each of the sockets on one address has a queue of its own, as with SO_REUSEPORT.
    queue: u32,
}

pub fn probe_tcp(address: SocketAddr) -> io::Result<()> {
    match world(|w| w.is_listening(address)) {
        true => Err(io::ErrorKind::AddrInUse.into()),
        false => Ok(()),
    }
}

pub fn listen_tcp(address: SocketAddr, _backlog: u32, share: bool) -> io::Result<ListenerEnd> {
    if !share {
        probe_tcp(address)?;
    }
    Ok(ListenerEnd(Listener::bind(address)))
}

pub fn listen_unix(_path: &Path, _backlog: u32) -> io::Result<ListenerEnd> {
    Err(io::ErrorKind::Unsupported.into())
}

pub fn duplicate(_end: &ListenerEnd) -> io::Result<ListenerEnd> {
    Err(io::ErrorKind::Unsupported.into())
}

impl Listener {
    pub fn adopt(end: ListenerEnd, _unix: bool) -> io::Result<Listener> {
        Ok(end.0)
    }

    pub fn bind(address: SocketAddr) -> Listener {
        Listener { queue: world(|w| w.open_listener(address)) }
    }

    pub fn set_backlog(&self, _backlog: u32) {}

    pub fn defer_accept(&self, _seconds: u32) {}

    pub fn refuse_new(&self) {
        world(|w| w.refuse_new(self.queue));
    }

    pub async fn wait(&self) -> io::Result<()> {
        let ready = |w: &Waker| world(|world| world.can_accept(self.queue, w));
        poll_fn(|cx| if ready(cx.waker()) { Poll::Ready(Ok(())) } else { Poll::Pending }).await
    }

    pub fn try_accept(&self) -> io::Result<(StreamEnd, Peer)> {
        match world(|w| w.accept(self.queue)) {
            Some((end, from)) => Ok((StreamEnd(Stream::of(end)), Peer::Ip(from))),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        world(|w| w.close_listener(self.queue));
    }
}

#[derive(Debug, Default)]
struct Ring {
    rung: bool,
    waker: Option<Waker>,
}

/// Worlds have one thread, so a bell is a flag. (`Rc` would keep `Slot` from being `Send`.)
#[derive(Debug)]
pub struct Bell(usize);

#[derive(Debug)]
pub struct Doorbell(usize);

#[derive(Debug)]
pub struct BellEnd(usize);

thread_local! {
    static RINGS: RefCell<Vec<Rc<RefCell<Ring>>>> = RefCell::default();
}

pub fn bell() -> io::Result<(Bell, BellEnd)> {
    RINGS.with(|r| {
        let mut r = r.borrow_mut();
        r.push(Rc::default());
        Ok((Bell(r.len() - 1), BellEnd(r.len() - 1)))
    })
}

impl Bell {
    pub fn ring(&self) {
        let ring = RINGS.with(|r| r.borrow()[self.0].clone());
        let mut ring = ring.borrow_mut();
        ring.rung = true;
        if let Some(waker) = ring.waker.take() {
            // The worker may be busy with something else for a while, and others hear earlier.
            world(|w| {
                let most = if w.rng.one_in(4) { BUSY_US_MAX } else { USUAL_US_MAX };
                let at = w.now.after(Duration::from_micros(u64::from(w.rng.below(most))));
                w.wake_at(at, waker);
            });
        }
    }
}

impl Doorbell {
    pub fn adopt(end: BellEnd) -> io::Result<Doorbell> {
        Ok(Doorbell(end.0))
    }

    pub async fn heard(&self) -> bool {
        let ring = RINGS.with(|r| r.borrow()[self.0].clone());
        poll_fn(|cx| {
            let mut ring = ring.borrow_mut();
            if std::mem::take(&mut ring.rung) {
                return Poll::Ready(true);
            }
            ring.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}
