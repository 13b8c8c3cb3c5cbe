//! Response time against load: the most that one worker can do, and how long requests take at shares of it.

use std::time::Duration;

use anyhow::Result;

use super::super::{
    Setting,
    data::{Better, Cell, Findings},
};
use crate::{
    load::{Outcome, Plan, Protocol, Target},
    stand::{Gate, OriginSpec, Origins, Usage, endpoints},
};

/// Of the peak, in percent.
const SHARES: [u32; 12] = [10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100, 110];
const CURVE: [&str; 15] = [
    "share_percent",
    "rate",
    "throughput",
    "mean_ms",
    "p50_ms",
    "p90_ms",
    "p99_ms",
    "p99.9_ms",
    "max_ms",
    "error_rate",
    "cpu_us",
    "user_us",
    "system_us",
    "busy",
    "generator",
];

pub(super) fn run(setting: &Setting) -> Result<Findings> {
    let mut findings = Findings::default();
    let origins = Origins::start((0..4).map(|_| OriginSpec::default()).collect())?;
    let config = format!(
        "[[route]]\ncluster = \"api\"\n[cluster.api]\npolicy = \"p2c\"\nendpoints = {}\n",
        endpoints(&origins.addresses)
    );
    let gate = Gate::start(&config, setting.cores, |_| {})?;
    gate.warm("/")?;
    findings.text("configuration", gate.text());
    for (name, protocol, address, connections) in
        [("http1", Protocol::Http1, gate.http1(), 64), ("http2", Protocol::Http2 { streams: 16 }, gate.http2(), 4)]
    {
        let target = Target::at(address, "/");
        let mut peaks = Vec::new();
        for _ in 0..setting.count(3, 2) {
            let plan = Plan::closed(target.clone(), connections, setting.time(0.5, 0.2), setting.time(3.0, 0.8));
            let before = gate.usage();
            let outcome = Plan { protocol, ..plan }.run()?;
            let spent = gate.usage() - before;
            peaks.push(outcome.throughput());
            findings.add(format!("{name}/peak"), "requests/s", Better::Higher, outcome.throughput());
            let length = setting.time(3.5, 1.0).as_secs_f64();
            findings.add(format!("{name}/peak/busy"), "of a processor", Better::Neither, spent.total / length);
            findings.add(format!("{name}/peak/generator"), "of a processor", Better::Neither, outcome.processor);
        }
        let peak = crate::stats::median(&peaks);
        let (warm_up, time) = (setting.time(0.5, 0.2), setting.time(3.0, 0.7));
        let base = Plan { protocol, connections, ..Plan::steady(target, peak, warm_up, time) };
        for round in 0..setting.count(3, 1) {
            for share in SHARES {
                let rate = peak * f64::from(share) / 100.0;
                let phases = vec![crate::load::Phase { rate, time: warm_up + time }];
                let plan = Plan { phases, seed: round as u64 + 1, timeout: Duration::from_secs(2), ..base.clone() };
                let before = gate.usage();
                let outcome = plan.run()?;
                let spent = gate.usage() - before;
                tell(&mut findings, name, share, rate, &outcome, spent, (warm_up + time).as_secs_f64());
            }
        }
    }
    direct(setting, &origins, &mut findings)?;
    Ok(findings)
}

/// The same without a proxy, at the rate of half the peak: what is left over is the proxy's.
fn direct(setting: &Setting, origins: &Origins, findings: &mut Findings) -> Result<()> {
    let Some(peak) = findings.estimate("http1/peak") else { return Ok(()) };
    for seed in 0..setting.count(3, 1) as u64 {
        let target = Target::at(origins.addresses[0], "/");
        let plan = Plan::steady(target, peak.median / 2.0, setting.time(0.5, 0.2), setting.time(3.0, 0.7));
        let outcome = Plan { seed: seed + 1, ..plan }.run()?;
        for (percentile, q) in [("p50", 0.5), ("p99", 0.99)] {
            findings.add(format!("direct/{percentile}"), "ms", Better::Neither, outcome.ms(q));
        }
    }
    Ok(())
}

fn tell(findings: &mut Findings, name: &str, share: u32, rate: f64, outcome: &Outcome, spent: Usage, seconds: f64) {
    let at = |what: &str| format!("{name}/at-{share}/{what}");
    for (percentile, q) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)] {
        // Beyond saturation a queue grows until the run ends: how long it got is no property of the proxy.
        let better = if share < 95 { Better::Lower } else { Better::Neither };
        findings.add(at(percentile), "ms", better, outcome.ms(q));
    }
    findings.add(at("mean"), "ms", Better::Neither, outcome.mean_ms());
    findings.add(at("max"), "ms", Better::Neither, outcome.max_ms());
    findings.add(at("error-rate"), "of requests", Better::Neither, outcome.error_rate());
    for (kind, count) in &outcome.errors {
        findings.add(at(&format!("error/{kind}")), "requests", Better::Neither, *count as f64);
    }
    let answered = (outcome.throughput() * seconds).max(1.0);
    // The kernel splits it in ticks; its sum is exact.
    let user_share = spent.user / (spent.user + spent.system);
    let cpu_us = spent.total / answered * 1e6;
    let (user_us, system_us) = (cpu_us * user_share, cpu_us * (1.0 - user_share));
    findings.add(at("cpu"), "us/request", if share >= 50 { Better::Lower } else { Better::Neither }, cpu_us);
    findings.add(at("cpu-user"), "us/request", Better::Neither, user_us);
    findings.add(at("cpu-system"), "us/request", Better::Neither, system_us);
    let limit = outcome.own_limit();
    if let (Some(limit), true) = (limit, share < 95) {
        findings.remark(format!("{name} at {share}%: {limit}."));
    }
    let numbers = [
        Some(f64::from(share)),
        Some(rate),
        Some(outcome.throughput()),
        outcome.mean_ms(),
        outcome.ms(0.5),
        outcome.ms(0.9),
        outcome.ms(0.99),
        outcome.ms(0.999),
        outcome.max_ms(),
        Some(outcome.error_rate()),
        Some(cpu_us),
        Some(user_us),
        Some(system_us),
        Some(spent.total / seconds),
    ];
    let limit = limit.map_or_else(String::new, |limit| limit.to_string());
    let row: Vec<Cell> = numbers.into_iter().map(Cell::from).chain([limit.as_str().into()]).collect();
    findings.row(&format!("curve-{name}"), &CURVE, row);
    if [50, 80, 90].contains(&share) {
        for (q, ms) in percentiles(outcome) {
            let row = vec![f64::from(share).into(), q.into(), ms.into()];
            findings.row(&format!("percentiles-{name}"), &["share_percent", "quantile", "ms"], row);
        }
    }
}

/// The whole distribution, at equal distances on a percentile axis, as far as there are requests to tell it from.
fn percentiles(outcome: &Outcome) -> Vec<(f64, f64)> {
    let most = (outcome.latency.len() as f64 / 10.0).log10();
    let steps = (0..=40).map(|step| f64::from(step) / 10.0).filter(|step| *step <= most);
    steps.map(|step| 1.0 - 10_f64.powf(-step)).filter_map(|q| Some((q, outcome.ms(q)?))).collect()
}
