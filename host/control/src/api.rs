//! The policies' API: what can be asked, and what can be done, over the admin listener.

mod fields;

use std::{
    future::Future,
    path::PathBuf,
    pin::Pin,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use sluicegate_admin::{Answer, Api, Call, Problem};
use sluicegate_core::{CanarySpec, CanaryStep};
use sluicegate_policy::{Cause, Digest, Plugin, Refusal, Swapped, TrialSpec};
use tokio::task::spawn_blocking;

use crate::{
    actor::ClusterHandle,
    config::{PolicySource, PolicySpec},
    policies,
    status::{Board, carried_json, history_json, picks_json},
};
use fields::Fields;
use hyper::StatusCode;

/// The most steps that a canary may have; nobody needs half as many.
const MAX_STEPS: usize = 20;

/// The longest that a step may be held.
const MAX_HOLD_S: f64 = 7.0 * 86_400.0;

/// What a policy is named with.
const POLICY: [&str; 4] = ["policy", "file", "config", "sha256"];
const PERCENT: &str = "percent";

impl Api for Board {
    fn call(&self, call: Call) -> Pin<Box<dyn Future<Output = Answer> + Send + '_>> {
        Box::pin(async move {
            let path: Vec<&str> = call.path.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
            match (call.changes, path.as_slice()) {
                (false, []) => Ok(json!({ "clusters": self.policies() })),
                (false, [cluster]) => self.policy(cluster).ok_or_else(|| self.unknown(cluster)),
                (false, [cluster, "history"]) => {
                    let status = self.handle(cluster)?.status.borrow().policy.clone();
                    Ok(json!({ "cluster": cluster, "history": history_json(&status) }))
                }
                (false, [cluster, "picks"]) => {
                    let picks = self.handle(cluster)?.look().await;
                    Ok(picks_json(cluster, &picks, self.now()))
                }
                (true, [cluster, what @ ("swap" | "shadow" | "canary" | "promote" | "rollback")]) => {
                    self.change(cluster, what, &call.body).await
                }
                (false, [_, what @ ("swap" | "shadow" | "canary" | "promote" | "rollback")]) => Err(Problem::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "method",
                    format!("{what} changes something: use POST"),
                )),
                (true, [] | [_] | [_, "history" | "picks"]) => {
                    Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", "nothing is changed here: use GET"))
                }
                _ => Err(Problem::new(
                    StatusCode::NOT_FOUND,
                    "unknown_path",
                    "there are /policies, /policies/CLUSTER, and below that history, picks, swap, shadow, canary, \
                     promote and rollback",
                )),
            }
        })
    }
}

impl Board {
    fn handle(&self, cluster: &str) -> Result<ClusterHandle, Problem> {
        self.cluster_handle(cluster).ok_or_else(|| self.unknown(cluster))
    }

    fn unknown(&self, cluster: &str) -> Problem {
        let known = self.cluster_names().join(", ");
        let message = format!("there is no cluster {cluster:?}; there are: {known}");
        Problem::new(StatusCode::NOT_FOUND, "unknown_cluster", message)
    }

    async fn change(&self, cluster: &str, what: &str, body: &Value) -> Answer {
        let handle = self.handle(cluster)?;
        let cause = Cause { why: format!("{what} by hand").into(), at: SystemTime::now() };
        match what {
            "swap" => {
                let fields = Fields::new(body, &[&POLICY])?;
                let plugin = self.plugin(&fields).await?;
                swapped(handle.set_policy(plugin.name.clone(), Ok(plugin), None, cause).await)
            }
            "shadow" => {
                let fields = Fields::new(body, &[&POLICY, &[PERCENT]])?;
                let share = fields.number(PERCENT, 0.001..=100.0)?.unwrap_or(100.0) / 100.0;
                let plugin = self.plugin(&fields).await?;
                swapped(handle.put_on_trial(plugin, TrialSpec::Shadow(share), cause).await)
            }
            "canary" => {
                let fields = Fields::new(body, &[&POLICY, &PLAN])?;
                let spec = plan(&fields)?;
                let plugin = self.plugin(&fields).await?;
                swapped(handle.put_on_trial(plugin, TrialSpec::Canary(spec), cause).await)
            }
            "promote" => {
                Fields::new(body, &[])?;
                let generation = handle.promote(cause).await.map_err(refused)?;
                Ok(json!({ "generation": generation }))
            }
            _ => {
                let to = Fields::new(body, &[&["generation"]])?.integer("generation", 1..=u64::MAX)?;
                let (ended, generation) = handle.roll_back(to, cause).await.map_err(refused)?;
                Ok(json!({ "generation": generation, "ended_trial_of": ended }))
            }
        }
    }

    /// The policy that a body names, read and checked for whom it comes from.
    async fn plugin(&self, fields: &Fields<'_>) -> Result<Plugin, Problem> {
        let source = match (fields.text("policy")?, fields.text("file")?) {
            (Some(name), None) if sluicegate_builtins::get(name).is_some() => PolicySource::Builtin(name.into()),
            (Some(name), None) => {
                let known = sluicegate_builtins::names().collect::<Vec<_>>().join(", ");
                let message = format!("no built-in policy is called {name:?} (there are: {known}); or name a `file`");
                return Err(Problem::bad_request(message));
            }
            (None, Some(file)) if file.starts_with('/') => PolicySource::File(PathBuf::from(file)),
            (None, Some(_)) => {
                return Err(Problem::bad_request("`file` must be an absolute path on the proxy's machine"));
            }
            _ => return Err(Problem::bad_request("name a built-in `policy`, or a `file`")),
        };
        let sha256 = match fields.text("sha256")? {
            Some(_) if matches!(source, PolicySource::Builtin(_)) => {
                return Err(Problem::bad_request("`sha256` is for a `file`"));
            }
            Some(text) => Some(Digest::parse(text).ok_or_else(|| {
                Problem::bad_request("`sha256` must be 64 hexadecimal digits, as `sha256sum FILE` prints them")
            })?),
            None => None,
        };
        let config = fields.object("config")?.unwrap_or_else(|| json!({}));
        let spec = PolicySpec { source, config, sha256 };
        let (module_bytes, trust) = self.rules();
        let fetched = spawn_blocking(move || match policies::fetch_checked(&spec, module_bytes, &trust) {
            Ok(plugin) => Ok(plugin),
            Err(policies::FetchError::Refused(refusal)) => Err(refused(refusal)),
            Err(policies::FetchError::Unread(error)) => {
                Err(Problem::new(StatusCode::CONFLICT, "unreadable", format!("the proxy can't read {error}")))
            }
        });
        fetched.await.unwrap_or_else(|error| Err(Problem::bad_request(error.to_string())))
    }
}

const PLAN: [&str; 7] = [
    "steps",
    "by",
    "min_requests",
    "max_error_ratio",
    "min_error_increase_percent",
    "max_latency_ratio",
    "min_latency_increase_ms",
];

fn plan(fields: &Fields<'_>) -> Result<CanarySpec, Problem> {
    let default = CanarySpec::default();
    let steps = match fields.array("steps", MAX_STEPS)? {
        Some(steps) => steps.iter().map(step).collect::<Result<Vec<_>, _>>()?,
        None => default.steps,
    };
    // A last step of 100 % is the promotion.
    let before_last = steps.len().saturating_sub(1);
    let is_whole = |step: &CanaryStep| step.share >= 1.0;
    if steps.iter().take(before_last).any(is_whole) || (steps.len() == 1 && steps.iter().any(is_whole)) {
        return Err(Problem::bad_request("`steps`: 100 % can only be the last of several steps: it is the promotion"));
    }
    let steps: Vec<CanaryStep> = steps.into_iter().filter(|step| step.share < 1.0).collect();
    if steps.is_empty() || !steps.is_sorted_by(|a, b| a.share < b.share) {
        return Err(Problem::bad_request("`steps` must be at least one, each with more percent than the one before"));
    }
    let by_hash = match fields.text("by")? {
        None | Some("random") => false,
        Some("hash") => true,
        Some(other) => return Err(Problem::bad_request(format!("`by` must be \"random\" or \"hash\", not {other:?}"))),
    };
    let ratio = |key, default| fields.number(key, 1.0..=1000.0).map(|value| value.unwrap_or(default));
    Ok(CanarySpec {
        steps,
        by_hash,
        min_requests: fields.integer("min_requests", 1..=1_000_000_000)?.unwrap_or(default.min_requests),
        max_error_ratio: ratio("max_error_ratio", default.max_error_ratio)?,
        min_error_increase: fields
            .number("min_error_increase_percent", 0.0..=100.0)?
            .map_or(default.min_error_increase, |percent| percent / 100.0),
        max_latency_ratio: ratio("max_latency_ratio", default.max_latency_ratio)?,
        min_latency_increase_ns: fields
            .number("min_latency_increase_ms", 0.0..=3.6e6)?
            .map_or(default.min_latency_increase_ns, |ms| (ms * 1e6) as u64),
    })
}

fn step(value: &Value) -> Result<CanaryStep, Problem> {
    let fields = Fields::new(value, &[&[PERCENT, "hold_s"]])?;
    let percent = fields.number(PERCENT, 0.001..=100.0)?;
    let share = percent.ok_or_else(|| Problem::bad_request("each of the `steps` needs a `percent`"))? / 100.0;
    let hold = fields.number("hold_s", 0.0..=MAX_HOLD_S)?.unwrap_or(60.0);
    Ok(CanaryStep { share, hold_ns: Duration::from_secs_f64(hold).as_nanos() as u64 })
}

fn swapped(result: Result<Swapped, Refusal>) -> Answer {
    let swapped = result.map_err(refused)?;
    let ms = |time: Duration| (time.as_secs_f64() * 1e4).round() / 10.0;
    Ok(json!({
        "generation": swapped.generation,
        "unchanged": swapped.unchanged,
        "state": carried_json(swapped.carried.as_ref()),
        "cached": swapped.cached,
        "load_ms": ms(swapped.load_time),
        "total_ms": ms(swapped.total_time),
        "pick_ns": swapped.rehearsal.map(|rehearsal| rehearsal.pick_ns),
    }))
}

/// Refused, and nothing has changed.
fn refused(refusal: Refusal) -> Problem {
    let status = match refusal {
        Refusal::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::CONFLICT,
    };
    Problem::new(status, refusal.label(), refusal.to_string())
}
