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
