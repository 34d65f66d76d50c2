//! Texts with `{variables}`, parsed when the configuration compiles.

use parser::Span;

use self::escape::{decoded, escape, escape_decoded};

mod escape;
mod parse;

pub use parse::{RESERVED, TemplateError, TemplateProblem};

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
    Consumer,
    RequestId,
    Route,
    QueryParam(Box<[u8]>),
    Header(Box<[u8]>),
    /// A param of paths that are not known yet; `Template::resolved` makes a `Param` of it.
    Named(Box<str>),
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
    /// Who sends it, as far as that is known.
    pub consumer: &'a [u8],
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
    /// The path of a request target.
    Path,
    /// The query of a request target, without `?`.
    Query,
    /// A `Host`. What is no host is refused afterwards.
    Host,
    Html,
    Json,
    /// As it is, control characters removed.
    Text,
}

impl Template {
    /// A text without variables, taken as it is.
    pub fn literal(bytes: impl Into<Box<[u8]>>) -> Template {
        let bytes = bytes.into();
        match bytes.is_empty() {
            true => Template::default(),
            false => Template { parts: Box::new([Part::Text(bytes)]) },
        }
    }

    /// The text when there is nothing to put in, so that it can be used without rendering.
    #[inline]
    pub fn as_literal(&self) -> Option<&[u8]> {
        match &*self.parts {
            [] => Some(b""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Appends the text for one request. Whatever the values hold, a field value stays one valid
    /// value, a URI stays at the scheme and host that the template names (or at ours), and a
    /// value never ends the string or element it stands in.
    pub fn render(&self, facts: &Facts<'_>, place: Place, out: &mut Vec<u8>) {
        let start = out.len();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Var(var) => var.render(facts, place, out),
            }
        }
        match place {
            Place::FieldValue => trim(out, start),
            Place::Uri if !self.names_host() => keep_at_root(out, start),
            _ => {}
        }
    }

    /// The names of params that are not resolved.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Var(Var::Named(name)) => Some(&**name),
            _ => None,
        })
    }

    /// With the params of one path. Names that it does not have stay as they are.
    pub fn resolved(&self, params: &[&str]) -> Template {
        let resolve = |part: &Part| match part {
            Part::Var(Var::Named(name)) => {
                match params.iter().position(|known| *known == &**name) {
                    Some(index) => Part::Var(Var::Param(index as u8)),
                    None => part.clone(),
                }
            }
            part => part.clone(),
        };
        Template { parts: self.parts.iter().map(resolve).collect() }
    }

    /// Whether a URI begins with a host of its own.
    fn names_host(&self) -> bool {
        let Some(Part::Text(text)) = self.parts.first() else { return false };
        parse::authority_at(text).is_some()
    }
}

impl Var {
    fn render(&self, facts: &Facts<'_>, place: Place, out: &mut Vec<u8>) {
        match self {
            Var::Param(index) => {
                let span = facts.params.get(usize::from(*index)).copied().unwrap_or_default();
                escape(span.of(facts.path), place.for_path(), out);
            }
            Var::Path => escape(facts.path, place.for_path(), out),
            Var::Query => escape(facts.query, place.for_query(), out),
            Var::Host => escape(facts.host, place.for_host(), out),
            Var::Client => escape(facts.client, place.plain(), out),
            Var::Method => escape(facts.method, place.plain(), out),
            Var::Consumer => escape(facts.consumer, place.plain(), out),
            Var::RequestId => escape(facts.request_id, place.plain(), out),
            Var::Route => escape(facts.route, place.plain(), out),
            Var::QueryParam(name) => {
                if let Some(value) = query_value(facts.query, name) {
                    escape_decoded(value, place.plain(), out);
                }
            }
            // Compiled templates have none.
            Var::Named(_) => {}
            Var::Header(name) => {
                if let Some(field) = facts.fields.named(facts.head, name).next() {
                    escape(field.value.of(facts.head), place.plain(), out);
                }
            }
        }
    }
}

/// The value of the first parameter of that name, still encoded. Names are compared decoded; `+`
/// stays `+`, as where routes are chosen.
fn query_value<'a>(query: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    query.split(|b| *b == b'&').find_map(|pair| {
        let eq = memchr::memchr(b'=', pair).unwrap_or(pair.len());
        let value = pair.get(eq + 1..).unwrap_or_default();
        (!pair.is_empty() && decoded(&pair[..eq]).eq(name.iter().copied())).then_some(value)
    })
}

/// Removes white space at the ends of what stands from `start` on: it is no part of a value.
fn trim(out: &mut Vec<u8>, start: usize) {
    while out.len() > start && matches!(out[out.len() - 1], b' ' | b'\t') {
        out.pop();
    }
    let lead = out[start..].iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    out.drain(start..start + lead);
}

/// Makes what stands from `start` on begin with exactly one `/`: two begin a host, and none may
/// begin a scheme (RFC 3986 §4.2). Browsers take `\` as `/`.
fn keep_at_root(out: &mut Vec<u8>, start: usize) {
    let lead = out[start..].iter().take_while(|b| matches!(b, b'/' | b'\\')).count();
    out.splice(start..start + lead, *b"/");
}

#[cfg(test)]
mod tests {
    use parser::{Field, FieldId, Fields};

    use super::*;

    struct World {
        head: Vec<u8>,
        fields: Fields,
        path: Vec<u8>,
        query: Vec<u8>,
        host: Vec<u8>,
        params: Vec<Span>,
    }

    impl World {
        /// The only header is `X-Evil: evil`; the only param `rest` is all of the path after its
        /// first byte.
        fn new(path: &str, query: &str, host: &str, evil: &[u8]) -> World {
            let mut head = b"X-Evil".to_vec();
            head.extend_from_slice(evil);
            let mut fields = Fields::default();
            let value = Span::new(6, head.len());
            fields.push(Field { name: Span::new(0, 6), value, id: FieldId::Other });
            let params = vec![Span::new(1.min(path.len()), path.len())];
            let (path, query, host) = (path.into(), query.into(), host.into());
            World { head, fields, path, query, host, params }
        }

        fn render(&self, text: &str, place: Place) -> String {
            let template = Template::parse(text, &["rest"], place).expect(text);
            let facts = Facts {
                client: b"203.0.113.7",
                host: &self.host,
                path: &self.path,
                query: &self.query,
                method: b"GET",
                consumer: b"acme",
                request_id: b"0123",
                route: b"app",
                params: &self.params,
                fields: &self.fields,
                head: &self.head,
            };
            let mut out = b">".to_vec();
            template.render(&facts, place, &mut out);
            assert_eq!(out[0], b'>', "what was there before stays");
            String::from_utf8_lossy(&out[1..]).into_owned()
        }
    }

    #[test]
    fn every_variable_stands_for_its_fact() {
        let world = World::new("/a/b%20c", "q=x%20y&z", "example.com", b"deep");
        let text = "{client}|{host}|{path}|{query}|{method}|{consumer}|{request_id}|{route}|{rest}|{*rest}|\
                    {query.q}|{query.z}|{query.none}|{header.x-evil}|{header.none}|{{}}";
        let expect = "203.0.113.7|example.com|/a/b%20c|q=x%20y&z|GET|acme|0123|app|a/b%20c|a/b%20c|\
                      x y|||deep||{}";
        assert_eq!(world.render(text, Place::Text), expect);
    }

    #[test]
    fn field_values_hold_no_line_break_and_no_white_space_at_their_ends() {
        let world = World::new("/a", "v=%20a%0d%0aSet-Cookie:%20x%09", "h", b"  \x00a\tb\x7f ");
        let value = world.render(" {query.v}{header.x-evil} ", Place::FieldValue);
        assert_eq!(value, "aSet-Cookie: x  ab");
        assert!(parser::encode::is_field_value(value.as_bytes()));
        assert_eq!(world.render("{query.none}", Place::FieldValue), "");
    }

    #[test]
    fn redirects_stay_where_the_template_sends_them() {
        let rows = [
            ("{path}", "//evil.com/x", "", "/evil.com/x"),
            ("{path}", "/fine", "", "/fine"),
            ("{path}", "/\\evil.com", "", "/%5Cevil.com"),
            ("{path}", "*", "", "/*"),
            ("/{rest}", "//evil.com", "", "/evil.com"),
            ("/{rest}", "///evil.com", "", "/evil.com"),
            ("{rest}", "/javascript:alert(1)", "", "/javascript:alert(1)"),
            ("{query.to}", "/", "to=https://evil.com", "/https%3A%2F%2Fevil.com"),
            ("{query.to}", "/", "to=%2F%2Fevil.com", "/%2F%2Fevil.com"),
            ("/go?{query}", "/", "a=1&b=%41#x\"", "/go?a=1&b=%41%23x%22"),
            ("https://a.example{path}", "/x", "", "https://a.example/x"),
            ("https://a.example/{rest}", "//evil", "", "https://a.example//evil"),
            ("https://a.example?u={query.u}", "/", "u=%26x", "https://a.example?u=%26x"),
            ("/x/{header.x-evil}", "/", "", "/x/%0D%0AA%3A%20%E9"),
        ];
        for (text, path, query, expect) in rows {
            let world = World::new(path, query, "h", b"\r\nA: \xe9");
            assert_eq!(world.render(text, Place::Uri), expect, "{text} for {path}?{query}");
        }
    }

    #[test]
    fn a_host_can_not_leave_its_place() {
        let hosts = [
            ("example.com:8443", "https://example.com:8443/a"),
            ("[::1]:80", "https://[::1]:80/a"),
            ("evil.com/@x?#", "https://evil.com%2F%40x%3F%23/a"),
        ];
        for (host, expect) in hosts {
            let world = World::new("/a", "", host, b"");
            assert_eq!(world.render("https://{host}/{*rest}", Place::Uri), expect);
        }
    }

    #[test]
    fn html_and_json_values_do_not_end_what_they_stand_in() {
        let evil = b"</script>\"'&\\\n\xff\x01";
        let world = World::new("/", "", "h", evil);
        assert_eq!(
            world.render("<p>{header.x-evil}</p>", Place::Html),
            "<p>&lt;/script&gt;&quot;&#39;&amp;\\\n\u{fffd}</p>"
        );
        assert_eq!(
            world.render("{{\"a\":\"{header.x-evil}\"}}", Place::Json),
            "{\"a\":\"\\u003c/script\\u003e\\\"\\u0027\\u0026\\\\\\u000a\u{fffd}\\u0001\"}"
        );
    }

    #[test]
    fn targets_hold_nothing_that_ends_them() {
        let world = World::new("/a%20b;c=d&e=f+g", "q=%2e%2e/%20%23?x&z", "h", b"\r\n A?#\xe9");
        let rows = [
            ("/x/{rest}", Place::Path, "/x/a%20b;c=d&e=f+g"),
            ("{path}", Place::Path, "/a%20b;c=d&e=f+g"),
            ("/{query.q}/{header.x-evil}", Place::Path, "/..%2F%20%23%3Fx/%0D%0A%20A%3F%23%E9"),
            ("/{query}", Place::Path, "/q%3D%252e%252e%2F%2520%2523%3Fx%26z"),
            ("u={rest}", Place::Query, "u=a%20b%3Bc%3Dd%26e%3Df%2Bg"),
            ("u={query.q}&{query}", Place::Query, "u=..%2F%20%23%3Fx&q=%2e%2e/%20%23?x&z"),
            ("{host}", Place::Host, "h"),
            ("{header.x-evil}.h", Place::Host, "%0D%0A%20A%3F%23%E9.h"),
        ];
        for (text, place, expect) in rows {
            assert_eq!(world.render(text, place), expect, "{text}");
        }
    }

    #[test]
    fn names_of_params_are_resolved_for_each_path() {
        let open = Template::parse_open("{id}-{client}-{x}", Place::Text).expect("good");
        assert_eq!(open.names().collect::<Vec<_>>(), ["id", "x"]);
        let known = open.resolved(&["x", "id"]);
        assert_eq!(Ok(known), Template::parse("{id}-{client}-{x}", &["x", "id"], Place::Text));
        assert_eq!(open.resolved(&["x"]).names().collect::<Vec<_>>(), ["id"]);
    }

    #[test]
    fn params_that_are_not_there_are_empty() {
        let mut world = World::new("/a", "", "h", b"");
        world.params.clear();
        assert_eq!(world.render("[{rest}]", Place::Text), "[]");
    }
}
