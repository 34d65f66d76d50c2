//! The full text of every diagnostic, in `golden.txt`: what an operator sees.
//!
//! A case is `=== CODE`, then its files (`--- NAME`, the first is the one that is loaded; with
//! `mode=0644`, or `times=9` for so many copies of its text with `{i}` replaced), its sets
//! (`--- set`), and `--- says`. `BUSBAR_BLESS=1` writes what is said.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/golden.txt");

#[derive(Default)]
struct Case {
    title: String,
    /// Head line and text.
    parts: Vec<(String, String)>,
    says: String,
}

fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.split_inclusive('\n') {
        if let Some(title) = line.strip_prefix("=== ") {
            cases.push(Case { title: title.trim().to_owned(), ..Case::default() });
            continue;
        }
        let Some(case) = cases.last_mut() else { continue };
        match (line.strip_prefix("--- "), case.parts.last_mut()) {
            (Some(head), _) => case.parts.push((head.trim().to_owned(), String::new())),
            (None, Some((_, text))) => text.push_str(line),
            (None, None) => panic!("{}: a text without a head", case.title),
        }
    }
    for case in &mut cases {
        if case.parts.last().is_some_and(|(head, _)| head == "says") {
            case.says = case.parts.pop().expect("there is a last one").1;
        }
    }
    cases
}

/// The text that stands before the first case stays as it is.
fn written(text: &str, cases: &[Case]) -> String {
    let mut out = text[..text.find("=== ").unwrap_or(text.len())].to_owned();
    for case in cases {
        out.push_str(&format!("=== {}\n", case.title));
        for (head, text) in &case.parts {
            out.push_str(&format!("--- {head}\n{text}"));
        }
        out.push_str(&format!("--- says\n{}\n", said(case)));
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn loaded(case: &Case) -> Loaded {
    let mut files = BTreeMap::new();
    let mut sets = Vec::new();
    let mut first = None;
    for (head, text) in &case.parts {
        let mut words = head.split(' ');
        let name = words.next().unwrap_or_default();
        let mut mode = 0o600;
        let mut text = text.clone();
        for word in words {
            match word.split_once('=') {
                Some(("mode", bits)) => mode = u32::from_str_radix(bits, 8).expect("octal"),
                Some(("times", times)) => {
                    let times: usize = times.parse().expect("a number");
                    text = (0..times).map(|i| text.replace("{i}", &i.to_string())).collect();
                }
                _ => panic!("{head}"),
            }
        }
        match name {
            "set" => sets.push(text.trim_end().to_owned()),
            name => {
                first.get_or_insert_with(|| (name.to_owned(), text.clone()));
                files.insert(PathBuf::from(name), MemoryFile { bytes: text.into_bytes(), mode });
            }
        }
    }
    let (name, text) = first.expect("a case has a file");
    let env = |name: &str| match name {
        "TOKEN" => Some("from the environment".to_owned()),
        "CREDENTIALS_DIRECTORY" => Some("/run/credentials/busbar.service".to_owned()),
        _ => None,
    };
    let base_dir = Some(PathBuf::new());
    load_from(Input { text, name, base_dir, sets, env: &env }, &Files::Memory(files))
}

fn said(case: &Case) -> String {
    loaded(case).diagnostics.render(false)
}

#[test]
fn every_code_looks_like_this() {
    let mut text = std::fs::read_to_string(PATH).expect("it stands beside this file");
    #[allow(clippy::disallowed_methods)] // a test's own switch
    if std::env::var_os("BUSBAR_BLESS").is_some() {
        text = written(&text, &cases(&text));
        std::fs::write(PATH, &text).expect("it can be written");
    }
    let cases = cases(&text);
    let mut seen = BTreeSet::new();
    for case in &cases {
        let said = said(case);
        assert_eq!(said.trim_end(), case.says.trim_end(), "{}", case.title);
        let code = &case.title[..4];
        let found: Vec<&str> = loaded(case).diagnostics.list().iter().map(|d| d.code).collect();
        assert!(found.contains(&code), "{} shows {found:?}", case.title);
        seen.insert(code.to_owned());
    }
    let missing: Vec<&str> =
        codes::CODES.iter().map(|code| code.code).filter(|code| !seen.contains(*code)).collect();
    assert!(missing.is_empty(), "codes without a case: {missing:?}");
}

#[test]
fn no_case_shows_a_secret() {
    let text = std::fs::read_to_string(PATH).expect("it stands beside this file");
    let cases = cases(&text);
    let holds = |case: &&Case| case.parts.iter().any(|(_, text)| text.contains("hunter2"));
    assert!(cases.iter().filter(holds).count() >= 5, "cases of secrets");
    for case in cases.iter().filter(holds) {
        let loaded = loaded(case);
        let shown = loaded.diagnostics.render(true) + &loaded.diagnostics.render_json();
        let shown = format!("{shown}{:?}", loaded.snapshot);
        assert!(!shown.contains("hunter2"), "{}\n{shown}", case.title);
    }
}
