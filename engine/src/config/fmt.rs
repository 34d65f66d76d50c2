//! `busbar fmt`: the canonical form of a file. Comments and the order of everything stay; spaces,
//! blank lines, the kind of quotes and of keys are made alike.
//!
//! It works on the events of TOML's own parser, from the first to the last, and not on a tree:
//! `toml_edit`'s puts dotted keys of one table together (`a.b`, `d`, `a.c` becomes `a.b`, `a.c`,
//! `d`) and with them the comments above. Here nothing can move, because nothing is collected.
//!
//! ```text
//! between lines   at most one blank line; one before a table, above the comments that belong to
//!                 it; none at the beginning, at the end and behind a table's head
//! a line          key = value # comment
//! a list          [1, 2] or, where it stands on several lines, one item per line, each with `,`
//! quotes          'x' becomes "x" where that needs no escape; keys have none where they can
//! ```

use std::borrow::Cow;

use toml_parser::decoder::Encoding;
use toml_parser::parser::{Event, EventKind, parse_document};
use toml_parser::{Raw, Source};

use super::diagnostic::{At, Diagnostic, Diagnostics};
use super::source::{self, TEXT_BYTES_MAX};

const INDENT: &str = "    ";

/// The canonical form of `text`, which is called `name` in messages; or why it is no TOML. Linear
/// in the text.
pub fn canonical(name: &str, text: &str) -> Result<String, Box<Diagnostics>> {
    let mut found = Diagnostics::default();
    if text.len() > TEXT_BYTES_MAX {
        let source = found.add_source(name.to_owned(), String::new());
        let at = At { source, ..At::default() };
        found.push(Diagnostic::new("E115", at, "the file is longer than 64 MiB"));
        return Err(Box::new(found));
    }
    let source = found.add_source(name.to_owned(), text.to_owned());
    source::parse(source, &mut found);
    if found.errors() > 0 {
        found.sort();
        return Err(Box::new(found));
    }
    let source = Source::new(text);
    let tokens = source.lex().into_vec();
    let mut events: Vec<Event> = Vec::new();
    parse_document(&tokens, &mut events, &mut ());
    let mut printer = Printer { source, events: &events, at: 0, out: String::new() };
    printer.document();
    Ok(printer.out)
}

/// Comments and blank lines that are not written yet.
#[derive(Default)]
struct Above<'t>(Vec<Option<&'t str>>);

impl<'t> Above<'t> {
    /// Of several blank lines the first counts.
    fn blank(&mut self) {
        if !matches!(self.0.last(), Some(None)) {
            self.0.push(None);
        }
    }

    fn comment(&mut self, text: &'t str) {
        self.0.push(Some(text));
    }

    fn trim_start(&mut self) {
        if matches!(self.0.first(), Some(None)) {
            self.0.remove(0);
        }
    }

    fn trim_end(&mut self) {
        if matches!(self.0.last(), Some(None)) {
            self.0.pop();
        }
    }

    /// Puts a blank line above the comments that stand directly above what follows.
    fn set_apart(&mut self) {
        let own = self.0.iter().rev().take_while(|line| line.is_some()).count();
        let at = self.0.len() - own;
        if at == 0 || self.0[at - 1].is_some() {
            self.0.insert(at, None);
        }
    }

    fn write(&mut self, depth: usize, out: &mut String) {
        for line in self.0.drain(..) {
            if let Some(comment) = line {
                indent(depth, out);
                out.push_str(comment);
            }
            out.push('\n');
        }
    }
}

struct Printer<'t, 'e> {
    source: Source<'t>,
    events: &'e [Event],
    at: usize,
    out: String,
}

impl<'t> Printer<'t, '_> {
    fn kind(&self) -> Option<EventKind> {
        self.events.get(self.at).map(Event::kind)
    }

    fn raw(&self) -> Raw<'t> {
        self.source.get(self.events[self.at]).expect("an event lies in its text")
    }

    fn comment(&self) -> &'t str {
        comment(self.raw())
    }

    fn document(&mut self) {
        let mut above = Above::default();
        // Blank lines at the beginning, and behind a table's head, are left out.
        let mut is_first = true;
        while let Some(kind) = self.kind() {
            match kind {
                EventKind::Newline => above.blank(),
                EventKind::Comment => {
                    above.comment(self.comment());
                    self.skip_line();
                    continue;
                }
                EventKind::StdTableOpen | EventKind::ArrayTableOpen => {
                    if is_first {
                        above.trim_start();
                    }
                    if !self.out.is_empty() {
                        above.set_apart();
                    }
                    above.write(0, &mut self.out);
                    self.head();
                    self.end_line();
                    is_first = true;
                    continue;
                }
                EventKind::SimpleKey => {
                    if is_first {
                        above.trim_start();
                    }
                    above.write(0, &mut self.out);
                    self.key_value(0);
                    self.end_line();
                    is_first = false;
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
        if is_first {
            above.trim_start();
        }
        above.trim_end();
        above.write(0, &mut self.out);
    }

    /// To the beginning of the next line.
    fn skip_line(&mut self) {
        while let Some(kind) = self.kind() {
            self.at += 1;
            if kind == EventKind::Newline {
                break;
            }
        }
    }

    /// The rest of a line: nothing, or a comment.
    fn end_line(&mut self) {
        if self.kind() == Some(EventKind::Whitespace) {
            self.at += 1;
        }
        if self.kind() == Some(EventKind::Comment) {
            let comment = self.comment();
            self.out.push(' ');
            self.out.push_str(comment);
        }
        self.out.push('\n');
        self.skip_line();
    }

    fn head(&mut self) {
        let (open, close) = match self.kind() {
            Some(EventKind::ArrayTableOpen) => ("[[", "]]"),
            _ => ("[", "]"),
        };
        self.at += 1;
        self.out.push_str(open);
        self.key();
        self.out.push_str(close);
        self.at += 1;
    }

    /// A key with its dots, up to what follows it.
    fn key(&mut self) {
        while let Some(kind) = self.kind() {
            match kind {
                EventKind::SimpleKey => {
                    let key = plain_key(self.raw(), self.events[self.at].encoding());
                    self.out.push_str(&key);
                }
                EventKind::KeySep => self.out.push('.'),
                _ if is_between(kind) => {}
                _ => break,
            }
            self.at += 1;
        }
    }

    fn key_value(&mut self, depth: usize) {
        self.key();
        self.out.push_str(" = ");
        self.at += 1;
        while self.kind().is_some_and(is_between) {
            self.at += 1;
        }
        self.value(depth);
    }

    /// Comments between a key and its value, which the parser takes inside braces.
    fn comments_within(&self) -> impl Iterator<Item = &'t str> {
        let is_before_value = |event: &&Event| {
            let kind = event.kind();
            matches!(kind, EventKind::SimpleKey | EventKind::KeySep | EventKind::KeyValSep)
                || is_between(kind)
        };
        self.events[self.at..]
            .iter()
            .take_while(is_before_value)
            .filter(|event| event.kind() == EventKind::Comment)
            .map(|event| comment(self.source.get(*event).expect("an event lies in its text")))
    }

    fn value(&mut self, depth: usize) {
        match self.kind() {
            Some(EventKind::ArrayOpen) => self.list(depth, ["[", "]"]),
            Some(EventKind::InlineTableOpen) => self.list(depth, ["{", "}"]),
            _ => {
                let raw = self.raw().as_str();
                match self.events[self.at].encoding() {
                    Some(Encoding::LiteralString) => self.out.push_str(&plain_text(raw)),
                    _ => self.out.push_str(raw),
                }
                self.at += 1;
            }
        }
    }

    /// A list or a table in braces.
    fn list(&mut self, depth: usize, [open, close]: [&str; 2]) {
        let is_long = self.is_long();
        let gap = if open == "{" { " " } else { "" };
        self.at += 1;
        self.out.push_str(open);
        let mut above = Above::default();
        let mut items = 0;
        // Of the last item: no comma is written yet, and a comment that stands behind it.
        let (mut is_open, mut behind) = (false, None);
        let (mut is_same_line, mut is_empty_line) = (true, false);
        while let Some(kind) = self.kind() {
            match kind {
                EventKind::ArrayClose | EventKind::InlineTableClose => break,
                EventKind::Newline if is_empty_line => above.blank(),
                EventKind::Newline => (is_same_line, is_empty_line) = (false, true),
                EventKind::Whitespace => {}
                EventKind::Comment => {
                    is_empty_line = false;
                    match is_open && is_same_line && behind.is_none() {
                        true => behind = Some(self.comment()),
                        false => above.comment(self.comment()),
                    }
                }
                EventKind::ValueSep => is_empty_line = false,
                _ => {
                    if kind == EventKind::SimpleKey {
                        self.comments_within().for_each(|text| above.comment(text));
                    }
                    if is_long {
                        end_item(&mut is_open, &mut behind, items == 0, &mut self.out);
                        if items == 0 {
                            above.trim_start();
                        }
                        above.write(depth + 1, &mut self.out);
                        indent(depth + 1, &mut self.out);
                    } else {
                        self.out.push_str(if items > 0 { ", " } else { gap });
                    }
                    match kind {
                        EventKind::SimpleKey => self.key_value(depth + usize::from(is_long)),
                        _ => self.value(depth + usize::from(is_long)),
                    }
                    items += 1;
                    (is_open, is_same_line, is_empty_line) = (true, true, false);
                    continue;
                }
            }
            self.at += 1;
        }
        above.trim_end();
        if items == 0 {
            above.trim_start();
        }
        if is_long && (items > 0 || !above.0.is_empty()) {
            end_item(&mut is_open, &mut behind, items == 0, &mut self.out);
            above.write(depth + 1, &mut self.out);
            indent(depth, &mut self.out);
        } else if items > 0 {
            self.out.push_str(gap);
        }
        self.out.push_str(close);
        self.at += 1;
    }

    /// Whether the list that begins here stands on several lines of its own, not of its items'.
    fn is_long(&self) -> bool {
        let mut depth = 0;
        for event in &self.events[self.at..] {
            match event.kind() {
                EventKind::ArrayOpen | EventKind::InlineTableOpen => depth += 1,
                EventKind::ArrayClose | EventKind::InlineTableClose if depth == 1 => break,
                EventKind::ArrayClose | EventKind::InlineTableClose => depth -= 1,
                EventKind::Newline | EventKind::Comment if depth == 1 => return true,
                _ => {}
            }
        }
        false
    }
}

fn comment(raw: Raw<'_>) -> &str {
    raw.as_str().trim_end_matches([' ', '\t', '\r'])
}

fn is_between(kind: EventKind) -> bool {
    matches!(kind, EventKind::Whitespace | EventKind::Newline | EventKind::Comment)
}

/// Ends the line of the last item, or of the bracket before the first.
fn end_item(is_open: &mut bool, behind: &mut Option<&str>, is_first: bool, out: &mut String) {
    if *is_open {
        out.push(',');
    }
    if let Some(comment) = behind.take() {
        out.push(' ');
        out.push_str(comment);
    }
    if *is_open || is_first {
        out.push('\n');
    }
    *is_open = false;
}

fn indent(depth: usize, out: &mut String) {
    (0..depth).for_each(|_| out.push_str(INDENT));
}

/// A literal string in basic quotes, where it means the same in them.
fn plain_text(raw: &str) -> Cow<'_, str> {
    let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    match inner.contains(['"', '\\']) || inner.contains(|c: char| c.is_control() && c != '\t') {
        true => Cow::Borrowed(raw),
        false => Cow::Owned(format!("\"{inner}\"")),
    }
}

/// A key without quotes, where it means the same without them.
fn plain_key<'t>(raw: Raw<'t>, encoding: Option<Encoding>) -> Cow<'t, str> {
    if encoding.is_none() {
        return Cow::Borrowed(raw.as_str());
    }
    let mut key = Cow::Borrowed("");
    raw.decode_key(&mut key, &mut ());
    let is_bare = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    match encoding {
        _ if !key.is_empty() && key.bytes().all(is_bare) => key,
        Some(Encoding::LiteralString) => plain_text(raw.as_str()),
        _ => Cow::Borrowed(raw.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        let once = canonical("busbar.toml", text).expect(text);
        assert_eq!(once, expect, "{text}");
        let twice = canonical("busbar.toml", &once).expect(&once);
        assert_eq!(twice, once, "{text}");
    }

    #[test]
    fn lines_are_made_alike_and_keep_their_order() {
        check("", "");
        check("\n\n", "");
        check("a=1", "a = 1\n");
        check("\n\n  a\t=\t1\n\n\n\nb  =2  \n\n", "a = 1\n\nb = 2\n");
        check("a.b=1\n# about d\nd=2\na . c=3\n", "a.b = 1\n# about d\nd = 2\na.c = 3\n");
        check("a = 1\r\nb = 2\r\n", "a = 1\nb = 2\n");
        check("\u{feff}a = 1", "a = 1\n");
    }

    #[test]
    fn tables_are_one_blank_line_apart_with_the_comments_that_belong_to_them() {
        check("[a]\nx=1\n[b]\n", "[a]\nx = 1\n\n[b]\n");
        check("[a]\n\n\nx=1\n\n\n\n[ b . 'c' ]\n", "[a]\nx = 1\n\n[b.c]\n");
        check("x=1\n# of b\n[b]\n", "x = 1\n\n# of b\n[b]\n");
        check("x=1\n# of x\n\n[b]\n", "x = 1\n# of x\n\n[b]\n");
        check("# of the file\n\n\n# of b\n[b]\n", "# of the file\n\n# of b\n[b]\n");
        check("[a]\n\n# of x\nx=1\n", "[a]\n# of x\nx = 1\n");
        check("[a]\n\n# at the end\n\n\n", "[a]\n# at the end\n");
        check("[[l]]\n[[ l ]]\n", "[[l]]\n\n[[l]]\n");
        check("  # indented   \n   x=1  # behind  \n", "# indented\nx = 1 # behind\n");
        check("[a]# behind\n", "[a] # behind\n");
    }

    #[test]
    fn quotes_are_made_alike_where_the_text_stays_the_same() {
        check("'a' = 'b'", "a = \"b\"\n");
        check("\"a\\u0062\" = 'C:\\x'", "ab = 'C:\\x'\n");
        check("'a b' = 'say \"x\"'", "\"a b\" = 'say \"x\"'\n");
        check("\"a\\tb\" = \"\\u00e9\"", "\"a\\tb\" = \"\\u00e9\"\n");
        check("'' = ''", "\"\" = \"\"\n");
        check("a = '''x'''", "a = '''x'''\n");
        check("a = \"\"\"\n  x\r\n\\\n  y\"\"\"", "a = \"\"\"\n  x\r\n\\\n  y\"\"\"\n");
    }

    #[test]
    fn lists_stay_on_their_line_or_get_a_line_per_item() {
        check("a=[ ]", "a = []\n");
        check("a=[\n]", "a = []\n");
        check("a=[1 ,2,]", "a = [1, 2]\n");
        check("a={ }", "a = {}\n");
        check("a={b=1,c.d=2}", "a = { b = 1, c.d = 2 }\n");
        check("a=[1,\n2]", "a = [\n    1,\n    2,\n]\n");
        check("a=[[1,\n2],[3]]", "a = [[\n    1,\n    2,\n], [3]]\n");
        check("a={b=[\n1]}", "a = { b = [\n    1,\n] }\n");
        check("a={\nb=1\n}", "a = {\n    b = 1,\n}\n");
        check(
            "a=[\n{b=1,\nc=[\n2]}]",
            "a = [\n    {\n        b = 1,\n        c = [\n            2,\n        ],\n    },\n]\n",
        );
        check("a=[1,\n\n\n2,\n\n]", "a = [\n    1,\n\n    2,\n]\n");
    }

    #[test]
    fn comments_in_lists_stay_with_their_items() {
        check(
            "a=[ # first\n1, # one\n# two\n2\n# end\n]",
            "a = [\n    # first\n    1, # one\n    # two\n    2,\n    # end\n]\n",
        );
        check("a=[1 # one\n, # and\n2]", "a = [\n    1, # one\n    # and\n    2,\n]\n");
        check("a=[\n# nothing\n]", "a = [\n    # nothing\n]\n");
        check("a=[ # nothing\n\n]", "a = [\n    # nothing\n]\n");
        check("a={b=1, # one\nc=2}", "a = {\n    b = 1, # one\n    c = 2,\n}\n");
        check("a=[1,2] # behind", "a = [1, 2] # behind\n");
        // The parser lets lines end around `=` where braces are open.
        check("a={b\n=\n1}", "a = {\n    b = 1,\n}\n");
        check("a={b # x\n= # y\n1}", "a = {\n    # x\n    # y\n    b = 1,\n}\n");
    }

    #[test]
    fn what_is_no_toml_is_refused_with_its_mistakes() {
        for text in ["a = ", "a = 1\na = 2", "[a\n", "a = [1", "= 1"] {
            let found = canonical("x.toml", text).expect_err(text);
            assert!(found.errors() > 0 && found.list()[0].code == "E100", "{text}");
        }
    }
}
