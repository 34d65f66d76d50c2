//! Names and passwords, with hashes that other programs made.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use harness::client::{Client, asking};
use harness::crowd::Bystander;
use harness::gateway::Gateway;
use harness::origin::{field, mirror};
use harness::tokens::basic;

/// A line of `htpasswd -B`.
fn htpasswd(user: &str, password: &str, cost: u32) -> String {
    let cost = cost.to_string();
    let out = Command::new("htpasswd").args(["-nbB", "-C", &cost, user, password]).output();
    let out = out.expect("apache2-utils is installed (tests/run does it)");
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

/// What the `argon2` command makes of a password.
fn argon2id(password: &str) -> String {
    let mut child = Command::new("argon2")
        .args(["somesalt", "-id", "-m", "10", "-t", "1", "-p", "1", "-e"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("argon2 is installed (tests/run does it)");
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), password.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap().trim().to_owned()
}

/// A consumer with a password of its own, and a file of others whose last line is `more`.
fn start(driver: &str, dir: &tempfile::TempDir, more: &str) -> Gateway {
    let file = dir.path().join("htpasswd");
    let lines = [htpasswd("anna", "s e:cret", 4), format!("bert:{}", argon2id("pässword"))];
    std::fs::write(&file, format!("# made by hand\n{}\n{more}\n", lines.join("\n"))).unwrap();
    let own = argon2id("own");
    Gateway::two(
        driver,
        &format!(
            r#"
[auth.file]
method = "basic"
file = "{}"
realm = "the ops' \"room\""
[auth.own]
method = "basic"
keep = true
[consumer.acme]
groups = ["partners"]
basic = "{own}"
[upstream.service]
endpoints = ["{}"]
[route.file]
path = "/file"
auth = "file"
to = "service"
[route.own]
path = "/own"
auth = "own"
to = "service"
[route.open]
path = "/open"
auth = "none"
respond = "open"
"#,
            file.display(),
            mirror()
        ),
    )
}

on_both_drivers! {
    fn passwords_of_both_kinds_are_verified(driver: &str) {
        let dir = tempfile::tempdir().unwrap();
        let gateway = start(driver, &dir, "");
        let mut client = Client::connect(&gateway.address());
        let twice = format!("{}\r\nAuthorization: {}", basic("anna", "s e:cret"), basic("a", "b"));
        let rows = [
            ("/file", basic("anna", "s e:cret"), Ok("anna")),
            ("/file", basic("anna", "s e:cret"), Ok("anna")),
            ("/file", basic("anna", "s e:cret").replace("Basic", "bAsIc"), Ok("anna")),
            ("/file", basic("bert", "pässword"), Ok("bert")),
            ("/own", basic("acme", "own"), Ok("acme")),
            ("/file", basic("acme", "own"), Err("bad-credential")),
            ("/own", basic("anna", "s e:cret"), Err("bad-credential")),
            ("/file", basic("anna", "s e:cre"), Err("bad-credential")),
            ("/file", basic("Anna", "s e:cret"), Err("bad-credential")),
            ("/file", basic("nobody", ""), Err("bad-credential")),
            ("/file", basic("", ""), Err("bad-credential")),
            ("/file", "Basic YW5uYQ==".to_owned(), Err("bad-credential")),
            ("/file", "Basic YW5uYTp".to_owned(), Err("bad-credential")),
            ("/file", "Basic !!!!".to_owned(), Err("bad-credential")),
            ("/file", "Basic".to_owned(), Err("bad-credential")),
            ("/file", basic("anna", &"x".repeat(10 << 10)), Err("bad-credential")),
            ("/file", twice, Err("bad-credential")),
            ("/file", "Bearer abc".to_owned(), Err("unauthenticated")),
        ];
        for (path, value, expect) in rows {
            let answer = client.ask(asking(path, &[&format!("Authorization: {value}")]));
            let short: String = value.chars().take(60).collect();
            match expect {
                Ok(name) => {
                    assert_eq!(answer.status, 200, "{path} {short}: {}", answer.text());
                    let head = answer.text();
                    assert_eq!(field(&head, "x-consumer-name"), Some(name), "{short}");
                    let kept = field(&head, "authorization").is_some();
                    assert_eq!(kept, path == "/own", "{head}");
                }
                Err(problem) => {
                    assert_eq!((answer.status, &*answer.problem()), (401, problem), "{short}");
                    let realm = if path == "/own" { "own" } else { "the ops' room" };
                    let challenge = format!("Basic realm=\"{realm}\", charset=\"UTF-8\"");
                    assert_eq!(answer.fields("www-authenticate"), [challenge.as_str()]);
                }
            }
        }
        drop(client);
        gateway.stop();
    }

    fn a_changed_password_counts_from_the_reload_on(driver: &str) {
        let dir = tempfile::tempdir().unwrap();
        let gateway = start(driver, &dir, &htpasswd("carl", "old", 4));
        let mut clients = [(); 4].map(|()| Client::connect(&gateway.address()));
        let mut all = |user: &str, password: &str| {
            let line = format!("Authorization: {}", basic(user, password));
            clients.each_mut().map(|client| client.ask(asking("/file", &[&line])).status)
        };
        assert_eq!((all("carl", "old"), all("anna", "s e:cret")), ([200; 4], [200; 4]));
        std::fs::write(dir.path().join("htpasswd"), htpasswd("carl", "new", 4)).unwrap();
        gateway.reload();
        assert_eq!((all("carl", "old"), all("carl", "new")), ([401; 4], [200; 4]));
        assert_eq!(all("anna", "s e:cret"), [401; 4], "who is gone is gone");
        drop(clients);
        gateway.stop();
    }

    /// Hashing each would take ten times as long.
    fn a_good_password_is_remembered_and_a_flood_of_wrong_ones_stops_nobody(driver: &str) {
        let dir = tempfile::tempdir().unwrap();
        let gateway = start(driver, &dir, &htpasswd("carl", "slow", 9));
        let right = asking("/file", &[&format!("Authorization: {}", basic("carl", "slow"))]);
        let wrong = |i: usize| {
            asking("/file", &[&format!("Authorization: {}", basic("carl", &format!("w{i}")))])
        };
        let mut carl = Client::connect(&gateway.address());
        let began = Instant::now();
        assert_eq!(carl.ask(&right).status, 200);
        let once = began.elapsed();
        let began = Instant::now();
        for _ in 0..200 {
            assert_eq!(carl.ask(&right).status, 200);
        }
        let all = began.elapsed();
        assert!(all < once * 20, "200 took {all:?}, the first one {once:?}");
        // More than helpers and their queue take at once.
        let bystander = Bystander::begin(&gateway.address(), "/open");
        let mut crowd: Vec<Client> = (0..60).map(|_| Client::connect(&gateway.address())).collect();
        for (i, client) in crowd.iter_mut().enumerate() {
            client.send(wrong(i));
        }
        for _ in 0..50 {
            assert_eq!(carl.ask(&right).status, 200, "who is remembered is served meanwhile");
        }
        let answers = crowd.iter_mut().map(|client| client.answer().unwrap());
        let found: Vec<(u16, String)> = answers.map(|a| (a.status, a.problem())).collect();
        let served = bystander.end();
        let count = |status, problem: &str| {
            found.iter().filter(|(s, p)| (*s, p.as_str()) == (status, problem)).count()
        };
        let refused = count(401, "bad-credential");
        let busy = count(503, "auth-unavailable");
        assert!(refused > 0 && busy > 0, "{refused} refused, {busy} busy");
        assert_eq!(refused + busy, found.len(), "{found:?}");
        assert!(served.p99 < Duration::from_millis(500), "{served:?}");
        drop(carl);
        gateway.stop();
    }
}
