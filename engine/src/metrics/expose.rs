//! Totals as Prometheus text or OpenMetrics.

use super::greeting::Greeting;
use super::names;
use super::reason::Reason;
use super::recorder::{Classes, Row, Whole};
pub use super::text::Format;
use super::text::Out;
use super::totals::Totals;

const CLASSES: [&str; 6] = [
    "class=\"none\"",
    "class=\"1xx\"",
    "class=\"2xx\"",
    "class=\"3xx\"",
    "class=\"4xx\"",
    "class=\"5xx\"",
];
/// Bytes that are reserved for each row beside its names, and for what has no rows.
const ROW_BYTES: usize = 2560;
const REST_BYTES: usize = 32 << 10;
/// Lines of a row.
const ROW_LINES: usize = 32;

/// What is known beside the totals.
#[derive(Debug, Default)]
pub struct Facts {
    pub version: &'static str,
    pub driver: &'static str,
    pub generation: u64,
    pub snapshots: u64,
    pub adopted: u64,
    pub refused: u64,
    /// By listener.
    pub connections_open: Vec<(String, u32)>,
    /// Listener, name, end in seconds since 1970.
    pub certificates: Vec<(String, String, u64)>,
    /// Files.
    pub certificates_faulty: Vec<String>,
    pub listener_full: u64,
    /// Of all workers, as each last said.
    pub standing: Standing,
    pub hangs: u64,
    pub log_dropped: u64,
    /// Times that the table of rate limits was full, and keys in it.
    pub limit_full: u64,
    pub limit_keys: u64,
    /// Microseconds since each worker handed its numbers over.
    pub silence_us: Vec<u64>,
    /// By worker, as it last said.
    pub connections: Vec<u64>,
    /// Since 1970.
    pub start_us: u64,
    pub process: Process,
}

/// How a worker stands at the moment of a handover.
#[derive(Debug, Default, Clone, Copy)]
pub struct Standing {
    pub panics: u64,
    /// Connections with a request under way.
    pub requests: u64,
    pub tunnels: u64,
    /// Client connections that are open.
    pub connections: u64,
}

impl std::iter::Sum for Standing {
    fn sum<I: Iterator<Item = Standing>>(all: I) -> Standing {
        all.fold(Standing::default(), |a, b| Standing {
            panics: a.panics + b.panics,
            requests: a.requests + b.requests,
            tunnels: a.tunnels + b.tunnels,
            connections: a.connections + b.connections,
        })
    }
}

/// What the kernel knows of the process.
#[derive(Debug, Default, Clone, Copy)]
pub struct Process {
    pub cpu_us: u64,
    pub resident_bytes: u64,
    pub virtual_bytes: u64,
    pub open_fds: u64,
    pub max_fds: u64,
}

/// The whole exposition.
pub fn write(totals: &Totals, facts: &Facts, format: Format) -> String {
    let rows = || totals.routes.rows().chain(totals.upstreams.rows());
    // Reserved and not used costs nothing; grown it would be copied.
    let of_rows: usize = rows().map(|(name, _)| ROW_BYTES + ROW_LINES * name.len()).sum();
    let mut out = Out::new(format, REST_BYTES + of_rows);
    routes(&mut out, totals);
    upstreams(&mut out, totals);
    exchanges(&mut out, totals);
    process(&mut out, totals, facts);
    out.end()
}

fn classes(out: &mut Out, metric: &names::Metric, classes: &Classes) {
    for (class, count) in CLASSES.iter().zip(classes).filter(|(_, count)| **count > 0) {
        out.count(metric, "_total", class, *count);
    }
}

fn routes(out: &mut Out, totals: &Totals) {
    let unrouted = [("", &totals.whole.unrouted)];
    let unrouted = unrouted.into_iter().filter(|(_, row)| row.count() > 0);
    let rows: Vec<(&str, &Row)> = totals.routes.rows().chain(unrouted).collect();
    out.head(&names::REQUESTS);
    for (name, row) in &rows {
        classes(out.row(&[("route", name)]), &names::REQUESTS, &row.classes);
    }
    out.head(&names::REQUEST_DURATION);
    for (name, row) in &rows {
        out.row(&[("route", name)]).times(&names::REQUEST_DURATION, &row.times);
    }
    out.head(&names::REQUEST_QUANTILES);
    let whole = &totals.whole;
    out.row(&[("route", "")]).quantiles(&names::REQUEST_QUANTILES, &whole.times);
    for (name, row) in totals.routes.rows() {
        out.row(&[("route", name)]).quantiles(&names::REQUEST_QUANTILES, &row.times);
    }
    out.head(&names::REQUEST_BYTES);
    for (name, row) in &rows {
        out.row(&[("route", name)]).line(&names::REQUEST_BYTES, row.bytes_in);
    }
    out.head(&names::RESPONSE_BYTES);
    for (name, row) in &rows {
        out.row(&[("route", name)]).line(&names::RESPONSE_BYTES, row.bytes_out);
    }
}

fn upstreams(out: &mut Out, totals: &Totals) {
    let rows: Vec<_> = totals.upstreams.rows().collect();
    out.head(&names::UPSTREAM_REQUESTS);
    for (name, row) in &rows {
        classes(out.row(&[("upstream", name)]), &names::UPSTREAM_REQUESTS, &row.classes);
    }
    out.head(&names::UPSTREAM_FIRST_BYTE);
    for (name, row) in &rows {
        out.row(&[("upstream", name)]).times(&names::UPSTREAM_FIRST_BYTE, &row.times);
    }
    out.head(&names::UPSTREAM_QUANTILES);
    for (name, row) in &rows {
        out.row(&[("upstream", name)]).quantiles(&names::UPSTREAM_QUANTILES, &row.times);
    }
}

fn exchanges(out: &mut Out, totals: &Totals) {
    let whole = &totals.whole;
    out.head(&names::REQUEST_SIZE);
    out.sizes(&names::REQUEST_SIZE, &whole.request_bytes, whole.bytes_in);
    out.head(&names::RESPONSE_SIZE);
    out.sizes(&names::RESPONSE_SIZE, &whole.answer_bytes, whole.bytes_out);
    out.head(&names::REFUSALS);
    for reason in Reason::ALL.iter().filter(|r| **r != Reason::None) {
        let count = whole.reasons.0[reason.index()];
        if count > 0 {
            out.row(&[("reason", reason.word())]).line(&names::REFUSALS, count);
        }
    }
    out.head(&names::POLICY_REFUSALS);
    for (name, row) in totals.routes.rows().chain([("", &whole.unrouted)]) {
        let Some(refusals) = &row.refusals else { continue };
        let counts = Reason::ALL.iter().zip(refusals.0).filter(|(_, count)| *count > 0);
        for (reason, count) in counts {
            let labels = [("route", name), ("reason", reason.word())];
            out.row(&labels).line(&names::POLICY_REFUSALS, count);
        }
    }
    out.one(&names::DRY_REFUSALS, whole.dry_refusals);
    out.head(&names::OWN_DURATION);
    out.times(&names::OWN_DURATION, &whole.own);
}

/// What became of connections before their first request.
fn greetings(out: &mut Out, whole: &Whole) {
    let counts = || Greeting::ALL.iter().zip(whole.greetings);
    out.head(&names::CONNECTIONS_REFUSED);
    for (how, count) in counts().filter(|(how, count)| !how.is_handshake() && *count > 0) {
        out.row(&[("reason", how.word())]).line(&names::CONNECTIONS_REFUSED, count);
    }
    out.head(&names::HANDSHAKES);
    for (how, count) in counts().filter(|(how, count)| how.is_handshake() && *count > 0) {
        out.row(&[("result", how.word())]).line(&names::HANDSHAKES, count);
    }
    out.head(&names::UPSTREAM_HANDSHAKES);
    for (word, count) in ["full", "resumed", "failed"].iter().zip(whole.upstream_handshakes) {
        if count > 0 {
            out.row(&[("result", word)]).line(&names::UPSTREAM_HANDSHAKES, count);
        }
    }
}

fn process(out: &mut Out, totals: &Totals, facts: &Facts) {
    let (whole, standing) = (&totals.whole, &facts.standing);
    out.one(&names::LIMIT_FULL, facts.limit_full);
    out.one(&names::LIMIT_KEYS, facts.limit_keys);
    out.one(&names::IN_FLIGHT, standing.requests);
    out.one(&names::TUNNELS, standing.tunnels);
    out.head(&names::TUNNEL_BYTES);
    out.row(&[("direction", "in")]).line(&names::TUNNEL_BYTES, whole.tunnel_in);
    out.row(&[("direction", "out")]).line(&names::TUNNEL_BYTES, whole.tunnel_out);
    out.one(&names::CONNECTIONS, whole.connections);
    greetings(out, whole);
    out.head(&names::CONNECTIONS_OPEN);
    for (listener, open) in &facts.connections_open {
        out.row(&[("listener", listener)]).line(&names::CONNECTIONS_OPEN, u64::from(*open));
    }
    out.head(&names::CERTIFICATE_EXPIRY);
    for (listener, name, end) in &facts.certificates {
        let labels = [("listener", &**listener), ("name", &**name)];
        out.row(&labels).line(&names::CERTIFICATE_EXPIRY, *end);
    }
    out.head(&names::CERTIFICATE_FAULTY);
    for file in &facts.certificates_faulty {
        out.row(&[("file", file)]).line(&names::CERTIFICATE_FAULTY, 1);
    }
    out.one(&names::LISTENER_FULL, facts.listener_full);
    out.one(&names::UPSTREAM_CONNECTIONS, whole.upstream_connections);
    out.one(&names::UPSTREAM_REUSED, whole.reused);
    out.one(&names::RETRIES, whole.retries);
    out.one(&names::GENERATION, facts.generation);
    out.one(&names::SNAPSHOTS, facts.snapshots);
    out.head(&names::RELOADS);
    out.row(&[("result", "adopted")]).line(&names::RELOADS, facts.adopted);
    out.row(&[("result", "refused")]).line(&names::RELOADS, facts.refused);
    out.one(&names::PANICS, standing.panics);
    out.one(&names::LOG_DROPPED, facts.log_dropped);
    out.head(&names::WORKER_AGE);
    for (worker, age) in facts.silence_us.iter().enumerate() {
        out.row(&[("worker", &worker.to_string())]).seconds(&names::WORKER_AGE, "", "", *age);
    }
    out.head(&names::WORKER_CONNECTIONS);
    for (worker, open) in facts.connections.iter().enumerate() {
        out.row(&[("worker", &worker.to_string())]).line(&names::WORKER_CONNECTIONS, *open);
    }
    out.one(&names::WORKER_HANGS, facts.hangs);
    out.head(&names::INFO);
    out.row(&[("version", facts.version), ("driver", facts.driver)]).line(&names::INFO, 1);
    out.one_time(&names::START_TIME, facts.start_us);
    out.one_time(&names::CPU, facts.process.cpu_us);
    out.one(&names::RESIDENT, facts.process.resident_bytes);
    out.one(&names::VIRTUAL, facts.process.virtual_bytes);
    out.one(&names::OPEN_FDS, facts.process.open_fds);
    out.one(&names::MAX_FDS, facts.process.max_fds);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Key;
    use crate::metrics::names::exposed;
    use crate::metrics::recorder::{Exchanged, Recorder};

    fn totals() -> Totals {
        let (mut totals, mut recorder) = (Totals::default(), Recorder::default());
        let routes = [(Key(0), "odd\"name\\")];
        totals.adopt(routes.into_iter(), [(Key(0), "app")].into_iter());
        let x = Exchanged {
            route: Some(Key(0)),
            upstream: Some(Key(0)),
            status: 200,
            time_us: 700,
            first_byte_us: Some(600),
            own_us: 30,
            bytes_in: 80,
            bytes_out: 1_000,
            ..Exchanged::default()
        };
        recorder.exchange(&x);
        recorder.exchange(&Exchanged {
            status: 404,
            reason: Reason::NoRoute,
            ..Default::default()
        });
        totals.absorb(&mut recorder);
        totals
    }

    #[test]
    fn every_metric_of_the_list_is_exposed_once() {
        for format in [Format::Prometheus, Format::OpenMetrics] {
            let text = write(&totals(), &Facts::default(), format);
            for metric in names::METRICS {
                let name = match format {
                    Format::Prometheus => exposed(metric),
                    Format::OpenMetrics => metric.name.to_owned(),
                };
                let count = text.matches(&format!("# TYPE {name} ")).count();
                assert_eq!(count, 1, "{name}");
            }
            assert_eq!(text.ends_with("# EOF\n"), format == Format::OpenMetrics);
        }
    }

    #[test]
    fn lines_read_as_prometheus_wants_them() {
        let text = write(&totals(), &Facts::default(), Format::Prometheus);
        for line in [
            "busbar_requests_total{route=\"odd\\\"name\\\\\",class=\"2xx\"} 1\n",
            "busbar_requests_total{route=\"\",class=\"4xx\"} 1\n",
            "busbar_request_duration_seconds_bucket{route=\"odd\\\"name\\\\\",le=\"0.0005\"} 0\n",
            "busbar_request_duration_seconds_bucket{route=\"odd\\\"name\\\\\",le=\"0.001\"} 1\n",
            "busbar_request_duration_seconds_bucket{route=\"odd\\\"name\\\\\",le=\"+Inf\"} 1\n",
            "busbar_request_duration_seconds_sum{route=\"odd\\\"name\\\\\"} 0.0007\n",
            "busbar_request_duration_seconds_count{route=\"\"} 1\n",
            "busbar_request_duration_quantiles_seconds_sum{route=\"\"} 0.0007\n",
            "busbar_request_duration_quantiles_seconds_count{route=\"\"} 2\n",
            "busbar_refusals_total{reason=\"no_route\"} 1\n",
            "busbar_upstream_first_byte_seconds_count{upstream=\"app\"} 1\n",
            "busbar_request_size_bytes_bucket{le=\"256.0\"} 2\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }
}
