use std::time::Duration;

use sluicegate_sdk::{
    ProbeResult, Setup, Signal,
    harness::{Harness, SimCluster, SimRequest, check_promises},
    native::Native,
};

use crate::Prequal;

/// Nothing happens by itself.
const QUIET: &str = r#"{"max_idle_ms": 60000}"#;

fn counter(harness: &Harness<Prequal>, name: &str) -> u64 {
    harness.world().counter(name).unwrap()
}

/// The endpoints say so of themselves: requests in flight and latency.
fn say(harness: &mut Harness<Prequal>, loads: &[(u64, u64)]) {
    for (index, (in_flight, latency_us)) in (0..).zip(loads) {
        harness.set(index, Signal::QueueDepth, *in_flight);
        harness.set(index, Signal::LatencyUs, *latency_us);
    }
}

/// A cluster of three, all of which the policy has just probed.
fn probed(config: &str, loads: &[(u64, u64)]) -> Harness<Prequal> {
    let mut harness = Harness::<Prequal>::new(config, SimCluster::of(loads.len() as u32)).unwrap();
    say(&mut harness, loads);
    harness.advance(Duration::from_millis(1));
    harness
}

/// The indexes in the pool, in the order in which they came.
fn pooled(harness: &Harness<Prequal>) -> Vec<u32> {
    harness.policy().pool.answers().iter().map(|answer| answer.index).collect()
}

#[test]
fn promises() {
    check_promises::<Prequal>("{}");
    check_promises::<Prequal>(
        r#"{"probe_rate": 0.5, "remove_rate": 0.25, "pool_size": 64, "q_rif": 0, "max_age_ms": 1, "max_idle_ms": 1}"#,
    );
}

#[test]
fn the_fastest_that_is_not_hot() {
    let mut harness = probed(QUIET, &[(2, 900), (2, 300), (2, 600)]);
    assert_eq!((pooled(&harness).len(), harness.pick()), (3, Some(1)));
    assert_eq!(counter(&harness, "fallbacks"), 0);
    // The quantile of 1, 1 and 9 is 9, and nobody is above it, until the pick before counts: the slow ones are next.
    let keeping = r#"{"max_idle_ms": 60000, "remove_rate": 0}"#;
    let mut harness = probed(keeping, &[(9, 100), (1, 300), (1, 600)]);
    assert_eq!(harness.pick(), Some(0));
    assert_eq!(harness.pick(), Some(1), "10 is hot");
    let mut harness = probed(r#"{"max_idle_ms": 60000, "q_rif": 0.5}"#, &[(9, 100), (1, 300), (1, 600)]);
    assert_eq!(harness.pick(), Some(1));
}

#[test]
fn the_least_busy_if_all_are_hot() {
    let mut harness = probed(r#"{"max_idle_ms": 60000, "q_rif": 0}"#, &[(3, 100), (1, 900), (2, 100)]);
    assert_eq!((harness.pick(), counter(&harness, "all_hot")), (Some(1), 1));
}

#[test]
fn what_is_sent_counts_before_it_is_probed() {
    let mut harness = probed(r#"{"max_idle_ms": 60000, "q_rif": 0, "remove_rate": 0}"#, &[(0, 100), (2, 100)]);
    let picks: Vec<u32> = (0..4).map(|_| harness.pick().unwrap()).collect();
    // At 2 and 2, the newer answer is taken.
    let [first, second] = [picks[2], picks[3]];
    assert_eq!((&picks[..2], first + second), (&[0, 0][..], 1), "{picks:?}");
}

/// The rate, the pool and `delta` of the paper, for several numbers of endpoints.
#[test]
fn published_reuse() {
    let uses = |count: u32| Harness::<Prequal>::new(QUIET, SimCluster::of(count)).unwrap().policy().uses;
    assert_eq!([uses(2), uses(16), uses(24)], [None; 3], "all that can be known has place");
    assert_eq!(uses(32), Some(4.0), "2 / (1/2 * 3 - 1)");
    assert!(uses(100).is_some_and(|uses| (uses - 2.0 / 1.52).abs() < 1e-9), "2 / (0.84 * 3 - 1)");
    let often = Harness::<Prequal>::new(r#"{"probe_rate": 5}"#, SimCluster::of(10_000)).unwrap().policy().uses;
    assert_eq!(often, Some(1.0), "never less than once");
}

#[test]
fn parts_of_a_use_are_drawn() {
    let mut harness = Harness::<Prequal>::new(QUIET, SimCluster::of(100)).unwrap();
    let mut policy = harness.policy().clone();
    let total: u32 = (0..10_000).map(|_| policy.draw_uses()).sum();
    assert!(total.abs_diff(13_158) < 200, "{total}");
    harness.change(|cluster| cluster.truncate(10));
    assert_eq!(harness.policy().clone().draw_uses(), u32::MAX);
}

#[test]
fn each_request_asks_at_random() {
    let mut harness = Harness::<Prequal>::new(QUIET, SimCluster::of(50)).unwrap();
    assert_eq!(harness.probes().count(), 3, "when it takes its seat");
    harness.pick();
    assert_eq!(harness.probes().count(), 6);
    harness.pick_for(&SimRequest::get("/").tried(harness.cluster()[0].id()));
    assert_eq!(harness.probes().count(), 6, "not for a retry");
    (0..400).for_each(|_| _ = harness.pick());
    let mut asked = vec![0_u32; 50];
    let ids: Vec<u64> = harness.cluster().iter().map(|endpoint| endpoint.id()).collect();
    harness.probes().for_each(|id| asked[ids.iter().position(|known| *known == id).unwrap()] += 1);
    assert!(asked.iter().all(|count| (8..50).contains(count)), "{asked:?}");
    let mut seldom = Harness::<Prequal>::new(r#"{"probe_rate": 0.25}"#, SimCluster::of(50)).unwrap();
    (0..8).for_each(|_| _ = seldom.pick());
    assert_eq!(seldom.probes().count(), 2 + 2, "one for four, and two to begin with");
}

#[test]
fn a_pool_that_is_nearly_empty_is_not_asked() {
    let mut harness = Harness::<Prequal>::new(QUIET, SimCluster::of(5)).unwrap();
    harness.set(2, Signal::InFlight, 9);
    let counts = harness.counts(50);
    assert_eq!((counts[2], counter(&harness, "fallbacks")), (0, 50), "the less loaded of two: {counts:?}");
}

#[test]
fn answers_grow_old_and_idle_time_brings_new_ones() {
    let mut harness = probed(QUIET, &[(0, 0); 3]);
    harness.advance(Duration::from_millis(1500));
    harness.pick();
    assert_eq!((pooled(&harness).len(), counter(&harness, "fallbacks")), (0, 1));
    let mut harness = probed("{}", &[(0, 0); 3]);
    harness.advance(Duration::from_millis(60_000));
    harness.pick();
    assert_eq!(counter(&harness, "fallbacks"), 0);
}

#[test]
fn the_oldest_and_the_worst_are_taken_out_in_turn() {
    let loads: Vec<(u64, u64)> = (0..8).map(|index| (0, 100 + index)).collect();
    let mut harness = probed(r#"{"probe_rate": 8, "q_rif": 1, "max_idle_ms": 60000}"#, &loads);
    let before = pooled(&harness);
    assert_eq!(before.len(), 8);
    harness.pick();
    assert_eq!(pooled(&harness), before[1..], "the oldest");
    let worst = *before[1..].iter().max().unwrap();
    harness.pick();
    let left: Vec<u32> = before[1..].iter().copied().filter(|index| *index != worst).collect();
    assert_eq!(pooled(&harness), left, "the slowest");
    (0..20).for_each(|_| _ = harness.pick());
    assert_eq!((pooled(&harness).len(), counter(&harness, "fallbacks")), (2, 0), "two stay");
}

#[test]
fn who_does_not_answer_leaves_the_pool() {
    let mut harness = probed(QUIET, &[(0, 300), (0, 100), (0, 200)]);
    harness.change(|cluster| cluster[1] = cluster[1].clone().silent());
    harness.pick();
    harness.advance(Duration::from_millis(2));
    assert!(!pooled(&harness).contains(&1) && counter(&harness, "failed_probes") >= 1);
    assert_ne!(harness.pick(), Some(1));
}

#[test]
fn answers_stay_with_their_endpoints() {
    let mut harness = probed(QUIET, &[(0, 300), (0, 100), (0, 200)]);
    harness.change(|cluster| cluster.reverse());
    assert_eq!(harness.pick(), Some(1));
    harness.change(|cluster| drop(cluster.remove(1)));
    let left = pooled(&harness);
    assert!(!left.is_empty() && left.iter().all(|index| *index < 2), "{left:?}");
    assert_ne!(harness.pick(), None);
}

#[test]
fn who_fails_at_once_is_avoided_and_tried_again_later() {
    let mut harness = probed(r#"{"max_idle_ms": 60000, "probe_rate": 3}"#, &[(3, 900), (3, 800), (0, 10)]);
    let mut failed = 0;
    let mut send = |harness: &mut Harness<Prequal>, requests: u64| {
        let mut counts = [0; 3];
        for _ in 0..requests {
            let picked = harness.pick().unwrap();
            counts[picked as usize] += 1;
            if picked == 2 {
                failed += 1;
                harness.set(2, Signal::Failures, failed);
            }
            harness.advance(Duration::from_millis(1));
        }
        counts[2]
    };
    assert!((1..=20).contains(&send(&mut harness, 500)), "what it takes to find out");
    // Nothing goes there, so nothing is known any more; and that is soon found out again.
    let trickle = send(&mut harness, 60_000);
    assert!((1..=60).contains(&trickle), "{trickle}");
}

#[test]
fn where_all_fail_they_are_as_good_as_each_other() {
    let mut harness = probed(QUIET, &[(0, 900), (0, 300), (0, 600)]);
    for failed in 1..20 {
        (0..3).for_each(|index| harness.set(index, Signal::Failures, 10 * failed));
        harness.pick();
        harness.advance(Duration::from_millis(1));
    }
    assert_eq!(harness.pick(), Some(1));
}

#[test]
fn what_an_endpoint_does_not_say_the_proxy_knows() {
    let mut cluster = SimCluster::of(2);
    let mut native = Native::<Prequal>::configure(QUIET, Setup::default()).unwrap();
    native.endpoints_changed(0, &cluster);
    let answer = |endpoint| ProbeResult { endpoint, ok: true, round_trip_us: 70, load: None, latency_us: None };
    native.on_probe(1, &answer(cluster[0].id()), &cluster);
    let known = native.policy().pool.answers()[0];
    assert_eq!((known.in_flight, known.latency_us), (0, 70));
    // The harness's own endpoints are changed through it only.
    let mut harness = Harness::<Prequal>::new(QUIET, cluster.clone()).unwrap();
    harness.set(1, Signal::InFlight, 5);
    harness.set(1, Signal::LatencyUs, 900);
    cluster = harness.cluster().clone();
    native.on_probe(2, &answer(cluster[1].id()), &cluster);
    let known = native.policy().pool.answers()[1];
    assert_eq!((known.in_flight, known.latency_us), (5, 900));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |config: &str| Harness::<Prequal>::new(config, SimCluster::of(1)).unwrap_err().to_string();
    assert_eq!(refused(r#"{"pool_size": 1}"#), "`pool_size`: 1 is not from 2 to 64");
    assert_eq!(refused(r#"{"probe_rate": 9}"#), "`probe_rate`: has to be from 0 to 8");
    assert_eq!(refused(r#"{"q_rif": 84}"#), "`q_rif`: has to be from 0 to 1");
    assert_eq!(refused(r#"{"max_age_ms": 0}"#), "`max_age_ms`: 0 is not from 1 to 60000");
}
