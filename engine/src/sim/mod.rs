//! The simulated world: the shells of the engine, run on one thread with virtual time, seeded
//! scheduling and a network that misbehaves. See docs/simulation.md.

mod ask;
mod bad;
mod client;
mod exec;
mod fault;
pub mod gateway;
mod hanging;
mod learned;
mod limits;
mod net;
mod oracle;
mod origin;
pub mod rt;
mod seen;
mod swarm;
mod timing;
mod tls;
mod tunnel;
