//! Hot swaps.

use super::super::{
    data::{Findings, Table},
    doc::Document,
    render::Parts,
};
use super::{count, findings, goals, number, remarks, response::column, show};
use crate::{
    chart::{Axis, Lines, Series},
    stats::{Estimate, estimate, ratio},
};

/// How much longer the slowest hundredth takes during a swap.
pub(crate) fn felt(findings: &Findings) -> Option<Estimate> {
    let values = |phase: &str| findings.measures.get(&format!("p99-{phase}-a-swap")).map(|measure| &measure.values);
    ratio(values("during")?, values("without")?)
}

pub(crate) fn section(document: &mut Document, parts: &Parts) {
    document.heading(2, "Hot swap");
    let Some(findings) = findings(document, parts, "swap") else { return };
    let get = |name: &str| findings.estimate(name);
    let median = |name: &str| get(name).map_or("–".to_owned(), |estimate| number(estimate.median));
    document.text(format!(
        "A policy's file is replaced while {} requests a second go through one worker: first nothing for a third of the time, \
         then {} swaps: `round-robin`, `peak-ewma`, and `peak-ewma` again, which carries its state over, each time with bytes that \
         were never seen before.",
        median("rate"),
        count(get("swaps"))
    ));
    if let Some(table) = findings.tables.get("timeline") {
        document.chart(
            "swap-timeline",
            "Latency over time, in slices of 100 ms, by when requests were due; dashed: the moments from which new policies serve.",
            timeline(table, findings.tables.get("swaps")),
        );
    }
    let failed = get("failed-requests");
    let verdict = match failed {
        Some(estimate) if estimate.median == 0.0 => "No request failed.".to_owned(),
        Some(estimate) => format!("**{} requests failed.**", number(estimate.median)),
        None => String::new(),
    };
    document.text(format!("{} requests were due during all this. {verdict}", count(get("requests"))));
    if let Some(change) = felt(findings) {
        let word = if change.low > 1.1 {
            "Swaps can be felt"
        } else if change.high < 1.1 {
            "Swaps can't be felt"
        } else {
            "Whether swaps can be felt is within the noise"
        };
        document.text(format!(
            "p99 within slices: {} ms without a swap, {} ms during one; the ratio is {}. {word} (a tenth more would count). \
             All threads of the proxy share one processor here, and so the \
             compiler takes turns with the worker.",
            show(get("p99-without-a-swap")),
            show(get("p99-during-a-swap")),
            show(Some(change))
        ));
    }
    percentiles(document, findings);
    stages(document, findings);
    document.text(format!(
        "From a file's last byte to the first request that the new policy serves, as a client sees it without other load: {} ms. \
         Under the load above, where the compiler waits for the worker's processor: {} ms.",
        show(get("file-to-request")),
        show(estimate(&all(findings, "since-change")))
    ));
    goals::table(document, goals::all(parts).iter().filter(|goal| goal.scenario == "swap"));
    remarks(document, findings);
}

/// All requests of all slices, not the slices' own percentiles.
fn percentiles(document: &mut Document, findings: &Findings) {
    let rows = [("without", "without a swap"), ("during", "during a swap")].into_iter().filter_map(|(phase, title)| {
        let get = |what: &str| findings.estimate(&format!("{phase}/{what}"));
        let requests = count(Some(get("requests")?));
        let cells = ["p50", "p90", "p99", "p99.9", "max"].map(|percentile| show(get(percentile)));
        Some([title.to_owned(), requests].into_iter().chain(cells).collect())
    });
    document.table(&["all requests in slices", "requests", "p50 (ms)", "p90", "p99", "p99.9", "max"], rows.collect());
}

/// A stage's values, or what two stages differ by, of swaps that did or did not carry state over.
fn of_state(findings: &Findings, stage: &str, state: &str) -> Vec<f64> {
    let values = |stage: &str| {
        findings.measures.get(&format!("{stage}/{state}-state")).map_or_else(Vec::new, |measure| measure.values.clone())
    };
    match stage.split_once(" - ") {
        Some((whole, part)) => values(whole).iter().zip(values(part)).map(|(whole, part)| whole - part).collect(),
        None => values(stage),
    }
}

/// Of all swaps. What compiling takes has nothing to do with state, so only what comes after is told apart by it.
pub(crate) fn all(findings: &Findings, stage: &str) -> Vec<f64> {
    ["without", "with"].map(|state| of_state(findings, stage, state)).concat()
}

fn stages(document: &mut Document, findings: &Findings) {
    let rows = [
        ("load", "load: compile or find in the cache"),
        ("swap - load", "rehearse, build instances, carry state over, switch"),
        ("swap", "both: from the bytes to all workers using it"),
        ("since-change", "from the file's change, settling included"),
    ]
    .map(|(stage, name)| vec![name.to_owned(), show(estimate(&all(findings, stage)))]);
    let of = |state: &str| of_state(findings, "swap - load", state);
    let head = format!("all (n = {})", all(findings, "swap").len());
    document.table(&["stage (ms)", &head], rows.into());
    let (without, with) = (of("without"), of("with"));
    if with.is_empty() {
        document.text("No swap carried state over, so there is nothing to tell of those.");
        return;
    }
    document.text(format!(
        "What comes after loading took {} ms for the {} swaps that carried no state over, and {} ms for the {} that did.",
        show(estimate(&without)),
        without.len(),
        show(estimate(&with)),
        with.len()
    ));
}

fn timeline(table: &Table, swaps: Option<&Table>) -> Option<String> {
    let line = |name: &str, title: &str| {
        Series::line(title, column(table, "at_s").into_iter().zip(column(table, name)).collect())
    };
    let swaps = swaps.map(|table| column(table, "in_service_s")).unwrap_or_default();
    let marks = swaps.iter().enumerate().map(|(index, at)| (*at, if index == 0 { "swaps" } else { "" }.to_owned()));
    let chart = Lines {
        x: Axis::from_zero("seconds"),
        y: Axis::log("latency (ms)"),
        series: vec![line("p50_ms", "p50"), line("p99_ms", "p99"), line("max_ms", "max")],
        marks: marks.collect(),
    };
    chart.svg("Latency over time around swaps")
}
