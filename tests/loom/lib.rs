//! The engine's shared places under loom: its own files, built with loom's atomics. Each has its
//! models inside, under `#[cfg(all(test, busbar_loom))]`; tests with real threads stand under
//! `not(busbar_loom)`. `cargo test -p busbar-loom` runs them, and so does the workspace's test.
//!
//! Another one is a line here: its folder's module with a `#[path]`, the file's name in it, so that
//! its `crate::` names fit. It must use nothing that waits or speaks to the kernel, since
//! with `--cfg loom` for the whole build tokio's `net` vanishes.
//!
//! What the queues and the bell are made of is not ours: `model.rs` has the weakest things that
//! keep what crossbeam and the kernel promise, and parking without a timeout.
//!
//! Not here, and why:
//! - A board of endpoints, which control would write and workers read: there is none yet. What is
//!   believed of an endpoint is each worker's own (`upstream/state.rs`, of `Cell`s).
//! - `worker/accept.rs: Counts`: one word per listener, changed by `fetch_add` and `fetch_sub`
//!   alone, and nothing is published by it. Looking and counting are two steps, so workers that
//!   accept at once may pass `connections_max` by one each, less one.
//! - `Arc<Snapshot>`: control frees it when `strong_count` says that the last one is its own; the
//!   count never rises again then, since whoever makes another one holds one, and a message that
//!   was not taken yet holds one, too.

pub mod model;

#[path = "../../engine/src/sync.rs"]
pub mod sync;
#[path = "../../engine/src/time.rs"]
pub mod time;

#[path = "../../engine/src/log"]
pub mod log {
    pub mod ring;
}

#[path = "../../engine/src/limit"]
pub mod limit {
    pub mod concurrency;
    pub mod counts;
    pub mod gcra;
    pub mod key;
    pub mod queue;
    pub mod shard;
}

#[path = "../../engine/src/rt"]
pub mod rt {
    pub mod alarm;

    pub use crate::model::{Bell, BellEnd, Doorbell, bell};
}

#[path = "../../engine/src/worker"]
pub mod worker {
    pub mod balance;
    pub mod post;
}
