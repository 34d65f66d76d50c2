//! Tree → model: routes and groups, and the paths that their prefixes make.

use std::collections::BTreeMap;

use super::diagnostic::{At, Diagnostic, Diagnostics};
use super::files::Outside;
use super::keys::KeyId;
use super::model::{Chain, Group, Route, Spot};
use super::reader::Section;
use super::source::inside;
use super::{action, layer};
use crate::http::template::RESERVED;
use crate::router::{PatternError, check_pattern};

/// The chains that routes can be part of: `[all]` alone, then one of each group.
pub(super) struct Groups<'m> {
    pub(super) chains: &'m [Chain],
    pub(super) by_name: BTreeMap<&'m str, usize>,
}

pub(super) fn read(
    name: &str,
    section: &Section<'_>,
    groups: &Groups<'_>,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Route {
    let errors = out.errors();
    let group = group(section, out);
    let chain = match &group {
        None => Some(0),
        Some(group) => find(group, groups, out),
    };
    let prefix = &groups.chains[chain.unwrap_or(0)].prefix;
    let path = path(section, prefix, out);
    let params = path.as_ref().and_then(|path| check_pattern(&path.value).ok()).unwrap_or_default();
    // The path may have more params than we know.
    let params = chain.and(path.as_ref()).map(|_| params.as_slice());
    let is_unsure = out.errors() > errors || chain.is_none();
    let layer = layer::read(section, params, outside, out);
    let without = layer::without(section, out);
    let chain = chain.unwrap_or(0);
    let own = |key: KeyId| !key.is_inherited() && !matches!(key.key().name, "group" | "without");
    let keys = section.entries().iter().filter_map(|entry| {
        let key = KeyId::of(&entry.key).filter(|key| own(*key))?;
        Some((key, entry.key_at))
    });
    let default = || Spot { value: "/*".to_owned(), at: section.at };
    Route {
        name: name.to_owned(),
        at: section.at,
        chain,
        is_unsure: is_unsure || layer.is_unsure || groups.chains[chain].is_unsure,
        action: action::read(section, params, outside, out),
        keys: keys.collect(),
        path: path.unwrap_or_else(default),
        layer: super::model::Layer { without, ..layer },
    }
}

fn group(section: &Section<'_>, out: &mut Diagnostics) -> Option<Spot<String>> {
    let (text, at) = section.text("group", out)?;
    Some(Spot { value: text.to_owned(), at })
}

fn find(group: &Spot<String>, groups: &Groups<'_>, out: &mut Diagnostics) -> Option<usize> {
    let found = groups.by_name.get(group.value.as_str()).copied();
    if found.is_none() {
        let names = groups.by_name.keys().copied();
        unknown_group(group, names, out);
    }
    found
}

/// Reports that there is no such group, unless it may stand in a broken part of the file.
pub(super) fn unknown_group<'a>(
    group: &Spot<String>,
    names: impl Iterator<Item = &'a str>,
    out: &mut Diagnostics,
) {
    if out.is_torn() {
        return;
    }
    let title = format!("no group is called `{}`", group.value);
    let error = Diagnostic::new("E141", group.at, title);
    let near = out.closest(&group.value, names);
    out.push(match near {
        Some(near) => error.note(format!("did you mean `{near}`?")),
        None => error.note(format!("give it a table [group.{}]", group.value)),
    });
}

pub(super) fn read_group(
    name: &str,
    section: &Section<'_>,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Group {
    let without = layer::without(section, out);
    let layer = layer::read(section, None, outside, out);
    let errors = out.errors();
    let prefix = prefix(section, out);
    let is_unsure = layer.is_unsure || out.errors() > errors;
    Group {
        name: name.to_owned(),
        at: section.at,
        parent: group(section, out),
        prefix,
        layer: super::model::Layer { without, is_unsure, ..layer },
    }
}

/// What stands before the paths of routes.
pub(super) fn prefix(section: &Section<'_>, out: &mut Diagnostics) -> Option<Spot<String>> {
    let (text, at) = section.text("prefix", out)?;
    let error = match check_pattern(text) {
        Err((reason, byte)) => pattern_error(reason, text, spot(out, at, text, byte)),
        Ok(_) if text.contains('*') => {
            Diagnostic::new("E130", at, "a prefix has no `*`").note("paths have")
        }
        Ok(_) if text.ends_with('/') => {
            let fix = text.trim_end_matches('/');
            let error = Diagnostic::new("E130", at, "a prefix ends without `/`");
            match fix {
                "" => error.note("leave it out"),
                fix => error.note(format!("write \"{fix}\"; paths begin with one")),
            }
        }
        Ok(names) => {
            reserved(&names, text, at, out);
            return Some(Spot { value: text.to_owned(), at });
        }
    };
    out.push(error);
    None
}

/// The whole path. `None` was reported.
fn path(section: &Section<'_>, prefix: &str, out: &mut Diagnostics) -> Option<Spot<String>> {
    let node = section.node("path");
    let (text, at) = match node {
        Some(_) => section.text("path", out)?,
        None => ("/*", section.at),
    };
    let whole = format!("{prefix}{text}");
    let (reason, _) = match check_pattern(&whole) {
        Ok(names) => {
            if node.is_some() {
                reserved(&names, text, at, out);
            }
            return Some(Spot { value: whole, at });
        }
        Err(error) => error,
    };
    out.push(match check_pattern(text) {
        Err((reason, byte)) => pattern_error(reason, text, spot(out, at, text, byte)),
        Ok(_) => pattern_error(reason, text, at)
            .help(format!("with the prefixes of its groups it is {whole}")),
    });
    None
}

fn spot(out: &Diagnostics, at: At, text: &str, byte: usize) -> At {
    let start = text.floor_char_boundary(byte.min(text.len()));
    let width = text[start..].chars().next().map_or(0, char::len_utf8);
    inside(out, at, text, start..start + width)
}

fn reserved(names: &[&str], text: &str, at: At, out: &mut Diagnostics) {
    for name in names.iter().filter(|name| RESERVED.contains(name)) {
        let Some(start) = text.find(&format!("{name}}}")) else { continue };
        let spot = inside(out, at, text, start..start + name.len());
        let title = format!("a parameter can't be called `{name}`");
        out.push(Diagnostic::new("E130", spot, title).note("{…} has this meaning already"));
    }
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
