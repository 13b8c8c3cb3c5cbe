//! Least request: of all endpoints, take the one with the fewest requests in flight for its weight.
//!
//! This is "join the shortest queue", which no policy beats that knows only the queues of equal servers (Winston,
//! "Optimality of the shortest line discipline", Journal of Applied Probability 14(1), 1977), as long as what it
//! sees is fresh. All workers share the counts of requests in flight, so it is.
//!
//! Among endpoints that are equally good each is equally likely: taking the first would send every request of an
//! idle cluster to the same endpoint. The request itself counts as load, so that an idle cluster whose weights differ
//! prefers the heaviest: weights stand for speed, and that is where the request is done first (the "shortest expected
//! delay" of the Linux Virtual Server).

use sluicegate_sdk::{ConfigError, Endpoints, Load, NoConfig, Pick, Policy, Request, Rng, Setup, Signal, export};

/// The policy.
#[derive(Clone, Debug)]
pub struct LeastRequest {
    rng: Rng,
    // Empty when all weights are equal: then the counts alone decide, and there is nothing to multiply.
    weights: Vec<u32>,
    best: Vec<u32>,
}

impl Policy for LeastRequest {
    type Config = NoConfig;

    fn new(_: NoConfig, setup: Setup) -> Result<Self, ConfigError> {
        Ok(Self { rng: Rng::new(setup.seed), weights: Vec::new(), best: Vec::new() })
    }

    fn endpoints_changed(&mut self, endpoints: &Endpoints, _now: u64) {
        self.weights = endpoints.iter().map(|endpoint| endpoint.weight()).collect();
        if self.weights.iter().all(|weight| *weight == self.weights[0]) {
            self.weights.clear();
        }
        self.best = Vec::with_capacity(endpoints.len() as usize);
    }

    fn pick(&mut self, request: &Request, endpoints: &Endpoints) -> Pick {
        if self.weights.is_empty() && request.attempt() == 0 {
            return self.least(endpoints).into();
        }
        if self.weights.is_empty() {
            let mut least = Least::new(&mut self.best);
            endpoints.scan(Signal::InFlight, |index, in_flight| least.offer(index, in_flight));
        } else {
            let mut least = Least::new(&mut self.best);
            endpoints.scan(Signal::InFlight, |index, in_flight| {
                least.offer(index, Load::new(in_flight, self.weights[index as usize]));
            });
        }
        let chosen = self.rng.below(self.best.len() as u32);
        self.best.get(chosen as usize).copied().into()
    }
}

impl LeastRequest {
    /// What nearly every request needs, with loops that compilers like: the smallest count of each block, how often
    /// it is there, and one of those places. Among equally good blocks, one is drawn by how many places it has
    /// (reservoir sampling: Vitter, "Random sampling with a reservoir", ACM TOMS 11(1), 1985).
    fn least(&mut self, endpoints: &Endpoints) -> Option<u32> {
        let (mut least, mut places, mut chosen) = (u32::MAX, 0, None);
        endpoints.scan_blocks(Signal::InFlight, |start, counts| {
            let smallest = counts.iter().copied().fold(u32::MAX, u32::min);
            if smallest > least {
                return;
            }
            let here = counts.iter().map(|count| u32::from(*count == smallest)).sum();
            places = if smallest < least { here } else { places + here };
            least = smallest;
            if here == places || self.rng.below(places) < here {
                let nth = self.rng.below(here) as usize;
                let mut equal = (start..).zip(counts).filter(|(_, count)| **count == smallest);
                chosen = equal.nth(nth).map(|(index, _)| index);
            }
        });
        chosen
    }
}

/// The smallest value so far, and everywhere it was seen.
struct Least<'a, T> {
    value: Option<T>,
    at: &'a mut Vec<u32>,
}

impl<'a, T: Ord> Least<'a, T> {
    fn new(at: &'a mut Vec<u32>) -> Self {
        at.clear();
        Self { value: None, at }
    }

    fn offer(&mut self, index: u32, value: T) {
        match &self.value {
            Some(least) if value > *least => return,
            Some(least) if value == *least => {}
            _ => {
                self.at.clear();
                self.value = Some(value);
            }
        }
        self.at.push(index);
    }
}

export!(LeastRequest);

#[cfg(test)]
mod tests;
