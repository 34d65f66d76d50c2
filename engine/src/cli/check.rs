//! `busbar check`: every mistake of a configuration, and nothing else happens.

use clap::{Args, ValueEnum};

use super::{Source, exit, fail, print, show};

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
}

#[derive(Debug, Clone, Copy, ValueEnum, PartialEq, Eq)]
enum Format {
    Text,
    Json,
}

impl Check {
    pub(super) fn run(self) -> u8 {
        let format = if self.json { Format::Json } else { self.format };
        let text = self.source.find();
        let name = text.name();
        let loaded = match text.load(&self.source.set) {
            Ok(loaded) => loaded,
            Err(e) => return fail(format == Format::Json, &e),
        };
        let found = loaded.diagnostics;
        match format {
            Format::Json => print(&found.render_json()),
            Format::Text => show(&found),
        }
        let denied = self.deny_warnings && found.warnings() > 0;
        let Some(snapshot) = loaded.snapshot.filter(|_| !denied) else { return exit::FAILED };
        if format == Format::Text {
            let (routes, upstreams) = (snapshot.routes.len(), snapshot.upstreams.len());
            let listeners = snapshot.listeners.len();
            out!("{name} is good: {routes} routes, {upstreams} upstreams, {listeners} listeners\n");
        }
        0
    }
}
