//! A typed walk over one table: every mistake, each with its place.

use std::time::Duration;

use super::diagnostic::{At, Diagnostic, Diagnostics};
use super::keys::{self, Key, Kind};
use super::model::{Limit, Spot};
use super::source::{Entry, Node, Table, Value};
use super::units::{self, UnitError};

/// A table with the list of what it may hold. Reading a key gives `None` when it is not there
/// or was wrong; the latter has been reported.
pub(super) struct Section<'t> {
    table: &'t Table,
    keys: &'static [Key],
    /// Where the table stands.
    pub(super) at: At,
}

impl<'t> Section<'t> {
    /// Reports every key that the list does not have.
    pub(super) fn open(
        table: &'t Table,
        at: At,
        keys: &'static [Key],
        out: &mut Diagnostics,
    ) -> Section<'t> {
        for entry in &table.entries {
            match keys.iter().find(|key| key.name == entry.key) {
                Some(Key { kind: Kind::Later, name, .. }) => out.push(not_yet(entry.key_at, name)),
                Some(_) => {}
                None => unknown(entry, keys, out),
            }
        }
        Section { table, keys, at }
    }

    pub(super) fn entries(&self) -> &'t [Entry] {
        &self.table.entries
    }

    pub(super) fn entry(&self, name: &str) -> Option<&'t Entry> {
        debug_assert!(self.keys.iter().any(|key| key.name == name), "{name} is in the list");
        self.table.find(name)
    }

    pub(super) fn node(&self, name: &str) -> Option<&'t Node> {
        self.entry(name).map(|entry| &entry.node)
    }

    /// Whether this kind of table has the key at all.
    pub(super) fn has_key(&self, name: &str) -> bool {
        self.keys.iter().any(|key| key.name == name)
    }

    fn kind(&self, name: &str) -> Kind {
        let found = self.keys.iter().find(|key| key.name == name);
        found.map(|key| key.kind).expect("the reader asks for keys of its list")
    }

    pub(super) fn text(&self, name: &str, out: &mut Diagnostics) -> Option<(&'t str, At)> {
        self.node(name).and_then(|node| text_of(node, out))
    }

    pub(super) fn bool(&self, name: &str, out: &mut Diagnostics) -> Option<bool> {
        let node = self.node(name)?;
        match node.value {
            Value::Bool(is) => Some(is),
            _ => {
                out.push(wrong_type(node, "true or false"));
                None
            }
        }
    }

    /// One of the words of the list.
    pub(super) fn word(&self, name: &str, out: &mut Diagnostics) -> Option<&'static str> {
        let Kind::Words(words) = self.kind(name) else { return None };
        let (text, at) = self.text(name, out)?;
        if let Some(word) = words.iter().find(|word| **word == text) {
            return Some(word);
        }
        let near = out.closest(text, words.iter().copied());
        let error = Diagnostic::new("E103", at, format!("`{name}` can't be \"{text}\""));
        out.push(match near {
            Some(near) => error.note(format!("did you mean \"{near}\"?")),
            None => error.note(format!("it is {}", one_of(words))),
        });
        None
    }

    pub(super) fn time(&self, name: &str, out: &mut Diagnostics) -> Option<Duration> {
        self.time_or_none(name, out)?.option()
    }

    pub(super) fn time_or_none(
        &self,
        name: &str,
        out: &mut Diagnostics,
    ) -> Option<Limit<Duration>> {
        time_of(self.node(name)?, self.kind(name), out)
    }

    pub(super) fn size(&self, name: &str, out: &mut Diagnostics) -> Option<u64> {
        self.size_or_none(name, out)?.option()
    }

    pub(super) fn size_or_none(&self, name: &str, out: &mut Diagnostics) -> Option<Limit<u64>> {
        let Kind::Size { min, max, none } = self.kind(name) else { return None };
        let node = self.node(name)?;
        let limit = quantity(node, none, ("size", "10KiB", "10MiB"), units::size, out)?;
        match limit {
            Limit::Max(size) if size < min || size > max => {
                out.push(out_of_range(node.at, [min, max].map(units::size_text)));
                None
            }
            limit => Some(limit),
        }
    }

    /// Bytes per second, at least one.
    pub(super) fn byte_rate(&self, name: &str, out: &mut Diagnostics) -> Option<Limit<u64>> {
        let Kind::ByteRate { none } = self.kind(name) else { return None };
        let node = self.node(name)?;
        let example = ("byte rate", "100B/s", "1MiB/s");
        let limit = quantity(node, none, example, units::byte_rate, out)?;
        if limit == Limit::Max(0) {
            out.push(out_of_range(node.at, ["1B/s".to_owned(), "1GiB/s".to_owned()]));
            return None;
        }
        Some(limit)
    }

    pub(super) fn count(&self, name: &str, out: &mut Diagnostics) -> Option<u64> {
        self.count_or_none(name, out)?.option()
    }

    pub(super) fn count_or_none(&self, name: &str, out: &mut Diagnostics) -> Option<Limit<u64>> {
        let Kind::Count { min, max, none } = self.kind(name) else { return None };
        let node = self.node(name)?;
        let count = match &node.value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::Text(text) if text == "none" && none => return Some(Limit::Off),
            Value::Text(text) if text == "none" => {
                out.push(not_lifted(node.at));
                return None;
            }
            Value::Text(text) => match units::count(text) {
                Ok(count) => Some(count),
                Err(UnitError::TooLarge) => None,
                Err(error) => {
                    out.push(bad_quantity(node.at, "number", text, &error, "\"5k\" or 5000"));
                    return None;
                }
            },
            _ => {
                out.push(wrong_type(node, "a whole number"));
                return None;
            }
        };
        match count {
            Some(count) if (min..=max).contains(&count) => Some(Limit::Max(count)),
            _ => {
                out.push(out_of_range(node.at, [min, max].map(|n| n.to_string())));
                None
            }
        }
    }

    /// One text or a list of them, each with its place. An empty list is a mistake unless `empty`
    /// says that it means something.
    pub(super) fn texts(
        &self,
        name: &str,
        empty: bool,
        out: &mut Diagnostics,
    ) -> Option<Vec<Spot<&'t str>>> {
        let node = self.node(name)?;
        let spot = |(value, at)| Spot { value, at };
        match &node.value {
            Value::Text(text) => Some(vec![Spot { value: text.as_str(), at: node.at }]),
            Value::List(list) if list.is_empty() && !empty => {
                let error = Diagnostic::new("E107", node.at, format!("`{name}` is empty"));
                out.push(error.note("leave it out for any"));
                None
            }
            Value::List(list) => {
                Some(list.iter().filter_map(|node| text_of(node, out)).map(spot).collect())
            }
            _ => {
                out.push(wrong_type(node, "a text or a list of texts"));
                None
            }
        }
    }

    /// A table under this one, with its own list.
    pub(super) fn section(
        &self,
        name: &str,
        keys: &'static [Key],
        out: &mut Diagnostics,
    ) -> Option<Section<'t>> {
        let node = self.node(name)?;
        let table = table_of(node, out)?;
        Some(Section::open(table, node.at, keys, out))
    }

    /// The entries of a table whose keys are names.
    pub(super) fn named(&self, name: &str, out: &mut Diagnostics) -> &'t [Entry] {
        let table = self.node(name).and_then(|node| table_of(node, out));
        table.map_or(&[], |table| &table.entries)
    }
}

/// The time at a node, as a key of the list takes it. `None` was reported.
pub(super) fn time_within(node: &Node, key: &Key, out: &mut Diagnostics) -> Option<Duration> {
    time_of(node, key.kind, out)?.option()
}

fn time_of(node: &Node, kind: Kind, out: &mut Diagnostics) -> Option<Limit<Duration>> {
    let Kind::Time { min, max, none } = kind else { return None };
    let limit = quantity(node, none, ("time", "10s", "10ms"), units::time, out)?;
    match limit {
        Limit::Max(time) if time < min || time > max => {
            let range = [min, max].map(units::time_text);
            out.push(out_of_range(node.at, range));
            None
        }
        limit => Some(limit),
    }
}

/// So many in a time. `None` was reported.
pub(super) fn rate(node: &Node, out: &mut Diagnostics) -> Option<(u64, Duration)> {
    let limit = quantity(node, false, ("rate", "10/s", "1000/h"), units::rate, out)?;
    let (count, time) = limit.option()?;
    if count == 0 || time.is_zero() {
        out.push(out_of_range(node.at, ["1/d", "1G/s"].map(str::to_owned)));
        return None;
    }
    Some((count, time))
}

fn unknown(entry: &Entry, keys: &[Key], out: &mut Diagnostics) {
    if let Some(note) = keys::elsewhere(&entry.key, keys) {
        let title = format!("`{}` can't stand here", entry.key);
        return out.push(Diagnostic::new("E147", entry.key_at, title).note(note));
    }
    let near = out.closest(&entry.key, keys.iter().map(|key| key.name));
    // A misspelt secret is one all the same.
    let is_secret = |kind: Kind| matches!(kind, Kind::Secret | Kind::Secrets);
    if keys.iter().any(|key| Some(key.name) == near && is_secret(key.kind)) {
        out.mask(entry.node.at);
    }
    let error = Diagnostic::new("E101", entry.key_at, format!("unknown key `{}`", entry.key));
    out.push(match near {
        Some(near) => error.note(format!("did you mean `{near}`?")),
        None => error.note(format!("known here: {}", known(keys))),
    });
}

/// `None` was reported.
pub(super) fn table_of<'t>(node: &'t Node, out: &mut Diagnostics) -> Option<&'t Table> {
    match &node.value {
        Value::Table(table) => Some(table),
        Value::List(_) => {
            let error = Diagnostic::new("E102", node.at, "a table is wanted here, not a list");
            out.push(error.note("tables are named: [route.NAME], not [[route]]"));
            None
        }
        _ => {
            out.push(wrong_type(node, "a table"));
            None
        }
    }
}

/// `None` was reported.
pub(super) fn text_of<'t>(node: &'t Node, out: &mut Diagnostics) -> Option<(&'t str, At)> {
    match &node.value {
        Value::Text(text) => Some((text, node.at)),
        Value::Integer(number) => {
            let error = Diagnostic::new("E102", node.at, "a text is wanted here, not a number");
            out.push(error.note(format!("write \"{number}\"")));
            None
        }
        _ => {
            out.push(wrong_type(node, "a text"));
            None
        }
    }
}

pub(super) fn wrong_type(node: &Node, wanted: &str) -> Diagnostic {
    let title = format!("{wanted} is wanted here, not {}", node.type_name());
    Diagnostic::new("E102", node.at, title)
}

pub(super) fn not_yet(at: At, what: &str) -> Diagnostic {
    Diagnostic::new("E190", at, format!("this build does not know `{what}` yet"))
        .note("remove it; it would have no effect")
}

fn not_lifted(at: At) -> Diagnostic {
    Diagnostic::new("E108", at, "this limit can't be lifted").note("give it a value")
}

fn out_of_range(at: At, [min, max]: [String; 2]) -> Diagnostic {
    let note = match min == max {
        true => format!("it can only be {min}"),
        false => format!("from {min} to {max}"),
    };
    Diagnostic::new("E106", at, "this is out of its range").note(note)
}

fn quantity<T>(
    node: &Node,
    none: bool,
    (what, usual, other): (&str, &str, &str),
    read: fn(&str) -> Result<T, UnitError>,
    out: &mut Diagnostics,
) -> Option<Limit<T>> {
    let unit = |example: &str| example.trim_start_matches(|c: char| c.is_ascii_digit()).to_owned();
    let error = match &node.value {
        Value::Text(text) if text == "none" && none => return Some(Limit::Off),
        Value::Text(text) if text == "none" => not_lifted(node.at),
        Value::Text(text) => match read(text) {
            Ok(value) => return Some(Limit::Max(value)),
            Err(error) => bad_quantity(node.at, what, text, &error, &format!("\"{usual}\"")),
        },
        Value::Integer(number) if *number >= 0 => {
            let note =
                format!("write \"{number}{}\" (or \"{number}{}\")", unit(usual), unit(other));
            Diagnostic::new("E104", node.at, format!("a {what} needs a unit")).note(note)
        }
        Value::Integer(_) | Value::Float => {
            Diagnostic::new("E104", node.at, format!("a {what} is a whole number with a unit"))
                .note(format!("such as \"{usual}\""))
        }
        _ => wrong_type(node, &format!("a {what} such as \"{usual}\"")),
    };
    out.push(error);
    None
}

fn bad_quantity(at: At, what: &str, text: &str, error: &UnitError, example: &str) -> Diagnostic {
    let title = format!("\"{text}\" is no {what}");
    match error {
        UnitError::NoUnit(fix) => Diagnostic::new("E104", at, format!("a {what} needs a unit"))
            .note(format!("write \"{fix}\"")),
        UnitError::BadUnit(fix) if !fix.is_empty() => {
            Diagnostic::new("E105", at, title).note(format!("write \"{fix}\""))
        }
        UnitError::TooLarge => Diagnostic::new("E106", at, "this is out of its range")
            .note("it does not fit in 64 bits"),
        UnitError::BadUnit(_) | UnitError::NoNumber => {
            Diagnostic::new("E105", at, title).note(format!("such as {example}"))
        }
    }
}

fn known(keys: &[Key]) -> String {
    let names = keys.iter().filter(|key| key.kind != Kind::Later).map(|key| key.name);
    names.collect::<Vec<_>>().join(", ")
}

/// `"a", "b" or "c"`.
pub(super) fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}
