//! An issuer of tokens: keys of every kind, the set that verifies them, and what is signed. Made
//! by another library than the gateway's own code.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use ring::signature::{KeyPair, RsaKeyPair};
use serde_json::{Value, json};

/// Made for tests, and used for nothing else.
const RSA: &[u8] = include_bytes!("../../engine/src/auth/tests/rsa2048.der");
const SECRET: &[u8] = b"a secret that issuer and gateway share, of many bytes";

/// A key that signs, and its public half.
pub struct Signer {
    pub kid: String,
    algorithm: Algorithm,
    key: EncodingKey,
    jwk: Value,
}

/// An issuer with its key set in a folder, and the tables of two methods: `keys`, and `staff` for
/// its tokens.
pub fn keys_and_staff(algorithm: &str) -> (tempfile::TempDir, Signer, String) {
    let dir = tempfile::tempdir().expect("a folder");
    let (signer, file) = (Signer::new("one", algorithm), dir.path().join("jwks.json"));
    std::fs::write(&file, jwks(&[&signer])).expect("a file");
    let text = format!(
        "[auth.keys]\nmethod = \"api_key\"\n[auth.staff]\nmethod = \"jwt\"\njwks = \"file:{}\"",
        file.display()
    );
    (dir, signer, text)
}

impl Signer {
    /// A new one; RSA has one key only.
    pub fn new(kid: &str, algorithm: &str) -> Signer {
        let random = SystemRandom::new();
        let (algorithm, key, mut jwk) = match algorithm {
            "ES256" => {
                let curve = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let der = EcdsaKeyPair::generate_pkcs8(curve, &random).expect("a key");
                let pair = EcdsaKeyPair::from_pkcs8(curve, der.as_ref(), &random).expect("a pair");
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                let jwk = json!({"kty": "EC", "crv": "P-256", "x": base64(x), "y": base64(y)});
                (Algorithm::ES256, EncodingKey::from_ec_der(der.as_ref()), jwk)
            }
            "EdDSA" => {
                let der = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
                let pair = Ed25519KeyPair::from_pkcs8(der.as_ref()).expect("a pair");
                let x = base64(pair.public_key().as_ref());
                let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
                (Algorithm::EdDSA, EncodingKey::from_ed_der(der.as_ref()), jwk)
            }
            "HS256" => {
                let jwk = json!({"kty": "oct", "k": base64(SECRET)});
                (Algorithm::HS256, EncodingKey::from_secret(SECRET), jwk)
            }
            _ => {
                let pair = RsaKeyPair::from_der(RSA).expect("a key");
                let public = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(pair.public());
                let (n, e) = (base64(&public.n), base64(&public.e));
                (
                    Algorithm::RS256,
                    EncodingKey::from_rsa_der(RSA),
                    json!({"kty": "RSA", "n": n, "e": e}),
                )
            }
        };
        jwk["kid"] = kid.into();
        Signer { kid: kid.to_owned(), algorithm, key, jwk }
    }

    /// Signs these claims.
    pub fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(self.algorithm) };
        encode(&header, claims, &self.key).expect("it signs")
    }

    /// Signs what is good for an hour, with these claims in place of the usual ones; null takes
    /// one away.
    pub fn token(&self, other: Value) -> String {
        let mut claims = json!({"sub": "acme", "iss": "https://id.example.com/", "aud": "shop",
                                "exp": seconds() + 3600, "scope": "orders:read orders:write"});
        for (name, value) in other.as_object().into_iter().flatten() {
            match value {
                Value::Null => _ = claims.as_object_mut().and_then(|c| c.remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        self.sign(&claims)
    }
}

/// The set of these keys (RFC 7517).
pub fn jwks(keys: &[&Signer]) -> String {
    json!({ "keys": keys.iter().map(|signer| &signer.jwk).collect::<Vec<_>>() }).to_string()
}

/// Seconds since 1970.
pub fn seconds() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("after 1970").as_secs()
}

/// An API key as a configuration holds it.
pub fn hashed(key: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// base64url without padding.
pub fn base64(bytes: &[u8]) -> String {
    coded(bytes, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
}

/// A value of `Authorization` for a name and a password.
pub fn basic(user: &str, password: &str) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = coded(format!("{user}:{password}").as_bytes(), alphabet);
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    format!("Basic {text}")
}

fn coded(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    let mut out = String::new();
    for part in bytes.chunks(3) {
        let byte = |i: usize| u32::from(part.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..=part.len() {
            out.push(char::from(alphabet[(bits >> (18 - 6 * i)) as usize & 63]));
        }
    }
    out
}
