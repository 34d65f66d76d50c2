//! Connections stay when they may, and end when they must; pipelined answers come in order.

use harness::client::{Client, End};
use harness::gateway::Gateway;
use harness::origin::Origin;

const OWN: &str = "[route.all]\npath = \"/{name}\"\nrespond = { body = \"{name}\" }\n";

on_both_drivers! {
    fn pipelined_requests_are_answered_in_order(driver: &str) {
        let gateway = Gateway::start(driver, OWN);
        let mut client = Client::connect(&gateway.address());
        let all: String =
            (0..500).map(|n| format!("GET /n{n} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
        client.send(all);
        for n in 0..500 {
            assert_eq!(client.answer().unwrap().text(), format!("n{n}"));
        }
    }

    fn pipelined_requests_with_bodies_reach_the_service_in_order(driver: &str) {
        let origin = Origin::new();
        let config = format!("[route.app]\nto = \"http://{}\"\n", origin.address());
        origin.serve(|head| {
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len()).into_bytes()
        });
        let gateway = Gateway::start(driver, &config);
        let mut client = Client::connect(&gateway.address());
        let body = "x".repeat(3000);
        let all: String = (0..100)
            .map(|n| format!("POST /n{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 3000\r\n\r\n{body}"))
            .collect();
        client.send(all);
        for n in 0..100 {
            assert_eq!(client.answer().unwrap().text(), format!("/n{n}"));
        }
    }

    fn close_is_honoured_and_said(driver: &str) {
        let gateway = Gateway::start(driver, OWN);
        let mut client = Client::connect(&gateway.address());
        let answer = client.ask("GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert_eq!(answer.field("connection"), Some("close"));
        assert_eq!(client.ends(), End::Closed);
    }

    fn http_1_0_stays_only_when_asked(driver: &str) {
        let gateway = Gateway::start(driver, OWN);
        let mut client = Client::connect(&gateway.address());
        let answer = client.ask("GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(answer.field("connection"), Some("keep-alive"));
        let answer = client.ask("GET /y HTTP/1.0\r\n\r\n");
        assert_eq!(answer.field("connection"), Some("close"));
        assert_eq!(client.ends(), End::Closed);
    }

    fn an_error_with_an_unread_body_ends_the_connection_but_is_read(driver: &str) {
        let gateway = Gateway::start(driver, OWN);
        let mut client = Client::connect(&gateway.address());
        client.send("POST /a/b HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n");
        client.try_send(vec![b'x'; 900_000]);
        let answer = client.answer().unwrap();
        assert_eq!((answer.status, answer.field("connection")), (404, Some("close")));
        assert_eq!(client.ends(), End::Closed, "lingering: no reset destroys the answer");
    }

    fn a_half_closed_client_is_answered(driver: &str) {
        let origin = Origin::new();
        let config = format!("[route.app]\nto = \"http://{}\"\n", origin.address());
        let gateway = Gateway::start(driver, &config);
        for request in [
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
        ] {
            let mut client = Client::connect(&gateway.address());
            client.send(request).half_close();
            let mut up = origin.accept();
            up.head();
            harness::eventually("a few looks at the client have passed", {
                let begin = std::time::Instant::now();
                move || begin.elapsed().as_millis() > 250
            });
            up.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
            assert_eq!(client.answer().unwrap().text(), "ok", "{request:?}");
        }
    }

    fn pipelined_requests_before_a_half_close_are_all_answered(driver: &str) {
        let origin = Origin::new();
        let config = format!("[route.app]\nto = \"http://{}\"\n", origin.address());
        let gateway = Gateway::start(driver, &config);
        let first = "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab";
        let chunked = "PUT /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        for last in ["HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.0\r\n\r\n"] {
            for (first, together) in [(first, true), (first, false), (chunked, true)] {
                let mut client = Client::connect(&gateway.address());
                let mut up;
                if together {
                    client.send(format!("{first}GET /2 {last}"));
                    up = origin.accept();
                } else {
                    client.send(first);
                    up = origin.accept();
                    client.send(format!("GET /2 {last}"));
                }
                client.half_close();
                for n in 1..=2 {
                    assert!(up.head().contains(&format!(" /{n} ")));
                    harness::eventually("a few looks at the client have passed", {
                        let begin = std::time::Instant::now();
                        move || begin.elapsed().as_millis() > 250
                    });
                    if n == 1 {
                        up.exactly(if first == chunked { 5 } else { 2 });
                    }
                    up.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{n}"));
                    assert_eq!(client.answer().unwrap().text(), n.to_string(), "{last:?}");
                }
                drop(up);
                assert_eq!(client.ends(), End::Closed);
            }
        }
    }

    fn a_late_byte_does_not_reset_a_last_answer_that_is_under_way(driver: &str) {
        let origin = Origin::new();
        let config = format!("[route.app]\nto = \"http://{}\"\n", origin.address());
        let gateway = Gateway::start(driver, &config);
        let big = 300_000;
        origin.serve(move |_| {
            let body = "x".repeat(big);
            format!("HTTP/1.1 200 OK\r\nContent-Length: {big}\r\n\r\n{body}").into_bytes()
        });
        for ask in ["HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.0\r\n\r\n"] {
            let mut client = Client::connect(&gateway.address());
            // More than this is not taken before the client reads.
            harness::receive_at_most(&client.stream, 4096);
            client.send(format!("GET / {ask}"));
            harness::eventually("the gateway has written all and would close", {
                let begin = std::time::Instant::now();
                move || begin.elapsed().as_millis() > 200
            });
            client.try_send("\r\n");
            assert_eq!(client.answer().unwrap().body.len(), big, "{ask:?}");
            assert_eq!(client.ends(), End::Closed);
        }
    }

    fn a_stray_byte_behind_a_last_request_does_not_reset_its_answer(driver: &str) {
        let origin = Origin::new();
        let config = format!("[route.app]\nto = \"http://{}\"\n", origin.address());
        let gateway = Gateway::start(driver, &config);
        let mut client = Client::connect(&gateway.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        client.send("\r\n");
        up.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(client.answer().unwrap().text(), "ok");
        assert_eq!(client.ends(), End::Closed);
    }

    fn a_pipelining_flood_leaves_turns_to_others(driver: &str) {
        let gateway = Gateway::start(driver, OWN);
        let mut flood = Client::connect(&gateway.address());
        let mut sending = flood.stream.try_clone().unwrap();
        let sender = harness::origin::beside(move || {
            let part = "HEAD /none/x HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
            while std::io::Write::write_all(&mut sending, part.as_bytes()).is_ok() {}
        });
        let mut reading = flood.stream.try_clone().unwrap();
        let reader = harness::origin::beside(move || {
            let mut part = vec![0; 1 << 20];
            while matches!(std::io::Read::read(&mut reading, &mut part), Ok(1..)) {}
        });
        for n in 0..20 {
            let text = harness::client::get(&gateway.address(), &format!("/n{n}")).text();
            assert_eq!(text, format!("n{n}"));
        }
        flood.stream.shutdown(std::net::Shutdown::Both).unwrap();
        let _ = (sender.recv(), reader.recv());
        let _ = flood.rest();
    }
}
