//! Authorities and certificates for tests, made when they run.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber, date_time_ymd,
};

/// Who vouches.
pub struct Authority {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// What an authority has made: two texts in PEM.
#[derive(Clone)]
pub struct Pair {
    pub cert: String,
    pub key: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Ecdsa,
    Ed25519,
    Rsa,
}

/// Years that a certificate holds: from the first day of one to that of the other.
pub const LONG: (i32, i32) = (2020, 2900);

fn key(kind: Kind) -> KeyPair {
    let made = match kind {
        Kind::Ecdsa => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        Kind::Ed25519 => KeyPair::generate_for(&rcgen::PKCS_ED25519),
        // *ring* makes none.
        Kind::Rsa => {
            let der = pkcs8(include_bytes!("../auth/tests/rsa2048.der"));
            KeyPair::from_pkcs8_der_and_sign_algo(&der.into(), &rcgen::PKCS_RSA_SHA256)
        }
    };
    made.expect("a key")
}

/// An RSA key of more than 255 bytes in its envelope (RFC 5208 §5).
fn pkcs8(key: &[u8]) -> Vec<u8> {
    let long = |tag: u8, bytes: &[u8]| {
        let [high, low] = (bytes.len() as u16).to_be_bytes();
        [&[tag, 0x82, high, low], bytes].concat()
    };
    let rsa = [0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
    let inside = [&[2, 1, 0][..], &rsa, &long(4, key)].concat();
    long(0x30, &inside)
}

fn params(name: &str, (from, until): (i32, i32)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Example, Inc.");
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    params
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = params(name, LONG);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = key(Kind::Ecdsa);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Authority { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate with these DNS names; the first is its subject's.
    pub fn leaf(&self, names: &[&str]) -> Pair {
        self.make(names, Kind::Ecdsa, LONG, 7)
    }

    pub fn make(&self, names: &[&str], kind: Kind, years: (i32, i32), serial: u64) -> Pair {
        let mut params = params(names.first().unwrap_or(&"nobody"), years);
        let dns = |name: &&str| SanType::DnsName((*name).try_into().expect("ASCII"));
        params.subject_alt_names = names.iter().map(dns).collect();
        params.serial_number = Some(SerialNumber::from(serial));
        self.sign(params, kind)
    }

    /// A client's, with names of all kinds.
    pub fn client(&self, name: &str, serial: u64) -> Pair {
        self.client_of(name, "spiffe://example/a", serial)
    }

    pub fn client_of(&self, name: &str, uri: &str, serial: u64) -> Pair {
        let mut params = params(name, LONG);
        params.subject_alt_names = vec![
            SanType::DnsName("a.internal".try_into().expect("ASCII")),
            SanType::URI(uri.try_into().expect("ASCII")),
            SanType::IpAddress("192.0.2.7".parse().expect("an address")),
            SanType::IpAddress("2001:db8::7".parse().expect("an address")),
            SanType::Rfc822Name("a@example.com".try_into().expect("ASCII")),
        ];
        params.serial_number = Some(SerialNumber::from(serial));
        self.sign(params, Kind::Ecdsa)
    }

    fn sign(&self, params: CertificateParams, kind: Kind) -> Pair {
        let key = key(kind);
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Pair { cert, key: key.serialize_pem() }
    }

    /// A list of what it has revoked.
    pub fn crl(&self, serials: &[u64]) -> String {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2021, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2022, 1, 1),
            next_update: date_time_ymd(2900, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).expect("a list");
        list.pem().expect("a text")
    }
}
