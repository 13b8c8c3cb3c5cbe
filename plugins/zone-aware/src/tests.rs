use sluicegate_sdk::{
    Signal,
    harness::{Harness, SimCluster, SimEndpoint, SimRequest, check_promises},
    native::Cluster,
};

use crate::ZoneAware;

/// So many endpoints in each of the zones `a`, `b`, `c`.
fn cluster(counts: &[u32]) -> SimCluster {
    let zones = ["a", "b", "c"].into_iter().zip(counts);
    zones
        .flat_map(|(zone, count)| {
            (0..*count).map(move |number| SimEndpoint::new(&format!("10.0.{zone}.{number}:80")).zone(zone))
        })
        .collect()
}

fn harness(config: &str, counts: &[u32]) -> Harness<ZoneAware> {
    Harness::new(config, cluster(counts)).unwrap()
}

/// Of 10,000 requests, how many go to each zone.
fn shares(harness: &mut Harness<ZoneAware>) -> [u32; 3] {
    let counts = harness.counts(10_000);
    ["a", "b", "c"].map(|zone| {
        let here = (0..).zip(&counts).filter(|(index, _)| harness.cluster().zone(*index) == zone);
        here.map(|(_, count)| count).sum()
    })
}

fn check(config: &str, counts: &[u32], expected: [u32; 3]) {
    let shares = shares(&mut harness(config, counts));
    assert!(shares.iter().zip(expected).all(|(share, due)| share.abs_diff(due) < 250), "{config}: {shares:?}");
}

#[test]
fn promises() {
    check_promises::<ZoneAware>(r#"{"zone": "a"}"#);
    check_promises::<ZoneAware>(r#"{"zone": "far", "proxies": {"far": 1, "a": 1}, "min_endpoints": 0}"#);
}

#[test]
fn requests_stay_where_there_are_enough_endpoints() {
    check(r#"{"zone": "a"}"#, &[3, 3], [10_000, 0, 0]);
    check(r#"{"zone": "a"}"#, &[5, 3], [10_000, 0, 0]);
}

#[test]
fn what_a_zone_can_not_bear_goes_where_there_is_room() {
    // A third of the requests and a sixth of the endpoints: half stay, the others go in proportion to what is spare.
    check(r#"{"zone": "a"}"#, &[2, 4, 6], [5000, 0, 5000]);
    // Proxies 40, 40, 20, endpoints 25, 50, 25 as in Envoy's example.
    check(r#"{"zone": "a", "proxies": {"a": 4, "b": 4, "c": 2}}"#, &[25, 50, 25], [6250, 2500, 1250]);
    check(r#"{"zone": "a"}"#, &[0, 4, 4], [0, 5000, 5000]);
}

#[test]
fn weights_count() {
    let mut harness = harness(r#"{"zone": "a"}"#, &[2, 4]);
    harness.change(|cluster| cluster[..2].iter_mut().for_each(|endpoint| *endpoint = endpoint.clone().weight(2)));
    assert_eq!(shares(&mut harness), [10_000, 0, 0]);
}

#[test]
fn with_few_endpoints_zones_do_not_matter() {
    check(r#"{"zone": "a"}"#, &[1, 4], [2000, 8000, 0]);
    check(r#"{"zone": "a", "min_endpoints": 5}"#, &[1, 4], [4000, 6000, 0]);
}

#[test]
fn the_less_loaded_of_the_zone() {
    let mut harness = harness(r#"{"zone": "a"}"#, &[3, 3]);
    harness.set(0, Signal::InFlight, 5);
    harness.set(1, Signal::InFlight, 1);
    assert_eq!(harness.counts(300)[0], 0);
}

#[test]
fn a_retry_stays_in_its_zone_and_leaves_it_when_it_has_to() {
    let mut harness = harness(r#"{"zone": "a"}"#, &[3, 3]);
    let mut request = SimRequest::get("/");
    let mut been: Vec<u32> = (0..6).map(|_| harness.send(&mut request).unwrap().index).collect();
    been[..3].sort_unstable();
    assert_eq!(been[..3], [0, 1, 2]);
    assert_eq!(harness.send(&mut request), None);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |config: &str| Harness::<ZoneAware>::new(config, SimCluster::of(1)).unwrap_err().to_string();
    assert_eq!(refused("{}"), "missing field `zone`");
    assert_eq!(refused(r#"{"zone": ""}"#), "`zone`: has to name the zone that this proxy is in");
    let elsewhere = r#"{"zone": "a", "proxies": {"b": 1}}"#;
    assert_eq!(refused(elsewhere), "`proxies`: has to have the zone `a`, where this proxy is");
    assert_eq!(refused(r#"{"zone": "a", "choices": 0}"#), "`choices`: 0 is not from 1 to 8");
}
