//! What the service learns of the client: only what we saw, or what a trusted proxy says.

use harness::client::Client;
use harness::gateway::{Config, Gateway};
use harness::origin::{Origin, field, fields};

on_both_drivers! {
    fn forged_fields_go_and_ours_come(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(
            driver, &format!("[route.app]\nto = \"http://{}\"\n", origin.address()));
        let mut client = Client::connect(&gateway.address());
        client.send("GET / HTTP/1.1\r\nHost: shop.example:8080\r\nX-Forwarded-For: 6.6.6.6\r\n\
                     X_Forwarded_For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n\
                     X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\n\
                     X-Request-Id: forged\r\n\r\n");
        let head = origin.accept().head();
        assert_eq!(field(&head, "host"), Some("shop.example:8080"));
        assert_eq!(fields(&head, "x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(fields(&head, "x-forwarded-proto"), ["http"]);
        assert_eq!(fields(&head, "x-forwarded-host"), ["shop.example:8080"]);
        let id = field(&head, "x-request-id").unwrap();
        assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        assert!(!head.contains("6.6.6.6") && !head.to_lowercase().contains("x-forwarded-port"));
    }

    fn a_trusted_proxy_is_believed_and_appended_to(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(driver, &format!(
            "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n[route.app]\nto = \"http://{}\"\n\
             headers = {{ request = {{ set = {{ X-Client = \"{{client}}\" }} }} }}\n",
            origin.address()));
        let mut client = Client::connect(&gateway.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.7\r\n\
                     X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n\
                     X-Request-Id: abc-123\r\n\r\n");
        let head = origin.accept().head();
        assert_eq!(fields(&head, "x-forwarded-for"), ["203.0.113.7, 127.0.0.1"]);
        assert_eq!(fields(&head, "x-forwarded-proto"), ["https"]);
        assert_eq!(fields(&head, "x-forwarded-host"), ["shop.example"]);
        assert_eq!(fields(&head, "x-request-id"), ["abc-123"]);
        assert_eq!(fields(&head, "x-client"), ["203.0.113.7"]);
    }

    fn what_a_trusted_proxy_nominates_was_for_us_alone(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(driver, &format!(
            "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n[route.app]\nto = \"http://{}\"\n\
             headers = {{ request = {{ set = {{ X-Client = \"{{client}}\" }} }} }}\n",
            origin.address()));
        let mut client = Client::connect(&gateway.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.7\r\n\
                     X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n\
                     X-Request-Id: abc-123\r\nX-Real-IP: 203.0.113.7\r\nConnection: x-real-ip, \
                     X-Forwarded-For, x-forwarded-host, x-request-id\r\n\r\n");
        let head = origin.accept().head();
        assert_eq!(fields(&head, "x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(fields(&head, "x-client"), ["127.0.0.1"]);
        assert_eq!(fields(&head, "x-forwarded-host"), ["a"]);
        assert_eq!(fields(&head, "x-forwarded-proto"), ["https"], "not nominated");
        assert_eq!(field(&head, "x-real-ip"), None);
        assert_ne!(field(&head, "x-request-id"), Some("abc-123"));
    }

    fn a_proxy_that_is_not_believed_is_told_of_once(driver: &str) {
        let gateway = Gateway::with(&Config {
            text: "[route.a]\nrespond = \"a\"\n", driver, workers: 2, args: &[]
        });
        let ask = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n";
        for _ in 0..16 {
            assert_eq!(harness::client::ask(&gateway.address(), ask).status, 200);
        }
        let line = "X-Forwarded-For from 127.0.0.1 is ignored: add it to server.trusted_proxies if \
                    it is a proxy of yours";
        gateway.wait_for(line);
        let (_, log) = gateway.stop();
        assert_eq!(log.matches("X-Forwarded-For").count(), 1, "{log}");
    }

    fn nobody_is_told_of_without_those_fields(driver: &str) {
        let gateway = Gateway::start(driver, "[route.a]\nrespond = \"a\"\n");
        assert_eq!(harness::client::get(&gateway.address(), "/").status, 200);
        let (_, log) = gateway.stop();
        assert!(!log.contains("X-Forwarded-For"), "{log}");
    }

    fn the_upstreams_host_can_be_chosen(driver: &str) {
        let origin = Origin::new();
        for (mode, host) in [("endpoint", origin.address()), ("api.internal", "api.internal".into())] {
            let gateway = Gateway::start(driver, &format!(
                "[upstream.app]\nendpoints = [\"{}\"]\nhost = \"{mode}\"\n[route.app]\nto = \"app\"\n",
                origin.address()));
            let mut client = Client::connect(&gateway.address());
            client.send("GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n");
            let head = origin.accept().head();
            assert_eq!(fields(&head, "host"), [host.as_str()]);
            assert_eq!(fields(&head, "x-forwarded-host"), ["shop.example"]);
        }
    }

    fn via_is_one_key_away(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(driver, &format!(
            "[server]\nvia = true\n[route.app]\nto = \"http://{}\"\n", origin.address()));
        let mut client = Client::connect(&gateway.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut up = origin.accept();
        assert_eq!(field(&up.head(), "via"), Some("1.1 busbar"));
        up.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.answer().unwrap().field("via"), Some("1.1 busbar"));
    }

    fn max_forwards_counts_down_and_stops_here_at_zero(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(
            driver, &format!("[route.app]\nto = \"http://{}\"\n", origin.address()));
        let mut client = Client::connect(&gateway.address());
        let answer = client.ask("OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n");
        assert_eq!(answer.status, 204);
        assert!(answer.field("allow").is_some());
        client.send("OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n\r\n");
        assert_eq!(field(&origin.accept().head(), "max-forwards"), Some("2"));
        for bad in ["abc", "-1", "", "1, 2", "1\r\nMax-Forwards: 2"] {
            let ask = format!("OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: {bad}\r\n\r\n");
            assert_eq!(harness::client::ask(&gateway.address(), ask).status, 400, "{bad:?}");
        }
        let mut client = Client::connect(&gateway.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\nMax-Forwards: abc\r\n\r\n");
        assert_eq!(field(&origin.accept().head(), "max-forwards"), Some("abc"), "nothing to GET");
    }

    fn headers_are_edited_both_ways(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(driver, &format!(
            "[route.app]\npath = \"/u/{{id}}\"\nto = \"http://{}\"\n[route.app.headers]\n\
             request = {{ set = {{ X-User = \"{{id}}\" }}, add = {{ X-More = \"1\" }}, remove = [\"Cookie\"] }}\n\
             response = {{ set = {{ X-Frame-Options = \"DENY\" }}, remove = [\"Server\"] }}\n",
            origin.address()));
        let mut client = Client::connect(&gateway.address());
        client.send("GET /u/42 HTTP/1.1\r\nHost: a\r\nCookie: c\r\nx-user: forged\r\nX-More: 0\r\n\r\n");
        let mut up = origin.accept();
        let head = up.head();
        assert_eq!(fields(&head, "x-user"), ["42"]);
        assert_eq!(fields(&head, "x-more"), ["0", "1"]);
        assert!(fields(&head, "cookie").is_empty());
        up.send("HTTP/1.1 200 OK\r\nServer: x\r\nX-Frame-Options: no\r\nContent-Length: 0\r\n\r\n");
        let answer = client.answer().unwrap();
        assert_eq!(answer.field("server"), None);
        assert_eq!(answer.field("x-frame-options"), Some("DENY"));
    }

    fn a_date_that_was_for_us_alone_is_replaced(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(
            driver, &format!("[route.app]\nto = \"http://{}\"\n", origin.address()));
        let mut client = Client::connect(&gateway.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        up.send("HTTP/1.1 200 OK\r\nConnection: date\r\nContent-Length: 0\r\n\
                 Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n");
        let answer = client.answer().unwrap();
        assert_eq!(fields(&answer.head, "date").len(), 1, "{}", answer.head);
        assert!(!answer.head.contains("1994"));
    }

    fn a_clients_many_lines_do_not_hide_the_proxys_own(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(driver, &format!(
            "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n[route.app]\nto = \"http://{}\"\n\
             headers = {{ request = {{ set = {{ X-Client = \"{{client}}\" }} }} }}\n",
            origin.address()));
        let mut client = Client::connect(&gateway.address());
        let forged = "X-Forwarded-For: 6.6.6.6\r\n".repeat(20);
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{forged}X-Forwarded-For: 203.0.113.7\r\n\
            X-Forwarded-Proto: gopher\r\nX-Forwarded-Proto: https\r\n\
            X_Forwarded_For: 6.6.6.6\r\nX-Consumer-Name: root\r\nContent_Length: 5\r\n\
            X-Forwarded-Port: 443\r\n\r\n"));
        let head = origin.accept().head();
        assert_eq!(fields(&head, "x-client"), ["203.0.113.7"]);
        assert_eq!(fields(&head, "x-forwarded-proto"), ["https"]);
        assert_eq!(fields(&head, "x-forwarded-port"), ["443"]);
        for gone in ["x_forwarded_for", "x-consumer-name", "content_length"] {
            assert_eq!(field(&head, gone), None, "{gone}");
        }
    }

    fn what_the_route_sets_of_our_own_fields_is_not_written_twice(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(driver, &format!(
            "[route.app]\nto = \"http://{}\"\n[route.app.headers]\n\
             request = {{ set = {{ X-Forwarded-Proto = \"https\" }}, remove = [\"X-Forwarded-For\"] }}\n",
            origin.address()));
        let mut client = Client::connect(&gateway.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = origin.accept().head();
        assert_eq!(fields(&head, "x-forwarded-proto"), ["https"]);
        assert!(fields(&head, "x-forwarded-for").is_empty());
    }
}
