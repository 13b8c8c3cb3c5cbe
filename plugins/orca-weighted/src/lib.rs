//! Weighted round robin by what endpoints say of their own load.
//!
//! This is gRPC's `weighted_round_robin` (proposal A58, "`weighted_round_robin` LB policy", sections "Subchannel Weights" and
//! "LB Policy Config and Parameters"; Envoy's `client_side_weighted_round_robin`). An endpoint reports, in headers or
//! trailers of its responses (ORCA), how many requests a second it answers, how many of those are errors, and how busy
//! that makes it. What it could do if it were fully busy is its weight:
//!
//! ```text
//! weight = qps / (utilization + eps / qps * error_utilization_penalty)
//! ```
//!
//! Weights are looked at once in every update period, in the worker's own time; a pick takes the next turn
//! ([`stride`]) and looks at nothing. Weights that an endpoint has reported for less than the blackout period are not
//! believed yet, and those of the last report are forgotten after the expiration period. Who has none gets the mean of
//! the others; when fewer than two have one, all are taken in turn.
//!
//! What is here, and what is not:
//!
//! - **Utilization** is `application_utilization`, or else `cpu_utilization`: the first and the third step of proposal A114
//!   ("WRR Support for Custom Backend Metrics", section "Weight Calculation Logic"). Its second step takes metrics of any
//!   name, which the contract's signals do not have: whoever balances by something else reports that as
//!   `application_utilization`, as A114 recommends first.
//! - **Times are the updates'**: a policy sees the newest report at each update and not every report, so the blackout
//!   period begins with the newest report that the first update sees.
//! - **Weights of the configuration** are factors: gRPC has them a level above. This is what makes slow start and shared
//!   priorities work; where capacity is all that they would express, the reports express it better.

mod stride;

use std::time::Duration;

use serde::Deserialize;
use sluicegate_sdk::{
    ConfigError, Endpoints, PerEndpoint, Pick, Policy, Request, RestoreError, Rng, Setup, Signal, State, Timer, export,
};

use self::stride::Stride;

/// What can be configured: the parameters of A58, under their names, with their defaults.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct OrcaWeightedConfig {
    /// How long an endpoint has to report before its weight is used.
    #[serde(default = "ten_seconds")]
    blackout_period_ms: u64,
    /// How long a weight is used after the last report.
    #[serde(default = "three_minutes")]
    weight_expiration_period_ms: u64,
    /// How often weights are looked at: every 100 ms at most.
    #[serde(default = "second")]
    weight_update_period_ms: u64,
    /// What an endpoint that answers nothing but errors has on top of its utilization.
    #[serde(default = "one")]
    error_utilization_penalty: f64,
}

fn ten_seconds() -> u64 {
    10_000
}

fn three_minutes() -> u64 {
    180_000
}

fn second() -> u64 {
    1000
}

fn one() -> f64 {
    1.0
}

/// The policy.
#[derive(Clone, Debug)]
pub struct OrcaWeighted {
    blackout_ns: u64,
    expiration_ns: u64,
    update: Duration,
    penalty: f64,
    rng: Rng,
    known: PerEndpoint<Known>,
    // Room for the weights, so that an update allocates nothing.
    weights: Vec<f64>,
    turns: Stride,
}

/// What an endpoint has said. Times are in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Requests a second at full utilization; 0 before the first report that says so.
    weight: f64,
    last_updated: u64,
    non_empty_since: Option<u64>,
}

const MS: u64 = 1_000_000;
const HOUR_MS: u64 = 3_600_000;

impl Policy for OrcaWeighted {
    type Config = OrcaWeightedConfig;

    fn new(config: OrcaWeightedConfig, setup: Setup) -> Result<Self, ConfigError> {
        for (key, value, least) in [
            ("blackout_period_ms", config.blackout_period_ms, 0),
            ("weight_expiration_period_ms", config.weight_expiration_period_ms, 1),
            ("weight_update_period_ms", config.weight_update_period_ms, 100),
        ] {
            if !(least..=HOUR_MS).contains(&value) {
                return Err(ConfigError::out_of_range(key, value, least..=HOUR_MS));
            }
        }
        let penalty = config.error_utilization_penalty;
        if !(0.0..=1000.0).contains(&penalty) {
            return Err(ConfigError::at("error_utilization_penalty", "has to be from 0 to 1000"));
        }
        setup.needs_load_reports();
        let mut rng = Rng::new(setup.seed);
        let turns = Stride::starting(rng.below(u32::MAX), rng.below(u32::from(u16::MAX)));
        Ok(Self {
            blackout_ns: config.blackout_period_ms * MS,
            expiration_ns: config.weight_expiration_period_ms * MS,
            update: Duration::from_millis(config.weight_update_period_ms),
            penalty,
            rng,
            known: PerEndpoint::default(),
            weights: Vec::new(),
            turns,
        })
    }

    fn endpoints_changed(&mut self, endpoints: &Endpoints, now: u64) {
        self.known.follow(endpoints, |_| Known::default());
        self.update_turns(endpoints, now);
    }

    fn pick(&mut self, request: &Request, endpoints: &Endpoints) -> Pick {
        if request.attempt() == 0 {
            return self.turns.next().into();
        }
        let tried = request.tried();
        let untried = (0..TURNS).filter_map(|_| self.turns.next()).find(|index| !tried.contains(*index));
        // Whoever is left has hardly any turns.
        untried.or_else(|| endpoints.sample(&mut self.rng, 1).next().map(|endpoint| endpoint.index())).into()
    }
}

/// How many turns a retry waits for one that is somebody else's.
const TURNS: u32 = 16;

impl Timer for OrcaWeighted {
    fn tick(&mut self, endpoints: &Endpoints, now: u64) -> Option<Duration> {
        self.read_reports(endpoints, now);
        self.update_turns(endpoints, now);
        Some(self.update)
    }
}

impl OrcaWeighted {
    /// A58's `UpdateWeight`, for the newest report of each endpoint.
    fn read_reports(&mut self, endpoints: &Endpoints, now: u64) {
        let (penalty, expiration_ns) = (self.penalty, self.expiration_ns);
        for (nth, known) in self.known.as_mut_slice().chunks_mut(Endpoints::BLOCK as usize).enumerate() {
            let start = nth as u32 * Endpoints::BLOCK;
            let read = |signal| {
                let mut values = [0; Endpoints::BLOCK as usize];
                endpoints.read_block(start, signal, |block| values[..block.len()].copy_from_slice(block));
                values
            };
            let ages = read(Signal::ReportAgeMs);
            if ages[..known.len()].iter().all(|age_ms| *age_ms == NEVER) {
                continue;
            }
            let (busy, requests) = (read(Signal::UtilizationPpm), read(Signal::RequestsMilliPerS));
            let errors = read(Signal::ErrorsMilliPerS);
            for ((known, age_ms), ((busy, requests), errors)) in
                known.iter_mut().zip(ages).zip(busy.into_iter().zip(requests).zip(errors))
            {
                let age_ns = u64::from(age_ms) * MS;
                // What is not said is 0, and says nothing.
                if age_ms == NEVER || age_ns >= expiration_ns || busy == 0 || requests == 0 {
                    continue;
                }
                let (requests, errors) = (f64::from(requests) / 1e3, f64::from(errors) / 1e3);
                known.weight = requests / (f64::from(busy) / 1e6 + errors / requests * penalty);
                known.last_updated = known.last_updated.max(now.saturating_sub(age_ns));
                known.non_empty_since.get_or_insert(known.last_updated);
            }
        }
    }

    /// The turns by the weights as they are now.
    fn update_turns(&mut self, endpoints: &Endpoints, now: u64) {
        let (blackout_ns, expiration_ns) = (self.blackout_ns, self.expiration_ns);
        let weight = |known: &mut Known| known.weight_at(now, blackout_ns, expiration_ns);
        self.weights.clear();
        self.weights.extend(self.known.as_mut_slice().iter_mut().map(weight));
        let (sum, count) = self
            .weights
            .iter()
            .filter(|weight| **weight > 0.0)
            .fold((0.0, 0_u32), |(sum, count), w| (sum + w, count + 1));
        for (weight, endpoint) in self.weights.iter_mut().zip(endpoints.iter()) {
            let reported = match count {
                0 | 1 => 1.0,
                _ if *weight > 0.0 => *weight,
                _ => sum / f64::from(count),
            };
            *weight = reported * f64::from(endpoint.weight());
        }
        self.turns.follow(&self.weights);
    }
}

/// What the age of a report is in a column when there is none.
const NEVER: u32 = u32::MAX;

impl Known {
    /// A58's `GetWeight`: 0 when there is none to be used.
    fn weight_at(&mut self, now: u64, blackout_ns: u64, expiration_ns: u64) -> f64 {
        let Some(since) = self.non_empty_since else { return 0.0 };
        if now.saturating_sub(self.last_updated) >= expiration_ns {
            self.non_empty_since = None;
            return 0.0;
        }
        if now.saturating_sub(since) < blackout_ns { 0.0 } else { self.weight }
    }
}

impl State for OrcaWeighted {
    /// Ids, weights in thousandths, and when they were reported last and first.
    type Saved = Vec<(u64, u64, u64, u64)>;
    const SCHEMA: u32 = 1;

    fn save(&self) -> Self::Saved {
        let saved = |(id, known): (u64, &Known)| {
            Some((id, (known.weight * 1e3) as u64, known.last_updated, known.non_empty_since?))
        };
        self.known.iter().filter_map(saved).collect()
    }

    fn restore(&mut self, saved: Self::Saved, _endpoints: &Endpoints) -> Result<(), RestoreError> {
        for (id, weight, last_updated, since) in saved {
            if let Some(known) = self.known.get_mut(id) {
                *known = Known { weight: weight as f64 / 1e3, last_updated, non_empty_since: Some(since) };
            }
        }
        // The first tick, which comes next, makes the turns.
        Ok(())
    }
}

export!(OrcaWeighted, timer, state);

#[cfg(test)]
mod tests;
