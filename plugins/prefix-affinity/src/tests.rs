use sluicegate_sdk::{
    Setup, Signal,
    harness::{Attempt, Harness, SimCluster, SimRequest, check_promises},
    mix,
};

use crate::PrefixAffinity;

fn harness(config: &str, count: u32) -> Harness<PrefixAffinity> {
    Harness::new(config, SimCluster::of(count)).unwrap()
}

fn counted(harness: &Harness<PrefixAffinity>) -> [u64; 3] {
    ["hits", "misses", "spills"].map(|name| harness.world().counter(name).unwrap())
}

fn prompt(text: &str) -> SimRequest {
    SimRequest::get("/v1/completions").method("POST").body(text)
}

/// A text of so many blocks that nobody else has.
fn text(name: u64, blocks: usize) -> String {
    (0..blocks).map(|block| format!("{:064x}", mix(name << 32 | block as u64 | 1 << 63))).collect()
}

fn send(harness: &mut Harness<PrefixAffinity>, text: &str) -> Attempt {
    harness.send(&mut prompt(text)).unwrap()
}

#[test]
fn promises() {
    check_promises::<PrefixAffinity>("{}");
    check_promises::<PrefixAffinity>(r#"{"slack": 0, "epsilon": 0.01, "capacity": 1024}"#);
}

#[test]
fn it_asks_for_the_beginning_of_bodies() {
    assert_eq!(harness("{}", 1).world().needs().body_prefix, 16_384);
    assert_eq!(harness(r#"{"block_bytes": 100, "max_blocks": 7}"#, 1).world().needs().body_prefix, 700);
}

#[test]
fn a_conversation_stays_where_it_began() {
    let mut harness = harness("{}", 10);
    let mut homes = Vec::new();
    for conversation in 0..50 {
        let mut said = text(conversation, 3);
        let home = harness.pick_for(&prompt(&said));
        for turn in 0..5 {
            said += &text(1000 * conversation + turn, 2);
            assert_eq!(harness.pick_for(&prompt(&said)), home, "conversation {conversation}, turn {turn}");
        }
        homes.push(home);
    }
    homes.sort_unstable();
    homes.dedup();
    assert!(homes.len() > 5, "{homes:?}");
    assert_eq!(counted(&harness), [250, 50, 0]);
}

#[test]
fn the_longest_beginning_decides() {
    let mut harness = harness(r#"{"min_match": 0}"#, 3);
    let (common, one, other) = (text(1, 4), text(2, 4), text(3, 4));
    let first = harness.pick_for(&prompt(&(common.clone() + &one))).unwrap();
    // What is common to both belongs to the newer one now.
    harness.set(first, Signal::InFlight, 1000);
    let second = harness.pick_for(&prompt(&(common.clone() + &other))).unwrap();
    assert_ne!(first, second);
    harness.set(first, Signal::InFlight, 0);
    assert_eq!(harness.pick_for(&prompt(&(common.clone() + &one + "more"))), Some(first));
    assert_eq!(harness.pick_for(&prompt(&(common + &text(4, 1)))), Some(first), "who had it last");
}

#[test]
fn what_all_have_in_common_decides_nothing() {
    let mut harness = harness("{}", 10);
    let system = text(1, 3);
    let mut counts = [0; 10];
    for user in 0..200 {
        counts[harness.pick_for(&prompt(&(system.clone() + &text(100 + user, 4)))).unwrap() as usize] += 1;
    }
    assert!(counts.iter().all(|count| *count > 5), "{counts:?}");
    assert_eq!(counted(&harness), [0, 200, 0], "3 of 7 blocks are less than half");
    let counts = (0..200).map(|user| harness.pick_for(&prompt(&(system.clone() + &text(500 + user, 3)))).unwrap());
    let first = counts.collect::<Vec<_>>();
    assert!(first.iter().all(|index| *index == first[0]), "3 of 6 are not");
}

#[test]
fn who_is_full_is_passed_over() {
    let mut harness = harness(r#"{"slack": 2, "epsilon": 0.5}"#, 4);
    let said = text(1, 4);
    let attempts: Vec<Attempt> = (0..12).map(|_| send(&mut harness, &said)).collect();
    let mut counts = [0; 4];
    attempts.iter().for_each(|attempt| counts[attempt.index as usize] += 1);
    // The bound is half as much again as a quarter of 12, rounded up; the last to get one is the home of the next.
    assert!(counts.iter().all(|count| (1..=5).contains(count)), "{counts:?}");
    assert!(counted(&harness)[2] > 0);
    let generous = r#"{"slack": 20}"#;
    let mut harness = Harness::<PrefixAffinity>::new(generous, SimCluster::of(4)).unwrap();
    let first = send(&mut harness, &said).index;
    assert!((0..11).all(|_| send(&mut harness, &said).index == first), "there is room for 20 anyway");
}

#[test]
fn large_weights_leave_no_more_room() {
    let cluster = SimCluster::of_weights(&[10_000, 10_000, 10_000, 10_000]);
    let mut harness = Harness::<PrefixAffinity>::new(r#"{"slack": 2, "epsilon": 0.5}"#, cluster).unwrap();
    let said = text(1, 4);
    (0..12).for_each(|_| _ = send(&mut harness, &said));
    assert!(counted(&harness)[2] > 0);
}

#[test]
fn a_spill_goes_to_the_least_loaded() {
    let mut harness = harness(r#"{"slack": 0}"#, 4);
    let said = text(1, 4);
    let home = harness.pick_for(&prompt(&said)).unwrap();
    (0..4).for_each(|index| harness.set(index, Signal::InFlight, 5));
    let idle = (home + 1) % 4;
    harness.set(home, Signal::InFlight, 50);
    harness.set(idle, Signal::InFlight, 1);
    assert_eq!(harness.pick_for(&prompt(&said)), Some(idle));
    harness.set(home, Signal::InFlight, 5);
    assert_eq!(harness.pick_for(&prompt(&said)), Some(idle), "which has seen it now");
}

#[test]
fn what_has_no_beginning_is_spread_by_load() {
    let mut harness = harness("{}", 2);
    harness.set(0, Signal::InFlight, 3);
    assert!((0..20).all(|_| harness.pick() == Some(1)));
    assert!((0..20).all(|_| harness.pick_for(&prompt("short")) == Some(1)));
    assert_eq!(counted(&harness), [0; 3]);
}

#[test]
fn a_key_makes_workers_agree() {
    let mut workers: Vec<_> = (0..4)
        .map(|worker| {
            let setup = Setup { seed: mix(worker.into()), worker, workers: 4 };
            Harness::<PrefixAffinity>::with_setup("{}", setup, SimCluster::of(10)).unwrap()
        })
        .collect();
    for conversation in 1..50 {
        let request = prompt(&text(conversation, 3)).hash(mix(conversation));
        let homes: Vec<_> = workers.iter_mut().map(|worker| worker.pick_for(&request)).collect();
        assert!(homes.iter().all(|home| *home == homes[0]), "{homes:?}");
    }
}

#[test]
fn others_come_and_go_and_beginnings_stay() {
    let mut harness = harness("{}", 5);
    let said: Vec<String> = (0..30).map(|number| text(number, 4)).collect();
    let home = |harness: &mut Harness<PrefixAffinity>, text: &String| {
        let index = harness.pick_for(&prompt(text)).unwrap();
        harness.cluster()[index as usize].id()
    };
    let before: Vec<u64> = said.iter().map(|text| home(&mut harness, text)).collect();
    harness.change(|cluster| cluster.reverse());
    let reversed: Vec<u64> = said.iter().map(|text| home(&mut harness, text)).collect();
    assert_eq!(reversed, before);
    let gone = harness.cluster()[2].clone();
    harness.change(|cluster| drop(cluster.remove(2)));
    for (text, before) in said.iter().zip(&before) {
        assert_eq!(home(&mut harness, text) == *before, *before != gone.id());
    }
}

#[test]
fn a_retry_goes_elsewhere_and_so_do_those_after_it() {
    let mut harness = harness("{}", 3);
    let said = text(1, 4);
    let home = harness.pick_for(&prompt(&said)).unwrap();
    let tried = prompt(&said).tried(harness.cluster()[home as usize].id());
    let second = harness.pick_for(&tried).unwrap();
    assert_ne!(second, home);
    assert_eq!(harness.pick_for(&prompt(&said)), Some(second));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |config: &str| Harness::<PrefixAffinity>::new(config, SimCluster::of(1)).unwrap_err().to_string();
    assert_eq!(refused(r#"{"block_bytes": 8}"#), "`block_bytes`: 8 is not from 16 to 4096");
    assert_eq!(
        refused(r#"{"block_bytes": 512}"#),
        "`max_blocks`: with blocks of 512 bytes these are 131072: more than 65536"
    );
    assert_eq!(refused(r#"{"capacity": 5000}"#), "`capacity`: 5000 is no power of two");
    assert_eq!(refused(r#"{"min_match": 2}"#), "`min_match`: has to be from 0 to 1");
    assert_eq!(refused(r#"{"epsilon": 0}"#), "`epsilon`: has to be from 0.01 to 100");
}
