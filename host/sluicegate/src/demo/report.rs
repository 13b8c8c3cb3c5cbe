//! What it came to in the end: a line for people, and one JSON object for programs.

use std::time::Duration;

use serde_json::{Value, json};

use super::{eras::Era, sample::Quantiles, units::ms};

/// The outcome of a demo.
#[derive(Clone, Debug)]
pub(super) struct Report {
    /// Requests sent, all of which have come to an end.
    pub(super) requests: u64,
    /// Those that got anything but a complete 200.
    pub(super) failed: u64,
    /// How many times the policy was replaced.
    pub(super) swaps: u64,
    /// From the first request to the last answer.
    pub(super) elapsed: Duration,
    /// The policies.
    pub(super) eras: Vec<Era>,
    /// How the last request that failed did so.
    pub(super) last_failure: Option<String>,
}

impl Report {
    /// The gist of it, in a line.
    pub(super) fn summary(&self) -> String {
        let policies =
            self.eras.iter().map(|era| format!("{} {}", era.label, ms(era.latency.snapshot().quantile(0.99))));
        let policies: Vec<String> = policies.collect();
        let Self { requests, failed, swaps, elapsed, .. } = self;
        let seconds = elapsed.as_secs_f64();
        let policies = policies.join(", ");
        format!("{requests} requests in {seconds:.1} s, {failed} failed, swaps: {swaps}; p99: {policies}")
    }

    /// All of it, in one object.
    pub(super) fn json(&self) -> Value {
        let policies = self.eras.iter().map(|era| {
            let latency = Quantiles::of(&era.latency.snapshot());
            let picks = Quantiles::of(&era.picks());
            let policy = json!({
                "requests": latency.count,
                "p50_ms": millis(latency.p50),
                "p99_ms": millis(latency.p99),
                "pick_ns_p50": picks.p50,
                "pick_ns_p99": picks.p99,
            });
            (era.label.clone(), policy)
        });
        json!({
            "requests": self.requests,
            "failed": self.failed,
            "swaps": self.swaps,
            "seconds": (self.elapsed.as_secs_f64() * 1e3).round() / 1e3,
            "policies": policies.collect::<serde_json::Map<_, _>>(),
        })
    }
}

/// Milliseconds, to the microsecond: a histogram knows no more.
fn millis(ns: u64) -> f64 {
    (ns as f64 / 1e3).round() / 1e3
}
