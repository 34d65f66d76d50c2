//! Many connections, the one client among them who only wants an answer, and what it all costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::client::Client;

/// A bystander of a short test stays for as many answers.
const ANSWERS_MIN: usize = 50;

/// Raises this process's soft limit of descriptors to the hard one, and returns it.
pub fn raise_descriptors() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: reads and writes a local structure of the right type.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
    }
    limit.rlim_cur
}

/// Sends the same request again and again on one connection, and keeps the times.
pub struct Bystander {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

/// What a bystander went through.
#[derive(Debug)]
pub struct Served {
    pub count: usize,
    pub p99: Duration,
    pub worst: Duration,
}

impl Bystander {
    /// Asks for `path`, which is answered with 200, until it is asked back.
    pub fn begin(address: &str, path: &str) -> Bystander {
        let over = Arc::new(AtomicBool::new(false));
        let ends = over.clone();
        let request = format!("GET {path} HTTP/1.1\r\nHost: bystander.example\r\n\r\n");
        let mut client = Client::connect(address);
        assert_eq!(client.ask(&request).status, 200);
        let thread = std::thread::spawn(move || {
            let mut times = Vec::new();
            while !ends.load(Ordering::Relaxed) || times.len() < ANSWERS_MIN {
                let began = Instant::now();
                assert_eq!(client.ask(&request).status, 200);
                times.push(began.elapsed());
                crate::pause();
            }
            times
        });
        Bystander { over, thread }
    }

    pub fn end(self) -> Served {
        self.over.store(true, Ordering::Relaxed);
        let mut times = self.thread.join().expect("the bystander was served all the time");
        times.sort_unstable();
        let at = |share: usize| times.get(times.len() * share / 100).copied();
        let worst = times.last().copied().unwrap_or_default();
        Served { count: times.len(), p99: at(99).unwrap_or(worst), worst }
    }
}

/// Looks at a process's memory again and again.
pub struct Meter {
    over: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Meter {
    /// Memory of its own (RssAnon, in KiB): not the pages of its binary.
    pub fn begin(pid: u32) -> Meter {
        let over = Arc::new(AtomicBool::new(false));
        let ends = over.clone();
        let thread = std::thread::spawn(move || {
            let mut most = 0;
            while !ends.load(Ordering::Relaxed) {
                most = most.max(status_kib(pid, "RssAnon"));
                crate::pause();
            }
            most
        });
        Meter { over, thread }
    }

    /// The most that was seen.
    pub fn end(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("it only looks")
    }
}

/// A field of /proc/PID/status in KiB; 0 when the process is gone.
pub fn status_kib(pid: u32, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
