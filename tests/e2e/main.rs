//! End to end: the real binary against real servers and origins that misbehave. One module per
//! promise; most promises are tested on both drivers. Times are asserted in the simulated world;
//! here it is order that counts.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
#![allow(unsafe_code)] // poll and kill

/// Makes a test of each function, once per driver.
macro_rules! on_both_drivers {
    ($($(#[$doc:meta])* fn $name:ident($driver:ident: &str) $body:block)*) => {$(
        mod $name {
            use super::*;

            fn on($driver: &str) $body

            #[test]
            fn uring() {
                on(harness::gateway::DRIVERS[0]);
            }

            #[test]
            fn epoll() {
                on(harness::gateway::DRIVERS[1]);
            }
        }
    )*};
}

mod auth;
mod balance;
mod certificates;
mod cli;
mod client_certs;
mod concurrency;
mod cors;
mod docs;
mod doors;
mod errors;
mod expect;
mod explain;
mod fmt;
mod forward_auth;
mod forwarded;
mod framing;
mod hostile;
mod ip;
mod jwt;
mod keepalive;
mod leaving;
mod lifecycle;
mod limits;
mod matching;
mod numbers;
mod operations;
mod passwords;
mod policies;
mod pools;
mod proxy_protocol;
mod quantiles;
mod rate_limit;
mod relay;
mod reload;
mod rewrite;
mod scrape;
mod storms;
mod timeouts;
mod tls;
mod tls_bodies;
mod tls_reload;
mod tools;
mod upgrade;
mod upstream_tls;
mod view;
mod waits;
mod workers;
