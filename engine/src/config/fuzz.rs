//! What must hold of any text: the fuzz target's property.

use super::{Input, Loaded, load};

/// Loading never panics, every place lies in its source, and a snapshot means no error.
pub fn property(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (text, sets) = match text.split_once('\u{0}') {
        Some((text, set)) => (text, vec![set.to_owned()]),
        None => (text, Vec::new()),
    };
    let load = || -> Loaded {
        load(Input {
            text: text.to_owned(),
            name: "fuzz.toml".to_owned(),
            base_dir: Some("/nonexistent".into()),
            sets: sets.clone(),
            env: &|name| (name == "SET").then(|| "value".to_owned()),
        })
    };
    let loaded = load();
    for d in &loaded.diagnostics.list {
        for place in std::iter::once(d.place).chain(d.other) {
            let source = &loaded.diagnostics.sources[usize::from(place.source)];
            assert!(place.start <= place.end, "{d:?}");
            assert!(place.end as usize <= source.text.len(), "{d:?} is outside its source");
        }
    }
    assert_eq!(loaded.snapshot.is_some(), loaded.diagnostics.errors() == 0);
    assert_eq!(load().diagnostics.render(false), loaded.diagnostics.render(false));
    let _ = loaded.diagnostics.render_json();
}
