//! THE LIST: every metric, by Prometheus' conventions.

use super::recorder::{ROUTE_HISTOGRAMS_MAX, UPSTREAM_HISTOGRAMS_MAX};

/// What a metric is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
    /// Quantiles of everything since the start.
    Summary,
    /// Always 1: its labels tell.
    Info,
}

#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Without the `_total` of counters and the `_info` of what is one.
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

macro_rules! metrics {
    ($($id:ident = $name:literal $kind:ident [$($label:literal),*] $help:literal,)*) => {
        $(pub const $id: Metric = Metric {
            name: $name,
            kind: Kind::$kind,
            labels: &[$($label),*],
            help: $help,
        };)*

        /// In the order of the exposition.
        pub const METRICS: &[Metric] = &[$($id,)*];
    };
}

metrics! {
    REQUESTS = "busbar_requests" Counter ["route", "class"]
        "Exchanges by route (\"\": none) and class of the final answer (none: the client got none).",
    REQUEST_DURATION = "busbar_request_duration_seconds" Histogram ["route"]
        "From the head of a request to the end of its answer.",
    REQUEST_QUANTILES = "busbar_request_duration_quantiles_seconds" Summary ["route"]
        "Quantiles of the same, out of merged HDR histograms; route \"\": all routes.",
    REQUEST_BYTES = "busbar_request_bytes" Counter ["route"]
        "Bytes of requests as they came, heads included.",
    RESPONSE_BYTES = "busbar_response_bytes" Counter ["route"]
        "Bytes of answers as they were sent, heads included.",
    REQUEST_SIZE = "busbar_request_size_bytes" Histogram []
        "Sizes of whole requests.",
    RESPONSE_SIZE = "busbar_response_size_bytes" Histogram []
        "Sizes of whole answers.",
    REFUSALS = "busbar_refusals" Counter ["reason"]
        "Exchanges that did not go as the service answered, by the one-word reason.",
    POLICY_REFUSALS = "busbar_policy_refusals" Counter ["route", "reason"]
        "Those of them that a policy of the route refused.",
    DRY_REFUSALS = "busbar_rate_limit_dry_run" Counter []
        "Requests that rate limits would have refused, but for their dry_run.",
    OWN_DURATION = "busbar_own_duration_seconds" Histogram []
        "The part of an exchange that is not waiting for the service.",
    UPSTREAM_REQUESTS = "busbar_upstream_requests" Counter ["upstream", "class"]
        "Exchanges by the upstream that was chosen.",
    UPSTREAM_FIRST_BYTE = "busbar_upstream_first_byte_seconds" Histogram ["upstream"]
        "From the sending of a request to the head of its answer.",
    UPSTREAM_QUANTILES = "busbar_upstream_first_byte_quantiles_seconds" Summary ["upstream"]
        "Quantiles of the same.",
    LIMIT_FULL = "busbar_rate_limit_full" Counter []
        "Times that a new key found no place among those that rate limits count.",
    LIMIT_KEYS = "busbar_rate_limit_keys" Gauge []
        "Keys that rate limits counted when they were last looked through, within a minute.",
    IN_FLIGHT = "busbar_requests_in_flight" Gauge []
        "Connections with a request under way.",
    TUNNELS = "busbar_tunnels_open" Gauge []
        "Upgraded connections that are open.",
    TUNNEL_BYTES = "busbar_tunnel_bytes" Counter ["direction"]
        "Bytes of upgraded connections that have ended: in from clients, out to them.",
    CONNECTIONS = "busbar_connections" Counter []
        "Client connections accepted.",
    CONNECTIONS_REFUSED = "busbar_connections_refused" Counter ["reason"]
        "Client connections that were closed before a request, by the one-word reason.",
    HANDSHAKES = "busbar_tls_handshakes" Counter ["result"]
        "TLS handshakes with clients: full, resumed, failed, timeout, or crowded out by newer ones.",
    UPSTREAM_HANDSHAKES = "busbar_upstream_tls_handshakes" Counter ["result"]
        "TLS handshakes with services: full, resumed or failed.",
    CONNECTIONS_OPEN = "busbar_connections_open" Gauge ["listener"]
        "Client connections that are open.",
    CERTIFICATE_EXPIRY = "busbar_certificate_expiry_seconds" Gauge ["listener", "name"]
        "When the certificate ends that clients get for a name, in seconds since 1970.",
    CERTIFICATE_FAULTY = "busbar_certificate_faulty" Gauge ["file"]
        "1 for each file of a certificate, key or list that could not be used when it was last read.",
    LISTENER_FULL = "busbar_listener_full" Counter []
        "Times that accepting waited because connections_max was reached.",
    UPSTREAM_CONNECTIONS = "busbar_upstream_connections" Counter []
        "Upstream connections made.",
    UPSTREAM_REUSED = "busbar_upstream_reused" Counter []
        "Exchanges that took a pooled upstream connection.",
    RETRIES = "busbar_retries" Counter []
        "Attempts after the first.",
    GENERATION = "busbar_generation" Gauge []
        "Number of the configuration in force.",
    SNAPSHOTS = "busbar_snapshots_alive" Gauge []
        "Configurations that are not freed yet.",
    RELOADS = "busbar_reloads" Counter ["result"]
        "Configurations read again: adopted or refused.",
    PANICS = "busbar_panics" Counter []
        "Tasks that a mistake of ours ended.",
    LOG_DROPPED = "busbar_log_dropped" Counter []
        "Lines of the access log that were dropped because the disk was too slow.",
    WORKER_AGE = "busbar_worker_silence_seconds" Gauge ["worker"]
        "Time since a worker last handed its numbers over.",
    WORKER_CONNECTIONS = "busbar_worker_connections" Gauge ["worker"]
        "Client connections that a worker serves.",
    WORKER_HANGS = "busbar_worker_hangs" Counter []
        "Times that a worker had not answered for a second.",
    INFO = "busbar" Info ["version", "driver"]
        "1; the labels tell what runs.",
    START_TIME = "process_start_time_seconds" Gauge []
        "When the process started, since 1970.",
    CPU = "process_cpu_seconds" Counter []
        "Time on processors, in user mode and in the kernel.",
    RESIDENT = "process_resident_memory_bytes" Gauge []
        "Memory that is there.",
    VIRTUAL = "process_virtual_memory_bytes" Gauge []
        "Memory that is reserved.",
    OPEN_FDS = "process_open_fds" Gauge []
        "Open file descriptors.",
    MAX_FDS = "process_max_fds" Gauge []
        "File descriptors that may be open.",
}

/// As it is exposed: counters end in `_total`, what tells by its labels in `_info`.
pub fn exposed(metric: &Metric) -> String {
    match metric.kind {
        Kind::Counter => format!("{}_total", metric.name),
        Kind::Info => format!("{}_info", metric.name),
        _ => metric.name.to_owned(),
    }
}

/// `docs/metrics.md`.
pub fn markdown() -> String {
    let mut out = format!(
        "# Metrics\n\nThis page is written by `metrics::names` from the list that the exposition \
         itself uses.\n\nThey are at `/metrics` of the admin address, as Prometheus text or, where \
         it is asked for, OpenMetrics. Nothing is sampled: every exchange counts once. Rows of \
         routes and upstreams that the configuration no longer has are added up under the name \
         `(retired)`. Gauges tell the moment of the scrape. Quantiles are kept for {ROUTE_HISTOGRAMS_MAX} routes \
         and {UPSTREAM_HISTOGRAMS_MAX} upstreams, those that were configured first; classic buckets for all.\n\n\
         | Name | Kind | Labels | |\n|---|---|---|---|\n",
    );
    for metric in METRICS {
        let labels: Vec<String> = metric.labels.iter().map(|l| format!("`{l}`")).collect();
        let kind = format!("{:?}", metric.kind).to_lowercase();
        out += &format!(
            "| `{}` | {kind} | {} | {} |\n",
            exposed(metric),
            labels.join(" "),
            metric.help
        );
    }
    out += "\n## Reasons\n\nThe words of `reason`, which also stand in the access log, and in \
            `Busbar-Reason` of a refusal that a trusted proxy (`server.trusted_proxies`) asked for \
            with `Busbar-Reason: ?1`:\n\n";
    let words = super::reason::Reason::ALL.iter().skip(1).map(|r| format!("`{}`", r.word()));
    out += &words.collect::<Vec<_>>().join(" ");
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `BUSBAR_BLESS=1` writes the page.
    #[test]
    fn the_page_in_docs_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        #[allow(clippy::disallowed_methods)] // a test's own switch
        if std::env::var_os("BUSBAR_BLESS").is_some() {
            std::fs::write(path, markdown()).expect("docs/ can be written");
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == markdown(), "run this test with BUSBAR_BLESS=1");
    }

    #[test]
    fn names_are_unique_and_follow_the_conventions() {
        let mut names: Vec<_> = METRICS.iter().map(exposed).collect();
        let plain = |n: &String| n.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        assert!(names.iter().all(plain));
        assert!(names.iter().all(|n| n.starts_with("busbar_") || n.starts_with("process_")));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METRICS.len());
    }
}
