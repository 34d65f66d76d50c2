//! `busbar explain`: it tells what a real request gets, and touches nothing.

use harness::client::{ask, get};
use harness::gateway::Gateway;
use harness::origin::Origin;
use serde_json::Value;

use crate::tools::{folder, run};

const ROUTES: &str = r#"
[route.any]
respond = "any"
[route.host]
host = "a.example"
respond = "host"
[route.users]
path = "/users/*"
respond = "users"
[route.user]
path = "/users/{id}/posts"
respond = { body = "user" }
[route.write]
path = "/users/*"
methods = ["POST"]
respond = "write"
[route.canary]
path = "/users/*"
when = { headers = { x-canary = "1" } }
respond = "canary"
[route.get]
path = "/get"
host = "only.example"
methods = ["GET"]
respond = "get"
"#;

fn socket_of(gateway: &Gateway) -> String {
    gateway.dir.path().join("busbar.sock").display().to_string()
}

fn explained(gateway: &Gateway, args: &[&str]) -> Value {
    let socket = socket_of(gateway);
    let args = [&["explain"], args, &["--socket", &socket, "--json"]].concat();
    let ran = run(gateway.dir.path(), &args);
    assert_eq!(ran.code, Some(0), "{args:?} {}{}", ran.out, ran.err);
    ran.json()
}

#[test]
fn it_names_the_route_that_answers() {
    let gateway = Gateway::start("epoll", ROUTES);
    let file = gateway.dir.path().join("busbar.toml");
    let rows = [
        ("GET", "/x", "h", "", "any"),
        ("GET", "/x", "A.example", "", "host"),
        ("GET", "/users/1", "h", "", "users"),
        ("GET", "/users/1/posts", "h", "", "user"),
        ("GET", "/users/a/../1/%70osts", "h", "", "user"),
        ("POST", "/users/1", "h", "", "write"),
        ("GET", "/users/1", "h", "X-Canary: 1", "canary"),
        ("GET", "/get", "only.example", "", "get"),
    ];
    for (method, target, host, header, route) in rows {
        let lines = if header.is_empty() { String::new() } else { format!("{header}\r\n") };
        let request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n");
        let answer = ask(&gateway.address(), request.as_bytes());
        let url = format!("http://{host}:{}{target}", gateway.port);
        let mut args = vec![method, &url];
        if !header.is_empty() {
            args.extend(["-H", header]);
        }
        let told = explained(&gateway, &args);
        assert_eq!(told["route"]["name"], route, "{told}");
        assert_eq!(told["status"], answer.status);
        assert_eq!(answer.text(), route);
        let text = told["text"].as_str().unwrap();
        assert!(text.lines().any(|l| l.starts_with(&format!("route {route} "))), "{text}");
        // The file says the same.
        let mut args = [&["explain"], &args[..]].concat();
        args.extend([file.to_str().unwrap(), "--json"]);
        let told = run(gateway.dir.path(), &args).json();
        assert_eq!((&told["route"]["name"], &told["generation"]), (&route.into(), &Value::Null));
    }
    for (method, url, status) in [("PUT", "/get", 200), ("GET", "/a%2fb", 400), ("TRACE", "/", 405)]
    {
        assert_eq!(explained(&gateway, &[method, url])["status"], status, "{url}");
    }
    gateway.stop();
}

#[test]
fn what_is_sent_is_what_the_origin_gets() {
    let origin = Origin::new();
    let gateway = Gateway::start(
        "epoll",
        &format!(
            "[server]\nvia = true\ntrusted_proxies = [\"127.0.0.1/32\"]\n\
         [route.app]\npath = \"/v1/{{id}}\"\nto = \"http://{}\"\nrewrite.path = \"/users/{{id}}\"\n\
         headers.request = {{ set = {{ X-Id = \"{{id}}\" }}, remove = [\"X-Secret\"] }}\n",
            origin.address()
        ),
    );
    let fields = [
        "X-Forwarded-For: 203.0.113.7",
        "X-Secret: s",
        "Connection: close, x-hop",
        "X-Hop: 1",
        "X-Request-Id: given",
        "Cookie: a=b",
    ];
    let lines: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let request = format!("GET /v1/a%20b?q=1 HTTP/1.1\r\nHost: h:{}\r\n{lines}\r\n", gateway.port);
    let address = gateway.address();
    let asking = harness::origin::beside(move || ask(&address, request.as_bytes()));
    let mut up = origin.accept();
    let head = up.head();
    up.send("HTTP/1.1 204 No Content\r\n\r\n");
    asking.recv().unwrap();
    let url = format!("http://h:{}/v1/a%20b?q=1", gateway.port);
    let mut args = vec!["GET", &*url];
    fields.iter().for_each(|field| args.extend(["-H", field]));
    let told = explained(&gateway, &args);
    let sent: Vec<&str> =
        told["action"]["sent"].as_array().unwrap().iter().map(|l| l.as_str().unwrap()).collect();
    assert_eq!(sent, head.trim_end().lines().collect::<Vec<_>>());
    assert_eq!(told["client"], "203.0.113.7");
    gateway.stop();
}

#[test]
fn nothing_is_picked_or_counted_and_states_are_told() {
    let (a, b) = (Origin::new(), Origin::new());
    let down = format!("127.0.0.1:{}", harness::free_port());
    let gateway = Gateway::start(
        "epoll",
        &format!(
            "[upstream.two]\nendpoints = [\"{}\", \"{}\"]\n[upstream.down]\nendpoints = [\"{down}\"]\n\
         [route.two]\npath = \"/two\"\nto = \"two\"\n[route.down]\npath = \"/down\"\nto = \"down\"\n",
            a.address(),
            b.address()
        ),
    );
    let answer = |name: &'static str| {
        move |_: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{name}").into_bytes()
    };
    a.serve(answer("a"));
    b.serve(answer("b"));
    let mut turns = String::new();
    for _ in 0..4 {
        turns.push_str(&get(&gateway.address(), "/two").text());
        for _ in 0..3 {
            explained(&gateway, &["GET", "/two"]);
        }
    }
    assert!(turns == "abab" || turns == "baba", "explaining takes no turn: {turns}");
    let told = explained(&gateway, &["GET", "/two"]);
    let endpoints = told["action"]["to"][0]["endpoints"].as_array().unwrap();
    for endpoint in endpoints {
        assert_eq!(endpoint["state"]["word"], "up", "{told}");
        assert_eq!(endpoint["state"]["idle"], 1, "{told}");
    }
    assert_eq!(get(&gateway.address(), "/down").status, 503);
    let told = explained(&gateway, &["GET", "/down"]);
    let state = &told["action"]["to"][0]["endpoints"][0]["state"];
    assert_eq!((&state["word"], &state["refusing"]), (&"refuses connections".into(), &1.into()));
    let text = told["text"].as_str().unwrap();
    assert!(text.contains("tried again in"), "{text}");
    let (code, log) = gateway.stop();
    assert_eq!(code, Some(0));
    assert!(log.contains("served 5 requests"), "explaining is no request:\n{log}");
}

#[test]
fn without_a_gateway_the_file_is_read_and_that_is_said() {
    let dir = folder("[route.a]\npath = \"/a\"\nrespond = \"a\"\n");
    let ran = run(dir.path(), &["explain", "GET", "/a"]);
    assert_eq!(ran.code, Some(0));
    assert!(ran.out.contains("route a"), "{}", ran.out);
    assert!(
        ran.err.contains("no gateway is reached") && ran.err.contains("busbar.toml"),
        "{}",
        ran.err
    );
    let ran = run(dir.path(), &["explain", "GET", "/a", "--socket", "none.sock"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(3), ""), "{}", ran.err);
    let ran = run(dir.path(), &["explain", "GET", "/b", "--set", "route.a.path=\"/b\""]);
    assert!(
        ran.code == Some(0) && ran.out.contains("route a") && ran.err.is_empty(),
        "{}",
        ran.err
    );
    for (args, code) in [
        (&["explain", "GET"][..], 2),
        (&["explain", "GET", "/a", "busbar.toml", "--socket", "s"], 2),
        (&["explain", "GET", "/a", "none.toml"], 1),
        (&["explain", "GET", "a", "busbar.toml"], 1),
        (&["explain", "GET", "/a", "busbar.toml", "-H", "x"], 2),
        (&["explain", "GET", "/a", "busbar.toml", "--from", "x"], 2),
        (&["explain", "GET", "/a", "busbar.toml", "--listener", "x"], 1),
        (&["explain", "GET", "/a", "--set", "route.a.path=5"], 1),
    ] {
        let ran = run(dir.path(), args);
        assert_eq!((ran.code, ran.out.as_str()), (Some(code), ""), "{args:?} {}", ran.err);
        assert!(!ran.err.is_empty(), "{args:?}");
    }
}

#[test]
fn a_reload_is_explained_at_once() {
    let gateway = Gateway::start("epoll", "[route.a]\npath = \"/a\"\nrespond = \"a\"\n");
    assert_eq!(explained(&gateway, &["GET", "/b"])["status"], 404);
    let file = gateway.dir.path().join("busbar.toml");
    let text = std::fs::read_to_string(&file).unwrap().replace("\"/a\"", "\"/b\"");
    std::fs::write(&file, text).unwrap();
    let socket = socket_of(&gateway);
    assert_eq!(run(gateway.dir.path(), &["reload", "--socket", &socket]).code, Some(0));
    let told = explained(&gateway, &["GET", "/b"]);
    assert_eq!((&told["route"]["name"], &told["generation"]), (&"a".into(), &2.into()));
    gateway.stop();
}
