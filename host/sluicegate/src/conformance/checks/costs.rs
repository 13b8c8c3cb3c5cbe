//! Time and memory.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    check::report::{bytes, time},
    conformance::{Checked, Kit, traffic::endpoints},
};

const SIZES: [u32; 3] = [10, 1_000, 10_000];
const REQUESTS: u32 = 300;

/// So many calls have to be too long: a single one may have met a page that was not there yet.
const TOO_OFTEN: usize = 3;

pub(super) fn deadline(kit: &Kit) -> Checked {
    let mut subject = kit.subject()?;
    subject.times = Some(BTreeMap::new());
    for count in SIZES {
        subject.show(&endpoints(0, count))?;
        subject.serve_many(REQUESTS)?;
        subject.show(&endpoints(1, count))?;
        subject.serve_many(REQUESTS)?;
        if let Some(saved) = subject.save()? {
            // A refusal is for another check.
            let _ = subject.restore(&saved)?;
        }
        if subject.exports().timer {
            subject.tick()?;
        }
    }
    let limits = kit.engine.limits();
    let mut slowest = Vec::new();
    for (call, mut times) in subject.times.take().unwrap_or_default() {
        times.sort_unstable_by(|one, other| other.cmp(one));
        let is_short = ["pick", "on-result", "on-probe", "tick"].contains(&call);
        let (limit, which) = match is_short {
            true => (limits.pick_timeout, TOO_OFTEN - 1),
            false => (limits.setup_timeout, 0),
        };
        if let Some(over) = times.get(which).filter(|time| **time > limit) {
            let many = times.iter().filter(|time| **time > limit).count();
            let seen = format!("`{call}` took {} and more, {many} times: its limit is {}", time(*over), time(limit));
            return Err(subject.failed(seen));
        }
        slowest.push(format!("{call} {} of {}", fine(times[0]), time(limit)));
    }
    Ok(format!("at most, in processor time, with up to 10,000 endpoints: {}", slowest.join(", ")))
}

fn fine(duration: Duration) -> String {
    if duration < Duration::from_millis(1) { format!("{} us", duration.as_micros()) } else { time(duration) }
}

/// A stretch is long enough for eight bytes lost in each pick to be a page of memory.
const PICKS: u32 = 10_000;
const CHANGES: u32 = 100;
/// What it keeps of clients and endpoints is there after these.
const WARM_UP: usize = 3;
const STRETCHES: usize = 10;

/// What an allocator may still find out that it needs, once.
const SETTLING: usize = 256 << 10;

pub(super) fn memory(kit: &Kit) -> Checked {
    let mut subject = kit.subject()?;
    subject.show(&endpoints(0, 10_000))?;
    subject.serve_many(200)?;
    let largest = subject.memory_bytes();
    // A fresh one, which has no room left over from so many endpoints.
    let mut subject = kit.subject()?;
    let (mut first, mut after) = (0, Vec::new());
    for _ in 0..WARM_UP + STRETCHES {
        for _ in 0..CHANGES {
            // Half of them are new, and those that went never come back.
            first += 10;
            subject.show(&endpoints(first, 20))?;
            subject.serve_many(PICKS / CHANGES)?;
        }
        after.push(subject.memory_bytes());
    }
    let measured = &after[WARM_UP - 1..];
    let (before, end) = (measured[0], measured[STRETCHES]);
    let grown = measured.windows(2).filter(|pair| pair[1] > pair[0]).count();
    if grown >= STRETCHES / 2 || end > before + SETTLING.max(before / 4) {
        let seen = format!(
            "grew from {} to {} in {} picks and {} changes of the endpoints, after as many as it takes to warm up: a leak?",
            bytes(before),
            bytes(end),
            PICKS as usize * STRETCHES,
            CHANGES as usize * STRETCHES,
        );
        return Err(subject.failed(seen));
    }
    let (small, large, limit) = (bytes(end), bytes(largest), bytes(kit.engine.limits().memory_bytes));
    Ok(format!("{small} with 20 endpoints, {large} with 10,000, of {limit}"))
}
