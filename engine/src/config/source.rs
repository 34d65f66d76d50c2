//! Texts → one tree: TOML with places, `--set` merged over it, `${NAME}` replaced.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{At, Diagnostic, Diagnostics};
use super::files::{Origin, Outside};
use super::{include, secret};

/// Longest configuration. Places are 32 bits wide.
pub const TEXT_BYTES_MAX: usize = 64 << 20;
/// Longest text that `${NAME}` may grow to.
const EXPANDED_BYTES_MAX: usize = 1 << 20;

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: At,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Text(String),
    /// Out of 64 bits: the nearest that fits, which no range takes.
    Integer(i64),
    Float,
    Bool(bool),
    Date,
    List(Vec<Node>),
    Table(Table),
}

/// Sorted by key.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) entries: Vec<Entry>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_at: At,
    pub(super) node: Node,
}

impl Node {
    /// For messages: "a text", "a number".
    pub(super) fn type_name(&self) -> &'static str {
        match self.value {
            Value::Text(_) => "a text",
            Value::Integer(_) | Value::Float => "a number",
            Value::Bool(_) => "true or false",
            Value::Date => "a date",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

impl Table {
    pub(super) fn find(&self, key: &str) -> Option<&Entry> {
        // Fast path: tables of settings are short, and most lengths differ.
        if self.entries.len() <= 16 {
            return self.entries.iter().find(|entry| entry.key == key);
        }
        let found = self.entries.binary_search_by(|entry| entry.key.as_str().cmp(key));
        found.ok().map(|i| &self.entries[i])
    }

    pub(super) fn take(&mut self, key: &str) -> Option<Entry> {
        let found = self.entries.iter().position(|entry| entry.key == key);
        found.map(|i| self.entries.remove(i))
    }
}

/// What `${NAME}` stands for.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads the text, what it includes, and the sets into one tree.
pub(super) fn read(
    name: String,
    text: String,
    sets: Vec<String>,
    origin: Origin,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Table {
    if text.len() > TEXT_BYTES_MAX {
        let source = out.add_source(name, String::new());
        let at = At { source, ..At::default() };
        out.push(Diagnostic::new("E115", at, "the configuration is longer than 64 MiB"));
        return Table::default();
    }
    let mut table = include::read(name, text, origin.clone(), outside, out);
    for (i, set) in sets.into_iter().enumerate() {
        let set = if set.len() > TEXT_BYTES_MAX { String::new() } else { set };
        let source = out.add_source(format!("--set #{}", i + 1), set);
        outside.add_origin(Origin { is_file: false, ..origin.clone() });
        let Some(mut over) = parse_set(source, out) else { continue };
        if let Some(include) = over.take("include") {
            let error = Diagnostic::new("E110", include.key_at, "`include` can't be set");
            out.push(error.note("only a file says which others belong to it"));
        }
        merge(&mut table, over, source, out);
    }
    expand_table(&mut table, outside.env, out);
    table
}

/// What could be read, with every mistake of syntax reported once.
pub(super) fn parse(source: u32, out: &mut Diagnostics) -> Table {
    let text = out.text(source).to_owned();
    let (table, errors) = DeTable::parse_recoverable(&text);
    let table = convert(table.into_inner(), source);
    secret::mask_table(&table, out);
    if errors.is_empty() {
        return table;
    }
    out.mark_torn();
    secret::mask_lines(source, out);
    let mut spans = Vec::new();
    long_values(&table, &text, &mut spans);
    let mut found: Vec<(Range<usize>, String)> = errors
        .iter()
        .map(|error| (error.span().unwrap_or(0..0), error.message().to_owned()))
        .collect();
    found.sort_by_key(|(span, _)| span.start);
    // One mistake in a value of several lines breaks all that follows in it.
    for span in spans {
        let inside = |at: usize| at <= span.end;
        let first = found.partition_point(|(at, _)| at.start < span.start);
        let count = found[first..].iter().take_while(|(at, _)| inside(at.start)).count();
        if count == 0 {
            continue;
        }
        let is_end = |m: &str| m.starts_with("unclosed") || m.starts_with("invalid multi-line");
        let kept = match found[first..first + count].iter().any(|(_, m)| is_end(m)) {
            true => (span.start..span.start + 1, "never closed".to_owned()),
            false => found[first].clone(),
        };
        found.splice(first..first + count, [kept]);
        out.mark_broken(at_of(source, span));
    }
    // Later mistakes of one line are mostly consequences of the first.
    let mut done_to = 0;
    for (span, message) in found {
        if span.start < done_to && span.end <= done_to {
            continue;
        }
        let lines = broken_lines(&text, &span);
        if span.start >= done_to {
            let at = at_of(source, span);
            out.push(match out.is_masked(at) {
                true => {
                    Diagnostic::new("E100", at, "this is not TOML").note("texts stand in quotes")
                }
                false => syntax_error(&text, at, &message),
            });
        }
        done_to = lines.end + 1;
        out.mark_broken(at_of(source, lines));
    }
    table
}

pub(super) fn at_of(source: u32, range: Range<usize>) -> At {
    At { source, start: range.start as u32, end: range.end as u32 }
}

fn syntax_error(text: &str, at: At, message: &str) -> Diagnostic {
    let word = text.get(at.start as usize..at.end as usize).unwrap_or_default();
    match message.split(", ").next().unwrap_or_default() {
        "string values must be quoted" if !word.is_empty() => {
            let quoted = super::one_liner::quoted(word.trim());
            Diagnostic::new("E100", at, "a text stands in quotes").note(format!("write {quoted}"))
        }
        "string values must be quoted" => Diagnostic::new("E100", at, "a value is missing"),
        "duplicate key" => Diagnostic::new("E100", at, format!("`{word}` is given twice"))
            .note("names and keys are given once; the first stands further up"),
        "never closed" => Diagnostic::new("E100", at, "this is never closed")
            .note("what follows is read as part of it"),
        _ => Diagnostic::new("E100", at, "this is not TOML").note(message.to_owned()),
    }
}

/// The whole lines of a mistake; of a table's head, all up to the next one, since the keys under
/// it count for another table.
fn broken_lines(text: &str, span: &Range<usize>) -> Range<usize> {
    let at = text.floor_char_boundary(span.start.min(text.len()));
    let start = text[..at].rfind('\n').map_or(0, |i| i + 1);
    let mut end = line_end(text, text.floor_char_boundary(span.end.min(text.len())).max(at));
    if text[start..].trim_start().starts_with('[') {
        end = text[end..].find("\n[").map_or(text.len(), |i| end + i);
    }
    start..end
}

fn line_end(text: &str, at: usize) -> usize {
    let at = text.floor_char_boundary(at.min(text.len()));
    text[at..].find('\n').map_or(text.len(), |i| at + i)
}

/// Where values of more than one line stand, outermost only, in their order.
fn long_values(table: &Table, text: &str, spans: &mut Vec<Range<usize>>) {
    for entry in &table.entries {
        let range = entry.node.at.start as usize..entry.node.at.end as usize;
        let shown = text.get(range.clone()).unwrap_or_default();
        let is_value = entry.node.at.start > entry.key_at.start;
        match &entry.node.value {
            _ if is_value && shown.contains('\n') => spans.push(range),
            Value::Table(table) => long_values(table, text, spans),
            _ => {}
        }
    }
    spans.sort_by_key(|span| span.start);
}

fn convert(table: DeTable<'_>, source: u32) -> Table {
    let entries = table.into_iter().map(|(key, value)| Entry {
        key_at: at_of(source, key.span()),
        key: key.into_inner().into_owned(),
        node: convert_value(value, source),
    });
    Table { entries: entries.collect() }
}

fn convert_value(value: Spanned<DeValue<'_>>, source: u32) -> Node {
    let at = at_of(source, value.span());
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => {
            let text = number.as_str();
            let nearest = if text.starts_with('-') { i64::MIN } else { i64::MAX };
            Value::Integer(i64::from_str_radix(text, number.radix()).unwrap_or(nearest))
        }
        DeValue::Float(_) => Value::Float,
        DeValue::Boolean(is) => Value::Bool(is),
        DeValue::Datetime(_) => Value::Date,
        DeValue::Array(list) => {
            Value::List(list.into_iter().map(|value| convert_value(value, source)).collect())
        }
        DeValue::Table(table) => Value::Table(convert(table, source)),
    };
    Node { at, value }
}

/// `key.path=VALUE` as a tree of one leaf.
fn parse_set(source: u32, out: &mut Diagnostics) -> Option<Table> {
    let text = out.text(source).to_owned();
    let at = at_of(source, 0..text.len());
    if text.contains('\n') || text.trim_start().starts_with(['[', '#']) || text.trim().is_empty() {
        let error = Diagnostic::new("E110", at, "`--set` takes `key.path=VALUE`");
        out.push(error.note("such as `server.workers=2`"));
        return None;
    }
    let (table, errors) = DeTable::parse_recoverable(&text);
    let Some(error) = errors.first() else {
        let table = convert(table.into_inner(), source);
        secret::mask_table(&table, out);
        return Some(table);
    };
    if secret::mask_lines(source, out) {
        let error = Diagnostic::new("E110", at, "this value is not TOML");
        out.push(error.note("write 'KEY=\"…\"', in quotes within quotes"));
        return None;
    }
    let value = text.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
    let error = match value {
        Some((key, value)) if !value.starts_with(['"', '\'', '{', '[']) && !value.is_empty() => {
            let start = text.find('=').map_or(0, |i| i + 1);
            let quoted = super::one_liner::quoted(value);
            Diagnostic::new("E110", at_of(source, start..text.len()), "this value is not TOML")
                .note(format!("write '{key}={quoted}'"))
        }
        _ => Diagnostic::new("E110", at, "`--set` takes `key.path=VALUE`")
            .note(error.message().to_owned()),
    };
    out.push(error);
    None
}

/// Puts the leaf of `over` into `table`, in place of what stands there. The tables on the way to
/// it are those of its dotted key; one in braces is a leaf.
fn merge(table: &mut Table, over: Table, source: u32, out: &mut Diagnostics) {
    for entry in over.entries {
        let is_braced =
            out.text(source).as_bytes().get(entry.node.at.start as usize) == Some(&b'{');
        let found = table.entries.binary_search_by(|e| e.key.cmp(&entry.key));
        match found {
            Err(i) => table.entries.insert(i, entry),
            Ok(i) => match (&mut table.entries[i].node.value, entry.node.value) {
                (Value::Table(under), Value::Table(over)) if !is_braced => {
                    merge(under, over, source, out);
                }
                (_, value) => {
                    let node = Node { value, ..entry.node };
                    table.entries[i] = Entry { node, ..entry };
                }
            },
        }
    }
}

fn expand_table(table: &mut Table, env: Env<'_>, out: &mut Diagnostics) {
    for entry in &mut table.entries {
        expand_node(&mut entry.node, env, out);
    }
}

pub(super) fn expand_node(node: &mut Node, env: Env<'_>, out: &mut Diagnostics) {
    match &mut node.value {
        Value::Text(text) if text.contains("${") => match expand(text, node.at, env, out) {
            Some(expanded) => *text = expanded,
            None => out.mark_broken(node.at),
        },
        Value::List(list) => list.iter_mut().for_each(|node| expand_node(node, env, out)),
        Value::Table(table) => expand_table(table, env, out),
        _ => {}
    }
}

/// The text with its `${NAME}` replaced. `None` when some can't be: it keeps its text, and the
/// whole load is refused anyway.
fn expand(text: &str, at: At, env: Env<'_>, out: &mut Diagnostics) -> Option<String> {
    let mut expanded = String::new();
    let mut is_good = true;
    let mut from = 0;
    while let Some(dollar) = text[from..].find("${").map(|i| from + i) {
        if text[from..dollar].ends_with('$') {
            expanded.push_str(&text[from..dollar - 1]);
            expanded.push_str("${");
            from = dollar + 2;
            continue;
        }
        expanded.push_str(&text[from..dollar]);
        let Some(len) = text[dollar..].find('}') else {
            let at = inside(out, at, text, dollar..text.len());
            let error = Diagnostic::new("E113", at, "`${` without its `}`");
            out.push(error.note("a literal `${` is written `$${`"));
            return None;
        };
        let range = dollar..dollar + len + 1;
        let inner = &text[dollar + 2..dollar + len];
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        from = range.end;
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if name.is_empty() || !name.bytes().all(is_name) || name.as_bytes()[0].is_ascii_digit() {
            let at = inside(out, at, text, range);
            let error = Diagnostic::new("E113", at, format!("`{name}` names no variable"));
            out.push(error.note("write ${NAME}, or $${ for a literal `${`"));
            is_good = false;
            continue;
        }
        let value = env(name);
        value.iter().for_each(|value| out.add_variable(at, name, value));
        match value.or(default.map(str::to_owned)) {
            Some(value) if expanded.len() + value.len() <= EXPANDED_BYTES_MAX => {
                expanded.push_str(&value);
            }
            Some(_) => {
                let at = inside(out, at, text, range);
                out.push(Diagnostic::new("E113", at, "this text grows longer than 1 MiB"));
                return None;
            }
            None => {
                let at = inside(out, at, text, range);
                let error = Diagnostic::new("E112", at, format!("`${name}` is not set"));
                let note = format!("set it, or give a default: \"${{{name}:-...}}\"");
                out.push(error.note(note));
                is_good = false;
            }
        }
    }
    expanded.push_str(&text[from..]);
    is_good.then_some(expanded)
}

/// A range of a text's bytes as a place in the source, when the text stands there as it is; else
/// the place of the whole text.
pub(super) fn inside(out: &Diagnostics, at: At, text: &str, range: Range<usize>) -> At {
    let quoted = out.text(at.source).get(at.start as usize..at.end as usize).unwrap_or_default();
    // By bytes: a text that is never closed may end within a character where its quote would be.
    let is_plain =
        quoted.len() == text.len() + 2 && quoted.as_bytes()[1..].starts_with(text.as_bytes());
    match is_plain {
        true => {
            at_of(at.source, at.start as usize + 1 + range.start..at.start as usize + 1 + range.end)
        }
        false => at,
    }
}
