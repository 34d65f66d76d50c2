//! Monotonic time as a number, and durations as text.

use std::time::Duration;

/// Nanoseconds since some start of this process (or of a simulated world).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Mono(pub u64);

impl Mono {
    /// Later than any deadline.
    pub const NEVER: Mono = Mono(u64::MAX);

    #[inline]
    pub const fn after(self, d: Duration) -> Mono {
        let ns = d.as_nanos();
        Mono(self.0.saturating_add(if ns > u64::MAX as u128 { u64::MAX } else { ns as u64 }))
    }

    /// Time from `earlier` to `self`, zero when it lies ahead.
    #[inline]
    pub const fn since(self, earlier: Mono) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}
