//! What a route does: `to`, `respond`, `redirect`, `echo`.

use std::path::Path;

use super::diagnostic::Place;
use super::model::{self, TableModel};
use super::reader::{Found, Reader, text_of, wrong};
use super::routes::{edit_name, field_value, template};
use super::tree::{At, Value};
use crate::action::{Redirect, Respond};
use crate::http::template::Template;

/// Largest file that `respond` serves from memory.
const RESPOND_FILE_MAX: u64 = 1 << 20;

/// An action whose upstreams are still names.
pub enum ActionModel {
    /// Name or URL, and weight.
    To(Vec<(At<String>, u32)>),
    Respond(Respond),
    Redirect(Redirect),
    Echo,
}

const ACTIONS: [&str; 4] = ["to", "respond", "redirect", "echo"];

/// The one action of a route; none or several are a mistake.
pub fn action(
    name: &str,
    r: &Reader<'_>,
    params: &[&str],
    base_dir: Option<&Path>,
    found: Found<'_>,
) -> Option<ActionModel> {
    let given: Vec<&str> = ACTIONS.into_iter().filter(|a| r.raw(a).is_some()).collect();
    match given.as_slice() {
        [] => {
            let later = ["compose", "batch"].iter().any(|a| r.raw(a).is_some());
            if !later {
                let hint = "add `to`, `respond`, `redirect` or `echo`".to_owned();
                found.push("E105", r.place, format!("route `{name}` does nothing"), hint);
            }
            None
        }
        ["to"] => to(r.raw("to")?, found).map(ActionModel::To),
        ["respond"] => {
            respond(r.raw("respond")?, params, base_dir, found).map(ActionModel::Respond)
        }
        ["redirect"] => redirect(r.raw("redirect")?, params, found).map(ActionModel::Redirect),
        [_] => match r.flag("echo", found)? {
            true => Some(ActionModel::Echo),
            false => {
                let hint = "leave it out".to_owned();
                found.push("E103", r.key_place("echo"), "`echo` can only be true".to_owned(), hint);
                None
            }
        },
        [first, second, ..] => {
            let message = format!("route `{name}` has both `{first}` and `{second}`");
            found.push("E106", r.key_place(second), message, "keep one of them".to_owned());
            None
        }
    }
}

fn to(at: &At<Value>, found: Found<'_>) -> Option<Vec<(At<String>, u32)>> {
    let own = |value: &str, place: Place| At { value: value.to_owned(), place };
    match &at.value {
        Value::Text(text) => Some(vec![(own(text, at.place), 1)]),
        Value::Table(table) if !table.entries.is_empty() => {
            let mut targets = Vec::new();
            for (name, weight) in &table.entries {
                match weight.value {
                    Value::Integer(n @ 0..=1_000_000) => {
                        targets.push((own(&name.value, name.place), n as u32));
                    }
                    Value::Integer(_) => {
                        let message = "a weight is out of its range".to_owned();
                        found.push("E103", weight.place, message, "0 to 1000000".to_owned());
                    }
                    _ => _ = wrong::<()>(weight, "a weight, a number", found),
                }
            }
            if targets.iter().all(|t| t.1 == 0) {
                let message = "all weights are 0".to_owned();
                found.push("E103", at.place, message, "give one a weight".to_owned());
                return None;
            }
            Some(targets)
        }
        _ => wrong(at, "an upstream's name, a URL or a table of weights", found),
    }
}

const fn word(name: &'static str) -> model::Key {
    model::Key { name, kind: "", default: "", doc: "" }
}

const RESPOND: TableModel = TableModel {
    title: "respond",
    doc: "",
    keys: &[word("status"), word("body"), word("file"), word("type"), word("headers")],
    later: &[],
};

fn respond(
    at: &At<Value>,
    params: &[&str],
    base_dir: Option<&Path>,
    found: Found<'_>,
) -> Option<Respond> {
    let plain = |status, body: Template, text: bool| Respond {
        status,
        content_type: if text { "text/plain; charset=utf-8".into() } else { "".into() },
        body,
        headers: Box::default(),
    };
    let table = match &at.value {
        Value::Table(table) => table,
        Value::Integer(n) => {
            return Some(plain(status(*n, at.place, found)?, Template::default(), false));
        }
        Value::Text(text) => {
            let body = template(&At { value: text, place: at.place }, params, found)?;
            return Some(plain(200, body, true));
        }
        _ => return wrong(at, "a text, a status or a table", found),
    };
    let r = Reader::new(table, at.place, &RESPOND, found);
    let code = match r.raw("status") {
        Some(At { value: Value::Integer(n), place }) => status(*n, *place, found)?,
        Some(other) => return wrong(other, "a status, a number", found),
        None => 200,
    };
    if r.raw("body").is_some() && r.raw("file").is_some() {
        let message = "`respond` has both `body` and `file`".to_owned();
        found.push("E106", r.key_place("file"), message, "keep one of them".to_owned());
        return None;
    }
    let mut content_type = "text/plain; charset=utf-8";
    let body = match (r.text("body", found), r.text("file", found)) {
        (Some(text), _) => template(&text, params, found)?,
        (None, Some(file)) => {
            content_type = type_of(file.value);
            read_file(&file, base_dir, found)?
        }
        (None, None) => Template::default(),
    };
    if let Some(text) = r.text("type", found) {
        if !parser::encode::is_field_value(text.value.as_bytes()) || text.value.is_empty() {
            let message = "this is not a media type".to_owned();
            found.push("E115", text.place, message, "as \"text/html\"".to_owned());
        }
        content_type = text.value;
    }
    if !crate::http::reply::has_body(code) && body.as_text() != Some(b"") {
        let message = format!("a {code} has no body");
        found.push("E106", at.place, message, "leave the body out".to_owned());
    }
    let mut headers = Vec::new();
    for (name, value) in r.table("headers", found).map_or(&[][..], |(t, _)| &t.entries) {
        let name = At { value: name.value.as_str(), place: name.place };
        let value = text_of(value, found);
        if let (Some(name), Some(value)) = (edit_name(&name, found), value)
            && let Some(value) = field_value(&value, params, found)
        {
            headers.push((name.text, value));
        }
    }
    Some(Respond { status: code, content_type: content_type.into(), body, headers: headers.into() })
}

fn status(n: i64, place: Place, found: Found<'_>) -> Option<u16> {
    if (200..=599).contains(&n) {
        return Some(n as u16);
    }
    found.push("E103", place, format!("{n} is not a final status"), "200 to 599".to_owned());
    None
}

fn read_file(file: &At<&str>, base_dir: Option<&Path>, found: Found<'_>) -> Option<Template> {
    let path = base_dir.unwrap_or(Path::new("")).join(file.value);
    let read = std::fs::metadata(&path).and_then(|m| {
        if m.len() > RESPOND_FILE_MAX {
            return Err(std::io::Error::other("it is larger than 1 MiB"));
        }
        std::fs::read(&path)
    });
    match read {
        Ok(bytes) => {
            let part = crate::http::template::Part::Text(bytes.into());
            Some(Template { parts: Box::new([part]) })
        }
        Err(e) => {
            let message = format!("{} can't be read", path.display());
            found.push("E116", file.place, message, e.to_string());
            None
        }
    }
}

fn type_of(file: &str) -> &'static str {
    match file.rsplit('.').next() {
        Some("html" | "htm") => "text/html; charset=utf-8",
        Some("json") => "application/json",
        Some("css") => "text/css",
        Some("js") => "text/javascript",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        _ => "text/plain; charset=utf-8",
    }
}

const REDIRECT: TableModel =
    TableModel { title: "redirect", doc: "", keys: &[word("to"), word("status")], later: &[] };

fn redirect(at: &At<Value>, params: &[&str], found: Found<'_>) -> Option<Redirect> {
    let (text, status) = match &at.value {
        Value::Text(text) => (At { value: text.as_str(), place: at.place }, 308),
        Value::Table(table) => {
            let r = Reader::new(table, at.place, &REDIRECT, found);
            let status = r.count("status", (300, 399), found).unwrap_or(308) as u16;
            if ![301, 302, 303, 307, 308].contains(&status) {
                let message = format!("{status} is not a redirect with a Location");
                let hint = "301, 302, 303, 307 or 308".to_owned();
                found.push("E103", r.key_place("status"), message, hint);
            }
            let Some(text) = r.text("to", found) else {
                if r.raw("to").is_none() {
                    let hint = "add to = \"https://{host}/…\"".to_owned();
                    found.push("E105", at.place, "a redirect has no target".to_owned(), hint);
                }
                return None;
            };
            (text, status)
        }
        _ => return wrong(at, "a URL or a table", found),
    };
    Some(Redirect { status, to: field_value(&text, params, found)? })
}
