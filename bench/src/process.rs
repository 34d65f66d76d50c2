//! Processes of a comparison: pinned, stopped and continued by their ids, and ended at the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a program on one core.
    pub fn start(core: u32, program: &str, args: &[&str], log: &Path) -> Result<Process, String> {
        let failed = |e: std::io::Error| format!("{program}: {e}");
        let log = fs::File::create(log).map_err(failed)?;
        let child = Command::new("taskset")
            .args(["-c", &core.to_string(), program])
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            .spawn()
            .map_err(failed)?;
        Ok(Process { child })
    }

    /// Waits until it listens on a port, or has ended.
    pub fn wait_for(&mut self, port: u16, name: &str) -> Result<(), String> {
        await_port(port, name, || match self.child.try_wait() {
            Ok(Some(status)) => Err(format!("{name} has ended, {status}")),
            _ => Ok(()),
        })
    }

    /// This process and its children.
    fn ids(&self) -> Vec<u32> {
        let id = self.child.id();
        let list = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let children = list.unwrap_or_default();
        std::iter::once(id)
            .chain(children.split_whitespace().filter_map(|c| c.parse().ok()))
            .collect()
    }

    #[allow(unsafe_code)] // signals to processes this program started
    fn signal(&self, signal: i32) {
        for id in self.ids() {
            // SAFETY: a plain call; the ids are our child's and its children's.
            unsafe { libc::kill(id as i32, signal) };
        }
    }

    pub fn stop(&self) {
        self.signal(libc::SIGSTOP);
    }

    pub fn go_on(&self) {
        self.signal(libc::SIGCONT);
    }

    /// User and system time of all of it, in µs.
    pub fn cpu_us(&self) -> u64 {
        let ticks = |id: u32| {
            let text = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            let rest = text.rsplit(')').next().unwrap_or_default().to_owned();
            let fields: Vec<&str> = rest.split_whitespace().collect();
            let at = |n: usize| fields.get(n).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
            at(11) + at(12)
        };
        self.ids().into_iter().map(ticks).sum::<u64>() * 10_000 // USER_HZ is 100
    }

    pub fn memory_kib(&self) -> u64 {
        let rss = |id: u32| {
            let text = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
            let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"));
            line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        self.ids().into_iter().map(rss).sum()
    }
}

impl Process {
    /// Memory to the page, unlike `memory_kib`, which the kernel rounds; slower to read.
    pub fn resident_kib(&self) -> u64 {
        let rss = |id: u32| {
            let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap_or_default();
            let line = text.lines().find_map(|l| l.strip_prefix("Rss:"));
            line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        self.ids().into_iter().map(rss).sum()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.go_on();
        self.signal(libc::SIGTERM);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// So many descriptors and some more for this process and those it starts.
#[allow(unsafe_code)] // reads and raises our own limit
pub fn raise_descriptors_max(wanted: u32) -> Result<(), String> {
    const OWN: u64 = 64;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes into a local.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: reads a local.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    if limit.rlim_cur < u64::from(wanted) + OWN {
        return Err(format!("{wanted} connections want more descriptors than {}", limit.rlim_max));
    }
    Ok(())
}

/// A directory for files of this run; removed at its end.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Empties the logs that were written so far: a scenario's can be hundreds of megabytes.
    pub fn empty_logs(&self) {
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.ends_with("access.log") || name.ends_with(".out") {
                _ = fs::File::create(entry.path());
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

pub fn scratch_dir() -> Result<Scratch, String> {
    let dir = std::env::temp_dir().join(format!("busbar-bench-{}", std::process::id()));
    fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    Ok(Scratch(dir))
}

pub fn free_port() -> u16 {
    #[allow(clippy::disallowed_methods)] // a program of its own
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    listener.local_addr().expect("bound").port()
}

/// Waits until something listens on a port.
pub fn wait_for(port: u16, name: &str) -> Result<(), String> {
    await_port(port, name, || Ok(()))
}

#[allow(clippy::disallowed_methods)] // a program of its own
fn await_port(
    port: u16,
    name: &str,
    mut is_alive: impl FnMut() -> Result<(), String>,
) -> Result<(), String> {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(());
        }
        is_alive()?;
        std::thread::yield_now();
    }
    Err(format!("{name} does not listen on port {port}"))
}

/// Machine, kernel and commit, for the head of a table.
pub fn machine() -> String {
    let read = |program: &str, args: &[&str]| {
        let out = Command::new(program).args(args).output();
        let out = out.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
        out.unwrap_or_default()
    };
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or_default();
    format!(
        "{} · {} cores · {} · commit {}",
        model.trim_start_matches([' ', '\t', ':']),
        read("nproc", &[]),
        read("uname", &["-sr"]),
        read("git", &["rev-parse", "--short", "HEAD"])
    )
}
