//! The command line.

use std::process::Command;

use harness::client::get;
use harness::gateway::{Gateway, binary};
use harness::nginx::Nginx;

fn run(args: &[&str], dir: &std::path::Path) -> (Option<i32>, String, String) {
    let out = Command::new(binary())
        .args(args)
        .current_dir(dir)
        .env_remove("BUSBAR_CONFIG")
        .output()
        .unwrap();
    let text = |b: Vec<u8>| String::from_utf8_lossy(&b).into_owned();
    (out.status.code(), text(out.stdout), text(out.stderr))
}

#[test]
fn without_a_file_a_welcome_and_an_echo_answer() {
    let dir = tempfile::tempdir().unwrap();
    let port = harness::free_port();
    let mut command = Command::new(binary());
    command.args(["run", "--set", &format!("listener.web.address=\"127.0.0.1:{port}\"")]);
    let gateway = Gateway::spawn(command, port, dir);
    gateway.wait_for("listening on");
    let welcome = get(&gateway.address(), "/");
    assert_eq!(welcome.status, 200);
    assert!(welcome.field("content-type").unwrap().starts_with("text/html"));
    assert!(welcome.text().contains("Busbar"));
    let echo = get(&gateway.address(), "/echo/x?y=1");
    assert!(echo.text().starts_with("GET /echo/x?y=1 HTTP/1.1"), "{}", echo.text());
    assert!(gateway.log().contains("welcome"), "it says what it runs");
}

#[test]
fn one_liners_proxy_to_a_real_nginx_and_can_be_printed() {
    let nginx = Nginx::start("");
    std::fs::write(nginx.dir.path().join("x"), "from nginx").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let port = harness::free_port();
    let listen = format!("127.0.0.1:{port}");
    let args = ["run", "--to", &nginx.url(), "--listen", &listen];
    let mut command = Command::new(binary());
    command.args(args);
    let gateway = Gateway::spawn(command, port, dir);
    gateway.wait_for("listening on");
    assert_eq!(get(&gateway.address(), "/x").text(), "from nginx");
    drop(gateway);
    let dir = tempfile::tempdir().unwrap();
    let (code, printed, err) = run(&[&args[..], &["--print-config"]].concat(), dir.path());
    assert_eq!(code, Some(0), "{err}");
    std::fs::write(dir.path().join("printed.toml"), printed).unwrap();
    let (code, out, err) = run(&["check", "printed.toml", "--deny-warnings"], dir.path());
    assert_eq!(code, Some(0), "{out}{err}");
}

/// On the standard output, which stays free of it with `--quiet` and is JSON with `--json`.
#[test]
fn one_liners_show_each_request() {
    for (more, line) in [
        (None, Some("GET /x 503 ")),
        (Some("--json"), Some("\"path\":\"/x\"")),
        (Some("--quiet"), None),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (port, at) = (harness::free_port(), dir.path().join("out"));
        let mut command = Command::new(binary());
        command.args(["run", "--to", "127.0.0.1:1", "--listen", &format!("127.0.0.1:{port}")]);
        command.args(more);
        let out = std::fs::File::create(&at).unwrap();
        let gateway = Gateway::spawn_to(command, port, dir, out.into());
        gateway.wait_for(&format!("127.0.0.1:{port}"));
        assert_eq!(get(&gateway.address(), "/x?secret=1").status, 503);
        let shown = || std::fs::read_to_string(&at).unwrap();
        if let Some(line) = line {
            harness::eventually("the line is there", || shown().ends_with('\n'));
            assert!(shown().contains(line) && shown().contains("connect_refused"), "{}", shown());
        }
        assert!(!shown().contains("secret") && !shown().contains('\x1b'), "{}", shown());
        gateway.signal(libc::SIGTERM);
        gateway.wait_for("served 1 request");
        assert_eq!(shown().lines().count(), usize::from(line.is_some()));
    }
}

#[test]
fn files_are_looked_for_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("busbar.toml"), "[route.a]\nrespond = \"x\"\n").unwrap();
    let (code, out, _) = run(&["check"], dir.path());
    assert_eq!((code, out.contains("busbar.toml is good")), (Some(0), true), "{out}");
    let (code, out, _) = run(
        &["check", "--set", "route.b.path=\"/b\"", "--set", "route.b.respond=\"y\""],
        dir.path(),
    );
    assert_eq!((code, out.contains("2 routes")), (Some(0), true), "{out}");
    let (code, _, err) = run(&["check", "--set", "route.b.path=5"], dir.path());
    assert_eq!(code, Some(1));
    assert!(err.contains("--set"), "{err}");
}

#[test]
fn version_help_and_bad_flags() {
    let dir = tempfile::tempdir().unwrap();
    let (code, out, _) = run(&["--version"], dir.path());
    assert_eq!((code, out.starts_with("busbar ")), (Some(0), true));
    let (code, out, _) = run(&["--help"], dir.path());
    assert_eq!(code, Some(0));
    assert!(out.contains("run") && out.contains("check"));
    assert_eq!(run(&["run", "--no-such-flag"], dir.path()).0, Some(2));
    assert_eq!(run(&["run", "--host", "a"], dir.path()).0, Some(2));
}

#[test]
fn what_stands_in_the_place_of_the_file_is_not_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("busbar.toml");
    std::fs::create_dir(&at).unwrap();
    let (code, out, err) = run(&["check"], dir.path());
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("busbar.toml"), "{err}");
    std::fs::remove_dir(&at).unwrap();
    std::os::unix::fs::symlink("nowhere", &at).unwrap();
    assert_eq!(run(&["check"], dir.path()).0, Some(1));
    std::fs::remove_file(&at).unwrap();
    assert_eq!(run(&["check"], dir.path()).0, Some(0), "the welcome");
}

#[test]
fn a_printed_configuration_checks_clean_or_is_not_printed() {
    let dir = tempfile::tempdir().unwrap();
    for to in ["http://h:1/path", "3000", "ftp://h:1"] {
        let (code, out, err) = run(&["run", "--to", to, "--print-config"], dir.path());
        assert_eq!((code, out.as_str()), (Some(1), ""), "{to}");
        assert!(err.contains("E124"), "{err}");
    }
    let args = ["run", "--to", "h:1", "--set", "server.workers=1", "--print-config"];
    assert_eq!(run(&args, dir.path()).0, Some(2), "it would leave the set out");
}

#[test]
fn a_reader_that_leaves_is_no_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let script = "\"$0\" check >/dev/full; echo $?; \"$0\" run --to 3000 2>/dev/full; echo $?";
    let mut command = Command::new("sh");
    let out = command.args(["-c", script]).arg(binary()).current_dir(dir.path());
    let out = out.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout), "0\n1\n");
}

#[test]
fn a_start_says_what_runs_in_at_most_six_lines() {
    let dir = tempfile::tempdir().unwrap();
    let port = harness::free_port();
    let mut text = String::from("[route.a]\nrespond = \"x\"\n");
    for i in 0..20 {
        text += &format!("[listener.l{i}]\naddress = \"unix:{}/{i}\"\n", dir.path().display());
    }
    let file = dir.path().join("many.toml");
    std::fs::write(&file, &text).unwrap();
    for args in [vec!["run", file.to_str().unwrap()], vec!["run", "--to", "127.0.0.1:9"]] {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(binary());
        command.args(&args);
        if args.len() > 2 {
            command.args(["--listen", &format!("127.0.0.1:{port}")]);
        }
        let gateway = Gateway::spawn(command, port, dir);
        gateway.wait_for("busbar.sock");
        let log = gateway.log();
        let lines = log.lines().filter(|l| !l.contains("no admin on http")).count();
        assert!(lines <= 6, "{log}");
        for part in ["busbar 0.", "generation 1", "workers on", "listening on", "busbar.sock"] {
            assert!(log.contains(part), "{part}: {log}");
        }
    }
}
