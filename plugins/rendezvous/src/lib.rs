//! Rendezvous hashing: every endpoint is ranked for a key, and the key belongs to the one that ranks highest.
//!
//! The ranks are hashes of key and endpoint (Thaler and Ravishankar, "Using name-based mappings to increase hit rates",
//! IEEE/ACM Transactions on Networking 6(1), 1998, section III). When an endpoint leaves, its keys go to whoever was
//! their second, so that they spread over all the others, and no other key moves: the least disruption there can be.
//! There is no table to keep, and a retry goes to the next in the key's own order.
//!
//! Weights take the logarithmic method (Schindelhauer and Schomaker, "Weighted distributed hash tables", SPAA 2005, section
//! 3): with the hash as a number `u` between 0 and 1, the one with the least `-ln(u) / weight` wins, each as often as
//! its weight says. Among endpoints of the same weight that is the one with the greatest hash, so one logarithm for
//! each different weight is enough.

use std::ops::Range;

use sluicegate_sdk::{ConfigError, Endpoints, NoConfig, Pick, Policy, Request, Rng, Setup, export, ln, mix};

/// The policy.
#[derive(Clone, Debug)]
pub struct Rendezvous {
    rng: Rng,
    // Those of the same weight side by side.
    ids: Vec<u64>,
    indexes: Vec<u32>,
    weights: Vec<(f64, Range<usize>)>,
}

impl Policy for Rendezvous {
    type Config = NoConfig;

    fn new(_: NoConfig, setup: Setup) -> Result<Self, ConfigError> {
        Ok(Self { rng: Rng::new(setup.seed), ids: Vec::new(), indexes: Vec::new(), weights: Vec::new() })
    }

    fn endpoints_changed(&mut self, endpoints: &Endpoints, _now: u64) {
        let mut sorted: Vec<(u32, u64, u32)> =
            endpoints.iter().map(|endpoint| (endpoint.weight(), endpoint.id(), endpoint.index())).collect();
        sorted.sort_unstable();
        self.ids = sorted.iter().map(|(_, id, _)| *id).collect();
        self.indexes = sorted.iter().map(|(_, _, index)| *index).collect();
        self.weights.clear();
        for equals in sorted.chunk_by(|one, other| one.0 == other.0) {
            let start = self.weights.last().map_or(0, |(_, range)| range.end);
            self.weights.push((f64::from(equals[0].0), start..start + equals.len()));
        }
    }

    fn pick(&mut self, request: &Request, _endpoints: &Endpoints) -> Pick {
        let key = request.hash_or_random(&mut self.rng);
        if request.attempt() == 0 {
            return self.highest(key, |_| false).into();
        }
        let tried = request.tried();
        self.highest(key, |index| tried.contains(index)).into()
    }
}

impl Rendezvous {
    fn highest(&self, key: u64, left_out: impl Fn(u32) -> bool) -> Option<u32> {
        let (mut least, mut highest) = (f64::INFINITY, None);
        for (weight, range) in &self.weights {
            let (mut greatest, mut place) = (0, None);
            for at in range.clone() {
                let rank = mix(key ^ self.ids[at]);
                if rank >= greatest && !left_out(self.indexes[at]) {
                    (greatest, place) = (rank, Some(at));
                }
            }
            let Some(place) = place else { continue };
            // With a single weight there is nothing to compare.
            let score = if self.weights.len() == 1 { 0.0 } else { -ln(fraction(greatest)) / weight };
            if score < least {
                (least, highest) = (score, Some(self.indexes[place]));
            }
        }
        highest
    }
}

/// A hash as a number between 0 and 1, and neither of them.
fn fraction(hash: u64) -> f64 {
    ((hash >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}

export!(Rendezvous);

#[cfg(test)]
mod tests;
