//! The same calls, twice: by two instances, and by two builds.

use sluicegate_policy::Saved;

use crate::conformance::{
    Checked, Kit, Stop,
    subject::{Answer, Subject},
    traffic::endpoints,
};

/// Endpoints that change under way, from the one with this number on.
const SCRIPT: [(u32, u32); 8] = [(0, 1), (0, 2), (1, 16), (5, 64), (0, 65), (90, 100), (300, 1_000), (150, 3)];

const REQUESTS: u32 = 150;

/// What came of it.
struct Run {
    answers: Vec<Answer>,
    saved: Option<Saved>,
}

/// Everything in here follows from the subject's seed and from its own picks: two subjects that pick alike see the same.
fn play(mut subject: Subject) -> Checked<Run> {
    let mut answers = Vec::new();
    for (first, count) in SCRIPT {
        subject.show(&endpoints(first, count))?;
        for _ in 0..REQUESTS {
            answers.push(subject.serve()?);
        }
    }
    let saved = subject.save()?;
    Ok(Run { answers, saved })
}

/// What two runs came to, if it was not the same.
fn difference(one: &Run, other: &Run, names: [&str; 2]) -> Option<String> {
    let pairs = one.answers.iter().zip(&other.answers);
    if let Some(nth) = pairs.clone().position(|(one, other)| one != other) {
        let (first, second) = (one.answers[nth], other.answers[nth]);
        let (_, count) = SCRIPT[nth / REQUESTS as usize];
        let [first_name, second_name] = names;
        let seen =
            format!("request {} with {count} endpoints: {first_name} {first:?}, {second_name} {second:?}", nth + 1);
        return Some(seen);
    }
    let bytes = |run: &Run| run.saved.as_ref().map_or(0, |saved| saved.bytes.len());
    (one.saved != other.saved).then(|| {
        let [first_name, second_name] = names;
        let (first, second) = (bytes(one), bytes(other));
        format!("all picks were the same, but {first_name} saved other bytes ({first}) than {second_name} ({second})")
    })
}

pub(super) fn determinism(kit: &Kit) -> Checked {
    let first = play(kit.subject()?)?;
    // Another one that lives between, so that not both find the same memory.
    play(kit.subject()?)?;
    let second = play(kit.subject()?)?;
    match difference(&first, &second, ["one instance", "another"]) {
        Some(seen) => Err(Stop::Failed(seen)),
        None => Ok(format!("{} requests, the same in 2 instances", first.answers.len())),
    }
}

pub(super) fn same_picks(kit: &Kit) -> Checked {
    let theirs = play(kit.other()?)?;
    let ours = play(kit.subject()?)?;
    match difference(&ours, &theirs, ["this build", "the other"]) {
        Some(seen) => Err(Stop::Failed(seen)),
        None => Ok(format!("{} requests, the same in both builds", ours.answers.len())),
    }
}
