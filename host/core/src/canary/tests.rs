use proptest::prelude::*;

use super::*;
use crate::{Histogram, Rng};

const SECOND: u64 = 1_000_000_000;

fn plan(shares: &[f64]) -> CanarySpec {
    let steps = shares.iter().map(|share| CanaryStep { share: *share, hold_ns: 20 * SECOND }).collect();
    CanarySpec { steps, ..CanarySpec::default() }
}

/// What one side's requests are like.
#[derive(Clone, Copy)]
struct Side {
    error_rate: f64,
    latency_ns: f64,
}

fn unit(rng: &mut Rng) -> f64 {
    rng.below_u64(1 << 53) as f64 / (1_u64 << 53) as f64
}

#[derive(Default)]
struct Counts {
    requests: u64,
    failures: u64,
    latency: Histogram,
}

impl Counts {
    fn arm(&self) -> CanaryArm {
        CanaryArm { requests: self.requests, failures: self.failures, latency: self.latency.snapshot() }
    }
}

/// Plays a canary, with a look after every second, and says how it ended, and in which step.
fn play(spec: CanarySpec, sides: [Side; 2], per_s: u32, seed: u64) -> (CanaryVerdict, usize) {
    let mut rng = Rng::new(seed);
    let mut canary = Canary::new(spec, 0);
    let mut counts: [Counts; 2] = Default::default();
    for second in 1..100_000 {
        for _ in 0..per_s {
            let side = usize::from(unit(&mut rng) < canary.share());
            counts[side].requests += 1;
            if unit(&mut rng) < sides[side].error_rate {
                counts[side].failures += 1;
            } else {
                // Exponential, with a long enough tail for the bounds to have something to do.
                let latency = -sides[side].latency_ns * (1.0 - unit(&mut rng)).ln();
                counts[side].latency.record_exclusive(latency as u64);
            }
        }
        match canary.judge(second * SECOND, &counts[0].arm(), &counts[1].arm()) {
            CanaryVerdict::Hold => {}
            CanaryVerdict::Next => counts = Default::default(),
            verdict => return (verdict, canary.step()),
        }
    }
    panic!("it never ends");
}

fn false_alarms(sides: [Side; 2], per_s: u32) -> usize {
    let run = |seed| matches!(play(plan(&[0.05, 0.25, 0.5]), sides, per_s, seed).0, CanaryVerdict::Worse(_));
    (0..300).filter(|seed| run(*seed)).count()
}

#[test]
fn what_is_no_worse_is_hardly_ever_taken_back() {
    // With one of a hundred allowed, more than 9 of 300 have a probability of 0.1%; and the seeds are always the same.
    let side = |error_rate, latency_ms: f64| Side { error_rate, latency_ns: latency_ms * 1e6 };
    for (name, sides) in [
        ("the same", [side(0.02, 20.0), side(0.02, 20.0)]),
        ("hardly any errors", [side(0.001, 5.0), side(0.001, 5.0)]),
        ("as bad as is tolerated", [side(0.10, 20.0), side(0.15, 25.0)]),
        ("an outage on both sides", [side(0.9, 100.0), side(0.9, 100.0)]),
    ] {
        let count = false_alarms(sides, 40);
        assert!(count <= 9, "{name}: {count} of 300");
    }
}

#[test]
fn what_is_worse_is_taken_back_early() {
    let good = Side { error_rate: 0.01, latency_ns: 10e6 };
    let failing = Side { error_rate: 0.5, ..good };
    let slow = Side { latency_ns: 40e6, ..good };
    for seed in 0..50 {
        let (verdict, step) = play(plan(&[0.05, 0.25, 0.5]), [good, failing], 100, seed);
        assert!(matches!(verdict, CanaryVerdict::Worse(CanaryFinding::Errors { .. })), "seed {seed}: {verdict:?}");
        assert_eq!(step, 0, "seed {seed}");
        let (verdict, _) = play(plan(&[0.05, 0.25, 0.5]), [good, slow], 100, seed);
        assert!(matches!(verdict, CanaryVerdict::Worse(CanaryFinding::Latency { .. })), "seed {seed}: {verdict:?}");
    }
}

#[test]
fn a_difference_that_nobody_minds_is_let_pass() {
    let good = Side { error_rate: 0.0, latency_ns: 50e3 };
    // Twenty times slower, and still within a millisecond.
    let slower = Side { latency_ns: 200e3, ..good };
    let (verdict, _) = play(plan(&[0.25]), [good, slower], 100, 1);
    assert_eq!(verdict, CanaryVerdict::Promote);
}

#[test]
fn a_step_needs_its_time_and_its_requests() {
    let arm = |requests| CanaryArm { requests, ..CanaryArm::default() };
    let mut canary = Canary::new(plan(&[0.1, 0.5]), 0);
    assert_eq!(canary.judge(19 * SECOND, &arm(1000), &arm(1000)), CanaryVerdict::Hold);
    assert_eq!(canary.judge(21 * SECOND, &arm(1000), &arm(99)), CanaryVerdict::Hold);
    assert_eq!(canary.judge(22 * SECOND, &arm(1000), &arm(100)), CanaryVerdict::Next);
    assert_eq!((canary.step(), canary.share()), (1, 0.5));
    assert_eq!(canary.judge(41 * SECOND, &arm(1000), &arm(1000)), CanaryVerdict::Hold);
    assert_eq!(canary.judge(42 * SECOND, &arm(1000), &arm(1000)), CanaryVerdict::Promote);
    assert_eq!(canary.share(), 0.0);
}

#[test]
fn a_handful_of_failures_decides_when_there_are_no_others() {
    let arm = |requests, failures| CanaryArm { requests, failures, ..CanaryArm::default() };
    let mut canary = Canary::new(plan(&[0.01]), 0);
    assert_eq!(canary.judge(SECOND, &arm(990, 0), &arm(10, 4)), CanaryVerdict::Hold, "a clump, perhaps");
    assert!(matches!(canary.judge(2 * SECOND, &arm(990, 0), &arm(10, 5)), CanaryVerdict::Worse(_)));
    // The same failures are nothing to speak of where all fail.
    let mut canary = Canary::new(plan(&[0.01]), 0);
    assert_eq!(canary.judge(SECOND, &arm(990, 495), &arm(10, 5)), CanaryVerdict::Hold);
}

proptest! {
    #[test]
    fn any_counts_have_a_verdict(
        looks in prop::collection::vec((0..5_u64, 0..2000_u64, 0..2000_u64, 0..2000_u64, 0..2000_u64), 1..30),
        shares in prop::collection::vec(0.001..0.999_f64, 1..5),
        by_hash: bool,
    ) {
        let steps = shares.len();
        let mut canary = Canary::new(CanarySpec { by_hash, ..plan(&shares) }, 0);
        let (mut now, mut sums) = (0, [0; 4]);
        for (seconds, a, b, c, d) in looks {
            now += seconds * 5 * SECOND;
            sums.iter_mut().zip([a, b, c, d]).for_each(|(sum, more)| *sum += more);
            let arm = |good, failures| CanaryArm { requests: good + failures, failures, ..CanaryArm::default() };
            let before = canary.step();
            match canary.judge(now, &arm(sums[0], sums[1]), &arm(sums[2], sums[3])) {
                CanaryVerdict::Next => {
                    prop_assert!(canary.step() == before + 1 && canary.step() < steps);
                    sums = [0; 4];
                }
                CanaryVerdict::Promote => {
                    prop_assert!(canary.step() == steps && sums[2] + sums[3] >= 100);
                    break;
                }
                CanaryVerdict::Worse(CanaryFinding::Errors { candidate, active }) => {
                    prop_assert!(candidate > active && sums[3] > 0);
                    break;
                }
                CanaryVerdict::Worse(finding) => prop_assert!(false, "nothing was measured, and yet {finding}"),
                CanaryVerdict::Hold => prop_assert_eq!(canary.step(), before),
            }
        }
    }
}
