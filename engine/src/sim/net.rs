//! A network of pipes with bounded capacity: bytes arrive in pieces, late, or not at all.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::task::Waker;
use std::time::Duration;

use crate::rt::{ALERT_BYTES_MAX, Hangup};
use crate::sim::exec::World;
use crate::sim::fault::Fault;
use crate::sim::seen::{Kind, Promise};
use crate::time::Mono;

/// Connections in a listening socket's queue, in worlds where it may overflow.
const SMALL_QUEUE: usize = 2;

/// Bytes under way and unread in one direction.
const PIPE_MAX: usize = 24 << 10;

/// One direction of a connection.
#[derive(Default, Debug)]
pub struct Pipe {
    under_way: VecDeque<(Mono, Vec<u8>)>,
    arrived: VecDeque<u8>,
    /// The writer has shut; `Some` is when that arrives.
    end_at: Option<Mono>,
    readers: Vec<Waker>,
    writers: Vec<Waker>,
    /// Bytes that have ever arrived.
    arrived_total: usize,
}

impl Pipe {
    fn held(&self) -> usize {
        self.arrived.len() + self.under_way.iter().map(|(_, b)| b.len()).sum::<usize>()
    }

    fn arrive(&mut self, now: Mono) {
        while self.under_way.front().is_some_and(|(at, _)| *at <= now) {
            let (_, bytes) = self.under_way.pop_front().expect("seen above");
            self.arrived_total += bytes.len();
            self.arrived.extend(bytes);
        }
    }

    fn has_ended(&self, now: Mono) -> bool {
        self.under_way.is_empty() && self.end_at.is_some_and(|at| at <= now)
    }

    fn last_arrival(&self) -> Mono {
        self.under_way.back().map_or(Mono(0), |(at, _)| *at)
    }
}

/// A connection: `pipes[side]` is what `side` reads.
#[derive(Default, Debug)]
pub struct Link {
    pipes: [Pipe; 2],
    reset: [bool; 2],
    closed: [bool; 2],
    /// What had arrived at a side when it first said that it is over.
    arrived_at_end: [Option<usize>; 2],
    from: Option<SocketAddr>,
    to: Option<SocketAddr>,
    accepted: bool,
    /// Its origin has answered all it was asked and waits for more.
    rests: bool,
    /// Its origin has sent what nobody asked for.
    spoiled: bool,
}

/// What became of an attempt to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialled {
    Made(End),
    Refused,
    /// The queue overflows; the attempt goes unanswered.
    Full,
}

#[derive(Default)]
pub struct Net {
    links: Vec<Link>,
    queues: Vec<Queue>,
    moved: bool,
    /// How connections to origins were used that should not have been.
    misused: Vec<String>,
}

struct Queue {
    address: SocketAddr,
    waiting: VecDeque<(usize, SocketAddr)>,
    accepters: Vec<Waker>,
    open: bool,
    closed: bool,
}

/// One end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    pub link: usize,
    pub side: usize,
}

fn wake_all(wakers: &mut Vec<Waker>) {
    wakers.drain(..).for_each(Waker::wake);
}

impl World {
    fn travel(&mut self) -> Duration {
        match self.strikes(Fault::Delay) {
            true => Duration::from_micros(u64::from(self.rng.below(20_000))),
            false => Duration::from_micros(u64::from(self.rng.below(50))),
        }
    }

    pub fn open_listener(&mut self, address: SocketAddr) -> u32 {
        let (waiting, accepters) = Default::default();
        self.net.queues.push(Queue { address, waiting, accepters, open: true, closed: false });
        self.net.queues.len() as u32 - 1
    }

    /// Whether some socket has the address, an ending one included.
    pub fn is_listening(&self, address: SocketAddr) -> bool {
        self.net.queues.iter().any(|q| q.address == address && !q.closed)
    }

    /// Nothing new is queued; what is can be accepted.
    pub fn refuse_new(&mut self, queue: u32) {
        self.net.queues[queue as usize].open = false;
    }

    pub fn close_listener(&mut self, queue: u32) {
        let queue = &mut self.net.queues[queue as usize];
        (queue.open, queue.closed) = (false, true);
        let waiting: Vec<_> = queue.waiting.drain(..).collect();
        for (link, _) in waiting {
            self.note_end(End { link, side: 1 });
            self.reset(End { link, side: 1 });
        }
    }

    /// Puts a new link into the queue of one of an address's sockets.
    pub fn dial(&mut self, from: SocketAddr, to: SocketAddr) -> Dialled {
        // The gateway is never refused by a fault: those belong to origins.
        let refused = !is_gateway(to) && self.strikes(Fault::Refuse);
        let is_open = |q: &&mut Queue| q.address == to && q.open && !refused;
        let count = self.net.queues.iter_mut().filter(is_open).count();
        if count == 0 {
            return Dialled::Refused;
        }
        let is_small = self.faults.has(Fault::QueueFull);
        let is_full = self.strikes(Fault::QueueFull); // of others' connections
        let which = self.rng.below(count as u32) as usize;
        let queue = self.net.queues.iter_mut().filter(is_open).nth(which).expect("counted");
        if is_full || is_small && queue.waiting.len() >= SMALL_QUEUE {
            if !is_full {
                self.seen.struck(Fault::QueueFull);
            }
            return Dialled::Full;
        }
        let link = self.net.links.len();
        self.net.moved = true;
        self.net.links.push(Link { to: Some(to), from: Some(from), ..Link::default() });
        queue.waiting.push_back((link, from));
        // The worker may be busy with something else for a while.
        let accepters = std::mem::take(&mut queue.accepters);
        for waker in accepters {
            let at = self.now.after(Duration::from_micros(u64::from(self.rng.below(200))));
            self.wake_at(at, waker);
        }
        Dialled::Made(End { link, side: 0 })
    }

    pub fn accept(&mut self, queue: u32) -> Option<(End, SocketAddr)> {
        let (link, from) = self.net.queues[queue as usize].waiting.pop_front()?;
        self.net.links[link].accepted = true;
        self.net.moved = true;
        Some((End { link, side: 1 }, from))
    }

    /// Ready, or remembers whom to wake.
    pub fn can_accept(&mut self, queue: u32, waker: &Waker) -> bool {
        let queue = &mut self.net.queues[queue as usize];
        if !queue.waiting.is_empty() {
            return true;
        }
        queue.accepters.push(waker.clone());
        false
    }

    pub fn can_read(&mut self, end: End, waker: &Waker) -> bool {
        let spurious = self.strikes(Fault::Spurious);
        let now = self.now;
        let link = &mut self.net.links[end.link];
        let pipe = &mut link.pipes[end.side];
        pipe.arrive(now);
        if spurious || !pipe.arrived.is_empty() || pipe.has_ended(now) || link.reset[end.side] {
            return true;
        }
        pipe.readers.push(waker.clone());
        false
    }

    /// A wait for readiness is given up.
    pub fn give_up(&mut self, end: End) {
        let (now, loses) = (self.now, self.strikes(Fault::LostRace));
        let pipe = &mut self.net.links[end.link].pipes[end.side];
        if loses {
            pipe.under_way.iter_mut().for_each(|(at, _)| *at = now.min(*at));
        }
        pipe.arrive(now);
        self.seen.saw(Kind::WaitGivenUp);
        if !pipe.arrived.is_empty() || pipe.has_ended(now) {
            self.seen.saw(Kind::LostRace);
        }
    }

    pub fn can_write(&mut self, end: End, waker: &Waker) -> bool {
        let link = &mut self.net.links[end.link];
        let pipe = &mut link.pipes[1 - end.side];
        if pipe.held() < PIPE_MAX || link.reset[end.side] || link.closed[1 - end.side] {
            return true;
        }
        pipe.writers.push(waker.clone());
        false
    }

    pub fn read(&mut self, end: End, room: &mut [u8]) -> io::Result<usize> {
        let short = self.strikes(Fault::ShortRead);
        let most = room.len().min(self.there(end)?);
        if most == 0 {
            return Ok(0);
        }
        let n = if short { 1 + self.rng.below(most as u32) as usize } else { most };
        let pipe = &mut self.net.links[end.link].pipes[end.side];
        for (place, byte) in room.iter_mut().zip(pipe.arrived.drain(..n)) {
            *place = byte;
        }
        wake_all(&mut pipe.writers);
        Ok(n)
    }

    /// Bytes that can be read; 0 is the end.
    fn there(&mut self, end: End) -> io::Result<usize> {
        let now = self.now;
        let link = &mut self.net.links[end.link];
        if link.reset[end.side] {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let pipe = &mut link.pipes[end.side];
        pipe.arrive(now);
        match pipe.arrived.len() {
            0 if !pipe.has_ended(now) => Err(io::ErrorKind::WouldBlock.into()),
            len => Ok(len),
        }
    }

    pub fn peek(&mut self, end: End, room: &mut [u8]) -> io::Result<usize> {
        let n = room.len().min(self.there(end)?);
        let pipe = &self.net.links[end.link].pipes[end.side];
        room.iter_mut().zip(&pipe.arrived).for_each(|(place, byte)| *place = *byte);
        Ok(n)
    }

    pub fn write(&mut self, end: End, bytes: &[u8]) -> io::Result<usize> {
        // A goodbye in TLS is no use of a connection; a request is longer.
        if bytes.len() > ALERT_BYTES_MAX {
            self.note_use(end);
        }
        let short = self.strikes(Fault::ShortWrite);
        let at = self.now.after(self.travel());
        let link = &mut self.net.links[end.link];
        let other = 1 - end.side;
        if link.reset[end.side] || link.pipes[other].end_at.is_some() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if link.closed[other] {
            // The far end is closed: these bytes are answered with a reset.
            self.reset_at(end);
            return Ok(bytes.len());
        }
        let room = PIPE_MAX.saturating_sub(link.pipes[other].held());
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let most = room.min(bytes.len());
        let n = if short && most > 1 { 1 + self.rng.below(most as u32) as usize } else { most };
        let pipe = &mut self.net.links[end.link].pipes[other];
        let at = at.max(pipe.last_arrival()); // in order
        pipe.under_way.push_back((at, bytes[..n].to_vec()));
        self.wake_readers(end.link, other, at);
        Ok(n)
    }

    /// An origin has answered all it has read. It rests unless more is under way to it: an answer
    /// that arrived while the origin still read may have been followed by the next request.
    pub fn rest(&mut self, end: End) {
        let link = &mut self.net.links[end.link];
        let pipe = &link.pipes[end.side];
        link.rests = pipe.under_way.is_empty() && pipe.arrived.is_empty();
    }

    /// Nothing was written to `end`'s origin since it rests.
    pub fn is_at_rest(&self, end: End) -> bool {
        self.net.links[end.link].rests
    }

    /// Oracle 3: what the gateway writes to a connection at rest begins another exchange.
    fn note_use(&mut self, end: End) {
        if end.side == 1 || !std::mem::take(&mut self.net.links[end.link].rests) {
            return;
        }
        self.seen.checked(Promise::OneAtATime);
        let is_quiet = self.is_quiet(end);
        let spoiled = self.net.links[end.link].spoiled;
        if spoiled || !is_quiet {
            let how = if is_quiet { "it was spoiled" } else { "bytes or its end wait there" };
            self.net.misused.push(format!("a connection was used again although {how}"));
        }
    }

    /// Writes what nobody asked for, so that it arrives at one moment.
    pub fn write_unasked(&mut self, end: End, bytes: &[u8]) {
        self.net.links[end.link].spoiled = true;
        self.write_together(end, bytes);
    }

    fn write_together(&mut self, end: End, bytes: &[u8]) {
        let other = 1 - end.side;
        let pipe = &mut self.net.links[end.link].pipes[other];
        let at = self.now.max(pipe.last_arrival());
        pipe.under_way.push_back((at, bytes.to_vec()));
        self.wake_readers(end.link, other, at);
    }

    /// Wakes who reads there, when the bytes have arrived.
    fn wake_readers(&mut self, link: usize, side: usize, at: Mono) {
        self.wake_at(at, arrival_waker(link, side));
    }

    /// What had arrived at `end` when it first said that it is over.
    pub fn arrived_at_end(&self, end: End) -> Option<usize> {
        self.net.links[end.link].arrived_at_end[end.side]
    }

    fn note_end(&mut self, end: End) {
        let now = self.now;
        let link = &mut self.net.links[end.link];
        link.pipes[end.side].arrive(now);
        let arrived = link.pipes[end.side].arrived_total;
        link.arrived_at_end[end.side].get_or_insert(arrived);
    }

    pub fn shut_write(&mut self, end: End) {
        self.note_end(end);
        let at = self.now.after(self.travel());
        let pipe = &mut self.net.links[end.link].pipes[1 - end.side];
        if pipe.end_at.is_none() {
            let at = at.max(pipe.last_arrival());
            pipe.end_at = Some(at);
            self.wake_readers(end.link, 1 - end.side, at);
        }
    }

    /// Closes an end. Unread bytes turn the close into a reset, which may destroy what the far
    /// end has not read.
    pub fn close(&mut self, end: End) {
        let link = &mut self.net.links[end.link];
        if link.closed[end.side] {
            return;
        }
        link.closed[end.side] = true;
        self.net.moved = true;
        self.note_end(end);
        let link = &mut self.net.links[end.link];
        let unread = link.pipes[end.side].held() > 0;
        wake_all(&mut link.pipes[end.side].writers);
        if unread && !link.reset[end.side] {
            self.reset(end);
        } else {
            self.shut_write(end);
        }
    }

    /// Resets the link as seen by the other side.
    pub fn reset(&mut self, end: End) {
        self.reset_at(End { link: end.link, side: 1 - end.side });
    }

    /// `end` sees a reset; what it has not read is lost.
    fn reset_at(&mut self, end: End) {
        let link = &mut self.net.links[end.link];
        link.reset[end.side] = true;
        for pipe in &mut link.pipes {
            wake_all(&mut pipe.readers);
            wake_all(&mut pipe.writers);
        }
    }

    pub fn is_quiet(&mut self, end: End) -> bool {
        let now = self.now;
        let link = &mut self.net.links[end.link];
        let pipe = &mut link.pipes[end.side];
        pipe.arrive(now);
        pipe.arrived.is_empty() && !pipe.has_ended(now) && !link.reset[end.side]
    }

    pub fn has_unread(&mut self, end: End) -> bool {
        let now = self.now;
        let pipe = &mut self.net.links[end.link].pipes[end.side];
        pipe.arrive(now);
        !pipe.arrived.is_empty()
    }

    /// Bytes that `end` wrote and that are still under way.
    pub fn unsent(&mut self, end: End) -> usize {
        let now = self.now;
        let pipe = &mut self.net.links[end.link].pipes[1 - end.side];
        pipe.arrive(now);
        pipe.under_way.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    pub fn hangup(&mut self, end: End) -> Hangup {
        let now = self.now;
        let link = &mut self.net.links[end.link];
        if link.reset[end.side] {
            return Hangup::Gone;
        }
        let pipe = &mut link.pipes[end.side];
        pipe.arrive(now);
        match pipe.has_ended(now) {
            true if pipe.arrived.is_empty() => Hangup::Half,
            true if pipe.arrived.len() <= ALERT_BYTES_MAX => Hangup::HalfBehindFew,
            true => Hangup::HalfBehindBytes,
            false => Hangup::No,
        }
    }

    /// Called when bytes have arrived for `side`.
    pub fn arrived(&mut self, link: usize, side: usize) {
        wake_all(&mut self.net.links[link].pipes[side].readers);
    }
}

impl Net {
    /// Connections that the gateway has accepted and not closed: from where, to where.
    pub fn open_clients(&self) -> impl Iterator<Item = (SocketAddr, SocketAddr)> {
        let open = self.links.iter().filter(|l| l.accepted && !l.closed[1]);
        open.filter_map(|l| Some((l.from?, l.to.filter(|to| is_gateway(*to))?)))
    }

    pub fn misused(&mut self) -> Vec<String> {
        std::mem::take(&mut self.misused)
    }

    /// Whether a connection was made, accepted or closed since the last time this was asked.
    pub fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Connections that the gateway has made to origins and not closed.
    pub fn open_upstream(&self) -> usize {
        let open = self.links.iter().filter(|l| !l.closed[0]);
        open.filter(|l| l.to.is_some_and(|to| !is_gateway(to))).count()
    }

    /// Ends that nobody closed.
    pub fn open_ends(&self) -> usize {
        let links = self.links.iter();
        links.map(|l| l.closed.iter().filter(|c| !**c).count()).sum()
    }
}

pub fn is_gateway(address: SocketAddr) -> bool {
    address.ip() == std::net::Ipv4Addr::new(10, 0, 0, 1)
}

struct Arrival {
    link: usize,
    side: usize,
}

impl std::task::Wake for Arrival {
    fn wake(self: std::sync::Arc<Arrival>) {
        crate::sim::exec::world(|w| w.arrived(self.link, self.side));
    }
}

fn arrival_waker(link: usize, side: usize) -> Waker {
    Waker::from(std::sync::Arc::new(Arrival { link, side }))
}
