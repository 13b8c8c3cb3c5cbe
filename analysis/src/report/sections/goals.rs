//! What was to be reached, and whether it was.

use super::super::{doc::Document, render::Parts};
use super::{number, overhead, peers, show};
use crate::stats::Estimate;

/// A goal beside what was measured.
pub(crate) struct Goal {
    /// Whose figures it is about.
    pub(crate) scenario: &'static str,
    pub(crate) what: String,
    limit: String,
    measured: Option<Estimate>,
    pub(crate) verdict: &'static str,
}

/// All goals whose scenarios were run.
pub(crate) fn all(parts: &Parts) -> Vec<Goal> {
    let mut all = Vec::new();
    let mut goal = |scenario, what: &str, limit: (&str, f64), measured| {
        let (sign, bound) = limit;
        let verdict = judge(measured, bound, sign == "≤");
        let limit = if bound == 0.0 { "0".to_owned() } else { format!("{sign} {}", plain(bound)) };
        all.push(Goal { scenario, what: what.to_owned(), limit, measured, verdict });
    };
    if let Some(findings) = parts.get("picks") {
        for (policy, ns) in overhead::GOALS {
            let what = format!("`{policy}`, fast lane, 16 endpoints (ns)");
            goal("picks", &what, ("≤", ns), findings.estimate(&format!("{policy}/16/fast")));
        }
        let thousand = findings.estimate("least-request/1000/fast");
        goal("picks", "`least-request`, fast lane, 1,000 endpoints (ns)", ("≤", 1000.0), thousand);
        goal(
            "picks",
            "`least-request`, the same, to native (ratio)",
            ("≤", 2.0),
            overhead::lanes(findings, "least-request", 1000),
        );
    }
    if let Some(findings) = parts.get("pairs") {
        let ratio = overhead::to_native(findings, "throughput");
        goal("pairs", "throughput with wasm to that without", ("≥", 0.99), ratio);
        goal(
            "pairs",
            "timing and counting a call, of a request's processor time",
            ("≤", 0.02),
            overhead::own(findings),
        );
    }
    if let Some(findings) = parts.get("swap") {
        let file = findings.estimate("file-to-request");
        goal("swap", "file change to first request, without other load (ms)", ("≤", 100.0), file);
        goal("swap", "requests that failed during swaps", ("≤", 0.0), findings.estimate("failed-requests"));
    }
    if let Some(findings) = parts.get("peers") {
        let cpu = peers::to_the_better(findings, "http1-128B", "cpu").map(|(ratio, _)| ratio);
        goal("peers", "CPU for a small response, to the better peer", ("≤", 0.95), cpu);
        goal(
            "peers",
            "CPU for a small response, to HAProxy that relays TCP",
            ("≤", 1.25),
            peers::to_the_floor(findings),
        );
        let p99 = |build: &str| overhead::pair(findings, &format!("fixed/{build}"), "fixed/nginx", "p99");
        goal("peers", "p99 at a fixed rate, to NGINX's", ("≤", 1.0), p99("sluicegate"));
        if let Some((cpu, _)) = peers::build_to_the_better(findings, "guided", "http1-128B", "cpu") {
            let what = "CPU for a small response, to the better peer, built by `pgo.sh`";
            goal("peers", what, ("≤", 0.95), Some(cpu));
            goal("peers", "p99 at a fixed rate, to NGINX's, built by `pgo.sh`", ("≤", 1.0), p99("guided"));
        }
    }
    if let Some(findings) = parts.get("workers") {
        let what = "work of two workers to one's, extrapolated from processor time";
        goal("workers", what, ("≥", 1.8), findings.estimate("scaling"));
    }
    all
}

/// As a table.
pub(crate) fn table<'a>(document: &mut Document, goals: impl IntoIterator<Item = &'a Goal>) {
    let row = |goal: &Goal| vec![goal.what.clone(), goal.limit.clone(), show(goal.measured), goal.verdict.to_owned()];
    document.table(&["goal", "limit", "measured", "verdict"], goals.into_iter().map(row).collect());
}

/// Whether a goal was met or missed, or that can't be told from the noise.
pub(crate) fn judge(estimate: Option<Estimate>, goal: f64, at_most: bool) -> &'static str {
    let Some(Estimate { low, high, median, count }) = estimate else { return "not measured" };
    let good = |value: f64| if at_most { value <= goal } else { value >= goal };
    match (good(low), good(high), good(median)) {
        // Counted rather than measured, or measured once: there is no noise to compare with.
        (_, _, true) if count == 1 => "met",
        (_, _, false) if count == 1 => "**missed**",
        (true, true, _) => "met",
        (false, false, _) => "**missed**",
        (_, _, true) => "undecided, rather met",
        _ => "undecided, rather missed",
    }
}

/// A limit as it was set.
fn plain(limit: f64) -> String {
    if limit < 1000.0 { limit.to_string() } else { number(limit) }
}
