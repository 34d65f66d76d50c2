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
    assert_eq!(run(&["run", "--host", "a"], dir.path()).0, Some(1));
}
