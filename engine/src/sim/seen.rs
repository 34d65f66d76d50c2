//! What a run produced and what it checked, counted by name: a world that silently stops
//! producing something fails its coverage test.

use crate::sim::bad::Place;
use crate::sim::exec::world;
use crate::sim::fault::Fault;

macro_rules! closed_set {
    ($(#[$set_doc:meta])* $set:ident { $($(#[$doc:meta])* $name:ident,)* }) => {
        $(#[$set_doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $set { $($(#[$doc])* $name,)* }

        impl $set {
            pub const ALL: &'static [$set] = &[$($set::$name,)*];
        }
    };
}

closed_set! {
    /// Kinds of traffic, and of what is done to it.
    Kind {
        /// Answers and bodies, by their framing.
        LengthAnswer,
        ChunkedAnswer,
        CloseDelimitedAnswer,
        NoBodyAnswer,
        HeadAnswer,
        Http10Answer,
        LengthRequest,
        ChunkedRequest,
        Http10Request,
        /// Requests written before the answers to earlier ones.
        Pipelined,
        HalfClosedBehindLast,
        /// A client sends its body only when it is told to, or has waited long enough.
        ExpectTold,
        ExpectGivenUp,
        ExpectAnsweredAtOnce,
        /// Interim answers that reached a client.
        Interim,
        /// Final answers that came before the request was whole.
        EarlyAnswer,
        /// Tunnels heard out, with bytes that came before the 101, and those refused.
        Tunnel,
        TunnelSpokenToEarly,
        TunnelRefused,
        /// A request on an upstream connection that had served another.
        Reused,
        /// A request that an origin saw a second time.
        Retried,
        /// Illegal requests and answers, by where they break the rules, and what became of them.
        BadHeadRefused,
        BadBodyRefused,
        BadAnswerHidden,
        BadAnswerBroken,
        /// The gateway's own answers.
        Problem,
        /// A wait for bytes that was given up, and one for bytes that had come.
        WaitGivenUp,
        LostRace,
        /// Configurations adopted by every worker; listeners that came and went.
        Reload,
        ListenerOpened,
        ListenerGone,
        SeveralWorkers,
        /// Handshakes that were over, on either side of the gateway.
        TlsDownstream,
        TlsUpstream,
        /// Connections that another worker took, on a listener that it had retired, and while it
        /// drained.
        HandedOver,
        HandedOverRetired,
        HandedOverDraining,
        DrainAmongClients,
        /// Exchanges and tunnels that a drain's deadline ended.
        Cut,
        /// Bounds that were reached.
        ListenerFull,
        ClientHasItsShare,
        UpstreamFull,
        /// Recorders that were handed over among the exchanges, and lines that did not fit.
        NumbersAsked,
        LineDropped,
    }
}

closed_set! {
    /// What must hold; the numbers are those of `oracle`.
    Promise {
        OneAnswer,
        WholeBodies,
        OneAtATime,
        NothingLeft,
        SentOnce,
        Kept,
        WithinBudget,
        Completes,
        CountedOnce,
        WithinBounds,
        Strict,
    }
}

/// Times that each was there.
#[derive(Debug, Clone)]
pub struct Seen {
    faults: [u64; Fault::ALL.len()],
    kinds: [u64; Kind::ALL.len()],
    promises: [u64; Promise::ALL.len()],
    /// By place: the ways in which rules were broken there, one bit each.
    broken: [u64; Place::ALL.len()],
}

impl Default for Seen {
    fn default() -> Seen {
        Seen {
            faults: [0; Fault::ALL.len()],
            kinds: [0; Kind::ALL.len()],
            promises: [0; Promise::ALL.len()],
            broken: [0; Place::ALL.len()],
        }
    }
}

impl Seen {
    pub fn struck(&mut self, fault: Fault) {
        self.faults[fault as usize] += 1;
    }

    pub fn saw(&mut self, kind: Kind) {
        self.kinds[kind as usize] += 1;
    }

    pub fn checked(&mut self, promise: Promise) {
        self.promises[promise as usize] += 1;
    }

    pub fn broke(&mut self, place: Place, form: usize) {
        self.broken[place as usize] |= 1 << form;
    }

    pub fn add(&mut self, other: &Seen) {
        self.broken.iter_mut().zip(other.broken).for_each(|(mine, theirs)| *mine |= theirs);
        let pairs = self.faults.iter_mut().zip(&other.faults);
        let pairs = pairs.chain(self.kinds.iter_mut().zip(&other.kinds));
        let pairs = pairs.chain(self.promises.iter_mut().zip(&other.promises));
        pairs.for_each(|(mine, theirs)| *mine += theirs);
    }

    /// Ways to break the rules that nobody has taken.
    pub fn unbroken(&self) -> Vec<(Place, usize)> {
        let all = Place::ALL.iter().flat_map(|p| (0..p.forms()).map(|form| (*p, form)));
        all.filter(|(place, form)| self.broken[*place as usize] & 1 << form == 0).collect()
    }

    /// Every name with its count.
    pub fn all(&self) -> Vec<(String, u64)> {
        let faults = Fault::ALL.iter().map(|f| (format!("fault {f:?}"), self.faults[*f as usize]));
        let kinds = Kind::ALL.iter().map(|k| (format!("{k:?}"), self.kinds[*k as usize]));
        let promises = Promise::ALL.iter();
        let promises = promises.map(|p| (format!("oracle {p:?}"), self.promises[*p as usize]));
        faults.chain(kinds).chain(promises).collect()
    }
}

/// Counts something that is there in the world of this thread.
pub fn saw(kind: Kind) {
    world(|w| w.seen.saw(kind));
}

/// Counts a check of a promise.
pub fn checked(promise: Promise) {
    world(|w| w.seen.checked(promise));
}
