//! Requests that wait for a policy's question, with all that clients send meanwhile: bodies,
//! further requests, their end.

use std::io::Write;

use harness::client::{Client, asking};
use harness::eventually;
use harness::gateway::Gateway;
use harness::origin::{Accepted, Origin, field};
use harness::tokens::basic;

use crate::numbers::{numbers, with_admin};

const YES: &str = "HTTP/1.1 200 OK\r\nX-User: anna\r\nContent-Length: 0\r\n\r\n";

/// A service that answers with its head and the length of its body.
fn counting() -> String {
    let origin = Origin::new();
    let address = origin.address();
    std::thread::spawn(move || {
        while let Some(mut accepted) = origin.accept_within(harness::PATIENCE * 3) {
            std::thread::spawn(move || while serve(&mut accepted).is_some() {});
        }
    });
    address
}

fn serve(accepted: &mut Accepted) -> Option<()> {
    let head = accepted.try_head()?;
    if field(&head, "upgrade").is_some() {
        accepted.send("HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
        let text = accepted.try_exactly(4)?;
        return accepted.try_send(text).then_some(());
    }
    let mut length = 0;
    if let Some(text) = field(&head, "content-length") {
        length = text.parse().unwrap();
        accepted.try_exactly(length)?;
    } else if field(&head, "transfer-encoding").is_some() {
        loop {
            let mut line = String::new();
            while !line.ends_with("\r\n") {
                line.push(char::from(accepted.try_exactly(1)?[0]));
            }
            let size = usize::from_str_radix(line.trim(), 16).unwrap();
            accepted.try_exactly(size + 2)?;
            length += size;
            if size == 0 {
                break;
            }
        }
    }
    let user = field(&head, "x-consumer-name").unwrap_or("-");
    let line = head.lines().next().unwrap();
    let body = format!("{line} {user} {length}");
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    accepted.try_send(format!("{head}{body}")).then_some(())
}

fn start(driver: &str, verifier: &Origin) -> Gateway {
    let service = counting();
    Gateway::two(
        driver,
        &format!(
            r#"
[auth.own]
method = "forward"
to = "http://{}/"
consumer_header = "X-User"
timeout = "10s"
[auth.ops]
method = "basic"
[consumer.anna]
basic = "$2b$04$IajxyRXQd0lP98azcn6Jye2gPDJGiLkDrBLm1XVM.XSZ6l7sE0Eiy"
[upstream.service]
endpoints = ["{service}"]
[route.own]
path = "/own"
auth = "own"
to = "service"
[route.ops]
path = "/ops"
auth = "ops"
to = "service"
[route.one]
path = "/one"
auth = "none"
concurrency = 1
to = "service"
"#,
            verifier.address()
        ),
    )
}

fn post(path: &str, lines: &[&str], body: &str) -> String {
    let length = format!("Content-Length: {}", body.len());
    let head = asking(path, &[lines, &[&length]].concat()).replacen("GET", "POST", 1);
    format!("{head}{body}")
}

on_both_drivers! {
    /// Bytes that arrive while it is asked stay where they are.
    fn bodies_and_further_requests_wait_with_it(driver: &str) {
        let verifier = Origin::new();
        let gateway = start(driver, &verifier);
        let body = "x".repeat(1 << 20);
        let chunked = asking("/own", &["Transfer-Encoding: chunked"]).replacen("GET", "PUT", 1);
        for (request, expect) in [
            (post("/own", &[], "hello"), "POST /own HTTP/1.1 anna 5"),
            (post("/own", &[], &body), "POST /own HTTP/1.1 anna 1048576"),
            (format!("{chunked}5\r\nhello\r\n0\r\n\r\n"), "PUT /own HTTP/1.1 anna 5"),
        ] {
            let mut client = Client::connect(&gateway.address());
            let mut stream = client.stream.try_clone().unwrap();
            let sender = std::thread::spawn(move || {
                let (head, rest) = request.split_at(request.find("\r\n\r\n").unwrap() + 4);
                stream.write_all(head.as_bytes()).unwrap();
                stream.write_all(rest.as_bytes()).unwrap();
                stream.write_all(asking("/one", &[]).as_bytes()).unwrap();
            });
            let mut asked = verifier.accept();
            let head = asked.head();
            assert!(head.starts_with("GET / "), "{head}");
            assert!(field(&head, "content-length").is_none(), "a question has no body");
            asked.send(YES);
            let text = client.answer().unwrap().text();
            assert_eq!(text, expect);
            assert_eq!(client.answer().unwrap().text(), "GET /one HTTP/1.1 - 0");
            sender.join().unwrap();
        }
        gateway.stop();
    }

    fn who_may_not_is_told_at_once_whatever_is_on_its_way(driver: &str) {
        let gateway = start(driver, &Origin::new());
        let wrong = format!("Authorization: {}", basic("anna", "wrong"));
        let right = format!("Authorization: {}", basic("anna", "password"));
        // A small body is read over, and the connection goes on.
        let mut client = Client::connect(&gateway.address());
        for line in [&*wrong, "A: b"] {
            let answer = client.ask(post("/ops", &[line], "hello"));
            assert_eq!(answer.status, 401, "{line}");
        }
        assert_eq!(client.ask(post("/ops", &[&right], "hello")).text(), "POST /ops HTTP/1.1 anna 5");
        // Three in one piece: the middle one proves nothing.
        let three = [&right, &wrong, &right].map(|line| post("/ops", &[line], "hi")).concat();
        client.send(three);
        let found = [(); 3].map(|()| client.answer().unwrap().status);
        assert_eq!(found, [200, 401, 200]);
        // HEAD has no body, HTTP/1.0 ends.
        client.send(asking("/ops", &[]).replacen("GET", "HEAD", 1));
        let answer = client.head().unwrap();
        assert_eq!((answer.status, answer.fields("www-authenticate").len()), (401, 1));
        assert_eq!(client.ask(asking("/ops", &[&right])).status, 200);
        let mut old = Client::connect(&gateway.address());
        old.send(format!("GET /ops HTTP/1.0\r\nHost: a\r\n{right}\r\n\r\n"));
        assert_eq!(old.answer().unwrap().status, 200);
        old.ends();
        // Who asks before sending a body is not told to send it.
        let mut polite = Client::connect(&gateway.address());
        polite.send(asking("/ops", &[&wrong, "Expect: 100-continue", "Content-Length: 1000000"])
            .replacen("GET", "POST", 1));
        assert_eq!(polite.head().unwrap().status, 401);
        // Who sends a long one all the same has the answer, not a reset.
        drop(client);
        let mut client = Client::connect(&gateway.address());
        let long = post("/ops", &[&wrong], &"x".repeat(300_000));
        client.send(long);
        assert_eq!(client.answer().unwrap().status, 401);
        drop((client, polite));
        gateway.stop();
    }

    /// A half-close is no end; an end is one.
    fn clients_that_leave_while_it_is_asked(driver: &str) {
        let verifier = Origin::new();
        let gateway = start(driver, &verifier);
        let mut half = Client::connect(&gateway.address());
        half.send(post("/own", &[], "hello")).half_close();
        let mut asked = verifier.accept();
        asked.head();
        asked.send(YES);
        assert_eq!(half.answer().unwrap().text(), "POST /own HTTP/1.1 anna 5");
        drop(half);
        // Who is gone has no answer to wait for: the question ends with its client.
        let mut gone = Client::connect(&gateway.address());
        gone.send(asking("/own", &[]));
        let mut asked = match verifier.accept_within(std::time::Duration::from_millis(300)) {
            Some(other) => other,
            None => asked,
        };
        asked.head();
        gone.stream.shutdown(std::net::Shutdown::Both).unwrap();
        drop(gone);
        asked.try_send(YES);
        let counted = || gateway.admin("GET", "/status").1;
        eventually("its connection ends", || counted().contains("\"connections\":0"));
        gateway.stop();
    }

    /// Whatever it waits for, it is the client that has ended the exchange.
    fn who_leaves_while_it_is_asked_is_counted_as_gone(driver: &str) {
        let (verifier, service) = (Origin::new(), Origin::new());
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("access.log");
        let (gateway, admin) = with_admin(driver, 2, &format!(r#"
[log.access]
to = "{}"
[auth.own]
method = "forward"
to = "http://{}/"
timeout = "10s"
[route.own]
path = "/own"
auth = "own"
respond = "own"
[route.one]
path = "/one"
auth = "none"
concurrency = {{ limit = 1, queue = 9, wait = "10s" }}
to = "http://{}"
"#, log.display(), verifier.address(), service.address()));
        let lines = || std::fs::read_to_string(&log).unwrap_or_default();
        let mut asks = Client::connect(&gateway.address());
        asks.send(asking("/own", &[]));
        let mut asked = verifier.accept();
        asked.head();
        drop(asks);
        eventually("its line is there", || lines().contains("client_gone"));
        let mut holds = Client::connect(&gateway.address());
        holds.send(asking("/one", &[]));
        let mut held = service.accept();
        held.head();
        let mut waits = Client::connect(&gateway.address());
        waits.send(asking("/one", &[]));
        let in_flight = || numbers(&admin).value("busbar_requests_in_flight", &[]);
        eventually("both have come", || in_flight() == 2.0);
        drop(waits);
        eventually("its line is there", || lines().matches("client_gone").count() == 2);
        held.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(holds.answer().unwrap().status, 200);
        let all = lines();
        assert!(!all.contains("auth_unavailable") && !all.contains("concurrency"), "{all}");
        drop((holds, asked));
        gateway.stop();
    }

    /// Its body is nobody's business.
    fn a_yes_counts_from_its_head_on(driver: &str) {
        let verifier = Origin::new();
        let gateway = start(driver, &verifier);
        let mut client = Client::connect(&gateway.address());
        client.send(asking("/own", &[]));
        let mut asked = verifier.accept();
        asked.head();
        let began = std::time::Instant::now();
        asked.send(YES.replace("Length: 0", "Length: 9"));
        assert_eq!(client.answer().unwrap().text(), "GET /own HTTP/1.1 anna 0");
        assert!(began.elapsed() < std::time::Duration::from_secs(5), "it waits 10 s for the body");
        // Nor is its connection kept for ever.
        assert!(asked.ends().is_empty());
        drop(client);
        gateway.stop();
    }

    /// Beside the request that goes on meanwhile.
    fn a_yes_whose_body_comes_later_keeps_its_connection(driver: &str) {
        let verifier = Origin::new();
        let gateway = start(driver, &verifier);
        let mut client = Client::connect(&gateway.address());
        let mut known: Option<Accepted> = None;
        // The test may be late with a body, and then it begins anew.
        eventually("the connection is used again", || {
            client.send(asking("/own", &[]));
            let fresh = match &known {
                Some(_) => verifier.accept_within(std::time::Duration::from_millis(200)),
                None => Some(verifier.accept()),
            };
            let is_kept = fresh.is_none();
            let mut asked = fresh.or(known.take()).expect("one of them");
            asked.head();
            asked.send(YES.replace("Length: 0", "Length: 9"));
            assert_eq!(client.answer().unwrap().text(), "GET /own HTTP/1.1 anna 0");
            asked.try_send("Hi there!");
            known = Some(asked);
            is_kept
        });
        gateway.stop();
    }

    /// Its connection is closed instead of kept.
    fn a_no_whose_body_never_comes_is_told_soon(driver: &str) {
        let verifier = Origin::new();
        let gateway = start(driver, &verifier);
        let mut client = Client::connect(&gateway.address());
        let begun = std::time::Instant::now();
        client.send(asking("/own", &[]));
        let mut asked = verifier.accept();
        asked.head();
        asked.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\n");
        assert_eq!(client.answer().unwrap().status, 403);
        let took = begun.elapsed();
        assert!(took < std::time::Duration::from_secs(5), "its timeout is 10 s: {took:?}");
        assert!(asked.ends().is_empty());
        gateway.stop();
    }

    /// The bytes it carries are what the service is busy with.
    fn an_open_tunnel_holds_its_place(driver: &str) {
        let gateway = start(driver, &Origin::new());
        let mut tunnel = Client::connect(&gateway.address());
        tunnel.send(asking("/one", &["Connection: upgrade", "Upgrade: websocket"]));
        assert_eq!(tunnel.head().unwrap().status, 101);
        let status = || Client::connect(&gateway.address()).ask(asking("/one", &[])).status;
        assert_eq!(status(), 503);
        tunnel.send("ping");
        assert_eq!(tunnel.exactly(4).unwrap(), b"ping");
        drop(tunnel);
        eventually("its place is free", || status() == 200);
        gateway.stop();
    }
}
