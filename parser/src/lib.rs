//! Strict HTTP/1.1 message parsing without I/O.
#![forbid(unsafe_code)]

pub mod fields;
pub mod limits;
pub mod method;
pub mod span;

pub use fields::{Field, FieldId, Fields};
pub use limits::Limits;
pub use method::Method;
pub use span::Span;
