//! What a scenario has found, as it is kept in `data/`: everything that the report says is made from this.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::stats::{Estimate, estimate};

/// Changes when scenarios measure something else than before under the same name.
pub(crate) const FORMAT: u32 = 5;

/// Which direction is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Better {
    Lower,
    Higher,
    /// It is no merit either way.
    Neither,
}

/// Something measured, as often as it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measure {
    pub(crate) unit: String,
    pub(crate) better: Better,
    pub(crate) values: Vec<f64>,
}

/// A series, or anything else with rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Table {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<Cell>>,
}

/// A cell of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Cell {
    Number(f64),
    Text(String),
    Nothing,
}

impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        if number.is_finite() { Self::Number(number) } else { Self::Nothing }
    }
}

impl From<Option<f64>> for Cell {
    fn from(number: Option<f64>) -> Self {
        number.map_or(Self::Nothing, Self::from)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Cell {
    pub(crate) fn number(&self) -> Option<f64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    pub(crate) fn text(&self) -> &str {
        if let Self::Text(text) = self { text } else { "" }
    }
}

/// A finished scenario.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Findings {
    pub(crate) measures: BTreeMap<String, Measure>,
    pub(crate) tables: BTreeMap<String, Table>,
    /// Configurations, commands and descriptions.
    pub(crate) texts: BTreeMap<String, String>,
    /// What was not measured, and why; and what is doubtful about what was.
    pub(crate) remarks: Vec<String>,
}

impl Findings {
    /// One more value of a measure.
    pub(crate) fn add(&mut self, name: impl Into<String>, unit: &str, better: Better, value: impl Into<Option<f64>>) {
        let Some(value) = value.into().filter(|value| value.is_finite()) else { return };
        let new = || Measure { unit: unit.to_owned(), better, values: Vec::new() };
        self.measures.entry(name.into()).or_insert_with(new).values.push(value);
    }

    /// One more row of a table.
    pub(crate) fn row(&mut self, table: &str, columns: &[&str], row: Vec<Cell>) {
        let table = self.tables.entry(table.to_owned()).or_default();
        if table.columns.is_empty() {
            table.columns = columns.iter().map(|column| (*column).to_owned()).collect();
        }
        table.rows.push(row);
    }

    pub(crate) fn text(&mut self, name: &str, text: impl Into<String>) {
        self.texts.insert(name.to_owned(), text.into());
    }

    /// A remark, once.
    pub(crate) fn remark(&mut self, remark: impl Into<String>) {
        let remark = remark.into();
        if !self.remarks.contains(&remark) {
            self.remarks.push(remark);
        }
    }

    pub(crate) fn estimate(&self, name: &str) -> Option<Estimate> {
        estimate(&self.measures.get(name)?.values)
    }
}

/// What scenarios have to have in common to be parts of one report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    pub(crate) format: u32,
    /// Of the binary that was measured.
    pub(crate) binary_sha256: String,
    /// Of the other build, in the scenario that measures it, too.
    #[serde(default)]
    pub(crate) guided_sha256: Option<String>,
    pub(crate) quick: bool,
}

/// A scenario's file.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) scenario: String,
    /// Seconds since 1970 when it was finished.
    pub(crate) finished_unix_s: u64,
    /// How long it took.
    pub(crate) seconds: f64,
    /// How many processors other programs, and the hypervisor, used meanwhile.
    #[serde(default)]
    pub(crate) neighbours: f64,
    pub(crate) findings: Findings,
}

impl Kept {
    pub(crate) fn save(&self, folder: &Path) -> Result<()> {
        let path = folder.join(format!("{}.json", self.scenario));
        let new = path.with_extension("json.new");
        fs::write(&new, serde_json::to_string_pretty(self)? + "\n").with_context(|| format!("{}", new.display()))?;
        // In one step, so that an interrupted run leaves whole files only.
        fs::rename(&new, &path)?;
        for (name, table) in &self.findings.tables {
            fs::write(folder.join(format!("{}-{name}.csv", self.scenario)), csv(table))?;
        }
        Ok(fs::write(folder.join(format!("{}.csv", self.scenario)), csv(&self.measures()))?)
    }

    /// None if there is none.
    pub(crate) fn load(folder: &Path, scenario: &str) -> Result<Option<Self>> {
        let path = folder.join(format!("{scenario}.json"));
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("{}", path.display())),
        };
        serde_json::from_str(&text)
            .map(Some)
            .with_context(|| format!("{} is not what this version writes", path.display()))
    }

    /// All measures as a table, a line for each.
    fn measures(&self) -> Table {
        let columns = ["measure", "unit", "better", "median", "low", "high", "count", "values"];
        let rows = self.findings.measures.iter().map(|(name, measure)| {
            let estimate = estimate(&measure.values);
            let of = |part: fn(&Estimate) -> f64| Cell::from(estimate.as_ref().map(part));
            let values: Vec<_> = measure.values.iter().map(ToString::to_string).collect();
            let better = match measure.better {
                Better::Lower => "lower",
                Better::Higher => "higher",
                Better::Neither => "",
            };
            let numbers = [of(|e| e.median), of(|e| e.low), of(|e| e.high), of(|e| e.count as f64)];
            let head = [name.as_str().into(), measure.unit.as_str().into(), better.into()];
            head.into_iter().chain(numbers).chain([values.join(" ").as_str().into()]).collect()
        });
        Table { columns: columns.map(str::to_owned).into(), rows: rows.collect() }
    }
}

/// RFC 4180, with plain line ends.
pub(crate) fn csv(table: &Table) -> String {
    let quote = |text: &str| {
        if text.contains([',', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
    };
    let line = |cells: Vec<String>| cells.join(",") + "\n";
    let cell = |cell: &Cell| match cell {
        Cell::Number(number) => number.to_string(),
        Cell::Text(text) => quote(text),
        Cell::Nothing => String::new(),
    };
    let head = line(table.columns.iter().map(|column| quote(column)).collect());
    table.rows.iter().fold(head, |text, row| text + &line(row.iter().map(cell).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Findings {
        let mut findings = Findings::default();
        for value in [1.0, 3.0, 2.0] {
            findings.add("p99", "ms", Better::Lower, value);
        }
        findings.add("p99", "ms", Better::Lower, f64::NAN);
        findings.add("none", "ms", Better::Lower, None);
        findings.row("curve", &["x", "what"], vec![1.5.into(), "a, \"b\"".into()]);
        findings.row("curve", &["x", "what"], vec![f64::NAN.into(), "c".into()]);
        findings
    }

    #[test]
    fn values_are_collected_if_they_are_any() {
        let findings = findings();
        assert_eq!(findings.measures.len(), 1);
        assert_eq!(findings.estimate("p99").map(|estimate| (estimate.median, estimate.count)), Some((2.0, 3)));
        assert_eq!(findings.estimate("none"), None);
    }

    #[test]
    fn tables_as_csv() {
        assert_eq!(csv(&findings().tables["curve"]), "x,what\n1.5,\"a, \"\"b\"\"\"\n,c\n");
    }

    #[test]
    fn what_is_kept_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let fingerprint = Fingerprint { format: FORMAT, binary_sha256: "ab".into(), guided_sha256: None, quick: true };
        let kept = Kept {
            fingerprint,
            scenario: "s".into(),
            finished_unix_s: 5,
            seconds: 1.5,
            neighbours: 0.25,
            findings: findings(),
        };
        assert_eq!(Kept::load(dir.path(), "s").unwrap(), None);
        kept.save(dir.path()).unwrap();
        assert_eq!(Kept::load(dir.path(), "s").unwrap(), Some(kept));
        let text = fs::read_to_string(dir.path().join("s.csv")).unwrap();
        assert!(text.contains("p99,ms,lower,2,1,3,3,1 3 2\n"), "{text}");
        fs::write(dir.path().join("s.json"), "{").unwrap();
        assert!(Kept::load(dir.path(), "s").unwrap_err().to_string().contains("s.json"));
    }
}
