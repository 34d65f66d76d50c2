//! What the gateway tells of itself: numbers and the access log.

use harness::client::{Client, ask, get};
use harness::eventually;
use harness::gateway::{Config, Gateway};
use harness::origin::Origin;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

fn metric(text: &str, line: &str) -> u64 {
    let found = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {line} in\n{text}")).parse().unwrap()
}

fn json_lines(gateway: &Gateway) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(gateway.dir.path().join("access.jsonl"));
    text.unwrap_or_default().lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// Waits until the log has `n` lines.
fn lines(gateway: &Gateway, n: usize) -> Vec<serde_json::Value> {
    eventually("the lines are written", || json_lines(gateway).len() >= n);
    json_lines(gateway)
}

on_both_drivers! {
    /// Totals are exact: every exchange counts once, whatever worker had it.
    fn every_exchange_is_counted(driver: &str) {
        let origin = Origin::new();
        let text = format!(
            "[route.app]\npath = \"/app/*\"\nto = \"http://{}\"\n\
             [route.own]\npath = \"/own\"\nrespond = \"own\"\n\
             [route.gone]\npath = \"/gone\"\nto = \"http://127.0.0.1:1\"\n", origin.address());
        let gateway = Gateway::with(&Config { text: &text, driver, workers: 2, args: &[] });
        origin.serve(|_| OK.to_vec());
        for _ in 0..20 {
            assert_eq!(get(&gateway.address(), "/app/x?secret=1").status, 200);
            assert_eq!(get(&gateway.address(), "/own").status, 200);
        }
        for _ in 0..3 {
            assert_eq!(get(&gateway.address(), "/nowhere").status, 404);
            assert_eq!(get(&gateway.address(), "/gone").status, 503);
            assert_eq!(ask(&gateway.address(), "GET / HTTP/1.1\r\nHost: a\r\nX Y: z\r\n\r\n").status, 400);
        }
        let (status, text) = gateway.admin("GET", "/metrics");
        assert_eq!(status, 200);
        let requests = |labels: &str| metric(&text, &format!("busbar_requests_total{{{labels}}}"));
        assert_eq!(requests("route=\"app\",class=\"2xx\""), 20);
        assert_eq!(requests("route=\"own\",class=\"2xx\""), 20);
        assert_eq!(requests("route=\"gone\",class=\"5xx\""), 3);
        assert_eq!(requests("route=\"\",class=\"4xx\""), 6);
        let refusals = |word: &str| metric(&text, &format!("busbar_refusals_total{{reason=\"{word}\"}}"));
        assert_eq!((refusals("no_route"), refusals("connect_refused"), refusals("bad_request")), (3, 3, 3));
        assert_eq!(metric(&text, "busbar_request_duration_seconds_count{route=\"app\"}"), 20);
        assert_eq!(metric(&text, "busbar_connections_total"), 49);
        let request = "GET /own HTTP/1.1\r\nHost: test.example\r\n\r\n".len() as u64;
        assert_eq!(metric(&text, "busbar_request_bytes_total{route=\"own\"}"), 20 * request);
        let upstream = format!("upstream=\"http://{}\"", text.lines()
            .find_map(|l| l.strip_prefix("busbar_upstream_requests_total{upstream=\"http://")?
                .strip_suffix("\",class=\"2xx\"} 20")).expect("the upstream's row"));
        let first = format!("busbar_upstream_first_byte_seconds_count{{{upstream}}}");
        assert_eq!(metric(&text, &first), 20);
        assert_eq!(metric(&text, "busbar_upstream_connections_total"), 20
            - metric(&text, "busbar_upstream_reused_total"));
        // Asked again, nothing has gone back or doubled.
        let (_, again) = gateway.admin("GET", "/metrics");
        assert_eq!(metric(&again, "busbar_requests_total{route=\"app\",class=\"2xx\"}"), 20);
        let (code, log) = gateway.stop();
        assert_eq!(code, Some(0));
        assert!(log.contains("served 49 requests on 49 connections"), "{log}");
    }

    /// A removed route's numbers do not go back.
    fn counters_survive_reloads(driver: &str) {
        let gateway = Gateway::start(driver, "[route.a]\npath = \"/a\"\nrespond = \"a\"\n");
        get(&gateway.address(), "/a");
        gateway.rewrite("[route.b]\npath = \"/b\"\nrespond = \"b\"\n");
        gateway.reload();
        get(&gateway.address(), "/b");
        let (_, text) = gateway.admin("GET", "/metrics");
        let requests = |route: &str| {
            metric(&text, &format!("busbar_requests_total{{route=\"{route}\",class=\"2xx\"}}"))
        };
        assert_eq!((requests("(retired)"), requests("b")), (1, 1));
        assert_eq!(metric(&text, "busbar_generation"), 2);
        assert_eq!(metric(&text, "busbar_reloads_total{result=\"adopted\"}"), 1);
    }

    fn every_request_has_its_line(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(driver, &format!(
            "[log.access]\nto = \"access.jsonl\"\n\
             [route.app]\nto = \"http://{}\"\npath = \"/app/*\"\n", origin.address()));
        let mut client = Client::connect(&gateway.address());
        client.send("GET /app/a%22b?key=secret HTTP/1.1\r\nHost: shop.example\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        up.send(OK);
        client.answer().unwrap();
        client.send("GET /app/cut HTTP/1.1\r\nHost: a\r\n\r\n");
        up.head();
        up.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        drop(up);
        client.rest();
        get(&gateway.address(), "/nowhere");
        ask(&gateway.address(), "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n");
        let lines = lines(&gateway, 4);
        assert_eq!(lines.len(), 4);
        let ok = &lines[0];
        assert_eq!((ok["path"].as_str(), ok["host"].as_str()), (Some("/app/a%22b"), Some("shop.example")));
        assert_eq!((ok["status"].as_u64(), ok["route"].as_str()), (Some(200), Some("app")));
        assert_eq!((ok["reason"].as_str(), ok["attempts"].as_u64()), (Some("-"), Some(1)));
        assert_eq!((ok["client"].as_str(), ok["generation"].as_u64()), (Some("127.0.0.1"), Some(1)));
        assert!(ok["first_byte_us"].as_u64() <= ok["duration_us"].as_u64());
        assert!(!ok.to_string().contains("secret"), "the query only where it is asked for");
        assert_eq!((lines[1]["status"].as_u64(), lines[1]["reason"].as_str()), (Some(0), Some("upstream_truncated")));
        assert_eq!((lines[2]["status"].as_u64(), lines[2]["reason"].as_str()), (Some(404), Some("no_route")));
        assert_eq!((lines[3]["status"].as_u64(), lines[3]["reason"].as_str()), (Some(400), Some("bad_request")));
    }

    /// Waiting for a connection is not Busbar's own time.
    fn the_wait_for_a_place_is_not_our_own(driver: &str) {
        let origin = Origin::new();
        let gateway = Gateway::start(driver, &format!(
            "[log.access]\nto = \"access.jsonl\"\nfields = [\"status\", \"duration_us\", \"own_us\"]\n\
             [upstream.app]\nendpoints = [\"{}\"]\nconnections_max = 1\n\
             [route.held]\npath = \"/held\"\nto = \"app\"\n\
             [route.waits]\npath = \"/waits\"\nto = \"app\"\ntimeout = \"400ms\"\n", origin.address()));
        let mut holder = Client::connect(&gateway.address());
        holder.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        assert!(get(&gateway.address(), "/waits").status >= 500);
        up.send(OK);
        holder.answer().unwrap();
        let waited = &lines(&gateway, 2)[0];
        let us = |field: &str| waited[field].as_u64().unwrap();
        assert!(us("duration_us") >= 400_000 && us("own_us") < us("duration_us") / 2, "{waited}");
    }

    /// The file is moved away and opened anew; another format is taken by a reload.
    fn the_log_follows_its_file_and_its_configuration(driver: &str) {
        let text = "[log.access]\nto = \"access.jsonl\"\n[route.a]\nrespond = \"a\"\n";
        let gateway = Gateway::start(driver, text);
        get(&gateway.address(), "/one");
        lines(&gateway, 1);
        let at = |name: &str| gateway.dir.path().join(name);
        std::fs::rename(at("access.jsonl"), at("moved")).unwrap();
        gateway.signal(libc::SIGUSR1);
        eventually("lines go to a new file", || {
            get(&gateway.address(), "/two");
            at("access.jsonl").exists()
        });
        gateway.rewrite("[log.access]\nto = \"combined.log\"\nformat = \"combined\"\n\
                         [route.a]\nrespond = \"a\"\n");
        gateway.reload();
        let ua = "GET /three HTTP/1.1\r\nHost: a\r\nUser-Agent: te\"st\r\n\r\n";
        ask(&gateway.address(), ua);
        eventually("the other format", || {
            let text = std::fs::read_to_string(at("combined.log")).unwrap_or_default();
            text.contains("\"GET /three HTTP/1.1\" 200 ") && text.contains("\"te\\x22st\"")
        });
        gateway.rewrite("[log.access]\nto = \"/nonexistent/x\"\n[route.a]\nrespond = \"a\"\n");
        let (status, answer) = gateway.admin("POST", "/reload");
        assert_eq!(status, 422);
        assert!(answer.contains("/nonexistent/x"), "{answer}");
    }

    fn only_errors_or_only_slow_ones_have_lines(driver: &str) {
        let gateway = Gateway::start(driver,
            "[log.access]\nto = \"access.jsonl\"\nerrors = true\nfields = [\"status\", \"path\"]\n\
             [route.a]\npath = \"/a\"\nrespond = \"a\"\n\
             [route.gone]\npath = \"/gone\"\nto = \"http://127.0.0.1:1\"\n");
        for path in ["/a", "/nowhere", "/gone", "/a"] {
            get(&gateway.address(), path);
        }
        get(&gateway.address(), "/gone");
        let lines = lines(&gateway, 2);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].to_string(), "{\"path\":\"/gone\",\"status\":503}");
    }
}
