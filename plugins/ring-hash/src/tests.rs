use sluicegate_sdk::{
    ConfigError,
    harness::{Harness, SimCluster, SimRequest, check_promises},
    mix,
};

use crate::RingHash;

fn harness(weights: &[u32]) -> Harness<RingHash> {
    Harness::new("{}", SimCluster::of_weights(weights)).unwrap()
}

fn homes(harness: &mut Harness<RingHash>) -> Vec<u64> {
    let request = |key| SimRequest::get("/").hash(mix(key));
    let picks: Vec<u32> = (1..=4000).map(|key| harness.pick_for(&request(key)).unwrap()).collect();
    picks.into_iter().map(|index| harness.cluster()[index as usize].id()).collect()
}

// What ketama promises, with the vectors of libmemcached, is tested where the ring is: in the SDK.

#[test]
fn promises() {
    check_promises::<RingHash>("{}");
    check_promises::<RingHash>(r#"{"points": 4}"#);
}

#[test]
fn shares_follow_the_weights() {
    let mut harness = harness(&[1, 1, 2, 4]);
    let homes = homes(&mut harness);
    let share = |index: usize| homes.iter().filter(|home| **home == harness.cluster()[index].id()).count() as f64;
    for (index, due) in [500.0, 500.0, 1000.0, 2000.0].into_iter().enumerate() {
        assert!((share(index) - due).abs() < due * 0.3, "{index}: {} of {due}", share(index));
    }
}

#[test]
fn only_the_keys_of_one_that_leaves_move_and_come_back() {
    let mut harness = harness(&[1; 30]);
    let before = homes(&mut harness);
    let gone = harness.cluster()[11].clone();
    harness.change(|cluster| drop(cluster.remove(11)));
    let without = homes(&mut harness);
    assert!(before.iter().zip(&without).all(|(before, after)| (before != after) == (*before == gone.id())));
    harness.change(|cluster| cluster.insert(0, gone));
    assert_eq!(homes(&mut harness), before);
}

#[test]
fn a_retry_goes_where_the_key_would_go_without_its_endpoint() {
    let mut all = harness(&[1; 6]);
    for key in 1..200 {
        let mut request = SimRequest::get("/").hash(mix(key));
        let first = all.send(&mut request).unwrap();
        let second = all.send(&mut request).unwrap();
        let mut others = all.clone();
        others.change(|cluster| drop(cluster.remove(first.index as usize)));
        let without = others.pick_for(&SimRequest::get("/").hash(mix(key))).unwrap();
        assert_eq!(others.cluster()[without as usize].id(), second.endpoint);
    }
}

#[test]
fn what_is_not_keyed_is_spread() {
    let counts = harness(&[1; 4]).counts(4000);
    assert!(counts.iter().all(|count| *count > 600), "{counts:?}");
}

#[test]
fn a_number_of_points_that_makes_no_sense_is_refused() {
    let refused = |config: &str| -> ConfigError { Harness::<RingHash>::new(config, SimCluster::of(1)).unwrap_err() };
    assert_eq!(refused(r#"{"points": 3}"#).to_string(), "`points`: 3 is not from 4 to 10000");
    assert_eq!(refused(r#"{"replicas": 3}"#).to_string(), "unknown key `replicas`: the only one is `points`");
}
