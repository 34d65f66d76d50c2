//! `docs/configuration.md`, out of the lists of keys and codes.

use std::fmt::Write;

use super::codes::CODES;
use super::keys::{self, Key, Kind};
use super::units::{size_text, time_text};

const INTRODUCTION: &str = "\
# Configuration

This page is written by `config::reference` from the lists that the reader itself uses.

A configuration is one TOML file of named tables. The order in it never means anything: the most \
specific route wins. A file with a mistake changes nothing, and every mistake is shown at once.

```toml
[route.app]                       # listens on :8080, every host, every path
to = \"http://127.0.0.1:3000\"
```

";

const VALUES: &str = "\
## Values

**Units.** Times are `us ms s m h d`, sizes `B KiB MiB GiB` (and `kB MB GB` in powers of ten), \
byte rates `100B/s`. Bare numbers only count things; in quotes they may end in `k`, `M` or `G`. \
`\"none\"` lifts a limit where the tables say so.

**Environment.** `${NAME}` in any text is replaced after the file is read, `${NAME:-text}` gives a \
default, `$${` is a literal `${`. On the command line `--set 'listener.web.address=\":9443\"'` \
replaces one value.

**Variables** in `headers`, `respond` and `redirect`: `{name}` and `{*rest}` of the path, \
`{client}` `{host}` `{path}` `{query}` `{method}` `{request_id}` `{route}` `{query.NAME}` \
`{header.NAME}`. `{{` and `}}` are braces. Each value is escaped for the place it goes to: in a \
redirect it can't change the host, in HTML and JSON it can't end the text it stands in (quote \
attributes; nothing is safe inside a script).

**Specificity.** Host: exact, then the longest `*.suffix`, then none. Path, segment by segment: \
text, then `{name}`, then `*`. Then: has `methods`, more headers, more query. `GET` takes in \
`HEAD`.

";

/// The whole page.
pub fn markdown() -> String {
    let mut out = INTRODUCTION.to_owned();
    let tables: [(&str, &[Key]); 12] = [
        ("Top", keys::TOP),
        ("`[server]`", keys::SERVER),
        ("`[listener.NAME]`", keys::LISTENER),
        ("`[upstream.NAME]`", keys::UPSTREAM),
        ("`pool` of an upstream", keys::POOL),
        ("An endpoint as a table", keys::ENDPOINT),
        ("`[route.NAME]`", keys::ROUTE),
        ("`when` of a route", keys::WHEN),
        ("`respond` of a route", keys::RESPOND),
        ("`redirect` of a route", keys::REDIRECT),
        ("`headers` of a route", keys::HEADERS),
        ("`request` and `response` in `headers`", keys::EDITS),
    ];
    for (title, keys) in tables {
        table(&mut out, title, keys);
    }
    out.push_str(VALUES);
    out.push_str("## Codes\n\n");
    for code in CODES {
        let _ = writeln!(out, "**{}** {}. {}\n", code.code, code.title, code.text);
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
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

fn kind_text(kind: Kind) -> String {
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
