//! Who calls, and whether it is true: what the policies that identify share.
//!
//! ```text
//!  keys.csv ─▶ csv ─┐
//!  htpasswd ────────┼▶ consumers (texts, sets, keys) ── frozen, one Arc for all workers
//!  [consumer.N] ────┘        ▲
//!  Authorization: Basic ─▶ basic ─▶ hash (slow) ─▶ memory
//!  Authorization: Bearer ─▶ jwt ─▶ jwks ─▶ claims ─▶ memory
//!                                  ▲
//!                     refresh (when to fetch the key set again)
//! ```
//!
//! Everything here is a core: bytes and `now` in, a verdict out. What a verdict says is for logs
//! and `explain`; a client learns no more than that its credential is not valid.

pub mod base64;
pub mod basic;
pub mod claims;
pub mod consumers;
pub mod csv;
pub mod fetch;
pub mod fuzz;
pub mod hash;
pub mod htpasswd;
pub mod json;
pub mod jwks;
pub mod jwt;
pub mod keys;
pub mod memory;
pub mod mistakes;
pub mod refresh;
pub mod remembered;
pub mod texts;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::time::Mono;

/// Whole seconds since 1970, as the dates in tokens count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Wall(pub u64);

impl Wall {
    /// Later than any token's end.
    pub const NEVER: Wall = Wall(u64::MAX);

    pub const fn plus(self, seconds: u64) -> Wall {
        Wall(self.0.saturating_add(seconds))
    }

    /// Time from `earlier` to `self`, zero when it lies ahead.
    pub const fn since(self, earlier: Wall) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }
}

/// Both clocks: how long a verdict may be remembered is counted by the one that nobody sets, when
/// a token ends by the one that its issuer read.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub mono: Mono,
    pub wall: Wall,
}

/// Whether `a` and `b` are equal, in a time that depends on their lengths alone.
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    // Or the optimiser could leave the loop at the first difference.
    let differ = |sum: u8, (a, b): (&u8, &u8)| std::hint::black_box(sum | (a ^ b));
    a.iter().zip(b).fold(0, differ) == 0
}

/// Whether `text` may stand in a field value and in a log line: no control characters.
pub(crate) fn is_printable(text: &[u8]) -> bool {
    text.iter().all(|&b| b >= 0x20 && b != 0x7f)
}
