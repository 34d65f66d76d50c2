//! JSON Schema (draft 2020-12) of a configuration, out of the lists of keys: for editors, which
//! complete and check with it, and for generators.
//!
//! It is looser than `check` where JSON Schema can't say it (references, conflicts, addresses),
//! and never stricter: what checks clean fits the schema.

use serde_json::{Map, Value, json};

use super::keys::{self, Key, Kind};

/// As `docs/busbar.schema.json` has it.
pub fn text() -> String {
    let text = serde_json::to_string_pretty(&schema()).expect("a tree of texts and numbers");
    text + "\n"
}

/// The schema as a tree.
pub fn schema() -> Value {
    let mut schema = object(keys::TOP, &[]);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("A configuration of Busbar");
    let actions: Vec<Value> =
        ACTIONS.iter().map(|action| json!({ "required": [action] })).collect();
    let mut route = object(keys::ROUTE, &[]);
    route["oneOf"] = Value::Array(actions);
    let without = |keys: &'static [Key], name: &str| {
        let kept: Vec<Key> = keys.iter().filter(|key| key.name != name).copied().collect();
        object(&kept, &[])
    };
    schema["$defs"] = json!({
        "admin": object(keys::ADMIN, &[]),
        "allow": object(keys::ALLOW, &[]),
        "api_key": object(keys::AUTH_API_KEY, &["method"]),
        "auth": any_of(["api_key", "basic", "jwt", "forward"].map(reference)),
        "auth_all": object(keys::AUTH_ALL, &["all"]),
        "basic": object(keys::AUTH_BASIC, &["method"]),
        "concurrency": object(keys::CONCURRENCY, &["limit"]),
        "consumer": object(keys::CONSUMER, &[]),
        "consumers": object(keys::CONSUMERS, &["file"]),
        "cors": object(keys::CORS, &["origins"]),
        "forward": object(keys::AUTH_FORWARD, &["method", "to"]),
        "ip": object(keys::IP, &[]),
        "jwt": object(keys::AUTH_JWT, &["method", "jwks"]),
        "plan": object(keys::PLAN, &[]),
        "plan_concurrency": object(keys::PLAN_CONCURRENCY, &["limit"]),
        "plan_rate": object(keys::PLAN_RATE, &["rate"]),
        "rate_limit": object(keys::RATE_LIMIT, &["rate"]),
        "log": object(keys::LOG, &[]),
        "access": object(keys::LOG_ACCESS, &[]),
        "all": object(keys::ALL, &[]),
        "defaults": object(keys::DEFAULTS, &[]),
        "edits": object(keys::EDITS, &[]),
        "endpoint": object(keys::ENDPOINT, &["address"]),
        "environment": {
            "description": "A text with ${NAME}, which is replaced before it is read.",
            "type": "string",
            "pattern": "\\$\\{",
        },
        "group": object(keys::GROUP, &[]),
        "headers": object(keys::HEADERS, &[]),
        "listener": object(keys::LISTENER, &["address"]),
        "listener_defaults": without(keys::LISTENER, "address"),
        "pool": object(keys::POOL, &[]),
        "redirect": object(keys::REDIRECT, &["to"]),
        "respond": object(keys::RESPOND, &[]),
        "rewrite": object(keys::REWRITE, &[]),
        "route": route,
        "server": object(keys::SERVER, &[]),
        "texts": { "type": "object", "additionalProperties": { "type": "string" } },
        "upstream": object(keys::UPSTREAM, &["endpoints"]),
        "upstream_defaults": without(keys::UPSTREAM, "endpoints"),
        "when": object(keys::WHEN, &[]),
    });
    schema["$defs"]["hsts"] = object(keys::HSTS, &["max_age"]);
    schema["$defs"]["listener_cert"] = object(keys::LISTENER_CERT, &["cert"]);
    schema["$defs"]["listener_tls"] = object(keys::LISTENER_TLS, &[]);
    schema["$defs"]["upstream_tls"] = object(keys::UPSTREAM_TLS, &[]);
    schema
}

/// A route says exactly one.
const ACTIONS: [&str; 4] = ["to", "respond", "redirect", "echo"];

/// A table. Keys that this build does not know are left out.
fn object(keys: &[Key], required: &[&str]) -> Value {
    let known = keys.iter().filter(|key| key.kind != Kind::Later);
    let properties: Map<String, Value> =
        known.map(|key| (key.name.to_owned(), property(key))).collect();
    let mut object =
        json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

fn property(key: &Key) -> Value {
    let mut value = value(key);
    value["description"] = json!(key.doc);
    // Of the defaults those which a file could say.
    if let Ok(default) = serde_json::from_str::<Value>(key.default) {
        value["default"] = default;
    }
    value
}

fn value(key: &Key) -> Value {
    match key.kind {
        Kind::Time { none, .. } => quantity("[0-9]+(us|ms|s|m|h|d)", none),
        Kind::Size { none, .. } => quantity("[0-9]+(B|KiB|MiB|GiB|kB|MB|GB)", none),
        Kind::ByteRate { none } => quantity("[0-9]+(B|KiB|MiB|GiB|kB|MB|GB)/s", none),
        Kind::Count { min, max, none } => any_of([
            json!({ "type": "integer", "minimum": min, "maximum": max }),
            quantity("[0-9]+[kMG]?", none),
        ]),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Words(words) => any_of([json!({ "enum": words }), reference("environment")]),
        Kind::Text(_) | Kind::Secret => json!({ "type": "string" }),
        Kind::Rate => quantity("[0-9]+[kMG]?/[0-9]*(us|ms|s|m|h|d)", false),
        Kind::Texts(_) | Kind::Secrets => any_of([
            json!({ "type": "string" }),
            json!({ "type": "array", "items": { "type": "string" } }),
        ]),
        Kind::Shape(what) => shape(key.name, what),
        Kind::Later => Value::Bool(false),
    }
}

fn rate() -> Value {
    value(&keys::PLAN_RATE[0])
}

fn number() -> Value {
    json!({ "type": "integer", "minimum": 1, "maximum": 65_535 })
}

/// One limit in its short form or as a table, or a list of them.
fn limits(short: Value, table: &str) -> Value {
    let one = any_of([short, reference(table)]);
    any_of([one.clone(), json!({ "type": "array", "items": one, "minItems": 1 })])
}

/// A number with a unit, `"none"` where it lifts a limit, or a text that the environment fills.
fn quantity(pattern: &str, none: bool) -> Value {
    let none = if none { "|none" } else { "" };
    json!({ "type": "string", "pattern": format!("^({pattern}{none})$|\\$\\{{") })
}

/// Keys that are read by code of their own, by name and by what they take.
fn shape(name: &str, what: &str) -> Value {
    match (name, what) {
        (_, "tables by name") => by_name(name),
        (
            "server" | "all" | "admin" | "log" | "access" | "pool" | "consumers" | "cors",
            "a table",
        ) => reference(name),
        ("allow" | "ip", _) => reference(name),
        ("rate_limit", "as on routes, without `per`") => limits(rate(), "plan_rate"),
        ("rate_limit", _) => limits(rate(), name),
        ("concurrency", "as on routes, without `per`") => limits(number(), "plan_concurrency"),
        ("concurrency", _) => limits(number(), name),
        ("tls", "a table; `{}` for all defaults") => reference("upstream_tls"),
        ("tls", _) => reference("listener_tls"),
        ("certs", _) => {
            let one = any_of([json!({ "type": "string" }), reference("listener_cert")]);
            any_of([one.clone(), json!({ "type": "array", "items": one })])
        }
        ("hsts", _) => any_of([value(&keys::HSTS[0]), reference("hsts")]),
        ("defaults", _) => reference(name),
        ("upstream" | "listener", "a table") => reference(&format!("{name}_defaults")),
        (_, "values by field name" | "values by name" | "claims by field name") => {
            reference("texts")
        }
        (_, "values by claim") => reference("texts"),
        ("request" | "response", _) => reference("edits"),
        ("when" | "headers" | "rewrite", _) => reference(name),
        ("auth", _) => any_of([
            json!({ "type": "string" }),
            json!({ "type": "array", "items": { "type": "string" }, "minItems": 1 }),
            reference("auth_all"),
        ]),
        ("endpoints", _) => {
            let one = any_of([json!({ "type": "string" }), reference("endpoint")]);
            json!({ "type": "array", "items": one, "minItems": 1 })
        }
        ("to", _) => {
            let share = json!({ "type": "integer", "minimum": 0 });
            let shares =
                json!({ "type": "object", "additionalProperties": share, "minProperties": 1 });
            any_of([json!({ "type": "string" }), shares])
        }
        ("respond", _) => any_of([
            json!({ "type": "integer", "minimum": 200, "maximum": 599 }),
            json!({ "type": "string" }),
            reference("respond"),
        ]),
        ("redirect", _) => any_of([json!({ "type": "string" }), reference("redirect")]),
        ("status", _) => json!({ "enum": [301, 302, 303, 307, 308] }),
        // A new key that nobody described here takes anything; a test finds it.
        _ => Value::Object(Map::new()),
    }
}

fn by_name(name: &str) -> Value {
    json!({
        "type": "object",
        "propertyNames": { "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$" },
        "additionalProperties": reference(name),
    })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn any_of<const N: usize>(values: [Value; N]) -> Value {
    json!({ "anyOf": values.to_vec() })
}

#[cfg(test)]
mod tests {
    use toml::de::{DeTable, DeValue};

    use super::*;

    /// `BUSBAR_BLESS=1` writes the file.
    #[test]
    fn the_schema_in_docs_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/busbar.schema.json");
        #[allow(clippy::disallowed_methods)] // a test's own switch
        if std::env::var_os("BUSBAR_BLESS").is_some() {
            std::fs::write(path, text()).expect("docs/ can be written");
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == text(), "run this test with BUSBAR_BLESS=1");
    }

    #[test]
    fn every_key_is_described_and_keys_of_other_builds_are_left_out() {
        let lists = [
            keys::TOP,
            keys::SERVER,
            keys::LISTENER,
            keys::UPSTREAM,
            keys::POOL,
            keys::ENDPOINT,
            keys::ROUTE,
            keys::GROUP,
            keys::ALL,
            keys::WHEN,
            keys::RESPOND,
            keys::REDIRECT,
            keys::HEADERS,
            keys::EDITS,
            keys::REWRITE,
            keys::DEFAULTS,
            keys::ADMIN,
            keys::LOG,
            keys::LOG_ACCESS,
        ];
        for key in lists.into_iter().flatten() {
            match (key.kind, value(key)) {
                (Kind::Later, value) => assert_eq!(value, Value::Bool(false)),
                (_, value) => assert_ne!(value, json!({}), "{}", key.name),
            }
        }
        let route = &schema()["$defs"]["route"]["properties"];
        assert!(route["timeout"].is_object() && route["retry"].is_null());
        let actions = ["to", "respond", "redirect", "echo", "compose", "batch"];
        let built = |name: &&str| route[*name].is_object();
        let built: Vec<&str> = actions.into_iter().filter(built).collect();
        assert_eq!(built, ACTIONS, "each action that is built");
    }

    /// The schema's own words, as far as it uses them.
    fn fits(root: &Value, schema: &Value, value: &Value) -> bool {
        let each = |key: &str| schema[key].as_array();
        let to = |value: &Value| {
            let name = value.as_str().and_then(|path| path.strip_prefix("#/$defs/"));
            &root["$defs"][name.expect("all references are to $defs")]
        };
        let is_type = |name: &str| match name {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_i64(),
            "boolean" => value.is_boolean(),
            other => panic!("{other}"),
        };
        let number = |key: &str| schema[key].as_i64();
        let text = value.as_str().unwrap_or_default();
        (schema["$ref"].is_null() || fits(root, to(&schema["$ref"]), value))
            && schema["type"].as_str().is_none_or(is_type)
            && each("enum").is_none_or(|list| list.contains(value))
            && each("anyOf").is_none_or(|list| list.iter().any(|s| fits(root, s, value)))
            && each("oneOf")
                .is_none_or(|list| list.iter().filter(|s| fits(root, s, value)).count() == 1)
            && number("minimum").is_none_or(|min| value.as_i64().is_none_or(|n| n >= min))
            && number("maximum").is_none_or(|max| value.as_i64().is_none_or(|n| n <= max))
            && schema["pattern"].as_str().is_none_or(|p| !value.is_string() || is_match(p, text))
            && each("required").is_none_or(|list| {
                list.iter().all(|name| value[name.as_str().expect("a name")] != Value::Null)
            })
            && value.as_array().is_none_or(|list| {
                schema["items"].is_null() || list.iter().all(|v| fits(root, &schema["items"], v))
            })
            && value.as_object().is_none_or(|map| {
                map.iter().all(|(name, value)| {
                    match (&schema["properties"][name], &schema["additionalProperties"]) {
                        (Value::Null, Value::Null) => true,
                        (Value::Null, Value::Bool(is)) => *is,
                        (Value::Null, rest) => fits(root, rest, value),
                        (known, _) => fits(root, known, value),
                    }
                })
            })
    }

    fn is_match(pattern: &str, text: &str) -> bool {
        regex::Regex::new(pattern).expect("a pattern").is_match(text)
    }

    fn json_of(value: &DeValue<'_>) -> Value {
        match value {
            DeValue::String(text) => json!(text),
            DeValue::Integer(number) => json!(number.as_str().parse::<i64>().expect("small")),
            DeValue::Boolean(is) => json!(is),
            DeValue::Array(list) => list.iter().map(|v| json_of(v.get_ref())).collect(),
            DeValue::Table(table) => table_json(table),
            other => panic!("{other:?}"),
        }
    }

    fn table_json(table: &DeTable<'_>) -> Value {
        let entries = table.iter();
        entries.map(|(key, value)| (key.get_ref().to_string(), json_of(value.get_ref()))).collect()
    }

    fn is_valid(text: &str) -> bool {
        let table = DeTable::parse(text).expect("TOML");
        let schema = schema();
        fits(&schema, &schema, &table_json(table.get_ref()))
    }

    #[test]
    fn what_checks_clean_fits_and_its_nearest_neighbour_does_not() {
        assert!(is_valid(crate::config::default_text()));
        assert!(is_valid(&crate::config::listing::toml()));
        let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        let docs = std::fs::read_to_string(docs).expect("it stands");
        for block in docs.split("```toml\n").skip(1) {
            assert!(is_valid(block.split("```").next().expect("a block")), "{block}");
        }
        let rows = [
            ("[route.a]\nto = \"u\"\ntimeout = \"10s\"", true),
            ("[route.a]\nto = \"u\"\ntimeout = \"10\"", false),
            ("[route.a]\nto = \"u\"\ntimeout = 10", false),
            ("[route.a]\nto = \"u\"\ntimeout = \"${T}\"", true),
            ("[route.a]\nto = \"u\"\ntimeout = \"none\"", true),
            ("[route.a]\nto = \"u\"\ntime_out = \"10s\"", false),
            ("[route.a]\nto = \"u\"\nretry = {}", false),
            ("[route.a]\nto = \"u\"\necho = true", false),
            ("[route.a]\npath = \"/\"", false),
            ("[route.a]\nto = { a = 95, b = 5 }", true),
            ("[route.a]\nto = [\"a\"]", false),
            ("[route.a]\nrespond = 204", true),
            ("[route.a]\nrespond = 99", false),
            ("[upstream.u]\nendpoints = [{ address = \"h:1\", weight = 2 }]", true),
            ("[upstream.u]\nendpoints = [{ weight = 2 }]", false),
            ("[upstream.u]\nconnect_timeout = \"1s\"", false),
            ("[defaults.upstream]\nconnect_timeout = \"1s\"", true),
            ("[server]\ndriver = \"epol\"", false),
            ("[all]\nto = \"u\"", false),
            ("[server]\nworkers = 0", false),
        ];
        for (text, expect) in rows {
            assert_eq!(is_valid(text), expect, "{text}");
        }
    }
}
