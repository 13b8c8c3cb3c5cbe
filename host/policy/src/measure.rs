//! How calls that take nanoseconds are timed.
//!
//! A clock read costs about as much as a call: the mean is taken over batches of calls, between two reads. That hides the
//! tail, so single calls are timed too, by the data path's own [`Clock`](crate::Clock), with what a pair of reads costs
//! taken off.

// Measuring is looking at the clock; nothing of this is called on the data path.
#![allow(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

/// Calls in a batch, at most.
pub const BATCH: u32 = 1000;

/// About how long a batch takes, if calls take long.
const BATCH_TIME: Duration = Duration::from_micros(200);

/// How many calls make a batch, if one takes so long.
pub fn calls_in_batch(one: Duration) -> u32 {
    (BATCH_TIME.as_nanos() / one.as_nanos().max(1)).clamp(1, BATCH.into()) as u32
}

/// Makes so many calls, numbered from 0 on, and returns the mean time of one, in nanoseconds.
pub fn batch(calls: u32, mut call: impl FnMut(u64)) -> f64 {
    let start = Instant::now();
    (0..u64::from(calls)).for_each(&mut call);
    start.elapsed().as_nanos() as f64 / f64::from(calls)
}

/// The value that a share `q` of all values does not exceed; not a number if there are none.
pub fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = (values.len().saturating_sub(1) as f64 * q).round() as usize;
    values.get(index).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_of_long_calls_are_short() {
        let calls = [0, 100, 2_000, 1_000_000].map(|ns| calls_in_batch(Duration::from_nanos(ns)));
        assert_eq!(calls, [1000, 1000, 100, 1]);
    }

    #[test]
    fn a_batch_makes_all_its_calls() {
        let mut made = Vec::new();
        let mean = batch(3, |call| made.push(call));
        assert!(made == [0, 1, 2] && mean >= 0.0);
    }

    #[test]
    fn quantiles_are_values() {
        let mut values = [3.0, 1.0, 2.0];
        assert_eq!([0.0, 0.5, 1.0].map(|q| quantile(&mut values, q)), [1.0, 2.0, 3.0]);
        assert!(quantile(&mut [], 0.5).is_nan());
    }
}
