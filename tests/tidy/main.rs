//! Rules about the source itself: sizes, doors, layers, and that documents are true.

#![allow(clippy::disallowed_methods)]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the root").to_owned()
}

fn sources(below: &str) -> Vec<(String, String)> {
    fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
        let mut entries: Vec<_> =
            fs::read_dir(dir).into_iter().flatten().map(|e| e.expect("readable").path()).collect();
        entries.sort();
        for path in entries {
            match path.file_name().and_then(|n| n.to_str()) {
                Some("target" | "corpus" | "artifacts") => {}
                _ if path.is_dir() => walk(&path, out),
                _ if path.extension().is_some_and(|e| e == "rs") => out.push(path),
                _ => {}
            }
        }
    }
    let mut paths = Vec::new();
    walk(&root().join(below), &mut paths);
    let read = |p: PathBuf| {
        let name = p.strip_prefix(root()).expect("below the root").display().to_string();
        (name, fs::read_to_string(&p).expect("UTF-8"))
    };
    paths.into_iter().map(read).collect()
}

fn all() -> Vec<(String, String)> {
    ["parser", "engine", "bench", "fuzz", "tests"].iter().flat_map(|d| sources(d)).collect()
}

fn report(rule: &str, broken: Vec<String>) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

#[test]
fn files_are_small() {
    let bound = |name: &str| match name.rsplit('/').next() {
        Some("mod.rs") if name.contains("src/worker/") => 400,
        Some("mod.rs") if name.starts_with("engine/") => 400,
        Some("lib.rs" | "main.rs") if name.starts_with("engine/") => 120,
        _ => 800,
    };
    let lines = |text: &str| text.lines().count();
    let broken = all().into_iter().filter(|(n, t)| lines(t) > bound(n));
    report(
        "a file is too long",
        broken.map(|(n, t)| format!("{n}: {} lines", lines(&t))).collect(),
    );
}

#[test]
fn only_rt_names_monoio_and_only_control_tokio() {
    let mut broken = Vec::new();
    for (name, text) in sources("engine/src") {
        let code: String = text.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
        if code.contains("monoio::") && !name.starts_with("engine/src/rt/") {
            broken.push(format!("{name} names monoio"));
        }
        let on_control = ["engine/src/control/", "engine/src/admin/"];
        if code.contains("tokio::") && !on_control.iter().any(|d| name.starts_with(d)) {
            broken.push(format!("{name} names tokio"));
        }
    }
    report("a runtime outside its door", broken);
}

/// Each has a SAFETY comment for its reasons and a test against a model for its promises.
const UNSAFE: [&str; 5] = [
    "engine/src/rt/buf.rs",
    "engine/src/rt/slot.rs",
    "engine/src/rt/listen.rs",
    "engine/src/rt/net.rs",
    "engine/src/rt/uring.rs",
];

#[test]
fn unsafe_stands_only_where_it_says_why() {
    let mut broken = Vec::new();
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    for (name, text) in sources("engine/src").into_iter().chain(sources("parser/src")) {
        if UNSAFE.contains(&name.as_str()) {
            assert!(text.contains("SAFETY:"), "{name} has no SAFETY comment");
            assert!(text.contains("mod model_tests"), "{name} has no test against a model");
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            // The lint that forbids it may be named, but not allowed.
            let has = code.split(|c| !is_word(c)).any(|word| word == "unsafe");
            if has || (code.contains("unsafe_code") && !code.contains("forbid(unsafe_code)")) {
                broken.push(format!("{name}:{}", number + 1));
            }
        }
    }
    report("unsafe outside the listed modules", broken);
}

/// Which areas a file of the engine may use, beside the foundations.
const LAYERS: [(&str, &[&str]); 21] = [
    ("router", &[]),
    ("http", &["h1"]),
    ("h1", &["http"]),
    ("upstream", &["snapshot", "tls"]),
    ("limit", &[]),
    ("auth", &[]),
    ("tls", &[]),
    ("policy", &["auth", "limit", "http", "metrics", "tls"]),
    ("metrics", &[]),
    ("log", &["metrics"]),
    ("action", &["http"]),
    ("snapshot", &["action", "auth", "http", "limit", "log", "policy", "router", "tls"]),
    ("way", &["snapshot", "http", "h1", "policy", "router"]),
    (
        "explain",
        &[
            "config", "snapshot", "action", "auth", "http", "h1", "limit", "metrics", "policy",
            "router", "tls", "upstream", "way",
        ],
    ),
    ("config", &["snapshot", "action", "auth", "http", "limit", "log", "policy", "router", "tls"]),
    ("rt", &["snapshot", "sim"]),
    (
        "worker",
        &[
            "rt", "snapshot", "action", "auth", "http", "h1", "policy", "router", "upstream",
            "limit", "metrics", "log", "tls", "way",
        ],
    ),
    ("admin", &["metrics"]),
    (
        "control",
        &[
            "rt", "snapshot", "auth", "policy", "upstream", "limit", "metrics", "log", "config",
            "tls", "admin", "worker", "explain",
        ],
    ),
    ("cli", &["auth", "config", "admin", "control", "explain", "snapshot"]),
    (
        "sim",
        &[
            "rt", "worker", "config", "control", "snapshot", "h1", "router", "upstream", "metrics",
            "log", "tls",
        ],
    ),
];
const FOUNDATIONS: [&str; 5] = ["ids", "time", "rng", "sync", "secret"];

#[test]
fn arrows_between_areas_are_the_ones_in_the_table() {
    let mut broken = Vec::new();
    for (name, text) in sources("engine/src") {
        let rest = name.trim_start_matches("engine/src/").trim_end_matches(".rs");
        let area = rest.split('/').next().expect("a name");
        let Some((_, may)) = LAYERS.iter().find(|(a, _)| *a == area) else {
            assert!(
                FOUNDATIONS.contains(&area) || ["main", "lib"].contains(&area),
                "{name} is new"
            );
            continue;
        };
        let plain = text.split("#[cfg(test)]\nmod tests").next().expect("a first part");
        let product = plain.split("#[cfg(all(test, ").next().expect("a first part");
        for line in product.lines() {
            let Some(at) = line.find("crate::") else { continue };
            let used: String = line[at + 7..]
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            let fine = used == area
                || FOUNDATIONS.contains(&used.as_str())
                || may.contains(&used.as_str())
                || line.trim_start().starts_with("//");
            if !fine {
                broken.push(format!("{name} uses crate::{used}"));
            }
        }
    }
    report("an arrow that is not in the table", broken);
}

#[test]
fn names_in_the_architecture_and_the_threat_model_exist() {
    let doc = |name| fs::read_to_string(root().join("docs").join(name)).expect("it stands");
    let text = doc("architecture.md") + &doc("threat-model.md");
    let mut broken = Vec::new();
    for name in text.split('`').skip(1).step_by(2) {
        // `worker/conn.rs: serve` names a file and something in it.
        let Some((file, item)) = name.split_once(".rs: ") else { continue };
        let path = root().join("engine/src").join(format!("{file}.rs"));
        let path = if path.exists() { path } else { root().join(format!("{file}.rs")) };
        match fs::read_to_string(&path) {
            Ok(code) if code.contains(item) => {}
            Ok(_) => broken.push(format!("`{name}`: no such item")),
            Err(_) => broken.push(format!("`{name}`: no such file")),
        }
    }
    report("a document names what is not there", broken);
}

/// Rows of a table whose first cell is a name: with the heading above, and the other cells.
fn rows(text: &str) -> Vec<(&str, &str, Vec<&str>)> {
    let mut rows = Vec::new();
    let mut heading = "";
    for line in text.lines() {
        if line.starts_with("## ") {
            heading = line;
        }
        let Some(row) = line.strip_prefix("| `") else { continue };
        if let Some((name, cells)) = row.trim_end_matches(" |").split_once("` | ") {
            rows.push((heading, name, cells.split(" | ").collect()));
        }
    }
    rows
}

#[test]
fn limits_in_the_threat_model_are_those_of_the_reference() {
    let doc = |name| fs::read_to_string(root().join("docs").join(name)).expect("it stands");
    let (model, reference) = (doc("threat-model.md"), doc("configuration.md"));
    let sections = [
        ("server", "## `[server]`"),
        ("listener", "## `[listener.NAME]`"),
        ("upstream", "## `[upstream.NAME]`"),
        ("pool", "## `pool` of an upstream"),
        ("route", "## `[route.NAME]`, `[group.NAME]` and `[all]`"),
    ];
    let (limits, mut broken) = (rows(&model), Vec::new());
    for (_, name, cells) in &limits {
        let (section, key) = name.split_once('.').expect("a table and a key");
        let heading = sections.iter().find(|(s, _)| *s == section).map(|(_, heading)| heading);
        let known = rows(&reference).into_iter().find(|(h, k, _)| Some(h) == heading && *k == key);
        match known {
            Some((_, _, known)) if known.get(1) == cells.first() => {}
            Some((_, _, known)) => {
                broken.push(format!("`{name}` is {:?} by default", known.get(1)))
            }
            None => broken.push(format!("`{name}` is no key")),
        }
    }
    assert!(limits.len() >= 15, "the table was found");
    report("the threat model is out of date", broken);
}

#[test]
fn no_work_is_left_lying_in_the_code() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
    let mut broken = Vec::new();
    for (name, text) in all() {
        for (number, line) in text.lines().enumerate() {
            if marks.iter().any(|m| line.contains(m)) || line.contains("#[ignore") {
                broken.push(format!("{name}:{}", number + 1));
            }
        }
    }
    report("left work", broken.into_iter().filter(|b| !b.starts_with("tests/tidy")).collect());
}
