//! Simulated endpoints.

use std::{
    collections::BTreeMap,
    ops::{Deref, DerefMut},
};

use crate::{AttemptResult, Outcome, Signal, hash, native::Cluster};

/// The endpoints of a test: a vector of them, with a few ways to make one.
#[derive(Clone, Debug, Default)]
pub struct SimCluster(Vec<SimEndpoint>);

impl SimCluster {
    /// This many endpoints of weight 1.
    pub fn of(count: u32) -> Self {
        (0..count).map(|number| SimEndpoint::new(&format!("10.0.{}.{}:80", number / 256, number % 256))).collect()
    }

    /// One endpoint of each weight.
    pub fn of_weights(weights: &[u32]) -> Self {
        let mut cluster = Self::of(weights.len() as u32);
        cluster.iter_mut().zip(weights).for_each(|(endpoint, weight)| endpoint.weight = *weight);
        cluster
    }
}

impl FromIterator<SimEndpoint> for SimCluster {
    fn from_iter<I: IntoIterator<Item = SimEndpoint>>(endpoints: I) -> Self {
        Self(endpoints.into_iter().collect())
    }
}

impl<const N: usize> From<[SimEndpoint; N]> for SimCluster {
    fn from(endpoints: [SimEndpoint; N]) -> Self {
        Self(endpoints.into())
    }
}

impl Deref for SimCluster {
    type Target = Vec<SimEndpoint>;

    fn deref(&self) -> &Vec<SimEndpoint> {
        &self.0
    }
}

impl DerefMut for SimCluster {
    fn deref_mut(&mut self) -> &mut Vec<SimEndpoint> {
        &mut self.0
    }
}

/// An endpoint of a test.
#[derive(Clone, Debug)]
pub struct SimEndpoint {
    address: String,
    weight: u32,
    zone: String,
    labels: BTreeMap<String, String>,
    signals: [u64; 7],
}

impl SimEndpoint {
    /// An endpoint of weight 1 with nothing else said of it. Its id follows from its address.
    pub fn new(address: &str) -> Self {
        Self { address: address.into(), weight: 1, zone: String::new(), labels: BTreeMap::new(), signals: [0; 7] }
    }

    /// The same, with this weight.
    pub fn weight(self, weight: u32) -> Self {
        Self { weight, ..self }
    }

    /// The same, in this zone.
    pub fn zone(self, zone: &str) -> Self {
        Self { zone: zone.into(), ..self }
    }

    /// The same, with this label.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Its lasting identity, the same as in the proxy.
    pub fn id(&self) -> u64 {
        hash(self.address.as_bytes())
    }

    /// A live value.
    pub fn read(&self, signal: Signal) -> u64 {
        self.signals[signal as usize]
    }

    pub(crate) fn set(&mut self, signal: Signal, value: u64) {
        self.signals[signal as usize] = value;
    }

    /// Counts as the proxy counts.
    pub(super) fn record(&mut self, result: &AttemptResult) {
        self.set(Signal::InFlight, self.read(Signal::InFlight).saturating_sub(1));
        let counter = match result.outcome {
            Outcome::Answered if result.status < 500 => Signal::Successes,
            Outcome::Answered | Outcome::ConnectFailed | Outcome::Broken => Signal::Failures,
            Outcome::TimedOut => Signal::Timeouts,
            Outcome::Cancelled => return,
        };
        self.set(counter, self.read(counter) + 1);
        if result.outcome == Outcome::Answered && result.first_byte_us > 0 {
            let (average, sample) = (self.read(Signal::LatencyUs), u64::from(result.first_byte_us));
            self.set(Signal::LatencyUs, if average == 0 { sample } else { (average * 7 + sample) / 8 });
        }
    }
}

impl Cluster for SimCluster {
    fn count(&self) -> u32 {
        self.len() as u32
    }

    fn id(&self, index: u32) -> u64 {
        self[index as usize].id()
    }

    fn weight(&self, index: u32) -> u32 {
        self[index as usize].weight
    }

    fn read(&self, index: u32, signal: Signal) -> u64 {
        self[index as usize].read(signal)
    }

    fn address(&self, index: u32) -> String {
        self[index as usize].address.clone()
    }

    fn zone(&self, index: u32) -> String {
        self[index as usize].zone.clone()
    }

    fn label(&self, index: u32, key: &str) -> Option<String> {
        self[index as usize].labels.get(key).cloned()
    }
}
