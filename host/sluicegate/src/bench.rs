//! `sluicegate bench`: what a policy costs, at several numbers of endpoints.

mod report;
mod stand;

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use sluicegate_policy::{Clock, Digest, Engine, Limits, Plugin};

use crate::{check, cli};
use stand::{Call, Costs, Stand};

/// What was measured with so many endpoints.
struct Row {
    endpoints: u32,
    /// To make an instance that is configured and has seen the endpoints: each worker's at a swap.
    instance: Duration,
    /// To try it out before a swap, on such an instance.
    rehearsal: Duration,
    memory_bytes: usize,
    /// For one pick, in the mean.
    instructions: f64,
    costs: Vec<(Call, Costs)>,
}

/// All of it.
struct Bench {
    digest: Digest,
    bytes: usize,
    lane: &'static str,
    /// Without anything that was kept from before.
    compile: Duration,
    clock: &'static str,
    rows: Vec<Row>,
}

/// Measures a policy, and prints what it costs.
pub(crate) fn run(arguments: &cli::Bench) -> Result<ExitCode> {
    let limits = Limits::default();
    let bytes = check::policy_bytes(&arguments.policy, limits.module_bytes);
    let bytes = bytes.with_context(|| format!("can't read {}", arguments.policy.display()))?;
    ensure!(arguments.seconds > 0.0, "--seconds {}: measure for longer than that", arguments.seconds);
    let bench = measure(arguments, &bytes)?;
    let name = arguments.policy.display().to_string();
    check::report::show(&match arguments.json {
        true => format!("{:#}\n", bench.to_json(&name, &arguments.config)),
        false => bench.to_text(&name),
    });
    Ok(ExitCode::SUCCESS)
}

fn measure(arguments: &cli::Bench, bytes: &[u8]) -> Result<Bench> {
    let engine = check::engine(Limits::default())?;
    let metered = Engine::metered(Limits::default());
    let metered = metered.map_err(|error| anyhow::anyhow!("no engine that counts instructions: {error:#}"))?;
    let clock = Clock::start();
    let artifact = engine.load(bytes)?;
    let plugin = Plugin { name: "bench".into(), bytes: bytes.into(), config: arguments.config.to_string().into() };
    let mut rows = Vec::new();
    for endpoints in &arguments.endpoints {
        let snapshot = stand::cluster(*endpoints);
        let counting = stand::generation(&metered, &plugin)?;
        let instructions = stand::instructions(&metered, &counting, &snapshot)?;
        let begun = clock.now();
        plugin.try_out(&engine, &clock, &snapshot)?;
        let rehearsal = Duration::from_nanos(clock.now() - begun);
        let generation = stand::generation(&engine, &plugin)?;
        let begun = clock.now();
        let instance = generation.instance(&engine, 0, Arc::clone(&snapshot), begun)?;
        let made = Duration::from_nanos(clock.now() - begun);
        let mut stand = Stand::new(instance, snapshot, clock);
        let costs = stand.measure(Duration::from_secs_f64(arguments.seconds))?;
        let memory_bytes = stand.memory_bytes();
        rows.push(Row { endpoints: *endpoints, instance: made, rehearsal, memory_bytes, instructions, costs });
    }
    Ok(Bench {
        digest: artifact.digest,
        bytes: artifact.bytes,
        lane: artifact.lane().label(),
        compile: artifact.load_time,
        clock: clock.source(),
        rows,
    })
}
