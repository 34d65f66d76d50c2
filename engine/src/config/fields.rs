//! Tree → model: changes to fields and targets, and the templates in them.

use parser::encode::is_token;
use parser::path::{self, Canonical, PathOptions};
use parser::target::check_authority;

use super::diagnostic::{At, Diagnostic, Diagnostics};
use super::keys;
use super::model::{Edits, Field, Headers, Rewrite, Spot};
use super::reader::{Section, text_of};
use super::source::{Entry, inside};
use crate::http::edit::EditName;
use crate::http::template::{Part, Place, Template, TemplateProblem};

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

/// The names of a path's params; `None` where the paths are not known yet.
pub(super) type Params<'a> = Option<&'a [&'a str]>;

pub(super) fn headers(
    section: &Section<'_>,
    params: Params<'_>,
    out: &mut Diagnostics,
) -> Option<Headers> {
    let headers = section.section("headers", keys::HEADERS, out)?;
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
    Some(Headers { request: read("request"), response: read("response") })
}

pub(super) fn rewrite(
    section: &Section<'_>,
    params: Params<'_>,
    out: &mut Diagnostics,
) -> Option<Rewrite> {
    let section = section.section("rewrite", keys::REWRITE, out)?;
    let mut read = |key: &str, place: Place| {
        let (text, at) = section.text(key, out)?;
        let value = template(text, at, params, place, out)?;
        let sample = sample(&value, place);
        let fault = match place {
            Place::Path => path_fault(&sample),
            Place::Host if check_authority(&sample).is_err() => Some("this is no host"),
            _ => None,
        };
        match fault {
            Some(title) => {
                let error = Diagnostic::new("E148", at, title);
                out.push(error.note("whatever the variables hold, it could not be sent"));
                None
            }
            None => Some(Spot { value, at }),
        }
    };
    let (path, query) = (read("path", Place::Path), read("query", Place::Query));
    Some(Rewrite { path, query, host: read("host", Place::Host) })
}

/// A text that the template could make.
fn sample(template: &Template, place: Place) -> Vec<u8> {
    let mut sample = Vec::new();
    for part in &template.parts {
        match part {
            Part::Text(text) => sample.extend_from_slice(text),
            Part::Var(_) if sample.is_empty() && place == Place::Path => {
                sample.extend_from_slice(b"/x")
            }
            Part::Var(_) => sample.push(b'x'),
        }
    }
    sample
}

/// What is wrong with a path that a rewrite names.
fn path_fault(sample: &[u8]) -> Option<&'static str> {
    let options = PathOptions { encoded_slash_keep: true, slashes_keep: true };
    match path::canonical(sample, options, &mut Vec::new()) {
        Err(_) => Some("this can't stand in a path"),
        Ok(facts) if facts.canonical == Canonical::Rewritten => {
            Some("`.` and `..` lead to another path than they say")
        }
        Ok(facts) if facts.had_double_slash => Some("`//` is sent as `/`"),
        Ok(_) => None,
    }
}

/// Names and values of fields, also those of `respond`.
pub(super) fn fields(
    entries: &[Entry],
    params: Params<'_>,
    is_request: bool,
    out: &mut Diagnostics,
) -> Vec<Field> {
    let mut fields: Vec<Field> = Vec::new();
    for entry in entries {
        if !check_field_name(&entry.key, entry.key_at, is_request, out) {
            continue;
        }
        if fields.iter().any(|field| field.name.eq_ignore_ascii_case(&entry.key)) {
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
            fields.push(Field { name: entry.key.clone(), at, value });
        }
    }
    fields
}

/// Fields for the service and the claims they hold.
pub(super) fn claims(entries: &[Entry], out: &mut Diagnostics) -> Vec<(EditName, String)> {
    let mut found: Vec<(EditName, String)> = Vec::new();
    for entry in entries {
        if check_field_name(&entry.key, entry.key_at, true, out)
            && let Some((claim, _)) = text_of(&entry.node, out)
        {
            found.push((EditName::new(&entry.key), claim.to_owned()));
        }
    }
    found
}

pub(super) fn check_field_name(
    name: &str,
    at: At,
    is_request: bool,
    out: &mut Diagnostics,
) -> bool {
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
        "host" if is_request => error.note("say `rewrite.host`, or `host` in the upstream"),
        "upgrade" => error.note("the route's `upgrade` says what may be tunnelled"),
        _ => error,
    });
    false
}

/// `None` was reported.
pub(super) fn template(
    text: &str,
    at: At,
    params: Params<'_>,
    place: Place,
    out: &mut Diagnostics,
) -> Option<Template> {
    use TemplateProblem as P;
    let parsed = match params {
        Some(params) => Template::parse(text, params, place),
        None => Template::parse_open(text, place),
    };
    let error = match parsed {
        Ok(template) => return Some(template),
        Err(error) => error,
    };
    let is_mark = text.get(error.at.clone()) == Some("?");
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
        P::BadStart if place == Place::Path => {
            new("E148", "a path begins with `/`").note("or with {path}")
        }
        P::BadStart => new("E139", "a redirect begins with http://, https:// or `/`"),
        P::BadByte => bad_byte(at, place, is_mark),
        P::Unknown(name) => unknown_variable(&name, at, params, out),
    };
    out.push(error);
    None
}

fn bad_byte(at: At, place: Place, is_mark: bool) -> Diagnostic {
    let (code, title, note) = match place {
        Place::Uri => ("E139", "this can't stand in a URL", "write its escape, as %20"),
        Place::Path if is_mark => ("E148", "a path has no `?`", "say `query`"),
        Place::Path => ("E148", "this can't stand in a path", "write its escape, as %20"),
        Place::Query => ("E148", "this can't stand in a query", "write its escape, as %20"),
        Place::Host => ("E148", "this can't stand in a host", "such as \"api.internal\""),
        _ => ("E135", "a field's value has no control characters", ""),
    };
    Diagnostic::new(code, at, title).note(note)
}

fn unknown_variable(name: &str, at: At, params: Params<'_>, out: &mut Diagnostics) -> Diagnostic {
    let error = Diagnostic::new("E137", at, format!("no variable is called `{name}`"));
    if name == "*" {
        return error.note("name it in the path: {*rest}");
    }
    match near_variable(name, params.unwrap_or_default(), out) {
        Some(near) => error.note(format!("did you mean {{{near}}}?")),
        None => error.note("a literal brace is written `{{`"),
    }
}

/// The variable that was meant, perhaps.
pub(super) fn near_variable<'p>(
    name: &str,
    params: &[&'p str],
    out: &mut Diagnostics,
) -> Option<&'p str> {
    let known = ["client", "host", "path", "query", "method", "request_id", "route"];
    let named = params.iter().copied().filter(|param| *param != "*");
    out.closest(name, known.into_iter().chain(named))
}
