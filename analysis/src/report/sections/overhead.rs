//! What policies cost.

use super::super::{data::Findings, doc::Document, render::Parts};
use super::{count, findings, goals, number, percent, remarks, show};
use crate::{
    chart::{Axis, Bars, Lines, Series},
    stats::{Estimate, estimate, median, paired_ratio},
};

/// In nanoseconds, from 16 endpoints in the fast lane.
pub(crate) const GOALS: [(&str, f64); 4] =
    [("round-robin", 30.0), ("p2c", 45.0), ("peak-ewma", 80.0), ("maglev", 45.0)];

/// From 16 to 1,000 endpoints, a pick that takes so many times as long is one that grows.
pub(crate) const GROWS: f64 = 3.0;

pub(crate) fn section(document: &mut Document, parts: &Parts) {
    document.heading(2, "Plugin overhead");
    document.heading(3, "A pick, in a loop");
    if let Some(findings) = findings(document, parts, "picks") {
        picks(document, findings);
        goals::table(document, goals::all(parts).iter().filter(|goal| goal.scenario == "picks"));
        remarks(document, findings);
    }
    document.heading(3, "End to end");
    if let Some(findings) = findings(document, parts, "pairs") {
        pairs(document, findings);
        goals::table(document, goals::all(parts).iter().filter(|goal| goal.scenario == "pairs"));
        remarks(document, findings);
    }
}

/// Policies and numbers of endpoints, in the order in which they were measured.
fn measured(findings: &Findings) -> (Vec<String>, Vec<u32>) {
    let (mut policies, mut counts) = (Vec::<String>::new(), Vec::<u32>::new());
    for row in findings.tables.get("picks").into_iter().flat_map(|table| &table.rows) {
        let (policy, count) = (row[0].text().to_owned(), row[1].number().unwrap_or(0.0) as u32);
        if !policies.contains(&policy) {
            policies.push(policy);
        }
        if !counts.contains(&count) {
            counts.push(count);
        }
    }
    (policies, counts)
}

fn picks(document: &mut Document, findings: &Findings) {
    let (policies, counts) = measured(findings);
    document.text(
        "A call in a loop, with everything in the processor's caches: natively, as a core module (the fast lane), and as a \
         component (the portable lane). Batches of the three alternate. Medians, in nanoseconds. The last columns are the time \
         until a policy knows of other endpoints, in the fast lane.",
    );
    let bar = |lane: &str| {
        let values = policies.iter().map(|policy| {
            findings.estimate(&format!("{policy}/16/{lane}")).map(|e: Estimate| (e.median, e.low, e.high))
        });
        (lane.to_owned(), values.collect())
    };
    let bars = Bars {
        axis: Axis::log("ns per pick, 16 endpoints"),
        groups: policies.clone(),
        series: ["native", "fast", "portable"].map(bar).into(),
    };
    document.chart(
        "cost-per-policy",
        "A pick from 16 endpoints, in each lane. Less is better; the axis is logarithmic.",
        bars.svg("Nanoseconds for a pick, by policy and lane"),
    );
    picks_table(document, findings, &policies, &counts);
    growth(document, findings, &policies, &counts);
}

fn picks_table(document: &mut Document, findings: &Findings, policies: &[String], counts: &[u32]) {
    let mut rows = Vec::new();
    for policy in policies {
        for count in counts {
            let lanes =
                ["native", "fast", "portable"].map(|lane| findings.estimate(&format!("{policy}/{count}/{lane}")));
            let changes =
                ["one-more", "all-new"].map(|what| show(findings.estimate(&format!("{policy}/{count}/{what}"))));
            let times = match (lanes[1], lanes[0]) {
                (Some(fast), Some(native)) => number(fast.median / native.median),
                _ => "–".into(),
            };
            rows.push(
                [policy.clone(), count.to_string()]
                    .into_iter()
                    .chain(lanes.map(show))
                    .chain([times])
                    .chain(changes)
                    .collect(),
            );
        }
    }
    document.folded(
        "Every policy, in every lane, at every number of endpoints",
        &[
            "policy",
            "endpoints",
            "native",
            "fast lane",
            "portable lane",
            "fast / native",
            "one more (us)",
            "all new (us)",
        ],
        rows,
    );
}

fn growth(document: &mut Document, findings: &Findings, policies: &[String], counts: &[u32]) {
    let few = |policy: &str| findings.estimate(&format!("{policy}/16/fast")).map(|estimate| estimate.median);
    let many = |policy: &str| findings.estimate(&format!("{policy}/1000/fast")).map(|estimate| estimate.median);
    let grows = |policy: &str| few(policy).zip(many(policy)).is_some_and(|(few, many)| many > GROWS * few);
    let drawn = policies.iter().filter(|policy| *policy == "p2c" || grows(policy));
    let line = |policy: &String| {
        let points = counts.iter().filter_map(|count| {
            Some((f64::from(*count), findings.estimate(&format!("{policy}/{count}/fast"))?.median))
        });
        Series::line(policy, points.collect())
    };
    let chart = Lines {
        x: Axis::log("endpoints"),
        y: Axis::log("ns for a pick"),
        series: drawn.map(line).collect(),
        marks: Vec::new(),
    };
    document.chart(
        "cost-endpoints",
        "A pick in the fast lane, against the number of endpoints: `p2c`, which stays the same as most do, and those that do not.",
        chart.svg("Nanoseconds for a pick against the number of endpoints"),
    );
}

/// How the fast lane relates to native code, at a number of endpoints.
pub(crate) fn lanes(findings: &Findings, policy: &str, count: u32) -> Option<Estimate> {
    let values = |lane: &str| findings.measures.get(&format!("{policy}/{count}/{lane}")).map(|measure| &measure.values);
    paired_ratio(values("fast")?, values("native")?)
}

/// Ratios of pairs: how `a` relates to `b`.
pub(crate) fn pair(findings: &Findings, a: &str, b: &str, what: &str) -> Option<Estimate> {
    let values = |name: &str| findings.measures.get(&format!("{name}/{what}")).map(|measure| &measure.values);
    paired_ratio(values(a)?, values(b)?)
}

/// How wasm relates to native code: the median of all pairs of a process, and of the processes the estimate. Where things
/// lie in memory is the same for all pairs of a process: only another process is another look.
pub(crate) fn to_native(findings: &Findings, what: &str) -> Option<Estimate> {
    by_process(findings, &[["p2c", "fallback"], ["control", "fallback"]], what)
}

/// The same for two clusters that are alike.
fn control(findings: &Findings, what: &str) -> Option<Estimate> {
    by_process(findings, &[["control", "p2c"]], what)
}

/// What the two sides of a pair are called: throughput is measured in turns of one run, all else in runs of their own.
fn sides([a, b]: [&str; 2], what: &str) -> [String; 2] {
    let side = |name: &str| match what {
        "throughput" => format!("turns/{a}-{b}/{name}"),
        _ => format!("{name}/{what}"),
    };
    [side(a), side(b)]
}

/// Of all these pairs that were measured.
fn by_process(findings: &Findings, pairs: &[[&str; 2]], what: &str) -> Option<Estimate> {
    let values = |name: &str| findings.measures.get(name).map(|measure| &measure.values[..]);
    let processes = findings.estimate("in-service/pick/calls").map_or(1, |calls| calls.count);
    let mut ratios = vec![Vec::new(); processes];
    for [a, b] in pairs.iter().map(|pair| sides(*pair, what)) {
        let (Some(a), Some(b)) = (values(&a), values(&b)) else { continue };
        let rounds = a.len().div_ceil(processes);
        a.iter().zip(b).enumerate().for_each(|(round, (a, b))| ratios[round / rounds].push(a / b));
    }
    ratios.retain(|ratios| !ratios.is_empty());
    estimate(&ratios.iter().map(|ratios| median(ratios)).collect::<Vec<_>>())
}

/// What wasm does to throughput, beside the same of two clusters that are alike.
pub(crate) struct AgainstNative {
    pub(crate) ratio: Estimate,
    pub(crate) control: Estimate,
}

pub(crate) fn against_native(findings: &Findings) -> Option<AgainstNative> {
    let what = "throughput";
    Some(AgainstNative { ratio: to_native(findings, what)?, control: control(findings, what)? })
}

impl AgainstNative {
    /// What can be concluded, and from what.
    pub(crate) fn said(&self) -> String {
        let has_one = |estimate: &Estimate| estimate.low <= 1.0 && estimate.high >= 1.0;
        let concluded = match (has_one(&self.ratio), has_one(&self.control)) {
            (true, true) => "a cost can't be told from the noise, which would hide one as large as these ranges",
            (false, true) if self.ratio.high < 1.0 => "a cost can be told from the noise",
            (false, true) => "throughput with wasm is not the lower one",
            (_, false) => "nothing can be concluded, as two clusters that are alike differ, too",
        };
        format!(
            "{concluded}: throughput with wasm is {} of that without, and that of two clusters with the same policy {} of each \
             other",
            show(Some(self.ratio)),
            show(Some(self.control))
        )
    }
}

fn pairs(document: &mut Document, findings: &Findings) {
    document.text(
        "`p2c` in wasm against the same algorithm in native code. The proxy has no native lane, and gets none for the sake \
         of a measurement, as that would be another program. It has the native fallback, which is the power of two choices \
         by requests in flight: a policy that fails five times is put aside, and without a predecessor the fallback serves \
         all requests. So both are clusters of the same process with the same endpoints, and differ by the path that is asked \
         for. The fallback's side also has no call to time and nobody to tell results, so this is rather too much than too \
         little. The control is a second cluster with `p2c`: what it differs by from the \
         first is noise. Throughput is that of turns of 10 ms: the same 64 connections ask for one and for the other, and two \
         turns, one after the other, are a pair, without the first 2 ms of each, in which answers of the turn before come. \
         Processor time and latency are those of runs of 0.1 s. All of it is done with several processes: where \
         things lie in memory makes a path cheaper or dearer for as long as a process lives. So a ratio is the median of the \
         pairs of a process (for processor time and latency, of both clusters with wasm), and what is told is the median of the \
         processes.",
    );
    let rows = [
        ("throughput", "throughput"),
        ("cpu", "CPU per request"),
        ("p50", "latency at half load, p50"),
        ("p99", "latency at half load, p99"),
    ]
    .map(|(what, name)| {
        let ratio = show(to_native(findings, what));
        let control = show(control(findings, what));
        let absolute = sides(["p2c", "fallback"], what).map(|side| show(findings.estimate(&side)));
        [name.to_owned()].into_iter().chain(absolute).chain([ratio, control]).collect()
    });
    document.table(&["", "wasm", "native", "wasm / native, by process", "control: wasm / wasm"], rows.into());
    in_service(document, findings);
    own_cost(document, findings);
}

fn in_service(document: &mut Document, findings: &Findings) {
    document.heading(3, "Calls, in service");
    document.text(
        "As the proxy measures every call itself (`sluicegate_policy_call_seconds`), with the rest of a request between two \
         calls, which uses the caches for other things; medians of the processes:",
    );
    let rows = ["pick", "on_result", "endpoints_changed"].into_iter().filter_map(|callback| {
        let calls = findings.estimate(&format!("in-service/{callback}/calls")).filter(|calls| calls.median > 0.0)?;
        let mean = show(findings.estimate(&format!("in-service/{callback}/mean")));
        Some(vec![format!("`{callback}`"), count(Some(calls)), mean])
    });
    document.table(&["`p2c`", "calls", "mean (ns)"], rows.collect());
    if let Some(share) = findings.estimate("in-service/share-of-latency") {
        document.text(format!(
            "Picks are {} of the time that requests take in the proxy, which is mostly waiting.",
            percent(share.median)
        ));
    }
    if let Some((pick, cpu)) = policy_share(findings) {
        document.text(format!(
            "They are {} of the processor time of a request: {} ns of {} us.",
            percent(pick / cpu),
            number(pick),
            number(cpu / 1000.0)
        ));
    }
}

/// Nanoseconds of a pick in service, and of a whole request.
pub(crate) fn policy_share(findings: &Findings) -> Option<(f64, f64)> {
    let get = |name: &str| findings.estimate(name).map(|estimate| estimate.median);
    Some((get("in-service/pick/mean")?, get("p2c/cpu")? * 1000.0))
}

fn own_cost(document: &mut Document, findings: &Findings) {
    document.heading(3, "What measuring costs");
    let get = |what: &str| findings.estimate(&format!("own-cost/{what}"));
    let (Some(look), Some(record), Some(call)) = (get("look"), get("record"), get("call")) else { return };
    document.text(format!(
        "Each call is timed by two looks at the time-stamp counter ({} ns each) and counted in a histogram ({} ns): {} ns \
         together, which is {} of a request's processor time.",
        number(look.median),
        number(record.median),
        number(call.median),
        own(findings).map_or("an unknown share".to_owned(), |share| percent(share.median))
    ));
}

/// What measuring a call takes of a request's processor time.
pub(crate) fn own(findings: &Findings) -> Option<Estimate> {
    let (call, cpu) = (findings.estimate("own-cost/call")?, findings.estimate("p2c/cpu")?.median * 1000.0);
    Some(Estimate { median: call.median / cpu, low: call.low / cpu, high: call.high / cpu, ..call })
}
