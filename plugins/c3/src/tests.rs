use std::time::Duration;

use sluicegate_sdk::{
    Outcome, Signal, State,
    harness::{Harness, SimCluster, SimRequest, check_promises},
};

use crate::C3;

fn harness(config: &str, weights: &[u32], latency_us: &[u64], in_flight: &[u64]) -> Harness<C3> {
    let mut harness = Harness::new(config, SimCluster::of_weights(weights)).unwrap();
    (0..).zip(latency_us).for_each(|(index, value)| harness.set(index, Signal::LatencyUs, *value));
    (0..).zip(in_flight).for_each(|(index, value)| harness.set(index, Signal::InFlight, *value));
    harness
}

fn pick(config: &str, latency_us: &[u64], in_flight: &[u64]) -> Option<u32> {
    harness(config, &vec![1; latency_us.len()], latency_us, in_flight).pick()
}

#[test]
fn promises() {
    check_promises::<C3>("{}");
    check_promises::<C3>(r#"{"choices": 8, "proxies": 65535, "alpha": 1}"#);
}

/// The example of the paper's section 3.1: an endpoint of 4 ms and one of 20 ms have the same score when the queue of the
/// fast one is the cube root of 5 times as long, not 5 times.
#[test]
fn queues_count_by_their_cubes() {
    assert_eq!(pick("{}", &[4000, 20_000], &[16, 9]), Some(0), "17^3 * 4 is less than 10^3 * 20");
    assert_eq!(pick("{}", &[4000, 20_000], &[17, 9]), Some(1), "18^3 * 4 is more");
    assert_eq!(pick("{}", &[20_000, 20_000, 4000], &[0, 0, 0]), Some(2));
}

#[test]
fn other_proxies_make_the_queue_longer() {
    assert_eq!(pick("{}", &[1000, 9000], &[1, 0]), Some(0), "2^3 * 1 is less than 9");
    assert_eq!(pick(r#"{"proxies": 2}"#, &[1000, 9000], &[1, 0]), Some(1), "3^3 * 1 is more");
}

#[test]
fn a_weight_is_worth_that_much() {
    assert_eq!(harness("{}", &[1, 3], &[1000, 2900], &[0, 0]).pick(), Some(1));
    assert_eq!(harness("{}", &[1, 3], &[1000, 3100], &[0, 0]).pick(), Some(0));
}

/// Sends a request to each of two endpoints, and ends the second.
fn after(outcome: Outcome, status: u32) -> Harness<C3> {
    let mut harness = harness("{}", &[1, 1], &[], &[]);
    for (milliseconds, outcome, status) in [(20, Outcome::Answered, 200), (1, outcome, status)] {
        let index = u64::from(milliseconds == 1);
        let other = harness.cluster()[1 - index as usize].id();
        let attempt = harness.send(&mut SimRequest::get("/").tried(other)).unwrap();
        harness.advance(Duration::from_millis(milliseconds));
        harness.finish(attempt, outcome, status);
    }
    harness
}

#[test]
fn it_learns_and_errors_are_not_fast() {
    assert_eq!(after(Outcome::Answered, 200).counts(20), [0, 20]);
    assert_eq!(after(Outcome::Answered, 500).counts(20), [20, 0]);
    assert_eq!(after(Outcome::ConnectFailed, 0).counts(20), [20, 0]);
}

#[test]
fn what_fails_together_fails_once() {
    let mut harness = harness(r#"{"choices": 8, "alpha": 1}"#, &[1, 1], &[0, 0], &[0, 0]);
    let under_way: Vec<_> = (0..40).map(|_| harness.send(&mut SimRequest::get("/")).unwrap()).collect();
    harness.advance(Duration::from_millis(10));
    under_way.into_iter().for_each(|attempt| harness.finish(attempt, Outcome::Broken, 0));
    let saved = harness.policy().save();
    assert!(saved.iter().all(|(_, response_us)| *response_us == 30_000), "{saved:?}");
}

#[test]
fn what_it_knows_outlives_a_swap() {
    let mut before = after(Outcome::Answered, 200);
    (0..2).for_each(|index| before.set(index, Signal::LatencyUs, 0));
    let (mut next, restored) = before.swap::<C3>("{}").unwrap();
    assert_eq!(restored, Ok(()));
    assert_eq!(next.counts(20), [0, 20]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |config: &str| Harness::<C3>::new(config, SimCluster::of(1)).unwrap_err().to_string();
    assert_eq!(refused(r#"{"alpha": 0}"#), "`alpha`: has to be from 0.001 to 1");
    assert_eq!(refused(r#"{"choices": 9}"#), "`choices`: 9 is not from 1 to 8");
    assert_eq!(refused(r#"{"proxies": 0}"#), "`proxies`: 0 is not from 1 to 65535");
}
