//! `busbar check`: every mistake of a configuration, and nothing else happens.

use clap::{Args, ValueEnum};

use super::{Source, exit, print, show};
use crate::control::say;

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
}

#[derive(Debug, Clone, Copy, ValueEnum, PartialEq, Eq)]
enum Format {
    Text,
    Json,
}

impl Check {
    pub(super) fn run(self) -> u8 {
        let text = self.source.find();
        let name = text.name();
        let loaded = match text.load(&self.source.set) {
            Ok(loaded) => loaded,
            Err(e) => {
                say(&e);
                return exit::FAILED;
            }
        };
        let found = loaded.diagnostics;
        match self.format {
            Format::Json => print(&found.render_json()),
            Format::Text => show(&found),
        }
        let denied = self.deny_warnings && found.warnings() > 0;
        let Some(snapshot) = loaded.snapshot.filter(|_| !denied) else { return exit::FAILED };
        if self.format == Format::Text {
            let (routes, upstreams) = (snapshot.routes.len(), snapshot.upstreams.len());
            let listeners = snapshot.listeners.len();
            print(&format!(
                "{name} is good: {routes} routes, {upstreams} upstreams, {listeners} listeners\n"
            ));
        }
        0
    }
}
