//! From the start of the binary to its first answer.

use std::{fs, net::TcpListener, process::Command, time::Instant};

use anyhow::{Context, Result};
use sluicegate_tests::{Origin, binary, get};

use crate::stats::quantile;

/// Starts and stops the binary `count` times.
pub(crate) fn measure(count: u32) -> Result<()> {
    let origin = Origin::several(1);
    let dir = tempfile::tempdir()?;
    let (config, address) = (dir.path().join("start.toml"), TcpListener::bind("127.0.0.1:0")?.local_addr()?);
    let text = format!(
        "[[listener]]\naddress = \"{address}\"\n[[route]]\ncluster = \"api\"\n[cluster.api]\npolicy = \"p2c\"\n\
         endpoints = [\"{}\"]\n[policy]\ncache = \"cache\"\n[log]\naccess = false\nlevel = \"error\"\n",
        origin[0].address
    );
    fs::write(&config, text)?;
    let mut times = Vec::new();
    for round in 0..=count {
        let start = Instant::now();
        let mut proxy = Command::new(binary()).args(["run", "--config"]).arg(&config).spawn()?;
        while get(address, "/", "start").is_err() {
            anyhow::ensure!(proxy.try_wait()?.is_none(), "the proxy has ended");
        }
        let elapsed = start.elapsed().as_secs_f64() * 1e3;
        proxy.kill().context("the proxy has ended")?;
        proxy.wait()?;
        match round {
            0 => println!("first start, which compiles the policy: {elapsed:.1} ms"),
            _ => times.push(elapsed),
        }
    }
    let (p50, p99) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
    println!("start to first answer, {count} times, warm cache: p50 {p50:.1} ms, p99 {p99:.1} ms");
    Ok(())
}
