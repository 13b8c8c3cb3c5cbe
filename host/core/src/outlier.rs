//! Outlier detection, the passive health check: endpoints that answer worse than the others are put aside for a while.
//!
//! The algorithm is Envoy's ("Outlier detection" in its architecture overview, `outlier_detection_impl.cc`). It has two
//! sides. Workers count each attempt in its endpoint's [`OutlierMonitor`], which costs a few relaxed atomics. The
//! control side owns the [`OutlierDetector`], which hears of an endpoint only when a run of failures is long enough,
//! and looks at all of them once in an interval.

mod monitor;
mod watch;

use std::{collections::BTreeMap, mem, sync::Arc};

pub use monitor::{EjectionCause, OutlierMonitor, Verdict};
pub use watch::{OutlierWatch, Suspect};

use crate::EndpointId;

/// When an endpoint is an outlier, and for how long. Times are in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutlierSpec {
    /// How many gateway failures in a row are too many; 0 is off.
    pub consecutive_gateway_failures: u32,
    /// How many failures of any kind in a row are too many; 0 is off.
    pub consecutive_failures: u32,
    /// How often success rates are compared, and how long an endpoint has to do well for one ejection to be forgotten.
    pub interval_ns: u64,
    /// How long the first ejection lasts. The second lasts twice as long, and so on.
    pub base_ejection_ns: u64,
    /// What an ejection lasts at most.
    pub max_ejection_ns: u64,
    /// How many of the endpoints may be ejected at the same time, in percent, but at least one; 0 ejects nobody.
    pub max_ejected_percent: u32,
    /// How many endpoints must have enough requests for their success rates to be compared; 0 is off.
    pub success_rate_min_endpoints: usize,
    /// How many requests in an interval are enough.
    pub success_rate_min_requests: u32,
    /// How many standard deviations below the mean a success rate may be.
    pub success_rate_stdev_factor: f64,
}

/// All of them are Envoy's. Five failures in a row are no accident, and are still noticed within a second. Success
/// rates mean little with few requests or few endpoints to compare with; 1.9 deviations below the mean is the worst 3%
/// if they are spread normally. 30 s is enough for a restart; ten times that, and an endpoint that fails for good
/// costs next to nothing. More than 10% of the endpoints at a time are not outliers, and ejecting them would move
/// their load to the others.
impl Default for OutlierSpec {
    fn default() -> Self {
        Self {
            consecutive_gateway_failures: 5,
            consecutive_failures: 5,
            interval_ns: 10_000_000_000,
            base_ejection_ns: 30_000_000_000,
            max_ejection_ns: 300_000_000_000,
            max_ejected_percent: 10,
            success_rate_min_endpoints: 5,
            success_rate_min_requests: 100,
            success_rate_stdev_factor: 1.9,
        }
    }
}

impl OutlierSpec {
    /// How many of so many endpoints may be ejected; never all of them.
    fn most_ejected(&self, endpoints: usize) -> usize {
        if self.max_ejected_percent == 0 {
            return 0;
        }
        let share = endpoints as u64 * u64::from(self.max_ejected_percent) / 100;
        (share as usize).max(1).min(endpoints.saturating_sub(1))
    }

    fn ejection_ns(&self, ejections: u32) -> u64 {
        self.base_ejection_ns.saturating_mul(u64::from(ejections)).min(self.max_ejection_ns)
    }
}

/// An endpoint was put aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Which.
    pub endpoint: EndpointId,
    /// And why.
    pub cause: EjectionCause,
    /// When its time is over; the next sweep lets it back in.
    pub until: u64,
}

/// What a sweep has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Whose time is over.
    pub returned: Vec<EndpointId>,
    /// Whose success rate is too far below the others', the worst first.
    pub ejected: Vec<Ejection>,
}

/// The outliers of one cluster. It knows as many endpoints as the cluster has, and nothing of those that are gone.
#[derive(Debug)]
pub struct OutlierDetector {
    spec: OutlierSpec,
    entries: BTreeMap<EndpointId, Entry>,
    next_comparison: u64,
    spared: u64,
}

#[derive(Debug)]
struct Entry {
    monitor: Arc<OutlierMonitor>,
    ejected_until: Option<u64>,
    /// How many ejections are not forgotten yet.
    ejections: u32,
    /// Whether it was in when success rates were compared last, and has been since.
    in_since_comparison: bool,
}

impl Entry {
    fn new(endpoint: EndpointId) -> Self {
        let monitor = Arc::new(OutlierMonitor::new(endpoint));
        Self { monitor, ejected_until: None, ejections: 0, in_since_comparison: false }
    }

    /// What it did before, and while it was out, is no longer held against it.
    fn return_now(&mut self) {
        self.ejected_until = None;
        self.monitor.reset();
    }
}

impl OutlierDetector {
    /// A detector that knows nobody yet. Its first interval begins at `now`.
    pub fn new(spec: OutlierSpec, now: u64) -> Self {
        Self { spec, entries: BTreeMap::new(), next_comparison: now.saturating_add(spec.interval_ns), spared: 0 }
    }

    /// Takes over the cluster's endpoints. Who stays keeps its history; who leaves and comes back has none. When those
    /// who are left were all ejected, the one whose time is over soonest comes back, and is the answer.
    pub fn set_endpoints(&mut self, endpoints: &[EndpointId]) -> Option<EndpointId> {
        let mut before = mem::take(&mut self.entries);
        for id in endpoints {
            self.entries.entry(*id).or_insert_with(|| before.remove(id).unwrap_or_else(|| Entry::new(*id)));
        }
        if self.entries.values().any(|entry| entry.ejected_until.is_none()) {
            return None;
        }
        let (id, soonest) = self.entries.iter_mut().min_by_key(|(_, entry)| entry.ejected_until)?;
        soonest.return_now();
        Some(*id)
    }

    /// Takes over new settings. Ejections that are under way last as long as they were to last.
    pub fn set_spec(&mut self, spec: OutlierSpec) {
        self.spec = spec;
    }

    /// Where the workers count an endpoint's attempts.
    pub fn monitor(&self, endpoint: EndpointId) -> Option<&Arc<OutlierMonitor>> {
        self.entries.get(&endpoint).map(|entry| &entry.monitor)
    }

    /// Whether an endpoint is ejected.
    pub fn is_ejected(&self, endpoint: EndpointId) -> bool {
        self.entries.get(&endpoint).is_some_and(|entry| entry.ejected_until.is_some())
    }

    /// How many endpoints are ejected.
    pub fn ejected(&self) -> usize {
        self.entries.values().filter(|entry| entry.ejected_until.is_some()).count()
    }

    /// How often an endpoint was left in only because too many others were out, ever.
    pub fn spared(&self) -> u64 {
        self.spared
    }

    /// Counts an attempt and acts on it, for those who need not pass it from a worker to the control side.
    pub fn record(&mut self, endpoint: EndpointId, verdict: Verdict, now: u64) -> Option<Ejection> {
        let monitor = Arc::clone(self.monitor(endpoint)?);
        let cause = monitor.record(verdict, &self.spec)?;
        self.suspect(&monitor, cause, now)
    }

    /// A worker's monitor has come to a conclusion. None when nothing follows: the endpoint is gone or out already, or
    /// too many others are out. A monitor that is not the detector's own belongs to an endpoint that was removed,
    /// and is not held against its successor at the same address.
    pub fn suspect(&mut self, monitor: &Arc<OutlierMonitor>, cause: EjectionCause, now: u64) -> Option<Ejection> {
        let own = self.monitor(monitor.endpoint())?;
        if Arc::ptr_eq(own, monitor) { self.eject(monitor.endpoint(), cause, now) } else { None }
    }

    /// Lets back in those whose time is over and, once in an interval, compares success rates. May be called more
    /// often than that; how much later an endpoint comes back than it could depends on it.
    pub fn sweep(&mut self, now: u64) -> Sweep {
        let mut sweep = Sweep::default();
        for (id, entry) in &mut self.entries {
            if entry.ejected_until.is_some_and(|until| until <= now) {
                entry.return_now();
                sweep.returned.push(*id);
            }
        }
        if now >= self.next_comparison {
            self.next_comparison = now.saturating_add(self.spec.interval_ns);
            let outliers = self.outliers();
            sweep.ejected =
                outliers.into_iter().filter_map(|id| self.eject(id, EjectionCause::SuccessRate, now)).collect();
            self.forget();
        }
        sweep
    }

    fn eject(&mut self, endpoint: EndpointId, cause: EjectionCause, now: u64) -> Option<Ejection> {
        let room = self.ejected() < self.spec.most_ejected(self.entries.len());
        let entry = self.entries.get_mut(&endpoint).filter(|entry| entry.ejected_until.is_none())?;
        if !room {
            self.spared += 1;
            return None;
        }
        // Counting on past the longest ejection would only make it take longer to be forgotten.
        let most = self.spec.max_ejection_ns.div_ceil(self.spec.base_ejection_ns.max(1));
        entry.ejections = u32::try_from(most).unwrap_or(u32::MAX).min(entry.ejections.saturating_add(1));
        entry.in_since_comparison = false;
        let until = now.saturating_add(self.spec.ejection_ns(entry.ejections));
        entry.ejected_until = Some(until);
        Some(Ejection { endpoint, cause, until })
    }

    /// Ends the interval of all monitors, and finds those whose success rate is too low, the worst first.
    fn outliers(&self) -> Vec<EndpointId> {
        let mut rates: Vec<(f64, EndpointId)> = Vec::with_capacity(self.entries.len());
        for (id, entry) in &self.entries {
            let (successes, requests) = entry.monitor.take();
            if entry.ejected_until.is_none() && requests >= u64::from(self.spec.success_rate_min_requests.max(1)) {
                rates.push((successes as f64 / requests as f64, *id));
            }
        }
        if self.spec.success_rate_min_endpoints == 0 || rates.len() < self.spec.success_rate_min_endpoints {
            return Vec::new();
        }
        let count = rates.len() as f64;
        let mean = rates.iter().map(|(rate, _)| rate).sum::<f64>() / count;
        let variance = rates.iter().map(|(rate, _)| (rate - mean).powi(2)).sum::<f64>() / count;
        let least = mean - self.spec.success_rate_stdev_factor * variance.sqrt();
        rates.retain(|(rate, _)| *rate < least);
        rates.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        rates.into_iter().map(|(_, id)| id).collect()
    }

    /// For each whole interval that an endpoint was in, one of its ejections is forgotten.
    fn forget(&mut self) {
        for entry in self.entries.values_mut().filter(|entry| entry.ejected_until.is_none()) {
            entry.ejections = entry.ejections.saturating_sub(u32::from(entry.in_since_comparison));
            entry.in_since_comparison = true;
        }
    }
}

#[cfg(test)]
mod tests;
