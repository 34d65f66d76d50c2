//! Upstream connections: kept, checked, replaced, shared out.

use std::time::Duration;

use harness::client::{Client, get};
use harness::gateway::Gateway;
use harness::origin::Origin;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn start(driver: &str, origin: &Origin, more: &str) -> Gateway {
    Gateway::start(
        driver,
        &format!(
            "[upstream.app]\nendpoints = [\"{}\"]\n{more}\n[route.app]\nto = \"app\"\n",
            origin.address()
        ),
    )
}

fn ask(method: &str) -> String {
    format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
}

on_both_drivers! {
    fn a_connection_is_used_again_the_latest_first(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "");
        let (mut a, mut b) = (Client::connect(&gateway.address()), Client::connect(&gateway.address()));
        a.send(ask("GET"));
        let mut first = origin.accept();
        first.head();
        b.send(ask("GET"));
        let mut second = origin.accept();
        second.head();
        first.send(OK);
        a.answer().unwrap();
        second.send(OK);
        b.answer().unwrap();
        for _ in 0..3 {
            a.send(ask("GET"));
            second.head();
            second.send(OK);
            a.answer().unwrap();
        }
    }

    fn a_get_on_a_closed_reused_connection_is_sent_once_more(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "");
        let mut client = Client::connect(&gateway.address());
        client.send(ask("GET"));
        let mut up = origin.accept();
        up.head();
        up.send(OK);
        client.answer().unwrap();
        client.send(ask("GET"));
        up.head();
        drop(up); // closed after the request was read, before any byte of the answer
        let mut fresh = origin.accept();
        fresh.head();
        fresh.send(OK);
        assert_eq!(client.answer().unwrap().status, 200);
    }

    fn a_put_whose_body_was_not_read_yet_is_sent_once_more(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "");
        let mut client = Client::connect(&gateway.address());
        client.send(ask("GET"));
        let mut up = origin.accept();
        up.head();
        up.send(OK);
        client.answer().unwrap();
        client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n");
        up.head();
        drop(up);
        let mut fresh = origin.accept();
        fresh.head();
        client.send("body");
        assert_eq!(fresh.exactly(4), b"body");
        fresh.send(OK);
        assert_eq!(client.answer().unwrap().status, 200);
        // Once its body was read there is no second time.
        client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n");
        fresh.head();
        client.send("bo");
        fresh.exactly(2);
        drop(fresh);
        assert_eq!(client.answer().unwrap().status, 502);
        assert!(origin.accept_within(Duration::from_millis(200)).is_none());
    }

    fn an_idle_connection_that_its_origin_closed_is_closed(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "");
        let mut client = Client::connect(&gateway.address());
        client.send(ask("GET"));
        let mut up = origin.accept();
        up.head();
        up.send(OK);
        client.answer().unwrap();
        up.stream.shutdown(std::net::Shutdown::Write).unwrap();
        let begin = std::time::Instant::now();
        assert!(up.ends().is_empty());
        assert!(begin.elapsed() < Duration::from_secs(10), "about the second of the sweep");
    }

    fn many_refusing_endpoints_do_not_hide_the_one_that_serves(driver: &str) {
        let origin = Origin::new();
        let dead: String =
            (0..8).map(|_| format!("\"127.0.0.1:{}\", ", harness::free_port())).collect();
        let gateway = Gateway::start(driver, &format!(
            "[upstream.app]\nendpoints = [{dead}\"{}\"]\n[route.app]\nto = \"app\"\n",
            origin.address()));
        origin.serve(|_| OK.as_bytes().to_vec());
        assert_eq!(get(&gateway.address(), "/").status, 200, "the first request already");
    }

    fn an_answer_may_have_many_fields(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "");
        let mut client = Client::connect(&gateway.address());
        for (count, status) in [(1000, 204), (1001, 502)] {
            client.send(ask("GET"));
            let mut up = origin.accept();
            up.head();
            let fields = "X-A: b\r\n".repeat(count - 1);
            up.send(format!("HTTP/1.1 204 No Content\r\nConnection: close\r\n{fields}\r\n"));
            assert_eq!(client.answer().unwrap().status, status, "{count} fields");
        }
    }

    fn a_post_of_which_a_byte_was_sent_is_never_sent_again(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "");
        let mut client = Client::connect(&gateway.address());
        client.send(ask("GET"));
        let mut up = origin.accept();
        up.head();
        up.send(OK);
        client.answer().unwrap();
        client.send(ask("POST"));
        up.head();
        drop(up);
        assert_eq!(client.answer().unwrap().status, 502);
        assert!(origin.accept_within(Duration::from_millis(200)).is_none());
    }

    fn a_fresh_connection_that_closes_is_502(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "");
        let mut client = Client::connect(&gateway.address());
        client.send(ask("GET"));
        origin.accept().head();
        assert_eq!(client.answer().unwrap().status, 502);
    }

    fn an_idle_connection_that_was_closed_is_not_used(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "");
        let mut client = Client::connect(&gateway.address());
        client.send(ask("POST"));
        let mut up = origin.accept();
        up.head();
        up.send(OK);
        client.answer().unwrap();
        drop(up);
        client.send(ask("POST"));
        let mut fresh = origin.accept();
        fresh.head();
        fresh.send(OK);
        assert_eq!(client.answer().unwrap().status, 200, "a POST too: nothing of it was sent");
    }

    fn an_origins_own_keep_alive_time_is_honoured(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "");
        let mut client = Client::connect(&gateway.address());
        client.send(ask("GET"));
        for said in ["timeout=1", "max=5, Timeout=1"] {
            let mut up = origin.accept();
            up.head();
            up.send(format!("HTTP/1.1 200 OK\r\nKeep-Alive: {said}\r\nContent-Length: 2\r\n\r\nok"));
            client.answer().unwrap();
            let begin = std::time::Instant::now();
            assert!(up.ends().is_empty());
            assert!(begin.elapsed() < Duration::from_secs(10), "a second less than said: at once");
            client.send(ask("GET"));
        }
        origin.accept().head();
    }

    fn a_pool_of_zero_keeps_none(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "pool = { idle = 0 }");
        let mut client = Client::connect(&gateway.address());
        for _ in 0..2 {
            client.send(ask("GET"));
            let mut up = origin.accept();
            up.head();
            up.send(OK);
            client.answer().unwrap();
            assert!(up.ends().is_empty());
        }
    }

    fn connections_max_makes_others_wait_their_turn(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "connections_max = 1");
        let (mut a, mut b) = (Client::connect(&gateway.address()), Client::connect(&gateway.address()));
        a.send(ask("GET"));
        let mut up = origin.accept();
        up.head();
        b.send(ask("GET"));
        assert!(origin.accept_within(Duration::from_millis(200)).is_none());
        up.send(OK);
        a.answer().unwrap();
        up.head();
        up.send(OK);
        assert_eq!(b.answer().unwrap().status, 200);
    }

    fn weights_share_out_and_a_refusing_endpoint_is_skipped(driver: &str) {
        let (one, two) = (Origin::new(), Origin::new());
        let dead = harness::free_port();
        let config = format!(
            "[upstream.app]\nendpoints = [{{ address = \"{}\", weight = 3 }}, \"{}\", \
             \"127.0.0.1:{dead}\"]\n[route.app]\nto = \"app\"\n", one.address(), two.address());
        one.serve(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none".to_vec());
        two.serve(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo".to_vec());
        let gateway = Gateway::start(driver, &config);
        let mut ones = 0;
        for _ in 0..40 {
            let answer = get(&gateway.address(), "/");
            assert_eq!(answer.status, 200, "the dead endpoint costs no request");
            ones += u32::from(answer.text() == "one");
        }
        assert!((28..=32).contains(&ones), "{ones} of 40");
    }

    fn least_request_avoids_the_busy_endpoint(driver: &str) {
        let (busy, free) = (Origin::new(), Origin::new());
        let config = format!(
            "[upstream.app]\nendpoints = [\"{}\", \"{}\"]\nbalance = \"least_request\"\n\
             [route.app]\nto = \"app\"\n", busy.address(), free.address());
        let gateway = Gateway::start(driver, &config);
        let mut first = Client::connect(&gateway.address());
        first.send(ask("GET"));
        let (holder, other) = match busy.accept_within(Duration::from_millis(500)) {
            Some(held) => (held, free),
            None => (free.accept(), busy),
        };
        other.serve(|_| OK.as_bytes().to_vec());
        for _ in 0..10 {
            assert_eq!(get(&gateway.address(), "/").status, 200);
        }
        drop(holder);
    }

    fn ipv6_and_unix_endpoints_are_reached(driver: &str) {
        use std::io::{Read, Write};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.sock");
        let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let six = std::net::TcpListener::bind("[::1]:0").unwrap();
        let config = format!(
            "[upstream.six]\nendpoints = [\"{}\"]\n[upstream.unix]\nendpoints = [\"unix:{}\"]\n\
             [route.six]\npath = \"/6\"\nto = \"six\"\n[route.unix]\npath = \"/u\"\nto = \"unix\"\n",
            six.local_addr().unwrap(), path.display());
        let gateway = Gateway::start(driver, &config);
        std::thread::spawn(move || {
            let (mut s, _) = six.accept().unwrap();
            let _ = s.read(&mut [0; 4096]);
            s.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nsix").unwrap();
        });
        std::thread::spawn(move || {
            let (mut s, _) = unix.accept().unwrap();
            let _ = s.read(&mut [0; 4096]);
            s.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nunix").unwrap();
        });
        assert_eq!(get(&gateway.address(), "/6").text(), "six");
        assert_eq!(get(&gateway.address(), "/u").text(), "unix");
    }

    fn a_name_is_resolved_and_an_unknown_one_is_503(driver: &str) {
        let origin = Origin::new();
        let port = origin.address().rsplit(':').next().unwrap().to_owned();
        origin.serve(|_| OK.as_bytes().to_vec());
        let gateway = Gateway::start(driver, &format!(
            "[route.app]\npath = \"/ok\"\nto = \"http://localhost:{port}\"\n\
             [route.no]\npath = \"/no\"\nto = \"http://no-such-name.invalid:80\"\n"));
        for _ in 0..4 {
            assert_eq!(get(&gateway.address(), "/ok").status, 200);
        }
        assert_eq!(get(&gateway.address(), "/no").status, 503);
        assert!(gateway.log().contains("no-such-name.invalid"), "{}", gateway.log());
    }

    fn a_weighted_split_reaches_every_target(driver: &str) {
        let (one, two) = (Origin::new(), Origin::new());
        let config = format!(
            "[upstream.one]\nendpoints = [\"{}\"]\n[upstream.two]\nendpoints = [\"{}\"]\n\
             [route.app]\nto = {{ one = 50, two = 50 }}\n", one.address(), two.address());
        one.serve(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none".to_vec());
        two.serve(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo".to_vec());
        let gateway = Gateway::start(driver, &config);
        let ones = (0..100).filter(|_| get(&gateway.address(), "/").text() == "one").count();
        assert!((20..=80).contains(&ones), "{ones} of 100");
    }

    fn a_place_that_a_failed_connect_gives_back_is_taken_at_once(driver: &str) {
        let origin = Origin::new();
        let dead = harness::free_port();
        let gateway = Gateway::start(driver, &format!(
            "[upstream.app]\nendpoints = [\"127.0.0.1:{dead}\", \"{}\"]\nconnections_max = 1\n\
             [route.app]\nto = \"app\"\n", origin.address()));
        origin.serve(|_| OK.as_bytes().to_vec());
        let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(&gateway.address())).collect();
        let begin = std::time::Instant::now();
        clients.iter_mut().for_each(|c| _ = c.send(ask("GET")));
        for client in &mut clients {
            assert_eq!(client.answer().unwrap().status, 200);
        }
        assert!(begin.elapsed() < Duration::from_secs(10));
    }
}
