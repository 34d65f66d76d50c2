//! One line for each exchange. A worker packs the facts into its ring and goes on; a thread of
//! control's formats and writes. A slow disk never slows a request: what does not fit in the ring
//! is dropped and counted.
//!
//! ```text
//!  worker: record ─▶ ring ─▶ writer thread: record ─ format ─▶ sink (file, standard output)
//! ```

pub mod format;
pub mod record;
pub mod ring;
