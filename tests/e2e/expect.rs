//! Expect: 100-continue passes through: the service decides.

use harness::client::Client;
use harness::gateway::Gateway;
use harness::origin::{Origin, field};

on_both_drivers! {
    fn the_services_100_reaches_the_client(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(
            driver, &format!("[route.app]\nto = \"http://{}\"\n", origin.address()));
        let mut client = Client::connect(&gateway.address());
        client.send("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
        let mut up = origin.accept();
        assert_eq!(field(&up.head(), "expect"), Some("100-continue"));
        up.send("HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(client.head().unwrap().status, 100);
        client.send("hello");
        assert_eq!(up.exactly(5), b"hello");
        up.send("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.answer().unwrap().status, 201);
        client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(up.head().starts_with("GET /next"));
    }

    fn a_final_answer_instead_of_100_is_delivered_and_ends_the_connection(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(
            driver, &format!("[route.app]\nto = \"http://{}\"\n", origin.address()));
        let mut client = Client::connect(&gateway.address());
        client.send("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        up.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        assert_eq!(client.answer().unwrap().text(), "no");
        client.half_close().ends();
        assert!(up.ends().is_empty(), "the half-sent request's connection is not used again");
    }

    fn an_early_answer_is_delivered_while_the_body_still_comes(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(
            driver, &format!("[route.app]\nto = \"http://{}\"\n", origin.address()));
        let mut client = Client::connect(&gateway.address());
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8000000\r\n\r\n");
        client.send(vec![b'x'; 10_000]);
        let mut up = origin.accept();
        up.head();
        up.exactly(10_000);
        up.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\n\r\nstop");
        drop(up);
        client.try_send(vec![b'x'; 500_000]);
        let answer = client.answer().expect("the answer outlives the broken upload");
        assert_eq!((answer.status, answer.text().as_str()), (401, "stop"));
    }

    fn an_early_answer_beats_an_upload_that_never_pauses(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(
            driver,
            &format!("[route.app]\nto = \"http://{}\"\nbody_limit = \"none\"\n", origin.address()),
        );
        for round in 0..30 {
            let mut client = Client::connect(&gateway.address());
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 800000000\r\n\r\n");
            let mut sending = client.stream.try_clone().unwrap();
            let upload = harness::origin::beside(move || {
                let part = vec![b'x'; 1 << 16];
                while std::io::Write::write_all(&mut sending, &part).is_ok() {}
            });
            let mut up = origin.accept();
            up.head();
            up.exactly(1 << 20);
            up.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\n\r\nstop");
            if round % 2 == 0 {
                drop(up); // with unread bytes: a reset
            } else {
                let answer = client.answer().expect("the answer comes, the origin only listens");
                assert_eq!(answer.text(), "stop");
                drop((up, client));
                upload.recv().unwrap();
                continue;
            }
            let answer = client.answer().expect("the answer outlives the reset");
            assert_eq!((answer.status, answer.text().as_str()), (401, "stop"), "round {round}");
            drop(client);
            upload.recv().unwrap();
        }
    }

    fn too_large_is_said_before_the_body_is_sent(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(driver, &format!(
            "[route.app]\nto = \"http://{}\"\nbody_limit = \"1KiB\"\n", origin.address()));
        let mut client = Client::connect(&gateway.address());
        client.send("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1025\r\n\r\n");
        assert_eq!(client.answer().unwrap().status, 413);
        let mut client = Client::connect(&gateway.address());
        client.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        client.send(format!("400\r\n{}\r\n", "x".repeat(1024)));
        up.exactly(1024 + 7);
        client.send("1\r\nx\r\n");
        assert_eq!(client.answer().unwrap().status, 413);
        assert!(up.ends().is_empty());
    }

    fn the_echo_service_says_continue_itself(driver: &str) {
        let gateway = Gateway::start(driver, "[route.echo]\necho = true\n");
        let mut client = Client::connect(&gateway.address());
        client.send("PUT /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
        assert_eq!(client.head().unwrap().status, 100);
        let answer = client.ask("hello");
        assert!(answer.text().starts_with("PUT /x HTTP/1.1\r\n"), "{}", answer.text());
        assert!(answer.text().ends_with("\n\nhello"));
        assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
    }

    fn an_early_answer_says_that_the_connection_ends(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(
            driver, &format!("[route.app]\nto = \"http://{}\"\n", origin.address()));
        let mut client = Client::connect(&gateway.address());
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nabc");
        let mut up = origin.accept();
        up.head();
        up.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        let answer = client.answer().unwrap();
        assert_eq!((answer.text().as_str(), answer.field("connection")), ("ok", Some("close")));
        client.half_close().ends();
    }
}
