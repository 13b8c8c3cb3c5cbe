//! `sluicegate dev`: builds a policy whenever its source is saved, and swaps it into a proxy that runs.
//!
//! There is one way in, the admin API: a demo is a proxy like any other, which happens to be in this process.

mod round;
mod sources;

use std::{io, process::ExitCode, thread, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use sluicegate_control::config::{Log, LogFormat};
use tokio::{runtime::Builder, sync::oneshot, time::sleep};

use crate::{
    build_policy::cargo::{self, Running},
    cli,
    demo::{Signals, backdrop::Backdrop},
    logging,
    policy::client::Client,
};
use round::{Outcome, Round, say};
use sources::Sources;

/// How often to look for changes. A crate is a few dozen files, and looking at them takes less than a millisecond.
const LOOK: Duration = Duration::from_millis(100);

/// How long a policy serves before the demo's figures are its own.
const FIGURES: Duration = Duration::from_millis(1500);

/// Builds and swaps until a signal ends it.
pub(crate) fn run(arguments: &cli::Dev) -> Result<ExitCode> {
    let log = Log { format: LogFormat::Human, level: tracing::Level::WARN, access: false };
    let _guard = arguments.cluster.is_none().then(|| logging::start(&log));
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(develop(arguments))?;
    // A compile of the demo's that still runs is not waited for.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

async fn develop(arguments: &cli::Dev) -> Result<()> {
    // Registered first: a signal during the start is a stop, too.
    let mut signals = Signals::register()?;
    let library = cargo::library(&arguments.dir)?;
    cargo::ensure_target(&arguments.dir)?;
    let mut sources = Sources::new(&arguments.dir, &library.target_dir);
    let mut backdrop = None;
    let (at, cluster) = match &arguments.cluster {
        Some(cluster) => (arguments.at(), cluster.clone()),
        None => {
            let started = backdrop.insert(Backdrop::start().await?);
            say(&format!("{}.", started.to_text()?));
            (cli::At::of(format!("http://{}", started.admin()?)), started.cluster().to_owned())
        }
    };
    let (dir, config) = (arguments.dir.clone(), arguments.policy_config.clone());
    let running = Running::default();
    let stop = running.clone();
    let begin = move || Round::begin(Client::find(&at)?, cluster, dir, library, config, running);
    let mut round = aside(begin).await??;
    loop {
        let seen = sources.look();
        let work = aside(move || {
            let outcome = round.go();
            (round, outcome)
        });
        tokio::pin!(work);
        let outcome;
        tokio::select! {
            done = &mut work => (round, outcome) = done?,
            () = signals.recv() => {
                // A compiler that goes on by itself would be in the way of the next one.
                stop.interrupt();
                let _ = work.await;
                break;
            }
        }
        if let (Outcome::Serves, Some(backdrop)) = (outcome, &mut backdrop) {
            // From here on the figures are the new policy's.
            backdrop.figures();
        }
        let mut next_figures = (outcome == Outcome::Serves).then(|| Box::pin(sleep(FIGURES)));
        let ended = loop {
            tokio::select! {
                () = sleep(LOOK) => if sources.have_settled_since(&seen) { break false },
                () = async { if let Some(due) = &mut next_figures { due.await } }, if next_figures.is_some() => {
                    next_figures = None;
                    if let Some(backdrop) = &mut backdrop {
                        say(&backdrop.figures());
                    }
                }
                () = signals.recv() => break true,
            }
        };
        if ended {
            break;
        }
    }
    if let Some(backdrop) = backdrop {
        backdrop.end().await;
    }
    say("ended");
    Ok(())
}

/// Does something that takes its time on a thread of its own: a demo in this process goes on meanwhile.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let (done, result) = oneshot::channel();
    let spawned = thread::Builder::new().name("dev".into()).spawn(move || drop(done.send(work())));
    spawned.map(drop).map_err(|error: io::Error| anyhow!("no thread to build on: {error}"))?;
    result.await.context("the build ended in the middle: its message is above")
}
