//! Sockets: ours from creation to close; monoio only says when they are ready.

#![allow(unsafe_code)] // system calls on descriptors this file owns
#![cfg_attr(test, allow(dead_code))]

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use monoio::net::UnixStream as Ready;

use super::{ALERT_BYTES_MAX, Hangup, Shut};
use crate::snapshot::EndpointAddress;

/// A descriptor that waits on the worker's runtime. monoio wants a socket type; any will do.
#[derive(Debug)]
pub(super) struct Source {
    inner: Option<Ready>,
    /// Waits begun and not ended. Those still counted at the end were dropped: the runtime may
    /// hold the descriptor, so only it may close it.
    waits: Cell<u32>,
}

impl Source {
    pub(super) fn new(fd: OwnedFd) -> io::Result<Source> {
        let inner = Ready::from_std(std::os::unix::net::UnixStream::from(fd))?;
        Ok(Source { inner: Some(inner), waits: Cell::new(0) })
    }

    fn ready(&self) -> &Ready {
        self.inner.as_ref().expect("taken only by drop")
    }

    pub(super) fn fd(&self) -> RawFd {
        self.ready().as_raw_fd()
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        self.waits.set(self.waits.get() + 1);
        let result = self.ready().readable(is_relaxed()).await;
        self.waits.set(self.waits.get() - 1);
        result
    }

    async fn writable(&self) -> io::Result<()> {
        self.waits.set(self.waits.get() + 1);
        let result = self.ready().writable(is_relaxed()).await;
        self.waits.set(self.waits.get() - 1);
        result
    }
}

/// Under epoll a relaxed wait would return on stale readiness for ever (monoio 0.2.4).
#[inline]
fn is_relaxed() -> bool {
    !monoio::utils::is_legacy()
}

impl Drop for Source {
    fn drop(&mut self) {
        // Fast path: close(2) at once spares the ring a Close and an AsyncCancel entry.
        if self.waits.get() == 0
            && let Some(inner) = self.inner.take()
        {
            let fd = inner.into_raw_fd();
            // SAFETY: `into_raw_fd` handed over the only owner of this descriptor.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
}

/// recv(2) as the kernel has it. libc's is a point where its threads may be cancelled, and pays for
/// that with two locked instructions each time.
///
/// # Safety
/// As recv(2): `room` takes `len` bytes.
#[inline]
unsafe fn recv(fd: RawFd, room: *mut u8, len: usize, flags: libc::c_int) -> isize {
    const NONE: usize = 0;
    // SAFETY: the caller's.
    unsafe { libc::syscall(libc::SYS_recvfrom, fd, room, len, flags, NONE, NONE) as isize }
}

/// send(2), likewise.
///
/// # Safety
/// As send(2): `bytes` are `len` bytes.
#[inline]
unsafe fn send(fd: RawFd, bytes: *const u8, len: usize, flags: libc::c_int) -> isize {
    const NONE: usize = 0;
    // SAFETY: the caller's.
    unsafe { libc::syscall(libc::SYS_sendto, fd, bytes, len, flags, NONE, NONE) as isize }
}

/// Two parts that are together no longer than this are sent as one.
const COPIED_MAX: usize = 2048;

pub(super) fn check(result: isize) -> io::Result<usize> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as usize) }
}

/// A connected stream, TCP or unix.
#[derive(Debug)]
pub struct Stream {
    source: Source,
    read: Cell<u64>,
    written: Cell<u64>,
}

/// A connected stream that no runtime knows yet: any worker may adopt it.
pub type StreamEnd = OwnedFd;

impl Stream {
    /// Takes over a connection on the worker that will serve it.
    pub fn adopt(end: StreamEnd) -> io::Result<Stream> {
        Ok(Stream::of(Source::new(end)?))
    }

    fn of(source: Source) -> Stream {
        Stream { source, read: Cell::new(0), written: Cell::new(0) }
    }

    /// Bytes that were ever read from it.
    #[inline]
    pub fn bytes_read(&self) -> u64 {
        self.read.get()
    }

    /// Bytes that were ever written to it.
    #[inline]
    pub fn bytes_written(&self) -> u64 {
        self.written.get()
    }

    #[inline]
    fn moved(&self, count: &Cell<u64>, done: io::Result<usize>) -> io::Result<usize> {
        if let Ok(n) = &done {
            count.set(count.get() + *n as u64);
        }
        done
    }

    /// Connects; the caller bounds the wait. TCP streams send without delay (TCP_NODELAY).
    pub async fn connect(address: &EndpointAddress) -> io::Result<Stream> {
        let (domain, to) = match address {
            EndpointAddress::Ip(ip) => (socket2::Domain::for_address(*ip), (*ip).into()),
            EndpointAddress::Unix(path) => (socket2::Domain::UNIX, socket2::SockAddr::unix(path)?),
            EndpointAddress::Name { .. } => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM.nonblocking(), None)?;
        if domain != socket2::Domain::UNIX {
            socket.set_tcp_nodelay(true)?;
        }
        let waits = match socket.connect(&to) {
            Ok(()) => false,
            Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => true,
            Err(e) => return Err(e),
        };
        let stream = Stream::of(Source::new(socket.into())?);
        if waits {
            stream.source.writable().await?;
            stream.take_error()?;
        }
        Ok(stream)
    }

    fn take_error(&self) -> io::Result<()> {
        let mut error: libc::c_int = 0;
        let mut len = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: writes one int into a local through a matching length.
        check(unsafe {
            libc::getsockopt(
                self.handle(),
                libc::SOL_SOCKET,
                libc::SO_ERROR,
                (&raw mut error).cast(),
                &mut len,
            )
        } as isize)?;
        if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
    }

    // (Not `async`: another future around each of them would be polled and kept for nothing.)
    #[inline]
    pub fn wait_readable(&self) -> impl Future<Output = io::Result<()>> {
        self.source.readable()
    }

    #[inline]
    pub fn wait_writable(&self) -> impl Future<Output = io::Result<()>> {
        self.source.writable()
    }

    /// Reads what is there; 0 is the end, `WouldBlock` nothing yet.
    #[inline]
    pub fn try_read(&self, room: &mut [u8]) -> io::Result<usize> {
        debug_assert!(!room.is_empty(), "a read of nothing looks like the end");
        // SAFETY: writes at most `room.len()` bytes into `room`.
        let done = check(unsafe {
            recv(self.handle(), room.as_mut_ptr(), room.len(), libc::MSG_DONTWAIT)
        });
        self.moved(&self.read, done)
    }

    /// Looks at what is there without taking it; 0 is the end.
    pub fn try_peek(&self, room: &mut [u8]) -> io::Result<usize> {
        const FLAGS: libc::c_int = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        // SAFETY: writes at most `room.len()` bytes into `room`.
        check(unsafe { recv(self.handle(), room.as_mut_ptr(), room.len(), FLAGS) })
    }

    /// Writes `head` and `body` as one packet as far as there is room. Returns how many bytes of
    /// both went, or `WouldBlock`.
    #[inline]
    pub fn try_write(&self, head: &[u8], body: &[u8]) -> io::Result<usize> {
        const FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        if body.is_empty() || head.is_empty() {
            let one = if head.is_empty() { body } else { head };
            // SAFETY: reads `one.len()` bytes of `one`.
            let done = check(unsafe { send(self.handle(), one.as_ptr(), one.len(), FLAGS) });
            return self.moved(&self.written, done);
        }
        let len = head.len() + body.len();
        if len <= COPIED_MAX {
            // Fast path: copying is cheaper than a message of two parts.
            let mut both = [const { MaybeUninit::<u8>::uninit() }; COPIED_MAX];
            let (front, back) = both[..len].split_at_mut(head.len());
            front.write_copy_of_slice(head);
            back.write_copy_of_slice(body);
            // SAFETY: reads `len` bytes, all of which were written.
            let done = check(unsafe { send(self.handle(), both.as_ptr().cast(), len, FLAGS) });
            return self.moved(&self.written, done);
        }
        let mut parts = [
            libc::iovec { iov_base: head.as_ptr() as *mut _, iov_len: head.len() },
            libc::iovec { iov_base: body.as_ptr() as *mut _, iov_len: body.len() },
        ];
        // SAFETY: an all-zero msghdr is valid; the two parts are live slices and only read.
        let done = check(unsafe {
            let mut message: libc::msghdr = std::mem::zeroed();
            message.msg_iov = parts.as_mut_ptr();
            message.msg_iovlen = parts.len();
            libc::sendmsg(self.handle(), &message, FLAGS)
        });
        self.moved(&self.written, done)
    }

    /// Whether an idle connection is as it was left: open, and without a byte to read.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        let mut byte = [0u8; 1];
        // SAFETY: looks at most one byte into a local.
        let n = unsafe {
            recv(self.handle(), byte.as_mut_ptr(), 1, libc::MSG_PEEK | libc::MSG_DONTWAIT)
        };
        n < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN)
    }

    /// Whether bytes wait to be read.
    pub fn has_unread(&self) -> bool {
        has_unread(self.handle())
    }

    /// Bytes that were written and that the far end's kernel has not taken yet. (For a unix socket
    /// this says something else, and nothing of use: what is written is at the far end.)
    pub fn unsent(&self) -> usize {
        let mut bytes: libc::c_int = 0;
        // SAFETY: TIOCOUTQ (SIOCOUTQ) writes one int into a local.
        let result = unsafe { libc::ioctl(self.handle(), libc::TIOCOUTQ, &raw mut bytes) };
        if result == 0 { bytes.max(0) as usize } else { 0 }
    }

    pub fn shut(&self, how: Shut) {
        let how = match how {
            Shut::Read => libc::SHUT_RD,
            Shut::Write => libc::SHUT_WR,
            Shut::Both => libc::SHUT_RDWR,
        };
        // SAFETY: plain call on our descriptor; an error means it is shut already.
        unsafe { libc::shutdown(self.handle(), how) };
    }

    /// Its close will be a reset, so that a peer that reads to the end sees that the end is missing.
    pub fn reset_on_close(&self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        // SAFETY: passes a local linger of the right size.
        unsafe {
            libc::setsockopt(
                self.handle(),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const linger).cast(),
                size_of::<libc::linger>() as libc::socklen_t,
            )
        };
    }

    /// Names the socket towards [`hangups`].
    #[inline]
    pub fn handle(&self) -> i32 {
        self.source.fd()
    }
}

/// Bytes that wait to be read.
fn unread(fd: RawFd) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int into a local.
    let result = unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut bytes) };
    if result == 0 { bytes.max(0) as usize } else { 0 }
}

fn has_unread(fd: RawFd) -> bool {
    let mut byte = [0u8; 1];
    const FLAGS: libc::c_int = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: looks at most one byte into a local.
    unsafe { libc::recv(fd, byte.as_mut_ptr().cast(), 1, FLAGS) > 0 }
}

/// Looks at many sockets with one system call; none for none.
fn poll(fds: impl Iterator<Item = RawFd>, events: libc::c_short) -> Vec<libc::pollfd> {
    let mut polls: Vec<libc::pollfd> =
        fds.map(|fd| libc::pollfd { fd, events, revents: 0 }).collect();
    if !polls.is_empty() {
        // SAFETY: `polls` is a live array of the given length. An error leaves it as it is.
        unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, 0) };
    }
    polls
}

/// Looks at many sockets with one system call, and one more for each whose far end sends no more;
/// reports those.
pub fn hangups(looks: &[(u32, i32)], mut report: impl FnMut(u32, Hangup)) {
    let polls = poll(looks.iter().map(|look| look.1), libc::POLLRDHUP);
    for (poll, &(index, fd)) in polls.iter().zip(looks) {
        let gone = libc::POLLERR | libc::POLLHUP | libc::POLLNVAL;
        if poll.revents & gone != 0 {
            report(index, Hangup::Gone);
        } else if poll.revents & libc::POLLRDHUP != 0 {
            // (The poll can't tell: an end is readable, too.)
            let half = match unread(fd) {
                0 => Hangup::Half,
                few if few <= ALERT_BYTES_MAX => Hangup::HalfBehindFew,
                _ => Hangup::HalfBehindBytes,
            };
            report(index, half);
        }
    }
}

/// Those of some idle connections, by their handles, that are not as they were left: ended, broken
/// or with bytes that nobody asked for. One system call.
pub fn not_quiet(handles: &[i32]) -> Vec<i32> {
    let polls = poll(handles.iter().copied(), libc::POLLIN | libc::POLLRDHUP);
    polls.iter().filter(|poll| poll.revents != 0).map(|poll| poll.fd).collect()
}

/// Rings at a worker from any thread.
#[derive(Debug)]
pub struct Bell {
    fd: OwnedFd,
}

/// The worker's end of a bell.
#[derive(Debug)]
pub struct Doorbell {
    stream: Stream,
}

/// A doorbell on its way to the worker's thread.
pub type BellEnd = OwnedFd;

/// A bell and its other end.
pub fn bell() -> io::Result<(Bell, BellEnd)> {
    let (a, b) = std::os::unix::net::UnixStream::pair()?;
    a.set_nonblocking(true)?;
    b.set_nonblocking(true)?;
    Ok((Bell { fd: a.into() }, b.into()))
}

impl Bell {
    /// Wakes the worker. A full socket means that it has not yet heard the last ring.
    pub fn ring(&self) {
        // SAFETY: sends one byte of a static.
        unsafe {
            libc::send(
                self.fd.as_raw_fd(),
                b"!".as_ptr().cast(),
                1,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
    }
}

impl Doorbell {
    pub fn adopt(fd: BellEnd) -> io::Result<Doorbell> {
        Ok(Doorbell { stream: Stream::of(Source::new(fd)?) })
    }

    /// Waits for rings. False when every bell is gone.
    pub async fn heard(&self) -> bool {
        let mut rings = [0u8; 64];
        loop {
            match self.stream.try_read(&mut rings) {
                Ok(n) => return n > 0,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
            if self.stream.wait_readable().await.is_err() {
                return false;
            }
        }
    }
}

#[cfg(test)]
mod model_tests {
    #![allow(clippy::disallowed_methods)] // clients of the standard library

    use std::collections::VecDeque;
    use std::os::unix::net::UnixStream;
    use std::pin::{Pin, pin};
    use std::task::{Context, Waker};

    use super::*;
    use crate::rng::Rng;
    use crate::rt::uring;
    use crate::snapshot::Driver;

    const STEPS: usize = 20_000;

    fn on_both_drivers(body: impl AsyncFn(Rng)) {
        for driver in [Driver::Epoll, Driver::Auto] {
            let ran = uring::run(driver, |_| body(Rng::from_u64(14)));
            ran.expect("epoll runs everywhere");
        }
    }

    /// True when it is over at its first poll; it is dropped in any case.
    fn is_over<T>(wait: Pin<&mut impl Future<Output = T>>) -> bool {
        wait.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// What an end of a pair should see: bytes on their way to it, and whether more will come.
    #[derive(Default)]
    struct Model {
        bytes: VecDeque<u8>,
        no_more: bool,
        read: u64,
        written: u64,
    }

    fn is_blocked(e: &io::Error) -> bool {
        e.kind() == io::ErrorKind::WouldBlock
    }

    fn write(rng: &mut Rng, from: &Stream, own: &mut Model, far: &mut Model) {
        let mut part = || -> Vec<u8> {
            let len = if rng.one_in(3) { 0 } else { rng.below(30_000) };
            (0..len).map(|_| rng.next_u64() as u8).collect()
        };
        let (head, body) = (part(), part());
        if head.is_empty() && body.is_empty() {
            return;
        }
        match from.try_write(&head, &body) {
            Ok(n) => {
                assert!(n > 0 && !far.no_more);
                far.bytes.extend(head.iter().chain(&body).take(n));
                own.written += n as u64;
            }
            Err(e) if far.no_more => assert_eq!(e.kind(), io::ErrorKind::BrokenPipe),
            Err(e) => assert!(is_blocked(&e) && !far.bytes.is_empty(), "{e}"),
        }
    }

    fn read(rng: &mut Rng, at: &Stream, own: &mut Model) {
        let mut room = vec![0; 1 + rng.below(40_000) as usize];
        match at.try_read(&mut room) {
            Ok(0) => assert!(own.bytes.is_empty() && own.no_more),
            Ok(n) => {
                assert_eq!(n, room.len().min(own.bytes.len()));
                assert!(own.bytes.drain(..n).eq(room.drain(..n)));
                assert!(room.iter().all(|byte| *byte == 0), "nothing behind what was read");
                own.read += n as u64;
            }
            Err(e) => assert!(is_blocked(&e) && own.bytes.is_empty() && !own.no_more, "{e}"),
        }
    }

    fn look(ends: &[Stream; 2], models: &[Model; 2]) {
        let handles = [0, 1].map(|i| ends[i].handle());
        let (mut seen, mut loud) = ([Hangup::No; 2], Vec::new());
        hangups(&[(0, handles[0]), (1, handles[1])], |i, how| seen[i as usize] = how);
        for (i, (end, model)) in ends.iter().zip(models).enumerate() {
            let expect = match (model.no_more, models[1 - i].no_more) {
                (true, true) => Hangup::Gone,
                (true, false) if model.bytes.is_empty() => Hangup::Half,
                (true, false) => Hangup::HalfBehindBytes,
                (false, _) => Hangup::No,
            };
            assert_eq!(seen[i], expect);
            assert_eq!(end.has_unread(), !model.bytes.is_empty());
            let is_quiet = model.bytes.is_empty() && !model.no_more;
            assert_eq!(end.is_quiet(), is_quiet);
            loud.extend((!is_quiet).then_some(handles[i]));
            assert_eq!((end.bytes_read(), end.bytes_written()), (model.read, model.written));
        }
        assert_eq!(not_quiet(&handles), loud);
    }

    /// Reads what is left; the far end is gone.
    async fn read_to_the_end(end: &Stream, mut model: Model, far_left_bytes: bool) {
        let mut room = vec![0; 64 << 10];
        loop {
            end.wait_readable().await.expect("the end is readable");
            match end.try_read(&mut room) {
                Ok(0) => break,
                Ok(n) => assert!(model.bytes.drain(..n).eq(room[..n].iter().copied())),
                Err(e) if is_blocked(&e) => {}
                Err(e) => {
                    assert!(far_left_bytes && e.kind() == io::ErrorKind::ConnectionReset, "{e}");
                    break;
                }
            }
        }
        assert!(model.bytes.is_empty());
    }

    /// Two ends in any use are two queues of bytes; waits that are given up on lose nothing, and
    /// the far end sees the close behind all bytes.
    #[test]
    fn streams_are_what_queues_of_bytes_would_be() {
        on_both_drivers(async |mut rng| {
            for _ in 0..STEPS / 200 {
                let (a, b) = UnixStream::pair().expect("a pair");
                let stream = |s: UnixStream| {
                    s.set_nonblocking(true).expect("a socket");
                    Stream::of(Source::new(s.into()).expect("inside a runtime"))
                };
                let ends = [stream(a), stream(b)];
                let mut models = [Model::default(), Model::default()];
                for _ in 0..rng.below(400) {
                    let i = rng.below(2) as usize;
                    let [first, second] = &mut models;
                    let (own, far) = if i == 0 { (first, second) } else { (second, first) };
                    match rng.below(16) {
                        0..=5 => write(&mut rng, &ends[i], own, far),
                        6..=11 => read(&mut rng, &ends[i], own),
                        12 => {
                            // Begun and dropped.
                            is_over(pin!(ends[i].wait_readable()));
                            is_over(pin!(ends[i].wait_writable()));
                        }
                        13 if !own.bytes.is_empty() => {
                            ends[i].wait_readable().await.expect("there is something");
                        }
                        14 if rng.one_in(20) => {
                            ends[i].shut(Shut::Write);
                            far.no_more = true;
                        }
                        _ => look(&ends, &models),
                    }
                }
                let ([gone, end], [left, model]) = (ends, models);
                if rng.one_in(2) {
                    is_over(pin!(gone.wait_readable()));
                }
                drop(gone);
                read_to_the_end(&end, model, !left.bytes.is_empty()).await;
            }
        });
    }

    /// However many rings, and also when they do not fit: heard until none is left, then silent.
    #[test]
    fn a_bell_is_what_a_counter_would_be() {
        on_both_drivers(async |mut rng| {
            let (bell, end) = bell().expect("a pair");
            let doorbell = Doorbell::adopt(end).expect("inside a runtime");
            let mut rings = 0u32;
            for _ in 0..2_000 {
                if rng.one_in(2) {
                    let more = if rng.one_in(50) { 1_000 } else { rng.below(4) };
                    (0..more).for_each(|_| bell.ring());
                    rings += more;
                } else if rings > 500 {
                    // Some of them did not fit.
                    while is_over(pin!(doorbell.heard())) {
                        rings = rings.saturating_sub(64);
                    }
                    rings = 0;
                } else {
                    assert_eq!(is_over(pin!(doorbell.heard())), rings > 0);
                    rings = rings.saturating_sub(64);
                }
            }
            bell.ring();
            drop(bell);
            let mut heard = 0;
            while doorbell.heard().await {
                heard += 1;
            }
            assert!(heard > 0, "the last ring is heard, then the end");
        });
    }
}
