//! Errors the gateway makes itself.

use harness::client::{Client, ask};
use harness::gateway::Gateway;
use harness::origin::{Origin, field};

on_both_drivers! {
    fn a_problem_has_a_type_a_status_and_a_request_id(driver: &str) {
        let gateway = Gateway::start(driver, "[route.x]\npath = \"/x\"\nmethods = [\"GET\"]\nrespond = \"x\"\n");
        let answer = ask(&gateway.address(), "GET /y HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n");
        assert_eq!(answer.status, 404);
        assert_eq!(answer.field("content-type"), Some("application/problem+json"));
        let text = answer.text();
        assert!(text.contains("\"type\":\"urn:busbar:problem:not-found\""), "{text}");
        assert!(text.contains("\"status\":404") && text.contains("\"request_id\":\""), "{text}");
        let answer = ask(&gateway.address(), "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        assert_eq!((answer.status, answer.field("allow")), (405, Some("GET, HEAD")));
    }

    fn browsers_get_a_page(driver: &str) {
        let gateway = Gateway::start(driver, "[route.x]\npath = \"/x\"\nrespond = \"x\"\n");
        let answer = ask(&gateway.address(),
            "GET /y HTTP/1.1\r\nHost: a\r\nAccept: text/html,application/xhtml+xml,*/*;q=0.8\r\n\r\n");
        assert_eq!(answer.field("content-type"), Some("text/html; charset=utf-8"));
        assert!(answer.text().starts_with("<!doctype html>"));
    }

    fn refused_heads_that_could_be_read_are_answered_as_their_fields_ask(driver: &str) {
        let gateway = Gateway::start(driver,
            "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n[route.x]\npath = \"/x\"\nrespond = \"x\"\n");
        let fields = "X-Request-Id: abc-123\r\nAccept: application/xml\r\nAccept: text/*\r\n";
        for (ask, status) in [
            ("GET /a%2Fb HTTP/1.1\r\nHost: a\r\n", 400),
            ("GET /a%00b HTTP/1.1\r\nHost: a\r\n", 400),
            ("TRACE /x HTTP/1.1\r\nHost: a\r\n", 405),
            ("GET /x HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n", 417),
            ("GET /x HTTP/1.1\r\n", 400),
        ] {
            let answer = harness::client::ask(&gateway.address(), format!("{ask}{fields}\r\n"));
            assert_eq!(answer.status, status, "{ask:?}");
            assert_eq!(answer.field("content-type"), Some("text/html; charset=utf-8"), "{ask:?}");
            assert!(answer.text().contains("abc-123"), "{}", answer.text());
        }
        // Nothing of a head that could not be read is believed.
        let bad = format!("GET /x HTTP/1.1\r\nHost: a\r\n{fields}B ad: x\r\n\r\n");
        let answer = harness::client::ask(&gateway.address(), bad);
        assert_eq!((answer.status, answer.text().contains("abc-123")), (400, false));
        assert_eq!(answer.field("content-type"), Some("application/problem+json"));
    }

    fn the_connection_goes_on_after_a_404_and_head_has_no_body(driver: &str) {
        let gateway = Gateway::start(driver, "[route.x]\npath = \"/x\"\nrespond = \"x\"\n");
        let mut client = Client::connect(&gateway.address());
        assert_eq!(client.ask("GET /y HTTP/1.1\r\nHost: a\r\n\r\n").status, 404);
        client.send("HEAD /y HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.head().unwrap().status, 404);
        let small = "POST /y HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(client.ask(small).status, 404);
        assert_eq!(client.ask("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").text(), "x");
    }

    /// Only for a trusted peer, and only when it asks.
    fn a_trusted_peer_that_asks_is_told_the_reason(driver: &str) {
        let origin = Origin::new();
        let routes = format!(
            "[route.own]\npath = \"/own\"\nrespond = \"x\"\n\
             [route.gone]\npath = \"/gone\"\nto = \"http://127.0.0.1:1\"\n\
             [route.app]\npath = \"/app/*\"\nmethods = [\"GET\"]\nto = \"http://{}\"\n", origin.address());
        origin.serve(|head| {
            let asked = field(head, "busbar-reason").unwrap_or("nothing").to_owned();
            match head.starts_with("GET /app/bad ") {
                true => b"HTTP/9 what\r\n\r\n".to_vec(),
                false => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{asked}", asked.len()).into(),
            }
        });
        let trusting = Gateway::start(driver, &format!("[server]\ntrusted_proxies = [\"127.0.0.1\"]\n{routes}"));
        let plain = Gateway::start(driver, &routes);
        for (request, status, word) in [
            ("GET /nowhere HTTP/1.1\r\nHost: a\r\n", 404, Some("no_route")),
            ("POST /app/x HTTP/1.1\r\nHost: a\r\n", 405, Some("method")),
            ("GET /gone HTTP/1.1\r\nHost: a\r\n", 503, Some("connect_refused")),
            ("GET /app/bad HTTP/1.1\r\nHost: a\r\n", 502, Some("bad_answer")),
            ("GET /a%2Fb HTTP/1.1\r\nHost: a\r\n", 400, Some("encoded_slash")),
            ("GET /own HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n", 417, Some("expectation")),
            ("GET /own HTTP/1.1\r\nHost: a\r\n", 200, None),
        ] {
            let asks = |gateway: &Gateway, more: &str| {
                let answer = ask(&gateway.address(), format!("{request}{more}\r\n"));
                assert_eq!(answer.status, status, "{request}");
                answer.field("busbar-reason").map(str::to_owned)
            };
            assert_eq!(asks(&trusting, "Busbar-Reason: ?1\r\n").as_deref(), word, "{request}");
            assert_eq!(asks(&trusting, "Busbar-Reason: ?0\r\n"), None, "{request}");
            assert_eq!(asks(&trusting, ""), None, "{request}");
            assert_eq!(asks(&plain, "Busbar-Reason: ?1\r\n"), None, "{request}");
        }
        // The next gateway trusts this one: a stranger must not ask through it.
        let request = "GET /app/x HTTP/1.1\r\nHost: a\r\nBusbar-Reason: ?1\r\n\r\n";
        assert_eq!(ask(&trusting.address(), request).text(), "?1");
        assert_eq!(ask(&plain.address(), request).text(), "nothing");
    }

    fn an_upstream_that_is_down_is_503(driver: &str) {
        let dead = harness::free_port();
        let gateway = Gateway::start(driver, &format!("[route.x]\nto = \"http://127.0.0.1:{dead}\"\n"));
        let mut client = Client::connect(&gateway.address());
        for _ in 0..3 {
            let answer = client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(answer.status, 503);
            assert!(!answer.text().contains("127.0.0.1"), "nothing internal: {}", answer.text());
        }
    }
}
