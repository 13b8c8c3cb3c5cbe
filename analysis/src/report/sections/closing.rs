//! What follows from the figures.

use super::super::{
    compare::{Change, Comparison, Verdict},
    doc::Document,
    render::Parts,
    rules::look,
};
use super::{goals, number, show, summary};

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
    document.list(summary::found(parts));
    document.text(summary::of_goals(parts));
    let mut goals = goals::all(parts);
    // What is not reached comes first.
    let order = ["**missed**", "undecided, rather missed", "undecided, rather met", "not measured", "met"];
    goals.sort_by_key(|goal| order.iter().position(|verdict| *verdict == goal.verdict));
    goals::table(document, &goals);
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
