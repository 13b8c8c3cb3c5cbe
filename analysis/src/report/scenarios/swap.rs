//! Hot swaps: what requests feel of them, and how long they take.

use std::{ops::Range, thread, time::Duration};

use anyhow::Result;
use sluicegate_tests::wasm;

use super::super::{
    Setting,
    data::{Better, Cell, Findings},
};
use crate::{
    load::{Outcome, PERCENTILES, Plan, Target, histogram, now_ns},
    stand::{Gate, OriginSpec, Origins, endpoints},
    swaps,
};

pub(super) fn run(setting: &Setting) -> Result<Findings> {
    let mut findings = Findings::default();
    for ms in swaps::file_to_request_ms(setting.count(30, 5) as u32)? {
        findings.add("file-to-request", "ms", Better::Lower, ms);
    }
    let origins = Origins::start((0..4).map(|_| OriginSpec::default()).collect())?;
    let config = format!(
        "[[route]]\ncluster = \"api\"\n[cluster.api]\npolicy = {{ file = \"policy.wasm\" }}\nendpoints = {}\n",
        endpoints(&origins.addresses)
    );
    let gate = Gate::start(&config, setting.cores, |dir| {
        std::fs::write(dir.join("policy.wasm"), wasm::builtin("p2c", "fast")).expect("a folder of its own");
    })?;
    gate.warm("/")?;
    let peak = Plan::closed(Target::at(gate.http1(), "/"), 64, setting.time(0.3, 0.2), setting.time(1.0, 0.5)).run()?;
    let rate = peak.throughput() * 0.4;
    let time = setting.time(24.0, 8.0);
    let plan = Plan::steady(Target::at(gate.http1(), "/"), rate, setting.time(1.0, 0.5), time);
    let start = now_ns();
    let load = thread::spawn(move || Plan { timeout: Duration::from_secs(2), ..plan }.run());
    // The first third is without a swap, to compare with.
    thread::sleep(time / 3);
    let mut swapped = Vec::new();
    let mut turn = 0_u32;
    while now_ns() - start < (time.as_nanos() as f64 * 0.92) as u64 {
        // The third takes over what the second has learnt.
        let policy = ["round-robin", "peak-ewma", "peak-ewma"][turn as usize % 3];
        let seen = gate.proxy.log().len();
        let at = (now_ns() - start) as f64 / 1e9;
        // Other bytes each time, so that nothing cached is used.
        std::fs::write(gate.proxy.path("new"), swaps::numbered(policy, turn))?;
        std::fs::rename(gate.proxy.path("new"), gate.proxy.path("policy.wasm"))?;
        gate.wait_for_policy(seen);
        swapped.push((at, (now_ns() - start) as f64 / 1e9));
        turn += 1;
        thread::sleep(setting.time(1.0, 0.6));
    }
    let outcome = load.join().map_err(|_| anyhow::anyhow!("the load generator has panicked"))??;
    for (at, done) in &swapped {
        findings.row("swaps", &["at_s", "in_service_s"], vec![(*at).into(), (*done).into()]);
    }
    slices(&outcome, &swapped, setting.time(1.0, 0.5).as_secs_f64()..time.as_secs_f64(), &mut findings);
    findings.add("rate", "requests/s", Better::Neither, rate);
    findings.add("swaps", "swaps", Better::Neither, swapped.len() as f64);
    findings.add("failed-requests", "requests", Better::Lower, outcome.error_count() as f64);
    findings.add("requests", "requests", Better::Neither, outcome.due as f64);
    stages(&gate, &mut findings);
    Ok(findings)
}

/// What requests felt over time, and in all slices with a swap and without one, of those that count.
fn slices(outcome: &Outcome, swapped: &[(f64, f64)], counted: Range<f64>, findings: &mut Findings) {
    let mut phases = [("during", histogram(3)), ("without", histogram(3))];
    for (index, slice) in outcome.slices.iter().enumerate() {
        let at = index as f64 * outcome.slice.as_secs_f64();
        let ms =
            |q: f64| Cell::from((!slice.latency.is_empty()).then(|| slice.latency.value_at_quantile(q) as f64 / 1e6));
        let numbers = vec![at.into(), ms(0.5), ms(0.99), ms(1.0), (slice.errors as f64).into()];
        findings.row("timeline", &["at_s", "p50_ms", "p99_ms", "max_ms", "errors"], numbers);
        let end = at + outcome.slice.as_secs_f64();
        let is_quiet = !swapped.iter().any(|(from, to)| *from < end && at < *to);
        if at > counted.start && end < counted.end && !slice.latency.is_empty() {
            let (phase, all) = &mut phases[usize::from(is_quiet)];
            let p99 = slice.latency.value_at_quantile(0.99) as f64 / 1e6;
            findings.add(format!("p99-{phase}-a-swap"), "ms", Better::Lower, p99);
            // Both have the same bounds.
            let _ = all.add(&slice.latency);
        }
    }
    for (phase, all) in phases.iter().filter(|(_, all)| !all.is_empty()) {
        findings.add(format!("{phase}/requests"), "requests", Better::Neither, all.len() as f64);
        for (percentile, q) in PERCENTILES.into_iter().chain([("max", 1.0)]) {
            findings.add(format!("{phase}/{percentile}"), "ms", Better::Neither, all.value_at_quantile(q) as f64 / 1e6);
        }
    }
}

/// As the proxy tells it, with and without state carried over.
fn stages(gate: &Gate, findings: &mut Findings) {
    for line in gate.proxy.log() {
        if line["message"] != "policy in service" || line["generation"] == 1 {
            continue;
        }
        let state = if line["state"] == "carried over" { "with-state" } else { "without-state" };
        for (field, name) in [("load_ms", "load"), ("swap_ms", "swap"), ("since_change_ms", "since-change")] {
            findings.add(format!("{name}/{state}"), "ms", Better::Lower, line[field].as_f64());
        }
    }
}
