//! Start, drain, end.

use std::process::Command;

use harness::client::{Client, get};
use harness::gateway::{Config, Gateway, binary};
use harness::origin::Origin;

/// Runs the binary to its end: exit code, standard output, standard error.
fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let out = Command::new(binary()).args(args).env_remove("BUSBAR_CONFIG").output().unwrap();
    let text = |b: Vec<u8>| String::from_utf8_lossy(&b).into_owned();
    (out.status.code(), text(out.stdout), text(out.stderr))
}

on_both_drivers! {
    fn what_is_in_flight_is_finished(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(
            driver, &format!("[route.app]\nto = \"http://{}\"\n", origin.address()));
        let mut idle = Client::connect(&gateway.address());
        idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        up.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        idle.answer().unwrap();
        let mut busy = Client::connect(&gateway.address());
        busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        up.head();
        gateway.signal(libc::SIGTERM);
        idle.ends();
        gateway.wait_for("draining");
        harness::eventually("the port is closed", || {
            std::net::TcpStream::connect(gateway.address()).is_err()
        });
        up.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
        let answer = busy.answer().unwrap();
        assert_eq!((answer.text().as_str(), answer.field("connection")), ("done", Some("close")));
        busy.ends();
        let (code, log) = gateway.wait();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("served 2 requests"), "{log}");
    }

    fn the_drains_deadline_cuts_and_says_so(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(driver, &format!(
            "[server]\ndrain_timeout = \"300ms\"\ntunnel_drain = \"300ms\"\n\
             [route.app]\nto = \"http://{}\"\n", origin.address()));
        let mut client = Client::connect(&gateway.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        gateway.signal(libc::SIGINT);
        client.ends();
        let (code, log) = gateway.wait();
        assert_eq!(code, Some(4), "{log}");
        assert!(log.contains("1 cut"), "{log}");
    }

    fn a_second_signal_ends_it_at_once(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(
            driver, &format!("[route.app]\nto = \"http://{}\"\n", origin.address()));
        let mut client = Client::connect(&gateway.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        gateway.signal(libc::SIGTERM);
        gateway.wait_for("draining");
        gateway.signal(libc::SIGTERM);
        let (code, log) = gateway.wait();
        assert_eq!(code, Some(4), "{log}");
        assert!(log.contains("1 connections cut"), "{log}");
    }

    fn an_idle_worker_sleeps(driver: &str) {
        let gateway = Gateway::with(&Config {
            text: "[route.all]\nrespond = \"ok\"\n", driver, workers: 1, args: &[] });
        let mut client = Client::connect(&gateway.address());
        client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        harness::eventually("it has come to rest", {
            let begin = std::time::Instant::now();
            move || begin.elapsed().as_millis() > 500
        });
        // A kernel entry of a sleeping thread ends in a voluntary switch.
        let switches = || {
            let mut count = 0;
            for task in std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).unwrap() {
                let path = task.unwrap().path().join("status");
                let text = std::fs::read_to_string(path).unwrap();
                let line = text.lines().find(|l| l.starts_with("voluntary_ctxt")).unwrap();
                count += line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap();
            }
            count
        };
        let before = switches();
        let begin = std::time::Instant::now();
        harness::eventually("two seconds pass", || begin.elapsed().as_secs() >= 2);
        let entries = switches() - before;
        assert!(entries <= 20, "{entries} in two seconds");
    }
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, err) = run(&["run", "--to", "http://127.0.0.1:9", "--listen", &address]);
    assert_eq!(code, Some(1));
    assert!(err.contains("in use") && err.contains(&address), "{err}");
}

#[test]
fn our_own_port_is_in_use_for_a_second_gateway() {
    let first = Gateway::start("uring", "[route.all]\nrespond = \"ok\"\n");
    let address = first.address();
    let (code, _, err) = run(&["run", "--to", "http://127.0.0.1:9", "--listen", &address]);
    assert_eq!(code, Some(1), "SO_REUSEPORT must not let it in: {err}");
    assert_eq!(get(&address, "/").status, 200);
}

#[test]
fn a_bad_file_is_refused_with_every_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.toml");
    std::fs::write(&file, "[route.a]\nto = \"nobody\"\ntime_out = \"1s\"\n").unwrap();
    for command in ["run", "check"] {
        let (code, _, err) = run(&[command, file.to_str().unwrap()]);
        assert_eq!(code, Some(1));
        assert!(
            err.contains("E101") && err.contains("E120") && err.contains("bad.toml:3:1"),
            "{err}"
        );
        assert!(err.contains("2 errors"), "{err}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let (code, _, err) = run(&["run", "/nonexistent/busbar.toml"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("/nonexistent/busbar.toml"), "{err}");
}

#[test]
fn too_few_descriptors_are_said() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("busbar.toml");
    let port = harness::free_port();
    std::fs::write(
        &file,
        format!("[listener.web]\naddress = \"127.0.0.1:{port}\"\n[route.a]\nrespond = \"x\"\n"),
    )
    .unwrap();
    let out = Command::new("sh")
        .args(["-c", "ulimit -n 70; exec \"$0\" run \"$1\""])
        .arg(binary())
        .arg(&file)
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{err}");
    assert!(err.contains("file descriptors"), "{err}");
}
