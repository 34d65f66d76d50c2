//! What could make two parsers disagree is refused, both ways.

use harness::client::{Client, End, ask};
use harness::gateway::Gateway;
use harness::origin::{Origin, field};

/// A gateway that answers by itself whatever its parser lets through.
fn own(driver: &str) -> Gateway {
    Gateway::start(driver, "[route.all]\nrespond = \"ok\"\n")
}

on_both_drivers! {
    fn ambiguous_requests_are_refused_and_the_connection_ends(driver: &str) {
        let gateway = own(driver);
        let refused: &[(&str, u16)] = &[
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
            ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            ("GET / HTTP/1.1\nHost: a\n\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nX(y): x\r\n\r\n", 400),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
            ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405),
            ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
            ("GET /a%2Fb HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /a%5cb HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /a/..;/b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: host\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", 417),
        ];
        for (request, status) in refused {
            let mut client = Client::connect(&gateway.address());
            client.send(request).try_send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
            let answer = client.answer().unwrap();
            assert_eq!(answer.status, *status, "{request:?}");
            assert_eq!(answer.field("content-type"), Some("application/problem+json"));
            assert_eq!(answer.field("connection"), Some("close"), "{request:?}");
            assert_eq!(client.ends(), End::Closed, "{request:?}: nothing after it is read");
        }
    }

    fn their_harmless_neighbours_pass(driver: &str) {
        let gateway = own(driver);
        for request in [
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a:8080\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
            "GET http://b.example/x HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
            "GET /a%20b HTTP/1.1\r\nHost: a\r\nX:\ta b \t\r\n\r\n",
        ] {
            assert_eq!(ask(&gateway.address(), request).status, 200, "{request:?}");
        }
    }

    fn a_head_in_drops_is_the_same_head(driver: &str) {
        let gateway = own(driver);
        let mut client = Client::connect(&gateway.address());
        for byte in "GET / HTTP/1.1\r\nHost: a\r\nX-Long: value\r\n\r\n".bytes() {
            client.send([byte]);
        }
        assert_eq!(client.answer().unwrap().status, 200);
    }

    fn what_was_routed_is_what_is_sent(driver: &str) {
        let origin = Origin::new();
        let config = format!("[route.app]\npath = \"/a/*\"\nto = \"http://{}\"\n", origin.address());
        origin.serve(|head| {
            let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}", target.len()).into_bytes()
        });
        let gateway = Gateway::start(driver, &config);
        let mut client = Client::connect(&gateway.address());
        for (sent, got) in [
            ("/a/b?x=1&y=%20", "/a/b?x=1&y=%20"),
            ("/a/%7Euser", "/a/%7Euser"),       // signed URLs stay byte for byte
            ("/a/./b", "/a/b"),
            ("/a/x/../b", "/a/b"),
            ("/a//b", "/a/b"),
            ("/%61/b", "/%61/b"),               // routed as /a/b, sent as it came
            ("/z/../a/b", "/a/b"),
            ("/a/%2e%2e/a/b", "/a/b"),
        ] {
            let answer = client.ask(format!("GET {sent} HTTP/1.1\r\nHost: a\r\n\r\n"));
            assert_eq!((answer.status, answer.text().as_str()), (200, got), "{sent}");
        }
        assert_eq!(client.ask("GET /a/../b HTTP/1.1\r\nHost: a\r\n\r\n").status, 404);
    }

    fn a_bad_answer_is_502_and_its_connection_is_never_used_again(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(
            driver, &format!("[route.app]\nto = \"http://{}\"\n", origin.address()));
        let mut client = Client::connect(&gateway.address());
        for bad in [
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
            "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            "HTTP/1.1 600 X\r\nContent-Length: 0\r\n\r\n",
            // Nothing of a body whose first part is broken goes out, so that it can be told.
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "220 mail.example ESMTP\r\n\r\n",
        ] {
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            let mut up = origin.accept(); // a fresh one each time
            up.head();
            up.send(bad);
            assert_eq!(client.answer().unwrap().status, 502, "{bad:?}");
            assert!(up.ends().is_empty(), "{bad:?}");
        }
    }

    fn a_broken_first_chunk_is_502_while_the_request_is_still_coming(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(
            driver, &format!("[route.app]\nto = \"http://{}\"\n", origin.address()));
        let mut client = Client::connect(&gateway.address());
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf");
        let mut up = origin.accept();
        up.head();
        up.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
        let answer = client.answer().unwrap();
        assert_eq!((answer.status, answer.field("connection")), (502, Some("close")));
        assert_eq!(client.ends(), End::Closed);
    }

    fn trailers_that_speak_of_the_client_or_are_nominated_go(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(
            driver, &format!("[auth.own]\nmethod = \"forward\"\nto = \"http://127.0.0.1:1/\"\n\
                response_headers = [\"X-Role\"]\n\
                [route.app]\nauth = \"none\"\nto = \"http://{}\"\n", origin.address()));
        let mut client = Client::connect(&gateway.address());
        let head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: x-hop\r\nTransfer-Encoding: chunked\r\n\r\n";
        let trailers = "X-Consumer-Name: root\r\nx_consumer_name: root\r\nX-Forwarded: 1\r\n\
                        X_Real_IP: 6.6.6.6\r\nX_Role: root\r\nX-Role: root\r\nX-Hop: 1\r\nX-Sum: 1\r\n";
        // With the head, and in a part of their own.
        for split in [0, 1] {
            client.send(head);
            let mut up = None;
            if split == 1 {
                up = Some(origin.accept());
            }
            client.send(format!("2\r\nok\r\n0\r\n{trailers}\r\n"));
            let mut up = up.unwrap_or_else(|| origin.accept());
            up.head();
            let body = "2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n";
            assert_eq!(String::from_utf8_lossy(&up.exactly(body.len())), body);
            up.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            assert_eq!(client.answer().unwrap().status, 200);
        }
    }

    /// What an origin nominates is for the gateway alone, in the trailers as in the head.
    fn trailers_of_an_answer_that_nominates_fields_stay_behind(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(
            driver, &format!("[route.app]\nto = \"http://{}\"\n", origin.address()));
        let body = "2\r\nok\r\n0\r\nX-Hop: 1\r\nX-Sum: 1\r\n\r\n";
        for (connection, trailers) in [("x-hop", ""), ("close", "X-Hop: 1\r\nX-Sum: 1\r\n")] {
            let mut client = Client::connect(&gateway.address());
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            let mut up = origin.accept();
            up.head();
            up.send(format!("HTTP/1.1 200 OK\r\nConnection: {connection}\r\n\
                             Transfer-Encoding: chunked\r\n\r\n{body}"));
            client.head().unwrap();
            let wire = format!("2\r\nok\r\n0\r\n{trailers}\r\n");
            assert_eq!(String::from_utf8_lossy(&client.exactly(wire.len()).unwrap()), wire);
        }
    }

    fn unasked_bytes_behind_an_answer_are_never_the_next_answer(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(
            driver, &format!("[route.app]\nto = \"http://{}\"\n", origin.address()));
        let mut client = Client::connect(&gateway.address());
        client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        up.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\
                 okHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong");
        assert_eq!(client.answer().unwrap().text(), "ok");
        client.send("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut fresh = origin.accept();
        assert!(fresh.head().starts_with("GET /2"));
        fresh.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright");
        assert_eq!(client.answer().unwrap().text(), "right");
    }

    fn hop_by_hop_fields_end_here(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(
            driver, &format!("[route.app]\nto = \"http://{}\"\n", origin.address()));
        let mut client = Client::connect(&gateway.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: x-gone, keep-alive\r\nX-Gone: 1\r\n\
                     Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\n\
                     Proxy-Authorization: Basic eA==\r\nUpgrade: foo\r\nX-Stays: 1\r\n\r\n");
        let mut up = origin.accept();
        let head = up.head();
        for gone in ["x-gone", "keep-alive", "proxy-connection", "proxy-authorization", "upgrade"] {
            assert_eq!(field(&head, gone), None, "{gone} in {head}");
        }
        assert_eq!(field(&head, "x-stays"), Some("1"));
        up.send("HTTP/1.1 200 OK\r\nConnection: x-gone\r\nX-Gone: 1\r\nKeep-Alive: timeout=9\r\n\
                 Proxy-Connection: x\r\nX-Stays: 1\r\nContent-Length: 0\r\n\r\n");
        let answer = client.answer().unwrap();
        for gone in ["x-gone", "keep-alive", "proxy-connection", "connection"] {
            assert_eq!(answer.field(gone), None, "{gone} in {}", answer.head);
        }
        assert_eq!(answer.field("x-stays"), Some("1"));
    }

    fn a_malformed_chunk_from_the_client_ends_both(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(
            driver, &format!("[route.app]\nto = \"http://{}\"\n", origin.address()));
        let mut client = Client::connect(&gateway.address());
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
        let mut up = origin.accept();
        up.head();
        up.exactly(8);
        client.send("3\nabc\n0\n\n");
        assert_eq!(client.answer().unwrap().status, 400);
        assert_eq!(client.ends(), End::Closed);
        assert!(up.ends().is_empty());
    }

    fn kept_slashes_relax_nothing_else(driver: &str) {
        let origin = Origin::new();
        let config = format!(
            "[route.keep]\npath = \"/keep/*\"\nslashes = \"keep\"\nto = \"http://{}\"\n\
             [route.enc]\npath = \"/enc/*\"\nencoded_slash = \"keep\"\nrespond = \"enc\"\n",
            origin.address());
        origin.serve(|head| {
            let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}", target.len()).into_bytes()
        });
        let gateway = Gateway::start(driver, &config);
        let get = |path: &str| harness::client::get(&gateway.address(), path);
        assert_eq!(get("/keep//x").text(), "/keep//x");
        assert_eq!(get("/keep//b%2Fc").status, 400);
        let sent = get("/keep//x/../y");
        assert!(!sent.text().contains(".."), "dot segments never pass: {}", sent.text());
    }
}
