//! API keys, several methods on a route, what callers may, consumers from a file; and what the
//! service learns of them.

use harness::client::{Client, ask, asking, get};
use harness::eventually;
use harness::gateway::{Config, Gateway};
use harness::origin::{field, fields, mirror};
use harness::tokens::{basic, hashed, keys_and_staff};
use serde_json::json;

const KEY: &str = "bb_c0ffee00c0ffee00c0ffee00c0ffee00";

/// What the service got.
fn seen(gateway: &Gateway, path: &str, lines: &[&str]) -> String {
    let answer = ask(&gateway.address(), asking(path, lines));
    assert_eq!(answer.status, 200, "{path} {lines:?}: {}", answer.text());
    answer.text()
}

fn keys(service: &str) -> String {
    let hash = hashed(KEY);
    format!(
        r#"
[auth.keys]
method = "api_key"
header = "X-Api-Key"
query = "api_key"
cookie = "key"
[auth.more]
method = "api_key"
cookie = "other"
[auth.kept]
method = "api_key"
query = "api_key"
header = "X-Api-Key"
keep = true
[consumer.acme]
groups = ["partners", "eu"]
api_keys = ["{hash}"]
[upstream.service]
endpoints = ["{service}"]
[route.closed]
path = "/closed/*"
auth = "keys"
to = "service"
[route.both]
path = "/both"
auth = ["keys", "more"]
to = "service"
[route.kept]
path = "/kept"
auth = "kept"
to = "service"
[route.rewritten]
path = "/rewritten/{{*rest}}"
auth = "keys"
rewrite = {{ path = "/b/{{*rest}}" }}
to = "service"
[route.open]
path = "/open"
auth = "none"
to = "service"
"#
    )
}

on_both_drivers! {
    fn a_key_is_found_where_it_stands_and_taken_out(driver: &str) {
        let gateway = Gateway::two(driver, &keys(&mirror()));
        let (header, cookie) = (format!("x-api-KEY: {KEY}"), format!("Cookie: key={KEY}"));
        let cookies = format!("Cookie: a=1; key={KEY} ;b=2; keys=3");
        let other = format!("Cookie: other={KEY}; c=3; key=wrong");
        let query = format!("api_key={KEY}");
        // What is sent, and the target and cookies that arrive.
        for (path, line, target, expect) in [
            ("/closed/a", &*header, "/closed/a", None),
            ("/closed/a?x=%20&x=2", &header, "/closed/a?x=%20&x=2", None),
            (&format!("/closed/a?{query}"), "A: b", "/closed/a", None),
            (&format!("/closed/a?x=%2f&{query}&&y"), "A: b", "/closed/a?x=%2f&&y", None),
            (&format!("/rewritten/c?{query}&z=1"), "A: b", "/b/c?z=1", None),
            (&format!("/rewritten/c?{query}"), "A: b", "/b/c", None),
            ("/closed/a", &cookie, "/closed/a", None),
            ("/closed/a", &cookies, "/closed/a", Some("a=1; b=2; keys=3")),
        ] {
            let head = seen(&gateway, path, &[line]);
            assert_eq!(head.split(' ').nth(1), Some(target), "{path} {line}");
            assert!(!head.contains(KEY), "{head}");
            assert_eq!(field(&head, "cookie"), expect, "{path} {line}");
            assert_eq!(fields(&head, "x-consumer-name"), ["acme"]);
            assert_eq!(fields(&head, "x-consumer-groups"), ["partners, eu"]);
        }
        // A wrong key of the first method, a right one of the second.
        let head = seen(&gateway, "/both", &[&other]);
        assert_eq!(fields(&head, "cookie"), ["c=3"], "each method's cookie goes");
        let head = seen(&gateway, &format!("/kept?{query}"), &[]);
        assert!(head.starts_with(&format!("GET /kept?{query} ")), "{head}");
        assert_eq!(field(&seen(&gateway, "/kept", &[&header]), "x-api-key"), Some(KEY));
        gateway.stop();
    }

    fn what_proves_nothing_is_refused_and_names_nobody(driver: &str) {
        let gateway = Gateway::two(driver, &keys(&mirror()));
        let head = |value: &str| format!("X-Api-Key: {value}");
        let twice = format!("{}\r\n{}", head(KEY), head(KEY));
        let two_places = format!("{}\r\nCookie: key={KEY}", head(KEY));
        let (cut, long) = (head(&KEY[..KEY.len() - 1]), head(&"k".repeat(10 << 10)));
        let hash = head(&hashed(KEY));
        let rows: [(&str, &str, &str); 12] = [
            ("/closed/a", "A: b", "unauthenticated"),
            ("/closed/a?api_key", "A: b", "unauthenticated"),
            ("/closed/a", "X-Api-Key: wrong", "bad-credential"),
            ("/closed/a", &cut, "bad-credential"),
            ("/closed/a", &long, "bad-credential"),
            ("/closed/a", "X-Api-Key: ", "bad-credential"),
            ("/closed/a?api_key=", "A: b", "bad-credential"),
            ("/closed/a", &twice, "bad-credential"),
            ("/closed/a", &two_places, "bad-credential"),
            ("/closed/a", &hash, "bad-credential"),
            ("/both", "X_Api_Key: x", "unauthenticated"),
            ("/both", "Cookie: other=x", "bad-credential"),
        ];
        let mut client = Client::connect(&gateway.address());
        for (path, line, problem) in rows {
            let answer = client.ask(asking(path, &[line]));
            let short: String = line.chars().take(40).collect();
            assert_eq!((answer.status, &*answer.problem()), (401, problem), "{path} {short}");
            let challenges = answer.fields("www-authenticate");
            assert_eq!(challenges[0], "ApiKey realm=\"keys\"", "{short}");
            assert_eq!(challenges.len(), if path == "/both" { 2 } else { 1 });
        }
        drop(client);
        gateway.stop();
    }

    /// Only policies say who somebody is, on whatever route.
    fn what_clients_say_of_themselves_never_arrives(driver: &str) {
        let gateway = Gateway::two(driver, &keys(&mirror()));
        let forged = ["X-Consumer-Name: root", "x-consumer-groups: admins", "X_Consumer_Name: root",
                      "X-Consumer_Groups: admins", "X-CONSUMER-SCOPES: all", "X-Consumer-Id: 1"];
        let head = seen(&gateway, "/open", &forged);
        let lower = head.to_lowercase();
        assert!(!lower.contains("consumer"), "{head}");
        assert!(!head.contains("root") && !head.contains("admins"), "{head}");
        let header = format!("X-Api-Key: {KEY}");
        let head = seen(&gateway, "/closed/a", &[&forged[..], &[&header]].concat());
        assert_eq!(fields(&head, "x-consumer-name"), ["acme"]);
        assert!(!head.contains("root") && !head.contains("admins"), "{head}");
        gateway.stop();
    }

    fn any_and_all_of_several_methods(driver: &str) {
        let (_dir, signer, methods) = keys_and_staff("ES256");
        let gateway = Gateway::two(driver, &format!(r#"
{methods}
[auth.ops]
method = "basic"
[consumer.acme]
api_keys = ["{}"]
basic = "$2b$04$IajxyRXQd0lP98azcn6Jye2gPDJGiLkDrBLm1XVM.XSZ6l7sE0Eiy"
[upstream.service]
endpoints = ["{}"]
[route.any]
path = "/any"
auth = ["keys", "staff", "ops"]
to = "service"
[route.all]
path = "/all"
auth = {{ all = ["keys", "staff"] }}
to = "service"
[auth.own]
method = "forward"
to = "http://{}/verify"
[route.let]
path = "/let"
auth = {{ all = ["own", "keys"] }}
to = "service"
[route.only]
path = "/only"
auth = {{ all = ["own"] }}
to = "service"
[route.read]
path = "/split"
auth = "keys"
to = "service"
[route.write]
path = "/split"
methods = ["POST"]
auth = "staff"
to = "service"
"#, hashed(KEY), mirror(), mirror()));
        let key = format!("X-Api-Key: {KEY}");
        let mine = format!("Authorization: Bearer {}", signer.token(json!({})));
        let others = format!("Authorization: Bearer {}", signer.token(json!({"sub": "beta"})));
        let password = format!("Authorization: {}", basic("acme", "password"));
        let wrong = format!("Authorization: {}", basic("acme", "Password"));
        let rows: [(&str, &[&str], u16, &str); 18] = [
            ("GET /any", &[], 401, "unauthenticated"),
            ("GET /any", &[&key], 200, "acme"),
            ("GET /any", &[&mine], 200, "acme"),
            ("GET /any", &[&others], 200, "beta"),
            ("GET /any", &[&password], 200, "acme"),
            ("GET /any", &[&wrong], 401, "bad-credential"),
            ("GET /any", &["X-Api-Key: wrong", &mine], 200, "acme"),
            ("GET /any", &[&key, "Authorization: Bearer wrong"], 200, "acme"),
            ("GET /all", &[&key], 401, "unauthenticated"),
            ("GET /all", &[&mine], 401, "unauthenticated"),
            ("GET /all", &[&key, &mine], 200, "acme"),
            ("GET /all", &[&key, &others], 401, "bad-credential"),
            // A method that names nobody only lets through.
            ("GET /let", &[&key], 200, "acme"),
            ("GET /let", &[], 401, "unauthenticated"),
            ("GET /only", &[], 200, ""),
            ("GET /split", &[&key], 200, "acme"),
            ("POST /split", &[&key], 401, "unauthenticated"),
            ("POST /split", &[&mine], 200, "acme"),
        ];
        for (line, lines, status, expect) in rows {
            let request = asking("/x", lines).replacen("GET /x", line, 1);
            let answer = ask(&gateway.address(), request);
            assert_eq!(answer.status, status, "{line} {lines:?}: {}", answer.text());
            match status {
                200 => {
                    let name = Some(expect).filter(|name| !name.is_empty());
                    assert_eq!(field(&answer.text(), "x-consumer-name"), name, "{line}");
                }
                _ => {
                    assert_eq!(answer.problem(), expect, "{line} {lines:?}");
                    assert!(answer.field("www-authenticate").is_some());
                }
            }
        }
        gateway.stop();
    }

    fn what_callers_may_adds_up(driver: &str) {
        let (_dir, signer, methods) = keys_and_staff("EdDSA");
        let gateway = Gateway::two(driver, &format!(r#"
{methods}
[consumer.acme]
groups = ["partners"]
scopes = ["orders:read"]
api_keys = ["{}"]
[consumer.beta]
groups = ["others"]
scopes = ["orders:read", "orders:write"]
api_keys = ["{}"]
[group.api]
auth = ["keys", "staff"]
allow = {{ scopes = ["orders:read"] }}
[route.read]
group = "api"
path = "/read"
respond = "{{consumer}}"
[route.write]
group = "api"
path = "/write"
allow = {{ scopes = ["orders:write"] }}
respond = "ok"
[route.partners]
group = "api"
path = "/partners"
allow = {{ groups = ["partners", "friends"] }}
respond = "ok"
[route.beta]
group = "api"
path = "/beta"
allow = {{ consumers = ["beta", "carl"] }}
respond = "ok"
[route.tenant]
group = "api"
path = "/tenant"
allow = {{ claims = {{ tenant = "eu", roles = "admin" }} }}
respond = "ok"
"#, hashed(KEY), hashed("second")));
        let bearer = |claims| format!("Authorization: Bearer {}", signer.token(claims));
        let acme = format!("X-Api-Key: {KEY}");
        let carl = bearer(json!({"sub": "carl"}));
        let few = bearer(json!({"sub": "carl", "scope": "orders:readx"}));
        let list = bearer(json!({"sub": "dora", "scope": null, "scp": ["orders:read"]}));
        let admin = json!({"sub": "dora", "tenant": "eu", "roles": ["admin", "user"]});
        let admin = bearer(admin);
        let user = bearer(json!({"sub": "dora", "tenant": "eu", "roles": ["user"]}));
        // In the order of the routes: read, write, partners, beta, tenant.
        for (line, expect) in [
            (&*acme, [200, 403, 200, 403, 403]),
            ("X-Api-Key: second", [200, 200, 403, 200, 403]),
            (&carl, [200, 200, 403, 200, 403]),
            (&few, [403, 403, 403, 403, 403]),
            (&list, [200, 403, 403, 403, 403]),
            (&admin, [200, 200, 403, 403, 200]),
            (&user, [200, 200, 403, 403, 403]),
        ] {
            let paths = ["/read", "/write", "/partners", "/beta", "/tenant"];
            let found = paths.map(|path| {
                let answer = ask(&gateway.address(), asking(path, &[line]));
                assert!(answer.status == 200 || answer.problem() == "forbidden");
                assert_eq!(answer.field("www-authenticate"), None, "who it is is known");
                answer.status
            });
            assert_eq!(found, expect, "{line}");
        }
        assert_eq!(ask(&gateway.address(), asking("/read", &[&carl])).text(), "carl");
        gateway.stop();
    }
}

/// Ten thousand of a file, read again when it changes; a broken one changes nothing.
#[test]
fn consumers_of_a_file_follow_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.csv");
    let write = |from: usize, more: &str| {
        let mut text = String::from("name,api_key,groups,plan\n");
        for i in from..from + 10_000 {
            text += &format!("c{i},{},g{},gold\n", hashed(&format!("key-{i}")), i % 7);
        }
        let beside = dir.path().join("keys.csv~");
        std::fs::write(&beside, text + more).unwrap();
        std::fs::rename(&beside, &file).unwrap();
    };
    write(0, "");
    let text = format!(
        "[auth.keys]\nmethod = \"api_key\"\n[consumers]\nfile = \"{}\"\n\
         [plan.gold]\nrate_limit = \"1000/s\"\n\
         [route.a]\nauth = \"keys\"\nto = \"http://{}\"\n",
        file.display(),
        mirror()
    );
    let gateway =
        Gateway::with(&Config { text: &text, driver: "epoll", workers: 2, args: &["--watch"] });
    let asked = |i: usize| {
        let key = format!("X-Api-Key: key-{i}");
        let answer = ask(&gateway.address(), asking("/", &[&key]));
        match answer.status {
            200 => field(&answer.text(), "x-consumer-name").unwrap().to_owned(),
            status => status.to_string(),
        }
    };
    assert_eq!([0, 4711, 9999, 10_000].map(asked), ["c0", "c4711", "c9999", "401"]);
    write(5000, "");
    eventually("the new file is in force", || asked(14_999) == "c14999");
    assert_eq!([4999, 5000].map(asked), ["401", "c5000"]);
    write(9000, "c9000,,,\nbroken\n");
    gateway.wait_for("keys.csv:10002:");
    gateway.wait_for("keys.csv:10003:");
    assert_eq!([5000, 14_999, 18_999].map(asked), ["c5000", "c14999", "401"]);
    assert_eq!(get(&gateway.address(), "/").status, 401);
    gateway.stop();
}
