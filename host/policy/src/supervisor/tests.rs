use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, SystemTime},
};

use tokio::task::{LocalSet, spawn_local};

use super::*;
use crate::{
    Limits, RequestHead, Seat,
    testing::{ByHand, endpoints},
};

/// Remembers what it learnt, and answers with how often it was given what another has.
const LEARNS: ByHand<'_> = ByHand {
    tick: None,
    restore: Some("(global.set $turn (i32.const -1)) i32.const 0"),
    imports: "",
    configure: "",
    pick: "i32.const 0",
};

fn cause() -> Cause {
    Cause { why: "a test".into(), at: SystemTime::UNIX_EPOCH }
}

fn plugin(by_hand: &ByHand<'_>) -> Plugin {
    Plugin { name: "by hand".into(), bytes: by_hand.module().into(), config: "{}".into() }
}

fn pick(seat: &Rc<RefCell<Seat>>) -> u32 {
    seat.borrow_mut().pick(0, &mut RequestHead::default()).unwrap().index
}

/// Runs a test with a supervisor and its one worker's seat.
fn with_supervisor<F: Future<Output = ()>>(limits: Limits, test: impl FnOnce(Supervisor, Rc<RefCell<Seat>>) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let (engine, clock) = (Engine::new(limits, None).unwrap(), Clock::start());
        let (supervisor, inboxes, _reports) = Supervisor::new(engine, clock, endpoints(3), 7, 1);
        let (seat, task) = inboxes.into_iter().next().unwrap().open(endpoints(3));
        spawn_local(task);
        test(supervisor, seat).await;
    });
}

#[test]
fn a_state_that_was_refused_in_the_rehearsal_is_not_offered_again() {
    // Picks 1 when it was asked to take something over since it was made, and 2 when it was configured twice.
    let refuses = ByHand {
        restore: Some("(global.set $turn (i32.const 1000)) i32.const 16"),
        pick: "(if (i32.gt_u (global.get $turn) (i32.const 1000)) (then (return (i32.const 1))))
            (if (i32.gt_u (global.get $configured) (i32.const 1)) (then (return (i32.const 2))))
            i32.const 0",
        ..LEARNS
    };
    with_supervisor(Limits::default(), async |mut supervisor, seat| {
        supervisor.swap(plugin(&LEARNS), &cause()).await.unwrap();
        let spec = TrialSpec::Shadow(1.0);
        let tried = supervisor.put_on_trial(plugin(&refuses), spec, &cause()).await.unwrap();
        assert_eq!(tried.carried, Some(Err("no thanks".into())));
        supervisor.promote(&cause()).await.unwrap();
        assert_eq!(pick(&seat), 0);
        supervisor.swap(plugin(&LEARNS), &cause()).await.unwrap();
        let swapped = supervisor.swap(plugin(&refuses), &cause()).await.unwrap();
        assert_eq!(swapped.carried, Some(Err("no thanks".into())));
        assert_eq!(swapped.rehearsal.unwrap().restored, Some(Err("no thanks".into())));
        assert_eq!(pick(&seat), 0);
    });
}

#[test]
fn faults_count_by_when_they_happened() {
    const S: u64 = 1_000_000_000;
    let window = Duration::from_millis(100);
    let limits = Limits { faults: 3, fault_window: window, ..Limits::default() };
    with_supervisor(limits, async |mut supervisor, _seat| {
        let generation = supervisor.swap(plugin(&LEARNS), &cause()).await.unwrap().generation;
        let report = |at| Report { worker: 0, generation, fault: Fault::BadIndex { index: 7, count: 3 }, at };
        for second in 1..=5 {
            // A rebuild has kept all of them waiting: they come at once.
            supervisor.handle(report(second * S), SystemTime::UNIX_EPOCH).await;
        }
        assert!(supervisor.status().active.is_some());
        supervisor.became_active();
        supervisor.handle(report(supervisor.clock.now()), SystemTime::UNIX_EPOCH).await;
        assert_eq!(supervisor.status().recent_faults, 1);
        tokio::time::sleep(window * 2).await;
        assert_eq!(supervisor.status().recent_faults, 0, "they are not recent any more");
        for _ in 0..3 {
            supervisor.handle(report(supervisor.clock.now()), SystemTime::UNIX_EPOCH).await;
        }
        assert!(supervisor.status().active.is_none(), "quarantined");
    });
}

#[test]
fn who_may_not_serve_any_more_is_not_gone_back_to() {
    let picks = |pick: &'static str| plugin(&ByHand { pick, ..LEARNS });
    let [zero, one, two] = ["i32.const 0", "i32.const 1", "i32.const 2"];
    with_supervisor(Limits { faults: 1, ..Limits::default() }, async |mut supervisor, seat| {
        for pick in [zero, one, two] {
            supervisor.swap(picks(pick), &cause()).await.unwrap();
        }
        supervisor.set_vetting(Arc::new(|generation| match generation.number {
            1 => Ok(()),
            number => Err(Refusal::Untrusted { reason: format!("generation {number}") }),
        }));
        for to in [None, Some(2)] {
            let refusal = supervisor.roll_back(to, &cause()).await.unwrap_err();
            assert!(matches!(&refusal, Refusal::Untrusted { reason } if reason == "generation 2"), "{refusal}");
        }
        assert_eq!(pick(&seat), 2, "what serves goes on");
        supervisor.put_on_trial(picks(one), TrialSpec::Shadow(1.0), &cause()).await.unwrap();
        assert!(matches!(supervisor.promote(&cause()).await, Err(Refusal::Untrusted { .. })));
        assert!(!supervisor.is_trying());
        // Nor by itself, when what serves faults.
        let report = Report { worker: 0, generation: 3, fault: Fault::BadIndex { index: 7, count: 3 }, at: 0 };
        supervisor.handle(report, SystemTime::UNIX_EPOCH).await;
        assert_eq!((supervisor.status().active.unwrap().number, pick(&seat)), (1, 0));
    });
}
