//! Tokens that another library makes.

use std::borrow::Cow;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use serde_json::{Value, json};

use crate::auth::Wall;
use crate::auth::fuzz::part;
use crate::auth::jwks::{Alg, Algs, KeySet};
use crate::auth::jwt::{Denied, Rules, verify};

/// A key that signs, and the set that verifies it.
struct Signer {
    algorithm: Algorithm,
    key: EncodingKey,
    jwk: Value,
}

const SECRET: &[u8] = b"a secret that is known to both of us, in sixty-four bytes or more";
/// Made for this test, and used for nothing else.
const RSA: &[u8] = include_bytes!("rsa2048.der");

fn ec(algorithm: Algorithm) -> Signer {
    let (name, curve) = match algorithm {
        Algorithm::ES256 => ("P-256", &signature::ECDSA_P256_SHA256_FIXED_SIGNING),
        _ => ("P-384", &signature::ECDSA_P384_SHA384_FIXED_SIGNING),
    };
    let random = SystemRandom::new();
    let der = EcdsaKeyPair::generate_pkcs8(curve, &random).expect("a key");
    let pair = EcdsaKeyPair::from_pkcs8(curve, der.as_ref(), &random).expect("it is one");
    let point = &pair.public_key().as_ref()[1..];
    let (x, y) = point.split_at(point.len() / 2);
    let jwk = json!({"kty": "EC", "crv": name, "x": part(x), "y": part(y)});
    Signer { algorithm, key: EncodingKey::from_ec_der(der.as_ref()), jwk }
}

fn signers() -> Vec<Signer> {
    let mut all = vec![ec(Algorithm::ES256), ec(Algorithm::ES384)];
    let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
    let pair = Ed25519KeyPair::from_pkcs8(der.as_ref()).expect("it is one");
    let x = part(pair.public_key().as_ref());
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
    let key = EncodingKey::from_ed_der(der.as_ref());
    all.push(Signer { algorithm: Algorithm::EdDSA, key, jwk });
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let jwk = json!({"kty": "oct", "k": part(SECRET)});
        all.push(Signer { algorithm, key: EncodingKey::from_secret(SECRET), jwk });
    }
    let pair = RsaKeyPair::from_der(RSA).expect("a key");
    let public = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(pair.public());
    use Algorithm::{PS256, PS384, PS512, RS256, RS384, RS512};
    for algorithm in [RS256, RS384, RS512, PS256, PS384, PS512] {
        let jwk = json!({"kty": "RSA", "n": part(&public.n), "e": part(&public.e)});
        all.push(Signer { algorithm, key: EncodingKey::from_rsa_der(RSA), jwk });
    }
    all
}

impl Signer {
    fn token(&self, claims: &Value) -> String {
        encode(&Header::new(self.algorithm), claims, &self.key).expect("it signs")
    }

    fn alg(&self) -> Alg {
        Alg::named(&format!("{:?}", self.algorithm)).expect("both know it")
    }

    fn set(&self) -> KeySet {
        set(&[&self.jwk], Algs::ALL)
    }
}

fn set(keys: &[&Value], allowed: Algs) -> KeySet {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes(), allowed).expect("a set")
}

const NOW: Wall = Wall(1_700_000_000);

fn claims() -> Value {
    json!({"sub": "acme", "exp": 1_700_000_100, "scope": "write read"})
}

#[test]
fn tokens_of_another_library_verify_and_none_with_another_byte() {
    for signer in signers() {
        let (token, keys) = (signer.token(&claims()), signer.set());
        let check = |token: &[u8]| verify(token, &keys, &Rules::default(), NOW);
        let claims = check(token.as_bytes()).expect("another library made it");
        assert_eq!(claims.consumer(), "acme");
        assert_eq!(claims.scopes().collect::<Vec<_>>(), ["read", "write"]);
        for at in 0..token.len() {
            let mut other = token.clone().into_bytes();
            for to in [other[at] ^ 1, other[at] ^ 2, other[at] ^ 0x20, b'A', b'.', b'=', 0, 0xff] {
                let from = std::mem::replace(&mut other[at], to);
                if to != from {
                    let found = check(&other);
                    assert!(found.is_err(), "{:?}: byte {at} as {to}", signer.algorithm);
                }
                other[at] = from;
            }
        }
        for cut in 0..token.len() {
            assert!(check(&token.as_bytes()[..cut]).is_err());
        }
    }
}

#[test]
fn a_key_verifies_its_algorithms_and_no_other() {
    let signers = signers();
    for signer in &signers {
        let token = signer.token(&claims());
        let check = |keys: &KeySet| verify(token.as_bytes(), keys, &Rules::default(), NOW);
        for allowed in Alg::ALL {
            let found = check(&set(&[&signer.jwk], Algs::of(&[*allowed])));
            let expect = if *allowed == signer.alg() { Ok(()) } else { Err(Denied::UnknownKey) };
            assert_eq!(found.map(drop), expect, "{:?} {allowed:?}", signer.algorithm);
        }
        for pinned in Alg::ALL {
            let mut jwk = signer.jwk.clone();
            jwk["alg"] = json!(pinned.name());
            let found = check(&set(&[&jwk], Algs::ALL)).is_ok();
            assert_eq!(found, *pinned == signer.alg(), "{:?} {pinned:?}", signer.algorithm);
        }
        for other in signers.iter().filter(|other| other.jwk["kty"] != signer.jwk["kty"]) {
            assert_eq!(check(&other.set()).map(drop), Err(Denied::UnknownKey));
        }
    }
}

#[test]
fn a_public_key_is_no_secret_to_sign_with() {
    let signers = signers();
    let rsa = signers.iter().find(|s| s.algorithm == Algorithm::RS256).expect("it is there");
    let pair = RsaKeyPair::from_der(RSA).expect("a key");
    let modulus = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(pair.public()).n;
    let secrets: [Cow<'_, [u8]>; 4] = [
        pair.public().as_ref().into(),
        modulus.into(),
        rsa.jwk["n"].as_str().expect("text").as_bytes().into(),
        rsa.jwk.to_string().into_bytes().into(),
    ];
    for secret in secrets {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let key = EncodingKey::from_secret(&secret);
            let token = encode(&Header::new(algorithm), &claims(), &key).expect("it signs");
            let found = verify(token.as_bytes(), &rsa.set(), &Rules::default(), NOW);
            assert_eq!(found.map(drop), Err(Denied::UnknownKey));
        }
    }
}

#[test]
fn kid_chooses_the_key() {
    let (a, b) = (ec(Algorithm::ES256), ec(Algorithm::ES256));
    let named = |signer: &Signer, kid: &str| {
        let mut jwk = signer.jwk.clone();
        jwk["kid"] = json!(kid);
        jwk
    };
    let token = |kid: Option<&str>| {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::ES256) };
        encode(&header, &claims(), &a.key).expect("it signs")
    };
    let check = |kid: Option<&str>, keys: &KeySet, expect: Result<(), Denied>| {
        let found = verify(token(kid).as_bytes(), keys, &Rules::default(), NOW);
        assert_eq!(found.map(drop), expect, "{kid:?} {keys:?}");
    };
    let both = set(&[&named(&b, "b"), &named(&a, "a")], Algs::ALL);
    check(Some("a"), &both, Ok(()));
    check(None, &both, Ok(()));
    check(Some("b"), &both, Err(Denied::Signature));
    check(Some("c"), &both, Err(Denied::UnknownKid));
    assert!(Denied::UnknownKid.asks_for_newer_keys() && !Denied::Signature.asks_for_newer_keys());
    check(Some("a"), &set(&[&named(&b, "a"), &named(&a, "a")], Algs::ALL), Ok(()));
    // A key without a name may be meant by any, and an old one leaves the question open.
    check(Some("c"), &set(&[&named(&b, "b"), &a.jwk], Algs::ALL), Ok(()));
    check(Some("c"), &set(&[&b.jwk], Algs::ALL), Err(Denied::UnknownKid));
    let other = Signer { jwk: named(&ec(Algorithm::ES384), "a"), ..ec(Algorithm::ES384) };
    check(Some("a"), &other.set(), Err(Denied::Algorithm));
    check(Some("a"), &set(&[], Algs::ALL), Err(Denied::UnknownKid));
    // Eight keys are tried for a token that names none.
    let mut many: Vec<Value> = (0..7).map(|i| named(&b, &format!("b{i}"))).collect();
    many.push(named(&a, "c"));
    check(None, &set(&many.iter().collect::<Vec<_>>(), Algs::ALL), Ok(()));
    many.push(named(&b, "b8"));
    check(None, &set(&many.iter().collect::<Vec<_>>(), Algs::ALL), Err(Denied::Signature));
}
