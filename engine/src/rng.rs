//! A small seedable generator, one per worker: balancing, jitter, request ids. Not for secrets.

/// xoshiro-style 128-bit state (Blackman and Vigna's xoroshiro128++).
#[derive(Debug, Clone)]
pub struct Rng {
    state: [u64; 2],
}

impl Rng {
    pub fn new(seed: [u8; 16]) -> Rng {
        let half = |at: usize| {
            let mut bytes = [0u8; 8];
            bytes.copy_from_slice(&seed[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        // An all-zero state would stay zero.
        Rng { state: [half(0) | 1, half(8) ^ 0x9e37_79b9_7f4a_7c15] }
    }

    pub fn from_u64(seed: u64) -> Rng {
        let mut bytes = [0u8; 16];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..].copy_from_slice(&seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        let mut rng = Rng::new(bytes);
        (0..4).for_each(|_| _ = rng.next_u64());
        rng
    }

    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let [a, mut b] = self.state;
        let result = a.wrapping_add(b).rotate_left(17).wrapping_add(a);
        b ^= a;
        self.state = [a.rotate_left(49) ^ b ^ (b << 21), b.rotate_left(28)];
        result
    }

    /// A number below `n` (which is above 0), by multiplication (Lemire 2019, without rejection:
    /// the bias is below n/2^32).
    #[inline]
    pub fn below(&mut self, n: u32) -> u32 {
        debug_assert!(n > 0);
        (((self.next_u64() >> 32) * u64::from(n)) >> 32) as u32
    }

    /// True once in `n` on average.
    pub fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_draw_equal_numbers_and_below_covers_its_range() {
        let (mut a, mut b) = (Rng::from_u64(7), Rng::from_u64(7));
        let mut seen = [0u32; 8];
        for _ in 0..8000 {
            assert_eq!(a.next_u64(), b.next_u64());
            seen[a.below(8) as usize] += 1;
            b.below(8);
        }
        assert!(seen.iter().all(|&n| (800..1200).contains(&n)), "{seen:?}");
    }
}
