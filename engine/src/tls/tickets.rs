//! Tickets that resume sessions. Their keys outlive a configuration, and all workers share them.

use std::sync::{Arc, OnceLock};

use rustls::server::ProducesTickets;

/// A listener's maker of tickets: empty until control gives it the keys, before the configuration
/// that it is part of is published.
#[derive(Debug, Default)]
pub struct Ticketer {
    keys: OnceLock<Arc<dyn ProducesTickets>>,
}

impl Ticketer {
    /// The first keys stay.
    pub fn give(&self, keys: Arc<dyn ProducesTickets>) {
        let _ = self.keys.set(keys);
    }
}

/// Keys drawn at random, which a new one follows every 6 hours; a ticket is good for 12 at most.
/// `Err` when there is no randomness to be had.
pub fn fresh() -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
    rustls::crypto::ring::Ticketer::new()
}

/// Without keys there are no tickets, and no ticket is known.
impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        self.keys.get().is_some_and(|keys| keys.enabled())
    }

    fn lifetime(&self) -> u32 {
        self.keys.get().map_or(0, |keys| keys.lifetime())
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.keys.get()?.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.keys.get()?.decrypt(cipher)
    }
}
