//! PROXY headers: who the client is according to the proxy before us.

use std::time::Duration;

use harness::client::{Client, End, get};
use harness::gateway::Gateway;
use harness::origin::{field, mirror};
use harness::secure::{ASK, HOST, Secure, listener};
use harness::tls::to;
use harness::{eventually, pace};

const V1: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 40000 443\r\n";
const V1_V6: &[u8] = b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 443\r\n";
const UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2: command and family, then what is behind the length.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = (rest.len() as u16).to_be_bytes();
    [SIGNATURE, &[0x20 | command, family], &length, rest].concat()
}

fn v2_v4() -> Vec<u8> {
    v2(1, 0x11, &[203, 0, 113, 9, 192, 0, 2, 1, 0x9c, 0x40, 1, 0xbb])
}

/// With a TLV behind the addresses.
fn v2_v6() -> Vec<u8> {
    let mut rest = vec![0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    rest.extend([0; 16]);
    rest.extend([0x9c, 0x40, 1, 0xbb]);
    rest.extend([0x04, 0, 3, b'a', b'b', b'c']);
    v2(1, 0x21, &rest)
}

/// A plain listener that wants the header, and trusts `proxies`.
fn config(proxies: &str, rest: &str) -> String {
    format!(
        "[server]\ntrusted_proxies = [\"{proxies}\"]\n\
             [listener.web]\naddress = \"127.0.0.1:PORT\"\nproxy_protocol = true\n{rest}"
    )
}

fn to_mirror() -> String {
    format!("[route.app]\nto = \"http://{}\"\n", mirror())
}

fn headers() -> Vec<(Vec<u8>, &'static str)> {
    vec![
        (V1.into(), "203.0.113.7"),
        (V1_V6.into(), "2001:db8::7"),
        (v2_v4(), "203.0.113.9"),
        (v2_v6(), "2001:db8::9"),
        // The peer's own, as if there were no header.
        (UNKNOWN.into(), "127.0.0.1"),
        (v2(0, 0, &[]), "127.0.0.1"),
        (v2(0, 0x11, &[203, 0, 113, 9, 192, 0, 2, 1, 0x9c, 0x40, 1, 0xbb]), "127.0.0.1"),
    ]
}

fn counts(gateway: &Gateway, reason: &str, count: u64) {
    let line = format!("busbar_connections_refused_total{{reason=\"{reason}\"}} {count}\n");
    eventually("they are counted", || gateway.admin("GET", "/metrics").1.contains(&line));
}

on_both_drivers! {
    fn the_service_is_told_of_the_real_client(driver: &str) {
        let gateway = Gateway::two(driver, &config("127.0.0.1", &to_mirror()));
        for (header, source) in headers() {
            let mut client = Client::connect(&gateway.address());
            client.send(&header);
            for _ in 0..2 {
                let answer = client.ask(ASK);
                let head = answer.text();
                assert_eq!(field(&head, "x-forwarded-for"), Some(source), "{head}");
            }
        }
        // What the client says of itself is as much worth as from anybody.
        let mut client = Client::connect(&gateway.address());
        client.send(V1);
        let answer = client.ask("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 8.8.8.8\r\n\r\n");
        assert_eq!(field(&answer.text(), "x-forwarded-for"), Some("203.0.113.7"));
    }

    /// A balancer that does not say whose a connection is lends it none of its own trust.
    fn a_header_without_an_address_is_nobodys(driver: &str) {
        let gateway = Gateway::two(driver, &config("127.0.0.1", &to_mirror()));
        for header in [UNKNOWN.into(), v2(1, 0, &[]), v2(0, 0, &[])] {
            let mut client = Client::connect(&gateway.address());
            client.send(&header);
            let answer =
                client.ask("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n");
            assert_eq!(field(&answer.text(), "x-forwarded-for"), Some("127.0.0.1"), "{header:?}");
        }
    }

    /// Header and hello in one packet, and each byte of the header in its own.
    fn it_stands_before_tls(driver: &str) {
        let secure = Secure::start(driver, "", "[route.a]\nrespond = \"a\"\n");
        let text = format!("[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n{}",
                           listener(&secure.pair, "").replace("\ntls", "\nproxy_protocol = true\ntls"));
        let gateway = Gateway::two(driver, &format!("{text}{}", to_mirror()));
        let config = secure.believing(&rustls::version::TLS13);
        for (header, source) in headers() {
            for is_split in [false, true] {
                let tls = to(HOST, &config);
                let mut client = Client::connect(&gateway.address());
                match is_split {
                    false => {
                        // Whatever TLS says goes with it, for the socket waits for more.
                        let mut tls = tls;
                        let mut bytes = header.clone();
                        tls.write_tls(&mut bytes).unwrap();
                        client.send(bytes);
                        client.tls = Some(Box::new(tls));
                    }
                    true => {
                        for byte in &header {
                            client.send([*byte]);
                            pace(Duration::from_millis(1));
                        }
                        client.tls = Some(Box::new(tls));
                    }
                }
                let head = client.ask(ASK).text();
                assert_eq!(field(&head, "x-forwarded-for"), Some(source), "{is_split} {head}");
                assert_eq!(field(&head, "x-forwarded-proto"), Some("https"));
            }
        }
        // TLS without a header is no header.
        let mut client = Client::connect_tls(&gateway.address(), to(HOST, &config));
        assert!(!client.try_send(ASK) || client.answer().is_err());
        counts(&gateway, "proxy_header", 1);
    }

    fn split_anywhere_it_is_the_same(driver: &str) {
        let gateway = Gateway::two(driver, &config("127.0.0.1", &to_mirror()));
        for header in [V1.to_vec(), v2_v4()] {
            let whole = [&header, ASK.as_bytes()].concat();
            for at in (1..header.len() + 3).step_by(2) {
                let mut client = Client::connect(&gateway.address());
                client.send(&whole[..at]);
                pace(Duration::from_millis(2));
                let head = client.ask(&whole[at..]).text();
                let source = field(&head, "x-forwarded-for").unwrap_or_default();
                assert!(source.starts_with("203.0.113."), "at {at}: {head}");
            }
        }
    }

    fn from_anybody_else_it_is_refused(driver: &str) {
        let gateway = Gateway::two(driver, &config("192.0.2.0/24", "[route.a]\nrespond = \"a\"\n"));
        for header in [V1, &v2_v4(), b""] {
            let mut client = Client::connect(&gateway.address());
            client.try_send(header);
            client.try_send(ASK);
            client.ends();
        }
        counts(&gateway, "proxy_untrusted", 3);
    }

    fn what_is_no_header_is_closed_and_counted(driver: &str) {
        let gateway = Gateway::two(driver, &config("127.0.0.1", "[route.a]\nrespond = \"a\"\n"));
        let mut long = v2(1, 0x11, &[0; 12]);
        long[14] = 0xff; // longer than any
        let rows: Vec<&[u8]> = vec![
            ASK.as_bytes(),
            b"PROXY TCP4 203.0.113.7 192.0.2.1 40000\r\n",
            b"PROXY TCP4 203.0.113.07 192.0.2.1 40000 443\r\n",
            b"PROXY TCP4 2001:db8::7 2001:db8::1 40000 443\r\n",
            b"PROXY TCP4 203.0.113.7 192.0.2.1 40000 99999\r\n",
            b"proxy TCP4 203.0.113.7 192.0.2.1 40000 443\r\n",
            &[b'P'; 200],
            b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c............",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04....",
            &long,
            b"\x16\x03\x01\x02\x00\x01",
        ];
        for row in &rows {
            let mut client = Client::connect(&gateway.address());
            client.try_send(row);
            assert_ne!(client.ends(), End::Cut, "{row:?}");
        }
        counts(&gateway, "proxy_header", rows.len() as u64);
        let mut client = Client::connect(&gateway.address());
        client.send(V1);
        assert_eq!(client.ask(ASK).text(), "a");
    }

    /// A header that does not come in time is none; one that never begins, too.
    fn it_has_the_time_that_a_head_has(driver: &str) {
        let rest = "head_timeout = \"200ms\"\n[route.a]\nrespond = \"a\"\n";
        let gateway = Gateway::two(driver, &config("127.0.0.1", rest));
        for part in [0, 5, V1.len() - 1] {
            let mut client = Client::connect(&gateway.address());
            client.send(&V1[..part]);
            client.ends();
        }
        counts(&gateway, "proxy_header", 2);
    }

    fn limits_and_lists_see_the_real_client(driver: &str) {
        let rest = "[route.few]\npath = \"/few\"\nrespond = \"a\"\nrate_limit = \"2/1h\"\n\
                    [route.some]\npath = \"/some\"\nrespond = \"b\"\nip = { deny = \"203.0.113.9\" }\n";
        let gateway = Gateway::with(&harness::gateway::Config {
            text: &config("127.0.0.1", rest), driver, workers: 1, args: &[] });
        let ask = |header: &[u8], path: &str| {
            let mut client = Client::connect(&gateway.address());
            client.send(header);
            client.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).status
        };
        let by = |header: &[u8]| [(); 3].map(|()| ask(header, "/few"));
        assert_eq!(by(V1), [200, 200, 429]);
        assert_eq!(by(&v2_v4()), [200, 200, 429], "each has its own");
        assert_eq!(by(UNKNOWN), [200, 200, 429]);
        assert_eq!((ask(V1, "/some"), ask(&v2_v4(), "/some")), (200, 403));
    }

    /// Only where it is wanted.
    fn elsewhere_it_is_a_request_that_is_none(driver: &str) {
        let gateway = Gateway::two(driver, "[route.a]\nrespond = \"a\"\n");
        let mut client = Client::connect(&gateway.address());
        assert_eq!(client.ask([V1, ASK.as_bytes()].concat()).status, 400);
        assert_eq!(get(&gateway.address(), "/").text(), "a");
    }
}
