//! Services that speak TLS: whom the gateway believes, who it is itself, what it keeps.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;

use harness::certs::{Authority, Pair};
use harness::client::{Answer, Client, End, get};
use harness::eventually;
use harness::gateway::Gateway;
use harness::metrics::Exposition;
use harness::nginx::Nginx;
use harness::origin::{Accepted, Origin, beside};
use harness::secure::{ASK, VERSIONS, serving};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

const NAME: &[&str] = &["DNS:shop.example"];

/// A route to `https://` at this port, with these keys of `tls`.
fn config(port: u16, tls: &str, more: &str) -> String {
    format!(
        "[upstream.app]\nendpoints = [\"https://127.0.0.1:{port}\"]\ntls = {{ {tls} }}\n{more}\
             [route.app]\nto = \"app\"\n"
    )
}

fn believing(authority: &Authority) -> String {
    format!("ca = \"{}\"", authority.cert().display())
}

/// For the one name that our certificates are made for.
fn shop(authority: &Authority) -> String {
    format!("{}, server_name = \"shop.example\"", believing(authority))
}

fn handshakes(gateway: &Gateway) -> [u64; 3] {
    let numbers = Exposition::read(&gateway.admin("GET", "/metrics").1);
    ["full", "resumed", "failed"].map(|result| {
        numbers.sum("busbar_upstream_tls_handshakes_total", &[("result", result)]) as u64
    })
}

/// Nothing that tells of what is behind.
fn tells_nothing(answer: &Answer) {
    let text = format!("{}{}", answer.head, answer.text()).to_lowercase();
    for word in ["certificate", "expired", "issuer", "127.0.0.1", "shop", "tls", "handshake", "pin"]
    {
        assert!(!text.contains(word), "it tells of `{word}`: {text}");
    }
}

/// Speaks TLS as a service, for the test to say what.
fn secured(up: Accepted, config: &Arc<ServerConfig>) -> StreamOwned<ServerConnection, TcpStream> {
    let tls = ServerConnection::new(config.clone()).expect("the configuration is whole");
    StreamOwned::new(tls, up.stream)
}

/// Reads up to the end of a head.
fn head(stream: &mut impl std::io::Read) -> Option<Vec<u8>> {
    let (mut bytes, mut byte) = (Vec::new(), [0]);
    while !bytes.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        bytes.push(byte[0]);
    }
    Some(bytes)
}

on_both_drivers! {
    fn only_a_certificate_that_holds_is_believed(driver: &str) {
        let authority = Authority::new("Root");
        let stranger = Authority::new("Stranger");
        let dir = tempfile::tempdir().unwrap();
        let below = authority.below("Below");
        let good = authority.server("good", NAME);
        let pin = good.key_digest();
        let other_pin = stranger.server("x", NAME).key_digest();
        let ip = authority.server("ip", &["IP:127.0.0.1"]);
        let anyone = "verify = false".to_owned();
        let rows: [(Pair, String, Option<&str>); 16] = [
            (good.clone(), shop(&authority), None),
            (below.server("deep", NAME), shop(&authority), None),
            (ip, believing(&authority), None),
            (good.clone(), believing(&authority), Some("not valid for name")),
            (authority.server("other", &["DNS:other.example"]), shop(&authority),
             Some("not valid for name")),
            (authority.expired("expired", NAME), shop(&authority), Some("expired")),
            (authority.early("early", NAME), shop(&authority), Some("not valid yet")),
            (authority.client("client", "/CN=c", NAME), shop(&authority), Some("")),
            (Pair::self_signed(dir.path(), "self", NAME), shop(&authority), Some("nknown")),
            (stranger.server("strange", NAME), shop(&authority), Some("nknown")),
            // Nobody has vouched for it to the system.
            (good.clone(), "server_name = \"shop.example\"".to_owned(), Some("nknown")),
            (stranger.expired("whatever", &["DNS:a"]), anyone.clone(), None),
            (good.clone(), format!("{}, pins = \"sha256:{pin}\"", shop(&authority)), None),
            (good.clone(), format!("{}, pins = [\"sha256:{other_pin}\"]", shop(&authority)),
             Some("")),
            (good.clone(), format!("{anyone}, pins = [\"sha256:{other_pin}\", \"sha256:{pin}\"]"),
             None),
            (good, format!("{anyone}, pins = \"sha256:{other_pin}\""), Some("")),
        ];
        for (n, (pair, tls, refusal)) in rows.into_iter().enumerate() {
            let nginx = Nginx::start_tls(&pair, "location / { return 200 ok; }");
            let gateway = Gateway::start(driver, &config(nginx.port, &tls, ""));
            let answer = get(&gateway.address(), "/");
            match refusal {
                None => assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "{n}"),
                Some(why) => {
                    assert_eq!(answer.status, 502, "{n} {answer:?}");
                    tells_nothing(&answer);
                    gateway.wait_for("upstream `app`: TLS with 127.0.0.1");
                    let log = gateway.log();
                    let line = log.lines().find(|l| l.contains("TLS with")).unwrap();
                    assert!(line.contains(why), "{n}: {line}");
                    eventually("it is counted", || handshakes(&gateway)[2] > 0);
                    assert_eq!(nginx.access_log(), "", "no request went there");
                }
            }
            assert_eq!(gateway.log().contains("W218"), tls == "verify = false", "{n}: it warns");
        }
    }

    fn a_service_that_asks_is_told_who_we_are(driver: &str) {
        let authority = Authority::new("Root");
        let own = authority.client("own", "/CN=gateway", &[]);
        let nginx = Nginx::start_tls(&authority.server("shop", NAME), &format!(
            "ssl_client_certificate {}; ssl_verify_client on;\n\
             location / {{ return 200 \"$ssl_client_s_dn $ssl_server_name $http_host\"; }}",
            authority.cert().display()));
        let key = format!("{}, cert = \"{}\", key = \"{}\"", shop(&authority),
                          own.cert.display(), own.key.display());
        let gateway = Gateway::two(driver, &config(nginx.port, &key, ""));
        let answer = get(&gateway.address(), "/");
        let expect = format!("CN=gateway shop.example 127.0.0.1:{}", nginx.port);
        assert_eq!((answer.status, answer.text()), (200, expect));
        // Without it, it is the service's 400.
        let gateway = Gateway::two(driver, &config(nginx.port, &shop(&authority), ""));
        assert_eq!(get(&gateway.address(), "/").status, 400);
    }

    fn a_connection_is_kept_and_a_new_one_resumes(driver: &str) {
        let authority = Authority::new("Root");
        let pair = authority.server("shop", NAME);
        let nginx = Nginx::start_tls(&pair,
            "ssl_session_cache shared:a:1m; location /stay { return 200 $ssl_session_reused; }
             location /go { keepalive_timeout 0; return 200 $ssl_session_reused; }");
        let gateway = Gateway::start(driver, &config(nginx.port, &shop(&authority), ""));
        let ask = |path: &str| get(&gateway.address(), path).text();
        assert!((0..10).all(|_| ask("/stay") == "."));
        eventually("one was enough", || handshakes(&gateway) == [1, 0, 0]);
        ask("/go");
        assert!((0..5).all(|_| ask("/go") == "r"));
        eventually("five resumed", || handshakes(&gateway) == [1, 5, 0]);
    }

    fn bodies_pass_both_ways(driver: &str) {
        let authority = Authority::new("Root");
        let nginx = Nginx::start_tls(&authority.server("shop", NAME),
            "client_body_in_file_only on; client_body_temp_path DIR/got;\n\
             location /up { proxy_pass http://127.0.0.1:1; proxy_intercept_errors on;\n\
             error_page 502 =200 /empty; } location = /empty { return 200 took; }");
        let body: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        std::fs::write(nginx.dir.path().join("big"), &body).unwrap();
        let gateway = Gateway::two(driver, &config(nginx.port, &shop(&authority), ""));
        let mut client = Client::connect(&gateway.address());
        for _ in 0..3 {
            assert!(client.ask("GET /big HTTP/1.1\r\nHost: a\r\n\r\n").body == body);
        }
        client.send(format!("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()));
        client.send(&body);
        assert_eq!(client.answer().unwrap().text(), "took");
        let got = std::fs::read_dir(nginx.dir.path().join("got")).unwrap();
        let got: Vec<_> = got.map(|f| std::fs::read(f.unwrap().path()).unwrap()).collect();
        assert!(got.len() == 1 && got[0] == body, "another body came to the service");
    }

    /// Anybody on the way can close a connection; only the service can say that it is done.
    fn an_answer_that_was_cut_is_never_whole(driver: &str) {
        let authority = Authority::new("Root");
        let serving = serving(&authority.server("shop", NAME));
        let origin = Origin::new();
        let port = origin.address().rsplit(':').next().unwrap().parse().unwrap();
        let gateway = Gateway::two(driver, &config(port, &shop(&authority), ""));
        for (says_farewell, old) in [(true, false), (true, true), (false, false), (false, true)] {
            let version = if old { "HTTP/1.0" } else { "HTTP/1.1" };
            let mut client = Client::connect(&gateway.address());
            client.send(format!("GET / {version}\r\nHost: a\r\n\r\n"));
            let mut up = secured(origin.accept(), &serving);
            head(&mut up).expect("a request");
            up.write_all(b"HTTP/1.1 200 OK\r\n\r\nall that there is").unwrap();
            if says_farewell {
                up.conn.send_close_notify();
            }
            up.flush().unwrap();
            drop(up);
            let answer = client.head().unwrap();
            assert_eq!(answer.status, 200);
            // Nothing but the end says that an answer to HTTP/1.0 ends: it must not be clean.
            if !says_farewell && old {
                assert_eq!(client.rest().1, End::Reset);
                continue;
            }
            match client.body_of(answer) {
                Ok(whole) => {
                    assert!(says_farewell, "it was cut, and looks whole: {whole:?}");
                    assert_eq!(whole.text(), "all that there is");
                }
                Err(_) => assert!(!says_farewell, "it was whole"),
            }
        }
    }

    fn a_service_that_stalls_in_its_handshake_has_until_connect_timeout(driver: &str) {
        let origin = Origin::new();
        let port = origin.address().rsplit(':').next().unwrap().parse().unwrap();
        let more = "connect_timeout = \"200ms\"\n";
        let gateway = Gateway::two(driver, &config(port, "verify = false", more));
        let mut client = Client::connect(&gateway.address());
        client.send(ASK);
        let mut up = origin.accept();
        assert_eq!(up.exactly(3), [0x16, 3, 1], "a hello came");
        let answer = client.answer().unwrap();
        assert!(matches!(answer.status, 502..=504), "{answer:?}");
        tells_nothing(&answer);
        up.ends();
        assert_eq!(client.ask(ASK).status, answer.status, "the client's connection stays");
    }

    fn a_service_that_speaks_no_tls_is_502(driver: &str) {
        let origin = Origin::new();
        let address = origin.address();
        let port = address.rsplit(':').next().unwrap().parse().unwrap();
        let gateway = Gateway::two(driver, &config(port, "verify = false", ""));
        let plain = beside(move || {
            let mut up = origin.accept();
            up.exactly(3);
            up.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
            up.ends();
        });
        let answer = get(&gateway.address(), "/");
        assert_eq!(answer.status, 502);
        tells_nothing(&answer);
        plain.recv().expect("it ends");
        gateway.wait_for("upstream `app`: TLS with 127.0.0.1");
    }

    /// Its farewell came in the answer's packet, and its FIN does not come at all.
    fn a_connection_that_its_service_has_ended_is_not_used_again(driver: &str) {
        let authority = Authority::new("Root");
        let serving = serving(&authority.server("shop", NAME));
        let origin = Origin::new();
        let port = origin.address().rsplit(':').next().unwrap().parse().unwrap();
        let gateway = Gateway::start(driver, &config(port, &shop(&authority), ""));
        let service = beside(move || {
            let answer = |up: &mut StreamOwned<ServerConnection, TcpStream>| {
                head(up).expect("a request");
                let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                up.conn.writer().write_all(bytes).unwrap();
                up.conn.send_close_notify();
                up.flush().unwrap();
            };
            let mut first = secured(origin.accept(), &serving);
            answer(&mut first);
            let mut second = secured(origin.accept(), &serving);
            answer(&mut second);
        });
        let mut client = Client::connect(&gateway.address());
        assert_eq!(client.ask(ASK).text(), "ok");
        // Nothing that may be sent twice: no retry would save it.
        let post = "POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(client.ask(post).text(), "ok");
        service.recv().unwrap();
    }

    /// Tickets and new keys come on connections that wait; that is no reason to give them up.
    fn what_tls_says_of_its_own_breaks_no_kept_connection(driver: &str) {
        let authority = Authority::new("Root");
        let serving = serving(&authority.server("shop", NAME));
        let origin = Origin::new();
        let port = origin.address().rsplit(':').next().unwrap().parse().unwrap();
        let gateway = Gateway::start(driver, &config(port, &shop(&authority), ""));
        assert_eq!(VERSIONS[0].version, rustls::ProtocolVersion::TLSv1_3);
        let service = beside(move || {
            let mut up = secured(origin.accept(), &serving);
            let mut count = 0;
            while head(&mut up).is_some() {
                up.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
                up.conn.refresh_traffic_keys().unwrap();
                up.flush().unwrap();
                count += 1;
            }
            count
        });
        for _ in 0..10 {
            assert_eq!(get(&gateway.address(), "/").text(), "ok");
            harness::pace(std::time::Duration::from_millis(5));
        }
        eventually("one was enough", || handshakes(&gateway) == [1, 0, 0]);
        drop(gateway);
        assert_eq!(service.recv().expect("it ends"), 10);
    }
}
