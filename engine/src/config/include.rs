//! A file and what it includes → one tree. Tables merge by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::diagnostic::{At, Diagnostic, Diagnostics};
use super::files::{Origin, Outside};
use super::reader::{text_of, wrong_type};
use super::source::{self, Entry, Node, TEXT_BYTES_MAX, Table, Value};

/// Files of one configuration.
const FILES_MAX: usize = 1000;
/// Files that include files.
const DEPTH_MAX: usize = 8;
/// Folders that one pattern may lead through.
const FOLDERS_MAX: usize = 1000;

/// The text and every file that it leads to.
pub(super) fn read(
    name: String,
    text: String,
    origin: Origin,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Table {
    let (trees, above, seen) = Default::default();
    let mut walk = Walk { outside, out, trees, above, seen, bytes: text.len() };
    let path = origin.is_file.then(|| outside.files.identity(Path::new(&name)));
    walk.take(name, text, origin, path.unwrap_or_default());
    join(walk.trees, out)
}

struct Walk<'a> {
    outside: &'a Outside<'a>,
    out: &'a mut Diagnostics,
    trees: Vec<Table>,
    /// The files that lead to this one.
    above: Vec<PathBuf>,
    /// Each file, and where it was named first.
    seen: BTreeMap<PathBuf, At>,
    bytes: usize,
}

impl Walk<'_> {
    fn take(&mut self, name: String, text: String, origin: Origin, identity: PathBuf) {
        let source = self.out.add_source(name, text);
        self.outside.add_origin(origin);
        let mut table = source::parse(source, self.out);
        let include = table.take("include");
        self.trees.push(table);
        self.above.push(identity);
        if let Some(mut include) = include {
            let errors = self.out.errors();
            source::expand_node(&mut include.node, self.outside.env, self.out);
            if self.out.errors() == errors {
                self.follow(&include.node);
            }
        }
        self.above.pop();
    }

    fn follow(&mut self, node: &Node) {
        if self.out.is_doubtful(node.at) {
            return; // a missing quote or bracket would make names of files of all that follows
        }
        let patterns = match &node.value {
            Value::Text(_) => std::slice::from_ref(node),
            Value::List(list) => list.as_slice(),
            _ => return self.out.push(wrong_type(node, "a text or a list of texts")),
        };
        for node in patterns {
            if let Some((pattern, at)) = text_of(node, self.out) {
                self.follow_pattern(pattern, at);
            }
        }
    }

    fn follow_pattern(&mut self, pattern: &str, at: At) {
        let unreadable = |note: &str| {
            Diagnostic::new("E114", at, format!("\"{pattern}\" can't be read")).note(note)
        };
        let Some(folder) = self.outside.origin(at.source).folder else {
            return self.out.push(unreadable("only a configuration in a file can name others"));
        };
        if pattern.is_empty() || pattern.contains("**") {
            return self.out.push(unreadable("name files, with `*` and `?` within a name"));
        }
        let paths = match is_pattern(pattern) {
            false => vec![folder.join(pattern)],
            true => match matches(self.outside, &folder, pattern) {
                Ok(paths) => paths,
                Err(note) => return self.out.push(unreadable(&note)),
            },
        };
        if paths.is_empty() {
            let warning = Diagnostic::new("W208", at, format!("\"{pattern}\" matches no file"));
            return self.out.push(warning.note("nothing is included by it"));
        }
        for path in paths {
            self.follow_file(path, at);
        }
    }

    fn follow_file(&mut self, path: PathBuf, at: At) {
        let identity = self.outside.files.identity(&path);
        let name = path.display().to_string();
        let refuse = |title: String| Diagnostic::new("E116", at, title);
        let error = match self.seen.get(&identity) {
            _ if self.above.contains(&identity) => {
                refuse(format!("{name} leads back to itself")).note("name other files only")
            }
            Some(first) => refuse(format!("{name} is included twice"))
                .note("once is enough, whoever needs it")
                .other(*first),
            None if self.above.len() > DEPTH_MAX => {
                refuse("files include each other too deeply".into()).note("at most 8 deep")
            }
            None if self.seen.len() == FILES_MAX => {
                refuse("these are too many files".into()).note("at most 1000")
            }
            None => {
                self.seen.insert(identity.clone(), at);
                return self.read_file(path, name, at, identity);
            }
        };
        self.out.push(error);
    }

    fn read_file(&mut self, path: PathBuf, name: String, at: At, identity: PathBuf) {
        let folder = path.parent().map(Path::to_owned);
        let left = TEXT_BYTES_MAX - self.bytes;
        let content = self.outside.read(path, left as u64);
        let text = content.and_then(|content| {
            String::from_utf8(content.bytes).map_err(|_| "it is not UTF-8".to_owned())
        });
        match text {
            Ok(text) => {
                self.bytes += text.len();
                self.take(name, text, Origin { folder, is_file: true }, identity);
            }
            Err(note) => {
                let error = Diagnostic::new("E114", at, format!("{name} can't be read"));
                self.out.push(error.note(note));
            }
        }
    }
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// The files that `pattern` matches, sorted; or the note for the message.
fn matches(outside: &Outside<'_>, folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let mut folders = vec![match pattern.starts_with('/') {
        true => PathBuf::from("/"),
        false => folder.to_owned(),
    }];
    let parts: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
    let (last, parts) = parts.split_last().ok_or("it names no file")?;
    for part in parts {
        if !is_pattern(part) {
            folders.iter_mut().for_each(|folder| folder.push(part));
            continue;
        }
        folders = below(outside, &folders, part, true)?;
        if folders.len() > FOLDERS_MAX {
            return Err("it leads through more than 1000 folders".to_owned());
        }
    }
    below(outside, &folders, last, false)
}

/// What stands in `folders` under a name that `part` matches.
fn below(
    outside: &Outside<'_>,
    folders: &[PathBuf],
    part: &str,
    wants_folders: bool,
) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for folder in folders {
        let names = outside.names(folder).map_err(|error| error.to_string())?;
        let here = names.into_iter().filter(|(name, is_folder)| {
            *is_folder == wants_folders && is_match(part.as_bytes(), name.as_bytes())
        });
        found.extend(here.map(|(name, _)| folder.join(name)));
    }
    found.sort();
    Ok(found)
}

/// `*` is any number of bytes, `?` one character. A name that begins with a dot wants one in the
/// pattern: editors put their copies there.
fn is_match(pattern: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && pattern.first() != Some(&b'.') {
        return false;
    }
    let (mut p, mut n) = (0, 0);
    // Where to go on when it does not fit: behind the last `*`, one more byte taken by it.
    let mut again = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                again = Some((p + 1, n + 1));
                p += 1;
            }
            Some(b'?') => {
                let more = name[n + 1..].iter().take_while(|b| **b & 0xc0 == 0x80).count();
                (p, n) = (p + 1, n + 1 + more);
            }
            Some(b) if *b == name[n] => (p, n) = (p + 1, n + 1),
            _ => match again {
                Some((behind, from)) => {
                    (p, n) = (behind, from);
                    again = Some((behind, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

/// One tree of all.
fn join(mut trees: Vec<Table>, out: &mut Diagnostics) -> Table {
    match trees.len() {
        1 => trees.remove(0), // Fast path.
        _ => Table { entries: join_entries(trees, None, out) },
    }
}

/// Down to `levels` tables of one name become one; deeper, a name has one place in one file.
/// `None` at the top, where the key tells.
fn join_entries(tables: Vec<Table>, levels: Option<u8>, out: &mut Diagnostics) -> Vec<Entry> {
    let mut all: Vec<Entry> = tables.into_iter().flat_map(|table| table.entries).collect();
    // Stable: the file that was read first stays first.
    all.sort_by(|a, b| a.key.cmp(&b.key));
    let mut joined: Vec<Entry> = Vec::with_capacity(all.len());
    let mut rest = all.into_iter().peekable();
    while let Some(first) = rest.next() {
        let levels = levels.unwrap_or(if first.key == "defaults" { 2 } else { 1 });
        let mut same = vec![first];
        while let Some(next) = rest.next_if(|next| next.key == same[0].key) {
            same.push(next);
        }
        joined.push(join_same(same, levels, out));
    }
    joined
}

/// The entries of one name in several files; there is one at least.
fn join_same(mut same: Vec<Entry>, levels: u8, out: &mut Diagnostics) -> Entry {
    let is_table = |entry: &Entry| matches!(entry.node.value, Value::Table(_));
    let first = same.remove(0);
    if same.is_empty() {
        return first;
    }
    if levels == 0 || !is_table(&first) || !same.iter().all(is_table) {
        // Each file may say which version it is written for.
        if first.key != "busbar" {
            given_twice(&first, &same, out);
        }
        return first;
    }
    let Entry { key, key_at, node: Node { at, value } } = first;
    let values = std::iter::once(value).chain(same.into_iter().map(|entry| entry.node.value));
    let tables = values.filter_map(|value| match value {
        Value::Table(table) => Some(table),
        _ => None,
    });
    let entries = join_entries(tables.collect(), Some(levels - 1), out);
    Entry { key, key_at, node: Node { at, value: Value::Table(Table { entries }) } }
}

fn given_twice(first: &Entry, others: &[Entry], out: &mut Diagnostics) {
    let title = format!("`{}` is given twice", first.key);
    for again in others {
        let error = Diagnostic::new("E117", first.key_at, title.clone());
        out.push(error.note("it has one place, in one file").other(again.key_at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        let rows = [
            ("*.toml", "a.toml", true),
            ("*.toml", ".toml", false),
            ("*.toml", ".a.toml", false),
            (".*", ".a", true),
            ("*.toml", "a.toml~", false),
            ("*.toml", "a.tom", false),
            ("a?c", "abc", true),
            ("a?c", "aéc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "ab", true),
            ("*a*b", "abx", false),
            ("**", "", true),
            ("", "", true),
            ("?", "", false),
            ("*ab", "aab", true),
        ];
        for (pattern, name, expect) in rows {
            assert_eq!(is_match(pattern.as_bytes(), name.as_bytes()), expect, "{pattern} {name}");
        }
    }
}
