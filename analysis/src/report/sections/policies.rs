//! Policies compared.

use super::super::{data::Findings, doc::Document, render::Parts};
use super::{findings, percent, remarks, show};
use crate::chart::{Axis, Bars};

pub(crate) const SITUATIONS: [&str; 6] = ["equal", "slow", "failing", "slow-start", "burst", "zones"];

pub(crate) fn section(document: &mut Document, parts: &Parts) {
    document.heading(2, "Policies compared");
    let Some(findings) = findings(document, parts, "policies") else { return };
    document.text(
        "Five origins with four servers of 20 ms each (exponential), so 1,000 requests a second is what they can do; one \
         worker, no retries, no health checks: what is seen is the policy's doing alone. All policies run at the same time, \
         each with origins of its own that draw the same times, and with requests by the same schedule. Each request has one \
         of 10,000 keys, for policies that go by them. *Off* is the share \
         of requests that would have to go elsewhere for each origin to get its part of what all can do. Load is a share of \
         what the origins can do.",
    );
    let (policies, loads) = measured(findings);
    for situation in SITUATIONS {
        let Some(what) = findings.texts.get(situation) else { continue };
        document.heading(3, format!("{}: {what}", situation.replace('-', " ")));
        let mut rows = Vec::new();
        for load in &loads {
            for policy in &policies {
                let get = |what: &str| findings.estimate(&format!("{situation}/{load}/{policy}/{what}"));
                if get("error-rate").is_none() {
                    continue;
                }
                let share = |what: &str| get(what).map_or("–".to_owned(), |estimate| percent(estimate.median));
                let times = ["mean", "p50", "p99", "p99.9"].map(|what| show(get(what)));
                let head = [format!("`{policy}`"), format!("{load}%")];
                rows.push(head.into_iter().chain(times).chain([share("error-rate"), share("spread")]).collect());
            }
        }
        document.table(&["policy", "load", "mean (ms)", "p50", "p99", "p99.9", "errors", "off"], rows);
        if let Some(load) = loads.iter().copied().filter(|load| *load <= 80).max() {
            let spread = spread(findings, situation, load, &policies);
            document.chart(
                &format!("spread-{situation}"),
                format!("Where requests go at {load}% load: the share of each origin."),
                spread,
            );
        }
    }
    let load = loads.iter().copied().filter(|load| *load <= 80).max().unwrap_or(80);
    let tail = |situation: &str| {
        let value = |policy: &String| {
            let estimate = findings.estimate(&format!("{situation}/{load}/{policy}/p99"))?;
            Some((estimate.median, estimate.low, estimate.high))
        };
        (situation.replace('-', " "), policies.iter().map(value).collect())
    };
    let tails = Bars { axis: Axis::log("p99 (ms)"), groups: policies.clone(), series: SITUATIONS.map(tail).into() };
    document.heading(3, "All situations");
    document.chart(
        "policies-p99",
        format!("p99 of all policies in all situations, at {load}% load. Less is better; the axis is logarithmic."),
        tails.svg("p99 by situation and policy"),
    );
    remarks(document, findings);
}

/// Policies and loads that there are figures of.
pub(crate) fn measured(findings: &Findings) -> (Vec<String>, Vec<u32>) {
    let (mut policies, mut loads) = (Vec::new(), Vec::new());
    for name in findings.measures.keys() {
        let mut parts = name.split('/').skip(1);
        if let (Some(load), Some(policy)) = (parts.next().and_then(|load| load.parse().ok()), parts.next()) {
            loads.push(load);
            policies.push(policy.to_owned());
        }
    }
    loads.sort_unstable();
    loads.dedup();
    policies.sort_unstable();
    policies.dedup();
    (policies, loads)
}

fn spread(findings: &Findings, situation: &str, load: u32, policies: &[String]) -> Option<String> {
    let special = |index: usize| match (situation, index) {
        ("equal" | "burst", _) => "",
        ("zones", 3 | 4) => " (far)",
        ("slow", 4) => " (slow)",
        ("failing", 4) => " (fails)",
        ("slow-start", 4) => " (joins)",
        _ => "",
    };
    let origin = |index: usize| {
        let of = |policy: &String| {
            let estimate = findings.estimate(&format!("{situation}/{load}/{policy}/share/{index}"))?;
            Some((estimate.median * 100.0, estimate.low * 100.0, estimate.high * 100.0))
        };
        (format!("origin {}{}", index + 1, special(index)), policies.iter().map(of).collect())
    };
    let bars = Bars {
        axis: Axis::from_zero("% of requests"),
        groups: policies.to_vec(),
        series: (0..5).map(origin).collect(),
    };
    bars.svg(&format!("{situation}: share of requests by policy and origin"))
}
