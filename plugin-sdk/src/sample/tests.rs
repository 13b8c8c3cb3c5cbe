//! Tests of sampling and of scans, against every endpoint there is.

use std::collections::BTreeMap;

use crate::{
    ConfigError, Endpoints, NoConfig, Pick, Policy, Request, Rng, Setup, Signal, Tried, export, harness::SimCluster,
    native::Native,
};

type Probe = fn(&Request, &Endpoints);

thread_local! {
    static PROBE: std::cell::Cell<Option<Probe>> = const { std::cell::Cell::new(None) };
}

/// Runs a probe in the middle of a pick.
struct Probed;

impl Policy for Probed {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Setup) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn pick(&mut self, request: &Request, endpoints: &Endpoints) -> Pick {
        PROBE.get().unwrap()(request, endpoints);
        Pick::DECLINE
    }
}

export!(Probed);

fn check(count: u32, tried: &[u32], probe: Probe) {
    PROBE.set(Some(probe));
    let mut cluster = SimCluster::of(count);
    (0..).zip(cluster.iter_mut()).for_each(|(value, endpoint)| endpoint.set(Signal::InFlight, value));
    let mut policy = Native::<Probed>::configure("{}", Setup::default()).unwrap();
    let tried = tried.to_vec();
    assert_eq!(policy.pick(0, 0, tried.len() as u32, &cluster, &tried), u32::MAX);
}

/// How often each outcome of `draw` comes up.
fn tally(mut draw: impl FnMut() -> Vec<u32>) -> BTreeMap<Vec<u32>, u32> {
    let mut counts = BTreeMap::new();
    (0..12_000).for_each(|_| *counts.entry(draw()).or_default() += 1);
    counts
}

#[test]
fn every_ordered_sample_is_equally_likely() {
    check(4, &[], |_, endpoints| {
        let mut rng = Rng::new(1);
        let counts = tally(|| endpoints.sample(&mut rng, 2).map(|endpoint| endpoint.index()).collect());
        assert_eq!(counts.len(), 12);
        assert!(counts.iter().all(|(pair, count)| pair[0] != pair[1] && count.abs_diff(1000) < 150), "{counts:?}");
    });
}

#[test]
fn a_sample_leaves_out_what_was_tried() {
    check(6, &[4, 0, 3], |_, endpoints| {
        let mut rng = Rng::new(1);
        let counts = tally(|| endpoints.sample(&mut rng, 3).map(|endpoint| endpoint.index()).collect());
        assert_eq!(counts.len(), 6);
        let right = |sample: &[u32]| sample.iter().all(|index| [1, 2, 5].contains(index));
        assert!(counts.iter().all(|(sample, count)| right(sample) && count.abs_diff(2000) < 200), "{counts:?}");
    });
}

#[test]
fn a_sample_is_no_larger_than_what_there_is() {
    check(3, &[1], |_, endpoints| assert_eq!(endpoints.sample(&mut Rng::new(1), 8).len(), 2));
    check(1, &[0], |_, endpoints| assert!(endpoints.sample(&mut Rng::new(1), 2).next().is_none()));
    check(0, &[], |_, endpoints| assert!(endpoints.sample(&mut Rng::new(1), 2).next().is_none()));
    check(20, &[], |_, endpoints| assert_eq!(endpoints.sample(&mut Rng::new(1), 20).count(), 8));
    let everything_tried: Vec<u32> = (0..20).collect();
    check(20, &everything_tried, |request, endpoints| {
        assert_eq!(request.tried().as_slice().len(), Tried::MAX);
        assert_eq!(endpoints.sample(&mut Rng::new(1), 8).count(), 8);
    });
}

#[test]
fn what_was_tried_is_sorted_and_counted_once() {
    check(9, &[7, 2, 7, 200], |request, _| {
        assert_eq!(request.tried().as_slice(), [2, 7]);
        assert_eq!([1, 2, 7].map(|index| request.is_tried(index)), [false, true, true]);
    });
}

#[test]
fn a_scan_sees_each_endpoint_once() {
    fn scanned(endpoints: &Endpoints) -> Vec<(u32, u32)> {
        let mut scanned = Vec::new();
        endpoints.scan(Signal::InFlight, |index, value| scanned.push((index, value)));
        scanned
    }
    for count in [0, 1, 63, 64, 65, 128, 150] {
        check(count, &[], |_, endpoints| {
            assert_eq!(scanned(endpoints), (0..endpoints.len()).map(|index| (index, index)).collect::<Vec<_>>());
        });
    }
    check(70, &[0, 64], |_, endpoints| {
        let expected: Vec<(u32, u32)> = (0..70).filter(|index| index % 64 != 0).map(|index| (index, index)).collect();
        assert_eq!(scanned(endpoints), expected);
        assert_eq!(endpoints.candidates().count(), 68);
        assert_eq!(endpoints.iter().len(), 70);
    });
}

#[test]
fn a_sample_of_some_leaves_out_what_was_tried_of_them() {
    check(9, &[8, 2, 4], |_, endpoints| {
        let mut rng = Rng::new(1);
        let some = [8, 7, 2, 5, 1];
        let counts = tally(|| endpoints.sample_of(&some, &mut rng, 2).map(|endpoint| endpoint.index()).collect());
        assert_eq!(counts.len(), 6);
        let right = |sample: &[u32]| sample.iter().all(|index| [7, 5, 1].contains(index));
        assert!(counts.iter().all(|(sample, count)| right(sample) && count.abs_diff(2000) < 200), "{counts:?}");
        assert_eq!(endpoints.sample_of(&[4, 8], &mut rng, 2).count(), 0);
        assert_eq!(endpoints.sample_of(&[], &mut rng, 2).count(), 0);
    });
    check(9, &[], |_, endpoints| {
        let mut rng = Rng::new(1);
        let counts = tally(|| endpoints.sample_of(&[8, 3, 5], &mut rng, 2).map(|endpoint| endpoint.index()).collect());
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|count| count.abs_diff(2000) < 200), "{counts:?}");
        assert_eq!(endpoints.sample_of(&[6], &mut rng, 2).map(|endpoint| endpoint.index()).collect::<Vec<_>>(), [6]);
    });
}
