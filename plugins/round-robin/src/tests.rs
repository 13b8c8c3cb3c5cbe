use sluicegate_sdk::{
    Setup,
    harness::{Harness, SimCluster, SimEndpoint, SimRequest, check_promises},
};

use crate::RoundRobin;

fn worker(worker: u32, workers: u32, endpoints: u32) -> Harness<RoundRobin> {
    Harness::with_setup("{}", Setup { seed: 0, worker, workers }, SimCluster::of(endpoints)).unwrap()
}

fn picks(harness: &mut Harness<RoundRobin>, count: u32) -> Vec<u32> {
    (0..count).map(|_| harness.pick().unwrap()).collect()
}

#[test]
fn promises() {
    check_promises::<RoundRobin>("{}");
}

#[test]
fn each_in_turn() {
    assert_eq!(picks(&mut worker(0, 1, 3), 7), [0, 1, 2, 0, 1, 2, 0]);
}

#[test]
fn workers_start_apart() {
    let starts: Vec<u32> = (0..4).map(|number| worker(number, 4, 8).pick().unwrap()).collect();
    assert_eq!(starts, [0, 2, 4, 6]);
    let crowded: Vec<u32> = (0..4).map(|number| worker(number, 4, 2).pick().unwrap()).collect();
    assert_eq!(crowded, [0, 0, 1, 1]);
}

#[test]
fn it_goes_on_from_where_it_was() {
    let mut harness = worker(0, 1, 3);
    assert_eq!(picks(&mut harness, 2), [0, 1]);
    harness.change(|cluster| cluster.push(SimEndpoint::new("10.1.0.1:80")));
    assert_eq!(picks(&mut harness, 3), [2, 3, 0]);
    harness.change(|cluster| cluster.truncate(1));
    assert_eq!(picks(&mut harness, 2), [0, 0]);
}

#[test]
fn a_retry_goes_elsewhere_until_there_is_nowhere_to_go() {
    let mut harness = worker(0, 1, 2);
    let mut request = SimRequest::get("/");
    assert_eq!(harness.send(&mut request).unwrap().index, 0);
    assert_eq!(picks(&mut harness, 1), [1], "somebody else's request");
    assert_eq!(harness.send(&mut request).unwrap().index, 1, "its turn would be 0");
    assert_eq!(harness.send(&mut request), None);
}

#[test]
fn nobody_there_and_then_somebody() {
    let mut harness = worker(1, 2, 0);
    assert_eq!(harness.pick(), None);
    harness.change(|cluster| *cluster = SimCluster::of(4));
    assert_eq!(harness.pick(), Some(2));
}
