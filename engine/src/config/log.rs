//! Tree → model: `[log]`.

use super::diagnostic::{At, Diagnostic, Diagnostics};
use super::files::Outside;
use super::keys;
use super::reader::Section;
use crate::log::format::{Field, Format};
use crate::snapshot::{AccessLog, LogTo, SHARE_WHOLE};

pub(super) fn read(
    section: &Section<'_>,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Option<AccessLog> {
    let access = section.section("access", keys::LOG_ACCESS, out)?;
    let to = match access.text("to", out) {
        None if access.entry("to").is_none() => LogTo::Stdout,
        None => return None,
        Some(("stdout", _)) => LogTo::Stdout,
        Some(("stderr", _)) => LogTo::Stderr,
        Some(("", at)) => {
            let error = Diagnostic::new("E107", at, "`to` is empty");
            out.push(error.note("a file, \"stdout\" or \"stderr\""));
            return None;
        }
        Some((path, at)) => {
            let folder = outside.origin(at.source).folder.unwrap_or_default();
            LogTo::File(folder.join(path))
        }
    };
    let fields = fields(&access, out);
    let has_query = fields.as_ref().is_some_and(|fields| fields.contains(&Field::Query));
    let format = match access.word("format", out) {
        Some("combined") => Format::Combined { query: has_query },
        Some("short") => Format::Short { colour: false },
        _ => Format::Json(fields.map(|list| list.into_iter().collect()).unwrap_or_default()),
    };
    let errors = access.bool("errors", out).unwrap_or_default();
    let slower_than = access.time("slower_than", out);
    let all = if errors || slower_than.is_some() { 0 } else { SHARE_WHOLE };
    let sample = access.text("sample", out).and_then(|(text, at)| share(text, at, out));
    Some(AccessLog { to, format, errors, slower_than, sample: sample.unwrap_or(all) })
}

fn fields(access: &Section<'_>, out: &mut Diagnostics) -> Option<Vec<Field>> {
    let names = access.texts("fields", false, out)?;
    let mut fields = Vec::new();
    for name in names {
        if let Some(field) = Field::ALL.iter().find(|field| field.name() == name.value) {
            fields.push(*field);
            continue;
        }
        let near = out.closest(name.value, Field::NAMES.iter().copied());
        let title = format!("`{}` is no field of a log line", name.value);
        let error = Diagnostic::new("E103", name.at, title);
        out.push(match near {
            Some(near) => error.note(format!("did you mean \"{near}\"?")),
            None => error.note(format!("there are {}", Field::NAMES.join(", "))),
        });
    }
    Some(fields)
}

/// `"1%"`, `"0.1%"`.
fn share(text: &str, at: At, out: &mut Diagnostics) -> Option<u32> {
    let number = text.strip_suffix('%').and_then(|number| {
        let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        number.parse::<f64>().ok().filter(|_| plain)
    });
    let error = match number {
        Some(percent) if percent <= 100.0 => {
            return Some((percent * f64::from(SHARE_WHOLE) / 100.0).round() as u32);
        }
        Some(_) => Diagnostic::new("E106", at, "this is out of its range").note("at most \"100%\""),
        None => Diagnostic::new("E105", at, format!("\"{text}\" is no share"))
            .note("such as \"1%\" or \"0.1%\""),
    };
    out.push(error);
    None
}
