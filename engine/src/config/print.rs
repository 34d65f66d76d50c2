//! `busbar check --print`: what all files and sets say together, each value as it is written and
//! with the place it has. Variables stay names and secrets are hidden, so that it can be shown.

use std::fmt::Write;

use super::diagnostic::{At, Diagnostics};
use super::one_liner::quoted;
use super::source::{Entry, Node, Table, Value};

/// The whole as one file. A path in it is meant from where it was written.
pub(super) fn merged(table: &Table, found: &Diagnostics) -> String {
    let mut printer = Printer { found, out: String::new() };
    printer.section("", table);
    printer.out
}

struct Printer<'d> {
    found: &'d Diagnostics,
    out: String,
}

impl Printer<'_> {
    /// Values first, then what stands under heads of its own: TOML wants that order.
    fn section(&mut self, path: &str, table: &Table) {
        let (tables, values): (Vec<&Entry>, Vec<&Entry>) =
            table.entries.iter().partition(|entry| self.is_section(&entry.node));
        for entry in values {
            let place = self.place(entry.key_at);
            let value = self.written(&entry.node);
            let _ = writeln!(self.out, "{} = {value} # {place}", key(&entry.key));
        }
        for entry in tables {
            let Value::Table(table) = &entry.node.value else { continue };
            let dot = if path.is_empty() { "" } else { "." };
            let path = format!("{path}{dot}{}", key(&entry.key));
            // One that holds only other tables needs no head.
            if table.entries.is_empty()
                || table.entries.iter().any(|entry| !self.is_section(&entry.node))
            {
                let blank = if self.out.is_empty() { "" } else { "\n" };
                let place = self.place(entry.key_at);
                let _ = writeln!(self.out, "{blank}[{path}] # {place}");
            }
            self.section(&path, table);
        }
    }

    /// A table that does not stand in braces at one place.
    fn is_section(&self, node: &Node) -> bool {
        let Value::Table(table) = &node.value else { return false };
        !self.text(node.at).starts_with('{') || !lies_within(table, node.at)
    }

    fn text(&self, at: At) -> &str {
        self.found.text(at.source).get(at.start as usize..at.end as usize).unwrap_or_default()
    }

    /// As it stands in its file, on one line where it can; secrets as `***`.
    fn written(&self, node: &Node) -> String {
        let mut shown = String::new();
        let mut was_hidden = false;
        for (i, c) in self.text(node.at).char_indices() {
            let start = node.at.start + i as u32;
            let hidden = self.found.is_masked(At { start, end: start + 1, ..node.at });
            match (hidden, was_hidden) {
                (true, false) => shown.push_str("***"),
                (true, true) => {}
                (false, _) => shown.push(c),
            }
            was_hidden = hidden;
        }
        shown
    }

    /// `conf.d/10.toml:7`, `--set #1`.
    fn place(&self, at: At) -> String {
        let place = self.found.place(at);
        match place.strip_suffix(":1").filter(|set| set.starts_with("--set #")) {
            Some(set) => set.to_owned(),
            None => place,
        }
    }
}

/// Whether all of a table is in the text at `at`: a set may have put something of its own in it.
fn lies_within(table: &Table, at: At) -> bool {
    let is_here =
        |place: At| place.source == at.source && at.start <= place.start && place.end <= at.end;
    table.entries.iter().all(|entry| {
        is_here(entry.key_at)
            && match &entry.node.value {
                Value::Table(table) => lies_within(table, at),
                _ => is_here(entry.node.at),
            }
    })
}

fn key(name: &str) -> String {
    let is_bare = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    match !name.is_empty() && name.bytes().all(is_bare) {
        true => name.to_owned(),
        false => quoted(name),
    }
}
