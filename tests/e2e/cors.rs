//! Pages of other origins.

use harness::client::{Answer, ask, asking};
use harness::gateway::Gateway;
use harness::origin::Origin;

const PAGE: &str = "Origin: https://app.example.com";

fn service() -> String {
    let origin = Origin::new();
    let address = origin.address();
    origin.serve(|_| {
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAccess-Control-Allow-Origin: https://evil.example\r\n\
          Access-Control-Allow-Credentials: true\r\nAccess-Control-Expose-Headers: X-Own\r\n\
          Vary: Accept\r\nX-Own: 1\r\n\r\nok"
            .to_vec()
    });
    address
}

fn config() -> String {
    format!(
        r#"
[auth.keys]
method = "api_key"
[consumer.acme]
api_keys = ["{}"]
[upstream.service]
endpoints = ["{}"]
[group.pages]
auth = "none"
cors = {{ origins = ["https://app.example.com", "https://*.shop.example"] }}
[route.read]
group = "pages"
path = "/read"
methods = ["GET", "DELETE"]
to = "service"
[route.any]
group = "pages"
path = "/any"
cors = {{ origins = ["*"], headers = ["*"] }}
to = "service"
[route.closed]
group = "pages"
path = "/closed"
auth = "keys"
to = "service"
[route.closed.cors]
origins = ["https://app.example.com"]
methods = ["PUT"]
headers = ["X-Api-Key", "Content-Type"]
expose = ["X-Own"]
credentials = true
max_age = "1h"
[route.plain]
path = "/plain"
auth = "none"
to = "service"
"#,
        harness::tokens::hashed("right"),
        service()
    )
}

/// What an answer says of it: origin, credentials, methods, headers, expose, age.
fn said(answer: &Answer) -> [&str; 6] {
    [
        "allow-origin",
        "allow-credentials",
        "allow-methods",
        "allow-headers",
        "expose-headers",
        "max-age",
    ]
    .map(|name| {
        let found = answer.fields(&format!("access-control-{name}"));
        assert!(found.len() < 2, "{name} twice: {}", answer.head);
        found.first().copied().unwrap_or("-")
    })
}

on_both_drivers! {
    fn preflights_are_answered_and_answers_are_marked(driver: &str) {
        let gateway = Gateway::two(driver, &config());
        let asked = |line: &str, lines: &[&str]| {
            ask(&gateway.address(), asking("/x", lines).replacen("GET /x", line, 1))
        };
        let put = "Access-Control-Request-Method: PUT";
        let delete = "Access-Control-Request-Method: DELETE";
        let names = "Access-Control-Request-Headers: x-a, x-b";
        let page = "https://app.example.com";
        let rows: [(&str, &[&str], u16, [&str; 6]); 14] = [
            ("GET /read", &[PAGE], 200, [page, "-", "-", "-", "-", "-"]),
            ("GET /read", &["Origin: https://a.b.shop.example"], 200,
             ["https://a.b.shop.example", "-", "-", "-", "-", "-"]),
            ("GET /read", &["Origin: https://evil.example"], 200, ["-"; 6]),
            ("GET /read", &[], 200, ["-"; 6]),
            ("OPTIONS /read", &[PAGE, delete], 204, [page, "-", "GET, DELETE", "-", "-", "600"]),
            ("OPTIONS /read", &["Origin: https://evil.example", delete], 204, ["-"; 6]),
            // No route has it.
            ("OPTIONS /read", &[PAGE, put], 405, ["-"; 6]),
            ("GET /any", &["Origin: null"], 200, ["*", "-", "-", "-", "-", "-"]),
            ("OPTIONS /any", &["Origin: null", put, names], 204,
             ["*", "-", "GET, HEAD, POST", "x-a, x-b", "-", "600"]),
            ("PUT /closed", &[PAGE, "X-Api-Key: right"], 200, [page, "true", "-", "-", "X-Own", "-"]),
            ("PUT /closed", &[PAGE], 401, [page, "true", "-", "-", "X-Own", "-"]),
            ("OPTIONS /closed", &[PAGE, put], 204,
             [page, "true", "PUT", "X-Api-Key, Content-Type", "-", "3600"]),
            // No question of a browser: as any other request.
            ("OPTIONS /closed", &[PAGE], 401, [page, "true", "-", "-", "X-Own", "-"]),
            ("GET /plain", &[PAGE], 200, ["https://evil.example", "true", "-", "-", "X-Own", "-"]),
        ];
        for (line, lines, status, expect) in rows {
            let answer = asked(line, lines);
            assert_eq!(answer.status, status, "{line} {lines:?} {}", answer.text());
            assert_eq!(said(&answer), expect, "{line} {lines:?}\n{}", answer.head);
            if status == 405 {
                continue;
            }
            let vary = answer.fields("vary").join(", ");
            let is_shared = line.ends_with("/plain") || line == "GET /any";
            assert_eq!(vary.contains("Origin"), !is_shared, "{line} {lines:?}: {vary}");
            assert!(status != 200 || vary.contains("Accept"), "the service's own stays: {vary}");
        }
        gateway.stop();
    }
}
