//! Whether the load generator can be believed: beside tools that others have made, and how late it is by itself.

use std::time::Duration;

use anyhow::{Context, Result};

use super::super::{
    Setting,
    data::{Better, Findings},
};
use crate::{
    load::{Arrivals, Plan, Protocol, Target},
    stand::{Gate, OriginSpec, Origins, endpoints, run_tool},
};

const CONNECTIONS: usize = 32;
const STREAMS: usize = 8;
const H2_CONNECTIONS: usize = 4;

pub(super) fn run(setting: &Setting) -> Result<Findings> {
    let mut findings = Findings::default();
    let origins = Origins::start(vec![OriginSpec::default()])?;
    let config =
        format!("[[route]]\ncluster = \"api\"\n[cluster.api]\nendpoints = {}\n", endpoints(&origins.addresses));
    let gate = Gate::start(&config, setting.cores, |_| {})?;
    gate.warm("/")?;
    let time = setting.time(3.0, 1.0);
    for _ in 0..setting.count(5, 2) {
        // One after the other, so that a slow moment of the machine hits all.
        let own = Plan::closed(Target::at(gate.http1(), "/"), CONNECTIONS, Duration::from_millis(200), time).run()?;
        tell(&mut findings, "http1/own", own.throughput(), own.mean_ms());
        other(&mut findings, "http1/wrk", || wrk(&gate, time));
        other(&mut findings, "http1/oha", || oha(&gate, time));
        let target = Target::at(gate.http2(), "/");
        let plan = Plan::closed(target, H2_CONNECTIONS, Duration::from_millis(200), time);
        let own = Plan { protocol: Protocol::Http2 { streams: STREAMS }, ..plan }.run()?;
        tell(&mut findings, "http2/own", own.throughput(), own.mean_ms());
        other(&mut findings, "http2/h2load", || h2load(&gate, time));
    }
    lateness(setting, &origins, &mut findings)?;
    Ok(findings)
}

fn tell(findings: &mut Findings, name: &str, throughput: f64, mean_ms: Option<f64>) {
    findings.add(format!("{name}/throughput"), "requests/s", Better::Neither, throughput);
    findings.add(format!("{name}/mean"), "ms", Better::Neither, mean_ms);
}

fn other(findings: &mut Findings, name: &str, drive: impl FnOnce() -> Result<(f64, f64)>) {
    match drive() {
        Ok((throughput, mean_ms)) => tell(findings, name, throughput, Some(mean_ms)),
        Err(error) => {
            let tool = name.rsplit('/').next().unwrap_or(name);
            findings.remark(format!("{tool} was left out: {}", error.to_string().lines().next().unwrap_or_default()));
        }
    }
}

fn wrk(gate: &Gate, time: Duration) -> Result<(f64, f64)> {
    let seconds = format!("-d{}s", time.as_secs().max(1));
    let url = format!("http://{}/", gate.http1());
    let text = run_tool("wrk", &["-t1", &format!("-c{CONNECTIONS}"), &seconds, &url])?;
    let throughput = after(&text, "Requests/sec:").and_then(|word| word.parse().ok());
    let mean = after(&text, "Latency").and_then(milliseconds);
    throughput.zip(mean).context("it prints something unknown")
}

fn h2load(gate: &Gate, time: Duration) -> Result<(f64, f64)> {
    let seconds = format!("-D{}", time.as_secs().max(1));
    let (connections, streams) = (format!("-c{H2_CONNECTIONS}"), format!("-m{STREAMS}"));
    let url = format!("http://{}/", gate.http2());
    let text = run_tool("h2load", &["-t1", &connections, &streams, &seconds, &url])?;
    let rate = text.lines().find(|line| line.starts_with("finished in")).and_then(|line| line.split(", ").nth(1));
    let throughput = rate.and_then(|rate| rate.split(' ').next()?.parse().ok());
    // min, max, mean
    let line = text.lines().find_map(|line| line.strip_prefix("time for request:"));
    let mean = line.and_then(|line| milliseconds(line.split_whitespace().nth(2)?));
    throughput.zip(mean).context("it prints something unknown")
}

fn oha(gate: &Gate, time: Duration) -> Result<(f64, f64)> {
    let seconds = format!("{}s", time.as_secs().max(1));
    let url = format!("http://{}/", gate.http1());
    let connections = CONNECTIONS.to_string();
    // Up to 1.8 it said `-j`.
    let arguments = ["--no-tui", "-c", &connections, "-z", &seconds, &url];
    let run = |json: &[&str]| run_tool("oha", &[&arguments[..], json].concat());
    let text = run(&["--output-format", "json"]).or_else(|_| run(&["-j"]))?;
    let value: serde_json::Value = serde_json::from_str(&text)?;
    let summary = |key: &str| value["summary"][key].as_f64();
    let mean = summary("average").map(|seconds| seconds * 1e3);
    summary("requestsPerSec").zip(mean).context("it prints something unknown")
}

/// How late requests go out, at rising rates, straight to an origin.
fn lateness(setting: &Setting, origins: &Origins, findings: &mut Findings) -> Result<()> {
    let columns = ["rate", "late_p50_ms", "late_p99_ms", "late_max_ms", "processor"];
    for rate in [1000.0, 2000.0, 5000.0, 10_000.0, 20_000.0] {
        let target = Target::at(origins.addresses[0], "/");
        let plan = Plan::steady(target, rate, Duration::from_millis(200), setting.time(2.0, 0.6));
        let outcome = Plan { arrivals: Arrivals::Poisson, ..plan }.run()?;
        let late = |q: f64| outcome.lateness.value_at_quantile(q) as f64 / 1e6;
        let max = outcome.lateness.max() as f64 / 1e6;
        let row = [rate, late(0.5), late(0.99), max, outcome.processor];
        findings.row("lateness", &columns, row.map(Into::into).into());
    }
    Ok(())
}

fn after<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.split_once(name)?.1.split_whitespace().next()
}

/// Of a time as wrk and h2load print it.
fn milliseconds(text: &str) -> Option<f64> {
    let digits = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "us" => 1e-3,
        "ms" => 1.0,
        "s" => 1e3,
        "m" => 60e3,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_other_tools() {
        assert_eq!(["3.25ms", "812.00us", "1.2s"].map(milliseconds), [Some(3.25), Some(0.812), Some(1200.0)]);
        assert_eq!(["", "ms", "3.2", "3h"].map(milliseconds), [None; 4]);
        assert_eq!(after("  Latency   1.10ms  2ms", "Latency"), Some("1.10ms"));
    }
}
