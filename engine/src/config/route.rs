//! Tree → model: one route, what it matches and what holds for it.

use parser::Method;
use parser::encode::{is_field_value, is_token};

use super::action;
use super::address::{self, Fault};
use super::diagnostic::{At, Diagnostic, Diagnostics};
use super::model::{Edits, Route, Spot};
use super::reader::{Section, text_of};
use super::source::{Entry, inside};
use super::{Files, keys};
use crate::http::template::{Place, RESERVED, Template, TemplateProblem};
use crate::router::{PatternError, ValuePattern, check_pattern};

/// Fields that frame a message or speak about one connection (RFC 9110 §7.6.1, RFC 9112 §6).
const OWNED: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

pub(super) fn read(
    name: &str,
    section: &Section<'_>,
    files: &Files<'_>,
    out: &mut Diagnostics,
) -> Route {
    let errors = out.errors();
    let (path, params) = path(section, out);
    let params: Vec<&str> = params.iter().map(String::as_str).collect();
    let hosts = section.texts("host", false, out).unwrap_or_default();
    let hosts = hosts.iter().filter_map(|spot| host(spot, out)).collect();
    let methods = section.texts("methods", false, out).unwrap_or_default();
    let methods = methods.iter().filter_map(|spot| method(spot, out)).collect();
    let when = section.section("when", keys::WHEN, out);
    let mut conditions = |key: &str| {
        let entries = when.as_ref().map_or(&[][..], |when| when.named(key, out));
        let one = |entry| condition(entry, key == "headers", out);
        entries.iter().filter_map(one).collect::<Vec<_>>()
    };
    let (headers_when, query_when) = (conditions("headers"), conditions("query"));
    let listeners = section.texts("listener", false, out).unwrap_or_default();
    let listeners = listeners.into_iter().map(|s| Spot { value: s.value.to_owned(), at: s.at });
    let listeners = listeners.collect();
    let is_unsure = out.errors() > errors;
    let (request_edits, response_edits) = headers(section, &params, out);
    Route {
        name: name.to_owned(),
        at: section.at,
        hosts,
        path,
        methods,
        headers_when,
        query_when,
        listeners,
        action: action::read(section, &params, files, out),
        request_edits,
        response_edits,
        timeout: section.time_or_none("timeout", out),
        deadline: section.time_or_none("deadline", out),
        body_timeout: section.time_or_none("body_timeout", out),
        body_limit: section.size_or_none("body_limit", out),
        body_rate_min: section.byte_rate("body_rate_min", out),
        tunnel_timeout: section.time_or_none("tunnel_timeout", out),
        upgrade: upgrade(section, out),
        encoded_slash_keep: section.word("encoded_slash", out) == Some("keep"),
        slashes_keep: section.word("slashes", out) == Some("keep"),
        slash_redirect: section.word("slash", out) == Some("redirect"),
        is_unsure,
    }
}

/// The path and the names of its parameters.
fn path(section: &Section<'_>, out: &mut Diagnostics) -> (Spot<String>, Vec<String>) {
    let default = Spot { value: "/*".to_owned(), at: section.at };
    let Some((text, at)) = section.text("path", out) else { return (default, Vec::new()) };
    let names = match check_pattern(text) {
        Ok(names) => names,
        Err((reason, byte)) => {
            let start = text.floor_char_boundary(byte.min(text.len()));
            let width = text[start..].chars().next().map_or(0, char::len_utf8);
            let spot = inside(out, at, text, start..start + width);
            out.push(pattern_error(reason, text, spot));
            return (default, Vec::new());
        }
    };
    if let Some(name) = names.iter().find(|name| RESERVED.contains(name)) {
        let start = text.find(&format!("{name}}}")).unwrap_or(0);
        let spot = inside(out, at, text, start..start + name.len());
        let title = format!("a parameter can't be called `{name}`");
        out.push(Diagnostic::new("E130", spot, title).note("{…} has this meaning already"));
    }
    let names = names.into_iter().map(str::to_owned).collect();
    (Spot { value: text.to_owned(), at }, names)
}

fn pattern_error(reason: PatternError, text: &str, at: At) -> Diagnostic {
    use PatternError as P;
    let (what, fix) = match reason {
        P::NoLeadingSlash => ("a path begins with `/`", format!("write \"/{text}\"")),
        P::TooLong => ("this path is too long", "at most 4096 bytes".to_owned()),
        P::EmptySegment => {
            ("`//` never matches", "requests' paths have `//` merged to `/`".to_owned())
        }
        P::DotSegment => {
            ("`.` and `..` never match", "they are resolved before routes are chosen".to_owned())
        }
        P::BadByte => ("this can't stand in a path", "write its escape, as %20".to_owned()),
        P::BadEscape => (
            "this escape never matches",
            "two upper-case hex digits, and only where an escape is needed".to_owned(),
        ),
        P::MixedSegment => (
            "a parameter or `*` takes a whole segment",
            "such as \"/users/{id}\" or \"/files/*\"".to_owned(),
        ),
        P::BadName => (
            "this can't be the name of a parameter",
            "a letter first, then letters, digits, `_` and `-`".to_owned(),
        ),
        P::DuplicateName => ("this parameter is named twice", "give it another name".to_owned()),
        P::RestNotLast => ("`*` is always last", "use {name} for one segment".to_owned()),
        P::TooManyParams => ("too many parameters", "at most 16".to_owned()),
    };
    Diagnostic::new("E130", at, what).note(fix)
}

fn host(spot: &Spot<&str>, out: &mut Diagnostics) -> Option<String> {
    let text = spot.value;
    let bad = |what: &str, fix: String| Some(Diagnostic::new("E132", spot.at, what).note(fix));
    let plain = text.strip_prefix("*.").unwrap_or(text);
    let error = match address::authority(plain) {
        _ if text == "*" => bad("`*` is no host", "leave `host` out for any".to_owned()),
        _ if text.contains("://") => bad(
            "a host has no scheme",
            format!("write \"{}\"", text.rsplit('/').next().unwrap_or("")),
        ),
        _ if plain.contains('*') => {
            bad("`*` stands for the first labels only", "such as \"*.example.com\"".to_owned())
        }
        Ok((host, Some(_))) => {
            let star = &text[..text.len() - plain.len()];
            bad("a port takes no part in matching", format!("write \"{star}{host}\""))
        }
        Ok((host, None)) => match address::ip_of(host) {
            Some(_) if text != plain => bad("`*` can't stand before an address", String::new()),
            None if !address::is_name(host) => {
                bad("this is no host", "such as \"example.com\"".to_owned())
            }
            _ => None,
        },
        Err(Fault::Bad(what, fix)) => bad(what, fix.replace(":8080", "")),
        Err(Fault::NotYet(_)) => None,
    };
    match error {
        Some(error) => {
            out.push(error);
            None
        }
        None => Some(text.to_ascii_lowercase()),
    }
}

fn method(spot: &Spot<&str>, out: &mut Diagnostics) -> Option<String> {
    let text = spot.value;
    let upper = text.to_ascii_uppercase();
    let bad = |what: &str| Diagnostic::new("E133", spot.at, what);
    let error = match Method::of(upper.as_bytes()) {
        _ if !is_token(text.as_bytes()) => bad("this is no method").note("such as \"GET\""),
        Method::Connect | Method::Trace => {
            bad("CONNECT and TRACE are never routed").note("they are answered with 405")
        }
        Method::Other => return Some(text.to_owned()),
        _ if upper != text => bad("methods are in upper case").note(format!("write \"{upper}\"")),
        _ => return Some(upper),
    };
    out.push(error);
    None
}

fn condition(
    entry: &Entry,
    is_header: bool,
    out: &mut Diagnostics,
) -> Option<(String, ValuePattern)> {
    let (text, at) = text_of(&entry.node, out)?;
    let name = entry.key.as_str();
    if is_header && !is_token(name.as_bytes()) {
        let title = format!("`{name}` is no field name");
        out.push(Diagnostic::new("E135", entry.key_at, title));
        return None;
    }
    let prefix = text.strip_suffix('*');
    let error = match prefix.unwrap_or(text) {
        part if part.contains('*') => "`*` stands at the end only",
        // A prefix may end within white space.
        part if is_header && !is_field_value(part.trim_end().as_bytes()) => {
            "no field has such a value"
        }
        part if is_header && prefix.is_none() && part.ends_with([' ', '\t']) => {
            "no field has such a value"
        }
        _ => "",
    };
    if !error.is_empty() {
        let error = Diagnostic::new("E134", at, error);
        out.push(error.note("a value, \"*\" for present, or \"beta*\" for a prefix"));
        return None;
    }
    let pattern = match prefix {
        Some("") => ValuePattern::Present,
        Some(prefix) => ValuePattern::Prefix(prefix.to_owned()),
        None => ValuePattern::Exact(text.to_owned()),
    };
    Some((name.to_owned(), pattern))
}

fn headers(section: &Section<'_>, params: &[&str], out: &mut Diagnostics) -> (Edits, Edits) {
    let Some(headers) = section.section("headers", keys::HEADERS, out) else {
        return Default::default();
    };
    let mut read = |side: &str| {
        let Some(section) = headers.section(side, keys::EDITS, out) else {
            return Edits::default();
        };
        let is_request = side == "request";
        let remove = section.texts("remove", true, out).unwrap_or_default();
        let remove = remove.iter().filter(|s| check_field_name(s.value, s.at, is_request, out));
        Edits {
            remove: remove.map(|spot| spot.value.to_owned()).collect(),
            set: fields(section.named("set", out), params, is_request, out),
            add: fields(section.named("add", out), params, is_request, out),
        }
    };
    (read("request"), read("response"))
}

/// Names and values of fields, also those of `respond`.
pub(super) fn fields(
    entries: &[Entry],
    params: &[&str],
    is_request: bool,
    out: &mut Diagnostics,
) -> Vec<(String, Template)> {
    let mut fields: Vec<(String, Template)> = Vec::new();
    for entry in entries {
        if !check_field_name(&entry.key, entry.key_at, is_request, out) {
            continue;
        }
        if fields.iter().any(|(name, _)| name.eq_ignore_ascii_case(&entry.key)) {
            let title = format!("`{}` is given twice", entry.key);
            let error = Diagnostic::new("E135", entry.key_at, title);
            out.push(error.note("upper and lower case are the same in field names"));
            continue;
        }
        let Some((text, at)) = text_of(&entry.node, out) else { continue };
        if text.trim_matches([' ', '\t']) != text {
            let error = Diagnostic::new("E135", at, "a field's value has no space at its ends");
            out.push(error);
            continue;
        }
        if let Some(value) = template(text, at, params, Place::FieldValue, out) {
            fields.push((entry.key.clone(), value));
        }
    }
    fields
}

fn check_field_name(name: &str, at: At, is_request: bool, out: &mut Diagnostics) -> bool {
    if !is_token(name.as_bytes()) {
        out.push(Diagnostic::new("E135", at, format!("`{name}` is no field name")));
        return false;
    }
    // Some servers read `_` as `-`.
    let plain = name.to_ascii_lowercase().replace('_', "-");
    if !OWNED.contains(&plain.as_str()) {
        return true;
    }
    let error = Diagnostic::new("E136", at, format!("`{name}` is written by Busbar alone"));
    out.push(match plain.as_str() {
        "host" if is_request => error.note("say `host` in the upstream's table"),
        "upgrade" => error.note("the route's `upgrade` says what may be tunnelled"),
        _ => error,
    });
    false
}

/// `None` was reported.
pub(super) fn template(
    text: &str,
    at: At,
    params: &[&str],
    place: Place,
    out: &mut Diagnostics,
) -> Option<Template> {
    use TemplateProblem as P;
    let error = match Template::parse(text, params, place) {
        Ok(template) => return Some(template),
        Err(error) => error,
    };
    let at = inside(out, at, text, error.at);
    let new = |code, title: &str| Diagnostic::new(code, at, title);
    let error = match error.problem {
        P::Unclosed => new("E138", "`{` without its `}`").note("a literal brace is written `{{`"),
        P::LoneClose => new("E138", "`}` without its `{`").note("a literal brace is written `}}`"),
        P::NotYet(name) => {
            let title = format!("this build does not know `{{{name}}}` yet");
            new("E190", &title).note("remove it")
        }
        P::InAuthority(name) => {
            let title = format!("`{{{name}}}` can't stand where the host is");
            new("E139", &title).note("only {host} can; else a request could choose where it leads")
        }
        P::BadStart => new("E139", "a redirect begins with http://, https:// or `/`"),
        P::BadByte if place == Place::Uri => {
            new("E139", "this can't stand in a URL").note("write its escape, as %20")
        }
        P::BadByte => new("E135", "a field's value has no control characters"),
        P::Unknown(name) => unknown_variable(&name, at, params, out),
    };
    out.push(error);
    None
}

fn unknown_variable(name: &str, at: At, params: &[&str], out: &mut Diagnostics) -> Diagnostic {
    let error = Diagnostic::new("E137", at, format!("no variable is called `{name}`"));
    if name == "*" {
        return error.note("name it in the path: {*rest}");
    }
    let known = ["client", "host", "path", "query", "method", "request_id", "route"];
    let named = params.iter().copied().filter(|param| *param != "*");
    match out.closest(name, known.into_iter().chain(named)) {
        Some(near) => error.note(format!("did you mean {{{near}}}?")),
        None => error.note("a literal brace is written `{{`"),
    }
}

fn upgrade(section: &Section<'_>, out: &mut Diagnostics) -> Option<Vec<String>> {
    let list = section.texts("upgrade", true, out)?;
    let mut names = Vec::new();
    for spot in &list {
        let name = spot.value.to_ascii_lowercase();
        if !is_token(name.as_bytes()) {
            let error = Diagnostic::new("E103", spot.at, "this is no protocol's name");
            out.push(error.note("such as \"websocket\""));
        } else if name == "tls" || name.starts_with("http") {
            let error = Diagnostic::new("E103", spot.at, format!("`{name}` can't be tunnelled"));
            out.push(error.note("requests in it would pass every route unseen"));
        } else if !names.contains(&name) {
            names.push(name);
        }
    }
    Some(names)
}
