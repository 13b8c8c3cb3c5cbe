//! The plane: brings the workers from one configuration to the next.

mod files;
mod trying;

use std::{
    collections::BTreeMap,
    fmt,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use sluicegate_policy::{Cause, Clock, Engine};
use sluicegate_proxy::{ControlError, RouteTable, WorkerHandle};
use tokio::sync::watch;

use crate::{
    actor::{ClusterHandle, Means},
    config::{Cluster, ClusterChange, Config},
    discovery::{self, Names},
    policies,
    status::Board,
    tls::Secured,
    trust::Trust,
};
pub use trying::try_out_all;
use trying::{Tried, try_out_clusters};

/// What a plane works with.
pub struct PlaneOptions {
    /// Compiles policies.
    pub engine: Arc<Engine>,
    /// The data path's clock.
    pub clock: Clock,
    /// Who serves.
    pub workers: Vec<WorkerHandle>,
    /// What policies' random numbers come from.
    pub seed: u64,
}

/// The workers' configuration, and the means to change it.
pub struct Plane {
    means: Means,
    config: Config,
    routes: Arc<RouteTable>,
    clusters: BTreeMap<Arc<str>, ClusterHandle>,
    policy_files: policies::FilesInUse,
    names: Names,
    board: Arc<Board>,
    /// By the configuration that is in force.
    trust: watch::Sender<Trust>,
    drain_timeout: watch::Sender<Duration>,
}

/// Why a configuration was not put to use. Nothing of it was.
#[derive(Debug)]
pub enum ApplyError {
    /// These policies, certificates or lists of endpoints don't work.
    Refused(Vec<String>),
    /// The workers are gone.
    Workers(ControlError),
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(errors) => f.write_str(&errors.join("\n")),
            Self::Workers(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for ApplyError {}

impl From<ControlError> for ApplyError {
    fn from(error: ControlError) -> Self {
        Self::Workers(error)
    }
}

/// What applying a configuration came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// How many clusters were added, removed or changed.
    pub clusters: usize,
    /// Whether the routes are different.
    pub routes: bool,
    /// Whether the certificates of listeners, or the like, are different.
    pub listeners: bool,
    /// Whether other keys are trusted.
    pub trusted_keys: bool,
    /// The keys that differ, but only take effect at a restart.
    pub needs_restart: Vec<String>,
}

impl Applied {
    /// Whether everything was so before.
    pub fn is_nothing(&self) -> bool {
        let Self { clusters, routes, listeners, trusted_keys, needs_restart } = self;
        *clusters == 0 && !routes && !listeners && !trusted_keys && needs_restart.is_empty()
    }
}

impl Plane {
    /// A plane whose workers serve this configuration. They do not accept connections yet.
    pub async fn start(options: PlaneOptions, config: Config) -> Result<Self, ApplyError> {
        let PlaneOptions { engine, clock, workers, seed } = options;
        let nothing = Config { routes: Vec::new(), clusters: BTreeMap::new(), ..config.clone() };
        let (trust, trusted) = watch::channel(Trust::default());
        let means = Means { engine, clock, workers, seed, trust: trusted };
        let board = Arc::new(Board::new(clock));
        let (routes, clusters, names) = (Arc::default(), BTreeMap::new(), Names::default());
        let policy_files = policies::FilesInUse::default();
        let (drain_timeout, _) = watch::channel(config.runtime.drain_timeout);
        let mut plane =
            Self { means, config: nothing, routes, clusters, policy_files, names, board, trust, drain_timeout };
        plane.apply(config).await?;
        Ok(plane)
    }

    /// What is going on, for the admin listener.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// How long requests may take to finish when the process stops; as the configuration changes, so does this.
    pub fn drain_timeout(&self) -> watch::Receiver<Duration> {
        self.drain_timeout.subscribe()
    }

    /// The clusters whose endpoints' names have not been resolved yet.
    pub fn unresolved(&self) -> Vec<Arc<str>> {
        self.names.unresolved()
    }

    /// What is in force: of what takes effect only at a restart, what the process was started with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What a policy's file said when a cluster came to use it.
    pub(crate) fn policy_file(&self, path: &Path) -> Option<&Arc<[u8]>> {
        self.policy_files.get(path)
    }

    /// Puts another configuration to use, whole or not at all: every new policy is loaded and rehearsed before
    /// anything changes.
    pub async fn apply(&mut self, new: Config) -> Result<Applied, ApplyError> {
        let changes = self.config.changed_clusters(&new);
        let secured = Secured::load(&new).map_err(ApplyError::Refused)?;
        let mut found = discovery::read_files(&new).map_err(ApplyError::Refused)?;
        let trusted_keys = self.config.policy.trusted_keys != new.policy.trusted_keys;
        let trust = self.trust.borrow().with_keys(&new.policy.trusted_keys);
        if trusted_keys {
            self.check_trust(&new, &trust).await?;
        }
        let plugins = self.try_out_policies(&changes, &new, &trust).await?;
        found.extend(self.names.first_answers(&new).await);
        // An answer that comes now would be one to a question that is not asked any more.
        self.names.forget_others(&new);
        let needs_restart = self.config.needs_restart(&new);
        for (name, tried) in plugins.iter().filter(|(name, _)| changes[*name] == ClusterChange::Added) {
            let cluster = &new.clusters[name];
            let settings = secured.settings(name, cluster);
            let handle = ClusterHandle::start(
                name,
                found.get(name).unwrap_or(&cluster.endpoints),
                cluster.eligibility.clone(),
                settings,
                self.means.clone(),
            )
            .await?;
            self.clusters.insert(Arc::clone(name), handle.clone());
            // It worked a moment ago. If it does not now, that is logged, and the fallback serves.
            let _ = tried.put_to_use(&handle, "the configuration names it").await;
        }
        self.policy_files.note(plugins.iter().map(|(name, tried)| (&new.clusters[name].policy, &tried.plugin)));
        for (name, change) in &changes {
            self.change_cluster(name, *change, (&new, &secured), plugins.get(name)).await?;
        }
        // A name that is not resolved yet leaves its cluster as it is.
        for (name, endpoints) in found {
            if let Some(handle) = self.clusters.get(&name) {
                handle.set_endpoints(endpoints).await?;
            }
        }
        let routes = self.config.routes != new.routes;
        if routes {
            self.set_routes(&new).await?;
        }
        for (name, _) in changes.iter().filter(|(_, change)| **change == ClusterChange::Removed) {
            if let Some(cluster) = self.clusters.remove(name) {
                cluster.remove().await?;
            }
        }
        // Certificates are not among what needs a restart; nor do they make a connection that stands any worse.
        let listeners = self.config.listeners != new.listeners && !needs_restart.iter().any(|key| key == "listener");
        if listeners {
            self.set_listeners(&secured).await?;
        }
        self.names.follow(&new, &self.clusters);
        self.board.show(&self.clusters, self.means.engine.limits().module_bytes, trust.clone());
        self.trust.send_replace(trust);
        self.config = new.without_restart(&self.config);
        self.drain_timeout.send_replace(self.config.runtime.drain_timeout);
        Ok(Applied { clusters: changes.len(), routes, listeners, trusted_keys, needs_restart })
    }

    /// Whether all policies' files may be used with other keys: what serves now would not serve after a restart, else.
    async fn check_trust(&self, new: &Config, trust: &Trust) -> Result<(), ApplyError> {
        let limit = self.means.engine.limits().module_bytes;
        let check = |(name, cluster): (&Arc<str>, &Cluster)| {
            let fetched = policies::fetch(&cluster.policy, limit, trust);
            fetched.err().map(|error| format!("cluster.{name}.policy: {error}"))
        };
        let errors: Vec<_> = new.clusters.iter().filter_map(check).collect();
        if errors.is_empty() { Ok(()) } else { Err(ApplyError::Refused(errors)) }
    }

    /// The policies that are new or different, tried out with their clusters' new endpoints.
    async fn try_out_policies(
        &self,
        changes: &BTreeMap<Arc<str>, ClusterChange>,
        new: &Config,
        trust: &Trust,
    ) -> Result<BTreeMap<Arc<str>, Tried>, ApplyError> {
        let fresh = |change| matches!(change, ClusterChange::Added | ClusterChange::Changed { policy: true, .. });
        let names = changes.iter().filter(|(_, change)| fresh(**change)).map(|(name, _)| name);
        try_out_clusters((&self.means.engine, self.means.clock, trust), new, names).await
    }

    async fn change_cluster(
        &self,
        name: &Arc<str>,
        change: ClusterChange,
        (new, secured): (&Config, &Secured),
        tried: Option<&Tried>,
    ) -> Result<(), ControlError> {
        let ClusterChange::Changed { endpoints, eligibility, settings, .. } = change else { return Ok(()) };
        let (Some(handle), Some(cluster)) = (self.clusters.get(name), new.clusters.get(name)) else { return Ok(()) };
        if settings {
            handle.set_settings(secured.settings(name, cluster)).await?;
        }
        if eligibility {
            handle.set_eligibility(cluster.eligibility.clone()).await?;
        }
        if endpoints && cluster.discovery.is_none() {
            handle.set_endpoints(cluster.endpoints.clone()).await?;
        }
        if let Some(tried) = tried {
            // A refusal is logged where it happens, and what served before goes on.
            let _ = tried.put_to_use(handle, "the configuration changed").await;
        }
        Ok(())
    }

    async fn set_routes(&mut self, config: &Config) -> Result<(), ControlError> {
        let table = Arc::new(RouteTable::new(config.routes.clone()).go_on_from(&self.routes));
        for worker in &self.means.workers {
            worker.set_routes(Arc::clone(&table)).await?;
        }
        self.routes = table;
        Ok(())
    }

    async fn set_listeners(&self, secured: &Secured) -> Result<(), ControlError> {
        for (index, tls) in secured.listeners.iter().enumerate() {
            let Some(tls) = tls else { continue };
            for worker in &self.means.workers {
                worker.set_tls(index, Arc::clone(tls)).await?;
            }
        }
        Ok(())
    }
}

fn cause(why: &str) -> Cause {
    Cause { why: why.into(), at: SystemTime::now() }
}
