//! `busbar check`: every mistake of a configuration, and nothing else happens.

use clap::{Args, ValueEnum};

use super::{Source, exit, fail, print, show};
use crate::snapshot::{Route, Snapshot};

/// Names of open routes that are printed.
const OPEN_MAX: usize = 20;

#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    source: Source,
    /// Warnings count as errors
    #[arg(long)]
    deny_warnings: bool,
    /// How mistakes are written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The same as --format json
    #[arg(long)]
    json: bool,
    /// Print what all files and --set say together, each line with its place; secrets are hidden
    #[arg(long, conflicts_with_all = ["json", "format"])]
    print: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum, PartialEq, Eq)]
enum Format {
    Text,
    Json,
    /// Workflow commands of GitHub Actions
    Github,
    /// SARIF 2.1.0
    Sarif,
}

impl Check {
    pub(super) fn run(self) -> u8 {
        let format = if self.json { Format::Json } else { self.format };
        let text = self.source.find();
        let name = text.name();
        let loaded = match self.print {
            true => text.load_printed(&self.source.set),
            false => text.load(&self.source.set).map(|loaded| (loaded, String::new())),
        };
        let (loaded, printed) = match loaded {
            Ok(loaded) => loaded,
            Err(e) => return fail(format == Format::Json, &e),
        };
        let found = loaded.diagnostics;
        match format {
            Format::Json => print(&found.render_json()),
            Format::Github => print(&found.render_github()),
            Format::Sarif => print(&found.render_sarif()),
            Format::Text => show(&found),
        }
        let denied = self.deny_warnings && found.warnings() > 0;
        let Some(snapshot) = loaded.snapshot.filter(|_| !denied) else { return exit::FAILED };
        if self.print {
            print(&printed);
        } else if format == Format::Text {
            let (routes, upstreams) = (snapshot.routes.len(), snapshot.upstreams.len());
            let listeners = snapshot.listeners.len();
            out!("{name} is good: {routes} routes, {upstreams} upstreams, {listeners} listeners\n");
            open_routes(&snapshot);
        }
        0
    }
}

/// Says which routes everyone may use, where others ask who it is.
fn open_routes(snapshot: &Snapshot) {
    let open: Vec<&Route> = snapshot.routes.iter().filter(|r| !r.policies.identifies()).collect();
    if snapshot.auths.is_empty() || open.is_empty() {
        return;
    }
    let names: Vec<&str> = open.iter().take(OPEN_MAX).map(|route| &*route.name).collect();
    let more = match open.len().saturating_sub(OPEN_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    out!("open to everyone: {}{more}\n", names.join(", "));
}
