use sluicegate_sdk::harness::{Harness, SimCluster, SimRequest, check_promises};

use crate::Random;

fn harness(weights: &[u32]) -> Harness<Random> {
    Harness::new("{}", SimCluster::of_weights(weights)).unwrap()
}

#[test]
fn promises() {
    check_promises::<Random>("{}");
}

#[test]
fn shares_are_what_the_weights_say() {
    let counts = harness(&[1, 2, 7]).counts(10_000);
    let expected = [1000, 2000, 7000];
    assert!(counts.iter().zip(expected).all(|(count, share)| count.abs_diff(share) < 200), "{counts:?}");
}

#[test]
fn a_retry_goes_elsewhere_and_minds_the_weights_too() {
    let mut harness = harness(&[1, 3, 1]);
    let been = SimRequest::get("/").tried(harness.cluster()[0].id());
    let second = (0..1000).filter(|_| harness.pick_for(&been) == Some(1)).count();
    assert!((700..800).contains(&second), "{second}");
    let everywhere = harness.cluster().iter().fold(been, |been, endpoint| been.tried(endpoint.id()));
    assert_eq!(harness.pick_for(&everywhere), None);
}

#[test]
fn it_follows_the_endpoints() {
    let mut harness = harness(&[]);
    assert_eq!(harness.pick(), None);
    harness.change(|cluster| *cluster = SimCluster::of(2));
    assert!(harness.counts(100).iter().all(|count| *count > 20));
}
