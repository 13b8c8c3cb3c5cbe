use sluicegate_sdk::{
    Load, Rng, Signal,
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

#[test]
fn whoever_is_picked_has_the_least_load_whatever_the_weights() {
    let mut rng = Rng::new(7);
    for count in 1..200 {
        let weights: Vec<u32> = (0..count).map(|_| 1 + rng.below(5)).collect();
        let in_flight: Vec<u64> = (0..count).map(|_| u64::from(3 + rng.below(20))).collect();
        let picked = harness(&weights, &in_flight).pick().unwrap() as usize;
        let load = |place: usize| Load::new(in_flight[place] as u32, weights[place]);
        let least = (0..count as usize).map(load).min().unwrap();
        assert_eq!(load(picked), least, "{weights:?} {in_flight:?}: {picked}");
    }
}

#[test]
fn equals_in_other_blocks_are_equally_likely() {
    let mut in_flight = [9; 130];
    for index in [0, 1, 70, 129] {
        in_flight[index] = 1;
    }
    let mut weights = [2; 130];
    weights[50] = 3;
    for weights in [[1; 130], weights] {
        let counts = harness(&weights, &in_flight).counts(8000);
        assert!([0, 1, 70, 129].iter().all(|index| counts[*index].abs_diff(2000) < 200), "{counts:?}");
    }
}

#[test]
fn a_retry_is_as_fair() {
    let mut harness = harness(&[1, 1, 1, 2], &[0, 3, 3, 7]);
    let mut counts = [0; 4];
    for _ in 0..1000 {
        let mut request = SimRequest::get("/");
        let been: Vec<u32> = (0..2).map(|_| harness.send(&mut request).unwrap().index).collect();
        assert_eq!(been[0], 0);
        counts[been[1] as usize] += 1;
        (0..).zip([0, 3, 3, 7]).for_each(|(index, value)| harness.set(index, Signal::InFlight, value));
    }
    assert!(counts[1..].iter().all(|count: &u32| count.abs_diff(333) < 80), "{counts:?}");
}
