//! Consistent hashing with bounded loads: each key belongs to one endpoint, unless that one has more than its share.
//!
//! Keys and endpoints are on ketama's circle ([`Ring`]). A request goes to the first endpoint clockwise that has room: no
//! endpoint takes more than `1 + epsilon` times its share, by weight, of all requests in flight (Mirrokni, Thorup and
//! Zadimoghaddam, "Consistent Hashing with Bounded Loads", SODA 2018, section 1.1; deployed as HAProxy's
//! `hash-balance-factor`). So a popular key spreads over as many endpoints as it needs, always the same ones in the same
//! order, and all other keys stay where they are. A smaller epsilon is more even and moves more.
//!
//! The paper knows all loads at any time. Here the requests in flight are counted by the proxy, for all workers
//! together, and their sum is followed block by block: each pick reads one block of 64 endpoints anew, so that the
//! sum is exact with up to 64 endpoints and, with more, as old as this worker's last `endpoints / 64` picks. After a
//! walk of many full endpoints in a row, all are read and the least loaded gets the request: a pick stays bounded,
//! too.

use serde::Deserialize;
use sluicegate_sdk::{ConfigError, Endpoints, LoadBound, Pick, Policy, Request, Ring, Rng, Setup, Tried, export};

/// What can be configured.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct BoundedLoadConfig {
    /// How much more than its share an endpoint may have: 0.25 is a quarter more.
    #[serde(default = "quarter")]
    epsilon: f64,
    /// How many points on the circle an endpoint of average weight has.
    #[serde(default = "ketama")]
    points: u32,
}

fn quarter() -> f64 {
    0.25
}

fn ketama() -> u32 {
    Ring::POINTS
}

/// The policy.
#[derive(Clone, Debug)]
pub struct BoundedLoad {
    points: u32,
    steps: usize,
    rng: Rng,
    ring: Ring,
    bound: LoadBound,
}

impl Policy for BoundedLoad {
    type Config = BoundedLoadConfig;

    fn new(config: BoundedLoadConfig, setup: Setup) -> Result<Self, ConfigError> {
        let (epsilon, points) = (config.epsilon, 4..=10_000);
        if !(0.01..=100.0).contains(&epsilon) {
            return Err(ConfigError::at("epsilon", "has to be from 0.01 to 100"));
        }
        if !points.contains(&config.points) {
            return Err(ConfigError::out_of_range("points", config.points, points));
        }
        // Of `1 + epsilon` endpoints at most one is full, so a walk sees `(1 + epsilon) / epsilon` of them on average;
        // hardly one is eight times as long.
        let steps = (8.0 * (1.0 + epsilon) / epsilon).max(16.0) as usize;
        let (ring, bound) = (Ring::default(), LoadBound::new(1.0 + epsilon));
        Ok(Self { points: config.points, steps, rng: Rng::new(setup.seed), ring, bound })
    }

    fn endpoints_changed(&mut self, endpoints: &Endpoints, _now: u64) {
        self.ring.follow(endpoints, self.points);
        self.bound.follow(endpoints);
    }

    fn pick(&mut self, request: &Request, endpoints: &Endpoints) -> Pick {
        self.bound.read_next(endpoints);
        let tried = request.tried();
        let hash = request.hash_or_random(&mut self.rng);
        if let Some(index) = self.first_with_room(hash, endpoints, &tried) {
            return Pick::index(index);
        }
        self.bound.read_all(endpoints);
        endpoints.least_loaded().into()
    }
}

impl BoundedLoad {
    fn first_with_room(&self, hash: u64, endpoints: &Endpoints, tried: &Tried) -> Option<u32> {
        let mut last = None;
        for index in self.ring.clockwise(hash).take(self.steps) {
            // An endpoint often has several points side by side.
            if last.replace(index) == Some(index) || tried.contains(index) {
                continue;
            }
            if self.bound.has_room(&endpoints.get(index)?) {
                return Some(index);
            }
        }
        None
    }
}

export!(BoundedLoad);

#[cfg(test)]
mod tests;
