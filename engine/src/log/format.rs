//! Records as lines: JSON, the combined format of web servers, and a short one for terminals.

use std::io::Write;

use parser::encode::decimal;

use super::record::Record;

macro_rules! fields {
    ($($id:ident = $name:literal $by_default:literal,)*) => {
        /// THE LIST of what a JSON line may hold.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Field { $($id,)* }

        impl Field {
            pub const ALL: &'static [Field] = &[$(Field::$id,)*];
            pub const NAMES: &'static [&'static str] = &[$($name,)*];

            pub const fn name(self) -> &'static str {
                match self { $(Field::$id => $name,)* }
            }

            /// As it stands in a line of JSON.
            const fn label(self) -> &'static str {
                match self { $(Field::$id => concat!("\"", $name, "\":"),)* }
            }

            pub const fn is_default(self) -> bool {
                match self { $(Field::$id => $by_default,)* }
            }
        }
    };
}

fields! {
    Time = "time" true,
    Client = "client" true,
    Method = "method" true,
    Host = "host" true,
    Path = "path" true,
    Route = "route" true,
    Upstream = "upstream" true,
    Endpoint = "endpoint" true,
    Consumer = "consumer" true,
    Status = "status" true,
    Reason = "reason" true,
    BytesIn = "bytes_in" true,
    BytesOut = "bytes_out" true,
    Duration = "duration_us" true,
    FirstByte = "first_byte_us" true,
    Own = "own_us" true,
    Attempts = "attempts" true,
    RequestId = "request_id" true,
    Generation = "generation" true,
    Query = "query" false,
    UserAgent = "user_agent" false,
    Referer = "referer" false,
}

/// Which fields a JSON line has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fields(u32);

impl Default for Fields {
    fn default() -> Fields {
        Field::ALL.iter().filter(|f| f.is_default()).copied().collect()
    }
}

impl FromIterator<Field> for Fields {
    fn from_iter<I: IntoIterator<Item = Field>>(fields: I) -> Fields {
        Fields(fields.into_iter().fold(0, |all, field| all | 1 << field as u32))
    }
}

impl Fields {
    pub const fn has(self, field: Field) -> bool {
        self.0 & 1 << field as u32 != 0
    }
}

/// How lines are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    Json(Fields),
    /// The combined format of Apache and nginx.
    Combined {
        query: bool,
    },
    /// One short line for people, coloured on a terminal.
    Short {
        colour: bool,
    },
}

impl Format {
    /// Appends the line of a record.
    pub fn write(self, out: &mut Vec<u8>, record: &Record<'_>) {
        match self {
            Format::Json(fields) => json(out, record, fields),
            Format::Combined { query } => combined(out, record, query),
            Format::Short { colour } => short(out, record, colour),
        }
        out.push(b'\n');
    }

    /// Whether a line may show the query, which can hold keys.
    pub fn has_query(self) -> bool {
        match self {
            Format::Json(fields) => fields.has(Field::Query),
            Format::Combined { query } => query,
            Format::Short { .. } => false,
        }
    }
}

fn json(out: &mut Vec<u8>, r: &Record<'_>, fields: Fields) {
    let mut first = true;
    for &field in Field::ALL.iter().filter(|field| fields.has(**field)) {
        out.push(if first { b'{' } else { b',' });
        first = false;
        out.extend_from_slice(field.label().as_bytes());
        match field {
            Field::Time => {
                out.push(b'"');
                time(out, r.time_us);
                out.push(b'"');
            }
            Field::Client => text(out, r.client),
            Field::Method => text(out, r.method),
            Field::Host => text(out, r.host),
            Field::Path => text(out, r.path),
            Field::Route => text(out, r.route),
            Field::Upstream => text(out, r.upstream),
            Field::Endpoint => text(out, r.endpoint),
            Field::Consumer => text(out, r.consumer),
            Field::RequestId => text(out, r.request_id),
            Field::Query => text(out, r.query),
            Field::UserAgent => text(out, r.user_agent),
            Field::Referer => text(out, r.referer),
            Field::Reason => text(out, r.reason.word().as_bytes()),
            Field::FirstByte if r.first_byte_us == u64::MAX => out.extend_from_slice(b"null"),
            _ => decimal(out, number(field, r)),
        }
    }
    out.extend_from_slice(if first { b"{}" } else { b"}" });
}

fn number(field: Field, r: &Record<'_>) -> u64 {
    match field {
        Field::Status => u64::from(r.status),
        Field::BytesIn => r.bytes_in,
        Field::BytesOut => r.bytes_out,
        Field::Duration => r.duration_us,
        Field::FirstByte => r.first_byte_us,
        Field::Own => r.own_us,
        Field::Attempts => u64::from(r.attempts),
        Field::Generation => r.generation,
        _ => 0,
    }
}

/// A JSON string: what is not UTF-8 becomes U+FFFD, control characters their escapes.
fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    if bytes.iter().all(is_plain) {
        out.extend_from_slice(bytes); // Fast path: nearly every text.
    } else {
        escape(out, bytes);
    }
    out.push(b'"');
}

/// Printable ASCII that stands for itself in quotes.
#[inline]
fn is_plain(byte: &u8) -> bool {
    matches!(byte, b' '..=b'~') && *byte != b'"' && *byte != b'\\'
}

#[cold]
fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
    for c in String::from_utf8_lossy(bytes).chars() {
        match c {
            '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
            c if c.is_control() => _ = write!(out, "\\u{:04x}", c as u32),
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// `client - consumer [time] "method path HTTP/1.1" status bytes "referer" "user agent"`.
fn combined(out: &mut Vec<u8>, r: &Record<'_>, query: bool) {
    plain(out, if r.client.is_empty() { b"-" } else { r.client });
    out.extend_from_slice(b" - ");
    // A user is one word.
    let is_word = !r.consumer.is_empty() && r.consumer.iter().all(u8::is_ascii_graphic);
    plain(out, if is_word { r.consumer } else { b"-" });
    out.extend_from_slice(b" [");
    common_time(out, r.time_us);
    out.extend_from_slice(b"] \"");
    plain(out, r.method);
    out.push(b' ');
    plain(out, r.path);
    if query && !r.query.is_empty() {
        out.push(b'?');
        plain(out, r.query);
    }
    out.extend_from_slice(b" HTTP/1.");
    decimal(out, r.minor.into());
    out.extend_from_slice(b"\" ");
    decimal(out, r.status.into());
    out.push(b' ');
    decimal(out, r.bytes_out);
    out.extend_from_slice(b" \"");
    plain(out, if r.referer.is_empty() { b"-" } else { r.referer });
    out.extend_from_slice(b"\" \"");
    plain(out, if r.user_agent.is_empty() { b"-" } else { r.user_agent });
    out.push(b'"');
}

/// As nginx and Apache escape: `\xHH` for quotes, backslashes, and all that is not printable.
fn plain(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.iter().all(is_plain) {
        return out.extend_from_slice(bytes); // Fast path.
    }
    for &b in bytes {
        match b {
            b'"' | b'\\' | ..0x20 | 0x7f.. => _ = write!(out, "\\x{b:02X}"),
            _ => out.push(b),
        }
    }
}

/// `GET /path 200 1.2 ms -`.
fn short(out: &mut Vec<u8>, r: &Record<'_>, colour: bool) {
    plain(out, r.method);
    out.push(b' ');
    plain(out, r.path);
    let (on, off) = match (colour, r.status / 100) {
        (false, _) => ("", ""),
        (true, 2 | 3) => ("\x1b[32m", "\x1b[0m"),
        (true, 1) => ("\x1b[36m", "\x1b[0m"),
        (true, 4) => ("\x1b[33m", "\x1b[0m"),
        (true, _) => ("\x1b[31m", "\x1b[0m"),
    };
    let ms = r.duration_us as f64 / 1000.0;
    let _ = write!(out, " {on}{}{off} {ms:.1} ms {}", r.status, r.reason.word());
}

/// Year, month, day, hour, minute, second.
fn civil(seconds: u64) -> [u64; 6] {
    // Howard Hinnant's days-to-civil, for days since 1970.
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let of_day = seconds % 86_400;
    [year, month, day, of_day / 3600, of_day / 60 % 60, of_day % 60]
}

/// RFC 3339 in UTC, with microseconds.
fn time(out: &mut Vec<u8>, us: u64) {
    let [year, month, day, hour, minute, second] = civil(us / 1_000_000);
    digits::<4>(out, year);
    for (before, number) in
        [(b'-', month), (b'-', day), (b'T', hour), (b':', minute), (b':', second)]
    {
        out.push(before);
        digits::<2>(out, number);
    }
    out.push(b'.');
    digits::<6>(out, us % 1_000_000);
    out.push(b'Z');
}

/// A number with leading zeros.
#[inline]
fn digits<const N: usize>(out: &mut Vec<u8>, mut number: u64) {
    let mut text = [0; N];
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&text);
}

/// `25/Nov/2026:01:02:03 +0000`.
fn common_time(out: &mut Vec<u8>, us: u64) {
    const MONTHS: [&[u8; 5]; 12] = [
        b"/Jan/", b"/Feb/", b"/Mar/", b"/Apr/", b"/May/", b"/Jun/", b"/Jul/", b"/Aug/", b"/Sep/",
        b"/Oct/", b"/Nov/", b"/Dec/",
    ];
    let [year, month, day, hour, minute, second] = civil(us / 1_000_000);
    digits::<2>(out, day);
    out.extend_from_slice(MONTHS[month as usize - 1]);
    digits::<4>(out, year);
    for number in [hour, minute, second] {
        out.push(b':');
        digits::<2>(out, number);
    }
    out.extend_from_slice(b" +0000");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::reason::Reason;

    fn record() -> Record<'static> {
        Record {
            time_us: 1_795_569_723_000_042,
            status: 200,
            duration_us: 1234,
            first_byte_us: u64::MAX,
            bytes_out: 5,
            minor: 1,
            client: b"192.0.2.7",
            method: b"GET",
            path: b"/a\"b\\\n\xff",
            query: b"key=secret",
            ..Record::default()
        }
    }

    fn line(format: Format, record: &Record<'_>) -> String {
        let mut out = Vec::new();
        format.write(&mut out, record);
        String::from_utf8(out).expect("lines are UTF-8")
    }

    #[test]
    fn json_lines_are_json_whatever_clients_send() {
        let text = line(Format::Json(Fields::default()), &record());
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(json["path"], "/a\"b\\\n\u{fffd}");
        assert_eq!(json["time"], "2026-11-25T01:22:03.000042Z");
        assert_eq!((json["status"].as_u64(), json["first_byte_us"].is_null()), (Some(200), true));
        assert!(json.get("query").is_none(), "only when it is asked for");
        assert_eq!(text.matches('\n').count(), 1);
        let fields = [Field::Query, Field::Status].into_iter().collect();
        let text = line(Format::Json(fields), &record());
        assert_eq!(text, "{\"status\":200,\"query\":\"key=secret\"}\n");
    }

    #[test]
    fn the_combined_format_can_be_read_by_its_tools() {
        let text = line(Format::Combined { query: false }, &record());
        let expect = "192.0.2.7 - - [25/Nov/2026:01:22:03 +0000] \"GET /a\\x22b\\x5C\\x0A\\xFF \
                      HTTP/1.1\" 200 5 \"-\" \"-\"\n";
        assert_eq!(text, expect);
        assert!(line(Format::Combined { query: true }, &record()).contains("?key=secret HTTP"));
    }

    #[test]
    fn short_lines_hold_no_control_characters() {
        let failed =
            Record { status: 502, reason: Reason::BadAnswer, path: b"/\x1b[2J", ..record() };
        let text = line(Format::Short { colour: false }, &failed);
        assert_eq!(text, "GET /\\x1B[2J 502 1.2 ms bad_answer\n");
    }

    #[test]
    fn days_are_told_over_centuries() {
        let day = |s| {
            let [y, m, d, ..] = civil(s);
            (y, m, d)
        };
        assert_eq!(day(0), (1970, 1, 1));
        assert_eq!(day(951_782_400), (2000, 2, 29));
        assert_eq!(day(951_868_800), (2000, 3, 1));
        assert_eq!(day(4_107_542_399), (2100, 2, 28));
        assert_eq!(day(4_107_542_400), (2100, 3, 1));
    }
}
