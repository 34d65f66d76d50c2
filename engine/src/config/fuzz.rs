//! The property that fuzzing and tests share.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::keys::ROUTE;
use super::{Files, Input, Loaded, MemoryFile, load_from};
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
    if !text.contains(SECRET) {
        assert!(!format!("{shown}{:?}", loaded.snapshot).contains(SECRET));
    }
    let Some(snapshot) = &loaded.snapshot else { return };
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

fn load_text(text: &str) -> Loaded {
    let mut parts = text.split("#file ");
    let main = parts.next().unwrap_or_default().to_owned();
    let file = |bytes: &str| MemoryFile { bytes: bytes.as_bytes().to_vec(), mode: 0o644 };
    let mut files: BTreeMap<PathBuf, MemoryFile> = parts
        .take(16)
        .filter_map(|part| part.split_once('\n'))
        .map(|(name, text)| (PathBuf::from(name.trim()), file(text)))
        .collect();
    files.insert("secret".into(), file(SECRET));
    let sets = main.lines().filter_map(|line| line.strip_prefix("#set ")).map(str::to_owned);
    let sets: Vec<String> = sets.take(8).collect();
    let env = |name: &str| name.len().is_multiple_of(2).then(|| "{x}\"=\n".repeat(name.len()));
    let (name, base_dir) = ("fuzz.toml".to_owned(), Some(PathBuf::new()));
    load_from(Input { text: main, name, base_dir, sets, env: &env }, &Files::Memory(files))
}
