use super::*;
use crate::auth::Wall;
use crate::config::{Input, load};
use crate::time::Mono;

const BEGIN: Now = Now { mono: Mono(0), wall: Wall(0) };

const FILE: &str = "\
[listener.main]
address = \"127.0.0.1:8091\"
[listener.side]
address = \"127.0.0.1:8092\"
[server]
trusted_proxies = [\"10.0.0.0/8\"]
[upstream.users]
endpoints = [\"127.0.0.1:3001\", { address = \"unix:/run/u\", weight = 3 }]
connect_timeout = \"1s\"
[all]
timeout = \"10s\"
[group.api]
host = \"api.example.com\"
headers.request = { set = { X-Route = \"{route}\" }, remove = [\"X-Secret\"] }
headers.response.set.X-For = \"{client}\"
[route.users]
group = \"api\"
path = \"/users/*\"
to = \"users\"
[route.users-write]
group = \"api\"
path = \"/users/*\"
methods = [\"POST\", \"PUT\"]
to = { users = 1, \"http://127.0.0.1:3003\" = 9 }
timeout = \"3s\"
body_limit = \"1KiB\"
[route.user]
group = \"api\"
path = \"/v1/{id}/profile\"
rewrite = { path = \"/users/{id}\", host = \"users.internal\" }
to = \"users\"
[route.canary]
group = \"api\"
path = \"/users/*\"
when = { headers = { X-Canary = \"1\" }, query = { v = \"2*\" } }
to = \"users\"
[route.home]
path = \"/home\"
slash = \"redirect\"
respond = { body = \"hi {client} {query.q}\", type = \"text/html\" }
[route.old]
path = \"/old/{*rest}\"
redirect = \"https://{host}/{*rest}\"
[route.files]
path = \"/files/*\"
slashes = \"keep\"
encoded_slash = \"keep\"
echo = true
[route.inside]
path = \"/inside\"
listener = \"side\"
respond = 204
";

fn snapshot() -> Snapshot {
    let (text, name) = (FILE.to_owned(), "busbar.toml".to_owned());
    let loaded = load(Input { text, name, base_dir: None, sets: Vec::new(), env: &|_| None });
    loaded.snapshot.unwrap_or_else(|| panic!("{}", loaded.diagnostics.render(false)))
}

fn query(method: &str, target: &str, headers: &[&str]) -> Query {
    let headers = headers.iter().map(|line| (*line).to_owned()).collect();
    let (method, target) = (method.to_owned(), target.to_owned());
    Query { method, target, headers, ..Query::default() }
}

fn ask(method: &str, target: &str, headers: &[&str]) -> Explanation {
    explain(&snapshot(), &query(method, target, headers), BEGIN).expect(target)
}

fn chosen(explanation: &Explanation) -> &Chosen {
    match &explanation.outcome {
        Outcome::Route(chosen) => chosen,
        other => panic!("{other:?}"),
    }
}

fn has(explanation: &Explanation, lines: &[&str]) {
    let text = explanation.text();
    let squeezed: Vec<String> =
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in lines {
        assert!(squeezed.iter().any(|have| have == line), "no line `{line}` in\n{text}");
    }
}

#[test]
fn the_route_its_conditions_and_why_the_others_lost() {
    let told = ask("POST", "http://api.example.com:8091/users/42?x=1", &["X-Secret: s"]);
    has(
        &told,
        &[
            "listener main 127.0.0.1:8091",
            "client 127.0.0.1",
            "path /users/42 (as received)",
            "route users-write /users/* host api.example.com methods POST PUT busbar.toml:20",
            "{*} = 42",
            "not users same path, but fewer conditions (no methods) busbar.toml:16",
            "not canary header X-Canary is not \"1\" busbar.toml:32",
            "not home path differs at segment 1: users ≠ home busbar.toml:37",
            "settings timeout 3s from [route.users-write] busbar.toml:25",
            "body_limit 1KiB from [route.users-write] busbar.toml:26",
            "body_timeout 30s default",
            "host api.example.com from [group.api] busbar.toml:13",
            "to http://127.0.0.1:3003 127.0.0.1:3003 9 of 10 requests",
            "to users 127.0.0.1:3001 1 of 10 requests",
            "unix:/run/u (weight 3)",
            "sent POST /users/42?x=1 HTTP/1.1",
            "Host: api.example.com:8091",
            "X-Route: users-write",
            "X-Forwarded-For: 127.0.0.1",
            "timeouts answer 3s, connect 2s; retry: none, once something of it was sent",
            "answer's fields set X-For: 127.0.0.1",
        ],
    );
    let text = told.text();
    assert!(!text.contains("X-Secret"), "{text}");
    assert_eq!((told.own_status(), told.upstreams().len()), (None, 2));
    let told = ask("GET", "http://api.example.com:8091/users/42?v=%32x", &["x-canary: 1"]);
    assert_eq!(chosen(&told).name, "canary");
    has(&told, &["not users same path, but fewer conditions (headers) busbar.toml:16"]);
    has(&told, &["not users-write takes only POST PUT busbar.toml:20"]);
    has(
        &told,
        &["timeouts answer 10s, connect 1s; retry: once on a fresh connection, when a \
                  kept one turns out closed"],
    );
}

#[test]
fn what_goes_upstream_is_what_a_worker_would_send() {
    let told = ask("GET", "http://api.example.com:8091/v1/7/profile?q", &["Connection: close"]);
    has(&told, &["sent GET /users/7?q HTTP/1.1", "Host: users.internal", "{id} = 7"]);
    let upgrade = ["Connection: Upgrade", "Upgrade: websocket"];
    let told = ask("GET", "http://api.example.com:8091/users/", &upgrade);
    has(&told, &["Upgrade: websocket", "Connection: upgrade"]);
    let mut query = query("GET", "/home?q=<b>", &["X-Forwarded-For: 203.0.113.7, 10.0.0.9"]);
    query.from = Some("10.0.0.1".parse().unwrap());
    let told = explain(&snapshot(), &query, BEGIN).unwrap();
    has(&told, &["client 203.0.113.7 (by its proxy 10.0.0.1)"]);
    has(&told, &["answer 200 text/html, 24 bytes", "hi 203.0.113.7 &lt;b&gt;"]);
    query.from = Some("192.0.2.1".parse().unwrap());
    has(&explain(&snapshot(), &query, BEGIN).unwrap(), &["client 192.0.2.1"]);
}

#[test]
fn what_the_gateway_answers_itself() {
    type Row = (&'static str, &'static str, &'static [&'static str], u16, &'static [&'static str]);
    let rows: &[Row] = &[
        ("GET", "/nothing", &[], 404, &["no route takes this request"]),
        ("PUT", "/old", &[], 308, &["answer 308 to https://127.0.0.1/"]),
        ("GET", "/home/?q", &[], 308, &["answer 308 to /home?q"]),
        ("OPTIONS", "*", &[], 204, &["answer 204: OPTIONS for the gateway itself"]),
        ("OPTIONS", "/home", &["Max-Forwards: 0"], 204, &[]),
        ("TRACE", "/", &[], 405, &["refused CONNECT and TRACE are not served (RFC 9110 §9.3.6)"]),
        ("GET", "/a\\b", &[], 400, &["refused the path contains a backslash (RFC 3986 §3.3)"]),
        ("GET", "/../x", &[], 400, &["refused the path leads above its root (RFC 3986 §5.2.4)"]),
        ("GET", "/home%2f", &[], 404, &[]),
        (
            "GET",
            "/old/a%2fb",
            &[],
            400,
            &["route old refuses %2F and %5C; encoded_slash = \"keep\" takes them"],
        ),
        (
            "GET",
            "/files//a%2fb",
            &[],
            200,
            &["path /files//a%2Fb (received, and sent, as /files//a%2fb)"],
        ),
        ("GET", "/inside", &[], 404, &["not inside only on listener side busbar.toml:49"]),
        ("POST", "/home", &["Content-Length: 99999999999"], 413, &[]),
        ("GET", "/home", &["A : b"], 400, &[]),
        ("GET", "/%zz", &[], 400, &[]),
    ];
    for (method, target, headers, status, lines) in rows {
        let told = ask(method, target, headers);
        assert_eq!(told.own_status(), Some(*status), "{target}: {}", told.text());
        has(&told, lines);
        assert_eq!(told.json()["status"], *status);
    }
    let write = "http://api.example.com:8091/users/1";
    let told = ask("POST", write, &["Content-Length: 2000"]);
    assert_eq!(told.own_status(), Some(413), "the route's own limit");
}

#[test]
fn the_listener_is_named_by_the_port_or_by_name() {
    let told = ask("GET", "http://127.0.0.1:8092/inside", &[]);
    assert_eq!((told.listener.as_str(), told.own_status()), ("side", Some(204)));
    let mut query = query("GET", "/inside", &[]);
    assert!(explain(&snapshot(), &query, BEGIN).unwrap().notes[0].contains("--listener"));
    query.listener = Some("side".into());
    assert_eq!(explain(&snapshot(), &query, BEGIN).unwrap().own_status(), Some(204));
    query.listener = Some("outside".into());
    let why = explain(&snapshot(), &query, BEGIN).unwrap_err();
    assert_eq!(why, "no listener is called `outside`; there are: main, side");
    let told = ask("GET", "https://api.example.com/users/1#part", &[]);
    assert_eq!(told.notes.len(), 2, "no such port, no TLS: {:?}", told.notes);
}

#[test]
fn what_is_no_request_is_refused() {
    for (target, header) in
        [("h/x", "A: b"), ("ftp://h", "A: b"), ("/", "A"), ("/\r\nB: c", "A: b")]
    {
        assert!(
            explain(&snapshot(), &query("GET", target, &[header]), BEGIN).is_err(),
            "{target:?}"
        );
    }
}

#[test]
fn states_of_workers_are_put_together() {
    use crate::upstream::state::TargetState;
    let mut told = ask("GET", "http://api.example.com:8091/users/1", &[]);
    let upstream = told.upstreams()[0];
    let state = |text: &str, inflight, idle, ms: Option<u64>| TargetState {
        text: text.into(),
        address: text.into(),
        inflight,
        idle,
        shunned_for: ms.map(std::time::Duration::from_millis),
    };
    let said = |targets| vec![state::Said { upstream, targets }];
    let one = said(vec![state("127.0.0.1:3001", 2, 1, None), state("unix:/run/u", 0, 0, Some(90))]);
    let two =
        said(vec![state("127.0.0.1:3001", 1, 0, Some(700)), state("unix:/run/u", 0, 0, Some(50))]);
    told.add_states(&[one, two], 3);
    has(
        &told,
        &[
            "1 of 3 workers did not answer in time",
            "to users 127.0.0.1:3001 refuses some workers (1 of 2), tried again in 700ms, \
             3 under way, 1 idle connections",
            "unix:/run/u (weight 3) refuses connections, tried again in 50ms",
        ],
    );
    let state = &told.json()["action"]["to"][0]["endpoints"][0]["state"];
    assert_eq!((&state["inflight"], &state["refusing"]), (&3.into(), &1.into()));
}

#[test]
fn every_request_is_explained() {
    let mut text = FILE.to_owned();
    for ask in ["GET /", "GET http://api.example.com/users/1", "PUT /old/x", "GET //home", "x y z"]
    {
        text.push_str(&format!("#ask {ask}\n"));
    }
    text.push_str("#field X-Canary: 1\n");
    fuzz::property(text.as_bytes());
}

proptest::proptest! {
    #[test]
    fn any_request_is_explained(
        method in "(GET|HEAD|POST|OPTIONS|PURGE|[!-~]{0,4})",
        target in "(/|/users/|/old|//files/|http://api.example.com/v1/|\\*|[!-~]{0,3})\
                   ([/a-z0-9.%?;]|%2f|%2e|//|/\\.\\./|profile|[\\PC]){0,8}",
        field in "(X-Canary: 1|Host: api.example.com|Content-Length: 5|A: [ -~]{0,9}|[ -~]{0,9})",
    ) {
        let text = format!("{FILE}#ask {method} {target}\n#field {field}\n");
        fuzz::property(text.as_bytes());
    }
}

#[test]
fn what_comes_from_the_environment_is_not_shown() {
    let text = "[all]\nheaders.request = { set = { Authorization = \"Bearer ${K}\" }, \
                add = { X-Key = \"${K}\", X-Way = \"${SHORT}\" } }\n[route.a]\n\
                to = \"http://h:1\"\nrewrite.query = \"key=${K}\"\n";
    let env = |name: &str| Some(if name == "K" { "hunter2" } else { "a" }.to_owned());
    let (text, name) = (text.to_owned(), "busbar.toml".to_owned());
    let loaded = load(Input { text, name, base_dir: None, sets: Vec::new(), env: &env });
    let query = query("GET", "/x", &["X-Own: mine"]);
    let said = explain(&loaded.snapshot.expect("good"), &query, BEGIN).expect("a request").json();
    let said = said.to_string();
    assert!(!said.contains("hunter2"), "{said}");
    for shown in ["GET /x?key=*** ", "Authorization: Bearer ***", "X-Way: a", "X-Own: mine"] {
        assert!(said.contains(shown), "{shown}: {said}");
    }
}

#[test]
fn the_case_of_a_scheme_means_nothing() {
    assert_eq!(chosen(&ask("GET", "HTTP://api.example.com/home", &[])).name, "home");
    assert!(explain(&snapshot(), &query("GET", "HTTPX://h/", &[]), BEGIN).is_err());
}

#[test]
fn a_listener_that_redirects_is_explained_before_any_route() {
    let text = "[listener.web]\naddress = \"127.0.0.1:8080\"\nredirect = \"https:8443\"\n\
                [route.a]\npath = \"/a\"\nrespond = \"a\"\n";
    let (text, name) = (text.to_owned(), "busbar.toml".to_owned());
    let loaded = load(Input { text, name, base_dir: None, sets: Vec::new(), env: &|_| None });
    let snapshot = loaded.snapshot.expect("no mistakes");
    let query = query("POST", "http://a.example:8080/x?y=1", &[]);
    let told = explain(&snapshot, &query, BEGIN).unwrap();
    assert_eq!(told.own_status(), Some(308));
    let line = "308 to https://a.example:8443/x?y=1";
    assert!(told.text().contains(line), "{}", told.text());
    assert_eq!(told.json()["location"], "https://a.example:8443/x?y=1");
}
