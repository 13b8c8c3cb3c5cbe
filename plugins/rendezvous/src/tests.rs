use proptest::prelude::*;
use sluicegate_sdk::{
    harness::{Harness, SimCluster, SimEndpoint, SimRequest, check_promises},
    mix,
};

use super::*;

fn harness(weights: &[u32]) -> Harness<Rendezvous> {
    Harness::new("{}", SimCluster::of_weights(weights)).unwrap()
}

/// The ids of the endpoints of these many keys.
fn homes(harness: &mut Harness<Rendezvous>, keys: u64) -> Vec<u64> {
    let request = |key| SimRequest::get("/").hash(mix(key));
    let picks: Vec<u32> = (1..=keys).map(|key| harness.pick_for(&request(key)).unwrap()).collect();
    picks.into_iter().map(|index| harness.cluster()[index as usize].id()).collect()
}

fn shares(harness: &mut Harness<Rendezvous>, keys: u64) -> Vec<u32> {
    let homes = homes(harness, keys);
    let share = |endpoint: &SimEndpoint| homes.iter().filter(|home| **home == endpoint.id()).count() as u32;
    harness.cluster().iter().map(share).collect()
}

#[test]
fn promises() {
    check_promises::<Rendezvous>("{}");
}

#[test]
fn shares_are_what_the_weights_say() {
    let shares = shares(&mut harness(&[1, 2, 2, 7]), 12_000);
    let expected = [1000, 2000, 2000, 7000];
    assert!(shares.iter().zip(expected).all(|(share, due)| share.abs_diff(due) < 200), "{shares:?}");
}

#[test]
fn equals_have_equal_shares() {
    let shares = shares(&mut harness(&[3; 10]), 10_000);
    assert!(shares.iter().all(|share| share.abs_diff(1000) < 150), "{shares:?}");
}

#[test]
fn a_retry_goes_where_the_key_would_go_without_its_endpoint() {
    let mut all = harness(&[1, 2, 3, 4]);
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
    let counts = harness(&[1, 3]).counts(4000);
    assert!(counts[0].abs_diff(1000) < 150, "{counts:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn only_the_keys_of_one_that_leaves_move(
        weights in proptest::collection::vec(1_u32..20, 2..20),
        gone in any::<proptest::sample::Index>(),
    ) {
        let mut harness = harness(&weights);
        let before = homes(&mut harness, 500);
        let gone = gone.index(weights.len());
        let id = harness.cluster()[gone].id();
        harness.change(|cluster| { cluster.remove(gone); cluster.reverse(); });
        let after = homes(&mut harness, 500);
        prop_assert!(before.iter().zip(&after).all(|(before, after)| (before != after) == (*before == id)));
    }

    #[test]
    fn a_heavier_endpoint_only_gains_keys(
        weights in proptest::collection::vec(1_u32..20, 2..20),
        grown in any::<proptest::sample::Index>(),
    ) {
        let mut harness = harness(&weights);
        let before = homes(&mut harness, 500);
        let grown = grown.index(weights.len());
        let id = harness.cluster()[grown].id();
        harness.change(|cluster| cluster[grown] = cluster[grown].clone().weight(weights[grown] * 2));
        let after = homes(&mut harness, 500);
        prop_assert!(before.iter().zip(&after).all(|(before, after)| before == after || *after == id));
    }
}
