//! A candidate on trial in one worker's seat: what it does there, and what is counted of it.

use std::{collections::HashMap, sync::Arc};

use sluicegate_core::{
    AttemptResult, CanaryArm, ClusterSnapshot, EndpointId, Histogram, HistogramSnapshot, Outcome, Rng,
};

use crate::{Fault, Generation, Instance, metrics::GenerationMetrics};

/// What a candidate is tried with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum TrialMode {
    /// It is asked beside the active policy, for this share of the requests, and its picks are not used.
    Shadow {
        /// From 0 to 1.
        share: f64,
    },
    /// It answers for this share of the requests.
    Canary {
        /// From 0 to 1.
        share: f64,
        /// By the request's hash where it has one, and not at random.
        by_hash: bool,
    },
}

/// What a pick had to do with a trial. Who holds the attempt gives it back with the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Draw {
    /// The candidate; 0 when there was none.
    pub(crate) generation: u64,
    /// Which step of its trial it was.
    pub(crate) step: u32,
    /// Whether the candidate had the request, and not the active policy.
    pub(crate) candidate: bool,
    /// Whether the candidate was asked beside the active policy.
    pub(crate) shadowed: bool,
    /// Whether it was the request's first attempt.
    pub(crate) first: bool,
}

impl Draw {
    /// The same for another attempt of the request.
    #[must_use]
    pub(crate) fn again(self) -> Self {
        Self { first: false, ..self }
    }
}

/// What one worker, or all of them, have counted of a trial. A canary's arms are those of its present step.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// What serves, under a canary.
    pub active: CanaryArm,
    /// The canary's candidate.
    pub candidate: CanaryArm,
    /// Picks of a shadow that were those of the active policy.
    pub agreed: u64,
    /// Picks of other endpoints.
    pub differed: u64,
    /// Picks that it left to the proxy, or that were of an endpoint that the request had been to.
    pub declined: u64,
    /// Of the candidate.
    pub faults: u64,
    /// What the shadow's picks cost, in nanoseconds.
    pub cost: HistogramSnapshot,
    /// Under a shadow, how often each endpoint was picked, by the active policy and by the candidate.
    pub spread: Vec<(EndpointId, u64, u64)>,
}

impl Tally {
    /// Adds what another worker has counted.
    pub fn merge(&mut self, other: &Self) {
        self.active.merge(&other.active);
        self.candidate.merge(&other.candidate);
        self.agreed += other.agreed;
        self.differed += other.differed;
        self.declined += other.declined;
        self.faults += other.faults;
        self.cost.merge(&other.cost);
        // Workers may know of different endpoints for a moment, and a cluster may have thousands: looked up, not looked for.
        let places: HashMap<EndpointId, usize> =
            self.spread.iter().enumerate().map(|(place, (id, ..))| (*id, place)).collect();
        for (id, active, candidate) in &other.spread {
            match places.get(id) {
                Some(place) => {
                    let known = &mut self.spread[*place];
                    *known = (*id, known.1 + active, known.2 + candidate);
                }
                None => self.spread.push((*id, *active, *candidate)),
            }
        }
    }
}

/// One side of a canary, as a worker counts it.
#[derive(Default)]
struct Arm {
    requests: u64,
    failures: u64,
    latency: Histogram,
}

impl Arm {
    fn take_in(&mut self, result: &AttemptResult) {
        if result.outcome == Outcome::Cancelled {
            return;
        }
        self.requests += 1;
        match result.outcome {
            Outcome::Answered if result.status < 500 => {
                self.latency.record_exclusive(u64::from(result.first_byte_us) * 1000);
            }
            _ => self.failures += 1,
        }
    }

    fn snapshot(&self) -> CanaryArm {
        CanaryArm { requests: self.requests, failures: self.failures, latency: self.latency.snapshot() }
    }
}

/// A candidate in a seat.
pub(crate) struct Trial {
    pub(crate) generation: u64,
    pub(crate) mode: TrialMode,
    pub(crate) step: u32,
    /// None when it has died, until there is a new one.
    pub(crate) instance: Option<Instance>,
    pub(crate) metrics: Option<GenerationMetrics>,
    /// When it wants to be called.
    pub(crate) tick_at: u64,
    rng: Rng,
    arms: [Arm; 2],
    agreed: u64,
    differed: u64,
    declined: u64,
    faults: u64,
    cost: Histogram,
    spread: Vec<(EndpointId, u64, u64)>,
}

impl Trial {
    /// To be called on the worker's own thread, whose metrics these are.
    pub(crate) fn new(instance: Instance, mode: TrialMode, seed: u64) -> Self {
        let generation: &Generation = &instance.generation;
        Self {
            generation: generation.number,
            mode,
            step: 0,
            tick_at: u64::MAX,
            metrics: Some(GenerationMetrics::new(generation)),
            rng: Rng::new(seed ^ generation.number),
            arms: Default::default(),
            agreed: 0,
            differed: 0,
            declined: 0,
            faults: 0,
            cost: Histogram::default(),
            spread: Vec::new(),
            instance: Some(instance),
        }
    }

    /// Goes on to another share. What was counted of the arms so far belongs to the step that is over.
    pub(crate) fn set_share(&mut self, step: u32, to: f64) {
        self.step = step;
        self.arms = Default::default();
        match &mut self.mode {
            TrialMode::Shadow { share } | TrialMode::Canary { share, .. } => *share = to,
        }
    }

    /// Whether a request that has not been anywhere is the candidate's.
    pub(crate) fn draw(&mut self, hash: u64) -> bool {
        // The same user stays with the candidate as its share grows, and other users are with the next one.
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let (share, number) = match self.mode {
            TrialMode::Canary { share, by_hash: true } if hash != 0 => {
                (share, Rng::new(hash ^ self.generation.wrapping_mul(ODD)).next_u64())
            }
            TrialMode::Shadow { share } | TrialMode::Canary { share, .. } => (share, self.rng.next_u64()),
        };
        // 53 bits are what a double holds.
        ((number >> 11) as f64) < share * (1_u64 << 53) as f64
    }

    pub(crate) fn take_in(&mut self, candidate: bool, result: &AttemptResult) {
        self.arms[usize::from(candidate)].take_in(result);
    }

    /// A request that the policy turned away has no result, and has failed: with whoever rejects by design, both sides do.
    pub(crate) fn count_rejection(&mut self, candidate: bool) {
        let arm = &mut self.arms[usize::from(candidate)];
        arm.requests += 1;
        arm.failures += 1;
    }

    /// Compares the candidate's answer with the active policy's pick. `tried`: where the request has been already.
    pub(crate) fn compare(
        &mut self,
        snapshot: &ClusterSnapshot,
        tried: &[EndpointId],
        active: u32,
        answer: u32,
    ) -> Option<Fault> {
        if self.spread.len() != snapshot.endpoints().len() {
            self.see(snapshot);
        }
        if let Some((_, picked, _)) = self.spread.get_mut(active as usize) {
            *picked += 1;
        }
        match snapshot.get(answer) {
            Some(endpoint) if tried.contains(&endpoint.id) => self.declined += 1,
            Some(_) => {
                self.spread[answer as usize].2 += 1;
                if answer == active { self.agreed += 1 } else { self.differed += 1 }
            }
            None if answer == crate::DECLINE => self.declined += 1,
            None => return Some(Fault::BadIndex { index: answer, count: snapshot.endpoints().len() as u32 }),
        }
        None
    }

    /// Counts by the indices of this snapshot from now on. Who is gone is forgotten.
    pub(crate) fn see(&mut self, snapshot: &ClusterSnapshot) {
        let before: HashMap<EndpointId, (u64, u64)> =
            self.spread.drain(..).map(|(id, active, candidate)| (id, (active, candidate))).collect();
        self.spread.extend(snapshot.endpoints().iter().map(|endpoint| {
            let (active, candidate) = before.get(&endpoint.id).copied().unwrap_or_default();
            (endpoint.id, active, candidate)
        }));
    }

    pub(crate) fn cost(&self, ns: u64) {
        self.cost.record_exclusive(ns);
    }

    /// Counts a fault. Says whether somebody has to hear of it.
    pub(crate) fn fault(&mut self, fault: &Fault) {
        self.faults += 1;
        if let Some(metrics) = &mut self.metrics {
            metrics.fault(fault);
        }
        if fault.is_fatal() {
            self.instance = None;
        }
    }

    pub(crate) fn count_fault(&mut self) {
        self.faults += 1;
    }

    /// Shows the candidate other endpoints.
    pub(crate) fn set_snapshot(&mut self, now: u64, snapshot: &Arc<ClusterSnapshot>) -> Result<(), Fault> {
        self.see(snapshot);
        match &mut self.instance {
            Some(instance) => instance.endpoints_changed(now, Arc::clone(snapshot)),
            None => Ok(()),
        }
    }

    pub(crate) fn tally(&self) -> Tally {
        Tally {
            active: self.arms[0].snapshot(),
            candidate: self.arms[1].snapshot(),
            agreed: self.agreed,
            differed: self.differed,
            declined: self.declined,
            faults: self.faults,
            cost: self.cost.snapshot(),
            spread: self.spread.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn spread(of: impl Iterator<Item = (u64, u64, u64)>) -> Tally {
        let spread = of.map(|(id, active, candidate)| (EndpointId(id), active, candidate)).collect();
        Tally { spread, ..Tally::default() }
    }

    #[test]
    fn what_workers_have_counted_adds_up_in_the_first_ones_order() {
        let mut all = Tally::default();
        all.merge(&spread([(2, 1, 0), (1, 5, 6)].into_iter()));
        all.merge(&spread([(1, 10, 20), (3, 7, 0), (2, 0, 4)].into_iter()));
        assert_eq!(all.spread, spread([(2, 1, 4), (1, 15, 26), (3, 7, 0)].into_iter()).spread);
    }

    #[test]
    fn a_large_cluster_is_added_up_in_no_time() {
        // Some ten milliseconds; comparing each with each other takes a minute.
        const COUNT: u64 = 300_000;
        let (mut all, other) = (spread((0..COUNT).map(|id| (id, 1, 2))), spread((0..COUNT).rev().map(|id| (id, 3, 4))));
        let start = Instant::now();
        all.merge(&other);
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        assert!(all.spread.iter().all(|(_, active, candidate)| (*active, *candidate) == (4, 6)));
    }
}
