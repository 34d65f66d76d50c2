//! Strict HTTP/1.1 message parsing without I/O.
//!
//! The contract:
//! 1. Bytes in, spans and small values out. Nothing here reads, waits, logs or looks at a clock.
//! 2. No allocation per message: `Fields` and the caller's buffers keep their storage.
//! 3. Whatever could make two parsers disagree is refused, from clients and upstreams alike, and
//!    never repaired. Every refusal is a [`ParseError`]: a kind (status, RFC section, sentence)
//!    and a place.
//! 4. The result does not depend on how the bytes were split into reads.
//! 5. No byte sequence panics.
//!
//! In the order a request meets them: `scan` finds the end of the head, `head` reads it (`quick`
//! when it is a usual one), `target` and `path` say what is asked for, `framing` how long the body is, `connection` what belongs to
//! this hop only, `chunked` reads the body, `encode` writes the next head. Before all of them
//! `proxy` reads the header that a balancer in front may write.
#![forbid(unsafe_code)]

mod bytes;
pub mod chunked;
pub mod connection;
pub mod encode;
pub mod error;
pub mod fields;
pub mod framing;
pub mod head;
pub mod limits;
mod line;
pub mod method;
pub mod path;
pub mod proxy;
mod quick;
pub mod scan;
pub mod span;
pub mod target;
mod words;

pub use chunked::{ChunkEvent, ChunkedDecoder, parse_trailers};
pub use connection::{ConnectionOptions, Expect};
pub use error::{ErrorKind, ParseError, Version};
pub use fields::{Field, FieldId, FieldSet, Fields};
pub use framing::{BodyFraming, request_framing, response_framing};
pub use head::{RequestHead, ResponseHead};
pub use limits::Limits;
pub use method::Method;
pub use path::{Canonical, PathFacts, PathOptions};
pub use proxy::Proxied;
pub use scan::HeadScan;
pub use span::Span;
pub use target::{Form, Target};
