//! Which route, through the whole gateway; the rules themselves are tested in the router.

use harness::client::{Client, ask, get};
use harness::gateway::Gateway;

const ROUTES: &str = r#"
[route.any]
respond = "any"
[route.host]
host = "a.example"
respond = "host"
[route.wild]
host = "*.example"
respond = "wild"
[route.users]
path = "/users/*"
respond = "users"
[route.me]
path = "/users/me"
respond = "me"
[route.user]
path = "/users/{id}/posts"
respond = { body = "posts of {id}" }
[route.write]
path = "/users/*"
methods = ["POST"]
respond = "write"
[route.canary]
path = "/users/*"
when = { headers = { x-canary = "1" } }
respond = "canary"
[route.v2]
path = "/api"
when = { query = { v = "2" } }
respond = "v2"
[route.old]
path = "/old/{*rest}"
redirect = "https://{host}/new/{*rest}"
[route.slash]
path = "/friendly"
slash = "redirect"
respond = "friendly"
[route.files]
path = "/files/*"
encoded_slash = "keep"
respond = { body = "{path}" }
[route.raw]
path = "/raw/*"
slashes = "keep"
respond = { body = "{path}" }
"#;

on_both_drivers! {
    fn the_most_specific_route_answers(driver: &str) {
        let gateway = Gateway::start(driver, ROUTES);
        let a = gateway.address();
        for (request, body) in [
            ("GET /x HTTP/1.1\r\nHost: other\r\n", "any"),
            ("GET /x HTTP/1.0\r\n", "any"),
            ("GET /x HTTP/1.1\r\nHost: A.example:80\r\n", "host"),
            ("GET /x HTTP/1.1\r\nHost: b.example\r\n", "wild"),
            ("GET /users HTTP/1.1\r\nHost: o\r\n", "users"),
            ("GET /users/1 HTTP/1.1\r\nHost: o\r\n", "users"),
            ("GET /users/me HTTP/1.1\r\nHost: o\r\n", "me"),
            ("GET /users/me/posts HTTP/1.1\r\nHost: o\r\n", "posts of me"),
            ("POST /users/1 HTTP/1.1\r\nHost: o\r\nContent-Length: 0\r\n", "write"),
            ("GET /users/1 HTTP/1.1\r\nHost: o\r\nX-Canary: 1\r\n", "canary"),
            ("GET /usersx HTTP/1.1\r\nHost: o\r\n", "any"),
            ("GET /api?v=2 HTTP/1.1\r\nHost: o\r\n", "v2"),
            ("GET /api?v=3 HTTP/1.1\r\nHost: o\r\n", "any"),
            ("GET http://a.example/x HTTP/1.1\r\nHost: other\r\n", "host"),
            ("GET /users/./me HTTP/1.1\r\nHost: o\r\n", "me"),
            ("GET /users/%6De HTTP/1.1\r\nHost: o\r\n", "me"),
            ("GET /files/a%2Fb HTTP/1.1\r\nHost: o\r\n", "/files/a%2Fb"),
            ("GET /raw//x HTTP/1.1\r\nHost: o\r\n", "/raw//x"),
        ] {
            let answer = ask(&a, format!("{request}Connection: close\r\n\r\n"));
            assert_eq!((answer.status, answer.text().as_str()), (200, body), "{request}");
        }
        assert_eq!(get(&a, "/users/a%2Fb").status, 400, "only where a route says keep");
    }

    fn redirects_carry_the_captures(driver: &str) {
        let gateway = Gateway::start(driver, ROUTES);
        let mut client = Client::connect(&gateway.address());
        let answer = client.ask("GET /old/a/b%20c HTTP/1.1\r\nHost: shop\r\n\r\n");
        assert_eq!(answer.status, 308);
        assert_eq!(answer.field("location"), Some("https://shop/new/a/b%20c"));
        let answer = client.ask("GET /friendly/?q=1 HTTP/1.1\r\nHost: o\r\n\r\n");
        assert_eq!(answer.text(), "any", "a wider route answers before a redirect is thought of");
    }

    fn methods_that_no_route_takes_are_405(driver: &str) {
        let gateway = Gateway::start(driver, "[route.a]\npath = \"/a\"\nmethods = [\"PUT\", \"GET\"]\nrespond = \"a\"\n");
        let answer = ask(&gateway.address(), "DELETE /a HTTP/1.1\r\nHost: o\r\n\r\n");
        assert_eq!((answer.status, answer.field("allow")), (405, Some("GET, HEAD, PUT")));
        let mut client = Client::connect(&gateway.address());
        client.send("HEAD /a HTTP/1.1\r\nHost: o\r\n\r\n");
        assert_eq!(client.head().unwrap().status, 200, "HEAD where GET is");
    }

    fn a_missing_slash_is_redirected_where_the_route_says_so(driver: &str) {
        let gateway = Gateway::start(driver, "[route.s]\npath = \"/s/\"\nslash = \"redirect\"\nrespond = \"s\"\n");
        let answer = ask(&gateway.address(), "GET /s?q=1 HTTP/1.1\r\nHost: o\r\n\r\n");
        assert_eq!((answer.status, answer.field("location")), (308, Some("/s/?q=1")));
    }

    fn a_slash_is_redirected_where_only_the_method_is_wrong(driver: &str) {
        let gateway = Gateway::start(driver,
            "[route.read]\npath = \"/s\"\nmethods = [\"GET\"]\nrespond = \"r\"\n\
             [route.write]\npath = \"/s/\"\nmethods = [\"POST\"]\nslash = \"redirect\"\nrespond = \"w\"\n\
             [route.plain]\npath = \"/p\"\nmethods = [\"GET\"]\nrespond = \"p\"\n\
             [route.all]\nhost = \"all.example\"\nmethods = [\"GET\"]\nrespond = \"all\"\n");
        let post = |path: &str| ask(&gateway.address(),
            format!("POST {path} HTTP/1.1\r\nHost: o\r\nContent-Length: 0\r\n\r\n"));
        let answer = post("/s?q=1");
        assert_eq!((answer.status, answer.field("location")), (308, Some("/s/?q=1")));
        assert_eq!(post("/s/").text(), "w");
        assert_eq!(get(&gateway.address(), "/s").text(), "r", "who matches goes first");
        let answer = post("/p");
        assert_eq!((answer.status, answer.field("allow")), (405, Some("GET, HEAD")));
        let answer = ask(&gateway.address(), "PUT /s HTTP/1.1\r\nHost: o\r\nContent-Length: 0\r\n\r\n");
        assert_eq!((answer.status, answer.field("allow")), (405, Some("GET, HEAD")));
        let answer = ask(&gateway.address(), "OPTIONS * HTTP/1.1\r\nHost: all.example\r\n\r\n");
        assert_eq!((answer.status, answer.field("location")), (405, None), "`*` has no slash");
    }

    fn a_routes_edits_of_answers_hold_for_its_own_answers(driver: &str) {
        let edits = "headers.response = { set = { Date = \"now\", Content-Type = \"text/x\", X-A = \"set\" }, \
                     add = { X-B = \"added\" }, remove = [\"X-C\"] }\n";
        let gateway = Gateway::start(driver, &format!(
            "[route.r]\npath = \"/r\"\n{edits}respond = {{ body = \"b\", headers = {{ X-A = \"own\", X-B = \"own\", X-C = \"own\" }} }}\n\
             [route.l]\npath = \"/l\"\nheaders.response.set = {{ Location = \"/else\" }}\nredirect = \"/there\"\n\
             [route.n]\npath = \"/n\"\nheaders.response.remove = [\"Date\"]\nredirect = \"/there\"\n"));
        let answer = get(&gateway.address(), "/r");
        for (name, values) in [
            ("date", &["now"][..]),
            ("content-type", &["text/x"]),
            ("x-a", &["set"]),
            ("x-b", &["own", "added"]),
            ("x-c", &[]),
        ] {
            assert_eq!(harness::origin::fields(&answer.head, name), values, "{}", answer.head);
        }
        let answer = get(&gateway.address(), "/l");
        assert_eq!(harness::origin::fields(&answer.head, "location"), ["/else"]);
        assert_eq!(harness::origin::fields(&answer.head, "date").len(), 1);
        let answer = get(&gateway.address(), "/n");
        assert_eq!((answer.status, answer.field("date")), (308, None));
    }

    fn routes_of_a_listener_are_its_own(driver: &str) {
        let other = harness::free_port();
        let gateway = Gateway::start(driver, &format!(
            "[listener.web]\naddress = \"127.0.0.1:PORT\"\n[listener.inner]\naddress = \"127.0.0.1:{other}\"\n\
             [route.a]\npath = \"/a\"\nlistener = \"inner\"\nrespond = \"inner\"\n\
             [route.b]\npath = \"/b\"\nrespond = \"both\"\n"));
        let inner = format!("127.0.0.1:{other}");
        assert_eq!(get(&gateway.address(), "/a").status, 404);
        assert_eq!(get(&inner, "/a").text(), "inner");
        assert_eq!(get(&inner, "/b").text(), "both");
        assert_eq!(get(&gateway.address(), "/b").text(), "both");
    }
}
