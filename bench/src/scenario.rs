//! What is asked of each proxy.

use std::borrow::Cow;

pub struct Scenario {
    pub name: &'static str,
    pub path: &'static str,
    /// A wrk script, for what is not a plain GET.
    pub script: Option<Cow<'static, str>>,
}

/// Those that every proxy can serve, the relays included.
pub const BASIC: [Scenario; 4] = [
    Scenario { name: "keep-alive 128 B", path: "/128", script: None },
    Scenario { name: "64 KiB answer", path: "/64k", script: None },
    Scenario {
        name: "POST 16 KiB",
        path: "/post",
        script: Some(Cow::Borrowed("wrk.method = 'POST' wrk.body = string.rep('x', 16384)")),
    },
    Scenario {
        name: "connection per request",
        path: "/128",
        script: Some(Cow::Borrowed("wrk.headers['Connection'] = 'close'")),
    },
];

/// Requests spread over so many routes.
pub const ROUTES: [(&str, usize); 2] = [("200 routes", 200), ("10,000 routes", 10_000)];

/// Access control beside the peers'.
pub const GUARDED: &str = "key + limit + IP list";

/// What it adds to a plain route, in paired rounds.
pub const POLICIES: &str = "policies";

/// What an access log adds, in paired rounds.
pub const LOG: &str = "access log";

/// What a client that only waits costs.
pub const IDLE: &str = "idle connections";

/// With TLS towards the client; the connections are kept.
pub const TLS: [Scenario; 2] = [
    Scenario { name: "TLS keep-alive 128 B", path: "/128", script: None },
    Scenario { name: "TLS 64 KiB answer", path: "/64k", script: None },
];

/// A connection, its handshake and one request, again and again.
pub const TLS_FULL: &str = "TLS full handshake";
pub const TLS_RESUMED: &str = "TLS resumed handshake";

/// As [`IDLE`].
pub const TLS_IDLE: &str = "TLS idle connections";

/// Every scenario's name.
pub fn names() -> impl Iterator<Item = &'static str> {
    let basic = BASIC.iter().chain(&TLS).map(|scenario| scenario.name);
    let others = [GUARDED, POLICIES, LOG, IDLE, TLS_FULL, TLS_RESUMED, TLS_IDLE];
    basic.chain(ROUTES.map(|(name, _)| name)).chain(others)
}
