//! Tree → model: what a route does in the end.

use super::address;
use super::diagnostic::{At, Diagnostic, Diagnostics};
use super::fields::{Params, fields, template};
use super::files::Outside;
use super::model::{Action, Respond, Target, TargetName};
use super::read::fault;
use super::reader::{Section, text_of, wrong_type};
use super::source::{Entry, Node, Value};
use super::{defaults, keys};
use crate::http::template::{Place, Template};

const ACTIONS: [&str; 4] = ["to", "respond", "redirect", "echo"];
/// Refused by name, so that a route with one of them is not said to do nothing.
const LATER: [&str; 2] = ["compose", "batch"];
/// Shares of one split.
const TARGETS_MAX: usize = 64;
const TARGET_WEIGHT_MAX: i64 = 1_000_000;
/// Largest body of a `respond` from a file: it is held in memory.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The one action of a route. `None` was reported, or may stand in a broken part of the file.
pub(super) fn read(
    section: &Section<'_>,
    params: Params<'_>,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Option<Action> {
    let given: Vec<&Entry> = ACTIONS.iter().filter_map(|name| section.entry(name)).collect();
    match given.as_slice() {
        [] => {
            let is_later = LATER.iter().any(|name| section.entry(name).is_some());
            if !out.is_torn() && !is_later {
                let error = Diagnostic::new("E122", section.at, "this route does nothing");
                out.push(error.note("give it one of `to`, `respond`, `redirect`, `echo`"));
            }
            None
        }
        [one] => match one.key.as_str() {
            "to" => to(&one.node, out),
            "respond" => respond(&one.node, params, outside, out),
            "redirect" => redirect(&one.node, params, out),
            _ => echo(&one.node, out),
        },
        many => {
            let mut many = many.to_vec();
            many.sort_by_key(|entry| entry.key_at);
            let title = format!("`{}` and `{}` exclude each other", many[0].key, many[1].key);
            let error = Diagnostic::new("E123", many[0].key_at, title);
            out.push(error.note("a route has one action").other(many[1].key_at));
            None
        }
    }
}

fn echo(node: &Node, out: &mut Diagnostics) -> Option<Action> {
    match node.value {
        Value::Bool(true) => Some(Action::Echo),
        _ => {
            out.push(wrong_type(node, "`true`").note("or leave `echo` out"));
            None
        }
    }
}

fn to(node: &Node, out: &mut Diagnostics) -> Option<Action> {
    match &node.value {
        Value::Text(text) => {
            let to = target(text, node.at, out)?;
            Some(Action::To(vec![Target { to, weight: 1, at: node.at }]))
        }
        Value::Table(table) if (1..=TARGETS_MAX).contains(&table.entries.len()) => {
            let one = |entry: &Entry| {
                let to = target(&entry.key, entry.key_at, out);
                let weight = share(&entry.node, out);
                Some(Target { to: to?, weight: weight?, at: entry.key_at })
            };
            let targets: Vec<Option<Target>> = table.entries.iter().map(one).collect();
            targets.into_iter().collect::<Option<Vec<_>>>().map(Action::To)
        }
        Value::Table(_) => {
            let error = Diagnostic::new("E128", node.at, "a split has 1 to 64 upstreams");
            out.push(error.note("such as { a = 95, b = 5 }"));
            None
        }
        _ => {
            out.push(wrong_type(node, "a name, a URL or a table of shares"));
            None
        }
    }
}

fn target(text: &str, at: At, out: &mut Diagnostics) -> Option<TargetName> {
    if text.contains("://") {
        return match address::url(text) {
            Ok((url, site)) => Some(TargetName::Url { url, site }),
            Err(error) => {
                out.push(fault("E124", at, error));
                None
            }
        };
    }
    if text.contains(':') {
        let fix = match text.starts_with("unix:") {
            true => "give it a table: [upstream.NAME] with endpoints".to_owned(),
            false => format!("write \"http://{text}\""),
        };
        out.push(Diagnostic::new("E124", at, "this is neither a name nor a URL").note(fix));
        return None;
    }
    Some(TargetName::Named(text.to_owned()))
}

fn share(node: &Node, out: &mut Diagnostics) -> Option<u32> {
    match node.value {
        Value::Integer(weight @ 1..=TARGET_WEIGHT_MAX) => Some(weight as u32),
        Value::Integer(_) => {
            let error = Diagnostic::new("E106", node.at, "this is out of its range");
            out.push(error.note("from 1 to 1000000; leave an upstream without a share out"));
            None
        }
        _ => {
            out.push(wrong_type(node, "a whole number"));
            None
        }
    }
}

fn redirect(node: &Node, params: Params<'_>, out: &mut Diagnostics) -> Option<Action> {
    let Value::Table(table) = &node.value else {
        let (text, at) = text_of(node, out)?;
        let to = template(text, at, params, Place::Uri, out)?;
        return Some(Action::Redirect { status: defaults::REDIRECT_STATUS, to });
    };
    let section = Section::open(table, node.at, keys::REDIRECT, out);
    let status = match section.node("status") {
        None => Some(defaults::REDIRECT_STATUS),
        Some(node) => match node.value {
            Value::Integer(status @ (301 | 302 | 303 | 307 | 308)) => Some(status as u16),
            _ => {
                let error = Diagnostic::new("E146", node.at, "this is no status of a redirect");
                out.push(error.note("301, 302, 303, 307 or 308"));
                None
            }
        },
    };
    let Some(node) = section.node("to") else {
        let error = Diagnostic::new("E107", section.at, "`to` is missing");
        out.push(error.note("such as to = \"https://{host}{path}\""));
        return None;
    };
    let (text, at) = text_of(node, out)?;
    let to = template(text, at, params, Place::Uri, out);
    Some(Action::Redirect { status: status?, to: to? })
}

fn respond(
    node: &Node,
    params: Params<'_>,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Option<Action> {
    let place = Place::Text;
    let plain = |status, content_type: &str, body| {
        let content_type = content_type.to_owned();
        Some(Action::Respond(Respond { status, content_type, body, place, headers: Vec::new() }))
    };
    match &node.value {
        Value::Integer(status @ 200..=599) => plain(*status as u16, "", Template::default()),
        Value::Integer(_) => {
            out.push(bad_status(node.at));
            None
        }
        Value::Text(text) => {
            let body = template(text, node.at, params, place, out)?;
            plain(defaults::RESPOND_STATUS, defaults::RESPOND_TYPE, body)
        }
        Value::Table(table) => {
            let section = Section::open(table, node.at, keys::RESPOND, out);
            respond_table(&section, params, outside, out).map(Action::Respond)
        }
        _ => {
            out.push(wrong_type(node, "a status, a text or a table"));
            None
        }
    }
}

fn bad_status(at: At) -> Diagnostic {
    Diagnostic::new("E146", at, "this is no status of an answer").note("from 200 to 599")
}

fn respond_table(
    section: &Section<'_>,
    params: Params<'_>,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Option<Respond> {
    let errors = out.errors();
    let status = match section.node("status") {
        Some(Node { value: Value::Integer(status @ 200..=599), .. }) => *status as u16,
        Some(node) => {
            out.push(bad_status(node.at));
            defaults::RESPOND_STATUS
        }
        None => defaults::RESPOND_STATUS,
    };
    let headers = fields(section.named("headers", out), params, false, out);
    if let Some(field) = headers.iter().find(|f| f.name.eq_ignore_ascii_case("content-type")) {
        let title = format!("`{}` is what `type` says", field.name);
        out.push(Diagnostic::new("E136", field.at, title).note("write type = \"…\""));
    }
    if let (Some(body), Some(file)) = (section.entry("body"), section.entry("file")) {
        let (first, second) = (body.key_at.min(file.key_at), body.key_at.max(file.key_at));
        let error = Diagnostic::new("E123", first, "`body` and `file` exclude each other");
        out.push(error.note("an answer has one body").other(second));
        return None;
    }
    let body_node = section.node("body").or_else(|| section.node("file"));
    if let (204 | 304, Some(node)) = (status, body_node) {
        let title = format!("an answer with status {status} has no body");
        out.push(Diagnostic::new("E146", node.at, title).note("remove it (RFC 9110 §6.4.1)"));
    }
    let written = section.text("type", out).inspect(|(text, at)| {
        if !is_media_type(text) {
            let error = Diagnostic::new("E135", *at, "this is no media type");
            out.push(error.note("such as \"text/html; charset=utf-8\""));
        }
    });
    let written = written.map(|(text, _)| text);
    let (content_type, place, body) = if let Some((path, at)) = section.text("file", out) {
        let content_type = written.unwrap_or_else(|| type_of(path));
        (content_type, Place::Text, file(path, at, outside, out))
    } else if let Some((text, at)) = section.text("body", out) {
        let content_type = written.unwrap_or(defaults::RESPOND_TYPE);
        let place = place_of(content_type);
        let body = template(text, at, params, place.unwrap_or(Place::Text), out);
        if place.is_none() && body.as_ref().is_some_and(|body| body.as_literal().is_none()) {
            let title = format!("variables can't be escaped for {content_type}");
            let error = Diagnostic::new("E139", at, title);
            out.push(error.note("they can in texts, HTML, XML and JSON"));
        }
        (content_type, place.unwrap_or(Place::Text), body)
    } else {
        (written.unwrap_or_default(), Place::Text, Some(Template::default()))
    };
    let content_type = content_type.to_owned();
    let respond = Respond { status, content_type, body: body?, place, headers };
    (out.errors() == errors).then_some(respond)
}

fn is_media_type(text: &str) -> bool {
    use parser::encode::{is_field_value, is_token};
    let essence = text.split(';').next().unwrap_or_default().trim_end();
    let parts = essence.split_once('/');
    is_field_value(text.as_bytes())
        && parts.is_some_and(|(a, b)| is_token(a.as_bytes()) && is_token(b.as_bytes()))
}

/// How variables are escaped in a body of this type.
fn place_of(content_type: &str) -> Option<Place> {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "text/plain" => Some(Place::Text),
        "text/html" | "text/xml" | "application/xml" => Some(Place::Html),
        "application/json" => Some(Place::Json),
        other if other.ends_with("+xml") => Some(Place::Html),
        other if other.ends_with("+json") => Some(Place::Json),
        _ => None,
    }
}

fn type_of(path: &str) -> &'static str {
    let ending = path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map(|(_, e)| e);
    match ending.unwrap_or_default().to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "txt" => "text/plain; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "xml" => "application/xml",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "ico" => "image/x-icon",
        _ => "application/octet-stream",
    }
}

fn file(path: &str, at: At, outside: &Outside<'_>, out: &mut Diagnostics) -> Option<Template> {
    match outside.read_named(path, at, FILE_BYTES_MAX) {
        Ok(content) => Some(Template::literal(content.bytes)),
        Err(note) => {
            let error = Diagnostic::new("E114", at, format!("\"{path}\" can't be read"));
            out.push(error.note(note));
            None
        }
    }
}
