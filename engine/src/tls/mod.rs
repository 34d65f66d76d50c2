//! TLS: what it is spoken with, and the machines that speak it. Bytes go in and come out; sockets,
//! files and the clock are others'.
//!
//! ```text
//!  PEM ─▶ certs ──▶ server: ServerTerms   one per listener ─▶ a machine per connection
//!         identity   │  tickets, verify
//!  PEM ─▶ verify ──▶ client: ClientTerms  one per upstream ─▶ a machine per connection
//! ```

use std::fmt;
use std::sync::Arc;

use ring::digest::{Context, SHA256};
use rustls::crypto::CryptoProvider;

pub mod certs;
pub mod client;
pub mod identity;
#[cfg(test)]
pub mod made;
pub mod server;
pub mod session;
#[cfg(test)]
pub(crate) mod session_tests;
pub mod tickets;
pub mod tray;
pub mod verify;
mod x509;

pub use certs::{Certificate, Certs};
pub use client::ClientTerms;
pub use identity::Identity;
pub use server::ServerTerms;
pub use tickets::Ticketer;
pub use x509::date_text;

/// Of SHA-256.
pub type Digest = [u8; 32];

/// The only one there is in a build, and nobody's default: who builds a configuration names it.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Of some parts, each with its length: parts can't run into each other.
pub fn digest<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> Digest {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// Of one text as it is, as others count it.
pub fn sha256(bytes: &[u8]) -> Digest {
    let mut out = [0; 32];
    out.copy_from_slice(ring::digest::digest(&SHA256, bytes).as_ref());
    out
}

/// In lower case.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Why bytes are no certificate, key or list. Nothing of them stands in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    NotPem,
    BrokenPem,
    NoCertificate,
    NoKey,
    NoCrl,
    EncryptedKey,
    UnknownKey,
    BadCertificate,
    /// One of a bundle, counted from 1.
    BadAuthority(usize),
    BadCrl(usize),
    /// More than clients take.
    LongChain,
    OtherKey,
    /// The key is that of a later certificate, counted from 1.
    NotFirst(usize),
    Refused(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Fault::NotPem => "it is no PEM: there is no line `-----BEGIN …-----`",
            Fault::BrokenPem => "its PEM is broken",
            Fault::NoCertificate => "there is no certificate in it",
            Fault::NoKey => "there is no private key in it",
            Fault::NoCrl => "there is no list of revoked certificates in it",
            Fault::EncryptedKey => {
                "its key is encrypted, and there is nobody to ask: `openssl pkey` writes it plain"
            }
            Fault::UnknownKey => "its key is of no kind that counts: ECDSA, Ed25519 or RSA",
            Fault::BadCertificate => "its certificate can't be read",
            Fault::BadAuthority(i) => return write!(f, "certificate {i} in it can't be read"),
            Fault::BadCrl(i) => return write!(f, "list {i} in it can't be read"),
            Fault::LongChain => "its chain is longer than 96 KiB, which clients don't take",
            Fault::OtherKey => "the key is another certificate's",
            Fault::NotFirst(i) => {
                return write!(f, "the key is that of certificate {i}, which has to stand first");
            }
            Fault::Refused(why) => why,
        };
        f.write_str(text)
    }
}

#[cfg(test)]
mod tests;
