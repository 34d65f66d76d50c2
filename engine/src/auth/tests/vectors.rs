//! Tokens of the RFCs and of Project Wycheproof.

use crate::auth::Wall;
use crate::auth::jwks::{Algs, KeySet};
use crate::auth::jwt::{Denied, Rules, TOKEN_BYTES_MAX, signed, verify};

/// An example by its name: of RFC 7515's appendices A.1 to A.5, and of RFC 8037's A.4.
fn example(name: &str) -> &'static str {
    let lines = include_str!("rfc.txt").lines().filter_map(|line| line.split_once(' '));
    lines.into_iter().find(|(known, _)| *known == name).expect("it is in the file").1
}

fn set(text: &str) -> KeySet {
    KeySet::parse(text.as_bytes(), Algs::ALL).expect("a set")
}

fn opened(token: &str, keys: &str) -> Result<String, Denied> {
    let payload = signed(token.as_bytes(), &set(keys), TOKEN_BYTES_MAX)?;
    Ok(String::from_utf8(payload).expect("the examples are text"))
}

#[test]
fn examples_of_rfc_7515_and_8037_verify_with_their_own_keys_alone() {
    let joe = "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}";
    let sets = ["A1_SET", "A2_SET", "A3_SET", "ED_SET"].map(example);
    for (name, own, payload) in [
        ("A1", sets[0], joe),
        ("A2", sets[1], joe),
        ("A3", sets[2], joe),
        ("ED", sets[3], "Example of Ed25519 signing"),
    ] {
        let token = example(name);
        assert_eq!(opened(token, own).as_deref(), Ok(payload), "{token}");
        for other in sets.into_iter().filter(|&set| set != own) {
            assert_eq!(opened(token, other), Err(Denied::UnknownKey), "{token} {other}");
        }
        let (front, signature) = token.rsplit_once('.').expect("two dots");
        let first = if signature.starts_with('A') { "B" } else { "A" };
        let forged = format!("{front}.{first}{}", &signature[1..]);
        assert_eq!(opened(&forged, own), Err(Denied::Signature), "{forged}");
        assert_eq!(opened(&format!("{front}."), own), Err(Denied::Signature));
    }
    // ES512 and its curve are not among the algorithms, and `none` is none.
    for set in sets {
        assert_eq!(opened(example("A4"), set), Err(Denied::Algorithm));
        assert_eq!(opened(example("A5"), set), Err(Denied::Algorithm));
    }
}

#[test]
fn the_example_of_rfc_7519_is_good_until_it_ends() {
    let keys = set(example("A1_SET"));
    let rules = Rules {
        issuers: vec!["joe".to_owned()],
        consumer_claim: "iss".to_owned(),
        leeway_s: 10,
        ..Rules::default()
    };
    let at = |seconds: u64| verify(example("A1").as_bytes(), &keys, &rules, Wall(seconds));
    let claims = at(1_300_819_389).expect("within the leeway");
    assert_eq!(claims.consumer(), "joe");
    assert_eq!(claims.until(), Wall(1_300_819_390));
    assert_eq!(claims.raw("http://example.com/is_root"), Some("true"));
    assert_eq!(claims.text("http://example.com/is_root"), Some("true"));
    assert_eq!(at(1_300_819_390).map(drop), Err(Denied::Expired));
}

/// Where we differ from the vectors, on purpose.
const OTHERS: [(&str, &str); 11] = [
    // Characters that are no base64url, which the vectors let a reader skip.
    ("base64", "InvalidCharacterInsertedInHeader"),
    ("base64", "InvalidCharacterInsertedInPayload"),
    // These tokens have lost the padding that they are named after: they are `ValidMac`.
    ("base64", "invalidBase64Padding"),
    ("base64", "invalidBase64PaddingInPayload"),
    // Two keys of one name: both are tried (RFC 7517 §4.5 lets sets have them).
    ("jws_duplicate_kid", "rejectsDuplicateKid"),
    // A set with secrets and public keys: each key verifies by its own algorithm alone.
    ("jws_mixedSymmetryKeyset", "rejectsValid"),
    // A key made by a broken card: that is its issuer's to withdraw.
    ("jws_rsa_roca_key", "rejectsKeyWithRocaVulnerability"),
    // A token by PS384 with a key that says PS256.
    ("rfc7520", "Figure20"),
    // P-521 is not among the algorithms.
    ("rfc7520", "Figure27"),
    ("rfc7520WithKeyOps", "Figure20"),
    ("rfc7520WithKeyOps", "Figure27"),
];

/// `json_web_signature_test.json` and `json_web_key_test.json` of Project Wycheproof (Apache-2.0,
/// dac1dd47), without private keys: for each key set `[number, name, result, token]`.
#[test]
fn wycheproof() {
    let groups: Vec<serde_json::Value> =
        serde_json::from_str(include_str!("wycheproof.json")).expect("JSON");
    let (mut count, mut wrong) = (0, Vec::new());
    for group in &groups {
        let set = serde_json::to_vec(&group["set"]).expect("JSON");
        let keys = KeySet::parse(&set, Algs::ALL);
        for test in group["tests"].as_array().expect("a list") {
            let text = |i: usize| test[i].as_str().expect("text");
            let is_good = keys
                .as_ref()
                .is_ok_and(|keys| signed(text(3).as_bytes(), keys, TOKEN_BYTES_MAX).is_ok());
            if is_good != (text(2) == "valid") {
                let name = group["comment"].as_str().expect("text");
                wrong.push((name.to_owned(), text(1).to_owned()));
            }
            count += 1;
        }
    }
    assert_eq!(count, 427);
    wrong.sort();
    let wrong: Vec<(&str, &str)> = wrong.iter().map(|(group, test)| (&**group, &**test)).collect();
    assert_eq!(wrong, OTHERS);
}
