//! The relay over plain epoll: edges, one buffer for everything, no wait but one.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::message::{Step, Tracker};
use super::sys::{self, Epoll};
use super::{BUFFER, POOL_MAX};

/// Events taken with one call.
const EVENTS: usize = 512;
/// What stands behind the last bytes and makes no further edge.
const ENDS: libc::c_int = libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR;

/// A connection to a client or to the origin, found by its descriptor.
struct Conn {
    fd: OwnedFd,
    is_client: bool,
    /// The other side of an exchange. An origin's connection without one is in the pool.
    other: Option<RawFd>,
    /// Follows what is read from it.
    tracker: Tracker,
    /// The beginning of a head.
    held: Vec<u8>,
    /// What it had no room for. While there is any, its other side is not read.
    unsent: Vec<u8>,
    close_when_sent: bool,
}

struct Relay {
    epoll: Epoll,
    listener: OwnedFd,
    origin: u16,
    conns: Vec<Option<Conn>>,
    pool: Vec<RawFd>,
}

pub fn run(port: u16, origin: u16) -> io::Result<()> {
    let (epoll, listener) = (Epoll::new()?, sys::listen(port)?);
    epoll.add(listener.as_raw_fd())?;
    let mut relay = Relay { epoll, listener, origin, conns: Vec::new(), pool: Vec::new() };
    let mut buf: Box<[u8; BUFFER]> =
        vec![0; BUFFER].into_boxed_slice().try_into().expect("of that size");
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS];
    loop {
        let n = relay.epoll.wait(&mut events)?;
        for event in &events[..n] {
            let fd = event.u64 as RawFd;
            if fd == relay.listener.as_raw_fd() {
                relay.accept()?;
            } else {
                relay.flush(fd, &mut buf);
                relay.read(fd, &mut buf, event.events & ENDS as u32 != 0);
            }
        }
    }
}

impl Relay {
    fn conn(&mut self, fd: RawFd) -> Option<&mut Conn> {
        self.conns.get_mut(fd as usize)?.as_mut()
    }

    fn add(&mut self, fd: OwnedFd, is_client: bool) -> io::Result<RawFd> {
        let at = fd.as_raw_fd();
        self.epoll.add(at)?;
        if self.conns.len() <= at as usize {
            self.conns.resize_with(at as usize + 1, || None);
        }
        self.conns[at as usize] = Some(Conn {
            fd,
            is_client,
            other: None,
            tracker: Tracker::request(),
            held: Vec::new(),
            unsent: Vec::new(),
            close_when_sent: false,
        });
        Ok(at)
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            match sys::accept(self.listener.as_raw_fd()) {
                Ok(fd) => _ = self.add(fd, true)?,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// An edge may be another connection's that had this descriptor: only the read tells.
    /// `to_end`: what there is may not make another edge. Else a short read is the last.
    fn read(&mut self, fd: RawFd, buf: &mut [u8; BUFFER], to_end: bool) {
        loop {
            let Some(conn) = self.conn(fd) else { return };
            if conn.close_when_sent {
                return;
            }
            let other = conn.other;
            if other.and_then(|o| self.conn(o)).is_some_and(|o| !o.unsent.is_empty()) {
                return; // flush comes back to it
            }
            match sys::recv(fd, buf) {
                Ok(0) => return self.ended(fd),
                Ok(n) => {
                    if self.passed(fd, &mut buf[..n]).is_none() {
                        return self.abort(fd);
                    }
                    if n < BUFFER && !to_end {
                        return; // what comes later is another edge
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.ended(fd),
            }
        }
    }

    /// Passes on what was read; `None` when the exchange can't go on.
    fn passed(&mut self, fd: RawFd, bytes: &mut [u8]) -> Option<()> {
        let conn = self.conn(fd)?;
        let mut held = std::mem::take(&mut conn.held);
        let is_held = !held.is_empty();
        if is_held {
            held.extend_from_slice(bytes);
        }
        let all = if is_held { &mut held[..] } else { bytes };
        let is_client = conn.is_client;
        if !is_client && conn.other.is_none() {
            return None; // nobody asked
        }
        let step = conn.tracker.step(all).ok()?;
        if step == Step::Partial {
            conn.held = all.to_vec();
            return Some(());
        }
        let other = match conn.other {
            Some(other) => other,
            None => self.upstream(fd)?,
        };
        self.write(other, all)?;
        if !is_client && step == Step::Whole {
            self.finish(fd, other);
        }
        Some(())
    }

    /// A connection to the origin for a client's exchange.
    fn upstream(&mut self, client: RawFd) -> Option<RawFd> {
        let fd = match self.pool.pop() {
            Some(fd) => fd,
            None => {
                let fd = sys::connect(self.origin).ok()?;
                self.add(fd, false).ok()?
            }
        };
        let from = self.conn(client)?;
        from.other = Some(fd);
        let says_close = from.tracker.closes();
        let to = self.conn(fd)?;
        (to.other, to.tracker) = (Some(client), Tracker::answer(says_close));
        Some(fd)
    }

    fn write(&mut self, fd: RawFd, bytes: &[u8]) -> Option<()> {
        let conn = self.conn(fd)?;
        if !conn.unsent.is_empty() {
            conn.unsent.extend_from_slice(bytes);
            return Some(());
        }
        let n = match sys::send(fd, bytes) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
            done => done.ok()?,
        };
        if n < bytes.len() {
            conn.unsent.extend_from_slice(&bytes[n..]);
            self.epoll.wants_room(fd, true).ok()?;
        }
        Some(())
    }

    /// Sends what waited for room; then its other side is read again.
    fn flush(&mut self, fd: RawFd, buf: &mut [u8; BUFFER]) {
        let Some(conn) = self.conn(fd) else { return };
        if conn.unsent.is_empty() {
            return;
        }
        match sys::send(fd, &conn.unsent) {
            Ok(n) => _ = conn.unsent.drain(..n),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return self.abort(fd),
        }
        if !conn.unsent.is_empty() {
            return;
        }
        let (other, is_over) = (conn.other, conn.close_when_sent);
        if is_over || self.epoll.wants_room(fd, false).is_err() {
            return self.abort(fd);
        }
        if let Some(other) = other {
            self.read(other, buf, true);
        }
    }

    /// An answer is whole: both sides go their ways.
    fn finish(&mut self, up: RawFd, client: RawFd) {
        let Some(conn) = self.conn(client) else { return };
        conn.other = None;
        let request = std::mem::replace(&mut conn.tracker, Tracker::request());
        let Some(to) = self.conn(up) else { return };
        to.other = None;
        let answer_closes = to.tracker.closes();
        let reusable = request.is_whole() && !answer_closes && to.unsent.is_empty();
        if reusable && self.pool.len() < POOL_MAX {
            self.pool.push(up);
        } else {
            self.close(up);
        }
        if request.closes() || answer_closes || !request.is_whole() {
            self.close_when_sent(client);
        }
    }

    fn close_when_sent(&mut self, fd: RawFd) {
        let Some(conn) = self.conn(fd) else { return };
        conn.close_when_sent = true;
        if conn.unsent.is_empty() {
            self.close(fd);
        }
    }

    /// One side sends no more.
    fn ended(&mut self, fd: RawFd) {
        let Some(conn) = self.conn(fd) else { return };
        match conn.other {
            Some(client) if !conn.is_client && conn.tracker.ends_with_connection() => {
                self.close(fd);
                if let Some(client) = self.conn(client) {
                    client.other = None;
                }
                self.close_when_sent(client);
            }
            _ => self.abort(fd),
        }
    }

    /// Closes a connection and the other side of its exchange.
    fn abort(&mut self, fd: RawFd) {
        let other = self.conn(fd).and_then(|conn| conn.other);
        self.close(fd);
        if let Some(other) = other {
            self.close(other);
        }
    }

    fn close(&mut self, fd: RawFd) {
        let Some(slot) = self.conns.get_mut(fd as usize) else { return };
        let Some(conn) = slot.take() else { return };
        if !conn.is_client && conn.other.is_none() {
            self.pool.retain(|pooled| *pooled != fd);
        }
        drop(conn.fd);
    }
}
