//! Requests reach the right real service and answers stream back.

use harness::client::{Client, get};
use harness::gateway::Gateway;
use harness::nginx::Nginx;
use harness::origin::{Origin, field};

fn to(origin: &Origin) -> String {
    format!("[route.app]\nto = \"http://{}\"\n", origin.address())
}

on_both_drivers! {
    fn a_real_nginx_is_reached_on_a_kept_connection(driver: &str) {
        let nginx = Nginx::start("");
        std::fs::write(nginx.dir.path().join("hello.txt"), "hello from nginx").unwrap();
        let gateway = Gateway::start(driver, &format!("[route.app]\nto = \"{}\"\n", nginx.url()));
        let mut client = Client::connect(&gateway.address());
        for _ in 0..3 {
            let answer = client.ask("GET /hello.txt HTTP/1.1\r\nHost: a.example\r\n\r\n");
            assert_eq!((answer.status, answer.text().as_str()), (200, "hello from nginx"));
            assert!(answer.field("date").is_some());
        }
        let missing = client.ask("GET /missing HTTP/1.1\r\nHost: a.example\r\n\r\n");
        assert_eq!(missing.status, 404);
        let post = client.ask(
            "POST /hello.txt HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc");
        assert_eq!(post.status, 405, "nginx itself says so");
        assert_eq!(gateway.stop().0, Some(0));
    }

    fn routes_go_to_their_own_services(driver: &str) {
        let (users, orders) = (Nginx::start(""), Nginx::start(""));
        std::fs::create_dir(users.dir.path().join("users")).unwrap();
        std::fs::write(users.dir.path().join("users/1"), "user one").unwrap();
        std::fs::create_dir(orders.dir.path().join("orders")).unwrap();
        std::fs::write(orders.dir.path().join("orders/1"), "order one").unwrap();
        let gateway = Gateway::start(driver, &format!(
            "[route.users]\npath = \"/users/*\"\nto = \"{}\"\n\
             [route.orders]\npath = \"/orders/*\"\nto = \"{}\"\n", users.url(), orders.url()));
        assert_eq!(get(&gateway.address(), "/users/1").text(), "user one");
        assert_eq!(get(&gateway.address(), "/orders/1").text(), "order one");
        assert_eq!(get(&gateway.address(), "/other").status, 404);
    }

    fn a_chunked_body_passes_as_it_is_with_its_trailers(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(driver, &to(&origin));
        let mut client = Client::connect(&gateway.address());
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                     5\r\nhello\r\n0\r\nX-Sum: 7\r\nContent-Length: 9\r\nAuthorization: x\r\n\r\n");
        let mut up = origin.accept();
        let head = up.head();
        assert_eq!(field(&head, "transfer-encoding"), Some("chunked"));
        assert_eq!(field(&head, "content-length"), None);
        let wire = b"5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n";
        assert_eq!(up.exactly(wire.len()), wire, "framing and credentials never pass as trailers");
        up.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                 3\r\nabc\r\n0\r\nX-Sum: 8\r\nTransfer-Encoding: x\r\n\r\n");
        assert_eq!(client.head().unwrap().field("transfer-encoding"), Some("chunked"));
        let wire = b"3\r\nabc\r\n0\r\nX-Sum: 8\r\n\r\n";
        assert_eq!(client.exactly(wire.len()).unwrap(), wire);
    }

    fn events_are_passed_on_before_the_next_one(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(driver, &to(&origin));
        let mut client = Client::connect(&gateway.address());
        client.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        up.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
        client.head().unwrap();
        for n in 0..20 {
            let event = format!("data: {n}\n\n");
            up.send(&event);
            let chunk = format!("{:x}\r\n{event}\r\n", event.len());
            assert_eq!(client.exactly(chunk.len()).unwrap(), chunk.as_bytes());
        }
        drop(up);
        assert_eq!(client.exactly(5).unwrap(), b"0\r\n\r\n");
    }

    fn both_directions_stream_at_once(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(driver, &to(&origin));
        let mut client = Client::connect(&gateway.address());
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        up.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.head().unwrap();
        for _ in 0..10 {
            client.send("4\r\nping\r\n");
            assert_eq!(up.exactly(9), b"4\r\nping\r\n");
            up.send("4\r\npong\r\n");
            assert_eq!(client.exactly(9).unwrap(), b"4\r\npong\r\n");
        }
        client.send("0\r\n\r\n");
        assert_eq!(up.exactly(5), b"0\r\n\r\n");
        up.send("0\r\n\r\n");
        assert_eq!(client.exactly(5).unwrap(), b"0\r\n\r\n");
        client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(up.head().starts_with("GET /next"), "both connections go on");
    }

    fn interim_answers_pass_but_never_to_http_1_0(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(driver, &to(&origin));
        for (version, interim) in [("1.1", true), ("1.0", false)] {
            let mut client = Client::connect(&gateway.address());
            client.send(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"));
            let mut up = origin.accept();
            up.head();
            up.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
            if interim {
                let hints = client.head().unwrap();
                assert_eq!((hints.status, hints.field("link")), (103, Some("</a.css>")));
            }
            up.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
            drop(up);
            assert_eq!(client.answer().unwrap().text(), "ok");
        }
    }

    fn a_flood_of_interim_answers_is_502(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(driver, &to(&origin));
        let mut client = Client::connect(&gateway.address());
        client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        up.try_send("HTTP/1.1 102 Processing\r\n\r\n".repeat(100));
        assert_eq!(client.answer().unwrap().status, 502);
    }

    fn head_204_and_304_have_no_body(driver: &str) {
        let origin = Origin::new();
        let address = to(&origin);
        origin.serve(|head| match head.split(' ').nth(1) {
            Some("/304") => b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 5\r\n\r\n".to_vec(),
            Some("/204") => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            _ => b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_vec(),
        });
        let gateway = Gateway::start(driver, &address);
        let mut client = Client::connect(&gateway.address());
        for _ in 0..2 {
            let head = client.send("HEAD /200 HTTP/1.1\r\nHost: a\r\n\r\n").head().unwrap();
            assert_eq!((head.status, head.field("content-length")), (200, Some("5")));
            let head = client.send("GET /304 HTTP/1.1\r\nHost: a\r\n\r\n").head().unwrap();
            assert_eq!((head.status, head.field("etag")), (304, Some("\"x\"")));
            let head = client.send("GET /204 HTTP/1.1\r\nHost: a\r\n\r\n").head().unwrap();
            assert_eq!((head.status, head.field("content-length")), (204, None));
        }
    }

    fn an_http_1_0_client_gets_plain_bytes_and_the_end(driver: &str) {
        let origin = Origin::new();
        let address = to(&origin);
        origin.serve(|_| {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n".to_vec()
        });
        let gateway = Gateway::start(driver, &address);
        let mut client = Client::connect(&gateway.address());
        let answer = client.ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(answer.text(), "abcde");
        assert_eq!(answer.field("transfer-encoding"), None);
        assert_eq!(answer.field("connection"), Some("close"));
    }

    fn a_gibibyte_each_way_takes_little_memory(driver: &str) {
        const GIB: usize = 1 << 30;
        let origin = Origin::new();
        let config = format!("{}body_limit = \"none\"\n", to(&origin));
        let gateway = Gateway::start(driver, &config);
        let mut client = Client::connect(&gateway.address());
        let done = harness::origin::beside(move || {
            let mut up = origin.accept();
            up.head();
            let mut left = GIB;
            while left > 0 {
                left -= up.exactly(left.min(1 << 16)).len();
            }
            up.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {GIB}\r\n\r\n"));
            let part = vec![b'd'; 1 << 20];
            (0..GIB >> 20).for_each(|_| _ = up.send(&part));
        });
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {GIB}\r\n\r\n"));
        let part = vec![b'u'; 1 << 20];
        for _ in 0..GIB >> 20 {
            client.send(&part);
        }
        assert_eq!(client.head().unwrap().status, 200);
        let mut left = GIB;
        while left > 0 {
            left -= client.exactly(left.min(1 << 16)).unwrap().len();
        }
        done.recv().unwrap();
        let high = gateway.memory_kib("VmHWM");
        assert!(high < 64 << 10, "the process took {high} KiB");
    }
}
