//! The floor: relays that find where messages end and pass the bytes on.
//!
//! What a proxy costs above them is its own work; the rest is the kernel's. Each keeps idle
//! connections to the origin, the last one used first. One exchange at a time on a connection.

mod epoll;
pub mod message;
mod provided;
mod rt;
mod sys;
mod uring;

/// How a relay talks to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Epoll,
    Uring,
    /// Busbar's own runtime.
    Rt,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Epoll, Kind::Uring, Kind::Rt];

    /// Its word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Epoll => "epoll",
            Kind::Uring => "io_uring",
            Kind::Rt => "rt",
        }
    }

    /// Its row in a table.
    pub fn row(self) -> &'static str {
        match self {
            Kind::Epoll => "floor epoll",
            Kind::Uring => "floor io_uring",
            Kind::Rt => "floor rt",
        }
    }

    pub fn named(word: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// Idle connections kept, as many as the peers keep.
const POOL_MAX: usize = 256;
/// Holds a head and a 64 KiB body part in one read.
const BUFFER: usize = 128 << 10;

/// Relays until the process is ended.
pub fn run(kind: Kind, port: u16, origin: u16) -> Result<(), String> {
    let done = match kind {
        Kind::Epoll => epoll::run(port, origin),
        Kind::Uring => uring::run(port, origin),
        Kind::Rt => rt::run(port, origin),
    };
    done.map_err(|e| format!("relay {}: {e}", kind.word()))
}
