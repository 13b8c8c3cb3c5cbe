//! What is counted of a policy, by cluster, policy and generation.
//!
//! Handles are registered when an instance takes its seat, on the worker's own thread, so that a call records into
//! memory that no other worker touches.

use std::{collections::HashMap, time::Duration};

use metrics::{Counter, Gauge, Histogram, Label, counter, gauge, histogram};

use crate::{Fault, generation::Generation, trial::Tally};

/// Registers what the metrics mean, once, at start.
pub fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_histogram!("sluicegate_policy_call_seconds", Unit::Seconds, "Calls into the policy, by their time.");
    describe_counter!("sluicegate_policy_faults_total", "Calls that gave no usable answer.");
    describe_counter!("sluicegate_policy_fallbacks_total", "Picks made by the native fallback, by reason.");
    describe_counter!("sluicegate_policy_swaps_total", "Attempts to replace a policy, by how they ended.");
    describe_histogram!(
        "sluicegate_policy_swap_seconds",
        Unit::Seconds,
        "From a policy's bytes to all workers using it."
    );
    describe_gauge!("sluicegate_policy_generation", "The generation that serves.");
    describe_counter!("sluicegate_policy_custom_total", "Counters of the policies' own, by name.");
    describe_gauge!("sluicegate_policy_custom", "Gauges of the policies' own, by name and worker.");
    describe_counter!(
        "sluicegate_policy_shadow_picks_total",
        "Picks of a candidate beside the active policy: agreed, differed or declined."
    );
    describe_counter!(
        "sluicegate_policy_canary_requests_total",
        "Requests under a canary, by what came of their first attempts, and by side. A rejection has failed."
    );
    describe_gauge!(
        "sluicegate_policy_canary_latency_seconds",
        "Quantiles of the time to the first byte under a canary, by side, in its present step."
    );
}

/// One callback of one generation. The histogram's count is the number of calls.
pub(crate) struct CallMetrics(Histogram);

impl CallMetrics {
    fn new(generation: &Generation, callback: &'static str) -> Self {
        let mut labels = generation.labels();
        labels.push(Label::new("callback", callback));
        Self(histogram!("sluicegate_policy_call_seconds", labels))
    }

    #[inline]
    pub(crate) fn record(&self, ns: u64) {
        self.0.record(ns as f64 * 1e-9);
    }
}

/// All callbacks of the generation in a seat.
pub(crate) struct GenerationMetrics {
    pub(crate) generation: u64,
    pub(crate) pick: CallMetrics,
    pub(crate) on_result: CallMetrics,
    pub(crate) endpoints_changed: CallMetrics,
    pub(crate) on_probe: Option<CallMetrics>,
    pub(crate) tick: Option<CallMetrics>,
    labels: Vec<Label>,
    /// Faults are rare: their handles are made when they happen, and kept, because a series lives as long as they.
    faults: HashMap<&'static str, Counter>,
}

impl GenerationMetrics {
    pub(crate) fn new(generation: &Generation) -> Self {
        let exports = generation.spec.artifact.exports;
        Self {
            generation: generation.number,
            pick: CallMetrics::new(generation, "pick"),
            on_result: CallMetrics::new(generation, "on_result"),
            endpoints_changed: CallMetrics::new(generation, "endpoints_changed"),
            on_probe: exports.probing.then(|| CallMetrics::new(generation, "on_probe")),
            tick: exports.timer.then(|| CallMetrics::new(generation, "tick")),
            labels: generation.labels(),
            faults: HashMap::new(),
        }
    }

    pub(crate) fn fault(&mut self, fault: &Fault) {
        let handle = self.faults.entry(fault.label()).or_insert_with_key(|label| {
            let mut labels = self.labels.clone();
            labels.push(Label::new("fault", *label));
            counter!("sluicegate_policy_faults_total", labels)
        });
        handle.increment(1);
    }
}

/// Why the fallback picked.
#[derive(Clone, Copy)]
pub(crate) enum FallbackReason {
    /// Nobody sits in the seat.
    NoPolicy,
    /// The policy left the request to it.
    Declined,
    /// The policy picked where the request had been.
    TriedAgain,
    /// The policy's answer was none.
    Fault,
}

/// Picks made by the fallback.
pub(crate) struct FallbackMetrics {
    no_policy: Counter,
    declined: Counter,
    tried_again: Counter,
    fault: Counter,
}

impl FallbackMetrics {
    pub(crate) fn new(cluster: &str) -> Self {
        let handle = |reason: &'static str| counter!("sluicegate_policy_fallbacks_total", "cluster" => cluster.to_owned(), "reason" => reason);
        Self {
            no_policy: handle("no_policy"),
            declined: handle("declined"),
            tried_again: handle("tried_again"),
            fault: handle("fault"),
        }
    }

    pub(crate) fn picked(&self, reason: FallbackReason) {
        let counter = match reason {
            FallbackReason::NoPolicy => &self.no_policy,
            FallbackReason::Declined => &self.declined,
            FallbackReason::TriedAgain => &self.tried_again,
            FallbackReason::Fault => &self.fault,
        };
        counter.increment(1);
    }
}

/// A cluster's swaps, by how they ended.
pub(crate) struct SwapMetrics {
    cluster: String,
    swaps: HashMap<&'static str, Counter>,
    seconds: Histogram,
    generation: Gauge,
}

impl SwapMetrics {
    pub(crate) fn new(cluster: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
            swaps: HashMap::new(),
            seconds: histogram!("sluicegate_policy_swap_seconds", "cluster" => cluster.to_owned()),
            generation: gauge!("sluicegate_policy_generation", "cluster" => cluster.to_owned()),
        }
    }

    pub(crate) fn ended(&mut self, result: &'static str) {
        let handle = self.swaps.entry(result).or_insert_with(
            || counter!("sluicegate_policy_swaps_total", "cluster" => self.cluster.clone(), "result" => result),
        );
        handle.increment(1);
    }

    pub(crate) fn took(&self, time: Duration) {
        self.seconds.record(time.as_secs_f64());
    }

    pub(crate) fn serves(&self, generation: u64) {
        self.generation.set(generation as f64);
    }
}

/// A trial's figures, from what the workers have counted in this step so far.
pub(crate) struct TrialMetrics {
    shadow: [Counter; 3],
    /// By side (active, candidate) and result (good, failed).
    canary: [[Counter; 2]; 2],
    latency: [[Gauge; 2]; 2],
    shown: [[u64; 2]; 2],
}

const LATENCIES: [(f64, &str); 2] = [(0.5, "0.5"), (0.95, "0.95")];

impl TrialMetrics {
    pub(crate) fn new(candidate: &Generation) -> Self {
        let labels = |more: [(&'static str, &'static str); 2]| {
            let mut labels = candidate.labels();
            labels
                .extend(more.into_iter().filter(|(key, _)| !key.is_empty()).map(|(key, value)| Label::new(key, value)));
            labels
        };
        let sides = ["active", "candidate"];
        Self {
            shadow: ["agreed", "differed", "declined"]
                .map(|result| counter!("sluicegate_policy_shadow_picks_total", labels([("result", result), ("", "")]))),
            canary: sides.map(|side| {
                ["good", "failed"].map(|result| {
                    counter!("sluicegate_policy_canary_requests_total", labels([("side", side), ("result", result)]))
                })
            }),
            latency: sides.map(|side| {
                LATENCIES.map(|(_, quantile)| {
                    gauge!("sluicegate_policy_canary_latency_seconds", labels([("side", side), ("quantile", quantile)]))
                })
            }),
            shown: [[0; 2]; 2],
        }
    }

    pub(crate) fn show(&mut self, tally: &Tally) {
        let picks = [tally.agreed, tally.differed, tally.declined];
        self.shadow.iter().zip(picks).for_each(|(counter, total)| counter.absolute(total));
        for (index, arm) in [&tally.active, &tally.candidate].into_iter().enumerate() {
            let totals = [arm.requests - arm.failures, arm.failures];
            for (result, total) in totals.into_iter().enumerate() {
                let shown = &mut self.shown[index][result];
                self.canary[index][result].increment(total.saturating_sub(*shown));
                *shown = total;
            }
            for (gauge, (quantile, _)) in self.latency[index].iter().zip(LATENCIES) {
                gauge.set(arm.latency.quantile(quantile) as f64 * 1e-9);
            }
        }
    }

    /// The workers' counts begin at zero again.
    pub(crate) fn step_is_over(&mut self, tally: &Tally) {
        self.show(tally);
        self.shown = [[0; 2]; 2];
    }
}
