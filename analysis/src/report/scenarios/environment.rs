//! The machine, and what runs on it.

use std::fs;

use anyhow::Result;

use super::super::{Setting, data::Findings};
use crate::stand::run_tool;

pub(super) fn run(setting: &Setting) -> Result<Findings> {
    let mut findings = Findings::default();
    let mut fact = |group: &str, what: &str, value: Option<String>| {
        let value = value.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let value = value.unwrap_or_else(|| "unknown".to_owned());
        findings.row("facts", &["group", "what", "value"], vec![group.into(), what.into(), value.as_str().into()]);
    };
    let lscpu = run_tool("lscpu", &[]).unwrap_or_default();
    let cpu = |key: &str| field(&lscpu, key);
    fact("hardware", "processor", cpu("Model name"));
    fact("hardware", "processors", cpu("CPU(s)"));
    fact("hardware", "cores per socket, threads per core", both(cpu("Core(s) per socket"), cpu("Thread(s) per core")));
    for cache in ["L1d", "L1i", "L2", "L3"] {
        fact("hardware", &format!("cache {cache}"), cpu(&format!("{cache} cache")).or_else(|| cpu(cache)));
    }
    fact("hardware", "memory", memory());
    fact("hardware", "virtualisation", cpu("Hypervisor vendor").or_else(|| Some("none known".to_owned())));
    fact(
        "hardware",
        "time-stamp counter",
        read("/sys/devices/system/clocksource/clocksource0/current_clocksource").into(),
    );
    fact("software", "operating system", field(&read("/etc/os-release").replace('=', ":"), "PRETTY_NAME"));
    fact("software", "kernel", Some(read("/proc/sys/kernel/osrelease")));
    fact("software", "scaling governor", Some(read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")));
    fact("software", "Sluicegate", Some(version(setting)));
    fact(
        "software",
        "its binary",
        Some(setting.binary.display().to_string().rsplit("/target/").next().unwrap_or("").into()),
    );
    let own = if cfg!(debug_assertions) { "for development" } else { "optimised" };
    fact("software", "this tool's build", Some(own.to_owned()));
    fact("software", "Rust", run_tool("rustc", &["--version"]).ok());
    fact("software", "wasmtime", locked("wasmtime"));
    fact("software", "hyper", locked("hyper"));
    for (tool, arguments) in
        [("nginx", "-v"), ("haproxy", "-v"), ("wrk", "-v"), ("h2load", "--version"), ("oha", "--version")]
    {
        // wrk says who it is and fails.
        let output = std::process::Command::new(tool).arg(arguments).output().ok();
        let text = output.map(|out| String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned());
        fact(
            "software",
            tool,
            text.and_then(|text| text.lines().next().map(str::to_owned)).or(Some("not installed".into())),
        );
    }
    fact("network", "interface", Some("lo (loopback): no network is in any figure".into()));
    fact("network", "MTU", Some(read("/sys/class/net/lo/mtu")));
    for key in [
        "net.core.somaxconn",
        "net.ipv4.tcp_congestion_control",
        "net.ipv4.ip_local_port_range",
        "net.core.rmem_max",
        "net.core.wmem_max",
    ] {
        fact("network", key, Some(read(&format!("/proc/sys/{}", key.replace('.', "/")))));
    }
    fact("network", "open files", run_tool("sh", &["-c", "ulimit -n"]).ok());
    match setting.cores {
        Some(cores) => {
            let text = format!("what is measured on processor {}, origins and load on {}", cores.proxy, cores.load);
            fact("setup", "processors", Some(text));
        }
        None => fact("setup", "processors", Some("one, which all share".into())),
    }
    if let Some(load) = read("/proc/loadavg").split_whitespace().next().and_then(|load| load.parse::<f64>().ok()) {
        fact("setup", "load average before the first measurement", Some(load.to_string()));
        if load > 1.0 {
            findings.remark(format!("The machine was not idle when this began: its load average was {load}."));
        }
    }
    if cfg!(debug_assertions) {
        findings.remark(
            "This tool was built for development, without full optimisation: its picks in a loop and its lateness are not \
             those of a build for release. What the proxy's own binary does is not affected.",
        );
    }
    Ok(findings)
}

fn version(setting: &Setting) -> String {
    let own = run_tool(&setting.binary.to_string_lossy(), &["--version"]).unwrap_or_default();
    let commit = run_tool("git", &["describe", "--always", "--dirty", "--exclude=*"]).unwrap_or_default();
    format!("{} {}", own.trim(), commit.trim())
}

/// A dependency's version in the lock file that this was built with.
fn locked(name: &str) -> Option<String> {
    let lock = include_str!("../../../../Cargo.lock");
    let entry = lock.split("[[package]]").find(|entry| entry.contains(&format!("\nname = \"{name}\"\n")))?;
    entry.lines().find_map(|line| Some(line.strip_prefix("version = \"")?.trim_end_matches('"').to_owned()))
}

fn memory() -> Option<String> {
    let kib: f64 = field(&read("/proc/meminfo"), "MemTotal")?.split(' ').next()?.parse().ok()?;
    Some(format!("{:.1} GiB", kib / 1024.0 / 1024.0))
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn field(text: &str, key: &str) -> Option<String> {
    let of_line = |line: &str| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim().trim_matches('"').to_owned())
    };
    text.lines().find_map(of_line)
}

fn both(one: Option<String>, other: Option<String>) -> Option<String> {
    Some(format!("{}, {}", one?, other?))
}
