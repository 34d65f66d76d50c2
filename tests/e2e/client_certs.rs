//! Who a client is by its certificate: asked for, verified, taken back, told to services.

use std::sync::Arc;

use harness::certs::{Authority, Pair};
use harness::client::{Answer, Client, End};
use harness::eventually;
use harness::gateway::Gateway;
use harness::origin::{fields, mirror};
use harness::secure::{ASK, HOST, Secure, VERSIONS, listener};
use harness::tls::{curl, speaking, to};
use rustls::ClientConfig;
use rustls::HandshakeKind::{Full, Resumed};

const HELLO: &str = "[route.a]\nrespond = \"hello\"\n";
const FIELDS: [&str; 3] =
    ["x-client-cert-subject", "x-client-cert-san", "x-client-cert-fingerprint"];

const NOTHING: [Vec<String>; 3] = [vec![], vec![], vec![]];

fn to_mirror() -> String {
    format!("[route.app]\nto = \"http://{}\"\n", mirror())
}

/// Keys that ask clients for a certificate of this authority's.
fn asks(authority: &Authority, more: &str) -> String {
    format!(", client_ca = \"{}\"{more}", authority.cert().display())
}

/// One request, if the gateway lets us so far: TLS 1.3 tells a client its opinion after it.
fn try_ask(client: &mut Client, request: &str) -> Option<Answer> {
    match client.try_send(request) {
        true => client.answer().ok(),
        false => None,
    }
}

fn is_served(secure: &Secure, config: &Arc<ClientConfig>) -> bool {
    try_ask(&mut secure.connect(config), ASK).is_some_and(|answer| answer.status == 200)
}

/// What the service was told of the client, each field's values.
fn told(answer: &Answer) -> [Vec<String>; 3] {
    let head = answer.text();
    FIELDS.map(|name| fields(&head, name).into_iter().map(str::to_owned).collect())
}

on_both_drivers! {
    fn without_a_good_certificate_nobody_is_served_where_one_is_required(driver: &str) {
        let authority = Authority::new("Root");
        let good = authority.client("good", "/CN=good", &[]);
        let other = Authority::new("Root");
        let stranger = other.client("stranger", "/CN=good", &[]);
        let old = harness::certs::Wish { usage: "clientAuth", from: -3, until: -1,
            ..Default::default() };
        let old = authority.issue("old", &old);
        let server = authority.server("server", &["DNS:shop.example"]);
        let more = asks(&authority, "");
        let secure = Secure::of(authority, driver, &more, HELLO);
        for version in VERSIONS {
            let shows = |who: Option<&Pair>| {
                is_served(&secure, &speaking(&[version], &secure.authority.cert(), who))
            };
            assert!(shows(Some(&good)));
            for (who, what) in [(None, "none"), (Some(&stranger), "a stranger's"),
                                (Some(&old), "an old one"), (Some(&server), "a server's")] {
                assert!(!shows(who), "{what}, {version:?}");
            }
        }
        eventually("they are counted", || secure.greeted("failed") == 8);
        // The client is told why by an alert.
        let said = curl(secure.gateway.port, HOST, "/", &secure.authority.cert(), &[]);
        assert!(said.code == Some(56) && said.all().contains("certificate required"), "{said:#?}");
    }

    fn where_it_is_optional_none_is_good_and_a_bad_one_is_not(driver: &str) {
        let authority = Authority::new("Root");
        let good = authority.client("good", "/CN=good", &[]);
        let other = Authority::new("Root");
        let stranger = other.client("stranger", "/CN=good", &[]);
        let more = asks(&authority, ", client = \"optional\", client_headers = true");
        let secure = Secure::of(authority, driver, &more, &to_mirror());
        for version in VERSIONS {
            let answer = secure.connect(&secure.believing(version)).ask(ASK);
            assert_eq!((answer.status, told(&answer)), (200, NOTHING));
            let answer = secure.connect(&secure.known(version, &good)).ask(ASK);
            assert_eq!((answer.status, &told(&answer)[0][..]), (200, &["CN=good".to_owned()][..]));
            assert!(!is_served(&secure, &secure.known(version, &stranger)));
        }
    }

    fn a_certificate_that_was_taken_back_is_refused(driver: &str) {
        let authority = Authority::new("Root");
        let good = authority.client("good", "/CN=good", &[]);
        let lost = authority.client("lost", "/CN=lost", &[]);
        let crl = authority.crl();
        let more = asks(&authority, &format!(", client_crl = \"{}\"", crl.display()));
        let secure = Secure::of(authority, driver, &more, HELLO);
        let (good, lost) = (VERSIONS.map(|v| secure.known(v, &good)),
                            (VERSIONS.map(|v| secure.known(v, &lost)), lost));
        let (lost, lost_pair) = lost;
        for (good, lost) in good.iter().zip(&lost) {
            // Twice: the second is let in by its ticket.
            assert!(is_served(&secure, good) && is_served(&secure, lost));
            assert!(is_served(&secure, lost));
        }
        secure.authority.revoke(&lost_pair);
        secure.authority.crl();
        secure.gateway.wait_for("generation 2 in force");
        for (good, lost) in good.iter().zip(&lost) {
            assert!(is_served(&secure, good));
            assert!(!is_served(&secure, lost), "its ticket is from before");
        }
    }

    fn services_are_told_who_it_is_and_by_nobody_else(driver: &str) {
        let authority = Authority::new("Root");
        let who = authority.client("who", "/O=Acme, Inc./CN=client-1",
            &["DNS:a.internal", "URI:spiffe://acme/one", "IP:192.0.2.7", "email:a@acme.example"]);
        let more = asks(&authority, ", client_headers = true");
        let plain = harness::free_port();
        let rest = format!("[listener.plain]\naddress = \"127.0.0.1:{plain}\"\n{}", to_mirror());
        let secure = Secure::of(authority, driver, &more, &rest);
        let forged: String = FIELDS.iter().map(|name| format!("{name}: forged\r\n")).collect();
        let asks = format!("GET / HTTP/1.1\r\nHost: a\r\n{forged}X-CLIENT-CERT-SUBJECT: also\r\n\r\n");
        let expect = [
            vec!["CN=client-1,O=Acme\\, Inc.".to_owned()],
            vec!["DNS:a.internal, URI:spiffe://acme/one, IP:192.0.2.7, email:a@acme.example"
                .to_owned()],
            vec![who.fingerprint()],
        ];
        for version in VERSIONS {
            let config = secure.known(version, &who);
            for kind in [Full, Resumed, Resumed] {
                let mut client = secure.connect(&config);
                for _ in 0..2 {
                    assert_eq!(told(&client.ask(&asks)), expect, "{version:?} {kind:?}");
                }
                assert_eq!(client.tls.unwrap().handshake_kind(), Some(kind));
            }
        }
        let answer = harness::client::ask(&format!("127.0.0.1:{plain}"), &asks);
        assert_eq!(told(&answer), NOTHING, "nothing a client says of itself");
    }

    fn without_client_headers_services_are_told_nothing(driver: &str) {
        let authority = Authority::new("Root");
        let who = authority.client("who", "/CN=client-1", &[]);
        let more = asks(&authority, "");
        let secure = Secure::of(authority, driver, &more, &to_mirror());
        let mut client = secure.connect(&secure.known(VERSIONS[0], &who));
        let answer = client.ask("GET / HTTP/1.1\r\nHost: a\r\nX-Client-Cert-Subject: forged\r\n\r\n");
        assert_eq!((answer.status, told(&answer)), (200, NOTHING));
    }

    /// What is asked of a client is asked of everybody, whatever a listener beside has let in.
    fn a_ticket_opens_no_other_listener(driver: &str) {
        let authority = Authority::new("Root");
        let pair = authority.server("shop", &["DNS:shop.example"]);
        let ports = [(); 2].map(|()| harness::free_port());
        let mut text = format!("{}{HELLO}", listener(&pair, ""));
        for (port, (name, client)) in ports.iter().zip([("strict", ""),
                                                  ("lax", ", client = \"optional\"")]) {
            text += &listener(&pair, &asks(&authority, client))
                .replace("listener.web", &format!("listener.{name}"))
                .replace("PORT", &port.to_string());
        }
        let gateway = Gateway::two(driver, &text);
        let [strict, lax] = ports.map(|port| format!("127.0.0.1:{port}"));
        for version in VERSIONS {
            for from in [&gateway.address(), &lax] {
                let config = speaking(&[version], &authority.cert(), None);
                let connect = |address: &str| Client::connect_tls(address, to(HOST, &config));
                for kind in [Full, Resumed] {
                    let mut client = connect(from);
                    assert_eq!(client.ask(ASK).status, 200);
                    assert_eq!(client.tls.unwrap().handshake_kind(), Some(kind));
                }
                let mut client = connect(&strict);
                assert_eq!(try_ask(&mut client, ASK), None, "{version:?} from {from}");
                assert_ne!(client.tls.unwrap().handshake_kind(), Some(Resumed));
            }
        }
        let mut still = Client::connect_tls(&gateway.address(),
            to(HOST, &speaking(&VERSIONS, &authority.cert(), None)));
        still.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert_eq!(still.answer().unwrap().text(), "hello");
        assert_eq!(still.ends(), End::Closed);
    }
}
