//! What workers count: each into a recorder of its own, which control collects whole and adds up.
//!
//! ```text
//!  worker: exchange ─▶ Recorder ═ handed over on demand ═▶ Totals ─▶ expose ─▶ /metrics
//! ```

pub mod expose;
pub mod greeting;
mod grid;
pub mod names;
pub mod reason;
pub mod recorder;
mod text;
pub mod totals;
