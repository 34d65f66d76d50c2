//! The command line: the list of commands, what they share, exit codes.

/// As std's printing, but that a reader who has left (`busbar … | head`) is no mistake.
macro_rules! out {
    ($($text:tt)*) => { $crate::cli::print(&format!($($text)*)) };
}
macro_rules! outln {
    ($($text:tt)*) => { $crate::cli::print(&format!("{}\n", format_args!($($text)*))) };
}
macro_rules! err {
    ($($text:tt)*) => { $crate::cli::complain(&format!($($text)*)) };
}
macro_rules! errln {
    ($($text:tt)*) => { $crate::cli::complain(&format!("{}\n", format_args!($($text)*))) };
}

mod check;
mod config;
mod explain;
mod fmt;
mod help;
mod key;
mod limits;
mod reload;
mod run;

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::admin::default_path;
use crate::config::{
    Diagnostics, Input, Loaded, TEXT_BYTES_MAX, admin_socket, default_text, load, load_printed,
    quoted,
};
use crate::control::{may_colour, say};

/// Exit codes, beside 0.
pub mod exit {
    /// The configuration has mistakes, or what was asked for came to nothing.
    pub const FAILED: u8 = 1;
    /// The arguments can't be read, or not together.
    pub const USAGE: u8 = 2;
    /// No gateway was reached.
    pub const NOT_REACHED: u8 = 3;
    /// A deadline of the drain, or a second signal, cut something.
    pub const CUT: u8 = 4;
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
    /// Make the running gateway read its configuration again
    Reload(reload::Reload),
    /// Tell what a request would get, and why
    Explain(explain::Explain),
    /// Write configurations in their canonical form
    Fmt(fmt::Fmt),
    /// Print the language's defaults and its schema
    Config(config::Config),
    /// Make keys for consumers, and hash them
    Key(key::Key),
    /// Show what rate limits have counted of somebody
    Limits(limits::Limits),
    /// Tell what the code of a diagnostic means
    Help(help::Help),
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

/// A configuration before it is read.
#[derive(Debug, Clone)]
enum Text {
    File(PathBuf),
    /// As it is, and what to call it.
    Given(String, &'static str),
}

impl Text {
    /// As messages and the first line name it.
    fn name(&self) -> String {
        match self {
            Text::File(path) => path.display().to_string(),
            Text::Given(_, name) => (*name).to_owned(),
        }
    }

    /// Reads and checks it.
    fn load(&self, sets: &[String]) -> Result<Loaded, String> {
        self.read(sets, load).map(|(mut loaded, file)| {
            loaded.files.extend(file);
            loaded
        })
    }

    /// The same for showing it: what all of it says as one text.
    fn load_printed(&self, sets: &[String]) -> Result<(Loaded, String), String> {
        self.read(sets, load_printed).map(|(loaded, _)| loaded)
    }

    fn read<L>(
        &self,
        sets: &[String],
        load: impl FnOnce(Input<'_>) -> L,
    ) -> Result<(L, Option<PathBuf>), String> {
        #[allow(clippy::disallowed_methods)] // the command line is a shell
        let env = |name: &str| std::env::var(name).ok();
        let (text, base_dir, file) = match self {
            Text::Given(text, _) => (text.clone(), None, None),
            Text::File(path) => {
                (read_text(path)?, path.parent().map(PathBuf::from), Some(path.clone()))
            }
        };
        let (name, mut all) = (self.name(), sets_of_environment()?);
        all.extend_from_slice(sets);
        Ok((load(Input { text, name, base_dir, sets: all, env: &env }), file))
    }
}

impl Text {
    /// As `load`, some time later. A pipe was read to its end the first time: now it would make an
    /// empty configuration, or wait for somebody who writes.
    fn load_again(&self, sets: &[String]) -> Result<Loaded, String> {
        match self {
            Text::File(path) if path.metadata().is_ok_and(|now| !now.is_file()) => {
                let path = path.display();
                Err(format!("busbar: {path} is not a file: it can be read only once"))
            }
            Text::File(_) | Text::Given(..) => self.load(sets),
        }
    }
}

/// `$BUSBAR_WORKERS` and `$BUSBAR_ADMIN` go over the file, under `--set`.
fn sets_of_environment() -> Result<Vec<String>, String> {
    #[allow(clippy::disallowed_methods)] // the command line is a shell
    let given = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let mut sets = Vec::new();
    if let Some(workers) = given("BUSBAR_WORKERS") {
        if workers.parse::<u16>().is_err() {
            let what = format!("busbar: $BUSBAR_WORKERS is `{workers}`; it takes a whole number");
            return Err(what);
        }
        sets.push(format!("server.workers={workers}"));
    }
    if let Some(address) = given("BUSBAR_ADMIN") {
        sets.push(format!("admin.address={}", quoted(&address)));
    }
    Ok(sets)
}

impl Source {
    /// The file that was named, or the first that is found.
    fn find(&self) -> Text {
        #[allow(clippy::disallowed_methods)] // the command line is a shell
        let from_environment = std::env::var_os("BUSBAR_CONFIG").filter(|path| !path.is_empty());
        let default = PathBuf::from("busbar.toml");
        // Whatever stands there is meant: a directory or a dangling link is an error, not a reason
        // to run something else.
        let is_there = default.symlink_metadata().is_ok();
        let path = self.file.clone().or(from_environment.map(PathBuf::from));
        let path = path.or(is_there.then_some(default));
        match path {
            Some(path) => Text::File(path),
            None => Text::Given(default_text().to_owned(), "the built-in welcome"),
        }
    }
}

/// A file's text, or why there is none. It may be a pipe; one that does not end is left off.
fn read_text(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = File::open(path)
        .and_then(|file| file.take(TEXT_BYTES_MAX as u64 + 1).read_to_string(&mut text));
    match read {
        Ok(_) => Ok(text),
        Err(e) => Err(format!("busbar: can't read {}: {e}", path.display())),
    }
}

/// The admin socket of the gateway that runs `text`: the one it names, although it may have
/// mistakes by now, else the default one. A file that is not there runs nowhere.
fn socket_of(text: &Text) -> Result<PathBuf, String> {
    let named = match text {
        Text::File(path) => admin_socket(&read_text(path)?),
        Text::Given(..) => None,
    };
    Ok(named.unwrap_or_else(default_path))
}

/// Prints to standard output. A reader that has left (`busbar … | head`) is no mistake.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Prints to standard error.
fn complain(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Shows diagnostics on standard error, if there are any.
fn show(found: &Diagnostics) {
    complain(&found.render(is_coloured()));
}

/// Says why a command came to nothing: `{"error": …}` on standard output, or one line.
fn fail(is_json: bool, why: &str) -> u8 {
    match is_json {
        true => print(&format!("{}\n", serde_json::json!({ "error": why }))),
        false => say(why),
    }
    exit::FAILED
}

/// Whether messages are coloured.
fn is_coloured() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stderr()) && may_colour()
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
        Command::Reload(reload) => reload.run(),
        Command::Explain(explain) => explain.run(),
        Command::Fmt(fmt) => fmt.run(),
        Command::Config(config) => config.run(),
        Command::Key(key) => key.run(),
        Command::Limits(limits) => limits.run(),
        Command::Help(help) => help.run(),
    };
    ExitCode::from(code)
}
