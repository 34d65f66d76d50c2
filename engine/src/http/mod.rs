//! Version-neutral facts about messages; no bytes on wires.

pub mod date;
pub mod edit;
pub mod forwarded;
pub mod https;
pub mod problem;
pub mod reply;
pub mod rewrite;
pub mod template;
