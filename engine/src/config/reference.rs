//! `docs/configuration.md`, made of the model.

use std::fmt::Write;

use super::diagnostic::CODES;
use super::model::TABLES;

const HEAD: &str = "# Configuration reference\n\n\
Made from the model in `engine/src/config/model.rs`; a test compares. The language: TOML, named \
tables, the order in the file never means anything, unknown keys are errors, quantities carry \
units.\n\n\
- time: `us ms s m h d` · size: `B KiB MiB GiB` (`kB MB GB` are powers of ten) · byte rate: \
`100B/s` · counts in strings may end in `k M G`\n\
- `\"none\"` lifts a limit or timeout where the table says so\n\
- `${NAME}` and `${NAME:-default}` in any string come from the environment; `$${` is literal\n\
- variables in `headers`, `respond` and `redirect`: `{name}` of the path, `{client}` `{host}` \
`{path}` `{query}` `{method}` `{request_id}` `{route}` `{query.NAME}` `{header.NAME}`; `{{` is a \
brace; each value is escaped for the place it goes to\n";

/// The whole reference.
pub fn markdown() -> String {
    let mut out = HEAD.to_owned();
    for table in TABLES {
        let _ = write!(out, "\n## `{}`\n\n{}\n\n", table.title, table.doc);
        out.push_str("| Key | Value | Default | Meaning |\n|---|---|---|---|\n");
        for key in table.keys {
            let default = if key.default.is_empty() { "–" } else { key.default };
            let doc = key.doc.replace('|', "\\|");
            let _ = writeln!(out, "| `{}` | {} | {default} | {doc} |", key.name, key.kind);
        }
    }
    out.push_str("\n## Codes\n\nErrors refuse the whole file, warnings never do.\n\n");
    out.push_str("| Code | Meaning |\n|---|---|\n");
    for (code, meaning) in CODES {
        let _ = writeln!(out, "| {code} | {meaning} |");
    }
    out
}
