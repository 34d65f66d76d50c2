//! The property that fuzzing and tests share.

use super::{Input, load};

/// Whatever the text: no panic, a snapshot exactly when there is no error, and every place lies
/// within its source, on characters. Lines beginning with `#set ` are sets.
pub fn property(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let sets = text.lines().filter_map(|line| line.strip_prefix("#set ")).map(str::to_owned);
    let sets: Vec<String> = sets.take(8).collect();
    let env = |name: &str| name.len().is_multiple_of(2).then(|| "{x}\"=\n".repeat(name.len()));
    let name = "fuzz.toml".to_owned();
    let loaded = load(Input { text, name, base_dir: None, sets, env: &env });
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
}
