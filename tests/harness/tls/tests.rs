//! The pieces against each other: what the clients say of an nginx that has this certificate or
//! that one.

use std::io::{Read, Write};

use super::*;
use crate::certs::{Authority, ED25519, P384, Pair, RSA, Wish};
use crate::client::{Client, End};
use crate::nginx::Nginx;
use crate::origin::{Origin, beside};

const NAME: &[&str] = &["DNS:shop.example", "IP:127.0.0.1"];

fn look(nginx: &Nginx, authority: &Authority, args: &[&str]) -> Session {
    let ca = authority.cert().display().to_string();
    let mut all = vec!["-servername", "shop.example", "-verify_hostname", "shop.example"];
    all.extend(["-CAfile", &ca]);
    all.extend(args);
    s_client(nginx.port, &all)
}

#[test]
fn a_good_certificate_is_believed() {
    let authority = Authority::new("Root");
    for (kind, below) in [(crate::certs::P256, false), (P384, true), (RSA, false), (ED25519, true)]
    {
        let issuer = below.then(|| authority.below("Between"));
        let wish = Wish { subject: "/CN=shop", sans: NAME, key: kind, ..Wish::default() };
        let pair = issuer.as_ref().unwrap_or(&authority).issue("shop", &wish);
        let nginx = Nginx::start_tls(&pair, "location / { return 204; }");
        let session = look(&nginx, &authority, &[]);
        assert_eq!(session.verified, Some(0), "{session:#?}");
        assert_eq!((session.status, session.version.as_str()), (Some(204), "TLSv1.3"));
        assert_eq!(session.subject, "CN = shop");
        let said =
            curl(nginx.port, "shop.example", "/", &authority.cert(), &["-w", "%{http_code}"]);
        assert_eq!(said.well(), "204");
    }
}

#[test]
fn versions_and_resumption_are_told() {
    let authority = Authority::new("Root");
    let nginx = Nginx::start_tls(&authority.server("shop", NAME), "location / { return 204; }");
    for version in ["-tls1_2", "-tls1_3"] {
        let file = nginx.dir.path().join(version).display().to_string();
        let first = look(&nginx, &authority, &[version, "-sess_out", &file]);
        let again = look(&nginx, &authority, &[version, "-sess_in", &file]);
        assert_eq!((first.is_resumed, again.is_resumed), (false, true), "{first:#?} {again:#?}");
        let told = version.replace("-tls1_", "TLSv1.");
        assert_eq!((&first.version, &again.version), (&told, &told), "{first:#?}");
        assert!(again.cipher.contains("AES"), "{again:#?}");
    }
    let refused = look(&nginx, &authority, &["-tls1_1"]);
    assert_eq!((refused.version.as_str(), refused.status), ("", None), "{refused:#?}");
}

#[test]
fn bad_certificates_are_told_apart() {
    let (authority, stranger) = (Authority::new("Root"), Authority::new("Stranger"));
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (pair, number) in [
        (authority.expired("expired", NAME), 10),
        (authority.early("early", NAME), 9),
        (authority.server("other", &["DNS:other.example"]), 62),
        (Pair::self_signed(dir.path(), "self", NAME), 18),
        // Nobody known issued it (20); told is what follows from that.
        (stranger.server("strange", NAME), 21),
    ] {
        let nginx = Nginx::start_tls(&pair, "location / { return 204; }");
        let session = look(&nginx, &authority, &[]);
        assert_eq!(session.verified, Some(number), "{session:#?}");
        let said = curl(nginx.port, "shop.example", "/", &authority.cert(), &[]);
        assert_eq!(said.code, Some(60), "{said:#?}");
    }
}

#[test]
fn clients_have_certificates_that_can_be_taken_back() {
    let authority = Authority::new("Root");
    let server = authority.server("shop", NAME);
    let good = authority.client("good", "/O=Acme/CN=client-1", &["URI:spiffe://acme/one"]);
    let lost = authority.client("lost", "/O=Acme/CN=client-2", &[]);
    authority.revoke(&lost);
    let (ca, crl) = (authority.cert(), authority.crl());
    let nginx = Nginx::start_tls(
        &server,
        &format!(
            "ssl_client_certificate {}; ssl_crl {}; ssl_verify_client on;\n\
             location / {{ return 200 $ssl_client_s_dn; }}",
            ca.display(),
            crl.display()
        ),
    );
    let ask = |pair: &Pair| {
        let (cert, key) = (pair.cert.display().to_string(), pair.key.display().to_string());
        curl(nginx.port, "shop.example", "/", &ca, &["--cert", &cert, "--key", &key]).well()
    };
    assert_eq!(ask(&good), "CN=client-1,O=Acme");
    assert!(ask(&lost).contains("400 The SSL certificate error"));
    let none = curl(nginx.port, "shop.example", "/", &ca, &[]).well();
    assert!(none.contains("No required SSL certificate was sent"), "{none}");
}

#[test]
fn what_is_replaced_and_what_is_pinned() {
    let authority = Authority::new("Root");
    let (old, new) = (authority.server("old", NAME), authority.server("new", NAME));
    let (was, is) = (old.fingerprint(), new.fingerprint());
    assert!(was.len() == 64 && was != is && new.key_digest().len() == 64);
    let digest = new.key_digest();
    new.replaces(&old);
    assert_eq!((old.fingerprint(), old.key_digest()), (is, digest));
    assert_eq!(old.both().matches("-----BEGIN").count(), 2);
}

#[test]
fn the_raw_client_speaks_tls() {
    use rustls::HandshakeKind::{Full, Resumed};
    use rustls::version::{TLS12, TLS13};

    let authority = Authority::new("Root");
    let who = authority.client("who", "/CN=client-1", &[]);
    let files = format!("ssl_client_certificate {};", authority.cert().display());
    let nginx = Nginx::start_tls(
        &authority.server("shop", NAME),
        &format!(
            "{files} ssl_verify_client optional; ssl_session_cache shared:a:1m;\n\
             location / {{ return 200 $ssl_client_s_dn; }}"
        ),
    );
    let address = format!("127.0.0.1:{}", nginx.port);
    for version in [&TLS12, &TLS13] {
        let config = speaking(&[version], &authority.cert(), Some(&who));
        for kind in [Full, Resumed] {
            let mut client = Client::connect_tls(&address, to("shop.example", &config));
            let answer = client.ask("GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n");
            assert_eq!((answer.status, answer.text().as_str()), (200, "CN=client-1"));
            assert_eq!(client.send(REQUEST).answer().map(|a| a.status), Ok(200));
            assert_eq!(client.ends(), End::Closed);
            let tls = client.tls.expect("it speaks TLS");
            assert_eq!(tls.handshake_kind(), Some(kind));
            assert_eq!(tls.protocol_version(), Some(version.version));
        }
    }
    let nobody = speaking(&[&TLS13], &authority.cert(), None);
    let mut client = Client::connect_tls(&address, to("shop.example", &nobody));
    assert_eq!(client.send(REQUEST).answer().map(|a| a.body.len()), Ok(0));
}

#[test]
fn a_cut_is_told_from_a_farewell() {
    let authority = Authority::new("Root");
    let nginx = Nginx::start_tls(&authority.server("shop", NAME), "location / { return 204; }");
    let config = speaking(&[&rustls::version::TLS13], &authority.cert(), None);
    let origin = Origin::new();
    let mut client = Client::connect_tls(&origin.address(), to("shop.example", &config));
    let cutter = beside(move || {
        // Passes one flight each way, and hangs up instead of the rest.
        let mut from = origin.accept().stream;
        let mut to = std::net::TcpStream::connect(("127.0.0.1", nginx.port)).expect("it listens");
        let mut part = [0; 16384];
        let n = from.read(&mut part).expect("a hello");
        to.write_all(&part[..n]).expect("nginx reads");
        let n = to.read(&mut part).expect("nginx's flight");
        from.write_all(&part[..n]).expect("the client reads");
        let _ = from.read(&mut part);
        from.shutdown(std::net::Shutdown::Write).expect("connected");
    });
    client.send(REQUEST);
    assert_eq!(client.ends(), End::Cut);
    cutter.recv().expect("it ends");
}

#[test]
fn python_speaks_too() {
    let authority = Authority::new("Root");
    let nginx = Nginx::start_tls(&authority.server("shop", NAME), "location / { return 204; }");
    let script = "import socket, ssl, sys\n\
                  context = ssl.create_default_context(cafile=sys.argv[1])\n\
                  plain = socket.create_connection(('127.0.0.1', int(sys.argv[2])), 10)\n\
                  tls = context.wrap_socket(plain, server_hostname='shop.example')\n\
                  print(tls.version())\n";
    let ca = authority.cert().display().to_string();
    assert_eq!(python(script, &[&ca, &nginx.port.to_string()]).well(), "TLSv1.3\n");
}

#[test]
fn testssl_looks_at_a_port() {
    let authority = Authority::new("Root");
    let nginx = Nginx::start_tls(&authority.server("shop", NAME), "location / { return 204; }");
    let found = testssl(nginx.port, &["--protocols"]);
    let said = |id: &str| found.iter().find(|f| f.0 == id).map(|f| (f.1.as_str(), f.2.as_str()));
    assert_eq!(said("TLS1_3"), Some(("OK", "offered with final")), "{found:#?}");
    assert_eq!(said("SSLv3"), Some(("OK", "not offered")));
}
