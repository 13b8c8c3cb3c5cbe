//! The proxy's real binary, on a processor of its own.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use anyhow::Result;
use sluicegate_tests::{Proxy, binary};
use tempfile::TempDir;

use super::{
    Cores,
    process::{Usage, pin, usage},
};

/// A proxy.
pub(crate) struct Gate {
    pub(crate) proxy: Proxy,
    body: String,
    workers: u32,
}

impl Gate {
    /// Starts it with one worker and this configuration, which says nothing of listeners, runtime and logs. Its second
    /// listener speaks HTTP/2 without TLS.
    pub(crate) fn start(config: &str, cores: Option<Cores>, prepare: impl FnOnce(&Path)) -> Result<Self> {
        Self::start_anywhere(binary(), config, 1, prepare)?.on(cores)
    }

    /// The same of another binary.
    pub(crate) fn start_other(binary: &Path, config: &str, cores: Option<Cores>) -> Result<Self> {
        Self::start_anywhere(binary, config, 1, |_| {})?.on(cores)
    }

    fn on(self, cores: Option<Cores>) -> Result<Self> {
        if let Some(cores) = cores {
            pin(self.proxy.pid(), cores.proxy)?;
        }
        Ok(self)
    }

    /// The same with so many workers, on no processors in particular.
    pub(crate) fn with_workers(config: &str, workers: u32) -> Result<Self> {
        Self::start_anywhere(binary(), config, workers, |_| {})
    }

    fn start_anywhere(binary: &Path, config: &str, workers: u32, prepare: impl FnOnce(&Path)) -> Result<Self> {
        let dir = TempDir::new()?;
        prepare(dir.path());
        fs::write(dir.path().join("sluicegate.toml"), whole(config, workers))?;
        Ok(Self { proxy: Proxy::start_other(binary, dir), body: config.to_owned(), workers })
    }

    pub(crate) fn http1(&self) -> SocketAddr {
        self.proxy.addresses[0]
    }

    pub(crate) fn http2(&self) -> SocketAddr {
        self.proxy.addresses[1]
    }

    /// Another configuration, saved in one step.
    pub(crate) fn reconfigure(&mut self, config: &str) -> Result<()> {
        config.clone_into(&mut self.body);
        fs::write(self.proxy.path("new.toml"), whole(config, self.workers))?;
        Ok(fs::rename(self.proxy.path("new.toml"), self.proxy.path("sluicegate.toml"))?)
    }

    /// What it took of processors so far.
    pub(crate) fn usage(&self) -> Usage {
        usage(self.proxy.pid())
    }

    /// The sum of a family's series in `/metrics` whose labels have all these in them.
    pub(crate) fn metric(&self, family: &str, labels: &[&str]) -> Result<f64> {
        let (status, text) =
            sluicegate_tests::get(self.proxy.admin, "/metrics", "admin").map_err(anyhow::Error::msg)?;
        anyhow::ensure!(status == 200, "/metrics: {status}");
        Ok(sum(&text, family, labels))
    }

    /// Waits until a policy of this name serves in the cluster `api`.
    pub(crate) fn wait_for_policy(&self, seen: usize) {
        self.proxy.wait_after(seen, "the policy", |line| line["message"] == "policy in service");
    }

    /// The whole configuration, for the report.
    pub(crate) fn text(&self) -> String {
        whole(&self.body, self.workers)
    }
}

/// The sum of a family's series.
fn sum(text: &str, family: &str, labels: &[&str]) -> f64 {
    let lines = text.lines().filter(|line| {
        let name = line.split(['{', ' ']).next();
        name == Some(family) && labels.iter().all(|label| line.contains(label))
    });
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

fn whole(config: &str, workers: u32) -> String {
    format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[[listener]]\naddress = \"127.0.0.1:0\"\nhttp2 = true\n\
         [admin]\naddress = \"127.0.0.1:0\"\n[runtime]\nworkers = {workers}\ndrain_timeout_ms = 500\n\
         [log]\nformat = \"json\"\naccess = false\nlevel = \"info\"\n[policy]\ncache = \"cache\"\n{config}"
    )
}

/// A list of endpoints, for a configuration.
pub(crate) fn endpoints(addresses: &[SocketAddr]) -> String {
    let quoted: Vec<_> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
    format!("[{}]", quoted.join(", "))
}

impl Gate {
    /// Lets it answer a few requests, and fails if it does not.
    pub(crate) fn warm(&self, path: &str) -> Result<()> {
        let target = crate::load::Target::at(self.http1(), path);
        let time = Duration::from_millis(300);
        let outcome = crate::load::Plan::closed(target, 16, Duration::ZERO, time).run()?;
        let first = outcome.errors.keys().next().cloned();
        anyhow::ensure!(outcome.error_count() == 0, "the proxy answers with errors: {}", first.unwrap_or_default());
        anyhow::ensure!(!outcome.latency.is_empty(), "the proxy does not answer");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_added_up() {
        let text = "# HELP a x\na{x=\"1\"} 2\na{x=\"2\"} 3\na_sum{x=\"1\"} 9\nb 1\n";
        assert_eq!((sum(text, "a", &[]), sum(text, "a", &["x=\"2\""]), sum(text, "b", &[])), (5.0, 3.0, 1.0));
    }
}
