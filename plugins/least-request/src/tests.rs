use sluicegate_sdk::{
    Signal,
    harness::{Harness, SimCluster, SimRequest, check_promises},
};

use crate::LeastRequest;

fn harness(weights: &[u32], in_flight: &[u64]) -> Harness<LeastRequest> {
    let mut harness = Harness::new("{}", SimCluster::of_weights(weights)).unwrap();
    (0..).zip(in_flight).for_each(|(index, value)| harness.set(index, Signal::InFlight, *value));
    harness
}

#[test]
fn promises() {
    check_promises::<LeastRequest>("{}");
}

#[test]
fn the_idlest_of_all() {
    assert_eq!(harness(&[1; 4], &[3, 2, 1, 2]).counts(10), [0, 0, 10, 0]);
}

#[test]
fn the_idlest_is_found_in_any_block() {
    for idle in [0, 63, 64, 129] {
        let mut in_flight = [5; 130];
        in_flight[idle] = 4;
        assert_eq!(harness(&[1; 130], &in_flight).pick(), Some(idle as u32));
    }
}

#[test]
fn equals_are_equally_likely() {
    let counts = harness(&[1; 5], &[0, 9, 0, 9, 0]).counts(9000);
    assert_eq!((counts[1], counts[3]), (0, 0));
    assert!([0, 2, 4].iter().all(|index| counts[*index].abs_diff(3000) < 200), "{counts:?}");
}

#[test]
fn a_weight_is_worth_that_many_requests() {
    assert_eq!(harness(&[1, 4], &[0, 2]).pick(), Some(1), "3/4 is less than 1/1");
    assert_eq!(harness(&[1, 4], &[0, 4]).pick(), Some(0), "5/4 is more");
    let counts = harness(&[1, 2], &[0, 1]).counts(1000);
    assert!(counts[0].abs_diff(500) < 100, "2/2 is 1/1: {counts:?}");
}

#[test]
fn a_retry_goes_elsewhere_until_there_is_nowhere_to_go() {
    let mut harness = harness(&[1; 3], &[0, 5, 9]);
    let mut request = SimRequest::get("/");
    let been: Vec<u32> = (0..3).map(|_| harness.send(&mut request).unwrap().index).collect();
    assert_eq!(been, [0, 1, 2]);
    assert_eq!(harness.send(&mut request), None);
}

#[test]
fn nobody_there() {
    assert_eq!(harness(&[], &[]).pick(), None);
}

#[test]
fn requests_that_stay_spread_evenly() {
    let mut harness = harness(&[1, 3], &[]);
    for _ in 0..400 {
        let _ = harness.send(&mut SimRequest::get("/")).unwrap();
    }
    let in_flight: Vec<u64> = harness.cluster().iter().map(|endpoint| endpoint.read(Signal::InFlight)).collect();
    assert_eq!(in_flight, [100, 300]);
}
