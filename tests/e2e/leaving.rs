//! Who goes away in the middle of an exchange, and what the other side sees.

use std::time::{Duration, Instant};

use harness::client::{Client, End};
use harness::gateway::Gateway;
use harness::origin::Origin;

fn start(driver: &str, origin: &Origin, more: &str) -> Gateway {
    Gateway::start(driver, &format!("[route.app]\nto = \"http://{}\"\n{more}", origin.address()))
}

/// State and unsent bytes of the sockets that have `port` here, from /proc/net/tcp.
fn sockets_of(port: u16) -> Vec<(String, u64)> {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("on Linux");
    let of_port = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (local, _, state, queues) =
            (words.next()?, words.next()?, words.next()?, words.next()?);
        let unsent = u64::from_str_radix(queues.split(':').next()?, 16).ok()?;
        local.ends_with(&format!(":{port:04X}")).then(|| (state.to_owned(), unsent))
    };
    table.lines().skip(1).filter_map(of_port).collect()
}

on_both_drivers! {
    fn a_client_that_leaves_while_waiting_ends_its_request(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "");
        let mut client = Client::connect(&gateway.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        let left = Instant::now();
        drop(client);
        assert!(up.ends().is_empty());
        assert!(left.elapsed() < Duration::from_secs(1), "about a tenth of a second");
    }

    fn a_client_that_takes_nothing_is_reset(driver: &str) {
        let origin = Origin::new();
        // Its body's time, and the whole exchange's.
        for limit in ["body_timeout = \"300ms\"\n", "deadline = \"300ms\"\n"] {
            let gateway = start(driver, &origin, limit);
            let mut client = Client::connect(&gateway.address());
            harness::receive_at_most(&client.stream, 4096);
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            let mut up = origin.accept();
            up.head();
            up.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
            while up.try_send([b'x'; 65536]) {}
            harness::eventually("the kernel holds nothing more for it", || {
                !sockets_of(gateway.port).iter().any(|(_, unsent)| *unsent > 0)
            });
            assert_eq!(client.rest().1, End::Reset, "{limit}");
        }
    }

    fn an_answer_that_a_drain_cuts_is_reset(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(driver, &format!(
            "[server]\ndrain_timeout = \"200ms\"\n[route.app]\nto = \"http://{}\"\n", origin.address()));
        let mut client = Client::connect(&gateway.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        up.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
        client.head().unwrap();
        gateway.signal(libc::SIGTERM);
        assert_eq!(client.rest(), (b"half".to_vec(), End::Reset));
    }

    fn a_client_that_leaves_in_the_middle_of_an_answer_ends_it(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "");
        let mut client = Client::connect(&gateway.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        up.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
        client.head().unwrap();
        client.exactly(4).unwrap();
        let left = Instant::now();
        drop(client);
        assert!(up.ends().is_empty());
        assert!(left.elapsed() < Duration::from_secs(1));
    }

    fn a_client_that_leaves_in_its_body_ends_the_upload(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "");
        let mut client = Client::connect(&gateway.address());
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf");
        let mut up = origin.accept();
        up.head();
        up.exactly(4);
        drop(client);
        assert!(up.ends().is_empty(), "no body is ever completed for it");
    }

    fn a_truncated_answer_is_never_complete_looking(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "");
        // With a length: the client's connection ends short of it.
        let mut client = Client::connect(&gateway.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        up.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
        drop(up);
        assert_eq!(client.head().unwrap().status, 200);
        assert_eq!(client.rest().0, b"half");
        // In chunks: the last one never comes.
        let mut client = Client::connect(&gateway.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        up.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
        drop(up);
        client.head().unwrap();
        assert_eq!(client.rest().0, b"4\r\nhalf\r\n");
        // Towards HTTP/1.0, where the end of the connection is the end of the body: a reset.
        let mut client = Client::connect(&gateway.address());
        client.send("GET / HTTP/1.0\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        up.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
        client.head().unwrap();
        client.exactly(4).unwrap();
        drop(up);
        assert_eq!(client.rest().1, End::Reset);
    }

    fn a_close_delimited_answer_that_is_reset_is_broken_for_the_client_too(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "");
        let mut client = Client::connect(&gateway.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        up.send("HTTP/1.1 200 OK\r\n\r\nhalf");
        client.head().unwrap();
        client.through(b"half\r\n").unwrap();
        up.reset();
        assert_eq!(client.rest().0, b"", "no last chunk");
    }

    fn an_answer_that_ends_in_its_head_is_502(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "");
        let mut client = Client::connect(&gateway.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        up.send("HTTP/1.1 200 OK\r\nContent-");
        drop(up);
        assert_eq!(client.answer().unwrap().status, 502);
    }

    fn everything_is_given_back_afterwards(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "");
        let before = gateway.descriptors();
        for _ in 0..50 {
            let mut client = Client::connect(&gateway.address());
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            origin.accept().head();
            drop(client);
        }
        harness::eventually("descriptors are back", || gateway.descriptors() <= before);
    }
}
