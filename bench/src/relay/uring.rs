//! The relay over plain io_uring: multishot accepts and receives into a ring of buffers, sends
//! out of the same buffers. One turn submits what the last one led to.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};

use io_uring::{IoUring, cqueue, opcode, squeue, types};

use super::message::{Step, Tracker};
use super::provided::{Buffers, GROUP};
use super::{POOL_MAX, sys};

/// Entries of the submission ring.
const ENTRIES: u32 = 4096;
/// Pieces that wait for one connection before its other side is received from no more. What
/// arrives all the same is copied, so that slow readers don't keep the buffers of all others.
const QUEUE_MAX: usize = 3;

/// What a completion belongs to: kind and connection.
#[derive(Clone, Copy)]
enum Op {
    Accept,
    Recv,
    Send,
    /// Nobody waits for it.
    Other,
}

fn tag(op: Op, at: usize) -> u64 {
    (op as u64) << 32 | at as u64
}

/// Bytes on their way out.
enum Piece {
    Buffer { id: u16, from: usize, to: usize },
    Own { bytes: Vec<u8>, from: usize },
}

/// A connection to a client or to the origin. Its place is free only when the kernel has no more
/// to say about it.
struct Conn {
    fd: RawFd,
    is_client: bool,
    /// The other side of an exchange. An origin's connection without one is in the pool.
    other: Option<usize>,
    /// Follows what is read from it.
    tracker: Tracker,
    /// The beginning of a head.
    held: Vec<u8>,
    queue: VecDeque<Piece>,
    is_receiving: bool,
    /// The kernel was asked to end the receive, until there is room.
    is_pausing: bool,
    is_sending: bool,
    is_closing: bool,
}

struct Relay {
    ring: IoUring,
    buffers: Buffers,
    listener: OwnedFd,
    origin: u16,
    conns: Vec<Option<Conn>>,
    free: Vec<usize>,
    pool: Vec<usize>,
    /// Those that found no buffer.
    starved: Vec<usize>,
}

pub fn run(port: u16, origin: u16) -> io::Result<()> {
    let ring = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(ENTRIES)?;
    let mut relay = Relay {
        buffers: Buffers::register(&ring)?,
        ring,
        listener: sys::listen(port)?,
        origin,
        conns: Vec::new(),
        free: Vec::new(),
        pool: Vec::new(),
        starved: Vec::new(),
    };
    relay.accept();
    let mut done = Vec::new();
    loop {
        match relay.ring.submit_and_wait(1) {
            Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
            _ => done.extend(relay.ring.completion()),
        }
        for entry in done.drain(..) {
            relay.completed(&entry)?;
        }
        if !relay.starved.is_empty() && relay.buffers.any_free() {
            for at in std::mem::take(&mut relay.starved) {
                relay.recv(at);
            }
        }
    }
}

impl Relay {
    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: what an entry points to outlives its operation: buffers are taken back, and
        // pieces leave their queue, only with the completion.
        #[allow(unsafe_code)]
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            _ = self.ring.submit(); // full: hand over what there is
        }
    }

    fn conn(&mut self, at: usize) -> Option<&mut Conn> {
        self.conns.get_mut(at)?.as_mut()
    }

    fn completed(&mut self, entry: &cqueue::Entry) -> io::Result<()> {
        let (op, at) = (entry.user_data() >> 32, entry.user_data() as u32 as usize);
        let (result, flags) = (entry.result(), entry.flags());
        match op {
            op if op == Op::Accept as u64 => {
                match result {
                    fd if fd >= 0 => _ = self.add(fd, true),
                    e if e == -libc::ECONNABORTED => {}
                    e => return Err(io::Error::from_raw_os_error(-e)),
                }
                if !cqueue::more(flags) {
                    self.accept();
                }
            }
            op if op == Op::Recv as u64 => self.received(at, result, flags),
            op if op == Op::Send as u64 => self.sent(at, result),
            _ => {}
        }
        Ok(())
    }

    fn accept(&mut self) {
        let fd = types::Fd(self.listener.as_raw_fd());
        let accept = opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC);
        self.push(&accept.build().user_data(tag(Op::Accept, 0)));
    }

    fn add(&mut self, fd: RawFd, is_client: bool) -> usize {
        let conn = Conn {
            fd,
            is_client,
            other: None,
            tracker: Tracker::request(),
            held: Vec::new(),
            queue: VecDeque::new(),
            is_receiving: false,
            is_pausing: false,
            is_sending: false,
            is_closing: false,
        };
        let at = self.free.pop().unwrap_or(self.conns.len());
        if at == self.conns.len() {
            self.conns.push(None);
        }
        self.conns[at] = Some(conn);
        self.recv(at);
        at
    }

    /// Whether its other side has enough to do.
    fn is_held_up(&self, at: usize) -> bool {
        let other = self.conns[at].as_ref().and_then(|conn| self.conns[conn.other?].as_ref());
        other.is_some_and(|other| other.queue.len() >= QUEUE_MAX)
    }

    fn pause(&mut self, at: usize) {
        let Some(conn) = self.conn(at) else { return };
        if conn.is_receiving && !conn.is_pausing {
            conn.is_pausing = true;
            let cancel = opcode::AsyncCancel::new(tag(Op::Recv, at)).build();
            self.push(&cancel.user_data(tag(Op::Other, 0)));
        }
    }

    fn recv(&mut self, at: usize) {
        let Some(conn) = self.conn(at) else { return };
        if conn.is_receiving || conn.is_closing || self.is_held_up(at) {
            return;
        }
        let Some(conn) = self.conn(at) else { return };
        (conn.is_receiving, conn.is_pausing) = (true, false);
        let recv = opcode::RecvMulti::new(types::Fd(conn.fd), GROUP);
        self.push(&recv.build().user_data(tag(Op::Recv, at)));
    }

    fn received(&mut self, at: usize, result: i32, flags: u32) {
        let buffer = cqueue::buffer_select(flags).inspect(|_| self.buffers.took());
        let Some(conn) = self.conn(at) else { return };
        conn.is_receiving = cqueue::more(flags);
        let is_closing = conn.is_closing;
        match (buffer, result) {
            (Some(id), n) if n > 0 && !is_closing => {
                if self.passed(at, id, n as usize).is_none() {
                    self.abort(at);
                }
            }
            (Some(id), _) => {
                self.buffers.give_back(id);
                self.ended(at);
            }
            (None, e) if e == -libc::ENOBUFS && !is_closing => return self.starved.push(at),
            (None, e) if e == -libc::ECANCELED && !is_closing => {}
            (None, _) => self.ended(at),
        }
        self.recv(at);
        self.close_if_over(at);
    }

    /// Passes on what was received; `None` when the exchange can't go on.
    fn passed(&mut self, at: usize, id: u16, n: usize) -> Option<()> {
        let conn = self.conns[at].as_mut()?;
        let bytes = self.buffers.bytes(id, n);
        let (is_client, other) = (conn.is_client, conn.other);
        let is_held = !conn.held.is_empty();
        let step = if is_held {
            conn.held.extend_from_slice(bytes);
            conn.tracker.step(&mut conn.held)
        } else {
            conn.tracker.step(bytes)
        };
        let is_asked = is_client || other.is_some();
        let step = step.ok().filter(|_| is_asked);
        if step == Some(Step::Partial) && !is_held {
            conn.held.extend_from_slice(bytes);
        }
        if is_held || matches!(step, None | Some(Step::Partial)) {
            self.buffers.give_back(id);
        }
        let step = step?;
        if step == Step::Partial {
            return Some(());
        }
        let piece = match is_held {
            true => Piece::Own { bytes: std::mem::take(&mut conn.held), from: 0 },
            false => Piece::Buffer { id, from: 0, to: n },
        };
        let other = other.or_else(|| self.upstream(at));
        match other {
            Some(other) => {
                self.queue(other, piece);
                if self.is_held_up(at) {
                    self.pause(at);
                }
            }
            None => {
                self.drop_piece(piece);
                return None;
            }
        }
        if !is_client && step == Step::Whole {
            self.finish(at, other?);
        }
        Some(())
    }

    /// A connection to the origin for a client's exchange.
    fn upstream(&mut self, client: usize) -> Option<usize> {
        let at = match self.pool.pop() {
            Some(at) => at,
            None => {
                let fd = sys::connect(self.origin).ok()?;
                self.add(fd.into_raw_fd(), false)
            }
        };
        let from = self.conn(client)?;
        from.other = Some(at);
        let says_close = from.tracker.closes();
        let to = self.conn(at)?;
        (to.other, to.tracker) = (Some(client), Tracker::answer(says_close));
        Some(at)
    }

    fn queue(&mut self, at: usize, mut piece: Piece) {
        if let (Piece::Buffer { id, from, to }, Some(conn)) = (&piece, &self.conns[at])
            && conn.queue.len() >= QUEUE_MAX
        {
            let bytes = self.buffers.bytes(*id, *to)[*from..].to_vec();
            self.buffers.give_back(*id);
            piece = Piece::Own { bytes, from: 0 };
        }
        match self.conns[at].as_mut() {
            Some(conn) if !conn.is_closing => conn.queue.push_back(piece),
            _ => return self.drop_piece(piece),
        }
        self.send(at);
    }

    fn drop_piece(&mut self, piece: Piece) {
        if let Piece::Buffer { id, .. } = piece {
            self.buffers.give_back(id);
        }
    }

    /// Sends the first piece, unless one is on its way.
    fn send(&mut self, at: usize) {
        let Some(conn) = self.conns[at].as_mut().filter(|conn| !conn.is_sending) else { return };
        let bytes = match conn.queue.front() {
            Some(Piece::Buffer { id, from, to }) => &self.buffers.bytes(*id, *to)[*from..],
            Some(Piece::Own { bytes, from }) => &bytes[*from..],
            None => return,
        };
        conn.is_sending = true;
        // The kernel goes on by itself where there was not room for everything.
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
        let send = opcode::Send::new(types::Fd(conn.fd), bytes.as_ptr(), bytes.len() as u32);
        let entry = send.flags(flags).build().user_data(tag(Op::Send, at));
        self.push(&entry);
    }

    fn sent(&mut self, at: usize, result: i32) {
        let Some(conn) = self.conns[at].as_mut() else { return };
        conn.is_sending = false;
        let is_done = match conn.queue.front_mut() {
            Some(Piece::Buffer { from, to, .. }) => {
                *from += result.max(0) as usize;
                from >= to
            }
            Some(Piece::Own { bytes, from }) => {
                *from += result.max(0) as usize;
                *from >= bytes.len()
            }
            None => true,
        };
        let piece = conn.queue.pop_front_if(|_| is_done || result < 0);
        let waiting = conn.other.filter(|_| conn.queue.len() < QUEUE_MAX);
        if let Some(piece) = piece {
            self.drop_piece(piece);
        }
        if result < 0 {
            self.abort(at);
        } else {
            self.send(at);
            if let Some(other) = waiting {
                self.recv(other);
            }
        }
        self.close_if_over(at);
    }

    /// An answer is whole: both sides go their ways.
    fn finish(&mut self, up: usize, client: usize) {
        let Some(conn) = self.conn(client) else { return };
        conn.other = None;
        let request = std::mem::replace(&mut conn.tracker, Tracker::request());
        let Some(to) = self.conn(up) else { return };
        to.other = None;
        let answer_closes = to.tracker.closes();
        let reusable = request.is_whole() && !answer_closes && to.queue.is_empty();
        let is_open = to.is_receiving && !to.is_closing;
        if reusable && is_open && self.pool.len() < POOL_MAX {
            self.pool.push(up);
        } else {
            self.close(up);
        }
        if request.closes() || answer_closes || !request.is_whole() {
            self.close(client);
        }
    }

    /// One side sends no more.
    fn ended(&mut self, at: usize) {
        let Some(conn) = self.conn(at) else { return };
        match conn.other.take() {
            Some(client) if !conn.is_client && conn.tracker.ends_with_connection() => {
                self.close(at);
                if let Some(client) = self.conn(client) {
                    client.other = None;
                }
                self.close(client);
            }
            other => {
                conn.other = other;
                self.abort(at);
            }
        }
    }

    /// Closes a connection and the other side of its exchange, with what waits to be sent.
    fn abort(&mut self, at: usize) {
        let other = self.conn(at).and_then(|conn| conn.other.take());
        for at in [Some(at), other].into_iter().flatten() {
            let Some(conn) = self.conn(at) else { continue };
            conn.other = None;
            let is_sending = usize::from(conn.is_sending);
            let waiting = conn.queue.split_off(is_sending.min(conn.queue.len()));
            if conn.is_sending {
                let every = types::CancelBuilder::fd(types::Fd(conn.fd)).all();
                let cancel = opcode::AsyncCancel2::new(every).build();
                self.push(&cancel.user_data(tag(Op::Other, 0)));
            }
            waiting.into_iter().for_each(|piece| self.drop_piece(piece));
            self.close(at);
        }
    }

    /// Closes when everything is sent; receives no more.
    fn close(&mut self, at: usize) {
        let Some(conn) = self.conn(at) else { return };
        if !conn.is_client {
            self.pool.retain(|pooled| *pooled != at);
        }
        let Some(conn) = self.conn(at).filter(|conn| !conn.is_closing) else { return };
        conn.is_closing = true;
        if conn.is_receiving {
            let cancel = opcode::AsyncCancel::new(tag(Op::Recv, at)).build();
            self.push(&cancel.user_data(tag(Op::Other, 0)));
        }
        self.close_if_over(at);
    }

    fn close_if_over(&mut self, at: usize) {
        let Some(conn) = self.conn(at) else { return };
        let is_busy = conn.is_receiving || conn.is_sending || !conn.queue.is_empty();
        if conn.is_closing && !is_busy {
            let fd = types::Fd(conn.fd);
            self.conns[at] = None;
            self.free.push(at);
            self.starved.retain(|starved| *starved != at);
            self.push(&opcode::Close::new(fd).build().user_data(tag(Op::Other, 0)));
        }
    }
}
