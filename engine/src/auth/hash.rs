//! Hashes of passwords: argon2id (RFC 9106, as PHC strings) and bcrypt.
//!
//! Verifying is slow on purpose, tens of milliseconds: never on a worker, always by a thread for
//! it, and the verdict is remembered ([`super::memory`]).

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};

use super::base64::{self, Form};
use super::same;

/// 256 MiB: what one verification may take of memory.
pub const ARGON2_MEMORY_KIB_MAX: u32 = 256 << 10;
pub const ARGON2_TIME_MAX: u32 = 16;
pub const ARGON2_LANES_MAX: u32 = 16;
/// 2^15 rounds, some two seconds.
pub const BCRYPT_COST_MAX: u8 = 15;
const BCRYPT_COST_MIN: u8 = 4;
/// bcrypt reads no further. A longer password would be as good as its beginning.
pub const BCRYPT_PASSWORD_BYTES_MAX: usize = 72;
/// Of any password: a hash need not chew more.
pub const PASSWORD_BYTES_MAX: usize = 1024;
const SALT_BYTES_MAX: usize = 64;
const DIGEST_BYTES_MAX: usize = 64;

/// Why a text is no hash that can be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mistake {
    /// Neither of the two forms.
    Malformed,
    /// A form that is too weak or unknown.
    Weak(&'static str),
    /// A cost out of bounds, and the bound.
    Memory,
    Time,
    Lanes,
    Rounds,
    Salt,
    Digest,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mistake::Malformed => f.write_str("not a hash: argon2id or bcrypt is expected"),
            Mistake::Weak(what) => write!(f, "{what}: use `htpasswd -B` or argon2id"),
            Mistake::Memory => {
                let max = ARGON2_MEMORY_KIB_MAX;
                write!(f, "argon2's `m` is 8 times `p` to {max} (KiB)")
            }
            Mistake::Time => write!(f, "argon2's `t` is 1 to {ARGON2_TIME_MAX}"),
            Mistake::Lanes => write!(f, "argon2's `p` is 1 to {ARGON2_LANES_MAX}"),
            Mistake::Rounds => {
                write!(f, "bcrypt's cost is {BCRYPT_COST_MIN} to {BCRYPT_COST_MAX}")
            }
            Mistake::Salt => write!(f, "argon2's salt has 8 to {SALT_BYTES_MAX} bytes"),
            Mistake::Digest => write!(f, "argon2's digest has 16 to {DIGEST_BYTES_MAX} bytes"),
        }
    }
}

/// What verifying costs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Costs {
    /// Two to this power of rounds.
    Bcrypt {
        cost: u8,
    },
    Argon2id {
        memory_kib: u32,
        time: u32,
        lanes: u32,
    },
}

/// A hash, ready to verify a password against. No memory of its own, so that it can go to another
/// thread.
#[derive(Clone, Copy)]
pub struct PasswordHash {
    costs: Costs,
    salt: Bytes<SALT_BYTES_MAX>,
    digest: Bytes<DIGEST_BYTES_MAX>,
    /// Nobody's: no password is right.
    is_decoy: bool,
}

#[derive(Clone, Copy)]
struct Bytes<const MAX: usize> {
    bytes: [u8; MAX],
    len: u8,
}

impl<const MAX: usize> Bytes<MAX> {
    const ZEROS: Self = Bytes { bytes: [0; MAX], len: 0 };

    fn decoded(form: Form, text: &[u8]) -> Option<Self> {
        let mut bytes = [0; MAX];
        let len = base64::decode(form, text, &mut bytes)?;
        Some(Bytes { bytes, len: len as u8 })
    }

    fn all(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl PasswordHash {
    pub fn parse(text: &[u8]) -> Result<PasswordHash, Mistake> {
        match text {
            [b'$', b'2', b'a' | b'b' | b'y', b'$', rest @ ..] => bcrypt_hash(rest),
            // What a bug of 1998 made; its hashes are other than bcrypt's.
            [b'$', b'2', b'x', ..] => Err(Mistake::Weak("$2x$ hashes are broken")),
            [b'{', ..] => Err(Mistake::Weak("{SHA} hashes are quickly tried")),
            _ if text.starts_with(b"$argon2id$") => argon2_hash(&text[10..]),
            _ if text.starts_with(b"$argon2") => Err(Mistake::Weak("only argon2id is accepted")),
            _ if text.starts_with(b"$apr1$") || text.starts_with(b"$1$") => {
                Err(Mistake::Weak("MD5 hashes are quickly tried"))
            }
            _ if text.starts_with(b"$5$") || text.starts_with(b"$6$") => {
                Err(Mistake::Weak("crypt's SHA hashes are not accepted"))
            }
            [b'$', ..] | [] => Err(Mistake::Malformed),
            _ => Err(Mistake::Weak("this is a plain password or crypt's old hash")),
        }
    }

    /// A hash that no password has, at `costs` (or argon2id's usual ones).
    pub fn decoy(costs: Option<Costs>) -> PasswordHash {
        let usual = Costs::Argon2id { memory_kib: 19 << 10, time: 2, lanes: 1 };
        let costs = costs.unwrap_or(usual);
        let salt = Bytes { bytes: [0x5a; SALT_BYTES_MAX], len: 16 };
        let len = if matches!(costs, Costs::Bcrypt { .. }) { 23 } else { 32 };
        PasswordHash { costs, salt, digest: Bytes { len, ..Bytes::ZEROS }, is_decoy: true }
    }

    pub fn costs(&self) -> Costs {
        self.costs
    }

    /// Whether the password is the one. Slow, whatever the answer, but for passwords that none
    /// can be.
    pub fn verify(&self, password: &[u8]) -> bool {
        let bytes_max = match self.costs {
            Costs::Bcrypt { .. } => BCRYPT_PASSWORD_BYTES_MAX,
            Costs::Argon2id { .. } => PASSWORD_BYTES_MAX,
        };
        // Of a password with a NUL, some readers take only what stands before it.
        if password.len() > bytes_max || password.contains(&0) {
            return false;
        }
        let mut made = [0; DIGEST_BYTES_MAX];
        let made = &mut made[..usize::from(self.digest.len)];
        let is_made = match self.costs {
            Costs::Bcrypt { cost } => {
                // A NUL ends the password, where there is room for it.
                let mut ended = [0; BCRYPT_PASSWORD_BYTES_MAX];
                ended[..password.len()].copy_from_slice(password);
                let len = (password.len() + 1).min(BCRYPT_PASSWORD_BYTES_MAX);
                let salt = *self.salt.bytes.first_chunk().expect("a salt has room for more");
                // The last of the 24 bytes is in no hash.
                made.copy_from_slice(&bcrypt::bcrypt(u32::from(cost), salt, &ended[..len])[..23]);
                true
            }
            Costs::Argon2id { memory_kib, time, lanes } => {
                let params = Params::new(memory_kib, time, lanes, Some(made.len()));
                params.is_ok_and(|params| {
                    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
                    argon2.hash_password_into(password, self.salt.all(), made).is_ok()
                })
            }
        };
        same(made, self.digest.all()) & is_made & !self.is_decoy
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PasswordHash({:?}, ***)", self.costs)
    }
}

/// `12$` and 22 characters of salt, 31 of digest.
fn bcrypt_hash(rest: &[u8]) -> Result<PasswordHash, Mistake> {
    let [tens, ones, b'$', text @ ..] = rest else { return Err(Mistake::Malformed) };
    if text.len() != 53 || !tens.is_ascii_digit() || !ones.is_ascii_digit() {
        return Err(Mistake::Malformed);
    }
    let cost = (tens - b'0') * 10 + (ones - b'0');
    if !(BCRYPT_COST_MIN..=BCRYPT_COST_MAX).contains(&cost) {
        return Err(Mistake::Rounds);
    }
    let salt = Bytes::decoded(Form::Bcrypt, &text[..22]).ok_or(Mistake::Malformed)?;
    let digest = Bytes::decoded(Form::Bcrypt, &text[22..]).ok_or(Mistake::Malformed)?;
    debug_assert_eq!((salt.len, digest.len), (16, 23));
    Ok(PasswordHash { costs: Costs::Bcrypt { cost }, salt, digest, is_decoy: false })
}

/// `v=19$m=19456,t=2,p=1$`, salt, `$`, digest.
fn argon2_hash(rest: &[u8]) -> Result<PasswordHash, Mistake> {
    let rest = rest.strip_prefix(b"v=19$").ok_or(match rest {
        [b'v', b'=', ..] | [b'm', b'=', ..] => {
            Mistake::Weak("only argon2's version 19 is accepted")
        }
        _ => Mistake::Malformed,
    })?;
    let mut parts = rest.split(|&b| b == b'$');
    let mut part = || parts.next().ok_or(Mistake::Malformed);
    let (costs, salt, digest) = (part()?, part()?, part()?);
    let mut costs = costs.split(|&b| b == b',');
    let memory_kib = cost(costs.next(), b"m=")?;
    let time = cost(costs.next(), b"t=")?;
    let lanes = cost(costs.next(), b"p=")?;
    if costs.next().is_some() || parts.next().is_some() {
        return Err(Mistake::Malformed);
    }
    if !(1..=ARGON2_LANES_MAX).contains(&lanes) {
        return Err(Mistake::Lanes);
    }
    if !(8 * lanes..=ARGON2_MEMORY_KIB_MAX).contains(&memory_kib) {
        return Err(Mistake::Memory);
    }
    if !(1..=ARGON2_TIME_MAX).contains(&time) {
        return Err(Mistake::Time);
    }
    let salt = Bytes::decoded(Form::Plain, salt).ok_or(Mistake::Salt)?;
    let digest = Bytes::decoded(Form::Plain, digest).ok_or(Mistake::Digest)?;
    match (salt.len, digest.len) {
        (..8, _) => Err(Mistake::Salt),
        (_, ..16) => Err(Mistake::Digest),
        _ => {
            let costs = Costs::Argon2id { memory_kib, time, lanes };
            Ok(PasswordHash { costs, salt, digest, is_decoy: false })
        }
    }
}

/// The number after `name`, without zeros before it.
fn cost(part: Option<&[u8]>, name: &[u8]) -> Result<u32, Mistake> {
    let digits = part.and_then(|part| part.strip_prefix(name)).ok_or(Mistake::Malformed)?;
    let is_plain = digits.iter().all(u8::is_ascii_digit) && digits.first() != Some(&b'0');
    let digits = std::str::from_utf8(digits).ok().filter(|_| is_plain);
    digits.and_then(|digits| digits.parse().ok()).ok_or(Mistake::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoy_is_wrong_for_who_comes_upon_its_digest_too() {
        let text = b"$2b$04$IajxyRXQd0lP98azcn6Jye2gPDJGiLkDrBLm1XVM.XSZ6l7sE0Eiy";
        let mut hash = PasswordHash::parse(text).expect("it is one");
        assert!(hash.verify(b"password"));
        hash.is_decoy = true;
        assert!(!hash.verify(b"password"));
    }
}
