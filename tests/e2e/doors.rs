//! The admin interface over HTTP: who may ask what, and that nobody holds it up.

use std::net::TcpStream;

use harness::client::{Client, ask, get};
use harness::eventually;
use harness::freeze::freeze;

use crate::numbers::{numbers, with_admin};

const TEXT: &str = "[route.a]\npath = \"/a\"\nrespond = \"a\"\n";
const TOKEN: &str = "token = \"file:token\"\n";
/// Connections that a door serves at a time.
const CONNECTIONS_MAX: usize = 32;

/// Browsers reach loopback, and names can be pointed at it (DNS rebinding).
#[test]
fn hosts_and_origins_of_others_are_refused() {
    let (gateway, admin) = with_admin("epoll", 1, TEXT);
    let port = admin.rsplit_once(':').unwrap().1;
    let rows = [
        (format!("Host: {admin}"), 200),
        (format!("Host: localhost:{port}"), 200),
        ("Host: 127.0.0.1".to_owned(), 200),
        (format!("Host: [::1]:{port}"), 200),
        (format!("Host: busbar.example:{port}"), 403),
        (format!("Host: 127.0.0.1.busbar.example:{port}"), 403),
        (format!("Host: localhost.busbar.example:{port}"), 403),
        ("X-Host: none".to_owned(), 403),
        (format!("Host: {admin}\r\nHost: {admin}"), 403),
        (format!("Host: {admin}\r\nOrigin: http://{admin}"), 200),
        (format!("Host: {admin}\r\nOrigin: http://localhost:{port}"), 403),
        (format!("Host: {admin}\r\nOrigin: http://busbar.example"), 403),
        (format!("Host: {admin}\r\nOrigin: null"), 403),
    ];
    for path in ["/metrics", "/status", "/healthz", "/readyz"] {
        for (fields, expect) in &rows {
            let answer = ask(&admin, format!("GET {path} HTTP/1.1\r\n{fields}\r\n\r\n"));
            assert_eq!(answer.status, *expect, "{path} {fields}");
            // Nothing is told to who is refused, and no other site is ever let in.
            assert!(*expect == 200 || answer.body.len() < 100, "{}", answer.text());
            assert_eq!(answer.field("access-control-allow-origin"), None);
        }
    }
    gateway.stop();
}

#[test]
fn methods_are_those_of_the_list_and_changes_need_the_token() {
    let text = format!("{TOKEN}{TEXT}");
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "s3cret\n").unwrap();
    let text = text.replace("file:token", &format!("file:{}", token.display()));
    let (gateway, admin) = with_admin("epoll", 1, &text);
    let request = |line: &str, more: &str| {
        format!("{line} HTTP/1.1\r\nHost: {admin}\r\nContent-Length: 0\r\n{more}\r\n")
    };
    let right = "Authorization: Bearer s3cret\r\n";
    let rows = [
        ("GET /metrics", "", 200, None),
        ("GET /nothing", "", 404, None),
        ("GET /reload", "", 405, Some("POST")),
        ("POST /metrics", "", 401, None),
        ("POST /metrics", "Authorization: Bearer wrong\r\n", 401, None),
        ("POST /metrics", right, 405, Some("GET")),
        ("DELETE /readyz", right, 405, Some("GET")),
        ("OPTIONS /reload", "", 401, None),
        ("BREW /healthz", "", 401, None),
        ("POST /reload", "", 401, None),
        ("POST /reload", right, 200, None),
        (
            "POST /reload",
            "Origin: http://busbar.example\r\nAuthorization: Bearer s3cret\r\n",
            403,
            None,
        ),
    ];
    for (line, more, expect, allow) in rows {
        let answer = ask(&admin, request(line, more));
        assert_eq!(answer.status, expect, "{line} {more}: {}", answer.text());
        assert_eq!(answer.field("allow"), allow, "{line}");
    }
    // HEAD is as GET, without the body.
    for path in ["/metrics", "/healthz", "/readyz"] {
        let mut client = Client::connect(&admin);
        let head = client.send(request(&format!("HEAD {path}"), "")).head().unwrap();
        let length = head.field("content-length").and_then(|l| l.parse().ok());
        assert_eq!((head.status, length > Some(0)), (200, true), "{}", head.head);
        assert_eq!(client.ask(request("GET /healthz", "")).text(), "{\"healthy\":true}\n");
    }
    gateway.stop();
}

#[test]
fn what_is_too_long_is_refused() {
    let (gateway, admin) = with_admin("epoll", 1, TEXT);
    let before = gateway.memory_kib("RssAnon");
    // A body is not even read of who may not send one; over the socket it has its bound.
    let mut client = Client::connect(&admin);
    client.send(format!(
        "POST /explain HTTP/1.1\r\nHost: {admin}\r\nContent-Length: 1000000000\r\n\r\n"
    ));
    assert_eq!(client.answer().unwrap().status, 403);
    let mut socket =
        std::os::unix::net::UnixStream::connect(gateway.dir.path().join("busbar.sock")).unwrap();
    let body = "x".repeat((64 << 10) + 1);
    let head =
        format!("POST /explain HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    std::io::Write::write_all(&mut socket, format!("{head}{body}").as_bytes()).unwrap();
    let mut answer = [0; 12];
    std::io::Read::read_exact(&mut socket, &mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    // A head that never ends.
    let mut client = Client::connect(&admin);
    client.send(format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\n"));
    let line = format!("X-Long: {}\r\n", "x".repeat(8000));
    let sent = (0..1000).take_while(|_| client.try_send(&line)).count();
    assert!(sent < 1000, "it is hung up on");
    let more = gateway.memory_kib("RssAnon").saturating_sub(before);
    assert!(more < 8 << 10, "{more} KiB more");
    assert_eq!(ask(&admin, format!("GET /healthz HTTP/1.1\r\nHost: {admin}\r\n\r\n")).status, 200);
    gateway.stop();
}

/// Who stands in one door holds up neither the other nor traffic, and takes a bounded number of
/// descriptors.
#[test]
fn a_crowd_in_the_door_stops_there() {
    let (gateway, admin) = with_admin("epoll", 1, TEXT);
    let before = gateway.descriptors();
    let ask_all = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\n\r\n");
    let silent = |n: usize| {
        let mut client = Client::connect(&admin);
        match n % 3 {
            0 => {}
            1 => _ = client.send("GET /metrics HTTP/1.1\r\nHo"),
            // Asks again and again, and reads nothing.
            _ => _ = client.send(ask_all.repeat(20)),
        }
        client
    };
    let crowd: Vec<Client> = (0..2 * CONNECTIONS_MAX).map(silent).collect();
    eventually("as many as may have come in", || gateway.descriptors() >= before + CONNECTIONS_MAX);
    assert_eq!(gateway.admin("GET", "/readyz").0, 200);
    assert_eq!(gateway.admin("GET", "/metrics").0, 200);
    assert_eq!(get(&gateway.address(), "/a").status, 200);
    assert!(gateway.descriptors() <= before + CONNECTIONS_MAX + 4);
    drop(crowd);
    assert_eq!(ask(&admin, ask_all).status, 200);
    eventually("their descriptors have come back", || gateway.descriptors() <= before + 4);
    gateway.stop();
}

on_both_drivers! {
    /// Readiness waits for the slowest worker; a scrape does not, and tells of it.
    fn a_worker_that_stands_still_is_told(driver: &str) {
        let (gateway, admin) = with_admin(driver, 2, TEXT);
        let status = |path: &str| gateway.admin("GET", path).0;
        assert_eq!((status("/readyz"), status("/healthz")), (200, 200));
        let frozen = freeze(gateway.pid(), "worker-1");
        let silence = |worker| {
            numbers(&admin).value("busbar_worker_silence_seconds", &[("worker", worker)])
        };
        let (first, second) = (silence("1"), silence("1"));
        assert!(0.2 < first && first < second, "{first} {second}");
        assert!(silence("0") < silence("1"));
        // A reload that this worker does not adopt.
        let text = format!("[admin]\naddress = \"{admin}\"\n{TEXT}[route.b]\nrespond = \"b\"\n");
        gateway.rewrite(&text);
        gateway.signal(libc::SIGHUP);
        eventually("it is not ready", || status("/readyz") == 503);
        assert_eq!(status("/healthz"), 200);
        let hangs = || numbers(&admin).value("busbar_worker_hangs_total", &[]);
        eventually("the hang is counted", || hangs() == 1.0);
        assert_eq!(status("/readyz"), 503);
        drop(frozen);
        eventually("all have adopted it", || status("/readyz") == 200);
        let adopted = numbers(&admin);
        assert_eq!(adopted.value("busbar_generation", &[]), 2.0);
        assert!(adopted.value("busbar_worker_silence_seconds", &[("worker", "1")]) < first);
        gateway.stop();
    }
}

/// Both doors are closed with the gateway, and readiness says no before that.
#[test]
fn readiness_ends_with_the_drain_over_http_too() {
    let (gateway, admin) =
        with_admin("epoll", 1, &format!("{TEXT}[server]\ndrain_delay = \"1s\"\n"));
    let readyz = format!("GET /readyz HTTP/1.1\r\nHost: {admin}\r\n\r\n");
    assert_eq!(ask(&admin, &readyz).text(), "{\"ready\":true}\n");
    gateway.signal(libc::SIGTERM);
    gateway.wait_for("draining");
    let answer = ask(&admin, &readyz);
    assert_eq!((answer.status, answer.text().as_str()), (503, "{\"ready\":false}\n"));
    assert_eq!(gateway.wait().0, Some(0));
    assert!(TcpStream::connect(&admin).is_err());
}
