//! Of a few endpoints drawn at random, the least loaded one gets the request.
//!
//! A place to start from: change `pick`, and see `cargo doc --open --package sluicegate-sdk` for what a policy can
//! ask and learn.

use serde::Deserialize;
use sluicegate_sdk::{ConfigError, Endpoint, Endpoints, Pick, Policy, Request, Rng, Sample, Setup, export};

/// What an operator may configure: `policy = { file = "...", config = { choices = 3 } }`.
///
/// A key that is not here is refused, and so is a value of another type: the SDK tells the operator which.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// How many endpoints are looked at for each request.
    #[serde(default = "two")]
    choices: u32,
}

/// Two choices avoid most of the queueing that one choice causes, and every further one helps less.
fn two() -> u32 {
    2
}

/// The policy. Each of the proxy's workers has an instance of its own, so nothing is shared and nothing locked.
#[derive(Clone, Debug)]
pub struct LeastLoaded {
    choices: u32,
    rng: Rng,
}

impl Policy for LeastLoaded {
    type Config = Config;

    fn new(config: Config, setup: Setup) -> Result<Self, ConfigError> {
        let most = Sample::MAX_CHOICES;
        if !(1..=most).contains(&config.choices) {
            return Err(ConfigError::at("choices", format_args!("{} is not from 1 to {most}", config.choices)));
        }
        // The proxy gives every instance a seed: there is no other randomness, and no clock.
        Ok(Self { choices: config.choices, rng: Rng::new(setup.seed) })
    }

    // Called for every request, and again for every retry: `sample` leaves out where the request has been already.
    // With nobody left the answer is empty, and the proxy decides.
    fn pick(&mut self, _request: &Request, endpoints: &Endpoints) -> Pick {
        endpoints.least_of(&mut self.rng, self.choices, Endpoint::load).into()
    }
}

// Four hooks are optional, and named here, as in `export!(LeastLoaded, feedback)`: `feedback` (how requests went:
// implement `Feedback`), `state` (what it has learnt, for its next version: `State`), `timer` (a call now and then:
// `Timer`) and `probing` (what endpoints say of their load: `Probing`).
export!(LeastLoaded);

// The tests run natively: a harness calls the policy as the proxy does, with a simulated cluster around it.
#[cfg(test)]
mod tests {
    use sluicegate_sdk::{
        Signal,
        harness::{Harness, SimCluster},
    };

    use super::LeastLoaded;

    #[test]
    fn the_busiest_endpoint_is_left_alone() {
        let mut harness = Harness::<LeastLoaded>::new("{}", SimCluster::of(3)).unwrap();
        harness.set(2, Signal::InFlight, 5);
        let counts = harness.counts(1000);
        assert_eq!(counts[2], 0, "whoever is drawn beside it is better");
        assert!(counts[0] > 400 && counts[1] > 400, "{counts:?}");
    }

    #[test]
    fn more_choices_find_the_idle_one() {
        let mut harness = Harness::<LeastLoaded>::new(r#"{"choices": 3}"#, SimCluster::of(3)).unwrap();
        harness.set(0, Signal::InFlight, 1);
        harness.set(2, Signal::InFlight, 2);
        assert_eq!(harness.counts(100), [0, 100, 0]);
    }

    #[test]
    fn choices_that_make_no_sense_are_refused() {
        let error = Harness::<LeastLoaded>::new(r#"{"choices": 0}"#, SimCluster::of(3)).unwrap_err();
        assert_eq!(error.to_string(), "`choices`: 0 is not from 1 to 8");
    }
}
