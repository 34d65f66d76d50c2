//! Version-neutral facts about messages; no bytes on wires.

pub mod edit;
pub mod forwarded;
pub mod template;
