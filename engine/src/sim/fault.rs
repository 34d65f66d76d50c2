//! Named faults and how often they strike; drawn anew for each run, some switched off entirely.

use crate::rng::Rng;
use crate::sim::exec::{World, world};

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $one_in:literal,)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Fault { $($(#[$doc])* $name,)* }

        impl Fault {
            pub const ALL: &'static [Fault] = &[$(Fault::$name,)*];
            const ONE_IN: &'static [u32] = &[$($one_in,)*];
        }
    };
}

faults! {
    /// A write takes only a part.
    ShortWrite = 2,
    /// A read gives only a part.
    ShortRead = 2,
    /// Bytes take milliseconds instead of microseconds.
    Delay = 3,
    /// A wait for readiness ends without anything being there.
    Spurious = 8,
    /// The machine stands still for some milliseconds: what was due meanwhile is due at once, in
    /// any order. The end of a wait and what it waited for race.
    Stall = 40,
    /// A wait for bytes is given up just when they come.
    LostRace = 1,
    /// A connection is refused.
    Refuse = 6,
    /// A connection attempt is never answered.
    Blackhole = 20,
    /// The queue of a listening socket overflows: the attempt is repeated a second later.
    QueueFull = 6,
    /// An attempt to connect that was given up has succeeded meanwhile.
    LateConnect = 1,
    /// The peer resets in the middle of what it does.
    ClientReset = 12,
    OriginReset = 12,
    /// The peer stops half-way, cleanly.
    ClientLeaves = 12,
    OriginTruncates = 10,
    /// The peer sends in small pieces, with pauses.
    ClientDrips = 10,
    OriginDrips = 10,
    /// The last bytes of a message come some milliseconds later.
    LateTail = 4,
    /// The peer takes its time between its reads.
    ClientReadsSlowly = 10,
    OriginReadsSlowly = 12,
    /// The origin closes an idle connection just as it is used again.
    OriginClosesIdle = 4,
    /// The origin closes in the middle of the request's body.
    OriginLeavesBody = 5,
    /// The origin thinks for seconds.
    OriginSlow = 8,
    /// The origin answers before it has read the body, and closes.
    EarlyAnswer = 6,
    /// The same, but it reads the rest and goes on.
    EarlyAndGoesOn = 6,
    /// 1xx before the final answer.
    Interim = 5,
    /// The answer's head breaks the rules.
    BadAnswer = 5,
    /// The answer's body does.
    BadAnswerBody = 6,
    /// Bytes that nobody asked for come with the answer's last one, or while the connection rests.
    ExtraBytes = 8,
    LateExtraBytes = 8,
    /// The request's head breaks the rules.
    BadRequest = 8,
    /// The request's body does.
    BadRequestBody = 10,
    /// The client half-closes behind its last request.
    HalfClose = 4,
    /// The origin answers an upgrade with a page.
    UpgradeRefused = 3,
}

/// "Once in n": 0 is never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults([u32; Fault::ALL.len()]);

impl Default for Faults {
    fn default() -> Faults {
        Faults([0; Fault::ALL.len()])
    }
}

impl Faults {
    /// Each fault is off in half of all runs, else at a drawn frequency.
    pub fn draw(rng: &mut Rng) -> Faults {
        let mut faults = Faults::default();
        for (drawn, one_in) in faults.0.iter_mut().zip(Fault::ONE_IN) {
            *drawn = if rng.one_in(2) { 0 } else { one_in + rng.below(one_in * 4) };
        }
        faults
    }

    pub fn are_off(&self) -> bool {
        *self == Faults::default()
    }

    /// Whether it may strike in this run.
    pub fn has(&self, fault: Fault) -> bool {
        self.0[fault as usize] > 0
    }
}

impl World {
    pub fn strikes(&mut self, fault: Fault) -> bool {
        let one_in = self.faults.0[fault as usize];
        let strikes = one_in > 0 && self.rng.one_in(one_in);
        if strikes {
            self.seen.struck(fault);
        }
        strikes
    }
}

/// Whether it strikes now, in the world of this thread.
pub fn strikes(fault: Fault) -> bool {
    world(|w| w.strikes(fault))
}
