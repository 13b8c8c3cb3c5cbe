use sluicegate_sdk::{
    Outcome, Signal,
    harness::{Harness, SimCluster, SimRequest, check_promises},
    mix,
};

use crate::BoundedLoad;

fn harness(config: &str, weights: &[u32]) -> Harness<BoundedLoad> {
    Harness::new(config, SimCluster::of_weights(weights)).unwrap()
}

fn keyed(key: u64) -> SimRequest {
    SimRequest::get("/").hash(mix(key))
}

fn in_flight(harness: &Harness<BoundedLoad>) -> Vec<u64> {
    harness.cluster().iter().map(|endpoint| endpoint.read(Signal::InFlight)).collect()
}

#[test]
fn promises() {
    check_promises::<BoundedLoad>("{}");
    check_promises::<BoundedLoad>(r#"{"epsilon": 0.01, "points": 4}"#);
}

/// The paper's promise: at any time, whatever the keys, nobody has more than `ceil((1 + epsilon) * m * share)`.
#[test]
fn nobody_ever_has_more_than_the_bound() {
    for (epsilon, config) in [(0.25, "{}"), (0.05, r#"{"epsilon": 0.05}"#), (1.0, r#"{"epsilon": 1}"#)] {
        let weights = [1, 1, 2, 4, 1, 1];
        let mut harness = harness(config, &weights);
        for sent in 1..=300_u32 {
            // One key in two is the popular one.
            let _ = harness.send(&mut keyed(u64::from(if sent % 2 == 0 { sent } else { 1 }))).unwrap();
            for (load, weight) in in_flight(&harness).into_iter().zip(weights) {
                let bound = ((1.0 + epsilon) * f64::from(sent) * f64::from(weight) / 10.0).ceil();
                assert!(load as f64 <= bound, "{load} of {sent} at weight {weight} and epsilon {epsilon}");
            }
        }
    }
}

#[test]
fn with_many_endpoints_the_sum_is_a_little_old_and_the_bound_still_nearly_kept() {
    let mut harness = harness("{}", &[1; 300]);
    for sent in 1..=3000 {
        let _ = harness.send(&mut keyed(sent % 40)).unwrap();
    }
    let most = *in_flight(&harness).iter().max().unwrap();
    assert!(most <= 14, "12.5 is the bound of 3,000 requests: {most}");
}

#[test]
fn a_key_stays_where_it_is_as_long_as_there_is_room() {
    let mut harness = harness("{}", &[1; 10]);
    let homes: Vec<u32> = (1..100).map(|key| harness.pick_for(&keyed(key)).unwrap()).collect();
    // Load everywhere: everybody has the same share.
    (0..10).for_each(|index| harness.set(index, Signal::InFlight, 20));
    assert!((1..100).zip(&homes).all(|(key, home)| harness.pick_for(&keyed(key)) == Some(*home)));
    // One is full: its keys go on, and the others stay.
    let full = homes[0];
    harness.set(full, Signal::InFlight, 30);
    for (key, home) in (1..100).zip(&homes) {
        assert_eq!(harness.pick_for(&keyed(key)) == Some(*home), *home != full);
    }
}

#[test]
fn a_popular_key_has_the_same_second_and_third_choice_every_time() {
    let mut harness = harness("{}", &[1; 10]);
    let mut overflow = || {
        let attempts: Vec<_> = (0..20).map(|_| harness.send(&mut keyed(5)).unwrap()).collect();
        let order: Vec<u32> = attempts.iter().map(|attempt| attempt.index).collect();
        attempts.into_iter().for_each(|attempt| harness.finish(attempt, Outcome::Answered, 200));
        order
    };
    assert_eq!(overflow(), overflow());
}

#[test]
fn when_all_nearby_are_full_the_least_loaded_is_found() {
    let mut harness = harness(r#"{"points": 4}"#, &[1; 400]);
    (0..400).filter(|index| *index != 77).for_each(|index| harness.set(index, Signal::InFlight, 100));
    // As many are full as the bound allows, and more: a worker whose sum is old sees that.
    harness.change(|_| {});
    (0..400).filter(|index| *index != 77).for_each(|index| harness.set(index, Signal::InFlight, 1000));
    assert_eq!(harness.pick_for(&keyed(3)), Some(77));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |config: &str| Harness::<BoundedLoad>::new(config, SimCluster::of(1)).unwrap_err().to_string();
    assert_eq!(refused(r#"{"epsilon": 0}"#), "`epsilon`: has to be from 0.01 to 100");
    assert_eq!(refused(r#"{"epsilon": -1.5}"#), "`epsilon`: has to be from 0.01 to 100");
    assert_eq!(refused(r#"{"points": 0}"#), "`points`: 0 is not from 4 to 10000");
}
