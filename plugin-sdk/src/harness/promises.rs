//! What every policy keeps to, whatever it chooses by.

use std::time::Duration;

use super::{Harness, SimCluster, SimEndpoint, SimRequest};
use crate::{Outcome, Plugin, mix};

/// Takes a policy through what the proxy may do to it: nobody there, one endpoint, ten thousand, all of them replaced at
/// once, requests with and without a hash, every outcome, and retries until a request has been everywhere.
///
/// A policy that never means to decline passes this: it picks an endpoint as long as there is one that the request has
/// not been to and none after that, and it does the same when everything happens again.
///
/// ```
/// # use sluicegate_sdk::*;
/// # struct First;
/// # impl Policy for First {
/// #     type Config = NoConfig;
/// #     fn new(_: NoConfig, _: Setup) -> Result<Self, ConfigError> { Ok(Self) }
/// #     fn pick(&mut self, _: &Request, endpoints: &Endpoints) -> Pick { endpoints.candidates().next().into() }
/// # }
/// # export!(First);
/// sluicegate_sdk::harness::check_promises::<First>("{}");
/// ```
///
/// # Panics
///
/// When a promise is broken.
pub fn check_promises<P: Plugin>(config: &str) {
    let picks = picks::<P>(config);
    assert!(picks == self::picks::<P>(config), "the same calls give the same picks");
}

fn picks<P: Plugin>(config: &str) -> Vec<u32> {
    let mut harness = Harness::<P>::new(config, SimCluster::default()).expect("the configuration is right");
    let mut picks = Vec::new();
    for (age, count) in [0, 1, 2, 10_000, 65, 5, 0, 64, 3, 8].into_iter().enumerate() {
        harness.change(|cluster| *cluster = cluster_of(age, count));
        for number in 0..6 {
            let hash = if number == 0 { 0 } else { mix(number) };
            let mut request = SimRequest::get("/").hash(hash);
            for turn in 0..count.min(8) {
                let attempt = harness.send(&mut request).expect("there is an endpoint that was not tried");
                picks.push(attempt.index);
                harness.advance(Duration::from_millis(number + 1));
                let (outcome, status) = OUTCOMES[(turn as usize + number as usize) % OUTCOMES.len()];
                // One request in six stays in flight.
                if number != 5 {
                    harness.finish(attempt, outcome, status);
                }
            }
            if count <= 8 {
                assert_eq!(harness.pick_for(&request), None, "the request has been to all {count}");
            }
        }
    }
    picks
}

const OUTCOMES: [(Outcome, u32); 6] = [
    (Outcome::Answered, 200),
    (Outcome::Answered, 503),
    (Outcome::ConnectFailed, 0),
    (Outcome::Broken, 200),
    (Outcome::TimedOut, 0),
    (Outcome::Cancelled, 0),
];

/// Endpoints of many weights in three zones, none of which was there before.
fn cluster_of(age: usize, count: u32) -> SimCluster {
    let endpoint = |number: u32| {
        let address = format!("10.{age}.{}.{}:80", number / 256, number % 256);
        let weight = [1, 3, 65_535, 2][number as usize % 4];
        SimEndpoint::new(&address).weight(weight).zone(["a", "b", ""][number as usize % 3])
    };
    (0..count).map(endpoint).collect()
}
