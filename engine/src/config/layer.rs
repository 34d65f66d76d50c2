//! Tree → model: what `[all]`, a group or a route says of the keys that all three have.

use parser::Method;
use parser::encode::{is_field_value, is_token};

use super::address::{self, Fault};
use super::diagnostic::{Diagnostic, Diagnostics};
use super::fields::{self, Params};
use super::files::Outside;
use super::guards;
use super::keys::{self, Key, KeyId, Kind, known};
use super::model::{Layer, Said, Setting, Spot, When};
use super::reader::{Section, not_yet, text_of};
use super::source::Entry;
use crate::router::ValuePattern;

/// Reads each key of [`keys::LAYER`] that is there, by its kind.
pub(super) fn read(
    section: &Section<'_>,
    params: Params<'_>,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Layer {
    let mut layer = Layer::default();
    for entry in section.entries() {
        let key = KeyId::of(&entry.key);
        layer.has_unknown |= key.is_none() && entry.key != "prefix";
        let Some(key) = key.filter(|key| key.is_inherited()) else { continue };
        let errors = out.errors();
        let value = setting(section, key.key(), params, outside, out);
        layer.said.extend(value.map(|value| Said { key, at: entry.key_at, value }));
        let tells_apart = [known::HOST, known::METHODS, known::WHEN, known::LISTENER];
        layer.is_unsure |= out.errors() > errors && tells_apart.contains(&key);
    }
    layer.said.sort_unstable_by_key(|said| said.key);
    layer
}

/// `None` was reported.
fn setting(
    section: &Section<'_>,
    key: &Key,
    params: Params<'_>,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Option<Setting> {
    let name = key.name;
    match key.kind {
        Kind::Time { .. } => section.time_or_none(name, out).map(Setting::Time),
        Kind::Size { .. } => section.size_or_none(name, out).map(Setting::Bytes),
        Kind::ByteRate { .. } => section.byte_rate(name, out).map(Setting::Bytes),
        Kind::Words(_) => section.word(name, out).map(Setting::Word),
        _ => match name {
            "host" => {
                let hosts = section.texts(name, false, out)?;
                Some(Setting::Names(hosts.iter().filter_map(|spot| host(spot, out)).collect()))
            }
            "methods" => {
                let methods = section.texts(name, false, out)?;
                Some(Setting::Names(methods.iter().filter_map(|spot| method(spot, out)).collect()))
            }
            "when" => when(section, out).map(Setting::When),
            "listener" => {
                let names = section.texts(name, false, out)?.into_iter();
                let owned = names.map(|s| Spot { value: s.value.to_owned(), at: s.at });
                Some(Setting::Listeners(owned.collect()))
            }
            "auth" => guards::auth(section, out),
            "allow" => guards::allow(section, out),
            "ip" => guards::ip(section, outside, out).map(Setting::Ip),
            "cors" => guards::cors(section, out),
            "rate_limit" => {
                guards::rate_limits(section, keys::RATE_LIMIT, out).map(Setting::RateLimits)
            }
            "concurrency" => {
                guards::concurrency(section, keys::CONCURRENCY, out).map(Setting::Concurrency)
            }
            "headers" => {
                let headers = fields::headers(section, params, out)?;
                Some(Setting::Headers(Box::new(headers)))
            }
            "rewrite" => {
                let rewrite = fields::rewrite(section, params, out)?;
                Some(Setting::Rewrite(Box::new(rewrite)))
            }
            "upgrade" => upgrade(section, out).map(Setting::Names),
            _ => None,
        },
    }
}

/// The keys that `without` names. Whether there is anything to take away shows later.
pub(super) fn without(section: &Section<'_>, out: &mut Diagnostics) -> Vec<Spot<KeyId>> {
    let names = section.texts("without", false, out).unwrap_or_default();
    let mut keys = Vec::new();
    for Spot { value, at } in names {
        match KeyId::of(value).filter(|key| key.is_inherited()) {
            Some(key) if key.key().kind == Kind::Later => out.push(not_yet(at, value)),
            Some(key) => keys.push(Spot { value: key, at }),
            None => {
                let known = keys::LAYER.iter().filter(|key| key.kind != Kind::Later);
                let near = out.closest(value, known.map(|key| key.name));
                let error = Diagnostic::new("E143", at, format!("`{value}` can't be taken away"));
                out.push(match near {
                    Some(near) => error.note(format!("did you mean \"{near}\"?")),
                    None => error.note("name keys that `[all]` or a group says"),
                });
            }
        }
    }
    keys
}

fn when(section: &Section<'_>, out: &mut Diagnostics) -> Option<When> {
    let when = section.section("when", keys::WHEN, out)?;
    let mut conditions = |key: &str| {
        let entries = when.named(key, out).iter();
        entries.filter_map(|entry| condition(entry, key == "headers", out)).collect()
    };
    Some(When { headers: conditions("headers"), query: conditions("query") })
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
