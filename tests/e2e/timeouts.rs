//! Timeouts end what stands still. That they end it in time is asserted in virtual time; here
//! they are short and it is the outcome that counts.

use harness::client::Client;
use harness::gateway::Gateway;
use harness::origin::Origin;

fn start(driver: &str, origin: &Origin, more: &str) -> Gateway {
    Gateway::start(driver, &format!("[route.app]\nto = \"http://{}\"\n{more}", origin.address()))
}

on_both_drivers! {
    fn a_head_that_does_not_come_to_an_end_is_408(driver: &str) {
        let gateway = Gateway::start(driver,
            "[listener.web]\naddress = \"127.0.0.1:PORT\"\nhead_timeout = \"200ms\"\n\
             [route.all]\nrespond = \"ok\"\n");
        let mut client = Client::connect(&gateway.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ");
        assert_eq!(client.answer().unwrap().status, 408);
        client.ends();
        let mut silent = Client::connect(&gateway.address());
        silent.ends();
        // On a kept connection the clock starts with the first byte.
        let mut client = Client::connect(&gateway.address());
        client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        client.send("GET / HT");
        assert_eq!(client.answer().unwrap().status, 408);
    }

    fn an_idle_connection_ends(driver: &str) {
        let gateway = Gateway::start(driver,
            "[listener.web]\naddress = \"127.0.0.1:PORT\"\nidle_timeout = \"200ms\"\n\
             [route.all]\nrespond = \"ok\"\n");
        let mut client = Client::connect(&gateway.address());
        client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        client.ends();
    }

    fn an_answer_that_does_not_come_is_504(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "timeout = \"200ms\"\n");
        let mut client = Client::connect(&gateway.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        assert_eq!(client.answer().unwrap().status, 504);
        assert!(up.ends().is_empty());
        // Bytes of a head are not a head.
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        up.send("HTTP/1.1 200 OK\r\nX: ");
        assert_eq!(client.answer().unwrap().status, 504);
    }

    fn a_body_that_stops_is_cut(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "body_timeout = \"200ms\"\n");
        let mut client = Client::connect(&gateway.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        up.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        client.head().unwrap();
        assert_eq!(client.rest().0, b"half");
        let mut client = Client::connect(&gateway.address());
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
        let mut up = origin.accept();
        up.head();
        assert_eq!(client.answer().unwrap().status, 408);
        assert_eq!(up.ends(), b"half");
    }

    fn the_answers_clock_stands_still_while_the_body_is_sent(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "timeout = \"300ms\"\n");
        let mut client = Client::connect(&gateway.address());
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        let begin = std::time::Instant::now();
        for _ in 0..10 {
            harness::eventually("a slow client", {
                let begin = std::time::Instant::now();
                move || begin.elapsed().as_millis() > 60
            });
            client.send("x");
            up.exactly(1);
        }
        assert!(begin.elapsed().as_millis() > 300);
        up.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(client.answer().unwrap().status, 200);
    }

    fn the_deadline_is_hard(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "deadline = \"300ms\"\n");
        let mut client = Client::connect(&gateway.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        assert_eq!(client.answer().unwrap().status, 504);
        let mut client = Client::connect(&gateway.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        up.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while up.try_send("1\r\nx\r\n") {
            harness::eventually("a slow origin", {
                let begin = std::time::Instant::now();
                move || begin.elapsed().as_millis() > 20
            });
        }
        client.head().unwrap();
        assert!(!client.rest().0.ends_with(b"0\r\n\r\n"));
    }

    fn a_client_that_never_reads_is_cut(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "body_timeout = \"300ms\"\n");
        let mut client = Client::connect(&gateway.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        up.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        let part = vec![b'x'; 1 << 20];
        let sent = (0..1000).take_while(|_| up.try_send(&part)).count();
        assert!(sent < 100, "back-pressure held the origin, then the timeout ended it: {sent} MiB");
        assert!(gateway.memory_kib("VmHWM") < 64 << 10);
    }
}
