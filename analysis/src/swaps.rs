//! How swaps go.

use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use sluicegate_tests::{Origin, Proxy, get, wasm};

use crate::stats::quantile;

/// A policy's module with a number in a custom section: other bytes, so that nothing cached is used, and the same
/// behaviour.
fn numbered(policy: &str, number: u32) -> Vec<u8> {
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
    let (p50, p99) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
    println!("file change to first request by the new policy, {count} times: p50 {p50:.1} ms, p99 {p99:.1} ms");
    Ok(())
}

/// Swaps back and forth under load, between two policies whose code is kept: what is tried is the switch.
pub(crate) fn storm(count: u32) -> Result<()> {
    let origins = Origin::several(4);
    let proxy = Proxy::start(&config(&origins, false), |dir| {
        fs::write(dir.join("policy.wasm"), wasm::builtin("p2c", "fast")).expect("a policy");
    });
    let wrk = Command::new("wrk")
        .args(["-t1", "-c64", "-d600s", "--latency", &format!("http://{}/", proxy.address)])
        .stdout(Stdio::piped())
        .spawn()
        .context("wrk is needed: apt-get install wrk")?;
    let (mut early, start) = (0, Instant::now());
    for turn in 0..count {
        let module = wasm::builtin(if turn % 2 == 0 { "round-robin" } else { "p2c" }, "fast");
        fs::write(proxy.path("new"), module)?;
        fs::rename(proxy.path("new"), proxy.path("policy.wasm"))?;
        proxy.wait_for_generation(u64::from(turn) + 2);
        if turn + 1 == 100 {
            early = resident_kib(proxy.pid())?;
        }
    }
    let (late, seconds) = (resident_kib(proxy.pid())?, start.elapsed().as_secs_f64());
    // wrk prints what it has seen when it is interrupted.
    Command::new("kill").args(["-INT", &wrk.id().to_string()]).status()?;
    let report = String::from_utf8(wrk.wait_with_output()?.stdout)?;
    println!("{count} swaps in {seconds:.0} s under load; memory after 100: {early} KiB, at the end: {late} KiB");
    println!("{report}");
    let failed = report.lines().filter(|line| line.contains("Non-2xx") || line.contains("Socket errors")).count();
    println!("{}", if failed == 0 { "no failed request" } else { "FAILED REQUESTS: see above" });
    Ok(())
}

fn resident_kib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS")).context("no VmRSS")?;
    line.split_whitespace().nth(1).context("no VmRSS")?.parse().context("no VmRSS")
}
