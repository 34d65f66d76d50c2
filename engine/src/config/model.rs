//! What the file may say: every key with its kind, default and meaning. The reader knows its
//! keys from here, and `docs/configuration.md` is made of it.

/// One key of a table.
#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    /// What a value looks like.
    pub kind: &'static str,
    /// As it would be written; empty when there is none.
    pub default: &'static str,
    pub doc: &'static str,
}

const fn key(
    name: &'static str,
    kind: &'static str,
    default: &'static str,
    doc: &'static str,
) -> Key {
    Key { name, kind, default, doc }
}

/// A table of the file.
#[derive(Debug)]
pub struct TableModel {
    pub title: &'static str,
    pub doc: &'static str,
    pub keys: &'static [Key],
    /// Keys of the language that this build does not have.
    pub later: &'static [&'static str],
}

pub const TOP: TableModel = TableModel {
    title: "top",
    doc: "",
    keys: &[
        key("busbar", "`1`", "`1`", "Version of the language."),
        key("server", "table", "", "See `[server]`."),
        key("listener", "named tables", "", "See `[listener.NAME]`."),
        key("upstream", "named tables", "", "See `[upstream.NAME]`."),
        key("route", "named tables", "", "See `[route.NAME]`."),
    ],
    later: &[
        "include",
        "group",
        "all",
        "defaults",
        "auth",
        "consumer",
        "consumers",
        "plan",
        "waf",
        "meter",
        "admin",
        "log",
        "metrics",
        "trace",
        "docker",
        "kubernetes",
    ],
};

pub const SERVER: TableModel = TableModel {
    title: "[server]",
    doc: "The process as a whole. Changing `workers`, `pin` or `driver` needs a restart.",
    keys: &[
        key(
            "workers",
            "1 to 1024",
            "cores of the CPU set, less under a cgroup quota",
            "Threads of the data plane.",
        ),
        key(
            "pin",
            "true or false",
            "true, unless a cgroup quota holds the process below its CPU set",
            "Whether each worker stays on its own core.",
        ),
        key(
            "driver",
            "`\"auto\"`, `\"uring\"` or `\"epoll\"`",
            "`\"auto\"`",
            "`auto` runs on io_uring where the kernel grants it, else on epoll; `uring` refuses \
             to start without it.",
        ),
        key(
            "drain_timeout",
            "time",
            "`\"30s\"`",
            "After a signal, exchanges in flight have this long to finish.",
        ),
        key(
            "drain_delay",
            "time",
            "`\"0s\"`",
            "After a signal, listeners stay open this long before they close.",
        ),
        key(
            "tunnel_drain",
            "time",
            "`\"5m\"`",
            "After a signal, tunnels (WebSockets) have this long to end.",
        ),
        key(
            "trusted_proxies",
            "list of prefixes",
            "none",
            "Whose `X-Forwarded-*` and `X-Request-Id` are believed, `\"10.0.0.0/8\"` say.",
        ),
        key(
            "memory_max",
            "size",
            "a quarter of the memory, at most 1GiB",
            "Connection buffers of all workers together; above it they shrink to 16 KiB each.",
        ),
        key(
            "via",
            "true or false",
            "`false`",
            "Whether `Via` is added both ways (RFC 9110 §7.6.3).",
        ),
    ],
    later: &["state_dir"],
};

pub const LISTENER: TableModel = TableModel {
    title: "[listener.NAME]",
    doc: "An address that clients connect to. Without any, `:8080` is listened on.",
    keys: &[
        key(
            "address",
            "`\":8080\"` (both families), `\"127.0.0.1:8080\"`, `\"unix:/path\"`",
            "",
            "Where to listen. Needed.",
        ),
        key(
            "head_timeout",
            "time",
            "`\"10s\"`",
            "A request's head must be complete within this, counted from the accept for the \
             first one and from the first byte for later ones.",
        ),
        key(
            "idle_timeout",
            "time",
            "`\"75s\"`",
            "A connection without a request ends after this; above the 60 s of common load \
             balancers, so that they close first.",
        ),
        key(
            "connections_max",
            "count",
            "from RLIMIT_NOFILE: two descriptors each, a tenth spare",
            "Connections open at a time over all workers; further ones wait in the kernel.",
        ),
        key(
            "connections_per_client",
            "count",
            "off",
            "Connections open at a time from one address (IPv6: one /64); further ones are closed.",
        ),
        key("head_max", "size, 1KiB to 96KiB", "`\"32KiB\"`", "A request's head; more is 431."),
        key("headers_max", "1 to 1000", "`100`", "Fields of a head; more is 431."),
        key("target_max", "size", "`\"16KiB\"`", "A request's target; more is 414."),
        key(
            "backlog",
            "count",
            "`4096`",
            "Connections the kernel queues before they are accepted.",
        ),
    ],
    later: &["tls", "http2", "proxy_protocol", "redirect", "ip", "rate_limit", "mode"],
};

pub const UPSTREAM: TableModel = TableModel {
    title: "[upstream.NAME]",
    doc: "A group of equal servers.",
    keys: &[
        key(
            "endpoints",
            "list of `\"host:port\"`, `\"unix:/path\"` or `{ address, weight }`",
            "",
            "The servers. Needed. Names are resolved at load and every 30 s; all their addresses \
             are used. Weights are 0 to 1000, 1 unless said; 0 takes no traffic.",
        ),
        key(
            "balance",
            "`\"round_robin\"` or `\"least_request\"`",
            "`\"round_robin\"`",
            "`round_robin` goes by weight; `least_request` takes the less loaded of two drawn.",
        ),
        key(
            "host",
            "`\"keep\"`, `\"endpoint\"` or a name",
            "`\"keep\"`",
            "The `Host` the servers see: the client's, their own address, or this name.",
        ),
        key(
            "pool",
            "`{ idle, idle_timeout, lifetime }`",
            "`{ idle = 32, idle_timeout = \"55s\", lifetime = \"1h\" }`",
            "Idle connections kept by endpoint and worker (a surplus stays a second), for how \
             long (a server's own `Keep-Alive: timeout` is honoured), and how old one may grow.",
        ),
        key("connect_timeout", "time", "`\"2s\"`", "A connection must stand within this."),
        key(
            "connections_max",
            "count",
            "off",
            "Connections to this upstream at a time, shared out evenly over the workers; \
             requests wait for one within `timeout`.",
        ),
        key("head_max", "size, 1KiB to 96KiB", "`\"64KiB\"`", "An answer's head; more is 502."),
    ],
    later: &[
        "hash",
        "health",
        "outlier",
        "breaker",
        "tls",
        "http2",
        "zone",
        "sticky",
        "slow_start",
        "panic",
    ],
};

pub const ROUTE: TableModel = TableModel {
    title: "[route.NAME]",
    doc: "Which requests, and what becomes of them. The most specific route wins, whatever the \
          order in the file. Exactly one of `to`, `respond`, `redirect` and `echo` is needed.",
    keys: &[
        key("host", "`\"a.example\"`, `\"*.example\"` or a list", "any", "Hosts it is for."),
        key(
            "path",
            "`\"/users\"`, `\"/users/{id}\"`, `\"/files/*\"`, `\"/files/{*rest}\"`",
            "`\"/*\"`",
            "Exact, one segment captured, or everything below.",
        ),
        key("methods", "list", "any", "`GET` takes in `HEAD`."),
        key(
            "when",
            "`{ headers = { … }, query = { … } }`",
            "none",
            "Further conditions: a value, `\"*\"` for present, `\"beta*\"` for a prefix.",
        ),
        key("listener", "name or list", "all", "Listeners it is for."),
        key(
            "to",
            "upstream name, `\"http://host:port\"` or `{ a = 95, b = 5 }`",
            "",
            "Where requests go; a table splits them by weight.",
        ),
        key(
            "respond",
            "`{ status, body, file, type, headers }`, or a text or status",
            "",
            "A fixed answer; the body may hold variables, a file is read when the configuration loads.",
        ),
        key(
            "redirect",
            "`\"https://{host}/{*rest}\"` or `{ to, status }`",
            "",
            "An answer with a `Location`; 308 unless said.",
        ),
        key("echo", "`true`", "", "Answers with the request as text (bodies up to 64 KiB)."),
        key(
            "headers",
            "`{ request = { set, add, remove }, response = { … } }`",
            "none",
            "Changes to fields; values may hold variables.",
        ),
        key(
            "timeout",
            "time or `\"none\"`",
            "`\"30s\"`",
            "From the choice of an endpoint to the head of the final answer, all attempts \
             included; the clock stands still while a request body is being sent. Else 504.",
        ),
        key("deadline", "time or `\"none\"`", "`\"none\"`", "Hard total of an exchange."),
        key(
            "body_timeout",
            "time or `\"none\"`",
            "`\"30s\"`",
            "Between two reads or writes of a body, either way.",
        ),
        key("body_limit", "size or `\"none\"`", "`\"10MiB\"`", "A request body; more is 413."),
        key(
            "body_rate_min",
            "bytes a second or `\"none\"`",
            "`\"100B/s\"`",
            "A body's average over each 10 s of waiting for the client.",
        ),
        key(
            "tunnel_timeout",
            "time or `\"none\"`",
            "`\"1h\"`",
            "Silence in both directions of a tunnel, or of a `text/event-stream` answer.",
        ),
        key("upgrade", "list", "`[\"websocket\"]`", "Protocols that may be switched to."),
        key("encoded_slash", "`\"keep\"`", "refused with 400", "Takes `%2F` and `%5C` in paths."),
        key("slashes", "`\"keep\"`", "merged", "Matches and sends `//` as it came."),
        key(
            "slash",
            "`\"redirect\"`",
            "404",
            "A path that only misses, or has too much, its last slash is redirected.",
        ),
    ],
    later: &[
        "compose",
        "batch",
        "group",
        "auth",
        "allow",
        "ip",
        "cors",
        "rate_limit",
        "concurrency",
        "quota",
        "retry",
        "hedge",
        "rewrite",
        "waf",
        "schema",
        "bots",
        "mirror",
        "compress",
        "cache",
        "priority",
        "log",
        "without",
        "country",
        "require_tls",
        "price",
        "split",
    ],
};

pub const POOL: TableModel = TableModel {
    title: "pool",
    doc: "",
    keys: &[
        key("idle", "count", "`32`", ""),
        key("idle_timeout", "time", "`\"55s\"`", ""),
        key("lifetime", "time", "`\"1h\"`", ""),
    ],
    later: &[],
};

/// The tables of the reference, in reading order.
pub const TABLES: &[&TableModel] = &[&SERVER, &LISTENER, &UPSTREAM, &ROUTE];

/// Defaults, each with its reason (`docs/configuration.md` says them in words).
pub mod default {
    use std::time::Duration;

    /// A real head arrives in one or two packets: this stops slowloris.
    pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
    /// Above the 60 s of common load balancers in front, so that they close first.
    pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
    /// Big cookies pass; bounded per connection.
    pub const HEAD_MAX: u64 = 32 << 10;
    pub const HEADERS_MAX: u64 = 100;
    pub const TARGET_MAX: u64 = 16 << 10;
    pub const BACKLOG: u64 = 4096;
    pub const UPSTREAM_HEAD_MAX: u64 = 64 << 10;
    pub const POOL_IDLE: u64 = 32;
    /// Under the 60 s many application servers use, so that we close first.
    pub const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(55);
    /// Follows DNS and balancers' drains.
    pub const POOL_LIFETIME: Duration = Duration::from_secs(3600);
    /// Survives one lost SYN, retransmitted after 1 s.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
    pub const TIMEOUT: Duration = Duration::from_secs(30);
    /// Per read, not in total: slow uploads live.
    pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
    /// API bodies; uploads raise it on their route.
    pub const BODY_LIMIT: u64 = 10 << 20;
    /// One byte a minute is not progress.
    pub const BODY_RATE_MIN: u64 = 100;
    pub const TUNNEL_TIMEOUT: Duration = Duration::from_secs(3600);
    /// Bounded: one process, no pile of old workers.
    pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
    pub const TUNNEL_DRAIN: Duration = Duration::from_secs(300);
}
