//! Errors the gateway answers itself: RFC 9457 problem types, one table.

use parser::ErrorKind;

macro_rules! problems {
    ($($id:ident = $status:literal $slug:literal $title:literal,)*) => {
        /// A problem type. Its `type` URI is stable; nothing internal is ever said.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        pub enum Problem { $($id,)* }

        impl Problem {
            pub const ALL: &'static [Problem] = &[$(Problem::$id,)*];

            pub const fn status(self) -> u16 {
                match self { $(Problem::$id => $status,)* }
            }

            /// Last part of the type's URI, and the label in metrics and logs.
            pub const fn slug(self) -> &'static str {
                match self { $(Problem::$id => $slug,)* }
            }

            pub const fn title(self) -> &'static str {
                match self { $(Problem::$id => $title,)* }
            }
        }
    };
}

problems! {
    BadRequest = 400 "bad-request" "The request is malformed",
    HttpsRequired = 400 "https-required" "Plain HTTP was sent to a port that speaks TLS",
    EncodedSlash = 400 "encoded-slash" "The path holds an encoded slash",
    BadRewrite = 400 "bad-rewrite" "This request can't be rewritten for its service",
    Unauthenticated = 401 "unauthenticated" "A credential is needed here",
    BadCredential = 401 "bad-credential" "The credential is not accepted",
    Forbidden = 403 "forbidden" "This is not allowed to you",
    AddressDenied = 403 "address-denied" "This address is not allowed here",
    NotFound = 404 "not-found" "No route matches this request",
    MethodNotAllowed = 405 "method-not-allowed" "This method is not allowed here",
    RequestTimeout = 408 "request-timeout" "The request took too long to arrive",
    BodyTooLarge = 413 "body-too-large" "The request body is too large",
    TargetTooLong = 414 "target-too-long" "The request target is too long",
    ExpectationFailed = 417 "expectation-failed" "This expectation cannot be met",
    RateLimited = 429 "rate-limited" "Too many requests",
    TooManyOfYours = 429 "too-many-at-once" "Too many of your requests at one time",
    HeadTooLarge = 431 "head-too-large" "The request head is too large",
    NotImplemented = 501 "not-implemented" "This transfer coding is not implemented",
    BadGateway = 502 "bad-gateway" "The service gave no valid answer",
    Unavailable = 503 "unavailable" "The service is not available",
    AuthUnavailable = 503 "auth-unavailable" "Credentials can't be checked now",
    TooManyAtOnce = 503 "busy" "Too many requests at one time",
    GatewayTimeout = 504 "gateway-timeout" "The service did not answer in time",
    VersionNotSupported = 505 "version-not-supported" "This HTTP version is not supported",
}

impl Problem {
    /// The problem that tells of a refused head.
    pub fn of_head(kind: ErrorKind) -> Problem {
        match kind.status() {
            _ if kind == ErrorKind::EncodedSlash => Problem::EncodedSlash,
            405 => Problem::MethodNotAllowed,
            413 => Problem::BodyTooLarge,
            414 => Problem::TargetTooLong,
            417 => Problem::ExpectationFailed,
            431 => Problem::HeadTooLarge,
            501 => Problem::NotImplemented,
            505 => Problem::VersionNotSupported,
            _ => Problem::BadRequest,
        }
    }
}

/// Appends the problem document. `detail` is static text or empty; `request_id` is ours or a
/// trusted proxy's, and is escaped all the same.
pub fn write_json(out: &mut Vec<u8>, problem: Problem, detail: &str, request_id: &[u8]) {
    out.extend_from_slice(b"{\"type\":\"urn:busbar:problem:");
    out.extend_from_slice(problem.slug().as_bytes());
    out.extend_from_slice(b"\",\"title\":\"");
    out.extend_from_slice(problem.title().as_bytes());
    out.extend_from_slice(b"\",\"status\":");
    parser::encode::decimal(out, u64::from(problem.status()));
    if !detail.is_empty() {
        out.extend_from_slice(b",\"detail\":\"");
        escape_json(out, detail.as_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(b",\"request_id\":\"");
    escape_json(out, request_id);
    out.extend_from_slice(b"\"}\n");
}

/// Appends a short page for people.
pub fn write_html(out: &mut Vec<u8>, problem: Problem, detail: &str, request_id: &[u8]) {
    out.extend_from_slice(b"<!doctype html><meta charset=utf-8><title>");
    parser::encode::decimal(out, u64::from(problem.status()));
    out.extend_from_slice(b"</title><h1>");
    escape_html(out, problem.title().as_bytes());
    out.extend_from_slice(b"</h1><p>");
    escape_html(out, detail.as_bytes());
    out.extend_from_slice(b"<p><small>Request ");
    escape_html(out, request_id);
    out.extend_from_slice(b"</small>\n");
}

fn escape_json(out: &mut Vec<u8>, text: &[u8]) {
    for &b in text {
        match b {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', b]),
            0x20..=0x7e => out.push(b),
            _ => out.push(b'?'),
        }
    }
}

fn escape_html(out: &mut Vec<u8>, text: &[u8]) {
    for &b in text {
        match b {
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            b'&' => out.extend_from_slice(b"&amp;"),
            b'"' => out.extend_from_slice(b"&quot;"),
            0x20..=0x7e => out.push(b),
            _ => out.push(b'?'),
        }
    }
}

/// Whether the `Accept` lines of a request prefer HTML over JSON (RFC 9110 §12.5.1): of each the
/// most specific range counts, and HTML must be named, `text/*` at least. Equal is JSON.
pub fn prefers_html<'a>(accept: impl Iterator<Item = &'a [u8]>) -> bool {
    let (mut html, mut text, mut json, mut application, mut any) = Default::default();
    for member in accept.flat_map(parser::connection::list_members) {
        let mut parts = member.split(|&b| b == b';').map(<[u8]>::trim_ascii);
        let range = parts.next().unwrap_or_default();
        let q: Option<u32> = parts.find_map(quality).or(Some(1000));
        let is = |name: &str| range.eq_ignore_ascii_case(name.as_bytes());
        let place = if is("text/html") || is("application/xhtml+xml") {
            &mut html
        } else if is("application/json") || is("application/problem+json") {
            &mut json
        } else if is("text/*") {
            &mut text
        } else if is("application/*") {
            &mut application
        } else if is("*/*") {
            &mut any
        } else {
            continue;
        };
        *place = q.max(*place);
    }
    let json = json.or(application).or(any).unwrap_or(0);
    html.or(text).is_some_and(|html| html > json)
}

/// `q=0.8` in thousandths; what cannot be read counts as 0.
fn quality(parameter: &[u8]) -> Option<u32> {
    let value = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="))?;
    let q: f32 = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok()).unwrap_or(0.0);
    Some((q.clamp(0.0, 1.0) * 1000.0) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_get_html_and_programs_json() {
        let check = |accept: &str, html: bool| {
            let lines = accept.lines().map(str::as_bytes);
            assert_eq!(prefers_html(lines), html, "{accept}");
        };
        check("text/*", true);
        check("TEXT/HTML ; Q=0.4, */*;q=0.3", true);
        check("text/*;q=0.5, */*", false);
        check("text/html;q=0, text/*", false);
        check("text/*, application/*;q=0.9, application/json", false);
        check("application/xml\ntext/html", true);
        check("text/html\napplication/json", false);
        check("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true);
        check("*/*", false);
        check("", false);
        check("application/json, text/html;q=0.5", false);
        check("text/html;q=0.9, application/problem+json;q=0.8", true);
        check("text/html;q=abc, */*", false);
    }

    #[test]
    fn problems_say_type_status_and_request_id() {
        let mut out = Vec::new();
        write_json(&mut out, Problem::NotFound, "", b"a\"b\n");
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "{\"type\":\"urn:busbar:problem:not-found\",\"title\":\"No route matches this \
             request\",\"status\":404,\"request_id\":\"a\\\"b?\"}\n"
        );
        let slugs: std::collections::BTreeSet<_> = Problem::ALL.iter().map(|p| p.slug()).collect();
        assert_eq!(slugs.len(), Problem::ALL.len(), "types are distinct");
    }
}
