//! The numbers, held against those who count for themselves: clients, origins, wrk, promtool and
//! a Prometheus that scrapes.

use std::collections::BTreeMap;

use harness::client::{Client, ask, get};
use harness::eventually;
use harness::gateway::{Config, Gateway};
use harness::metrics::Exposition;
use harness::origin::{Origin, field};
use harness::prometheus::{Prometheus, lint};
use harness::wrk::Wrk;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
/// What Prometheus 2.42 sends.
const ACCEPT: &str = "application/openmetrics-text;version=1.0.0,\
    application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

/// A gateway with an admin address, and that.
pub fn with_admin(driver: &str, workers: u32, text: &str) -> (Gateway, String) {
    let admin = format!("127.0.0.1:{}", harness::free_port());
    let text = format!("[admin]\naddress = \"{admin}\"\n{text}");
    (Gateway::with(&Config { text: &text, driver, workers, args: &[] }), admin)
}

/// The numbers over the admin address, as OpenMetrics.
pub fn numbers(admin: &str) -> Exposition {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nAccept: {ACCEPT}\r\n\r\n");
    let answer = ask(admin, request);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!((answer.status, answer.field("content-type")), (200, Some(kind)));
    let text = answer.text();
    assert!(text.ends_with("\n# EOF\n"));
    let numbers = Exposition::read(&text);
    numbers.assert_open_metrics();
    numbers
}

/// The same as plain text, in its own bytes.
fn plain(admin: &str) -> String {
    let answer = ask(admin, format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\n\r\n"));
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    assert_eq!((answer.status, answer.field("content-type")), (200, Some(kind)));
    answer.text()
}

/// Draws the next number (xorshift).
pub fn draw(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// What one who asks counts: by route and class, by reason, bytes by route.
#[derive(Default)]
struct Tally {
    requests: BTreeMap<Vec<String>, u64>,
    reasons: BTreeMap<Vec<String>, u64>,
    sent: BTreeMap<Vec<String>, u64>,
    received: BTreeMap<Vec<String>, u64>,
    connections: u64,
}

impl Tally {
    fn connect(&mut self, address: &str) -> Client {
        self.connections += 1;
        Client::connect(address)
    }

    fn exchange(&mut self, route: &str, class: &str, reason: &str) {
        *self.requests.entry(vec![route.to_owned(), class.to_owned()]).or_default() += 1;
        if reason != "-" {
            *self.reasons.entry(vec![reason.to_owned()]).or_default() += 1;
        }
    }

    fn bytes(&mut self, route: &str, sent: u64, received: u64) {
        *self.sent.entry(vec![route.to_owned()]).or_default() += sent;
        *self.received.entry(vec![route.to_owned()]).or_default() += received;
    }

    /// Sends requests in one piece, reads an answer to each, and counts. False: the connection
    /// has ended.
    fn ask(&mut self, client: &mut Client, what: (&str, &str), request: &str, n: u32) -> bool {
        let (route, reason) = what;
        let before = (client.sent, client.received);
        client.send(request);
        let mut stays = true;
        for _ in 0..n {
            let answer = client.answer().expect("each is answered");
            self.exchange(route, &format!("{}xx", answer.status / 100), reason);
            stays = answer.field("connection") != Some("close");
        }
        if !stays {
            client.ends();
        }
        self.bytes(route, client.sent - before.0, client.received - before.1);
        stays
    }

    fn add(&mut self, other: Tally) {
        let pairs = [
            (&mut self.requests, other.requests),
            (&mut self.reasons, other.reasons),
            (&mut self.sent, other.sent),
            (&mut self.received, other.received),
        ];
        for (mine, theirs) in pairs {
            for (key, count) in theirs {
                *mine.entry(key).or_default() += count;
            }
        }
        self.connections += other.connections;
    }

    fn total(&self) -> u64 {
        self.requests.values().sum()
    }

    fn of(&self, route: &str) -> u64 {
        self.requests.iter().filter(|(key, _)| key[0] == route).map(|(_, count)| count).sum()
    }
}

/// An answer of each kind, by the last part of the path.
fn by_kind(head: &str) -> Vec<u8> {
    let text = match head.split(' ').nth(1).and_then(|path| path.rsplit('/').next()) {
        Some("created") => "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
        Some("cached") => "HTTP/1.1 304 Not Modified\r\n\r\n",
        Some("missing") => "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone",
        Some("broken") => "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
        Some("chunks") => {
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
             3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
        }
        _ => return OK.to_vec(),
    };
    text.as_bytes().to_vec()
}

/// Asks for this and that on connections that stay, and counts.
fn customer(address: &str, mut seed: u64) -> Tally {
    let mut tally = Tally::default();
    let mut client = tally.connect(address);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    for _ in 0..80 {
        let n = draw(&mut seed) % 9 + 1;
        let kinds = ["ok", "created", "cached", "missing", "broken", "chunks"];
        let app = get(&format!("/app/{}", kinds[n as usize % kinds.len()]));
        let (what, request, n) = match draw(&mut seed) % 8 {
            0 => (("app", "-"), app, 1),
            1 => (("app", "-"), app.repeat(n as usize), n),
            2 => {
                let body = "x".repeat(n as usize * 4000);
                let head = format!(
                    "POST /app/x HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                (("app", "-"), format!("{head}{body}"), 1)
            }
            3 => (("own", "-"), get("/own").repeat(n as usize), n),
            4 => (("", "no_route"), get("/nowhere"), 1),
            5 => (("", "bad_request"), "GET / HTTP/1.1\r\nHost: a\r\nX Y: z\r\n\r\n".to_owned(), 1),
            6 => (("gone", "connect_refused"), get("/gone"), 1),
            _ => (("", "method"), get("/post"), 1),
        };
        if !tally.ask(&mut client, what, &request, n as u32) {
            client = tally.connect(address);
        }
    }
    tally
}

/// What clients and services break, each step seen by both sides.
fn broken(tally: &mut Tally, address: &str, origin: &Origin) {
    let request = "GET /cut HTTP/1.1\r\nHost: a\r\n\r\n";
    // The service's answer ends in its middle.
    let mut client = tally.connect(address);
    client.send(request);
    let mut up = origin.accept();
    up.head();
    up.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    drop(up);
    client.rest();
    tally.exchange("cut", "none", "upstream_truncated");
    tally.bytes("cut", client.sent, client.received);
    // The client hangs up.
    let mut client = tally.connect(address);
    client.send(request);
    let mut up = origin.accept();
    up.head();
    tally.exchange("cut", "none", "client_gone");
    tally.bytes("cut", client.sent, 0);
    drop(client);
    up.ends();
    // The client's body breaks the rules.
    let mut client = tally.connect(address);
    client.send("POST /cut HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    let mut up = origin.accept();
    up.head();
    client.send("zz\r\n");
    assert_eq!(client.answer().unwrap().status, 400);
    client.rest();
    tally.exchange("cut", "4xx", "client_body");
    tally.bytes("cut", client.sent, client.received);
}

/// A tunnel, and a request that waits: gauges tell of them while they are there.
fn upgraded(tally: &mut Tally, address: &str, admin: &str, origin: &Origin) {
    let mut waits = tally.connect(address);
    waits.send("GET /cut HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut up = origin.accept();
    up.head();
    let mut client = tally.connect(address);
    client.send(
        "GET /cut HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n",
    );
    let mut tunnel = origin.accept();
    assert_eq!(field(&tunnel.head(), "upgrade"), Some("websocket"));
    tunnel.send(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    assert_eq!(client.head().unwrap().status, 101);
    client.send("ping");
    tunnel.exactly(4);
    let now = numbers(admin);
    let gauge = |name: &str| now.value(name, &[]) as u64;
    assert_eq!((gauge("busbar_requests_in_flight"), gauge("busbar_tunnels_open")), (1, 1));
    tunnel.send("pong");
    drop(tunnel);
    client.rest();
    tally.exchange("cut", "1xx", "-");
    // The exchange ends with its 101.
    tally.bytes("cut", client.sent - 4, client.received - 4);
    up.send(OK);
    waits.answer().unwrap();
    tally.exchange("cut", "2xx", "-");
    tally.bytes("cut", waits.sent, waits.received);
}

/// Everything that a counting client can count, against everything that the gateway says.
fn agree(numbers: &Exposition, tally: &Tally, upstream: u64) {
    assert_eq!(numbers.by("busbar_requests_total", &["route", "class"]), tally.requests);
    assert_eq!(numbers.by("busbar_refusals_total", &["reason"]), tally.reasons);
    assert_eq!(numbers.by("busbar_request_bytes_total", &["route"]), tally.sent);
    assert_eq!(numbers.by("busbar_response_bytes_total", &["route"]), tally.received);
    let sum = |name: &str| numbers.sum(name, &[]) as u64;
    for count in [
        "busbar_request_duration_seconds_count",
        "busbar_request_size_bytes_count",
        "busbar_response_size_bytes_count",
        "busbar_own_duration_seconds_count",
    ] {
        assert_eq!(sum(count), tally.total(), "{count}");
    }
    let of_all = [("route", "")];
    let quantiles = "busbar_request_duration_quantiles_seconds_count";
    assert_eq!(numbers.value(quantiles, &of_all) as u64, tally.total());
    for route in ["app", "own", "gone", "cut"] {
        let labels = [("route", route)];
        assert_eq!(numbers.value(quantiles, &labels) as u64, tally.of(route), "{route}");
    }
    assert_eq!(sum("busbar_request_size_bytes_sum"), tally.sent.values().sum::<u64>());
    assert_eq!(sum("busbar_response_size_bytes_sum"), tally.received.values().sum::<u64>());
    assert_eq!(sum("busbar_connections_total"), tally.connections);
    let reached = sum("busbar_upstream_connections_total") + sum("busbar_upstream_reused_total");
    assert_eq!(reached, upstream, "connections made and taken");
    let gone = tally.of("gone");
    assert_eq!(sum("busbar_upstream_requests_total"), upstream + gone);
    let tunnelled = numbers.by("busbar_tunnel_bytes_total", &["direction"]);
    assert!(tunnelled.values().eq([&4, &4]), "{tunnelled:?}");
    assert_eq!(sum("busbar_panics_total"), 0);
}

on_both_drivers! {
    /// Nothing is sampled and nothing is lost: routes, classes, reasons and bytes are those that
    /// the clients counted, over several workers and with scrapes in between.
    fn totals_are_exactly_those_of_clients_that_count(driver: &str) {
        let (app, cut) = (Origin::new(), Origin::new());
        let (gateway, admin) = with_admin(driver, 3, &format!(
            "[route.app]\npath = \"/app/*\"\nto = \"http://{}\"\n\
             [route.cut]\npath = \"/cut\"\nto = \"http://{}\"\n\
             [route.own]\npath = \"/own\"\nrespond = \"own\"\n\
             [route.post]\npath = \"/post\"\nmethods = [\"POST\"]\nrespond = \"post\"\n\
             [route.gone]\npath = \"/gone\"\nto = \"http://127.0.0.1:1\"\n",
            app.address(), cut.address()));
        let address = gateway.address();
        app.serve(by_kind);
        let mut tally = Tally::default();
        let customers: Vec<_> = (1..=6)
            .map(|seed| {
                let address = address.clone();
                std::thread::spawn(move || customer(&address, seed))
            })
            .collect();
        while !customers.iter().all(std::thread::JoinHandle::is_finished) {
            numbers(&admin);
        }
        customers.into_iter().for_each(|customer| tally.add(customer.join().unwrap()));
        broken(&mut tally, &address, &cut);
        upgraded(&mut tally, &address, &admin, &cut);
        let total = tally.total();
        eventually("all is counted", || {
            numbers(&admin).sum("busbar_requests_total", &[]) as u64 >= total
        });
        agree(&numbers(&admin), &tally, tally.of("app") + tally.of("cut"));
        let (code, log) = gateway.stop();
        assert_eq!(code, Some(0));
        assert!(log.contains(&format!("served {total} requests")), "{log}");
    }

    fn totals_are_those_of_wrk(driver: &str) {
        const CONNECTIONS: u32 = 16;
        let origin = Origin::new();
        let (gateway, admin) = with_admin(driver, 2, &format!(
            "[route.app]\npath = \"/app/*\"\nto = \"http://{}\"\n\
             [route.own]\npath = \"/own\"\nrespond = \"own\"\n", origin.address()));
        origin.serve(|_| OK.to_vec());
        let (mut least, mut above) = (0, 0);
        let runs: [(&str, &[&str]); 3] =
            [("/own", &[]), ("/app/x", &[]), ("/own", &["Connection: close"])];
        for (path, fields) in runs {
            let url = format!("http://{}{path}", gateway.address());
            let counted = Wrk::begin(&url, CONNECTIONS, 1, fields).end();
            assert!(!counted.said.contains("Non-2xx"), "{}", counted.said);
            least += counted.requests;
            // One that wrk had no time to wait for, on each connection.
            above += u64::from(CONNECTIONS);
            let mut served = 0;
            eventually("wrk has gone and all is counted", || {
                let numbers = numbers(&admin);
                served = numbers.sum("busbar_requests_total", &[]) as u64;
                numbers.sum("busbar_connections_open", &[]) == 0.0
            });
            assert!((least..=least + above).contains(&served), "{served}: {}", counted.said);
        }
        gateway.stop();
    }

    /// Names, types, units and labels as promtool and OpenMetrics want them.
    fn the_exposition_follows_the_rules(driver: &str) {
        let (gateway, admin) = with_admin(driver, 2,
            "[route.own]\npath = \"/own\"\nrespond = \"own\"\n\
             [route.\"odd-name_1.x\"]\npath = \"/gone\"\nto = \"http://127.0.0.1:1\"\n");
        for path in ["/own", "/gone", "/nowhere"] {
            get(&gateway.address(), path);
        }
        let open = numbers(&admin);
        let text = plain(&admin);
        assert_eq!(lint(&text), "", "{text}");
        // Both formats tell of the same families.
        let plain = Exposition::read(&text);
        assert_eq!(plain.families.len(), open.families.len());
        let (info, unit) = (&open.families["busbar"], &open.families["process_cpu_seconds"].unit);
        assert_eq!((info.kind.as_str(), unit.as_deref()), ("info", Some("seconds")));
        assert_eq!(plain.families["busbar_info"].kind, "gauge");
        let labels = &info.samples[0].labels;
        assert!(labels["driver"].contains(driver), "{labels:?}");
        // Of the process, what the kernel says of it, too.
        let value = |name: &str| open.value(name, &[]);
        let resident = gateway.memory_kib("VmRSS") as f64 * 1024.0;
        let told = value("process_resident_memory_bytes");
        assert!(told > resident / 2.0 && told < resident * 2.0, "{told} {resident}");
        let fds = value("process_open_fds");
        assert!((8.0..=gateway.descriptors() as f64 + 8.0).contains(&fds), "{fds}");
        assert!(value("process_max_fds") > fds && value("process_cpu_seconds_total") < 20.0);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let age = now.as_secs_f64() - value("process_start_time_seconds");
        assert!((0.0..120.0).contains(&age), "{age}");
        gateway.stop();
    }

    /// A Prometheus takes both formats, and what it answers is what the client did.
    fn prometheus_scrapes_it(driver: &str) {
        let origin = Origin::new();
        let (gateway, admin) = with_admin(driver, 2, &format!(
            "[route.app]\npath = \"/app\"\nto = \"http://{}\"\n\
             [route.own]\npath = \"/own\"\nrespond = \"own\"\n", origin.address()));
        origin.serve(|_| {
            harness::pace(std::time::Duration::from_millis(30));
            OK.to_vec()
        });
        // Prometheus 2 can't be told to ask for plain text: somebody does it in its place.
        let relay = Origin::new();
        let (relayed, from) = (relay.address(), admin.clone());
        relay.serve(move |_| {
            let text = plain(&from);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n";
            format!("{head}Content-Length: {}\r\n\r\n{text}", text.len()).into_bytes()
        });
        let prometheus = Prometheus::scrape(&[("open", &admin), ("plain", &relayed)]);
        let mut longest = std::time::Duration::ZERO;
        for _ in 0..20 {
            let began = std::time::Instant::now();
            get(&gateway.address(), "/app");
            longest = longest.max(began.elapsed());
            get(&gateway.address(), "/own");
        }
        for _ in 0..3 {
            get(&gateway.address(), "/nowhere");
        }
        for job in ["open", "plain"] {
            let of = |query: &str| query.replace("JOB", &format!("job=\"{job}\""));
            prometheus.becomes(&of("up{JOB}"), 1.0);
            prometheus.becomes(&of("sum(busbar_requests_total{JOB})"), 43.0);
            prometheus.becomes(&of("busbar_requests_total{JOB,route=\"app\",class=\"2xx\"}"), 20.0);
            prometheus.becomes(&of("busbar_refusals_total{JOB,reason=\"no_route\"}"), 3.0);
            prometheus.becomes(&of("count(busbar_info{JOB,driver!=\"\"})"), 1.0);
            // No request was shorter than its origin took, which is within the bucket up to 50 ms.
            let median = "histogram_quantile(0.5, \
                          busbar_request_duration_seconds_bucket{JOB,route=\"app\"})";
            let median = prometheus.query(&of(median)).expect("it has its buckets");
            let bound = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0].into_iter();
            let bound = bound.clone().find(|b| *b > longest.as_secs_f64()).unwrap_or(60.0);
            assert!((0.025..=bound).contains(&median), "{median} s, at most {longest:?}");
            let summary = "busbar_request_duration_quantiles_seconds{JOB,\
                           route=\"app\",quantile=\"0.99\"}";
            let most = prometheus.query(&of(summary)).expect("it has its quantiles");
            assert!((0.03 * 0.99..=bound).contains(&most), "{most} s, at most {longest:?}");
        }
        // The unit is what only OpenMetrics tells: it was asked for, and given.
        let of = |job: &str| prometheus.metadata(job, "busbar_request_duration_seconds");
        assert_eq!(of("open"), ("histogram".into(), "seconds".into()));
        assert_eq!(of("plain"), ("histogram".into(), String::new()));
        assert_eq!(prometheus.metadata("open", "busbar").0, "info");
        drop(prometheus);
        gateway.stop();
    }
}
