//! How swaps go.

use std::{
    fs,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::json;
use sluicegate_tests::{Origin, Proxy, get, wasm};

use crate::{stand::resident_kib, stats::quantile};

/// A policy's module with a number in a custom section: other bytes, so that nothing cached is used, and the same
/// behaviour.
pub(crate) fn numbered(policy: &str, number: u32) -> Vec<u8> {
    let mut module = wasm::builtin(policy, "fast");
    // Section 0, 9 bytes: a name of 4 bytes, and the number.
    module.extend([0, 9, 4, b't', b'u', b'r', b'n']);
    module.extend(number.to_le_bytes());
    module
}

fn config(origins: &[Origin], heavy: bool) -> String {
    let weight = |index: usize| if heavy && index == 0 { 65_535 } else { 1 };
    let endpoints: Vec<String> = origins
        .iter()
        .enumerate()
        .map(|(index, origin)| format!("{{ address = \"{}\", weight = {} }}", origin.address, weight(index)))
        .collect();
    format!(
        "[[route]]\ncluster = \"api\"\n[cluster.api]\npolicy = {{ file = \"policy.wasm\" }}\nendpoints = [{}]\n",
        endpoints.join(", ")
    )
}

/// From the file's last byte to the first request that the new policy serves, seen by a client.
///
/// Two endpoints, one of them 65,535 times as heavy: with a request at a time, `least-request` always picks that one,
/// `round-robin` each in turn. So the first answer of the light one is the first request after the swap.
pub(crate) fn file_to_request(count: u32) -> Result<()> {
    let mut times = file_to_request_ms(count)?;
    let (p50, p99) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
    println!("file change to first request by the new policy, {count} times: p50 {p50:.1} ms, p99 {p99:.1} ms");
    Ok(())
}

/// Each time, in milliseconds.
pub(crate) fn file_to_request_ms(count: u32) -> Result<Vec<f64>> {
    let origins = Origin::several(2);
    let light = origins[1].address.to_string();
    let save = |proxy: &Proxy, module: &[u8]| -> Result<()> {
        fs::write(proxy.path("new"), module)?;
        Ok(fs::rename(proxy.path("new"), proxy.path("policy.wasm"))?)
    };
    let proxy = Proxy::start(&config(&origins, true), |dir| {
        fs::write(dir.join("policy.wasm"), numbered("least-request", 0)).expect("a policy");
    });
    let mut times = Vec::new();
    let mut generation = 1;
    for turn in 0..count {
        let module = numbered("round-robin", turn);
        let start = Instant::now();
        save(&proxy, &module)?;
        while get(proxy.address, "/", "swap").map_err(anyhow::Error::msg)?.1 != light {
            // Asking without a pause would take a processor away from the compiler.
            thread::sleep(Duration::from_millis(1));
        }
        times.push(start.elapsed().as_secs_f64() * 1e3);
        save(&proxy, &numbered("least-request", turn))?;
        generation += 2;
        proxy.wait_for_generation(generation);
    }
    Ok(times)
}

/// How often calm and storm take turns: the machine may have something else to do for a while, and both should see it.
const ROUNDS: u32 = 5;

/// Swaps back and forth under load, between two policies whose code is kept: what is tried is the switch. Between the
/// storms the same load meets a proxy that is left in peace. Without `per_second`, a swap follows the other at once, and
/// who asks for them takes processor time from who is measured.
pub(crate) fn storm(count: u32, per_second: Option<u32>) -> Result<()> {
    let pause = per_second.map_or(Duration::ZERO, |swaps| Duration::from_secs(1) / swaps);
    let origins = Origin::several(4);
    let proxy = Proxy::start(&config(&origins, false), |dir| {
        fs::write(dir.join("policy.wasm"), wasm::builtin("p2c", "fast")).expect("a policy");
    });
    let (mut calm, mut stormy, mut failed, mut turn) = (Vec::new(), Vec::new(), 0, 0);
    let (mut early, mut seconds, mut calm_time) = (0, 0.0, Duration::from_secs(5));
    for round in 1..=ROUNDS {
        let load = Wrk::start(&proxy)?;
        thread::sleep(calm_time);
        let report = load.stop()?;
        calm.push(report.p99_ms);
        failed += report.failures;
        let (load, start) = (Wrk::start(&proxy)?, Instant::now());
        let mut due = start;
        while turn < count * round / ROUNDS {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            due += pause;
            swap(&proxy, if turn % 2 == 0 { "round-robin" } else { "p2c" })?;
            turn += 1;
            if turn == 100 {
                early = resident_kib(proxy.pid())?;
            }
        }
        calm_time = start.elapsed().clamp(Duration::from_secs(1), Duration::from_secs(60));
        seconds += start.elapsed().as_secs_f64();
        let report = load.stop()?;
        stormy.push(report.p99_ms);
        failed += report.failures;
        let (in_peace, memory) = (calm[calm.len() - 1], resident_kib(proxy.pid())?);
        println!("round {round}: p99 {in_peace:.2} ms in peace, {:.2} ms under swaps; {memory} KiB", report.p99_ms);
    }
    let late = resident_kib(proxy.pid())?;
    println!("{count} swaps in {seconds:.0} s under load; memory after 100: {early} KiB, at the end: {late} KiB");
    let (calm, stormy) = (quantile(&mut calm, 0.5), quantile(&mut stormy, 0.5));
    println!("p99, median of {ROUNDS} rounds: {calm:.2} ms in peace, {stormy:.2} ms under swaps: {:.2}", stormy / calm);
    println!("{}", if failed == 0 { "no failed request".into() } else { format!("FAILED: {failed} lines of wrk") });
    Ok(())
}

fn swap(proxy: &Proxy, policy: &str) -> Result<()> {
    let (status, answer) = proxy.post("/policies/api/swap", &json!({ "policy": policy }));
    anyhow::ensure!(status == 200, "not swapped: {answer}");
    Ok(())
}

/// A load of 64 connections.
struct Wrk(Child);

struct Report {
    p99_ms: f64,
    failures: usize,
}

impl Wrk {
    fn start(proxy: &Proxy) -> Result<Self> {
        let wrk = Command::new("wrk")
            .args(["-t1", "-c64", "-d600s", "--latency", &format!("http://{}/", proxy.address)])
            .stdout(Stdio::piped())
            .spawn();
        wrk.map(Self).context("wrk is needed: apt-get install wrk")
    }

    /// wrk says what it has seen when it is interrupted.
    fn stop(self) -> Result<Report> {
        Command::new("kill").args(["-INT", &self.0.id().to_string()]).status()?;
        let report = String::from_utf8(self.0.wait_with_output()?.stdout)?;
        let p99 = report.lines().find_map(|line| line.trim().strip_prefix("99%")).context("wrk says no p99")?.trim();
        let (number, unit) = p99.split_at(p99.find(char::is_alphabetic).context("wrk's p99 has no unit")?);
        let factor = match unit {
            "us" => 1e-3,
            "ms" => 1.0,
            _ => 1e3,
        };
        let failures = report.lines().filter(|line| line.contains("Non-2xx") || line.contains("Socket errors")).count();
        Ok(Report { p99_ms: number.parse::<f64>()? * factor, failures })
    }
}
