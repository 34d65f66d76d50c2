//! What is wrong with a configuration, shown with its place: file:line:column, the line, a caret.

use std::borrow::Cow;
use std::fmt::Write;
use std::ops::Range;

pub use super::codes::{CODES, Code, code};

/// Mistakes kept. A file with more is counted on, but has shown what it is.
const DIAGNOSTICS_MAX: usize = 1000;
/// Columns of a source line that are shown; a longer one is cut around its caret.
const COLUMNS_MAX: usize = 120;
/// Candidates compared for a "did you mean" in one load, so that it stays near-linear.
const SUGGESTIONS_MAX: usize = 50_000;
/// Longer words are not worth a suggestion.
const WORD_BYTES_MAX: usize = 64;

/// Values of variables that are shorter prove nothing, and are shown.
const HIDDEN_BYTES_MIN: usize = 4;

/// A range of bytes in a source. Its bounds lie on characters within it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct At {
    pub source: u32,
    pub start: u32,
    pub end: u32,
}

/// One file, or one `--set`.
#[derive(Debug)]
struct Source {
    name: String,
    text: String,
    /// Where each line begins.
    lines: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub code: &'static str,
    pub title: String,
    pub at: At,
    /// Stands behind the caret.
    pub note: String,
    /// Another place that has to do with it.
    pub other: Option<At>,
    /// A last line that belongs to no place; empty for none.
    pub help: String,
}

impl Diagnostic {
    pub fn new(code: &'static str, at: At, title: impl Into<String>) -> Diagnostic {
        debug_assert!(super::codes::code(code).is_some(), "{code} is in the table");
        let (note, help) = (String::new(), String::new());
        Diagnostic { code, title: title.into(), at, note, other: None, help }
    }

    pub fn note(mut self, note: impl Into<String>) -> Diagnostic {
        self.note = note.into();
        self
    }

    pub fn other(mut self, at: At) -> Diagnostic {
        self.other = Some(at);
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = help.into();
        self
    }

    pub fn is_error(&self) -> bool {
        self.code.starts_with('E')
    }
}

#[derive(Debug)]
struct Variable {
    at: At,
    name: String,
    value: String,
}

/// Everything found in one load, and the sources it points into.
#[derive(Debug, Default)]
pub struct Diagnostics {
    sources: Vec<Source>,
    list: Vec<Diagnostic>,
    /// Where a text is not TOML or lacks a `${NAME}`: what was read there is a guess, so that
    /// mistakes in it are not shown. Sorted by `seal`, and looked at from then on.
    broken: Vec<At>,
    /// Where secrets stand: never shown.
    masks: Vec<At>,
    /// What `${NAME}` stood for, and in which text. It may be a secret, whatever key it is for.
    /// Sorted by `seal`, and looked at from then on.
    variables: Vec<Variable>,
    is_sealed: bool,
    is_torn: bool,
    errors: usize,
    warnings: usize,
    compared: usize,
}

impl Diagnostics {
    pub(super) fn add_source(&mut self, name: String, text: String) -> u32 {
        let breaks = memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at as u32 + 1);
        let lines = std::iter::once(0).chain(breaks).collect();
        self.sources.push(Source { name, text, lines });
        self.sources.len() as u32 - 1
    }

    pub(super) fn text(&self, source: u32) -> &str {
        &self.sources[source as usize].text
    }

    pub(super) fn push(&mut self, mut diagnostic: Diagnostic) {
        if self.is_sealed && self.is_broken(diagnostic.at) {
            return;
        }
        match diagnostic.is_error() {
            true => self.errors += 1,
            false => self.warnings += 1,
        }
        if self.list.len() >= DIAGNOSTICS_MAX {
            return;
        }
        diagnostic.at = self.within(diagnostic.at);
        diagnostic.other = diagnostic.other.map(|at| self.within(at));
        if self.is_sealed {
            self.hide_variables(&mut diagnostic);
        }
        self.list.push(diagnostic);
    }

    /// Says what a variable in a text stood for.
    pub(super) fn add_variable(&mut self, at: At, name: &str, value: &str) {
        debug_assert!(!self.is_sealed, "variables are replaced while the texts are read");
        if value.len() >= HIDDEN_BYTES_MIN {
            let (name, value) = (name.to_owned(), value.to_owned());
            self.variables.push(Variable { at, name, value });
        }
    }

    /// What variables in the text at `at` stood for.
    pub(super) fn values_at(&self, at: At) -> impl Iterator<Item = &str> {
        let here = self.variables_near(at).iter().filter(move |variable| variable.at == at);
        here.map(|variable| variable.value.as_str())
    }

    /// Those of the texts that `at` meets. Texts do not overlap, so that their ends are sorted, too.
    fn variables_near(&self, at: At) -> &[Variable] {
        let is_before = |v: &Variable| (v.at.source, v.at.end) < (at.source, at.start);
        let is_not_behind = |v: &Variable| (v.at.source, v.at.start) <= (at.source, at.end);
        let end = self.variables.partition_point(is_not_behind);
        let start = self.variables.partition_point(is_before).min(end);
        &self.variables[start..end]
    }

    /// A message about a text says `${NAME}` where it would say what that stood for.
    fn hide_variables(&self, diagnostic: &mut Diagnostic) {
        let places = std::iter::once(diagnostic.at).chain(diagnostic.other);
        for variable in places.flat_map(|at| self.variables_near(at)) {
            let written = format!("${{{}}}", variable.name);
            for text in [&mut diagnostic.title, &mut diagnostic.note, &mut diagnostic.help] {
                if text.contains(&variable.value) {
                    *text = text.replace(&variable.value, &written);
                }
            }
        }
    }

    /// Marks a range whose mistakes are not shown.
    pub(super) fn mark_broken(&mut self, at: At) {
        self.broken.push(at);
    }

    /// All is read. Sorts and joins what was marked until now.
    pub(super) fn seal(&mut self) {
        self.broken.sort_unstable();
        let mut joined: Vec<At> = Vec::new();
        for at in self.broken.drain(..) {
            match joined.last_mut() {
                Some(last) if last.source == at.source && at.start <= last.end => {
                    last.end = last.end.max(at.end);
                }
                _ => joined.push(at),
            }
        }
        self.broken = joined;
        self.variables.sort_by_key(|variable| variable.at);
        self.is_sealed = true;
        let mut list = std::mem::take(&mut self.list);
        list.iter_mut().for_each(|diagnostic| self.hide_variables(diagnostic));
        self.list = list;
    }

    /// Says that a source is not TOML as a whole.
    pub(super) fn mark_torn(&mut self) {
        self.is_torn = true;
    }

    fn is_broken(&self, at: At) -> bool {
        let after = self.broken.partition_point(|b| (b.source, b.start) <= (at.source, at.start));
        after.checked_sub(1).is_some_and(|i| {
            let range = self.broken[i];
            range.source == at.source && at.start <= range.end
        })
    }

    /// Marks a range that is shown as `***`.
    pub(super) fn mask(&mut self, at: At) {
        self.masks.push(at);
    }

    /// Whether some of `at` is shown as `***`.
    pub(super) fn is_masked(&self, at: At) -> bool {
        let meets = |mask: &At| mask.start < at.end.max(at.start + 1) && at.start < mask.end;
        self.masks.iter().any(|mask| mask.source == at.source && meets(mask))
    }

    /// Whether a mistake of TOML lies within `at`, or around it: what was read of it may be another
    /// part of the file. One look through all of them.
    pub(super) fn is_doubtful(&self, at: At) -> bool {
        let meets = |b: &At| b.source == at.source && b.start < at.end && at.start < b.end;
        self.broken.iter().any(meets)
    }

    /// Whether a source is not TOML as a whole: what is missing may stand in the broken part.
    pub(super) fn is_torn(&self) -> bool {
        self.is_torn
    }

    fn within(&self, at: At) -> At {
        let Some(source) = self.sources.get(at.source as usize) else { return At::default() };
        let start = source.text.floor_char_boundary(at.start as usize);
        let end = source.text.ceil_char_boundary(at.end as usize).max(start);
        At { source: at.source, start: start as u32, end: end as u32 }
    }

    /// By place, then by code.
    pub(super) fn sort(&mut self) {
        self.list.sort_by(|a, b| {
            let key = |d: &Diagnostic| (d.at.source, d.at.start, d.code);
            key(a).cmp(&key(b)).then_with(|| a.title.cmp(&b.title))
        });
    }

    pub fn list(&self) -> &[Diagnostic] {
        &self.list
    }

    /// How many mistakes, shown or not.
    pub fn errors(&self) -> usize {
        self.errors
    }

    pub fn warnings(&self) -> usize {
        self.warnings
    }

    /// `(name, text)` of every source, in the order of their numbers.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sources.iter().map(|source| (source.name.as_str(), source.text.as_str()))
    }

    /// The closest of `candidates` to `word`, when one is close enough.
    pub(super) fn closest<'a>(
        &mut self,
        word: &str,
        candidates: impl Iterator<Item = &'a str>,
    ) -> Option<&'a str> {
        let left = SUGGESTIONS_MAX.saturating_sub(self.compared);
        let mut compared = 0;
        let found = closest(word, candidates.take(left).inspect(|_| compared += 1));
        self.compared += compared;
        found
    }

    /// Line and column, both from 1. A tab is one column, and so is every character.
    pub fn line_column(&self, at: At) -> (usize, usize) {
        let source = &self.sources[at.source as usize];
        let line = source.lines.partition_point(|start| *start <= at.start);
        let from = source.lines[line - 1] as usize;
        let columns = source.text.get(from..at.start as usize).map_or(0, |s| s.chars().count());
        (line, columns + 1)
    }

    /// `file:line`.
    pub(super) fn place(&self, at: At) -> String {
        let source = &self.sources[at.source as usize];
        let line = source.lines.partition_point(|start| *start <= at.start);
        format!("{}:{line}", visible(&source.name))
    }

    /// ` (line 12)`, or with the file's name when it is another one than `from`'s.
    pub(super) fn beside(&self, from: At, at: At) -> String {
        match from.source == at.source {
            true => format!("(line {})", self.line_column(at).0),
            false => format!("({})", self.place(at)),
        }
    }

    /// The text for a terminal, empty when nothing is wrong.
    pub fn render(&self, color: bool) -> String {
        let mut out = String::new();
        for diagnostic in &self.list {
            self.render_one(&mut out, diagnostic, color);
            out.push('\n');
        }
        let unseen = self.errors + self.warnings - self.list.len();
        if unseen > 0 {
            let _ = writeln!(out, "and {unseen} more\n");
        }
        if self.errors + self.warnings > 0 {
            out.push_str(&self.summary());
            out.push('\n');
        }
        out
    }

    /// `3 errors, 1 warning; nothing was changed`; empty when there is nothing to say.
    pub fn summary(&self) -> String {
        let count = |n: usize, one: &str| match n {
            0 => None,
            1 => Some(format!("1 {one}")),
            n => Some(format!("{n} {one}s")),
        };
        let parts = [count(self.errors, "error"), count(self.warnings, "warning")];
        let mut text = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
        if self.errors > 0 {
            text.push_str("; nothing was changed");
        }
        text
    }

    fn render_one(&self, out: &mut String, diagnostic: &Diagnostic, color: bool) {
        let (on, off) = match (color, diagnostic.is_error()) {
            (false, _) => ("", ""),
            (true, true) => ("\x1b[1;31m", "\x1b[0m"),
            (true, false) => ("\x1b[1;33m", "\x1b[0m"),
        };
        let _ = writeln!(out, "{on}{}{off} {}", diagnostic.code, visible(&diagnostic.title));
        let place = |at: At| {
            let (line, column) = self.line_column(at);
            format!("{}:{line}:{column}", visible(&self.sources[at.source as usize].name))
        };
        match diagnostic.other {
            None => {
                let _ = writeln!(out, "  {}", place(diagnostic.at));
            }
            Some(other) => {
                let _ = writeln!(out, "  {}  and  {}", place(diagnostic.at), place(other));
            }
        }
        let excerpt = self.excerpt(diagnostic.at);
        let _ = writeln!(out, "{:>5} | {}", excerpt.line, excerpt.text);
        let other = diagnostic.other.filter(|other| {
            let is_line = self.line_column(*other).0 == excerpt.line;
            other.source != diagnostic.at.source || !is_line
        });
        if let Some(other) = other {
            let excerpt = self.excerpt(other);
            let _ = writeln!(out, "{:>5} | {}", excerpt.line, excerpt.text);
        } else {
            let gap = " ".repeat(excerpt.before);
            let caret = "^".repeat(excerpt.under.max(1));
            let note = visible(&diagnostic.note);
            let line = format!("      | {gap}{on}{caret}{off} {note}");
            let _ = writeln!(out, "{}", line.trim_end());
        }
        let note = if other.is_some() { diagnostic.note.as_str() } else { "" };
        for line in [note, &diagnostic.help].into_iter().flat_map(|help| help.lines()) {
            let _ = writeln!(out, "      | {}", visible(line));
        }
    }

    fn excerpt(&self, at: At) -> Excerpt {
        let source = &self.sources[at.source as usize];
        let line = source.lines.partition_point(|start| *start <= at.start);
        let from = source.lines[line - 1] as usize;
        let to = source.lines.get(line).map_or(source.text.len(), |next| *next as usize - 1);
        let whole = &source.text[from..to.max(from)];
        let start = (at.start as usize - from).min(whole.len());
        let end = (at.end as usize - from).clamp(start, whole.len());
        let first = whole[..start].chars().count();
        let skip = if first > COLUMNS_MAX * 2 / 3 { first - COLUMNS_MAX / 3 } else { 0 };
        let mut excerpt = Excerpt { line, text: String::new(), before: 0, under: 0 };
        if skip > 0 {
            excerpt.text.push('…');
            excerpt.before = 1;
        }
        let masks = self.masks_of(at.source, from, to);
        let is_hidden = |i: &usize| masks.iter().any(|mask| mask.contains(i));
        let mut was_hidden = false;
        for (shown, (i, c)) in whole.char_indices().skip(skip).enumerate() {
            if shown == COLUMNS_MAX {
                excerpt.text.push('…');
                break;
            }
            let hidden = is_hidden(&(from + i));
            let (c, times) = match (hidden, was_hidden) {
                (true, true) => (' ', 0),
                (true, false) => ('*', 3),
                (false, _) => (visible_char(c), 1),
            };
            was_hidden = hidden;
            excerpt.text.extend(std::iter::repeat_n(c, times));
            if i < start {
                excerpt.before += width(c) * times;
            } else if i < end {
                excerpt.under += width(c) * times;
            }
        }
        excerpt.text.truncate(excerpt.text.trim_end().len());
        excerpt
    }

    /// The masked ranges of a source that meet `from..to`.
    fn masks_of(&self, source: u32, from: usize, to: usize) -> Vec<Range<usize>> {
        let here = self.masks.iter().filter(|mask| mask.source == source);
        let ranges = here.map(|mask| mask.start as usize..mask.end as usize);
        ranges.filter(|range| range.start < to && from < range.end).collect()
    }

    /// One JSON object per diagnostic in a list, and the counts.
    pub fn render_json(&self) -> String {
        let mut out = String::from("{\"diagnostics\":[");
        for (i, diagnostic) in self.list.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            let severity = if diagnostic.is_error() { "error" } else { "warning" };
            let _ = write!(out, "{{\"code\":\"{}\",\"severity\":\"{severity}\"", diagnostic.code);
            let texts = [
                ("title", &diagnostic.title),
                ("note", &diagnostic.note),
                ("help", &diagnostic.help),
            ];
            for (name, text) in texts {
                let _ = write!(out, ",\"{name}\":");
                json_text(&mut out, text);
            }
            out.push_str(",\"at\":");
            self.json_place(&mut out, diagnostic.at);
            if let Some(other) = diagnostic.other {
                out.push_str(",\"other\":");
                self.json_place(&mut out, other);
            }
            out.push('}');
        }
        let _ = writeln!(out, "],\"errors\":{},\"warnings\":{}}}", self.errors, self.warnings);
        out
    }

    fn json_place(&self, out: &mut String, at: At) {
        let (line, column) = self.line_column(at);
        let (end_line, end_column) = self.line_column(At { start: at.end, ..at });
        out.push_str("{\"file\":");
        json_text(out, &self.sources[at.source as usize].name);
        let _ = write!(
            out,
            ",\"line\":{line},\"column\":{column},\"end_line\":{end_line},\
             \"end_column\":{end_column}}}"
        );
    }
}

/// A source line as it is shown, and where the caret goes under it.
struct Excerpt {
    line: usize,
    text: String,
    before: usize,
    under: usize,
}

fn json_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c < ' ' || c == '\x7f' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Without characters that a terminal would obey: a file is text from somewhere.
fn visible(text: &str) -> Cow<'_, str> {
    match text.chars().any(|c| visible_char(c) != c) {
        true => Cow::Owned(text.chars().map(visible_char).collect()),
        false => Cow::Borrowed(text),
    }
}

fn visible_char(c: char) -> char {
    match c {
        '\t' | '\r' => ' ',
        // Marks that turn the direction of text around them hide what a line says.
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

/// Columns of a character on a terminal, roughly (East Asian wide, combining marks).
fn width(c: char) -> usize {
    match c as u32 {
        0x300..=0x36f | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff => 2,
        0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff => 2,
        0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// The candidate with the least edits, when that is at most a third of the word (one at least).
pub(super) fn closest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    if word.is_empty() || word.len() > WORD_BYTES_MAX {
        return None;
    }
    let limit = (word.len() / 3).max(1);
    let near = candidates.filter(|c| c.len().abs_diff(word.len()) <= limit);
    let scored = near.map(|c| (edits(word.as_bytes(), c.as_bytes()), c));
    scored.filter(|(edits, _)| *edits <= limit).min().map(|(_, c)| c)
}

/// Insertions, deletions, changes and swaps of neighbours that make `b` of `a`.
pub(super) fn edits(a: &[u8], b: &[u8]) -> usize {
    let mut before = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    let mut row = vec![0; b.len() + 1];
    for i in 1..=a.len() {
        row[0] = i;
        for j in 1..=b.len() {
            let change = usize::from(!a[i - 1].eq_ignore_ascii_case(&b[j - 1]));
            row[j] = (above[j] + 1).min(row[j - 1] + 1).min(above[j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        (before, above, row) = (above, row, before);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str, start: u32, end: u32) -> Diagnostics {
        let mut all = Diagnostics::default();
        let source = all.add_source("busbar.toml".into(), text.into());
        let at = At { source, start, end };
        all.push(Diagnostic::new("E101", at, "unknown key `x`").note("did you mean `y`?"));
        all
    }

    #[test]
    fn a_caret_stands_under_its_word_and_tabs_are_one_column() {
        let text = one("a = 1\n\tx = 2\n", 7, 8).render(false);
        let expect = "E101 unknown key `x`\n  busbar.toml:2:2\n    2 |  x = 2\n      |  ^ \
                      did you mean `y`?\n\n1 error; nothing was changed\n";
        assert_eq!(text, expect);
    }

    #[test]
    fn wide_characters_take_two_columns_of_the_caret_line() {
        let text = one("\"日本\" = 2", 11, 12).render(false);
        assert!(text.contains("busbar.toml:1:8\n"), "{text}");
        assert!(text.contains("      |          ^"), "{text}");
    }

    #[test]
    fn long_lines_are_cut_around_the_caret() {
        let line = format!("{}X{}", "a".repeat(5000), "b".repeat(5000));
        let text = one(&line, 5000, 5001).render(false);
        assert!(text.len() < 700, "{}", text.len());
        let lines: Vec<&str> = text.lines().collect();
        let caret = lines[3].chars().position(|c| c == '^').expect("a caret");
        assert_eq!(lines[2].chars().nth(caret), Some('X'));
    }

    #[test]
    fn a_terminal_gets_no_control_characters_and_json_escapes_them() {
        let all = one("x = \"\x1b[2J\u{202e}\"", 0, 1);
        assert!(!all.render(false).contains(['\x1b', '\u{202e}']));
        let mut all = Diagnostics::default();
        let source = all.add_source("a\"b".into(), "x".into());
        let at = At { source, start: 0, end: 1 };
        all.push(Diagnostic::new("W203", at, "say \"hi\"\n\x07"));
        assert_eq!(
            all.render_json(),
            "{\"diagnostics\":[{\"code\":\"W203\",\"severity\":\"warning\",\
             \"title\":\"say \\\"hi\\\"\\n\\u0007\",\"note\":\"\",\"help\":\"\",\
             \"at\":{\"file\":\"a\\\"b\",\"line\":1,\"column\":1,\
             \"end_line\":1,\"end_column\":2}}],\
             \"errors\":0,\"warnings\":1}\n"
        );
        assert_eq!(all.summary(), "1 warning");
    }

    #[test]
    fn places_outside_of_the_text_are_moved_into_it() {
        let all = one("é", 1, 900);
        assert_eq!((all.list()[0].at.start, all.list()[0].at.end), (0, 2));
    }

    #[test]
    fn suggestions_are_near_and_never_far() {
        let words = ["timeout", "to", "path", "deadline"];
        let rows = [
            ("time_out", Some("timeout")),
            ("tiemout", Some("timeout")),
            ("Path", Some("path")),
            ("ot", Some("to")),
            ("zzz", None),
            ("deadly", None),
        ];
        for (word, expect) in rows {
            assert_eq!(closest(word, words.into_iter()), expect, "{word}");
        }
    }
}
