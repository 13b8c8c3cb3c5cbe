//! `sluicegate run`: logging, config, build, run, drain.

use std::process::ExitCode;

use anyhow::{Result, bail};
use sluicegate_control::{config, try_out_all};
use sluicegate_policy::Clock;
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};

use crate::{
    check, cli, logging,
    server::{self, Server},
    systemd,
    upgrade::{Door, Predecessor, Sockets},
};

/// Serves until a signal says otherwise.
pub(crate) fn run(arguments: &cli::Run) -> Result<ExitCode> {
    let builtins: Vec<&str> = sluicegate_builtins::names().collect();
    let config = match config::load(&arguments.config, &builtins) {
        Ok(config) => config,
        Err(errors) => bail!("the configuration is refused:\n{errors}"),
    };
    if arguments.check {
        return check(&config);
    }
    let _guard = logging::start(&config.log);
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(serve(arguments, config))?;
    // A compile that still runs is not waited for.
    runtime.shutdown_background();
    Ok(code)
}

/// Tries the policies out as a start would, without binding anything: safe beside a proxy that serves.
fn check(config: &config::Config) -> Result<ExitCode> {
    let engine = check::engine(server::limits(&config.policy))?;
    let runtime = Builder::new_current_thread().build()?;
    let tried = runtime.block_on(try_out_all(&engine, Clock::start(), config));
    if let Err(error) = tried {
        bail!("the configuration is refused:\n{error}");
    }
    let (clusters, routes) = (config.clusters.len(), config.routes.len());
    let plural = |count| if count == 1 { "" } else { "s" };
    println!("ok: {clusters} cluster{}, {routes} route{}", plural(clusters), plural(routes));
    Ok(ExitCode::SUCCESS)
}

async fn serve(arguments: &cli::Run, config: config::Config) -> Result<ExitCode> {
    // Registered first: a signal during the start is a stop, too.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let drain_timeout = config.runtime.drain_timeout;
    let upgrade_socket = config.runtime.upgrade_socket.as_deref();
    let (predecessor, inherited, mut door) = match upgrade_socket {
        Some(path) if arguments.upgrade => {
            server::raise_file_limit();
            let door = Door::prepare(path)?;
            let (predecessor, sockets) = Predecessor::meet(path).await?;
            (Some(predecessor), sockets, Some(door))
        }
        None if arguments.upgrade => {
            bail!("--upgrade needs `[runtime] upgrade_socket = \"PATH\"`, with which the proxy that runs was started")
        }
        path => (None, Sockets::default(), path.map(Door::open).transpose()?),
    };
    let server = Server::start(config, Some(arguments.config.clone()), inherited).await?;
    // Before the predecessor, which was the main process, begins to end.
    systemd::ready();
    let took_over_from = predecessor.as_ref().and_then(|predecessor| predecessor.pid);
    if let Some(predecessor) = predecessor {
        release(predecessor, door.as_mut()).await;
    }
    let listeners = server.addresses().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let admin = server.admin_address().map(|address| address.to_string());
    let admin_socket = server.admin_socket().map(|path| path.display().to_string());
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(version, listeners, admin, admin_socket, took_over_from, "serving");
    let mut stopping = async || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    let signal = tokio::select! {
        signal = stopping() => Some(signal),
        () = server.hand_over(door.as_ref()) => None,
    };
    tracing::info!(signal, upgraded = signal.is_none(), timeout_s = drain_timeout.as_secs_f64(), "draining");
    let drained = async {
        if signal.is_some() {
            systemd::stopping();
            drop(door);
            return server.drain(drain_timeout).await;
        }
        door.into_iter().for_each(Door::give_up_place);
        server.retire(drain_timeout).await
    };
    tokio::select! {
        cut = drained => {
            tracing::info!(connections_cut = cut, "stopped");
            Ok(ExitCode::SUCCESS)
        }
        signal = stopping() => {
            tracing::warn!(signal, "stopped at once, on a second signal");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// This process serves: its predecessor may go. If that has gone already, so much the better.
async fn release(predecessor: Predecessor, door: Option<&mut Door>) {
    if let Err(error) = predecessor.release().await {
        tracing::warn!(%error, "the process that served before has ended by itself");
    }
    if let Some(Err(error)) = door.map(Door::take_place) {
        tracing::error!(error = format!("{error:#}"), "the next upgrade needs a restart");
    }
}
