//! What it costs to know who calls: keys among a million, tokens verified and remembered,
//! passwords remembered, and a file of a million consumers.
//!
//! The anchor of a token is `ring`'s verification of its signature alone.

use std::fmt::Write;
use std::hint::black_box;
use std::rc::Rc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use engine::auth::basic::Credentials;
use engine::auth::consumers::{Builder, Consumers};
use engine::auth::fuzz::part;
use engine::auth::hash::PasswordHash;
use engine::auth::jwks::{Algs, KeySet};
use engine::auth::jwt::{Rules, signed, verify};
use engine::auth::keys::digest_of;
use engine::auth::memory::{Passwords, Tokens};
use engine::auth::texts::Words;
use engine::auth::{Now, Wall, csv};
use engine::time::Mono;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use ring::{hmac, rsa};

/// The gateway's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MILLION: u32 = 1_000_000;
const NOW: Now = Now { mono: Mono(1), wall: Wall(1_700_000_000) };
const CLAIMS: &str = r#"{"iss":"https://id.example.com","sub":"acme","aud":"api","exp":1700003600,
    "iat":1700000000,"scope":"orders:read orders:write","tier":"gold"}"#;

fn file() -> String {
    let mut text = String::from("name,api_key,groups,scopes\n");
    for i in 0..MILLION {
        let _ = write!(text, "consumer-{i},sha256:");
        digest_of(&key(i)).iter().for_each(|byte| _ = write!(text, "{byte:02x}"));
        let _ = writeln!(text, ",group-{},orders:read s{}", i % 50, i % 7);
    }
    text
}

fn key(i: u32) -> [u8; 32] {
    let mut key = *b"key-0000000000000000000000000000";
    key[28..].copy_from_slice(&i.wrapping_mul(0x9e37_79b9).to_le_bytes());
    key
}

fn read(text: &str) -> Consumers {
    let mut builder = Builder::new(Words::new(1), 7, csv::lines(text.as_bytes()));
    csv::read(text.as_bytes(), &mut builder, |_| None).expect("no mistake");
    builder.finish()
}

fn consumers(c: &mut Criterion) {
    let text = file();
    let store = read(&text);
    eprintln!("a million consumers: {} MiB", store.bytes_used() >> 20);
    let mut i = 0u32;
    let mut group = c.benchmark_group("auth/keys_of_a_million");
    group.bench_function("hit", |b| {
        b.iter(|| {
            i = (i + 382_733) % MILLION; // another cache line each time
            store.by_key(black_box(&key(i))).expect("it is known")
        });
    });
    group.bench_function("miss", |b| {
        b.iter(|| {
            i += 1;
            store.by_key(black_box(&key(MILLION + i % MILLION)))
        });
    });
    group.bench_function("sha256_alone", |b| b.iter(|| digest_of(black_box(&key(7)))));
    group.finish();
    let mut group = c.benchmark_group("auth/file");
    group.sample_size(10);
    group.bench_function("a_million_lines", |b| {
        b.iter_batched(|| (), |()| read(black_box(&text)), BatchSize::PerIteration);
    });
    group.finish();
}

/// By algorithm: a token, and the set whose key verifies it.
fn tokens() -> Vec<(&'static str, String, KeySet)> {
    let random = SystemRandom::new();
    let secret = b"a secret that is known to both of us";
    let curve = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    let der = EcdsaKeyPair::generate_pkcs8(curve, &random).expect("a key");
    let ec = EcdsaKeyPair::from_pkcs8(curve, der.as_ref(), &random).expect("it is one");
    let (x, y) = ec.public_key().as_ref()[1..].split_at(32);
    let der = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
    let ed = Ed25519KeyPair::from_pkcs8(der.as_ref()).expect("it is one");
    let der = include_bytes!("../../engine/src/auth/tests/rsa2048.der");
    let rsa = RsaKeyPair::from_der(der).expect("a key");
    let public = rsa::PublicKeyComponents::<Vec<u8>>::from(rsa.public());
    let jwks = [
        ("HS256", format!(r#""kty":"oct","k":"{}""#, part(secret))),
        ("ES256", format!(r#""kty":"EC","crv":"P-256","x":"{}","y":"{}""#, part(x), part(y))),
        ("EdDSA", {
            format!(r#""kty":"OKP","crv":"Ed25519","x":"{}""#, part(ed.public_key().as_ref()))
        }),
        ("RS256", format!(r#""kty":"RSA","n":"{}","e":"{}""#, part(&public.n), part(&public.e))),
    ];
    let sign = |alg: &str, message: &[u8]| match alg {
        "HS256" => hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().into(),
        "ES256" => ec.sign(&random, message).expect("it signs").as_ref().to_vec(),
        "EdDSA" => ed.sign(message).as_ref().to_vec(),
        _ => {
            let mut signature = vec![0; rsa.public().modulus_len()];
            rsa.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut signature)
                .expect("it signs");
            signature
        }
    };
    let made = jwks.iter().map(|(alg, jwk)| {
        let header = format!(r#"{{"alg":"{alg}","kid":"k"}}"#);
        let front = format!("{}.{}", part(header.as_bytes()), part(CLAIMS.as_bytes()));
        let token = format!("{front}.{}", part(&sign(alg, front.as_bytes())));
        let set = format!("{{\"keys\":[{{\"kid\":\"k\",{jwk}}}]}}");
        (*alg, token, KeySet::parse(set.as_bytes(), Algs::ALL).expect("a set"))
    });
    made.collect()
}

fn jwt(c: &mut Criterion) {
    let tokens = tokens();
    let rules = Rules {
        issuers: vec!["https://id.example.com".to_owned()],
        audiences: vec!["api".to_owned()],
        ..Rules::default()
    };
    for (alg, token, keys) in &tokens {
        let mut group = c.benchmark_group(format!("auth/jwt/{alg}"));
        group.bench_function("verify", |b| {
            b.iter(|| verify(black_box(token.as_bytes()), keys, &rules, NOW.wall).expect("good"));
        });
        group.bench_function("signature_alone", |b| {
            b.iter(|| signed(black_box(token.as_bytes()), keys, 8192).expect("good"));
        });
        group.finish();
    }
    remembered(c, &tokens, &rules);
}

/// A thousand tokens of some 300 bytes, asked in turn.
fn remembered(c: &mut Criterion, tokens: &[(&'static str, String, KeySet)], rules: &Rules) {
    let (_, token, keys) = &tokens[0];
    let claims = Rc::new(verify(token.as_bytes(), keys, rules, NOW.wall).expect("good"));
    let texts: Vec<String> = (0..1000).map(|i| format!("{token}-{i:03}")).collect();
    let mut memory = Tokens::new(8192, 8 << 20, [1, 2]);
    for text in &texts {
        let value = (Rc::clone(&claims), claims.bytes_used());
        let ends = (claims.until(), Duration::from_secs(300));
        memory.remember(text.as_bytes(), value, ends, 1, NOW);
    }
    eprintln!("tokens of {} bytes, claims of {}", texts[0].len(), claims.bytes_used());
    // Where five tokens want one place, one of them is forgotten.
    let mut is_known = |text: &&String| memory.recall(text.as_bytes(), 1, NOW).is_some();
    let texts: Vec<&String> = texts.iter().filter(|text| is_known(text)).collect();
    assert!(texts.len() > 990);
    let mut turn = texts.iter().cycle();
    c.bench_function("auth/remembered/token", |b| {
        b.iter(|| {
            let text = turn.next().expect("it goes round");
            memory.recall(black_box(text.as_bytes()), 1, NOW).map(Rc::as_ptr).expect("known")
        });
    });
}

fn basic(c: &mut Criterion) {
    let hash = b"$2b$12$IajxyRXQd0lP98azcn6Jye2gPDJGiLkDrBLm1XVM.XSZ6l7sE0Eiy";
    let field = b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==";
    let mut memory = Passwords::new(4096, &[7; 32]);
    let sent = Credentials::read(field).expect("credentials");
    let proof = memory.proof(sent.user(), sent.password(), hash);
    memory.remember(proof, 1u32, Duration::from_secs(300), 1, NOW.mono);
    c.bench_function("auth/remembered/basic", |b| {
        b.iter(|| {
            let sent = Credentials::read(black_box(field)).expect("credentials");
            let proof = memory.proof(sent.user(), sent.password(), hash);
            memory.recall(&proof, 1, NOW.mono).expect("known")
        });
    });
    let mut group = c.benchmark_group("auth/password");
    group.sample_size(10);
    for (name, text) in [
        ("bcrypt_12", &hash[..]),
        (
            "argon2id_19MiB_2",
            b"$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQBAQEB$\
            QrAbG0Z3K6Uk5yxIYgcVFyNCBJUI1NVNjK5c8x2u3Q8",
        ),
    ] {
        let hash = PasswordHash::parse(text).expect("a hash");
        group.bench_function(name, |b| b.iter(|| hash.verify(black_box(b"password"))));
    }
    group.finish();
}

criterion_group!(benches, consumers, jwt, basic);
criterion_main!(benches);
