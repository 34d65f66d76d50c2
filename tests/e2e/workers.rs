//! Many workers; the fallback to epoll.

use std::process::Command;

use harness::client::{Client, get};
use harness::gateway::{Config, Gateway, binary};
use harness::origin::Origin;

on_both_drivers! {
    fn four_workers_share_the_connections(driver: &str) {
        let origin = Origin::new();
        let config = format!("[route.app]\nto = \"http://{}\"\n", origin.address());
        origin.serve(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec());
        let gateway = Gateway::with(&Config { text: &config, driver, workers: 4, args: &[] });
        let mut clients: Vec<Client> = (0..64).map(|_| Client::connect(&gateway.address())).collect();
        for _ in 0..5 {
            for client in &mut clients {
                assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").text(), "ok");
            }
        }
        drop(clients);
        let (code, log) = gateway.stop();
        assert_eq!(code, Some(0));
        assert!(log.contains("4 workers") && log.contains("served 320 requests"), "{log}");
    }
}

#[test]
fn where_io_uring_is_refused_it_says_so_once_and_runs_on_epoll() {
    // python's ctypes can install the seccomp filter that a container's profile would.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("busbar.toml");
    let port = harness::free_port();
    std::fs::write(&file, format!(
        "[server]\nworkers = 2\n[listener.web]\naddress = \"127.0.0.1:{port}\"\n[route.a]\nrespond = \"ok\"\n")).unwrap();
    let script = r#"
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
# load nr; if nr == 425 (io_uring_setup) return EPERM; else allow
prog = [(0x20,0,0,0),(0x15,0,1,425),(0x06,0,0,0x00050001),(0x06,0,0,0x7fff0000)]
code = b''.join(struct.pack('HBBI', *p) for p in prog)
buf = ctypes.create_string_buffer(code)
fprog = struct.pack('HxxxxxxP', len(prog), ctypes.addressof(buf))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.create_string_buffer(fprog), 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"#;
    let mut command = Command::new("python3");
    command.args(["-c", script]).arg(binary()).arg("run").arg(&file);
    let gateway = Gateway::spawn(command, port, dir);
    gateway.wait_for("listening on");
    assert_eq!(get(&gateway.address(), "/").text(), "ok");
    let log = gateway.log();
    assert_eq!(log.matches("io_uring is refused").count(), 1, "{log}");
    assert!(log.contains("epoll"), "{log}");
}
