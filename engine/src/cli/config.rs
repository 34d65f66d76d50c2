//! `busbar config`: the language itself, for people and for editors.

use clap::{Args, Subcommand};

use crate::config::{listing, schema};

#[derive(Debug, Args)]
pub(super) struct Config {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print every key with its default, as a file that checks clean
    Defaults {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of a configuration, for editors and generators
    Schema {
        /// It is JSON in any case
        #[arg(long)]
        json: bool,
    },
}

impl Config {
    pub(super) fn run(self) -> u8 {
        match self.what {
            What::Defaults { json: true } => outln!("{}", listing::json()),
            What::Defaults { json: false } => out!("{}", listing::toml()),
            What::Schema { json: _ } => out!("{}", schema::text()),
        }
        0
    }
}
