//! Seeded randomness.

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014): small, fast,
/// and good enough to spread load with. Not for secrets.
///
/// ```
/// # use sluicegate_sdk::{Rng, Setup};
/// # let setup = Setup::default();
/// let mut rng = Rng::new(setup.seed);
/// assert!(rng.below(6) < 6);
/// ```
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The same seed gives the same numbers, everywhere. Start it with [`Setup::seed`](crate::Setup::seed).
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 random bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, by multiplication instead of division (Lemire, "Fast random integer generation in
    /// an interval", 2019, without the rejection step: the bias is at most `bound / 2^32`). Below 0 there is
    /// nothing, so a `bound` of 0 gives 0 too.
    #[inline]
    pub fn below(&mut self, bound: u32) -> u32 {
        scaled(self.next_u64() as u32, bound)
    }

    /// Two independent numbers, each below a bound of its own, from the halves of one number of 64 bits: a pick of two
    /// waits for one chain of multiplications instead of two.
    #[inline]
    pub fn two_below(&mut self, bounds: [u32; 2]) -> [u32; 2] {
        let bits = self.next_u64();
        [scaled(bits as u32, bounds[0]), scaled((bits >> 32) as u32, bounds[1])]
    }

    /// One of `items`, each as likely as its weight says, in one pass and without knowing their number (weighted
    /// reservoir sampling of one item: Chao, "A general purpose unequal probability sampling plan", 1982).
    ///
    /// It costs a random number for each item: to choose often from the same weights, build a
    /// [`WeightedTable`](crate::WeightedTable).
    pub fn choose_weighted<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut weight: impl FnMut(&T) -> u32,
    ) -> Option<T> {
        let mut chosen = None;
        let mut total = 0_u32;
        for item in items {
            let weight = weight(&item);
            total = total.saturating_add(weight);
            if self.below(total) < weight {
                chosen = Some(item);
            }
        }
        chosen
    }
}

/// What `bits` of 32 are of all there are, as a share of `bound`.
#[inline]
const fn scaled(bits: u32, bound: u32) -> u32 {
    ((bits as u64 * bound as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_vector() {
        // From the reference implementation in C, seeded with 1234567.
        let mut rng = Rng::new(1_234_567);
        let numbers: Vec<u64> = (0..5).map(|_| rng.next_u64()).collect();
        assert_eq!(
            numbers,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821,
            ]
        );
    }

    #[test]
    fn below_stays_below_and_reaches_everything() {
        let mut rng = Rng::new(1);
        for bound in 1..50 {
            let mut seen = vec![false; bound as usize];
            (0..bound * 40).for_each(|_| seen[rng.below(bound) as usize] = true);
            assert!(seen.iter().all(|seen| *seen), "below {bound}");
        }
        assert_eq!(rng.below(0), 0);
    }

    #[test]
    fn two_numbers_of_one_are_independent() {
        let mut rng = Rng::new(3);
        let mut counts = [[0_u32; 3]; 2];
        for _ in 0..6000 {
            let [first, second] = rng.two_below([2, 3]);
            counts[first as usize][second as usize] += 1;
        }
        assert!(counts.as_flattened().iter().all(|count| count.abs_diff(1000) < 150), "{counts:?}");
        assert_eq!(rng.two_below([0, 1]), [0, 0]);
    }

    #[test]
    fn weights_decide_the_shares() {
        let mut rng = Rng::new(7);
        let mut counts = [0_u32; 4];
        for _ in 0..10_000 {
            counts[rng.choose_weighted(0..4, |item| [1, 2, 0, 7][*item]).unwrap()] += 1;
        }
        let expected = [1000, 2000, 0, 7000];
        assert!(counts.iter().zip(expected).all(|(count, share)| count.abs_diff(share) < 200), "{counts:?}");
        assert_eq!(rng.choose_weighted([] as [u32; 0], |_| 1), None);
        assert_eq!(rng.choose_weighted([1, 2], |_| 0), None);
    }
}
