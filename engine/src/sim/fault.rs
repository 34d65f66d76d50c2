//! Named faults and how often they strike; drawn anew for each run, some switched off entirely.

use crate::rng::Rng;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $one_in:literal,)*) => {
        /// "Once in n": 0 is never.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Faults { $($(#[$doc])* pub $name: u32,)* }

        impl Faults {
            /// Each fault is off in half of all runs, else at a drawn frequency.
            pub fn draw(rng: &mut Rng) -> Faults {
                Faults { $($name: if rng.one_in(2) { 0 } else { $one_in + rng.below($one_in * 4) },)* }
            }
        }
    };
}

faults! {
    /// A write takes only a part.
    short_write = 2,
    /// A read gives only a part.
    short_read = 2,
    /// Bytes take milliseconds instead of microseconds.
    delay = 3,
    /// A wait for readiness ends without anything being there.
    spurious = 8,
    /// A connection is refused.
    refuse = 6,
    /// A connection attempt is never answered.
    blackhole = 20,
    /// The peer resets in the middle of what it does.
    client_reset = 12,
    origin_reset = 12,
    /// The peer stops half-way, cleanly.
    client_leaves = 12,
    origin_truncates = 10,
    /// The origin closes an idle connection just as it is used again.
    origin_closes_idle = 4,
    /// The origin thinks for seconds.
    origin_slow = 8,
    /// The origin answers before it has read the body.
    early_answer = 6,
    /// 1xx before the final answer.
    interim = 5,
    /// The answer breaks the rules.
    bad_answer = 10,
    /// Bytes that nobody asked for follow the answer.
    extra_bytes = 8,
    /// The client half-closes behind its last request.
    half_close = 4,
}

impl Faults {
    pub fn are_off(&self) -> bool {
        *self == Faults::default()
    }

    pub fn strikes(one_in: u32, rng: &mut Rng) -> bool {
        one_in > 0 && rng.one_in(one_in)
    }
}
