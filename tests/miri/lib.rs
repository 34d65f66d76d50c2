//! The engine's unsafe files that need no kernel, by path, so that Miri has little to build:
//! `cargo +nightly miri test -p busbar-miri` runs the models that stand in them, with fewer steps.
//! An ordinary `cargo test` runs them as well, in the engine.
//!
//! Not here: `rt/net.rs`, which is system calls on sockets. It has the same kind of models, for
//! the real kernel, on both drivers.

#[path = "../../engine/src/rng.rs"]
pub mod rng;
#[path = "../../engine/src/time.rs"]
pub mod time;

#[path = "../../engine/src/rt"]
pub mod rt {
    pub mod buf;
    pub mod slot;
    pub mod turn;
    pub mod uring;
}

/// What `rt/uring.rs` takes from the configuration.
pub mod snapshot {
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Driver {
        Auto,
        Uring,
        Epoll,
    }
}
