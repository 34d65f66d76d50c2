//! The writer thread of the access log: takes records out of the workers' rings, formats and
//! writes them in batches. Whatever the disk does, no worker waits for it.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::voice::{may_colour, say};
use crate::log::format::Format;
use crate::log::record::Record;
use crate::log::ring::{Consumer, ring};
use crate::rt::alarm::Alarm;
use crate::snapshot::{AccessLog, LogTo};
use crate::sync::{AtomicU64, Ordering};
use crate::worker::mailbox::LogEnd;

/// Bytes of records that a worker can be ahead of the disk.
const RING_BYTES: usize = 1 << 20;
/// Lines are gathered for so long, while some come.
const GATHER: Duration = Duration::from_millis(5);
/// A batch that is longer is written at once.
const BATCH_BYTES: usize = 256 << 10;
/// Records taken from one ring before the next has its turn.
const IN_A_ROW: usize = 1000;
/// Lost lines are said no more often.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// How long the end waits for the last lines to be written.
const END_MAX: Duration = Duration::from_secs(2);

enum Order {
    /// Records of this generation and later are written so.
    Write(u64, Format, Sink),
    /// Lines that still come are dropped.
    Close,
    Rings(Vec<Consumer>),
    Reopen,
    End,
}

#[derive(Default)]
struct Shared {
    alarm: Arc<Alarm>,
    orders: Mutex<Vec<Order>>,
    /// Lines that no ring or no disk had room for.
    lost: AtomicU64,
}

/// Control's end of the writer thread, which starts with the first configuration that has a log.
pub(super) struct Logger {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// As it is written now.
    current: Option<(LogTo, Format)>,
}

/// What a configuration asks for, opened. Dropped, it changes nothing.
pub(super) struct Plan {
    wanted: Option<(LogTo, Format)>,
    sink: Option<Sink>,
}

/// Where lines go.
enum Sink {
    Stdout,
    Stderr,
    File(PathBuf, Option<File>),
}

impl Sink {
    fn open(to: &LogTo) -> Result<Sink, String> {
        Ok(match to {
            LogTo::Stdout => Sink::Stdout,
            LogTo::Stderr => Sink::Stderr,
            LogTo::File(path) => {
                let file = open(path).map_err(|e| {
                    format!("the access log {} can't be opened: {e}", path.display())
                })?;
                Sink::File(path.clone(), Some(file))
            }
        })
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Sink::Stdout => io::stdout().write_all(lines),
            Sink::Stderr => io::stderr().write_all(lines),
            Sink::File(path, file) => {
                if file.is_none() {
                    *file = Some(open(path)?);
                }
                let open = file.as_mut().expect("opened above");
                // A broken file is opened anew the next time.
                open.write_all(lines).inspect_err(|_| *file = None)
            }
        }
    }

    /// Short lines are for people: coloured on a terminal, unless NO_COLOR says no.
    fn format(&self, format: Format) -> Format {
        let is_terminal = match self {
            Sink::Stdout => io::stdout().is_terminal(),
            Sink::Stderr => io::stderr().is_terminal(),
            Sink::File(..) => false,
        };
        match format {
            Format::Short { .. } => Format::Short { colour: is_terminal && may_colour() },
            other => other,
        }
    }

    fn reopen(&mut self) {
        if let Sink::File(_, file) = self {
            *file = None;
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    // Without a reader its opening would wait, on the control thread.
    if std::fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a pipe"));
    }
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

impl Logger {
    pub(super) fn new() -> Logger {
        Logger { shared: Arc::default(), thread: None, current: None }
    }

    /// Opens what is wanted and not open yet.
    pub(super) fn plan(&self, log: Option<&AccessLog>) -> Result<Plan, String> {
        let wanted = log.map(|log| (log.to.clone(), log.format));
        let sink = match &wanted {
            Some(wanted) if self.current.as_ref() != Some(wanted) => Some(Sink::open(&wanted.0)?),
            _ => None,
        };
        Ok(Plan { wanted, sink })
    }

    /// The plan is in force. By worker its end of a new ring, the first time.
    pub(super) fn take(
        &mut self,
        plan: Plan,
        generation: u64,
        workers: usize,
    ) -> Vec<Option<LogEnd>> {
        match (&plan.wanted, plan.sink) {
            (Some((_, format)), Some(sink)) => {
                self.order(Order::Write(generation, sink.format(*format), sink));
            }
            (None, _) if self.current.is_some() => self.order(Order::Close),
            _ => {}
        }
        self.current = plan.wanted;
        if self.current.is_none() || self.thread.is_some() {
            return (0..workers).map(|_| None).collect();
        }
        let (producers, consumers): (Vec<_>, Vec<_>) =
            (0..workers).map(|_| ring(RING_BYTES)).unzip();
        self.order(Order::Rings(consumers));
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new().name("log".to_owned());
        match thread.spawn(move || Writer::new(shared).run()) {
            Ok(thread) => self.thread = Some(thread),
            Err(e) => {
                say(&format!("warning: no access log: its thread can't start: {e}"));
                return (0..workers).map(|_| None).collect();
            }
        }
        let alarm = &self.shared.alarm;
        producers.into_iter().map(|p| Some(LogEnd { producer: p, alarm: alarm.clone() })).collect()
    }

    /// Opens its file anew, after somebody has moved the old one away.
    pub(super) fn reopen(&self) {
        self.order(Order::Reopen);
    }

    pub(super) fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Writes what is there. After the workers have ended.
    pub(super) fn end(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.order(Order::End);
        let end = Instant::now() + END_MAX;
        while !thread.is_finished() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn order(&self, order: Order) {
        self.shared.orders.lock().expect("nobody panics with the lock").push(order);
        self.shared.alarm.ring();
    }
}

/// The thread's own things.
struct Writer {
    shared: Arc<Shared>,
    rings: Vec<Consumer>,
    sink: Option<(Format, Sink)>,
    /// Takes the sink's place with the first record of its generation.
    next: Option<(u64, Format, Sink)>,
    record: Vec<u8>,
    lines: Vec<u8>,
    count: u64,
    /// Lines that could not be written.
    failed: u64,
    said: u64,
    said_at: Option<Instant>,
}

impl Writer {
    fn new(shared: Arc<Shared>) -> Writer {
        let (rings, record) = (Vec::new(), Vec::new());
        Writer {
            shared,
            rings,
            sink: None,
            next: None,
            record,
            lines: Vec::with_capacity(BATCH_BYTES),
            count: 0,
            failed: 0,
            said: 0,
            said_at: None,
        }
    }

    fn run(mut self) {
        let mut is_ending = false;
        loop {
            is_ending |= self.obey();
            let (any, more) = self.drain();
            self.flush();
            self.tell_lost();
            match (any, more) {
                (true, false) if !is_ending => std::thread::sleep(GATHER),
                (true, _) => {}
                (false, _) if is_ending => return,
                (false, _) => self.sleep(),
            }
        }
    }

    fn sleep(&self) {
        let shared = &self.shared;
        let is_due = || {
            let has_orders = !shared.orders.lock().expect("nobody panics with it").is_empty();
            has_orders || self.rings.iter().any(|ring| !ring.is_empty())
        };
        shared.alarm.sleep(Duration::from_secs(60), is_due);
    }

    /// True: the end is near.
    fn obey(&mut self) -> bool {
        let orders =
            std::mem::take(&mut *self.shared.orders.lock().expect("nobody panics with the lock"));
        let mut is_ending = false;
        for order in orders {
            match order {
                Order::Write(_, format, sink) if self.sink.is_none() => {
                    self.sink = Some((format, sink));
                }
                Order::Write(generation, format, sink) => {
                    self.next = Some((generation, format, sink));
                }
                Order::Close => {
                    // A full ring, and no more: workers go on.
                    let _ = (0..RING_BYTES / 64 / IN_A_ROW).any(|_| !self.drain().1);
                    self.flush();
                    (self.sink, self.next) = (None, None);
                }
                Order::Rings(rings) => self.rings = rings,
                Order::Reopen => {
                    self.flush();
                    self.sink.iter_mut().for_each(|(_, sink)| sink.reopen());
                    self.next.iter_mut().for_each(|(.., sink)| sink.reopen());
                }
                Order::End => is_ending = true,
            }
        }
        is_ending
    }

    /// Takes a bounded number of records out of each ring. Whether there were any, and whether
    /// some ring may have more.
    fn drain(&mut self) -> (bool, bool) {
        let (mut any, mut more) = (false, false);
        for ring in 0..self.rings.len() {
            for taken in 0..=IN_A_ROW {
                if taken == IN_A_ROW {
                    more = true;
                    break;
                }
                if !self.rings[ring].pop(&mut self.record) {
                    break;
                }
                any = true;
                self.line();
                if self.lines.len() > BATCH_BYTES {
                    self.flush();
                }
            }
        }
        (any, more)
    }

    /// Formats the record at hand.
    fn line(&mut self) {
        let generation = Record::unpack(&self.record).map_or(0, |record| record.generation);
        if let Some((_, format, sink)) = self.next.take_if(|(from, ..)| *from <= generation) {
            self.flush();
            self.sink = Some((format, sink));
        }
        let Some(record) = Record::unpack(&self.record) else { return };
        if let Some((format, _)) = &self.sink {
            format.write(&mut self.lines, &record);
            self.count += 1;
        }
    }

    fn flush(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        if let Some((_, sink)) = &mut self.sink
            && let Err(e) = sink.write(&self.lines)
        {
            if self.failed == 0 {
                say(&format!("the access log can't be written: {e}; its lines are lost"));
            }
            self.failed += self.count;
        }
        self.lines.clear();
        self.count = 0;
    }

    fn tell_lost(&mut self) {
        let dropped: u64 = self.rings.iter().map(Consumer::dropped).sum();
        let lost = dropped + self.failed;
        self.shared.lost.store(lost, Ordering::Relaxed);
        let is_time = self.said_at.is_none_or(|at| at.elapsed() >= SAY_EVERY);
        if lost > self.said && is_time {
            say(&format!("{} lines of the access log were lost ({lost} in all)", lost - self.said));
            (self.said, self.said_at) = (lost, Some(Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::format::Fields;

    fn log(path: &Path) -> AccessLog {
        AccessLog {
            to: LogTo::File(path.to_owned()),
            format: Format::Json(Fields::default()),
            errors: false,
            slower_than: None,
            sample: 0,
        }
    }

    fn push(end: &mut LogEnd, status: u16) -> bool {
        let mut packed = Vec::new();
        Record { status, path: b"/x", ..Record::default() }.pack(&mut packed);
        let taken = end.producer.push(&packed);
        end.alarm.ring();
        taken
    }

    fn lines(path: &Path) -> usize {
        std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
    }

    #[test]
    fn lines_are_written_and_follow_a_reopened_file() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("a.log"), dir.path().join("a.log.1"));
        let mut logger = Logger::new();
        let plan = logger.plan(Some(&log(&path))).unwrap();
        let mut end = logger.take(plan, 1, 1).pop().unwrap().unwrap();
        (0..10).for_each(|_| assert!(push(&mut end, 200)));
        let begin = Instant::now();
        while lines(&path) < 10 {
            assert!(begin.elapsed() < Duration::from_secs(20), "{} lines", lines(&path));
        }
        std::fs::rename(&path, &moved).unwrap();
        logger.reopen();
        // What comes with the order may still go to the old one.
        let mut pushed = 10;
        while lines(&path) == 0 {
            assert!(push(&mut end, 404));
            pushed += 1;
            assert!(begin.elapsed() < Duration::from_secs(40));
            std::thread::sleep(Duration::from_millis(1));
        }
        logger.end();
        assert_eq!(lines(&moved) + lines(&path), pushed);
        assert_eq!(logger.lost(), 0);
    }

    /// A disk that is full loses lines, which are counted, and nobody waits.
    #[test]
    fn what_a_full_disk_refuses_is_counted() {
        let mut logger = Logger::new();
        let plan = logger.plan(Some(&log(Path::new("/dev/full")))).unwrap();
        let mut end = logger.take(plan, 1, 1).pop().unwrap().unwrap();
        (0..100).for_each(|_| assert!(push(&mut end, 200)));
        logger.end();
        assert_eq!(logger.lost(), 100);
    }

    #[test]
    fn a_log_that_cannot_be_opened_is_refused_before_anything_changes() {
        let logger = Logger::new();
        let refused = logger.plan(Some(&log(Path::new("/nonexistent/a.log")))).err().unwrap();
        assert!(refused.contains("/nonexistent/a.log"), "{refused}");
    }
}
