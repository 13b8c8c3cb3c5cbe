//! What the checks found, for people and for programs.

use std::io;

use serde_json::{Value, json};
use sluicegate_policy::{Artifact, Digest};

use super::{Finding, Verdict};
use crate::{
    check::report::{GREEN, RED, painted, show},
    cli,
};

/// What was tested, and how it is done again.
pub(super) struct Report {
    policy: String,
    digest: Digest,
    lane: Option<&'static str>,
    config: Value,
    seed: u64,
    same_as: Option<String>,
}

impl Report {
    pub(super) fn new(arguments: &cli::Conformance, digest: Digest, artifact: Option<&Artifact>) -> Self {
        Self {
            policy: arguments.policy.display().to_string(),
            digest,
            lane: artifact.map(|artifact| artifact.lane().label()),
            config: arguments.config.clone(),
            seed: arguments.seed,
            same_as: arguments.same_as.as_ref().map(|other| other.display().to_string()),
        }
    }

    pub(super) fn begin(&self) {
        show(&format!("{}, sha256 {}, seed {}\n\n", self.policy, self.digest.short(), self.seed));
    }

    /// One check, as soon as it is done: some take seconds.
    pub(super) fn line(&self, finding: &Finding) {
        let name = finding.check.name;
        match &finding.verdict {
            Verdict::Ok(detail) => {
                show(&format!("{}       {name:<14} {detail}\n", painted("ok", GREEN, &io::stdout())));
            }
            Verdict::Skipped(reason) => show(&format!("skipped  {name:<14} {reason}\n")),
            Verdict::Failed(seen) => {
                let failed = painted("FAILED", RED, &io::stdout());
                show(&format!("{failed}   {name:<14} {seen}\n"));
                show(&format!("{:24}expected: {}\n{:24}again: {}\n", "", finding.check.expected, "", self.again(name)));
            }
        }
    }

    pub(super) fn end(&self, findings: &[Finding]) {
        let count = |is: fn(&Verdict) -> bool| findings.iter().filter(|finding| is(&finding.verdict)).count();
        let ok = count(|verdict| matches!(verdict, Verdict::Ok(_)));
        let failed = count(|verdict| matches!(verdict, Verdict::Failed(_)));
        let skipped = count(|verdict| matches!(verdict, Verdict::Skipped(_)));
        show(&format!("\n{ok} ok, {failed} failed, {skipped} skipped\n"));
    }

    /// The command that shows a failure again.
    fn again(&self, name: &str) -> String {
        let mut command = format!("sluicegate conformance {}", self.policy);
        if self.config != json!({}) {
            command.push_str(&format!(" --config '{}'", self.config));
        }
        if let Some(other) = &self.same_as {
            command.push_str(&format!(" --same-as {other}"));
        }
        format!("{command} --seed {} --only {name}", self.seed)
    }

    /// The same as one object, whose keys stay.
    pub(super) fn to_json(&self, findings: &[Finding]) -> Value {
        let check = |finding: &Finding| {
            let (result, detail) = match &finding.verdict {
                Verdict::Ok(detail) => ("ok", detail),
                Verdict::Failed(seen) => ("failed", seen),
                Verdict::Skipped(reason) => ("skipped", reason),
            };
            let again = (result == "failed").then(|| self.again(finding.check.name));
            json!({
                "name": finding.check.name,
                "expected": finding.check.expected,
                "result": result,
                "detail": detail,
                "again": again,
            })
        };
        json!({
            "ok": !findings.iter().any(|finding| matches!(finding.verdict, Verdict::Failed(_))),
            "policy": self.policy,
            "sha256": self.digest.to_string(),
            "lane": self.lane,
            "config": self.config,
            "seed": self.seed,
            "same_as": self.same_as,
            "checks": findings.iter().map(check).collect::<Vec<_>>(),
        })
    }
}
