//! Diagnostics in the forms that other programs show: GitHub's workflow commands, and SARIF.

use std::fmt::Write;

use serde_json::{Value, json};

use super::codes;
use super::diagnostic::{At, Diagnostic, Diagnostics};

const SARIF_SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

impl Diagnostics {
    /// A line for each that a workflow of GitHub shows beside the code.
    pub fn render_github(&self) -> String {
        let mut out = String::new();
        for found in self.list() {
            let kind = if found.is_error() { "error" } else { "warning" };
            let ((line, column), (end_line, end_column)) = self.ends(found.at);
            let file = property(self.file(found.at));
            let _ = write!(out, "::{kind} file={file},line={line},endLine={end_line}");
            // Columns are understood within one line only.
            if line == end_line {
                let _ = write!(out, ",col={column},endColumn={end_column}");
            }
            let _ = writeln!(out, ",title={}::{}", found.code, message(&sentence(found)));
        }
        out
    }

    /// SARIF 2.1.0, for code scanning.
    pub fn render_sarif(&self) -> String {
        let mut used: Vec<&str> = self.list().iter().map(|found| found.code).collect();
        used.sort_unstable();
        used.dedup();
        let rules: Vec<Value> = used.iter().copied().filter_map(codes::code).map(rule).collect();
        let results: Vec<Value> = self.list().iter().map(|found| self.result(found)).collect();
        let driver = json!({
            "name": "busbar",
            "version": env!("CARGO_PKG_VERSION"),
            "rules": rules,
        });
        let log = json!({
            "$schema": SARIF_SCHEMA,
            "version": "2.1.0",
            "runs": [{ "tool": { "driver": driver }, "columnKind": "unicodeCodePoints",
                       "results": results }],
        });
        format!("{log:#}\n")
    }

    fn result(&self, found: &Diagnostic) -> Value {
        let mut result = json!({
            "ruleId": found.code,
            "level": if found.is_error() { "error" } else { "warning" },
            "message": { "text": sentence(found) },
            "locations": [{ "physicalLocation": self.location(found.at) }],
        });
        if let Some(other) = found.other {
            result["relatedLocations"] = json!([{ "physicalLocation": self.location(other) }]);
        }
        result
    }

    fn location(&self, at: At) -> Value {
        let ((line, column), (end_line, end_column)) = self.ends(at);
        json!({
            "artifactLocation": { "uri": uri(self.file(at)) },
            "region": { "startLine": line, "startColumn": column,
                        "endLine": end_line, "endColumn": end_column },
        })
    }

    fn ends(&self, at: At) -> ((usize, usize), (usize, usize)) {
        (self.line_column(at), self.line_column(At { start: at.end, ..at }))
    }

    fn file(&self, at: At) -> &str {
        self.sources().nth(at.source as usize).map_or("", |(name, _)| name)
    }
}

fn rule(code: &codes::Code) -> Value {
    json!({
        "id": code.code,
        "shortDescription": { "text": code.title },
        "fullDescription": { "text": code.text },
    })
}

/// What is wrong and what to do, in one line.
fn sentence(found: &Diagnostic) -> String {
    let parts =
        [&found.title, &found.note, &found.help].into_iter().filter(|part| !part.is_empty());
    parts.map(String::as_str).collect::<Vec<_>>().join("; ")
}

/// Text of a workflow command.
fn message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The value of its property.
fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}

/// A relative or absolute path as a reference (RFC 3986 §4.1).
fn uri(path: &str) -> String {
    let mut out = String::new();
    for b in path.bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(b));
            }
            _ => _ = write!(out, "%{b:02X}"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Diagnostics {
        let mut all = Diagnostics::default();
        let source = all.add_source("a b,c.toml".into(), "ö = 1\nx = [\n2]\n".into());
        let at = |start, end| At { source, start, end };
        all.push(Diagnostic::new("E101", at(0, 2), "unknown key `ö`").note("100%\nsure"));
        all.push(Diagnostic::new("W208", at(11, 15), "two lines").other(at(0, 2)));
        all
    }

    #[test]
    fn workflow_commands_escape_what_they_hold() {
        assert_eq!(
            found().render_github(),
            "::error file=a b%2Cc.toml,line=1,endLine=1,col=1,endColumn=2,title=E101::\
             unknown key `ö`; 100%25%0Asure\n\
             ::warning file=a b%2Cc.toml,line=2,endLine=3,title=W208::two lines\n"
        );
    }

    #[test]
    fn sarif_has_what_its_schema_requires() {
        let log: Value = serde_json::from_str(&found().render_sarif()).expect("JSON");
        assert_eq!((&log["version"], &log["$schema"]), (&json!("2.1.0"), &json!(SARIF_SCHEMA)));
        let run = &log["runs"][0];
        let ids: Vec<&Value> = run["tool"]["driver"]["rules"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|rule| &rule["id"])
            .collect();
        assert_eq!(ids, ["E101", "W208"]);
        let region = &run["results"][0]["locations"][0]["physicalLocation"]["region"];
        let expect = json!({ "startLine": 1, "startColumn": 1, "endLine": 1, "endColumn": 2 });
        assert_eq!(region, &expect, "columns are characters");
        let other = &run["results"][1]["relatedLocations"][0]["physicalLocation"];
        assert_eq!(other["artifactLocation"]["uri"], "a%20b%2Cc.toml");
        assert_eq!(run["results"][1]["level"], "warning");
    }
}
