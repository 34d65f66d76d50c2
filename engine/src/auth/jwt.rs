//! Verifying one token: a JWT in JWS compact form (RFC 7515, 7518, 7519, 8037), as RFC 8725 has
//! it.
//!
//! A key says which algorithms it verifies, never the token. Nothing in a header leads to a key
//! but its `kid`: `jku`, `x5u`, `jwk` and `x5c` are not looked at.

use std::borrow::Cow;
use std::{fmt, str};

use super::base64::{self, Form};
use super::claims::Claims;
use super::jwks::{Alg, Algs, KeySet};
use super::{Wall, json};

/// Of a token, by default.
pub const TOKEN_BYTES: usize = 8 << 10;
/// No configuration allows more.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Signatures of the largest RSA keys, 8192 bits.
const SIGNATURE_BYTES_MAX: usize = 1024;

/// Why a token is not good. For logs and `explain`; a client is told `invalid_token` (RFC 6750
/// §3.1) and nothing else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Denied {
    TooLong,
    Malformed(&'static str),
    /// The header has extensions that must be understood (RFC 7515 §4.1.11), and none is.
    Critical,
    /// No algorithm that is known, or none that this key verifies.
    Algorithm,
    /// No key has this `kid`. A newer set may.
    UnknownKid,
    /// No `kid`, and no key verifies this algorithm.
    UnknownKey,
    Signature,
    Expired,
    NotYetValid,
    Issuer,
    Audience,
    Missing(Cow<'static, str>),
    /// A claim that is there, but isn't what it has to be.
    Claim(Cow<'static, str>),
}

impl Denied {
    /// Whether a newer key set may say otherwise.
    pub fn asks_for_newer_keys(&self) -> bool {
        matches!(self, Denied::UnknownKid)
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Denied::TooLong => "the token is too long",
            Denied::Malformed(what) => return write!(f, "not a token: {what}"),
            Denied::Critical => "the token has critical extensions",
            Denied::Algorithm => "the token's algorithm is not allowed for its key",
            Denied::UnknownKid => "no key has the token's `kid`",
            Denied::UnknownKey => "the token names no key, and none fits its algorithm",
            Denied::Signature => "the token's signature is wrong",
            Denied::Expired => "the token has expired",
            Denied::NotYetValid => "the token is not valid yet",
            Denied::Issuer => "the token has another issuer",
            Denied::Audience => "the token is for another audience",
            Denied::Missing(name) => return write!(f, "the token has no claim `{name}`"),
            Denied::Claim(name) => return write!(f, "the token's claim `{name}` is not usable"),
        })
    }
}

/// What a token has to say.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Any of them; with none `iss` is not asked for.
    pub issuers: Vec<String>,
    /// Any of them; with none `aud` is not asked for.
    pub audiences: Vec<String>,
    /// How far the issuer's clock may be from ours, in seconds.
    pub leeway_s: u32,
    /// Claims that must be there.
    pub require: Vec<String>,
    /// The first that is there has the scopes.
    pub scopes_claims: Vec<String>,
    /// Which claim names the consumer; a token without it is not good.
    pub consumer_claim: String,
    pub token_bytes_max: usize,
    /// Of all that the keys verify, those that count.
    pub algorithms: Algs,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            issuers: Vec::new(),
            audiences: Vec::new(),
            leeway_s: 60,
            // A token that never ends could never be taken back.
            require: vec!["exp".to_owned()],
            scopes_claims: vec!["scope".to_owned(), "scp".to_owned()],
            consumer_claim: "sub".to_owned(),
            token_bytes_max: TOKEN_BYTES,
            algorithms: Algs::ALL,
        }
    }
}

/// Whether the token is good now, and what it says.
pub fn verify(token: &[u8], keys: &KeySet, rules: &Rules, now: Wall) -> Result<Claims, Denied> {
    let payload = opened(token, keys, rules.token_bytes_max, rules.algorithms)?;
    Claims::read(&payload, rules, now)
}

/// What was signed, if it was: a JWS without a look at its claims.
pub fn signed(token: &[u8], keys: &KeySet, bytes_max: usize) -> Result<Vec<u8>, Denied> {
    opened(token, keys, bytes_max, Algs::ALL)
}

fn opened(
    token: &[u8],
    keys: &KeySet,
    bytes_max: usize,
    algorithms: Algs,
) -> Result<Vec<u8>, Denied> {
    if token.len() > bytes_max.min(TOKEN_BYTES_MAX) {
        return Err(Denied::TooLong);
    }
    let parts = Parts::of(token).ok_or(Denied::Malformed("not three parts"))?;
    let not_base64 = Denied::Malformed("not base64url without padding");
    let header = base64::decoded(Form::Url, parts.header).ok_or(not_base64.clone())?;
    let header = Header::read(&header)?;
    // A set may be shared by methods that don't all take the same.
    if !algorithms.has(header.alg) {
        return Err(Denied::Algorithm);
    }
    let mut signature = [0; SIGNATURE_BYTES_MAX];
    if parts.signature.len() > SIGNATURE_BYTES_MAX / 3 * 4 + 4 {
        return Err(Denied::Signature);
    }
    let len = base64::decode(Form::Url, parts.signature, &mut signature);
    let signature = &signature[..len.ok_or(not_base64.clone())?];
    keys.verify(header.kid.as_deref(), header.alg, parts.signed, signature)?;
    base64::decoded(Form::Url, parts.payload).ok_or(not_base64)
}

struct Parts<'a> {
    header: &'a [u8],
    payload: &'a [u8],
    signature: &'a [u8],
    /// Header, dot and payload.
    signed: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(token: &'a [u8]) -> Option<Parts<'a>> {
        let mut dots = memchr::memchr_iter(b'.', token);
        let (first, second) = (dots.next()?, dots.next()?);
        if dots.next().is_some() {
            return None;
        }
        Some(Parts {
            header: &token[..first],
            payload: &token[first + 1..second],
            signature: &token[second + 1..],
            signed: &token[..second],
        })
    }
}

struct Header {
    alg: Alg,
    kid: Option<String>,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Header, Denied> {
        let text = str::from_utf8(bytes).map_err(|_| Denied::Malformed("header not in UTF-8"))?;
        let members = json::members(text).map_err(Denied::Malformed)?;
        let find = |name: &str| json::find(&members, name);
        // RFC 7797's `b64` is an extension that must be understood, whoever forgets to say so.
        if find("crit").is_some() || find("b64").is_some_and(|b64| b64 != "true") {
            return Err(Denied::Critical);
        }
        let string = |name: &str, wrong: &'static str| match find(name) {
            None => Ok(None),
            Some(value) => json::string(value).map(Some).ok_or(Denied::Malformed(wrong)),
        };
        let alg = string("alg", "`alg` is no string")?.ok_or(Denied::Malformed("no `alg`"))?;
        let kid = string("kid", "`kid` is no string")?;
        // Case counts: `nOnE` is no other way to write anything.
        let alg = Alg::named(&alg).ok_or(Denied::Algorithm)?;
        Ok(Header { alg, kid: kid.map(Cow::into_owned) })
    }
}
