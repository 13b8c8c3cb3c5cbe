use std::time::Duration;

use sluicegate_sdk::{
    Outcome, Signal,
    harness::{Attempt, Harness, SimCluster, SimRequest, check_promises},
};

use crate::PeakEwmaPolicy;

fn harness(cluster: SimCluster) -> Harness<PeakEwmaPolicy> {
    Harness::new("{}", cluster).unwrap()
}

/// Sends requests until one gets to this endpoint; the others go nowhere.
fn send_to(harness: &mut Harness<PeakEwmaPolicy>, index: u32) -> Attempt {
    let others = |cluster: &SimCluster| -> Vec<u64> {
        (0..).zip(cluster.iter()).filter(|(other, _)| *other != index).map(|(_, endpoint)| endpoint.id()).collect()
    };
    let mut request = others(harness.cluster()).into_iter().fold(SimRequest::get("/"), SimRequest::tried);
    harness.send(&mut request).unwrap()
}

fn answer(harness: &mut Harness<PeakEwmaPolicy>, index: u32, milliseconds: u64, outcome: Outcome, status: u32) {
    let attempt = send_to(harness, index);
    harness.advance(Duration::from_millis(milliseconds));
    harness.finish(attempt, outcome, status);
}

#[test]
fn promises() {
    check_promises::<PeakEwmaPolicy>("{}");
    check_promises::<PeakEwmaPolicy>(r#"{"choices": 8, "decay_ms": 1}"#);
}

#[test]
fn the_faster_of_two() {
    let mut harness = harness(SimCluster::of(2));
    answer(&mut harness, 0, 20, Outcome::Answered, 200);
    answer(&mut harness, 1, 5, Outcome::Answered, 200);
    assert_eq!(harness.counts(50), [0, 50]);
    // Four requests at the fast one, this included, are as long as one at the slow one.
    harness.set(1, Signal::InFlight, 2);
    assert_eq!(harness.counts(50), [0, 50]);
    harness.set(1, Signal::InFlight, 4);
    assert_eq!(harness.counts(50), [50, 0]);
}

#[test]
fn a_peak_counts_at_once_and_is_forgotten_with_time() {
    let mut harness = harness(SimCluster::of(2));
    answer(&mut harness, 0, 10, Outcome::Answered, 200);
    answer(&mut harness, 1, 10, Outcome::Answered, 200);
    answer(&mut harness, 1, 500, Outcome::Answered, 200);
    assert_eq!(harness.pick(), Some(0));
    // 500 ms need 39 s to fade to 10; the other one is kept at its 10 meanwhile.
    harness.advance(Duration::from_secs(45));
    answer(&mut harness, 0, 10, Outcome::Answered, 200);
    assert_eq!(harness.pick(), Some(1));
}

#[test]
fn what_fails_together_fails_once() {
    let mut harness = harness(SimCluster::of(2));
    answer(&mut harness, 0, 20, Outcome::Answered, 200);
    answer(&mut harness, 1, 5, Outcome::Answered, 200);
    let under_way: Vec<_> = (0..20).map(|_| send_to(&mut harness, 1)).collect();
    harness.advance(Duration::from_millis(10));
    under_way.into_iter().for_each(|attempt| harness.finish(attempt, Outcome::Broken, 0));
    assert_eq!(harness.pick(), Some(0));
    // 30 ms, and not as many times twice as have failed.
    harness.advance(Duration::from_secs(15));
    answer(&mut harness, 0, 20, Outcome::Answered, 200);
    assert_eq!(harness.pick(), Some(1));
}

#[test]
fn errors_are_not_fast() {
    for (outcome, status) in
        [(Outcome::Answered, 503), (Outcome::ConnectFailed, 0), (Outcome::Broken, 200), (Outcome::TimedOut, 0)]
    {
        let mut harness = harness(SimCluster::of(2));
        answer(&mut harness, 0, 20, Outcome::Answered, 200);
        // Seen for the first time, and later.
        answer(&mut harness, 1, 1, outcome, status);
        assert_eq!(harness.pick(), Some(0), "{outcome:?}");
        answer(&mut harness, 0, 50, Outcome::Answered, 200);
        answer(&mut harness, 1, 1, outcome, status);
        assert_eq!(harness.pick(), Some(0), "{outcome:?}");
    }
}

#[test]
fn a_client_that_leaves_early_says_nothing_and_one_that_waits_says_something() {
    let mut harness = harness(SimCluster::of(2));
    answer(&mut harness, 0, 20, Outcome::Answered, 200);
    answer(&mut harness, 1, 20, Outcome::Answered, 200);
    answer(&mut harness, 0, 300, Outcome::Cancelled, 0);
    answer(&mut harness, 1, 1, Outcome::Cancelled, 0);
    assert_eq!(harness.pick(), Some(1));
}

#[test]
fn an_endpoint_that_nobody_knows_is_tried_by_one_request_at_a_time() {
    let mut harness = harness(SimCluster::of(2));
    answer(&mut harness, 0, 20, Outcome::Answered, 200);
    let first = harness.send(&mut SimRequest::get("/")).unwrap();
    assert_eq!(first.index, 1);
    assert_eq!(harness.counts(20), [20, 0]);
    harness.advance(Duration::from_millis(1));
    harness.finish(first, Outcome::Answered, 200);
    assert_eq!(harness.counts(20), [0, 20]);
}

#[test]
fn what_other_workers_have_seen_counts_for_who_has_seen_nothing() {
    let mut harness = harness(SimCluster::of(2));
    harness.set(0, Signal::LatencyUs, 9000);
    harness.set(1, Signal::LatencyUs, 4000);
    harness.set(1, Signal::InFlight, 1);
    assert_eq!(harness.counts(20), [0, 20]);
}

#[test]
fn a_weight_is_worth_that_much_latency() {
    let mut harness = harness(SimCluster::of_weights(&[1, 4]));
    harness.set(0, Signal::LatencyUs, 2000);
    harness.set(1, Signal::LatencyUs, 7000);
    assert_eq!(harness.counts(20), [0, 20]);
    harness.set(1, Signal::LatencyUs, 9000);
    assert_eq!(harness.counts(20), [20, 0]);
}

#[test]
fn what_it_knows_outlives_a_swap() {
    let mut before = harness(SimCluster::of(2));
    answer(&mut before, 0, 20, Outcome::Answered, 200);
    answer(&mut before, 1, 5, Outcome::Answered, 200);
    before.set(0, Signal::LatencyUs, 0);
    before.set(1, Signal::LatencyUs, 0);
    let (mut after, restored) = before.swap::<PeakEwmaPolicy>(r#"{"decay_ms": 20000}"#).unwrap();
    assert_eq!(restored, Ok(()));
    assert_eq!(after.counts(20), [0, 20]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |config: &str| Harness::<PeakEwmaPolicy>::new(config, SimCluster::of(1)).unwrap_err().to_string();
    assert_eq!(refused(r#"{"decay_ms": 0}"#), "`decay_ms`: 0 is not from 1 to 3600000");
    assert_eq!(refused(r#"{"choices": 9}"#), "`choices`: 9 is not from 1 to 8");
}
