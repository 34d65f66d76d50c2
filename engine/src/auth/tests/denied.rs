//! Why tokens and key sets are refused: each case beside its nearest accepted one.

use ring::hmac;
use serde_json::json;

use crate::auth::Wall;
use crate::auth::claims::Claims;
use crate::auth::fuzz::part;
use crate::auth::jwks::{Algs, KeySet, NoSet, SET_BYTES_MAX};
use crate::auth::jwt::{Denied, Rules, TOKEN_BYTES, TOKEN_BYTES_MAX, verify};

const SECRET: &[u8; 32] = b"thirty-two bytes are long enough";
const NOW: Wall = Wall(1_700_000_000);

fn keys() -> KeySet {
    let set = json!({"keys": [{"kty": "oct", "k": part(SECRET), "kid": "k"}]});
    KeySet::parse(set.to_string().as_bytes(), Algs::ALL).expect("a set")
}

fn sign(header: &str, payload: &[u8]) -> String {
    let front = format!("{}.{}", part(header.as_bytes()), part(payload));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), front.as_bytes());
    format!("{front}.{}", part(tag.as_ref()))
}

fn rules() -> Rules {
    Rules {
        issuers: vec!["https://id.example".to_owned()],
        audiences: vec!["api".to_owned(), "api2".to_owned()],
        require: vec!["exp".to_owned(), "tier".to_owned()],
        ..Rules::default()
    }
}

const HEADER: &str = r#"{"alg":"HS256"}"#;

fn found(payload: &str) -> Result<Claims, Denied> {
    verify(sign(HEADER, payload.as_bytes()).as_bytes(), &keys(), &rules(), NOW)
}

fn good() -> serde_json::Value {
    json!({
        "iss": "https://id.example", "aud": "api", "sub": "acme", "tier": "gold",
        "exp": 1_700_000_001, "nbf": 1_699_999_999, "iat": 1_699_999_999,
    })
}

fn check(name: &str, value: &str, expect: Result<(), Denied>) {
    let mut claims = good();
    claims.as_object_mut().expect("an object").remove(name);
    let rest = claims.to_string();
    let payload = match value {
        "" => rest,
        _ => format!("{{\"{name}\":{value},{}", &rest[1..]),
    };
    assert_eq!(found(&payload).map(drop), expect, "{payload}");
}

#[test]
fn dates_are_numbers_and_hold_with_leeway() {
    let wrong = |name: &'static str| Err(Denied::Claim(name.into()));
    check("exp", "1699999941", Ok(()));
    check("exp", "1699999940", Err(Denied::Expired));
    check("exp", "1699999940.9", Err(Denied::Expired));
    check("exp", "1.7e9", Ok(()));
    check("exp", "253402300799", Ok(()));
    check("exp", "253402300800", wrong("exp"));
    check("exp", "0", Err(Denied::Expired));
    check("exp", "", Err(Denied::Missing("exp".into())));
    check("nbf", "1700000060", Ok(()));
    check("nbf", "1700000060.5", Err(Denied::NotYetValid));
    check("nbf", "1700000061", Err(Denied::NotYetValid));
    check("nbf", "", Ok(()));
    check("iat", "", Ok(()));
    check("iat", "1800000000", Ok(()));
    for name in ["exp", "nbf", "iat"] {
        for value in ["-1", "-0", "1e400", "1e99", "\"1700000001\"", "null", "true", "[1]", "{}"] {
            check(name, value, wrong(name));
        }
    }
}

#[test]
fn issuer_and_audience_are_the_ones_asked_for() {
    check("iss", r#""https:\/\/id.example""#, Ok(()));
    check("iss", r#""https://id.example/""#, Err(Denied::Issuer));
    check("iss", r#"["https://id.example"]"#, Err(Denied::Claim("iss".into())));
    check("iss", "", Err(Denied::Missing("iss".into())));
    check("aud", r#"["other","api2"]"#, Ok(()));
    check("aud", r#""API""#, Err(Denied::Audience));
    check("aud", r#"["other"]"#, Err(Denied::Audience));
    check("aud", "[]", Err(Denied::Audience));
    check("aud", r#"["api",1]"#, Err(Denied::Claim("aud".into())));
    check("aud", "1", Err(Denied::Claim("aud".into())));
    check("aud", "", Err(Denied::Missing("aud".into())));
}

#[test]
fn consumer_scopes_and_required_claims_are_usable() {
    check("tier", "", Err(Denied::Missing("tier".into())));
    check("sub", "", Err(Denied::Missing("sub".into())));
    check("sub", "42", Ok(()));
    for value in [r#""""#, r#""a\nb""#, "null", "{}", r#"["a"]"#] {
        check("sub", value, Err(Denied::Claim("sub".into())));
    }
    check("sub", &format!("{:?}", "x".repeat(256)), Ok(()));
    check("sub", &format!("{:?}", "x".repeat(257)), Err(Denied::Claim("sub".into())));
    check("scope", r#""a b""#, Ok(()));
    check("scp", r#"["a","b"]"#, Ok(()));
    for value in ["1", r#"["a",1]"#, r#"{"a":1}"#, r#""a\u0000b""#, "null"] {
        check("scope", value, Err(Denied::Claim("scope".into())));
        check("scp", value, Err(Denied::Claim("scp".into())));
    }
}

#[test]
fn claims_are_one_json_object() {
    let check = |payload: &[u8], what: &'static str| {
        let token = sign(HEADER, payload);
        let found = verify(token.as_bytes(), &keys(), &rules(), NOW);
        assert_eq!(found.map(drop), Err(Denied::Malformed(what)), "{payload:?}");
    };
    check(b"", "not a JSON object");
    check(b"[]", "not a JSON object");
    check(b"\"x\"", "not a JSON object");
    check(br#"{"sub":"a"} x"#, "not a JSON object");
    check(b"{\"sub\":\"\xff\"}", "claims not in UTF-8");
    check(br#"{"sub":"a","sub":"b"}"#, "a member twice in JSON");
    check(br#"{"sub":"a","x":{"y":1,"y":1}}"#, "a member twice in JSON");
}

#[test]
fn headers_are_strict() {
    let payload = good().to_string();
    let check = |header: &str, expect: Result<(), Denied>| {
        let token = sign(header, payload.as_bytes());
        assert_eq!(verify(token.as_bytes(), &keys(), &rules(), NOW).map(drop), expect, "{header}");
    };
    check(r#"{"alg":"HS256"}"#, Ok(()));
    check(r#"{"alg":"HS256","typ":"anything","kid":"k","jku":"https://evil.example"}"#, Ok(()));
    check(r#"{"alg":"HS256","b64":true}"#, Ok(()));
    check(r#"{"alg":"HS256","b64":false}"#, Err(Denied::Critical));
    check(r#"{"alg":"HS256","crit":[]}"#, Err(Denied::Critical));
    check(r#"{"alg":"HS256","crit":["b64"],"b64":true}"#, Err(Denied::Critical));
    for alg in ["none", "None", "nOnE", "NONE", "", "hs256", "HS256 ", "ES256K", "ES512", "dir"] {
        check(&json!({ "alg": alg }).to_string(), Err(Denied::Algorithm));
    }
    check(r#"{"alg":"HS512"}"#, Err(Denied::UnknownKey));
    check(r#"{"alg":"ES256"}"#, Err(Denied::UnknownKey));
    check(r#"{"alg":"ES256","kid":"k"}"#, Err(Denied::Algorithm));
    check(r#"{"alg":"HS256","kid":"other"}"#, Err(Denied::UnknownKid));
    check(r#"{"alg":"HS256","kid":1}"#, Err(Denied::Malformed("`kid` is no string")));
    check(r#"{"alg":1}"#, Err(Denied::Malformed("`alg` is no string")));
    check("{}", Err(Denied::Malformed("no `alg`")));
    check(r#"{"alg":"HS256","alg":"HS256"}"#, Err(Denied::Malformed("a member twice in JSON")));
    check(r#"{"alg":"HS256","\u0061lg":"none"}"#, Err(Denied::Malformed("a member twice in JSON")));
    check("[]", Err(Denied::Malformed("not a JSON object")));
}

#[test]
fn a_token_is_three_parts_in_the_one_base64url() {
    let token = sign(HEADER, good().to_string().as_bytes());
    let check = |token: &str, expect: Result<(), Denied>| {
        assert_eq!(verify(token.as_bytes(), &keys(), &rules(), NOW).map(drop), expect, "{token}");
    };
    check(&token, Ok(()));
    let three = || Err(Denied::Malformed("not three parts"));
    check("", three());
    check("a.b", three());
    check(&format!("{token}."), three());
    check(&format!("{token}.a.b"), three());
    let spelling = || Err(Denied::Malformed("not base64url without padding"));
    check(&format!("{token}="), spelling());
    check(&format!("{token} "), spelling());
    check(&format!(" {token}"), spelling());
    check(&format!("{token}\n"), spelling());
    let last = token.chars().next_back().expect("it is long");
    let spare = char::from(last as u8 + 1); // the same bytes, spare bits set
    check(&format!("{}{spare}", &token[..token.len() - 1]), spelling());
    check(&token.replacen('.', ".\u{e9}", 1), Err(Denied::Signature));
    let (front, _) = token.rsplit_once('.').expect("two dots");
    check(&format!("{front}."), Err(Denied::Signature));
    check(&format!("{front}.{}", "A".repeat(1400)), Err(Denied::Signature));
}

#[test]
fn tokens_are_bounded() {
    let sized = |bytes: usize| {
        let mut claims = good();
        let bare = sign(HEADER, claims.to_string().as_bytes()).len();
        claims["pad"] = json!("x".repeat((bytes - bare) * 3 / 4 - 9));
        sign(HEADER, claims.to_string().as_bytes())
    };
    let check = |bytes: usize, max: usize| {
        let rules = Rules { token_bytes_max: max, ..rules() };
        let token = sized(bytes);
        assert!(token.len() <= bytes && token.len() + 8 > bytes);
        verify(token.as_bytes(), &keys(), &rules, NOW).map(drop)
    };
    assert_eq!(check(TOKEN_BYTES, TOKEN_BYTES), Ok(()));
    assert_eq!(check(TOKEN_BYTES + 8, TOKEN_BYTES), Err(Denied::TooLong));
    assert_eq!(check(TOKEN_BYTES_MAX, usize::MAX), Ok(()));
    assert_eq!(check(TOKEN_BYTES_MAX + 8, usize::MAX), Err(Denied::TooLong));
}

#[test]
fn claims_are_given_as_they_are_needed() {
    let payload = r#"{"iss":"https://id.example","aud":"api","sub":"ac\u006de","tier":"gold",
        "exp":1700000001,"scope":"b  a b","n":1.50,"yes":true,"no":null,"list":["x","y"],
        "mixed":["x",1],"deep":{"a":[1]},"control":"a\r\nb","e":"é"}"#;
    let claims = found(payload).expect("it is good");
    assert_eq!(claims.consumer(), "acme");
    assert_eq!(claims.scopes().collect::<Vec<_>>(), ["a", "b"]);
    assert!(claims.has_scope("a") && !claims.has_scope("c") && !claims.has_scope(""));
    let texts = [
        ("sub", Some("acme")),
        ("n", Some("1.50")),
        ("yes", Some("true")),
        ("list", Some("x y")),
        ("e", Some("é")),
        ("no", None),
        ("mixed", None),
        ("deep", None),
        ("control", None),
        ("absent", None),
    ];
    for (name, text) in texts {
        assert_eq!(claims.text(name), text, "{name}");
    }
    assert_eq!(claims.raw("deep"), Some(r#"{"a":[1]}"#));
    assert_eq!(claims.raw("absent"), None);
    assert!(claims.has("list", "y") && !claims.has("list", "x y"));
    assert!(claims.has("tier", "gold") && claims.has("yes", "true") && claims.has("n", "1.50"));
    assert!(!claims.has("deep", r#"{"a":[1]}"#) && !claims.has("absent", ""));
    assert!(!format!("{claims:?}").contains("acme"));
}

fn skipped(key: &str, expect: Option<&str>) {
    let set = format!("{{\"keys\":[{key}]}}");
    let set = KeySet::parse(set.as_bytes(), Algs::ALL).expect("a set");
    assert_eq!(set.skipped().first().map(|s| s.why), expect, "{key}");
    assert_eq!(set.len(), usize::from(expect.is_none()));
}

#[test]
fn keys_that_cannot_be_used_are_skipped_with_the_reason() {
    let k = part(SECRET);
    let oct = |more: &str| format!(r#"{{"kty":"oct","k":"{k}"{more}}}"#);
    skipped(&oct(""), None);
    skipped(&oct(r#","use":"sig","key_ops":["sign","verify"],"x5t":"ignored""#), None);
    skipped(&oct(r#","use":"enc""#), Some("`use` is not `sig`"));
    skipped(&oct(r#","key_ops":["sign"]"#), Some("`key_ops` has no `verify`"));
    skipped(&oct(r#","key_ops":"verify""#), Some("`key_ops` is no list"));
    skipped(&oct(r#","alg":"HS256""#), None);
    skipped(&oct(r#","alg":"HS512""#), Some("`alg` doesn't fit the key"));
    skipped(&oct(r#","alg":"RS256""#), Some("`alg` doesn't fit the key"));
    skipped(&oct(r#","alg":"none""#), Some("unknown `alg`"));
    skipped(&oct(r#","kid":1"#), Some("a member is no string"));
    skipped(r#"{"k":"AAAA"}"#, Some("no `kty`"));
    skipped(r#"{"kty":"AKP"}"#, Some("unknown `kty`"));
    let short = part(&SECRET[1..]);
    skipped(&format!(r#"{{"kty":"oct","k":"{short}"}}"#), Some("an HMAC key is too short"));
    skipped(&format!(r#"{{"kty":"oct","k":"{k}="}}"#), Some("a member is not base64url"));
    skipped(r#"{"kty":"oct"}"#, Some("a member of the key is missing"));
    let rsa = |bits: usize, e: &[u8]| {
        let mut n = vec![0xff; bits.div_ceil(8)];
        n[0] >>= (8 - bits % 8) % 8;
        format!(r#"{{"kty":"RSA","n":"{}","e":"{}"}}"#, part(&n), part(e))
    };
    skipped(&rsa(2048, &[1, 0, 1]), None);
    skipped(&rsa(2047, &[1, 0, 1]), Some("an RSA key has less than 2048 bits"));
    skipped(&rsa(8192, &[3]), None);
    skipped(&rsa(8193, &[3]), Some("an RSA key has more than 8192 bits"));
    for e in [&[1][..], &[], &[4], &[2, 0, 0, 0, 1], &[1, 0, 0, 0, 0, 1]] {
        skipped(&rsa(2048, e), Some("an RSA key has an exponent that is no good"));
    }
    let point = |kty: &str, crv: &str, len: usize| {
        let x = part(&vec![7; len]);
        format!(r#"{{"kty":"{kty}","crv":"{crv}","x":"{x}","y":"{x}"}}"#)
    };
    skipped(&point("EC", "P-256", 32), None);
    skipped(&point("EC", "P-384", 48), None);
    skipped(&point("OKP", "Ed25519", 32), None);
    let length = Some("`x` or `y` is not as long as its curve asks");
    skipped(&point("EC", "P-256", 33), length);
    skipped(&point("EC", "P-384", 32), length);
    skipped(&point("OKP", "Ed25519", 31), Some("`x` is not as long as its curve asks"));
    skipped(&point("EC", "P-521", 66), Some("unknown `crv`"));
    skipped(&point("EC", "secp256k1", 32), Some("unknown `crv`"));
    skipped(&point("OKP", "X25519", 32), Some("unknown `crv`"));
    let set = format!("{{\"keys\":[{}]}}", oct(""));
    let set = KeySet::parse(set.as_bytes(), Algs::PUBLIC).expect("a set");
    assert_eq!(set.skipped()[0].why, "its algorithm is not allowed here");
}

#[test]
fn key_sets_are_bounded_and_well_formed() {
    let check = |text: &str, expect: Result<usize, NoSet>| {
        let found = KeySet::parse(text.as_bytes(), Algs::ALL).map(|set| set.len());
        assert_eq!(found, expect, "{}", &text[..text.len().min(80)]);
    };
    check(r#"{"keys":[],"other":1}"#, Ok(0));
    check("{}", Err(NoSet::Malformed("no `keys`")));
    check(r#"{"keys":{}}"#, Err(NoSet::Malformed("`keys` is no list")));
    check(r#"{"keys":[1]}"#, Err(NoSet::Malformed("not a JSON object")));
    check("[]", Err(NoSet::Malformed("not a JSON object")));
    check(r#"{"keys":[],"keys":[]}"#, Err(NoSet::Malformed("a member twice in JSON")));
    check(
        r#"{"keys":[{"kty":"oct","kty":"RSA"}]}"#,
        Err(NoSet::Malformed("a member twice in JSON")),
    );
    let key = format!(r#"{{"kty":"oct","k":"{}"}}"#, part(SECRET));
    let many = |count: usize| format!("{{\"keys\":[{}]}}", vec![&*key; count].join(","));
    check(&many(256), Ok(256));
    check(&many(257), Err(NoSet::TooMany));
    let padded = |bytes: usize| format!("{{\"keys\":[]{}}}", " ".repeat(bytes - 11));
    check(&padded(SET_BYTES_MAX), Ok(0));
    check(&padded(SET_BYTES_MAX + 1), Err(NoSet::TooLong));
}

#[test]
fn a_key_set_can_be_printed() {
    let shown = format!("{:?}", keys());
    assert_eq!(shown, r#"[Key(Some("k"), ["HS256"])]"#);
}

#[test]
fn every_reason_is_a_sentence() {
    let reasons = [Denied::Missing("tier".into()), Denied::Claim("exp".into()), Denied::TooLong];
    let shown: Vec<String> = reasons.iter().map(Denied::to_string).collect();
    assert_eq!(shown[0], "the token has no claim `tier`");
    assert_eq!(shown[1], "the token's claim `exp` is not usable");
    assert_eq!(shown[2], "the token is too long");
}
