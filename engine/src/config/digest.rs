//! What has changed between two configurations, by table.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::source::{Node, Table, Value};

/// A digest of the settings of each table, places and comments left out.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Digests {
    /// By kind and name.
    named: BTreeMap<(&'static str, String), u64>,
    /// Tables that are there once, by their name.
    single: BTreeMap<String, u64>,
}

/// Kinds of named tables, and their plural.
const KINDS: [(&str, &str); 7] = [
    ("route", "routes"),
    ("group", "groups"),
    ("upstream", "upstreams"),
    ("listener", "listeners"),
    ("auth", "auths"),
    ("consumer", "consumers"),
    ("plan", "plans"),
];

impl Digests {
    pub(super) fn of(top: &Table) -> Digests {
        let mut digests = Digests::default();
        for entry in &top.entries {
            let kind = KINDS.iter().find(|(kind, _)| *kind == entry.key);
            match (kind, &entry.node.value) {
                (Some((kind, _)), Value::Table(tables)) => {
                    for entry in &tables.entries {
                        digests.named.insert((kind, entry.key.clone()), digest(&entry.node));
                    }
                }
                _ => _ = digests.single.insert(entry.key.clone(), digest(&entry.node)),
            }
        }
        digests
    }

    /// `7 routes changed, 1 upstream added`; `nothing changed`.
    pub fn changes_to(&self, next: &Digests) -> String {
        let mut text = String::new();
        for (kind, plural) in KINDS {
            let [changed, added, removed] = self.count(next, kind);
            for (count, what) in [(changed, "changed"), (added, "added"), (removed, "removed")] {
                if count > 0 {
                    let name = if count == 1 { kind } else { plural };
                    let comma = if text.is_empty() { "" } else { ", " };
                    let _ = write!(text, "{comma}{count} {name} {what}");
                }
            }
        }
        let mut names: Vec<&String> = self.single.keys().chain(next.single.keys()).collect();
        names.sort();
        names.dedup();
        for name in names.into_iter().filter(|n| self.single.get(*n) != next.single.get(*n)) {
            let comma = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{comma}[{name}] changed");
        }
        if text.is_empty() { "nothing changed".to_owned() } else { text }
    }

    /// Tables of a kind that are changed, added, removed.
    fn count(&self, next: &Digests, kind: &str) -> [usize; 3] {
        let mut counts = [0; 3];
        for (name, digest) in self.named.iter().filter(|((k, _), _)| *k == kind) {
            match next.named.get(name) {
                Some(now) if now == digest => {}
                Some(_) => counts[0] += 1,
                None => counts[2] += 1,
            }
        }
        let of_kind = next.named.keys().filter(|(k, _)| *k == kind);
        counts[1] = of_kind.filter(|name| !self.named.contains_key(*name)).count();
        counts
    }
}

fn digest(node: &Node) -> u64 {
    let mut hasher = DefaultHasher::new();
    hash(node, &mut hasher);
    hasher.finish()
}

fn hash(node: &Node, hasher: &mut DefaultHasher) {
    std::mem::discriminant(&node.value).hash(hasher);
    match &node.value {
        Value::Text(text) => text.hash(hasher),
        Value::Integer(number) => number.hash(hasher),
        Value::Bool(is) => is.hash(hasher),
        Value::Float | Value::Date => {}
        Value::List(list) => {
            list.len().hash(hasher);
            list.iter().for_each(|node| hash(node, hasher));
        }
        Value::Table(table) => {
            table.entries.len().hash(hasher);
            for entry in &table.entries {
                entry.key.hash(hasher);
                hash(&entry.node, hasher);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Input, load};
    use super::*;

    fn digests(text: &str) -> Digests {
        let (text, name) = (text.to_owned(), "busbar.toml".to_owned());
        load(Input { text, name, base_dir: None, sets: Vec::new(), env: &|_| None }).digests
    }

    #[test]
    fn changes_are_counted_by_kind() {
        let before = "[route.a]\nrespond = \"a\"\n[route.b]\nrespond = \"b\"\n\
                      [upstream.u]\nendpoints = [\"h:1\"]\n";
        let after = "# a comment\n[server]\nvia = true\n[route.b]\nrespond = \"B\"\n\
                     [route.c]\nrespond = \"c\"\n[route.d]\nrespond = \"d\"\n\
                     [upstream.u]\nendpoints=[ \"h:1\" ]\n";
        let (before, after) = (digests(before), digests(after));
        let expect = "1 route changed, 2 routes added, 1 route removed, [server] changed";
        assert_eq!(before.changes_to(&after), expect);
        assert_eq!(after.changes_to(&after), "nothing changed");
    }
}
