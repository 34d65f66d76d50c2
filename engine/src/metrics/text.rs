//! Lines of the exposition. With 10,000 routes there are 300,000 of them, so nothing here
//! allocates by line, and numbers are written without `fmt`.

use super::grid::BUCKETS_US;
use super::names::{Kind, Metric, exposed};
use super::recorder::{BUCKETS_BYTES, Times};

/// Shares that summaries tell.
const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

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

/// The text so far.
pub(super) struct Out {
    text: String,
    format: Format,
    /// Of the row that is being written, without the braces.
    labels: String,
    /// The last label of each bucket and quantile.
    les_us: Vec<String>,
    les_bytes: Vec<String>,
    quantiles: [String; QUANTILES.len()],
}

impl Out {
    pub(super) fn new(format: Format, bytes: usize) -> Out {
        let le = |bound: f64| format!("le=\"{}\"", float(bound));
        let with_rest = |mut bounds: Vec<String>| {
            bounds.push("le=\"+Inf\"".to_owned());
            bounds
        };
        Out {
            text: String::with_capacity(bytes),
            format,
            labels: String::new(),
            les_us: with_rest(BUCKETS_US.iter().map(|us| le(*us as f64 / 1e6)).collect()),
            les_bytes: with_rest(BUCKETS_BYTES.iter().map(|bytes| le(*bytes as f64)).collect()),
            quantiles: QUANTILES.map(|q| format!("quantile=\"{q}\"")),
        }
    }

    pub(super) fn end(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    /// The comments before a metric's lines.
    pub(super) fn head(&mut self, metric: &Metric) {
        self.labels.clear();
        let is_open = self.format == Format::OpenMetrics;
        // OpenMetrics names a family without the suffix of its lines.
        let name = if is_open { metric.name.to_owned() } else { exposed(metric) };
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Info if is_open => "info",
            Kind::Gauge | Kind::Info => "gauge",
            Kind::Histogram => "histogram",
            Kind::Summary => "summary",
        };
        let mut help = metric.help.replace('\\', "\\\\").replace('\n', "\\n");
        if is_open {
            help = help.replace('"', "\\\"");
        }
        self.text += &format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
        if let Some(unit) = unit(metric).filter(|_| is_open) {
            self.text += &format!("# UNIT {name} {unit}\n");
        }
    }

    /// The labels of the lines that follow.
    pub(super) fn row(&mut self, labels: &[(&str, &str)]) -> &mut Out {
        self.labels.clear();
        for (i, (label, text)) in labels.iter().enumerate() {
            if i > 0 {
                self.labels.push(',');
            }
            self.labels.push_str(label);
            self.labels.push_str("=\"");
            escape(&mut self.labels, text);
            self.labels.push('"');
        }
        self
    }

    /// Everything up to the number; `more` is one more label.
    fn begin(&mut self, metric: &Metric, suffix: &str, more: &str) {
        begin(&mut self.text, &self.labels, metric, suffix, more);
    }

    pub(super) fn count(&mut self, metric: &Metric, suffix: &str, more: &str, n: u64) {
        self.begin(metric, suffix, more);
        push_u64(&mut self.text, n);
        self.text.push('\n');
    }

    pub(super) fn seconds(&mut self, metric: &Metric, suffix: &str, more: &str, us: u64) {
        self.begin(metric, suffix, more);
        push_seconds(&mut self.text, us);
        self.text.push('\n');
    }

    /// The one line of a row.
    pub(super) fn line(&mut self, metric: &Metric, n: u64) {
        self.count(metric, suffix(metric), "", n);
    }

    /// A metric without labels.
    pub(super) fn one(&mut self, metric: &Metric, n: u64) {
        self.head(metric);
        self.line(metric, n);
    }

    /// A metric without labels that is a time.
    pub(super) fn one_time(&mut self, metric: &Metric, us: u64) {
        self.head(metric);
        self.seconds(metric, suffix(metric), "", us);
    }

    /// A row of a histogram of times.
    pub(super) fn times(&mut self, metric: &Metric, times: &Times) {
        let seen = self.buckets(metric, &times.buckets, |out| &out.les_us);
        self.seconds(metric, "_sum", "", times.sum_us);
        self.count(metric, "_count", "", seen);
    }

    /// A row of a histogram of sizes.
    pub(super) fn sizes(&mut self, metric: &Metric, buckets: &[u64], sum: u64) {
        let seen = self.buckets(metric, buckets, |out| &out.les_bytes);
        self.count(metric, "_sum", "", sum);
        self.count(metric, "_count", "", seen);
    }

    fn buckets(&mut self, metric: &Metric, all: &[u64], les: fn(&Out) -> &Vec<String>) -> u64 {
        let mut text = std::mem::take(&mut self.text);
        let mut seen = 0;
        for (le, count) in les(self).iter().zip(all) {
            seen += count;
            begin(&mut text, &self.labels, metric, "_bucket", le);
            push_u64(&mut text, seen);
            text.push('\n');
        }
        self.text = text;
        seen
    }

    /// A row of a summary, where the quantiles of all its times are known.
    pub(super) fn quantiles(&mut self, metric: &Metric, times: &Times) {
        if let Some(at) = times.quantiles(QUANTILES) {
            self.summary(metric, at, times.sum_us, times.count());
        }
    }

    fn summary(&mut self, metric: &Metric, at: [u64; 4], sum_us: u64, count: u64) {
        for (quantile, us) in self.quantiles.iter().zip(at) {
            begin(&mut self.text, &self.labels, metric, "", quantile);
            push_seconds(&mut self.text, us);
            self.text.push('\n');
        }
        self.seconds(metric, "_sum", "", sum_us);
        self.count(metric, "_count", "", count);
    }
}

fn begin(text: &mut String, labels: &str, metric: &Metric, suffix: &str, more: &str) {
    text.push_str(metric.name);
    text.push_str(suffix);
    if !labels.is_empty() || !more.is_empty() {
        text.push('{');
        text.push_str(labels);
        if !labels.is_empty() && !more.is_empty() {
            text.push(',');
        }
        text.push_str(more);
        text.push('}');
    }
    text.push(' ');
}

/// What the one line of a row ends in.
fn suffix(metric: &Metric) -> &'static str {
    match metric.kind {
        Kind::Counter => "_total",
        Kind::Info => "_info",
        _ => "",
    }
}

/// As the name says, which OpenMetrics wants to end in it.
fn unit(metric: &Metric) -> Option<&'static str> {
    ["seconds", "bytes"]
        .into_iter()
        .find(|unit| metric.name.strip_suffix(unit).is_some_and(|before| before.ends_with('_')))
}

/// With a point, as OpenMetrics wants bounds.
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

fn push_u64(out: &mut String, mut n: u64) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] += (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    digits[at..].iter().for_each(|digit| out.push(char::from(*digit)));
}

/// Microseconds as seconds, exactly.
fn push_seconds(out: &mut String, us: u64) {
    push_u64(out, us / 1_000_000);
    let mut rest = us % 1_000_000;
    if rest == 0 {
        return;
    }
    out.push('.');
    let mut unit = 100_000;
    while rest > 0 {
        out.push(char::from(b'0' + (rest / unit) as u8));
        rest %= unit;
        unit /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_fmt_would() {
        for n in [0, 7, 10, 99, 100, 1_234_567_890, u64::MAX] {
            let mut text = String::new();
            push_u64(&mut text, n);
            assert_eq!(text, n.to_string());
        }
    }

    #[test]
    fn times_are_exact() {
        let rows =
            [(0, "0"), (1, "0.000001"), (700, "0.0007"), (1_000_000, "1"), (61_050_000, "61.05")];
        for (us, expect) in rows {
            let mut text = String::new();
            push_seconds(&mut text, us);
            assert_eq!(text, expect);
        }
    }
}
