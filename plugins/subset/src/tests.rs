use sluicegate_sdk::{
    Signal,
    harness::{Harness, SimCluster, SimRequest, check_promises},
};

use crate::Subset;

fn harness(config: &str, endpoints: u32) -> Harness<Subset> {
    Harness::new(config, SimCluster::of(endpoints)).unwrap()
}

/// What a fleet of proxies does to the endpoints, each sending as many requests.
fn fleet(proxies: u32, endpoints: u32) -> (Vec<u32>, Vec<usize>) {
    let (mut counts, mut used) = (vec![0; endpoints as usize], Vec::new());
    for proxy in 0..proxies {
        let config = format!(r#"{{"proxies": {proxies}, "proxy": {proxy}, "aperture": 5}}"#);
        let mine = harness(&config, endpoints).counts(4000);
        used.push(mine.iter().filter(|count| **count > 0).count());
        counts.iter_mut().zip(mine).for_each(|(all, mine)| *all += mine);
    }
    (counts, used)
}

#[test]
fn promises() {
    check_promises::<Subset>("{}");
    check_promises::<Subset>(r#"{"proxies": 7, "proxy": 3, "aperture": 2}"#);
}

#[test]
fn a_fleet_is_even_over_all_and_each_uses_a_few() {
    let (counts, used) = fleet(10, 40);
    let due = 10 * 4000 / 40;
    assert!(counts.iter().all(|count| count.abs_diff(due) < due / 5), "{counts:?}");
    assert!(used.iter().all(|used| *used == 8), "two widths of four endpoints: {used:?}");
}

#[test]
fn an_endpoint_that_leaves_changes_little_for_the_others() {
    let mut harness = harness(r#"{"proxies": 10, "proxy": 4, "aperture": 10}"#, 100);
    let used = |harness: &Harness<Subset>| -> Vec<u64> {
        harness.policy().aperture.iter().map(|index| harness.cluster()[*index as usize].id()).collect()
    };
    let before = used(&harness);
    harness.change(|cluster| drop(cluster.remove(50)));
    let after = used(&harness);
    let stayed = before.iter().filter(|id| after.contains(id)).count();
    assert!(stayed >= 8, "{stayed} of 10");
}

#[test]
fn the_order_of_the_configuration_does_not_matter() {
    let mut harness = harness(r#"{"proxies": 10, "proxy": 4, "aperture": 10}"#, 100);
    let used = |harness: &Harness<Subset>| -> Vec<u64> {
        harness.policy().aperture.iter().map(|index| harness.cluster()[*index as usize].id()).collect()
    };
    let before = used(&harness);
    harness.change(|cluster| cluster.reverse());
    assert_eq!(used(&harness), before);
}

#[test]
fn the_less_loaded_of_two() {
    let mut harness = harness("{}", 3);
    harness.set(0, Signal::InFlight, 9);
    harness.set(1, Signal::InFlight, 3);
    let counts = harness.counts(3000);
    assert!(counts[0] < 60, "only when both draws are the same one: {counts:?}");
    assert!(counts[2] > counts[1], "{counts:?}");
}

#[test]
fn a_retry_leaves_the_aperture_when_it_has_to() {
    let mut harness = harness(r#"{"proxies": 5, "proxy": 0, "aperture": 2}"#, 10);
    let inside = harness.policy().aperture.clone();
    let mut request = SimRequest::get("/");
    let been: Vec<u32> = (0..4).map(|_| harness.send(&mut request).unwrap().index).collect();
    assert!(been[..2].iter().all(|index| inside.contains(index)));
    assert!(been[2..].iter().all(|index| !inside.contains(index)));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |config: &str| Harness::<Subset>::new(config, SimCluster::of(1)).unwrap_err().to_string();
    assert_eq!(refused(r#"{"proxies": 0}"#), "`proxies`: 0 is not from 1 to 65535");
    assert_eq!(refused(r#"{"aperture": 0}"#), "`aperture`: 0 is not from 1 to 65535");
    assert_eq!(refused(r#"{"proxies": 3, "proxy": 3}"#), "`proxy`: 3 is not below `proxies`, which is 3");
}
