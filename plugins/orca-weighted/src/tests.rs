use std::time::Duration;

use sluicegate_sdk::{
    Signal,
    harness::{Harness, SimCluster, SimEndpoint, SimRequest, check_promises},
};

use crate::OrcaWeighted;

fn harness(config: &str, count: u32) -> Harness<OrcaWeighted> {
    Harness::new(config, SimCluster::of(count)).unwrap()
}

/// The endpoint reports: requests and errors a second, and utilization.
fn report(harness: &mut Harness<OrcaWeighted>, index: u32, qps: f64, eps: f64, utilization: f64) {
    harness.set(index, Signal::RequestsMilliPerS, (qps * 1e3) as u64);
    harness.set(index, Signal::ErrorsMilliPerS, (eps * 1e3) as u64);
    harness.set(index, Signal::UtilizationPpm, (utilization * 1e6) as u64);
    harness.set(index, Signal::ReportAgeMs, 0);
}

/// All report the same for so long, four times a second.
fn keep_reporting(harness: &mut Harness<OrcaWeighted>, reports: &[(f64, f64, f64)], seconds: u64) {
    for _ in 0..seconds * 4 {
        for (index, (qps, eps, utilization)) in (0..).zip(reports) {
            report(harness, index, *qps, *eps, *utilization);
        }
        harness.advance(Duration::from_millis(250));
    }
}

/// Whether the counts are what the weights say, to a request in fifty.
fn check_counts(harness: &mut Harness<OrcaWeighted>, weights: &[f64], what: &str) {
    let counts = harness.counts(6000);
    let total: f64 = weights.iter().sum();
    for (count, weight) in counts.iter().zip(weights) {
        assert!((f64::from(*count) - 6000.0 * weight / total).abs() < 120.0, "{what}: {counts:?} for {weights:?}");
    }
}

#[test]
fn promises() {
    check_promises::<OrcaWeighted>("{}");
    check_promises::<OrcaWeighted>(r#"{"blackout_period_ms": 0, "weight_update_period_ms": 100}"#);
}

#[test]
fn it_asks_for_reports() {
    assert!(harness("{}", 1).world().needs().load_reports);
}

/// `wrrLifeCycle` and its like in gRPC's tests: weights of 1 / 0.1 and 1 / 0.2.
#[test]
fn weights_are_requests_for_utilization() {
    let mut harness = harness("{}", 2);
    check_counts(&mut harness, &[1.0, 1.0], "nothing is known");
    keep_reporting(&mut harness, &[(1.0, 0.0, 0.1), (1.0, 0.0, 0.2)], 9);
    check_counts(&mut harness, &[1.0, 1.0], "in the blackout period");
    keep_reporting(&mut harness, &[(1.0, 0.0, 0.1), (1.0, 0.0, 0.2)], 3);
    check_counts(&mut harness, &[2.0, 1.0], "after it");
    keep_reporting(&mut harness, &[(4.0, 0.0, 0.1), (2.0, 0.0, 0.8)], 2);
    check_counts(&mut harness, &[40.0, 2.5], "other reports");
}

#[test]
fn errors_count_as_utilization() {
    // 10 / (0.5 + 5 / 10 * 1) is 10, 10 / 0.5 is 20.
    let reports = [(10.0, 5.0, 0.5), (10.0, 0.0, 0.5)];
    let mut normal = harness("{}", 2);
    keep_reporting(&mut normal, &reports, 12);
    check_counts(&mut normal, &[1.0, 2.0], "by default");
    let mut off = harness(r#"{"error_utilization_penalty": 0}"#, 2);
    keep_reporting(&mut off, &reports, 12);
    check_counts(&mut off, &[1.0, 1.0], "without");
    let mut hard = harness(r#"{"error_utilization_penalty": 3}"#, 2);
    keep_reporting(&mut hard, &reports, 12);
    check_counts(&mut hard, &[5.0, 20.0], "three times");
}

#[test]
fn who_reports_nothing_gets_the_mean() {
    let mut harness = harness("{}", 3);
    keep_reporting(&mut harness, &[(30.0, 0.0, 1.0)], 12);
    check_counts(&mut harness, &[1.0, 1.0, 1.0], "one report is none");
    keep_reporting(&mut harness, &[(30.0, 0.0, 1.0), (10.0, 0.0, 1.0)], 12);
    check_counts(&mut harness, &[30.0, 10.0, 20.0], "the mean of two");
    // A report that says nothing of use is none.
    keep_reporting(&mut harness, &[(30.0, 0.0, 1.0), (10.0, 0.0, 1.0), (10.0, 0.0, 0.0)], 12);
    check_counts(&mut harness, &[30.0, 10.0, 20.0], "a utilization of 0");
}

#[test]
fn what_was_said_long_ago_is_forgotten() {
    let mut harness = harness(r#"{"weight_expiration_period_ms": 20000}"#, 3);
    keep_reporting(&mut harness, &[(30.0, 0.0, 1.0), (10.0, 0.0, 1.0), (20.0, 0.0, 1.0)], 12);
    check_counts(&mut harness, &[3.0, 1.0, 2.0], "all are fresh");
    keep_reporting(&mut harness, &[(60.0, 0.0, 1.0), (20.0, 0.0, 1.0)], 25);
    check_counts(&mut harness, &[3.0, 1.0, 2.0], "the third has the mean again");
    keep_reporting(&mut harness, &[(60.0, 0.0, 1.0), (20.0, 0.0, 1.0), (10.0, 0.0, 1.0)], 9);
    check_counts(&mut harness, &[3.0, 1.0, 2.0], "another blackout period");
    keep_reporting(&mut harness, &[(60.0, 0.0, 1.0), (20.0, 0.0, 1.0), (10.0, 0.0, 1.0)], 3);
    check_counts(&mut harness, &[6.0, 2.0, 1.0], "after it");
    harness.advance(Duration::from_secs(30));
    check_counts(&mut harness, &[1.0, 1.0, 1.0], "nobody says anything any more");
}

#[test]
fn configured_weights_are_factors() {
    let mut harness = Harness::<OrcaWeighted>::new("{}", SimCluster::of_weights(&[1, 3])).unwrap();
    check_counts(&mut harness, &[1.0, 3.0], "nothing is known");
    keep_reporting(&mut harness, &[(10.0, 0.0, 0.5), (5.0, 0.0, 0.5)], 12);
    check_counts(&mut harness, &[2.0, 3.0], "reports");
}

#[test]
fn others_come_and_go_and_what_is_known_stays() {
    let mut harness = harness("{}", 2);
    keep_reporting(&mut harness, &[(30.0, 0.0, 1.0), (10.0, 0.0, 1.0)], 12);
    harness.change(|cluster| {
        cluster.reverse();
        cluster.push(SimEndpoint::new("10.0.1.1:80"));
    });
    check_counts(&mut harness, &[1.0, 3.0, 2.0], "the new one has the mean");
}

#[test]
fn a_swap_carries_over_what_is_known() {
    let mut harness = harness("{}", 2);
    keep_reporting(&mut harness, &[(30.0, 0.0, 1.0), (10.0, 0.0, 1.0)], 12);
    let (mut next, restored) = harness.swap::<OrcaWeighted>("{}").unwrap();
    assert_eq!(restored, Ok(()));
    check_counts(&mut next, &[3.0, 1.0], "without another blackout period");
}

#[test]
fn retries_go_elsewhere_however_light_that_is() {
    let mut harness = Harness::<OrcaWeighted>::new("{}", SimCluster::of_weights(&[1, 65_535])).unwrap();
    let heavy = harness.cluster()[1].id();
    assert!((0..100).all(|_| harness.pick_for(&SimRequest::get("/").tried(heavy)) == Some(0)));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |config: &str| Harness::<OrcaWeighted>::new(config, SimCluster::of(1)).unwrap_err().to_string();
    assert_eq!(
        refused(r#"{"weight_update_period_ms": 99}"#),
        "`weight_update_period_ms`: 99 is not from 100 to 3600000"
    );
    assert_eq!(
        refused(r#"{"weight_expiration_period_ms": 0}"#),
        "`weight_expiration_period_ms`: 0 is not from 1 to 3600000"
    );
    assert_eq!(
        refused(r#"{"error_utilization_penalty": -1}"#),
        "`error_utilization_penalty`: has to be from 0 to 1000"
    );
}
