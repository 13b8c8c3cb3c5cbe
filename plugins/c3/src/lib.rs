//! C3: of a few endpoints, take the one that ranks best by latency and the cube of its queue.
//!
//! This is the replica ranking of "C3: Cutting Tail Latency in Cloud Data Stores via Adaptive Replica Selection" (Suresh,
//! Canini, Schmid and Feldmann, NSDI 2015, section 3.1). An endpoint's score is
//!
//! ```text
//! R - 1/mu + q^3 * 1/mu        with q = 1 + outstanding * n + queue
//! ```
//!
//! where `R` is a moving average of its response times, `1/mu` one of its service times, `outstanding` the requests that
//! are on their way to it, `n` how many clients do the same at the same time, and `queue` the length of its queue as it
//! reports it. The cube keeps a fast endpoint from getting a long queue, which "shortest expected delay" would allow.
//!
//! What is here, and what is not:
//!
//! - **The ranking**, with the requests in flight of all workers as `outstanding`, and the number of proxies as `n`.
//! - **No reports.** Endpoints do not say how long they worked and how many requests wait, so `queue` is 0 and the service
//!   time is taken for the response time, which it is as long as nothing waits. The score is `q^3 * R` then.
//! - **No rate control** (section 3.2). Computing the rates would be deterministic, but a request that finds all
//!   endpoints above theirs has to wait, and a policy can't make a request wait. Circuit breakers and the retry budget do
//!   what they can.
//!
//! Errors do not look fast: see [`AttemptResult::latency_us`]. An endpoint of which this worker knows nothing begins with
//! what the proxy knows of it. Scores are for the endpoint's weight, which the paper does not have.

use serde::Deserialize;
use sluicegate_sdk::{
    AttemptResult, ConfigError, Endpoint, Endpoints, Ewma, Feedback, PerEndpoint, Pick, Policy, Request, RestoreError,
    Rng, Sample, Setup, Signal, State, export,
};

/// What can be configured.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct C3Config {
    /// How many proxies send to the same endpoints: the paper's `n`.
    #[serde(default = "one")]
    proxies: u32,
    /// How many endpoints are ranked, drawn at random, from 1 to [`Sample::MAX_CHOICES`]. Three is the number of replicas
    /// in the paper's evaluation.
    #[serde(default = "three")]
    choices: u32,
    /// What the newest answer counts in the average, more than 0 and up to 1. 0.9 is what the authors' implementation in
    /// Cassandra has.
    #[serde(default = "nine_tenths")]
    alpha: f64,
}

fn one() -> u32 {
    1
}

fn three() -> u32 {
    3
}

fn nine_tenths() -> f64 {
    0.9
}

/// The policy.
#[derive(Clone, Debug)]
pub struct C3 {
    proxies: f64,
    choices: u32,
    alpha: f64,
    rng: Rng,
    response_us: PerEndpoint<Ewma>,
    /// When each has failed last.
    failed_at: PerEndpoint<u64>,
}

impl Policy for C3 {
    type Config = C3Config;

    fn new(config: C3Config, setup: Setup) -> Result<Self, ConfigError> {
        let (proxies, choices) = (1..=65_535, 1..=Sample::MAX_CHOICES);
        if !proxies.contains(&config.proxies) {
            return Err(ConfigError::out_of_range("proxies", config.proxies, proxies));
        }
        if !choices.contains(&config.choices) {
            return Err(ConfigError::out_of_range("choices", config.choices, choices));
        }
        if !(0.001..=1.0).contains(&config.alpha) {
            return Err(ConfigError::at("alpha", "has to be from 0.001 to 1"));
        }
        let (rng, response_us) = (Rng::new(setup.seed), PerEndpoint::default());
        let C3Config { proxies, choices, alpha } = config;
        Ok(Self { proxies: f64::from(proxies), choices, alpha, rng, response_us, failed_at: PerEndpoint::default() })
    }

    fn endpoints_changed(&mut self, endpoints: &Endpoints, _now: u64) {
        self.response_us.follow(endpoints, |_| Ewma::new(self.alpha));
        self.failed_at.follow(endpoints, |_| 0);
    }

    fn pick(&mut self, _request: &Request, endpoints: &Endpoints) -> Pick {
        let Self { rng, choices, proxies, response_us, .. } = self;
        endpoints.least_of(rng, *choices, |endpoint| score(endpoint, &response_us[endpoint.index()], *proxies)).into()
    }
}

fn score(endpoint: &Endpoint, response_us: &Ewma, proxies: f64) -> f64 {
    let response_us = response_us.get().unwrap_or_else(|| endpoint.read(Signal::LatencyUs) as f64);
    let queue = 1.0 + f64::from(endpoint.in_flight()) * proxies;
    // Nothing takes no time at all: or a new endpoint would be the best whatever its queue.
    queue * queue * queue * response_us.max(1.0) / f64::from(endpoint.weight())
}

impl Feedback for C3 {
    fn on_result(&mut self, result: &AttemptResult, now: u64) {
        let Some(average) = self.response_us.get_mut(result.endpoint) else { return };
        if self.failed_at.get_mut(result.endpoint).is_some_and(|at| result.is_known_failure(at, now)) {
            return;
        }
        if let Some(response_us) = result.latency_us(average.get().unwrap_or(0.0)) {
            average.add(response_us.min(HOUR_US));
        }
    }
}

/// Failures double the average, which has to end somewhere.
const HOUR_US: f64 = 3.6e9;

impl State for C3 {
    /// Ids, and response times in whole microseconds.
    type Saved = Vec<(u64, u64)>;
    const SCHEMA: u32 = 1;

    fn save(&self) -> Self::Saved {
        self.response_us.iter().filter_map(|(id, average)| Some((id, average.get()? as u64))).collect()
    }

    fn restore(&mut self, saved: Self::Saved, _endpoints: &Endpoints) -> Result<(), RestoreError> {
        for (id, response_us) in saved {
            if let Some(average) = self.response_us.get_mut(id) {
                *average = Ewma::from((response_us as f64).min(HOUR_US), self.alpha);
            }
        }
        Ok(())
    }
}

export!(C3, feedback, state);

#[cfg(test)]
mod tests;
