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
    let server = Server::start(config, Some(arguments.config.clone())).await?;
    let listeners = server.addresses().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let admin = server.admin_address().map(|address| address.to_string());
    tracing::info!(version = env!("CARGO_PKG_VERSION"), listeners, admin, "serving");
    let mut stopping = async || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    let signal = stopping().await;
    tracing::info!(signal, timeout_s = drain_timeout.as_secs_f64(), "draining");
    tokio::select! {
        cut = server.drain(drain_timeout) => {
            tracing::info!(connections_cut = cut, "stopped");
            Ok(ExitCode::SUCCESS)
        }
        signal = stopping() => {
            tracing::warn!(signal, "stopped at once, on a second signal");
            Ok(ExitCode::FAILURE)
        }
    }
}
