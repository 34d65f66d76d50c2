//! Golden diagnostics: each code with what it refuses, beside what is accepted.

use super::*;

fn load_text(text: &str) -> Loaded {
    load(Input {
        text: text.to_owned(),
        name: "busbar.toml".to_owned(),
        base_dir: None,
        sets: Vec::new(),
        env: &|name| (name == "PORT").then(|| "9000".to_owned()),
    })
}

/// `code line:column` of everything found.
fn codes(text: &str) -> Vec<String> {
    let loaded = load_text(text);
    let d = &loaded.diagnostics;
    let show = |x: &diagnostic::Diagnostic| {
        let (line, column) = d.position(x.place);
        format!("{} {line}:{column}", x.code)
    };
    d.list.iter().map(show).collect()
}

/// `accepted` loads without a word, `refused` with exactly these.
fn check(accepted: &str, refused: &str, expected: &[&str]) {
    let loaded = load_text(accepted);
    assert!(loaded.snapshot.is_some(), "{}", loaded.diagnostics.render(false));
    assert!(loaded.diagnostics.list.is_empty(), "{}", loaded.diagnostics.render(false));
    assert_eq!(
        codes(refused),
        expected,
        "{refused}\n{}",
        load_text(refused).diagnostics.render(false)
    );
}

const APP: &str = "[route.app]\nto = \"http://127.0.0.1:3000\"\n";

#[test]
fn every_code_has_its_mistake_and_its_neighbour() {
    let app = |more: &str| format!("{APP}{more}");
    check(APP, "[route.app\nto = 1", &["E100 1:11"]);
    check(&app("timeout = \"1s\""), &app("time_out = \"1s\""), &["E101 3:1"]);
    check(&app("methods = [\"GET\"]"), &app("methods = 5"), &["E102 3:11"]);
    check(&app("methods = [\"PURGE\"]"), &app("methods = [\"get\"]"), &["E103 3:12"]);
    check(&app("timeout = \"10s\""), &app("timeout = 10"), &["E104 3:11"]);
    check(&app("body_limit = \"1MiB\""), &app("body_limit = \"1M\""), &["E104 3:14"]);
    check(&app("body_limit = \"none\""), &app("body_limit = \"nine\""), &["E104 3:14"]);
    check(APP, "[route.app]\npath = \"/x\"\n", &["E105 1:8"]);
    check(APP, &app("echo = true"), &["E106 3:1"]);
    check(&app("path = \"/a/{b}\""), &app("path = \"/a{b}\""), &["E110 3:11"]);
    check(&app("host = \"*.a.example\""), &app("host = \"a.*\""), &["E111 3:8"]);
    check(
        "[route.a]\nto = \"http://127.0.0.1:${PORT}\"",
        "[route.a]\nto = \"http://127.0.0.1:${POORT}\"",
        &["E112 2:6", "E114 2:6"],
    );
    check(
        "[route.a]\nto = \"http://127.0.0.1:${NO:-80}\"",
        "[route.a]\nrespond = \"{hots}\"",
        &["E113 2:11"],
    );
    check(
        "[listener.a]\naddress = \":81\"\n[route.a]\necho = true",
        "[listener.a]\naddress = \"81\"\n[route.a]\necho = true",
        &["E114 2:11"],
    );
    check(
        &app("headers = { request = { set = { X-A = \"{client}\" } } }"),
        &app("headers = { request = { set = { Host = \"a\" } } }"),
        &["E115 3:33"],
    );
    check(APP, "[route.a]\nrespond = { file = \"/nonexistent\" }", &["E116 2:20"]);
    check(
        "[upstream.users]\nendpoints = [\"10.0.0.1:80\"]\n[route.a]\nto = \"users\"",
        "[upstream.users]\nendpoints = [\"10.0.0.1:80\"]\n[route.a]\nto = \"user\"",
        &["W203 1:11", "E120 4:6"],
    );
    check(&app("listener = \"default\""), &app("listener = \"web\""), &["E121 3:12"]);
    check(APP, "[route.a]\nto = \"http://127.0.0.1:8080\"", &["E122 2:6"]);
    check(
        "[listener.a]\naddress = \":81\"\n[listener.b]\naddress = \":82\"\n[route.a]\necho = true",
        "[listener.a]\naddress = \":81\"\n[listener.b]\naddress = \":81\"\n[route.a]\necho = true",
        &["E123 3:11"],
    );
    check(
        "[route.a]\npath = \"/u/{id}\"\necho = true\n[route.b]\npath = \"/u/{x}\"\nmethods = [\"GET\"]\necho = true",
        "[route.a]\npath = \"/u/{id}\"\necho = true\n[route.b]\npath = \"/u/{x}\"\necho = true",
        &["E131 5:8"],
    );
    check(
        &app("[server]\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\"]"),
        &app("[server]\ntrusted_proxies = [\"10.0.0.1/8\", \"x\"]"),
        &["E145 4:20", "E114 4:34"],
    );
    check(APP, &app("rate_limit = { rate = \"1/s\" }"), &["E190 3:1"]);
    check(APP, "[auth.x]\nmethod = \"jwt\"\n[route.a]\necho = true", &["E190 1:2"]);
    check(APP, "[route.a]\nrespond = \"{consumer}\"", &["E190 2:11"]);
    check(APP, "", &["W204 1:1"]);
    let when = |a: &str, b: &str| {
        format!(
            "[route.a]\npath = \"/\"\nwhen = {{ headers = {{ {a} = \"1\" }} }}\necho = true\n\
             [route.b]\npath = \"/\"\nwhen = {{ headers = {{ {b} = \"1\" }} }}\necho = true\n"
        )
    };
    assert_eq!(codes(&when("x-a", "x-b")), ["W202 6:8"]);
    assert_eq!(codes(&when("x-a", "x-a")), ["E131 6:8"]);
}

#[test]
fn every_code_in_the_table_is_used_above() {
    let used = include_str!("tests.rs");
    for (code, _) in diagnostic::CODES {
        assert!(used.contains(&format!("\"{code} ")), "{code} has no golden test");
    }
}

#[test]
fn a_mistake_shows_its_line_a_caret_and_the_cure() {
    let text = "[upstream.users]\nendpoints = [\"10.0.0.1:80\"]\n\n[route.a]\nto = \"user\"\ntimeout = 10\n";
    let shown = load_text(text).diagnostics.render(false);
    let expected = "W203 no route uses upstream `users`\n  busbar.toml:1:11\n     1 | [upstream.users]\n       |           ^^^^^\n\n\
        E120 no upstream is called `user`\n  busbar.toml:5:6\n     5 | to = \"user\"\n       |      ^^^^^^ did you mean `users` (line 1)?\n\n\
        E104 a time needs a unit\n  busbar.toml:6:11\n     6 | timeout = 10\n       |           ^^ write \"10s\" (or \"10ms\")\n\n\
        2 errors, 1 warning; nothing was changed\n";
    assert_eq!(shown, expected);
}

#[test]
fn sets_replace_keys_and_are_named_in_mistakes() {
    let with = |set: &str| {
        load(Input {
            text: APP.to_owned(),
            name: "busbar.toml".to_owned(),
            base_dir: None,
            sets: vec![set.to_owned()],
            env: &|_| None,
        })
    };
    let loaded = with("listener.web.address=\"127.0.0.1:9443\"");
    assert_eq!(&*loaded.snapshot.unwrap().listeners[0].name, "web");
    let loaded = with("route.app.timeout=5");
    assert!(loaded.diagnostics.render(false).contains("--set #1:1:19"));
    assert!(with("nonsense").snapshot.is_none());
}

#[test]
fn the_embedded_default_and_one_liners_are_clean() {
    let check = |text: &str| {
        let loaded = load_text(text);
        assert!(loaded.diagnostics.list.is_empty(), "{}", loaded.diagnostics.render(false));
        loaded.snapshot.unwrap()
    };
    assert_eq!(check(default_text()).routes.len(), 2);
    let flags = OneLiner {
        to: Some("localhost:3000".to_owned()),
        routes: vec![("/users/*".to_owned(), "http://u:8080".to_owned())],
        host: Some("a.example".to_owned()),
        listen: Some("127.0.0.1:81".to_owned()),
    };
    assert_eq!(check(&one_liner(&flags)).routes.len(), 2);
    let hostile =
        OneLiner { to: Some("x\"\n[route.b]\necho = true\n#".to_owned()), ..OneLiner::default() };
    let loaded = load_text(&one_liner(&hostile));
    assert!(loaded.snapshot.is_none(), "a flag can't add keys");
}

#[test]
fn defaults_are_those_of_the_table() {
    let snapshot = load_text(APP).snapshot.unwrap();
    let (listener, route) = (&snapshot.listeners[0], &snapshot.routes[0]);
    let s = std::time::Duration::from_secs;
    assert_eq!((listener.head_timeout, listener.idle_timeout), (s(10), s(75)));
    assert_eq!((route.timeout, route.body_timeout), (Some(s(30)), Some(s(30))));
    assert_eq!((route.body_limit, route.body_rate_min), (Some(10 << 20), Some(100)));
    assert_eq!((route.deadline, route.tunnel_timeout), (None, Some(s(3600))));
    let upstream = &snapshot.upstreams[0];
    assert_eq!((upstream.pool_idle, upstream.pool_idle_timeout), (32, s(55)));
    assert_eq!((upstream.connect_timeout, upstream.limits.head_bytes_max), (s(2), 64 << 10));
}

#[test]
fn the_reference_is_the_models() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let made = reference::markdown();
    #[allow(clippy::disallowed_methods)] // a test's own switch
    if std::env::var("BUSBAR_BLESS").is_ok() {
        std::fs::write(path, &made).unwrap();
    }
    let stands = std::fs::read_to_string(path).unwrap_or_default();
    assert!(stands == made, "docs/configuration.md is stale: BUSBAR_BLESS=1 cargo test writes it");
}

#[test]
fn ten_thousand_routes_load() {
    let mut text = String::new();
    for n in 0..10_000 {
        text.push_str(&format!(
            "[route.r{n}]\npath = \"/s{}/{{id}}/x{n}\"\nto = \"http://10.0.0.{}:80\"\n",
            n % 97,
            n % 200
        ));
    }
    let loaded = load_text(&text);
    assert_eq!(loaded.snapshot.unwrap().routes.len(), 10_000);
}

mod mutations {
    use proptest::prelude::*;

    const VALID: &str = include_str!("default.toml");

    proptest! {
        #[test]
        fn any_damage_is_reported_in_its_place(at in 0..VALID.len(), len in 0usize..20, put in ".{0,6}") {
            let mut bytes = VALID.as_bytes().to_vec();
            let end = (at + len).min(bytes.len());
            bytes.splice(at..end, put.bytes());
            super::fuzz::property(&bytes);
        }

        #[test]
        fn any_text_is_survived(text in "\\PC{0,200}") {
            super::fuzz::property(text.as_bytes());
        }
    }
}
