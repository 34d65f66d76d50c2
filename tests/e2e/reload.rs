//! Another configuration while everything goes on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use harness::client::{Client, get};
use harness::gateway::{Config, Gateway, binary};
use harness::origin::{Origin, beside};
use harness::{PATIENCE, eventually};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// An origin that switches to echoing when asked to, and else answers.
fn switching_origin() -> String {
    let origin = Origin::new();
    let address = origin.address();
    std::thread::spawn(move || {
        loop {
            let mut accepted = origin.accept_within(PATIENCE * 60).expect("the test ends first");
            let serve = move || {
                while let Some(head) = accepted.try_head() {
                    if !head.contains("Upgrade:") {
                        if !accepted.try_send(OK) {
                            return;
                        }
                        continue;
                    }
                    accepted.send(
                        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\
                         Upgrade: websocket\r\n\r\n",
                    );
                    accepted.stream.set_read_timeout(None).unwrap();
                    let mut part = [0; 512];
                    while let Ok(n @ 1..) = accepted.stream.read(&mut part) {
                        if accepted.stream.write_all(&part[..n]).is_err() {
                            return;
                        }
                    }
                    return;
                }
            };
            std::thread::Builder::new().stack_size(128 << 10).spawn(serve).unwrap();
        }
    });
    address
}

fn websocket(address: &str) -> TcpStream {
    let mut client = Client::connect(address);
    client.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 101);
    client.stream
}

fn echoes(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).expect("the tunnel lives");
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back).expect("the tunnel lives");
    assert_eq!(back, text.as_bytes());
}

/// Version `n` of a configuration whose listener `web` and route `app` stay.
fn version(n: u32, upstream: &str, extra_port: u16) -> String {
    let mut text = format!(
        "[server]\n[listener.web]\naddress = \"127.0.0.1:PORT\"\n\
         [upstream.app]\nendpoints = [\"{upstream}\"]\nconnect_timeout = \"{}s\"\n\
         [route.app]\nto = \"app\"\ntimeout = \"{}s\"\n",
        1 + n % 5,
        10 + n % 7,
    );
    for i in 0..n % 4 {
        text += &format!("[route.more-{i}]\npath = \"/more/{n}/{i}\"\nrespond = \"{n}\"\n");
    }
    if n.is_multiple_of(3) {
        text += &format!("[listener.extra]\naddress = \"127.0.0.1:{extra_port}\"\n");
    }
    text
}

on_both_drivers! {
    /// A thousand reloads with a thousand WebSockets open and requests all the while.
    fn nothing_is_cut_by_a_thousand_reloads(driver: &str) {
        let (upstream, extra) = (switching_origin(), harness::free_port());
        let gateway = Gateway::with(&Config {
            text: &version(0, &upstream, extra), driver, workers: 2, args: &[] });
        let address = gateway.address();
        let reload = |n: u32| {
            gateway.rewrite(&version(n, &upstream, extra));
            let answer = gateway.reload();
            let generation = format!("\"generation\":{}", n + 1);
            assert!(answer.contains(&generation), "{answer}");
        };
        get(&address, "/");
        // As many connections as later, so that what is kept for the next ones is there.
        let sockets: Vec<TcpStream> = (0..1000).map(|_| websocket(&address)).collect();
        (1..=50).for_each(reload);
        let at_rest = || gateway.admin("GET", "/status").1.contains("\"connections\":0,");
        drop(sockets);
        eventually("the first ones are gone", at_rest);
        eventually("old snapshots are freed", || {
            gateway.admin("GET", "/status").1.contains("\"snapshots\":1,")
        });
        let (memory, descriptors) = (gateway.memory_kib("VmRSS"), gateway.descriptors());
        let mut sockets: Vec<TcpStream> = (0..1000).map(|_| websocket(&address)).collect();
        let over = Arc::new(AtomicBool::new(false));
        let served = Arc::new(AtomicU64::new(0));
        let traffic: Vec<_> = (0..4).map(|_| {
            let (over, served, address) = (over.clone(), served.clone(), address.clone());
            beside(move || {
                let mut client = Client::connect(&address);
                while !over.load(Ordering::Relaxed) {
                    let answer = client.ask("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
                    assert_eq!(answer.status, 200);
                    assert_eq!(answer.field("connection"), None, "nobody is sent away");
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        }).collect();
        for n in 51..=1000 {
            reload(n);
            let i = n as usize % sockets.len();
            echoes(&mut sockets[i], &format!("reload {n}"));
        }
        over.store(true, Ordering::Relaxed);
        for done in traffic {
            done.recv().expect("no request failed and no connection was closed");
        }
        assert!(served.load(Ordering::Relaxed) > 1000);
        for (i, socket) in sockets.iter_mut().enumerate() {
            echoes(socket, &format!("still here {i}"));
        }
        drop(sockets);
        eventually("the others are gone", at_rest);
        // Pools keep what was in use at once. One lost by each reload or client would be hundreds.
        eventually("descriptors are back", || gateway.descriptors() <= descriptors + 16);
        eventually("old snapshots are freed", || {
            gateway.admin("GET", "/status").1.contains("\"snapshots\":1,")
        });
        let grown = gateway.memory_kib("VmRSS").saturating_sub(memory);
        assert!(grown < 6 << 10, "{grown} KiB more than before");
        let (code, log) = gateway.stop();
        assert_eq!(code, Some(0), "{log}");
    }

    fn a_broken_file_changes_nothing_under_load(driver: &str) {
        let upstream = switching_origin();
        let gateway = Gateway::with(&Config {
            text: &version(0, &upstream, harness::free_port()), driver, workers: 2, args: &[] });
        let mut socket = websocket(&gateway.address());
        let mut client = Client::connect(&gateway.address());
        gateway.rewrite("[route.app]\nto = \"nobody\"\ntime_out = 3\n");
        let (status, answer) = gateway.admin("POST", "/reload");
        assert_eq!(status, 422);
        assert!(answer.contains("E101") && answer.contains("E120"), "{answer}");
        gateway.wait_for("generation 1 stays in force");
        echoes(&mut socket, "x");
        assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
        // The command shows the mistakes and fails.
        let out = Command::new(binary()).arg("reload").current_dir(gateway.dir.path())
            .env("RUNTIME_DIRECTORY", gateway.dir.path()).output().unwrap();
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(1), "{err}");
        assert!(err.contains("did you mean `timeout`?"), "{err}");
    }

    fn what_changed_holds_for_the_next_request(driver: &str) {
        let gateway = Gateway::start(driver, "[route.a]\nrespond = \"one\"\n");
        let mut client = Client::connect(&gateway.address());
        let ask = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(client.ask(ask).text(), "one");
        gateway.rewrite("[route.a]\nrespond = \"two\"\n");
        let out = Command::new(binary()).arg("reload")
            .env("RUNTIME_DIRECTORY", gateway.dir.path()).output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(said.starts_with("generation 2 in force (1 route changed) in "), "{said}");
        assert_eq!(client.ask(ask).text(), "two", "on the same connection");
        gateway.rewrite("[route.a]\nrespond = \"three\"\n");
        gateway.signal(libc::SIGHUP);
        gateway.wait_for("generation 3 in force");
        assert_eq!(client.ask(ask).text(), "three");
    }

    /// A reload that changes an upstream's settings keeps its connections.
    fn pools_of_what_stays_are_kept(driver: &str) {
        let origin = Origin::new();
        let text = |s: u32| format!(
            "[upstream.app]\nendpoints = [\"{}\"]\nconnect_timeout = \"{s}s\"\n\
             [route.a]\nto = \"app\"\ntimeout = \"{s}s\"\n", origin.address());
        let gateway = Gateway::start(driver, &text(5));
        let mut client = Client::connect(&gateway.address());
        let ask = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        client.send(ask);
        let mut up = origin.accept();
        up.head();
        up.send(OK);
        client.answer().unwrap();
        gateway.rewrite(&text(6));
        gateway.reload();
        client.send(ask);
        up.head();
        up.send(OK);
        assert_eq!(client.answer().unwrap().status, 200);
    }

    /// What was begun on a listener that goes is finished; what is idle is closed.
    fn a_removed_listener_retires(driver: &str) {
        let origin = Origin::new();
        let port = harness::free_port();
        let extra = format!("[listener.extra]\naddress = \"127.0.0.1:{port}\"\n");
        let rest = format!("[listener.web]\naddress = \"127.0.0.1:PORT\"\n[route.app]\n\
                            to = \"http://{}\"\n", origin.address());
        let gateway = Gateway::start(driver, &format!("{extra}{rest}"));
        let at = format!("127.0.0.1:{port}");
        let mut idle = Client::connect(&at);
        let mut busy = Client::connect(&at);
        busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        gateway.rewrite(&rest);
        gateway.reload();
        idle.ends();
        eventually("the port is closed", || TcpStream::connect(&at).is_err());
        up.send(OK);
        let answer = busy.answer().unwrap();
        assert_eq!((answer.text().as_str(), answer.field("connection")), ("ok", Some("close")));
        busy.ends();
        // And it comes back.
        gateway.rewrite(&format!("{extra}{rest}"));
        gateway.reload();
        drop(Client::connect(&at));
    }

    fn a_port_moves_from_one_name_to_another(driver: &str) {
        let named = |name: &str, text: &str| format!(
            "[listener.{name}]\naddress = \"127.0.0.1:PORT\"\n[route.a]\nlistener = \"{name}\"\n\
             respond = \"{text}\"\n");
        let gateway = Gateway::start(driver, &named("web", "one"));
        assert_eq!(get(&gateway.address(), "/").text(), "one");
        gateway.rewrite(&named("front", "two"));
        gateway.reload();
        assert_eq!(get(&gateway.address(), "/").text(), "two");
    }

    fn a_port_in_use_refuses_the_reload(driver: &str) {
        let port = harness::free_port();
        let taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        let rest = "[listener.web]\naddress = \"127.0.0.1:PORT\"\n[route.a]\nrespond = \"one\"\n";
        let gateway = Gateway::start(driver, rest);
        let more = format!("[listener.extra]\naddress = \"127.0.0.1:{port}\"\n");
        gateway.rewrite(&format!("{more}{}", rest.replace("one", "two")));
        let (status, answer) = gateway.admin("POST", "/reload");
        assert_eq!(status, 422, "{answer}");
        assert!(answer.contains("extra") && answer.contains("in use"), "{answer}");
        assert_eq!(get(&gateway.address(), "/").text(), "one", "nothing of it was adopted");
        drop(taken);
        // A process that another test starts just now holds it until its exec.
        eventually("the port is free", || gateway.admin("POST", "/reload").0 == 200);
        assert_eq!(get(&gateway.address(), "/").text(), "two");
    }

    /// Neither a start nor a reload that fails behind the opening of sockets leaves a file.
    fn what_fails_leaves_no_socket_behind(driver: &str) {
        let port = harness::free_port();
        let taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        let web = "[listener.web]\naddress = \"127.0.0.1:PORT\"\n";
        let rest = format!("[admin]\naddress = \"127.0.0.1:{port}\"\n[route.a]\nrespond = \"one\"\n");
        let gateway = Gateway::start(driver, &format!("{web}[route.a]\nrespond = \"one\"\n"));
        let at = gateway.dir.path().join("app.sock");
        let unix = format!("[listener.more]\naddress = \"unix:{}\"\n", at.display());
        gateway.rewrite(&format!("{web}{unix}{rest}"));
        let (status, answer) = gateway.admin("POST", "/reload");
        assert_eq!((status, at.exists()), (422, false), "{answer}");
        let other = gateway.dir.path().join("other.toml");
        std::fs::write(&other, format!("{unix}{rest}")).unwrap();
        let out = Command::new(binary()).arg("run").arg(&other).output().unwrap();
        let err = String::from_utf8_lossy(&out.stderr);
        assert_eq!((out.status.code(), at.exists()), (Some(1), false), "{err}");
        assert!(err.contains("in use"), "{err}");
        drop(taken);
        eventually("the port is free", || gateway.admin("POST", "/reload").0 == 200);
        assert!(at.exists());
    }

    /// What a restart takes is compared with what the process runs on, not with the last reload.
    fn what_takes_a_restart_is_said_as_long_as_it_holds(driver: &str) {
        let with = |memory: &str| format!("[server]\nmemory_max = \"{memory}\"\n[route.a]\nrespond = \"a\"\n");
        let gateway = Gateway::start(driver, &with("64MiB"));
        for (memory, is_told) in [("128MiB", true), ("128MiB", true), ("64MiB", false)] {
            gateway.rewrite(&with(memory));
            let answer = gateway.reload();
            assert_eq!(answer.contains("server.memory_max"), is_told, "{memory}: {answer}");
        }
    }

    /// A gateway that drains leaves the path to the one that takes its place.
    fn a_successor_keeps_its_socket_file(driver: &str) {
        let origin = Origin::new();
        let at = tempfile::tempdir().unwrap();
        let path = at.path().join("app.sock");
        let text = format!(
            "[listener.web]\naddress = \"127.0.0.1:PORT\"\n[listener.unix]\naddress = \"unix:{}\"\n\
             [route.app]\nto = \"http://{}\"\n", path.display(), origin.address());
        let first = Gateway::start(driver, &text);
        let mut client = Client::connect(&first.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        first.signal(libc::SIGTERM);
        eventually("its path is free", || !path.exists());
        let second = Gateway::start(driver, &text);
        up.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(client.answer().unwrap().text(), "ok");
        assert_eq!(first.wait().0, Some(0));
        assert!(path.exists(), "it belongs to the second one");
        assert_eq!(second.stop().0, Some(0));
        assert!(!path.exists());
    }

    fn files_are_watched(driver: &str) {
        let gateway = Gateway::with(&Config {
            text: "[route.a]\nrespond = \"one\"\n", driver, workers: 1, args: &["--watch"] });
        gateway.rewrite("[route.a]\nrespond = \"two\"\n");
        gateway.wait_for("generation 2 in force");
        assert_eq!(get(&gateway.address(), "/").text(), "two");
        gateway.rewrite("[route.a]\nrespond = 2\n");
        gateway.wait_for("generation 2 stays in force");
        gateway.rewrite("[route.a]\nrespond = \"three\"\n");
        gateway.wait_for("generation 3 in force");
        assert_eq!(get(&gateway.address(), "/").text(), "three");
    }

    /// Readiness says no before the listeners close.
    fn a_drain_begins_with_readiness(driver: &str) {
        let gateway = Gateway::start(driver,
            "[server]\ndrain_delay = \"2s\"\n[route.a]\nrespond = \"x\"\n");
        assert_eq!(gateway.admin("GET", "/readyz").0, 200);
        gateway.signal(libc::SIGTERM);
        gateway.wait_for("draining");
        assert_eq!(gateway.admin("GET", "/readyz").0, 503);
        assert_eq!(gateway.admin("GET", "/healthz").0, 200);
        assert_eq!(get(&gateway.address(), "/").status, 200, "still served");
        assert_eq!(gateway.wait().0, Some(0));
    }
}

#[test]
fn two_gateways_live_on_one_machine() {
    let text = "[route.a]\nrespond = \"x\"\n";
    let first = Gateway::start("uring", text);
    // The second finds the first one's admin socket taken: a warning, and it runs.
    let port = harness::free_port();
    let file = first.dir.path().join("second.toml");
    let listener = format!("[listener.web]\naddress = \"127.0.0.1:{port}\"\n");
    std::fs::write(&file, format!("{listener}{text}")).unwrap();
    let mut command = Command::new(binary());
    command.arg("run").arg(&file).env("RUNTIME_DIRECTORY", first.dir.path());
    let mut second = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    eventually("the second listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    assert_eq!(get(&format!("127.0.0.1:{port}"), "/").status, 200);
    first.reload();
    // SAFETY: a signal to our own child, which has not been waited for.
    unsafe { libc::kill(second.id() as i32, libc::SIGTERM) };
    let mut said = String::new();
    second.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(second.wait().unwrap().code(), Some(0));
    assert!(said.contains("warning: the admin socket"), "{said}");
    first.reload();
}

#[test]
fn the_socket_that_the_file_names_is_asked() {
    let own = tempfile::tempdir().unwrap();
    let socket = own.path().join("own.sock");
    let text = format!(
        "[admin]\nsocket = \"{}\"\naddress = \"none\"\n[route.a]\nrespond = \"x\"\n",
        socket.display()
    );
    let gateway = Gateway::start("uring", &text);
    let reload = |args: &[&str]| {
        let mut command = Command::new(binary());
        let elsewhere = tempfile::tempdir().unwrap();
        command.arg("reload").args(args).env("RUNTIME_DIRECTORY", elsewhere.path());
        command.env_remove("BUSBAR_CONFIG").current_dir(gateway.dir.path());
        command.output().unwrap().status.code()
    };
    assert_eq!(reload(&[]), Some(0), "of ./busbar.toml");
    assert_eq!(reload(&[gateway.file().to_str().unwrap()]), Some(0));
    // A file with mistakes still tells where its gateway is.
    std::fs::write(gateway.file(), format!("{text}time_out = 1\n")).unwrap();
    assert_eq!(reload(&[]), Some(1));
    assert_eq!(reload(&["--socket", "/nonexistent"]), Some(3));
}

#[test]
fn no_gateway_is_exit_code_3() {
    let dir = tempfile::tempdir().unwrap();
    let out = Command::new(binary()).arg("reload").env("RUNTIME_DIRECTORY", dir.path()).output();
    let out = out.unwrap();
    assert_eq!(out.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&out.stderr).contains("no gateway is reached"));
}

#[test]
fn systemd_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("notify");
    let heard = std::os::unix::net::UnixDatagram::bind(&at).unwrap();
    heard.set_read_timeout(Some(PATIENCE)).unwrap();
    let next = || {
        let mut buf = [0; 512];
        let n = heard.recv(&mut buf).expect("a state is told");
        String::from_utf8_lossy(&buf[..n]).into_owned()
    };
    let port = harness::free_port();
    let file = dir.path().join("busbar.toml");
    let text =
        format!("[listener.web]\naddress = \"127.0.0.1:{port}\"\n[route.a]\nrespond = \"x\"\n");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(binary());
    command.arg("run").arg(&file).env("NOTIFY_SOCKET", &at);
    let gateway = Gateway::spawn(command, port, dir);
    assert!(next().contains("READY=1"));
    gateway.signal(libc::SIGHUP);
    let reloading = next();
    assert!(reloading.contains("RELOADING=1") && reloading.contains("MONOTONIC_USEC="));
    assert!(next().contains("READY=1"));
    gateway.signal(libc::SIGTERM);
    assert!(next().contains("STOPPING=1"));
    assert_eq!(gateway.wait().0, Some(0));
}

/// `busbar run <(generate)`: at the second reading a pipe is empty, or waits for a writer.
#[test]
fn a_pipe_is_read_once() {
    let dir = tempfile::tempdir().unwrap();
    let port = harness::free_port();
    let pipe = dir.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let text =
        format!("[listener.web]\naddress = \"127.0.0.1:{port}\"\n[route.a]\nrespond = \"x\"\n");
    let written = pipe.clone();
    let writer = std::thread::spawn(move || std::fs::write(written, text));
    let mut command = Command::new(binary());
    command.arg("run").arg(&pipe);
    let gateway = Gateway::spawn(command, port, dir);
    writer.join().unwrap().unwrap();
    gateway.wait_for("listening on");
    gateway.signal(libc::SIGHUP);
    gateway.wait_for("pipe is not a file: it can be read only once");
    assert_eq!(get(&gateway.address(), "/").text(), "x");
    gateway.signal(libc::SIGTERM);
    assert_eq!(gateway.wait().0, Some(0));
}
