//! Several files, secrets, and the realistic file with ten mistakes.

use super::*;
use crate::snapshot::Choice;

#[test]
fn files_are_one_configuration() {
    let loaded = load_files(&[
        ("busbar.toml", "include = [\"conf.d/*/?.toml\", \"/etc/b.toml\"]\nbusbar = 1\n"),
        ("conf.d/x/a.toml", "busbar = 1\n[route.a]\nto = \"u\"\n[server]\nworkers = 2\n"),
        ("conf.d/x/bb.toml", "no TOML"),
        ("conf.d/x/.b", "no TOML"),
        ("conf.d/y/b.toml", "include = \"../more.toml\"\n[server]\nvia = true\n"),
        ("conf.d/more.toml", "[upstream.u]\nendpoints = [\"h:1\"]\n"),
        ("/etc/b.toml", "[route.b]\npath = \"/b\"\nrespond = { file = \"b.txt\" }\n"),
        ("/etc/b.txt", "b"),
    ]);
    assert_eq!(loaded.diagnostics.render(false), "");
    let snapshot = loaded.snapshot.expect("good");
    assert_eq!((snapshot.server.workers, snapshot.server.via), (Some(2), true));
    let places: Vec<&str> = snapshot.routes.iter().map(|route| &*route.place).collect();
    assert_eq!(places, ["conf.d/x/a.toml:2", "/etc/b.toml:1"]);
    let files: Vec<&str> = loaded.files.iter().map(|path| path.to_str().expect("UTF-8")).collect();
    let expect = [
        "/etc/b.toml",
        "/etc/b.txt",
        "conf.d/x/a.toml",
        "conf.d/y/../more.toml",
        "conf.d/y/b.toml",
    ];
    assert_eq!(files, expect);
    let folders: Vec<&str> = loaded.folders.iter().map(|f| f.to_str().expect("UTF-8")).collect();
    assert_eq!(folders, ["conf.d", "conf.d/x", "conf.d/y"]);
}

/// What follows a missing quote is not taken for names of files.
#[test]
fn a_broken_include_is_one_mistake() {
    let text = format!("include = [\"a.toml]\n[route.a]\npath = \"/x\"\n{TO}");
    let loaded = load_files(&[("busbar.toml", text.as_str()), ("path", "no TOML")]);
    let codes: Vec<&str> = loaded.diagnostics.list().iter().map(|d| d.code).collect();
    assert_eq!(codes, ["E100"]);
}

#[test]
fn programs_are_told_of_both_files() {
    let loaded = load_files(&[
        ("busbar.toml", &format!("include = \"a.toml\"\n[route.a]\n{TO}")),
        ("a.toml", &format!("[route.a]\n{TO}")),
    ]);
    let json = loaded.diagnostics.render_json();
    let at = "\"at\":{\"file\":\"busbar.toml\",\"line\":2,";
    let other = "\"other\":{\"file\":\"a.toml\",\"line\":1,";
    assert!(json.contains(at) && json.contains(other), "{json}");
}

#[test]
fn included_files_are_bounded_in_depth() {
    let names: Vec<String> = (0..10).map(|i| format!("{i}.toml")).collect();
    let texts: Vec<String> = (0..10).map(|i| format!("include = \"{}.toml\"\n", i + 1)).collect();
    let files: Vec<(&str, &str)> =
        names.iter().zip(&texts).map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let shown = load_files(&files).diagnostics.render(false);
    assert!(shown.starts_with("W206") || shown.contains("E116"), "{shown}");
    assert!(shown.contains("files include each other too deeply\n  8.toml:1:11"), "{shown}");
}

#[test]
fn files_on_disk_are_found_beside_the_one_that_names_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let there = |name: &str| folder.path().join(name);
    std::fs::create_dir(there("conf.d")).expect("made");
    std::fs::write(there("conf.d/b.toml"), "[route.b]\necho = true\npath = \"/b\"\n").unwrap();
    std::fs::write(there("conf.d/a.toml"), "[admin]\ntoken = \"file:../token\"\n").unwrap();
    std::fs::write(there("token"), "hunter2\n").unwrap();
    std::os::unix::fs::symlink(there("conf.d/b.toml"), there("conf.d/c.toml")).unwrap();
    let load_with_include = |pattern: &str| {
        let text = format!("include = [\"{pattern}\"]\n[route.a]\n{TO}");
        let name = there("busbar.toml").display().to_string();
        let base_dir = Some(folder.path().to_owned());
        load(Input { text, name, base_dir, sets: Vec::new(), env: &env })
    };
    let loaded = load_with_include("conf.d/[*.toml");
    assert!(loaded.diagnostics.render(false).starts_with("W208"));
    let loaded = load_with_include("conf.d/[ab].toml");
    assert!(loaded.diagnostics.render(false).starts_with("E114"), "only `*` and `?` are special");
    let shown = load_with_include("conf.d/*.toml").diagnostics.render(false);
    assert!(shown.contains("c.toml is included twice"), "a link is the same file: {shown}");
    std::fs::remove_file(there("conf.d/c.toml")).unwrap();
    let loaded = load_with_include("conf.d/*.toml");
    let snapshot = loaded.snapshot.expect("good");
    assert_eq!(snapshot.routes.len(), 2);
    assert_eq!(snapshot.admin.token.as_ref().map(|token| token.expose()), Some(&b"hunter2"[..]));
    let codes: Vec<&str> = loaded.diagnostics.list().iter().map(|d| d.code).collect();
    assert!(codes.is_empty() || codes == ["W211"], "{codes:?}");
    assert!(loaded.files.contains(&there("conf.d/../token")), "{:?}", loaded.files);
}

/// The token, and the codes of what is said about it.
fn token(value: &str) -> (Option<String>, Vec<&'static str>) {
    let text = format!("[admin]\ntoken = {value}\n[route.a]\n{TO}");
    let name = "busbar.toml".to_owned();
    let file = |text: &str, mode| MemoryFile { bytes: text.as_bytes().to_vec(), mode };
    let files = Files::Memory(
        [
            ("plain", file("hunter2\n", 0o600)),
            ("windows", file("hunter2\r\n", 0o640)),
            ("two", file("hunter2\n\n", 0o400)),
            ("wide", file("hunter2", 0o604)),
            ("/run/creds/admin", file("from systemd\n", 0o400)),
        ]
        .map(|(path, file)| (PathBuf::from(path), file))
        .into(),
    );
    let env = |name: &str| match name {
        "TOKEN" => Some("file:plain".to_owned()),
        "EMPTY" => Some(String::new()),
        "CREDENTIALS_DIRECTORY" => Some("/run/creds".to_owned()),
        _ => None,
    };
    let base_dir = Some(PathBuf::new());
    let loaded = load_from(Input { text, name, base_dir, sets: Vec::new(), env: &env }, &files);
    let codes = loaded.diagnostics.list().iter().map(|d| d.code).collect();
    let token = loaded.snapshot.and_then(|snapshot| snapshot.admin.token);
    (token.map(|token| String::from_utf8_lossy(token.expose()).into_owned()), codes)
}

#[test]
fn secrets_come_from_where_the_file_says() {
    let rows: [(&str, Option<&str>, &[&str]); 16] = [
        ("\"hunter2\"", Some("hunter2"), &["W210"]),
        ("\"$${hunter2\"", Some("${hunter2"), &["W210"]),
        ("'''\nhunter2'''", Some("hunter2"), &["W210"]),
        ("\"${TOKEN}\"", Some("file:plain"), &[]),
        ("\"${NO:-x}\"", Some("x"), &["W210"]),
        ("\"${NO:-}\"", None, &["E118"]),
        ("\"a-${TOKEN}\"", Some("a-file:plain"), &[]),
        ("\"${EMPTY}\"", None, &["E118"]),
        ("\"${NO}\"", None, &["E112"]),
        ("\"file:plain\"", Some("hunter2"), &[]),
        ("'file:windows'", Some("hunter2"), &[]),
        ("\"file:two\"", Some("hunter2\n"), &[]),
        ("\"file:wide\"", Some("hunter2"), &["W211"]),
        ("\"credential:admin\"", Some("from systemd"), &[]),
        ("\"credential:../admin\"", None, &["E118"]),
        ("\"credential:none\"", None, &["E114"]),
    ];
    for (value, expect, codes) in rows {
        let (token, found) = token(value);
        assert_eq!((token.as_deref(), found.as_slice()), (expect, codes), "{value}");
    }
}

#[test]
fn the_admin_table_is_read() {
    let admin = |lines: &str| good(&format!("[admin]\n{lines}\n[route.a]\n{TO}")).admin;
    let nothing = admin("");
    assert_eq!((nothing.socket, nothing.address), (Choice::Default, Choice::Default));
    assert!(nothing.token.is_none());
    let off = admin("socket = \"none\"\naddress = \"none\"");
    assert_eq!((off.socket, off.address), (Choice::Off, Choice::Off));
    let given = admin("socket = \"/run/b.sock\"\naddress = \"[::1]:9912\"");
    assert_eq!(given.socket, Choice::Given("/run/b.sock".into()));
    let address: Box<[std::net::SocketAddr]> = [([0, 0, 0, 0, 0, 0, 0, 1], 9912).into()].into();
    assert_eq!(given.address, Choice::Given(address));
    assert!(address::listen(defaults::ADMIN_ADDRESS).is_ok());
}

/// CONFIG's realistic file, with what this build has.
const REALISTIC: &str = include_str!("../realistic.toml");
const MORE: &str =
    "[route.health]\npath = \"/healthz\"\nrespond = { status = 200, body = \"ok\" }\n";

fn load_realistic(text: &str, more: &str) -> Loaded {
    load_files(&[("busbar.toml", text), ("conf.d/health.toml", more)])
}

#[test]
fn the_realistic_file_is_good() {
    let loaded = load_realistic(REALISTIC, MORE);
    assert_eq!(loaded.diagnostics.render(false), "");
    let snapshot = loaded.snapshot.expect("good");
    assert_eq!((snapshot.routes.len(), snapshot.upstreams.len()), (6, 3));
}

#[test]
fn ten_mistakes_are_found_in_one_run_each_with_its_cure() {
    let mistakes = [
        ("connect_timeout = \"500ms\"", "connect_timeout = 500", "E104", "write \"500s\" (or"),
        (
            "balance = \"least_request\"",
            "balance = \"least-request\"",
            "E103",
            "\"least_request\"?",
        ),
        ("timeout = \"10s\"", "time_out = \"10s\"", "E101", "did you mean `timeout`?"),
        ("X-User = \"{user}\"", "X-User = \"{usr}\"", "E137", "did you mean {user}?"),
        ("address = \"127.0.0.1:8443\"", "address = \"8443\"", "E125", "write \":8443\""),
        ("group = \"one-user\"", "group = \"one_user\"", "E141", "did you mean `one-user`?"),
        ("{ orders = 95", "{ order = 95", "E120", "did you mean `orders` (line 14)?"),
        ("deadline = \"30s\"", "retry = { attempts = 2 }", "E190", "remove it"),
        ("\"POST\"", "\"post\"", "E133", "write \"POST\""),
        ("body_limit = \"1MiB\"", "body_limit = \"1 MB\"", "E105", "write \"1MB\""),
    ];
    let mut text = REALISTIC.to_owned();
    for (good, bad, ..) in &mistakes {
        assert!(text.contains(good), "{good}");
        text = text.replacen(good, bad, 1);
    }
    // A route that uses the group whose template is wrong, since the first now names another.
    text.push_str("[route.photo]\ngroup = \"one-user\"\npath = \"/photo\"\nto = \"users\"\n");
    let more = format!("{MORE}[route.users]\npath = \"/u\"\nto = \"users\"\n");
    let loaded = load_realistic(&text, &more);
    let shown = loaded.diagnostics.render(false);
    for (_, _, code, cure) in &mistakes {
        let of_code = loaded.diagnostics.list().iter().filter(|d| d.code == *code);
        let cures: Vec<&str> = of_code.map(|d| d.note.as_str()).collect();
        assert!(cures.iter().any(|note| note.contains(cure)), "{code} {cure}: {cures:?}\n{shown}");
    }
    assert!(shown.contains("E117 `users` is given twice"), "an eleventh, in two files\n{shown}");
    // No consequences: `without = ["timeout"]` names what the third mistake no longer says.
    assert_eq!(loaded.diagnostics.errors(), mistakes.len() + 1, "{shown}");
    assert!(shown.ends_with("11 errors; nothing was changed\n"), "{shown}");
}
