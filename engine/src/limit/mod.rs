//! How much is allowed: what all workers count together, without locks.

pub mod clients;
