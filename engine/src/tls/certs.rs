//! A listener's certificates, and which of them a client gets.

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

use rustls::pki_types::pem::{Error as PemError, PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{SignatureAlgorithm, SignatureScheme};

use super::x509::{Name, Parsed};
use super::{Digest, Fault, digest, sha256};

/// A chain goes in one flight, and no client takes a longer one (OpenSSL's take 100 KiB).
const CHAIN_BYTES_MAX: usize = 96 << 10;

/// One certificate with its chain and its key, which fits.
#[derive(Clone)]
pub struct Certificate {
    certified: Arc<CertifiedKey>,
    /// DNS names in lower case: `a.example.com`, `*.example.com`.
    names: Box<[Box<str>]>,
    label: Box<str>,
    not_before: u64,
    not_after: u64,
    digest: Digest,
}

impl Certificate {
    /// From the text of a file with the chain, the certificate itself first, and of one with its
    /// key, which may be the same. Other sections are passed over.
    pub fn of(cert: &[u8], key: &[u8]) -> Result<Certificate, Fault> {
        let chain = certificates(cert)?;
        if chain.iter().map(|der| der.len()).sum::<usize>() > CHAIN_BYTES_MAX {
            return Err(Fault::LongChain);
        }
        let parsed = Parsed::of(&chain[0]).ok_or(Fault::BadCertificate)?;
        let key = private_key(key)?;
        let key_digest = sha256(key.secret_der());
        let signing = super::provider().key_provider.load_private_key(key);
        let signing = signing.map_err(|_| Fault::UnknownKey)?;
        let digest = digest(chain.iter().map(|der| der.as_ref()).chain([&key_digest[..]]));
        let certified = CertifiedKey::new(chain, signing);
        match certified.keys_match() {
            Ok(()) => {}
            Err(rustls::Error::InconsistentKeys(_)) => return Err(other_key(&certified)),
            Err(_) => return Err(Fault::BadCertificate),
        }
        let all = parsed.names();
        let names: Box<[Box<str>]> = all
            .iter()
            .filter_map(|name| match name {
                Name::Dns(name) => Some(name.to_ascii_lowercase().into()),
                _ => None,
            })
            .collect();
        let label = match (names.first(), all.first()) {
            (Some(name), _) => name.clone(),
            (None, Some(Name::Ip(ip))) => ip.to_string().into(),
            _ => parsed.subject().unwrap_or_default().into(),
        };
        let (not_before, not_after) = parsed.validity();
        let certified = Arc::new(certified);
        Ok(Certificate { certified, names, label, not_before, not_after, digest })
    }

    /// DNS names that it holds for.
    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// For people: its first name, else its subject.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Seconds since 1970, the first and the last that it holds.
    pub fn validity(&self) -> (u64, u64) {
        (self.not_before, self.not_after)
    }

    /// Of chain and key.
    pub(super) fn digest(&self) -> &[u8] {
        &self.digest
    }

    pub(super) fn certified(&self) -> CertifiedKey {
        CertifiedKey::clone(&self.certified)
    }

    /// The lesser, the cheaper it is to sign with, and the smaller what is sent.
    fn kind(&self) -> u8 {
        match self.certified.key.algorithm() {
            SignatureAlgorithm::ECDSA => 0,
            SignatureAlgorithm::RSA => 2,
            _ => 1,
        }
    }
}

/// The key is not the first certificate's; it may be that of another in the file.
fn other_key(certified: &CertifiedKey) -> Fault {
    let key = certified.key.public_key();
    let is_its = |der: &CertificateDer<'_>| {
        let cert = ParsedCertificate::try_from(der).ok();
        cert.is_some_and(|cert| key.as_ref() == Some(&cert.subject_public_key_info()))
    };
    match certified.cert.iter().position(is_its) {
        Some(i) => Fault::NotFirst(i + 1),
        None => Fault::OtherKey,
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({}, until {})", self.label, self.not_after)
    }
}

/// Sections of a text; there is at least one.
fn sections(pem: &[u8]) -> Result<Vec<(SectionKind, Vec<u8>)>, Fault> {
    let found: Result<Vec<_>, PemError> = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem).collect();
    let found = found.map_err(|_| Fault::BrokenPem)?;
    let is_pem = || pem.windows(11).any(|bytes| bytes == b"-----BEGIN ");
    if found.is_empty() && !is_pem() {
        return Err(Fault::NotPem);
    }
    Ok(found)
}

/// All certificates of a text.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let found = sections(pem)?.into_iter().filter(|(kind, _)| *kind == SectionKind::Certificate);
    let found: Vec<CertificateDer<'static>> = found.map(|(_, der)| der.into()).collect();
    if found.is_empty() { Err(Fault::NoCertificate) } else { Ok(found) }
}

/// All lists of revoked certificates of a text.
pub fn crls(pem: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, Fault> {
    let found = sections(pem)?.into_iter().filter(|(kind, _)| *kind == SectionKind::Crl);
    let found: Vec<CertificateRevocationListDer<'static>> =
        found.map(|(_, der)| der.into()).collect();
    if found.is_empty() { Err(Fault::NoCrl) } else { Ok(found) }
}

/// Whether a text holds a key, of whatever kind.
pub fn has_key(pem: &[u8]) -> bool {
    const MARK: &[u8] = b"PRIVATE KEY-----";
    pem.windows(MARK.len()).any(|bytes| bytes == MARK)
}

/// Whether the first certificate of a text is an authority's.
pub fn is_authority(pem: &[u8]) -> bool {
    let first = certificates(pem).ok().and_then(|found| Parsed::of(&found[0]));
    first.is_some_and(|parsed| parsed.is_authority())
}

/// The first key of a text.
fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Fault> {
    // PKCS #8, and the older form of keys, which says it in a head of its own (RFC 1421 §4.6.1.1).
    for mark in [&b"BEGIN ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"] {
        if pem.windows(mark.len()).any(|bytes| bytes == mark) {
            return Err(Fault::EncryptedKey);
        }
    }
    let key = sections(pem)?.into_iter().find_map(|(kind, der)| PrivateKeyDer::from_pem(kind, der));
    key.ok_or(Fault::NoKey)
}

/// All certificates of a listener. By the name that a client asks for: the very name, then the
/// wildcard that stands for its first label, then the listener's default.
pub struct Certs {
    all: Box<[Certificate]>,
    /// Sorted by name.
    by_name: Box<[(Box<str>, Keys)]>,
    default: Keys,
}

/// Of one name, in the order in which they are tried: indices of certificates.
type Keys = Box<[u32]>;

impl Certs {
    /// `default` is an index in `all`, which must not be empty. Of two for one name and of one
    /// kind, the one that ends last counts, unless it has not begun at `now` (seconds since 1970).
    pub fn new(all: Vec<Certificate>, default: usize, now: u64) -> Certs {
        assert!(default < all.len(), "a listener has a certificate");
        let order = |i: &u32| {
            let cert = &all[*i as usize];
            (cert.kind(), cert.not_before > now, Reverse(cert.not_after))
        };
        let mut named: Vec<(&str, u32)> = Vec::new();
        for (i, cert) in all.iter().enumerate() {
            named.extend(cert.names.iter().map(|name| (&**name, i as u32)));
        }
        named.sort_by_key(|(name, i)| (*name, order(i), *i));
        named.dedup();
        let by_name = named.chunk_by(|a, b| a.0 == b.0);
        let by_name =
            by_name.map(|same| (same[0].0.into(), same.iter().map(|(_, i)| *i).collect()));
        let by_name = by_name.collect();
        // Beside it, those for the same names: a client without a name may know the other kind only.
        let own = &all[default];
        let is_beside = |i: &u32| {
            let cert = &all[*i as usize];
            *i == default as u32 || !own.names.is_empty() && cert.names == own.names
        };
        let mut keys: Vec<u32> = (0..all.len() as u32).filter(is_beside).collect();
        keys.sort_by_key(|i| (all[*i as usize].kind(), *i != default as u32, order(i)));
        Certs { all: all.into(), by_name, default: keys.into() }
    }

    /// Of all of them, with their keys.
    pub fn digest(&self) -> Digest {
        digest(self.all.iter().map(|cert| &cert.digest[..]))
    }

    pub fn all(&self) -> &[Certificate] {
        &self.all
    }

    /// For a client that asks for `name` and knows `schemes`. `None`: it knows no kind of key that
    /// is here for the name.
    pub fn pick(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Certificate> {
        let lower = name.map(str::to_ascii_lowercase);
        let exact = lower.as_deref().and_then(|name| self.of(name));
        let wildcard = lower.as_deref().and_then(|name| {
            let (_, parent) = name.split_once('.')?;
            self.of(&format!("*.{parent}"))
        });
        let default = (exact.is_none() && wildcard.is_none()).then_some(&self.default);
        let keys = [exact, wildcard, default].into_iter().flatten().flatten();
        let certs = keys.map(|i| &self.all[*i as usize]);
        certs.into_iter().find(|cert| cert.certified.key.choose_scheme(schemes).is_some())
    }

    /// Names with the end, in seconds since 1970, of what clients get for them: of one of each
    /// kind, the first to end. A default without DNS names has its label.
    pub fn ends(&self) -> Vec<(&str, u64)> {
        let end = |keys: &Keys| {
            let certs = keys.iter().map(|i| &self.all[*i as usize]);
            let mut kinds: Vec<&Certificate> = certs.collect();
            kinds.dedup_by_key(|cert| cert.kind());
            kinds.iter().map(|cert| cert.not_after).min().unwrap_or_default()
        };
        let mut ends: Vec<(&str, u64)> =
            self.by_name.iter().map(|(name, keys)| (&**name, end(keys))).collect();
        let default = &self.all[self.default[0] as usize];
        if default.names.is_empty() {
            ends.push((&default.label, end(&self.default)));
        }
        ends
    }

    fn of(&self, name: &str) -> Option<&Keys> {
        let at = self.by_name.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        Some(&self.by_name[at].1)
    }
}

impl ResolvesServerCert for Certs {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let cert = self.pick(hello.server_name(), hello.signature_schemes())?;
        Some(cert.certified.clone())
    }
}

impl fmt::Debug for Certs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.all).finish()
    }
}
