//! The only source of atomics and of what is made of them, so that loom can stand in for them
//! (`tests/loom`).

#[cfg(not(busbar_loom))]
pub use std::{
    hint::spin_loop,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence},
    thread::{Thread, current, park_timeout},
};

#[cfg(not(busbar_loom))]
pub use crossbeam::queue::SegQueue as Queue;

#[cfg(busbar_loom)]
pub use loom::{
    hint::spin_loop,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence},
    thread::{Thread, current},
};

#[cfg(busbar_loom)]
pub use crate::model::{Queue, park_timeout};
