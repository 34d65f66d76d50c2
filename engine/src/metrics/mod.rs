//! What a worker counts. Owned by it alone; handed over whole.

pub mod recorder;
