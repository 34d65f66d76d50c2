//! Certificates that are replaced while clients come and go.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;

use harness::certs::{Authority, Pair, Wish};
use harness::client::{Client, End};
use harness::eventually;
use harness::gateway::Gateway;
use harness::metrics::Exposition;
use harness::origin::beside;
use harness::secure::{ASK, HOST, VERSIONS, listener};
use harness::tls::{speaking, to};
use harness::tokens::seconds;
use rustls::ClientConfig;

const HELLO: &str = "[route.a]\nrespond = \"hello\"\n";
const DAY: u64 = 86_400;

/// SHA-256 of the certificate that a new connection is shown.
fn shown(gateway: &Gateway, authority: &Authority) -> String {
    let config = speaking(&VERSIONS, &authority.cert(), None);
    let mut client = Client::connect_tls(&gateway.address(), to(HOST, &config));
    assert_eq!(client.ask(ASK).text(), "hello");
    let tls = client.tls.expect("it speaks TLS");
    let der = &tls.peer_certificates().expect("a certificate")[0];
    let digest = ring::digest::digest(&ring::digest::SHA256, der);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Clients that ask all the while: those that stay, those that come for one request, and those
/// that come again with a ticket.
struct Load {
    over: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    ends: Vec<Receiver<()>>,
}

fn load(gateway: &Gateway, authority: &Authority) -> Load {
    let (over, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let fresh = |ca: &Path| speaking(&VERSIONS, ca, None);
    let ends = (0..3).map(|kind| {
        let (over, served, address) = (over.clone(), served.clone(), gateway.address());
        let ca = authority.cert();
        beside(move || {
            let mut config: Arc<ClientConfig> = fresh(&ca);
            let mut kept = Client::connect_tls(&address, to(HOST, &config));
            while !over.load(Ordering::Relaxed) {
                if kind == 0 {
                    config = fresh(&ca);
                }
                if kind < 2 {
                    kept = Client::connect_tls(&address, to(HOST, &config));
                }
                let answer = kept.ask(ASK);
                assert_eq!((answer.text().as_str(), answer.field("connection")), ("hello", None));
                served.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let ends = ends.collect();
    Load { over, served, ends }
}

impl Load {
    /// Waits until some more were served.
    fn goes_on(&self) {
        let before = self.served.load(Ordering::Relaxed);
        eventually("it goes on", || self.served.load(Ordering::Relaxed) > before + 20);
    }

    fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        self.ends.iter().for_each(|end| end.recv().expect("nobody was refused or cut off"));
    }
}

/// A pair in a folder of its own, behind a link that is swapped: as Kubernetes lays out a secret.
fn lay_out(dir: &Path, version: &str, pair: &Pair) {
    let folder = dir.join(version);
    fs::create_dir_all(&folder).expect("ours");
    fs::copy(&pair.cert, folder.join("tls.crt")).expect("ours");
    fs::copy(&pair.key, folder.join("tls.key")).expect("ours");
    let next = dir.join("..next");
    std::os::unix::fs::symlink(version, &next).expect("ours");
    fs::rename(next, dir.join("..data")).expect("ours");
}

on_both_drivers! {
    fn nobody_notices_that_a_certificate_is_replaced(driver: &str) {
        let authority = Authority::new("Root");
        let made: Vec<Pair> = (0..4)
            .map(|n| authority.server(&format!("shop-{n}"), &["DNS:shop.example"]))
            .collect();
        let prints: BTreeSet<String> = made.iter().map(Pair::fingerprint).collect();
        assert_eq!(prints.len(), 4);
        let dir = tempfile::tempdir().unwrap();
        lay_out(dir.path(), "..1", &made[0]);
        let at = |name: &str| dir.path().join(name);
        let pair = Pair { cert: at("tls.crt"), key: at("tls.key") };
        for (name, path) in [("tls.crt", &pair.cert), ("tls.key", &pair.key)] {
            std::os::unix::fs::symlink(format!("..data/{name}"), path).unwrap();
        }
        let gateway = Gateway::two(driver, &format!("{}{HELLO}", listener(&pair, "")));
        let load = load(&gateway, &authority);
        let becomes = |pair: &Pair| {
            let print = pair.fingerprint();
            eventually("the new one is shown", || shown(&gateway, &authority) == print);
            load.goes_on();
        };
        becomes(&made[0]);
        lay_out(dir.path(), "..2", &made[1]);
        becomes(&made[1]);
        // By renames, the certificate first: for a moment the key is another's.
        made[2].replaces(&pair);
        becomes(&made[2]);
        // In place, key first.
        fs::write(&pair.key, fs::read(&made[3].key).unwrap()).unwrap();
        fs::write(&pair.cert, fs::read(&made[3].cert).unwrap()).unwrap();
        becomes(&made[3]);
        load.end();
        let (code, log) = gateway.stop();
        assert!(code == Some(0) && !log.contains("PRIVATE"), "{log}");
    }

    fn a_broken_pair_changes_nothing_and_everybody_can_see_it(driver: &str) {
        let authority = Authority::new("Root");
        let made = authority.server("shop", &["DNS:shop.example", "DNS:also.example"]);
        // In a folder of their own, whose files the clients of this test do not open.
        let dir = tempfile::tempdir().unwrap();
        let pair = Pair { cert: dir.path().join("shop.crt"), key: dir.path().join("shop.key") };
        made.replaces(&pair);
        let (key, print) = (fs::read(&pair.key).unwrap(), pair.fingerprint());
        let gateway = Gateway::two(driver, &format!("{}{HELLO}", listener(&pair, "")));
        let numbers = || Exposition::read(&gateway.admin("GET", "/metrics").1);
        let file = pair.key.display().to_string();
        let faulty = || numbers().sum("busbar_certificate_faulty", &[("file", file.as_str())]);
        let refused = || numbers().sum("busbar_reloads_total", &[("result", "refused")]);
        let load = load(&gateway, &authority);
        for (n, broken) in [&b""[..], b"no PEM", &key[..key.len() / 2]].iter().enumerate() {
            fs::write(&pair.key, broken).unwrap();
            eventually("it is refused", || refused() > n as f64);
            eventually("it is named", || faulty() == 1.0);
            assert_eq!(shown(&gateway, &authority), print);
            load.goes_on();
        }
        let log = gateway.log();
        assert!(log.contains(&file) && log.contains("generation 1 stays in force"), "{log}");
        fs::write(&pair.key, &key).unwrap();
        eventually("it is good again", || faulty() == 0.0);
        assert_eq!(shown(&gateway, &authority), print);
        load.end();
    }

    /// In seconds since 1970, by the name that clients ask for.
    fn the_end_of_each_certificate_is_told(driver: &str) {
        let authority = Authority::new("Root");
        let until = |days: i64, sans: &[&str], file: &str| {
            authority.issue(file, &Wish { until: days, sans, ..Wish::default() })
        };
        let first = until(1, &["DNS:a.example", "DNS:*.b.example"], "first");
        let second = until(20, &["DNS:c.example"], "second");
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("second.pem"), second.both()).unwrap();
        let more = format!(", certs = \"{}\"", dir.path().display());
        let gateway = Gateway::two(driver, &format!("{}{HELLO}", listener(&first, &more)));
        let ends = || {
            let numbers = Exposition::read(&gateway.admin("GET", "/metrics").1);
            let mut ends = numbers.by("busbar_certificate_expiry_seconds", &["listener", "name"]);
            // Issued at most so long ago.
            let near = |days: u64, end: u64| (seconds() + days * DAY).abs_diff(end) < 60;
            for (key, end) in &mut ends {
                *end = [1, 5, 20].into_iter().find(|days| near(*days, *end))
                    .unwrap_or_else(|| panic!("{key:?} ends at {end}"));
            }
            ends.into_iter().map(|(key, days)| (key[1].clone(), days)).collect::<Vec<_>>()
        };
        let expect = |c: u64| [("*.b.example", 1), ("a.example", 1), ("c.example", c)]
            .map(|(name, days)| (name.to_owned(), days)).to_vec();
        assert_eq!(ends(), expect(20));
        fs::write(dir.path().join("second.pem"), until(5, &["DNS:c.example"], "third").both())
            .unwrap();
        eventually("the new end is told", || ends() == expect(5));
    }

    /// What goes on over a connection goes on, whatever becomes of what it began with.
    fn a_connection_outlives_its_listeners_terms(driver: &str) {
        let authority = Authority::new("Root");
        let pair = authority.server("shop", &["DNS:shop.example"]);
        let gateway = Gateway::two(driver, &format!("{}{HELLO}", listener(&pair, "")));
        let config = speaking(&VERSIONS[1..], &authority.cert(), None);
        let mut client = Client::connect_tls(&gateway.address(), to(HOST, &config));
        assert_eq!(client.ask(ASK).text(), "hello");
        let text = format!("{}{HELLO}", listener(&pair, ", min_version = \"1.3\", hsts = \"1d\""));
        gateway.rewrite(&text);
        gateway.reload();
        let answer = client.ask(ASK);
        assert_eq!(answer.field("strict-transport-security"), Some("max-age=86400"));
        let mut late = Client::connect_tls(&gateway.address(), to(HOST, &config));
        assert!(!late.try_send(ASK) || late.answer().is_err(), "it speaks 1.2");
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert_eq!(client.answer().unwrap().text(), "hello");
        assert_eq!(client.ends(), End::Closed);
    }
}
