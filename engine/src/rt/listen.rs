//! Listening sockets: bound by control, accepted from on workers.

#![allow(unsafe_code)] // system calls on descriptors this file owns
#![cfg_attr(test, allow(dead_code))]

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use super::net::{Source, StreamEnd, check};

/// Where a connection came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    Ip(SocketAddr),
    Unix,
}

/// A listening socket on this worker.
#[derive(Debug)]
pub struct Listener {
    source: Source,
    unix: bool,
    /// As it was set here; whoever handed the socket over may have set it, too.
    deferred: Cell<u32>,
}

/// A listening socket on its way to a worker.
pub type ListenerEnd = OwnedFd;

impl Listener {
    /// Takes over a socket that control bound and that listens.
    pub fn adopt(end: ListenerEnd, unix: bool) -> io::Result<Listener> {
        Ok(Listener { source: Source::new(end)?, unix, deferred: Cell::new(0) })
    }

    /// From now on the kernel queues no new connection here; those which it has queued can still
    /// be accepted. A close alone would reset what came after the last accept. (A filter that
    /// drops every packet to the listening socket; unix sockets are unlinked first.)
    pub fn refuse_new(&self) {
        // `ret 0`: keep no byte of any packet.
        let mut nothing = [libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 }];
        let program = libc::sock_fprog { len: 1, filter: nothing.as_mut_ptr() };
        // SAFETY: the kernel copies the program, which lives until after the call. An error
        // leaves the socket as it was.
        unsafe {
            libc::setsockopt(
                self.source.fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const program).cast(),
                size_of::<libc::sock_fprog>() as libc::socklen_t,
            )
        };
    }

    /// Another bound of the kernel's queue (listen(2) on a listening socket).
    pub fn set_backlog(&self, backlog: u32) {
        // SAFETY: our own listening socket; an error leaves it as it was.
        unsafe { libc::listen(self.source.fd(), backlog as libc::c_int) };
    }

    /// Connections are told of once they have sent something, or after about `seconds`; 0: at once.
    pub fn defer_accept(&self, seconds: u32) {
        if self.deferred.replace(seconds) == seconds {
            return;
        }
        // SAFETY: passes a local int of the right size; an error (a unix socket) changes nothing.
        unsafe {
            libc::setsockopt(
                self.source.fd(),
                libc::IPPROTO_TCP,
                libc::TCP_DEFER_ACCEPT,
                (&raw const seconds).cast(),
                size_of::<u32>() as libc::socklen_t,
            )
        };
    }

    pub async fn wait(&self) -> io::Result<()> {
        self.source.readable().await
    }

    /// Takes one waiting connection. Never waits: `WouldBlock` when there is none.
    pub fn try_accept(&self) -> io::Result<(StreamEnd, Peer)> {
        // SAFETY: all-zero is a valid sockaddr_storage.
        let mut address: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        let mut len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `len` bytes into `address`.
        let fd = unsafe {
            libc::accept4(
                self.source.fd(),
                (&raw mut address).cast(),
                &mut len,
                libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
            )
        };
        let fd = check(fd as isize)? as RawFd;
        // SAFETY: accept4 gave us this descriptor; nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let peer = match self.unix {
            true => Peer::Unix,
            false => Peer::Ip(peer_of(&address).ok_or(io::ErrorKind::InvalidData)?),
        };
        if !self.unix {
            let on: libc::c_int = 1;
            // SAFETY: passes a local int of the right size.
            unsafe {
                libc::setsockopt(
                    fd.as_raw_fd(),
                    libc::IPPROTO_TCP,
                    libc::TCP_NODELAY,
                    (&raw const on).cast(),
                    size_of::<libc::c_int>() as libc::socklen_t,
                )
            };
        }
        Ok((fd, peer))
    }
}

fn peer_of(address: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(address.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the kernel wrote a sockaddr_in.
            let v4 = unsafe { &*(&raw const *address).cast::<libc::sockaddr_in>() };
            let ip = std::net::Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::from((ip, u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that the kernel wrote a sockaddr_in6.
            let v6 = unsafe { &*(&raw const *address).cast::<libc::sockaddr_in6>() };
            let ip = std::net::Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddr::from((ip, u16::from_be(v6.sin6_port))))
        }
        _ => None,
    }
}

/// Whether a TCP socket could listen on an address that nobody listens on. (It does not: a client
/// that came meanwhile would be reset.)
pub fn probe_tcp(address: SocketAddr) -> io::Result<()> {
    bind_tcp(address, false).map(drop)
}

/// Opens one listening TCP socket. With `share`, further ones may listen on the same address.
pub fn listen_tcp(address: SocketAddr, backlog: u32, share: bool) -> io::Result<OwnedFd> {
    let socket = bind_tcp(address, share)?;
    socket.listen(backlog.min(i32::MAX as u32) as i32)?;
    Ok(socket.into())
}

fn bind_tcp(address: SocketAddr, share: bool) -> io::Result<socket2::Socket> {
    let kind = socket2::Type::STREAM.nonblocking();
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Opens a listening unix socket at `path`, in place of a dead one.
pub fn listen_unix(path: &Path, backlog: u32) -> io::Result<OwnedFd> {
    let address = socket2::SockAddr::unix(path)?;
    let socket = || {
        let kind = socket2::Type::STREAM.nonblocking();
        socket2::Socket::new(socket2::Domain::UNIX, kind, None)
    };
    let listener = socket()?;
    if let Err(e) = listener.bind(&address) {
        // A plain file refuses connections, too: it is somebody's and stays.
        let is_socket = || {
            use std::os::unix::fs::FileTypeExt;
            std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
        };
        let dead = is_socket()
            && socket()?
                .connect(&address)
                .is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused);
        if e.kind() != io::ErrorKind::AddrInUse || !dead {
            return Err(e);
        }
        std::fs::remove_file(path)?;
        listener.bind(&address)?;
    }
    listener.listen(backlog.min(i32::MAX as u32) as i32)?;
    Ok(listener.into())
}

/// A second descriptor for the same listening socket.
pub fn duplicate(fd: &OwnedFd) -> io::Result<OwnedFd> {
    fd.try_clone()
}

#[cfg(test)]
mod model_tests {
    #![allow(clippy::disallowed_methods)] // clients of the standard library

    use std::collections::VecDeque;

    use super::*;
    use crate::rng::Rng;
    use crate::rt::net::Stream;
    use crate::rt::uring;
    use crate::snapshot::Driver;

    fn on_both_drivers(body: impl AsyncFn(Rng)) {
        for driver in [Driver::Epoll, Driver::Auto] {
            let ran = uring::run(driver, |_| body(Rng::from_u64(14)));
            ran.expect("epoll runs everywhere");
        }
    }

    /// True when it is over at its first poll; it is dropped in any case.
    fn is_blocked(e: &io::Error) -> bool {
        e.kind() == io::ErrorKind::WouldBlock
    }

    #[test]
    fn accepted_connections_come_from_where_their_clients_are() {
        on_both_drivers(async |mut rng| {
            let any = "127.0.0.1:0".parse().expect("an address");
            let end = listen_tcp(any, 16, false).expect("a port");
            let socket = socket2::SockRef::from(&end).local_addr().expect("bound");
            let address = socket.as_socket().expect("TCP");
            let listener = Listener::adopt(end, false).expect("inside a runtime");
            let mut waiting = VecDeque::new();
            let mut accepted = Vec::new();
            for _ in 0..200 {
                if waiting.len() < 10 && rng.one_in(2) {
                    let client = std::net::TcpStream::connect(address).expect("it listens");
                    waiting.push_back(client);
                } else if let Some(client) = waiting.pop_front() {
                    listener.wait().await.expect("one waits");
                    let (end, peer) = listener.try_accept().expect("one waits");
                    assert_eq!(peer, Peer::Ip(client.local_addr().expect("connected")));
                    accepted.push((Stream::adopt(end).expect("inside a runtime"), client));
                } else {
                    assert!(is_blocked(&listener.try_accept().expect_err("none waits")));
                }
            }
            for (stream, mut client) in accepted {
                io::Write::write_all(&mut client, b"hi").expect("it is accepted");
                stream.wait_readable().await.expect("bytes");
                let mut room = [0; 8];
                assert_eq!((stream.try_read(&mut room).expect("two"), &room[..2]), (2, &b"hi"[..]));
            }
        });
    }
}
