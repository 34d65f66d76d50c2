//! Texts with `{variables}`, parsed when the configuration compiles.

use parser::Span;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template {
    pub parts: Box<[Part]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Text(Box<[u8]>),
    Var(Var),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Var {
    /// Index in the route's params, in the order they stand in its path.
    Param(u8),
    Client,
    Host,
    Path,
    Query,
    Method,
    RequestId,
    Route,
    QueryParam(Box<[u8]>),
    Header(Box<[u8]>),
}

/// What variables stand for in one request. Spans of params are relative to `path`.
#[derive(Debug)]
pub struct Facts<'a> {
    pub client: &'a [u8],
    pub host: &'a [u8],
    /// Canonical, still percent-encoded.
    pub path: &'a [u8],
    /// Without `?`.
    pub query: &'a [u8],
    pub method: &'a [u8],
    pub request_id: &'a [u8],
    pub route: &'a [u8],
    pub params: &'a [Span],
    pub fields: &'a parser::Fields,
    /// The buffer `fields` was parsed from.
    pub head: &'a [u8],
}

/// Where the text goes; each value is escaped for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    FieldValue,
    /// A URI reference (`Location`).
    Uri,
    Html,
    Json,
    /// As it is, control characters removed.
    Text,
}

/// Why a text is no template; `at` is a byte offset in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError {
    pub at: usize,
    pub len: usize,
    pub kind: TemplateErrorKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateErrorKind {
    /// `{` without its `}`, or a lone `}`.
    Unbalanced,
    /// No such variable; the nearest known name.
    Unknown(Option<String>),
    /// A variable of the language that this build does not have.
    NotYet,
}

const WORDS: [&str; 7] = ["client", "host", "path", "query", "method", "request_id", "route"];

impl Template {
    /// A template that is only text.
    pub fn text(text: &str) -> Template {
        let part = (!text.is_empty()).then(|| Part::Text(text.as_bytes().into()));
        Template { parts: part.into_iter().collect() }
    }

    /// Reads `{name}` variables; `{{` and `}}` are braces. `params` are the route's, in order.
    pub fn parse(text: &str, params: &[&str]) -> Result<Template, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        let mut at = 0;
        let bytes = text.as_bytes();
        while at < bytes.len() {
            let unbalanced = TemplateError { at, len: 1, kind: TemplateErrorKind::Unbalanced };
            match bytes[at] {
                brace @ (b'{' | b'}') if bytes.get(at + 1) == Some(&brace) => {
                    literal.push(brace);
                    at += 2;
                }
                b'{' => {
                    let len = bytes[at..].iter().position(|&b| b == b'}').ok_or(unbalanced)?;
                    let name = &text[at + 1..at + len];
                    let var = Var::named(name, params).map_err(|kind| TemplateError {
                        at,
                        len: len + 1,
                        kind,
                    })?;
                    if !literal.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut literal).into()));
                    }
                    parts.push(Part::Var(var));
                    at += len + 1;
                }
                b'}' => return Err(unbalanced),
                byte => {
                    literal.push(byte);
                    at += 1;
                }
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal.into()));
        }
        Ok(Template { parts: parts.into() })
    }

    /// The text, when no variable stands in it.
    pub fn as_text(&self) -> Option<&[u8]> {
        match &*self.parts {
            [] => Some(b""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Appends the text with its variables filled in, each value escaped for `place`.
    pub fn render(&self, facts: &Facts<'_>, place: Place, out: &mut Vec<u8>) {
        let begin = out.len();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Var(var) => {
                    let value = var.value(facts);
                    match place {
                        Place::Uri if out.len() == begin => {
                            // A value at the start must not name another host (`//evil`).
                            let rest = value.iter().position(|&b| b != b'/').unwrap_or(value.len());
                            if rest > 0 {
                                out.push(b'/');
                            }
                            escape(&value[rest..], var.place_in_uri(), out);
                        }
                        Place::Uri => escape(value, var.place_in_uri(), out),
                        place => escape(value, Escape::of(place), out),
                    }
                }
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    Field,
    /// Already encoded: only what no URI may hold is.
    UriAsIs,
    Uri,
    Html,
    Json,
    Text,
}

impl Escape {
    fn of(place: Place) -> Escape {
        match place {
            Place::FieldValue => Escape::Field,
            Place::Uri => Escape::Uri,
            Place::Html => Escape::Html,
            Place::Json => Escape::Json,
            Place::Text => Escape::Text,
        }
    }
}

fn escape(value: &[u8], how: Escape, out: &mut Vec<u8>) {
    for &b in value {
        match how {
            Escape::Field | Escape::Text if b < 0x20 || b == 0x7f => {}
            Escape::Field | Escape::Text => out.push(b),
            Escape::UriAsIs if b > 0x20 && b < 0x7f && !b"\"<>\\^`{|}".contains(&b) => out.push(b),
            Escape::Uri if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => out.push(b),
            Escape::UriAsIs | Escape::Uri => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                let digit = |n: u8| HEX[usize::from(n & 15)];
                out.extend_from_slice(&[b'%', digit(b >> 4), digit(b)]);
            }
            Escape::Html => match b {
                b'<' => out.extend_from_slice(b"&lt;"),
                b'>' => out.extend_from_slice(b"&gt;"),
                b'&' => out.extend_from_slice(b"&amp;"),
                b'"' => out.extend_from_slice(b"&quot;"),
                b'\'' => out.extend_from_slice(b"&#39;"),
                b if b < 0x20 || b == 0x7f => {}
                b => out.push(b),
            },
            Escape::Json => match b {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', b]),
                0x20..=0x7e => out.push(b),
                _ => out.extend_from_slice(format!("\\u{b:04x}").as_bytes()),
            },
        }
    }
}

impl Var {
    fn named(name: &str, params: &[&str]) -> Result<Var, TemplateErrorKind> {
        let bare = name.strip_prefix('*').unwrap_or(name);
        if let Some(index) = params.iter().position(|p| *p == bare || *p == name) {
            return Ok(Var::Param(index as u8));
        }
        let lower = |n: &str| n.to_ascii_lowercase().into_bytes().into_boxed_slice();
        match name {
            "client" => Ok(Var::Client),
            "host" => Ok(Var::Host),
            "path" => Ok(Var::Path),
            "query" => Ok(Var::Query),
            "method" => Ok(Var::Method),
            "request_id" => Ok(Var::RequestId),
            "route" => Ok(Var::Route),
            "consumer" => Err(TemplateErrorKind::NotYet),
            _ if name.starts_with("query.") => Ok(Var::QueryParam(name.as_bytes()[6..].into())),
            _ if name.starts_with("header.") => Ok(Var::Header(lower(&name[7..]))),
            _ if name.contains(":/") => Err(TemplateErrorKind::NotYet),
            _ => {
                let known = WORDS.iter().copied().chain(params.iter().copied());
                Err(TemplateErrorKind::Unknown(nearest(name, known)))
            }
        }
    }

    /// Captures and paths are encoded already; other values are text.
    fn place_in_uri(&self) -> Escape {
        match self {
            Var::Param(_) | Var::Path | Var::Query | Var::Host => Escape::UriAsIs,
            _ => Escape::Uri,
        }
    }

    fn value<'a>(&self, facts: &Facts<'a>) -> &'a [u8] {
        match self {
            Var::Param(index) => {
                facts.params.get(usize::from(*index)).map_or(b"", |s| s.of(facts.path))
            }
            Var::Client => facts.client,
            Var::Host => facts.host,
            Var::Path => facts.path,
            Var::Query => facts.query,
            Var::Method => facts.method,
            Var::RequestId => facts.request_id,
            Var::Route => facts.route,
            Var::QueryParam(name) => query_param(facts.query, name),
            Var::Header(name) => {
                facts.fields.named(facts.head, name).next().map_or(b"", |f| f.value.of(facts.head))
            }
        }
    }
}

/// The first value of a query parameter, as sent.
fn query_param<'a>(query: &'a [u8], name: &[u8]) -> &'a [u8] {
    let pairs = query.split(|&b| b == b'&');
    let mut values = pairs.filter_map(|pair| {
        let mut parts = pair.splitn(2, |&b| b == b'=');
        (parts.next()? == name).then(|| parts.next().unwrap_or_default())
    });
    values.next().unwrap_or_default()
}

/// The known name that differs least, if any is near.
pub fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<String> {
    let most = (name.len() / 3).max(1);
    let scored = known.map(|k| (distance(name, k), k)).filter(|(d, _)| *d <= most);
    scored.min_by_key(|(d, _)| *d).map(|(_, k)| k.to_owned())
}

/// Edits from `a` to `b` (Levenshtein 1966), a swap of neighbours counting one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let same = usize::from(a[i] != b[j]);
            let mut least = (last[j] + same).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(text: &str, place: Place) -> String {
        let path = b"/a/b%20c//evil.example";
        let fields = parser::Fields::default();
        let facts = Facts {
            client: b"203.0.113.7",
            host: b"shop.example",
            path,
            query: b"q=<x>&r=%0d%0aSet-Cookie",
            method: b"GET",
            request_id: b"id\"\r\nX: y",
            route: b"r",
            params: &[Span::new(3, 8), Span::new(8, 22)],
            fields: &fields,
            head: b"",
        };
        let mut out = Vec::new();
        Template::parse(text, &["id", "rest"]).unwrap().render(&facts, place, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn variables_are_filled_in_and_escaped_for_their_place() {
        assert_eq!(render("https://{host}/n/{id}", Place::Uri), "https://shop.example/n/b%20c");
        assert_eq!(render("{{{method}}}", Place::Text), "{GET}");
        assert_eq!(render("{query.q}", Place::Html), "&lt;x&gt;");
        assert_eq!(render("{request_id}", Place::FieldValue), "id\"X: y");
        assert_eq!(render("{request_id}", Place::Json), "id\\\"\\u000d\\u000aX: y");
        assert_eq!(render("/x?u={request_id}", Place::Uri), "/x?u=id%22%0D%0AX%3A%20y");
        assert_eq!(render("{header.x}|{query.none}", Place::Text), "|");
    }

    #[test]
    fn a_value_never_chooses_the_host_of_a_redirect() {
        assert_eq!(render("{*rest}", Place::Uri), "/evil.example");
        assert_eq!(render("{path}", Place::Uri), "/a/b%20c//evil.example");
    }

    #[test]
    fn mistakes_have_their_place() {
        let check = |text: &str, at: usize, kind: TemplateErrorKind| {
            let e = Template::parse(text, &["id"]).unwrap_err();
            assert_eq!((e.at, e.kind), (at, kind), "{text}");
        };
        check("ab{", 2, TemplateErrorKind::Unbalanced);
        check("a}b", 1, TemplateErrorKind::Unbalanced);
        check("{hots}", 0, TemplateErrorKind::Unknown(Some("host".to_owned())));
        check("{consumer}", 0, TemplateErrorKind::NotYet);
        check("x{body:/a}", 1, TemplateErrorKind::NotYet);
    }
}
