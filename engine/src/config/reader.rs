//! A typed walk over one table: every mistake goes into the diagnostics, with its place.

use std::time::Duration;

use super::diagnostic::{Diagnostics, Place};
use super::model::TableModel;
use super::tree::{At, Table, Value};
use super::units;
use crate::http::template::nearest;

/// One table being read. Keys are known from its model.
pub struct Reader<'t> {
    table: &'t Table,
    pub place: Place,
}

pub type Found<'d> = &'d mut Diagnostics;

impl<'t> Reader<'t> {
    /// Unknown keys are reported here, so that nothing is ignored.
    pub fn new(table: &'t Table, place: Place, model: &TableModel, found: Found<'_>) -> Reader<'t> {
        for (key, _) in &table.entries {
            let name = key.value.as_str();
            if model.keys.iter().any(|k| k.name == name) {
                continue;
            }
            if model.later.contains(&name) {
                let full = match model.title {
                    "top" => name.to_owned(),
                    title => format!("{name} in {title}"),
                };
                let message = format!("this build does not know {full} yet");
                found.push("E190", key.place, message, "leave it out".to_owned());
                continue;
            }
            let known = model.keys.iter().map(|k| k.name);
            let hint = match nearest(name, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => {
                    let all: Vec<_> = model.keys.iter().map(|k| k.name).collect();
                    format!("known here: {}", all.join(", "))
                }
            };
            found.push("E101", key.place, format!("unknown key `{name}`"), hint);
        }
        Reader { table, place }
    }

    pub fn raw(&self, key: &str) -> Option<&'t At<Value>> {
        self.table.get(key).map(|(_, v)| v)
    }

    pub fn key_place(&self, key: &str) -> Place {
        self.table.get(key).map_or(self.place, |(k, _)| k.place)
    }

    pub fn text(&self, key: &str, found: Found<'_>) -> Option<At<&'t str>> {
        text_of(self.raw(key)?, found)
    }

    pub fn flag(&self, key: &str, found: Found<'_>) -> Option<bool> {
        let at = self.raw(key)?;
        match at.value {
            Value::Bool(b) => Some(b),
            _ => wrong(at, "true or false", found),
        }
    }

    /// A word out of a few.
    pub fn choice(&self, key: &str, among: &[&str], found: Found<'_>) -> Option<usize> {
        let text = self.text(key, found)?;
        let index = among.iter().position(|c| *c == text.value);
        if index.is_none() {
            let hint = format!("one of {}", quoted(among));
            let message = format!("`{key}` can't be \"{}\"", text.value);
            found.push("E103", text.place, message, hint);
        }
        index
    }

    pub fn count(&self, key: &str, range: (u64, u64), found: Found<'_>) -> Option<u64> {
        let at = self.raw(key)?;
        let n = match &at.value {
            Value::Integer(n) => u64::try_from(*n).ok(),
            Value::Text(text) => units::count(text),
            _ => return wrong(at, "a number", found),
        };
        in_range(key, n, range, at.place, found)
    }

    pub fn size(&self, key: &str, range: (u64, u64), found: Found<'_>) -> Option<u64> {
        let at = self.raw(key)?;
        let n = quantity(at, "a size", &["KiB", "B"], units::size, found)?;
        in_range(key, Some(n), range, at.place, found)
    }

    pub fn time(&self, key: &str, found: Found<'_>) -> Option<Duration> {
        quantity(self.raw(key)?, "a time", &["s", "ms"], units::time, found)
    }

    /// `"none"` lifts: `Some(None)`.
    fn liftable<T>(
        &self,
        key: &str,
        found: Found<'_>,
        read: impl FnOnce(&Self, Found<'_>) -> Option<T>,
    ) -> Option<Option<T>> {
        match &self.raw(key)?.value {
            Value::Text(text) if text == "none" => Some(None),
            _ => read(self, found).map(Some),
        }
    }

    pub fn time_or_none(
        &self,
        key: &str,
        default: Option<Duration>,
        found: Found<'_>,
    ) -> Option<Duration> {
        self.liftable(key, found, |r, found| r.time(key, found)).unwrap_or(default)
    }

    pub fn size_or_none(&self, key: &str, default: u64, found: Found<'_>) -> Option<u64> {
        self.liftable(key, found, |r, found| r.size(key, (0, u64::MAX), found))
            .unwrap_or(Some(default))
    }

    pub fn rate_or_none(&self, key: &str, default: u64, found: Found<'_>) -> Option<u64> {
        let read = |r: &Self, found: Found<'_>| {
            let at = r.raw(key)?;
            quantity(at, "a rate", &["B/s", "KiB/s"], units::byte_rate, found)
        };
        self.liftable(key, found, read).unwrap_or(Some(default))
    }

    /// A text or a list of texts.
    pub fn texts(&self, key: &str, found: Found<'_>) -> Option<Vec<At<&'t str>>> {
        let at = self.raw(key)?;
        match &at.value {
            Value::Text(text) => Some(vec![At { value: text.as_str(), place: at.place }]),
            Value::List(list) => Some(list.iter().filter_map(|at| text_of(at, found)).collect()),
            _ => wrong(at, "a string or a list of strings", found),
        }
    }

    pub fn table(&self, key: &str, found: Found<'_>) -> Option<(&'t Table, Place)> {
        table_of(self.raw(key)?, found)
    }
}

pub fn table_of<'t>(at: &'t At<Value>, found: Found<'_>) -> Option<(&'t Table, Place)> {
    match &at.value {
        Value::Table(table) => Some((table, at.place)),
        _ => wrong(at, "a table", found),
    }
}

pub fn text_of<'t>(at: &'t At<Value>, found: Found<'_>) -> Option<At<&'t str>> {
    match &at.value {
        Value::Text(text) => Some(At { value: text, place: at.place }),
        _ => wrong(at, "a string", found),
    }
}

/// Reports a value of the wrong type.
pub fn wrong<T>(at: &At<Value>, wanted: &str, found: Found<'_>) -> Option<T> {
    let message = format!("this is {}, wanted is {wanted}", at.value.kind());
    found.push("E102", at.place, message, String::new());
    None
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(", ")
}

fn in_range(
    key: &str,
    n: Option<u64>,
    (low, high): (u64, u64),
    place: Place,
    found: Found<'_>,
) -> Option<u64> {
    let n = n.filter(|n| (low..=high).contains(n));
    if n.is_none() {
        let hint = match high {
            u64::MAX => format!("at least {low}"),
            _ => format!("{low} to {high}"),
        };
        found.push("E103", place, format!("`{key}` is out of its range"), hint);
    }
    n
}

fn quantity<T>(
    at: &At<Value>,
    what: &str,
    examples: &[&str; 2],
    read: impl Fn(&str) -> Result<T, units::Bad>,
    found: Found<'_>,
) -> Option<T> {
    let text = match &at.value {
        Value::Text(text) => text,
        Value::Integer(n) => {
            let hint = format!("write \"{n}{}\" (or \"{n}{}\")", examples[0], examples[1]);
            found.push("E104", at.place, format!("{what} needs a unit"), hint);
            return None;
        }
        _ => return wrong(at, &format!("{what}, \"10{}\" say", examples[0]), found),
    };
    match read(text) {
        Ok(value) => Some(value),
        Err(bad) => {
            let hint = match bad {
                units::Bad::NoUnit => {
                    format!("write \"{text}{}\" (or \"{text}{}\")", examples[0], examples[1])
                }
                units::Bad::Unit(known) => format!("units are {known}"),
                units::Bad::Number => format!("as \"10{}\"", examples[0]),
                units::Bad::TooLarge => "that is more than can be counted".to_owned(),
            };
            found.push("E104", at.place, format!("\"{text}\" is not {what}"), hint);
            None
        }
    }
}
