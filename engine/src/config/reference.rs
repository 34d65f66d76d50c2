//! `docs/configuration.md`, out of the lists of keys and codes.

use std::fmt::Write;

use super::codes::CODES;
use super::keys::{self, Key, Kind, Merge};
use super::units::{size_text, time_text};

const INTRODUCTION: &str = "\
# Configuration

This page is written by `config::reference` from the lists that the reader itself uses.

A configuration is TOML: named tables, in one file or several. The order in it never means \
anything: the most specific route wins. A file with a mistake changes nothing, and every mistake \
is shown at once.

```toml
[route.app]                       # listens on :8080, every host, every path
to = \"http://127.0.0.1:3000\"
```

";

const LAYERS: &str = "\
## Layers

What several routes have in common is said once: in `[all]` for every route, in a group for those \
that name it. From wide to narrow: `[all]`, then the groups one in the other, then the route.

```toml
[all]
timeout = \"10s\"
headers = { response = { remove = [\"Server\"] } }

[group.api]
host = \"api.example.com\"
prefix = \"/v1\"                                   # before the path of each of its routes
headers = { request = { set = { X-Api = \"1\" } } }

[group.slow]
group = \"api\"                                     # a part of api: its host, its prefix
timeout = \"60s\"                                   # in place of 10s

[route.users]
group = \"api\"
path = \"/users/*\"                                 # that is /v1/users/*
to = \"http://127.0.0.1:3000\"

[route.reports]
group = \"slow\"
path = \"/reports/{id}\"
rewrite = { path = \"/report\", query = \"id={id}\" }
without = [\"headers\"]                             # takes away what it would inherit
to = \"http://127.0.0.1:3001\"
```

";

const FILES: &str = "\
## Files and secrets

`include = [\"conf.d/*.toml\"]` at the top takes in more files: `*` and `?` within names, relative \
to the file that says it, in the order of their names. They may include others. Tables merge by \
name: `[route.users]` has one place in one file, and so has each key of `[server]`, `[all]`, \
`[admin]` and `[defaults.…]`.

```toml
include = [\"conf.d/*.toml\"]

[defaults.upstream]
connect_timeout = \"500ms\"                         # of every upstream that does not say it

[upstream.users]
endpoints = [\"10.0.1.11:8080\", \"10.0.1.12:8080\"]

[route.users]
path = \"/users/*\"
to = \"users\"

[admin]
token = \"${ADMIN_TOKEN}\"          # or \"file:/run/secrets/admin\", or \"credential:admin\"
```

A secret is given by a reference: `${NAME}`; `file:/path`; `credential:NAME`, a file in \
`$CREDENTIALS_DIRECTORY` (systemd's `LoadCredential=`). A newline at a file's end is no part of it. \
One that stands in the configuration itself works, is warned about, and is never shown.

";

const VALUES: &str = "\
## Values

**Units.** Times are `us ms s m h d`, sizes `B KiB MiB GiB` (and `kB MB GB` in powers of ten), \
byte rates `100B/s`, rates `10/s` `100/10s` `1000/h`. Bare numbers only count things; in quotes they may end in `k`, `M` or `G`. \
`\"none\"` lifts a limit where the tables say so.

**Environment.** `${NAME}` in any text is replaced after the file is read, `${NAME:-text}` gives a \
default, `$${` is a literal `${`. On the command line `--set 'listener.web.address=\":9443\"'` \
replaces one value.

**Variables** in `headers`, `rewrite`, `respond` and `redirect`: `{name}` and `{*rest}` of the path, \
`{client}` `{host}` `{path}` `{query}` `{method}` `{consumer}` `{request_id}` `{route}` `{query.NAME}` \
`{header.NAME}`. `{{` and `}}` are braces. Each value is escaped for the place it goes to: in a \
redirect it can't change the host, in a rewritten path it can't lead out of it, in HTML and JSON it can't end the text it stands in (quote \
attributes; nothing is safe inside a script).

**Specificity.** Host: exact, then the longest `*.suffix`, then none. Path, segment by segment: \
text, then `{name}`, then `*`. Then: has `methods`, more headers, more query. `GET` takes in \
`HEAD`.

";

/// The whole page.
pub fn markdown() -> String {
    let mut out = INTRODUCTION.to_owned();
    let tables: [(&str, &[Key]); 36] = [
        ("Top", keys::TOP),
        ("`[server]`", keys::SERVER),
        ("`[listener.NAME]`", keys::LISTENER),
        ("`tls` of a listener", keys::LISTENER_TLS),
        ("An item of `certs` as a table", keys::LISTENER_CERT),
        ("`hsts` as a table", keys::HSTS),
        ("`[upstream.NAME]`", keys::UPSTREAM),
        ("`tls` of an upstream", keys::UPSTREAM_TLS),
        ("`pool` of an upstream", keys::POOL),
        ("An endpoint as a table", keys::ENDPOINT),
        ("`[route.NAME]`", keys::ON_ROUTE),
        ("`[route.NAME]`, `[group.NAME]` and `[all]`", keys::LAYER),
        ("`[group.NAME]` alone; `prefix` also in `[all]`", keys::ON_GROUP),
        ("`when` of a route", keys::WHEN),
        ("`rewrite` of a route", keys::REWRITE),
        ("`respond` of a route", keys::RESPOND),
        ("`redirect` of a route", keys::REDIRECT),
        ("`headers` of a route", keys::HEADERS),
        ("`request` and `response` in `headers`", keys::EDITS),
        ("`[auth.NAME]` with `method = \"api_key\"`", keys::AUTH_API_KEY),
        ("`[auth.NAME]` with `method = \"basic\"`", keys::AUTH_BASIC),
        ("`[auth.NAME]` with `method = \"jwt\"`", keys::AUTH_JWT),
        ("`[auth.NAME]` with `method = \"forward\"`", keys::AUTH_FORWARD),
        ("`auth` of a route as a table", keys::AUTH_ALL),
        ("`[consumer.NAME]`", keys::CONSUMER),
        ("`[consumers]`", keys::CONSUMERS),
        ("`[plan.NAME]`", keys::PLAN),
        ("`allow` of a route", keys::ALLOW),
        ("`ip` of a route or listener", keys::IP),
        ("`cors` of a route", keys::CORS),
        ("`rate_limit` of a route or listener", keys::RATE_LIMIT),
        ("`concurrency` of a route", keys::CONCURRENCY),
        ("`[defaults]`", keys::DEFAULTS),
        ("`[admin]`", keys::ADMIN),
        ("`[log]`", keys::LOG),
        ("`[log.access]`", keys::LOG_ACCESS),
    ];
    for (title, keys) in tables {
        table(&mut out, title, keys);
    }
    out.push_str(LAYERS);
    rules(&mut out);
    out.push_str(FILES);
    out.push_str(VALUES);
    out.push_str("## Codes\n\n");
    for code in CODES {
        let _ = writeln!(out, "**{}** {}. {}\n", code.code, code.title, code.text);
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// How keys of several layers come together, by the list.
fn rules(out: &mut String) {
    let named = |merge: Merge| {
        let built = keys::LAYER.iter().filter(|key| key.merge == merge && key.kind != Kind::Later);
        built.map(|key| format!("`{}`", key.name)).collect::<Vec<_>>().join(", ")
    };
    out.push_str(
        "The narrower table's value replaces the wider one's; `\"none\"` lifts a limit, and \
         `without = [\"timeout\"]` takes away what is inherited.",
    );
    let _ = write!(out, " Name by name: {}.", named(Merge::ByName));
    let adds_up = named(Merge::AddUp);
    if !adds_up.is_empty() {
        let _ = write!(out, " All hold together: {adds_up}.");
    }
    out.push_str(
        " Templates in a group may name the parameters of the paths of all its routes.\n\n",
    );
}

fn table(out: &mut String, title: &str, keys: &[Key]) {
    let _ = writeln!(out, "## {title}\n\n| Key | Value | Default | |\n|---|---|---|---|");
    for key in keys.iter().filter(|key| key.kind != Kind::Later) {
        let default = match key.default {
            text if text.starts_with(['"', '[']) => format!("`{text}`"),
            text => text.to_owned(),
        };
        let kind = kind_text(key.kind).replace('|', "\\|");
        let _ = writeln!(out, "| `{}` | {kind} | {default} | {} |", key.name, key.doc);
    }
    let later = keys.iter().filter(|key| key.kind == Kind::Later).map(|key| key.name);
    let later: Vec<String> = later.map(|name| format!("`{name}`")).collect();
    if !later.is_empty() {
        let _ = writeln!(out, "\nNot in this build: {}.", later.join(" "));
    }
    out.push('\n');
}

/// What a key takes, in words.
pub(super) fn kind_text(kind: Kind) -> String {
    let or_none = |none: bool| if none { ", or `\"none\"`" } else { "" };
    match kind {
        Kind::Time { min, max, none } => {
            format!("time, {} to {}{}", time_text(min), time_text(max), or_none(none))
        }
        Kind::Size { min, max, none } => {
            format!("size, {} to {}{}", size_text(min), size_text(max), or_none(none))
        }
        Kind::ByteRate { none } => format!("byte rate{}", or_none(none)),
        Kind::Count { min, max, none } if min == max => format!("{min}{}", or_none(none)),
        Kind::Count { min, max, none } => format!("number, {min} to {max}{}", or_none(none)),
        Kind::Secret => "a secret".to_owned(),
        Kind::Secrets => "one or a list of secrets".to_owned(),
        Kind::Rate => "rate".to_owned(),
        Kind::Bool => "`true` or `false`".to_owned(),
        Kind::Words(words) => {
            words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(" or ")
        }
        Kind::Text(what) | Kind::Shape(what) => what.to_owned(),
        Kind::Texts(what) => format!("one or a list: {what}"),
        Kind::Later => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `BUSBAR_BLESS=1` writes the page.
    #[test]
    fn the_page_in_docs_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        #[allow(clippy::disallowed_methods)] // a test's own switch
        if std::env::var_os("BUSBAR_BLESS").is_some() {
            std::fs::write(path, markdown()).expect("docs/ can be written");
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == markdown(), "run this test with BUSBAR_BLESS=1");
    }
}
