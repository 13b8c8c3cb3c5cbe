//! From what is kept to what is read.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};

use super::{
    compare::Comparison,
    data::{Findings, Kept},
    doc::{Block, Document},
    scenarios::SCENARIOS,
    sections,
};
use crate::chart;

/// All finished scenarios, by name.
#[derive(Debug, Default)]
pub(crate) struct Parts(pub(crate) BTreeMap<String, Kept>);

impl Parts {
    /// What is there.
    pub(crate) fn load(data: &Path) -> Result<Self> {
        anyhow::ensure!(data.is_dir(), "{}: no such folder; a report has its figures in there", data.display());
        let mut parts = BTreeMap::new();
        for scenario in &SCENARIOS {
            if let Some(kept) = Kept::load(data, scenario.name)? {
                parts.insert(scenario.name.to_owned(), kept);
            }
        }
        Ok(Self(parts))
    }

    pub(crate) fn get(&self, scenario: &str) -> Option<&Findings> {
        self.0.get(scenario).map(|kept| &kept.findings)
    }

    /// What can't be one report. Nothing, usually.
    pub(crate) fn contradictions(&self) -> Vec<String> {
        let mut binaries: Vec<_> = self.0.values().map(|kept| kept.fingerprint.binary_sha256.as_str()).collect();
        binaries.sort_unstable();
        binaries.dedup();
        let mut all = Vec::new();
        if binaries.len() > 1 {
            let group = |binary: &&str| {
                let of = self.0.values().filter(|kept| kept.fingerprint.binary_sha256 == **binary);
                let names: Vec<_> = of.map(|kept| kept.scenario.as_str()).collect();
                format!("{} ({})", names.join(", "), &binary[..binary.len().min(8)])
            };
            let groups: Vec<_> = binaries.iter().map(group).collect();
            all.push(format!(
                "The scenarios were run with different binaries, and figures can't be compared across these groups: {}.",
                groups.join("; ")
            ));
        }
        let quick = self.0.values().filter(|kept| kept.fingerprint.quick).count();
        if quick > 0 && quick < self.0.len() {
            all.push(format!("{quick} of {} scenarios were quick ones.", self.0.len()));
        }
        all
    }

    pub(crate) fn is_quick(&self) -> bool {
        self.0.values().any(|kept| kept.fingerprint.quick)
    }
}

/// Writes everything.
pub(crate) fn render(out: &Path, parts: &Parts, comparison: Option<&Comparison>) -> Result<()> {
    let document = document(parts, comparison);
    let charts = out.join("charts");
    fs::create_dir_all(&charts).with_context(|| format!("{}", charts.display()))?;
    for block in &document.0 {
        if let Block::Chart { name, svg, .. } = block {
            fs::write(charts.join(format!("{name}.svg")), chart::on_paper(svg))?;
        }
    }
    fs::write(out.join("report.md"), document.markdown().trim_end().to_owned() + "\n")?;
    fs::write(out.join("report.html"), document.html("Sluicegate: performance report"))?;
    Ok(())
}

/// The report.
pub(crate) fn document(parts: &Parts, comparison: Option<&Comparison>) -> Document {
    let mut document = Document::default();
    document.heading(1, "Sluicegate: performance report");
    sections::opening::introduction(&mut document, parts);
    sections::opening::environment(&mut document, parts);
    sections::opening::methodology(&mut document, parts);
    sections::response::section(&mut document, parts);
    sections::overhead::section(&mut document, parts);
    sections::swap::section(&mut document, parts);
    sections::policies::section(&mut document, parts);
    sections::peers::section(&mut document, parts);
    sections::closing::analysis(&mut document, parts);
    sections::closing::comparison(&mut document, comparison);
    sections::closing::conclusion(&mut document, parts);
    sections::closing::appendices(&mut document, parts);
    document
}
