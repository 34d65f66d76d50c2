//! What is wrong in a file of consumers: every mistake with its place, a bounded number kept.

use std::fmt;

/// Mistakes kept of one file; the rest is counted.
pub const MISTAKES_MAX: usize = 20;

/// One mistake. Nothing of a key or a hash stands in its text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// From 1.
    pub line: u32,
    /// Characters from 1.
    pub column: u32,
    pub what: String,
}

/// All mistakes of one file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Mistakes {
    pub kept: Vec<Mistake>,
    /// Those beyond [`MISTAKES_MAX`].
    pub more: usize,
}

impl Mistakes {
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// At byte `at` (from 0) of `line`, which is number `number` (from 1).
    pub(super) fn add(
        &mut self,
        number: u32,
        line: &[u8],
        at: usize,
        what: impl FnOnce() -> String,
    ) {
        if self.kept.len() == MISTAKES_MAX {
            self.more += 1;
            return;
        }
        let before = &line[..at.min(line.len())];
        let column = before.iter().filter(|&&b| b & 0xc0 != 0x80).count() as u32 + 1;
        self.kept.push(Mistake { line: number, column, what: what() });
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Mistake { line, column, what } in &self.kept {
            writeln!(f, "{line}:{column}: {what}")?;
        }
        if self.more > 0 {
            writeln!(f, "and {} more", self.more)?;
        }
        Ok(())
    }
}

/// A text of a file for a mistake: no control characters, no more than a few words of it.
pub(super) fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut shown: String = text.chars().take(40).flat_map(char::escape_debug).collect();
    if text.chars().nth(40).is_some() {
        shown.push('…');
    }
    shown
}
