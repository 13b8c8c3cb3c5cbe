//! Policies compared.

use std::cmp::Ordering;

use super::super::{data::Findings, doc::Document, render::Parts};
use super::{findings, number, percent, remarks, show};
use crate::{
    chart::{Axis, Bars},
    stats::median,
};

pub(crate) const SITUATIONS: [&str; 6] = ["equal", "slow", "failing", "slow-start", "burst", "zones"];

pub(crate) fn section(document: &mut Document, parts: &Parts) {
    document.heading(2, "Policies compared");
    let Some(findings) = findings(document, parts, "policies") else { return };
    document.text(
        "Five origins with two servers of 20 ms each (exponential), so 500 requests a second is what they can do; one worker, \
         no retries, no health checks, and all weights 1: nothing but the policy knows better. Origins say in their answers how \
         busy they are, for `orca-weighted`, and answer probes at once, for `prequal`. All policies run at the same time in one \
         proxy, each with origins of its own that draw the same times, and with requests by the same schedule: so policies \
         can be compared within a round, and milliseconds are the machine's as much as theirs. Each request has one of 10,000 \
         keys, for policies that go by them. Load is a share of what the origins can do.",
    );
    let (policies, loads) = measured(findings);
    let load = loads.iter().copied().filter(|load| *load <= 80).max().unwrap_or(80);
    overview(document, findings, &policies, load);
    for situation in SITUATIONS {
        let Some(what) = findings.texts.get(situation) else { continue };
        document.heading(3, format!("{}: {what}", situation.replace('-', " ")));
        document.chart(
            &format!("spread-{situation}"),
            format!("Where requests go at {load}% load: the share of each origin."),
            spread(findings, situation, load, &policies),
        );
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
                // Of one that joins later, and is cold then, nobody can say what its part is.
                let off = if situation == "slow-start" { "–".to_owned() } else { share("spread") };
                rows.push(head.into_iter().chain(times).chain([share("error-rate"), off]).collect());
            }
        }
        document.folded(
            "All figures. Off is the share of requests that would have to go elsewhere for each origin to get its part of what \
             all can do.",
            &["policy", "load", "mean (ms)", "p50", "p99", "p99.9", "errors", "off"],
            rows,
        );
    }
    remarks(document, findings);
}

/// Every policy in every situation.
fn overview(document: &mut Document, findings: &Findings, policies: &[String], load: u32) {
    let there: Vec<_> = SITUATIONS.into_iter().filter(|situation| findings.texts.contains_key(*situation)).collect();
    let all: Vec<_> = there.iter().map(|situation| standings(findings, situation, load)).collect();
    let rows = policies.iter().map(|policy| {
        let cell = |standings: &Vec<Standing>| match standings.iter().find(|standing| standing.policy == *policy) {
            None => "–".to_owned(),
            Some(Standing { behind, errors, fails: true, .. }) => {
                format!("{} and {} errors", number(*behind), percent(*errors))
            }
            Some(Standing { behind, is_worse: true, .. }) => number(*behind),
            Some(Standing { behind, .. }) => format!("**{}**", number(*behind)),
        };
        [format!("`{policy}`")].into_iter().chain(all.iter().map(cell)).collect()
    });
    let rows = rows.collect();
    let head: Vec<_> =
        ["policy".to_owned()].into_iter().chain(there.iter().map(|name| name.replace('-', " "))).collect();
    document.text(format!(
        "p99 at {load}% load beside that of the best policy in the same round, at the median of the rounds. Bold is what can't be \
         told from the best: it was within a tenth of it in one round at least. Errors are told where they are more than a hundredth \
         above the fewest."
    ));
    document.table(&head.iter().map(String::as_str).collect::<Vec<_>>(), rows);
}

/// How a policy does beside the others.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Standing {
    pub(crate) policy: String,
    /// At the median.
    pub(crate) errors: f64,
    /// Whether these are more than others have.
    pub(crate) fails: bool,
    /// Its p99 to that of the best in the same round, at the median.
    pub(crate) behind: f64,
    /// Whether it fails, or was behind in every round.
    pub(crate) is_worse: bool,
}

/// More than so many errors above the fewest are no chance.
const ERRORS: f64 = 0.01;
/// Who is not slower than that, is not slower.
const BEHIND: f64 = 1.1;

/// All policies, the best first. A round's policies run at the same time, so they are compared within it.
pub(crate) fn standings(findings: &Findings, situation: &str, load: u32) -> Vec<Standing> {
    let (policies, _) = measured(findings);
    let values = |policy: &str, what: &str| {
        let measure = findings.measures.get(&format!("{situation}/{load}/{policy}/{what}"));
        measure.map(|measure| measure.values.clone()).filter(|values| !values.is_empty())
    };
    let mut all: Vec<_> = policies
        .into_iter()
        .filter_map(|policy| Some((median(&values(&policy, "error-rate")?), values(&policy, "p99")?, policy)))
        .collect();
    let fewest = all.iter().map(|(errors, ..)| *errors).fold(f64::INFINITY, f64::min);
    let fails = |errors: f64| errors > fewest + ERRORS;
    let rounds = all.iter().map(|(_, p99, _)| p99.len()).min().unwrap_or(0);
    // A round's level is the geometric mean of those that do not fail.
    let level = |round: usize| {
        let good: Vec<_> =
            all.iter().filter(|(errors, ..)| !fails(*errors)).map(|(_, p99, _)| p99[round].ln()).collect();
        (good.iter().sum::<f64>() / good.len() as f64).exp()
    };
    let levels: Vec<_> = (0..rounds).map(level).collect();
    let score = |p99: &[f64]| median(&p99.iter().zip(&levels).map(|(ms, level)| ms / level).collect::<Vec<_>>());
    all.sort_by(|a, b| (fails(a.0), score(&a.1)).partial_cmp(&(fails(b.0), score(&b.1))).unwrap_or(Ordering::Equal));
    let Some(best) = all.first().map(|(_, p99, _)| p99.clone()) else { return Vec::new() };
    let standing = |(errors, p99, policy): (f64, Vec<f64>, String)| {
        let ratios: Vec<_> = p99.iter().zip(&best).map(|(ms, best)| ms / best).collect();
        let (behind, fails) = (median(&ratios), fails(errors));
        Standing { policy, errors, fails, behind, is_worse: fails || ratios.iter().all(|ratio| *ratio > BEHIND) }
    };
    all.into_iter().map(standing).collect()
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
