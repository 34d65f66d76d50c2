//! The keys of TLS, on both sides.

use std::time::Duration;

use super::{Key, Kind, YEAR, count, key, later, time};

const CERT: Key = key(
    "cert",
    Kind::Text("a PEM file"),
    "",
    "The certificate, behind it those that vouch for it. Read again when it changes.",
);
const KEY: Key = key(
    "key",
    Kind::Text("a PEM file"),
    "the file of `cert`",
    "Its private key (ECDSA, Ed25519 or RSA), not encrypted.",
);

/// `tls` of a listener.
pub const LISTENER_TLS: &[Key] = &[
    CERT,
    KEY,
    key(
        "certs",
        Kind::Shape("folders and tables `{ cert, key }`, one or a list"),
        "",
        "More certificates. Of a folder each `NAME.pem` or `NAME.crt` with its `NAME.key`, or with \
         the key in it; new files count at once. A client gets one for the name it asks for, else \
         for its wildcard, else `cert` or, without that, the first; ECDSA before RSA.",
    ),
    key("min_version", Kind::Words(&["1.2", "1.3"]), "\"1.2\"", "The oldest TLS that is spoken."),
    key(
        "client_ca",
        Kind::Texts("PEM files"),
        "",
        "Authorities that vouch for clients: clients are asked for a certificate.",
    ),
    key(
        "client_crl",
        Kind::Texts("PEM files"),
        "",
        "Lists of revoked certificates. With one, each authority that issues needs its own.",
    ),
    key(
        "client",
        Kind::Words(&["required", "optional"]),
        "\"required\" with `client_ca`",
        "Whether clients without a certificate may call. A bad one is refused either way.",
    ),
    key(
        "client_headers",
        Kind::Bool,
        "false",
        "`X-Client-Cert-Subject`, `-San` and `-Fingerprint` tell the service whose it is. What \
         clients send of these is removed on every route.",
    ),
    time("handshake_timeout", "\"10s\"", "From accept to the end of the handshake."),
    key("handshakes_max", count(1, 65_535), "1024", "Handshakes at one time, in each worker."),
    key(
        "hsts",
        Kind::Shape("a time or `{ max_age, subdomains, preload }`"),
        "none",
        "`Strict-Transport-Security` on every answer: for how long browsers use HTTPS alone.",
    ),
    later("alpn"),
    later("acme"),
];

/// An item of `certs` as a table.
pub const LISTENER_CERT: &[Key] = &[CERT, KEY];

pub const HSTS: &[Key] = &[
    key(
        "max_age",
        Kind::Time { min: Duration::ZERO, max: YEAR, none: false },
        "",
        "For how long; \"0s\" makes browsers forget it.",
    ),
    key("subdomains", Kind::Bool, "false", "Whether it holds for all names below, too."),
    key("preload", Kind::Bool, "false", "Whether browsers may ship with it."),
];

/// `tls` of an upstream.
pub const UPSTREAM_TLS: &[Key] = &[
    key(
        "ca",
        Kind::Texts("PEM files"),
        "the system's",
        "Authorities that vouch for the service, in place of the system's.",
    ),
    key(
        "verify",
        Kind::Bool,
        "true",
        "Whether chain and name are verified. Without it anybody on the way can be the service, \
         unless `pins` say who it is.",
    ),
    key(
        "server_name",
        Kind::Text("a name"),
        "the endpoint's host",
        "The name that is asked for, and has to be in the certificate.",
    ),
    key(
        "cert",
        Kind::Text("a PEM file"),
        "none",
        "Our own certificate, for a service that asks for one.",
    ),
    KEY,
    key(
        "pins",
        Kind::Texts("`\"sha256:\"` and the digest of a public key (SPKI), base64 or hexadecimal"),
        "none",
        "The service's key is one of these, whoever vouches for it.",
    ),
];
