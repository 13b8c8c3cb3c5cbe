//! `sluicegate conformance`: a kit that any policy can be run against, whatever it is written in.
//!
//! Each check looks at one thing that the contract says, or that the proxy relies on, through the engine that the proxy
//! runs policies with. What is found is told under the name of the check whose business it is: a pick that hangs while
//! endpoints come and go is for `deadline` to report, and the other checks say that they could not go on.

mod checks;
mod report;
mod subject;
pub(crate) mod traffic;

use std::{path::Path, process::ExitCode, sync::Arc};

use anyhow::{Context as _, Result, bail};
use sluicegate_policy::{Artifact, Digest, Engine, Fault, Limits, Refusal};

use crate::{check, cli};
use checks::{CHECKS, Check};
use subject::Subject;

/// Runs the checks, and says what they found.
pub(crate) fn run(arguments: &cli::Conformance) -> Result<ExitCode> {
    let limits = Limits::default();
    let bytes = match check::policy_bytes(&arguments.policy, limits.module_bytes) {
        Ok(bytes) => bytes,
        Err(error) => {
            eprintln!("error: can't read {}: {error}", arguments.policy.display());
            return Ok(ExitCode::from(check::UNREADABLE));
        }
    };
    if let Some(only) = arguments.only.as_deref().filter(|only| !CHECKS.iter().any(|check| check.name == *only)) {
        let names: Vec<&str> = CHECKS.iter().map(|check| check.name).collect();
        bail!("--only {only}: no check is called that; there are: {}", names.join(", "));
    }
    let engine = check::engine(limits)?;
    let loaded = engine.load(&bytes);
    let other = arguments.same_as.as_deref().map(load_other).transpose()?;
    let report = report::Report::new(arguments, Digest::of(&bytes), loaded.as_deref().ok());
    let kit = Kit { engine, loaded, other, config: arguments.config.to_string().into(), seed: arguments.seed };
    if !arguments.json {
        report.begin();
    }
    let mut findings = Vec::new();
    kit.run(arguments.only.as_deref(), |finding| {
        if !arguments.json {
            report.line(&finding);
        }
        findings.push(finding);
    });
    if arguments.json {
        check::report::show(&format!("{:#}\n", report.to_json(&findings)));
    } else {
        report.end(&findings);
    }
    let failed = findings.iter().any(|finding| matches!(finding.verdict, Verdict::Failed(_)));
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What the policy under test is compared with, in an engine of its own.
fn load_other(policy: &Path) -> Result<(Arc<Engine>, Arc<Artifact>)> {
    let limits = Limits::default();
    let bytes = check::policy_bytes(policy, limits.module_bytes);
    let bytes = bytes.with_context(|| format!("--same-as: can't read {}", policy.display()))?;
    let engine = check::engine(limits)?;
    let artifact = engine.load(&bytes).with_context(|| format!("--same-as {}", policy.display()))?;
    Ok((engine, artifact))
}

/// What a check came to.
enum Verdict {
    /// As it should be, and what there is to say of it.
    Ok(String),
    /// What was seen instead.
    Failed(String),
    /// Why there was nothing to look at.
    Skipped(String),
}

/// A check, and what it came to.
struct Finding {
    check: &'static Check,
    verdict: Verdict,
}

/// Why a check does not go on.
enum Stop {
    /// What was seen is not as it should be.
    Failed(String),
    /// A call gave no usable answer, and what it was made for.
    Fault(Fault, String),
    /// It would not take its configuration, in its words.
    Refused(String),
    /// There is nothing to check.
    Skipped(String),
}

/// What a check, or a part of one, came to.
type Checked<T = String> = Result<T, Stop>;

impl Stop {
    /// A policy that was refused while an instance of it was made.
    fn refused(refusal: Refusal, doing: &str) -> Self {
        match refusal {
            Refusal::Rehearsal { fault } => Self::Fault(fault, doing.to_owned()),
            Refusal::Configure { reason } => Self::Refused(reason),
            refusal => Self::Failed(format!("{refusal} ({doing})")),
        }
    }
}

/// The policy under test, and what it is tested with.
struct Kit {
    engine: Arc<Engine>,
    loaded: Result<Arc<Artifact>, Refusal>,
    /// Another build, which has to pick alike.
    other: Option<(Arc<Engine>, Arc<Artifact>)>,
    config: Arc<str>,
    seed: u64,
}

impl Kit {
    fn artifact(&self) -> Checked<&Arc<Artifact>> {
        self.loaded.as_ref().map_err(|refusal| Stop::Failed(format!("refused: {}: {refusal}", refusal.label())))
    }

    /// A fresh instance, which has seen no endpoints yet.
    fn subject(&self) -> Checked<Subject> {
        self.subject_with(&self.config)
    }

    fn subject_with(&self, config: &Arc<str>) -> Checked<Subject> {
        Subject::new(&self.engine, self.artifact()?, config, self.seed)
    }

    /// A fresh instance of what the policy is compared with.
    fn other(&self) -> Checked<Subject> {
        let Some((engine, artifact)) = &self.other else {
            return Err(Stop::Skipped("nothing to compare with: `--same-as` names another build of it".into()));
        };
        Subject::new(engine, artifact, &self.config, self.seed)
    }

    /// Runs a check; once more, if a call took too long. A machine that stands still for a moment can do that to any, which
    /// ends no policy that serves; a call that is slow is so again.
    fn look(&self, check: &Check) -> Checked {
        match (check.run)(self) {
            Err(Stop::Fault(Fault::Timeout { .. }, _)) => (check.run)(self),
            outcome => outcome,
        }
    }

    /// Runs all checks in their order, or as many as are needed for the one that is asked for.
    fn run(&self, only: Option<&str>, mut found: impl FnMut(Finding)) {
        let mut blocked = None;
        let mut sightings: Vec<(&str, String)> = Vec::new();
        for (position, check) in CHECKS.iter().enumerate() {
            let asked_for = only.is_none_or(|only| only == check.name);
            let sighted = sightings.iter().position(|(name, _)| *name == check.name);
            let verdict = match (sighted, blocked) {
                (Some(sighted), _) => Verdict::Failed(sightings.swap_remove(sighted).1),
                (None, Some(gate)) => Verdict::Skipped(format!("it does not get so far: see `{gate}`")),
                (None, None) if !asked_for && !check.is_gate => continue,
                (None, None) => match self.look(check) {
                    Ok(detail) => Verdict::Ok(detail),
                    Err(Stop::Failed(seen)) => Verdict::Failed(seen),
                    Err(Stop::Skipped(reason)) => Verdict::Skipped(reason),
                    Err(Stop::Refused(reason)) => Verdict::Failed(format!("refused {}: {reason}", self.config)),
                    Err(Stop::Fault(fault, doing)) => {
                        let seen = format!("{fault} ({doing})");
                        match checks::home(&fault).filter(|home| is_later(home, position)) {
                            Some(home) => {
                                let reason = format!("stopped by a fault: see `{home}`");
                                sightings.push((home, format!("{seen}, in `{}`", check.name)));
                                Verdict::Skipped(reason)
                            }
                            None => Verdict::Failed(seen),
                        }
                    }
                },
            };
            let is_ok = matches!(verdict, Verdict::Ok(_));
            if check.is_gate && !is_ok {
                blocked.get_or_insert(check.name);
            }
            if asked_for || matches!(verdict, Verdict::Failed(_)) {
                found(Finding { check, verdict });
            }
        }
    }
}

/// Whether a check's turn comes after this one's.
fn is_later(name: &str, position: usize) -> bool {
    CHECKS.iter().skip(position + 1).any(|check| check.name == name)
}
