//! What follows from the figures.

use super::super::{
    compare::{Change, Comparison, Verdict},
    doc::Document,
    render::Parts,
    rules::look,
};
use super::{judge, number, overhead, peers, show};

pub(crate) fn analysis(document: &mut Document, parts: &Parts) {
    document.heading(2, "Analysis");
    let found = look(parts);
    if found.is_empty() {
        document.text("There are not enough figures for any rule to say something.");
    } else {
        document.text("Found by rules over the data; each with the figures that say so.");
        document.list(
            found.iter().map(|finding| format!("**{}** Evidence: {}.", finding.what, finding.evidence)).collect(),
        );
    }
    document.text(
        "Not measured by this command: allocations per request, and which functions take the time. A profile of that is in \
         the README of `analysis/`.",
    );
    document.heading(2, "Recommendations");
    let advice: Vec<_> = found.into_iter().filter_map(|finding| finding.advice).collect();
    if advice.is_empty() {
        document.text("None follow from the figures.");
    }
    document.list(advice);
}

pub(crate) fn comparison(document: &mut Document, comparison: Option<&Comparison>) {
    let Some(comparison) = comparison else { return };
    document.heading(2, "Compared with the older report");
    document.list(comparison.caveats.iter().map(|caveat| format!("**{caveat}**")).collect());
    let counts = [Verdict::Worse, Verdict::Better, Verdict::Different, Verdict::Same]
        .map(|verdict| comparison.of(verdict).count());
    document.text(format!(
        "{} measures are in both: {} are worse, {} are better, {} are different without being either, and {} do not differ by \
         more than 5%, the noise of both, and the noise from run to run.",
        comparison.changes.len(),
        counts[0],
        counts[1],
        counts[2],
        counts[3]
    ));
    for (verdict, title) in [(Verdict::Worse, "Worse"), (Verdict::Better, "Better")] {
        let row = |change: &Change| {
            let figures = [number(change.old), number(change.new)].map(|figure| format!("{figure} {}", change.unit));
            [format!("{} {}", change.scenario, change.measure)]
                .into_iter()
                .chain(figures)
                .chain([show(Some(change.ratio))])
                .collect()
        };
        document.table(&[title, "old", "new", "new / old"], comparison.of(verdict).take(40).map(row).collect());
    }
}

pub(crate) fn conclusion(document: &mut Document, parts: &Parts) {
    document.heading(2, "Conclusion");
    let mut rows = Vec::new();
    let mut goal = |what: &str, goal: &str, measured: Option<crate::stats::Estimate>, limit: f64, at_most: bool| {
        rows.push(vec![what.to_owned(), goal.to_owned(), show(measured), judge(measured, limit, at_most).to_owned()]);
    };
    if let Some(findings) = parts.get("picks") {
        for (policy, ns) in overhead::GOALS {
            let measured = findings.estimate(&format!("{policy}/16/fast"));
            goal(&format!("`{policy}`, fast lane, 16 endpoints (ns)"), &format!("≤ {ns}"), measured, ns, true);
        }
    }
    if let Some(findings) = parts.get("pairs") {
        let ratio = overhead::pair(findings, "p2c", "fallback", "throughput");
        goal("throughput with wasm to that without", "≥ 0.99", ratio, 0.99, false);
    }
    if let Some(findings) = parts.get("swap") {
        goal("file change to first request (ms)", "≤ 100", findings.estimate("file-to-request"), 100.0, true);
        goal("requests that failed during swaps", "0", findings.estimate("failed-requests"), 0.0, true);
    }
    if let Some(findings) = parts.get("peers") {
        let cpu = peers::to_the_better(findings, "http1-128B", "cpu").map(|(ratio, _)| ratio);
        goal("CPU for a small response, to the better peer", "≤ 0.95", cpu, 0.95, true);
        goal("the same, to HAProxy that relays TCP", "≤ 1.25", peers::to_the_floor(findings), 1.25, true);
        goal(
            "p99 at a fixed rate, to NGINX's",
            "≤ 1",
            overhead::pair(findings, "fixed/sluicegate", "fixed/nginx", "p99"),
            1.0,
            true,
        );
    }
    if let Some(findings) = parts.get("workers") {
        let scaling = findings.estimate("scaling");
        goal("throughput of two workers to one, by processor time", "≥ 1.8", scaling, 1.8, false);
    }
    let of = |word: &str| rows.iter().filter(|row| row[3].contains(word)).count();
    let (met, missed, unknown) = (of("met"), of("missed"), of("not measured"));
    let noise = of("noise");
    document.text(format!(
        "Of {} goals, {met} are met and {missed} are missed ({noise} of these within the noise), and {unknown} were not measured.",
        rows.len()
    ));
    document.table(&["goal", "", "measured", ""], rows);
}

pub(crate) fn appendices(document: &mut Document, parts: &Parts) {
    document.heading(2, "Appendices");
    document.heading(3, "Configurations");
    for (scenario, kept) in &parts.0 {
        for (name, text) in kept.findings.texts.iter().filter(|(_, text)| text.contains('\n')) {
            document.code(format!("{scenario}: {name}"), text);
        }
    }
    document.heading(3, "Raw data");
    document.text(
        "For each scenario, `data/SCENARIO.json` has every value that was measured, `data/SCENARIO.csv` the same as a table \
         with medians and intervals, and `data/SCENARIO-TABLE.csv` each series that a chart shows.",
    );
    let rows = parts.0.values().map(|kept| {
        let findings = &kept.findings;
        let values: usize = findings.measures.values().map(|measure| measure.values.len()).sum();
        let tables: Vec<_> = findings.tables.keys().map(|table| format!("{}-{table}.csv", kept.scenario)).collect();
        vec![kept.scenario.clone(), findings.measures.len().to_string(), values.to_string(), tables.join(", ")]
    });
    document.table(&["scenario", "measures", "values", "series"], rows.collect());
}
