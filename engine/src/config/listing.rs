//! Every key with its default: as a file that checks clean, and as JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use super::keys::{self, Key, Kind};
use super::reference::kind_text;

const INTRODUCTION: &str = "\
# Every key of this build. A line `key = value` says the default; where that is no value of the
# file, or there is none, a comment tells what holds. Tables called `example` hold keys that only
# such a table can have.
";

/// A table of the file: its head, its keys, and lines in place of those that it must have.
struct Table {
    head: &'static str,
    keys: &'static [Key],
    /// `(key, value)`.
    given: &'static [(&'static str, &'static str)],
    /// Keys that stand elsewhere.
    left_out: &'static [&'static str],
    /// Stands in comments: there is no value that changes nothing.
    is_told: bool,
}

const fn table(head: &'static str, keys: &'static [Key]) -> Table {
    Table { head, keys, given: &[], left_out: &[], is_told: false }
}

const fn told(head: &'static str, keys: &'static [Key]) -> Table {
    Table { is_told: true, ..table(head, keys) }
}

const fn method(
    head: &'static str,
    given: &'static [(&'static str, &'static str)],
    keys: &'static [Key],
) -> Table {
    Table { given, ..told(head, keys) }
}

/// What holds for all stands where it holds for all.
const TABLES: [Table; 31] = [
    Table { left_out: TABLE_NAMES, ..table("", keys::TOP) },
    table("[server]", keys::SERVER),
    table("[admin]", keys::ADMIN),
    table("[log.access]", keys::LOG_ACCESS),
    Table { left_out: &["address"], ..table("[defaults.listener]", keys::LISTENER) },
    Table { left_out: &["endpoints", "pool"], ..table("[defaults.upstream]", keys::UPSTREAM) },
    table("[defaults.upstream.pool]", keys::POOL),
    table("[all]", keys::ALL),
    Table {
        given: &[("address", "\"127.0.0.1:8080\"")],
        left_out: OF_LISTENERS,
        ..table("[listener.example]", keys::LISTENER)
    },
    Table {
        given: &[("endpoints", "[{ address = \"127.0.0.1:3000\", weight = 1 }]")],
        left_out: OF_UPSTREAMS,
        ..table("[upstream.example]", keys::UPSTREAM)
    },
    table("[group.example]", keys::ON_GROUP),
    Table {
        given: &[("group", "\"example\""), ("to", "\"example\"")],
        ..table("[route.example]", keys::ON_ROUTE)
    },
    told("[route.example.when]", keys::WHEN),
    told("[route.example.headers]", keys::HEADERS),
    told("[route.example.headers.request]", keys::EDITS),
    told("[route.example.rewrite]", keys::REWRITE),
    told("[route.example.respond]", keys::RESPOND),
    told("[route.example.redirect]", keys::REDIRECT),
    told("[route.example.auth]", keys::AUTH_ALL),
    told("[route.example.allow]", keys::ALLOW),
    told("[route.example.ip]", keys::IP),
    told("[route.example.cors]", keys::CORS),
    told("[route.example.rate_limit]", keys::RATE_LIMIT),
    told("[route.example.concurrency]", keys::CONCURRENCY),
    method("[auth.example-api-key]", &[("method", "\"api_key\"")], keys::AUTH_API_KEY),
    method("[auth.example-basic]", &[("method", "\"basic\"")], keys::AUTH_BASIC),
    method("[auth.example-jwt]", &[("method", "\"jwt\"")], keys::AUTH_JWT),
    method("[auth.example-forward]", &[("method", "\"forward\"")], keys::AUTH_FORWARD),
    told("[consumer.example]", keys::CONSUMER),
    told("[consumers]", keys::CONSUMERS),
    told("[plan.example]", keys::PLAN),
];

const TABLE_NAMES: &[&str] = &[
    "server",
    "listener",
    "upstream",
    "route",
    "group",
    "all",
    "defaults",
    "admin",
    "auth",
    "consumer",
    "consumers",
    "plan",
];
const OF_LISTENERS: &[&str] = &[
    "head_timeout",
    "idle_timeout",
    "connections_max",
    "connections_per_client",
    "head_max",
    "headers_max",
    "target_max",
    "backlog",
];
const OF_UPSTREAMS: &[&str] =
    &["balance", "host", "pool", "connect_timeout", "connections_max", "head_max"];

impl Table {
    fn keys(&self) -> impl Iterator<Item = &Key> {
        let is_here = |key: &&Key| key.kind != Kind::Later && !self.left_out.contains(&key.name);
        self.keys.iter().filter(is_here)
    }

    /// What the file says for a key, when that can be said in TOML.
    fn value(&self, key: &Key) -> Option<&'static str> {
        let given = self.given.iter().find(|(name, _)| *name == key.name);
        given.map(|(_, value)| *value).or_else(|| default_value(key))
    }
}

/// The default as a value of a file.
fn default_value(key: &Key) -> Option<&'static str> {
    let is_value = !key.default.is_empty() && toml::de::DeValue::parse(key.default).is_ok();
    is_value.then_some(key.default)
}

/// The file.
pub fn toml() -> String {
    let mut out = INTRODUCTION.to_owned();
    for table in &TABLES {
        out.push('\n');
        match (table.head, table.is_told) {
            ("", _) => {}
            (head, true) => _ = writeln!(out, "# {head}"),
            (head, false) => _ = writeln!(out, "{head}"),
        }
        for key in table.keys() {
            let _ = writeln!(out, "# {}", key.doc);
            let _ = match (table.value(key), key.default) {
                (Some(value), _) if table.is_told => {
                    writeln!(out, "#   {} = {value}", key.name)
                }
                (Some(value), _) => writeln!(out, "{} = {value}", key.name),
                (None, "") => {
                    writeln!(out, "#   {}: not set; takes {}", key.name, kind_text(key.kind))
                }
                (None, words) => writeln!(out, "#   {}: {words}", key.name),
            };
        }
    }
    out
}

/// A list of keys, each with its table. `default` is null where it is no value of a file.
pub fn json() -> Value {
    let of = |table: &'static Table| {
        table.keys().map(move |key| {
            json!({
                "table": table.head,
                "key": key.name,
                "takes": kind_text(key.kind),
                "default": default_value(key),
                "in_words": key.default,
                "doc": key.doc,
            })
        })
    };
    TABLES.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Input, load};
    use super::*;
    use crate::snapshot::Snapshot;

    fn snapshot(text: &str) -> Snapshot {
        let (text, name) = (text.to_owned(), "defaults.toml".to_owned());
        let base_dir = Some(std::path::PathBuf::from("/nowhere"));
        let loaded = load(Input { text, name, base_dir, sets: Vec::new(), env: &|_| None });
        assert_eq!(loaded.diagnostics.render(false), "");
        loaded.snapshot.expect("no mistakes")
    }

    #[test]
    fn the_defaults_check_clean_and_are_what_holds_without_them() {
        let said = snapshot(&toml());
        let unsaid = snapshot(
            "[listener.example]\naddress = \"127.0.0.1:8080\"\n\
             [upstream.example]\nendpoints = [\"127.0.0.1:3000\"]\n\
             [route.example]\nto = \"example\"\n",
        );
        let same = |what: &str, a: &dyn std::fmt::Debug, b: &dyn std::fmt::Debug| {
            assert_eq!(format!("{a:?}"), format!("{b:?}"), "{what}");
        };
        same("server", &said.server, &unsaid.server);
        same("listeners", &said.listeners, &unsaid.listeners);
        same("upstreams", &said.upstreams, &unsaid.upstreams);
        let (a, b) = (&said.routes[0], &unsaid.routes[0]);
        same("timeout", &a.timeout, &b.timeout);
        same("deadline", &a.deadline, &b.deadline);
        same("body_timeout", &a.body_timeout, &b.body_timeout);
        same("body_limit", &a.body_limit, &b.body_limit);
        same("body_rate_min", &a.body_rate_min, &b.body_rate_min);
        same("tunnel_timeout", &a.tunnel_timeout, &b.tunnel_timeout);
        same("upgrade", &a.upgrade, &b.upgrade);
        same("encoded_slash", &a.encoded_slash_keep, &b.encoded_slash_keep);
        same("slashes", &a.slashes_keep, &b.slashes_keep);
        same("slash", &a.slash_redirect, &b.slash_redirect);
    }

    #[test]
    fn every_key_is_listed() {
        let text = toml();
        let lists = [keys::SERVER, keys::ADMIN, keys::LISTENER, keys::UPSTREAM, keys::POOL];
        let layers = [
            keys::LAYER,
            keys::ON_ROUTE,
            keys::ON_GROUP,
            keys::ON_ALL,
            keys::WHEN,
            keys::HEADERS,
            keys::EDITS,
            keys::REWRITE,
            keys::RESPOND,
            keys::REDIRECT,
            keys::ALLOW,
            keys::IP,
            keys::CORS,
            keys::RATE_LIMIT,
            keys::CONCURRENCY,
            keys::AUTH_API_KEY,
            keys::AUTH_BASIC,
            keys::AUTH_JWT,
            keys::AUTH_FORWARD,
            keys::CONSUMER,
            keys::PLAN,
        ];
        for key in lists.into_iter().chain(layers).flatten() {
            let is_listed = text.lines().any(|line| {
                let line = line.trim_start_matches("#   ");
                let rest = line.strip_prefix(key.name);
                rest.is_some_and(|rest| rest.starts_with([' ', ':']))
            });
            let is_table = key.name == "pool" && text.contains("upstream.pool]");
            assert!(is_listed || is_table || key.kind == Kind::Later, "{}", key.name);
        }
        assert!(!text.contains("\nretry"), "keys of other builds are left out");
        assert!(json().as_array().is_some_and(|list| list.len() > 50));
    }
}
