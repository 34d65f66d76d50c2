//! The parsed files as one tree: values with their places, `--set` merged over, `${ENV}` filled.

use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostics, Place, Source};

/// A value and where it stands.
#[derive(Debug, Clone)]
pub struct At<T> {
    pub value: T,
    pub place: Place,
}

#[derive(Debug, Clone)]
pub enum Value {
    Text(String),
    Integer(i64),
    Float,
    Bool(bool),
    Date,
    List(Vec<At<Value>>),
    Table(Table),
}

impl Value {
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "a string",
            Value::Integer(_) | Value::Float => "a number",
            Value::Bool(_) => "true or false",
            Value::Date => "a date",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

/// Keys in the order of their names.
#[derive(Debug, Clone, Default)]
pub struct Table {
    pub entries: Vec<(At<String>, At<Value>)>,
}

impl Table {
    pub fn get(&self, key: &str) -> Option<&(At<String>, At<Value>)> {
        let found = self.entries.binary_search_by(|(k, _)| k.value.as_str().cmp(key));
        found.ok().map(|n| &self.entries[n])
    }

    /// Puts a value at a dotted path, tables being made on the way.
    fn set(&mut self, path: &[At<String>], value: At<Value>) {
        let [key, rest @ ..] = path else { return };
        let found = self.entries.binary_search_by(|(k, _)| k.value.cmp(&key.value));
        let index = found.unwrap_or_else(|index| {
            let empty = At { value: Value::Table(Table::default()), place: key.place };
            self.entries.insert(index, (key.clone(), empty));
            index
        });
        let slot = &mut self.entries[index];
        if rest.is_empty() {
            *slot = (key.clone(), value);
            return;
        }
        if !matches!(slot.1.value, Value::Table(_)) {
            slot.1 = At { value: Value::Table(Table::default()), place: key.place };
        }
        if let Value::Table(table) = &mut slot.1.value {
            table.set(rest, value);
        }
    }
}

struct Build<'e> {
    source: u16,
    env: &'e dyn Fn(&str) -> Option<String>,
    found: Diagnostics,
}

impl Build<'_> {
    fn place(&self, span: std::ops::Range<usize>) -> Place {
        Place { source: self.source, start: span.start as u32, end: span.end as u32 }
    }

    fn table(&mut self, table: &DeTable<'_>) -> Table {
        let mut entries = Vec::with_capacity(table.len());
        for (key, value) in table {
            let name = At { value: key.get_ref().to_string(), place: self.place(key.span()) };
            let place = self.place(value.span());
            entries.push((name, At { value: self.value(value.get_ref(), place), place }));
        }
        entries.sort_by(|a, b| a.0.value.cmp(&b.0.value));
        Table { entries }
    }

    fn value(&mut self, value: &DeValue<'_>, place: Place) -> Value {
        match value {
            DeValue::String(text) => Value::Text(self.fill_in(text, place)),
            DeValue::Integer(n) => {
                let digits = n.as_str().replace('_', "");
                match i64::from_str_radix(&digits, n.radix()) {
                    Ok(n) => Value::Integer(n),
                    Err(_) => {
                        let message = "a number is too large".to_owned();
                        self.found.push("E103", place, message, "at most 2^63 - 1".to_owned());
                        Value::Integer(0)
                    }
                }
            }
            DeValue::Float(_) => Value::Float,
            DeValue::Boolean(b) => Value::Bool(*b),
            DeValue::Datetime(_) => Value::Date,
            DeValue::Array(list) => Value::List(
                list.iter()
                    .map(|v| {
                        let place = self.place(v.span());
                        At { value: self.value(v.get_ref(), place), place }
                    })
                    .collect(),
            ),
            DeValue::Table(table) => Value::Table(self.table(table)),
        }
    }

    /// `${NAME}`, `${NAME:-text}`; `$${` is literal. After parsing, so a value can't add keys.
    fn fill_in(&mut self, text: &str, place: Place) -> String {
        if !text.contains("${") {
            return text.to_owned();
        }
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                out.push_str(&rest[..at]);
                out.push('{');
                rest = &rest[at + 2..];
                continue;
            }
            out.push_str(&rest[..at]);
            let inner = &rest[at + 2..];
            let Some(end) = inner.find('}') else {
                let hint = "close it with `}`, or write `$${` for the text itself".to_owned();
                self.found.push("E112", place, "`${` is not closed".to_owned(), hint);
                return out;
            };
            let (name, default) = match inner[..end].split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (&inner[..end], None),
            };
            match (self.env)(name).or(default.map(str::to_owned)) {
                Some(value) => out.push_str(&value),
                None => {
                    let hint = format!("set it, or give a default: \"${{{name}:-...}}\"");
                    self.found.push("E112", place, format!("`${name}` is not set"), hint);
                }
            }
            rest = &inner[end + 1..];
        }
        out + rest
    }
}

/// Reads the text and what is set over it. What can't be parsed is reported, the rest is kept.
pub fn read(
    main: Source,
    sets: &[String],
    env: &dyn Fn(&str) -> Option<String>,
) -> (Table, Diagnostics) {
    let mut build = Build { source: 0, env, found: Diagnostics::default() };
    build.found.sources.push(main);
    let text = build.found.sources[0].text.clone();
    let mut root = parse(&mut build, &text);
    for (n, set) in sets.iter().enumerate() {
        build.source = n as u16 + 1;
        build.found.sources.push(Source { name: format!("--set #{}", n + 1), text: set.clone() });
        let over = parse(&mut build, set);
        if over.entries.is_empty() && build.found.list.is_empty() {
            let place = build.place(0..set.len());
            let hint = "write KEY=VALUE, as listener.web.address=\":9090\"".to_owned();
            build.found.push("E100", place, "nothing is set here".to_owned(), hint);
        }
        merge(&mut root, &over, &mut Vec::new());
    }
    (root, build.found)
}

/// Every leaf of `over` replaces what `root` has in its place.
fn merge(root: &mut Table, over: &Table, path: &mut Vec<At<String>>) {
    for (key, value) in &over.entries {
        path.push(key.clone());
        match &value.value {
            Value::Table(table) if !table.entries.is_empty() => merge(root, table, path),
            _ => root.set(path, value.clone()),
        }
        path.pop();
    }
}

fn parse(build: &mut Build<'_>, text: &str) -> Table {
    let (table, errors) = DeTable::parse_recoverable(text);
    for e in errors {
        let place = build.place(e.span().unwrap_or(0..0));
        build.found.push("E100", place, first_line(e.message()), String::new());
    }
    build.table(table.get_ref())
}

fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or("this is not TOML").to_owned()
}
