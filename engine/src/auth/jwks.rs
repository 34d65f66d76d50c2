//! Key sets (RFC 7517): read once, asked by `kid`.

use std::{fmt, str};

use ring::hmac;
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey};

use super::base64::{self, Form};
use super::json::{self, Member};
use super::jwt::Denied;
use super::mistakes::shown;

pub const SET_BYTES_MAX: usize = 512 << 10;
pub const KEYS_MAX: usize = 256;
/// Keys that one token is held against.
const TRIES_MAX: usize = 8;
/// RFC 7518 §3.3.
const RSA_BITS_MIN: usize = 2048;
/// What `ring` verifies at most.
const RSA_BITS_MAX: usize = 8192;

macro_rules! algs {
    ($($name:ident,)*) => {
        /// Algorithms of RFC 7518 §3.1 and RFC 8037 §3.1 that can be verified. `none` isn't one.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Alg { $($name,)* }

        impl Alg {
            pub const ALL: &[Alg] = &[$(Alg::$name,)*];

            /// By its exact name.
            pub fn named(name: &str) -> Option<Alg> {
                match name {
                    $(stringify!($name) => Some(Alg::$name),)*
                    _ => None,
                }
            }

            pub const fn name(self) -> &'static str {
                match self { $(Alg::$name => stringify!($name),)* }
            }
        }
    };
}

algs! { HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA, }

/// A set of algorithms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Algs(u16);

impl Algs {
    /// All with public keys. HMAC is only for who asks for it: its keys are secrets, which a set
    /// that others can fetch can't hold.
    pub const PUBLIC: Algs = Algs(0b1111_1111_1000);
    pub const ALL: Algs = Algs(0b1111_1111_1111);

    pub fn of(algs: &[Alg]) -> Algs {
        Algs(algs.iter().fold(0, |sum, &alg| sum | 1 << alg as u16))
    }

    /// Those of both.
    pub fn or(self, other: Algs) -> Algs {
        Algs(self.0 | other.0)
    }

    pub fn has(self, alg: Alg) -> bool {
        self.0 & 1 << alg as u16 != 0
    }

    fn both(self, other: Algs) -> Algs {
        Algs(self.0 & other.0)
    }
}

/// Why a text is no key set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoSet {
    TooLong,
    TooMany,
    Malformed(&'static str),
}

impl fmt::Display for NoSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoSet::TooLong => write!(f, "a key set has at most {SET_BYTES_MAX} bytes"),
            NoSet::TooMany => write!(f, "a key set has at most {KEYS_MAX} keys"),
            NoSet::Malformed(what) => write!(f, "not a key set: {what}"),
        }
    }
}

/// A key of the set that is not used, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Skipped {
    /// Its place in the set, from 0.
    pub index: usize,
    pub kid: Option<String>,
    pub why: &'static str,
}

/// Keys ready to verify. An issuer that has withdrawn all its keys has an empty set, by which no
/// token is good.
pub struct KeySet {
    /// By `kid`, those without one first.
    keys: Box<[Key]>,
    skipped: Vec<Skipped>,
}

struct Key {
    kid: Option<Box<str>>,
    algs: Algs,
    material: Material,
}

enum Material {
    Hmac(Box<[(Alg, hmac::Key)]>),
    Rsa(RsaPublicKeyComponents<Box<[u8]>>),
    /// Of one algorithm.
    Other(UnparsedPublicKey<Box<[u8]>>),
}

impl KeySet {
    /// Reads a set; of its keys those are used whose algorithm is `allowed`.
    pub fn parse(bytes: &[u8], allowed: Algs) -> Result<KeySet, NoSet> {
        if bytes.len() > SET_BYTES_MAX {
            return Err(NoSet::TooLong);
        }
        let text = str::from_utf8(bytes).map_err(|_| NoSet::Malformed("not in UTF-8"))?;
        let members = json::members(text).map_err(NoSet::Malformed)?;
        let keys = json::find(&members, "keys").ok_or(NoSet::Malformed("no `keys`"))?;
        let keys = json::list(keys).ok_or(NoSet::Malformed("`keys` is no list"))?;
        if keys.len() > KEYS_MAX {
            return Err(NoSet::TooMany);
        }
        let mut set = KeySet { keys: Box::new([]), skipped: Vec::new() };
        let mut used = Vec::new();
        for (index, text) in keys.into_iter().enumerate() {
            let members = json::members(text).map_err(NoSet::Malformed)?;
            let kid = json::find(&members, "kid").and_then(json::string);
            match Key::read(&members, allowed) {
                Ok(key) => used.push(key),
                Err(why) => {
                    let kid = kid.map(|kid| shown(kid.as_bytes()));
                    set.skipped.push(Skipped { index, kid, why });
                }
            }
        }
        used.sort_by(|a, b| a.kid.cmp(&b.kid));
        set.keys = used.into();
        Ok(set)
    }

    /// How many keys can verify.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Whether a key that `kid` names, or that may be meant without one, has made this signature
    /// by `alg`.
    pub(super) fn verify(
        &self,
        kid: Option<&str>,
        alg: Alg,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Denied> {
        let nameless = self.keys.partition_point(|key| key.kid.is_none());
        let keys = match kid {
            None => &self.keys[..],
            Some(kid) => {
                let start = self.keys.partition_point(|key| key.kid.as_deref() < Some(kid));
                let named = &self.keys[start..];
                let len = named.partition_point(|key| key.kid.as_deref() == Some(kid));
                // A key without a name may be the one that is meant.
                if len > 0 { &named[..len] } else { &self.keys[..nameless] }
            }
        };
        let unknown = match kid {
            None => Denied::UnknownKey,
            Some(_) if keys.iter().any(|key| key.kid.is_some()) => Denied::Algorithm,
            Some(_) => Denied::UnknownKid,
        };
        let mut fitting = keys.iter().filter(|key| key.algs.has(alg)).take(TRIES_MAX).peekable();
        if fitting.peek().is_none() {
            return Err(unknown);
        }
        match fitting.any(|key| key.has_signed(alg, message, signature)) {
            true => Ok(()),
            false if unknown == Denied::UnknownKid => Err(unknown),
            false => Err(Denied::Signature),
        }
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.keys).finish()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algs = Alg::ALL.iter().filter(|alg| self.algs.has(**alg)).map(|alg| alg.name());
        write!(f, "Key({:?}, {:?})", self.kid, algs.collect::<Vec<_>>())
    }
}

impl Key {
    fn read(members: &[Member<'_>], allowed: Algs) -> Result<Key, &'static str> {
        let string = |name: &str| match json::find(members, name) {
            None => Ok(None),
            Some(value) => json::string(value).map(Some).ok_or("a member is no string"),
        };
        let kid = string("kid")?;
        // RFC 7517 §4.2, §4.3: a key for something else verifies nothing.
        if string("use")?.is_some_and(|purpose| purpose != "sig") {
            return Err("`use` is not `sig`");
        }
        if let Some(operations) = json::find(members, "key_ops") {
            let operations = json::list(operations).ok_or("`key_ops` is no list")?;
            let may_verify = |op: &&str| json::string(op).is_some_and(|op| op == "verify");
            if !operations.iter().any(may_verify) {
                return Err("`key_ops` has no `verify`");
            }
        }
        let octets = |name: &str| -> Result<Vec<u8>, &'static str> {
            let text = string(name)?.ok_or("a member of the key is missing")?;
            base64::decoded(Form::Url, text.as_bytes()).ok_or("a member is not base64url")
        };
        let curve = string("crv")?;
        let (fitting, material) = match &*string("kty")?.ok_or("no `kty`")? {
            "oct" => hmac_key(&octets("k")?)?,
            "RSA" => rsa_key(octets("n")?, octets("e")?)?,
            "EC" => ec_key(curve.as_deref(), &octets("x")?, &octets("y")?)?,
            "OKP" if curve.as_deref() == Some("Ed25519") => {
                let x = octets("x")?;
                let key = UnparsedPublicKey::new(&signature::ED25519, x.into_boxed_slice());
                if key.as_ref().len() != 32 {
                    return Err("`x` is not as long as its curve asks");
                }
                (Algs::of(&[Alg::EdDSA]), Material::Other(key))
            }
            "OKP" => return Err("unknown `crv`"),
            _ => return Err("unknown `kty`"),
        };
        // The key's own `alg` is the only one; without it, what fits the key and is configured.
        let algs = match string("alg")? {
            None => fitting,
            Some(alg) => {
                let alg = Alg::named(&alg).ok_or("unknown `alg`")?;
                if !fitting.has(alg) {
                    return Err("`alg` doesn't fit the key");
                }
                Algs::of(&[alg])
            }
        };
        let algs = algs.both(allowed);
        if algs == Algs(0) {
            return Err("its algorithm is not allowed here");
        }
        Ok(Key { kid: kid.map(|kid| kid.into()), algs, material })
    }

    fn has_signed(&self, alg: Alg, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Hmac(keys) => keys
                .iter()
                .find(|(known, _)| *known == alg)
                .is_some_and(|(_, key)| hmac::verify(key, message, signature).is_ok()),
            Material::Rsa(key) => rsa_parameters(alg)
                .is_some_and(|parameters| key.verify(parameters, message, signature).is_ok()),
            Material::Other(key) => key.verify(message, signature).is_ok(),
        }
    }
}

/// RFC 7518 §3.2: a key is at least as long as the hash.
fn hmac_key(key: &[u8]) -> Result<(Algs, Material), &'static str> {
    let algs = [
        (Alg::HS256, hmac::HMAC_SHA256),
        (Alg::HS384, hmac::HMAC_SHA384),
        (Alg::HS512, hmac::HMAC_SHA512),
    ];
    let fits = |algorithm: &hmac::Algorithm| algorithm.digest_algorithm().output_len() <= key.len();
    let fitting = algs.into_iter().filter(|(_, algorithm)| fits(algorithm));
    let keys: Box<[(Alg, hmac::Key)]> =
        fitting.map(|(alg, algorithm)| (alg, hmac::Key::new(algorithm, key))).collect();
    if keys.is_empty() {
        return Err("an HMAC key is too short");
    }
    let names: Vec<Alg> = keys.iter().map(|(alg, _)| *alg).collect();
    Ok((Algs::of(&names), Material::Hmac(keys)))
}

fn rsa_key(n: Vec<u8>, e: Vec<u8>) -> Result<(Algs, Material), &'static str> {
    // Some issuers write the sign that their library puts before the number (RFC 7518 §6.3.1.1).
    let plain = |number: Vec<u8>| -> Box<[u8]> {
        let zeros = number.iter().take_while(|&&b| b == 0).count();
        number[zeros..].into()
    };
    let (n, e) = (plain(n), plain(e));
    let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
    if bits < RSA_BITS_MIN {
        return Err("an RSA key has less than 2048 bits");
    }
    if bits > RSA_BITS_MAX {
        return Err("an RSA key has more than 8192 bits");
    }
    // `ring` asks for an odd exponent from 3 to 2^33 - 1, at each use; say it here.
    let exponent = e.iter().fold(0u64, |sum, &b| sum << 8 | u64::from(b));
    if e.len() > 5 || exponent < 3 || exponent >> 33 != 0 || exponent % 2 == 0 {
        return Err("an RSA key has an exponent that is no good");
    }
    let algs = [Alg::RS256, Alg::RS384, Alg::RS512, Alg::PS256, Alg::PS384, Alg::PS512];
    Ok((Algs::of(&algs), Material::Rsa(RsaPublicKeyComponents { n, e })))
}

fn ec_key(curve: Option<&str>, x: &[u8], y: &[u8]) -> Result<(Algs, Material), &'static str> {
    let (alg, algorithm, len) = match curve {
        Some("P-256") => (Alg::ES256, &signature::ECDSA_P256_SHA256_FIXED, 32),
        Some("P-384") => (Alg::ES384, &signature::ECDSA_P384_SHA384_FIXED, 48),
        _ => return Err("unknown `crv`"),
    };
    if x.len() != len || y.len() != len {
        return Err("`x` or `y` is not as long as its curve asks");
    }
    let point = [&[4], x, y].concat(); // SEC 1 §2.3.3, uncompressed
    Ok((Algs::of(&[alg]), Material::Other(UnparsedPublicKey::new(algorithm, point.into()))))
}

fn rsa_parameters(alg: Alg) -> Option<&'static RsaParameters> {
    Some(match alg {
        Alg::RS256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Alg::RS384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Alg::RS512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Alg::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
        Alg::PS384 => &signature::RSA_PSS_2048_8192_SHA384,
        Alg::PS512 => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}
