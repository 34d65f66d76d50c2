//! Tokens: keys of a file and of an issuer, what makes one good, and what becomes of its claims.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use harness::certs::Authority;
use harness::client::{Client, ask, asking, get};
use harness::eventually;
use harness::gateway::{Config, Gateway};
use harness::nginx::Nginx;
use harness::origin::{Origin, field, fields, mirror};
use harness::tokens::{Signer, hashed, jwks, seconds};
use serde_json::json;

/// An issuer whose keys change, and how often they were fetched. No keys: it answers 500.
#[derive(Clone, Default)]
struct Issuer {
    keys: Arc<Mutex<Option<String>>>,
    fetches: Arc<AtomicUsize>,
}

impl Issuer {
    fn serve(&self, origin: Origin) -> String {
        let url = format!("http://{}/jwks.json?v=1", origin.address());
        let issuer = self.clone();
        origin.serve(move |head| {
            assert!(head.starts_with("GET /jwks.json?v=1 HTTP/1.1\r\n"), "{head}");
            issuer.fetches.fetch_add(1, Ordering::SeqCst);
            match &*issuer.keys.lock().unwrap() {
                Some(keys) => {
                    let length = keys.len();
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{keys}")
                        .into_bytes()
                }
                None => b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_vec(),
            }
        });
        url
    }

    fn has(&self, keys: &[&Signer]) {
        *self.keys.lock().unwrap() = Some(jwks(keys));
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

fn bearer(token: &str) -> String {
    asking("/staff", &[&format!("Authorization: Bearer {token}")])
}

fn with_keys(more: &str, jwks: &str) -> String {
    let service = mirror();
    format!(
        "[auth.staff]\nmethod = \"jwt\"\njwks = \"{jwks}\"\n{more}\n\
         [consumer.acme]\ngroups = [\"partners\"]\n\
         [upstream.service]\nendpoints = [\"{service}\"]\n\
         [route.staff]\npath = \"/staff\"\nauth = \"staff\"\nto = \"service\"\n\
         [route.open]\npath = \"/open\"\nauth = \"none\"\nto = \"service\"\n"
    )
}

on_both_drivers! {
    /// RFC 6750 §3.1: the error is the token's, not the key's that came beside or instead of it.
    fn only_a_wrong_token_is_called_one(driver: &str) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("jwks.json");
        std::fs::write(&file, jwks(&[&Signer::new("ES256", "ES256")])).unwrap();
        let text = with_keys("", &format!("file:{}", file.display()));
        let both = text.replace("auth = \"staff\"", "auth = [\"keys\", \"staff\"]");
        let text = format!("[auth.keys]\nmethod = \"api_key\"\n{both}");
        let gateway = Gateway::two(driver, &text);
        let mut client = Client::connect(&gateway.address());
        let (plain, wrong) =
            ("Bearer realm=\"staff\"", "Bearer realm=\"staff\", error=\"invalid_token\"");
        for (line, challenge) in [
            ("X-Api-Key: nobody", plain),
            ("Authorization: Bearer a.b.c", wrong),
            ("X-Api-Key: nobody\r\nAuthorization: Bearer a.b.c", wrong),
            ("A: b", plain),
        ] {
            let answer = client.ask(asking("/staff", &[line]));
            assert_eq!(answer.status, 401, "{line}");
            let told = answer.fields("www-authenticate");
            assert_eq!(told, ["ApiKey realm=\"keys\"", challenge], "{line}");
        }
        gateway.stop();
    }

    fn what_makes_a_token_good(driver: &str) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("jwks.json");
        let kinds = ["ES256", "RS256", "EdDSA", "HS256"];
        let [es, rs, ed, hs] = kinds.map(|algorithm| Signer::new(algorithm, algorithm));
        let [other_es, unnamed] = [Signer::new("ES256", "ES256"), Signer::new("other", "ES256")];
        std::fs::write(&file, jwks(&[&es, &rs, &ed, &hs])).unwrap();
        let more = "issuer = \"https://id.example.com/\"\naudience = [\"shop\", \"api\"]\n\
                    algorithms = [\"ES256\", \"RS256\", \"EdDSA\", \"HS256\"]\n\
                    require = [\"exp\", \"tenant\"]\ncookie = \"token\"\nleeway = \"1s\"\n\
                    to_headers = { X-User = \"sub\", X-Roles = \"roles\", X-Gone = \"evil\" }";
        let gateway = Gateway::two(driver, &with_keys(more, &format!("file:{}", file.display())));
        let claims = |more: serde_json::Value| {
            let mut all = json!({"tenant": "eu", "roles": ["a", "b"], "evil": "a\r\nX-Evil: 1"});
            more.as_object().unwrap().iter().for_each(|(name, value)| all[name] = value.clone());
            all
        };
        let good = es.token(claims(json!({})));
        let (front, signature) = good.rsplit_once('.').unwrap();
        let (header, _) = front.split_once('.').unwrap();
        let payload = ed.token(claims(json!({"sub": "root"})));
        let payload = payload.split('.').nth(1).unwrap();
        let none = format!("{}.{payload}.", harness::tokens::base64(b"{\"alg\":\"none\"}"));
        let mut client = Client::connect(&gateway.address());
        let rows: Vec<(&str, String, &str)> = vec![
            ("ES256", good.clone(), "acme"),
            ("again", good.clone(), "acme"),
            ("RS256", rs.token(claims(json!({}))), "acme"),
            ("EdDSA", ed.token(claims(json!({"aud": ["x", "api"]}))), "acme"),
            ("HS256", hs.token(claims(json!({"sub": "dora"}))), "dora"),
            ("not yet known", es.token(claims(json!({"sub": "a b@c.example"}))), "a b@c.example"),
            ("another key", other_es.token(claims(json!({}))), "401"),
            ("an unknown key", unnamed.token(claims(json!({}))), "401"),
            ("expired", es.token(claims(json!({"exp": seconds() - 10}))), "401"),
            ("not yet", es.token(claims(json!({"nbf": seconds() + 100}))), "401"),
            ("issuer", es.token(claims(json!({"iss": "https://id.example.org/"}))), "401"),
            ("no issuer", es.token(claims(json!({"iss": null}))), "401"),
            ("audience", es.token(claims(json!({"aud": "shop2"}))), "401"),
            ("no end", es.token(claims(json!({"exp": null}))), "401"),
            ("no tenant", es.token(claims(json!({"tenant": null}))), "401"),
            ("nobody", es.token(claims(json!({"sub": null}))), "401"),
            ("spaces around", es.token(claims(json!({"sub": " acme "}))), "401"),
            ("a line break", es.token(claims(json!({"sub": "a\r\nX-Evil: 1"}))), "401"),
            ("tampered", format!("{header}.{payload}.{signature}"), "401"),
            ("none", none, "401"),
            ("truncated", good[..good.len() - 2].to_owned(), "401"),
            ("two parts", front.to_owned(), "401"),
            ("no signature", format!("{front}."), "401"),
            ("too long", format!("{good}{}", "A".repeat(10 << 10)), "401"),
            ("twice", format!("{good}\r\nAuthorization: Bearer {good}"), "401"),
        ];
        for (what, token, expect) in &rows {
            let answer = client.ask(bearer(token));
            if *expect == "401" {
                assert_eq!((answer.status, &*answer.problem()), (401, "bad-credential"), "{what}");
                let challenge = "Bearer realm=\"staff\", error=\"invalid_token\"";
                assert_eq!(answer.fields("www-authenticate"), [challenge], "{what}");
                continue;
            }
            assert_eq!(answer.status, 200, "{what}: {}", answer.text());
            let head = answer.text();
            assert_eq!(fields(&head, "x-consumer-name"), [*expect], "{what}");
            assert_eq!(fields(&head, "x-user"), [*expect], "{what}");
            assert_eq!(fields(&head, "x-roles"), ["a b"], "{what}");
            assert!(!head.contains("X-Evil") && field(&head, "x-gone").is_none(), "{head}");
            let groups = field(&head, "x-consumer-groups");
            assert_eq!(groups, Some("partners").filter(|_| *expect == "acme"), "{what}");
            assert!(head.contains(token), "it goes on, as its default says");
        }
        let cookie = |value: &str| client_cookie(&gateway, value);
        assert_eq!(cookie(&format!("a=b; token={good}")), (200, "acme".to_owned()));
        assert_eq!(cookie(&format!("token={good}; token={good}")).0, 401);
        assert_eq!(cookie("a=b").0, 401);
        let answer = client.ask(asking("/staff", &[]));
        assert_eq!(answer.fields("www-authenticate"), ["Bearer realm=\"staff\""]);
        drop(client);
        gateway.stop();
    }

    /// Fields for claims are the gateway's, on routes without tokens too.
    fn fields_of_claims_are_nobody_elses(driver: &str) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("jwks.json");
        let signer = Signer::new("one", "EdDSA");
        std::fs::write(&file, jwks(&[&signer])).unwrap();
        let more = "keep = false\ncookie = \"token\"\n\
                    to_headers = { X-User = \"sub\", X-Tenant = \"tenant\" }";
        let gateway = Gateway::two(driver, &with_keys(more, &format!("file:{}", file.display())));
        let token = signer.token(json!({}));
        let authorization = format!("Authorization: Bearer {token}");
        let cookie = format!("Cookie: a=b; token={token}");
        let forged = ["X-User: root", "x-user: root", "X_User: root", "X-Tenant: root"];
        for (path, line) in [("/open", "A: b"), ("/staff", &authorization), ("/staff", &cookie)] {
            let answer = ask(&gateway.address(), asking(path, &[&forged[..], &[line]].concat()));
            assert_eq!(answer.status, 200, "{}", answer.text());
            let head = answer.text();
            assert!(!head.contains("root") && !head.contains(&token), "{path} {line}: {head}");
            assert_eq!(field(&head, "x-user"), Some("acme").filter(|_| path == "/staff"));
        }
        gateway.stop();
    }

    fn a_new_key_is_believed_at_its_first_token(driver: &str) {
        let issuer = Issuer::default();
        let [old, new, newer] = ["old", "new", "newer"].map(|kid| Signer::new(kid, "ES256"));
        issuer.has(&[&old]);
        let gateway = Gateway::two(driver, &with_keys("", &issuer.serve(Origin::new())));
        let status = |signer: &Signer| ask(&gateway.address(), bearer(&signer.token(json!({})))).status;
        assert_eq!((status(&old), status(&old), issuer.fetches()), (200, 200, 1));
        issuer.has(&[&old, &new]);
        assert_eq!((status(&new), issuer.fetches()), (200, 2));
        assert_eq!((status(&new), status(&old), issuer.fetches()), (200, 200, 2));
        // Anybody can invent keys: within the floor no token asks for a fetch again.
        issuer.has(&[&new, &newer]);
        let address = gateway.address();
        let flood: Vec<_> = (0..8).map(|n| {
            let address = address.clone();
            std::thread::spawn(move || {
                let mut client = Client::connect(&address);
                for i in 0..50 {
                    let forged = Signer::new(&format!("{n}-{i}"), "EdDSA");
                    assert_eq!(client.ask(bearer(&forged.token(json!({})))).status, 401);
                }
            })
        }).collect();
        flood.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!((issuer.fetches(), status(&newer), status(&old)), (2, 401, 200));
        gateway.stop();
    }

    /// What was verified is remembered no longer than what it was verified by.
    fn withdrawn_keys_and_other_rules_hold_at_once(driver: &str) {
        let issuer = Issuer::default();
        let [old, new] = ["old", "new"].map(|kid| Signer::new(kid, "ES256"));
        issuer.has(&[&old]);
        let text = with_keys("audience = \"shop\"", &issuer.serve(Origin::new()));
        let gateway = Gateway::two(driver, &text);
        let (gone, good) = (old.token(json!({})), new.token(json!({})));
        let mut clients = [(); 4].map(|()| Client::connect(&gateway.address()));
        let mut all = |token: &str| {
            clients.each_mut().map(|client| client.ask(bearer(token)).status)
        };
        assert_eq!(all(&gone), [200; 4]);
        issuer.has(&[&new]);
        assert_eq!(all(&good), [200; 4]);
        assert_eq!(all(&gone), [401; 4], "its key is withdrawn");
        gateway.rewrite(&text.replace("\"shop\"", "\"bank\""));
        gateway.reload();
        assert_eq!(all(&good), [401; 4], "it is for somebody else now");
        gateway.rewrite(&text);
        gateway.reload();
        assert_eq!(all(&good), [200; 4]);
        drop(clients);
        gateway.stop();
    }

    fn an_issuer_that_is_down_at_start_locks_nobody_else_out_and_heals(driver: &str) {
        let issuer = Issuer::default();
        let signer = Signer::new("one", "RS256");
        let url = issuer.serve(Origin::new());
        let gateway = Gateway::two(driver, &with_keys("", &url));
        gateway.wait_for("warning: no keys from");
        let token = signer.token(json!({}));
        let answer = ask(&gateway.address(), bearer(&token));
        assert_eq!((answer.status, &*answer.problem()), (503, "auth-unavailable"));
        assert_eq!(ask(&gateway.address(), asking("/staff", &[])).status, 401, "no token at all");
        assert_eq!(get(&gateway.address(), "/open").status, 200);
        issuer.has(&[&signer]);
        eventually("it heals", || ask(&gateway.address(), bearer(&token)).status == 200);
        gateway.wait_for("1 keys, again");
        gateway.stop();
    }
}

/// Over https, as this machine's authorities say (`SSL_CERT_FILE` names them): keys of whoever shows
/// another's certificate, one of nobody's or an old one don't count.
#[test]
fn keys_come_over_https_from_who_can_prove_it() {
    let (known, strange) = (Authority::new("known"), Authority::new("strange"));
    let signer = Signer::new("one", "ES256");
    let below = known.below("below");
    let issuers = [
        ("good", known.server("good", &["IP:127.0.0.1"]), 200),
        ("below", below.server("below", &["IP:127.0.0.1"]), 200),
        ("other", known.server("other", &["DNS:other.example"]), 503),
        ("old", known.expired("old", &["IP:127.0.0.1"]), 503),
        ("strange", strange.server("strange", &["IP:127.0.0.1"]), 503),
    ];
    let mut text = String::new();
    let mut servers = Vec::new();
    for (name, pair, _) in &issuers {
        let server = Nginx::start_tls(pair, "");
        std::fs::write(server.dir.path().join("jwks.json"), jwks(&[&signer])).unwrap();
        text.push_str(&format!(
            "[auth.{name}]\nmethod = \"jwt\"\njwks = \"{}/jwks.json\"\n\
             [route.{name}]\npath = \"/{name}\"\nauth = \"{name}\"\nrespond = \"ok\"\n",
            server.url()
        ));
        servers.push(server);
    }
    let config = Config { text: &text, driver: "epoll", workers: 2, args: &[] };
    let gateway = Gateway::with_env(&config, &[("SSL_CERT_FILE", known.cert().as_os_str())]);
    let token = format!("Authorization: Bearer {}", signer.token(json!({})));
    for (name, _, expect) in &issuers {
        let answer = ask(&gateway.address(), asking(&format!("/{name}"), &[&token]));
        assert_eq!(answer.status, *expect, "{name}: {}", gateway.log());
    }
    assert_eq!(gateway.log().matches("warning: no keys from").count(), 3, "{}", gateway.log());
    gateway.stop();
}

fn client_cookie(gateway: &Gateway, value: &str) -> (u16, String) {
    let answer = ask(&gateway.address(), asking("/staff", &[&format!("Cookie: {value}")]));
    let name = field(&answer.text(), "x-consumer-name").unwrap_or_default().to_owned();
    (answer.status, name)
}

/// An issuer that ends after it was heard: its keys stay, over reloads too.
#[test]
fn the_last_good_keys_stay_when_the_issuer_goes() {
    let issuer = Issuer::default();
    let (signer, other) = (Signer::new("one", "EdDSA"), Signer::new("two", "EdDSA"));
    issuer.has(&[&signer]);
    let text = with_keys("", &issuer.serve(Origin::new()));
    let gateway = Gateway::two("epoll", &text);
    *issuer.keys.lock().unwrap() = None;
    let status = |signer: &Signer| ask(&gateway.address(), bearer(&signer.token(json!({})))).status;
    assert_eq!((status(&other), issuer.fetches()), (401, 2), "asked, and refused");
    gateway.wait_for("the last good ones stay");
    assert_eq!(status(&signer), 200);
    gateway.rewrite(&format!(
        "{text}[route.more]\npath = \"/more\"\nauth = \"none\"\nrespond = \"m\"\n"
    ));
    gateway.reload();
    assert_eq!((get(&gateway.address(), "/more").status, status(&signer)), (200, 200));
    gateway.stop();
}

/// Two methods of one issuer that don't take the same algorithms.
#[test]
fn each_method_takes_its_own_algorithms_of_a_shared_set() {
    let issuer = Issuer::default();
    let (es, rs) = (Signer::new("es", "ES256"), Signer::new("rs", "RS256"));
    issuer.has(&[&es, &rs]);
    let url = issuer.serve(Origin::new());
    let text = format!(
        "[auth.es]\nmethod = \"jwt\"\njwks = \"{url}\"\nalgorithms = [\"ES256\"]\n\
         [auth.any]\nmethod = \"jwt\"\njwks = \"{url}\"\n\
         [auth.keys]\nmethod = \"api_key\"\n[consumer.x]\napi_keys = [\"{}\"]\n\
         [route.es]\npath = \"/es\"\nauth = \"es\"\nrespond = \"ok\"\n\
         [route.any]\npath = \"/any\"\nauth = [\"any\", \"keys\"]\nrespond = \"ok\"\n",
        hashed("x"),
    );
    let gateway = Gateway::two("epoll", &text);
    let rows = [("/es", &es, 200), ("/es", &rs, 401), ("/any", &es, 200), ("/any", &rs, 200)];
    for (path, signer, expect) in rows {
        let token = format!("Authorization: Bearer {}", signer.token(json!({})));
        let answer = ask(&gateway.address(), asking(path, &[&token]));
        assert_eq!(answer.status, expect, "{path} {}", signer.kid);
    }
    assert_eq!(issuer.fetches(), 1, "one set for both");
    gateway.stop();
}
