use sluicegate_sdk::{
    Signal,
    harness::{Harness, SimCluster, SimRequest, check_promises},
};

use crate::P2c;

fn harness(config: &str, cluster: SimCluster) -> Harness<P2c> {
    Harness::new(config, cluster).unwrap()
}

#[test]
fn promises() {
    check_promises::<P2c>("{}");
    check_promises::<P2c>(r#"{"choices": 8}"#);
}

#[test]
fn the_less_loaded_of_two() {
    let mut harness = harness("{}", SimCluster::of(2));
    harness.set(0, Signal::InFlight, 3);
    assert_eq!(harness.counts(100), [0, 100]);
}

#[test]
fn the_worst_of_all_is_never_taken() {
    let mut harness = harness("{}", SimCluster::of(5));
    harness.set(4, Signal::InFlight, 1);
    let counts = harness.counts(10_000);
    assert_eq!(counts[4], 0, "whoever is drawn with it is better");
    assert!(counts[..4].iter().all(|count| count.abs_diff(2500) < 200), "{counts:?}");
}

#[test]
fn a_weight_is_worth_that_many_requests() {
    let mut harness = harness("{}", SimCluster::of_weights(&[1, 4]));
    harness.set(1, Signal::InFlight, 2);
    assert_eq!(harness.counts(100), [0, 100], "3/4 is less than 1/1");
    harness.set(1, Signal::InFlight, 4);
    assert_eq!(harness.counts(100), [100, 0], "5/4 is more");
}

#[test]
fn as_many_choices_as_endpoints_find_the_best() {
    let mut harness = harness(r#"{"choices": 8}"#, SimCluster::of(8));
    (0..8).filter(|index| *index != 6).for_each(|index| harness.set(index, Signal::InFlight, 1));
    assert_eq!(harness.counts(100)[6], 100);
}

#[test]
fn a_retry_goes_elsewhere_until_there_is_nowhere_to_go() {
    let mut harness = harness("{}", SimCluster::of(3));
    for _ in 0..100 {
        let mut request = SimRequest::get("/");
        let mut been: Vec<u32> = (0..3).map(|_| harness.send(&mut request).unwrap().index).collect();
        been.sort_unstable();
        assert_eq!(been, [0, 1, 2]);
        assert_eq!(harness.send(&mut request), None);
    }
}

#[test]
fn few_endpoints_are_no_problem() {
    assert_eq!(harness("{}", SimCluster::of(0)).pick(), None);
    assert_eq!(harness("{}", SimCluster::of(1)).pick(), Some(0));
}

#[test]
fn a_number_of_choices_that_makes_no_sense_is_refused() {
    for choices in [0, 9] {
        let config = format!(r#"{{"choices": {choices}}}"#);
        let error = Harness::<P2c>::new(&config, SimCluster::of(3)).unwrap_err();
        assert_eq!(error.to_string(), format!("`choices`: {choices} is not from 1 to 8"));
    }
}
