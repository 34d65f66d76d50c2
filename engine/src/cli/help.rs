//! `busbar help CODE`: what a diagnostic means, why, and what to do.

use clap::{Args, CommandFactory};
use serde_json::{Value, json};

use super::{Cli, exit};
use crate::config::codes::{CODES, Code, code, nearest};

/// Columns of a line of prose.
const COLUMNS: usize = 80;

#[derive(Debug, Args)]
pub(super) struct Help {
    /// A code of a diagnostic, in any case, or a command; without it all codes are listed
    #[arg(value_name = "CODE")]
    what: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Help {
    pub(super) fn run(self) -> u8 {
        let Some(name) = &self.what else {
            match self.json {
                true => outln!("{}", CODES.iter().map(entry_json).collect::<Value>()),
                false => CODES.iter().for_each(|code| outln!("{} {}", code.code, code.title)),
            }
            return 0;
        };
        if let Some(code) = code(name) {
            match self.json {
                true => outln!("{}", entry_json(code)),
                false => outln!("{} {}\n\n{}", code.code, code.title, wrapped(code.text)),
            }
            return 0;
        }
        let mut cli = Cli::command();
        cli.build();
        if let Some(command) = cli.find_subcommand_mut(name) {
            let text = command.render_long_help().to_string();
            match self.json {
                true => outln!("{}", json!({ "command": name, "help": text })),
                false => out!("{text}"),
            }
            return 0;
        }
        unknown(name, self.json)
    }
}

fn unknown(name: &str, is_json: bool) -> u8 {
    let near = nearest(name);
    let error = format!("no diagnostic has the code {name:?}");
    if is_json {
        let near: Value = near.into_iter().map(entry_json).collect();
        outln!("{}", json!({ "error": error, "nearest": near }));
    } else {
        errln!("busbar: {error}; the nearest are");
        near.iter().for_each(|code| errln!("  {} {}", code.code, code.title));
    }
    exit::FAILED
}

fn entry_json(code: &Code) -> Value {
    let severity = if code.code.starts_with('E') { "error" } else { "warning" };
    json!({ "code": code.code, "severity": severity, "title": code.title, "text": code.text })
}

fn wrapped(text: &str) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let len = word.chars().count();
        if column > 0 && column + 1 + len > COLUMNS {
            out.push('\n');
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += len;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_wrapped_between_words() {
        for code in CODES {
            let text = wrapped(code.text);
            assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{}", code.code);
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(words(&text), words(code.text));
        }
    }
}
