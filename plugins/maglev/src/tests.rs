use proptest::prelude::*;
use sluicegate_sdk::{
    harness::{Harness, SimCluster, SimEndpoint, SimRequest, check_promises},
    mix,
};

use super::*;

fn harness(cluster: SimCluster) -> Harness<Maglev> {
    Harness::new("{}", cluster).unwrap()
}

/// Whose each place is, by id.
fn owners(harness: &Harness<Maglev>) -> Vec<u64> {
    harness.policy().table.iter().map(|index| harness.cluster()[*index as usize].id()).collect()
}

fn shares(harness: &Harness<Maglev>) -> Vec<u32> {
    let mut shares = vec![0; harness.cluster().len()];
    harness.policy().table.iter().for_each(|index| shares[*index as usize] += 1);
    shares
}

#[test]
fn promises() {
    check_promises::<Maglev>("{}");
    check_promises::<Maglev>(r#"{"table_size": 7}"#);
}

/// The example of the paper's table 1: permutations of three backends over seven places, all three and without B1.
#[test]
fn published_vectors() {
    let permutations = || [(3, 4), (0, 2), (3, 1)].map(|(next, step)| Permutation { next, step });
    let written = permutations().map(|mut permutation| (0..7).map(|_| permutation.next(7)).collect::<Vec<u32>>());
    assert_eq!(written, [[3, 0, 4, 1, 5, 2, 6], [0, 2, 4, 6, 1, 3, 5], [3, 4, 5, 6, 0, 1, 2]]);
    let seats = |numbers: &[u32]| -> Vec<Seat> {
        numbers.iter().map(|number| Seat { id: u64::from(*number), weight: 1, index: *number }).collect()
    };
    let of = |numbers: &[u32]| {
        let chosen = permutations().into_iter().zip(0..).filter(|(_, number)| numbers.contains(number));
        claim_with(&seats(numbers), 7, chosen.map(|(permutation, _)| permutation).collect())
    };
    assert_eq!(of(&[0, 1, 2]), [1, 0, 1, 0, 2, 2, 0]);
    assert_eq!(of(&[0, 2]), [0, 0, 0, 0, 2, 2, 2]);
}

#[test]
fn everybody_has_the_same_share_to_a_place() {
    for count in [1, 2, 3, 100, 1000] {
        let shares = shares(&harness(SimCluster::of(count)));
        let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
        assert!(most - least <= 1, "{count}: {least} to {most}");
    }
}

/// Section 5.3 of the paper, with its smaller table: few places change hands beside those that have to.
#[test]
fn one_that_leaves_disturbs_few_others() {
    let mut harness = harness(SimCluster::of(100));
    let before = owners(&harness);
    let gone = harness.cluster()[42].id();
    harness.change(|cluster| drop(cluster.remove(42)));
    let after = owners(&harness);
    let lost = before.iter().filter(|id| **id == gone).count();
    let changed = before.iter().zip(&after).filter(|(before, after)| before != after && **before != gone).count();
    assert!((655..=656).contains(&lost), "{lost}");
    assert!(changed * 100 < before.len(), "{changed} places changed hands for nothing");
}

#[test]
fn the_order_of_the_configuration_does_not_matter() {
    let mut harness = harness(SimCluster::of_weights(&[3, 1, 2, 1]));
    let before = owners(&harness);
    harness.change(|cluster| cluster.reverse());
    assert_eq!(owners(&harness), before);
}

#[test]
fn a_key_stays_and_its_retries_go_the_same_way() {
    let mut harness = harness(SimCluster::of(5));
    let mut walk = |hash| {
        let mut request = SimRequest::get("/").hash(hash);
        (0..5).map(|_| harness.send(&mut request).unwrap().index).collect::<Vec<u32>>()
    };
    let walks: Vec<Vec<u32>> = (1..100).map(|key| walk(mix(key))).collect();
    for (key, before) in (1..100).zip(&walks) {
        assert_eq!(walk(mix(key))[..3], before[..3]);
    }
    let seconds = |first: u32| {
        let mut seconds: Vec<u32> = walks.iter().filter(|walk| walk[0] == first).map(|walk| walk[1]).collect();
        seconds.sort_unstable();
        seconds.dedup();
        seconds.len()
    };
    assert!((0..5).all(|first| seconds(first) > 2), "who has failed is relieved by all: {walks:?}");
}

#[test]
fn what_is_not_keyed_is_spread() {
    let counts = harness(SimCluster::of_weights(&[1, 3])).counts(4000);
    assert!(counts[0].abs_diff(1000) < 150, "{counts:?}");
}

#[test]
fn ten_thousand_of_any_weight_are_no_more_work() {
    let weights: Vec<u32> = (0..10_000).map(|number| if number == 0 { 65_535 } else { 1 }).collect();
    let shares = shares(&harness(SimCluster::of_weights(&weights)));
    assert!(shares[0] > 50_000, "{}", shares[0]);
}

#[test]
fn a_size_that_makes_no_sense_is_refused() {
    let refused = |size: u32| {
        let config = format!(r#"{{"table_size": {size}}}"#);
        Harness::<Maglev>::new(&config, SimCluster::of(1)).unwrap_err().to_string()
    };
    assert_eq!(refused(0), "`table_size`: 0 is not from 2 to 655373");
    assert_eq!(refused(5_000_011), "`table_size`: 5000011 is not from 2 to 655373");
    assert_eq!(refused(65_535), "`table_size`: 65535 is not prime: it is 3 * 21845");
    assert_eq!(refused(4), "`table_size`: 4 is not prime: it is 2 * 2");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn shares_are_what_the_weights_say(weights in proptest::collection::vec(1_u32..100, 1..20)) {
        let shares = shares(&harness(SimCluster::of_weights(&weights)));
        let total: u32 = weights.iter().sum();
        for (share, weight) in shares.iter().zip(&weights) {
            let due = f64::from(*weight) / f64::from(total) * 65_537.0;
            prop_assert!((f64::from(*share) - due).abs() < 2.0 + weights.len() as f64, "{:?}", shares);
        }
    }

    #[test]
    fn following_ends_where_a_new_table_begins(
        changes in proptest::collection::vec((0_u32..8, 1_u32..4), 1..6),
    ) {
        let mut followed = harness(SimCluster::of(4));
        for (number, weight) in changes {
            followed.change(|cluster| {
                let endpoint = SimEndpoint::new(&format!("10.0.0.{number}:80")).weight(weight);
                match cluster.iter().position(|other| other.id() == endpoint.id()) {
                    Some(index) if weight == 1 => drop(cluster.remove(index)),
                    Some(index) => cluster[index] = endpoint,
                    None => cluster.insert(0, endpoint),
                }
            });
        }
        let new = harness(followed.cluster().clone());
        prop_assert_eq!(owners(&followed), owners(&new));
    }
}
