//! A cluster's policy as JSON.

use std::{collections::HashMap, time::SystemTime};

use serde_json::{Value, json};
use sluicegate_core::{CanaryArm, CanarySpec, EndpointId, HistogramSnapshot};
use sluicegate_policy::{Change, Generation, SupervisorStatus, TrialStatus};

use crate::endpoints::EndpointView;

pub(super) fn policy_json(policy: &SupervisorStatus, endpoints: &[EndpointView]) -> Value {
    let since = policy.serving_since().map(|change| json!({ "at": rfc3339(change.at), "why": &*change.why }));
    json!({
        "active": policy.active.as_deref().map(generation_json),
        "since": since,
        "kept": policy.kept.iter().map(|generation| generation_json(generation)).collect::<Vec<_>>(),
        "trial": policy.trial.as_ref().map(|trial| trial_json(trial, endpoints)),
        "recent_faults": policy.recent_faults,
        "last_fault": policy.last_fault,
        "last_refusal": policy.last_refusal,
        "history": history_json(policy),
    })
}

/// The latest change first.
pub(crate) fn history_json(policy: &SupervisorStatus) -> Vec<Value> {
    policy.history.iter().rev().map(change_json).collect()
}

fn generation_json(generation: &Generation) -> Value {
    let artifact = &generation.spec.artifact;
    json!({
        "generation": generation.number,
        "policy": &*generation.spec.policy,
        "sha256": artifact.digest.to_string(),
        "bytes": artifact.bytes,
        "lane": artifact.lane().label(),
        "contract": artifact.contract_version(),
        "exports": { "feedback": artifact.exports.feedback, "state": artifact.exports.state },
        "config": serde_json::from_str::<Value>(&generation.spec.config).unwrap_or(Value::Null),
    })
}

fn change_json(change: &Change) -> Value {
    let ms = |time: std::time::Duration| (time.as_secs_f64() * 1e4).round() / 10.0;
    json!({
        "at": rfc3339(change.at),
        "event": change.event.label(),
        "why": &*change.why,
        "generation": change.generation,
        "policy": &*change.policy,
        "sha256": change.digest.map(|digest| digest.to_string()),
        "state": carried_json(change.carried.as_ref()),
        "load_ms": ms(change.times.load),
        "rehearse_ms": ms(change.times.rehearse),
        "switch_ms": ms(change.times.switch),
    })
}

/// What became of a predecessor's state.
pub(crate) fn carried_json(carried: Option<&Result<(), String>>) -> Value {
    match carried {
        None => Value::Null,
        Some(Ok(())) => "carried over".into(),
        Some(Err(reason)) => format!("refused: {reason}").into(),
    }
}

fn trial_json(trial: &TrialStatus, endpoints: &[EndpointView]) -> Value {
    let tally = &trial.tally;
    let mut value = json!({
        "kind": if trial.canary.is_some() { "canary" } else { "shadow" },
        "candidate": generation_json(&trial.generation),
        "since": rfc3339(trial.since),
        "percent": percent(trial.share),
        "faults": tally.faults.max(trial.faults),
    });
    let more = match &trial.canary {
        Some((spec, step)) => json!({
            "step": step + 1,
            "plan": plan_json(spec),
            "active": arm_json(&tally.active),
            "candidate_results": arm_json(&tally.candidate),
        }),
        None => {
            let compared = tally.agreed + tally.differed;
            json!({
                "picks": compared + tally.declined,
                "agreed": tally.agreed,
                "differed": tally.differed,
                "declined": tally.declined,
                "agreement_percent": (compared > 0).then(|| percent(tally.agreed as f64 / compared as f64)),
                "cost_ns": cost_json(&tally.cost),
                "spread": spread_json(&tally.spread, endpoints),
            })
        }
    };
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}

fn plan_json(spec: &CanarySpec) -> Value {
    let steps =
        spec.steps.iter().map(|step| json!({ "percent": percent(step.share), "hold_s": step.hold_ns as f64 * 1e-9 }));
    json!({
        "steps": steps.collect::<Vec<_>>(),
        "by": if spec.by_hash { "hash" } else { "random" },
        "min_requests": spec.min_requests,
        "max_error_ratio": spec.max_error_ratio,
        "min_error_increase_percent": percent(spec.min_error_increase),
        "max_latency_ratio": spec.max_latency_ratio,
        "min_latency_increase_ms": spec.min_latency_increase_ns as f64 * 1e-6,
    })
}

fn arm_json(arm: &CanaryArm) -> Value {
    let ms = |q| arm.latency.quantile(q) as f64 / 1e6;
    json!({
        "requests": arm.requests,
        "failures": arm.failures,
        "error_percent": percent(arm.error_rate()),
        "latency_ms": { "p50": ms(0.5), "p95": ms(0.95), "p99": ms(0.99) },
    })
}

fn cost_json(cost: &HistogramSnapshot) -> Value {
    json!({ "p50": cost.quantile(0.5), "p99": cost.quantile(0.99), "max": cost.quantile(1.0) })
}

fn spread_json(spread: &[(EndpointId, u64, u64)], endpoints: &[EndpointView]) -> Value {
    let names: HashMap<EndpointId, &str> =
        endpoints.iter().map(|view| (view.endpoint.id, &*view.endpoint.name)).collect();
    let of = |(id, active, candidate): &(EndpointId, u64, u64)| {
        let name = names.get(id).map_or_else(|| id.to_string(), ToString::to_string);
        json!({ "endpoint": name, "active": active, "candidate": candidate })
    };
    spread.iter().map(of).collect()
}

/// With as many digits as people read.
fn percent(share: f64) -> f64 {
    (share * 1e6).round() / 1e4
}

/// UTC, to the millisecond (RFC 3339).
pub(crate) fn rfc3339(at: SystemTime) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (days, of_day) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Days from 0000-03-01, in eras of 400 years: a year that begins in March has its leap day at its end.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second, ms) = (of_day / 3600, of_day / 60 % 60, of_day % 60, since.subsec_millis());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (4_102_444_799_000, "2099-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(rfc3339(SystemTime::UNIX_EPOCH + Duration::from_millis(ms)), expected);
        }
    }
}
