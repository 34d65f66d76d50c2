//! Text → Model → Snapshot, with every mistake at once.
//!
//! ```text
//! source   text, --set, ${NAME}  →  one tree with places      (include: files of files)
//! read     tree  →  Model          each layer once            (keys is THE LIST)
//! merge    `[all]` → groups → route: what holds where several layers speak
//! check    Model →  Checked        references, duplicates, conflicts; builds the routers
//! compile  Checked → Snapshot      defaults, ids
//! ```
//! Nothing here asks the network; the only files read are those that the text names.

use std::path::PathBuf;

use self::files::{Origin, Outside};
use crate::snapshot::Snapshot;

mod access;
mod access_model;
mod action;
mod address;
mod admin;
mod check;
pub mod codes;
mod compile;
pub mod defaults;
pub mod diagnostic;
mod digest;
mod doubt;
mod fields;
mod files;
pub mod fmt;
#[doc(hidden)]
pub mod fuzz;
#[cfg(test)]
mod golden;
mod guards;
mod include;
pub mod keys;
mod layer;
mod limits;
pub mod listing;
mod log;
mod marks;
mod merge;
pub mod model;
mod one_liner;
mod policies;
mod print;
mod read;
mod reader;
pub mod reference;
mod report;
mod route;
pub mod schema;
mod secret;
mod source;
#[cfg(test)]
mod tests;
mod tls;
pub mod units;

pub use diagnostic::Diagnostics;
pub use digest::Digests;
pub use files::{Files, MemoryFile};
pub use one_liner::{OneLiner, one_liner, quoted};
pub use source::{Env, TEXT_BYTES_MAX};

/// What a configuration is made from.
pub struct Input<'a> {
    pub text: String,
    /// As messages name the text: `busbar.toml`.
    pub name: String,
    /// The folder of the file that the text stands in: what it names is relative to it. `None`: it
    /// stands in no file, and can't name any.
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
    /// What was read, or should have been, beside the text itself: included files, bodies of
    /// answers, secrets. Sorted.
    pub files: Vec<PathBuf>,
    /// Folders that a pattern of `include` was looked for in: a new file there may belong to it.
    pub folders: Vec<PathBuf>,
    /// Those of `files` that are lists: a change of one is a reload, whoever asks for it.
    pub lists: Vec<PathBuf>,
    /// Files of certificates and keys that could not be used, as messages name them. Sorted.
    pub faulty: Vec<String>,
}

/// Reads, checks and compiles. Near-linear in the text; never panics, whatever it holds.
pub fn load(input: Input<'_>) -> Loaded {
    load_from(input, &Files::Disk)
}

/// As `load`, with the whole as one text, secrets hidden: see [`print`].
pub fn load_printed(input: Input<'_>) -> (Loaded, String) {
    let mut printed = String::new();
    let look = |table: &source::Table, found: &Diagnostics| printed = print::merged(table, found);
    (load_looked_at(input, &Files::Disk, look), printed)
}

/// As `load`, with the files that the text names taken from `files`.
pub fn load_from(input: Input<'_>, files: &Files) -> Loaded {
    load_looked_at(input, files, |_, _| {})
}

fn load_looked_at(
    input: Input<'_>,
    files: &Files,
    look: impl FnOnce(&source::Table, &Diagnostics),
) -> Loaded {
    let mut diagnostics = Diagnostics::default();
    let out = &mut diagnostics;
    let outside = Outside::new(files, input.env);
    let origin = Origin { is_file: input.base_dir.is_some(), folder: input.base_dir };
    let table = source::read(input.name, input.text, input.sets, origin, &outside, out);
    out.seal();
    let digests = Digests::of(&table);
    look(&table, out);
    let model = read::read(&table, &outside, out);
    drop(table); // its memory serves what follows
    let checked = check::check(model, &outside, out);
    diagnostics.sort();
    let snapshot = checked.map(|checked| compile::compile(checked, &diagnostics));
    debug_assert_eq!(snapshot.is_some(), diagnostics.errors() == 0);
    let faulty = outside.faulty();
    let (files, folders, lists) = outside.asked();
    Loaded { snapshot, diagnostics, digests, files, folders, lists, faulty }
}

/// What `[admin] socket` says, as far as a text can be read at all; for finding a running gateway.
pub fn admin_socket(text: &str) -> Option<PathBuf> {
    let (table, _) = toml::de::DeTable::parse_recoverable(text);
    let socket = table.get_ref().get("admin")?.get_ref().get("socket")?.get_ref().as_str()?;
    (socket != "none").then(|| PathBuf::from(socket))
}

/// The configuration of a gateway without one: a page at `/` and an echo service.
pub fn default_text() -> &'static str {
    include_str!("default.toml")
}
