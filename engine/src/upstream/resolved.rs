//! What control learned of a name.

use crate::snapshot::{Endpoint, EndpointAddress};

/// Addresses of a name as control resolved them, for every endpoint that has it.
#[derive(Debug, Clone)]
pub struct Resolved {
    pub host: Box<str>,
    pub port: u16,
    pub addresses: Box<[std::net::SocketAddr]>,
}

impl Resolved {
    pub(super) fn is_of(&self, endpoint: &Endpoint) -> bool {
        matches!(&endpoint.address, EndpointAddress::Name { host, port }
            if *host == self.host && *port == self.port)
    }
}
