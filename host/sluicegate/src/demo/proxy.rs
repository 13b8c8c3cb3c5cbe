//! The proxy under demonstration: the real one, with a configuration like an operator's.

use std::{net::SocketAddr, path::Path, thread};

use anyhow::{Context, Result, anyhow};
use sluicegate_control::config::{self, Config, PolicySource};

use super::origins::Origin;
use crate::server::Server;

/// The cluster's name.
pub(super) const CLUSTER: &str = "demo";

/// Threads that serve, at most: the load and the origins want some of the machine, too.
const MAX_WORKERS: usize = 2;

/// A proxy in this process.
pub(super) struct Proxy {
    /// The parts.
    pub(super) server: Server,
    config: Config,
}

/// Who picks at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Active {
    /// The policy.
    pub(super) policy: String,
    /// Its generation; 0 for the native fallback.
    pub(super) generation: u64,
    /// How it is called.
    pub(super) lane: &'static str,
}

impl Proxy {
    /// Starts a proxy that balances over these origins by this policy.
    pub(super) async fn start(origins: &[Origin], policy: PolicySource) -> Result<Self> {
        let config = configuration(origins, policy)?;
        let server = Server::start(config.clone()).await?;
        Ok(Self { server, config })
    }

    /// Where clients connect to.
    pub(super) fn address(&self) -> Result<SocketAddr> {
        self.server.addresses().first().copied().context("the proxy listens nowhere")
    }

    /// Who picks at the moment.
    pub(super) fn active(&self) -> Active {
        match self.server.board.cluster(CLUSTER).and_then(|(_, active)| active) {
            Some(active) => Active {
                policy: active.spec.policy.to_string(),
                generation: active.number,
                lane: active.spec.artifact.lane().label(),
            },
            None => Active { policy: "native fallback".into(), generation: 0, lane: "native" },
        }
    }

    /// Has another built-in policy balance from now on, by a change of the configuration, as an operator would.
    pub(super) async fn swap_to(&mut self, policy: &str) -> Result<()> {
        set_policy(&mut self.config, PolicySource::Builtin(policy.to_owned()))?;
        match self.server.plane.apply(self.config.clone()).await {
            Some(applied) => applied.map(drop).with_context(|| format!("can't swap to {policy}")),
            None => Err(anyhow!("the control plane has stopped")),
        }
    }

    /// Stops.
    pub(super) async fn drain(self) {
        let cut = self.server.drain().await;
        if cut > 0 {
            tracing::warn!(connections_cut = cut, "the proxy did not drain in time");
        }
    }
}

fn configuration(origins: &[Origin], policy: PolicySource) -> Result<Config> {
    let endpoints: Vec<String> = origins.iter().map(|origin| format!("\"{}\"", origin.address)).collect();
    let workers = thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS);
    let text = format!(
        r#"
            [[listener]]
            address = "127.0.0.1:0"

            [[route]]
            cluster = "{CLUSTER}"

            [cluster.{CLUSTER}]
            endpoints = [{}]

            [admin]
            address = "127.0.0.1:0"

            [runtime]
            workers = {workers}
            drain_timeout_ms = 2000

            [log]
            access = false
        "#,
        endpoints.join(", ")
    );
    let builtins: Vec<&str> = sluicegate_builtins::names().collect();
    let mut config = config::parse(&text, Path::new("demo.toml"), &builtins).map_err(|errors| anyhow!("{errors}"))?;
    set_policy(&mut config, policy)?;
    Ok(config)
}

fn set_policy(config: &mut Config, policy: PolicySource) -> Result<()> {
    config.clusters.get_mut(CLUSTER).context("the demo's cluster is gone")?.policy.source = policy;
    Ok(())
}
