//! Numbers of a policy's own in the proxy's metrics.

use crate::source::{CounterHandle, GaugeHandle};

/// A counter in the proxy's metrics, made by [`Setup::counter`](crate::Setup::counter). The workers' add up.
#[derive(Clone, Debug)]
pub struct Counter(pub(crate) CounterHandle);

impl Counter {
    /// Adds to it.
    #[inline]
    pub fn add(&self, delta: u64) {
        self.0.add(delta);
    }
}

/// A gauge in the proxy's metrics, made by [`Setup::gauge`](crate::Setup::gauge). Every worker has its own.
#[derive(Clone, Debug)]
pub struct Gauge(pub(crate) GaugeHandle);

impl Gauge {
    /// Sets it. A number that is not finite changes nothing.
    #[inline]
    pub fn set(&self, value: f64) {
        self.0.set(value);
    }
}
