//! Every seed and every once-found counterexample still holds, on stable Rust.

use std::{fs, path::Path};

#[test]
fn every_corpus_file_satisfies_its_property() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, property) in fuzz::TARGETS {
        let folder = fs::read_dir(corpus.join(name)).expect("each target has a corpus");
        let mut files_count = 0;
        for file in folder {
            let path = file.expect("the folder can be read").path();
            let bytes = fs::read(&path).expect("the file can be read");
            let outcome = std::panic::catch_unwind(|| property(&bytes));
            assert!(outcome.is_ok(), "{} breaks {name}", path.display());
            files_count += 1;
        }
        assert!(files_count >= 10, "{name} has {files_count} seeds");
    }
}

#[test]
fn every_target_has_its_corpus_and_its_binary() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, _) in fuzz::TARGETS {
        assert!(root.join(format!("fuzz_targets/{name}.rs")).is_file(), "{name}");
    }
    let folders = fs::read_dir(root.join("corpus")).expect("the corpus can be read").count();
    assert_eq!(folders, fuzz::TARGETS.len());
}
