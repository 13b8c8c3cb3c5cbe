use metrics::with_local_recorder;

use super::*;
use crate::{
    testing::{ByHand, Recorded, Stage},
    trial::TrialMode,
};

const CANARY: TrialMode = TrialMode::Canary { share: 0.5, by_hash: false };
const SHADOW: TrialMode = TrialMode::Shadow { share: 1.0 };

const REJECTS: ByHand<'_> = ByHand {
    tick: None,
    restore: None,
    imports: r#"(import "sluicegate:policy/reply@0.1.0" "reject" (func $reject (param i32 i32 i32)))"#,
    configure: "",
    pick: "(call $reject (i32.const 429) (i32.const 32) (i32.const 9)) i32.const 0",
};

/// Counts its picks in a counter that is called "no".
const COUNTS: ByHand<'_> = ByHand {
    tick: None,
    restore: None,
    imports: r#"(import "sluicegate:policy/host@0.1.0" "counter" (func $counter (param i32 i32) (result i32)))
        (import "sluicegate:policy/host@0.1.0" "add" (func $add (param i32 i64)))"#,
    configure: "(drop (call $counter (i32.const 32) (i32.const 2)))",
    pick: "(call $add (i32.const 0) (i64.const 1)) i32.const 0",
};

fn pick(seat: &mut Seat, tried: &[EndpointId]) -> Option<Picked> {
    seat.pick(0, &mut RequestHead { tried: tried.to_vec(), ..RequestHead::default() })
}

#[test]
fn a_canary_hears_of_rejections() {
    for (active, is_by_design) in [(ByHand::default(), false), (REJECTS, true)] {
        let stage = Stage::new(2);
        let mut seat = stage.seat.borrow_mut();
        assert!(seat.install(stage.instance(1, &active.module()), false).is_ok());
        assert!(seat.begin_trial(stage.instance(2, &REJECTS.module()), CANARY, false).is_ok());
        let picks = (0..200).filter_map(|_| pick(&mut seat, &[])).filter(|picked| picked.draw.candidate).count() as u64;
        let tally = seat.tally().unwrap();
        assert_eq!((tally.candidate.requests, tally.candidate.failures), (picks, picks));
        let rejected = if is_by_design { 200 - picks } else { 0 };
        assert_eq!((tally.active.requests, tally.active.failures), (rejected, rejected));
        // What becomes of a request after its first attempt does not count.
        let tried = [stage.snapshot.endpoints()[0].id];
        (0..20).for_each(|_| drop(pick(&mut seat, &tried)));
        let after = seat.tally().unwrap();
        assert_eq!((after.candidate.requests, after.active.requests), (picks, rejected));
    }
}

#[test]
fn a_shadow_counts_nothing_until_it_serves() {
    let (recorded, stage) = (Recorded::default(), Stage::new(2));
    let mut seat = stage.seat.borrow_mut();
    let counted = || recorded.sum(&["sluicegate_policy_custom_total", "no"]);
    with_local_recorder(&recorded, || {
        assert!(seat.install(stage.instance(1, &COUNTS.module()), false).is_ok());
        (0..10).for_each(|_| drop(pick(&mut seat, &[])));
        assert_eq!(counted(), 10);
        assert!(seat.begin_trial(stage.instance(2, &COUNTS.module()), SHADOW, false).is_ok());
        (0..10).for_each(|_| drop(pick(&mut seat, &[])));
        assert_eq!(counted(), 20, "the active policy's only");
        assert!(seat.end_trial(true).promoted);
        (0..10).for_each(|_| drop(pick(&mut seat, &[])));
        assert_eq!(counted(), 30);
    });
}

#[test]
fn a_canary_counts_apart_from_what_it_is_compared_with() {
    let (recorded, stage) = (Recorded::default(), Stage::new(2));
    let mut seat = stage.seat.borrow_mut();
    let counted = |side: &str| recorded.sum(&["sluicegate_policy_custom_total", "no", side]);
    with_local_recorder(&recorded, || {
        assert!(seat.install(stage.instance(1, &COUNTS.module()), false).is_ok());
        assert!(seat.begin_trial(stage.instance(2, &COUNTS.module()), CANARY, false).is_ok());
        let picks = (0..100).filter_map(|_| pick(&mut seat, &[])).filter(|picked| picked.draw.candidate).count() as u64;
        assert_eq!((counted("candidate"), counted("active")), (picks, 100 - picks));
        assert!(seat.end_trial(true).promoted);
        (0..10).for_each(|_| drop(pick(&mut seat, &[])));
        assert_eq!((counted("candidate"), counted("active")), (picks, 110 - picks));
    });
}

#[test]
fn who_leaves_is_handed_back() {
    let stage = Stage::new(2);
    let mut seat = stage.seat.borrow_mut();
    let module = ByHand::default().module();
    assert!(seat.install(stage.instance(1, &module), false).is_ok());
    for (promote, left) in [(false, 2), (true, 1)] {
        assert!(seat.begin_trial(stage.instance(2, &module), CANARY, false).is_ok());
        let ended = seat.end_trial(promote);
        assert_eq!(ended.promoted, promote);
        assert_eq!(ended._left.unwrap().generation.number, left);
    }
    assert!(!seat.end_trial(true).promoted, "there is none");
}

#[test]
fn only_picks_of_the_fallback_are_counted_as_such() {
    let recorded = Recorded::default();
    let fallbacks = |reason: &str| recorded.sum(&["sluicegate_policy_fallbacks_total", reason]);
    with_local_recorder(&recorded, || {
        let stage = Stage::new(2);
        let mut seat = stage.seat.borrow_mut();
        let everybody: Vec<_> = stage.snapshot.endpoints().iter().map(|endpoint| endpoint.id).collect();
        let sits = |seat: &mut Seat, by_hand: ByHand<'_>| {
            assert!(seat.install(stage.instance(1, &by_hand.module()), false).is_ok());
        };
        assert!(pick(&mut seat, &[]).is_some() && pick(&mut seat, &everybody).is_none());
        assert_eq!(fallbacks("no_policy"), 1, "it did not find anybody for the second one");
        sits(&mut seat, ByHand { tick: Some("unreachable"), ..ByHand::default() });
        seat.tick();
        assert_eq!((seat.faults, fallbacks("fault")), (1, 0), "no request has waited for the tick");
        for (answer, reason) in [("i32.const -1", "declined"), ("i32.const 0", "tried_again"), ("i32.const 7", "fault")]
        {
            sits(&mut seat, ByHand { pick: answer, ..ByHand::default() });
            assert_eq!(pick(&mut seat, &everybody[..1]).unwrap().generation, 0);
            assert_eq!(fallbacks(reason), 1, "{reason}");
        }
        sits(&mut seat, ByHand { pick: "unreachable", ..ByHand::default() });
        assert_eq!(pick(&mut seat, &[]).unwrap().generation, 0);
        assert_eq!((fallbacks("fault"), fallbacks("")), (2, 5));
    });
}

#[test]
fn a_fault_is_dated_where_it_happens() {
    let mut stage = Stage::new(2);
    let mut seat = stage.seat.borrow_mut();
    let by_hand = ByHand { pick: "i32.const 7", ..ByHand::default() };
    assert!(seat.install(stage.instance(1, &by_hand.module()), false).is_ok());
    let before = seat.clock.now();
    pick(&mut seat, &[]);
    let after = seat.clock.now();
    let report = stage.reports.try_recv().unwrap();
    assert!((before..=after).contains(&report.at));
}

#[test]
fn the_time_to_the_next_tick_begins_at_the_end_of_one() {
    // A fifth of a millisecond at least, on any processor.
    const BUSY: &str = "(local $left i32) (local.set $left (i32.const 1000000))
        (loop $again (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
        i64.const 1";
    let stage = Stage::new(1);
    let mut seat = stage.seat.borrow_mut();
    let by_hand = ByHand { tick: Some(BUSY), ..ByHand::default() };
    assert!(seat.install(stage.instance(1, &by_hand.module()), false).is_ok());
    let before = seat.clock.now();
    seat.tick();
    assert!(seat.tick_at < u64::MAX, "it was not cut off");
    let wait = seat.tick_at - before;
    assert!(wait > 1_150_000, "{wait} ns");
}
