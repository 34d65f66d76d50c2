//! What a client's certificate says of it.

use super::x509::{Name, Parsed};
use super::{hex, sha256};

/// Fields that tell a service of it: subject, other names, fingerprint.
pub const HEADERS: [&str; 3] =
    ["X-Client-Cert-Subject", "X-Client-Cert-San", "X-Client-Cert-Fingerprint"];

/// Made once for a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// As RFC 4514 writes it: `CN=billing,O=Example`.
    pub subject: Box<str>,
    /// `DNS:a`, `URI:…`, `IP:…`, `email:…`, in their order.
    pub sans: Box<[Box<str>]>,
    /// SHA-256 of the certificate, in lower-case hexadecimal digits.
    pub fingerprint: Box<str>,
}

impl Identity {
    /// `None`: it can't be read.
    pub fn of(der: &[u8]) -> Option<Identity> {
        let parsed = Parsed::of(der)?;
        let text = |name: &Name| match name {
            Name::Dns(name) => format!("DNS:{name}"),
            Name::Uri(uri) => format!("URI:{uri}"),
            Name::Ip(ip) => format!("IP:{ip}"),
            Name::Email(email) => format!("email:{email}"),
        };
        Some(Identity {
            subject: parsed.subject().into(),
            sans: parsed.names().iter().map(|name| text(name).into()).collect(),
            fingerprint: hex(&sha256(der)).into(),
        })
    }
}
