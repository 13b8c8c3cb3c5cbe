//! One round: build, check, swap. Whatever goes wrong is said, and the policy that served before goes on.

use std::{
    fs,
    path::PathBuf,
    sync::OnceLock,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use serde_json::{Value, json};
use sluicegate_policy::{Limits, Refusal};

use crate::{
    build_policy::{
        ENDPOINTS,
        cargo::{self, Library, Running},
        replace,
    },
    check::{
        Examination,
        report::{GREEN, RED, bytes, painted, show, time},
    },
    policy::{client::Client, path},
};

/// What a round came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A new version serves.
    Serves,
    /// What served before goes on.
    Nothing,
}

/// What all rounds have in common.
pub(super) struct Round {
    client: Client,
    cluster: String,
    dir: PathBuf,
    library: Library,
    config: Value,
    running: Running,
    /// The module, in its place.
    output: PathBuf,
    /// Which generation serves, for people.
    serving: String,
}

impl Round {
    /// Looks whether the proxy is there, before anything is built for it.
    pub(super) fn begin(
        client: Client,
        cluster: String,
        dir: PathBuf,
        library: Library,
        config: Value,
        running: Running,
    ) -> Result<Self> {
        let policy = client.get(&path(&cluster, ""))?;
        let serving = match &policy["active"] {
            Value::Null => "the native fallback".to_owned(),
            active => format!("generation {} ({})", active["generation"], active["policy"].as_str().unwrap_or("?")),
        };
        say(&format!("{serving} serves {cluster}. Save a file in {}, and it is built; Ctrl-C ends.", dir.display()));
        let output = dir.join(format!("{}.wasm", library.name));
        // The proxy, wherever it was started, is told where that is.
        let output = std::path::absolute(&output).with_context(|| format!("no path: {}", output.display()))?;
        Ok(Self { client, cluster, dir, library, config, running, output, serving })
    }

    /// Builds, checks, swaps, and says what came of it.
    pub(super) fn go(&mut self) -> Outcome {
        match self.try_to() {
            Ok(outcome) => outcome,
            Err(error) => {
                let failed = painted("failed", RED, &std::io::stdout());
                say(&format!("{failed}: {error:#}"));
                say(&format!("{} goes on", self.serving));
                Outcome::Nothing
            }
        }
    }

    fn try_to(&mut self) -> Result<Outcome> {
        say("building");
        let begun = Instant::now();
        let built = cargo::build(&self.dir, &self.library, &self.running)?;
        let module = fs::read(&built).with_context(|| format!("can't read {}", built.display()))?;
        let took = time(begun.elapsed());
        let size = bytes(module.len());
        let begun = Instant::now();
        let name = self.output.display().to_string();
        let examination = Examination::of(name.clone(), module.clone(), &self.config, ENDPOINTS, Limits::default())?;
        let rehearsal = match &examination.verdict {
            Ok(rehearsal) => rehearsal,
            Err(Refusal::Configure { reason }) => {
                let hint = "say how it is to be configured: --policy-config '{...}'";
                return Err(anyhow!("it refuses its configuration {}: {reason}\n{hint}", self.config));
            }
            Err(refusal) => return Err(anyhow!("refused: {}: {refusal}", refusal.label())),
        };
        say(&format!(
            "built in {took}, checked in {}: {size}, memory {}, median pick {} ns among {ENDPOINTS} endpoints",
            time(begun.elapsed()),
            bytes(rehearsal.memory_bytes),
            rehearsal.pick_ns
        ));
        replace(&self.output, &module)?;
        self.swap(&name)
    }

    fn swap(&mut self, file: &str) -> Result<Outcome> {
        let body = json!({ "file": file, "config": self.config });
        let swapped = self.client.post(&path(&self.cluster, "/swap"), &body)?;
        let generation = &swapped["generation"];
        if swapped["unchanged"] == true {
            say(&format!("the same code as before: generation {generation} goes on"));
            return Ok(Outcome::Nothing);
        }
        self.serving = format!("generation {generation}");
        let pick = swapped["pick_ns"].as_u64().map_or(String::new(), |ns| format!(", median pick {ns} ns there"));
        let state = swapped["state"].as_str().map_or(String::new(), |state| format!(", state {state}"));
        let serves = painted("serves", GREEN, &std::io::stdout());
        let took = &swapped["total_ms"];
        say(&format!("generation {generation} {serves} {}: swapped in {took} ms{pick}{state}", self.cluster));
        Ok(Outcome::Serves)
    }
}

/// A line, with the time since the first one.
pub(super) fn say(what: &str) {
    static START: OnceLock<Instant> = OnceLock::new();
    let elapsed: Duration = START.get_or_init(Instant::now).elapsed();
    show(&format!("{:6.1} s  {what}\n", elapsed.as_secs_f64()));
}
