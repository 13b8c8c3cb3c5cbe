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
use sluicegate_sdk::{
    ConfigError, Endpoint, Endpoints, Load, Pick, Policy, Request, Ring, Rng, Setup, Signal, Tried, export,
};

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
    factor: f64,
    points: u32,
    steps: usize,
    rng: Rng,
    ring: Ring,
    in_flight: Sum,
    total_weight: f64,
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
        let (ring, in_flight) = (Ring::default(), Sum::default());
        let rng = Rng::new(setup.seed);
        Ok(Self { factor: 1.0 + epsilon, points: config.points, steps, rng, ring, in_flight, total_weight: 0.0 })
    }

    fn endpoints_changed(&mut self, endpoints: &Endpoints, _now: u64) {
        self.ring.follow(endpoints, self.points);
        self.in_flight = Sum::of(endpoints);
        self.total_weight = endpoints.iter().map(|endpoint| f64::from(endpoint.weight())).sum();
    }

    fn pick(&mut self, request: &Request, endpoints: &Endpoints) -> Pick {
        self.in_flight.read_next(endpoints);
        let tried = request.tried();
        let hash = request.hash_or_random(&mut self.rng);
        // With this request, so that an idle cluster has room for it.
        let share = self.factor * (self.in_flight.total + 1) as f64 / self.total_weight;
        if let Some(index) = self.first_with_room(hash, share, endpoints, &tried) {
            return Pick::index(index);
        }
        self.in_flight = Sum::of(endpoints);
        least_loaded(endpoints).into()
    }
}

impl BoundedLoad {
    fn first_with_room(&self, hash: u64, share: f64, endpoints: &Endpoints, tried: &Tried) -> Option<u32> {
        let mut last = None;
        for index in self.ring.clockwise(hash).take(self.steps) {
            // An endpoint often has several points side by side.
            if last.replace(index) == Some(index) || tried.contains(index) {
                continue;
            }
            let endpoint = endpoints.get(index)?;
            // Below the share that is rounded up is below the share that is not.
            if f64::from(endpoint.in_flight()) < share * f64::from(endpoint.weight()) {
                return Some(index);
            }
        }
        None
    }
}

#[cold]
fn least_loaded(endpoints: &Endpoints) -> Option<u32> {
    let mut least: Option<(Load, u32)> = None;
    endpoints.scan(Signal::InFlight, |index, in_flight| {
        let load = Load::new(in_flight, endpoints.get(index).as_ref().map_or(1, Endpoint::weight));
        if least.is_none_or(|(least, _)| load < least) {
            least = Some((load, index));
        }
    });
    least.map(|(_, index)| index)
}

/// The requests in flight to all endpoints, by block.
#[derive(Clone, Debug, Default)]
struct Sum {
    blocks: Vec<u64>,
    next: usize,
    total: u64,
}

impl Sum {
    fn of(endpoints: &Endpoints) -> Self {
        let starts = (0..endpoints.len()).step_by(Endpoints::BLOCK as usize);
        let blocks: Vec<u64> = starts.map(|start| sum_of_block(endpoints, start)).collect();
        Self { total: blocks.iter().sum(), next: 0, blocks }
    }

    #[inline]
    fn read_next(&mut self, endpoints: &Endpoints) {
        let Some(block) = self.blocks.get_mut(self.next) else { return };
        let sum = sum_of_block(endpoints, self.next as u32 * Endpoints::BLOCK);
        self.total = self.total - *block + sum;
        *block = sum;
        self.next = if self.next + 1 < self.blocks.len() { self.next + 1 } else { 0 };
    }
}

#[inline]
fn sum_of_block(endpoints: &Endpoints, start: u32) -> u64 {
    endpoints.read_block(start, Signal::InFlight, |counts| counts.iter().copied().map(u64::from).sum())
}

export!(BoundedLoad);

#[cfg(test)]
mod tests;
