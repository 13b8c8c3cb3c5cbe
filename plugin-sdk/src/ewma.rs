//! Moving averages.

/// An exponentially weighted moving average: each sample has a fixed share in it, and the older ones fade.
///
/// ```
/// # use sluicegate_sdk::Ewma;
/// let mut latency = Ewma::new(0.25);
/// assert_eq!(latency.get(), None);
/// latency.add(100.0);
/// latency.add(200.0);
/// assert_eq!(latency.get(), Some(125.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ewma {
    share: f64,
    average: Option<f64>,
}

impl Ewma {
    /// Nothing yet. `share` is what the newest sample has in the average, from 0 to 1.
    pub const fn new(share: f64) -> Self {
        Self { share, average: None }
    }

    /// The same, going on from an earlier average.
    pub const fn from(average: f64, share: f64) -> Self {
        Self { share, average: Some(average) }
    }

    /// Takes in a sample. The first is the average.
    #[inline]
    pub fn add(&mut self, sample: f64) {
        self.average = Some(self.average.map_or(sample, |average| average + (sample - average) * self.share));
    }

    /// The average; none before the first sample.
    #[inline]
    pub fn get(&self) -> Option<f64> {
        self.average
    }
}

/// A moving average that rises at once and falls slowly: a sample above it replaces it, one below it has a share that
/// grows with the time since the sample before, and while nothing comes it fades to 0.
///
/// This is the cost of Finagle's "peak EWMA" load balancer (`com.twitter.finagle.loadbalancer.PeakEwma`, also in tower's
/// `load::peak_ewma`): with a decay time of 10 s, what was seen 10 s ago still counts for 37%. Times are in
/// nanoseconds.
///
/// ```
/// # use sluicegate_sdk::PeakEwma;
/// const SECOND: u64 = 1_000_000_000;
/// let mut latency = PeakEwma::new(10.0 * SECOND as f64);
/// latency.add(5.0, 0);
/// latency.add(90.0, SECOND);
/// assert_eq!(latency.get(SECOND), 90.0, "a peak counts at once");
/// assert!((latency.get(11 * SECOND) - 33.1).abs() < 0.1, "and fades");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PeakEwma {
    average: f64,
    at: u64,
    // By one over the decay time it is multiplied faster than divided by the decay time.
    per_ns: f64,
}

impl PeakEwma {
    /// Nothing yet. The decay time is more than 0.
    pub const fn new(decay_ns: f64) -> Self {
        Self::from(0.0, 0, decay_ns)
    }

    /// The same, going on from an average as it was at some time.
    pub const fn from(average: f64, at: u64, decay_ns: f64) -> Self {
        Self { average, at, per_ns: 1.0 / decay_ns }
    }

    /// Takes in a sample.
    #[inline]
    pub fn add(&mut self, sample: f64, now: u64) {
        let kept = self.kept(now);
        let faded = self.average * kept + sample * (1.0 - kept);
        self.average = if sample > self.average { sample } else { faded };
        self.at = self.at.max(now);
    }

    /// The average, as it has faded until now; 0 before the first sample.
    #[inline]
    pub fn get(&self, now: u64) -> f64 {
        self.average * self.kept(now)
    }

    /// The average as it was after the newest sample, and the time of that.
    pub fn latest(&self) -> (f64, u64) {
        (self.average, self.at)
    }

    /// How much of the average is left by now, from 0 to 1. Workers see time a little differently: no time is negative.
    #[inline]
    fn kept(&self, now: u64) -> f64 {
        // Signed numbers are quicker to convert.
        let since = now.saturating_sub(self.at).min(i64::MAX as u64) as i64;
        fading(since as f64 * self.per_ns)
    }
}

/// *e* to the power of `-times`, for a number from 0 on: within 10^-8 of [`exp`](crate::exp), and in a quarter of its
/// time. The same in every lane, as it only adds and multiplies.
#[inline]
fn fading(times: f64) -> f64 {
    // e^-x = 2^-n * e^-r, where r is at most half of ln 2 on either side of 0. What is past e^-690 is nothing.
    if times >= 690.0 {
        return 0.0;
    }
    // So large a number has no digits behind the point: adding it rounds to n, which is then the number's lowest bits.
    const ROUND: f64 = 1.5 * (1_u64 << 52) as f64;
    let halvings = times * std::f64::consts::LOG2_E + ROUND;
    let rest = times - (halvings - ROUND) * std::f64::consts::LN_2;
    // The first terms of its series, in pairs, which do not wait for each other.
    let (square, low) = (rest * rest, 1.0 - rest);
    let middle = 1.0 / 2.0 - rest * (1.0 / 6.0) + square * (1.0 / 24.0 - rest * (1.0 / 120.0));
    let high = 1.0 / 720.0 - rest * (1.0 / 5040.0);
    let series = low + square * (middle + square * square * high);
    series * f64::from_bits(1023_u64.wrapping_sub(halvings.to_bits()) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exp;

    #[test]
    fn fading_is_nearly_an_exponential() {
        assert_eq!(fading(0.0), 1.0);
        for step in 0..1_000_000 {
            let times = f64::from(step) * 1e-5;
            assert!((fading(times) / exp(-times) - 1.0).abs() < 1e-8, "{times}");
        }
        for times in [100.0, 689.0] {
            assert!((fading(times) / exp(-times) - 1.0).abs() < 1e-8, "{times}");
        }
        assert_eq!([700.0, 1e9, 1e300, f64::INFINITY].map(fading), [0.0; 4]);
    }

    #[test]
    fn a_peak_rises_at_once_and_falls_with_time() {
        let mut average = PeakEwma::new(1000.0);
        assert_eq!(average.get(5000), 0.0);
        average.add(10.0, 5000);
        average.add(70.0, 5000);
        assert_eq!(average.get(5000), 70.0);
        average.add(10.0, 5000);
        assert_eq!(average.get(5000), 70.0, "no time has passed: the lower sample has no share yet");
        average.add(10.0, 6000);
        let expected = 70.0 * exp(-1.0) + 10.0 * (1.0 - exp(-1.0));
        assert!((average.get(6000) - expected).abs() < 1e-5, "{expected}");
        assert_eq!(average.get(1), average.get(6000), "time does not go back");
        assert!(average.get(u64::MAX) == 0.0, "whatever was there has faded");
    }

    #[test]
    fn reading_in_between_changes_nothing() {
        // Finagle adds a sample of 0 for each reading; a product of exponentials is the exponential of the sum.
        let average = PeakEwma::from(50.0, 0, 1000.0);
        let mut read = average;
        read.add(0.0, 300);
        assert!((read.get(900) - average.get(900)).abs() < 1e-5);
    }
}
