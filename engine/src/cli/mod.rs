//! The command line: the list of commands, what they share, exit codes.

mod check;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Input, Loaded};

/// Exit codes, beside 0.
pub mod exit {
    /// The configuration or the arguments are wrong, or a start failed.
    pub const FAILED: u8 = 1;
    /// The arguments can't be read (clap's own).
    pub const USAGE: u8 = 2;
    /// A deadline of the drain cut something.
    pub const CUT: u8 = 4;
    /// A second signal ended the drain.
    pub const AT_ONCE: u8 = 5;
}

/// Busbar, an API gateway: one call in, the right service answers.
#[derive(Debug, Parser)]
#[command(name = "busbar", version, about, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    Run(run::Run),
    /// Check a configuration and change nothing
    Check(check::Check),
}

/// Where the configuration comes from.
#[derive(Debug, Args)]
struct Source {
    /// The configuration; without one $BUSBAR_CONFIG, ./busbar.toml, or the built-in welcome
    file: Option<PathBuf>,
    /// Set one key over the file: KEY=VALUE, a TOML value (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// A configuration and what to call it in the first line.
struct Text {
    text: String,
    name: String,
    base_dir: Option<PathBuf>,
}

impl Source {
    /// The file that was named, or the first that is found.
    fn read(&self) -> Result<Text, String> {
        #[allow(clippy::disallowed_methods)] // the command line is a shell
        let from_environment = std::env::var_os("BUSBAR_CONFIG").map(PathBuf::from);
        let default = PathBuf::from("busbar.toml");
        let path =
            self.file.clone().or(from_environment).or_else(|| default.is_file().then_some(default));
        let Some(path) = path else {
            let (text, name) = (config::default_text().to_owned(), "the built-in welcome".into());
            return Ok(Text { text, name, base_dir: None });
        };
        let text = std::fs::read_to_string(&path)
            .map_err(|e| format!("busbar: can't read {}: {e}", path.display()))?;
        let base_dir = path.parent().map(PathBuf::from);
        Ok(Text { text, name: path.display().to_string(), base_dir })
    }

    fn load(&self, text: Text) -> Loaded {
        load(text, &self.set)
    }
}

fn load(text: Text, sets: &[String]) -> Loaded {
    #[allow(clippy::disallowed_methods)] // the command line is a shell
    let env = |name: &str| std::env::var(name).ok();
    config::load(Input {
        text: text.text,
        name: text.name,
        base_dir: text.base_dir,
        sets: sets.to_vec(),
        env: &env,
    })
}

fn is_terminal() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stderr())
}

/// Runs the command the arguments name.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { exit::USAGE } else { 0 });
        }
    };
    let code = match cli.command {
        Command::Run(run) => run.run(),
        Command::Check(check) => check.run(),
    };
    ExitCode::from(code)
}
