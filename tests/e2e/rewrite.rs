//! What a rewrite sends upstream, whatever clients put into it.

use harness::client::{Client, get};
use harness::gateway::Gateway;
use harness::origin::{Origin, field};

/// Answers with the request line and `Host` of what it is sent.
fn telling_origin() -> String {
    let origin = Origin::new();
    let address = origin.address();
    origin.serve(|head| {
        let line = head.lines().next().unwrap_or_default();
        let body = format!("{line} {}", field(head, "host").unwrap_or_default());
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    });
    address
}

fn config(origin: &str) -> String {
    format!(
        "[upstream.u]\nendpoints = [\"{origin}\"]\n\
         [group.api]\nprefix = \"/api/{{tenant}}\"\n\
         rewrite = {{ host = \"{{tenant}}.internal\" }}\n\
         [route.plain]\npath = \"/plain/*\"\nto = \"u\"\n\
         [route.user]\ngroup = \"api\"\npath = \"/users/{{id}}\"\nto = \"u\"\n\
         rewrite = {{ path = \"/u/{{id}}\", query = \"t={{tenant}}&{{query}}\" }}\n\
         [route.rest]\npath = \"/old/{{*rest}}\"\nto = \"u\"\n\
         rewrite = {{ path = \"/new/{{*rest}}\" }}\n\
         [route.dots]\npath = \"/dots/{{a}}/{{b}}\"\nto = \"u\"\n\
         rewrite = {{ path = \"/d/{{a}}{{b}}/x\" }}\n\
         [route.query]\npath = \"/query\"\nto = \"u\"\n\
         rewrite = {{ path = \"/q/{{query.p}}\", query = \"\" }}\n\
         [route.field]\npath = \"/field\"\nto = \"u\"\n\
         rewrite = {{ path = \"/f/{{header.x-path}}\", host = \"{{header.x-host}}\" }}\n"
    )
}

on_both_drivers! {
    fn captures_and_queries_go_where_the_rewrite_says(driver: &str) {
        let gateway = Gateway::start(driver, &config(&telling_origin()));
        let rows = [
            ("/plain/a?b=c", "GET /plain/a?b=c HTTP/1.1 test.example"),
            ("/api/acme/users/7?x=1", "GET /u/7?t=acme&x=1 HTTP/1.1 acme.internal"),
            ("/api/acme/users/7", "GET /u/7?t=acme& HTTP/1.1 acme.internal"),
            ("/api/acme/users/a%20b;c%3Fd", "GET /u/a%20b;c%3Fd?t=acme& HTTP/1.1 acme.internal"),
            ("/old/a//b/../c?q", "GET /new/a/c?q HTTP/1.1 test.example"),
            ("/old", "GET /new/ HTTP/1.1 test.example"),
            ("/query?p=a%20b&q=1", "GET /q/a%20b HTTP/1.1 test.example"),
            ("/query?p=%0d%0aX-Evil:%201", "GET /q/%0D%0AX-Evil%3A%201 HTTP/1.1 test.example"),
            ("/query?p=a%3Fadmin%3D1%23", "GET /q/a%3Fadmin%3D1%23 HTTP/1.1 test.example"),
            ("/dots/x/y", "GET /d/xy/x HTTP/1.1 test.example"),
        ];
        for (target, expect) in rows {
            let answer = get(&gateway.address(), target);
            assert_eq!((answer.status, answer.text()), (200, expect.to_owned()), "{target}");
        }
        assert_eq!(gateway.stop().0, Some(0));
    }

    fn what_would_lead_elsewhere_is_refused_and_the_connection_lives_on(driver: &str) {
        let gateway = Gateway::start(driver, &config(&telling_origin()));
        let mut client = Client::connect(&gateway.address());
        let mut ask = |target: &str, fields: &str| {
            client.ask(format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n"))
        };
        let rows = [
            ("/query?p=..%2fadmin", ""),
            ("/query?p=%2e%2e", ""),
            ("/query?p=..;x", ""),
            ("/query?p=%00", ""),
            ("/api/a%2Cb/users/7", ""),
            ("/field", "X-Path: ..\r\nX-Host: h\r\n"),
            ("/field", "X-Path: a\r\nX-Host: h/evil\r\n"),
            ("/field", "X-Path: a\r\nX-Host: user@h\r\n"),
            ("/field", "X-Path: a\r\n"),
        ];
        for (target, fields) in rows {
            let answer = ask(target, fields);
            assert_eq!(answer.status, 400, "{target} {fields}: {}", answer.text());
            assert!(answer.text().contains("urn:busbar:problem:bad-rewrite"), "{}", answer.text());
        }
        let answer = ask("/field", "X-Path: a b\r\nX-Host: h.internal:81\r\n");
        assert_eq!(answer.text(), "GET /f/a%20b HTTP/1.1 h.internal:81");
        assert_eq!(gateway.stop().0, Some(0));
    }

    fn a_body_and_a_fresh_try_go_with_the_rewritten_head(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(driver, &config(&origin.address()));
        let mut client = Client::connect(&gateway.address());
        client.send("PUT /old/a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
        let mut up = origin.accept();
        assert!(up.head().starts_with("PUT /new/a HTTP/1.1\r\n"));
        assert_eq!(up.exactly(3), b"abc");
        up.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.head().unwrap().status, 200);
        // The kept connection ends as the next request arrives: it is sent again on a new one.
        client.send("GET /old/b HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(up.head().starts_with("GET /new/b HTTP/1.1\r\n"));
        drop(up);
        let mut up = origin.accept();
        assert!(up.head().starts_with("GET /new/b HTTP/1.1\r\n"));
        up.send("HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(client.head().unwrap().status, 204);
    }
}
