//! Ring hashing: endpoints have points on a circle, and a key belongs to the endpoint whose point comes next.
//!
//! The circle is ketama's, as libmemcached makes it with weights: see [`Ring`] for the sources. When an endpoint joins or
//! leaves, only the keys beside its own points move. A retry goes on round the circle, to the next endpoint that the
//! request has not been to: where the key would be if the endpoints before were gone.

use serde::Deserialize;
use sluicegate_sdk::{ConfigError, Endpoints, Pick, Policy, Request, Ring, Rng, Setup, export};

/// What can be configured.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct RingHashConfig {
    /// How many points an endpoint of average weight has: more of them make shares more even. 160 is ketama's number,
    /// with which shares differ by about 8%. With more than [`Ring::MOST`] points in all, each endpoint has fewer.
    #[serde(default = "ketama")]
    points: u32,
}

fn ketama() -> u32 {
    Ring::POINTS
}

/// The policy.
#[derive(Clone, Debug)]
pub struct RingHash {
    points: u32,
    rng: Rng,
    ring: Ring,
}

impl Policy for RingHash {
    type Config = RingHashConfig;

    fn new(config: RingHashConfig, setup: Setup) -> Result<Self, ConfigError> {
        let possible = 4..=10_000;
        if !possible.contains(&config.points) {
            return Err(ConfigError::out_of_range("points", config.points, possible));
        }
        Ok(Self { points: config.points, rng: Rng::new(setup.seed), ring: Ring::default() })
    }

    fn endpoints_changed(&mut self, endpoints: &Endpoints, _now: u64) {
        self.ring.follow(endpoints, self.points);
    }

    fn pick(&mut self, request: &Request, endpoints: &Endpoints) -> Pick {
        let mut clockwise = self.ring.clockwise(request.hash_or_random(&mut self.rng));
        if request.attempt() == 0 {
            return clockwise.next().into();
        }
        let tried = request.tried();
        if tried.as_slice().len() as u32 == endpoints.len() {
            // Nobody is left, and thousands of points need not be looked at to see that.
            return Pick::DECLINE;
        }
        clockwise.find(|index| !tried.contains(*index)).into()
    }
}

export!(RingHash);

#[cfg(test)]
mod tests;
