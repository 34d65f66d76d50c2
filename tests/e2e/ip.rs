//! Lists of addresses.

use harness::client::{ask, asking};
use harness::gateway::Gateway;

const ROUTES: &str = r#"
[all]
auth = "none"
ip = { deny = ["file:DIR/deny.txt"] }
[route.a]
path = "/a"
respond = "a"
[route.few]
path = "/few"
ip = { allow = ["127.0.0.0/8", "203.0.113.0/24", "2001:db8::/32"], deny = ["203.0.113.7"] }
respond = "few"
[route.nobody]
path = "/nobody"
ip = { allow = ["file:DIR/empty.txt"], deny = ["192.0.2.1"] }
respond = "nobody"
[route.local]
path = "/local"
ip = { allow = ["127.0.0.1"] }
respond = "local"
"#;

on_both_drivers! {
    fn addresses_count_as_trusted_proxies_tell_them(driver: &str) {
        let dir = tempfile::tempdir().unwrap();
        let list = "# from elsewhere\n198.51.100.0/24 # all\n\n203.0.113.9\n2001:db8:bad::/48\n";
        std::fs::write(dir.path().join("deny.txt"), list).unwrap();
        std::fs::write(dir.path().join("empty.txt"), "# nobody yet\n").unwrap();
        let text = ROUTES.replace("DIR", &dir.path().display().to_string());
        let trusting = format!("[server]\ntrusted_proxies = [\"127.0.0.1\"]\n{text}");
        let gateway = Gateway::two(driver, &trusting);
        // What is said, and who may: /a, /few, /local.
        for (line, expect) in [
            ("A: b", [200, 200, 200]),
            ("X-Forwarded-For: 198.51.100.1", [403, 403, 403]),
            ("X-Forwarded-For: 198.51.101.1", [200, 403, 403]),
            ("X-Forwarded-For: 203.0.113.8", [200, 200, 403]),
            ("X-Forwarded-For: 203.0.113.7", [200, 403, 403]),
            ("X-Forwarded-For: 203.0.113.9", [403, 403, 403]),
            ("X-Forwarded-For: 2001:db8::1", [200, 200, 403]),
            ("X-Forwarded-For: 2001:DB8:bad:0::1", [403, 403, 403]),
            ("X-Forwarded-For: ::ffff:198.51.100.1", [403, 403, 403]),
            // What the client itself wrote stands to the left.
            ("X-Forwarded-For: 203.0.113.8, 198.51.100.1", [403, 403, 403]),
            ("X-Forwarded-For: 198.51.100.1, 203.0.113.8", [200, 200, 403]),
        ] {
            let found = ["/a", "/few", "/local"].map(|path| {
                let answer = ask(&gateway.address(), asking(path, &[line]));
                assert!(answer.status == 200 || answer.problem() == "address-denied");
                answer.status
            });
            assert_eq!(found, expect, "{line}");
        }
        assert_eq!(ask(&gateway.address(), asking("/nobody", &[])).status, 403, "an empty list");
        // Nobody is trusted any more: what is said is nothing.
        gateway.rewrite(&text);
        gateway.reload();
        for line in ["X-Forwarded-For: 198.51.100.1", "Forwarded: for=198.51.100.1", "A: b"] {
            assert_eq!(ask(&gateway.address(), asking("/local", &[line])).status, 200, "{line}");
        }
        gateway.stop();
    }

    /// Before there is a route.
    fn a_listener_has_its_own_list(driver: &str) {
        let closed = harness::free_port();
        let text = format!(
            "[listener.web]\naddress = \"127.0.0.1:PORT\"\n\
             [listener.closed]\naddress = \"127.0.0.1:{closed}\"\n\
             ip = {{ allow = [\"10.0.0.0/8\"] }}\n\
             [route.a]\npath = \"/a\"\nauth = \"none\"\nrespond = \"a\"\n");
        let gateway = Gateway::two(driver, &text);
        assert_eq!(ask(&gateway.address(), asking("/a", &[])).status, 200);
        let answer = ask(&format!("127.0.0.1:{closed}"), asking("/a", &[]));
        assert_eq!((answer.status, &*answer.problem()), (403, "address-denied"));
        gateway.stop();
    }
}
