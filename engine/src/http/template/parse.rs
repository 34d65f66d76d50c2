//! From `"https://{host}/{*rest}"` to parts.

use std::ops::Range;

use super::{Part, Place, Template, Var};

/// Why a text is no template, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError {
    pub problem: TemplateProblem,
    /// Bytes of the text.
    pub at: Range<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateProblem {
    /// `{` without its `}`.
    Unclosed,
    /// `}` without its `{`.
    LoneClose,
    Unknown(String),
    /// Part of the language, not of this build.
    NotYet(String),
    /// Only `{host}` may stand in the host of a URI.
    InAuthority(String),
    /// A URI begins with a scheme that is not http or https, or with a relative path.
    BadStart,
    /// A byte that can't stand there as it is.
    BadByte,
}

/// Names of variables that can't be names of path parameters.
pub const RESERVED: &[&str] = &[
    "client",
    "host",
    "path",
    "query",
    "method",
    "consumer",
    "request_id",
    "route",
    "header",
    "body",
    "call",
];

impl Template {
    /// Reads `text`, which may name the params of a path, for the place it will be rendered for.
    pub fn parse(text: &str, params: &[&str], place: Place) -> Result<Template, TemplateError> {
        Template::read(text, Some(params), place)
    }

    /// As `parse`, for paths that are not known yet: any name may be that of a param.
    pub fn parse_open(text: &str, place: Place) -> Result<Template, TemplateError> {
        Template::read(text, None, place)
    }

    fn read(text: &str, params: Option<&[&str]>, place: Place) -> Result<Template, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut at = 0;
        let error = |problem, at| Err(TemplateError { problem, at });
        if let Some((at, c)) = text.char_indices().find(|(_, c)| !may_stand(*c, place)) {
            return error(TemplateProblem::BadByte, at..at + c.len_utf8());
        }
        while let Some(brace) = text[at..].find(['{', '}']).map(|found| at + found) {
            literal.push_str(&text[at..brace]);
            let is_open = text.as_bytes()[brace] == b'{';
            if text.as_bytes().get(brace + 1) == Some(&text.as_bytes()[brace]) {
                literal.push(if is_open { '{' } else { '}' });
                at = brace + 2;
                continue;
            }
            if !is_open {
                return error(TemplateProblem::LoneClose, brace..brace + 1);
            }
            let Some(len) = text[brace + 1..].find(['}', '{']) else {
                return error(TemplateProblem::Unclosed, brace..brace + 1);
            };
            let end = brace + 1 + len;
            if text.as_bytes()[end] == b'{' {
                return error(TemplateProblem::Unclosed, brace..brace + 1);
            }
            let name = &text[brace + 1..end];
            let var = match variable(name, params) {
                Ok(var) => var,
                Err(problem) => return error(problem, brace..end + 1),
            };
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal).into_bytes().into()));
            }
            if place == Place::Uri && in_authority(&parts) && var != Var::Host {
                let is_path = var == Var::Path && !ends_authority_empty(&parts);
                if !is_path {
                    return error(TemplateProblem::InAuthority(name.to_owned()), brace..end + 1);
                }
            }
            parts.push(Part::Var(var));
            at = end + 1;
        }
        literal.push_str(&text[at..]);
        if !literal.is_empty() {
            parts.push(Part::Text(literal.into_bytes().into()));
        }
        let begins_well = match (place, parts.first()) {
            (Place::Uri, Some(Part::Text(first))) => begins_well(first, parts.len() == 1),
            (Place::Path, Some(Part::Text(first))) => first.starts_with(b"/"),
            (Place::Path, first) => first == Some(&Part::Var(Var::Path)),
            _ => true,
        };
        if !begins_well {
            return error(TemplateProblem::BadStart, 0..text.len());
        }
        Ok(Template { parts: parts.into() })
    }
}

fn may_stand(c: char, place: Place) -> bool {
    match place {
        Place::FieldValue => !c.is_control() || c == '\t',
        // RFC 3986 §2; braces are those of variables.
        Place::Uri => c.is_ascii_graphic() && !"\"<>\\^`|".contains(c),
        Place::Path => c.is_ascii_graphic() && !"\"<>\\^`|?#".contains(c),
        Place::Query => c.is_ascii_graphic() && !"\"<>\\^`|#".contains(c),
        Place::Host => c.is_ascii_alphanumeric() || "-._~:[]{}*".contains(c),
        Place::Html | Place::Json | Place::Text => true,
    }
}

/// A path of ours, or a URI that names a host before anything else. (Browsers look for a host
/// behind any number of slashes.)
fn begins_well(first: &[u8], is_all: bool) -> bool {
    match authority_at(first) {
        Some(from) => match first.get(from) {
            None => !is_all,
            Some(b) => !matches!(b, b'/' | b'?' | b'#' | b'\\'),
        },
        None => first.starts_with(b"/"),
    }
}

fn variable(name: &str, params: Option<&[&str]>) -> Result<Var, TemplateProblem> {
    let param = name.strip_prefix('*').filter(|rest| !rest.is_empty()).unwrap_or(name);
    let mut known = params.unwrap_or_default().iter();
    if let Some(index) = known.position(|known| *known == param && param != "*") {
        return Ok(Var::Param(index as u8));
    }
    if let Some(name) = name.strip_prefix("query.").filter(|name| !name.is_empty()) {
        return Ok(Var::QueryParam(name.as_bytes().into()));
    }
    if let Some(name) = name.strip_prefix("header.")
        && parser::encode::is_token(name.as_bytes())
    {
        return Ok(Var::Header(name.as_bytes().into()));
    }
    match name {
        "client" => Ok(Var::Client),
        "host" => Ok(Var::Host),
        "path" => Ok(Var::Path),
        "query" => Ok(Var::Query),
        "method" => Ok(Var::Method),
        "request_id" => Ok(Var::RequestId),
        "route" => Ok(Var::Route),
        "consumer" => Ok(Var::Consumer),
        _ if name.starts_with("body:") || name.starts_with("call:") => {
            Err(TemplateProblem::NotYet(name[..5].to_owned() + "…"))
        }
        _ if params.is_none() && may_be_param(param) => Ok(Var::Named(param.into())),
        _ => Err(TemplateProblem::Unknown(name.to_owned())),
    }
}

/// Whether a path may have a param of this name (`router::check_pattern`).
fn may_be_param(name: &str) -> bool {
    let is_first = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    let is_later = |b: u8| is_first(b) || b.is_ascii_digit() || b == b'-';
    name.bytes().next().is_some_and(is_first)
        && name.bytes().all(is_later)
        && !RESERVED.contains(&name)
}

/// Where the host of a URI begins that says one.
pub(super) fn authority_at(text: &[u8]) -> Option<usize> {
    let starts = |prefix: &str| {
        text.get(..prefix.len()).is_some_and(|s| s.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    ["https://", "http://", "//"].into_iter().find(|prefix| starts(prefix)).map(str::len)
}

/// Whether what comes after these parts of a URI stands in its host still.
fn in_authority(parts: &[Part]) -> bool {
    let Some(Part::Text(first)) = parts.first() else { return false };
    let Some(from) = authority_at(first) else { return false };
    let ends = |text: &[u8]| text.iter().any(|b| matches!(b, b'/' | b'?' | b'#' | b'\\'));
    !ends(&first[from..])
        && !parts[1..].iter().any(|part| match part {
            Part::Text(text) => ends(text),
            Part::Var(var) => *var == Var::Path,
        })
}

/// Whether these parts, which end within the host, have named none yet.
fn ends_authority_empty(parts: &[Part]) -> bool {
    matches!(parts, [Part::Text(first)] if authority_at(first) == Some(first.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use TemplateProblem::*;

    #[test]
    fn texts_that_are_no_templates_are_refused_at_their_place() {
        let rows = [
            ("{", Unclosed, 0..1),
            ("a{b{c}", Unclosed, 1..2),
            ("a}", LoneClose, 1..2),
            ("{}", Unknown(String::new()), 0..2),
            ("x{hots}", Unknown("hots".into()), 1..7),
            ("{*}", Unknown("*".into()), 0..3),
            ("{query.}", Unknown("query.".into()), 0..8),
            ("{header.a b}", Unknown("header.a b".into()), 0..12),
            ("{body:/a}", NotYet("body:…".into()), 0..9),
        ];
        for (text, problem, at) in rows {
            let error = Template::parse(text, &["id", "*"], Place::Text).expect_err(text);
            assert_eq!(error, TemplateError { problem, at }, "{text}");
        }
        assert!(Template::parse("{{{id}}}", &["id"], Place::Text).is_ok());
    }

    #[test]
    fn only_a_host_stands_where_the_host_of_a_uri_is() {
        let good = [
            "https://{host}/{id}",
            "https://{host}:8443/{id}",
            "//{host}{path}",
            "https://a.example{path}",
            "https://{host}{path}?{query}",
            "HTTPS://a.example/{id}",
            "/{id}",
            "{path}",
            "{id}",
        ];
        for text in good {
            assert!(Template::parse(text, &["id"], Place::Uri).is_ok(), "{text}");
        }
        let bad = [
            ("https://{id}/", InAuthority("id".into())),
            ("https://{id}.example/", InAuthority("id".into())),
            ("https://{path}", InAuthority("path".into())),
            ("//{id}", InAuthority("id".into())),
            ("https://a.example{id}", InAuthority("id".into())),
            ("http://{host}{query.x}/", InAuthority("query.x".into())),
            ("javascript:{id}", BadStart),
            ("a/{id}", BadStart),
            ("http:{path}", BadStart),
            ("https:///{id}", BadStart),
            ("///{id}", BadStart),
            ("https://", BadStart),
            ("\\\\{host}", BadByte),
            ("/a b", BadByte),
            ("/caf\u{e9}", BadByte),
        ];
        for (text, problem) in bad {
            let error = Template::parse(text, &["id"], Place::Uri).expect_err(text);
            assert_eq!(error.problem, problem, "{text}");
        }
    }

    #[test]
    fn paths_queries_and_hosts_hold_only_what_may_stand_there() {
        let rows = [
            ("/a/{id}", Place::Path, None),
            ("{path}", Place::Path, None),
            ("{path}/x", Place::Path, None),
            ("a", Place::Path, Some(BadStart)),
            ("", Place::Path, Some(BadStart)),
            ("{id}", Place::Path, Some(BadStart)),
            ("/a?b", Place::Path, Some(BadByte)),
            ("/a b", Place::Path, Some(BadByte)),
            ("a={id}&b=?", Place::Query, None),
            ("", Place::Query, None),
            ("a#b", Place::Query, Some(BadByte)),
            ("{id}.example.com:80", Place::Host, None),
            ("a/b", Place::Host, Some(BadByte)),
            ("a b", Place::Host, Some(BadByte)),
        ];
        for (text, place, expect) in rows {
            let problem = Template::parse(text, &["id"], place).err().map(|e| e.problem);
            assert_eq!(problem, expect, "{text}");
        }
    }

    #[test]
    fn names_that_no_path_has_are_left_open_when_paths_are_not_known() {
        for name in ["client", "hots", "rest-1", "query.a", "consumer"] {
            assert!(Template::parse_open(&format!("{{{name}}}"), Place::Text).is_ok(), "{name}");
        }
        for name in ["1a", "", "*", "query.", "a.b"] {
            assert!(Template::parse_open(&format!("{{{name}}}"), Place::Text).is_err(), "{name}");
        }
    }

    #[test]
    fn unused_reserved_words_are_those_of_variables() {
        for name in ["client", "host", "path", "query", "method", "request_id", "route"] {
            assert!(RESERVED.contains(&name));
        }
    }
}
