//! Values that prove something: given by a reference, shown to nobody.

use super::diagnostic::{At, Diagnostic, Diagnostics};
use super::files::Outside;
use super::keys::{self, Kind};
use super::reader::Section;
use super::source::{Node, Table, Value, at_of};
use crate::secret::Secret;

/// Longest secret from a file: keys and certificates are shorter by far.
const SECRET_BYTES_MAX: u64 = 64 << 10;
/// What people beside the owner and the group may do with a file of secrets: nothing; and the
/// group does not write it.
const MODE_TOO_WIDE: u32 = 0o027;
/// Folder of the secrets that systemd hands over (systemd.exec(5), `LoadCredential=`).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// How a secret is given. What a variable holds is never taken for a reference.
enum Given<'a> {
    /// All of it, or as the default of a variable.
    Literal,
    Variable,
    /// Beside a text that is a part of the secret.
    VariableAndText,
    File(&'a str),
    Credential(&'a str),
}

/// The secret of a key of that kind. `None` was reported, or is not there.
pub(super) fn read(
    section: &Section<'_>,
    name: &str,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Option<Secret> {
    let note = "write \"${NAME}\", \"file:/path\" or \"credential:NAME\"";
    read_node(section.node(name)?, outside, note, out)
}

/// As `read`. `note` says what to write in place of the secret itself.
pub(super) fn read_node(
    node: &Node,
    outside: &Outside<'_>,
    note: &str,
    out: &mut Diagnostics,
) -> Option<Secret> {
    let Value::Text(text) = &node.value else {
        let error = Diagnostic::new("E102", node.at, "a text is wanted here");
        out.push(error.note("a secret stands in quotes"));
        return None;
    };
    let bytes = match given(node.at, text, out) {
        Given::File(path) => {
            from_file(outside.read_named(path, node.at, SECRET_BYTES_MAX), node, out)
        }
        Given::Credential(name) => match (outside.env)(CREDENTIALS) {
            Some(folder) if is_plain_name(name) => {
                let path = std::path::Path::new(&folder).join(name);
                from_file(outside.read(path, SECRET_BYTES_MAX), node, out)
            }
            Some(_) => unusable(node.at, "a credential's name has no `/`", out),
            None => {
                let error =
                    Diagnostic::new("E112", node.at, format!("`${CREDENTIALS}` is not set"));
                out.push(error.note("systemd sets it for a unit with `LoadCredential=`"));
                None
            }
        },
        Given::Variable | Given::VariableAndText => Some(text.as_bytes().to_vec()),
        Given::Literal => {
            let warning = Diagnostic::new("W210", node.at, "a secret stands in the file");
            out.push(warning.note(note));
            Some(text.as_bytes().to_vec())
        }
    }?;
    if bytes.is_empty() {
        return unusable(node.at, "it would prove nothing", out);
    }
    Some(Secret::new(bytes))
}

fn unusable<T>(at: At, note: &str, out: &mut Diagnostics) -> Option<T> {
    let title = if note.starts_with("it") { "this secret is empty" } else { "this is no secret" };
    out.push(Diagnostic::new("E118", at, title).note(note));
    None
}

/// Hides all of a value but its quotes.
fn mask(node: &Node, out: &mut Diagnostics) {
    let At { source, start, end } = node.at;
    let is_quoted = matches!(node.value, Value::Text(_)) && end > start + 1;
    let inset = u32::from(is_quoted);
    out.mask(At { source, start: start + inset, end: end - inset });
}

/// By what stands in the file itself, before variables were put in.
fn given<'a>(at: At, text: &'a str, out: &Diagnostics) -> Given<'a> {
    let range = at.start as usize..at.end as usize;
    let written = out.text(at.source).get(range).unwrap_or_default();
    let written = written.trim_matches(['"', '\'', '\n', '\r']);
    let rest = |prefix: &str| {
        let is_written = written.starts_with(prefix);
        text.strip_prefix(prefix).filter(|_| is_written)
    };
    let is_variable = |dollar: usize| !written[..dollar].ends_with('$');
    let inner = written.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    match (rest("file:"), rest("credential:")) {
        (Some(path), _) => Given::File(path),
        (_, Some(name)) => Given::Credential(name),
        _ if inner.is_some_and(|name| !name.contains([':', '$', '}'])) => Given::Variable,
        _ if written.replace(":-}", "").contains(":-") => Given::Literal,
        _ if written.match_indices("${").any(|(i, _)| is_variable(i)) => Given::VariableAndText,
        _ => Given::Literal,
    }
}

fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && !matches!(name, "." | "..")
}

/// Warns when not only the owner and the group may read a file of a secret.
pub(super) fn warn_if_open(mode: u32, at: At, out: &mut Diagnostics) {
    if mode & MODE_TOO_WIDE != 0 {
        let mode = mode & 0o777;
        let warning = Diagnostic::new("W211", at, "others can read this secret");
        out.push(warning.note(format!("its mode is {mode:04o}; 0600 keeps it to its owner")));
    }
}

fn from_file(
    content: Result<super::files::Content, String>,
    node: &Node,
    out: &mut Diagnostics,
) -> Option<Vec<u8>> {
    let content = match content {
        Ok(content) => content,
        Err(note) => {
            out.push(Diagnostic::new("E114", node.at, "this secret can't be read").note(note));
            return None;
        }
    };
    warn_if_open(content.mode, node.at, out);
    let mut bytes = content.bytes;
    if bytes.ends_with(b"\n") {
        bytes.pop();
    }
    if bytes.ends_with(b"\r") {
        bytes.pop();
    }
    Some(bytes)
}

/// Hides the secrets of one source, also those that another source then replaces: a message about
/// something else may show their line.
pub(super) fn mask_table(table: &Table, out: &mut Diagnostics) {
    let tables = |name: &str| match table.find(name).map(|entry| &entry.node.value) {
        Some(Value::Table(table)) => Some(table),
        _ => None,
    };
    for name in ["listener", "upstream", "defaults"] {
        tables(name).into_iter().for_each(|table| mask_keys(table, out));
    }
    let consumers = tables("consumer").map_or(&[][..], |consumers| &consumers.entries);
    let consumers = consumers.iter().filter_map(|entry| match &entry.node.value {
        Value::Table(consumer) => Some(consumer),
        _ => None,
    });
    for table in tables("admin").into_iter().chain(consumers) {
        for node in names().filter_map(|name| table.find(name)).map(|entry| &entry.node) {
            match &node.value {
                Value::List(list) => list.iter().for_each(|node| mask_value(node, out)),
                _ => mask_value(node, out),
            }
        }
    }
}

/// Hides keys that stand where the paths of their files should.
fn mask_keys(table: &Table, out: &mut Diagnostics) {
    for entry in &table.entries {
        mask_key(&entry.node, out);
    }
}

fn mask_key(node: &Node, out: &mut Diagnostics) {
    match &node.value {
        Value::Text(text) if text.contains("-----BEGIN") => mask(node, out),
        Value::Table(table) => mask_keys(table, out),
        Value::List(list) => list.iter().for_each(|node| mask_key(node, out)),
        _ => {}
    }
}

/// Hides a value that is a secret and no reference to one. The digest of a key is none: what is
/// drawn at random can't be guessed from it.
fn mask_value(node: &Node, out: &mut Diagnostics) {
    let is_shown = match &node.value {
        Value::Text(text) => {
            let is_literal =
                matches!(given(node.at, text, out), Given::Literal | Given::VariableAndText);
            !is_literal || text.starts_with("sha256:")
        }
        _ => false,
    };
    if !is_shown {
        mask(node, out);
    }
}

/// Hides what follows the name of a secret's key in a text that is not TOML, so that its place in
/// it is a guess. Whether there was any.
pub(super) fn mask_lines(source: u32, out: &mut Diagnostics) -> bool {
    let mut found = Vec::new();
    let text = out.text(source);
    let mut line_start = 0;
    for line in text.split_inclusive('\n') {
        for name in names() {
            for (at, _) in line.match_indices(name) {
                let after = &line[at + name.len()..];
                let blank = after.len() - after.trim_start_matches([' ', '\t', '"', '\'']).len();
                if let Some(value) = after[blank..].strip_prefix('=') {
                    let end = line_start + line.trim_end().len();
                    let start = line_start + line.len() - value.trim_start().len();
                    found.push(at_of(source, start.min(end)..end));
                }
            }
        }
        line_start += line.len();
    }
    let is_any = !found.is_empty();
    found.into_iter().filter(|at| at.start < at.end).for_each(|at| out.mask(at));
    is_any
}

/// Keys of this kind, in whichever table.
fn names() -> impl Iterator<Item = &'static str> {
    let is_secret = |key: &&keys::Key| matches!(key.kind, Kind::Secret | Kind::Secrets);
    keys::ADMIN.iter().chain(keys::CONSUMER).filter(is_secret).map(|key| key.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_texts_do_not_show_what_follows_a_secrets_name() {
        let rows = [
            ("token = hunter2\nx = 1", true),
            ("[admin]\n  \"token\" =\"hunter2", true),
            ("admin = { token=hunter2", true),
            ("admin.token= hunter2", true),
            ("tokens = 2", false),
        ];
        for (text, expect) in rows {
            let mut out = Diagnostics::default();
            let source = out.add_source("f".into(), text.into());
            assert_eq!(mask_lines(source, &mut out), expect, "{text}");
            let from = text.find("hunter2").unwrap_or(0);
            out.push(Diagnostic::new("E100", at_of(source, from..from), "x"));
            assert!(!out.render(false).contains("hunter2"), "{}", out.render(false));
        }
    }
}
