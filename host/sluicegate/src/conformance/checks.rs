//! The checks, in the order in which they are run.

mod asking;
mod costs;
mod membership;
mod results;
mod same;
mod state;

use sluicegate_policy::Fault;

use super::{Checked, Kit, subject::Subject, traffic::endpoints};
use crate::check::report::bytes;

/// One thing that is looked at.
pub(super) struct Check {
    /// Its name, which stays.
    pub(super) name: &'static str,
    /// What is expected.
    pub(super) expected: &'static str,
    /// Whether the checks after it make no sense without it.
    pub(super) is_gate: bool,
    pub(super) run: fn(&Kit) -> Checked,
}

/// All of them.
pub(super) const CHECKS: &[Check] = &[
    gate("loads", "the file is a policy: it compiles, and has the contract's exports and imports", loads),
    gate("configures", "it takes the configuration that it is given", configures),
    gate("call-order", "it bears the calls that the proxy makes, in the orders in which they come", call_order),
    check(
        "index-bounds",
        "every pick is below the number of endpoints, or leaves the request to the proxy",
        index_bounds,
    ),
    check("membership", "endpoints may come, go and change all at once, from none to 10,000", membership::storms),
    check(
        "excluded",
        "an endpoint that a request has been to is not picked while another is left",
        membership::excluded,
    ),
    check("determinism", "the same calls and the same seed give the same picks, and teach the same", same::determinism),
    check("same-picks", "another build of the policy gives the same picks", same::same_picks),
    check(
        "feedback",
        "it bears every kind of result, in any order, also of endpoints that are gone",
        results::feedback,
    ),
    check("probes", "it bears every answer to a probe, and asks for no more than 64 in a call", asking::probes),
    check(
        "timer",
        "it bears being called when it asked for it, and asks for no less than a millisecond",
        asking::timer,
    ),
    check("replies", "what it says beside a pick can be done", asking::replies),
    check(
        "state",
        "an instance takes over what another one has saved, and what is no such thing does no harm",
        state::state,
    ),
    check("configuration", "a bad configuration is refused with a message, or does no harm", asking::configuration),
    check("deadline", "no call takes longer than its limit", costs::deadline),
    check("memory", "memory stays below its limit, and stops growing", costs::memory),
];

const fn check(name: &'static str, expected: &'static str, run: fn(&Kit) -> Checked) -> Check {
    Check { name, expected, is_gate: false, run }
}

const fn gate(name: &'static str, expected: &'static str, run: fn(&Kit) -> Checked) -> Check {
    Check { name, expected, is_gate: true, run }
}

/// The check whose business a fault is, wherever it happens.
pub(super) fn home(fault: &Fault) -> Option<&'static str> {
    match fault {
        Fault::Timeout { .. } => Some("deadline"),
        Fault::Memory { .. } => Some("memory"),
        Fault::BadIndex { .. } => Some("index-bounds"),
        Fault::Trap { callback, .. } | Fault::StackOverflow { callback } => match *callback {
            "on-result" => Some("feedback"),
            "on-probe" => Some("probes"),
            "tick" => Some("timer"),
            "save" | "restore" => Some("state"),
            _ => None,
        },
        Fault::BadReply { .. } => Some("replies"),
    }
}

fn loads(kit: &Kit) -> Checked {
    let artifact = kit.artifact()?;
    Ok(format!("{}, {} lane: {}", bytes(artifact.bytes), artifact.lane().label(), artifact.lane_reason))
}

fn configures(kit: &Kit) -> Checked {
    kit.subject().map(|_| format!("takes {}", kit.config))
}

/// A life as the proxy gives it: it may see no endpoints at first, or for a while; the same ones may be shown again; what
/// is under way ends when it ends.
fn call_order(kit: &Kit) -> Checked {
    let mut subject = kit.subject()?;
    if subject.exports().timer {
        subject.tick()?;
    }
    subject.show(&[])?;
    for _ in 0..2 {
        subject.show(&endpoints(0, 2))?;
        subject.serve_many(16)?;
    }
    subject.show(&[])?;
    subject.finish_all()?;
    if subject.exports().timer {
        subject.tick()?;
    }
    subject.save()?;
    subject.show(&endpoints(1, 3))?;
    subject.serve_many(16)?;
    subject.finish_all()?;
    // A second worker of the same proxy, and a candidate beside it, are instances like this one.
    let mut beside = kit.subject()?;
    beside.show(&endpoints(1, 3))?;
    for _ in 0..16 {
        subject.serve()?;
        beside.serve()?;
    }
    Ok(said(&subject))
}

fn index_bounds(kit: &Kit) -> Checked {
    let mut subject = kit.subject()?;
    // Around the size of a block of signals, too.
    for count in [1, 2, 3, 7, 63, 64, 65, 100, 1_000] {
        subject.show(&endpoints(0, count))?;
        subject.serve_many(200)?;
    }
    Ok(format!("{}, among 1 to 1,000 endpoints", said(&subject)))
}

/// How many picks there were, and how many of them picked nobody.
fn said(subject: &Subject) -> String {
    let seen = &subject.seen;
    let mut said = format!("{} picks", seen.picks);
    for (count, what) in [(seen.declined, "left to the proxy"), (seen.rejected, "turned away")] {
        if count == seen.picks {
            said.push_str(&format!(", all of them {what}: it picks nobody"));
        } else if count > 0 {
            said.push_str(&format!(", {count} {what}"));
        }
    }
    said
}
