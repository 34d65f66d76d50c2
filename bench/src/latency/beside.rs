//! One client beside the small requests: a stream, a pipeline, or a reader that is slow.
#![allow(clippy::disallowed_methods)] // a program of its own: it reads the clock, connects, sleeps

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::answers::Answers;
use super::load::SMALL;
use super::poll::{Poll, settle};

/// What the long answers are: a file without blocks on the disk, served by sendfile.
pub const LARGE_BYTES: u64 = 1 << 30;
const LARGE: &[u8] = b"GET /1g HTTP/1.1\r\nHost: bench.example\r\n\r\n";
/// Requests of a pipeline that are sent at once.
const PIPELINED: usize = 1000;
const PIECE_BYTES: usize = 256 * 1024;
/// A slow reader takes 1 KiB four times a second.
const SLOW_BYTES: usize = 1024;
const SLOW_EVERY: Duration = Duration::from_millis(250);
/// How long a call blocks before the end is looked for.
const LOOK: Duration = Duration::from_millis(50);
/// A stream that fell behind catches up no more than this.
const BEHIND_MAX: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Beside {
    Nothing,
    /// Reads the large answer at most so many MB a second.
    Stream(u32),
    /// Sends a thousand small requests, reads all answers, again and again.
    Pipeline,
    /// Asks for the large answer and reads 4 KiB a second.
    SlowReader,
}

/// What the client has done so far.
#[derive(Default)]
pub struct Done {
    pub bytes: AtomicU64,
    pub answers: AtomicU64,
    /// Connections that were lost and answers that were not 200.
    pub errors: AtomicU64,
    pub is_over: AtomicBool,
}

/// The file that is asked for, in the origin's directory.
pub fn large_file(dir: &Path) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{}: {e}", dir.display());
    let file = std::fs::File::create(dir.join("1g")).map_err(failed)?;
    file.set_len(LARGE_BYTES).map_err(failed)
}

impl Beside {
    /// What it is called in a table's head.
    pub fn name(self) -> String {
        match self {
            Beside::Nothing => "nothing beside".to_owned(),
            Beside::Stream(mbps) => format!("beside a stream of at most {mbps} MB/s"),
            Beside::Pipeline => format!("beside a pipeline of {PIPELINED} requests"),
            Beside::SlowReader => "beside a reader of 4 KiB/s".to_owned(),
        }
    }

    /// Runs the client on this thread, until it is over.
    pub fn run(self, port: u16, done: &Done) {
        settle(1);
        while !done.is_over.load(Ordering::Relaxed) {
            let ended = match self {
                Beside::Nothing => return,
                Beside::Stream(mbps) => stream(port, mbps, done),
                Beside::Pipeline => pipeline(port, done),
                Beside::SlowReader => slow_reader(port, done),
            };
            if ended.is_err() {
                done.errors.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(LOOK);
            }
        }
    }
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LOOK))?;
    Ok(stream)
}

/// Counts what came; says whether an answer ended.
fn count(answers: &mut Answers, piece: &[u8], done: &Done) -> std::io::Result<u64> {
    let ended = answers.take(piece).map_err(std::io::Error::other)?;
    done.bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
    done.answers.fetch_add(ended.good, Ordering::Relaxed);
    done.errors.fetch_add(ended.bad, Ordering::Relaxed);
    Ok(ended.good + ended.bad)
}

/// Nothing when the socket has nothing now.
fn read(stream: &mut TcpStream, piece: &mut [u8]) -> std::io::Result<Option<usize>> {
    match stream.read(piece) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(n) => Ok(Some(n)),
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
        Err(e) => Err(e),
    }
}

fn stream(port: u16, mbps: u32, done: &Done) -> std::io::Result<()> {
    let mut stream = connect(port)?;
    let mut piece = vec![0; PIECE_BYTES];
    let mut answers = Answers::default();
    let mut may_read = Instant::now();
    stream.write_all(LARGE)?;
    while !done.is_over.load(Ordering::Relaxed) {
        let Some(n) = read(&mut stream, &mut piece)? else { continue };
        if count(&mut answers, &piece[..n], done)? > 0 {
            stream.write_all(LARGE)?;
        }
        let now = Instant::now();
        let cost = Duration::from_nanos(n as u64 * 1000 / u64::from(mbps));
        may_read = may_read.max(now - BEHIND_MAX) + cost;
        std::thread::sleep(may_read.saturating_duration_since(now));
    }
    Ok(())
}

fn slow_reader(port: u16, done: &Done) -> std::io::Result<()> {
    let mut stream = connect(port)?;
    let mut piece = [0; SLOW_BYTES];
    let mut answers = Answers::default();
    stream.write_all(LARGE)?;
    let mut due = Instant::now();
    while !done.is_over.load(Ordering::Relaxed) {
        if due <= Instant::now() {
            due += SLOW_EVERY;
            if let Some(n) = read(&mut stream, &mut piece)? {
                count(&mut answers, &piece[..n], done)?;
            }
        }
        std::thread::sleep(LOOK.min(due.saturating_duration_since(Instant::now())));
    }
    Ok(())
}

/// Writes and reads take turns: a gateway that stops reading while its answers are not taken is
/// right, and a client that only writes would wait for it for ever.
fn pipeline(port: u16, done: &Done) -> std::io::Result<()> {
    let mut stream = connect(port)?;
    stream.set_nonblocking(true)?;
    let mut poll = Poll::new()?;
    poll.add(&stream, 0, libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLET)?;
    let batch = SMALL.repeat(PIPELINED);
    let (mut piece, mut ready) = (vec![0; PIECE_BYTES], Vec::new());
    let mut answers = Answers::default();
    while !done.is_over.load(Ordering::Relaxed) {
        let (mut sent, mut awaited) = (0, PIPELINED as u64);
        while awaited > 0 && !done.is_over.load(Ordering::Relaxed) {
            let wrote = write(&mut stream, &batch[sent..])?;
            sent += wrote;
            let came = read(&mut stream, &mut piece)?;
            let ended = count(&mut answers, &piece[..came.unwrap_or(0)], done)?;
            awaited = awaited.checked_sub(ended).ok_or(ErrorKind::InvalidData)?;
            if wrote == 0 && came.is_none() {
                ready.clear();
                poll.wait(LOOK, &mut ready)?;
            }
        }
    }
    Ok(())
}

/// Nothing when the socket takes nothing now.
fn write(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<usize> {
    if bytes.is_empty() {
        return Ok(0);
    }
    match stream.write(bytes) {
        Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}
