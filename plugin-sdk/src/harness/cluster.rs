//! Simulated endpoints.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    mem,
    ops::{Deref, DerefMut},
};

use crate::{AttemptResult, Outcome, ProbeResult, Signal, hash, native::Cluster};

/// The endpoints of a test: a vector of them, with a few ways to make one.
#[derive(Clone, Debug, Default)]
pub struct SimCluster {
    endpoints: Vec<SimEndpoint>,
    /// The ids of those that the policy has just asked to probe.
    asked: RefCell<Vec<u64>>,
}

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

    /// Those that the policy has asked to probe since this was called last.
    pub(super) fn take_asked(&self) -> Vec<u64> {
        mem::take(&mut self.asked.borrow_mut())
    }
}

impl FromIterator<SimEndpoint> for SimCluster {
    fn from_iter<I: IntoIterator<Item = SimEndpoint>>(endpoints: I) -> Self {
        Self { endpoints: endpoints.into_iter().collect(), asked: RefCell::default() }
    }
}

impl<const N: usize> From<[SimEndpoint; N]> for SimCluster {
    fn from(endpoints: [SimEndpoint; N]) -> Self {
        endpoints.into_iter().collect()
    }
}

impl Deref for SimCluster {
    type Target = Vec<SimEndpoint>;

    fn deref(&self) -> &Vec<SimEndpoint> {
        &self.endpoints
    }
}

impl DerefMut for SimCluster {
    fn deref_mut(&mut self) -> &mut Vec<SimEndpoint> {
        &mut self.endpoints
    }
}

/// An endpoint of a test.
#[derive(Clone, Debug)]
pub struct SimEndpoint {
    address: String,
    weight: u32,
    zone: String,
    labels: BTreeMap<String, String>,
    signals: [u64; 12],
    is_silent: bool,
}

impl SimEndpoint {
    /// An endpoint of weight 1 with nothing else said of it. Its id follows from its address.
    pub fn new(address: &str) -> Self {
        let (zone, labels) = (String::new(), BTreeMap::new());
        let mut signals = [0; 12];
        signals[Signal::ReportAgeMs as usize] = u64::MAX;
        Self { address: address.into(), weight: 1, zone, labels, signals, is_silent: false }
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

    /// The same, answering no probes.
    pub fn silent(self) -> Self {
        Self { is_silent: true, ..self }
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

    /// Lets time pass.
    pub(super) fn age(&mut self, ms: u64) {
        for signal in [Signal::AgeMs, Signal::ReportAgeMs] {
            // What never was does not grow old.
            self.set(signal, self.read(signal).saturating_add(ms));
        }
    }

    /// Answers a probe: with its queue depth for its load, and the latency that its signals have.
    pub(super) fn answer(&mut self, round_trip_us: u32) -> ProbeResult {
        let endpoint = self.id();
        if self.is_silent {
            return ProbeResult { endpoint, ok: false, round_trip_us, load: None, latency_us: None };
        }
        self.set(Signal::ReportAgeMs, 0);
        let (load, latency_us) = (Some(self.read(Signal::QueueDepth)), Some(self.read(Signal::LatencyUs)));
        ProbeResult { endpoint, ok: true, round_trip_us, load, latency_us }
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

    fn probe(&self, index: u32) {
        self.asked.borrow_mut().push(self[index as usize].id());
    }
}
