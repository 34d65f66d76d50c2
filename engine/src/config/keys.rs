//! THE LIST: every key of every table, with its kind, default and meaning.

use std::time::Duration;

mod access;
mod tls;

pub use access::*;
pub use tls::*;

/// One key of a table.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    /// As a file would say it, or in words; empty for none.
    pub default: &'static str,
    /// One or two sentences for the reference.
    pub doc: &'static str,
    /// What becomes of it when several layers say it.
    pub merge: Merge,
}

/// How what `[all]`, groups and a route say about one key comes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// The narrowest layer's value holds.
    Replace,
    /// Name by name, the narrower layer's holds.
    ByName,
    /// All of them hold.
    AddUp,
}

/// A key of `[all]`, groups and routes: its place in [`ROUTE`], and in each list that begins as
/// `LAYER` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u8);

impl KeyId {
    pub fn of(name: &str) -> Option<KeyId> {
        ROUTE.iter().position(|key| key.name == name).map(|i| KeyId(i as u8))
    }

    pub fn key(self) -> &'static Key {
        &ROUTE[usize::from(self.0)]
    }

    /// Whether `[all]` and groups have it too.
    pub fn is_inherited(self) -> bool {
        usize::from(self.0) < LAYER.len()
    }
}

/// What a key takes. Bounds are inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Time {
        min: Duration,
        max: Duration,
        none: bool,
    },
    Size {
        min: u64,
        max: u64,
        none: bool,
    },
    ByteRate {
        none: bool,
    },
    Count {
        min: u64,
        max: u64,
        none: bool,
    },
    Bool,
    /// A `Secret`: given by a reference, never shown.
    Secret,
    /// One or a list of them, or of their hashes.
    Secrets,
    /// So many requests in a time.
    Rate,
    Words(&'static [&'static str]),
    Text(&'static str),
    /// One text or a list of them.
    Texts(&'static str),
    /// Read by code of its own; the text says what it takes.
    Shape(&'static str),
    /// Part of the language that this build refuses by name.
    Later,
}

const MS: Duration = Duration::from_millis(1);
/// No wait is longer than a year; sums of a few of them stay far from overflow.
const YEAR: Duration = Duration::from_secs(365 * 86_400);
/// More would not be a limit, and numbers stay exact in every tool that reads JSON.
const SIZE_MAX: u64 = 1 << 50;

const fn time(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    key(name, Kind::Time { min: MS, max: YEAR, none: false }, default, doc)
}

const fn time_or_none(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    key(name, Kind::Time { min: MS, max: YEAR, none: true }, default, doc)
}

const fn key(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { name, kind, default, doc, merge: Merge::Replace }
}

impl Key {
    const fn by_name(self) -> Key {
        Key { merge: Merge::ByName, ..self }
    }

    const fn adds_up(self) -> Key {
        Key { merge: Merge::AddUp, ..self }
    }
}

const fn count(min: u64, max: u64) -> Kind {
    Kind::Count { min, max, none: false }
}

const fn size(min: u64, max: u64) -> Kind {
    Kind::Size { min, max, none: false }
}

const fn later(name: &'static str) -> Key {
    key(name, Kind::Later, "", "")
}

/// One list after the other.
const fn joined<const N: usize>(first: &[Key], second: &[Key]) -> [Key; N] {
    let mut all = [first[0]; N];
    let mut i = 0;
    while i < N {
        all[i] = if i < first.len() { first[i] } else { second[i - first.len()] };
        i += 1;
    }
    all
}

pub const TOP: &[Key] = &[
    key("busbar", count(1, 1), "1", "The version of this language."),
    key("server", Kind::Shape("a table"), "", "The process as a whole."),
    key("listener", Kind::Shape("tables by name"), "`:8080`", "Where requests arrive."),
    key("upstream", Kind::Shape("tables by name"), "", "Services, each a group of endpoints."),
    key("route", Kind::Shape("tables by name"), "", "Which requests go where."),
    key("group", Kind::Shape("tables by name"), "", "What several routes have in common."),
    key("all", Kind::Shape("a table"), "", "What all routes have in common."),
    key(
        "defaults",
        Kind::Shape("tables `upstream` and `listener`"),
        "",
        "What holds where such a table doesn't say it.",
    ),
    key("admin", Kind::Shape("a table"), "", "Where the operator asks and tells."),
    key(
        "include",
        Kind::Texts("files, with `*` and `?`, relative to this one"),
        "",
        "More of the configuration. Tables merge by name; the same name twice is a mistake.",
    ),
    key("auth", Kind::Shape("tables by name"), "", "How callers prove who they are."),
    key("consumer", Kind::Shape("tables by name"), "", "Known callers."),
    key("consumers", Kind::Shape("a table"), "", "More of them, from a file."),
    key("plan", Kind::Shape("tables by name"), "", "What consumers have bought."),
    later("waf"),
    later("meter"),
    key("log", Kind::Shape("a table"), "", "What is written down."),
    later("metrics"),
    later("trace"),
    later("docker"),
    later("kubernetes"),
];

pub const SERVER: &[Key] = &[
    key(
        "workers",
        count(1, 1024),
        "one per core",
        "Threads that serve requests. Fewer than cores when a cgroup quota says so.",
    ),
    key("pin", Kind::Bool, "unless under a quota", "Whether each worker stays on its core."),
    key(
        "driver",
        Kind::Words(&["auto", "uring", "epoll"]),
        "\"auto\"",
        "How workers talk to the kernel; `auto` takes io_uring where it is granted.",
    ),
    key(
        "drain_timeout",
        Kind::Time { min: Duration::ZERO, max: YEAR, none: false },
        "\"30s\"",
        "How long exchanges may finish after the signal to stop.",
    ),
    key(
        "drain_delay",
        Kind::Time { min: Duration::ZERO, max: YEAR, none: false },
        "\"0s\"",
        "How long readiness says no before listeners close, for balancers in front.",
    ),
    key(
        "tunnel_drain",
        Kind::Time { min: Duration::ZERO, max: YEAR, none: false },
        "\"5m\"",
        "How long tunnels may go on after the signal to stop.",
    ),
    key(
        "trusted_proxies",
        Kind::Texts("prefixes such as \"10.0.0.0/8\""),
        "none",
        "Peers whose `X-Forwarded-For` counts. All others' is replaced.",
    ),
    key(
        "memory_max",
        size(1 << 20, SIZE_MAX),
        "a quarter of the memory, at most 1GiB",
        "Buffers of all connections together before they shrink.",
    ),
    key("via", Kind::Bool, "false", "Whether `Via` is added (RFC 9110 §7.6.3)."),
    key(
        "limit_keys",
        count(1_000, 100_000_000),
        "250k",
        "How many callers rate limits count at once, over all of them; 64 bytes each.",
    ),
    later("state_dir"),
];

pub const LOG: &[Key] = &[
    key("access", Kind::Shape("a table"), "", "A line for each request; without it there is none."),
    later("level"),
];

pub const LOG_ACCESS: &[Key] = &[
    key(
        "to",
        Kind::Text("a file, \"stdout\" or \"stderr\""),
        "\"stdout\"",
        "Where lines go. A file is opened anew on SIGUSR1.",
    ),
    key(
        "format",
        Kind::Words(&["json", "combined", "short"]),
        "\"json\"",
        "How a line is written: JSON with the chosen fields, the combined format of web servers, or \
         method, path, status, time and reason for people (coloured on a terminal).",
    ),
    key(
        "fields",
        Kind::Texts("names of `docs/operations.md`, Access log"),
        "all but `query`, `user_agent` and `referer`",
        "What a JSON line holds. The query can hold keys: only where it is named.",
    ),
    key("errors", Kind::Bool, "false", "Only 5xx and requests that got no answer."),
    time("slower_than", "off", "Only requests that took longer. With `errors`: either."),
    key(
        "sample",
        Kind::Text("a share such as \"1%\""),
        "\"100%\", or \"0%\" beside `errors` or `slower_than`",
        "Which share of the other requests has a line, too.",
    ),
];

pub const LISTENER: &[Key] = &[
    key(
        "address",
        Kind::Text(
            "\":8080\", \"127.0.0.1:8080\", \"[::1]:8080\", \"localhost:8080\", \"unix:/path\"",
        ),
        "",
        "Where to accept. Without a host: every address of both families.",
    ),
    time(
        "head_timeout",
        "\"10s\"",
        "To the end of a request's head: from accept for the first request of a connection, from \
         the first byte for later ones.",
    ),
    time("idle_timeout", "\"75s\"", "Wait for the next request on a connection."),
    key(
        "connections_max",
        count(1, u32::MAX as u64),
        "from RLIMIT_NOFILE",
        "Connections at once; accepting waits while it is reached.",
    ),
    key(
        "connections_per_client",
        Kind::Count { min: 1, max: u32::MAX as u64, none: true },
        "\"none\"",
        "Connections of one client address at once.",
    ),
    key("head_max", size(1 << 10, 1 << 20), "\"32KiB\"", "Request line and fields together."),
    key("headers_max", count(1, 1000), "100", "Field lines of a request."),
    key(
        "target_max",
        size(256, 1 << 20),
        "\"16KiB\"",
        "Path and query of a request; never more than `head_max`.",
    ),
    key("backlog", count(1, 65535), "4096", "Connections that wait to be accepted."),
    time_or_none(
        "defer_accept",
        "\"none\"",
        "The kernel tells of a connection when its first bytes are there, or after about that time \
         (TCP_DEFER_ACCEPT). A client that sends nothing is seen by no timeout until then.",
    ),
    key(
        "tls",
        Kind::Shape("a table such as `{ cert = \"a.pem\", key = \"a.key\" }`"),
        "",
        "HTTPS. Its files are read again when they change. What it leaves out may stand in \
         `[defaults.listener]`, which makes nothing speak TLS by itself.",
    ),
    later("http2"),
    key(
        "proxy_protocol",
        Kind::Bool,
        "false",
        "Each connection begins with a PROXY header (version 1 or 2), from a peer of \
         `server.trusted_proxies`.",
    ),
    key(
        "redirect",
        Kind::Text("\"https\" or \"https:8443\""),
        "",
        "Every request is sent to the same URL over HTTPS (308), at this port.",
    ),
    key(
        "ip",
        Kind::Shape("`{ allow, deny }`"),
        "",
        "Addresses that may call, before there is a route.",
    ),
    later("country"),
    key(
        "rate_limit",
        Kind::Shape("a rate, a table, or a list of them"),
        "",
        "How much each client may, before there is a route.",
    ),
    later("cors"),
    later("require_tls"),
    later("mode"),
];

pub const UPSTREAM: &[Key] = &[
    key(
        "endpoints",
        Kind::Shape(
            "a list of \"host:port\", \"http://host:port\", \"https://host\", \"unix:/path\" or tables",
        ),
        "",
        "Servers that are equal to each other.",
    ),
    key(
        "balance",
        Kind::Words(&["round_robin", "least_request"]),
        "\"round_robin\"",
        "By weight in turns, or the less busy of two that are drawn.",
    ),
    key(
        "host",
        Kind::Text("\"keep\", \"endpoint\" or a name"),
        "\"keep\"; \"endpoint\" with TLS",
        "The `Host` that is sent: the client's, the endpoint's own, or this one.",
    ),
    key("pool", Kind::Shape("a table"), "", "Connections that wait for the next request."),
    time("connect_timeout", "\"2s\"", "For one connection to be made."),
    key(
        "connections_max",
        Kind::Count { min: 1, max: u32::MAX as u64, none: true },
        "\"none\"",
        "Connections at once, over all workers.",
    ),
    key("head_max", size(1 << 10, 1 << 20), "\"64KiB\"", "Status line and fields of an answer."),
    later("hash"),
    later("health"),
    later("outlier"),
    later("breaker"),
    key(
        "tls",
        Kind::Shape("a table; `{}` for all defaults"),
        "with `https://` endpoints",
        "TLS to the endpoints. What it leaves out may stand in `[defaults.upstream]`.",
    ),
    later("http2"),
    later("zone"),
    later("sticky"),
    later("slow_start"),
    later("panic"),
];

pub const POOL: &[Key] = &[
    key("idle", count(0, 65535), "32", "Idle connections kept per endpoint and worker."),
    time("idle_timeout", "\"55s\"", "How long one may stay idle."),
    time("lifetime", "\"1h\"", "How old one may get."),
];

pub const ENDPOINT: &[Key] = &[
    key("address", Kind::Text("as a text in `endpoints`"), "", "Where it is."),
    key("weight", count(0, 1000), "1", "Its share of the requests; 0 takes none."),
    later("zone"),
    later("priority"),
];

/// What `[all]`, groups and routes may say.
pub const LAYER: &[Key] = &[
    key(
        "host",
        Kind::Texts("\"example.com\" or \"*.example.com\""),
        "any",
        "The request's host, without port.",
    ),
    key("methods", Kind::Texts("\"GET\""), "any", "`GET` takes in `HEAD`."),
    key(
        "when",
        Kind::Shape("`{ headers = { name = \"value\" }, query = { name = \"value\" } }`"),
        "",
        "More conditions: a value, `\"*\"` for present, `\"beta*\"` for a prefix.",
    ),
    key("listener", Kind::Texts("names"), "all", "Where the request must have arrived."),
    key(
        "auth",
        Kind::Shape("a name, a list of names, `{ all = [\"a\", \"b\"] }`, or \"none\""),
        "",
        "The methods, any of which says who it is, or all of them. `\"none\"`: everyone may use the \
         route, and that is meant.",
    ),
    key(
        "headers",
        Kind::Shape("`{ request = { set, add, remove }, response = { … } }`"),
        "",
        "Changes to fields: `remove` first, then `set`, then `add`. Values may have variables.",
    )
    .by_name(),
    key(
        "rewrite",
        Kind::Shape("`{ path, query, host }`"),
        "",
        "What is sent upstream in place of the request's own. Values may have variables.",
    )
    .by_name(),
    time_or_none(
        "timeout",
        "\"30s\"",
        "From the choice of an endpoint to the head of the final answer. It stands still while a \
         request body is being sent.",
    ),
    time_or_none("deadline", "\"none\"", "Hard total of an exchange, bodies included."),
    time_or_none("body_timeout", "\"30s\"", "Longest wait for one piece of a body, either way."),
    key(
        "body_limit",
        Kind::Size { min: 0, max: SIZE_MAX, none: true },
        "\"10MiB\"",
        "Largest request body.",
    ),
    key(
        "body_rate_min",
        Kind::ByteRate { none: true },
        "\"100B/s\"",
        "Least average, over each 10 seconds of waiting for the client, of what it sends of a \
         request's body and takes of an answer's.",
    ),
    time_or_none(
        "tunnel_timeout",
        "\"1h\"",
        "Silence in both directions of a tunnel, or of an event stream.",
    ),
    key(
        "upgrade",
        Kind::Texts("names such as \"websocket\""),
        "[\"websocket\"]",
        "Protocols that may be tunnelled; `[]` for none. What is inside is seen by nobody: requests \
         in an `h2c` tunnel pass every route.",
    ),
    key(
        "encoded_slash",
        Kind::Words(&["refuse", "keep"]),
        "\"refuse\"",
        "What becomes of `%2F` and `%5C` in a path.",
    ),
    key("slashes", Kind::Words(&["merge", "keep"]), "\"merge\"", "What becomes of `//` in a path."),
    key(
        "slash",
        Kind::Words(&["exact", "redirect"]),
        "\"exact\"",
        "Whether a path that differs only in its last slash is redirected here. Only where the \
         request would be 404 or 405: a route that matches the path as it came, `/*` included, \
         goes first.",
    ),
    later("retry"),
    key(
        "allow",
        Kind::Shape("`{ groups, scopes, claims, consumers }`"),
        "",
        "Who of those that are known may.",
    )
    .adds_up(),
    key("ip", Kind::Shape("`{ allow, deny }`"), "", "Addresses that may call.").adds_up(),
    later("country").adds_up(),
    later("require_tls").adds_up(),
    key(
        "rate_limit",
        Kind::Shape("a rate, a table, or a list of them"),
        "",
        "How much each may. One in a group counts what its routes get together.",
    )
    .adds_up(),
    key(
        "concurrency",
        Kind::Shape("a number, a table, or a list of them"),
        "",
        "How many requests may be served at one time.",
    )
    .adds_up(),
    later("quota").adds_up(),
    later("price").adds_up(),
    key("cors", Kind::Shape("a table"), "", "Pages of other origins that may call."),
    later("waf").by_name(),
    later("schema"),
    later("bots"),
    later("split").by_name(),
    later("mirror").by_name(),
    later("compress").by_name(),
    later("cache").by_name(),
    later("hedge"),
    later("priority"),
    later("log"),
];

/// What routes have beside [`LAYER`].
pub const ON_ROUTE: &[Key] = &[
    key(
        "path",
        Kind::Text("\"/users\", \"/users/{id}\", \"/files/*\", \"/files/{*rest}\""),
        "\"/*\"",
        "`/*` at the end takes in the path before it and everything below.",
    ),
    key("group", Kind::Text("a name"), "", "The group whose keys hold here too."),
    key("without", Kind::Texts("keys"), "", "Takes away what `[all]` or a group says."),
    key(
        "to",
        Kind::Shape("a name, \"http://host:port\", \"https://host\", or `{ a = 95, b = 5 }`"),
        "",
        "Action: an upstream, or shares of several.",
    ),
    key("respond", Kind::Shape("a status, a text, or a table"), "", "Action: this answer."),
    key(
        "redirect",
        Kind::Shape("a URL with variables, or `{ to, status = 308 }`"),
        "",
        "Action: a redirect.",
    ),
    key(
        "echo",
        Kind::Bool,
        "",
        "Action: answers with the request as it arrived. Bodies of more than 64KiB are 413, whatever \
         `body_limit` says.",
    ),
    later("compose"),
    later("batch"),
];

/// What `[all]` has beside [`LAYER`].
pub const ON_ALL: &[Key] = &[key(
    "prefix",
    Kind::Text("\"/api\" or \"/{tenant}\""),
    "",
    "Stands before the `path` of the routes, after the prefixes of wider tables.",
)];

/// What groups have beside [`LAYER`].
pub const ON_GROUP: &[Key] = &[
    key("group", Kind::Text("a name"), "", "The group that this one is part of; at most 4 deep."),
    key("without", Kind::Texts("keys"), "", "Takes away what `[all]` or a wider group says."),
    ON_ALL[0],
];

pub const ROUTE: &[Key] = &joined::<{ LAYER.len() + ON_ROUTE.len() }>(LAYER, ON_ROUTE);
pub const GROUP: &[Key] = &joined::<{ LAYER.len() + ON_GROUP.len() }>(LAYER, ON_GROUP);
pub const ALL: &[Key] = &joined::<{ LAYER.len() + ON_ALL.len() }>(LAYER, ON_ALL);

/// The number of a key of routes, known while this is compiled.
const fn id(name: &str) -> KeyId {
    let mut i = 0;
    while i < ROUTE.len() {
        if is_same(ROUTE[i].name.as_bytes(), name.as_bytes()) {
            return KeyId(i as u8);
        }
        i += 1;
    }
    panic!("it is in the list")
}

const fn is_same(a: &[u8], b: &[u8]) -> bool {
    let mut i = 0;
    while i < a.len() && i < b.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len() && i == b.len()
}

/// Numbers of the keys that code asks for.
pub mod known {
    use super::{KeyId, id};

    pub const HOST: KeyId = id("host");
    pub const METHODS: KeyId = id("methods");
    pub const WHEN: KeyId = id("when");
    pub const LISTENER: KeyId = id("listener");
    pub const AUTH: KeyId = id("auth");
    pub const ALLOW: KeyId = id("allow");
    pub const IP: KeyId = id("ip");
    pub const RATE_LIMIT: KeyId = id("rate_limit");
    pub const CONCURRENCY: KeyId = id("concurrency");
    pub const CORS: KeyId = id("cors");
    pub const HEADERS: KeyId = id("headers");
    pub const REWRITE: KeyId = id("rewrite");
    pub const TIMEOUT: KeyId = id("timeout");
    pub const DEADLINE: KeyId = id("deadline");
    pub const BODY_TIMEOUT: KeyId = id("body_timeout");
    pub const BODY_LIMIT: KeyId = id("body_limit");
    pub const BODY_RATE_MIN: KeyId = id("body_rate_min");
    pub const TUNNEL_TIMEOUT: KeyId = id("tunnel_timeout");
    pub const UPGRADE: KeyId = id("upgrade");
    pub const ENCODED_SLASH: KeyId = id("encoded_slash");
    pub const SLASHES: KeyId = id("slashes");
    pub const SLASH: KeyId = id("slash");
}

/// Where `name` may stand when it is no key of `keys`, one of the three lists of layers.
pub fn elsewhere(name: &str, keys: &[Key]) -> Option<&'static str> {
    let has = |keys: &[Key], name: &str| keys.iter().any(|key| key.name == name);
    if has(keys, "prefix") && has(ROUTE, name) {
        return Some(match name {
            "path" => "routes have a path; `prefix` stands before it",
            "group" | "without" => "it is the widest there is",
            _ => "an action stands only on a route",
        });
    }
    (has(keys, "respond") && has(GROUP, name)).then_some("only groups and [all] have it")
}

pub const WHEN: &[Key] = &[
    key("headers", Kind::Shape("values by field name"), "", "Field lines the request must have."),
    key("query", Kind::Shape("values by name"), "", "Parameters the request must have."),
];

pub const RESPOND: &[Key] = &[
    key("status", count(200, 599), "200", "The status."),
    key("body", Kind::Text("a text with variables"), "", "The body."),
    key("file", Kind::Text("a path"), "", "A file as the body, without variables; at most 1MiB."),
    key(
        "type",
        Kind::Text("a media type"),
        "by the file's ending, else `text/plain; charset=utf-8`",
        "`Content-Type`. Variables in `body` are escaped for it.",
    ),
    key("headers", Kind::Shape("values by field name"), "", "Further fields."),
];

pub const REDIRECT: &[Key] = &[
    key("to", Kind::Text("a URL or path with variables"), "", "`Location`."),
    key("status", Kind::Shape("301, 302, 303, 307 or 308"), "308", "The status."),
];

pub const HEADERS: &[Key] = &[
    key("request", Kind::Shape("`{ set, add, remove }`"), "", "On the way to the upstream."),
    key("response", Kind::Shape("`{ set, add, remove }`"), "", "On the way to the client."),
];

pub const EDITS: &[Key] = &[
    key("set", Kind::Shape("values by field name"), "", "Replaces all fields of the name."),
    key("add", Kind::Shape("values by field name"), "", "Adds one more."),
    key("remove", Kind::Texts("field names"), "", "Removes all fields of the name."),
];

pub const REWRITE: &[Key] = &[
    key(
        "path",
        Kind::Text("a path with variables"),
        "as it came",
        "The path. Captures go in as they came; what would lead out of it is refused with 400.",
    ),
    key("query", Kind::Text("a text with variables"), "as it came", "`\"\"` removes it."),
    key("host", Kind::Text("a name with variables"), "the upstream's `host`", "`Host`."),
];

pub const DEFAULTS: &[Key] = &[
    key("upstream", Kind::Shape("a table"), "", "All keys of an upstream but `endpoints`."),
    key("listener", Kind::Shape("a table"), "", "All keys of a listener but `address`."),
];

pub const ADMIN: &[Key] = &[
    key(
        "socket",
        Kind::Text("a path, or \"none\""),
        "`busbar.sock` in `$RUNTIME_DIRECTORY`, else in `/tmp/busbar-$UID`",
        "A unix socket for all that changes something.",
    ),
    key(
        "address",
        Kind::Text("\"127.0.0.1:9911\", \":9911\", or \"none\""),
        "\"127.0.0.1:9911\"",
        "HTTP for all that only reads.",
    ),
    key("token", Kind::Secret, "", "Who knows it may change things over `address` too."),
];
