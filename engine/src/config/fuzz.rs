//! The properties that fuzzing and tests share.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::keys::ROUTE;
use super::source::Table;
use super::{Diagnostics, Files, Input, Loaded, MemoryFile, fmt, load_looked_at, print};
use crate::ids::RouteId;

/// What the file of a secret holds, which nobody may be shown.
const SECRET: &str = "s3cr3t-of-a-file";

/// Whatever the texts: no panic, a snapshot exactly when there is no error, every place lies
/// within its source, on characters, the same texts say the same again, a snapshot knows where
/// each key of its routes comes from, and no secret is shown. A line `#file NAME` begins another
/// file, and lines beginning with `#set ` are sets.
pub fn property(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let loaded = load_text(&text);
    let diagnostics = &loaded.diagnostics;
    assert_eq!(loaded.snapshot.is_some(), diagnostics.errors() == 0);
    let sources: Vec<&str> = diagnostics.sources().map(|(_, text)| text).collect();
    for diagnostic in diagnostics.list() {
        for at in [Some(diagnostic.at), diagnostic.other].into_iter().flatten() {
            let text = sources[at.source as usize];
            assert!(text.get(at.start as usize..at.end as usize).is_some(), "{diagnostic:?}");
        }
        assert!(super::codes::code(diagnostic.code).is_some(), "{diagnostic:?}");
    }
    let shown = diagnostics.render(false);
    assert!(!shown.contains(|c: char| c.is_control() && c != '\n'));
    assert_eq!(shown.is_empty(), diagnostics.list().is_empty());
    assert!(diagnostics.render_json().ends_with("}\n"));
    assert_eq!(load_text(&text).diagnostics.render(false), shown);
    // Who includes the file of a secret has made it configuration.
    let is_included = diagnostics.sources().any(|(name, _)| name.ends_with("secret"));
    if !text.contains(SECRET) && !is_included {
        assert!(!format!("{shown}{:?}", loaded.snapshot).contains(SECRET));
    }
    let Some(snapshot) = &loaded.snapshot else { return };
    assert_printed(&text, &loaded);
    for route in (0..snapshot.routes.len()).map(|i| RouteId(i as u32)) {
        let said = snapshot.said(route);
        for key in ROUTE {
            let origins = snapshot.origins(route, key.name);
            assert_eq!(origins.is_empty(), !said.contains(&key.name), "{}", key.name);
            assert!(origins.iter().all(|o| o.layer.starts_with('[') && o.place.contains(':')));
        }
        assert!(snapshot.layers_around(route).len() <= 5, "[all] and four groups");
    }
}

/// What `check --print` shows says the same, unless it hides a secret.
fn assert_printed(text: &str, loaded: &Loaded) {
    let (main, sets, files) = parts_of(text);
    let mut printed = String::new();
    load_by(main, sets, files.clone(), |table, found| printed = print::merged(table, found));
    if printed.contains("***") {
        return;
    }
    let again = load_by(printed, Vec::new(), files, |_, _| {});
    assert_eq!(again.digests, loaded.digests);
}

/// Whatever the text: it is refused as TOML, or its canonical form is its own canonical form, and
/// says the same. Lines beginning with `#set ` are sets.
pub fn fmt_property(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let once = match fmt::canonical("fuzz.toml", &text) {
        Ok(once) => once,
        Err(found) => return assert!(found.errors() > 0 && !found.list().is_empty()),
    };
    let twice = fmt::canonical("fuzz.toml", &once).expect("the canonical form is TOML");
    assert_eq!(once, twice, "canonical twice is canonical once");
    assert!(once.is_empty() || once.ends_with('\n') && !once.ends_with("\n\n"), "{once:?}");
    let sets = sets_of(&text);
    let before = load_main(text, sets.clone(), BTreeMap::new());
    let after = load_main(once, sets, BTreeMap::new());
    assert_eq!(said(&before), said(&after));
    assert_eq!(before.digests, after.digests);
    assert_eq!(before.snapshot.is_some(), after.snapshot.is_some());
}

/// Everything that a load has to say but for the places, which are numbers of lines and columns.
fn said(loaded: &Loaded) -> Vec<[String; 4]> {
    let placeless = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
    let found = loaded
        .diagnostics
        .list()
        .iter()
        .map(|d| [d.code.to_owned(), d.title.clone(), placeless(&d.note), placeless(&d.help)]);
    let mut found: Vec<_> = found.collect();
    found.sort();
    found
}

fn load_text(text: &str) -> Loaded {
    let (main, sets, files) = parts_of(text);
    load_main(main, sets, files)
}

type Parts = (String, Vec<String>, BTreeMap<PathBuf, MemoryFile>);

fn parts_of(text: &str) -> Parts {
    let mut parts = text.split("#file ");
    let main = parts.next().unwrap_or_default().to_owned();
    let file = |bytes: &str| MemoryFile { bytes: bytes.as_bytes().to_vec(), mode: 0o644 };
    let mut files: BTreeMap<PathBuf, MemoryFile> = parts
        .take(16)
        .filter_map(|part| part.split_once('\n'))
        .map(|(name, text)| (PathBuf::from(name.trim()), file(text)))
        .collect();
    files.insert("secret".into(), file(SECRET));
    let sets = sets_of(&main);
    (main, sets, files)
}

fn sets_of(main: &str) -> Vec<String> {
    let sets = main.lines().filter_map(|line| line.strip_prefix("#set ")).map(str::to_owned);
    sets.take(8).collect()
}

fn load_main(main: String, sets: Vec<String>, files: BTreeMap<PathBuf, MemoryFile>) -> Loaded {
    load_by(main, sets, files, |_, _| {})
}

fn load_by(
    main: String,
    sets: Vec<String>,
    files: BTreeMap<PathBuf, MemoryFile>,
    look: impl FnOnce(&Table, &Diagnostics),
) -> Loaded {
    let env = |name: &str| name.len().is_multiple_of(2).then(|| "{x}\"=\n".repeat(name.len()));
    let (name, base_dir) = ("fuzz.toml".to_owned(), Some(PathBuf::new()));
    let input = Input { text: main, name, base_dir, sets, env: &env };
    load_looked_at(input, &Files::Memory(files), look)
}
