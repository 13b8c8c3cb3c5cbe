//! Results of attempts, of every kind.

use sluicegate_core::{AttemptResult, EndpointId, Outcome};

use crate::conformance::{
    Checked, Kit, Stop,
    subject::{Answer, Subject},
    traffic::endpoints,
};

const ALL: [Outcome; 5] =
    [Outcome::Answered, Outcome::ConnectFailed, Outcome::Broken, Outcome::TimedOut, Outcome::Cancelled];

pub(super) fn feedback(kit: &Kit) -> Checked {
    let mut subject = kit.subject()?;
    if !subject.exports().feedback {
        return Err(Stop::Skipped("it does not export `feedback`: it is never told how requests went".into()));
    }
    subject.show(&endpoints(0, 8))?;
    let here: Vec<EndpointId> = subject.snapshot.endpoints().iter().map(|endpoint| endpoint.id).collect();
    // Several attempts at once, several of them at the same endpoint; they end in any order.
    for _ in 0..50 {
        if let Answer::Endpoint(index) = subject.pick(&[])? {
            subject.send(index);
        }
    }
    subject.finish_all()?;
    // An attempt of a retry, or of a generation before, is one that this instance never picked.
    let mut told = every_kind(&mut subject, &here)?;
    // They go while attempts are under way.
    (0..8).for_each(|index| subject.send(index));
    subject.show(&endpoints(100, 4))?;
    told += every_kind(&mut subject, &here)?;
    subject.finish_all()?;
    subject.serve_many(20)?;
    // Nobody is left, and then all that are left fail, time and again.
    subject.show(&[])?;
    told += every_kind(&mut subject, &here)?;
    subject.show(&endpoints(0, 3))?;
    for turn in 0..1_000_u32 {
        let outcome = ALL[1 + turn as usize % 3];
        subject.hear(&result(here[turn as usize % 3], outcome, 0, 1_000))?;
    }
    subject.serve_many(100)?;
    Ok(format!("{} results of every kind, of endpoints that are there, gone, and never were", told + 1_000))
}

/// Every outcome with the statuses and times that it can have, those of an endpoint that is not known included.
fn every_kind(subject: &mut Subject, known: &[EndpointId]) -> Checked<u32> {
    let mut told = 0;
    for endpoint in [known[0], known[1], EndpointId(0), EndpointId(u64::MAX)] {
        for outcome in ALL {
            for status in [0, 100, 200, 404, 503, 999] {
                for total_us in [0, 1, 1_000, u32::MAX] {
                    subject.hear(&result(endpoint, outcome, status, total_us))?;
                    told += 1;
                }
            }
            if subject.count() > 0 {
                subject.serve()?;
            }
        }
    }
    Ok(told)
}

fn result(endpoint: EndpointId, outcome: Outcome, status: u16, total_us: u32) -> AttemptResult {
    let first_byte_us = if outcome == Outcome::Answered { total_us } else { 0 };
    AttemptResult { endpoint, outcome, status, connect_us: total_us / 2, first_byte_us, total_us }
}
