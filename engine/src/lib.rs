//! Busbar's engine, in reading order.
//!
//! ```text
//!  L5  main → cli
//!  L4  control ───────▶ worker            shells: the only async code
//!        │               │
//!  L3  admin explain ┌───┴── rt ── monoio
//!        │  config   │
//!  L2  way ▶ snapshot◀┘
//!  L1  router action upstream http h1 tls metrics limit  cores
//!  L0  parser · ids time rng sync secret
//! ```
//!
//! Invariants: no clock, thread, socket or file in a core; only `rt` names monoio, only `control`
//! tokio; nothing on the request path locks, allocates after warm-up, or writes memory that
//! another worker writes.

pub mod admin;
pub mod cli;
pub mod config;
pub mod control;
pub mod explain;
pub mod worker;

pub mod rt;
#[cfg(test)]
mod sim;

pub mod snapshot;
pub mod way;

pub mod action;
pub mod auth;
pub mod h1;
pub mod http;
pub mod limit;
pub mod log;
pub mod metrics;
pub mod policy;
pub mod router;
pub mod tls;
pub mod upstream;

pub mod ids;
pub mod rng;
pub mod secret;
pub mod sync;
pub mod time;
