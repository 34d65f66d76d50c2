//! HTTP through TLS: bodies of every size and both directions, tunnels, and ends in their midst.

use std::sync::mpsc::Receiver;

use harness::client::{Client, End};
use harness::eventually;
use harness::origin::{Accepted, Origin, beside, field};
use harness::secure::{ASK, Secure, VERSIONS};

const MIB: usize = 1 << 20;

/// Bytes that tell when some are lost, twice there, or in another order.
fn text(len: usize) -> Vec<u8> {
    (0..len as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

fn route(origin: &Origin) -> String {
    format!("[route.app]\nto = \"http://{}\"\n", origin.address())
}

/// What stands in chunks up to the last of them.
fn unchunked(up: &mut Accepted) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend(up.exactly(1));
        }
        let size = std::str::from_utf8(&line).unwrap().trim();
        let size = usize::from_str_radix(size.split(';').next().unwrap(), 16).expect("a size");
        body.extend(up.exactly(size));
        assert_eq!(up.exactly(2), b"\r\n");
        if size == 0 {
            return body;
        }
    }
}

/// Sends back the body of each request on one connection, framed as it came.
fn echoes(origin: Origin) -> Receiver<()> {
    beside(move || {
        let mut up = origin.accept();
        while let Some(head) = up.try_head() {
            match field(&head, "content-length") {
                Some(length) => {
                    let body = up.exactly(length.parse().expect("a number"));
                    up.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"));
                    up.send(body);
                }
                None if field(&head, "transfer-encoding").is_some() => {
                    let body = unchunked(&mut up);
                    up.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                    for part in body.chunks(70_001) {
                        up.send(format!("{:x}\r\n", part.len())).send(part).send("\r\n");
                    }
                    up.send("0\r\n\r\n");
                }
                None => _ = up.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
            }
        }
    })
}

fn post(length: usize) -> String {
    format!("POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: {length}\r\n\r\n")
}

/// Sends from a thread of its own, for nobody can take all before something is read.
fn sends(client: &mut Client, parts: &[&[u8]]) {
    for part in parts {
        client.send(part);
    }
}

on_both_drivers! {
    fn bodies_of_every_size_are_the_same_at_the_other_end(driver: &str) {
        for version in VERSIONS {
            let origin = Origin::new();
            let secure = Secure::start(driver, "", &route(&origin));
            let over = echoes(origin);
            let mut client = secure.connect(&secure.believing(version));
            for length in [0, 1, 4000, 4001, 16_384, 16_385, 131_072, MIB, 3 * MIB + 7] {
                let body = text(length);
                sends(&mut client, &[post(length).as_bytes(), &body]);
                let back = client.answer().unwrap().body;
                assert!(back == body, "{length} bytes are others, {} came", back.len());
            }
            for length in [0, 1, 20_000, MIB] {
                client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
                let body = text(length);
                for part in body.chunks(9_999) {
                    let size = format!("{:x}\r\n", part.len());
                    sends(&mut client, &[size.as_bytes(), part, b"\r\n"]);
                }
                client.send("0\r\n\r\n");
                let back = client.answer().unwrap().body;
                assert!(back == body, "{length} bytes in chunks are others");
            }
            drop(client);
            drop(secure);
            over.recv().expect("it ends");
        }
    }

    fn requests_in_one_record_and_in_many_are_answered_in_order(driver: &str) {
        let rest = "[route.a]\npath = \"/{n}\"\nrespond = \"{n}\"\n";
        let secure = Secure::start(driver, "", rest);
        let ask = |n: usize| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut client = secure.client();
        client.send((0..100).map(ask).collect::<String>());
        for n in 0..100 {
            assert_eq!(client.answer().unwrap().text(), n.to_string());
        }
        for byte in ask(7).as_bytes() {
            client.send([*byte]); // each in a record of its own
        }
        assert_eq!(client.answer().unwrap().text(), "7");
        for n in 0..200 {
            assert_eq!(client.ask(ask(n)).text(), n.to_string());
        }
        eventually("one handshake was enough", || secure.greeted("full") == 1);
    }

    fn a_slow_reader_gets_all_of_it(driver: &str) {
        let origin = Origin::new();
        let secure = Secure::start(driver, "", &route(&origin));
        let body = text(16 * MIB);
        let answer = body.clone();
        origin.serve(move |_| {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
            [head.as_bytes(), &answer].concat()
        });
        for version in VERSIONS {
            let mut slow = secure.connect(&secure.believing(version));
            slow.send(ASK);
            let mut got = slow.head().unwrap();
            for _ in 0..20 {
                harness::pace(std::time::Duration::from_millis(10));
                got.body.extend(slow.exactly(10_000).unwrap());
            }
            got.body.extend(slow.exactly(body.len() - got.body.len()).unwrap());
            assert!(got.body == body, "it came in another way than it was sent");
            assert_eq!(slow.ask("GET /again HTTP/1.1\r\nHost: a\r\n\r\n").body.len(), body.len());
        }
    }

    /// The end of its stream is all that a tunnel has, so one that broke has none.
    fn a_broken_tunnel_is_not_said_to_have_ended(driver: &str) {
        let origin = Origin::new();
        let secure = Secure::start(driver, "", &route(&origin));
        for version in VERSIONS {
            let mut client = secure.connect(&secure.believing(version));
            client.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\
                         Upgrade: websocket\r\n\r\n");
            let mut up = origin.accept();
            up.head();
            up.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                     Upgrade: websocket\r\n\r\nhalf");
            assert_eq!(client.head().unwrap().status, 101);
            assert_eq!(client.exactly(4).unwrap(), b"half");
            up.reset();
            assert_ne!(client.ends(), End::Closed, "{version:?}");
        }
    }

    fn a_websocket_is_tunnelled(driver: &str) {
        let origin = Origin::new();
        let secure = Secure::start(driver, "", &route(&origin));
        for version in VERSIONS {
            let mut client = secure.connect(&secure.believing(version));
            client.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\
                         Upgrade: websocket\r\n\r\nearly");
            let mut up = origin.accept();
            assert_eq!(field(&up.head(), "upgrade"), Some("websocket"));
            up.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                     Upgrade: websocket\r\n\r\nfirst");
            assert_eq!(client.head().unwrap().status, 101);
            assert_eq!(client.exactly(5).unwrap(), b"first");
            assert_eq!(up.exactly(5), b"early");
            for size in [1, 4, 4001, 20_000, 300_000] {
                let bytes = text(size);
                client.send(&bytes);
                assert!(up.exactly(size) == bytes, "{size} to the service");
                up.send(&bytes);
                assert!(client.exactly(size).unwrap() == bytes, "{size} to the client");
            }
            client.half_close();
            assert!(up.ends().is_empty());
            up.send("bye");
            drop(up);
            assert_eq!(client.rest(), (b"bye".to_vec(), End::Closed));
        }
    }

    /// Nobody can take it for the end of what was meant, at either side.
    fn a_client_that_is_cut_off_in_a_body_has_sent_no_request(driver: &str) {
        let origin = Origin::new();
        let secure = Secure::start(driver, "", &route(&origin));
        let heads = [post(100),
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n".to_owned()];
        for (version, head) in VERSIONS.into_iter().flat_map(|v| heads.iter().map(move |h| (v, h))) {
            for says_farewell in [false, true] {
                let mut client = secure.connect(&secure.believing(version));
                client.send(head).send("begin");
                let mut up = origin.accept();
                up.head();
                while !up.exactly(1).ends_with(b"n") {}
                if says_farewell {
                    client.half_close();
                } else {
                    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
                }
                let rest = up.ends();
                assert!(!rest.ends_with(b"0\r\n\r\n"), "it looks whole to the service");
            }
        }
        let logged = secure.numbers().by("busbar_refusals_total", &["reason"]);
        assert_eq!(logged.values().sum::<u64>(), 8, "{logged:?}");
    }

    /// RFC 8446 §4.6.3: in the midst of bodies, of both directions, and in between.
    fn keys_are_replaced_whenever_the_client_likes(driver: &str) {
        let origin = Origin::new();
        let secure = Secure::start(driver, "", &route(&origin));
        let over = echoes(origin);
        let mut client = secure.client();
        for round in 0..3 {
            client.send(ASK);
            assert_eq!(client.answer().unwrap().status, 200, "{round}");
            client.tls.as_mut().unwrap().refresh_traffic_keys().expect("TLS 1.3");
            let body = text(MIB);
            client.send(post(MIB));
            for part in body.chunks(100_000) {
                client.tls.as_mut().unwrap().refresh_traffic_keys().expect("TLS 1.3");
                client.send(part);
            }
            assert!(client.answer().unwrap().body == body, "{round}");
        }
        drop(client);
        drop(secure);
        over.recv().expect("it ends");
    }

    fn a_drain_ends_what_is_idle_and_waits_for_what_is_under_way(driver: &str) {
        let origin = Origin::new();
        let secure = Secure::start(driver, "", &format!(
            "{}path = \"/app\"\n[route.own]\nrespond = \"own\"\n", route(&origin)));
        let (mut late, mut busy) = (secure.client(), secure.client());
        // So many that the worker of the busy one has some: once they are gone it drains, too.
        let mut idle: Vec<Client> = (0..16).map(|_| secure.client()).collect();
        idle.iter_mut().for_each(|client| assert_eq!(client.ask(ASK).text(), "own"));
        busy.send("GET /app HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        // One that is in the midst of its handshake: nothing was promised to it.
        let hello = &mut Vec::new();
        late.tls.as_mut().unwrap().write_tls(hello).unwrap();
        use std::io::Write;
        late.stream.write_all(&hello[..50]).unwrap();
        secure.gateway.signal(libc::SIGTERM);
        idle.into_iter().for_each(|mut client| assert_eq!(client.ends(), End::Closed));
        up.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        let answer = busy.answer().unwrap();
        assert_eq!((answer.text().as_str(), answer.field("connection")), ("ok", Some("close")));
        assert_eq!(busy.ends(), End::Closed);
        drop((late, busy));
        let (code, log) = secure.gateway.wait();
        assert!(code == Some(0) && log.contains(", 0 panics"), "{log}");
    }
}
