//! Upgrade: WebSocket tunnels, and what is not let through.

use harness::client::Client;
use harness::gateway::Gateway;
use harness::origin::{Origin, field};

const ASK: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

fn start(driver: &str, origin: &Origin, more: &str) -> Gateway {
    Gateway::start(driver, &format!("[route.app]\nto = \"http://{}\"\n{more}", origin.address()))
}

on_both_drivers! {
    fn a_websocket_is_tunnelled_with_the_bytes_behind_the_heads(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "");
        let mut client = Client::connect(&gateway.address());
        client.send(format!("{ASK}early"));
        let mut up = origin.accept();
        let head = up.head();
        assert_eq!(field(&head, "upgrade"), Some("websocket"));
        assert_eq!(field(&head, "connection"), Some("upgrade"));
        assert_eq!(field(&head, "sec-websocket-key"), Some("x"));
        up.send(format!("{SWITCH}first"));
        let answer = client.head().unwrap();
        assert_eq!((answer.status, answer.field("upgrade")), (101, Some("websocket")));
        assert_eq!(client.exactly(5).unwrap(), b"first");
        assert_eq!(up.exactly(5), b"early");
        for _ in 0..50 {
            client.send("ping");
            assert_eq!(up.exactly(4), b"ping");
            up.send("pong");
            assert_eq!(client.exactly(4).unwrap(), b"pong");
        }
        client.half_close();
        assert!(up.ends().is_empty());
        up.send("bye");
        drop(up);
        assert_eq!(client.rest().0, b"bye", "the other direction ends by itself");
    }

    fn a_101_that_nobody_asked_for_is_502(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "");
        let mut client = Client::connect(&gateway.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        up.send(SWITCH);
        assert_eq!(client.answer().unwrap().status, 502);
        assert!(up.ends().is_empty());
    }

    fn another_protocol_than_asked_is_502(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "");
        let mut client = Client::connect(&gateway.address());
        client.send(ASK);
        let mut up = origin.accept();
        up.head();
        up.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n");
        assert_eq!(client.answer().unwrap().status, 502);
    }

    fn names_the_route_does_not_list_are_not_passed_on(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "");
        let mut client = Client::connect(&gateway.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n\
                     Upgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n");
        let mut up = origin.accept();
        let head = up.head();
        for gone in ["upgrade", "http2-settings", "connection"] {
            assert_eq!(field(&head, gone), None, "{head}");
        }
        up.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(client.answer().unwrap().text(), "ok");
    }

    fn a_listed_name_passes(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "upgrade = [\"foo\"]\n");
        let mut client = Client::connect(&gateway.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket, Foo\r\n\r\n");
        let mut up = origin.accept();
        assert_eq!(field(&up.head(), "upgrade"), Some("Foo"));
        up.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n");
        assert_eq!(client.head().unwrap().status, 101);
    }

    fn http_2_in_clear_text_passes_with_its_settings_where_it_is_listed(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "upgrade = [\"h2c\", \"websocket\"]\n");
        let ask = |fields: &str| format!(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n{fields}\r\n");
        let mut client = Client::connect(&gateway.address());
        client.send(ask("Upgrade: h2c, websocket\r\nHTTP2-Settings: AAMA\r\n"));
        let mut up = origin.accept();
        let head = up.head();
        assert_eq!(field(&head, "upgrade"), Some("h2c"), "{head}");
        assert_eq!(field(&head, "http2-settings"), Some("AAMA"));
        assert_eq!(field(&head, "connection"), Some("upgrade, HTTP2-Settings"));
        up.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nS");
        assert_eq!(client.head().unwrap().status, 101);
        assert_eq!(client.exactly(1).unwrap(), b"S");
        client.send("PRI");
        assert_eq!(up.exactly(3), b"PRI");
        // Without settings, or with two, no server may switch: the next choice is asked for.
        for settings in ["", "HTTP2-Settings: A\r\nHTTP2-Settings: B\r\n"] {
            let mut client = Client::connect(&gateway.address());
            client.send(ask(&format!("Upgrade: h2c, websocket\r\n{settings}")));
            let head = origin.accept().head();
            assert_eq!(field(&head, "upgrade"), Some("websocket"), "{head}");
            assert_eq!(field(&head, "http2-settings"), None);
        }
    }

    fn an_upgrade_that_an_answer_demands_is_named_in_connection(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "");
        for (ask, connection) in [("", "upgrade"), ("Connection: close\r\n", "close, upgrade")] {
            let mut client = Client::connect(&gateway.address());
            client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{ask}\r\n"));
            let mut up = origin.accept();
            up.head();
            up.send("HTTP/1.1 426 Upgrade Required\r\nUpgrade: TLS/1.2\r\nX-Hop: 1\r\n\
                     Connection: close, upgrade, x-hop\r\nContent-Length: 0\r\n\r\n");
            let answer = client.answer().unwrap();
            assert_eq!((answer.status, answer.field("upgrade")), (426, Some("TLS/1.2")));
            assert_eq!(answer.field("connection"), Some(connection));
            assert_eq!(answer.field("x-hop"), None);
        }
    }

    fn a_declined_upgrade_is_an_ordinary_exchange(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "");
        let mut client = Client::connect(&gateway.address());
        client.send(ASK);
        let mut up = origin.accept();
        up.head();
        up.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno");
        assert_eq!(client.answer().unwrap().text(), "no");
        client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(up.head().starts_with("GET /next"));
    }

    fn silence_ends_a_tunnel(driver: &str) {
        let origin = Origin::new();
        let gateway = start(driver, &origin, "tunnel_timeout = \"200ms\"\n");
        let mut client = Client::connect(&gateway.address());
        client.send(ASK);
        let mut up = origin.accept();
        up.head();
        up.send(SWITCH);
        client.head().unwrap();
        client.ends();
        assert!(up.ends().is_empty());
    }
}
