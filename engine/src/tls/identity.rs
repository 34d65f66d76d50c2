//! What a client's certificate says of it.

use super::x509::{Name, Parsed};
use super::{hex, sha256};

/// Fields that tell a service of it: subject, other names, fingerprint.
pub const HEADERS: [&str; 3] =
    ["X-Client-Cert-Subject", "X-Client-Cert-San", "X-Client-Cert-Fingerprint"];

/// Made once for a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// As RFC 4514 writes it: `CN=billing,O=Example`. It and the names below are visible ASCII and
    /// spaces, with `\0a` for what is not; names have no space and no comma, so that a list of
    /// them reads in one way.
    pub subject: Box<str>,
    /// `DNS:a`, `URI:…`, `IP:…`, `email:…`, in their order.
    pub sans: Box<[Box<str>]>,
    /// SHA-256 of the certificate, in lower-case hexadecimal digits.
    pub fingerprint: Box<str>,
    /// Seconds since 1970, the last that the certificate holds.
    pub not_after: u64,
}

impl Identity {
    /// `None`: it can't be read.
    pub fn of(der: &[u8]) -> Option<Identity> {
        let parsed = Parsed::of(der)?;
        let text = |name: &Name| match name {
            Name::Dns(name) => format!("DNS:{}", plain(name, b",\\ ")),
            Name::Uri(uri) => format!("URI:{}", plain(uri, b",\\ ")),
            Name::Ip(ip) => format!("IP:{ip}"),
            Name::Email(email) => format!("email:{}", plain(email, b",\\ ")),
        };
        Some(Identity {
            subject: plain(&parsed.subject()?, b"").into(),
            sans: parsed.names().iter().map(|name| text(name).into()).collect(),
            fingerprint: hex(&sha256(der)).into(),
            not_after: parsed.validity().1,
        })
    }
}

/// Fit for a field's value and for a list in one: what is not visible ASCII or a space, and each
/// byte of `also`, becomes a backslash and two digits (RFC 4514 §2.4). A name must not end the
/// line that it stands in, nor look like two.
fn plain(text: &str, also: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if !also.contains(&byte) => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\{byte:02x}")),
        }
    }
    out
}
