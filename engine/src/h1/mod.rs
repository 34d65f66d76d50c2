//! HTTP/1.1 connection cores: bytes in, decisions and bytes out; no sockets.

pub mod client;
pub mod relay;
pub mod server;
