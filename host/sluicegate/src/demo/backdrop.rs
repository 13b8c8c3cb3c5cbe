//! The demo without its show, for whoever swaps policies in by hand and wants to see what comes of it.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context as _, Result};
use sluicegate_control::config::PolicySource;

use super::{
    eras::Eras,
    load::{Load, Stats},
    origins::{self, Origin},
    proxy::{CLUSTER, Proxy},
    sample::{self, Quantiles, Sampler},
    session::POLICIES,
    units::{ms, short},
};

/// Requests a second: enough for a p99 of the last second, and a small part of what the machine can do beside a compiler.
const RATE: u32 = 500;

/// Origins, a proxy in front of them, and a load.
pub(crate) struct Backdrop {
    proxy: Proxy,
    origins: Vec<Origin>,
    stats: Arc<Stats>,
    sampler: Sampler,
    load: Load,
}

impl Backdrop {
    /// Starts with a built-in policy.
    pub(crate) async fn start() -> Result<Self> {
        let origins = origins::start()?;
        let proxy = Proxy::start(&origins, PolicySource::Builtin(POLICIES[0].to_owned())).await?;
        let stats = Arc::new(Stats::default());
        let sampler = Sampler::new(&proxy, &origins, &stats);
        let load = Load::start(proxy.address()?, RATE, Arc::clone(&stats))?;
        Ok(Self { proxy, origins, stats, sampler, load })
    }

    /// The cluster's name.
    pub(crate) fn cluster(&self) -> &'static str {
        CLUSTER
    }

    /// Where the admin listener is.
    pub(crate) fn admin(&self) -> Result<SocketAddr> {
        self.proxy.server.admin_address().context("the demo has no admin listener")
    }

    /// What there is, in a line.
    pub(crate) fn to_text(&self) -> Result<String> {
        let slow = self.origins.iter().find(|origin| origin.is_slow).map_or("slow", |origin| &origin.nature);
        let (address, count) = (self.proxy.address()?, self.origins.len());
        Ok(format!("{RATE} requests/s go through a proxy at http://{address}/ to {count} origins, one of them {slow}"))
    }

    /// How the last second went; or the time since this was asked last, if that is longer.
    pub(crate) fn figures(&mut self) -> String {
        let view = self.sampler.view(&self.proxy, &self.origins, &self.stats, &Eras::default());
        let picks = Quantiles::of(&sample::picks(&self.proxy, view.active.generation));
        let (latency, rate) = (view.clients.latency, view.clients.rate);
        format!(
            "{rate:.0} requests/s, {} failed so far, p50 {}, p99 {}; pick p50 {}, p99 {}",
            view.failed,
            ms(latency.p50),
            ms(latency.p99),
            short(picks.p50),
            short(picks.p99)
        )
    }

    /// Stops the load, then the proxy.
    pub(crate) async fn end(self) {
        self.load.stop().await;
        self.proxy.drain().await;
    }
}
