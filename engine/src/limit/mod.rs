//! How much is allowed: what all workers count together, without locks.

pub mod clients;
pub mod concurrency;
pub mod counts;
pub mod gcra;
pub mod key;
pub mod queue;
pub mod shard;
pub mod taken;
