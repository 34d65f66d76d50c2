//! A service of the operator's own that says who may: a real nginx, and one that misbehaves.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use harness::client::{Client, ask, asking};
use harness::eventually;
use harness::gateway::Gateway;
use harness::nginx::Nginx;
use harness::origin::{Accepted, Origin, field, fields, mirror};

/// Does what the value of `Authorization` says.
#[derive(Clone, Default)]
struct Service {
    connections: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Service {
    fn serve(&self) -> String {
        let origin = Origin::new();
        let address = origin.address();
        let service = self.clone();
        std::thread::spawn(move || {
            while let Some(accepted) = origin.accept_within(harness::PATIENCE * 3) {
                service.connections.fetch_add(1, Ordering::SeqCst);
                let service = service.clone();
                std::thread::spawn(move || service.speak(accepted));
            }
        });
        address
    }

    fn speak(&self, mut accepted: Accepted) {
        while let Some(head) = accepted.try_head() {
            let what = field(&head, "authorization").unwrap_or_default().to_owned();
            self.heads.lock().unwrap().push(head);
            let plain = |head: &str| format!("HTTP/1.1 {head}\r\nContent-Length: 2\r\n\r\nok");
            let answer = match what.as_str() {
                "anna" => plain("200 OK\r\nX-User: anna\r\nX-Tier: gold\r\nX-Secret: s"),
                "nobody" => plain("204 No\r\nX-Tier: none")
                    .replace("Content-Length: 2\r\n", "")
                    .replace("\r\n\r\nok", "\r\n\r\n"),
                "two" => plain("200 OK\r\nX-User: anna\r\nX-User: root"),
                "login" => plain(
                    "302 Found\r\nLocation: /login?to=x\r\nSet-Cookie: a=1\r\n\
                                  Set-Cookie: b=2\r\nX-Secret: s",
                ),
                "challenge" => plain("401 No\r\nWWW-Authenticate: Digest realm=\"a\"\r\nX-User: x"),
                "silent" => plain("401 No"),
                "forbidden" => plain("403 No"),
                "missing" => plain("404 No"),
                "broken" => plain("500 No"),
                "garbage" => "SSH-2.0-OpenSSH\r\n\r\n".to_owned(),
                "interim" => format!("HTTP/1.1 103 Early\r\n\r\n{}", plain("200 OK\r\nX-User: i")),
                "head" => plain(&format!("200 OK\r\nX-Long: {}", "x".repeat(1 << 20))),
                "body" => {
                    let body = "x".repeat(4 << 20);
                    format!(
                        "HTTP/1.1 200 OK\r\nX-User: big\r\nContent-Length: {}\r\n\r\n{body}",
                        body.len()
                    )
                }
                "hang" => continue,
                _ => return, // closes
            };
            if !accepted.try_send(answer) {
                return;
            }
        }
    }

    fn questions(&self) -> usize {
        self.heads.lock().unwrap().len()
    }
}

fn config(service: &str, more: &str) -> String {
    format!(
        r#"
[auth.own]
method = "forward"
to = "http://{service}/verify?by=gateway"
response_headers = ["X-Tier", "X-Role"]
consumer_header = "X-User"
timeout = "500ms"
{more}
[consumer.anna]
groups = ["ops"]
[upstream.service]
endpoints = ["{}"]
[route.closed]
path = "/closed/*"
auth = "own"
to = "service"
[route.open]
path = "/open"
auth = "none"
to = "service"
"#,
        mirror()
    )
}

fn closed(what: &str) -> String {
    let lines =
        [&format!("Authorization: {what}"), "X-Tier: forged", "X-User: forged", "X-Role: r"];
    asking("/closed/%61?q=1", &lines)
}

on_both_drivers! {
    fn each_answer_means_what_it_says(driver: &str) {
        let service = Service::default();
        let gateway = Gateway::two(driver, &config(&service.serve(), ""));
        let mut client = Client::connect(&gateway.address());
        let began = Instant::now();
        for (what, status, problem) in [
            ("anna", 200, "anna"),
            ("nobody", 200, ""),
            ("interim", 200, "i"),
            ("body", 200, "big"),
            ("two", 503, "auth-unavailable"),
            ("login", 302, ""),
            ("challenge", 401, ""),
            ("silent", 401, ""),
            ("forbidden", 403, ""),
            ("missing", 503, "auth-unavailable"),
            ("broken", 503, "auth-unavailable"),
            ("garbage", 503, "auth-unavailable"),
            ("head", 503, "auth-unavailable"),
            ("hang", 503, "auth-unavailable"),
            ("close", 503, "auth-unavailable"),
        ] {
            let answer = client.ask(closed(what));
            assert_eq!(answer.status, status, "{what}: {}", answer.text());
            let told = |name: &str| answer.fields(name);
            assert!(!answer.head.contains("X-Secret"), "{}", answer.head);
            if status != 200 {
                assert_eq!(answer.problem(), problem, "{what}");
                let is = |text: &'static str, on: &str| Some(text).filter(|_| what == on);
                let cookies: &[&str] = if what == "login" { &["a=1", "b=2"] } else { &[] };
                assert_eq!(told("set-cookie"), cookies, "{what}");
                assert_eq!(answer.field("location"), is("/login?to=x", "login"), "{what}");
                let challenge = is("Digest realm=\"a\"", "challenge");
                let challenge = challenge.or(is("Forward realm=\"own\"", "silent"));
                assert_eq!(answer.field("www-authenticate"), challenge, "{what}");
                assert_eq!(answer.fields("cache-control"), ["no-store"], "{what}");
                continue;
            }
            let head = answer.text();
            let name = Some(problem).filter(|name| !name.is_empty());
            assert_eq!(field(&head, "x-consumer-name"), name, "{what}");
            let tier = match what { "anna" => Some("gold"), "nobody" => Some("none"), _ => None };
            assert_eq!(field(&head, "x-tier"), tier, "{head}");
            assert!(!head.contains("forged") && field(&head, "x-role").is_none(), "{head}");
            assert_eq!(field(&head, "x-consumer-groups"), name.filter(|n| *n == "anna").map(|_| "ops"));
        }
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        let heads = service.heads.lock().unwrap().clone();
        let first = &heads[0];
        assert!(first.starts_with("GET /verify?by=gateway HTTP/1.1\r\n"), "{first}");
        for (name, value) in [
            ("x-forwarded-method", "GET"),
            ("x-forwarded-host", "test.example"),
            ("x-forwarded-uri", "/closed/a?q=1"),
            ("x-forwarded-for", "127.0.0.1"),
        ] {
            assert_eq!(fields(first, name), [value], "{first}");
        }
        assert!(!first.contains("forged"), "only what it is to be shown: {first}");
        let open = ask(&gateway.address(), asking("/open", &["X-Tier: forged", "X_User: forged"]));
        assert!(!open.text().contains("forged"), "{}", open.text());
        drop(client);
        gateway.stop();
    }

    fn connections_are_kept_and_a_yes_can_be_remembered(driver: &str) {
        let service = Service::default();
        let text = config(&service.serve(), "");
        let gateway = Gateway::two(driver, &text);
        let mut client = Client::connect(&gateway.address());
        for _ in 0..20 {
            assert_eq!(client.ask(closed("anna")).status, 200);
        }
        let connections = service.connections.load(Ordering::SeqCst);
        assert_eq!((service.questions(), connections), (20, 1));
        gateway.rewrite(&text.replace("timeout =", "remember = \"1m\"\ntimeout ="));
        gateway.reload();
        for what in ["anna", "anna", "interim", "anna", "forbidden", "forbidden", "broken"] {
            client.ask(closed(what));
        }
        assert_eq!(service.questions(), 20 + 5, "a no is asked again, and other callers are others");
        drop(client);
        gateway.stop();
    }

    fn a_real_nginx_decides(driver: &str) {
        let nginx = Nginx::start(
            "location = /verify {\n\
             if ($http_authorization = 'Bearer good') {\n\
             add_header X-User anna; add_header X-Tier $http_x_forwarded_method; return 204; }\n\
             if ($http_cookie = 'session=1') { add_header X-User bert; return 200 'yes'; }\n\
             if ($http_authorization = 'Bearer bad') { return 403; }\n\
             add_header WWW-Authenticate 'Bearer realm=\"nginx\"' always; return 401; }");
        let address = format!("127.0.0.1:{}", nginx.port);
        let gateway = Gateway::two(driver, &config(&address, ""));
        let mut client = Client::connect(&gateway.address());
        for (line, status, name) in [
            ("Authorization: Bearer good", 200, "anna"),
            ("Cookie: session=1", 200, "bert"),
            ("Authorization: Bearer bad", 403, ""),
            ("Authorization: Bearer other", 401, ""),
            ("Accept: */*", 401, ""),
        ] {
            for _ in 0..3 {
                let answer = client.ask(asking("/closed/a", &[line]).replacen("GET", "DELETE", 1));
                assert_eq!(answer.status, status, "{line} {}", answer.text());
                match status {
                    200 => {
                        let head = answer.text();
                        assert_eq!(field(&head, "x-consumer-name"), Some(name));
                        let tier = Some("DELETE").filter(|_| name == "anna");
                        assert_eq!(field(&head, "x-tier"), tier);
                    }
                    401 => {
                        let challenge = answer.field("www-authenticate");
                        assert_eq!(challenge, Some("Bearer realm=\"nginx\""));
                    }
                    _ => {}
                }
            }
        }
        eventually("each was asked", || nginx.access_log().lines().count() == 15);
        drop(nginx);
        let answer = client.ask(asking("/closed/a", &["Cookie: session=1"]));
        assert_eq!((answer.status, &*answer.problem()), (503, "auth-unavailable"));
        drop(client);
        gateway.stop();
    }
}
