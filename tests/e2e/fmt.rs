//! `busbar fmt`: the canonical form, written in one step or not at all.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::tools::{folder, run};

const SLOPPY: &str = "# mine\n\n\n[ route.a ]\n\npath='/a'   # exact\nrespond = {status=204,}\n\
                      [route.'b']\nto=[ # two\n]\n";
const NEAT: &str = "# mine\n\n[route.a]\npath = \"/a\" # exact\nrespond = { status = 204 }\n\n\
                    [route.b]\nto = [\n    # two\n]\n";

#[test]
fn a_file_is_written_once_and_keeps_its_mode() {
    let dir = folder(SLOPPY);
    let file = dir.path().join("busbar.toml");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
    let ran = run(dir.path(), &["fmt", "--check"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("busbar.toml is not in its canonical form"), "{}", ran.err);
    let ran = run(dir.path(), &["fmt", "--stdout"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), NEAT));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), SLOPPY, "only told");
    let ran = run(dir.path(), &["fmt", "--json"]);
    assert_eq!((ran.code, &ran.json()["changed"]), (Some(0), &1.into()));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), NEAT);
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
    let inode = std::fs::metadata(&file).unwrap().ino();
    let ran = run(dir.path(), &["fmt"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""));
    assert_eq!(std::fs::metadata(&file).unwrap().ino(), inode, "what is canonical is left alone");
    assert_eq!(run(dir.path(), &["fmt", "--check"]).code, Some(0));
    let left = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 1, "nothing is left beside it");
}

#[test]
fn a_link_stays_a_link_and_several_files_are_written_together() {
    let dir = folder(SLOPPY);
    std::fs::write(dir.path().join("b.toml"), "a=1").unwrap();
    std::os::unix::fs::symlink("busbar.toml", dir.path().join("link.toml")).unwrap();
    let ran = run(dir.path(), &["fmt", "link.toml", "b.toml"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(std::fs::symlink_metadata(dir.path().join("link.toml")).unwrap().is_symlink());
    assert_eq!(std::fs::read_to_string(dir.path().join("busbar.toml")).unwrap(), NEAT);
    assert_eq!(std::fs::read_to_string(dir.path().join("b.toml")).unwrap(), "a = 1\n");
    assert_eq!(run(dir.path(), &["fmt", "--stdout", "b.toml", "link.toml"]).code, Some(2));
}

#[test]
fn one_that_cant_be_written_leaves_the_others_as_they_are() {
    let dir = folder(SLOPPY);
    // There is no room for the longer name of what is written beside it.
    let long = format!("{}.toml", "a".repeat(250));
    std::fs::write(dir.path().join(&long), SLOPPY).unwrap();
    let ran = run(dir.path(), &["fmt", "busbar.toml", &long]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.trim_end().ends_with("; nothing was changed"), "{}", ran.err);
    assert_eq!(std::fs::read_to_string(dir.path().join("busbar.toml")).unwrap(), SLOPPY);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left beside them");
    let ran = run(dir.path(), &["fmt", "busbar.toml", "./busbar.toml"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(std::fs::read_to_string(dir.path().join("busbar.toml")).unwrap(), NEAT);
}

#[test]
fn what_is_no_toml_is_refused_and_nothing_is_written() {
    let dir = folder(SLOPPY);
    std::fs::write(dir.path().join("bad.toml"), "a = 1\na = [\n").unwrap();
    for args in [&["fmt", "busbar.toml", "bad.toml"][..], &["fmt", "bad.toml", "busbar.toml"]] {
        let ran = run(dir.path(), args);
        assert_eq!(ran.code, Some(1));
        assert!(ran.err.contains("E100") && ran.err.contains("bad.toml:2:"), "{}", ran.err);
        assert!(ran.err.contains("nothing was changed"), "{}", ran.err);
        assert_eq!(std::fs::read_to_string(dir.path().join("busbar.toml")).unwrap(), SLOPPY);
    }
    let ran = run(dir.path(), &["fmt", "bad.toml", "--json"]);
    assert_eq!(
        (ran.code, &ran.json()["refused"][0]["diagnostics"][0]["code"]),
        (Some(1), &"E100".into())
    );
    assert_eq!(run(dir.path(), &["fmt", "none.toml"]).code, Some(1));
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(run(empty.path(), &["fmt"]).code, Some(1), "the built-in welcome has no file");
}
