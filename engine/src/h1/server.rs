//! The downstream side: what a request says, and the head of its answer.

use parser::connection::{self, ConnectionOptions, Expect};
use parser::error::{ParseError, Version};
use parser::framing::{self, BodyFraming};
use parser::head::RequestHead;
use parser::path::{self, Canonical, PathOptions};
use parser::scan::HeadScan;
use parser::target::{self, Form, Target};
use parser::{FieldId, Limits, Method, Span};

use crate::http::forwarded::Said;

/// Everything that was read of one request's head. Storage is kept for the next one.
///
/// Spans are relative to the bytes that `begin` was shown, which stay where they are in the
/// connection's buffer until the exchange ends.
#[derive(Debug)]
pub struct Request {
    pub head: RequestHead,
    scan: HeadScan,
    pub target: Target,
    pub framing: BodyFraming,
    pub options: ConnectionOptions,
    pub expect_continue: bool,
    /// The client will read another answer on this connection.
    pub persistent: bool,
    /// The head was read, whatever became of it afterwards: its fields can be asked.
    pub is_read: bool,
    /// The path held `%2F` or `%5C`; only routes with `encoded_slash = "keep"` take it.
    pub had_encoded_slash: bool,
    pub had_double_slash: bool,
    /// Canonical path unless it is as received.
    canonical: Vec<u8>,
    form: PathForm,
    /// Canonical path with `//` kept, for routes with `slashes = "keep"`.
    unmerged: Vec<u8>,
    /// That form, not the path as received, is what is sent: it held dot segments.
    unmerged_is_sent: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum PathForm {
    AsIs,
    Decoded,
    Rewritten,
}

const NO_TARGET: Target = Target {
    form: Form::Origin,
    authority: None,
    host: None,
    port: None,
    path: Span { start: 0, len: 0 },
    query: None,
    scheme_https: false,
    is_plain: false,
};
const ROOT: &[u8] = b"/";
const ASTERISK: &[u8] = b"*";

impl Request {
    pub fn new(fields_max: usize) -> Request {
        Request {
            head: RequestHead::with_capacity(fields_max),
            scan: HeadScan::request(),
            target: NO_TARGET,
            framing: BodyFraming::None,
            options: ConnectionOptions::default(),
            expect_continue: false,
            persistent: false,
            is_read: false,
            had_encoded_slash: false,
            had_double_slash: false,
            canonical: Vec::new(),
            form: PathForm::AsIs,
            unmerged: Vec::new(),
            unmerged_is_sent: false,
        }
    }

    /// Forgets the last request, before the first byte of the next.
    pub fn reset(&mut self) {
        self.scan = HeadScan::request();
        self.persistent = false;
        self.is_read = false;
        self.head.method = Method::Get;
        // Its spans belong to other bytes, and a head may be refused before it has its own.
        self.target = NO_TARGET;
    }

    /// Reads the head at the start of `buf`. `Ok(false)`: more bytes are needed. After an error
    /// nothing further on this connection can be trusted.
    pub fn begin(
        &mut self,
        buf: &[u8],
        limits: &Limits,
        keep_encoded_slash: bool,
    ) -> Result<bool, ParseError> {
        if self.head.parse_or_more(buf, &mut self.scan, limits)?.is_none() {
            return Ok(false);
        }
        self.is_read = true;
        self.options = ConnectionOptions::default();
        self.target = target::resolve(&self.head, buf)?;
        self.framing = framing::request_framing(&self.head, buf)?;
        self.options = connection::options(&self.head.fields, buf)?;
        self.expect_continue = connection::expect(&self.head, buf)? == Expect::Continue;
        if self.head.fields.has(FieldId::MaxForwards) {
            connection::max_forwards(&self.head, buf)?;
        }
        self.persistent = connection::is_persistent(self.head.version, &self.options);
        self.canonicalise(buf, keep_encoded_slash)?;
        Ok(true)
    }

    fn canonicalise(&mut self, buf: &[u8], encoded_slash_keep: bool) -> Result<(), ParseError> {
        self.had_encoded_slash = false;
        self.had_double_slash = false;
        self.form = PathForm::AsIs;
        if self.target.is_plain {
            return Ok(());
        }
        let raw = self.target.path.of(buf);
        if self.target.form == Form::Asterisk || raw.is_empty() {
            return Ok(());
        }
        let options = PathOptions { encoded_slash_keep, slashes_keep: false };
        let facts = path::canonical(raw, options, &mut self.canonical)?;
        self.had_encoded_slash = facts.had_encoded_slash;
        self.had_double_slash = facts.had_double_slash;
        self.form = match facts.canonical {
            Canonical::AsIs => PathForm::AsIs,
            Canonical::Decoded => PathForm::Decoded,
            Canonical::Rewritten => PathForm::Rewritten,
        };
        Ok(())
    }

    /// The canonical form that keeps `//`, for a look-up among routes that say so.
    pub fn unmerged_path(&mut self, buf: &[u8]) -> Result<&[u8], ParseError> {
        let raw = self.target.path.of(buf);
        let options = PathOptions { encoded_slash_keep: true, slashes_keep: true };
        let canonical = path::canonical(raw, options, &mut self.unmerged)?.canonical;
        if matches!(canonical, Canonical::AsIs) {
            self.unmerged.clear();
            self.unmerged.extend_from_slice(raw);
        }
        self.unmerged_is_sent = matches!(canonical, Canonical::Rewritten);
        Ok(&self.unmerged)
    }

    /// The path is routed and sent with its `//`, after `unmerged_path` made that form.
    pub fn keep_slashes(&mut self) {
        std::mem::swap(&mut self.canonical, &mut self.unmerged);
        self.form = if self.unmerged_is_sent { PathForm::Rewritten } else { PathForm::Decoded };
    }

    /// Takes `keep_slashes` back.
    pub fn merge_slashes(&mut self) {
        std::mem::swap(&mut self.canonical, &mut self.unmerged);
        self.form = PathForm::Rewritten; // a path with `//` is never sent as it came
    }

    /// Makes the path with its last slash taken away or added, where no `unmerged_path` is needed
    /// any more.
    pub fn toggle_slash(&mut self, buf: &[u8]) {
        let mut toggled = std::mem::take(&mut self.unmerged);
        let path = self.path(buf);
        toggled.clear();
        toggled.extend_from_slice(path.strip_suffix(b"/").unwrap_or(path));
        if !path.ends_with(b"/") {
            toggled.push(b'/');
        }
        self.unmerged = toggled;
    }

    /// What `toggle_slash` made.
    pub fn toggled(&self) -> &[u8] {
        &self.unmerged
    }

    /// The canonical path, which is routed and authorised.
    #[inline]
    pub fn path<'a>(&'a self, buf: &'a [u8]) -> &'a [u8] {
        match self.form {
            _ if self.target.form == Form::Asterisk => ASTERISK,
            _ if self.target.path.is_empty() => ROOT,
            PathForm::AsIs => self.target.path.of(buf),
            PathForm::Decoded | PathForm::Rewritten => &self.canonical,
        }
    }

    /// The path that goes upstream: as it came, unless the canonical form says otherwise.
    #[inline]
    pub fn path_sent<'a>(&'a self, buf: &'a [u8]) -> &'a [u8] {
        match self.form {
            PathForm::Decoded => self.target.path.of(buf),
            _ => self.path(buf),
        }
    }

    /// The query without `?`; `None` when there is no `?`.
    #[inline]
    pub fn query<'a>(&self, buf: &'a [u8]) -> Option<&'a [u8]> {
        self.target.query.map(|q| q.of(buf))
    }

    /// Host with its port, as sent.
    #[inline]
    pub fn authority<'a>(&self, buf: &'a [u8]) -> Option<&'a [u8]> {
        self.target.authority.map(|a| a.of(buf))
    }

    #[inline]
    pub fn host<'a>(&self, buf: &'a [u8]) -> Option<&'a [u8]> {
        self.target.host.map(|h| h.of(buf))
    }

    #[inline]
    pub fn method_text<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        self.head.method_text.of(buf)
    }

    #[inline]
    pub fn is_http10(&self) -> bool {
        self.head.version == Version::Http10
    }

    /// A client that stops sending after this request still wants its answer (RFC 9112 §9.6).
    pub fn half_close_ok(&self) -> bool {
        self.is_http10() || self.options.close
    }

    /// Connection nominates the field: it was for us alone.
    #[inline]
    pub fn is_nominated(&self, buf: &[u8], name: &[u8]) -> bool {
        self.options.nominated && connection::is_nominated(&self.head.fields, buf, name)
    }

    /// It would know the word for a refusal: `Busbar-Reason: ?1`, a boolean of RFC 9651 §3.3.6.
    pub fn asks_reason(&self, buf: &[u8]) -> bool {
        let asked = self.head.fields.get(FieldId::BusbarReason);
        asked.is_some_and(|field| field.value.of(buf) == b"?1")
    }

    /// What the head says of the client in a proxy's name.
    pub fn said<'a>(&'a self, buf: &'a [u8]) -> Said<'a> {
        let fields = &self.head.fields;
        Said { fields, head: buf, any_nominated: self.options.nominated }
    }

    /// What HTTP/2 begins with when the client would switch to it in clear text. Exactly one
    /// line, or a server must not switch (RFC 7540 §3.2.1).
    pub fn http2_settings<'a>(&'a self, buf: &'a [u8]) -> Option<&'a [u8]> {
        let mut lines = self.head.fields.all(FieldId::Http2Settings);
        let only = lines.next()?;
        lines.next().is_none().then(|| only.value.of(buf))
    }

    /// Names of protocols the client would switch to, when it asked in a valid way.
    pub fn upgrade<'a>(&'a self, buf: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let asked = self.options.upgrade && !self.is_http10();
        self.head
            .fields
            .all(FieldId::Upgrade)
            .filter(move |_| asked)
            .flat_map(move |f| connection::list_members(f.value.of(buf)))
            .filter(move |name| !is_h2c(name) || self.http2_settings(buf).is_some())
    }

    /// Where the body begins.
    #[inline]
    pub fn head_len(&self) -> usize {
        self.head.len as usize
    }
}

/// HTTP/2 in clear text, which is asked for with HTTP2-Settings beside it.
pub fn is_h2c(protocol: &[u8]) -> bool {
    protocol.eq_ignore_ascii_case(b"h2c")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_head_shows_nothing_of_the_one_before() {
        let mut request = Request::new(8);
        let long = format!("GET http://a/{0}?{0} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(99));
        assert_eq!(request.begin(long.as_bytes(), &Limits::default(), false), Ok(true));
        assert_eq!(request.target.path.of(long.as_bytes()).len(), 100);
        request.reset();
        let refused = b"GET / HTTP/1.1\r\n\r\n";
        assert!(request.begin(refused, &Limits::default(), false).is_err(), "it has no Host");
        assert!(request.is_read, "it is told of nevertheless");
        assert_eq!(request.target.path.of(refused), b"");
        assert_eq!((request.query(refused), request.host(refused)), (None, None));
    }
}
