//! The performance report: scenarios are run, what they find is kept in `data/`, and the report is made of what is
//! there. So a report can be interrupted and resumed, and be made with parts missing; it says which.

mod compare;
pub(crate) mod data;
mod doc;
mod render;
mod rules;
mod scenarios;
mod sections;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};

pub(crate) use self::doc::escape;
use self::{
    compare::compare,
    data::{FORMAT, Fingerprint, Kept},
    render::{Parts, render},
    scenarios::SCENARIOS,
};
use crate::stand::{Cores, Neighbours, pin_self, raise_file_limit};

/// What to report.
#[derive(clap::Args)]
pub(crate) struct ReportArguments {
    /// Shorter and fewer runs: ends within 3 minutes, and its intervals are wide.
    #[arg(long)]
    quick: bool,
    /// Where report.md, report.html, charts/ and data/ go.
    #[arg(long, default_value = "analysis")]
    out: PathBuf,
    /// The folder of an older report, to compare with.
    #[arg(long, value_name = "FOLDER")]
    compare: Option<PathBuf>,
    /// Keeps what an interrupted run of the same binary has finished.
    #[arg(long)]
    resume: bool,
    /// Another build of the proxy, guided by a profile (see pgo.sh), to be measured beside the peers.
    #[arg(long, value_name = "BINARY")]
    guided: Option<PathBuf>,
    /// Runs these scenarios and no others; what is there of the others is used. For work on the report.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

/// What scenarios have in common.
pub(crate) struct Setting {
    pub(crate) quick: bool,
    /// None on a single processor: then everybody shares it.
    pub(crate) cores: Option<Cores>,
    /// The proxy's binary.
    pub(crate) binary: PathBuf,
    /// Another build of it.
    pub(crate) guided: Option<PathBuf>,
}

impl Setting {
    /// Seconds of the whole report, or of a quick one.
    pub(crate) fn time(&self, whole: f64, quick: f64) -> Duration {
        Duration::from_secs_f64(if self.quick { quick } else { whole })
    }

    /// How many of the whole report, or of a quick one.
    pub(crate) fn count(&self, whole: usize, quick: usize) -> usize {
        if self.quick { quick } else { whole }
    }
}

impl ReportArguments {
    /// Measures, and writes.
    pub(crate) fn run(&self) -> Result<()> {
        // Before anything is measured, as it may have to be built.
        let binary = sluicegate_tests::binary().to_owned();
        let fingerprint = Fingerprint { format: FORMAT, binary_sha256: digest(&binary)?, quick: self.quick };
        raise_file_limit();
        let cores = Cores::split();
        if let Some(cores) = cores {
            pin_self(cores.load).context("processes can't be put on processors: is util-linux installed?")?;
        }
        let setting = Setting { quick: self.quick, cores, binary, guided: self.guided.clone() };
        if let Some(guided) = &self.guided {
            anyhow::ensure!(guided.is_file(), "--guided {}: there is no such file", guided.display());
        }
        for name in &self.only {
            let known = SCENARIOS.map(|scenario| scenario.name);
            anyhow::ensure!(known.contains(&name.as_str()), "--only {name}: there is {}", known.join(", "));
        }
        let data = self.out.join("data");
        fs::create_dir_all(&data).with_context(|| format!("{}", data.display()))?;
        // Read first: it may be the folder that is written to.
        let old = self.compare.as_deref().map(|old| Parts::load(&old.join("data"))).transpose()?;
        let start = Instant::now();
        for (index, scenario) in SCENARIOS.iter().enumerate() {
            let place = format!("[{}/{}] {}", index + 1, SCENARIOS.len(), scenario.name);
            if !self.only.is_empty() && !self.only.iter().any(|name| name == scenario.name) {
                continue;
            }
            if self.resume && is_kept(&data, scenario.name, &fingerprint)? {
                eprintln!("{place}: kept");
                continue;
            }
            eprintln!("{place}: {} ...", scenario.title);
            let (began, before) = (Instant::now(), Neighbours::now());
            let findings = (scenario.run)(&setting).with_context(|| format!("the scenario {}", scenario.name))?;
            let seconds = began.elapsed().as_secs_f64();
            let neighbours = before.since(seconds);
            findings.remarks.iter().for_each(|remark| eprintln!("    {remark}"));
            let so_far = start.elapsed().as_secs_f64();
            eprintln!("{place}: {seconds:.0} s; {so_far:.0} s so far; others used {neighbours:.2} processors");
            let finished_unix_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
            let (fingerprint, scenario) = (fingerprint.clone(), scenario.name.to_owned());
            Kept { fingerprint, scenario, finished_unix_s, seconds, neighbours, findings }.save(&data)?;
        }
        let parts = Parts::load(&data)?;
        let comparison = old.map(|old| compare(&parts, &old));
        render(&self.out, &parts, comparison.as_ref())?;
        eprintln!("{}, report.html, charts/ and data/ are written", self.out.join("report.md").display());
        Ok(())
    }
}

fn is_kept(data: &Path, scenario: &str, fingerprint: &Fingerprint) -> Result<bool> {
    // A file that an older version wrote is measured again.
    let kept = Kept::load(data, scenario).unwrap_or_default();
    Ok(kept.is_some_and(|kept| kept.fingerprint == *fingerprint))
}

/// What tells builds apart.
fn digest(binary: &Path) -> Result<String> {
    let text = crate::stand::run_tool("sha256sum", &[&binary.to_string_lossy()])?;
    text.split_whitespace().next().map(str::to_owned).context("sha256sum prints nothing")
}
