//! The machine, and what runs on it.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::super::{Setting, data::Findings};
use crate::stand::{pin_self, run_tool};

pub(super) fn run(setting: &Setting) -> Result<Findings> {
    let mut findings = Findings::default();
    hardware(&mut findings);
    software(&mut findings, setting);
    network(&mut findings);
    set_up(&mut findings, setting);
    if cfg!(debug_assertions) {
        findings.remark(
            "This tool was built for development, without full optimisation: its picks in a loop and its lateness are not \
             those of a build for release. What the proxy's own binary does is not affected.",
        );
    }
    Ok(findings)
}

fn fact(findings: &mut Findings, group: &str, what: &str, value: Option<String>) {
    let value = value.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    let value = value.unwrap_or_else(|| "unknown".to_owned());
    findings.row("facts", &["group", "what", "value"], vec![group.into(), what.into(), value.as_str().into()]);
}

fn hardware(findings: &mut Findings) {
    let mut fact = |what: &str, value| fact(findings, "hardware", what, value);
    let lscpu = run_tool("lscpu", &[]).unwrap_or_default();
    let cpu = |key: &str| field(&lscpu, key);
    fact("processor", cpu("Model name"));
    fact("processors", cpu("CPU(s)"));
    fact("cores per socket, threads per core", both(cpu("Core(s) per socket"), cpu("Thread(s) per core")));
    for cache in ["L1d", "L1i", "L2", "L3"] {
        fact(&format!("cache {cache}"), cpu(&format!("{cache} cache")).or_else(|| cpu(cache)));
    }
    fact("memory", memory());
    fact("virtualisation", cpu("Hypervisor vendor").or_else(|| Some("none known".to_owned())));
    fact("time-stamp counter", read("/sys/devices/system/clocksource/clocksource0/current_clocksource").into());
}

fn software(findings: &mut Findings, setting: &Setting) {
    let mut fact = |what: &str, value| fact(findings, "software", what, value);
    fact("operating system", field(&read("/etc/os-release").replace('=', ":"), "PRETTY_NAME"));
    fact("kernel", Some(read("/proc/sys/kernel/osrelease")));
    fact("scaling governor", Some(read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")));
    fact("Sluicegate", Some(version(setting)));
    fact("its build", Some(build(&setting.binary)));
    let own = if cfg!(debug_assertions) { "for development" } else { "optimised" };
    let folder = std::env::current_exe().map_or_else(|_| "unknown".to_owned(), |path| build(&path));
    fact("this tool's build", Some(format!("{own}, {folder}")));
    fact("Rust", run_tool("rustc", &["--version"]).ok());
    fact("wasmtime", locked("wasmtime"));
    fact("hyper", locked("hyper"));
    for (tool, arguments) in
        [("nginx", "-v"), ("haproxy", "-v"), ("wrk", "-v"), ("h2load", "--version"), ("oha", "--version")]
    {
        // wrk says who it is and fails.
        let output = std::process::Command::new(tool).arg(arguments).output().ok();
        let text = output.map(|out| String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned());
        fact(tool, text.and_then(|text| text.lines().next().map(str::to_owned)).or(Some("not installed".into())));
    }
}

fn network(findings: &mut Findings) {
    let mut fact = |what: &str, value| fact(findings, "network", what, value);
    fact("interface", Some("lo (loopback): no network is in any figure".into()));
    fact("MTU", Some(read("/sys/class/net/lo/mtu")));
    for key in [
        "net.core.somaxconn",
        "net.ipv4.tcp_congestion_control",
        "net.ipv4.ip_local_port_range",
        "net.core.rmem_max",
        "net.core.wmem_max",
    ] {
        fact(key, Some(read(&format!("/proc/sys/{}", key.replace('.', "/")))));
    }
    fact("open files", run_tool("sh", &["-c", "ulimit -n"]).ok());
}

fn set_up(findings: &mut Findings, setting: &Setting) {
    let mut fact = |what: &str, value| fact(findings, "setup", what, value);
    fact("command", Some(command(std::env::args(), std::env::var_os("SLUICEGATE_BIN").is_some())));
    match setting.cores {
        Some(cores) => {
            let text = format!("what is measured on processor {}, origins and load on {}", cores.proxy, cores.load);
            fact("processors", Some(text));
        }
        None => fact("processors", Some("one, which all share".into())),
    }
    let still = setting.cores.map_or(Ok(stalls()), |cores| stalls_on([cores.proxy, cores.load]));
    fact("stood still for 1 ms and more, in three seconds without a system call", still.ok());
    if let Some(load) = read("/proc/loadavg").split_whitespace().next().and_then(|load| load.parse::<f64>().ok()) {
        fact("load average before the first measurement", Some(load.to_string()));
        if load > 1.0 {
            findings.remark(format!("The machine was not idle when this began: its load average was {load}."));
        }
    }
}

/// The same of two processors, one after the other; this process stays on the second.
fn stalls_on(cores: [usize; 2]) -> Result<String> {
    let of = |core| pin_self(core).map(|()| format!("processor {core}: {}", stalls()));
    Ok([of(cores[0])?, of(cores[1])?].join("; "))
}

/// How often a thread that only looks at the clock is kept from it: by other programs, or by other virtual machines.
fn stalls() -> String {
    let (mut stalls, mut last) = (Vec::new(), Instant::now());
    let end = last + Duration::from_secs(3);
    while last < end {
        let now = Instant::now();
        if now - last >= Duration::from_millis(1) {
            stalls.push((now - last).as_secs_f64() * 1e3);
        }
        last = now;
    }
    match stalls.iter().copied().reduce(f64::max) {
        Some(longest) => {
            format!("{} times, {:.1} ms in all, {longest:.1} ms at most", stalls.len(), stalls.iter().sum::<f64>())
        }
        None => "never".to_owned(),
    }
}

/// What this was called with. Of paths the last part is enough: where it lies on this machine is nobody's business.
fn command(arguments: impl Iterator<Item = String>, is_given: bool) -> String {
    let short = |word: String| word.rsplit('/').find(|part| !part.is_empty()).unwrap_or_default().to_owned();
    let words: Vec<_> = arguments.map(short).collect();
    let given = if is_given { "SLUICEGATE_BIN=sluicegate " } else { "" };
    format!("{given}{}", words.join(" "))
}

/// The profile that a binary was built with, as far as its folder tells.
fn build(binary: &Path) -> String {
    let parts: Vec<_> = binary.iter().map(|part| part.to_string_lossy()).collect();
    let target = parts.iter().rposition(|part| part == "target");
    match target.and_then(|at| parts.get(at + 1..parts.len() - 1)?.last()) {
        Some(profile) if profile == "pgo" => "profile `release`, laid out by `analysis/pgo.sh`".to_owned(),
        Some(profile) => format!("profile `{}`", if profile == "debug" { "dev" } else { profile }),
        None => "profile unknown: it lies outside of a `target` folder".to_owned(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_without_folders() {
        let check = |words: &[&str], is_given, expected: &str| {
            assert_eq!(command(words.iter().map(|word| (*word).to_owned()), is_given), expected);
        };
        check(&["target/own/sluicegate-analysis", "report"], false, "sluicegate-analysis report");
        let words = ["/a/b/sluicegate-analysis", "report", "--out", "/c/d/"];
        check(&words, true, "SLUICEGATE_BIN=sluicegate sluicegate-analysis report --out d");
    }

    #[test]
    fn profiles_from_folders() {
        let check = |path: &str, expected: &str| assert_eq!(build(Path::new(path)), expected, "{path}");
        check("/a/target/own/sluicegate", "profile `own`");
        check("target/x86_64-unknown-linux-gnu/release/sluicegate", "profile `release`");
        check("/a/target/debug/sluicegate", "profile `dev`");
        check("/usr/bin/sluicegate", "profile unknown: it lies outside of a `target` folder");
        check("/a/target/sluicegate", "profile unknown: it lies outside of a `target` folder");
    }
}
