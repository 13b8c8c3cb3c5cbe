//! Smooth weighted round robin: each endpoint in turn, as often as its weight says, and the turns of a heavy one
//! spread out.
//!
//! With weights of 5, 1 and 1 the turns are `a a b a c a a` instead of `a a a a a b c`. The algorithm is NGINX's
//! (Dounin, "Upstream: smooth weighted round-robin balancing", change 4622:c90801720a0c of 2012): at every pick each
//! endpoint gains its weight, the one that has most is taken, and it pays the sum of all weights. Any as many picks in
//! a row as all weights together take each endpoint exactly as often as its weight.
//!
//! Unlike NGINX's, weights do not sink when an endpoint fails: that is outlier detection's business here, and a
//! policy sees the result. Every worker goes round by itself, so each starts at its own place of the sequence, or they
//! would send their first requests to the heaviest endpoint together. A swap goes on where the sequence was.

use sluicegate_sdk::{
    ConfigError, Endpoints, NoConfig, PerEndpoint, Pick, Policy, Request, RestoreError, Setup, State, export,
};

/// The policy.
#[derive(Clone, Debug)]
pub struct WeightedRoundRobin {
    setup: Setup,
    // What each endpoint has gained and not yet paid for. The sum of all is about 0.
    credits: PerEndpoint<i64>,
    weights: Vec<i64>,
}

impl Policy for WeightedRoundRobin {
    type Config = NoConfig;

    fn new(_: NoConfig, setup: Setup) -> Result<Self, ConfigError> {
        Ok(Self { setup, credits: PerEndpoint::default(), weights: Vec::new() })
    }

    fn endpoints_changed(&mut self, endpoints: &Endpoints, _now: u64) {
        let first = self.weights.is_empty();
        self.weights = endpoints.iter().map(|endpoint| i64::from(endpoint.weight())).collect();
        self.credits.follow(endpoints, |_| 0);
        if first {
            start(self.credits.as_mut_slice(), &self.weights, self.setup);
        } else {
            self.bound();
        }
    }

    fn pick(&mut self, request: &Request, _endpoints: &Endpoints) -> Pick {
        if request.attempt() == 0 {
            return self.turn(|_| false).into();
        }
        let tried = request.tried();
        self.turn(|index| tried.contains(index)).into()
    }
}

impl WeightedRoundRobin {
    /// Nobody can be further off than by one round: not by one of other weights, which may have been a thousand times as
    /// large, as they are while an endpoint starts slowly.
    fn bound(&mut self) {
        let round: i64 = self.weights.iter().sum();
        let credits = self.credits.as_mut_slice();
        credits.iter_mut().for_each(|credit| *credit = (*credit).clamp(-round, round));
        level(credits);
    }

    /// The next turn. As in NGINX, endpoints that are left out neither gain nor count.
    fn turn(&mut self, left_out: impl Fn(u32) -> bool) -> Option<u32> {
        let (mut total, mut most, mut taken) = (0, i64::MIN, None);
        for ((credit, weight), index) in self.credits.as_mut_slice().iter_mut().zip(&self.weights).zip(0..) {
            if left_out(index) {
                continue;
            }
            *credit += weight;
            total += weight;
            if *credit > most {
                (most, taken) = (*credit, Some(index));
            }
        }
        if let Some(taken) = taken {
            self.credits[taken] -= total;
        }
        taken
    }
}

/// About where the sequence is after this worker's share of it: of `turns`, everybody has had the part that its weight
/// says, rounded down, and those who were rounded most one more.
fn start(credits: &mut [i64], weights: &[i64], setup: Setup) {
    let total: i64 = weights.iter().sum();
    let turns = total * i64::from(setup.worker) / i64::from(setup.workers.max(1));
    let mut had = 0;
    for (credit, weight) in credits.iter_mut().zip(weights) {
        had += turns * weight / total;
        *credit = turns * weight % total;
    }
    // Pairs of these types, as the SDK sorts them: the module has that code already.
    let mut most: Vec<(u64, u32)> = credits.iter().map(|credit| (total - credit) as u64).zip(0..).collect();
    most.sort_unstable();
    for (_, index) in most.into_iter().take((turns - had) as usize) {
        credits[index as usize] -= total;
    }
}

/// Who joins starts at 0, so 0 has to be the middle again when somebody has left with debts.
fn level(credits: &mut [i64]) {
    let middle = credits.iter().sum::<i64>() / (credits.len() as i64).max(1);
    credits.iter_mut().for_each(|credit| *credit -= middle);
}

impl State for WeightedRoundRobin {
    type Saved = Vec<(u64, i64)>;
    const SCHEMA: u32 = 1;

    fn save(&self) -> Self::Saved {
        self.credits.iter().map(|(id, credit)| (id, *credit)).collect()
    }

    fn restore(&mut self, saved: Self::Saved, _endpoints: &Endpoints) -> Result<(), RestoreError> {
        for (id, saved) in saved {
            if let Some(credit) = self.credits.get_mut(id) {
                *credit = saved;
            }
        }
        self.bound();
        Ok(())
    }
}

export!(WeightedRoundRobin, state);

#[cfg(test)]
mod tests;
