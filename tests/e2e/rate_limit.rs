//! How much each may: exact over workers, given back where another limit refuses, told to clients
//! and to operators.

use std::time::{Duration, Instant};

use harness::client::{Answer, Client, ask, asking, get};
use harness::gateway::{Config, Gateway};
use harness::origin::Origin;
use harness::tokens::{hashed, keys_and_staff};
use serde_json::{Value, json};

use crate::numbers::{numbers, with_admin};
use crate::tools::run;

fn with(gateway: &Gateway, path: &str, lines: &[&str]) -> Answer {
    ask(&gateway.address(), asking(path, lines))
}

/// What `busbar limits` says, by the names of the limits.
fn left(gateway: &Gateway, args: &[&str]) -> Vec<(String, u64)> {
    let socket = gateway.dir.path().join("busbar.sock").display().to_string();
    let args = [&["limits", "--json", "--socket", &socket], args].concat();
    let ran = run(gateway.dir.path(), &args);
    assert_eq!(ran.code, Some(0), "{args:?} {}", ran.err);
    let json = ran.json();
    let of = |limit: &Value| {
        (limit["limit"].as_str().unwrap().to_owned(), limit["left"].as_u64().unwrap())
    };
    json["limits"].as_array().unwrap().iter().map(of).collect()
}

fn statuses(gateway: &Gateway, path: &str, lines: &[&str], count: usize) -> Vec<u16> {
    (0..count).map(|_| with(gateway, path, lines).status).collect()
}

on_both_drivers! {
    /// Never more than burst and rate × time, hardly less.
    fn all_workers_count_together_exactly(driver: &str) {
        const RATE: f64 = 200.0;
        const BURST: f64 = 50.0;
        let gateway = Gateway::two(driver,
            "[route.a]\nauth = \"none\"\nrespond = \"a\"\n\
             rate_limit = { rate = \"200/s\", burst = 50 }\n");
        let address = gateway.address();
        let end = Instant::now() + Duration::from_secs(3);
        let threads: Vec<_> = (0..8).map(|_| {
            let address = address.clone();
            std::thread::spawn(move || {
                let mut client = Client::connect(&address);
                let (mut admitted, mut refused) = (Vec::new(), 0);
                while Instant::now() < end {
                    let sent = Instant::now();
                    match client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status {
                        200 => admitted.push((sent, Instant::now())),
                        429 => refused += 1,
                        status => panic!("{status}"),
                    }
                }
                (admitted, refused)
            })
        }).collect();
        let (mut admitted, mut refused) = (Vec::new(), 0);
        for thread in threads {
            let (times, count) = thread.join().unwrap();
            admitted.extend(times);
            refused += count;
        }
        let first = admitted.iter().map(|(sent, _)| *sent).min().unwrap();
        let last = admitted.iter().map(|(_, heard)| *heard).max().unwrap();
        let most = BURST + RATE * (last - first).as_secs_f64();
        let count = admitted.len() as f64;
        assert!(count <= most.ceil() && count >= most * 0.99, "{count} of {most}");
        assert!(refused > 100, "{refused} were refused");
        gateway.stop();
    }

    fn what_counts_on_its_own(driver: &str) {
        let (_dir, signer, methods) = keys_and_staff("EdDSA");
        let gateway = Gateway::two(driver, &format!(r#"
{methods}
[plan.gold]
rate_limit = "3/h"
[plan.free]
rate_limit = "1/h"
[consumer.acme]
plan = "gold"
api_keys = ["{}"]
[consumer.beta]
plan = "free"
api_keys = ["{}"]
[group.together]
auth = "none"
rate_limit = {{ rate = "3/h", burst = 3 }}
[route.one]
group = "together"
path = "/one"
respond = "1"
[route.two]
group = "together"
path = "/two"
respond = "2"
[route.header]
path = "/header"
auth = "none"
rate_limit = {{ rate = "2/h", per = "header:X-Tenant" }}
respond = "h"
[route.route]
path = "/route"
auth = "none"
rate_limit = {{ rate = "10/h", burst = 4, cost = 2, per = ["route", "client"] }}
respond = "r"
[route.plan]
path = "/plan"
auth = "keys"
respond = "p"
[route.plan-too]
path = "/plan-too"
auth = "keys"
respond = "p"
[route.consumer]
path = "/consumer"
auth = ["keys", "staff"]
rate_limit = [{{ rate = "2/h", per = "consumer" }}, {{ rate = "1000/s", per = "claim:tenant" }}]
respond = "{{consumer}}"
[route.claim]
path = "/claim"
auth = "staff"
rate_limit = {{ rate = "2/h", per = "claim:tenant" }}
respond = "c"
"#, hashed("acme"), hashed("beta")));
        let bearer = |sub: &str, tenant: &str| {
            let token = signer.token(json!({"sub": sub, "tenant": tenant}));
            format!("Authorization: Bearer {token}")
        };
        let check = |path: &str, line: &str, expect: &[u16]| {
            assert_eq!(statuses(&gateway, path, &[line], expect.len()), expect, "{path} {line}");
        };
        // A group's limit counts its routes together.
        check("/one", "A: b", &[200, 200]);
        check("/two", "A: b", &[200, 429]);
        check("/one", "A: b", &[429]);
        check("/header", "X-Tenant: a", &[200, 200, 429]);
        check("/header", "x-tenant: b", &[200, 200, 429]);
        check("/header", "A: b", &[200, 200, 429]);
        check("/route", "A: b", &[200, 200, 429]);
        // A plan's over all routes, each consumer on its own.
        check("/plan", "X-Api-Key: acme", &[200, 200]);
        check("/plan-too", "X-Api-Key: acme", &[200, 429]);
        check("/plan", "X-Api-Key: beta", &[200, 429]);
        check("/consumer", &bearer("carl", "x"), &[200, 200, 429]);
        check("/consumer", &bearer("dora", "x"), &[200, 200, 429]);
        check("/claim", &bearer("carl", "x"), &[200]);
        check("/claim", &bearer("dora", "x"), &[200, 429]);
        check("/claim", &bearer("dora", "y"), &[200, 200, 429]);
        let of = |name: &str| (name.to_owned(), 0);
        let by_client = [of("group.together"), of("route.route of route")];
        assert_eq!(left(&gateway, &["client=127.0.0.1"]), by_client);
        assert_eq!(left(&gateway, &["client=127.0.0.1", "route=route"]), by_client[1..]);
        let shown = left(&gateway, &["consumer=acme"]);
        assert!(shown.contains(&("plan.gold".to_owned(), 0)), "{shown:?}");
        // A claim's text needs no quotes; what is shown after a reset is what is left then.
        for value in ["claim:tenant=y", "claim:tenant=\"y\""] {
            assert!(left(&gateway, &[value]).contains(&of("route.claim")), "{value}");
        }
        let left_then = left(&gateway, &["consumer=acme", "--reset"]);
        assert!(left_then.contains(&("plan.gold".to_owned(), 3)), "{left_then:?}");
        let left_then = left(&gateway, &["claim:tenant=y", "--reset"]);
        assert!(left_then.contains(&("route.claim".to_owned(), 2)), "{left_then:?}");
        gateway.stop();
    }

    fn what_a_refused_request_took_is_given_back(driver: &str) {
        let gateway = Gateway::two(driver,
            "[all]\nauth = \"none\"\nrate_limit = \"100/h\"\n\
             [route.a]\nrespond = \"a\"\nrate_limit = { rate = \"2/h\", per = \"header:X-Tenant\" }\n");
        assert_eq!(statuses(&gateway, "/", &["X-Tenant: a"], 5), [200, 200, 429, 429, 429]);
        assert_eq!(left(&gateway, &["client=127.0.0.1"]), [("all".to_owned(), 98)]);
        assert_eq!(left(&gateway, &["header:x-tenant=a"]), [("route.a".to_owned(), 0)]);
        // Forgotten by hand.
        left(&gateway, &["header:X-Tenant=a", "--reset"]);
        assert_eq!(left(&gateway, &["header:X-Tenant=a"]), [("route.a".to_owned(), 2)]);
        assert_eq!(statuses(&gateway, "/", &["X-Tenant: a"], 3), [200, 200, 429]);
        let socket = gateway.dir.path().join("busbar.sock").display().to_string();
        for args in [["limits", "client=somebody"], ["limits", "consumer=acme"]] {
            let ran = run(gateway.dir.path(), &[&args[..], &["--socket", &socket]].concat());
            assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{args:?}: {}", ran.err);
        }
        // Those that there are, are named; nobody is asked for twice.
        for (args, code, says) in [
            (["limits", "consumer=acme"].as_slice(), 1, "they count by client; by header:X-Tenant"),
            (&["limits", "header:a=b", "header:a=c"], 2, "header:a is there twice"),
        ] {
            let ran = run(gateway.dir.path(), &[args, &["--socket", &socket]].concat());
            assert!(ran.code == Some(code) && ran.err.contains(says), "{args:?}: {}", ran.err);
        }
        gateway.stop();
    }

    fn clients_are_told_where_they_stand(driver: &str) {
        let gateway = Gateway::two(driver,
            "[route.a]\nauth = \"none\"\nrespond = \"a\"\nrate_limit = \"2/m\"\n");
        let [first, second, third] = [(); 3].map(|()| with(&gateway, "/", &[]));
        for answer in [&first, &second, &third] {
            assert_eq!(answer.fields("ratelimit-policy"), ["\"client-60s\";q=2;w=60"]);
        }
        assert_eq!(first.fields("ratelimit"), ["\"client-60s\";r=1;t=30"]);
        let reset = second.fields("ratelimit");
        assert!(reset[0].starts_with("\"client-60s\";r=0;t=60"), "{reset:?}");
        assert_eq!((third.status, &*third.problem()), (429, "rate-limited"));
        let wait: u64 = third.field("retry-after").unwrap().parse().unwrap();
        assert!((29..=30).contains(&wait), "{wait}");
        assert!(first.field("retry-after").is_none());
        gateway.stop();
    }

    /// Beside what the service says of its own limits, which stays.
    fn no_two_limits_have_one_name(driver: &str) {
        let origin = Origin::new();
        let address = origin.address();
        origin.serve(|_| b"HTTP/1.1 200 OK\r\nRateLimit-Policy: \"own\";q=7\r\n\
                           RateLimit: \"own\";r=6\r\nContent-Length: 0\r\n\r\n".to_vec());
        let gateway = Gateway::two(driver, &format!(
            "[listener.web]\naddress = \"127.0.0.1:PORT\"\nrate_limit = \"9/m\"\n\
             [all]\nrate_limit = \"8/m\"\n[upstream.s]\nendpoints = [\"{address}\"]\n\
             [auth.keys]\nmethod = \"api_key\"\n[plan.gold]\nrate_limit = [\"5/m\", \"4/m\"]\n\
             [consumer.acme]\nplan = \"gold\"\napi_keys = [\"{}\"]\n\
             [route.a]\nauth = \"keys\"\nto = \"s\"\n\
             rate_limit = [\"7/m\", \"6/m\", {{ rate = \"3/m\", per = \"consumer\" }}]\n",
            hashed("acme")));
        let answer = with(&gateway, "/", &["X-Api-Key: acme"]);
        assert_eq!(answer.status, 200);
        let name = |value: &str| value.split('"').nth(1).unwrap().to_owned();
        let mut names = ["ratelimit-policy", "ratelimit"].map(|field| {
            let values = answer.fields(field);
            let mut names: Vec<String> = values.iter().map(|value| name(value)).collect();
            names.sort();
            names
        });
        let expect = ["client-60s", "client-60s-2", "client-60s-3", "consumer-60s",
                      "listener-client-60s", "own", "plan-consumer-60s", "plan-consumer-60s-2"];
        names.iter_mut().for_each(|names| assert_eq!(*names, expect));
        gateway.stop();
    }

    /// A reload that leaves a limit as it was leaves its counts, whatever comes, goes or changes
    /// places beside it.
    fn counts_are_a_limits_own(driver: &str) {
        let text = |own: &str, plan: &str| format!(
            "[auth.keys]\nmethod = \"api_key\"\n[plan.gold]\nrate_limit = [{plan}]\n\
             [consumer.acme]\nplan = \"gold\"\napi_keys = [\"{}\"]\n\
             [route.a]\npath = \"/a\"\nauth = \"none\"\nrespond = \"a\"\nrate_limit = [{own}]\n\
             [route.b]\npath = \"/b\"\nauth = \"keys\"\nrespond = \"b\"\n", hashed("acme"));
        let tenant = "{ rate = \"3/h\", per = \"header:X-Tenant\" }";
        let gateway = Gateway::two(driver, &text(&format!("{tenant}, \"900/m\""), "\"3/h\""));
        let found = [("/a", "X-Tenant: a"), ("/b", "X-Api-Key: acme")];
        let next = |expect: u16| found.map(|(path, line)| {
            assert_eq!(with(&gateway, path, &[line]).status, expect, "{path}");
        });
        next(200);
        let rest = tenant.replace("X-Tenant", "X-Other");
        for (own, plan) in [
            (format!("\"900/m\", {tenant}"), "\"800/s\", \"3/h\""),
            (format!("{rest}, \"700/s\", {}", tenant.replace("X-T", "x-t")), "\"3/h\""),
        ] {
            gateway.rewrite(&text(&own, plan));
            gateway.reload();
            next(200);
        }
        next(429);
        gateway.stop();
    }

    /// Behind a proxy that is trusted, a listener's limit counts those whom it names; what anybody
    /// else says of itself is nothing.
    fn a_listeners_limit_behind_a_trusted_proxy(driver: &str) {
        let text = "[listener.web]\naddress = \"127.0.0.1:PORT\"\nrate_limit = \"2/h\"\n\
                    [route.a]\nauth = \"none\"\nrespond = \"a\"\n";
        let gateway = Gateway::two(driver,
            &format!("[server]\ntrusted_proxies = [\"127.0.0.1\"]\n{text}"));
        for (line, expect) in [
            ("X-Forwarded-For: 192.0.2.1", [200, 200, 429]),
            ("X-Forwarded-For: 203.0.113.9, 192.0.2.1", [429; 3]),
            ("X-Forwarded-For: 192.0.2.1, 203.0.113.9", [200, 200, 429]),
            // IPv6 counts by network; a proxy that names nobody is the client.
            ("X-Forwarded-For: 2001:db8::1", [200, 200, 429]),
            ("X-Forwarded-For: 2001:db8::2", [429; 3]),
            ("X-Forwarded-For: nobody", [200, 200, 429]),
        ] {
            assert_eq!(statuses(&gateway, "/", &[line], 3), expect, "{line}");
        }
        gateway.stop();
        let gateway = Gateway::two(driver, text);
        let forged = [1, 2, 3].map(|n| {
            with(&gateway, "/", &[&format!("X-Forwarded-For: 192.0.2.{n}")]).status
        });
        assert_eq!(forged, [200, 200, 429]);
        gateway.stop();
    }

    /// It holds before there is a route, and for what has none.
    fn a_listener_has_limits_of_its_own(driver: &str) {
        let gateway = Gateway::two(driver,
            "[listener.web]\naddress = \"127.0.0.1:PORT\"\nrate_limit = \"3/h\"\n\
             [route.a]\npath = \"/a\"\nauth = \"none\"\nrespond = \"a\"\n\
             [route.b]\npath = \"/b\"\nauth = \"none\"\nrespond = \"b\"\n");
        let found = ["/a", "/nothing", "/b", "/b", "/nothing"];
        let found = found.map(|path| with(&gateway, path, &[]).status);
        assert_eq!(found, [200, 404, 200, 429, 429]);
        assert_eq!(left(&gateway, &["client=127.0.0.1"]), [("listener.web".to_owned(), 0)]);
        gateway.stop();
    }
}

/// A try-out refuses nothing and is counted; counts survive reloads; what is refused is.
#[test]
fn dry_runs_are_counted_and_counts_survive_reloads() {
    let text = "[route.a]\npath = \"/a\"\nauth = \"none\"\nrespond = \"a\"\nrate_limit = \"3/h\"\n\
                [route.dry]\npath = \"/dry\"\nauth = \"none\"\nrespond = \"d\"\n\
                rate_limit = { rate = \"2/h\", dry_run = true }\n";
    let (gateway, admin) = with_admin("epoll", 2, text);
    let dry = |_| with(&gateway, "/dry", &[]);
    let answers: Vec<Answer> = (0..5).map(dry).collect();
    assert!(answers.iter().all(|a| a.status == 200 && a.field("ratelimit").is_none()));
    assert_eq!(statuses(&gateway, "/a", &[], 2), [200, 200]);
    let found = numbers(&admin);
    assert_eq!(found.value("busbar_rate_limit_dry_run_total", &[]), 3.0);
    let whole = format!("[admin]\naddress = \"{admin}\"\n{text}");
    for more in ["", "[route.more]\npath = \"/more\"\nauth = \"none\"\nrespond = \"m\"\n"] {
        gateway.rewrite(&format!("{whole}{more}timeout = \"9s\"\n"));
        gateway.reload();
    }
    assert_eq!(statuses(&gateway, "/a", &[], 2), [200, 429]);
    // Another rate counts on from there: who has used up all waits as before.
    gateway.rewrite(&whole.replace("\"3/h\"", "\"5/h\""));
    gateway.reload();
    assert_eq!(statuses(&gateway, "/a", &[], 4), [429; 4]);
    let refusals = numbers(&admin);
    let name = "busbar_policy_refusals_total";
    let labels = [("route", "a"), ("reason", "rate_limited")];
    assert_eq!(refusals.value(name, &labels), 5.0);
    gateway.stop();
}

/// Also where nothing else is asked, and where there is no route.
#[test]
fn a_dry_run_of_a_listener_is_counted() {
    let text = "[listener.web]\naddress = \"127.0.0.1:PORT\"\n\
                rate_limit = { rate = \"1/h\", dry_run = true }\n\
                [route.a]\npath = \"/a\"\nauth = \"none\"\nrespond = \"a\"\n";
    let (gateway, admin) = with_admin("epoll", 2, text);
    let found = ["/a", "/a", "/nothing"].map(|path| with(&gateway, path, &[]).status);
    assert_eq!(found, [200, 200, 404]);
    assert_eq!(numbers(&admin).value("busbar_rate_limit_dry_run_total", &[]), 2.0);
    gateway.stop();
}

/// More callers than the table has room for: who was counted stays counted, and who is new passes
/// or not, as the limit says.
#[test]
fn when_all_places_are_taken() {
    let limit = "{ rate = \"1/h\", per = \"header:X-Tenant\"";
    let text = format!(
        "[server]\nlimit_keys = 1000\n\
         [route.open]\npath = \"/open\"\nauth = \"none\"\nrespond = \"o\"\n\
         rate_limit = {limit} }}\n\
         [route.shut]\npath = \"/shut\"\nauth = \"none\"\nrespond = \"s\"\n\
         rate_limit = {limit}, when_full = \"refuse\" }}\n"
    );
    let (gateway, admin) = with_admin("uring", 2, &text);
    let mut client = Client::connect(&gateway.address());
    let mut all = |path: &str, name: &str, count: usize| -> Vec<Answer> {
        let mut answers = Vec::new();
        for from in (0..count).step_by(100) {
            let one = |n| asking(path, &[&format!("X-Tenant: {name}{n}")]);
            client.send((from..from + 100).map(one).collect::<String>());
            answers.extend((0..100).map(|_| client.answer().unwrap()));
        }
        answers
    };
    let of = |answers: &[Answer], status| answers.iter().filter(|a| a.status == status).count();
    assert_eq!(of(&all("/open", "honest", 100), 200), 100);
    let shut = all("/shut", "honest", 100);
    assert_eq!(of(&shut, 200), 100);
    // 4096 places, some of which are seldom chosen by chance.
    assert_eq!(of(&all("/open", "stranger", 9000), 200), 9000);
    let new = all("/shut", "new", 100);
    let full: Vec<&Answer> = new.iter().filter(|answer| answer.status == 429).collect();
    assert!(full.len() >= 90 && full.len() + of(&new, 200) == 100, "{}", full.len());
    for answer in &full {
        let fields = ["retry-after", "ratelimit"].map(|name| answer.field(name));
        assert_eq!((&*answer.problem(), fields), ("rate-limited", [Some("1"), None]));
    }
    let labels = [("route", "shut"), ("reason", "limits_full")];
    let counted = numbers(&admin).value("busbar_policy_refusals_total", &labels);
    assert_eq!(counted, full.len() as f64);
    // Those who find no place are not counted.
    assert!(of(&all("/open", "new", 100), 200) == 100 && of(&all("/open", "new", 100), 200) >= 90);
    for path in ["/open", "/shut"] {
        assert_eq!(of(&all(path, "honest", 100), 429), 100, "{path}");
    }
    gateway.stop();
}

/// `explain` asks the same counts, now, and takes nothing.
#[test]
fn explain_tells_what_is_left_and_takes_nothing() {
    let gateway = Gateway::with(&Config {
        text: "[route.a]\nauth = \"none\"\nrespond = \"a\"\nrate_limit = \"3/h\"\n",
        driver: "epoll",
        workers: 2,
        args: &[],
    });
    let socket = gateway.dir.path().join("busbar.sock").display().to_string();
    let explained = || {
        let args = ["explain", "GET", "/", "--from", "127.0.0.1", "--json", "--socket", &socket];
        run(gateway.dir.path(), &args).json()["text"].as_str().unwrap().to_owned()
    };
    assert_eq!(get(&gateway.address(), "/").status, 200);
    for _ in 0..3 {
        assert!(explained().contains("passes (1 left after it)"), "{}", explained());
    }
    assert_eq!(statuses(&gateway, "/", &[], 3), [200, 200, 429]);
    assert!(explained().contains("REFUSES 429: rate_limited"), "{}", explained());
    gateway.stop();
}
