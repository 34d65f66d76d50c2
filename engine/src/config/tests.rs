//! What is refused, beside its nearest neighbour that is not.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::action::Action;
use crate::ids::{ListenerId, UpstreamId};
use crate::log::format::Format;
use crate::snapshot::{Balance, Driver, EndpointAddress, HostMode, ListenAddress};

mod access;
mod files;
mod layers;
mod tls;

fn env(name: &str) -> Option<String> {
    matches!(name, "PORT" | "ADMIN_TOKEN").then(|| "3000".to_owned())
}

fn load_with(text: &str, sets: &[&str]) -> Loaded {
    let sets = sets.iter().map(|set| set.to_string()).collect();
    let name = "busbar.toml".to_owned();
    load(Input { text: text.to_owned(), name, base_dir: None, sets, env: &env })
}

/// The first of these files, which may include the others.
fn load_files(files: &[(&str, &str)]) -> Loaded {
    let (name, text) = (files[0].0.to_owned(), files[0].1.to_owned());
    let file = |(name, text): &(&str, &str)| {
        (PathBuf::from(name), MemoryFile { bytes: text.as_bytes().to_vec(), mode: 0o600 })
    };
    let files = Files::Memory(files.iter().map(file).collect());
    let base_dir = Some(PathBuf::new());
    load_from(Input { text, name, base_dir, sets: Vec::new(), env: &env }, &files)
}

/// `E101 2:1` of each diagnostic.
fn report(text: &str) -> Vec<String> {
    let diagnostics = load_with(text, &[]).diagnostics;
    let one = |d: &diagnostic::Diagnostic| {
        let (line, column) = diagnostics.line_column(d.at);
        format!("{} {line}:{column}", d.code)
    };
    diagnostics.list().iter().map(one).collect()
}

fn good(text: &str) -> Snapshot {
    let loaded = load_with(text, &[]);
    assert_eq!(loaded.diagnostics.render(false), "", "{text}");
    loaded.snapshot.expect("no mistakes, so a snapshot")
}

/// A route that is right, then lines under it.
fn route(lines: &str) -> String {
    format!("[route.a]\n{lines}\n")
}

const TO: &str = "to = \"http://h:1\"\n";

fn route_to(lines: &str) -> String {
    route(&format!("{TO}{lines}"))
}

type Case = (String, &'static [&'static str]);

/// Each text with what is found in it.
fn refused() -> Vec<Case> {
    let mut cases = refused_values();
    cases.extend(refused_meanings());
    cases
}

fn refused_values() -> Vec<Case> {
    let top = |text: &str| format!("{text}\n[route.a]\n{TO}");
    let upstream = |lines: &str| format!("[upstream.u]\n{lines}\n[route.a]\nto = \"u\"\n");
    let listener = |lines: &str| format!("[listener.l]\n{lines}\n[route.a]\n{TO}");
    let at = "address = \":1\"\n";
    vec![
        (route("to = http://h:1"), &["E100 2:6"]),
        (route("to = "), &["E100 2:6"]),
        (route_to("to = \"x\""), &["E100 3:1"]),
        (route_to("time_out = \"10s\""), &["E101 3:1"]),
        (top("[rout.b]"), &["E101 1:2"]),
        (route_to("path = 7"), &["E102 3:8"]),
        (top("[[upstream]]"), &["E102 1:1"]),
        (upstream("endpoints = \"a:1\""), &["E102 2:13"]),
        (route("echo = false"), &["E102 2:8"]),
        (upstream("endpoints = [\"a:1\"]\nbalance = \"round-robin\""), &["E103 3:11"]),
        (route_to("upgrade = [\"websocket\", \"tls\"]"), &["E103 3:25"]),
        (route_to("timeout = 10"), &["E104 3:11"]),
        (route_to("body_limit = \"10\""), &["E104 3:14"]),
        (route_to("body_rate_min = 5"), &["E104 3:17"]),
        (route_to("timeout = \"10sec\""), &["E105 3:11"]),
        (route_to("timeout = 1.5"), &["E104 3:11"]),
        (top("[server]\nworkers = 0"), &["E106 2:11"]),
        (top("[server]\nworkers = 99999999999999999999"), &["E106 2:11"]),
        (route_to("timeout = \"0s\""), &["E106 3:11"]),
        (route("to = { u = 0 }\n[upstream.u]\nendpoints = [\"a:1\"]"), &["E106 2:12"]),
        (listener("backlog = 5"), &["E107 1:1"]),
        (upstream("balance = \"round_robin\""), &["E107 1:1"]),
        (route("redirect = { status = 301 }"), &["E107 2:12"]),
        (route_to("host = []"), &["E107 3:8"]),
        (listener(&format!("{at}head_timeout = \"none\"")), &["E108 3:16"]),
        (top("[server]\nworkers = \"none\""), &["E108 2:11"]),
        (format!("[route.\"a b\"]\n{TO}"), &["E109 1:8"]),
        (format!("[route.\"\"]\n{TO}"), &["E109 1:8"]),
        (top("busbar = 2"), &["E111 1:10"]),
        (route("to = \"http://${NO}:1\""), &["E112 2:14"]),
        (route("to = \"http://${}:1\""), &["E113 2:14"]),
        (route("to = \"http://${NO:1\""), &["E113 2:14"]),
        (route("respond = { file = \"a.html\" }"), &["E114 2:20"]),
    ]
}

fn refused_meanings() -> Vec<Case> {
    let top = |text: &str| format!("{text}\n[route.a]\n{TO}");
    let upstream = |lines: &str| format!("[upstream.u]\n{lines}\n[route.a]\nto = \"u\"\n");
    let listener = |lines: &str| format!("[listener.l]\n{lines}\n[route.a]\n{TO}");
    let at = "address = \":1\"\n";
    vec![
        (route("to = \"u\""), &["E120 2:6"]),
        (route_to("listener = [\"l\"]"), &["E121 3:13"]),
        (route("path = \"/\""), &["E122 1:1"]),
        (route_to("echo = true"), &["E123 2:1"]),
        (route("respond = { body = \"\", file = \"x\" }"), &["E123 2:13"]),
        (route("to = \"http://h:1/x\""), &["E124 2:6"]),
        (route("to = \"h:1\""), &["E124 2:6"]),
        (upstream("endpoints = [\"a\"]"), &["E124 2:14"]),
        (listener("address = \"8080\""), &["E125 2:11"]),
        (listener(&format!("{at}[listener.m]\naddress = \"127.0.0.1:1\"")), &["E126 2:11"]),
        (route("to = \"http://127.0.0.1:8080\""), &["E127 2:6"]),
        (route("to = \"http://localhost:8080\""), &["E127 2:6"]),
        (route("to = \"http://[::1]:8080\""), &["E127 2:6"]),
        (upstream("endpoints = []"), &["E128 2:13"]),
        (upstream("endpoints = [{ address = \"a:1\", weight = 0 }]"), &["E128 2:13"]),
        (route("to = {}"), &["E128 2:6"]),
        (upstream("endpoints = [\"unix:/a\"]\nhost = \"endpoint\""), &["E129 3:8"]),
        (route_to("path = \"/a//b\""), &["E130 3:12"]),
        (route_to("path = \"/{client}\""), &["E130 3:11"]),
        (route_to(&format!("[route.b]\n{TO}")), &["E131 1:1"]),
        (
            route_to(&format!("path = \"/{{x}}\"\n[route.b]\npath = \"/{{y}}\"\n{TO}")),
            &["E131 3:8"],
        ),
        (route_to("host = \"example.com:80\""), &["E132 3:8"]),
        (route_to("host = [\"a.b\", \"*\"]"), &["E132 3:16"]),
        (route_to("host = \"a.*.b\""), &["E132 3:8"]),
        (route_to("methods = [\"get\"]"), &["E133 3:12"]),
        (route_to("methods = [\"TRACE\"]"), &["E133 3:12"]),
        (route_to("when = { headers = { a = \"x*y\" } }"), &["E134 3:26"]),
        (route_to("when = { query = { v = 2 } }"), &["E102 3:24"]),
        (route_to("headers = { request = { set = { \"a b\" = \"x\" } } }"), &["E135 3:33"]),
        (route_to("headers = { request = { set = { a = \" x\" } } }"), &["E135 3:37"]),
        (route_to("headers = { request = { set = { a = \"x\\ny\" } } }"), &["E135 3:37"]),
        (route_to("headers = { request = { set = { Host = \"x\" } } }"), &["E136 3:33"]),
        (route_to("headers.response.remove = \"Content_Length\""), &["E136 3:27"]),
        (route("redirect = \"/{hots}\""), &["E137 2:14"]),
        (route("respond = \"{\""), &["E138 2:12"]),
        (route("redirect = \"https://{query.to}/\""), &["E139 2:21"]),
        (route("redirect = \"javascript:{path}\""), &["E139 2:13"]),
        (route("respond = { type = \"text/css\", body = \"{path}\" }"), &["E139 2:39"]),
        (top("[server]\ntrusted_proxies = \"10/8\""), &["E144 2:19"]),
        (top("[server]\ntrusted_proxies = [\"10.0.0.1/8\"]"), &["E145 2:20"]),
        (route("respond = 99"), &["E146 2:11"]),
        (route("respond = { status = 204, body = \"x\" }"), &["E146 2:34"]),
        (route("redirect = { to = \"/\", status = 200 }"), &["E146 2:33"]),
        (route_to("retry = { attempts = 2 }"), &["E190 3:1"]),
        (route("to = \"srv://h\""), &["E190 2:6"]),
        (route("[route.a.compose]"), &["E190 2:10"]),
        (listener(&format!("{at}tls = {{ acme = \"a@b\" }}")), &["E190 3:9"]),
        (
            route_to(&format!("when.query.a = \"1\"\n[route.b]\nwhen.query.b = \"1\"\n{TO}")),
            &["W202 1:1"],
        ),
        (
            route_to(&format!("methods = \"GET\"\n[route.b]\nmethods = \"HEAD\"\n{TO}")),
            &["W202 1:1"],
        ),
        (
            route_to(&format!("methods = \"GET\"\n[route.b]\nmethods = [\"GET\", \"HEAD\"]\n{TO}")),
            &["E131 1:1"],
        ),
        (top("[upstream.u]\nendpoints = [\"a:1\"]"), &["W203 1:1"]),
        (
            format!(
                "[listener.l]\n{at}[listener.m]\naddress = \":2\"\n\
                 [route.a]\n{TO}listener = \"m\"\n"
            ),
            &["W204 1:1"],
        ),
        (upstream("endpoints = [\"a:1\", \"a:1\"]"), &["W205 2:21"]),
        (String::new(), &["W206 1:1"]),
    ]
}

#[test]
fn every_mistake_is_found_at_its_place() {
    for (text, expect) in refused() {
        let shown = load_with(&text, &[]).diagnostics.render(false);
        assert_eq!(report(&text), expect, "{text}\n{shown}");
    }
}

#[test]
fn the_nearest_neighbours_of_mistakes_are_taken() {
    let texts = [
        route("to = \"http://h:1\""),
        route("to = \"http://h:1/\""),
        route("to = \"http://${PORT}.h:${NO:-1}\""),
        route("echo = true"),
        route("respond = 204"),
        route("respond = \"{{}} $${x}}}\"").replace("$${x}}}", "$${{x}}"),
        route("redirect = \"https://{host}{path}\""),
        route("redirect = { to = \"/{query.to}\", status = 303 }"),
        route("respond = { type = \"text/css\", body = \"a{{}}\" }"),
        route_to("timeout = \"none\"\ndeadline = \"1m\"\nbody_limit = \"none\""),
        route_to("body_rate_min = \"100B/s\"\nbody_limit = \"0B\"\nupgrade = []"),
        route_to("upgrade = [\"websocket\", \"h2c\"]"),
        route_to("host = [\"*.example.com\", \"EXAMPLE.com\", \"[::1]\", \"10.0.0.1\"]"),
        route_to("methods = [\"GET\", \"PURGE\"]\npath = \"/a/{b}/{*c}\""),
        route_to("when = { headers = { a = \"x*\", b = \"*\" }, query = { v = \"2\" } }"),
        route_to(
            "headers.request = { set = { X-A = \"{client} {header.b}\" }, remove = [\"Via\"] }",
        ),
        route_to("encoded_slash = \"keep\"\nslashes = \"keep\"\nslash = \"redirect\""),
        route_to(&format!("methods = \"GET\"\n[route.b]\n{TO}")),
        format!("busbar = 1\n[server]\nworkers = \"1k\"\n[route.a]\n{TO}"),
        format!("[server]\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\"]\n[route.a]\n{TO}"),
        "[listener.l]\naddress = \":1\"\n[listener.m]\naddress = \":2\"\n\
         [route.a]\nto = \"http://localhost:3\"\n"
            .to_owned(),
    ];
    for text in &texts {
        good(text);
    }
}

#[test]
fn diagnostics_look_like_this() {
    let text = "\
[upstream.users]
endpoints = [\"10.0.0.1:80\"]
[route.a]
to = \"user\"
time_out = \"10s\"
timeout = 10
[route.b]
path = \"/users/{id}\"
to = \"users\"
[route.c]
to = \"users\"
path = \"/users/{name}\"
";
    let expect = "\
E120 no upstream is called `user`
  busbar.toml:4:6
    4 | to = \"user\"
      |      ^^^^^^ did you mean `users` (line 1)?

E101 unknown key `time_out`
  busbar.toml:5:1
    5 | time_out = \"10s\"
      | ^^^^^^^^ did you mean `timeout`?

E104 a time needs a unit
  busbar.toml:6:11
    6 | timeout = 10
      |           ^^ write \"10s\" (or \"10ms\")

E131 two routes want the same requests
  busbar.toml:8:8  and  busbar.toml:12:8
    8 | path = \"/users/{id}\"
   12 | path = \"/users/{name}\"
      | names of parameters do not tell them apart; add `methods`, `host` or remove one
      | routes `b` and `c`

4 errors; nothing was changed
";
    assert_eq!(load_with(text, &[]).diagnostics.render(false), expect);
}

#[test]
fn colors_only_surround_code_and_caret() {
    let loaded = load_with(&route("to = 1"), &[]);
    let colored = loaded.diagnostics.render(true);
    assert!(colored.starts_with("\x1b[1;31mE102\x1b[0m "), "{colored:?}");
    let plain = colored.replace("\x1b[1;31m", "").replace("\x1b[0m", "");
    assert_eq!(plain, loaded.diagnostics.render(false));
}

#[test]
fn broken_toml_is_reported_without_its_consequences() {
    let rows: [(&str, &[&str]); 8] = [
        (
            "[route.x\nto = 1\npath = 2\n[route.y]\nto = \"u\"\ntimeout = 10\n",
            &["E100 1:9", "E104 6:11"],
        ),
        ("[route.a]\nto = \"x\npath = \"/a\"\ntimeout = 10\n", &["E100 2:8", "E104 4:11"]),
        ("[upstream.u]\nendpoints = [\"a:1\",\n\"b\n[route.a]\nto = \"u\"\n", &["E100 2:13"]),
        ("[route.a]\nrespond = '''x\n[route.b]\nto = 1\n", &["E100 2:11"]),
        ("[route.a]\nto x\n", &["E100 2:4"]),
        ("[route.a]\nto = \"u\"\n[upstream.u\nendpoints = [\"a:1\"]\n", &["E100 3:12"]),
        ("[route.a]\nto = \"http://h:1\"\n[route.a]\npath = \"/x\"\n", &["E100 3:8"]),
        ("= = =\n\u{1}\n", &["E100 1:1", "E100 2:1"]),
    ];
    for (text, expect) in rows {
        let shown = load_with(text, &[]).diagnostics.render(false);
        assert_eq!(report(text), expect, "{text}\n{shown}");
    }
}

#[test]
fn sets_replace_what_the_file_says() {
    let text = format!("[listener.web]\naddress = \":1\"\n[route.a]\n{TO}timeout = \"1s\"\n");
    let sets = ["listener.web.address=\":9443\"", "server.workers=2", "route.a.timeout = \"none\""];
    let snapshot = load_with(&text, &sets).snapshot.expect("good");
    assert_eq!(snapshot.server.workers, Some(2));
    assert_eq!(snapshot.routes[0].timeout, None);
    let ListenAddress::Tcp(list) = &snapshot.listeners[0].address else { panic!("tcp") };
    assert!(list.iter().all(|address| address.port() == 9443));
    // A table in braces replaces the whole table; a dotted key only its leaf.
    let snapshot = load_with(&text, &["route={ b = { echo = true } }"]).snapshot.expect("good");
    assert_eq!(&*snapshot.routes[0].name, "b");
    let snapshot = load_with(&text, &["route.\"b.c\".echo=true", "route.a.path=\"/\""]).snapshot;
    assert_eq!(snapshot.expect("good").routes.len(), 2);
}

#[test]
fn mistakes_in_sets_are_shown_in_the_set() {
    let text = format!("[route.a]\n{TO}");
    let rows = [
        ("route.a.timeout=10", "E104 a time needs a unit\n  --set #1:1:17\n"),
        ("route.a.timeout=10s", "E110 this value is not TOML\n  --set #1:1:17\n"),
        ("route.a.time=\"1s\"", "E101 unknown key `time`\n  --set #1:1:9\n"),
        ("server", "E110 `--set` takes `key.path=VALUE`\n  --set #1:1:1\n"),
        ("", "E110 `--set` takes `key.path=VALUE`\n  --set #1:1:1\n"),
        ("[server]", "E110 `--set` takes `key.path=VALUE`\n  --set #1:1:1\n"),
        ("a=1\nb=2", "E110 `--set` takes `key.path=VALUE`\n  --set #1:1:1\n"),
        ("route.a.to=\"${NO}\"", "E112 `$NO` is not set\n  --set #1:1:13\n"),
    ];
    for (set, expect) in rows {
        let shown = load_with(&text, &[set]).diagnostics.render(false);
        assert!(shown.starts_with(expect), "{set}\n{shown}");
    }
}

#[test]
fn too_many_listeners_are_refused() {
    let mut text = format!("[route.a]\n{TO}");
    for i in 0..257 {
        let _ = write!(text, "[listener.l{i}]\naddress = \":{}\"\n", i + 10_000);
    }
    assert_eq!(report(&text), ["E115 201:11"]);
}

/// A variable may hold a secret, and stand where it makes no sense.
#[test]
fn what_a_variable_holds_is_in_no_message() {
    const TEXT: &str = "[admin]\nsocket = \"${T}\"\naddress = \"${T}\"\n\
        [server]\ndrain_timeout = \"${T}\"\ntrusted_proxies = [\"${T}\"]\nmemory_max = \"${T}\"\n\
        [listener.web]\naddress = \"${T}\"\n\
        [upstream.u]\nendpoints = [\"${T}\", \"http://u:${T}@h\"]\nbalance = \"${T}\"\n\
        [route.a]\nto = \"${T}\"\npath = \"${T}\"\nhost = \"${T}!\"\nmethods = [\"${T} x\"]\n\
        group = \"${T}\"\nlistener = \"${T}\"\nupgrade = [\"${T}\"]\nwithout = [\"${T}\"]\n\
        headers.request = { set = { A = \"{${T}}\" }, remove = [\"${T} \"] }\n\
        [route.b]\nredirect = \"${T}\"\n[route.c]\nrespond = { file = \"${T}\" }\n\
        [log.access]\nto = \"${T}\"\nformat = \"${T}\"\nfields = [\"${T}\"]\nsample = \"${T}\"\n";
    let env = |name: &str| (name == "T").then(|| "hunter2".to_owned());
    let (text, name) = (TEXT.to_owned(), "f".to_owned());
    let loaded = load(Input { text, name, base_dir: None, sets: Vec::new(), env: &env });
    let said = loaded.diagnostics.render(false) + &loaded.diagnostics.render_json();
    assert!(loaded.diagnostics.errors() > 20 && !said.contains("hunter2"), "{said}");
    assert!(said.contains("\"${T}\" is no time"), "{said}");
    // What is too short to prove anything helps more when it is seen.
    let (text, name) = (route("timeout = \"${T}\"\nto = \"http://h:1\""), "f".to_owned());
    let env = |_: &str| Some("10".to_owned());
    let loaded = load(Input { text, name, base_dir: None, sets: Vec::new(), env: &env });
    assert!(loaded.diagnostics.render(false).contains("write \"10s\""));
    // A message from before all is read.
    let (text, name) = ("include = [\"${T}.toml\"]".to_owned(), "f".to_owned());
    let (base_dir, env) = (Some(PathBuf::from("/none")), |_: &str| Some("hunter2".to_owned()));
    let loaded = load(Input { text, name, base_dir, sets: Vec::new(), env: &env });
    assert!(!loaded.diagnostics.render(false).contains("hunter2"));
}

#[test]
fn variables_of_the_environment_never_become_keys() {
    let env = |_: &str| Some("x\"\nevil = 1\n[route.b]\n".to_owned());
    let text = route_to("headers.request.set.a = \"1\"\nhost = \"${X}\"\n");
    let name = "f".to_owned();
    let loaded = load(Input { text, name, base_dir: None, sets: Vec::new(), env: &env });
    let codes: Vec<&str> = loaded.diagnostics.list().iter().map(|d| d.code).collect();
    assert_eq!(codes, ["E132"]);
}

#[test]
fn files_of_answers_are_read_when_the_configuration_is() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("a.html"), "<p>{x}</p>").expect("written");
    std::fs::write(folder.path().join("big"), vec![0; (1 << 20) + 1]).expect("written");
    let load_file = |file: &str| {
        let text = route(&format!("respond = {{ file = \"{file}\" }}"));
        let base_dir = Some(folder.path().to_owned());
        load(Input { text, name: "f".into(), base_dir, sets: Vec::new(), env: &env })
    };
    let snapshot = load_file("a.html").snapshot.expect("good");
    let Action::Respond(respond) = &snapshot.routes[0].action else { panic!("respond") };
    assert_eq!(respond.body.as_literal(), Some(&b"<p>{x}</p>"[..]));
    assert_eq!(&*respond.content_type, "text/html; charset=utf-8");
    for (file, note) in [("big", "larger than 1MiB"), ("none", "No such file"), (".", "not a file")]
    {
        let shown = load_file(file).diagnostics.render(false);
        assert!(shown.contains("E114") && shown.contains(note), "{file}: {shown}");
    }
}

#[test]
fn what_a_file_says_is_what_the_snapshot_holds() {
    let snapshot = good(
        "[server]\nworkers = 4\npin = false\ndriver = \"epoll\"\ndrain_timeout = \"0s\"\n\
         trusted_proxies = [\"10.0.0.0/8\"]\nmemory_max = \"1GiB\"\nvia = true\n\
         [listener.a]\naddress = \"unix:/run/a\"\nhead_max = \"8KiB\"\nheaders_max = 50\n\
         connections_per_client = 7\n\
         [listener.b]\naddress = \"127.0.0.1:80\"\n\
         [upstream.u]\nbalance = \"least_request\"\nhost = \"api.internal\"\n\
         endpoints = [\"10.0.0.1:80\", { address = \"unix:/u\", weight = 3 }]\n\
         pool = { idle = 5, idle_timeout = \"4s\", lifetime = \"1m\" }\nconnections_max = \"2k\"\n\
         [route.x]\nto = { u = 95, \"http://H:81\" = 5 }\npath = \"/a/{id}\"\ntimeout = \"3s\"\n\
         headers.response.set.X-Id = \"{id}\"\n\
         [route.y]\nto = \"http://h:81\"\nlistener = \"b\"\n",
    );
    assert_eq!((snapshot.server.workers, snapshot.server.pin), (Some(4), Some(false)));
    assert_eq!(snapshot.server.driver, Driver::Epoll);
    assert_eq!(snapshot.server.drain_timeout, Duration::ZERO);
    assert_eq!((snapshot.server.memory_max, snapshot.server.via), (Some(1 << 30), true));
    let a = snapshot.listener(ListenerId(0));
    assert_eq!((a.limits.head_bytes_max, a.limits.target_bytes_max), (8192, 8192));
    assert_eq!((a.limits.fields_max, a.connections_per_client), (50, Some(7)));
    assert_eq!(a.idle_timeout, defaults::IDLE_TIMEOUT);
    assert_eq!(snapshot.routers.len(), 2);
    assert_ne!(a.router, snapshot.listener(ListenerId(1)).router);
    let names: Vec<&str> = snapshot.upstreams.iter().map(|u| &*u.name).collect();
    assert_eq!(names, ["u", "http://h:81"]);
    let u = snapshot.upstream(UpstreamId(0));
    assert_eq!((u.balance, u.pool_idle), (Balance::LeastRequest, 5));
    assert_eq!(u.host, HostMode::Fixed("api.internal".into()));
    assert_eq!((u.endpoints[1].weight, u.connections_max), (3, Some(2000)));
    assert_eq!(u.endpoints[1].address, EndpointAddress::Unix("/u".into()));
    let Action::To(to) = &snapshot.routes[0].action else { panic!("to") };
    assert_eq!(to.targets.to_vec(), [(UpstreamId(1), 5), (UpstreamId(0), 95)]);
    assert_eq!((to.weight_sum, &*snapshot.routes[0].place), (100, "busbar.toml:22"));
    assert_eq!(snapshot.routes[0].timeout, Some(Duration::from_secs(3)));
    assert_eq!(snapshot.routes[0].headers.as_ref().expect("edits").response.set.len(), 1);
    assert_eq!(snapshot.routes[1].body_limit, Some(defaults::BODY_LIMIT));
}

#[test]
fn defaults_of_the_reference_are_those_of_the_code() {
    let all = [keys::SERVER, keys::LISTENER, keys::UPSTREAM, keys::POOL, keys::ROUTE].concat();
    let text = |name: &str| {
        let key = all.iter().find(|key| key.name == name).expect("a key");
        key.default.trim_matches('"').to_owned()
    };
    let times = [
        ("drain_timeout", defaults::DRAIN_TIMEOUT),
        ("drain_delay", defaults::DRAIN_DELAY),
        ("tunnel_drain", defaults::TUNNEL_DRAIN),
        ("head_timeout", defaults::HEAD_TIMEOUT),
        ("connect_timeout", defaults::CONNECT_TIMEOUT),
        ("lifetime", defaults::POOL_LIFETIME),
        ("timeout", defaults::TIMEOUT),
        ("body_timeout", defaults::BODY_TIMEOUT),
        ("tunnel_timeout", defaults::TUNNEL_TIMEOUT),
    ];
    for (name, value) in times {
        assert_eq!(units::time(&text(name)), Ok(value), "{name}");
    }
    assert_eq!(
        units::time(keys::POOL[1].default.trim_matches('"')),
        Ok(defaults::POOL_IDLE_TIMEOUT)
    );
    assert_eq!(units::time(&text("idle_timeout")), Ok(defaults::IDLE_TIMEOUT));
    assert_eq!(units::size(&text("target_max")), Ok(defaults::TARGET_MAX));
    assert_eq!(units::size(&text("body_limit")), Ok(defaults::BODY_LIMIT));
    assert_eq!(units::byte_rate(&text("body_rate_min")), Ok(defaults::BODY_RATE_MIN));
    assert_eq!(text("backlog"), defaults::BACKLOG.to_string());
    assert_eq!(text("headers_max"), defaults::HEADERS_MAX.to_string());
    assert_eq!(text("idle"), defaults::POOL_IDLE.to_string());
    let heads: Vec<_> = all.iter().filter(|key| key.name == "head_max").collect();
    assert_eq!(units::size(heads[0].default.trim_matches('"')), Ok(defaults::HEAD_MAX));
    assert_eq!(units::size(heads[1].default.trim_matches('"')), Ok(defaults::UPSTREAM_HEAD_MAX));
}

#[test]
fn the_embedded_default_is_good() {
    let snapshot = good(default_text());
    let names: Vec<&str> = snapshot.routes.iter().map(|route| &*route.name).collect();
    assert_eq!(names, ["echo", "welcome"]);
    let Action::Respond(welcome) = &snapshot.routes[1].action else { panic!("a page") };
    let page = welcome.body.as_literal().expect("no variables");
    assert!(page.starts_with(b"<!doctype html>") && page.ends_with(b"</html>\n"));
}

#[test]
fn examples_of_the_documentation_are_good() {
    let page = reference::markdown();
    let blocks: Vec<&str> = page.split("```toml\n").skip(1).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let text = block.split("```").next().unwrap_or_default();
        let loaded = load_files(&[("busbar.toml", text), ("conf.d/more.toml", "")]);
        assert_eq!(loaded.diagnostics.render(false), "", "{text}");
    }
    good(
        "[route.users]\nhost = \"api.example.com\"\npath = \"/users/*\"\nto = \"users\"\n\
          [route.users-write]\nhost = \"api.example.com\"\npath = \"/users/*\"\n\
          methods = [\"POST\", \"PUT\", \"PATCH\", \"DELETE\"]\nto = \"users\"\n\
          [upstream.users]\nendpoints = [\"10.0.1.11:8080\", \"10.0.1.12:8080\"]\n\
          [upstream.search]\nendpoints = [\"unix:/run/search.sock\"]\n\
          [route.orders]\npath = \"/orders/*\"\nto = { users = 95, search = 5 }\n",
    );
}

#[test]
fn flags_mean_files_and_never_keys() {
    let to = |to: &str| OneLiner { to: Some(to.to_owned()), ..OneLiner::default() };
    assert_eq!(one_liner(&to("localhost:3000")), "[route.main]\nto = \"http://localhost:3000\"\n");
    let flags = OneLiner {
        to: Some("http://a:1".into()),
        routes: vec!["/users/*=http://u:8080".into(), "/o;a=b/*=o:8080".into()],
        host: Some("app.example.com".into()),
        listen: Some("127.0.0.1:8443".into()),
        auth_key: Some("${ADMIN_TOKEN}".into()),
        rate: Some("10/s".into()),
        log: Some("short"),
    };
    let snapshot = good(&one_liner(&flags));
    assert_eq!((snapshot.routes.len(), snapshot.upstreams.len()), (3, 3));
    assert!(matches!(snapshot.log.unwrap().format, Format::Short { .. }));
    let evil = "x\"\necho = true\n[route.evil]\nto = \"http://evil";
    let flags = OneLiner {
        to: Some(evil.into()),
        routes: vec![format!("/{evil}=http://h"), "/none".into()],
        host: Some(evil.into()),
        listen: Some(evil.into()),
        auth_key: Some(evil.into()),
        rate: Some(evil.into()),
        log: None,
    };
    let text = one_liner(&flags);
    let codes: BTreeSet<&str> =
        load_with(&text, &[]).diagnostics.list().iter().map(|d| d.code).collect();
    assert!(!codes.contains("E100") && !codes.contains("E101"), "{codes:?}\n{text}");
    assert!(codes.contains("E122") && codes.contains("E125"), "{codes:?}");
}

#[test]
fn two_thousand_routes_load() {
    let mut text = String::from("[upstream.u]\nendpoints = [\"10.0.0.1:80\"]\n");
    for i in 0..2000 {
        let _ = write!(
            text,
            "[route.r{i}]\nhost = \"h{}.example.com\"\npath = \"/api/{i}/{{id}}\"\nto = \"u\"\n",
            i % 100
        );
    }
    assert_eq!(good(&text).routes.len(), 2000);
}

/// A file that uses most of the language, to be damaged.
const WHOLE: &str = "busbar = 1\ninclude = [\"d/*.toml\"]\n[server]\nworkers = 4\n\
    trusted_proxies = [\"10.0.0.0/8\"]\n[listener.l]\naddress = \":80\"\nhead_max = \"8KiB\"\n\
    [upstream.u]\nendpoints = [\"a:1\", { address = \"unix:/u\", weight = 3 }]\n\
    [route.x]\nto = { u = 95, \"http://h:81\" = 5 }\npath = \"/a/{id}/e\"\ntimeout = \"3s\"\n\
    headers.response.set.X-Id = \"{id} ${A:-b}\"\n\
    [route.y]\nwhen = { headers = { a = \"b*\" } }\nredirect = \"https://{host}{path}\"\n\
    [route.z]\nhost = [\"*.a.b\"]\nrespond = '''\n{{{{ {client} é }}}}\n'''\n\
    [route.g]\ngroup = \"inner\"\nwithout = [\"timeout\"]\nto = \"u\"\npath = \"/{x}\"\n\
    rewrite.path = \"/r/{x}\"\n\
    #set route.z.host=\"x\"\n#set server={workers=1}\n\
    #file d/groups.toml\n[all]\ntimeout = \"1s\"\nrewrite.query = \"{query}\"\n\
    [group.outer]\nprefix = \"/{t}\"\nheaders.request.set.X-T = \"{t}\"\n\
    [group.inner]\ngroup = \"outer\"\nhost = \"g.h\"\nauth = \"none\"\n\
    [admin]\ntoken = \"file:../secret\"\n[defaults.upstream]\nconnect_timeout = \"1s\"\n";

#[test]
fn cuts_within_characters_are_harmless() {
    let long = format!("path = \"/{}é\"\n", "a".repeat(4094));
    assert_eq!(report(&route_to(&long)), ["E130 3:4104"]);
    fuzz::property("[route.a]\npath = \"/{\u{fffd}\u{fffd}".as_bytes());
    fuzz::property("[route.a]\nto = \"${é\nrespond = \"{é".as_bytes());
}

#[test]
fn the_file_that_is_damaged_is_good() {
    let (main, groups) = WHOLE.split_once("#file d/groups.toml\n").expect("two files");
    let secret = ("secret", "x");
    let loaded = load_files(&[("busbar.toml", main), ("d/groups.toml", groups), secret]);
    let shown = loaded.diagnostics.render(false);
    assert!(loaded.snapshot.is_some(), "{shown}");
    fuzz::property(WHOLE.as_bytes());
}

/// Where to cut, how many bytes go, and what comes in their place.
fn cut() -> impl Strategy<Value = (prop::sample::Index, usize, String)> {
    (any::<prop::sample::Index>(), 0..12usize, "[\\PC\n\"'\\[\\]{}=.#]{0,6}")
}

proptest! {
    #[test]
    fn any_bytes_have_the_property(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        fuzz::property(&data);
    }

    #[test]
    fn any_damage_to_a_file_has_the_property(
        cuts in proptest::collection::vec(cut(), 1..6)
    ) {
        let mut data = WHOLE.as_bytes().to_vec();
        for (at, len, text) in cuts {
            let at = at.index(data.len() + 1);
            let end = (at + len).min(data.len());
            data.splice(at..end, text.into_bytes());
        }
        fuzz::property(&data);
        fuzz::fmt_property(&data);
    }

    #[test]
    fn any_pieces_of_toml_have_the_property_of_fmt(
        pieces in proptest::collection::vec(prop::sample::select(PIECES), 0..40)
    ) {
        fuzz::fmt_property(pieces.concat().as_bytes());
    }
}

/// What TOML is made of: a mixture often is TOML.
#[rustfmt::skip]
const PIECES: &[&str] = &[
    "\n", "\n", "\n\n", "\r\n", " ", "\t", "# c\n", "#\n", "a=1\n", "b.c=2\n", "e . 'd' = 3\n",
    "[t]\n", "[t.u] # h\n", "[[l]]\n", "x=[", "y={", "z=[\n", "]", "}", "]\n", "}\n", ",", ",\n",
    "1", "'s'", "\"q\"", "k=1", "m=[2]", "# in a list\n", "'''\n'''", "w=\"\"\"\n\"\"\"\n",
];
