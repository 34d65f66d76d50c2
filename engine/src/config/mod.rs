//! Text → Model → Snapshot, with every mistake at once.
//!
//! ```text
//! source   text, --set, ${NAME}  →  one tree with places
//! read     tree  →  Model          (route, action, reader, address, units; keys is THE LIST)
//! check    Model →  Checked        references, duplicates, conflicts; builds the routers
//! compile  Checked → Snapshot      defaults, ids
//! ```
//! Nothing here asks the network; the only files read are those that a `respond` names.

use std::path::{Path, PathBuf};

use crate::snapshot::Snapshot;

mod action;
mod address;
mod check;
pub mod codes;
mod compile;
pub mod defaults;
pub mod diagnostic;
mod digest;
#[doc(hidden)]
pub mod fuzz;
pub mod keys;
pub mod model;
mod one_liner;
mod read;
mod reader;
pub mod reference;
mod route;
mod source;
#[cfg(test)]
mod tests;
pub mod units;

pub use diagnostic::Diagnostics;
pub use digest::Digests;
pub use one_liner::{OneLiner, one_liner};
pub use source::{Env, TEXT_BYTES_MAX};

/// What a configuration is made from.
pub struct Input<'a> {
    pub text: String,
    /// As messages name the text: `busbar.toml`.
    pub name: String,
    /// Files that the text names are relative to it; `None`: it can't name any.
    pub base_dir: Option<PathBuf>,
    /// `key.path=VALUE`, over the text in their order.
    pub sets: Vec<String>,
    pub env: Env<'a>,
}

/// A configuration, or why there is none.
#[derive(Debug)]
pub struct Loaded {
    /// `None` when there was any error. Its generation is 1 until it is published.
    pub snapshot: Option<Snapshot>,
    pub diagnostics: Diagnostics,
    pub digests: Digests,
    /// Every file that was read, to be watched.
    pub files: Vec<PathBuf>,
}

/// Where files may be read from.
struct Files<'a> {
    base_dir: Option<&'a Path>,
}

/// Reads, checks and compiles. Near-linear in the text; never panics, whatever it holds.
pub fn load(input: Input<'_>) -> Loaded {
    let mut diagnostics = Diagnostics::default();
    let out = &mut diagnostics;
    let files = Files { base_dir: input.base_dir.as_deref() };
    let table = source::read(input.name, input.text, input.sets, input.env, out);
    out.seal_broken();
    let digests = Digests::of(&table);
    let model = read::read(&table, &files, out);
    let checked = check::check(model, out);
    diagnostics.sort();
    let snapshot = checked.map(|checked| compile::compile(checked, &diagnostics));
    debug_assert_eq!(snapshot.is_some(), diagnostics.errors() == 0);
    Loaded { snapshot, diagnostics, digests, files: Vec::new() }
}

/// The configuration of a gateway without one: a page at `/` and an echo service.
pub fn default_text() -> &'static str {
    include_str!("default.toml")
}
