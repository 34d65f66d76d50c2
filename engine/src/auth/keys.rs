//! Keys of consumers: a digest each, found in one step, a million in some 50 MiB.
//!
//! What is kept is the SHA-256 of the key as sent. A key has more entropy than anybody can try,
//! so neither salt nor a slow hash is needed, and what lies in the file opens nothing.

use ring::digest;

use super::same;
use super::texts::Table;
use crate::ids::ConsumerId;

/// Longer ones are nobody's.
pub const KEY_BYTES_MAX: usize = 1024;
/// In one store.
pub const KEYS_MAX: usize = 4 << 20;

pub type Digest = [u8; 32];

/// The digest by which a key is known.
pub fn digest_of(key: &[u8]) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(digest::digest(&digest::SHA256, key).as_ref());
    digest
}

#[derive(Clone)]
pub(super) struct Keys {
    digests: Vec<Digest>,
    owners: Vec<ConsumerId>,
    table: Table,
    seed: u64,
}

impl Keys {
    pub fn new(seed: u64, entries: usize) -> Keys {
        Keys {
            digests: Vec::with_capacity(entries),
            owners: Vec::with_capacity(entries),
            table: Table::with_room(entries),
            seed,
        }
    }

    pub fn len(&self) -> usize {
        self.digests.len()
    }

    pub fn owner(&self, digest: &Digest) -> Option<ConsumerId> {
        let is_it = |entry: u32| same(&self.digests[entry as usize], digest);
        self.table.find(place(self.seed, digest), is_it).map(|entry| self.owners[entry as usize])
    }

    /// The digest is nobody's yet, and there is room.
    pub fn push(&mut self, digest: Digest, owner: ConsumerId) {
        debug_assert!(self.owner(&digest).is_none());
        let Keys { digests, owners, table, seed } = self;
        let entry = digests.len() as u32;
        digests.push(digest);
        owners.push(owner);
        table.insert(place(*seed, &digest), entry, |entry| place(*seed, &digests[entry as usize]));
    }

    pub fn bytes_used(&self) -> usize {
        self.digests.capacity() * 32 + 4 * self.owners.capacity() + self.table.bytes_used()
    }

    pub fn shrink(&mut self) {
        self.digests.shrink_to_fit();
        self.owners.shrink_to_fit();
    }
}

/// Where to look first. The seed and the multiplication keep someone who may choose many keys
/// from choosing digests that crowd one place of the table.
fn place(seed: u64, digest: &Digest) -> u64 {
    let (low, _) = digest.split_first_chunk::<8>().expect("a digest has 32 bytes");
    let mixed = u128::from(u64::from_le_bytes(*low) ^ seed) * 0x9e37_79b9_7f4a_7c15;
    mixed as u64 ^ (mixed >> 64) as u64
}

/// Reads `sha256:` and 64 lower-case hexadecimal digits.
pub fn read_digest(text: &[u8]) -> Option<Digest> {
    let digits: &[u8; 64] = text.strip_prefix(b"sha256:")?.try_into().ok()?;
    let mut digest = [0; 32];
    let mut wrong = 0;
    for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
        let (high, low) = (HEX[usize::from(pair[0])], HEX[usize::from(pair[1])]);
        wrong |= high | low;
        *byte = high << 4 | low & 0x0f;
    }
    (wrong & 0x80 == 0).then_some(digest)
}

static HEX: [u8; 256] = {
    let mut table = [0xff; 256];
    let mut i = 0;
    while i < 16 {
        table[b"0123456789abcdef"[i as usize] as usize] = i;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_written_in_one_way() {
        let text = b"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(read_digest(text), Some(digest_of(b"abc")));
        let refused = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut other = text.to_vec();
            change(&mut other);
            assert_eq!(read_digest(&other), None);
        };
        refused(&|t| t[8] = b'A');
        refused(&|t| t[70] = b'g');
        refused(&|t| _ = t.pop());
        refused(&|t| t.push(b'0'));
        refused(&|t| t[0] = b'S');
        refused(&|t| _ = t.drain(..7));
    }

    #[test]
    fn crowded_digests_are_found_and_others_are_not() {
        let mut keys = Keys::new(5, 0);
        let digest = |i: u32| {
            let mut digest = [0; 32];
            digest[28..].copy_from_slice(&i.to_be_bytes()); // all begin alike
            digest
        };
        (0..500).for_each(|i| keys.push(digest(i), ConsumerId(i)));
        (0..500).for_each(|i| assert_eq!(keys.owner(&digest(i)), Some(ConsumerId(i))));
        assert_eq!(keys.owner(&digest(500)), None);
    }
}
