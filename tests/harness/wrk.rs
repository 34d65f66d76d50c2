//! wrk, for load and for a count that is not ours.

use std::process::{Child, Command, Stdio};

/// A run that is under way. Killed when dropped.
pub struct Wrk(Option<Child>);

/// What it counted.
#[derive(Debug)]
pub struct Counted {
    pub requests: u64,
    /// Everything it said.
    pub said: String,
}

impl Wrk {
    /// One thread with so many connections on a URL; `fields` are sent with each request.
    pub fn begin(url: &str, connections: u32, seconds: u32, fields: &[&str]) -> Wrk {
        let mut command = Command::new("wrk");
        command.args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), "--latency"]);
        for field in fields {
            command.args(["-H", field]);
        }
        let child = command
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("wrk is installed (tests/run does it)");
        Wrk(Some(child))
    }

    /// Waits for its end.
    pub fn end(mut self) -> Counted {
        let child = self.0.take().expect("it ends once");
        let out = child.wait_with_output().expect("our child");
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{said}");
        let line = said.lines().find(|line| line.contains(" requests in "));
        let requests = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        Counted { requests: requests.unwrap_or_else(|| panic!("no count in {said}")), said }
    }
}

impl Drop for Wrk {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
