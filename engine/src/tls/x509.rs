//! What stands in a certificate, as far as it is asked here.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::crl::CertificateList;
use x509_cert::der::{DateTime, Decode};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, SubjectAltName};

/// A certificate that could be read.
pub struct Parsed(CertificateInner<Raw>);

impl Parsed {
    pub fn of(der: &[u8]) -> Option<Parsed> {
        CertificateInner::from_der(der).ok().map(Parsed)
    }

    /// Seconds since 1970: the first and the last that it holds.
    pub fn validity(&self) -> (u64, u64) {
        let validity = &self.0.tbs_certificate.validity;
        let seconds = |time: x509_cert::time::Time| time.to_unix_duration().as_secs();
        (seconds(validity.not_before), seconds(validity.not_after))
    }

    /// As RFC 4514 writes it: the narrowest first.
    /// `None`: it can't be written down.
    pub fn subject(&self) -> Option<String> {
        let mut text = String::new();
        write!(text, "{}", self.0.tbs_certificate.subject).ok()?;
        Some(text)
    }

    /// It may vouch for others (RFC 5280 §4.2.1.9).
    pub fn is_authority(&self) -> bool {
        let found = self.0.tbs_certificate.get::<BasicConstraints>();
        found.ok().flatten().is_some_and(|(_, constraints)| constraints.ca)
    }

    /// Other names of the subject, in their order. Kinds that nobody asks for are left out.
    pub fn names(&self) -> Vec<Name> {
        let found = self.0.tbs_certificate.get::<SubjectAltName>();
        let names = found.ok().flatten().map(|(_, names)| names.0).unwrap_or_default();
        names.iter().filter_map(Name::of).collect()
    }
}

/// When a list of revoked certificates should have been followed by another, in seconds since 1970.
/// `None`: it does not say, or can't be read.
pub fn next_update(crl: &[u8]) -> Option<u64> {
    let list = CertificateList::from_der(crl).ok()?;
    Some(list.tbs_cert_list.next_update?.to_unix_duration().as_secs())
}

/// `2026-03-01T12:00:00Z`, of seconds since 1970.
pub fn date_text(seconds: u64) -> String {
    match DateTime::from_unix_duration(Duration::from_secs(seconds)) {
        Ok(date) => date.to_string(),
        Err(_) => "the end of time".to_owned(), // beyond the year 9999
    }
}

/// One of a subject's other names (RFC 5280 §4.2.1.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    Dns(String),
    Uri(String),
    Ip(IpAddr),
    Email(String),
}

impl Name {
    fn of(name: &GeneralName) -> Option<Name> {
        Some(match name {
            GeneralName::DnsName(name) => Name::Dns(name.to_string()),
            GeneralName::UniformResourceIdentifier(uri) => Name::Uri(uri.to_string()),
            GeneralName::Rfc822Name(email) => Name::Email(email.to_string()),
            GeneralName::IpAddress(bytes) => Name::Ip(address(bytes.as_bytes())?),
            _ => return None,
        })
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(v4).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|v6| Ipv6Addr::from(v6).into())
}
