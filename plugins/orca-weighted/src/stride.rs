//! Turns by weight, in constant time.

/// Takes places in turn, and skips each as often as its weight is below the largest: gRPC's static stride scheduler
/// (`static_stride_scheduler.cc`), which A58 asks for as "earliest deadline first" and all of gRPC's implementations have.
///
/// In the `g`th round, the place `p` with the weight `w` of `MOST` has its turn when `w * g` has just passed a multiple of
/// `MOST`: in `w` of any `MOST` rounds, evenly spread. Odd places are half a turn ahead, or two neighbours of the same
/// weight would be skipped in the same rounds. The heaviest has a turn in every round, so a pick looks at
/// `heaviest / mean` places on average: [`HEAVIEST`] at the most.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stride {
    weights: Vec<u16>,
    place: usize,
    round: u32,
}

/// The largest weight.
const MOST: u64 = u16::MAX as u64;
/// No weight counts for more than so many times the mean. Like [`LIGHTEST`] it is gRPC's.
const HEAVIEST: f64 = 10.0;
/// No weight counts for less than this part of the mean: everybody is seen now and then.
const LIGHTEST: f64 = 0.1;

impl Stride {
    /// Starts somewhere: workers that start at the same place would go round in step.
    pub(crate) fn starting(place: u32, round: u32) -> Self {
        Self { weights: Vec::new(), place: place as usize, round }
    }

    /// Goes on with other weights, all of them more than 0, from where it is.
    pub(crate) fn follow(&mut self, weights: &[f64]) {
        let mean = weights.iter().sum::<f64>() / weights.len() as f64;
        let heaviest = weights.iter().copied().fold(0.0, f64::max).min(HEAVIEST * mean);
        let scaled = |weight: &f64| {
            // Not `clamp`, which can panic and so brings along how numbers are written.
            let weight = weight.max(LIGHTEST * mean).min(heaviest);
            // `as` stops at the ends of the range.
            (weight / heaviest * MOST as f64 + 0.5) as u16
        };
        self.weights.clear();
        self.weights.extend(weights.iter().map(scaled));
        self.place %= self.weights.len().max(1);
    }

    /// Whose turn it is; nobody's when there is nobody.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<u32> {
        if self.weights.is_empty() {
            return None;
        }
        loop {
            let (place, round) = (self.place, self.round);
            self.place += 1;
            if self.place == self.weights.len() {
                (self.place, self.round) = (0, round.wrapping_add(1));
            }
            let weight = u64::from(self.weights[place]);
            let phase = (weight * u64::from(round) + place as u64 * (MOST / 2)) % MOST;
            if phase >= MOST - weight {
                return Some(place as u32);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stride(weights: &[f64]) -> Stride {
        let mut stride = Stride::starting(0, 0);
        stride.follow(weights);
        stride
    }

    fn counts(weights: &[f64], picks: usize) -> Vec<u32> {
        let mut stride = stride(weights);
        let mut counts = vec![0; weights.len()];
        (0..picks).for_each(|_| counts[stride.next().unwrap() as usize] += 1);
        counts
    }

    /// The cases of gRPC's `static_stride_scheduler_test.cc`.
    #[test]
    fn published_vectors() {
        assert_eq!(counts(&[1.0, 2.0, 3.0], 6), [1, 2, 3], "picks are weighted exactly");
        assert_eq!(counts(&[3.0, 2.0, 1.0], 6), [3, 2, 1], "(of 3, unknown and 1)");
        let mut equal = stride(&[300.0, 300.0, 300.0]);
        let round: Vec<u32> = (0..3).map(|_| equal.next().unwrap()).collect();
        assert!((0..3).all(|place| round.contains(&place)), "equal weights are round robin: {round:?}");
        assert!((0..1000).all(|nth| equal.next() == Some(round[nth % 3])), "in the same order");
        assert_eq!(counts(&[1.0, 2.0, 3.0], 2 * 65_535)[2], 65_535, "the largest has a turn in every round");
    }

    #[test]
    fn going_on_with_the_same_weights_changes_nothing() {
        let (mut one, mut other) = (stride(&[1.0, 2.0, 3.0]), stride(&[1.0, 2.0, 3.0]));
        for _ in 0..100 {
            other.follow(&[1.0, 2.0, 3.0]);
            assert_eq!(one.next(), other.next());
        }
    }

    #[test]
    fn nobody_is_forgotten_and_nobody_takes_all() {
        let mut weights = vec![1.0; 101];
        weights[0] = 1e12;
        let counts = counts(&weights, 110_000);
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
        let most = counts[0];
        assert!(counts[1..].iter().all(|count| *count * 90 < most && most < *count * 110), "{counts:?}");
    }

    #[test]
    fn nobody_and_one() {
        assert_eq!(stride(&[]).next(), None);
        assert_eq!(counts(&[0.001], 3), [3]);
        let mut shorter = stride(&[1.0; 5]);
        (0..4).for_each(|_| _ = shorter.next());
        shorter.follow(&[1.0, 1.0]);
        assert!(shorter.next().unwrap() < 2);
    }
}
