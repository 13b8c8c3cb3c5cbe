//! Endpoints that come, go and change; and those that a request has been to.

use super::said;
use crate::conformance::{
    Checked, Kit,
    subject::{Answer, Subject},
    traffic::endpoints,
};

/// From which number on, and how many: grown, shrunk, all replaced at once, and from none to 10,000.
const STORM: [(u32, u32); 16] = [
    (0, 0),
    (0, 1),
    (0, 2),
    (0, 100),
    (0, 10_000),
    (10_000, 10_000),
    (19_999, 3),
    (0, 0),
    (30_000, 1),
    (30_000, 64),
    (30_001, 64),
    (40_000, 64),
    (40_000, 65),
    (40_064, 1),
    (50_000, 5),
    (50_004, 2),
];

/// Requests between two changes.
const REQUESTS: u32 = 40;

pub(super) fn storms(kit: &Kit) -> Checked {
    let mut subject = kit.subject()?;
    for (first, count) in STORM {
        subject.show(&endpoints(first, count))?;
        between(&mut subject)?;
    }
    // The same ones in another order, with other weights, in another zone.
    let mut specs = endpoints(60_000, 20);
    subject.show(&specs)?;
    between(&mut subject)?;
    specs.reverse();
    subject.show(&specs)?;
    between(&mut subject)?;
    for (index, spec) in specs.iter_mut().enumerate() {
        spec.weight = if index == 0 { 65_535 } else { 1 };
        spec.zone = "b".into();
        spec.labels.clear();
    }
    subject.show(&specs)?;
    between(&mut subject)?;
    // Many changes, and not a single pick.
    for turn in 0..50 {
        subject.show(&endpoints(turn, turn % 7))?;
    }
    subject.show(&endpoints(3, 4))?;
    between(&mut subject)?;
    Ok(format!("{}, in {} changes", said(&subject), subject.snapshot.generation))
}

/// Some requests, if there is anybody to serve them: the proxy does not ask otherwise.
fn between(subject: &mut Subject) -> Checked<()> {
    if subject.count() > 0 { subject.serve_many(REQUESTS) } else { subject.finish() }
}

/// Up to so many endpoints are excluded. A request that has been to more does not care where it goes next.
const MOST_EXCLUDED: u32 = 8;

pub(super) fn excluded(kit: &Kit) -> Checked {
    let mut subject = kit.subject()?;
    let mut again = 0;
    for count in [2, 3, 10, 100] {
        subject.show(&endpoints(0, count))?;
        subject.serve_many(20)?;
        for _ in 0..100 {
            let mut tried = Vec::new();
            while (tried.len() as u32) < count.min(MOST_EXCLUDED + 1) {
                match subject.pick(&tried)? {
                    Answer::Endpoint(index) if tried.contains(&index) => {
                        let left = count - tried.len() as u32;
                        let seen =
                            format!("picked {index} although the request has been to {tried:?}; {left} were left");
                        return Err(subject.failed(seen));
                    }
                    Answer::Endpoint(index) => tried.push(index),
                    // The proxy's own choice, or nobody's.
                    Answer::Declined | Answer::Rejected => break,
                }
                again += u32::from(tried.len() > 1);
            }
        }
    }
    Ok(format!("{again} retries, up to {MOST_EXCLUDED} endpoints excluded"))
}
