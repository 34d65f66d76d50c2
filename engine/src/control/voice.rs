//! What the process says: lines on standard error, and states to systemd.

use std::io::Write;
use std::sync::OnceLock;

use sd_notify::NotifyState;

static JSON: OnceLock<bool> = OnceLock::new();

/// From now on each line is a JSON object. Only the first call counts.
pub fn speak_json(json: bool) {
    let _ = JSON.set(json);
}

/// Says one line on standard error. What can't be written is lost.
pub fn say(line: &str) {
    let _ = match JSON.get() {
        Some(true) => {
            let line = serde_json::json!({ "message": line });
            writeln!(std::io::stderr(), "{line}")
        }
        _ => writeln!(std::io::stderr(), "{line}"),
    };
}

/// Says JSON as it is.
pub fn say_json(json: &str) {
    let _ = writeln!(std::io::stderr(), "{}", json.trim_end());
}

/// Says lines together, or in JSON an object in their place.
pub fn say_all(lines: &[String], json: &serde_json::Value) {
    let text = match JSON.get() {
        Some(true) => format!("{json}\n"),
        _ => lines.iter().map(|line| format!("{line}\n")).collect(),
    };
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Whether what goes to a terminal may be coloured: unless NO_COLOR says no (no-color.org).
pub fn may_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Where systemd hears of the process's states; nowhere without it.
pub mod systemd {
    use super::NotifyState;

    fn notify(states: &[NotifyState<'_>]) {
        // Not started by systemd, or it does not listen: both are fine.
        let _ = sd_notify::notify(states);
    }

    pub fn ready(status: &str) {
        notify(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// Must be followed by [`ready`]. systemd matches the two by the clock (sd_notify(3)).
    pub fn reloading() {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(_) => notify(&[NotifyState::Reloading]),
        }
    }

    pub fn stopping(status: &str) {
        notify(&[NotifyState::Stopping, NotifyState::Status(status)]);
    }
}
