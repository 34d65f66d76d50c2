//! `keys.csv`: consumers of a file, a line each (RFC 4180, with `#` comments).
//!
//! ```text
//! name,api_key,groups,scopes,plan,basic
//! acme,sha256:9f86…0a08,partners,orders:read orders:write,gold,
//! ```
//!
//! The first line names the columns, in any order. Cells hold several keys, groups or scopes with
//! spaces between them.

use std::borrow::Cow;

use super::consumers::{Builder, Mistake};
use super::keys::read_digest;
use super::mistakes::{Mistakes, shown};
use crate::ids::PlanId;

/// Of one line, or of one quoted cell with line breaks.
pub const RECORD_BYTES_MAX: usize = 64 << 10;

/// Of what stands where a column's name should, and is shown.
const COLUMN_BYTES_MAX: usize = 12;
const COLUMNS: [&str; 6] = ["name", "api_key", "groups", "scopes", "plan", "basic"];
const NAME: usize = 0;
const API_KEY: usize = 1;
const GROUPS: usize = 2;
const SCOPES: usize = 3;
const PLAN: usize = 4;
const BASIC: usize = 5;

/// Adds the consumers of `text`; `plan` knows the configured plans by name. With any mistake the
/// builder holds some of them and is to be thrown away.
pub fn read(
    text: &[u8],
    into: &mut Builder,
    plan: impl Fn(&[u8]) -> Option<PlanId>,
) -> Result<(), Mistakes> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text); // some editors' mark
    let mut reader = Reader { text, at: 0, line: 1, cells: Vec::new(), start: 0 };
    let mut file = File {
        first: into.len(),
        into,
        lines_of: Vec::new(),
        mistakes: Mistakes::default(),
        places: [None; COLUMNS.len()],
        columns: 0,
    };
    if reader.next(&mut file.mistakes) {
        file.head(&reader);
        while file.columns > 0 && reader.next(&mut file.mistakes) {
            file.record(&reader, &plan);
        }
    } else if file.mistakes.is_empty() {
        file.mistakes.add(1, b"", 0, || "the first line names the columns".to_owned());
    }
    if file.mistakes.is_empty() { Ok(()) } else { Err(file.mistakes) }
}

/// How many lines there are, as room to make.
pub fn lines(text: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', text).count()
}

/// A mistake that names the line of the consumer that came first.
pub(super) fn with_line(why: &Mistake, first: usize, lines_of: &[u32]) -> String {
    match why {
        Mistake::NameTwice(other) | Mistake::KeyTwice(other) => {
            match other.index().checked_sub(first).and_then(|i| lines_of.get(i)) {
                Some(line) => format!("{why} (line {line})"),
                None => format!("{why} (in the configuration)"),
            }
        }
        _ => why.to_string(),
    }
}

/// A cell: where it begins in its record's text, and what it says.
struct Cell<'a> {
    at: usize,
    text: Cow<'a, [u8]>,
}

/// Records of a text, one after the other.
struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    /// Where the current record begins, and the number of that line.
    start: usize,
    line: u32,
    cells: Vec<Cell<'a>>,
}

impl<'a> Reader<'a> {
    /// The next record's cells; false at the end, or when the rest can't be told apart.
    fn next(&mut self, mistakes: &mut Mistakes) -> bool {
        while self.at < self.text.len() {
            self.line += self.breaks();
            self.start = self.at;
            self.cells.clear();
            let rest = &self.text[self.at..];
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let line = &rest[..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() || line.starts_with(b"#") {
                self.at += (end + 1).min(rest.len());
                continue;
            }
            // Fast path: a line without quotes is its cells.
            if memchr::memchr(b'"', line).is_none() {
                self.at += (end + 1).min(rest.len());
                if !self.fits(line.len(), mistakes) {
                    continue;
                }
                let mut at = 0;
                for text in line.split(|&b| b == b',') {
                    self.cells.push(Cell { at, text: Cow::Borrowed(text) });
                    at += text.len() + 1;
                }
                return true;
            }
            match self.quoted() {
                Ok(true) => return true,
                Ok(false) => {}
                Err((at, why)) => {
                    let line = self.record();
                    mistakes.add(self.line, line, at, || why.to_owned());
                    // Where a quote is wrong, nobody knows where the line ends.
                    return false;
                }
            }
        }
        false
    }

    /// Line breaks between the last record's beginning and here.
    fn breaks(&self) -> u32 {
        memchr::memchr_iter(b'\n', &self.text[self.start..self.at]).count() as u32
    }

    fn fits(&self, bytes: usize, mistakes: &mut Mistakes) -> bool {
        let fits = bytes <= RECORD_BYTES_MAX;
        if !fits {
            let why = || format!("a line has at most {RECORD_BYTES_MAX} bytes");
            mistakes.add(self.line, b"", 0, why);
        }
        fits
    }

    /// The text from the record's beginning, for a column.
    fn record(&self) -> &'a [u8] {
        let rest = &self.text[self.start..];
        &rest[..rest.len().min(RECORD_BYTES_MAX)]
    }

    /// Cells of a record in which there are quotes.
    fn quoted(&mut self) -> Result<bool, (usize, &'static str)> {
        let rest = self.record();
        let mut at = 0;
        loop {
            let start = at;
            let text = if rest.get(at) == Some(&b'"') {
                let (text, after) = unquoted(rest, at)?;
                at = after;
                Cow::Owned(text)
            } else {
                let stop = rest[at..].iter().position(|b| b",\n\"".contains(b));
                at = stop.map_or(rest.len(), |stop| at + stop);
                if rest.get(at) == Some(&b'"') {
                    return Err((at, "a quote stands at the beginning of a cell or in quotes"));
                }
                let text = &rest[start..at];
                Cow::Borrowed(if rest.get(at) == Some(&b',') { text } else { uncarried(text) })
            };
            self.cells.push(Cell { at: start, text });
            if rest.len() == RECORD_BYTES_MAX && at == rest.len() {
                return Err((0, "a line has at most 65536 bytes"));
            }
            match rest[at..] {
                [b',', ..] => at += 1,
                [b'\r', b'\n', ..] => {
                    self.at += at + 2;
                    return Ok(true);
                }
                [b'\n', ..] | [] => {
                    self.at += (at + 1).min(self.text.len() - self.at);
                    return Ok(true);
                }
                _ => return Err((at, "a comma or the line's end is expected after a quote")),
            }
        }
    }
}

fn uncarried(text: &[u8]) -> &[u8] {
    text.strip_suffix(b"\r").unwrap_or(text)
}

/// What stands in the quotes that begin at `at`, and where they end.
fn unquoted(rest: &[u8], at: usize) -> Result<(Vec<u8>, usize), (usize, &'static str)> {
    let (mut text, mut from) = (Vec::new(), at + 1);
    loop {
        let quote = memchr::memchr(b'"', &rest[from..]).map(|i| from + i);
        let quote = quote.ok_or((at, "a quote is not closed"))?;
        text.extend_from_slice(&rest[from..quote]);
        if rest.get(quote + 1) != Some(&b'"') {
            return Ok((text, quote + 1));
        }
        text.push(b'"');
        from = quote + 2;
    }
}

struct File<'b> {
    into: &'b mut Builder,
    /// How many consumers there were before, and the lines of those since.
    first: usize,
    lines_of: Vec<u32>,
    mistakes: Mistakes,
    /// Which cell of a record has each of [`COLUMNS`].
    places: [Option<usize>; COLUMNS.len()],
    columns: usize,
}

impl File<'_> {
    fn head(&mut self, reader: &Reader<'_>) {
        let (line, record) = (reader.line, reader.record());
        for (place, cell) in reader.cells.iter().enumerate() {
            let name = cell.text.trim_ascii();
            match COLUMNS.iter().position(|known| known.as_bytes() == name) {
                Some(column) if self.places[column].is_some() => {
                    let why = || format!("column `{}` stands here twice", COLUMNS[column]);
                    self.mistakes.add(line, record, cell.at, why);
                }
                Some(column) => self.places[column] = Some(place),
                None => {
                    // Without a head line this is the first consumer's, and may be a key.
                    let is_word = |b: &u8| b.is_ascii_lowercase() || *b == b'_';
                    let is_name = name.len() <= COLUMN_BYTES_MAX && name.iter().all(is_word);
                    let column = if is_name { shown(name) } else { "***".to_owned() };
                    let why = || format!("no column `{column}`: {}", COLUMNS.join(", "));
                    self.mistakes.add(line, record, cell.at, why);
                }
            }
        }
        if self.places[NAME].is_none() {
            let why = || "the first line names the columns; `name` is needed".to_owned();
            self.mistakes.add(line, record, 0, why);
            return;
        }
        self.columns = reader.cells.len();
    }

    fn record(&mut self, reader: &Reader<'_>, plan: &impl Fn(&[u8]) -> Option<PlanId>) {
        let (line, record) = (reader.line, reader.record());
        let (cells, columns) = (reader.cells.len(), self.columns);
        if cells != columns {
            let at = reader.cells.get(columns).map_or(0, |cell| cell.at);
            let why = || format!("{cells} cells, where the first line names {columns} columns");
            return self.mistakes.add(line, record, at, why);
        }
        let cell = |column: usize| self.places[column].map(|place| &reader.cells[place]);
        let text = |column: usize| cell(column).map_or(&b""[..], |cell| &cell.text);
        let place = |column: usize| cell(column).map_or(0, |cell| cell.at);
        let mistakes = &mut self.mistakes;
        if std::str::from_utf8(text(NAME)).is_err() {
            return mistakes.add(line, record, place(NAME), || "a name is UTF-8".to_owned());
        }
        // The service gets them in one field, with commas between.
        for column in [GROUPS, SCOPES] {
            if text(column).contains(&b',') {
                let why = || "a group or scope has no comma; spaces stand between them".to_owned();
                return mistakes.add(line, record, place(column), why);
            }
        }
        let known = plan(text(PLAN));
        if known.is_none() && !text(PLAN).is_empty() {
            let why = || format!("no plan `{}`", shown(text(PLAN)));
            mistakes.add(line, record, place(PLAN), why);
        }
        let known = known.filter(|_| !text(PLAN).is_empty());
        let added = self.into.add(text(NAME), words(text(GROUPS)), words(text(SCOPES)), known);
        let id = match added {
            Ok(id) => id,
            Err(why) => {
                let column = self.blamed(&why, text(GROUPS));
                let why = || with_line(&why, self.first, &self.lines_of);
                return self.mistakes.add(line, record, place(column), why);
            }
        };
        self.lines_of.push(line);
        for key in words(text(API_KEY)) {
            let taken = match read_digest(key) {
                Some(digest) => self.into.add_key(id, digest),
                None => {
                    let why = || "a key is `sha256:` and 64 lower-case hex digits".to_owned();
                    self.mistakes.add(line, record, place(API_KEY), why);
                    continue;
                }
            };
            if let Err(why) = taken {
                let why = || with_line(&why, self.first, &self.lines_of);
                self.mistakes.add(line, record, place(API_KEY), why);
            }
        }
        if !text(BASIC).is_empty()
            && let Err(why) = self.into.set_basic(id, text(BASIC))
        {
            self.mistakes.add(line, record, place(BASIC), || why.to_string());
        }
    }

    /// The column that a mistake is about.
    fn blamed(&self, why: &Mistake, groups: &[u8]) -> usize {
        match why {
            Mistake::BadWord | Mistake::ManyOfOne => {
                let mut alone = Builder::new(super::texts::Words::new(0), 0, 1);
                let is_groups = alone.add(b"x", words(groups), [], None).is_err();
                if is_groups { GROUPS } else { SCOPES }
            }
            Mistake::ManyWords if self.places[GROUPS].is_none() => SCOPES,
            Mistake::ManyWords => GROUPS,
            _ => NAME,
        }
    }
}

fn words(cell: &[u8]) -> impl Iterator<Item = &[u8]> {
    cell.split(|&b| b == b' ').filter(|word| !word.is_empty())
}
