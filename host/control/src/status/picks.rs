//! Picks as JSON.

use serde_json::{Value, json};
use sluicegate_policy::{LOOKED_AT_NS, SeenPick};

/// The latest first.
pub(crate) fn picks_json(cluster: &str, picks: &[SeenPick], now: u64) -> Value {
    let picks: Vec<Value> = picks.iter().map(|pick| pick_json(pick, now)).collect();
    json!({ "cluster": cluster, "recorded_for_s": LOOKED_AT_NS / 1_000_000_000, "picks": picks })
}

fn pick_json(pick: &SeenPick, now: u64) -> Value {
    json!({
        "ms_ago": now.saturating_sub(pick.at) / 1_000_000,
        "worker": pick.worker,
        "generation": (pick.generation > 0).then_some(pick.generation),
        "candidate": pick.candidate,
        "attempt": pick.attempt,
        "hash": (pick.hash > 0).then(|| format!("{:016x}", pick.hash)),
        "endpoint": pick.endpoint.as_deref(),
        "rejected": pick.rejected.map(|status| status.as_u16()),
        "cost_ns": pick.cost_ns,
        "explanation": pick.explanation,
    })
}
