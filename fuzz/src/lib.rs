//! One property per fuzz target. Each states an invariant beside "no panic".
//!
//! A new target is: a module here and a function re-exported, its line in [`TARGETS`], a five-line
//! `fuzz_targets/<name>.rs`, a `[[bin]]` in `Cargo.toml`, and seeds in `corpus/<name>/`. Then
//! `cargo +nightly fuzz run <name>` looks for counterexamples, and `cargo test` replays the corpus
//! on stable Rust.

mod chunks;
mod connection;
mod engine_parts;
mod heads;
mod paths;
mod proxied;
mod tls;

pub use chunks::chunked;
pub use connection::connection;
pub use engine_parts::{config, consumers, explain, fmt, jwks, jwt, router};
pub use heads::{request_head, response_head};
pub use paths::target_path;
pub use proxied::proxy;
pub use tls::tls;

/// Panics when `bytes` is a counterexample.
pub type Property = fn(&[u8]);

/// `(name, property)`: the name is also the corpus folder's.
pub const TARGETS: &[(&str, Property)] = &[
    ("request_head", request_head),
    ("response_head", response_head),
    ("chunked", chunked),
    ("target_path", target_path),
    ("router", router),
    ("config", config),
    ("connection", connection),
    ("fmt", fmt),
    ("explain", explain),
    ("jwt", jwt),
    ("jwks", jwks),
    ("consumers", consumers),
    ("proxy", proxy),
    ("tls", tls),
];

/// Bounds small enough for a fuzzer to reach them.
pub(crate) fn limits() -> parser::Limits {
    parser::Limits {
        head_bytes_max: 1024,
        fields_max: 70,
        target_bytes_max: 128,
        chunk_ext_bytes_max: 24,
        trailer_bytes_max: 128,
    }
}

/// Where to split an input: at a few places that depend on its bytes, so that every run tries
/// others and a replay tries the same.
pub(crate) fn cuts(bytes: &[u8]) -> [usize; 3] {
    let sum = bytes.iter().fold(7usize, |sum, &b| sum.wrapping_mul(31).wrapping_add(b as usize));
    let len = bytes.len() + 1;
    let mut cuts = [sum % len, (sum >> 8) % len, (sum >> 16) % len];
    cuts.sort_unstable();
    cuts
}
