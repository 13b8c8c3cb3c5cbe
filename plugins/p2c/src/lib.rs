//! The power of two choices: of a few endpoints drawn at random, take the least loaded.
//!
//! Two choices already make the longest queue exponentially shorter than one does, at the price of two looks
//! (Mitzenmacher, "The power of two choices in randomized load balancing", IEEE Transactions on Parallel and
//! Distributed Systems 12(10), 2001). Because each request looks at two endpoints of its own, workers that see the
//! same numbers do not run to the same endpoint together, as they do when all of them take the minimum.
//!
//! Load is the number of requests in flight, this one included, for the endpoint's weight. Weights stand for speed: of
//! two idle endpoints the heavier one is taken, since it is done first.

use serde::Deserialize;
use sluicegate_sdk::{ConfigError, Endpoint, Endpoints, Pick, Policy, Request, Rng, Sample, Setup, export};

/// What can be configured.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct P2cConfig {
    /// How many endpoints are looked at, from 1 to [`Sample::MAX_CHOICES`].
    #[serde(default = "two")]
    choices: u32,
}

fn two() -> u32 {
    2
}

/// The policy.
#[derive(Clone, Debug)]
pub struct P2c {
    choices: u32,
    rng: Rng,
}

impl Policy for P2c {
    type Config = P2cConfig;

    fn new(config: P2cConfig, setup: Setup) -> Result<Self, ConfigError> {
        let possible = 1..=Sample::MAX_CHOICES;
        if !possible.contains(&config.choices) {
            return Err(ConfigError::out_of_range("choices", config.choices, possible));
        }
        Ok(Self { choices: config.choices, rng: Rng::new(setup.seed) })
    }

    #[inline]
    fn pick(&mut self, _request: &Request, endpoints: &Endpoints) -> Pick {
        endpoints.least_of(&mut self.rng, self.choices, Endpoint::load).into()
    }
}

export!(P2c);

#[cfg(test)]
mod tests;
