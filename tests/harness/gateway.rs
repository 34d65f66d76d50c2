//! The real binary, run on a configuration of the test.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::{PATIENCE, eventually, free_port};

/// Both drivers every promise is tested on.
pub const DRIVERS: [&str; 2] = ["uring", "epoll"];

/// Where cargo put the binary: beside the test's own.
pub fn binary() -> PathBuf {
    let me = std::env::current_exe().expect("a test has a path");
    let profile = me.parent().and_then(Path::parent).expect("target/PROFILE/deps/test");
    let path = profile.join("busbar");
    assert!(
        path.exists(),
        "{} is missing: run `cargo build` first (tests/run does)",
        path.display()
    );
    path
}

/// A running gateway. Killed when dropped.
pub struct Gateway {
    child: Child,
    pub port: u16,
    log: Arc<Mutex<String>>,
    /// Collects the log to the end of the process.
    reader: Option<JoinHandle<()>>,
    pub dir: tempfile::TempDir,
    driver: String,
    workers: u32,
}

/// A configuration with `PORT` for the listener's port.
pub struct Config<'a> {
    pub text: &'a str,
    pub driver: &'a str,
    pub workers: u32,
    /// Further arguments of `busbar run`.
    pub args: &'a [&'a str],
}

/// The text of a file, with what the test leaves open.
fn whole(config: &Config<'_>, port: u16) -> String {
    let Config { driver, workers, .. } = config;
    let text = config.text.replace("PORT", &port.to_string());
    let server = format!("[server]\ndriver = \"{driver}\"\nworkers = {workers}");
    let text = match text.contains("[server]") {
        true => text.replace("[server]", &server),
        false => format!("{server}\n{text}"),
    };
    match text.contains("[listener.") {
        true => text,
        false => format!("{text}\n[listener.web]\naddress = \"127.0.0.1:{port}\"\n"),
    }
}

impl Gateway {
    /// Runs `text` (with `PORT` replaced) on a driver with one worker, and waits until it listens.
    pub fn start(driver: &str, text: &str) -> Gateway {
        Gateway::with(&Config { text, driver, workers: 1, args: &[] })
    }

    pub fn with(config: &Config<'_>) -> Gateway {
        Gateway::with_env(config, &[])
    }

    /// With these variables in its environment.
    pub fn with_env(config: &Config<'_>, env: &[(&str, &OsStr)]) -> Gateway {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let port = free_port();
        let file = dir.path().join("busbar.toml");
        std::fs::write(&file, whole(config, port)).expect("the directory is ours");
        let mut command = Command::new(binary());
        command.arg("run").arg(&file).args(config.args).envs(env.iter().copied());
        let mut gateway = Gateway::spawn(command, port, dir);
        (gateway.driver, gateway.workers) = (config.driver.to_owned(), config.workers);
        gateway.wait_for("listening on");
        gateway
    }

    /// On two workers.
    pub fn two(driver: &str, text: &str) -> Gateway {
        Gateway::with(&Config { text, driver, workers: 2, args: &[] })
    }

    /// Puts another configuration in the place of the present one, as editors do; nothing is told.
    pub fn rewrite(&self, text: &str) {
        let config = Config { text, driver: &self.driver, workers: self.workers, args: &[] };
        let (file, beside) = (self.file(), self.dir.path().join("busbar.toml~"));
        std::fs::write(&beside, whole(&config, self.port)).expect("the directory is ours");
        std::fs::rename(&beside, &file).expect("the directory is ours");
    }

    pub fn file(&self) -> PathBuf {
        self.dir.path().join("busbar.toml")
    }

    /// Asks over the admin socket: the status and the body.
    pub fn admin(&self, method: &str, path: &str) -> (u16, String) {
        let mut stream = UnixStream::connect(self.dir.path().join("busbar.sock"))
            .expect("the admin socket listens");
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        let length = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
        stream.write_all(format!("{head}{length}\r\n").as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let status = answer.get(9..12).and_then(|s| s.parse().ok()).expect("a status");
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        (status, body.unwrap_or_default())
    }

    /// Reloads and returns the answer, which must be that it is in force.
    pub fn reload(&self) -> String {
        let (status, answer) = self.admin("POST", "/reload");
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Runs any command line of the binary, with its standard error collected.
    pub fn spawn(command: Command, port: u16, dir: tempfile::TempDir) -> Gateway {
        Gateway::spawn_to(command, port, dir, Stdio::null())
    }

    /// The same, with somewhere for its standard output.
    pub fn spawn_to(
        mut command: Command,
        port: u16,
        dir: tempfile::TempDir,
        out: Stdio,
    ) -> Gateway {
        let mut child = command
            .env_remove("BUSBAR_CONFIG")
            .env("RUNTIME_DIRECTORY", dir.path())
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let stderr = child.stderr.take().expect("piped");
        let log = Arc::new(Mutex::new(String::new()));
        let lines = log.clone();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = lines.lock().expect("no panic while locked");
                log.push_str(&line);
                log.push('\n');
            }
        });
        let (reader, driver) = (Some(reader), String::new());
        Gateway { child, port, log, reader, dir, driver, workers: 0 }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn log(&self) -> String {
        self.log.lock().expect("no panic while locked").clone()
    }

    /// Waits until the log holds `text`.
    pub fn wait_for(&self, text: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let log = self.log();
            if log.contains(text) {
                return;
            }
            assert!(Instant::now() < end, "`{text}` is not in the log:\n{log}");
            crate::pause();
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: a signal to our own child, which has not been waited for.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }

    /// Waits for the end and returns the exit code and the log.
    pub fn wait(mut self) -> (Option<i32>, String) {
        let mut status: Option<ExitStatus> = None;
        eventually("the gateway ends", || {
            status = self.child.try_wait().expect("our child");
            status.is_some()
        });
        self.reader.take().map(JoinHandle::join).transpose().expect("it only reads");
        (status.and_then(|s| s.code()), self.log())
    }

    /// SIGTERM, and how it ended. No panic may have been counted.
    pub fn stop(self) -> (Option<i32>, String) {
        self.signal(libc::SIGTERM);
        let (code, log) = self.wait();
        assert!(log.contains(", 0 panics"), "panics were counted:\n{log}");
        (code, log)
    }

    /// A field of /proc/PID/status in KiB, `VmRSS` say.
    pub fn memory_kib(&self, field: &str) -> u64 {
        let mut text = String::new();
        let mut file = std::fs::File::open(format!("/proc/{}/status", self.pid())).expect("alive");
        file.read_to_string(&mut text).expect("readable");
        let line = text.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':'));
        let number = line.and_then(|l| l.split_whitespace().next()).expect("a known field");
        number.parse().expect("a number")
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("alive").count()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the gateway said:\n{}", self.log());
        }
    }
}
