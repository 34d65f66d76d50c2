//! Two machines back to back in memory, and which certificate a client gets.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection,
    SignatureScheme, version,
};

use super::made::{Authority, Kind, LONG, Pair};
use super::verify::{Clients, Trust, roots_of};
use super::*;

/// Seconds of 2026.
const NOW: u64 = 1_780_000_000;

fn certificate(pair: &Pair) -> Certificate {
    Certificate::of(pair.cert.as_bytes(), pair.key.as_bytes()).expect("a certificate")
}

fn authorities(of: &[&Authority]) -> Vec<CertificateDer<'static>> {
    of.iter().flat_map(|a| certs::certificates(a.pem.as_bytes()).expect("one")).collect()
}

fn terms(name: &str, pairs: &[&Pair], clients: Option<&Clients>) -> ServerTerms {
    let certs = pairs.iter().map(|pair| certificate(pair)).collect();
    let terms = ServerTerms::of(server::Given {
        name,
        certs: Certs::new(certs, 0, NOW),
        is_tls13_only: false,
        clients,
        handshake_timeout: Duration::from_secs(10),
        handshakes_max: 10,
        hsts: None,
        client_headers: false,
    });
    terms.expect("terms")
}

/// With its own certificate, or none.
fn calling(trust: &Trust, pins: &[Digest], own: Option<&Certificate>) -> ClientTerms {
    let given = client::Given { trust, trust_digest: [0; 32], pins, server_name: None, own };
    ClientTerms::of(given).expect("terms")
}

fn trusting(authority: &Authority) -> Trust {
    Trust::Roots(Arc::new(roots_of(&authorities(&[authority])).expect("roots")))
}

/// Both ends once a handshake is done; a client hears of a refused certificate after its own part.
fn shake(
    client: &Arc<ClientConfig>,
    server: &ServerTerms,
    name: &str,
) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = ClientConnection::new(client.clone(), name)?;
    let mut server = ServerConnection::new(server.config.clone())?;
    for _ in 0..10 {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).expect("memory");
        }
        server.read_tls(&mut bytes.as_slice()).expect("memory");
        let heard = server.process_new_packets();
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).expect("memory");
        }
        client.read_tls(&mut bytes.as_slice()).expect("memory");
        client.process_new_packets()?;
        heard?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok((client, server))
}

#[test]
fn a_client_gets_the_certificate_for_its_name() {
    let ca = Authority::new("CA");
    let pairs = [
        ca.make(&["default.example"], Kind::Ecdsa, LONG, 1),
        ca.make(&["A.example", "both.example"], Kind::Ecdsa, LONG, 2),
        ca.make(&["both.example"], Kind::Rsa, LONG, 3),
        ca.make(&["*.example"], Kind::Rsa, LONG, 4),
        ca.make(&["default.example"], Kind::Rsa, LONG, 5),
        ca.make(&["new.example"], Kind::Ecdsa, (2020, 2030), 6),
        ca.make(&["new.example"], Kind::Ecdsa, (2020, 2040), 7),
        ca.make(&["new.example"], Kind::Ecdsa, (2035, 2050), 8),
        ca.make(&["new.example"], Kind::Ed25519, (2020, 2060), 9),
    ];
    let certs = Certs::new(pairs.iter().map(certificate).collect(), 0, NOW);
    let (ec, rsa) = (SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256);
    let both: &[SignatureScheme] = &[rsa, ec];
    let rows: [(Option<&str>, &[SignatureScheme], Option<usize>); 19] = [
        (Some("a.example"), both, Some(1)),
        (Some("A.EXAMPLE"), both, Some(1)),
        (Some("both.example"), both, Some(1)),
        (Some("both.example"), &[ec], Some(1)),
        (Some("both.example"), &[rsa], Some(2)),
        // What has no key for the client falls back to the wildcard, not to another name.
        (Some("a.example"), &[rsa], Some(3)),
        (Some("other.example"), both, Some(3)),
        (Some("other.example"), &[ec], None),
        // A wildcard stands for one label.
        (Some("x.other.example"), both, Some(0)),
        (Some("example"), both, Some(0)),
        (Some("elsewhere"), &[rsa], Some(4)),
        (None, both, Some(0)),
        (None, &[ec], Some(0)),
        (None, &[rsa], Some(4)),
        (None, &[SignatureScheme::ED25519], None),
        // The last to end of those that have begun.
        (Some("new.example"), both, Some(6)),
        (Some("new.example"), &[SignatureScheme::ED25519], Some(8)),
        (Some(""), both, Some(0)),
        (Some("."), both, Some(0)),
    ];
    for (name, schemes, expect) in rows {
        let found = certs.pick(name, schemes).map(|cert| cert as *const Certificate);
        let expect = expect.map(|i| &certs.all()[i] as *const Certificate);
        assert_eq!(found, expect, "{name:?} {schemes:?}");
    }
    let ends: Vec<(&str, u64)> = certs.ends();
    let year = |name: &str| ends.iter().find(|(n, _)| *n == name).map(|(_, end)| date_text(*end));
    assert_eq!(year("new.example").as_deref(), Some("2040-01-01T00:00:00Z"));
    assert_eq!(ends.len(), 5, "each name once: {ends:?}");
}

#[test]
fn keys_of_all_kinds_fit_or_do_not() {
    let ca = Authority::new("CA");
    for kind in [Kind::Ecdsa, Kind::Ed25519, Kind::Rsa] {
        let pair = ca.make(&["a.example"], kind, LONG, 1);
        let found = certificate(&pair);
        assert_eq!((found.label(), found.names().len()), ("a.example", 1), "{kind:?}");
        assert!(!format!("{found:?}").contains("PRIVATE"));
        let other = ca.leaf(&["b.example"]);
        let of = |cert: &str, key: &str| Certificate::of(cert.as_bytes(), key.as_bytes()).err();
        assert_eq!(of(&pair.cert, &other.key), Some(Fault::OtherKey));
        assert_eq!(of(&(ca.pem.clone() + &pair.cert), &pair.key), Some(Fault::NotFirst(2)));
        let both = pair.cert.clone() + &pair.key + &ca.pem;
        assert_eq!(of(&both, &both), None, "one file for both");
        assert_eq!(of(&pair.key, &pair.key), Some(Fault::NoCertificate));
        assert_eq!(of(&pair.cert, &pair.cert), Some(Fault::NoKey));
        assert_eq!(of("", &pair.key), Some(Fault::NotPem));
        assert_eq!(of(&pair.cert.replace("-----END", "----"), &pair.key), Some(Fault::BrokenPem));
    }
}

#[test]
fn a_clients_certificate_says_who_it_is() {
    let ca = Authority::new("CA");
    let pair = ca.client("billing", 3);
    let der = &certs::certificates(pair.cert.as_bytes()).expect("one")[0];
    let identity = Identity::of(der).expect("an identity");
    assert_eq!(&*identity.subject, "CN=billing,O=Example\\, Inc.");
    let sans: Vec<&str> = identity.sans.iter().map(|san| &**san).collect();
    let expect = [
        "DNS:a.internal",
        "URI:spiffe://example/a",
        "IP:192.0.2.7",
        "IP:2001:db8::7",
        "email:a@example.com",
    ];
    assert_eq!(sans, expect);
    assert_eq!(*identity.fingerprint, *hex(&sha256(der)));
    assert_eq!(identity.fingerprint.len(), 64);
    for cut in 0..der.len() {
        assert_eq!(Identity::of(&der[..cut]), None, "{cut}");
    }
}

/// Names go into fields of requests: none may end its line, or pass for two names.
#[test]
fn names_of_a_certificate_are_one_name_each_in_one_line() {
    let ca = Authority::new("CA");
    let pair = ca.client_of("a\r\nX-Admin: \u{e9},O=b+c", "x:y, DNS:admin\\\r\n", 3);
    let der = &certs::certificates(pair.cert.as_bytes()).expect("one")[0];
    let identity = Identity::of(der).expect("an identity");
    let subject = &*identity.subject;
    let expect = "CN=a\\0d\\0aX-Admin: \\c3\\a9\\,O=b\\+c,O=Example\\, Inc.";
    assert_eq!(subject, expect);
    assert_eq!(&*identity.sans[1], "URI:x:y\\2c\\20DNS:admin\\5c\\0d\\0a");
}

#[test]
fn sessions_resume_with_the_same_keys_and_with_no_others() {
    let ca = Authority::new("CA");
    let pair = ca.leaf(&["a.example"]);
    for versions in [[&version::TLS13], [&version::TLS12]] {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&versions)
            .expect("a version")
            .with_root_certificates(roots_of(&authorities(&[&ca])).expect("roots"))
            .with_no_client_auth();
        config.enable_early_data = true;
        let config = Arc::new(config);
        let keys = tickets::fresh().expect("keys");
        let listener = |keys: Option<&Arc<dyn rustls::server::ProducesTickets>>| {
            let terms = terms("web", &[&pair], None);
            assert_eq!(terms.config.max_early_data_size, 0, "0-RTT is off");
            keys.into_iter().for_each(|keys| terms.ticketer.give(keys.clone()));
            terms
        };
        let kind = |server: &ServerTerms| {
            let (client, server) = shake(&config, server, "a.example").expect("a handshake");
            assert!(!client.is_early_data_accepted());
            assert_eq!(client.handshake_kind(), server.handshake_kind());
            client.handshake_kind().expect("it is over")
        };
        let (before, reloaded) = (listener(Some(&keys)), listener(Some(&keys)));
        assert_eq!(before.ticket_key, reloaded.ticket_key);
        assert_eq!(kind(&before), HandshakeKind::Full);
        assert_eq!(kind(&before), HandshakeKind::Resumed);
        assert_eq!(kind(&reloaded), HandshakeKind::Resumed, "a second configuration");
        let others = listener(Some(&tickets::fresh().expect("keys")));
        assert_ne!(kind(&others), HandshakeKind::Resumed, "other keys");
        assert_eq!(kind(&others), HandshakeKind::Resumed);
        assert_ne!(kind(&listener(None)), HandshakeKind::Resumed, "none");
    }
}

#[test]
fn what_is_asked_of_clients_is_part_of_the_tickets_key() {
    let (ca, other) = (Authority::new("CA"), Authority::new("CA"));
    let pair = ca.leaf(&["a.example"]);
    let crl = |serials: &[u64]| certs::crls(ca.crl(serials).as_bytes()).expect("a list");
    let clients = |of: &[&Authority], crls, is_required| {
        Clients::new(&authorities(of), crls, is_required).expect("terms")
    };
    let all = [
        None,
        Some(clients(&[&ca], Vec::new(), true)),
        Some(clients(&[&ca], Vec::new(), false)),
        Some(clients(&[&other], Vec::new(), true)),
        Some(clients(&[&ca, &other], Vec::new(), true)),
        Some(clients(&[&ca], crl(&[1]), true)),
        Some(clients(&[&ca], crl(&[1, 2]), true)),
    ];
    let mut keys: Vec<Digest> =
        all.iter().map(|clients| terms("web", &[&pair], clients.as_ref()).ticket_key).collect();
    keys.push(terms("other", &[&pair], None).ticket_key);
    assert_eq!(keys[0], terms("web", &[&pair], None).ticket_key, "the same is the same");
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count, "no two share one");
}

#[test]
fn clients_are_let_in_by_their_certificates() {
    let (ca, other) = (Authority::new("CA"), Authority::new("CA"));
    let pair = ca.leaf(&["a.example"]);
    let (good, revoked, stranger) = (ca.client("a", 1), ca.client("b", 2), other.client("c", 3));
    let is_let_in = |is_required: bool, crl: Option<&[u64]>, own: Option<&Pair>| {
        let crls = crl.map(|serials| certs::crls(ca.crl(serials).as_bytes()).expect("a list"));
        let clients = Clients::new(&authorities(&[&ca]), crls.unwrap_or_default(), is_required);
        let server = terms("web", &[&pair], Some(&clients.expect("terms")));
        let own = own.map(certificate);
        let client = calling(&trusting(&ca), &[], own.as_ref());
        let shaken = shake(&client.config, &server, "a.example");
        let certs = shaken.ok().map(|(_, server)| server.peer_certificates().map(<[_]>::len));
        certs.map(|certs| certs.unwrap_or_default())
    };
    type Row<'r> = (bool, Option<&'r [u64]>, Option<&'r Pair>, Option<usize>);
    let rows: [Row<'_>; 10] = [
        (true, None, Some(&good), Some(1)),
        (true, None, None, None),
        (true, None, Some(&stranger), None),
        (true, None, Some(&revoked), Some(1)),
        (true, Some(&[2]), Some(&revoked), None),
        (true, Some(&[2]), Some(&good), Some(1)),
        (false, None, None, Some(0)),
        (false, None, Some(&good), Some(1)),
        (false, None, Some(&stranger), None),
        (false, Some(&[2]), Some(&revoked), None),
    ];
    for (i, (is_required, crl, own, expect)) in rows.into_iter().enumerate() {
        assert_eq!(is_let_in(is_required, crl, own), expect, "row {i}");
    }
}

#[test]
fn services_are_believed_by_chain_name_and_key() {
    let (ca, other) = (Authority::new("CA"), Authority::new("CA"));
    let (pair, old) =
        (ca.leaf(&["a.example"]), ca.make(&["a.example"], Kind::Ecdsa, (2020, 2021), 9));
    let key_of = |pair: &Pair| {
        let der = &certs::certificates(pair.cert.as_bytes()).expect("one")[0];
        let cert = rustls::server::ParsedCertificate::try_from(der).expect("one");
        sha256(&cert.subject_public_key_info())
    };
    let (own, wrong) = (key_of(&pair), key_of(&old));
    let trust = trusting(&ca);
    let nobody = Trust::Roots(Arc::new(RootCertStore::empty()));
    let rows: [(&Trust, &[Digest], &Pair, &str, bool); 12] = [
        (&trust, &[], &pair, "a.example", true),
        (&trust, &[], &pair, "b.example", false),
        (&trusting(&other), &[], &pair, "a.example", false),
        (&nobody, &[], &pair, "a.example", false),
        (&trust, &[], &old, "a.example", false),
        (&trust, &[own], &pair, "a.example", true),
        (&trust, &[wrong, own], &pair, "a.example", true),
        (&trust, &[wrong], &pair, "a.example", false),
        // A pin is beside the chain, and does not stand for it.
        (&trusting(&other), &[own], &pair, "a.example", false),
        (&Trust::Anyone, &[], &old, "b.example", true),
        (&Trust::Anyone, &[own], &pair, "b.example", true),
        (&Trust::Anyone, &[wrong], &pair, "b.example", false),
    ];
    for (i, (trust, pins, pair, name, is_good)) in rows.into_iter().enumerate() {
        let server = terms("web", &[pair], None);
        let client = calling(trust, pins, None);
        assert_eq!(shake(&client.config, &server, name).is_ok(), is_good, "row {i}");
    }
}

#[test]
fn the_oldest_version_is_what_the_listener_says() {
    let ca = Authority::new("CA");
    let pair = ca.leaf(&["a.example"]);
    let client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS12])
        .expect("a version")
        .with_root_certificates(roots_of(&authorities(&[&ca])).expect("roots"))
        .with_no_client_auth();
    let client = Arc::new(client);
    for is_tls13_only in [false, true] {
        let certs = Certs::new(vec![certificate(&pair)], 0, NOW);
        let server = ServerTerms::of(server::Given {
            name: "web",
            certs,
            is_tls13_only,
            clients: None,
            handshake_timeout: Duration::from_secs(10),
            handshakes_max: 10,
            hsts: None,
            client_headers: false,
        });
        let is_spoken = shake(&client, &server.expect("terms"), "a.example").is_ok();
        assert_eq!(is_spoken, !is_tls13_only);
    }
}

#[test]
fn the_same_terms_are_equal_and_others_are_not() {
    let ca = Authority::new("CA");
    let trust = trusting(&ca);
    let own = certificate(&ca.client("a", 1));
    let of = |trust_digest, pins, server_name: Option<&str>, own| {
        let server_name = server_name.map(|n| ServerName::try_from(n.to_owned()).expect("a name"));
        let given = client::Given { trust: &trust, trust_digest, pins, server_name, own };
        ClientTerms::of(given).expect("terms")
    };
    let pin: &[Digest] = &[[3; 32]];
    let all = [
        of([0; 32], &[], None, None),
        of([1; 32], &[], None, None),
        of([0; 32], pin, None, None),
        of([0; 32], &[], Some("a"), None),
        of([0; 32], &[], None, Some(&own)),
    ];
    for (i, a) in all.iter().enumerate() {
        for (j, b) in all.iter().enumerate() {
            assert_eq!(a == b, i == j, "{i} {j}");
        }
    }
    assert_eq!(all[0], of([0; 32], &[], None, None));
    let names = |terms: &ClientTerms| {
        let text = |name: ServerName<'_>| name.to_str().into_owned();
        [terms.name_for(Some("h.")).map(text), Some(text(terms.name_for_ip([10, 0, 0, 1].into())))]
    };
    assert_eq!(names(&all[0]).map(Option::unwrap), ["h", "10.0.0.1"]);
    assert_eq!(names(&all[3]).map(Option::unwrap), ["a", "a"]);
    assert_eq!(all[0].name_for(None), None);
}

#[test]
fn a_chain_that_no_client_takes_is_refused() {
    let authority = Authority::new("root");
    let pair = authority.leaf(&["a.test"]);
    let with = |times: usize| pair.cert.clone() + &authority.pem.repeat(times);
    assert!(Certificate::of(with(10).as_bytes(), pair.key.as_bytes()).is_ok());
    let refused = Certificate::of(with(1000).as_bytes(), pair.key.as_bytes());
    assert_eq!(refused.err(), Some(Fault::LongChain));
}
