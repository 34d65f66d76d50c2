//! Busbar's engine.

pub mod action;
pub mod http;
pub mod ids;
pub mod router;
pub mod snapshot;
pub mod time;
