//! Seeded randomness.

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014): small, fast,
/// and good enough to spread load with. Not for secrets.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The same seed gives the same numbers, on every machine.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0, by multiplication instead of division (Lemire 2019, without the
    /// rejection step: the bias is at most `bound / 2^32`).
    pub fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(self.next_u64() as u32) * u64::from(bound)) >> 32) as u32
    }

    /// [`below`](Self::below) for nanoseconds, which do not fit in 32 bits: a number below `bound`; 0 when that is 0.
    pub fn below_u64(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_vector() {
        // From the reference implementation in C, seeded with 1234567.
        let mut rng = Rng::new(1_234_567);
        assert_eq!(rng.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(rng.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn below_stays_below() {
        let mut rng = Rng::new(1);
        for bound in 1..100 {
            assert!((0..100).all(|_| rng.below(bound) < bound));
            assert!((0..100).all(|_| rng.below_u64(u64::from(bound) << 40) < u64::from(bound) << 40));
        }
        assert!((0..100).any(|_| rng.below_u64(u64::MAX) > u64::MAX / 2));
        assert_eq!(rng.below_u64(0), 0);
    }
}
