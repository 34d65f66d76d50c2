//! Pages of other origins that may call (Fetch standard, "CORS protocol"): preflights are answered
//! here, and what a service says of it is replaced.

use std::fmt::Write;

use parser::{FieldId, Method, encode};

use super::{Phase, Policy, RequestCx, Verdict};
use crate::http::edit::EditName;
use crate::metrics::reason::Reason;

/// Which pages, and what they may.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Cors {
    /// `"*"`: all of them.
    pub any: bool,
    pub origins: Box<[OriginPattern]>,
    /// Joined, as the field has them.
    pub methods: Box<str>,
    /// `None`: all that are asked for.
    pub headers: Option<Box<str>>,
    pub expose: Box<str>,
    pub credentials: bool,
    pub max_age_s: u64,
}

/// `https://example.com` or `https://*.example.com`, in lower case.
#[derive(Debug, PartialEq, Eq, Clone)]
pub struct OriginPattern {
    before: Box<str>,
    /// Behind the labels that `*` stands for; `None` without one.
    behind: Option<Box<str>>,
}

impl OriginPattern {
    pub fn new(text: &str) -> OriginPattern {
        let text = text.to_ascii_lowercase();
        match text.split_once('*') {
            Some((before, behind)) => {
                OriginPattern { before: before.into(), behind: Some(behind.into()) }
            }
            None => OriginPattern { before: text.into(), behind: None },
        }
    }

    fn matches(&self, origin: &[u8]) -> bool {
        let before = self.before.as_bytes();
        let Some(behind) = self.behind.as_deref().map(str::as_bytes) else {
            return origin.eq_ignore_ascii_case(before);
        };
        let Some(labels) = origin.len().checked_sub(before.len() + behind.len()) else {
            return false;
        };
        let (first, rest) = origin.split_at(before.len());
        let (star, last) = rest.split_at(labels);
        let is_label = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        labels > 0
            && first.eq_ignore_ascii_case(before)
            && last.eq_ignore_ascii_case(behind)
            && star.iter().all(is_label)
    }
}

/// The fields of an answer that are the gateway's to write.
pub fn answer_fields() -> Vec<EditName> {
    const NAMES: [&str; 7] = [
        "Access-Control-Allow-Origin",
        "Access-Control-Allow-Credentials",
        "Access-Control-Allow-Methods",
        "Access-Control-Allow-Headers",
        "Access-Control-Expose-Headers",
        "Access-Control-Max-Age",
        "Access-Control-Allow-Private-Network",
    ];
    NAMES.iter().map(|name| EditName::new(name)).collect()
}

/// Whether this is a browser's question before the request itself.
pub fn is_preflight(method: Method, fields: &parser::Fields, head: &[u8]) -> bool {
    method == Method::Options && fields.has(FieldId::Origin) && asked_method(fields, head).is_some()
}

/// The method that a preflight asks for.
pub fn asked_method<'a>(fields: &'a parser::Fields, head: &'a [u8]) -> Option<&'a [u8]> {
    let field = fields.named(head, b"access-control-request-method").next()?;
    Some(field.value.of(head)).filter(|method| encode::is_token(method))
}

impl Cors {
    fn allows(&self, origin: &[u8]) -> bool {
        self.any || self.origins.iter().any(|pattern| pattern.matches(origin))
    }

    fn preflight(&self, cx: &mut RequestCx<'_>) {
        let (fields, head) = (cx.facts.fields, cx.facts.head);
        let out = &mut cx.admitted.to_client;
        if !self.methods.is_empty() {
            encode::field(out, b"Access-Control-Allow-Methods", self.methods.as_bytes());
        }
        match &self.headers {
            Some(headers) if headers.is_empty() => {}
            Some(headers) => {
                encode::field(out, b"Access-Control-Allow-Headers", headers.as_bytes());
            }
            // As they were asked for: with credentials `*` would be a name.
            None => {
                let asked = fields.named(head, b"access-control-request-headers").next();
                let asked = asked.map_or(&[][..], |field| field.value.of(head));
                let mut names =
                    parser::connection::list_members(asked).filter(|n| encode::is_token(n));
                if let Some(first) = names.next() {
                    out.extend_from_slice(b"Access-Control-Allow-Headers: ");
                    out.extend_from_slice(first);
                    names.for_each(|name| {
                        out.extend_from_slice(b", ");
                        out.extend_from_slice(name);
                    });
                    out.extend_from_slice(b"\r\n");
                }
            }
        }
        out.extend_from_slice(b"Access-Control-Max-Age: ");
        encode::decimal(out, self.max_age_s);
        out.extend_from_slice(b"\r\n");
    }
}

impl Policy for Cors {
    const KEY: &'static str = "cors";

    fn phase(&self) -> Phase {
        Phase::Guard
    }

    fn on_request(&self, cx: &mut RequestCx<'_>) -> Verdict {
        let (fields, head) = (cx.facts.fields, cx.facts.head);
        let is_preflight = is_preflight(cx.method, fields, head);
        let is_same_for_all = self.any && !self.credentials;
        let out = &mut cx.admitted.to_client;
        if is_preflight {
            out.extend_from_slice(
                b"Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers\r\n",
            );
        } else if !is_same_for_all {
            out.extend_from_slice(b"Vary: Origin\r\n");
        }
        let Some(origin) = fields.get(FieldId::Origin).map(|field| field.value.of(head)) else {
            return Verdict::Pass;
        };
        if self.allows(origin) {
            let shown = if is_same_for_all { b"*" } else { origin };
            encode::field(out, b"Access-Control-Allow-Origin", shown);
            if self.credentials {
                out.extend_from_slice(b"Access-Control-Allow-Credentials: true\r\n");
            }
            if is_preflight {
                self.preflight(cx);
            } else if !self.expose.is_empty() {
                encode::field(out, b"Access-Control-Expose-Headers", self.expose.as_bytes());
            }
        }
        // Where the page may not, the browser is told nothing, and refuses by itself.
        if is_preflight { Verdict::Reply(204, Reason::None) } else { Verdict::Pass }
    }

    fn tell(&self, out: &mut String) {
        let _ = match self.any {
            true => write!(out, "cors any origin"),
            false => write!(out, "cors {} origins", self.origins.len()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_match_whole_and_stars_stand_for_labels() {
        let check = |pattern: &str, origin: &str, expect: bool| {
            let found = OriginPattern::new(pattern).matches(origin.as_bytes());
            assert_eq!(found, expect, "{pattern} {origin}");
        };
        check("https://example.com", "https://example.com", true);
        check("https://example.com", "HTTPS://Example.com", true);
        check("https://example.com", "https://example.com.evil.net", false);
        check("https://example.com", "http://example.com", false);
        check("https://*.example.com", "https://a.example.com", true);
        check("https://*.example.com", "https://a.b.example.com", true);
        check("https://*.example.com", "https://.example.com", false);
        check("https://*.example.com", "https://example.com", false);
        check("https://*.example.com", "https://evil.net/.example.com", false);
        check("https://*.example.com", "https://evil.net:1.example.com", false);
        check("https://*.example.com", "https://user@x.example.com", false);
        check("https://*.example.com:8443", "https://a.example.com:8443", true);
        check("null", "null", true);
    }
}
