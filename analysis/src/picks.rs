//! What a pick costs.
//!
//! Calls are timed in batches of a thousand, because a clock read costs about as much as a call; the batches of all
//! lanes alternate, so that a slow moment of the machine hits them alike. The proxy's own timing of each call is left
//! out here: it costs one read of the time-stamp counter, which the request needs anyway.

use std::{hint::black_box, sync::Arc, time::Instant};

use anyhow::Result;
use sluicegate_core::{ClusterSnapshot, EndpointSpec, LiveArena};
use sluicegate_plugin_least_request::LeastRequest;
use sluicegate_plugin_p2c::P2c;
use sluicegate_plugin_random::Random;
use sluicegate_plugin_round_robin::RoundRobin;
use sluicegate_policy::{Engine, Generation, GenerationSpec, Instance, Limits, RequestHead};
use sluicegate_sdk::{Plugin, Setup, native::Native};
use sluicegate_tests::{NativeCluster, wasm};

use crate::stats::quantile;

const BATCH: u32 = 1000;
const BATCHES: usize = 3000;

/// Prints the table for one number of endpoints.
pub(crate) fn measure(endpoints: u16) -> Result<()> {
    let specs: Vec<_> = (1..=endpoints).map(|port| EndpointSpec::new(([127, 0, 0, 1], port).into())).collect();
    let snapshot = Arc::new(ClusterSnapshot::empty("bench").next(&specs, &mut LiveArena::default(), 0));
    println!("\npick, {endpoints} endpoints: p50 (p99) in ns, of means over {BATCH} calls");
    println!("{:14} {:>16} {:>16} {:>16} {:>14}", "policy", "native", "fast lane", "portable lane", "fast - native");
    row::<RoundRobin>("round-robin", &snapshot)?;
    row::<Random>("random", &snapshot)?;
    row::<P2c>("p2c", &snapshot)?;
    row::<LeastRequest>("least-request", &snapshot)
}

fn row<P: Plugin>(policy: &str, snapshot: &Arc<ClusterSnapshot>) -> Result<()> {
    let cluster = NativeCluster(Arc::clone(snapshot));
    let setup = Setup { seed: 1, worker: 0, workers: 1 };
    let mut native = Native::<P>::configure("{}", setup).map_err(|error| anyhow::anyhow!("{error}"))?;
    native.endpoints_changed(0, &cluster);
    let (mut fast, mut portable) = (instance(policy, "fast", snapshot)?, instance(policy, "portable", snapshot)?);
    let mut request = RequestHead::default();
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..BATCHES {
        times[0].push(batch(|now| native.pick(now, 0, 0, &cluster, &())));
        for (times, instance) in times[1..].iter_mut().zip([&mut fast, &mut portable]) {
            times.push(batch(|now| instance.lane().pick(now, 0, &mut request).unwrap_or_default()));
        }
    }
    let [native, fast, portable] = times.map(|mut times| (quantile(&mut times, 0.5), quantile(&mut times, 0.99)));
    let show = |(p50, p99): (f64, f64)| format!("{p50:7.1} ({p99:.1})");
    let difference = fast.0 - native.0;
    println!("{policy:14} {:>16} {:>16} {:>16} {difference:>14.1}", show(native), show(fast), show(portable));
    Ok(())
}

fn batch(mut pick: impl FnMut(u64) -> u32) -> f64 {
    let start = Instant::now();
    for now in 0..u64::from(BATCH) {
        black_box(pick(black_box(now)));
    }
    start.elapsed().as_nanos() as f64 / f64::from(BATCH)
}

fn instance(policy: &str, lane: &str, snapshot: &Arc<ClusterSnapshot>) -> Result<Instance> {
    let engine = Engine::new(Limits::default(), None).map_err(|error| anyhow::anyhow!("{error:#}"))?;
    let artifact = engine.load(&wasm::builtin(policy, lane))?;
    let spec = GenerationSpec {
        cluster: "bench".into(),
        policy: policy.into(),
        artifact,
        config: "{}".into(),
        seed: 1,
        workers: 1,
    };
    Ok(Generation::new(1, spec).instance(&engine, 0, Arc::clone(snapshot), 0)?)
}
