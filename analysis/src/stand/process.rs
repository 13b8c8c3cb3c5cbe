//! Processes, and what the kernel says of them.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};

/// Which processors are whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cores {
    /// What is measured.
    pub(crate) proxy: usize,
    /// Origins and load.
    pub(crate) load: usize,
}

impl Cores {
    /// None where there is only one.
    pub(crate) fn split() -> Option<Self> {
        let count = std::thread::available_parallelism().map_or(1, |count| count.get());
        (count > 1).then_some(Self { proxy: 0, load: 1 })
    }
}

/// Puts this process, and what it starts from now on, on a processor.
pub(crate) fn pin_self(core: usize) -> Result<()> {
    pin(std::process::id(), core)
}

/// Lets this process, and what it starts from now on, run on every processor.
pub(crate) fn unpin_self() -> Result<()> {
    run_tool("taskset", &["-a", "-p", "0xffffffffffffffff", &std::process::id().to_string()]).map(drop)
}

/// As many open files as the system lets this process have; its children inherit that.
pub(crate) fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = getrlimit(Resource::Nofile).maximum;
    // Whoever may not raise it has enough, or is told by the first socket that can't be had.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most });
}

/// Puts a process with all its threads on a processor.
pub(crate) fn pin(pid: u32, core: usize) -> Result<()> {
    run_tool("taskset", &["-a", "-p", "-c", &core.to_string(), &pid.to_string()]).map(drop)
}

/// Starts a program on a processor, without its output.
pub(crate) fn spawn_pinned(core: Option<usize>, program: &Path, arguments: &[&str]) -> Result<Child> {
    let mut command = match core {
        Some(core) => {
            let mut command = Command::new("taskset");
            command.args(["-c", &core.to_string()]).arg(program);
            command
        }
        None => Command::new(program),
    };
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().with_context(|| format!("{} does not start", program.display()))
}

/// What a program prints; an error if it fails or is not there.
pub(crate) fn run_tool(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("{program} does not start"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{program} {}: {text}", arguments.join(" "));
    Ok(text)
}

/// What a process and its children have taken of processors, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// To the nanosecond.
    pub(crate) total: f64,
    /// In ticks of 10 ms, as the kernel splits it.
    pub(crate) user: f64,
    pub(crate) system: f64,
}

impl std::ops::Sub for Usage {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { total: self.total - before.total, user: self.user - before.user, system: self.system - before.system }
    }
}

/// Up to now.
pub(crate) fn usage(pid: u32) -> Usage {
    let mut all = Usage::default();
    for pid in tree(pid) {
        if let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) {
            let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
            all.user += ticks(11) / 100.0;
            all.system += ticks(12) / 100.0;
        }
        for task in entries(&format!("/proc/{pid}/task")) {
            let stat = fs::read_to_string(format!("/proc/{pid}/task/{task}/schedstat")).unwrap_or_default();
            let ns = stat.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok());
            all.total += ns.unwrap_or(0.0) / 1e9;
        }
    }
    if all.total == 0.0 {
        // A kernel without schedstat.
        all.total = all.user + all.system;
    }
    all
}

/// Processor time so far, in seconds: of the whole machine, and of this process with all children that have ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neighbours {
    machine: f64,
    own: f64,
}

impl Neighbours {
    /// Up to now. To be asked when no child runs.
    pub(crate) fn now() -> Self {
        let numbers = |text: &str| -> Vec<f64> {
            text.split_whitespace().filter_map(|word| word.parse().ok()).map(|ticks: f64| ticks / 100.0).collect()
        };
        let machine = fs::read_to_string("/proc/stat").unwrap_or_default();
        let machine = numbers(machine.lines().next().unwrap_or_default());
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let own = numbers(stat.rsplit(')').next().unwrap_or_default());
        // Of the machine: user, nice, system, idle, waiting, interrupts, soft ones, and what the hypervisor took away.
        // The state of a process is no number, so its times are one place before where proc(5) counts them.
        let machine = [0, 1, 2, 5, 6, 7].map(|index| machine.get(index).copied().unwrap_or(0.0)).iter().sum();
        Self { machine, own: own.iter().skip(10).take(4).sum() }
    }

    /// How many processors others used from then on, over so many seconds.
    pub(crate) fn since(&self, seconds: f64) -> f64 {
        let now = Self::now();
        ((now.machine - self.machine - (now.own - self.own)) / seconds).max(0.0)
    }
}

/// Memory of a process and its children that is in use now.
pub(crate) fn resident_kib(pid: u32) -> Result<u64> {
    let mut total = 0;
    for pid in tree(pid) {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS")).context("no VmRSS")?;
        total += line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).context("no VmRSS")?;
    }
    Ok(total)
}

fn tree(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    for task in entries(&format!("/proc/{pid}/task")) {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{task}/children")).unwrap_or_default();
        all.extend(children.split_whitespace().filter_map(|child| child.parse().ok()).flat_map(tree));
    }
    all
}

fn entries(path: &str) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
