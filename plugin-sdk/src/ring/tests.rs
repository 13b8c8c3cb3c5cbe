use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::{
    harness::{SimCluster, SimEndpoint},
    native::outside_a_pick,
};

fn ring(cluster: &SimCluster) -> Ring {
    let mut ring = Ring::default();
    ring.follow(&outside_a_pick(cluster), Ring::POINTS);
    ring
}

/// Whose each point is, by its address.
fn owners(ring: &Ring, cluster: &SimCluster) -> BTreeSet<(u32, u64)> {
    ring.points.iter().map(|point| (place(*point), cluster[*point as u32 as usize].id())).collect()
}

/// The continuum of libmemcached's tests for weighted ketama (`ketama_test_cases.h`): servers, hashes of keys, the
/// places of the points that come next, and who owns them.
#[test]
fn published_vectors() {
    let weights = [600, 300, 200, 350, 1000, 800, 950, 100];
    let endpoint = |(number, weight): (u32, u32)| SimEndpoint::new(&format!("10.0.1.{number}")).weight(weight);
    let cluster: SimCluster = (1..).zip(weights).map(endpoint).collect();
    let ring = ring(&cluster);
    for (hash, next, owner) in [
        (443_691_461, 445_379_617, 7),
        (1_422_915_503, 1_428_303_028, 1),
        (1_473_165_754, 1_480_075_959, 2),
        (2_148_406_511, 2_168_579_133, 7),
        (2_882_686_667, 2_885_206_587, 5),
        (1_103_544_263, 1_104_827_657, 5),
        (4_213_440_020, 4_213_950_705, 7),
        (951_096_736, 955_226_069, 1),
        (1_989_324_036, 1_994_028_240, 8),
        (1_604_239_957, 1_606_398_093, 8),
        (2_117_036_136, 2_117_124_014, 3),
        (3_548_879_868, 3_550_704_865, 3),
        (1_558_531_507, 1_559_308_507, 4),
        (580_747_448, 581_063_326, 2),
        (3_972_869_246, 3_974_773_167, 6),
        (71_954_686, 72_034_069, 6),
        (50_404_102, 51_792_557, 5),
        (4_223_431_086, 4_230_156_966, 2),
    ] {
        let first = ring.points[ring.points.partition_point(|point| place(*point) < hash)];
        assert_eq!(place(first), next, "{hash}");
        assert_eq!(ring.clockwise_from(hash).next(), Some(owner - 1), "{hash}");
    }
    // "VDEAAAAA" in those tests: after the last point comes the first.
    assert_eq!(ring.clockwise_from(0xfffc_d1b5).next(), ring.clockwise_from(0).next());
    let digests: Vec<u32> = ring.owners.as_slice().iter().map(|owner| owner.digests).collect();
    assert_eq!(digests, [44, 22, 14, 26, 74, 59, 70, 7]);
}

#[test]
fn every_endpoint_has_its_points() {
    assert_eq!(ring(&SimCluster::of(0)).clockwise(7).count(), 0);
    assert_eq!(ring(&SimCluster::of(1)).clockwise(7).count(), 160);
    assert_eq!(ring(&SimCluster::of(50)).points.len(), 50 * 160);
    let light = ring(&SimCluster::of_weights(&[1, 65_535]));
    assert_eq!(light.points.iter().filter(|point| **point as u32 == 0).count(), 4, "one digest at least");
}

#[test]
fn many_endpoints_have_fewer_points_each() {
    let ring = ring(&SimCluster::of(10_000));
    assert_eq!(ring.points.len(), 10_000 * (Ring::MOST as usize / 10_000 / 4 * 4));
}

#[test]
fn only_the_keys_of_one_that_leaves_move() {
    let mut cluster = SimCluster::of(20);
    let mut ring = ring(&cluster);
    let keys: Vec<u64> = (1..2000_u64).map(crate::mix).collect();
    let of = |ring: &Ring, cluster: &SimCluster| -> Vec<u64> {
        keys.iter().map(|key| cluster[ring.clockwise(*key).next().unwrap() as usize].id()).collect()
    };
    let before = of(&ring, &cluster);
    let gone = cluster.remove(7).id();
    ring.follow(&outside_a_pick(&cluster), Ring::POINTS);
    let after = of(&ring, &cluster);
    let moved = before.iter().zip(&after).filter(|(before, after)| before != after);
    assert!(moved.clone().all(|(before, _)| *before == gone));
    assert_eq!(moved.count(), before.iter().filter(|id| **id == gone).count());
}

proptest! {
    /// Following changes step by step ends where a ring that is new begins.
    #[test]
    fn a_ring_has_no_history(
        changes in proptest::collection::vec((0_u32..12, 1_u32..5, any::<bool>()), 1..12),
    ) {
        let mut cluster = SimCluster::of(6);
        let mut followed = ring(&cluster);
        for (number, weight, front) in changes {
            let address = format!("10.0.0.{number}:80");
            let endpoint = SimEndpoint::new(&address).weight(weight);
            match cluster.iter().position(|other| other.id() == endpoint.id()) {
                Some(index) if weight == 1 => drop(cluster.remove(index)),
                Some(index) => cluster[index] = endpoint,
                None if front => cluster.insert(0, endpoint),
                None => cluster.push(endpoint),
            }
            followed.follow(&outside_a_pick(&cluster), Ring::POINTS);
            let new = ring(&cluster);
            prop_assert_eq!(owners(&followed, &cluster), owners(&new, &cluster));
            prop_assert_eq!(followed.points.len(), new.points.len());
            prop_assert!(followed.points.is_sorted());
        }
    }
}
