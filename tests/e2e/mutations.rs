//! Modules and components with bytes taken out, put in and exchanged: each is refused in words, or is a policy.
//! `SLUICEGATE_FUZZ_SECONDS=300` goes on for longer, from another beginning.

use std::{
    env,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use sluicegate_core::Rng;
use sluicegate_policy::{Engine, Limits};
use sluicegate_tests::wasm::{self, ByHand};

/// So many turns from a fixed beginning, or as many as there is time for, from another one.
pub(crate) fn turns(usual: u64) -> (Rng, impl Iterator<Item = u64>) {
    let seconds = env::var("SLUICEGATE_FUZZ_SECONDS").ok().map(|text| text.parse().expect("a number of seconds"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed =
        env::var("SLUICEGATE_FUZZ_SEED").map_or(if seconds.is_some() { now } else { 1 }, |text| text.parse().unwrap());
    println!("SLUICEGATE_FUZZ_SEED={seed}");
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    (Rng::new(seed), (0..).take_while(move |turn| end.map_or(*turn < usual, |end| Instant::now() < end)))
}

pub(crate) fn below(rng: &mut Rng, bound: usize) -> usize {
    rng.below(bound.max(1) as u32) as usize
}

fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>) {
    // Most of what decides what a module is stands at its beginning or its end.
    let length = bytes.len();
    let at = match rng.below(3) {
        0 => below(rng, length.min(400)),
        1 => length - 1 - below(rng, length.min(400)),
        _ => below(rng, length),
    };
    let odd = [0, 1, 0x0d, 0x7f, 0x80, 0xff, rng.next_u64() as u8][below(rng, 7)];
    match rng.below(6) {
        0 => bytes[at] = odd,
        1 => bytes[at] ^= 1 << rng.below(8),
        2 => bytes.insert(at, odd),
        3 => drop(bytes.drain(at..length.min(at + 1 + below(rng, 8)))),
        4 => bytes.truncate(at.max(1)),
        _ => {
            let piece = bytes[at..length.min(at + 1 + below(rng, 64))].to_vec();
            let to = below(rng, length);
            bytes.splice(to..to, piece);
        }
    }
}

#[test]
fn artifacts_are_refused_or_are_policies() {
    let engine = Engine::new(Limits::default(), None).unwrap();
    let small = ByHand::default();
    let good = [
        small.module(),
        small.component(),
        wasm::builtin("round-robin", "fast"),
        wasm::builtin("round-robin", "portable"),
    ];
    let (mut rng, turns) = turns(300);
    let (mut count, mut loaded) = (0, 0);
    for _ in turns {
        let mut bytes = good[below(&mut rng, good.len())].clone();
        for _ in 0..=below(&mut rng, 3) {
            mutate(&mut rng, &mut bytes);
        }
        match engine.load(&bytes) {
            Ok(_) => loaded += 1,
            Err(refusal) => assert!(!refusal.to_string().is_empty()),
        }
        count += 1;
    }
    println!("{count} artifacts, {loaded} of them policies");
}
