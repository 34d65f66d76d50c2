//! Few connections are spread evenly over the workers, and lose nothing by their way.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use harness::client::Client;
use harness::eventually;
use harness::origin::{Accepted, Origin};

use crate::numbers::{numbers, with_admin};

const WORKERS: u32 = 4;
const CLIENTS: usize = 16;
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const ROUTES: &str = "[route.own]\npath = \"/own\"\nrespond = \"own\"\n";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// Connections by worker, once as many are open. Whoever has told its numbers has heard what
/// control said before.
fn by_worker(admin: &str, open: usize) -> Vec<u64> {
    let mut all = Vec::new();
    eventually("so many connections are open", || {
        let by = numbers(admin).by("busbar_worker_connections", &["worker"]);
        all = by.into_values().collect();
        all.iter().sum::<u64>() == open as u64
    });
    assert_eq!(all.len(), WORKERS as usize);
    all
}

/// Each worker has a fourth of sixteen: a hash does that once in 68 times.
fn are_even(by_worker: &[u64]) {
    assert_eq!(by_worker, [CLIENTS as u64 / u64::from(WORKERS); WORKERS as usize]);
}

/// Clients that connect one after the other, when the one before has its answer.
fn connected(address: &str, count: usize) -> Vec<Client> {
    let connect = |_| {
        let mut client = Client::connect(address);
        is_answered(&mut client);
        client
    };
    (0..count).map(connect).collect()
}

fn is_answered(client: &mut Client) {
    let answer = client.ask(get("/own"));
    assert_eq!((answer.text().as_str(), answer.field("connection")), ("own", None));
}

/// Sends a request of each client to the service, which has them all then.
fn ask_the_service(clients: &mut [Client], origin: &Origin) -> Vec<Accepted> {
    clients.iter_mut().for_each(|client| _ = client.send(get("/app")));
    let mut asked: Vec<Accepted> = clients.iter().map(|_| origin.accept()).collect();
    asked.iter_mut().for_each(|up| _ = up.head());
    asked
}

/// The service answers; each client gets it, and that it is the last.
fn all_end_answered(clients: &mut [Client], asked: &mut [Accepted]) {
    asked.iter_mut().for_each(|up| _ = up.send(OK));
    for client in clients {
        let answer = client.answer().expect("it was asked before");
        assert_eq!((answer.text().as_str(), answer.field("connection")), ("ok", Some("close")));
        client.ends();
    }
}

on_both_drivers! {
    fn few_connections_are_even_and_outlive_a_reload_and_a_drain(driver: &str) {
        let origin = Origin::new();
        let text = format!("{ROUTES}[route.app]\nto = \"http://{}\"\n", origin.address());
        let (gateway, admin) = with_admin(driver, WORKERS, &text);
        by_worker(&admin, 0);
        let mut clients = connected(&gateway.address(), CLIENTS);
        are_even(&by_worker(&admin, CLIENTS));
        let more = "[route.more]\npath = \"/more\"\nrespond = \"more\"\n";
        gateway.rewrite(&format!("[admin]\naddress = \"{admin}\"\n{text}{more}"));
        gateway.reload();
        clients.iter_mut().for_each(is_answered);
        // What leaves makes room where it was.
        clients.truncate(CLIENTS / 2);
        by_worker(&admin, CLIENTS / 2);
        let address = gateway.address();
        clients.extend(connected(&address, CLIENTS / 2));
        are_even(&by_worker(&admin, CLIENTS));
        let mut asked = ask_the_service(&mut clients, &origin);
        gateway.signal(libc::SIGTERM);
        gateway.wait_for("draining");
        eventually("the port is closed", || std::net::TcpStream::connect(&address).is_err());
        all_end_answered(&mut clients, &mut asked);
        let (code, log) = gateway.wait();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("served 56 requests"), "{log}");
    }

    fn a_listener_that_goes_ends_its_connections_on_all_workers(driver: &str) {
        let origin = Origin::new();
        let text = format!(
            "[listener.web]\naddress = \"127.0.0.1:PORT\"\n{ROUTES}[route.app]\n\
             to = \"http://{}\"\n",
            origin.address());
        let extra = harness::free_port();
        let both = format!("{text}[listener.extra]\naddress = \"127.0.0.1:{extra}\"\n");
        let (gateway, admin) = with_admin(driver, WORKERS, &both);
        by_worker(&admin, 0);
        let mut leaving = connected(&format!("127.0.0.1:{extra}"), CLIENTS);
        are_even(&by_worker(&admin, CLIENTS));
        let mut asked = ask_the_service(&mut leaving, &origin);
        gateway.rewrite(&format!("[admin]\naddress = \"{admin}\"\n{text}"));
        gateway.reload();
        by_worker(&admin, CLIENTS);
        let mut staying = connected(&gateway.address(), CLIENTS);
        all_end_answered(&mut leaving, &mut asked);
        are_even(&by_worker(&admin, CLIENTS));
        staying.iter_mut().for_each(is_answered);
    }

    fn connections_of_a_unix_listener_are_even(driver: &str) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.sock");
        let text = format!("[listener.web]\naddress = \"unix:{}\"\n{ROUTES}", path.display());
        let (gateway, admin) = with_admin(driver, WORKERS, &text);
        by_worker(&admin, 0);
        let connect = |_| {
            let mut client = UnixStream::connect(&path).unwrap();
            client.write_all(get("/own").as_bytes()).unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"own") {
                let mut part = [0; 1024];
                let n = client.read(&mut part).unwrap();
                assert!(n > 0, "it ends after {answer:?}");
                answer.extend_from_slice(&part[..n]);
            }
            client
        };
        let clients: Vec<UnixStream> = (0..CLIENTS).map(connect).collect();
        are_even(&by_worker(&admin, CLIENTS));
        drop(clients);
        by_worker(&admin, 0);
        assert_eq!(gateway.stop().0, Some(0));
    }
}
