//! Mistakes with their places: file, line, column, the line itself, a caret and the cure.

use std::fmt::Write;

/// A text the configuration was read from.
#[derive(Debug, Clone)]
pub struct Source {
    /// As it is shown: a path, or `--set #1`.
    pub name: String,
    pub text: String,
}

/// A span of bytes in one of the sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    pub source: u16,
    pub start: u32,
    pub end: u32,
}

/// What every code means; `E` refuses, `W` warns. Codes are stable.
pub const CODES: &[(&str, &str)] = &[
    ("E100", "the file is not TOML"),
    ("E101", "an unknown key"),
    ("E102", "a value of the wrong type"),
    ("E103", "a value out of its range or form"),
    ("E104", "a quantity without its unit, or with a wrong one"),
    ("E105", "a key that is needed is missing"),
    ("E106", "keys that exclude each other"),
    ("E110", "a path pattern that can't be used"),
    ("E111", "a host pattern that can't be used"),
    ("E112", "an environment variable that is not set"),
    ("E113", "a template with a mistake"),
    ("E114", "an address that can't be used"),
    ("E115", "a header name or value that can't be used"),
    ("E116", "a file that can't be read"),
    ("E120", "an upstream that does not exist"),
    ("E121", "a listener that does not exist"),
    ("E122", "an endpoint that is one of our own listeners"),
    ("E123", "two listeners on one address"),
    ("E131", "two routes that want the same requests"),
    ("E145", "a prefix with bits outside its length"),
    ("E190", "a key this build does not know yet"),
    ("W202", "routes whose conditions overlap"),
    ("W203", "an upstream that no route uses"),
    ("W204", "a configuration without a route"),
];

#[derive(Debug, Clone)]
pub struct Diagnostic {
    pub code: &'static str,
    pub place: Place,
    /// What is wrong, in the first line.
    pub message: String,
    /// The cure, behind the caret.
    pub hint: String,
    /// A second place that belongs to it.
    pub other: Option<Place>,
}

impl Diagnostic {
    pub fn is_error(&self) -> bool {
        self.code.starts_with('E')
    }
}

/// All mistakes of one configuration, sorted by place.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics {
    pub sources: Vec<Source>,
    pub list: Vec<Diagnostic>,
}

impl Diagnostics {
    pub fn push(&mut self, code: &'static str, place: Place, message: String, hint: String) {
        debug_assert!(CODES.iter().any(|(c, _)| *c == code), "{code} is not in the table");
        self.list.push(Diagnostic { code, place, message, hint, other: None });
    }

    pub fn sort(&mut self) {
        self.list.sort_by(|a, b| a.place.cmp(&b.place).then(a.code.cmp(b.code)));
    }

    pub fn errors(&self) -> usize {
        self.list.iter().filter(|d| d.is_error()).count()
    }

    pub fn warnings(&self) -> usize {
        self.list.len() - self.errors()
    }

    /// Line and column, both from 1; the column counts characters.
    pub fn position(&self, place: Place) -> (usize, usize) {
        let text = &self.sources[usize::from(place.source)].text;
        let before = floor(text, place.start as usize);
        let line_start = text[..before].rfind('\n').map_or(0, |n| n + 1);
        let line = text[..before].matches('\n').count() + 1;
        (line, text[line_start..before].chars().count() + 1)
    }

    /// `file:line` of a place.
    pub fn line_of(&self, place: Place) -> String {
        let (line, _) = self.position(place);
        format!("{}:{line}", self.sources[usize::from(place.source)].name)
    }

    fn line_text(&self, place: Place) -> (&str, usize) {
        let text = &self.sources[usize::from(place.source)].text;
        let at = floor(text, place.start as usize);
        let start = text[..at].rfind('\n').map_or(0, |n| n + 1);
        let end = text[start..].find('\n').map_or(text.len(), |n| start + n);
        (text[start..end].trim_end_matches('\r'), start)
    }

    pub fn render(&self, color: bool) -> String {
        let mut out = String::new();
        for d in &self.list {
            self.render_one(d, color, &mut out);
        }
        let _ = writeln!(out, "{}; nothing was changed", self.counts());
        if self.errors() == 0 {
            out.truncate(out.len() - "; nothing was changed\n".len());
            out.push('\n');
        }
        out
    }

    /// `3 errors, 1 warning`.
    pub fn counts(&self) -> String {
        let many = |n: usize, what: &str| match n {
            1 => format!("1 {what}"),
            n => format!("{n} {what}s"),
        };
        match (self.errors(), self.warnings()) {
            (0, w) => many(w, "warning"),
            (e, 0) => many(e, "error"),
            (e, w) => format!("{}, {}", many(e, "error"), many(w, "warning")),
        }
    }

    fn render_one(&self, d: &Diagnostic, color: bool, out: &mut String) {
        let (on, off) = match (color, d.is_error()) {
            (false, _) => ("", ""),
            (true, true) => ("\x1b[1;31m", "\x1b[0m"),
            (true, false) => ("\x1b[1;33m", "\x1b[0m"),
        };
        let (line, column) = self.position(d.place);
        let name = &self.sources[usize::from(d.place.source)].name;
        let _ = writeln!(out, "{on}{}{off} {}", d.code, printable(&d.message));
        let _ = write!(out, "  {name}:{line}:{column}");
        if let Some(other) = d.other {
            let (line, column) = self.position(other);
            let name = &self.sources[usize::from(other.source)].name;
            let _ = write!(out, "  and  {name}:{line}:{column}");
        }
        out.push('\n');
        self.quote(d.place, &d.hint, out);
        if let Some(other) = d.other {
            self.quote(other, "", out);
        }
        out.push('\n');
    }

    /// The line, and a caret under the place with the hint behind it.
    fn quote(&self, place: Place, hint: &str, out: &mut String) {
        let (line, column) = self.position(place);
        let (text, start) = self.line_text(place);
        let shown = printable(&text.replace('\t', " "));
        let _ = writeln!(out, "  {line:>4} | {shown}");
        let source = &self.sources[usize::from(place.source)].text;
        let from = floor(source, place.start as usize);
        let to = floor(source, (place.end as usize).min(start + text.len())).max(from);
        let carets = source[from..to].chars().count().max(1);
        let (pad, carets) = (" ".repeat(column - 1), "^".repeat(carets));
        let _ = writeln!(out, "       | {pad}{carets} {}", printable(hint));
        while out.ends_with(" \n") {
            out.truncate(out.len() - 2);
            out.push('\n');
        }
    }

    pub fn render_json(&self) -> String {
        let mut out = String::from("[");
        for (n, d) in self.list.iter().enumerate() {
            let (line, column) = self.position(d.place);
            let _ = write!(
                out,
                "{}{{\"code\":\"{}\",\"severity\":\"{}\",\"file\":{},\"line\":{line},\
                 \"column\":{column},\"message\":{},\"hint\":{}}}",
                if n > 0 { "," } else { "" },
                d.code,
                if d.is_error() { "error" } else { "warning" },
                json(&self.sources[usize::from(d.place.source)].name),
                json(&d.message),
                json(&d.hint),
            );
        }
        out.push(']');
        out
    }
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Control characters would let a file speak to the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn json(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
