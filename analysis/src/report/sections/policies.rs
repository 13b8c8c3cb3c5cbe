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
    document.list(
        [
            "The last two origins are in another zone than the proxy, where all requests arrive; only in `zones` they are \
             further away. `zone-aware` knows that, and sends them the part that the near ones are not there for.",
            "`subset` is one of five proxies that each keep to three of the five origins, which three is chance. It gets three \
             fifths of the requests, so that its origins are as busy as those of the others. It is not ranked: which origins \
             are not its own, the bad one perhaps, is no merit.",
            "`sticky` gets no cookie back from the generator, so it is `p2c` that sets one with each answer.",
            "`prefix-affinity` sees requests without bodies, so it goes by the key alone: `rendezvous` within its bound.",
        ]
        .map(str::to_owned)
        .into(),
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
        all_figures(document, findings, situation, &policies, &loads);
    }
    remarks(document, findings);
}

fn all_figures(document: &mut Document, findings: &Findings, situation: &str, policies: &[String], loads: &[u32]) {
    let mut rows = Vec::new();
    for load in loads {
        for policy in policies {
            let name = format!("{situation}/{load}/{policy}");
            let get = |what: &str| findings.estimate(&format!("{name}/{what}"));
            let Some(errors) = get("error-rate") else { continue };
            let times = ["mean", "p50", "p90", "p99", "p99.9", "max"].map(|what| show(get(what)));
            let head = [format!("`{policy}`"), format!("{load}%")];
            // Of one that joins later, and is cold then, nobody can say what its part is; and a subset is not all.
            let off = match (situation, policy.as_str(), get("spread")) {
                ("slow-start", ..) | (_, "subset", _) | (.., None) => "–".to_owned(),
                (.., Some(spread)) => percent(spread.median),
            };
            let errors = format!("{}{}", percent(errors.median), kinds(findings, &name));
            rows.push(head.into_iter().chain(times).chain([errors, off]).collect());
        }
    }
    document.folded(
        "All figures. Times are those of good answers; errors are told by kind, over all rounds. Off is the share of requests \
         that would have to go elsewhere for each origin to get its part of what all can do.",
        &["policy", "load", "mean (ms)", "p50", "p90", "p99", "p99.9", "max", "errors", "off"],
        rows,
    );
}

/// Errors by kind, over all rounds.
fn kinds(findings: &Findings, name: &str) -> String {
    let prefix = format!("{name}/error/");
    let of_name = findings.measures.iter().filter_map(|(name, measure)| Some((name.strip_prefix(&prefix)?, measure)));
    let count = |values: &[f64]| values.iter().sum::<f64>();
    let kinds: Vec<_> = of_name.map(|(kind, measure)| format!("{kind}: {:.0}", count(&measure.values))).collect();
    if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) }
}

/// Every policy in every situation.
fn overview(document: &mut Document, findings: &Findings, policies: &[String], load: u32) {
    let there: Vec<_> = SITUATIONS.into_iter().filter(|situation| findings.texts.contains_key(*situation)).collect();
    let all: Vec<_> = there.iter().map(|situation| standings(findings, situation, load)).collect();
    let rows = policies.iter().map(|policy| {
        let cell = |standings: &Vec<Standing>| match standings.iter().find(|standing| standing.policy == *policy) {
            None => "–".to_owned(),
            Some(Standing { behind, errors, place: Place::Fails, .. }) => {
                format!("{} and {} errors", number(*behind), percent(*errors))
            }
            Some(Standing { behind, place: Place::Slower, .. }) => number(*behind),
            Some(Standing { behind, place: Place::Undecided, .. }) => format!("{}?", number(*behind)),
            Some(Standing { behind, place: Place::Best, .. }) => format!("**{}**", number(*behind)),
        };
        [format!("`{policy}`")].into_iter().chain(all.iter().map(cell)).collect()
    });
    let rows = rows.collect();
    let head: Vec<_> =
        ["policy".to_owned()].into_iter().chain(there.iter().map(|name| name.replace('-', " "))).collect();
    document.text(format!(
        "p99 at {load}% load to that of the policy that is best over all rounds, round by round, at the median; below 1 was \
         faster in most rounds. Bold is what is no more than a tenth behind at that median. A question mark is undecided: it was \
         further behind in most rounds, and not in all. Errors are told where they are more than a hundredth above the fewest; p99 \
         is that of good answers, so beside errors it looks better than it is."
    ));
    document.table(&head.iter().map(String::as_str).collect::<Vec<_>>(), rows);
}

/// How a policy does beside the others.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Standing {
    pub(crate) policy: String,
    /// At the median.
    pub(crate) errors: f64,
    /// Its p99 to that of the best in the same round, at the median.
    pub(crate) behind: f64,
    pub(crate) place: Place,
}

/// Where that puts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At the median it is no slower than the best.
    Best,
    /// At the median it is, and in one round at least it is not.
    Undecided,
    /// It was in every round.
    Slower,
    /// It has more errors than others.
    Fails,
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
        .filter(|policy| policy != "subset")
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
        let behind = median(&ratios);
        let place = match fails(errors) {
            true => Place::Fails,
            false if behind <= BEHIND => Place::Best,
            false if ratios.iter().all(|ratio| *ratio > BEHIND) => Place::Slower,
            false => Place::Undecided,
        };
        Standing { policy, errors, behind, place }
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
