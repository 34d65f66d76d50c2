//! What holds for all policies: the examples of their page, that refusals are counted, that no
//! secret is shown, and the commands around them.

use std::path::Path;
use std::process::{Command, Stdio};

use harness::client::{Client, ask, asking, get};
use harness::gateway::{Config, Gateway, binary};
use harness::origin::{Origin, field, mirror};
use harness::tokens::{Signer, basic, hashed, jwks};
use serde_json::json;

use crate::numbers::{numbers, with_admin};
use crate::tools::{folder, run};

/// The files that examples name.
pub fn files_of_examples(dir: &Path) -> Signer {
    let signer = Signer::new("one", "ES256");
    let hash = "$2b$04$IajxyRXQd0lP98azcn6Jye2gPDJGiLkDrBLm1XVM.XSZ6l7sE0Eiy";
    for (name, text) in [
        ("deny.txt", "198.51.100.0/24\n".to_owned()),
        ("keys.csv", format!("name,api_key\nbeta,{}\n", hashed("beta"))),
        ("htpasswd", format!("anna:{hash}\n")),
        ("jwks.json", jwks(&[&signer])),
    ] {
        std::fs::write(dir.join(name), text).unwrap();
    }
    signer
}

/// Each example, and the requests that are shown for it.
fn examples() -> Vec<(String, String)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/policies.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut found = Vec::new();
    for part in page.split("```toml\n").skip(1) {
        let (config, rest) = part.split_once("\n```").unwrap();
        let requests = rest.split_once("```text requests\n").expect("each example has requests").1;
        let (requests, _) = requests.split_once("```").unwrap();
        found.push((config.to_owned(), requests.to_owned()));
    }
    found
}

/// The authorisation service of the example.
fn verifier() -> String {
    let origin = Origin::new();
    let address = origin.address();
    origin.serve(|head| {
        let is_good = field(head, "authorization") == Some("Bearer good");
        let status = if is_good { "200 OK\r\nX-User: anna" } else { "403 No" };
        format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").into_bytes()
    });
    address
}

/// `METHOD TARGET Name: value; Name: value -> STATUS what`, where what is a problem's type, a
/// field of the answer or its body.
fn holds(gateway: &Gateway, line: &str, token: &str) {
    let (request, expect) = line.split_once(" -> ").expect(line);
    let mut words = request.splitn(3, ' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let fields = words.next().unwrap_or_default().replace("TOKEN", token);
    let lines: Vec<&str> = fields.split("; ").filter(|line| !line.is_empty()).collect();
    let request = asking(target, &lines).replacen("GET", method, 1);
    let answer = ask(&gateway.address(), request);
    let (status, what) = expect.split_once(' ').unwrap_or((expect, ""));
    assert_eq!(answer.status.to_string(), status, "{line}: {}", answer.text());
    match what.split_once(": ") {
        _ if what.is_empty() => {}
        Some((name, value)) => assert_eq!(answer.fields(name), [value], "{line}"),
        None if answer.status < 400 => assert_eq!(answer.text(), what, "{line}"),
        None => assert_eq!(answer.problem(), what, "{line}"),
    }
}

#[test]
fn the_examples_do_what_their_page_says() {
    let examples = examples();
    assert!(examples.len() >= 10, "each policy has one");
    for (config, requests) in examples {
        let dir = tempfile::tempdir().unwrap();
        let token = files_of_examples(dir.path()).token(json!({}));
        let port = harness::free_port();
        let config = config.replace("127.0.0.1:9000", &verifier());
        let listener = format!("[listener.web]\naddress = \"127.0.0.1:{port}\"\n{config}");
        std::fs::write(dir.path().join("busbar.toml"), listener).unwrap();
        let mut command = Command::new(binary());
        command.args(["run", "busbar.toml", "--set", "admin.address=\"none\""]);
        let gateway = Gateway::spawn(command, port, dir);
        gateway.wait_for("listening on");
        requests.lines().for_each(|line| holds(&gateway, line, &token));
        gateway.stop();
    }
}

/// By route and reason; and each has its own problem, never a 500.
#[test]
fn every_refusal_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let signer = files_of_examples(dir.path());
    let down = format!("127.0.0.1:{}", harness::free_port());
    let text = format!(
        r#"
[auth.keys]
method = "api_key"
[auth.staff]
method = "jwt"
jwks = "file:{}/jwks.json"
[auth.down]
method = "forward"
to = "http://{down}/"
[consumer.acme]
groups = ["partners"]
api_keys = ["{}"]
[consumer.beta]
groups = ["others"]
api_keys = ["{}"]
[route.ip]
path = "/ip"
auth = "none"
ip = {{ deny = ["127.0.0.1"] }}
respond = "ok"
[route.closed]
path = "/closed"
auth = ["keys", "staff"]
allow = {{ groups = ["partners"] }}
respond = "ok"
[route.down]
path = "/down"
auth = "down"
respond = "ok"
[route.rate]
path = "/rate"
auth = "none"
rate_limit = "1/h"
respond = "ok"
"#,
        dir.path().display(),
        hashed("acme"),
        hashed("beta"),
    );
    let (gateway, admin) = with_admin("epoll", 2, &text);
    let old = format!("Authorization: Bearer {}", signer.token(json!({"exp": 1_700_000_000})));
    for (path, line, status, problem) in [
        ("/ip", "A: b", 403, "address-denied"),
        ("/closed", "A: b", 401, "unauthenticated"),
        ("/closed", "X-Api-Key: gamma", 401, "bad-credential"),
        ("/closed", &*old, 401, "bad-credential"),
        ("/closed", "X-Api-Key: beta", 403, "forbidden"),
        ("/closed", "X-Api-Key: acme", 200, ""),
        ("/down", "A: b", 503, "auth-unavailable"),
        ("/rate", "A: b", 200, ""),
        ("/rate", "A: b", 429, "rate-limited"),
    ] {
        let answer = ask(&gateway.address(), asking(path, &[line]));
        assert_eq!((answer.status, &*answer.problem()), (status, problem), "{path} {line}");
        if !problem.is_empty() {
            assert_eq!(answer.field("content-type"), Some("application/problem+json"));
        }
        assert_eq!(answer.field("www-authenticate").is_some(), status == 401, "{path} {line}");
    }
    let found = numbers(&admin);
    let by = found.by("busbar_policy_refusals_total", &["route", "reason"]);
    let rows = [
        ("closed", "bad_credential"),
        ("closed", "expired_credential"),
        ("closed", "forbidden"),
        ("closed", "no_credential"),
        ("down", "auth_unavailable"),
        ("ip", "address_denied"),
        ("rate", "rate_limited"),
    ];
    let expect = rows.map(|(route, reason)| (vec![route.to_owned(), reason.to_owned()], 1));
    let found: Vec<_> = by.into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(found, expect);
    gateway.stop();
}

/// Whatever is asked of whom.
#[test]
fn no_secret_is_shown_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let signer = files_of_examples(dir.path());
    let log = dir.path().join("access.log");
    let text = format!(
        r#"
[log.access]
to = "{}"
fields = ["method", "path", "query", "status", "reason", "user_agent", "referer"]
[auth.keys]
method = "api_key"
header = "X-Api-Key"
query = "api_key"
[auth.ops]
method = "basic"
[auth.staff]
method = "jwt"
jwks = "file:{}/jwks.json"
[consumer.acme]
api_keys = ["${{NONE:-plain-key-hunter2}}"]
basic = "$2b$04$IajxyRXQd0lP98azcn6Jye2gPDJGiLkDrBLm1XVM.XSZ6l7sE0Eiy"
[route.a]
path = "/a"
auth = ["keys", "ops", "staff"]
to = "http://{}"
[route.denied]
path = "/denied"
auth = "keys"
ip = {{ deny = ["127.0.0.1"] }}
respond = "a"
"#,
        log.display(),
        dir.path().display(),
        mirror(),
    );
    let (gateway, admin) = with_admin("epoll", 2, &text);
    let token = signer.token(json!({}));
    let (password, bearer) = (basic("acme", "password"), format!("Bearer {token}"));
    let secrets = [
        "plain-key-hunter2",
        "IajxyRXQd0lP98azcn6Jye2gPDJG",
        password.split(' ').nth(1).unwrap(),
        &token,
        &hashed("plain-key-hunter2")[7..],
    ];
    let requests = [
        asking("/a?x=1&api_key=plain-key-hunter2&y=2", &[]),
        asking("/denied?api_key=plain-key-hunter2", &[]),
        asking("/a?api_key=plain-key-hunter2&api_key=plain-key-hunter2", &[]),
        asking("/nowhere?api_key=plain-key-hunter2", &[]),
        asking("/a", &["X-Api-Key: plain-key-hunter2"]),
        asking("/a", &[&format!("Authorization: {password}")]),
        asking("/a", &[&format!("Authorization: {bearer}")]),
        asking("/a", &[&format!("Authorization: {bearer}x")]),
    ];
    let mut client = Client::connect(&gateway.address());
    let statuses = requests.map(|request| client.ask(request).status);
    assert_eq!(statuses, [200, 403, 401, 404, 200, 200, 200, 401]);
    let file = gateway.file().display().to_string();
    let socket = gateway.dir.path().join("busbar.sock").display().to_string();
    let mut shown = vec![gateway.log(), gateway.admin("GET", "/status").1];
    shown.push(ask(&admin, format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\n\r\n")).text());
    for args in [
        &["check", &file][..],
        &["check", "--print", &file],
        &["check", "--json", &file],
        &["check", "--print", &file, "--set", "consumer.acme.api_keys=[\"plain-key-hunter2\", 5]"],
        &["explain", "GET", "/a?api_key=plain-key-hunter2", "--socket", &socket],
        &["explain", "GET", "/a", "-H", "X-Api-Key: plain-key-hunter2", "--socket", &socket],
        &["explain", "GET", "/a", "-H", &format!("Authorization: {password}"), &file],
    ] {
        let ran = run(gateway.dir.path(), args);
        assert!(!ran.out.is_empty() || !ran.err.is_empty(), "{args:?}");
        shown.push(format!("{args:?} says\n{}{}", ran.out, ran.err));
    }
    let lines = || std::fs::read_to_string(&log).unwrap_or_default();
    harness::eventually("all lines are there", || lines().lines().count() == 8);
    assert!(lines().contains("\"query\":\"x=1&y=2\""), "{}", lines());
    shown.push(lines());
    for text in &shown {
        // What the operator types is in the arguments; what is answered is behind them.
        let answer = text.split_once("says\n").map_or(&**text, |(_, answer)| answer);
        for secret in secrets {
            assert!(!answer.contains(secret), "{secret} is in\n{text}");
        }
    }
    drop(client);
    gateway.stop();
}

/// The chain, who it is, and who refuses.
#[test]
fn explain_tells_the_chain() {
    let hash = hashed("right");
    let dir = folder(&format!(
        "[auth.keys]\nmethod = \"api_key\"\n[consumer.acme]\ngroups = [\"partners\"]\n\
         api_keys = [\"{hash}\"]\n[consumer.beta]\ngroups = [\"others\"]\n\
         [all]\nip = {{ deny = [\"192.0.2.1\"] }}\n\
         [group.api]\nauth = \"keys\"\nrate_limit = \"10/s\"\n\
         [route.a]\ngroup = \"api\"\nallow = {{ groups = [\"partners\"] }}\n\
         to = \"http://127.0.0.1:1\"\n"
    ));
    for (args, expect) in [
        (
            &["-H", "X-Api-Key: right"][..],
            &["consumer acme", "passes: acme", "x-consumer-name: acme"][..],
        ),
        (&["-H", "X-Api-Key: wrong"], &["REFUSES 401: bad_credential", "not reached"]),
        (&[], &["REFUSES 401: no_credential", "[group.api]"]),
        (&["--from", "192.0.2.1"], &["REFUSES 403: address_denied", "[all]", "not reached"]),
    ] {
        let args = [&["explain", "GET", "/", "busbar.toml"], args].concat();
        let ran = run(dir.path(), &args);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        let said = ran.out.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
        for text in expect {
            assert!(said.contains(&text.to_lowercase()), "{args:?}: {text} is not in\n{}", ran.out);
        }
        let order = ["guard", "identify", "authorize"].map(|phase| said.find(phase));
        assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{}", ran.out);
        assert!(!said.contains("right"), "{}", ran.out);
    }
}

/// Those without `auth` are told of, those that have it or say `none` are not.
#[test]
fn open_routes_are_listed() {
    let dir = folder(&format!(
        "[listener.web]\naddress = \":8080\"\n[auth.keys]\nmethod = \"api_key\"\n\
         [consumer.acme]\napi_keys = [\"{}\"]\n\
         [route.shut]\npath = \"/shut\"\nauth = \"keys\"\nrespond = \"a\"\n\
         [route.meant]\npath = \"/meant\"\nauth = \"none\"\nrespond = \"a\"\n\
         [route.forgotten]\npath = \"/forgotten\"\nrespond = \"a\"\n",
        hashed("x")
    ));
    let ran = run(dir.path(), &["check", "busbar.toml"]);
    let warning = ran.err.split("W201").nth(1).expect("it warns");
    let warning = warning.split("\n\n").next().unwrap();
    assert!(warning.contains("forgotten"), "{}", ran.err);
    assert!(!warning.contains("shut") && !warning.contains("route.meant"), "{}", ran.err);
}

#[test]
fn one_liners_have_a_key_and_a_rate() {
    let (service, port) = (mirror(), harness::free_port());
    let dir = tempfile::tempdir().unwrap();
    let listen = format!("127.0.0.1:{port}");
    let args =
        ["run", "--to", &service, "--listen", &listen, "--auth-key", "${KEY}", "--rate", "3/h"];
    let mut command = Command::new(binary());
    command.args(args).arg("--quiet").env("KEY", "from-the-environment");
    let gateway = Gateway::spawn(command, port, dir);
    gateway.wait_for(&listen);
    let with = |line: &str| ask(&gateway.address(), asking("/", &[line])).status;
    assert_eq!(with("X-Api-Key: from-the-environment"), 200);
    let statuses = ["A: b", "X-Api-Key: wrong", "X-Api-Key: from-the-environment"].map(with);
    assert_eq!(statuses, [401, 401, 429], "what is refused has cost its client something");
    assert!(!gateway.log().contains("from-the"), "{}", gateway.log());
    drop(gateway);
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary());
    command.args(args).args(["--print-config"]).env("KEY", "from-the-environment");
    let printed = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(printed.contains("${KEY}") && printed.contains("\"3/h\""), "{printed}");
    let ran = run(dir.path(), &["run", "busbar.toml", "--rate", "3/h"]);
    assert_eq!(ran.code, Some(2), "{}", ran.err);
}

/// A key that is made is a key that is taken.
#[test]
fn keys_are_made_and_hashed() {
    let dir = tempfile::tempdir().unwrap();
    let made = run(dir.path(), &["key", "new", "acme"]);
    let key = made.out.trim();
    assert_eq!((made.code, key.len(), made.out.lines().count()), (Some(0), 67, 1), "{}", made.out);
    let lines = made.err.split_once("[consumer.acme]").expect("the lines of a file").1;
    let json = run(dir.path(), &["key", "new", "acme", "--json"]).json();
    assert_ne!(json["key"], key, "each time another one");
    let hash = |input: &str, args: &[&str]| {
        let mut child = Command::new(binary())
            .args([&["key", "hash"], args].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        (out.status.code(), String::from_utf8(out.stdout).unwrap())
    };
    assert_eq!(hash(&format!("{key}\n"), &[]), (Some(0), format!("{}\n", hashed(key))));
    assert_eq!(hash("\n", &[]).0, Some(1));
    let text = format!(
        "[auth.keys]\nmethod = \"api_key\"\n[route.a]\nauth = \"keys\"\nrespond = \"{{consumer}}\"\n\
         [consumer.acme]{lines}"
    );
    let gateway = Gateway::with(&Config { text: &text, driver: "epoll", workers: 1, args: &[] });
    let answer = ask(&gateway.address(), asking("/", &[&format!("X-Api-Key: {key}")]));
    assert_eq!((answer.status, answer.text().as_str()), (200, "acme"));
    assert_eq!(get(&gateway.address(), "/").status, 401);
    gateway.stop();
    assert_ne!(run(dir.path(), &["key", "new", "a b"]).code, Some(0));
}
