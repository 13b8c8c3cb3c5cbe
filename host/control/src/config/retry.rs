//! A cluster's `retry` and `limits`.

use sluicegate_core::{Backoff, CircuitLimits, RetryBudget};
use sluicegate_proxy::{RetryCondition, RetryOn, RetrySettings};

use super::{
    errors::known_names,
    read::{MAX_SHORT_MS, millis},
    tree::Node,
};

// Each word once, and then some.
const MAX_CONDITIONS: usize = 100;
// More retries than requests are a flood.
const MAX_PERCENT: u32 = 100;
// It is held for every request that is under way.
const MAX_BODY: u32 = 16 << 20;
// Far above what a process may have open.
const MAX_LIMIT: u32 = 10_000_000;

// Envoy's words where it has them; `response-timeout` is HAProxy's.
const CONDITIONS: &[(&str, RetryCondition)] = &[
    ("connect-failure", RetryCondition::ConnectFailure),
    ("refused-stream", RetryCondition::RefusedStream),
    ("reset", RetryCondition::Reset),
    ("attempt-timeout", RetryCondition::AttemptTimeout),
    ("response-timeout", RetryCondition::ResponseTimeout),
    ("grpc-cancelled", RetryCondition::GrpcStatus(1)),
    ("grpc-deadline-exceeded", RetryCondition::GrpcStatus(4)),
    ("grpc-resource-exhausted", RetryCondition::GrpcStatus(8)),
    ("grpc-internal", RetryCondition::GrpcStatus(13)),
    ("grpc-unavailable", RetryCondition::GrpcStatus(14)),
];

/// `[cluster.NAME.retry]`.
pub(super) fn retry(node: &Node<'_>) -> Option<RetrySettings> {
    const KEYS: &[&str] =
        &["on", "backoff_ms", "max_backoff_ms", "budget_percent", "min_concurrent", "body_bytes", "non_idempotent"];
    let table = node.table(KEYS, "a table: write [cluster.NAME.retry]; max_attempts goes into [cluster.NAME]")?;
    let default = RetrySettings::DEFAULT;
    let time = |key, default| {
        let read = |node: &Node<'_>| millis(node, 0..=MAX_SHORT_MS).map(|time| time.as_nanos() as u64);
        table.or(key, default, read)
    };
    let budget = default.budget;
    Some(RetrySettings {
        on: table.or("on", default.on, conditions),
        backoff: Backoff {
            base_ns: time("backoff_ms", default.backoff.base_ns),
            max_ns: time("max_backoff_ms", default.backoff.max_ns),
        },
        budget: RetryBudget {
            percent: table.or("budget_percent", budget.percent, |node| node.integer(0..=MAX_PERCENT)),
            min_concurrent: table.or("min_concurrent", budget.min_concurrent, |node| node.integer(0..=MAX_LIMIT)),
        },
        body_bytes: table
            .or("body_bytes", default.body_bytes, |node| node.integer(0..=MAX_BODY).map(|bytes| bytes as usize)),
        non_idempotent: table.or("non_idempotent", default.non_idempotent, Node::boolean),
    })
}

fn conditions(node: &Node<'_>) -> Option<RetryOn> {
    let nodes = node.array(MAX_CONDITIONS, "a list of conditions, such as [\"connect-failure\", \"503\"]")?;
    Some(nodes.iter().fold(RetryOn::NONE, |on, node| condition(on, node).unwrap_or(on)))
}

/// The set with what a word adds to it.
fn condition(on: RetryOn, node: &Node<'_>) -> Option<RetryOn> {
    let word = node.text("a condition, such as \"connect-failure\" or \"503\"")?;
    let statuses = |range: std::ops::RangeInclusive<u16>| range.map(RetryCondition::Status).fold(on, RetryOn::with);
    match word {
        "gateway-error" => return Some(statuses(502..=504)),
        "5xx" => return Some(statuses(500..=599)),
        _ => {}
    }
    if let Some((_, condition)) = CONDITIONS.iter().find(|(name, _)| *name == word) {
        return Some(on.with(*condition));
    }
    match word.parse() {
        Ok(status @ 400..=599) if word.len() == 3 => Some(on.with(RetryCondition::Status(status))),
        _ => {
            let names = CONDITIONS.iter().map(|(name, _)| *name).chain(["gateway-error", "5xx"]);
            let known = known_names(word, "conditions", names);
            node.error(format_args!(
                "no condition is called {word:?}, nor is it a status from \"400\" to \"599\"{known}"
            ))
        }
    }
}

/// `[cluster.NAME.limits]`: all of them, as soon as there is one.
pub(super) fn limits(node: &Node<'_>) -> Option<Option<CircuitLimits>> {
    let table =
        node.table(&["connections", "pending", "requests", "retries"], "a table: write [cluster.NAME.limits]")?;
    let default = CircuitLimits::default();
    let limit = |key, default, least| table.or(key, default, |node| node.integer(least..=MAX_LIMIT));
    Some(Some(CircuitLimits {
        connections: limit("connections", default.connections, 1),
        pending: limit("pending", default.pending, 1),
        requests: limit("requests", default.requests, 1),
        retries: limit("retries", default.retries, 0),
    }))
}
