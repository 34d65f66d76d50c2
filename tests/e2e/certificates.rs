//! Files of certificates while everything goes on.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use harness::eventually;
use harness::gateway::Gateway;

/// A certificate for a name and its key, as PEM.
fn pair(name: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("a certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// What examples of documents name.
pub fn files_of_examples(dir: &Path) {
    for (cert, key, name) in [
        ("tls/example.com.pem", "tls/example.com.key", "example.com"),
        ("tls/more/example.org.pem", "tls/more/example.org.key", "example.org"),
    ] {
        let made = pair(name);
        std::fs::create_dir_all(dir.join(cert).parent().unwrap()).unwrap();
        std::fs::write(dir.join(cert), made.0).unwrap();
        std::fs::write(dir.join(key), made.1).unwrap();
        std::fs::set_permissions(dir.join(key), Permissions::from_mode(0o600)).unwrap();
    }
}

on_both_drivers! {
    /// A pair that is broken for a while keeps the one before it, and everyone can see which.
    fn certificates_are_read_again_when_their_files_change(driver: &str) {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let beside = dir.path().join(format!("{name}~"));
            std::fs::write(&beside, text).unwrap();
            std::fs::rename(&beside, dir.path().join(name)).unwrap();
        };
        let (first, second, third) = (pair("a.example"), pair("b.example"), pair("c.example"));
        // As Kubernetes lays out a secret.
        for version in ["more/..1", "more/..2"] {
            std::fs::create_dir_all(dir.path().join(version)).unwrap();
        }
        std::fs::write(dir.path().join("more/..2/c.pem"), third.0 + &third.1).unwrap();
        std::os::unix::fs::symlink("..1", dir.path().join("more/..data")).unwrap();
        std::os::unix::fs::symlink("..data/c.pem", dir.path().join("more/c.pem")).unwrap();
        std::fs::write(dir.path().join("more/..1/c.pem"), first.0.clone() + &first.1).unwrap();
        write("a.pem", &first.0);
        write("a.key", &first.1);
        let text = "[listener.web]\naddress = \"127.0.0.1:PORT\"\n\
                    tls = { cert = \"DIR/a.pem\", key = \"DIR/a.key\", certs = \"DIR/more\" }\n\
                    [route.a]\nauth = \"none\"\nrespond = \"a\"\n";
        let text = text.replace("DIR", &dir.path().display().to_string());
        let gateway = Gateway::two(driver, &text);
        let metrics = || gateway.admin("GET", "/metrics").1;
        let expiry = |name: &str| {
            format!("busbar_certificate_expiry_seconds{{listener=\"web\",name=\"{name}\"}} ")
        };
        assert!(metrics().contains(&expiry("a.example")), "{}", metrics());

        // The certificate first: its key is another's until that comes.
        write("a.pem", &second.0);
        gateway.wait_for("does not fit");
        gateway.wait_for("refused; generation 1 stays in force");
        let broken = dir.path().join("a.pem").display().to_string();
        let broken = format!("busbar_certificate_faulty{{file=\"{broken}\"}} 1\n");
        let seen = metrics();
        assert!(seen.contains(&broken) && seen.contains(&expiry("a.example")), "{seen}");
        assert!(!seen.contains("busbar_reloads_total{result=\"refused\"} 0\n"), "{seen}");

        write("a.key", &second.1);
        gateway.wait_for("generation 2 in force (other certificates on web)");
        eventually("the new name is told", || metrics().contains(&expiry("b.example")));
        assert!(!metrics().contains("busbar_certificate_faulty{"), "{}", metrics());

        std::os::unix::fs::symlink("..2", dir.path().join("more/..next")).unwrap();
        let next = dir.path().join("more/..next");
        std::fs::rename(next, dir.path().join("more/..data")).unwrap();
        gateway.wait_for("generation 3 in force (other certificates on web)");
        eventually("the swapped one is told", || metrics().contains(&expiry("c.example")));
        let (code, log) = gateway.stop();
        assert_eq!(code, Some(0));
        assert!(!log.contains("PRIVATE") && !log.contains("-----"), "{log}");
    }
}
