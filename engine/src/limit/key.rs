//! What a limit counts by: parts of a request, as one keyed hash of 64 bits.
//!
//! Each part is hashed with its kind and its length, so that no two lists of parts run together,
//! and one that is absent differs from an empty one. The seeds are secret: clients choose keys.

use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;

/// A limit's key among all keys of all limits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct KeyHash(pub u64);

/// A part that is a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Part {
    Consumer = 1,
    Header = 2,
    Claim = 3,
    Route = 7,
}

const ROUTE: u8 = 4;
const CLIENT_V4: u8 = 5;
const CLIENT_V6: u8 = 6;
/// In the place of a length.
const ABSENT: u64 = (1 << 56) - 1;

/// Makes hashes; equal ones for equal seeds.
#[derive(Clone, Debug)]
pub struct KeySeeds(ahash::RandomState);

impl KeySeeds {
    pub fn new(seeds: [u64; 4]) -> KeySeeds {
        let [a, b, c, d] = seeds;
        KeySeeds(ahash::RandomState::with_seeds(a, b, c, d))
    }

    /// A key of the limit with this id, which is the same over generations. Add the parts in the
    /// limit's order.
    #[inline]
    pub fn key(&self, limit: u64) -> KeyHasher {
        let mut hasher = self.0.build_hasher();
        hasher.write_u64(limit);
        KeyHasher(hasher)
    }
}

#[derive(Clone, Debug)]
pub struct KeyHasher(ahash::AHasher);

impl KeyHasher {
    #[inline]
    pub fn client(mut self, ip: IpAddr) -> KeyHasher {
        let (kind, client) = match ip.to_canonical() {
            IpAddr::V4(_) => (CLIENT_V4, client_bits(ip)),
            IpAddr::V6(_) => (CLIENT_V6, client_bits(ip)),
        };
        self.frame(kind, 8);
        self.0.write_u64(client);
        self
    }

    #[inline]
    pub fn text(mut self, part: Part, text: Option<&[u8]>) -> KeyHasher {
        self.frame(part as u8, text.map_or(ABSENT, |text| text.len() as u64));
        self.0.write(text.unwrap_or_default());
        self
    }

    /// By a number that stays the same over generations.
    #[inline]
    pub fn route(mut self, route: u64) -> KeyHasher {
        self.frame(ROUTE, 8);
        self.0.write_u64(route);
        self
    }

    #[inline]
    pub fn finish(self) -> KeyHash {
        KeyHash(self.0.finish())
    }

    #[inline]
    fn frame(&mut self, kind: u8, len: u64) {
        self.0.write_u64(u64::from(kind) << 56 | len);
    }
}

/// Clients as limits tell them apart: IPv4 by address, also where IPv6 stands for it, and IPv6 by
/// /64: one customer has at least that much.
#[inline]
pub fn client_bits(ip: IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => u64::from(u32::from(ip)),
        IpAddr::V6(ip) => (u128::from(ip) >> 64) as u64 | 1 << 63,
    }
}

#[cfg(all(test, not(busbar_loom)))]
mod tests {
    use super::*;

    fn hasher() -> KeyHasher {
        KeySeeds::new([1, 2, 3, 4]).key(7)
    }

    fn of_client(text: &str) -> KeyHash {
        hasher().client(text.parse().unwrap()).finish()
    }

    #[test]
    fn clients_are_told_apart_as_customers_are() {
        assert_eq!(of_client("192.0.2.1"), of_client("::ffff:192.0.2.1"));
        assert_ne!(of_client("192.0.2.1"), of_client("192.0.2.2"));
        assert_eq!(of_client("2001:db8::1"), of_client("2001:db8::2:1"));
        assert_ne!(of_client("2001:db8::1"), of_client("2001:db8:0:1::1"));
        assert_ne!(of_client("::1"), of_client("0.0.0.0"));
        assert_ne!(of_client("8000::1"), of_client("0.0.0.0"));
    }

    #[test]
    fn parts_do_not_run_together() {
        let two = |a, b| {
            let text = |text: &'static str| Some(text.as_bytes());
            hasher().text(Part::Header, text(a)).text(Part::Header, text(b)).finish()
        };
        assert_ne!(two("ab", "c"), two("a", "bc"));
        assert_ne!(two("", "abc"), two("abc", ""));
        assert_eq!(two("a", "b"), two("a", "b"));
        let one = |part, text| hasher().text(part, text).finish();
        assert_ne!(one(Part::Header, None), one(Part::Header, Some(&b""[..])));
        assert_ne!(one(Part::Header, None), hasher().finish());
        assert_ne!(one(Part::Header, Some(b"a")), one(Part::Claim, Some(b"a")));
        assert_ne!(one(Part::Consumer, Some(b"a")), one(Part::Claim, Some(b"a")));
        assert_ne!(one(Part::Header, Some(&[0; 8])), hasher().route(0).finish());
    }

    #[test]
    fn a_key_belongs_to_its_limit_and_its_seeds() {
        let key = |seeds, limit| KeySeeds::new(seeds).key(limit).route(1).finish();
        assert_eq!(key([1, 2, 3, 4], 7), key([1, 2, 3, 4], 7));
        assert_ne!(key([1, 2, 3, 4], 7), key([1, 2, 3, 4], 8));
        assert_ne!(key([1, 2, 3, 4], 7), key([9, 8, 7, 6], 7));
    }
}
