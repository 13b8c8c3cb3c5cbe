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
use crate::stand::{Cores, Neighbours, pin_self, raise_file_limit, run_tool};

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
    /// What is wrong with them is said before anything is built or measured.
    fn check(&self) -> Result<()> {
        for name in &self.only {
            let known = SCENARIOS.map(|scenario| scenario.name);
            anyhow::ensure!(known.contains(&name.as_str()), "--only {name}: there is {}", known.join(", "));
        }
        if let Some(guided) = &self.guided {
            let shown = guided.display();
            let version =
                run_tool(&guided.to_string_lossy(), &["--version"]).with_context(|| format!("--guided {shown}"))?;
            let version = version.lines().next().unwrap_or_default();
            anyhow::ensure!(version.starts_with("sluicegate "), "--guided {shown}: this is no proxy, but {version:?}");
        }
        Ok(())
    }

    /// Measures, and writes.
    pub(crate) fn run(&self) -> Result<()> {
        self.check()?;
        // Before anything is measured, as it may have to be built.
        let binary = sluicegate_tests::binary().to_owned();
        let guided_sha256 = self.guided.as_deref().map(digest).transpose()?;
        let own =
            Fingerprint { format: FORMAT, binary_sha256: digest(&binary)?, guided_sha256: None, quick: self.quick };
        let beside = Fingerprint { guided_sha256, ..own.clone() };
        raise_file_limit();
        let cores = Cores::split();
        if let Some(cores) = cores {
            pin_self(cores.load).context("processes can't be put on processors: is util-linux installed?")?;
        }
        let setting = Setting { quick: self.quick, cores, binary, guided: self.guided.clone() };
        let data = self.out.join("data");
        fs::create_dir_all(&data).with_context(|| format!("{}", data.display()))?;
        // Read first: it may be the folder that is written to.
        let old = self.compare.as_deref().map(|old| Parts::load(&old.join("data"))).transpose()?;
        let start = Instant::now();
        for (index, scenario) in SCENARIOS.iter().enumerate() {
            let fingerprint = if scenario.has_guided { &beside } else { &own };
            let place = format!("[{}/{}] {}", index + 1, SCENARIOS.len(), scenario.name);
            if !self.only.is_empty() && !self.only.iter().any(|name| name == scenario.name) {
                continue;
            }
            if self.resume && is_kept(&data, scenario.name, fingerprint)? {
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
    let text = run_tool("sha256sum", &[&binary.to_string_lossy()])?;
    text.split_whitespace().next().map(str::to_owned).context("sha256sum prints nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_before_anything_is_built() {
        let check = |only: &[&str], guided: Option<&str>| {
            let only = only.iter().map(|name| (*name).to_owned()).collect();
            let arguments = ReportArguments {
                quick: true,
                out: "nowhere".into(),
                compare: None,
                resume: false,
                guided: guided.map(Into::into),
                only,
            };
            arguments.run().map_err(|error| format!("{error:#}")).unwrap_err()
        };
        assert!(check(&["peer"], None).starts_with("--only peer: there is environment, "));
        assert!(check(&[], Some("no/such")).starts_with("--guided no/such: no/such does not start"));
        assert!(check(&[], Some("/bin/true")).starts_with("--guided /bin/true: this is no proxy, but \"true"));
        assert!(!Path::new("nowhere").exists());
    }

    #[test]
    fn another_build_beside_is_measured_anew() {
        let dir = tempfile::tempdir().unwrap();
        let of = |guided: Option<&str>| Fingerprint {
            format: FORMAT,
            binary_sha256: "a".into(),
            guided_sha256: guided.map(str::to_owned),
            quick: true,
        };
        let findings = data::Findings::default();
        let (scenario, fingerprint) = ("peers".to_owned(), of(Some("b")));
        Kept { fingerprint, scenario, finished_unix_s: 0, seconds: 1.0, neighbours: 0.0, findings }
            .save(dir.path())
            .unwrap();
        let is_kept = |guided| is_kept(dir.path(), "peers", &of(guided)).unwrap();
        assert_eq!((is_kept(Some("b")), is_kept(Some("c")), is_kept(None)), (true, false, false));
    }
}
