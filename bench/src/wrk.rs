//! The load generator: wrk on CPU 1, one thread.

use std::process::Command;

use crate::peers::Peer;
use crate::scenario::Scenario;

/// What a run of a load generator counted.
pub struct Run {
    pub requests: u64,
    pub errors: u64,
    pub p99_us: f64,
}

pub fn run(
    peer: &Peer,
    scenario: &Scenario,
    connections: u32,
    seconds: u32,
) -> Result<Run, String> {
    let mut command = Command::new("taskset");
    command.args(["-c", "1", "wrk", "-t", "1", "--latency"]);
    command.args(["-c", &connections.to_string(), "-d", &format!("{seconds}s")]);
    let script = std::env::temp_dir().join(format!("busbar-wrk-{}.lua", std::process::id()));
    if let Some(text) = &scenario.script {
        std::fs::write(&script, text.as_bytes()).map_err(|e| e.to_string())?;
        command.arg("-s").arg(&script);
    }
    let url = format!("{}://127.0.0.1:{}{}", peer.scheme, peer.port, scenario.path);
    let out = command.arg(url).output().map_err(|e| format!("wrk: {e}"))?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    if !out.status.success() {
        return Err(format!("wrk failed: {text}{}", String::from_utf8_lossy(&out.stderr)));
    }
    read(&text).ok_or(format!("wrk said what is not understood:\n{text}"))
}

fn read(text: &str) -> Option<Run> {
    let requests = text.lines().find(|l| l.contains(" requests in "))?;
    let p99 = text.lines().find_map(|l| l.trim().strip_prefix("99%"));
    let non_2xx = text.lines().find_map(|l| l.trim().strip_prefix("Non-2xx or 3xx responses:"));
    let sockets = text.lines().find_map(|l| l.trim().strip_prefix("Socket errors:"));
    let count = |part: &str| part.split_whitespace().last().and_then(|n| n.parse::<u64>().ok());
    // A read error is how wrk counts a connection that the server closed as asked.
    let errors = sockets
        .into_iter()
        .flat_map(|s| s.split(','))
        .filter(|s| !s.trim().starts_with("read"))
        .filter_map(count)
        .sum::<u64>();
    Some(Run {
        requests: requests.split_whitespace().next()?.parse().ok()?,
        errors: errors + non_2xx.and_then(|n| n.trim().parse().ok()).unwrap_or(0),
        p99_us: p99.and_then(microseconds).unwrap_or(f64::NAN),
    })
}

fn microseconds(text: &str) -> Option<f64> {
    let text = text.trim();
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    let (number, factor) =
        units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrks_words_are_understood() {
        let text = "  Latency Distribution\n     99%    1.50ms\n  70125 requests in 2.00s, 1MB read\n\
                    \x20 Socket errors: connect 0, read 9, write 1, timeout 2\n\
                    \x20 Non-2xx or 3xx responses: 4\n";
        let run = read(text).unwrap();
        assert_eq!((run.requests, run.errors, run.p99_us), (70125, 7, 1500.0));
        assert!(read("nonsense").is_none());
    }
}
