//! What a policy asks of the proxy, and what it is told of its own: probes, ticks, replies, its configuration.

use std::sync::Arc;

use serde_json::{Value, json};
use sluicegate_core::{EndpointId, ProbeResult};

use super::said;
use crate::conformance::{Checked, Kit, Stop, traffic::endpoints};

const REQUESTS: u32 = 500;

pub(super) fn probes(kit: &Kit) -> Checked {
    let mut subject = kit.subject()?;
    let asks = kit.artifact()?.imports.iter().any(|import| import == "host.probe");
    if !asks && !subject.exports().probing {
        return Err(Stop::Skipped("it asks for no probes".into()));
    }
    for count in [3, 200] {
        subject.show(&endpoints(0, count))?;
        subject.serve_many(REQUESTS)?;
    }
    let gone = subject.snapshot.endpoints()[0].id;
    subject.show(&endpoints(100, 3))?;
    for endpoint in [subject.snapshot.endpoints()[0].id, gone, EndpointId(0), EndpointId(u64::MAX)] {
        for ok in [true, false] {
            for number in [None, Some(0), Some(1), Some(u64::MAX - 1)] {
                let round_trip_us = number.map_or(u32::MAX, |number| number as u32);
                let probe = ProbeResult { endpoint, ok, round_trip_us, load: number, latency_us: number };
                subject.hear_probe(&probe)?;
                subject.serve()?;
            }
        }
    }
    let seen = &subject.seen;
    if seen.dropped_probes > 0 {
        let dropped = seen.dropped_probes;
        return Err(subject.failed(format!("{dropped} probes were dropped, because one call asked for more than 64")));
    }
    Ok(format!("{} probes in {} picks", seen.probes, seen.picks))
}

pub(super) fn timer(kit: &Kit) -> Checked {
    let mut subject = kit.subject()?;
    if !subject.exports().timer {
        return Err(Stop::Skipped("it does not export `timer`".into()));
    }
    let mut ticks = 0;
    // Without endpoints first, as it may be when the proxy starts.
    for count in [0, 5, 0, 1, 100] {
        subject.show(&endpoints(0, count))?;
        for _ in 0..20 {
            let after = subject.tick()?;
            ticks += 1;
            match after {
                0 => break,
                1..1_000_000 => {
                    let seen = format!("wants to be called again after {after} ns: the proxy makes 1 ms of it");
                    return Err(subject.failed(seen));
                }
                // A day is as long as a test can be sure of.
                after => subject.now += after.min(86_400_000_000_000),
            }
            if count > 0 {
                subject.serve()?;
            }
        }
    }
    Ok(format!("{ticks} ticks"))
}

pub(super) fn replies(kit: &Kit) -> Checked {
    if !kit.artifact()?.imports.iter().any(|import| import.starts_with("reply.")) {
        return Err(Stop::Skipped("it says nothing beside its picks".into()));
    }
    let mut subject = kit.subject()?;
    for count in [1, 2, 8, 100] {
        subject.show(&endpoints(0, count))?;
        subject.serve_many(REQUESTS)?;
        if let Some(wrong) = &subject.seen.wrong {
            return Err(subject.failed(wrong.clone()));
        }
    }
    let seen = &subject.seen;
    let counts = [
        (seen.headers, "headers"),
        (seen.next_choices, "next choices"),
        (seen.hedges, "hedges"),
        (seen.explanations, "explanations"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!(", {count} {what}"));
    Ok(said(&subject) + &counts.collect::<String>())
}

/// A key that no policy has.
const UNKNOWN: &str = "no_policy_has_such_a_key";

pub(super) fn configuration(kit: &Kit) -> Checked {
    let mut configs = vec![
        json!({}).to_string(),
        format!("{{\"a\": {}1{}}}", "[".repeat(10_000), "]".repeat(10_000)),
        json!({ "a": "x".repeat(100_000) }).to_string(),
        json!({ "\u{0}\u{1F600}": "\u{10FFFF}" }).to_string(),
        "{\"a\": 1e999, \"b\": -0, \"c\": 123456789012345678901234567890}".into(),
    ];
    // No proxy sends these, but a policy's own parser is not to be a way to stop it.
    configs.extend(["", "{", "null", "[]", "\"", "{\"a\":", "{\"a\": \"\\ud800\"}", "\u{feff}{}"].map(str::to_owned));
    let given: Value = serde_json::from_str(&kit.config).unwrap_or_default();
    for key in given.as_object().into_iter().flatten().map(|(key, _)| key) {
        for value in [json!(null), json!(-1), json!(1e300), json!("x"), json!([]), json!({}), json!(true)] {
            let mut config = given.clone();
            config[key] = value;
            configs.push(config.to_string());
        }
    }
    let mut refused = 0;
    for config in &configs {
        refused += usize::from(!takes(kit, config)?);
    }
    let mut with_unknown = given;
    with_unknown[UNKNOWN] = json!(1);
    let slip = match takes(kit, &with_unknown.to_string())? {
        true => "a key that it does not know is taken, so that a slip goes unnoticed",
        false => "so is a key that it does not know",
    };
    Ok(format!("of {} that are bad or borderline, {refused} are refused; {slip}", configs.len()))
}

/// Whether it takes this configuration. If it does, it has to serve with it.
fn takes(kit: &Kit, config: &str) -> Checked<bool> {
    let shown: String = config.chars().take(80).collect();
    let seen = |stop| match stop {
        Stop::Fault(fault, doing) => Stop::Fault(fault, format!("{doing}, configured with {shown}")),
        stop => stop,
    };
    match kit.subject_with(&Arc::from(config)) {
        Ok(mut subject) => {
            subject.show(&endpoints(0, 4)).map_err(seen)?;
            subject.serve_many(10).map_err(seen)?;
            Ok(true)
        }
        Err(Stop::Refused(reason)) if reason.trim().is_empty() => {
            Err(Stop::Failed(format!("refused {shown} without a word of why")))
        }
        Err(Stop::Refused(_)) => Ok(false),
        Err(stop) => Err(seen(stop)),
    }
}
