//! The simulated world: the shells of the engine, run on one thread with virtual time, seeded
//! scheduling and a network that misbehaves. See docs/simulation.md.

mod client;
mod exec;
mod fault;
mod gateway;
mod hanging;
mod net;
mod oracle;
mod origin;
pub mod rt;
mod swarm;
mod timing;
mod tunnel;
