use proptest::prelude::*;

use super::*;
use crate::{AttemptResult, Outcome};

const SECOND: u64 = 1_000_000_000;

fn ids(count: u64) -> Vec<EndpointId> {
    (0..count).map(EndpointId).collect()
}

fn detector(endpoints: u64, spec: OutlierSpec) -> OutlierDetector {
    let mut detector = OutlierDetector::new(spec, 0);
    assert_eq!(detector.set_endpoints(&ids(endpoints)), None);
    detector
}

/// `+` a success, `5` another server error, `g` a gateway failure.
fn feed(detector: &mut OutlierDetector, endpoint: u64, attempts: &str, now: u64) -> Option<Ejection> {
    let verdict = |attempt| match attempt {
        '+' => Verdict::Success,
        '5' => Verdict::ServerError,
        _ => Verdict::GatewayFailure,
    };
    let ejections = attempts.chars().map(|attempt| detector.record(EndpointId(endpoint), verdict(attempt), now));
    ejections.collect::<Vec<_>>().into_iter().flatten().next()
}

fn fail(detector: &mut OutlierDetector, endpoint: u64, now: u64) -> Option<Ejection> {
    feed(detector, endpoint, "ggggg", now)
}

fn rates(detector: &mut OutlierDetector, percents: &[u64]) {
    for (endpoint, percent) in percents.iter().enumerate() {
        // Failures first and spread, so that no run is long enough.
        let attempt = |number: u64| if number * percent / 100 < (number + 1) * percent / 100 { '+' } else { '5' };
        feed(detector, endpoint as u64, &(0..100).map(attempt).collect::<String>(), 0);
    }
}

#[test]
fn runs_of_failures_eject() {
    let check = |attempts: &str, expected: Option<EjectionCause>| {
        let mut detector = detector(10, OutlierSpec::default());
        let ejection = feed(&mut detector, 3, attempts, 7);
        assert_eq!(ejection.map(|ejection| ejection.cause), expected, "{attempts}");
        assert_eq!(detector.is_ejected(EndpointId(3)), expected.is_some());
        assert_eq!(detector.ejected(), usize::from(expected.is_some()));
    };
    check("gggg", None);
    check("ggggg", Some(EjectionCause::GatewayFailures));
    check("55555", Some(EjectionCause::Failures));
    check("gg5gg", Some(EjectionCause::Failures));
    check("gggg+gggg", None);
    check("5555+g+gg+55", None);
}

#[test]
fn thresholds_are_apart_and_can_be_off() {
    let check = |gateway: u32, any: u32, attempts: &str, expected: bool| {
        let spec =
            OutlierSpec { consecutive_gateway_failures: gateway, consecutive_failures: any, ..OutlierSpec::default() };
        assert_eq!(feed(&mut detector(10, spec), 3, attempts, 7).is_some(), expected, "{attempts}");
    };
    check(2, 0, "5555g5g5", false);
    check(2, 0, "5555gg", true);
    check(0, 3, "ggg", true);
    check(0, 0, "gggggggggg", false);
}

#[test]
fn ejections_grow_longer_up_to_a_limit() {
    let mut detector = detector(10, OutlierSpec::default());
    let mut now = 0;
    for seconds in [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300] {
        let ejection = fail(&mut detector, 1, now).unwrap();
        assert_eq!(ejection.until, now + seconds * SECOND);
        assert_eq!(detector.sweep(ejection.until - 1).returned, []);
        now = ejection.until;
        assert_eq!(detector.sweep(now).returned, [EndpointId(1)]);
        assert!(!detector.is_ejected(EndpointId(1)));
    }
}

#[test]
fn whole_intervals_without_ejection_are_rewarded() {
    let check = |ejections: u64, intervals: u64, expected_seconds: u64| {
        let mut detector = detector(10, OutlierSpec::default());
        let mut now = 0;
        for _ in 0..ejections {
            now = fail(&mut detector, 1, now).unwrap().until;
            detector.sweep(now);
        }
        for _ in 0..intervals {
            now += 10 * SECOND;
            detector.sweep(now);
        }
        let ejection = fail(&mut detector, 1, now).unwrap();
        assert_eq!((ejection.until - now) / SECOND, expected_seconds, "{ejections} ejections, {intervals} intervals");
    };
    check(3, 0, 120);
    check(3, 1, 90);
    check(3, 2, 60);
    check(3, 3, 30);
    check(3, 9, 30);
    // Beyond the longest ejection there is nothing left to count.
    check(50, 1, 300);
    check(50, 10, 30);
}

#[test]
fn sweeping_more_often_forgets_no_faster() {
    let mut detector = detector(10, OutlierSpec::default());
    let back = fail(&mut detector, 1, 0).unwrap().until;
    (0..10).for_each(|step| drop(detector.sweep(back + step * SECOND)));
    assert_eq!(fail(&mut detector, 1, back + 9 * SECOND).unwrap().until, back + 69 * SECOND);
}

#[test]
fn the_share_of_ejected_is_limited() {
    let check = |endpoints: u64, percent: u32, expected: usize| {
        let spec = OutlierSpec { max_ejected_percent: percent, ..OutlierSpec::default() };
        let mut detector = detector(endpoints, spec);
        let ejected = (0..endpoints).filter_map(|endpoint| fail(&mut detector, endpoint, 0)).count();
        assert_eq!((ejected, detector.ejected()), (expected, expected), "{percent}% of {endpoints}");
        assert_eq!(detector.spared(), endpoints - expected as u64);
    };
    check(1, 10, 0);
    check(2, 10, 1);
    check(19, 10, 1);
    check(20, 10, 2);
    check(10, 100, 9);
    check(10, 0, 0);
}

#[test]
fn who_was_spared_is_ejected_when_there_is_room() {
    let mut detector = detector(10, OutlierSpec::default());
    let first = fail(&mut detector, 1, 0).unwrap();
    assert_eq!(fail(&mut detector, 2, 0), None);
    detector.sweep(first.until);
    assert_eq!(fail(&mut detector, 2, first.until).unwrap().endpoint, EndpointId(2));
}

#[test]
fn success_rates_are_compared_once_in_an_interval() {
    let check = |percents: &[u64], expected: &[u64]| {
        let mut detector =
            detector(percents.len() as u64, OutlierSpec { max_ejected_percent: 50, ..OutlierSpec::default() });
        rates(&mut detector, percents);
        assert_eq!(detector.sweep(10 * SECOND - 1), Sweep::default());
        let sweep = detector.sweep(10 * SECOND);
        let ejected: Vec<u64> = sweep.ejected.iter().map(|ejection| ejection.endpoint.0).collect();
        assert_eq!(ejected, expected, "{percents:?}");
        assert!(sweep.ejected.iter().all(|ejection| ejection.cause == EjectionCause::SuccessRate));
        assert!(sweep.ejected.iter().all(|ejection| ejection.until == 40 * SECOND));
        assert_eq!(detector.sweep(20 * SECOND).ejected, [], "a new interval begins with nothing");
    };
    // The example in Envoy's source: mean 90, deviation 20, so that 52 is the least.
    check(&[50, 100, 100, 100, 100], &[0]);
    check(&[100, 100, 100, 100, 100], &[]);
    check(&[90, 95, 92, 94, 91, 93], &[]);
    check(&[50, 100, 100, 100], &[]);
    check(&[100, 60, 50, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100], &[2, 1]);
}

#[test]
fn success_rates_of_few_requests_are_not_compared() {
    let mut detector = detector(6, OutlierSpec::default());
    rates(&mut detector, &[100; 5]);
    feed(&mut detector, 5, &"5+".repeat(49), 0);
    assert_eq!(detector.sweep(10 * SECOND).ejected, []);
    rates(&mut detector, &[100; 5]);
    feed(&mut detector, 5, &"5+".repeat(50), 0);
    assert_eq!(detector.sweep(20 * SECOND).ejected.len(), 1);
}

#[test]
fn what_happens_while_out_is_not_held_against_it() {
    let mut detector = detector(10, OutlierSpec::default());
    let until = fail(&mut detector, 1, 0).unwrap().until;
    assert_eq!(feed(&mut detector, 1, &"g".repeat(204), 1), None);
    rates(&mut detector, &[100, 0, 100, 100, 100, 100]);
    let sweep = detector.sweep(until);
    assert_eq!(sweep, Sweep { returned: vec![EndpointId(1)], ejected: vec![] });
    assert_eq!(feed(&mut detector, 1, "gggg", until), None);
    assert!(feed(&mut detector, 1, "g", until).is_some());
}

#[test]
fn who_leaves_takes_its_history_along() {
    let mut detector = detector(10, OutlierSpec::default());
    fail(&mut detector, 1, 0).unwrap();
    let gone = Arc::clone(detector.monitor(EndpointId(1)).unwrap());
    detector.set_endpoints(&[0, 2, 3, 3].map(EndpointId));
    assert_eq!((detector.ejected(), detector.is_ejected(EndpointId(1))), (0, false));
    assert_eq!(fail(&mut detector, 1, 0), None);
    assert!(fail(&mut detector, 2, 0).is_some(), "there is room again");
    detector.set_endpoints(&ids(10));
    assert!(detector.is_ejected(EndpointId(2)) && !detector.is_ejected(EndpointId(1)));
    detector.sweep(30 * SECOND);
    assert_eq!(detector.suspect(&gone, EjectionCause::Failures, 30 * SECOND), None, "it is not the successor's");
    assert!(fail(&mut detector, 1, 30 * SECOND).is_some());
}

#[test]
fn the_last_one_comes_back() {
    let spec = OutlierSpec { max_ejected_percent: 50, ..OutlierSpec::default() };
    let mut detector = detector(4, spec);
    fail(&mut detector, 2, 0).unwrap();
    fail(&mut detector, 1, SECOND).unwrap();
    assert_eq!(detector.set_endpoints(&[1, 2].map(EndpointId)), Some(EndpointId(2)));
    assert!(detector.is_ejected(EndpointId(1)) && !detector.is_ejected(EndpointId(2)));
    assert_eq!(detector.set_endpoints(&[]), None);
}

#[test]
fn new_settings_hold_from_now_on() {
    let mut detector = detector(10, OutlierSpec::default());
    detector.set_spec(OutlierSpec { base_ejection_ns: SECOND, consecutive_failures: 2, ..OutlierSpec::default() });
    assert_eq!(feed(&mut detector, 1, "55", 0).unwrap().until, SECOND);
}

#[test]
fn verdicts() {
    let check = |outcome, status, expected| {
        let result =
            AttemptResult { endpoint: EndpointId(1), outcome, status, connect_us: 0, first_byte_us: 0, total_us: 0 };
        assert_eq!(Verdict::of(&result), expected, "{outcome:?} {status}");
    };
    for (status, expected) in [
        (200, Verdict::Success),
        (404, Verdict::Success),
        (429, Verdict::Success),
        (500, Verdict::ServerError),
        (501, Verdict::ServerError),
        (502, Verdict::GatewayFailure),
        (504, Verdict::GatewayFailure),
        (505, Verdict::ServerError),
    ] {
        check(Outcome::Answered, status, Some(expected));
    }
    check(Outcome::ConnectFailed, 0, Some(Verdict::GatewayFailure));
    check(Outcome::Broken, 200, Some(Verdict::GatewayFailure));
    check(Outcome::TimedOut, 0, Some(Verdict::GatewayFailure));
    check(Outcome::Cancelled, 200, None);
}

proptest! {
    /// Whatever happens, never too many are out, everybody comes back, and there are no more entries than endpoints.
    #[test]
    fn limits_hold(
        steps in prop::collection::vec((0..8_u8, 0..12_u64, 0..20 * SECOND), 1..200),
        max_ejected_percent in 0..120_u32,
        base_ejection_ns in 0..400 * SECOND,
    ) {
        let spec = OutlierSpec { max_ejected_percent, base_ejection_ns, ..OutlierSpec::default() };
        let mut detector = detector(12, spec);
        let (mut now, mut count) = (0, 12);
        for (kind, endpoint, passed) in steps {
            let before = detector.ejected();
            match kind {
                0 => {
                    now += passed;
                    let sweep = detector.sweep(now);
                    prop_assert_eq!(detector.ejected(), before + sweep.ejected.len() - sweep.returned.len());
                }
                1 => {
                    count = endpoint as usize;
                    detector.set_endpoints(&ids(endpoint));
                    prop_assert!(detector.ejected() <= before);
                }
                2 => rates(&mut detector, &[100, 100, 100, 100, 100, endpoint * 9]),
                _ => {
                    if let Some(ejection) = fail(&mut detector, endpoint, now) {
                        prop_assert!((endpoint as usize) < count);
                        prop_assert!(ejection.until - now <= spec.max_ejection_ns);
                        prop_assert!(detector.ejected() <= (count * max_ejected_percent as usize / 100).max(1));
                        prop_assert_eq!(detector.ejected(), before + 1);
                    }
                }
            }
            prop_assert_eq!(detector.entries.len(), count);
            prop_assert!(detector.ejected() < count.max(1));
        }
        detector.sweep(now + spec.max_ejection_ns);
        // The last sweep may have compared rates and ejected somebody once more.
        let out = detector.ejected();
        let all = detector.sweep(now + 2 * spec.max_ejection_ns);
        prop_assert_eq!((all.returned.len(), all.ejected.len(), detector.ejected()), (out, 0, 0));
    }
}
