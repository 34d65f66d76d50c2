//! Totals as Prometheus text or OpenMetrics.

use std::fmt::Write;

use hdrhistogram::{Counter, Histogram};

use super::names::{self, Kind, Metric, exposed};
use super::reason::Reason;
use super::recorder::{BUCKETS_BYTES, BUCKETS_US, Classes, Times};
use super::totals::Totals;

const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// What is known beside the totals.
#[derive(Debug, Default)]
pub struct Facts {
    pub version: &'static str,
    pub driver: &'static str,
    pub generation: u64,
    pub snapshots: usize,
    pub adopted: u64,
    pub refused: u64,
    /// By listener.
    pub connections_open: Vec<(String, u32)>,
    pub listener_full: u64,
    pub panics: u64,
    pub log_dropped: u64,
    /// Seconds since each worker handed its numbers over.
    pub silence_s: Vec<f64>,
    pub start_s: f64,
}

/// How the text is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// version=0.0.4
    Prometheus,
    /// version=1.0.0
    OpenMetrics,
}

impl Format {
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

struct Out {
    text: String,
    format: Format,
}

impl Out {
    fn head(&mut self, metric: &Metric) {
        // OpenMetrics names a counter's family without its suffix.
        let name = match self.format {
            Format::Prometheus => exposed(metric),
            Format::OpenMetrics => metric.name.to_owned(),
        };
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Summary => "summary",
        };
        let help = metric.help.replace('\\', "\\\\").replace('\n', "\\n");
        let help = match self.format {
            Format::Prometheus => help,
            Format::OpenMetrics => help.replace('"', "\\\""),
        };
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.text.push_str(name);
        for (i, (label, text)) in labels.iter().enumerate() {
            self.text.push(if i == 0 { '{' } else { ',' });
            let _ = write!(self.text, "{label}=\"");
            escape(&mut self.text, text);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    fn one(&mut self, metric: &Metric, value: impl std::fmt::Display) {
        self.head(metric);
        self.line(&exposed(metric), &[], value);
    }

    fn classes(&mut self, metric: &Metric, label: &str, name: &str, classes: &Classes) {
        for (class, count) in CLASSES.iter().zip(classes).filter(|(_, count)| **count > 0) {
            self.line(&exposed(metric), &[(label, name), ("class", class)], count);
        }
    }

    fn times(&mut self, metric: &Metric, labels: &[(&str, &str)], times: &Times) {
        let bounds = BUCKETS_US.iter().map(|us| *us as f64 / 1e6);
        self.buckets(metric, labels, bounds, &times.buckets, times.sum_us as f64 / 1e6);
    }

    fn buckets(
        &mut self,
        metric: &Metric,
        labels: &[(&str, &str)],
        bounds: impl Iterator<Item = f64>,
        buckets: &[u64],
        sum: f64,
    ) {
        let name = metric.name;
        let (bucket, mut seen) = (format!("{name}_bucket"), 0);
        for (bound, count) in bounds.chain([f64::INFINITY]).zip(buckets) {
            seen += count;
            let le = if bound.is_finite() { float(bound) } else { "+Inf".to_owned() };
            let all: Vec<(&str, &str)> = labels.iter().copied().chain([("le", &*le)]).collect();
            self.line(&bucket, &all, seen);
        }
        self.line(&format!("{name}_sum"), labels, sum);
        self.line(&format!("{name}_count"), labels, seen);
    }

    fn quantiles<C: Counter>(
        &mut self,
        metric: &Metric,
        label: (&str, &str),
        histogram: &Histogram<C>,
        sum: f64,
    ) {
        for quantile in QUANTILES {
            let seconds = histogram.value_at_quantile(quantile) as f64 / 1e6;
            let text = float(quantile);
            self.line(metric.name, &[label, ("quantile", &text)], seconds);
        }
        self.line(&format!("{}_sum", metric.name), &[label], sum);
        self.line(&format!("{}_count", metric.name), &[label], histogram.len());
    }
}

/// With a point, as OpenMetrics wants bounds and quantiles.
fn float(number: f64) -> String {
    if number.fract() == 0.0 { format!("{number:.1}") } else { number.to_string() }
}

fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

/// The whole exposition.
pub fn write(totals: &Totals, facts: &Facts, format: Format) -> String {
    let mut out = Out { text: String::with_capacity(64 << 10), format };
    routes(&mut out, totals);
    upstreams(&mut out, totals);
    process(&mut out, totals, facts);
    if format == Format::OpenMetrics {
        out.text.push_str("# EOF\n");
    }
    out.text
}

fn routes(out: &mut Out, totals: &Totals) {
    let routed: Vec<_> = totals.routes.rows().collect();
    out.head(&names::REQUESTS);
    let mut unrouted = totals.whole.classes;
    for (name, row) in &routed {
        out.classes(&names::REQUESTS, "route", name, &row.classes);
        for (rest, count) in unrouted.iter_mut().zip(row.classes) {
            *rest = rest.saturating_sub(count);
        }
    }
    out.classes(&names::REQUESTS, "route", "", &unrouted);
    out.head(&names::REQUEST_DURATION);
    for (name, row) in &routed {
        out.times(&names::REQUEST_DURATION, &[("route", name)], &row.times);
    }
    out.head(&names::REQUEST_QUANTILES);
    let all = &totals.whole.time_us;
    let sum: f64 = routed.iter().map(|(_, row)| row.times.sum_us as f64 / 1e6).sum();
    out.quantiles(&names::REQUEST_QUANTILES, ("route", ""), all, sum);
    for (name, row) in &routed {
        if let Some(histogram) = &row.times.histogram {
            let sum = row.times.sum_us as f64 / 1e6;
            out.quantiles(&names::REQUEST_QUANTILES, ("route", name), histogram, sum);
        }
    }
    out.head(&names::REQUEST_BYTES);
    for (name, row) in &routed {
        out.line(&exposed(&names::REQUEST_BYTES), &[("route", name)], row.bytes_in);
    }
    out.head(&names::RESPONSE_BYTES);
    for (name, row) in &routed {
        out.line(&exposed(&names::RESPONSE_BYTES), &[("route", name)], row.bytes_out);
    }
}

fn upstreams(out: &mut Out, totals: &Totals) {
    let rows: Vec<_> = totals.upstreams.rows().collect();
    out.head(&names::UPSTREAM_REQUESTS);
    for (name, row) in &rows {
        out.classes(&names::UPSTREAM_REQUESTS, "upstream", name, &row.classes);
    }
    out.head(&names::UPSTREAM_FIRST_BYTE);
    for (name, row) in &rows {
        out.times(&names::UPSTREAM_FIRST_BYTE, &[("upstream", name)], &row.times);
    }
    out.head(&names::UPSTREAM_QUANTILES);
    for (name, row) in &rows {
        if let Some(histogram) = &row.times.histogram {
            let sum = row.times.sum_us as f64 / 1e6;
            out.quantiles(&names::UPSTREAM_QUANTILES, ("upstream", name), histogram, sum);
        }
    }
}

fn process(out: &mut Out, totals: &Totals, facts: &Facts) {
    let whole = &totals.whole;
    let bounds = || BUCKETS_BYTES.iter().map(|bytes| *bytes as f64);
    out.head(&names::REQUEST_SIZE);
    let sum = whole.bytes_in as f64;
    out.buckets(&names::REQUEST_SIZE, &[], bounds(), &whole.request_bytes, sum);
    out.head(&names::RESPONSE_SIZE);
    let sum = whole.bytes_out as f64;
    out.buckets(&names::RESPONSE_SIZE, &[], bounds(), &whole.answer_bytes, sum);
    out.head(&names::REFUSALS);
    for reason in Reason::ALL.iter().filter(|r| **r != Reason::None) {
        let count = whole.reasons[reason.index()];
        if count > 0 {
            out.line(&exposed(&names::REFUSALS), &[("reason", reason.word())], count);
        }
    }
    out.head(&names::OWN_DURATION);
    out.times(&names::OWN_DURATION, &[], &whole.own);
    out.one(&names::CONNECTIONS, whole.connections);
    out.head(&names::CONNECTIONS_OPEN);
    for (listener, open) in &facts.connections_open {
        out.line(names::CONNECTIONS_OPEN.name, &[("listener", listener)], open);
    }
    out.one(&names::LISTENER_FULL, facts.listener_full);
    out.one(&names::UPSTREAM_CONNECTIONS, whole.upstream_connections);
    out.one(&names::UPSTREAM_REUSED, whole.reused);
    out.one(&names::RETRIES, whole.retries);
    out.one(&names::GENERATION, facts.generation);
    out.one(&names::SNAPSHOTS, facts.snapshots);
    out.head(&names::RELOADS);
    out.line(&exposed(&names::RELOADS), &[("result", "adopted")], facts.adopted);
    out.line(&exposed(&names::RELOADS), &[("result", "refused")], facts.refused);
    out.one(&names::PANICS, facts.panics);
    out.one(&names::LOG_DROPPED, facts.log_dropped);
    out.head(&names::WORKER_AGE);
    for (worker, age) in facts.silence_s.iter().enumerate() {
        out.line(names::WORKER_AGE.name, &[("worker", &worker.to_string())], age);
    }
    out.head(&names::INFO);
    let labels = [("version", facts.version), ("driver", facts.driver)];
    out.line(names::INFO.name, &labels, 1);
    out.one(&names::START_TIME, facts.start_s);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Key;
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
            "busbar_refusals_total{reason=\"no_route\"} 1\n",
            "busbar_upstream_first_byte_seconds_count{upstream=\"app\"} 1\n",
            "busbar_request_size_bytes_bucket{le=\"256.0\"} 2\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }
}
