//! An open loop: requests are due at a fixed rate, whatever the answers do.
//!
//! A request that finds no free connection waits in a queue, and its time runs from when it was
//! due. So a gateway that stands still for a while is told all requests of that while, not the one
//! that a waiting client would have sent (coordinated omission).
#![allow(clippy::disallowed_methods)] // a program of its own: it reads the clock and connects

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::answers::Answers;
use super::poll::Poll;

pub const SMALL: &[u8] = b"GET /128 HTTP/1.1\r\nHost: bench.example\r\n\r\n";
/// Not counted, at the beginning of each run.
const WARM_UP: Duration = Duration::from_millis(300);
/// How long answers are awaited after the last request was due.
const REST: Duration = Duration::from_secs(2);
/// Longest time a histogram keeps.
const TIME_NS_MAX: u64 = 60_000_000_000;

#[derive(Clone, Copy)]
pub struct Load {
    pub port: u16,
    pub connections: usize,
    /// Requests a second.
    pub rate: u32,
    pub seconds: u32,
}

/// What one run saw.
pub struct Seen {
    /// From due to the answer's last byte, in ns.
    pub times: Histogram<u64>,
    /// From due until the generator took the request up, in ns: its own lateness.
    pub late: Histogram<u64>,
    pub answered: u64,
    /// Not 200, lost with a connection, or without an answer at the end.
    pub errors: u64,
    /// From the first counted request's due time to the last counted answer.
    pub seconds: f64,
}

struct Connection {
    stream: TcpStream,
    answers: Answers,
    /// When the request that is on its way was due, in ns from the start.
    due: Option<u64>,
}

struct Generator {
    load: Load,
    poll: Poll,
    connections: Vec<Connection>,
    /// Taken from the front, given back at the end: all of them are used in turn.
    free: VecDeque<usize>,
    queue: VecDeque<u64>,
    start: Instant,
    last_answer_ns: u64,
    seen: Seen,
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, TIME_NS_MAX, 3).expect("the bounds are a histogram's")
}

/// One run, on this thread.
pub fn run(load: Load) -> Result<Seen, String> {
    let mut generator = Generator::new(load).map_err(|e| format!("the generator: {e}"))?;
    generator.drive().map_err(|e| format!("the generator: {e}"))?;
    Ok(generator.seen)
}

impl Generator {
    fn new(load: Load) -> std::io::Result<Generator> {
        let poll = Poll::new()?;
        let connect = |key| connect(load.port, &poll, key);
        let connections = (0..load.connections).map(connect).collect::<std::io::Result<_>>()?;
        Ok(Generator {
            load,
            poll,
            connections,
            free: (0..load.connections).collect(),
            queue: VecDeque::new(),
            start: Instant::now(),
            last_answer_ns: 0,
            seen: Seen {
                times: histogram(),
                late: histogram(),
                answered: 0,
                errors: 0,
                seconds: 0.0,
            },
        })
    }

    fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn drive(&mut self) -> std::io::Result<()> {
        let warm_ns = WARM_UP.as_nanos() as u64;
        let end_ns = warm_ns + u64::from(self.load.seconds) * 1_000_000_000;
        let give_up_ns = end_ns + REST.as_nanos() as u64;
        let rate = u64::from(self.load.rate);
        let due_ns = |n: u64| n * 1_000_000_000 / rate;
        let (mut next, mut ready) = (0, Vec::new());
        self.start = Instant::now();
        loop {
            let now = self.now_ns();
            while due_ns(next) <= now && due_ns(next) < end_ns {
                if due_ns(next) >= warm_ns {
                    self.seen.late.saturating_record((now - due_ns(next)).max(1));
                }
                self.queue.push_back(due_ns(next));
                next += 1;
            }
            self.send_due()?;
            let is_over = due_ns(next) >= end_ns;
            let is_idle = self.queue.is_empty() && self.free.len() == self.connections.len();
            if is_over && (is_idle || now >= give_up_ns) {
                break;
            }
            let until = if is_over { give_up_ns } else { due_ns(next) };
            let at_most = Duration::from_nanos(until.saturating_sub(self.now_ns()));
            self.poll.wait(at_most, &mut ready)?;
            for key in ready.drain(..) {
                self.read(key)?;
            }
        }
        self.count_the_rest();
        self.seen.seconds = self.last_answer_ns.saturating_sub(warm_ns) as f64 / 1e9;
        Ok(())
    }

    fn send_due(&mut self) -> std::io::Result<()> {
        while !self.queue.is_empty() && !self.free.is_empty() {
            let (due, key) = (self.queue.pop_front(), self.free.pop_front());
            let Some(key) = key else { break };
            self.connections[key].due = due;
            // A request is smaller than any socket's buffer.
            if !matches!(self.connections[key].stream.write(SMALL), Ok(n) if n == SMALL.len()) {
                self.lose(key)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, key: usize) -> std::io::Result<()> {
        let mut piece = [0; 16 * 1024];
        let connection = &mut self.connections[key];
        let read = match connection.stream.read(&mut piece) {
            Ok(0) => return self.lose(key),
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(_) => return self.lose(key),
        };
        match connection.answers.take(&piece[..read]) {
            Ok(ended) if ended.good + ended.bad == 0 => Ok(()),
            Ok(ended) if ended.good + ended.bad == 1 && connection.due.is_some() => {
                let due = connection.due.take();
                self.free.push_back(key);
                self.count(due, ended.good == 1);
                Ok(())
            }
            _ => self.lose(key),
        }
    }

    fn count(&mut self, due: Option<u64>, is_good: bool) {
        let now = self.now_ns();
        let Some(due) = due.filter(|due| *due >= WARM_UP.as_nanos() as u64) else { return };
        if is_good {
            self.seen.times.saturating_record((now - due).max(1));
            self.seen.answered += 1;
            self.last_answer_ns = now;
        } else {
            self.seen.errors += 1;
        }
    }

    /// A connection that ended: another takes its place, its request is an error.
    fn lose(&mut self, key: usize) -> std::io::Result<()> {
        let fresh = connect(self.load.port, &self.poll, key)?;
        let old = std::mem::replace(&mut self.connections[key], fresh);
        if old.due.is_some() {
            self.count(old.due, false);
            self.free.push_back(key);
        }
        Ok(())
    }

    /// What has no answer at the end has waited at least until now.
    fn count_the_rest(&mut self) {
        let now = self.now_ns();
        let under_way = self.connections.iter().filter_map(|c| c.due);
        let all = under_way.chain(self.queue.iter().copied());
        for due in all.filter(|due| *due >= WARM_UP.as_nanos() as u64) {
            self.seen.times.saturating_record((now - due).max(1));
            self.seen.errors += 1;
        }
    }
}

fn connect(port: u16, poll: &Poll, key: usize) -> std::io::Result<Connection> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    poll.add(&stream, key, libc::EPOLLIN)?;
    Ok(Connection { stream, answers: Answers::default(), due: None })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Answers each request of one connection; the one at `pause` only after a while.
    fn serve(listener: &TcpListener, pause: usize) {
        let Ok((mut stream, _)) = listener.accept() else { return };
        let mut bytes = [0; 1024];
        for n in 0.. {
            match stream.read(&mut bytes) {
                Ok(0) | Err(_) => return,
                Ok(_) if n == pause => std::thread::sleep(Duration::from_millis(400)),
                Ok(_) => {}
            }
            let _ = stream.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    }

    #[test]
    fn a_pause_is_told_by_all_requests_that_were_due_in_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let load = Load { port, connections: 1, rate: 100, seconds: 1 };
        let seen = std::thread::scope(|scope| {
            scope.spawn(|| serve(&listener, 60));
            run(load).unwrap()
        });
        assert_eq!((seen.answered, seen.errors), (100, 0));
        // 40 requests are due in 400 ms; the one in the middle has waited half of it.
        let slow = seen.times.count_between(200_000_000, TIME_NS_MAX);
        assert!(slow >= 15, "{slow} of 100 waited for 200 ms");
    }
}
