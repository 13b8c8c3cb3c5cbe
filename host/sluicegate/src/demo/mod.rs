//! `sluicegate demo`: origins, a proxy in front of them and a load, all in this process, and a table of what goes on.

pub(crate) mod backdrop;
mod eras;
mod help;
mod load;
mod notice;
mod origins;
mod plain;
mod proxy;
mod report;
mod sample;
mod screen;
mod session;
mod show;
mod table;
mod units;

use std::{
    io::{Write as _, stdout},
    path::{self, Path},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use sluicegate_control::config::{Log, LogFormat, PolicySource};
use tokio::{
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{cli, logging};
use load::{Load, Stats};
use notice::Notice;
use proxy::Proxy;
use report::Report;
use session::{POLICIES, Session};
use show::Show;

/// Shows policies at work. Failure if any request failed.
pub(crate) fn run(arguments: &cli::Demo) -> Result<ExitCode> {
    let notice = show::is_terminal().then(Notice::start);
    let log = Log { format: LogFormat::Human, level: tracing::Level::WARN, access: false };
    let _guard = notice.is_none().then(|| logging::start(&log));
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(demo(arguments, notice))?;
    // A compile that still runs is not waited for.
    runtime.shutdown_background();
    Ok(code)
}

async fn demo(arguments: &cli::Demo, notice: Option<Notice>) -> Result<ExitCode> {
    // Registered first: a signal during the start is a stop, too.
    let mut signals = Signals::register()?;
    let policy = match &arguments.policy {
        Some(policy) => source(policy)?,
        None => PolicySource::Builtin(POLICIES[0].to_owned()),
    };
    let origins = origins::start()?;
    let proxy = Proxy::start(&origins, policy).await?;
    let stats = Arc::new(Stats::default());
    let show = Show::start(&proxy, arguments.rate, &origins, notice)?;
    let mut session = Session::new(proxy, origins, Arc::clone(&stats), show, interval(arguments));
    let begun = Instant::now();
    let load = Load::start(session.proxy.address()?, arguments.rate, stats)?;
    let end = arguments.seconds.map(|seconds| begun + Duration::from_secs(seconds));
    let ended = session.run(end, &mut signals).await;
    load.stop().await;
    let report = session.end(begun.elapsed()).await;
    // The terminal is given back already, whether or not something went wrong.
    ended?;
    conclude(&report)
}

/// As in a configuration, a built-in policy is called by its name alone; `./p2c` would be a file.
fn source(policy: &Path) -> Result<PolicySource> {
    match sluicegate_builtins::names().find(|name| policy.as_os_str() == *name) {
        Some(name) => Ok(PolicySource::Builtin(name.to_owned())),
        None => Ok(PolicySource::File(path::absolute(policy).context("can't find the policy's folder")?)),
    }
}

/// How often the policy is swapped: every few seconds, and in a short demo often enough for one swap each way.
fn interval(arguments: &cli::Demo) -> Option<Duration> {
    let usual = Duration::from_secs(4);
    let interval = arguments.seconds.map_or(usual, |seconds| usual.min(Duration::from_secs(seconds) / 3));
    arguments.policy.is_none().then_some(interval.max(Duration::from_millis(200)))
}

fn conclude(report: &Report) -> Result<ExitCode> {
    if let Some(reason) = report.last_failure.as_ref().filter(|_| report.failed > 0) {
        eprintln!("{} of {} requests failed, the last one so: {reason}", report.failed, report.requests);
    }
    writeln!(stdout(), "{}\n{}", report.summary(), report.json())?;
    Ok(if report.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The signals that end a program.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn register() -> Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub(crate) async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
