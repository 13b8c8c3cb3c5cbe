//! Peak EWMA: of a few endpoints drawn at random, take the one with the least expected latency.
//!
//! The cost of an endpoint is a moving average of its latency, times the requests that it would have in flight with this
//! one. The average rises at once and falls slowly ([`PeakEwma`]): a slow answer keeps requests away before there are
//! many of them, and an endpoint that was slow and gets nothing becomes worth a try with time. This is Finagle's load
//! balancer of that name (`com.twitter.finagle.loadbalancer.PeakEwma`, whose decay time of 10 s and penalty for endpoints
//! that are not known are the defaults here), with the power of two choices, as in Finagle and in linkerd's proxy.
//!
//! Three things are not Finagle's. Errors come quickly, and do not look fast here: see [`AttemptResult::latency_us`].
//! Requests in flight are those of all workers, as the proxy counts them; averages are each worker's own, and begin
//! with the proxy's, so that a worker need not make every experience by itself. And the cost is for the endpoint's
//! weight.

use serde::Deserialize;
use sluicegate_sdk::{
    AttemptResult, ConfigError, Endpoint, Endpoints, Feedback, PeakEwma, PerEndpoint, Pick, Policy, Request,
    RestoreError, Rng, Sample, Setup, Signal, State, export,
};

/// What can be configured.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct PeakEwmaConfig {
    /// How long what was seen counts: after this time, for 37%.
    #[serde(default = "ten_seconds")]
    decay_ms: u32,
    /// How many endpoints are looked at, from 1 to [`Sample::MAX_CHOICES`].
    #[serde(default = "two")]
    choices: u32,
}

fn ten_seconds() -> u32 {
    10_000
}

fn two() -> u32 {
    2
}

/// The cost of an endpoint that is being tried for the first time: more than that of any that is known.
const PENALTY: f64 = (i64::MAX >> 16) as f64;

/// The policy.
#[derive(Clone, Debug)]
pub struct PeakEwmaPolicy {
    decay_ns: f64,
    choices: u32,
    rng: Rng,
    known: PerEndpoint<Known>,
    // When each has failed last; not among what is read for a pick.
    failed_at: PerEndpoint<u64>,
}

/// What is known of an endpoint.
#[derive(Clone, Copy, Debug)]
struct Known {
    latency_us: PeakEwma,
    // One over its weight: it is multiplied faster than divided.
    per_weight: f64,
}

impl Policy for PeakEwmaPolicy {
    type Config = PeakEwmaConfig;

    fn new(config: PeakEwmaConfig, setup: Setup) -> Result<Self, ConfigError> {
        let (decay, choices) = (1..=3_600_000, 1..=Sample::MAX_CHOICES);
        if !decay.contains(&config.decay_ms) {
            return Err(ConfigError::out_of_range("decay_ms", config.decay_ms, decay));
        }
        if !choices.contains(&config.choices) {
            return Err(ConfigError::out_of_range("choices", config.choices, choices));
        }
        let decay_ns = f64::from(config.decay_ms) * 1e6;
        let (rng, known) = (Rng::new(setup.seed), PerEndpoint::default());
        Ok(Self { decay_ns, choices: config.choices, rng, known, failed_at: PerEndpoint::default() })
    }

    fn endpoints_changed(&mut self, endpoints: &Endpoints, _now: u64) {
        let latency_us = PeakEwma::new(self.decay_ns);
        self.known.follow(endpoints, |_| Known { latency_us, per_weight: 1.0 });
        self.failed_at.follow(endpoints, |_| 0);
        for (known, endpoint) in self.known.as_mut_slice().iter_mut().zip(endpoints.iter()) {
            known.per_weight = 1.0 / f64::from(endpoint.weight());
        }
    }

    fn pick(&mut self, request: &Request, endpoints: &Endpoints) -> Pick {
        let Self { rng, choices, known, .. } = self;
        endpoints.least_of(rng, *choices, |endpoint| cost(endpoint, &known[endpoint.index()], request.now())).into()
    }
}

fn cost(endpoint: &Endpoint, known: &Known, now: u64) -> f64 {
    let in_flight = f64::from(endpoint.in_flight());
    let mut latency_us = known.latency_us.get(now);
    if latency_us == 0.0 {
        latency_us = endpoint.read(Signal::LatencyUs) as f64;
    }
    let cost = if latency_us == 0.0 && in_flight > 0.0 {
        // One request tries it, and the others wait for what that finds.
        PENALTY + in_flight
    } else {
        latency_us * (in_flight + 1.0)
    };
    cost * known.per_weight
}

impl Feedback for PeakEwmaPolicy {
    fn on_result(&mut self, result: &AttemptResult, now: u64) {
        let Some(Known { latency_us: average, .. }) = self.known.get_mut(result.endpoint) else { return };
        if self.failed_at.get_mut(result.endpoint).is_some_and(|at| result.is_known_failure(at, now)) {
            return;
        }
        if let Some(latency_us) = result.latency_us(average.get(now)) {
            average.add(latency_us.min(HOUR_US), now);
        }
    }
}

/// Doubling has to end somewhere.
const HOUR_US: f64 = 3.6e9;

/// The latency of an endpoint, in whole microseconds, and when that was.
type Learnt = (u64, u64, u64);

impl State for PeakEwmaPolicy {
    type Saved = Vec<Learnt>;
    const SCHEMA: u32 = 1;

    fn save(&self) -> Vec<Learnt> {
        let known = self.known.iter().map(|(id, known)| (id, known.latency_us.latest()));
        known.filter(|(_, (latency, _))| *latency >= 1.0).map(|(id, (latency, at))| (id, latency as u64, at)).collect()
    }

    fn restore(&mut self, saved: Vec<Learnt>, _endpoints: &Endpoints) -> Result<(), RestoreError> {
        for (id, latency_us, at) in saved {
            if let Some(known) = self.known.get_mut(id) {
                known.latency_us = PeakEwma::from((latency_us as f64).min(HOUR_US), at, self.decay_ns);
            }
        }
        Ok(())
    }
}

export!(PeakEwmaPolicy, feedback, state);

#[cfg(test)]
mod tests;
