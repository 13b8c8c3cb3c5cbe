use proptest::prelude::*;
use sluicegate_sdk::{
    Setup,
    harness::{Harness, SimCluster, SimEndpoint, SimRequest, check_promises},
};

use crate::WeightedRoundRobin;

fn worker(worker: u32, workers: u32, weights: &[u32]) -> Harness<WeightedRoundRobin> {
    Harness::with_setup("{}", Setup { seed: 0, worker, workers }, SimCluster::of_weights(weights)).unwrap()
}

fn harness(weights: &[u32]) -> Harness<WeightedRoundRobin> {
    worker(0, 1, weights)
}

fn turns(harness: &mut Harness<WeightedRoundRobin>, count: u32) -> String {
    (0..count).map(|_| char::from(b'a' + harness.pick().unwrap() as u8)).collect()
}

#[test]
fn promises() {
    check_promises::<WeightedRoundRobin>("{}");
}

#[test]
fn published_sequences() {
    // From the description of NGINX's change, and twice round to see that it repeats.
    assert_eq!(turns(&mut harness(&[5, 1, 1]), 14), "aabacaaaabacaa");
    assert_eq!(turns(&mut harness(&[1, 1, 1]), 6), "abcabc");
    assert_eq!(turns(&mut harness(&[4, 2, 1]), 7), "abacaba");
}

#[test]
fn workers_start_at_their_own_places_of_the_same_sequence() {
    let round = "abacaba".repeat(3);
    let starts: Vec<String> = (0..7).map(|number| turns(&mut worker(number, 7, &[4, 2, 1]), 7)).collect();
    for turns in &starts {
        assert!(round.contains(turns.as_str()), "{starts:?}");
    }
    let first = |letter| starts.iter().filter(|turns| turns.starts_with(letter)).count();
    assert_eq!(['a', 'b', 'c'].map(first), [4, 2, 1], "together they begin as the weights say: {starts:?}");
}

#[test]
fn a_retry_goes_elsewhere_and_does_not_disturb_the_sequence_of_who_was_tried() {
    let mut harness = harness(&[5, 1, 1]);
    let mut request = SimRequest::get("/");
    assert_eq!(harness.send(&mut request).unwrap().index, 0);
    assert_eq!(harness.send(&mut request).unwrap().index, 1);
    assert_eq!(harness.send(&mut request).unwrap().index, 2);
    assert_eq!(harness.send(&mut request), None);
}

#[test]
fn what_was_gained_by_larger_weights_is_not_kept() {
    for picks in 0..60 {
        let mut harness = harness(&[10_000, 10_000, 10_000, 1_000]);
        turns(&mut harness, picks);
        harness.change(|cluster| cluster.iter_mut().for_each(|endpoint| *endpoint = endpoint.clone().weight(1)));
        let counts = harness.counts(40);
        assert!(counts.iter().all(|count| (7..=13).contains(count)), "after {picks}: {counts:?}");
    }
}

#[test]
fn who_joins_and_who_leaves_get_no_more_than_their_share() {
    let mut harness = harness(&[1; 4]);
    assert_eq!(turns(&mut harness, 3), "abc");
    harness.change(|cluster| {
        cluster.remove(3);
        cluster.push(SimEndpoint::new("10.9.9.9:80"));
    });
    let counts = harness.counts(8);
    assert_eq!(counts.iter().sum::<u32>(), 8);
    assert!(counts.iter().all(|count| (1..=3).contains(count)), "{counts:?}");
}

#[test]
fn a_swap_goes_on_where_the_sequence_was() {
    let mut before = harness(&[5, 1, 1]);
    assert_eq!(turns(&mut before, 3), "aab");
    let (mut after, restored) = before.swap::<WeightedRoundRobin>("{}").unwrap();
    assert_eq!(restored, Ok(()));
    assert_eq!(turns(&mut after, 7), "acaaaab");
}

proptest! {
    #[test]
    fn a_round_takes_everybody_as_often_as_the_weights_say(
        weights in proptest::collection::vec(1_u32..30, 1..12),
        before in 0_u32..50,
    ) {
        let mut harness = harness(&weights);
        harness.counts(before);
        prop_assert_eq!(harness.counts(weights.iter().sum()), weights);
    }

    #[test]
    fn other_workers_begin_close_to_the_sequence(
        weights in proptest::collection::vec(1_u32..30, 1..12),
        workers in 1_u32..5,
    ) {
        let counts = worker(workers - 1, workers, &weights).counts(weights.iter().sum());
        prop_assert!(counts.iter().zip(&weights).all(|(count, weight)| count.abs_diff(*weight) <= 2), "{:?}", counts);
    }

    #[test]
    fn turns_are_spread_out(weights in proptest::collection::vec(1_u32..30, 2..8), picks in 1_u32..200) {
        // Nobody is ever ahead of what its weight says by a whole turn for each of the others.
        let counts = harness(&weights).counts(picks);
        let total: u32 = weights.iter().sum();
        for (count, weight) in counts.iter().zip(&weights) {
            let due = f64::from(picks) * f64::from(*weight) / f64::from(total);
            prop_assert!((f64::from(*count) - due).abs() < weights.len() as f64, "{:?}", counts);
        }
    }
}
