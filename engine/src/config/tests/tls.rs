//! What is said of TLS, as a listener and an upstream have it then.

use super::*;
use crate::snapshot::{Endpoint, Listener, Upstream};
use crate::tls::made::{Authority, Pair};

/// Names and texts of the files beside the configuration.
fn load_tls(text: &str, files: &[(&str, &str)]) -> Loaded {
    let all: Vec<(&str, &str)> = [("busbar.toml", text)].iter().chain(files).copied().collect();
    load_files(&all)
}

fn good_tls(text: &str, files: &[(&str, &str)]) -> Snapshot {
    let loaded = load_tls(text, files);
    assert_eq!(loaded.diagnostics.render(false), "", "{text}");
    loaded.snapshot.expect("no mistakes, so a snapshot")
}

fn pair() -> Pair {
    Authority::new("CA").leaf(&["a.example", "*.b.example"])
}

fn listener<'s>(snapshot: &'s Snapshot, name: &str) -> &'s Listener {
    snapshot.listeners.iter().find(|listener| *listener.name == *name).expect("it is there")
}

fn upstream<'s>(snapshot: &'s Snapshot, name: &str) -> &'s Upstream {
    snapshot.upstreams.iter().find(|upstream| *upstream.name == *name).expect("it is there")
}

#[test]
fn defaults_of_listeners_hold_where_there_is_tls() {
    let pair = pair();
    let files = [("a.pem", &*pair.cert), ("a.key", &*pair.key)];
    let snapshot = good_tls(
        "[defaults.listener]\nredirect = \"https:8443\"\n\
         tls = { cert = \"file:a.pem\", key = \"a.key\", hsts = \"365d\", handshakes_max = 7 }\n\
         [listener.plain]\naddress = \"127.0.0.1:1\"\n\
         [listener.tls]\naddress = \"127.0.0.1:2\"\n\
         tls = { handshake_timeout = \"3s\", hsts = { max_age = \"2m\", subdomains = true } }\n\
         [listener.other]\naddress = \"127.0.0.1:3\"\nredirect = \"https\"\n\
         [route.a]\nrespond = \"a\"\n",
        &files,
    );
    let plain = listener(&snapshot, "plain");
    assert!(plain.tls.is_none() && plain.https_redirect == Some(8443));
    assert_eq!(listener(&snapshot, "other").https_redirect, Some(443));
    let speaks = listener(&snapshot, "tls");
    let tls = speaks.tls.as_ref().expect("it has");
    assert_eq!((speaks.https_redirect, tls.handshakes_max), (None, 7), "nobody is sent in circles");
    assert_eq!(tls.handshake_timeout, Duration::from_secs(3));
    assert_eq!(tls.hsts.as_deref(), Some("max-age=120; includeSubDomains"));
    let names: Vec<&str> = tls.certs.ends().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["*.b.example", "a.example"]);
}

#[test]
fn https_means_tls_and_the_services_own_name() {
    let ca = Authority::new("CA");
    let snapshot = good_tls(
        "[upstream.a]\nendpoints = [\"https://h\", \"https://10.0.0.1:8443\"]\n\
         [upstream.b]\nendpoints = [\"h:8443\"]\ntls = { ca = \"ca.pem\" }\nhost = \"keep\"\n\
         [upstream.c]\nendpoints = [\"unix:/run/c\"]\ntls = { server_name = \"c.example\" }\n\
         [upstream.d]\nendpoints = [\"h:80\"]\n\
         [route.a]\nto = { a = 1, b = 1, c = 1, d = 1, \"https://x\" = 1, \"http://x\" = 1 }\n",
        &[("ca.pem", &ca.pem)],
    );
    let rows = [
        ("a", true, HostMode::Endpoint, "h"),
        ("b", true, HostMode::Keep, "h:8443"),
        ("c", true, HostMode::Keep, "unix:/run/c"),
        ("d", false, HostMode::Keep, "h:80"),
        ("https://x", true, HostMode::Endpoint, "x"),
        ("http://x", false, HostMode::Keep, "x"),
    ];
    for (name, is_tls, host, text) in rows {
        let found = upstream(&snapshot, name);
        assert_eq!((found.tls.is_some(), &found.host), (is_tls, &host), "{name}");
        assert_eq!(&*found.endpoints[0].text, text, "{name}");
    }
    let terms = upstream(&snapshot, "a").tls.as_ref().expect("it has");
    let names =
        |endpoint: &Endpoint| terms.name_of(&endpoint.address).map(|n| n.to_str().into_owned());
    let endpoints = &upstream(&snapshot, "a").endpoints;
    assert_eq!(endpoints.iter().map(names).collect::<Option<Vec<_>>>().unwrap(), ["h", "10.0.0.1"]);
    assert_ne!(upstream(&snapshot, "a").tls, upstream(&snapshot, "b").tls);
    assert_eq!(upstream(&snapshot, "a").tls, upstream(&snapshot, "https://x").tls);
}

/// What clients send of the fields that tell of their certificates is removed, on every route.
#[test]
fn fields_of_clients_certificates_are_nobody_elses() {
    let (ca, pair) = (Authority::new("CA"), pair());
    let files = [("a.pem", &*pair.cert), ("a.key", &*pair.key), ("ca.pem", &*ca.pem)];
    let text = |headers: &str| {
        format!(
            "[listener.a]\naddress = \"127.0.0.1:1\"\n\
             tls = {{ cert = \"a.pem\", key = \"a.key\", client_ca = \"ca.pem\"{headers} }}\n\
             [listener.b]\naddress = \"127.0.0.1:2\"\n\
             [route.a]\npath = \"/a\"\nto = \"http://h\"\nlistener = \"b\"\n\
             [route.b]\nto = \"http://h\"\n"
        )
    };
    let changes = |headers: &str| {
        let snapshot = good_tls(&text(headers), &files);
        let of = |route: &crate::snapshot::Route| !route.policies.does_nothing();
        snapshot.routes.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(changes(", client_headers = true"), [true, true]);
    assert_eq!(changes(""), [false, false]);
}

#[test]
fn files_and_folders_count_as_soon_as_they_change() {
    let pair = pair();
    let text = "[listener.a]\naddress = \"127.0.0.1:1\"\n\
                tls = { cert = \"a.pem\", key = \"b.key\", certs = \"more/\" }\n\
                [route.a]\nrespond = \"a\"\n";
    let other = self::pair();
    let files = [
        ("a.pem", &*pair.cert),
        ("b.key", &*other.key),
        ("more/x.crt", &*pair.cert),
        ("more/x.key", &*pair.key),
        ("more/..data", "hidden"),
        ("more/sub/y.pem", "not looked at"),
    ];
    let loaded = load_tls(text, &files);
    let lists: Vec<&str> = loaded.lists.iter().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(lists, ["a.pem", "b.key", "more", "more/x.crt", "more/x.key"]);
    assert_eq!(loaded.faulty, ["a.pem"]);
    assert_eq!(loaded.diagnostics.errors(), 1, "{}", loaded.diagnostics.render(false));
}
