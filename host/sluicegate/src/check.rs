//! `sluicegate check`: what a policy is, and whether the proxy would take it.

pub(crate) mod report;

use std::{
    fs::File,
    io::{self, Read},
    net::SocketAddr,
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Result, anyhow};
use serde_json::Value;
use sluicegate_core::{ClusterSnapshot, EndpointSpec, LiveArena};
use sluicegate_policy::{Artifact, Clock, Digest, Engine, Limits, Plugin, Refusal, Rehearsal};

use crate::cli;

/// Nothing could be said of the policy, which is not the same as a policy that is refused. Clap ends with this code
/// too when it can't make sense of the command line.
pub(crate) const UNREADABLE: u8 = 2;

/// Checks a file, and says what was found.
pub(crate) fn run(arguments: &cli::Check) -> Result<ExitCode> {
    let limits = Limits::default();
    let bytes = match read(&arguments.file, limits.module_bytes) {
        Ok(bytes) => bytes,
        Err(error) => {
            eprintln!("error: can't read {}: {error}", arguments.file.display());
            return Ok(ExitCode::from(UNREADABLE));
        }
    };
    let file = arguments.file.display().to_string();
    let examination = Examination::of(file, bytes, &arguments.config, arguments.endpoints, limits)?;
    if arguments.json {
        report::show(&format!("{:#}\n", examination.to_json()));
    } else {
        report::show(&examination.to_text());
        match &examination.verdict {
            Ok(_) => report::show(&format!("\n{}\n", report::ok())),
            Err(refusal) => eprintln!("{}", report::refused(refusal)),
        }
    }
    Ok(if examination.verdict.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// An engine without a cache: what is checked is compiled, so that the compiler has its say too.
pub(crate) fn engine(limits: Limits) -> Result<Arc<Engine>> {
    Engine::new(limits, None).map_err(|error| anyhow!("the WebAssembly engine can't start: {error:#}"))
}

/// What is known of a policy after everything was tried that a proxy would try.
pub(crate) struct Examination {
    /// As the user called it.
    file: String,
    size: usize,
    /// Of the file's bytes.
    pub(crate) digest: Digest,
    limits: Limits,
    /// How many endpoints it was rehearsed with.
    endpoints: u16,
    /// What it exports and imports; unknown when it was refused before that.
    artifact: Option<Arc<Artifact>>,
    /// How its rehearsal went, or why it does not serve.
    pub(crate) verdict: Result<Rehearsal, Refusal>,
}

impl Examination {
    /// Loads and rehearses a policy.
    pub(crate) fn of(file: String, bytes: Vec<u8>, config: &Value, endpoints: u16, limits: Limits) -> Result<Self> {
        let engine = engine(limits.clone())?;
        let (size, digest) = (bytes.len(), Digest::of(&bytes));
        let plugin = Plugin { name: "policy".into(), bytes: bytes.into(), config: config.to_string().into() };
        // Loaded for itself first: what it exports is worth knowing even when it fails its rehearsal. The engine
        // keeps what is in use, so it is not compiled twice.
        let loaded = engine.load(&plugin.bytes);
        let clock = Clock::start();
        let verdict = match &loaded {
            Ok(_) => plugin.try_out(&engine, &clock, &snapshot(endpoints, &clock)).map(|(_, rehearsal)| rehearsal),
            Err(refusal) => Err(refusal.clone()),
        };
        Ok(Self { file, size, digest, limits, endpoints, artifact: loaded.ok(), verdict })
    }
}

/// Endpoints that differ in nothing but their addresses.
fn snapshot(count: u16, clock: &Clock) -> Arc<ClusterSnapshot> {
    let specs = (0..count).map(|number| {
        let [high, low] = number.to_be_bytes();
        EndpointSpec::new(SocketAddr::from(([10, 0, high, low], 8080)))
    });
    let specs: Vec<EndpointSpec> = specs.collect();
    Arc::new(ClusterSnapshot::empty("check").next(&specs, &mut LiveArena::default(), clock.now()))
}

/// The bytes of a policy: a built-in one's, by its name alone, or a file's.
pub(crate) fn policy_bytes(policy: &Path, limit: usize) -> io::Result<Vec<u8>> {
    match policy.to_str().and_then(sluicegate_builtins::get) {
        Some(builtin) => Ok(builtin.to_vec()),
        None => read(policy, limit),
    }
}

/// A byte more than the limit is enough for the engine to refuse the rest with a better message than ours.
fn read(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
