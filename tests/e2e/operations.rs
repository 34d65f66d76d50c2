//! `docs/operations.md` is a transcript, and the unit file is what it says.

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::gateway::binary;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// One command of a transcript and what it should say: `…` stands for anything in a line, and
/// alone in a line for any lines.
struct Step {
    command: String,
    expect: Vec<String>,
}

/// The steps of all ```console blocks, in their order.
fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            _ => match (line.strip_prefix("$ "), more(line)) {
                (Some(command), _) => {
                    steps.push(Step { command: command.to_owned(), expect: Vec::new() });
                }
                (_, Some(more)) if steps.last().is_some_and(|s| s.expect.is_empty()) => {
                    let step = steps.last_mut().expect("seen above");
                    step.command = format!("{}\n{more}", step.command);
                }
                _ => steps.last_mut().expect("a command first").expect.push(line.to_owned()),
            },
        }
    }
    steps
}

/// A further line of a command.
fn more(line: &str) -> Option<&str> {
    if line == ">" { Some("") } else { line.strip_prefix("> ") }
}

fn line_matches(expect: &str, line: &str) -> bool {
    let mut parts = expect.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn matches(expect: &[String], lines: &[&str]) -> bool {
    match expect.split_first() {
        None => lines.is_empty(),
        Some((any, rest)) if any == "…" => (0..=lines.len()).any(|n| matches(rest, &lines[n..])),
        Some((first, rest)) => {
            lines.split_first().is_some_and(|(l, ls)| line_matches(first, l) && matches(rest, ls))
        }
    }
}

#[test]
fn the_transcript_of_the_first_half_hour_is_true() {
    let text = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let [port, other, admin] = [(); 3].map(|()| harness::free_port().to_string());
    let replace =
        |text: &str| text.replace("8080", &port).replace("9090", &other).replace("9911", &admin);
    let steps = steps(&text);
    assert!(steps.len() >= 10, "the transcript has steps");
    let mut script = String::from(
        "exec 2>&1\ntrap 'kill $(jobs -p) 2>/dev/null' EXIT\n\
         mark() { local code=$?; echo \"@@ $1\"; return $code; }\n",
    );
    for (n, step) in steps.iter().enumerate() {
        script += &format!("mark {n}\n{}\n", replace(&step.command));
    }
    let path =
        format!("{}:{}", binary().parent().unwrap().display(), std::env::var("PATH").unwrap());
    let dir = tempfile::tempdir().unwrap();
    let out = Command::new("bash")
        .args(["-m", "-c", &script])
        .env("PATH", path)
        .env("RUNTIME_DIRECTORY", dir.path())
        .env("BUSBAR_ADMIN", format!("127.0.0.1:{admin}"))
        .env_remove("BUSBAR_CONFIG")
        .current_dir(dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    for (n, step) in steps.iter().enumerate() {
        let begin =
            said.find(&format!("@@ {n}\n")).unwrap_or_else(|| panic!("no step {n}: {said}"));
        let from = begin + format!("@@ {n}\n").len();
        let end = said[from..].find("@@ ").map_or(said.len(), |at| from + at);
        let lines: Vec<&str> = said[from..end].lines().collect();
        let expect: Vec<String> = step.expect.iter().map(|l| replace(l)).collect();
        assert!(
            matches(&expect, &lines),
            "$ {}\nsays:\n{}\nbut the document:\n{}",
            step.command,
            lines.join("\n"),
            step.expect.join("\n")
        );
    }
}

#[test]
fn a_line_with_dots_matches_what_it_should() {
    assert!(line_matches("generation 2 in force (…) in … ms", "generation 2 in force (x) in 3 ms"));
    assert!(!line_matches("generation 2 in force", "generation 2 in force (x)"));
    assert!(!line_matches("a…b", "a x c"));
    let lines = ["a", "b", "c"];
    assert!(matches(&["a".into(), "…".into(), "c".into()], &lines));
    assert!(!matches(&["a".into(), "…".into(), "d".into()], &lines));
}

/// systemd must not kill what a drain still finishes.
#[test]
fn the_unit_waits_longer_than_a_drain() {
    let unit = std::fs::read_to_string(root().join("deploy/busbar.service")).unwrap();
    let stop = unit.lines().find_map(|l| l.strip_prefix("TimeoutStopSec=")?.strip_suffix('s'));
    let seconds: u64 = stop.expect("it is set").parse().unwrap();
    let keys = std::fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let line = keys.lines().find(|l| l.starts_with("| `tunnel_drain`")).unwrap();
    assert!(line.contains("`\"5m\"`"), "{line}");
    assert!(seconds > 5 * 60 + 5, "{seconds} s");
}
