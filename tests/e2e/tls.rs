//! A listener that speaks TLS: what it agrees to, which certificate it shows, and HTTP through it.

use std::fs;
use std::path::Path;

use harness::certs::{Authority, Pair, RSA, Wish};
use harness::client::{Client, End, get};
use harness::eventually;
use harness::gateway::Gateway;
use harness::origin::{Origin, mirror};
use harness::secure::{ASK, Secure, VERSIONS, listener};
use harness::tls::{curl, s_client};
use rustls::HandshakeKind::{Full, Resumed};

const HELLO: &str = "[route.a]\nrespond = \"hello\"\n";

fn origin_route(origin: &Origin, more: &str) -> String {
    format!("[route.app]\nto = \"http://{}\"\n{more}", origin.address())
}

/// A pair under other names, as folders of certificates have them.
fn put(pair: &Pair, dir: &Path, name: &str) {
    fs::copy(&pair.cert, dir.join(format!("{name}.crt"))).expect("ours");
    fs::copy(&pair.key, dir.join(format!("{name}.key"))).expect("ours");
}

on_both_drivers! {
    fn versions_and_suites_that_are_not_safe_are_refused(driver: &str) {
        let secure = Secure::start(driver, "", HELLO);
        let port = secure.gateway.port;
        // The client itself would not offer them at its own level of security.
        for old in ["-tls1", "-tls1_1"] {
            let session = s_client(port, &[old, "-cipher", "ALL:@SECLEVEL=0"]);
            assert_eq!((session.version.as_str(), session.status), ("", None), "{session:#?}");
            assert!(session.said.all().contains("alert"), "{session:#?}");
        }
        let weak = ["AES128-SHA", "AES256-GCM-SHA384", "DHE-RSA-AES128-SHA", "ECDHE-ECDSA-AES128-SHA"];
        for weak in weak {
            let cipher = format!("{weak}:@SECLEVEL=0");
            let session = s_client(port, &["-tls1_2", "-cipher", &cipher]);
            assert_eq!((session.version.as_str(), session.status), ("", None), "{session:#?}");
        }
        for (args, version, cipher) in [
            (&["-tls1_2"][..], "TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"),
            (&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], "TLSv1.2",
             "ECDHE-ECDSA-AES128-GCM-SHA256"),
            (&["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"], "TLSv1.2",
             "ECDHE-ECDSA-CHACHA20-POLY1305"),
            (&["-tls1_3"], "TLSv1.3", "TLS_AES_256_GCM_SHA384"),
            (&["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"], "TLSv1.3",
             "TLS_AES_128_GCM_SHA256"),
            (&["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"], "TLSv1.3",
             "TLS_CHACHA20_POLY1305_SHA256"),
        ] {
            let session = s_client(port, args);
            let settled = (session.version.as_str(), session.cipher.as_str(), session.status);
            assert_eq!(settled, (version, cipher, Some(200)), "{session:#?}");
        }
        eventually("they are counted", || secure.greeted("failed") == 6);
        assert_eq!(secure.greeted("full"), 6);
    }

    fn the_oldest_version_can_be_1_3(driver: &str) {
        let secure = Secure::start(driver, ", min_version = \"1.3\"", HELLO);
        let session = s_client(secure.gateway.port, &["-tls1_2"]);
        assert_eq!((session.version.as_str(), session.status), ("", None), "{session:#?}");
        assert_eq!(s_client(secure.gateway.port, &["-tls1_3"]).status, Some(200));
    }

    /// Exact, then wildcard, then the listener's own; ECDSA before RSA.
    fn the_name_and_the_keys_that_a_client_knows_choose_the_certificate(driver: &str) {
        let authority = Authority::new("Root");
        let first = authority.server("first", &["DNS:first.example"]);
        let dir = tempfile::tempdir().unwrap();
        let issue = |file: &str, sans: &[&str], key: &[&str]| {
            let subject = format!("/CN={file}");
            let wish = Wish { subject: &subject, sans, key, ..Wish::default() };
            put(&authority.issue(file, &wish), dir.path(), file);
        };
        let ec = harness::certs::P256;
        issue("wild", &["DNS:*.shops.example"], ec);
        issue("exact", &["DNS:a.shops.example"], ec);
        issue("exact-rsa", &["DNS:a.shops.example"], RSA);
        issue("only-rsa", &["DNS:old.example"], RSA);
        let both = authority.server("both", &["DNS:both.example"]).both();
        fs::write(dir.path().join("both.pem"), both).unwrap();
        let more = format!(", certs = \"{}\"", dir.path().display());
        let gateway = Gateway::two(driver, &format!("{}{HELLO}", listener(&first, &more)));
        let ca = authority.cert().display().to_string();
        let shown = |name: &str, args: &[&str]| {
            let mut all = vec!["-CAfile", &ca];
            match name {
                "" => all.push("-noservername"),
                name => all.extend(["-servername", name]),
            }
            all.extend(args);
            let session = s_client(gateway.port, &all);
            assert_eq!((session.verified, session.status), (Some(0), Some(200)), "{session:#?}");
            session.subject
        };
        let rsa = &["-sigalgs", "rsa_pss_rsae_sha256"];
        let rsa12 = &["-tls1_2", "-sigalgs", "rsa_pss_rsae_sha256", "-cipher", "aRSA"];
        for (name, args, subject) in [
            ("a.shops.example", &[][..], "exact"),
            ("A.Shops.Example", &[], "exact"),
            ("a.shops.example", rsa, "exact-rsa"),
            ("a.shops.example", rsa12, "exact-rsa"),
            ("b.shops.example", &[], "wild"),
            ("b.a.shops.example", &[], "first"),
            ("shops.example", &[], "first"),
            ("old.example", &[], "only-rsa"),
            ("both.example", &[], "both"),
            ("stranger.example", &[], "first"),
            ("", &[], "first"),
        ] {
            assert_eq!(shown(name, args), format!("CN = {subject}"), "{name} {args:?}");
        }
    }

    fn http_1_1_is_what_is_spoken(driver: &str) {
        let secure = Secure::start(driver, "", HELLO);
        let port = secure.gateway.port;
        for (offers, is_served) in
            [("http/1.1", true), ("h2,http/1.1", true), ("h2", false), ("spdy/3,h2", false)]
        {
            let session = s_client(port, &["-alpn", offers]);
            assert_eq!(session.status.is_some(), is_served, "{session:#?}");
            let (says, alert) = ("ALPN protocol: http/1.1", "alert no application protocol");
            let said = session.said.all();
            assert_eq!((said.contains(says), said.contains(alert)), (is_served, !is_served));
        }
        assert_eq!(s_client(port, &[]).status, Some(200), "who asks for none");
    }

    /// On any worker, and after a reload.
    fn what_one_worker_has_begun_another_resumes(driver: &str) {
        let secure = Secure::start(driver, "", HELLO);
        for version in VERSIONS {
            let config = secure.believing(version);
            let mut clients: Vec<Client> = Vec::new();
            let workers = || secure.numbers().by("busbar_worker_connections", &["worker"]);
            for n in 0..24 {
                if n == 12 {
                    secure.gateway.rewrite(&format!(
                        "{}{HELLO}timeout = \"7s\"\n", listener(&secure.pair, "")));
                    secure.gateway.reload();
                }
                let mut client = secure.connect(&config);
                assert_eq!(client.ask(ASK).text(), "hello");
                let kind = client.tls.as_ref().unwrap().handshake_kind();
                assert_eq!(kind, Some(if n == 0 { Full } else { Resumed }), "{n} {version:?}");
                clients.push(client);
            }
            eventually("both have some", || workers().values().filter(|n| **n > 0).count() == 2);
        }
        eventually("they are counted", || secure.greeted("resumed") == 46);
        assert_eq!(secure.greeted("full"), 2);
    }

    fn openssl_resumes(driver: &str) {
        let secure = Secure::start(driver, "", HELLO);
        let dir = tempfile::tempdir().unwrap();
        for version in ["-tls1_2", "-tls1_3"] {
            let file = dir.path().join(version).display().to_string();
            let first = s_client(secure.gateway.port, &[version, "-sess_out", &file]);
            assert!(!first.is_resumed && first.status == Some(200), "{first:#?}");
            let second = s_client(secure.gateway.port, &[version, "-sess_in", &file]);
            assert!(second.is_resumed && second.status == Some(200), "{second:#?}");
            // 0-RTT is off: a ticket allows none.
            assert!(!first.said.all().contains("Early data was accepted"), "{first:#?}");
            assert!(!first.said.out.contains("Max Early Data: 1"), "{first:#?}");
        }
    }

    fn hsts_stands_on_every_answer_once(driver: &str) {
        let origin = Origin::new();
        let rest = format!("{}path = \"/app\"\n[route.own]\npath = \"/own\"\nrespond = \"own\"\n\
                            [route.off]\npath = \"/off\"\nto = \"http://127.0.0.1:1\"\n",
                           origin_route(&origin, ""));
        let value = "max-age=31536000; includeSubDomains; preload";
        origin.serve(|_| b"HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=1\r\n\
                           Content-Length: 0\r\n\r\n".to_vec());
        let more = ", hsts = { max_age = \"365d\", subdomains = true, preload = true }";
        let secure = Secure::start(driver, more, &rest);
        for (path, status) in [("/app", 200), ("/own", 200), ("/none", 404), ("/off", 503)] {
            let answer = secure.ask(format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n"));
            assert_eq!(answer.status, status, "{answer:?}");
            assert_eq!(answer.fields("strict-transport-security"), [value], "{answer:?}");
        }
        let answer = secure.ask("GET /own HTTP/1.1\r\n\r\n");
        assert_eq!((answer.status, answer.fields("strict-transport-security")), (400, vec![value]));
        // A plain listener does not promise what it can't hold (RFC 6797 §7.2).
        let origin = Origin::new();
        let plain = Gateway::two(driver, &origin_route(&origin, ""));
        origin.serve(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec());
        assert_eq!(get(&plain.address(), "/").field("strict-transport-security"), None);
    }

    fn a_plain_listener_sends_everybody_to_https(driver: &str) {
        let plain = harness::free_port();
        let shut = harness::free_port();
        let rest = format!(
            "[listener.plain]\naddress = \"127.0.0.1:{plain}\"\nredirect = \"https:8443\"\n\
             [listener.shut]\naddress = \"127.0.0.1:{shut}\"\nredirect = \"https\"\n\
             ip = {{ deny = [\"127.0.0.0/8\"] }}\n{HELLO}"
        );
        let secure = Secure::start(driver, ", hsts = \"1d\"", &rest);
        let mut client = Client::connect(&format!("127.0.0.1:{plain}"));
        for (line, to) in [
            ("GET /a%20b?x=1&y", "https://shop.example:8443/a%20b?x=1&y"),
            ("POST /none", "https://shop.example:8443/none"),
        ] {
            let answer = client.ask(format!(
                "{line} HTTP/1.1\r\nHost: shop.example:80\r\nContent-Length: 0\r\n\r\n"));
            assert_eq!((answer.status, answer.field("location")), (308, Some(to)));
            assert_eq!(answer.field("strict-transport-security"), None);
        }
        // Who may not come in is not sent on either.
        let answer = get(&format!("127.0.0.1:{shut}"), "/");
        assert_eq!((answer.status, answer.field("location")), (403, None));
        assert_eq!(secure.ask(ASK).text(), "hello");
    }

    fn plain_http_on_a_tls_port_is_told_so(driver: &str) {
        let secure = Secure::start(driver, "", HELLO);
        for request in [ASK, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", "G"] {
            let mut client = Client::connect(&secure.gateway.address());
            let answer = client.ask(request);
            assert_eq!((answer.status, answer.problem().as_str()), (400, "https-required"));
            assert_eq!(answer.field("connection"), Some("close"));
            assert_eq!(client.ends(), End::Closed);
        }
        eventually("they are counted", || secure.refused("plain_http") == 3);
        assert_eq!(secure.greeted("failed"), 0);
    }

    fn a_hello_on_a_plain_port_is_closed_and_counted(driver: &str) {
        let authority = Authority::new("Root");
        let gateway = Gateway::two(driver, HELLO);
        let said = curl(gateway.port, "shop.example", "/", &authority.cert(), &[]);
        assert_eq!(said.code, Some(35), "{said:#?}");
        // The same one byte by byte, and with nothing behind its first three.
        let mut client = Client::connect(&gateway.address());
        for byte in [0x16, 3, 1] {
            client.send([byte]);
            harness::pace(std::time::Duration::from_millis(20));
        }
        assert_eq!(client.ends(), End::Closed);
        let counted = "busbar_connections_refused_total{reason=\"tls_on_plain\"} 2\n";
        eventually("they are counted", || gateway.admin("GET", "/metrics").1.contains(counted));
        assert_eq!(get(&gateway.address(), "/").text(), "hello");
    }

    fn services_are_told_what_the_client_spoke(driver: &str) {
        let plain = harness::free_port();
        let rest = format!("[listener.plain]\naddress = \"127.0.0.1:{plain}\"\n\
                            [route.app]\nto = \"http://{}\"\n", mirror());
        let secure = Secure::start(driver, "", &rest);
        let asks = "GET / HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-Proto: ftp\r\n\r\n";
        let told = |answer: harness::client::Answer| {
            let text = answer.text();
            let lines = text.lines().filter(|l| l.to_lowercase().starts_with("x-forwarded-proto"));
            lines.map(|line| line.split(": ").nth(1).unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(told(secure.ask(asks)), ["https"]);
        assert_eq!(told(harness::client::ask(&format!("127.0.0.1:{plain}"), asks)), ["http"]);
    }

    /// What ends them is a farewell: two programs that are not ours see no cut.
    fn the_gateway_says_that_it_ends(driver: &str) {
        let origin = Origin::new();
        let address = origin.address();
        origin.serve(|_| b"HTTP/1.0 200 OK\r\n\r\nno length".to_vec());
        let secure = Secure::start(driver, "", &format!(
            "{HELLO}[route.app]\npath = \"/app\"\nto = \"http://{address}\"\n"));
        for version in VERSIONS {
            let mut client = secure.connect(&secure.believing(version));
            client.send("GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n");
            assert_eq!(client.answer().unwrap().text(), "hello");
            assert_eq!(client.ends(), End::Closed, "{version:?}");
        }
        let said = s_client(secure.gateway.port, &[]).said;
        assert!(said.code == Some(0) && !said.all().contains("unexpected eof"), "{said:#?}");
        let ca = secure.authority.cert();
        let said = curl(secure.gateway.port, "shop.example", "/", &ca, &["--http1.0"]);
        assert_eq!((said.code, said.out.as_str()), (Some(0), "hello"), "{said:#?}");
    }

    /// Its end was read with its last request: nothing more of it is waited for.
    fn a_farewell_in_the_requests_packet_ends_the_connection_at_once(driver: &str) {
        let secure = Secure::start(driver, "", HELLO);
        for version in VERSIONS {
            let mut client = secure.connect(&secure.believing(version));
            assert_eq!(client.ask(ASK).text(), "hello");
            client.send_and_end(ASK);
            assert_eq!(client.answer().unwrap().text(), "hello");
            assert_eq!(client.ends(), End::Closed, "{version:?}");
        }
    }

    /// It may be a request's: the time between requests is not for it.
    fn a_piece_of_a_record_has_a_heads_time(driver: &str) {
        let times = "[defaults.listener]\nhead_timeout = \"300ms\"\nidle_timeout = \"1h\"\n";
        let secure = Secure::start(driver, "", &format!("{times}{HELLO}"));
        for version in VERSIONS {
            let mut client = secure.connect(&secure.believing(version));
            assert_eq!(client.ask(ASK).text(), "hello");
            client.send_raw(&[0x17, 3, 3, 1, 0, 7, 7, 7]);
            assert_eq!(client.ends(), End::Closed, "{version:?}");
        }
    }

    /// RFC 6797 §7.2; and who is asked for what has changed, so they are another listener's.
    fn plain_connections_from_before_learn_nothing_of_hsts_and_end(driver: &str) {
        let secure = Secure::start(driver, ", hsts = \"1d\"", HELLO);
        let port = secure.gateway.port;
        let tls = std::fs::read_to_string(secure.gateway.file()).unwrap();
        let plain: String = tls.lines().filter(|l| !l.starts_with("tls = ")).map(|l| format!("{l}\n")).collect();
        std::fs::write(secure.gateway.file(), plain).unwrap();
        secure.gateway.reload();
        let mut before = Client::connect(&format!("127.0.0.1:{port}"));
        assert_eq!(before.ask(ASK).text(), "hello");
        std::fs::write(secure.gateway.file(), &tls).unwrap();
        secure.gateway.reload();
        let answer = before.ask(ASK);
        assert_eq!((answer.text().as_str(), answer.field("strict-transport-security")), ("hello", None));
        assert_eq!(answer.field("connection"), Some("close"));
        assert_eq!(before.ends(), End::Closed);
    }

    fn a_client_that_has_said_all_is_answered(driver: &str) {
        let origin = Origin::new();
        let secure = Secure::start(driver, "", &origin_route(&origin, ""));
        for version in VERSIONS {
            let mut client = secure.connect(&secure.believing(version));
            client.send(ASK);
            let mut up = origin.accept();
            up.head();
            client.half_close();
            up.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
            assert_eq!(client.answer().unwrap().text(), "ok");
            assert_eq!(client.ends(), End::Closed);
        }
    }
}
