//! `[all]`, groups and routes: what holds, and where it was said.

use super::*;
use crate::http::template::{Part, Template, Var};
use crate::ids::RouteId;
use crate::snapshot::Route;
use crate::snapshot::origin::Origin;

fn route_of<'s>(snapshot: &'s Snapshot, name: &str) -> (&'s Route, RouteId) {
    let index = snapshot.routes.iter().position(|route| &*route.name == name).expect(name);
    (&snapshot.routes[index], RouteId(index as u32))
}

fn seconds(n: u64) -> Option<Duration> {
    Some(Duration::from_secs(n))
}

const LAYERS: &str = "\
[all]
timeout = \"1s\"
deadline = \"10s\"
headers.request = { set = { X-A = \"all\", X-B = \"all\" }, remove = [\"X-Gone\"] }
[group.wide]
timeout = \"2s\"
prefix = \"/w\"
methods = [\"GET\"]
headers.request.set.x-a = \"wide\"
[group.narrow]
group = \"wide\"
prefix = \"/{tenant}\"
host = \"n.example.com\"
deadline = \"none\"
rewrite.query = \"t={tenant}\"
without = [\"methods\"]
[route.bare]
to = \"http://h:1\"
[route.deep]
group = \"narrow\"
path = \"/{id}\"
timeout = \"3s\"
rewrite.path = \"/x/{id}\"
headers.request.add.X-B = \"deep\"
to = \"http://h:1\"
[route.off]
group = \"wide\"
path = \"/off\"
without = [\"timeout\", \"headers\", \"deadline\"]
headers.response.remove = \"Server\"
host = \"o.example.com\"
to = \"http://h:1\"
[route.twin]
group = \"narrow\"
path = \"/{id}/twin\"
to = \"http://h:1\"
[route.turned]
group = \"narrow\"
host = \"t.example.com\"
path = \"/turned\"
to = \"http://h:1\"
";

#[test]
fn the_narrowest_layer_holds() {
    let snapshot = good(LAYERS);
    let [bare, deep, off, twin] =
        ["bare", "deep", "off", "twin"].map(|name| route_of(&snapshot, name).0);
    assert_eq!((bare.timeout, bare.deadline), (seconds(1), seconds(10)));
    assert_eq!((deep.timeout, deep.deadline), (seconds(3), None));
    assert_eq!((twin.timeout, twin.deadline), (seconds(2), None));
    assert_eq!((off.timeout, off.deadline), (Some(defaults::TIMEOUT), None));
}

#[test]
fn fields_merge_by_name_and_without_starts_anew() {
    let snapshot = good(LAYERS);
    let request = |name: &str| {
        let edits = &route_of(&snapshot, name).0.headers.as_ref().expect("edits").request;
        let text = |template: &Template| {
            String::from_utf8(template.as_literal().expect("a text").to_vec()).expect("ASCII")
        };
        let one = |e: &crate::http::edit::Edit| format!("{}={}", e.name.text, text(&e.value));
        let mut set: Vec<String> = edits.set.iter().map(one).collect();
        set.sort();
        let add: Vec<String> = edits.add.iter().map(one).collect();
        (set.join(" "), add.join(" "), edits.remove.len())
    };
    assert_eq!(request("bare"), ("X-A=all X-B=all".into(), String::new(), 1));
    assert_eq!(request("twin"), ("X-B=all x-a=wide".into(), String::new(), 1));
    assert_eq!(request("deep"), ("x-a=wide".into(), "X-B=deep".into(), 1));
    assert_eq!(request("off"), (String::new(), String::new(), 0));
    let off = route_of(&snapshot, "off").0.headers.as_ref().expect("edits");
    assert_eq!(off.response.remove.len(), 1);
}

#[test]
fn prefixes_stand_before_paths_and_their_params_can_be_named() {
    let snapshot = good(LAYERS);
    let rewrite = |name: &str| route_of(&snapshot, name).0.rewrite.clone().expect("a rewrite");
    let param = |template: &Option<Template>| match template.as_ref().map(|t| &*t.parts) {
        Some([.., Part::Var(Var::Param(index))]) => *index,
        other => panic!("{other:?}"),
    };
    // /w/{tenant}/{id}
    assert_eq!((param(&rewrite("deep").path), param(&rewrite("deep").query)), (1, 0));
    assert!(rewrite("twin").path.is_none());
    assert!(Arc::ptr_eq(&rewrite("twin"), &rewrite("turned")), "one for all of the group");
    let same = |a: &str, b: &str| {
        let headers = |name: &str| route_of(&snapshot, name).0.headers.clone().expect("edits");
        Arc::ptr_eq(&headers(a), &headers(b))
    };
    assert!(same("twin", "turned") && !same("twin", "deep") && !same("twin", "bare"));
}

/// The route that a request is for.
fn find(snapshot: &Snapshot, method: &str, host: &str, path: &str) -> String {
    use crate::router::{Found, Lookup, Params};
    let lookup = Lookup {
        host: Some(host.as_bytes()),
        path: path.as_bytes(),
        query: b"",
        method: parser::Method::of(method.as_bytes()),
        method_text: method.as_bytes(),
        fields: &parser::Fields::default(),
        head: b"",
    };
    match snapshot.router_of(ListenerId(0)).find(&lookup, &mut Params::default()) {
        Found::Route(id) => snapshot.route(id).name.to_string(),
        other => format!("{other:?}"),
    }
}

#[test]
fn what_tells_routes_apart_is_inherited_and_replaced() {
    let snapshot = good(LAYERS);
    let rows = [
        ("POST", "n.example.com", "/w/acme/7", "deep"),
        ("GET", "n.example.com", "/w/acme/7/twin", "twin"),
        ("GET", "t.example.com", "/w/acme/turned", "turned"),
        ("GET", "n.example.com", "/w/acme/turned", "deep"),
        ("GET", "o.example.com", "/w/off", "off"),
        ("POST", "o.example.com", "/w/off", "bare"),
        ("GET", "else.example.com", "/w/acme/7", "bare"),
    ];
    for (method, host, path, expect) in rows {
        assert_eq!(find(&snapshot, method, host, path), expect, "{method} {host} {path}");
    }
}

#[test]
fn each_key_says_where_it_comes_from() {
    let snapshot = good(LAYERS);
    let origin = |route: &str, key: &str| {
        let found = snapshot.origins(route_of(&snapshot, route).1, key);
        let shown = found.into_iter().map(|Origin { layer, place }| format!("{layer} {place}"));
        shown.collect::<Vec<_>>().join(", ")
    };
    let rows = [
        ("bare", "timeout", "[all] busbar.toml:2"),
        ("twin", "timeout", "[group.wide] busbar.toml:6"),
        ("deep", "timeout", "[route.deep] busbar.toml:22"),
        ("deep", "deadline", "[group.narrow] busbar.toml:14"),
        ("deep", "methods", ""),
        ("off", "methods", "[group.wide] busbar.toml:8"),
        ("off", "timeout", ""),
        ("off", "headers", "[route.off] busbar.toml:30"),
        (
            "deep",
            "headers",
            "[route.deep] busbar.toml:24, [group.wide] busbar.toml:9, [all] busbar.toml:4",
        ),
        ("deep", "rewrite", "[route.deep] busbar.toml:23, [group.narrow] busbar.toml:15"),
        ("deep", "path", "[route.deep] busbar.toml:21"),
        ("deep", "to", "[route.deep] busbar.toml:25"),
        ("bare", "path", ""),
        ("bare", "body_limit", ""),
        ("bare", "no such key", ""),
    ];
    for (route, key, expect) in rows {
        assert_eq!(origin(route, key), expect, "{route} {key}");
    }
    let (_, deep) = route_of(&snapshot, "deep");
    let origin = snapshot.origin(deep, "timeout").expect("it is said");
    assert_eq!(origin, Origin { layer: "[route.deep]".into(), place: "busbar.toml:22".into() });
    let keys = ["host", "headers", "rewrite", "timeout", "deadline", "path", "to"];
    assert_eq!(snapshot.said(deep), keys);
    let around = snapshot.layers_around(deep);
    let around: Vec<(&str, &str)> = around.iter().map(|l| (&*l.name, &*l.place)).collect();
    let expect = [
        ("[group.narrow]", "busbar.toml:10"),
        ("[group.wide]", "busbar.toml:5"),
        ("[all]", "busbar.toml:1"),
    ];
    assert_eq!(around, expect);
}

#[test]
fn a_mistake_in_a_group_is_told_once() {
    let mut text = String::from("[group.g]\ntimeout = 10\nhost = \"a b\"\n");
    for i in 0..50 {
        let _ = write!(text, "[route.r{i}]\ngroup = \"g\"\n{TO}");
    }
    assert_eq!(report(&text), ["E104 2:11", "E132 3:8"]);
    assert_eq!(
        report(&format!("[group.g]\ntimeout = 10\n[route.a]\n{TO}")),
        ["W209 1:1", "E104 2:11"]
    );
}

#[test]
fn four_groups_may_lie_in_each_other() {
    let mut text = String::from("[group.g1]\nprefix = \"/1\"\n");
    for i in 2..=4 {
        let _ = write!(text, "[group.g{i}]\nprefix = \"/{i}\"\ngroup = \"g{}\"\n", i - 1);
    }
    let snapshot = good(&format!("{text}[route.a]\ngroup = \"g4\"\npath = \"/x\"\n{TO}"));
    assert_eq!(find(&snapshot, "GET", "h", "/1/2/3/4/x"), "a");
}

#[test]
fn auth_none_opens_a_route_and_nothing_else_is_known() {
    let text = format!("[group.g]\nauth = \"none\"\n[route.a]\ngroup = \"g\"\n{TO}");
    let snapshot = good(&format!("{text}[route.b]\npath = \"/b\"\n{TO}"));
    let open: Vec<bool> = snapshot.routes.iter().map(|route| route.is_open_on_purpose).collect();
    assert_eq!(open, [true, false]);
    for (value, expect) in [
        ("\"staff\"", "E154 3:8"),
        ("[\"a\"]", "E154 3:9"),
        ("{ all = [\"a\"] }", "E154 3:17"),
        ("true", "E102 3:8"),
        ("[\"none\", \"a\"]", "E103 3:9"),
        ("{ all = [] }", "E107 3:16"),
        ("{}", "E107 3:8"),
    ] {
        assert_eq!(report(&route_to(&format!("auth = {value}"))), [expect], "{value}");
    }
    let called = route_to("auth = \"none\"") + "[auth.none]\nmethod = \"api_key\"\n";
    assert!(report(&called).contains(&"E109 4:1".to_owned()), "{:?}", report(&called));
}

#[test]
fn defaults_hold_where_a_table_is_silent() {
    let snapshot = good(
        "[defaults.upstream]\nconnect_timeout = \"5s\"\nbalance = \"least_request\"\n\
         host = \"h.internal\"\npool = { idle = 7, lifetime = \"1m\" }\n\
         [defaults.listener]\nbacklog = 10\nhead_max = \"8KiB\"\n\
         [upstream.u]\nendpoints = [\"h:1\"]\nbalance = \"round_robin\"\npool = { idle = 8 }\n\
         [route.a]\nto = \"u\"\n[route.b]\npath = \"/b\"\nto = \"http://h:2\"\n",
    );
    let [u, url] = [0, 1].map(|i| &snapshot.upstreams[i]);
    assert_eq!((u.balance, url.balance), (Balance::RoundRobin, Balance::LeastRequest));
    assert_eq!((u.pool_idle, url.pool_idle), (8, 7));
    for upstream in [u, url] {
        assert_eq!(upstream.pool_lifetime, Duration::from_secs(60));
        assert_eq!(upstream.pool_idle_timeout, defaults::POOL_IDLE_TIMEOUT);
        assert_eq!(upstream.connect_timeout, Duration::from_secs(5));
        assert_eq!(upstream.host, HostMode::Fixed("h.internal".into()));
    }
    let listener = snapshot.listener(ListenerId(0));
    assert_eq!((listener.backlog, listener.limits.head_bytes_max), (10, 8192));
}
