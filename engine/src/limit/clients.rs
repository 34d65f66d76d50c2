//! Connections open by client address, over all workers.

use std::net::IpAddr;

use crate::limit::counts::{Counts, Token};
use crate::limit::key::client_bits;

#[derive(Debug)]
pub struct ClientCounts(Counts);

impl ClientCounts {
    pub fn new(seed: u64) -> ClientCounts {
        ClientCounts(Counts::new(seed))
    }

    /// Counts one more connection. `None`: the client has `max` already. The token is for
    /// [`ClientCounts::leave`].
    pub fn enter(&self, ip: IpAddr, max: u32) -> Option<u64> {
        self.0.enter(client_bits(ip), max).map(|token| token.0)
    }

    /// As [`Counts::leave`].
    pub fn leave(&self, token: u64) {
        self.0.leave(Token(token));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_share_and_no_more() {
        let counts = ClientCounts::new(1);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let a = counts.enter(ip("192.0.2.1"), 2).unwrap();
        counts.enter(ip("::ffff:192.0.2.1"), 2).unwrap();
        assert!(counts.enter(ip("192.0.2.1"), 2).is_none());
        assert!(counts.enter(ip("192.0.2.2"), 2).is_some(), "others are not concerned");
        counts.leave(a);
        assert!(counts.enter(ip("192.0.2.1"), 2).is_some());
        counts.enter(ip("2001:db8::1"), 1).unwrap();
        assert!(counts.enter(ip("2001:db8::2"), 1).is_none(), "one /64 is one client");
    }
}
