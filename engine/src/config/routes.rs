//! `[route.NAME]`: matching and settings; the action is read in `actions`.

use super::actions::{self, ActionModel};
use super::diagnostic::Place;
use super::model::{self, TableModel, default};
use super::reader::{Found, Reader, table_of};
use super::tree::{At, Table, Value};
use crate::http::edit::{Edit, EditName, Edits, HeaderEdits};
use crate::http::template::{Template, TemplateErrorKind};
use crate::router::{PatternError, Rule, ValuePattern, check_pattern};
use parser::FieldId;

/// A route as it was read, before names are looked up.
pub struct RouteModel {
    pub name: String,
    pub place: Place,
    pub rule: Rule,
    pub path_place: Place,
    pub listeners: Option<Vec<At<String>>>,
    pub action: Option<ActionModel>,
    pub headers: Option<HeaderEdits>,
    pub settings: Settings,
}

/// What replaces defaults.
pub struct Settings {
    pub timeout: Option<std::time::Duration>,
    pub deadline: Option<std::time::Duration>,
    pub body_timeout: Option<std::time::Duration>,
    pub body_limit: Option<u64>,
    pub body_rate_min: Option<u64>,
    pub tunnel_timeout: Option<std::time::Duration>,
    pub upgrade: Vec<String>,
    pub encoded_slash_keep: bool,
    pub slashes_keep: bool,
    pub slash_redirect: bool,
}

pub fn routes(
    tables: Option<&At<Value>>,
    base_dir: Option<&std::path::Path>,
    found: Found<'_>,
) -> Vec<RouteModel> {
    let Some((tables, _)) = tables.and_then(|at| table_of(at, found)) else { return Vec::new() };
    let mut list = Vec::new();
    for (name, at) in &tables.entries {
        if let Some((table, _)) = table_of(at, found) {
            list.push(route(&name.value, table, name.place, base_dir, found));
        }
    }
    list
}

fn route(
    name: &str,
    table: &Table,
    place: Place,
    base_dir: Option<&std::path::Path>,
    found: Found<'_>,
) -> RouteModel {
    let r = Reader::new(table, place, &model::ROUTE, found);
    let path = r.text("path", found);
    let path_place = path.as_ref().map_or(place, |p| p.place);
    let path = path.map_or("/*", |p| p.value);
    let params: Vec<String> = match check_pattern(path) {
        Ok(names) => names.into_iter().map(str::to_owned).collect(),
        Err((reason, at)) => {
            let at = path_place.start + 1 + at as u32; // behind the quote
            let place = Place { start: at.min(path_place.end), ..path_place };
            found.push(
                "E110",
                place,
                format!("\"{path}\" is not a pattern"),
                pattern_hint(reason).to_owned(),
            );
            Vec::new()
        }
    };
    let params: Vec<&str> = params.iter().map(String::as_str).collect();
    let (headers, query) = when(&r, found);
    let rule = Rule {
        route: None,
        name: name.to_owned(),
        hosts: hosts(&r, found),
        path: path.to_owned(),
        methods: methods(&r, found),
        headers,
        query,
    };
    let listeners = r.texts("listener", found);
    let own = |at: At<&str>| At { value: at.value.to_owned(), place: at.place };
    RouteModel {
        name: name.to_owned(),
        place,
        rule,
        path_place,
        listeners: listeners.map(|l| l.into_iter().map(own).collect()),
        action: actions::action(name, &r, &params, base_dir, found),
        headers: headers_edits(&r, &params, found),
        settings: settings(&r, found),
    }
}

fn pattern_hint(reason: PatternError) -> &'static str {
    match reason {
        PatternError::NoLeadingSlash => "a path begins with `/`",
        PatternError::TooLong => "it is too long",
        PatternError::EmptySegment => "`//` does not occur in canonical paths",
        PatternError::DotSegment => "canonical paths have no `.` and `..`",
        PatternError::BadByte => "write this byte as an escape, `%20` say",
        PatternError::BadEscape => "two upper-case hex digits, and not of a plain character",
        PatternError::MixedSegment => "a segment is a text, `{name}`, `{*rest}` or `*`",
        PatternError::BadName => "a name is letters, digits, `_` and `-`",
        PatternError::DuplicateName => "this name stands in it twice",
        PatternError::RestNotLast => "`*` and `{*rest}` end a pattern",
        PatternError::TooManyParams => "that is more parameters than a path may have",
    }
}

fn settings(r: &Reader<'_>, found: Found<'_>) -> Settings {
    let upgrade = r
        .texts("upgrade", found)
        .map(|names| names.iter().map(|n| n.value.to_ascii_lowercase()).collect::<Vec<_>>());
    let mut is = |key, word| r.choice(key, &[word], found).is_some();
    let (encoded_slash_keep, slashes_keep) = (is("encoded_slash", "keep"), is("slashes", "keep"));
    let slash_redirect = is("slash", "redirect");
    Settings {
        timeout: r.time_or_none("timeout", Some(default::TIMEOUT), found),
        deadline: r.time_or_none("deadline", None, found),
        body_timeout: r.time_or_none("body_timeout", Some(default::BODY_TIMEOUT), found),
        body_limit: r.size_or_none("body_limit", default::BODY_LIMIT, found),
        body_rate_min: r.rate_or_none("body_rate_min", default::BODY_RATE_MIN, found),
        tunnel_timeout: r.time_or_none("tunnel_timeout", Some(default::TUNNEL_TIMEOUT), found),
        upgrade: upgrade.unwrap_or_else(|| vec!["websocket".to_owned()]),
        encoded_slash_keep,
        slashes_keep,
        slash_redirect,
    }
}

fn hosts(r: &Reader<'_>, found: Found<'_>) -> Vec<String> {
    let mut hosts = Vec::new();
    for host in r.texts("host", found).unwrap_or_default() {
        let lower = host.value.to_ascii_lowercase();
        let name = lower.strip_prefix("*.").unwrap_or(&lower);
        let checked = parser::target::check_authority(name.as_bytes());
        if name.contains('*') || !matches!(checked, Ok((_, None))) {
            let hint = "as \"shop.example\" or \"*.example\", without a port".to_owned();
            let message = format!("\"{}\" is not a host", host.value);
            found.push("E111", host.place, message, hint);
            continue;
        }
        hosts.push(lower.strip_suffix('.').unwrap_or(&lower).to_owned());
    }
    hosts
}

fn methods(r: &Reader<'_>, found: Found<'_>) -> Vec<String> {
    let mut methods = Vec::new();
    for method in r.texts("methods", found).unwrap_or_default() {
        let is_lower = method.value.bytes().any(|b| b.is_ascii_lowercase());
        if !parser::encode::is_token(method.value.as_bytes()) || is_lower {
            let hint = "methods are upper case, as \"GET\"".to_owned();
            let message = format!("\"{}\" is not a method", method.value);
            found.push("E103", method.place, message, hint);
        } else if matches!(method.value, "CONNECT" | "TRACE") {
            let hint = "CONNECT and TRACE are always answered with 405".to_owned();
            let message = format!("{} is not routed", method.value);
            found.push("E103", method.place, message, hint);
        } else {
            methods.push(method.value.to_owned());
        }
    }
    methods
}

type Conditions = Vec<(String, ValuePattern)>;

const WHEN: TableModel = TableModel {
    title: "when",
    doc: "",
    keys: &[
        model::Key { name: "headers", kind: "", default: "", doc: "" },
        model::Key { name: "query", kind: "", default: "", doc: "" },
    ],
    later: &[],
};

fn when(r: &Reader<'_>, found: Found<'_>) -> (Conditions, Conditions) {
    let Some((table, place)) = r.table("when", found) else { return Default::default() };
    let r = Reader::new(table, place, &WHEN, found);
    let mut both = ["headers", "query"].map(|key| {
        let mut conditions = Vec::new();
        let Some((table, _)) = r.table(key, found) else { return conditions };
        for (name, value) in &table.entries {
            let Some(text) = super::reader::text_of(value, found) else { continue };
            if key == "headers" && !parser::encode::is_token(name.value.as_bytes()) {
                let message = format!("\"{}\" is not a header name", name.value);
                found.push("E115", name.place, message, String::new());
            }
            let pattern = match text.value.strip_suffix('*') {
                Some("") => ValuePattern::Present,
                Some(start) => ValuePattern::Prefix(start.to_owned()),
                None => ValuePattern::Exact(text.value.to_owned()),
            };
            let name =
                if key == "headers" { name.value.to_ascii_lowercase() } else { name.value.clone() };
            conditions.push((name, pattern));
        }
        conditions
    });
    (std::mem::take(&mut both[0]), std::mem::take(&mut both[1]))
}

const HEADERS: TableModel = TableModel {
    title: "headers",
    doc: "",
    keys: &[
        model::Key { name: "request", kind: "", default: "", doc: "" },
        model::Key { name: "response", kind: "", default: "", doc: "" },
    ],
    later: &[],
};
const EDITS: TableModel = TableModel {
    title: "header changes",
    doc: "",
    keys: &[
        model::Key { name: "set", kind: "", default: "", doc: "" },
        model::Key { name: "add", kind: "", default: "", doc: "" },
        model::Key { name: "remove", kind: "", default: "", doc: "" },
    ],
    later: &[],
};

fn headers_edits(r: &Reader<'_>, params: &[&str], found: Found<'_>) -> Option<HeaderEdits> {
    let (table, place) = r.table("headers", found)?;
    let r = Reader::new(table, place, &HEADERS, found);
    let mut side = |key| {
        let Some((table, place)) = r.table(key, found) else { return Edits::default() };
        let r = Reader::new(table, place, &EDITS, found);
        let remove = r.texts("remove", found).unwrap_or_default();
        Edits {
            set: edits(&r, "set", params, found),
            add: edits(&r, "add", params, found),
            remove: remove.iter().filter_map(|n| edit_name(n, found)).collect(),
        }
    };
    Some(HeaderEdits { request: side("request"), response: side("response") })
}

fn edits(r: &Reader<'_>, key: &str, params: &[&str], found: Found<'_>) -> Box<[Edit]> {
    let Some((table, _)) = r.table(key, found) else { return Box::default() };
    let mut list = Vec::new();
    for (name, value) in &table.entries {
        let name = At { value: name.value.as_str(), place: name.place };
        let value = super::reader::text_of(value, found);
        let (Some(name), Some(value)) = (edit_name(&name, found), value) else { continue };
        if let Some(value) = field_value(&value, params, found) {
            list.push(Edit { name, value });
        }
    }
    list.into()
}

/// A template whose fixed parts may stand in a field.
pub fn field_value(text: &At<&str>, params: &[&str], found: Found<'_>) -> Option<Template> {
    if !parser::encode::is_field_value(text.value.as_bytes()) {
        let message = "this can't stand in a header".to_owned();
        found.push("E115", text.place, message, "no line breaks or control characters".to_owned());
        return None;
    }
    template(text, params, found)
}

pub fn edit_name(name: &At<&str>, found: Found<'_>) -> Option<EditName> {
    use FieldId as F;
    if !parser::encode::is_token(name.value.as_bytes()) {
        let message = format!("\"{}\" is not a header name", name.value);
        found.push("E115", name.place, message, String::new());
        return None;
    }
    let known = FieldId::KNOWN.iter().find(|(_, n)| n.eq_ignore_ascii_case(name.value));
    let id = known.map_or(F::Other, |(id, _)| *id);
    let owned = matches!(id, F::Host | F::ContentLength | F::TransferEncoding | F::Trailer)
        || parser::connection::is_hop_by_hop(id);
    if owned {
        let hint = match id {
            F::Host => "say `host` on the upstream",
            _ => "Busbar writes it itself",
        };
        let message = format!("`{}` can't be changed here", name.value);
        found.push("E115", name.place, message, hint.to_owned());
        return None;
    }
    Some(EditName { id, text: name.value.into() })
}

/// Reads a template, its mistakes at their places.
pub fn template(text: &At<&str>, params: &[&str], found: Found<'_>) -> Option<Template> {
    match Template::parse(text.value, params) {
        Ok(template) => Some(template),
        Err(e) => {
            let (code, hint) = match e.kind {
                TemplateErrorKind::Unbalanced => {
                    ("E113", "write `{{` or `}}` for a brace".to_owned())
                }
                TemplateErrorKind::Unknown(Some(near)) => {
                    ("E113", format!("did you mean `{{{near}}}`?"))
                }
                TemplateErrorKind::Unknown(None) => {
                    ("E113", "no variable has this name".to_owned())
                }
                TemplateErrorKind::NotYet => {
                    ("E190", "this build does not know this variable yet".to_owned())
                }
            };
            let what = text.value.get(e.at..e.at + e.len).unwrap_or_default();
            found.push(code, text.place, format!("`{what}` is not a variable"), hint);
            None
        }
    }
}
