//! A policy in wasm against the same without wasm, end to end.
//!
//! The proxy has no native lane, and gets none for the sake of a measurement: that would be another program. But it has
//! the native fallback, which is `p2c` in native code: two endpoints by chance, and the one with fewer requests in
//! flight for its weight. A policy that fails five times is put aside for good, and where it has no predecessor the
//! fallback serves all requests. So both sides are the same binary with the same configuration. The fallback's side
//! also spares the bookkeeping of calls, so what is told as the cost of wasm is rather too much than too little.
//!
//! A third proxy is a second one with `p2c`: what it differs by from the first is the noise.

use anyhow::Result;
use sluicegate_tests::wasm::ByHand;

use super::super::{
    Setting,
    data::{Better, Findings},
};
use crate::{
    load::{Plan, Target},
    stand::{Gate, OriginSpec, Origins, endpoints},
};

pub(super) fn run(setting: &Setting) -> Result<Findings> {
    let mut findings = Findings::default();
    let origins = Origins::start((0..16).map(|_| OriginSpec::default()).collect())?;
    let gate = |policy: &str, wasm: Option<Vec<u8>>| -> Result<Gate> {
        let list = endpoints(&origins.addresses);
        let config = format!("[[route]]\ncluster = \"api\"\n[cluster.api]\npolicy = {policy}\nendpoints = {list}\n");
        Gate::start(&config, setting.cores, |dir| {
            if let Some(wasm) = wasm {
                std::fs::write(dir.join("bad.wasm"), wasm).expect("a folder of its own");
            }
        })
    };
    // It passes its rehearsal of 64 picks.
    let bad = ByHand {
        pick: "(if (i32.gt_u (global.get $turn) (i32.const 200)) (then unreachable)) i32.const 0",
        ..ByHand::default()
    };
    let names = ["p2c", "fallback", "control"];
    let gates = [gate("\"p2c\"", None)?, gate("{ file = \"bad.wasm\" }", Some(bad.module()))?, gate("\"p2c\"", None)?];
    for gate in &gates {
        gate.warm("/")?;
    }
    quarantine(&gates[1])?;
    findings.text("policy that fails", bad.pick);
    let (short, time) = (setting.time(0.3, 0.2), setting.time(1.0, 0.6));
    let mut peak = 0.0;
    // Pairs that are short and many tell more than a few long ones: the machine is not the same for long.
    for round in 0..setting.count(40, 4) {
        // Nobody is always first.
        for turn in 0..gates.len() {
            let index = (round + turn) % gates.len();
            let target = Target::at(gates[index].http1(), "/");
            let before = gates[index].usage();
            let outcome = Plan::closed(target, 64, short, time).run()?;
            let spent = gates[index].usage() - before;
            let answered = outcome.throughput() * (short + time).as_secs_f64();
            let name = names[index];
            findings.add(format!("{name}/throughput"), "requests/s", Better::Higher, outcome.throughput());
            findings.add(format!("{name}/cpu"), "us/request", Better::Lower, spent.total / answered * 1e6);
            peak = outcome.throughput();
        }
    }
    for round in 0..setting.count(10, 3) {
        for turn in 0..gates.len() {
            let index = (round + turn) % gates.len();
            let plan = Plan::steady(Target::at(gates[index].http1(), "/"), peak / 2.0, short, time);
            let outcome = Plan { seed: round as u64, ..plan }.run()?;
            for (percentile, q) in [("p50", 0.5), ("p99", 0.99)] {
                findings.add(format!("{}/{percentile}", names[index]), "ms", Better::Lower, outcome.ms(q));
            }
        }
    }
    in_service(&gates[0], &mut findings)?;
    own_cost(&mut findings);
    Ok(findings)
}

/// Until the fallback serves everything.
fn quarantine(gate: &Gate) -> Result<()> {
    for _ in 0..20 {
        gate.warm("/")?;
        let calls = || gate.metric("sluicegate_policy_call_seconds_count", &["callback=\"pick\""]);
        let before = calls()?;
        gate.warm("/")?;
        if calls()? == before {
            return Ok(());
        }
    }
    anyhow::bail!("the policy that fails was not put aside")
}

/// What the proxy itself has measured, with real requests between the calls.
fn in_service(gate: &Gate, findings: &mut Findings) -> Result<()> {
    for callback in ["pick", "on_result", "endpoints_changed"] {
        let label = format!("callback=\"{callback}\"");
        let read = |part: &str| gate.metric(&format!("sluicegate_policy_call_seconds_{part}"), &[&label]);
        let (sum, count) = (read("sum")?, read("count")?);
        findings.add(format!("in-service/{callback}/calls"), "calls", Better::Neither, count);
        if count > 0.0 {
            findings.add(format!("in-service/{callback}/mean"), "ns", Better::Neither, sum / count * 1e9);
        }
    }
    let (pick, request) = ("sluicegate_policy_call_seconds_sum", "sluicegate_request_duration_seconds_sum");
    let share = gate.metric(pick, &["callback=\"pick\""])? / gate.metric(request, &["cluster=\"api\""])?;
    findings.add("in-service/share-of-latency", "of a request's time", Better::Neither, share);
    Ok(())
}

/// What it costs to measure a call: two looks at the clock, and a record in the proxy's own histogram.
fn own_cost(findings: &mut Findings) {
    const COUNT: u32 = 1_000_000;
    let clock = sluicegate_policy::Clock::start();
    let telemetry = sluicegate_admin::Telemetry::new();
    let calls = metrics::with_local_recorder(&telemetry.shard(), || metrics::histogram!("own_call_seconds"));
    for _ in 0..7 {
        let start = std::time::Instant::now();
        for _ in 0..COUNT {
            std::hint::black_box(clock.now());
        }
        let look = start.elapsed().as_nanos() as f64 / f64::from(COUNT);
        let start = std::time::Instant::now();
        for turn in 0..COUNT {
            calls.record(std::hint::black_box(f64::from(turn % 100) * 1e-9));
        }
        let record = start.elapsed().as_nanos() as f64 / f64::from(COUNT);
        findings.add("own-cost/look", "ns", Better::Lower, look);
        findings.add("own-cost/record", "ns", Better::Lower, record);
        findings.add("own-cost/call", "ns", Better::Lower, 2.0 * look + record);
    }
}
