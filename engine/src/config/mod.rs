//! Text to Snapshot, with every mistake at once.
//!
//! ```text
//!  source + --set ─▶ tree ─▶ server, upstreams, routes (reader + model) ─▶ compile ─▶ Snapshot
//!                      └──────────── diagnostics, sorted by place ◀──────────┘
//! ```
//! `load` is pure but for the files that `respond` names; it resolves no names and opens no sockets.

mod actions;
mod compile;
pub mod diagnostic;
#[doc(hidden)]
pub mod fuzz;
pub mod model;
mod one_liner;
mod reader;
pub mod reference;
mod routes;
mod server;
mod tree;
mod units;
mod upstreams;

use std::path::PathBuf;

pub use diagnostic::Diagnostics;
pub use one_liner::{OneLiner, one_liner};

use crate::snapshot::Snapshot;
use diagnostic::{Place, Source};
use reader::Reader;
use tree::Value;

/// What a configuration is read from.
pub struct Input<'a> {
    pub text: String,
    /// As it is shown in messages.
    pub name: String,
    /// Where files that it names are looked for.
    pub base_dir: Option<PathBuf>,
    /// `KEY=VALUE` texts that replace what the text says.
    pub sets: Vec<String>,
    /// The environment.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

/// A configuration that was read. There is no snapshot if there is any error.
#[derive(Debug)]
pub struct Loaded {
    pub snapshot: Option<Snapshot>,
    pub diagnostics: Diagnostics,
}

/// What runs without a file.
pub fn default_text() -> &'static str {
    include_str!("default.toml")
}

/// Reads, checks and compiles; never stops at the first mistake.
pub fn load(input: Input<'_>) -> Loaded {
    let source = Source { name: input.name, text: input.text };
    let (root, mut found) = tree::read(source, &input.sets, input.env);
    // Without a whole tree, what is missing or misplaced would be reported as further mistakes.
    let is_whole = !found.list.iter().any(|d| d.code == "E100");
    let r = Reader::new(&root, Place::default(), &model::TOP, &mut found);
    if let Some(version) = r.raw("busbar")
        && !matches!(version.value, Value::Integer(1))
    {
        let message = "this build reads version 1 of the language".to_owned();
        found.push("E103", version.place, message, "write busbar = 1".to_owned());
    }
    let server = server::server(r.raw("server"), &mut found);
    let listeners = server::listeners(r.raw("listener"), &mut found);
    let upstreams = upstreams::upstreams(r.raw("upstream"), &mut found);
    let routes = routes::routes(r.raw("route"), input.base_dir.as_deref(), &mut found);
    let parts = compile::Parts { server, listeners, upstreams, routes, is_whole };
    let snapshot = compile::compile(parts, &mut found);
    if !is_whole {
        found.list.retain(|d| !matches!(d.code, "E101" | "E105"));
    }
    found.sort();
    let snapshot = snapshot.filter(|_| found.errors() == 0);
    Loaded { snapshot, diagnostics: found }
}

#[cfg(test)]
mod tests;
