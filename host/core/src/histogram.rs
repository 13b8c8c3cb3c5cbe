//! A histogram of durations, fine enough for nanoseconds and cheap enough for every call.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

// Eight buckets to each doubling: a value is known to within an eighth, from 1 ns to 2^40 ns (18 minutes).
const SUB_BITS: u32 = 3;
const SUBS: usize = 1 << SUB_BITS;
const LARGEST_BITS: u32 = 40;
const BUCKETS: usize = SUBS * (LARGEST_BITS - SUB_BITS + 1) as usize;

/// Counts of values by size. Readers may look at any time.
#[derive(Debug)]
pub struct Histogram {
    counts: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [const { AtomicU64::new(0) }; BUCKETS], sum: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Takes in one value, on the only thread that writes to this histogram: without locked instructions, it costs a
    /// third. (Two writers would lose values, and nothing worse.)
    #[inline]
    pub fn record_exclusive(&self, value: u64) {
        let count = &self.counts[bucket(value)];
        count.store(count.load(Relaxed) + 1, Relaxed);
        self.sum.store(self.sum.load(Relaxed).wrapping_add(value), Relaxed);
    }

    /// Takes in one value, on any thread.
    #[inline]
    pub fn record(&self, value: u64) {
        self.counts[bucket(value)].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    /// What has been recorded so far.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let counts: Vec<u64> = self.counts.iter().map(|count| count.load(Relaxed)).collect();
        HistogramSnapshot { counts, sum: self.sum.load(Relaxed) }
    }
}

fn bucket(value: u64) -> usize {
    let value = value.min((1 << LARGEST_BITS) - 1);
    if value < SUBS as u64 {
        return value as usize;
    }
    let doubling = value.ilog2() - SUB_BITS;
    let sub = (value >> doubling) as usize - SUBS;
    (doubling as usize + 1) * SUBS + sub
}

/// The smallest value that falls in a bucket.
fn lower_bound(bucket: usize) -> u64 {
    if bucket < SUBS {
        return bucket as u64;
    }
    let doubling = bucket / SUBS - 1;
    ((SUBS + bucket % SUBS) as u64) << doubling
}

/// A histogram at one moment. Snapshots of several threads can be merged, and an older one subtracted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramSnapshot {
    counts: Vec<u64>,
    sum: u64,
}

impl HistogramSnapshot {
    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All values together.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// How many values are not above `limit`. Exact at the end of a bucket; within one, values are taken to be spread
    /// evenly, as in [`quantile`](Self::quantile). Never falls as `limit` or the counts grow.
    pub fn count_up_to(&self, limit: u64) -> u64 {
        let last = bucket(limit);
        let (low, high) = (lower_bound(last), lower_bound(last + 1));
        let part = high.min(limit.saturating_add(1)) - low;
        let share = |count: &u64| (u128::from(*count) * u128::from(part) / u128::from(high - low)) as u64;
        self.counts.iter().take(last).sum::<u64>() + self.counts.get(last).map_or(0, share)
    }

    /// The value that a share `q` (0 to 1) of all values does not exceed, to within an eighth; 0 when there are none.
    pub fn quantile(&self, q: f64) -> u64 {
        let total = self.count();
        let rank = ((total as f64 * q).ceil() as u64).clamp(1, total.max(1));
        let mut below = 0;
        for (index, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            if below + count >= rank {
                // Values are taken to be spread evenly within their bucket.
                let (low, high) = (lower_bound(index), lower_bound(index + 1));
                return low + (high - low) * (rank - below - 1) / count;
            }
            below += count;
        }
        0
    }

    /// Between which values (the second one excluded) the one lies that a share `q` of all does not exceed, as exactly
    /// as is known; from 0 to 0 when there are none.
    pub fn quantile_bounds(&self, q: f64) -> (u64, u64) {
        let total = self.count();
        let rank = ((total as f64 * q).ceil() as u64).clamp(1, total.max(1));
        let mut below = 0;
        for (index, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= rank {
                return (lower_bound(index), lower_bound(index + 1));
            }
        }
        (0, 0)
    }

    /// Adds what another thread has recorded.
    pub fn merge(&mut self, other: &Self) {
        self.counts.resize(BUCKETS, 0);
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self.sum += other.sum;
    }

    /// What has come since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        let before = earlier.counts.iter().chain(std::iter::repeat(&0));
        Self {
            counts: self.counts.iter().zip(before).map(|(count, before)| count.saturating_sub(*before)).collect(),
            sum: self.sum.saturating_sub(earlier.sum),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantiles_of_known_values() {
        let histogram = Histogram::default();
        (1..=1000).for_each(|value| histogram.record(value * 1000));
        let snapshot = histogram.snapshot();
        assert_eq!((snapshot.count(), snapshot.sum()), (1000, 500_500_000));
        for (q, expected) in [(0.5, 500_000.0), (0.9, 900_000.0), (0.99, 990_000.0), (1.0, 1_000_000.0)] {
            let off = snapshot.quantile(q) as f64 / expected;
            assert!((0.93..1.07).contains(&off), "q {q}: {off}");
        }
        assert_eq!(HistogramSnapshot::default().quantile(0.5), 0);
        for (q, exact) in [(0.0, 1000), (0.5, 500_000), (0.99, 990_000), (1.0, 1_000_000)] {
            let (low, high) = snapshot.quantile_bounds(q);
            assert!(low <= exact && exact < high, "q {q}: {low} {high}");
        }
        assert_eq!(HistogramSnapshot::default().quantile_bounds(0.5), (0, 0));
    }

    #[test]
    fn merged_and_subtracted() {
        let (one, two) = (Histogram::default(), Histogram::default());
        one.record(7);
        two.record(70);
        let mut both = HistogramSnapshot::default();
        both.merge(&one.snapshot());
        both.merge(&two.snapshot());
        assert_eq!((both.count(), both.sum()), (2, 77));
        assert_eq!(both.since(&one.snapshot()), two.snapshot());
        assert_eq!((both.count_up_to(7), both.count_up_to(6), both.count_up_to(u64::MAX)), (1, 0, 2));
        // 900 ns lies in the bucket from 896 to 959.
        let within = Histogram::default();
        (0..64).for_each(|_| within.record(900));
        assert_eq!([895, 896, 927, 959].map(|limit| within.snapshot().count_up_to(limit)), [0, 1, 32, 64]);
        assert_eq!(HistogramSnapshot::default().count_up_to(7), 0);
    }

    proptest! {
        #[test]
        fn a_value_lies_in_its_bucket(value in 0..1_u64 << LARGEST_BITS) {
            let index = bucket(value);
            prop_assert!(lower_bound(index) <= value && value < lower_bound(index + 1));
            prop_assert!(lower_bound(index + 1) - lower_bound(index) <= 1.max(value / 8));
        }

        #[test]
        fn counts_up_to_a_limit_are_off_by_one_bucket_at_most(
            values in prop::collection::vec(0..1_u64 << LARGEST_BITS, 0..50),
            limit in 0..1_u64 << LARGEST_BITS,
        ) {
            let histogram = Histogram::default();
            values.iter().for_each(|value| histogram.record(*value));
            let snapshot = histogram.snapshot();
            let exact = |limit: u64| values.iter().filter(|value| **value <= limit).count() as u64;
            let (start, end) = (lower_bound(bucket(limit)), lower_bound(bucket(limit) + 1) - 1);
            let count = snapshot.count_up_to(limit);
            prop_assert!((exact(start.saturating_sub(1))..=exact(end)).contains(&count));
            prop_assert_eq!(snapshot.count_up_to(end), exact(end));
            prop_assert!(count <= snapshot.count_up_to(limit + 1));
        }

        #[test]
        fn any_value_has_a_bucket(value: u64) {
            prop_assert!(bucket(value) < BUCKETS);
        }
    }
}
