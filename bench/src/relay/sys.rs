//! System calls of the relays.

#![allow(unsafe_code)] // system calls on descriptors that the callers own

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::BUFFER;

/// Connections that wait to be accepted, as with the peers.
const BACKLOG: u32 = 4096;

fn check(result: isize) -> io::Result<usize> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as usize) }
}

/// A listening socket; what it accepts inherits that it sends without delay.
pub fn listen(port: u16) -> io::Result<OwnedFd> {
    let listener = engine::rt::listen_tcp(([127, 0, 0, 1], port).into(), BACKLOG, false)?;
    socket2::SockRef::from(&listener).set_tcp_nodelay(true)?;
    Ok(listener)
}

/// Connects to the origin. On loopback, with room in its queue, there is no wait in it.
#[allow(clippy::disallowed_methods)] // a program of its own
pub fn connect(origin: u16) -> io::Result<OwnedFd> {
    let stream = std::net::TcpStream::connect(("127.0.0.1", origin))?;
    stream.set_nodelay(true)?;
    Ok(stream.into())
}

pub fn accept(listener: RawFd) -> io::Result<OwnedFd> {
    let none = std::ptr::null_mut();
    // SAFETY: no address is asked for.
    let fd =
        check(unsafe { libc::accept4(listener, none, std::ptr::null_mut(), libc::SOCK_CLOEXEC) }
            as isize)?;
    // SAFETY: accept4 gave us this descriptor; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

pub fn recv(fd: RawFd, room: &mut [u8; BUFFER]) -> io::Result<usize> {
    // SAFETY: writes at most `room.len()` bytes into `room`.
    check(unsafe { libc::recv(fd, room.as_mut_ptr().cast(), room.len(), libc::MSG_DONTWAIT) })
}

pub fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    const FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: reads `bytes.len()` bytes of `bytes`.
    check(unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), FLAGS) })
}

/// Descriptors that wait, told once for each change (EPOLLET).
pub struct Epoll(OwnedFd);

const READ: libc::c_int = libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET;

impl Epoll {
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: a plain call.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) } as isize)?;
        // SAFETY: epoll_create1 gave us this descriptor; nobody else has it.
        Ok(Epoll(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }))
    }

    fn control(&self, what: libc::c_int, fd: RawFd, events: libc::c_int) -> io::Result<()> {
        let mut event = libc::epoll_event { events: events as u32, u64: fd as u64 };
        // SAFETY: reads a local event.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), what, fd, &mut event) } as isize)?;
        Ok(())
    }

    /// Tells when there is something to read. A close of the descriptor ends it.
    pub fn add(&self, fd: RawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, READ)
    }

    /// Tells as well when there is room to write.
    pub fn wants_room(&self, fd: RawFd, wants: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, if wants { READ | libc::EPOLLOUT } else { READ })
    }

    /// Waits; how many of `events` were filled.
    pub fn wait(&self, events: &mut [libc::epoll_event]) -> io::Result<usize> {
        let (fd, len) = (self.0.as_raw_fd(), events.len() as libc::c_int);
        // SAFETY: writes at most `len` events into the slice.
        match check(unsafe { libc::epoll_wait(fd, events.as_mut_ptr(), len, -1) } as isize) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(0),
            done => done,
        }
    }
}
