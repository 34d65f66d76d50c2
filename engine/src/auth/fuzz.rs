//! Properties that fuzzing and tests share.

use super::base64::{self, Form};
use super::consumers::Builder;
use super::jwks::{Algs, KeySet};
use super::jwt::{Denied, Rules, TOKEN_BYTES_MAX, signed, verify};
use super::mistakes::MISTAKES_MAX;
use super::texts::Words;
use super::{Wall, csv, htpasswd};
use crate::ids::{ConsumerId, PlanId};

/// Whose signatures nobody has, for inputs are made without it.
const SET: &str = r#"{"keys":[
    {"kty":"oct","k":"bm9ib2R5IGtub3dzIHdoYXQgc3RhbmRzIGhlcmUsIGZvciBub2JvZHkgc2lnbnM"},
    {"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"ed"}
]}"#;

/// Whatever the bytes: no token is good that was not signed; a token that is refused for its
/// signature has three parts, a header that was understood and a signature in strict base64url.
/// The bytes are read as claims as well, as if they had been signed.
pub fn jwt(bytes: &[u8]) {
    let keys = KeySet::parse(SET.as_bytes(), Algs::ALL).expect("it is a set");
    let found = verify(bytes, &keys, &Rules::default(), Wall(1_300_000_000));
    match found {
        Ok(_) => panic!("nobody signed this"),
        Err(Denied::Signature | Denied::UnknownKid) => {
            let parts: Vec<&[u8]> = bytes.split(|&b| b == b'.').collect();
            let &[header, _, signature] = &parts[..] else { panic!("{} parts", parts.len()) };
            let header = base64::decoded(Form::Url, header).expect("it was read");
            let header: serde_json::Value = serde_json::from_slice(&header).expect("it was read");
            assert!(header["alg"].is_string() && header.get("crit").is_none());
            let is_base64 = base64::decoded(Form::Url, signature).is_some();
            assert!(is_base64 || signature.len() > 1024);
            assert!(bytes.len() <= TOKEN_BYTES_MAX);
        }
        Err(_) => {}
    }
    claims(bytes);
}

/// Bytes as claims: what is good says when it ends, later than now; its parts are its own.
fn claims(bytes: &[u8]) {
    let now = Wall(1_300_000_000);
    let rules = Rules { require: Vec::new(), ..Rules::default() };
    let Ok(claims) = super::claims::Claims::read(bytes, &rules, now) else { return };
    assert!(claims.until() > now);
    assert!(!claims.consumer().is_empty());
    let scopes: Vec<&str> = claims.scopes().collect();
    assert!(scopes.is_sorted_by(|a, b| a < b));
    assert!(scopes.iter().all(|scope| claims.has_scope(scope)));
    // Numbers beyond any range are JSON (RFC 8259 §6), which the other reader doesn't take.
    let Ok(json) = serde_json::from_slice::<serde_json::Value>(bytes) else { return };
    for (name, value) in json.as_object().expect("and an object") {
        let raw = claims.raw(name).expect("every member is found");
        assert_eq!(&serde_json::from_str::<serde_json::Value>(raw).expect("JSON"), value);
        if let Some(text) = claims.text(name) {
            assert!(!text.bytes().any(|b| b < 0x20 || b == 0x7f));
        }
    }
}

/// Whatever the bytes: a set has as many keys as it names, used or skipped, and by none of them is
/// a token good whose signature is empty.
pub fn jwks(bytes: &[u8]) {
    let Ok(set) = KeySet::parse(bytes, Algs::ALL) else { return };
    let Ok(json) = serde_json::from_slice::<serde_json::Value>(bytes) else { return };
    let count = json["keys"].as_array().map_or(0, Vec::len);
    assert_eq!(set.len() + set.skipped().len(), count);
    assert!(set.len() <= super::jwks::KEYS_MAX);
    for header in ["eyJhbGciOiJIUzI1NiJ9", "eyJhbGciOiJSUzI1NiJ9", "eyJhbGciOiJFUzI1NiJ9"] {
        let token = format!("{header}.e30.");
        assert!(signed(token.as_bytes(), &set, TOKEN_BYTES_MAX).is_err());
    }
}

/// Whatever the bytes, as `keys.csv` and as htpasswd: consumers without a mistake, each found by
/// its name, or mistakes with places within the text.
pub fn consumers(bytes: &[u8]) {
    let empty = || Builder::new(Words::new(1), 2, 0);
    let mut csv = empty();
    let plan = |name: &[u8]| (name == b"gold").then_some(PlanId(1));
    let from_csv = csv::read(bytes, &mut csv, plan);
    let mut users = empty();
    let from_htpasswd = htpasswd::read(bytes, &mut users);
    let lines_count = bytes.split(|&b| b == b'\n').count();
    for (read, builder) in [(from_csv, csv), (from_htpasswd, users)] {
        if let Err(mistakes) = read {
            assert!(!mistakes.is_empty() && mistakes.kept.len() <= MISTAKES_MAX);
            for mistake in &mistakes.kept {
                assert!((1..=lines_count).contains(&(mistake.line as usize)), "{mistake:?}");
                assert!(mistake.column > 0 && !mistake.what.contains(char::is_control));
            }
            continue;
        }
        let store = builder.finish();
        for id in (0..store.len() as u32).map(ConsumerId) {
            assert_eq!(store.by_name(store.name(id)), Some(id));
            assert!(store.groups(id).is_sorted() && store.scopes(id).is_sorted());
            let has_hash = store.basic_text(id).is_some();
            assert_eq!(store.basic(store.name(id)).map(|(id, _)| id), has_hash.then_some(id));
        }
    }
}

/// For seeds and tests: `text` as one part of a token.
pub fn part(text: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for three in text.chunks(3) {
        let word =
            three.iter().fold(0u32, |sum, &b| sum << 8 | u32::from(b)) << (8 * (3 - three.len()));
        let digits =
            (0..=three.len()).map(|i| DIGITS[(word >> (18 - 6 * i)) as usize & 63] as char);
        out.extend(digits);
    }
    debug_assert_eq!(base64::decoded(Form::Url, out.as_bytes()).as_deref(), Some(text));
    out
}
