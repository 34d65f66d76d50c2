//! The engine's shared places under loom: its own files, built with loom's atomics. Each has its
//! models inside, under `#[cfg(all(test, busbar_loom))]`; tests with real threads stand under
//! `not(busbar_loom)`. `cargo test -p busbar-loom` runs them, and so does the workspace's test.
//!
//! Another one is a line here: its folder's module with a `#[path]`, the file's name in it, so that
//! its `crate::` names fit. It must use nothing that waits or speaks to the kernel, since
//! with `--cfg loom` for the whole build tokio's `net` vanishes.
//!
//! Not here, and why:
//! - `worker/mailbox.rs`: the queue is crossbeam's; control pushes, then always rings; the worker
//!   hears, then drains. Ring and hearing are system calls on one socket, which order what was
//!   written before them; a ring that does not fit means that one before it is not heard yet, and
//!   the drain that follows that one sees this push as well. There is no word of ours that says
//!   "asleep", so none can be read too early.
//! - `worker/accept.rs: Counts`: one word per listener, changed by `fetch_add` and `fetch_sub`
//!   alone, and nothing is published by it. Looking and counting are two steps, so workers that
//!   accept at once may pass `connections_max` by one each, less one.
//! - `Arc<Snapshot>`: control frees it when `strong_count` says that the last one is its own; the
//!   count never rises again then, since only control makes new ones.

#[path = "../../engine/src/sync.rs"]
pub mod sync;

#[path = "../../engine/src/log"]
pub mod log {
    pub mod ring;
}

#[path = "../../engine/src/limit"]
pub mod limit {
    pub mod clients;
}
