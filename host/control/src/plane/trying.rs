//! Tries policies out before anything changes.

use std::{collections::BTreeMap, sync::Arc};

use sluicegate_core::{ClusterSnapshot, LiveArena};
use sluicegate_policy::{Artifact, Clock, Engine, MAX_COMPILES, Plugin, Refusal, Swapped};
use tokio::{
    sync::Semaphore,
    task::{JoinSet, spawn_blocking},
};

use super::{ApplyError, cause};
use crate::{
    actor::ClusterHandle,
    config::{Cluster, Config},
    discovery, policies,
    tls::Secured,
    trust::Trust,
};

/// Tries out every policy of a configuration with its cluster's endpoints, and that is all: nothing is bound, nothing
/// serves.
pub async fn try_out_all(engine: &Arc<Engine>, clock: Clock, config: &Config) -> Result<(), ApplyError> {
    Secured::load(config).map_err(ApplyError::Refused)?;
    discovery::read_files(config).map_err(ApplyError::Refused)?;
    let trust = Trust::default().with_keys(&config.policy.trusted_keys);
    try_out_clusters((engine, clock, &trust), config, config.clusters.keys()).await.map(drop)
}

/// The policies of these clusters, loaded and rehearsed off the caller's thread, a few at a time. All that is wrong is said
/// at once.
pub(super) async fn try_out_clusters(
    (engine, clock, trust): (&Arc<Engine>, Clock, &Trust),
    config: &Config,
    names: impl Iterator<Item = &Arc<str>>,
) -> Result<BTreeMap<Arc<str>, Tried>, ApplyError> {
    // A compile is timed from when it is asked for: one that waits for a compiler's threads could be taken for a long one.
    let turns = Arc::new(Semaphore::new(MAX_COMPILES));
    let mut tasks = JoinSet::new();
    for name in names {
        let (engine, cluster, name) = (Arc::clone(engine), config.clusters[name].clone(), Arc::clone(name));
        let (trust, turns) = (trust.clone(), Arc::clone(&turns));
        tasks.spawn(async move {
            let _turn = turns.acquire_owned().await;
            let of = Arc::clone(&name);
            let tried = spawn_blocking(move || try_out(&cluster, &of, &engine, &clock, &trust)).await;
            (name, tried.unwrap_or_else(|error| Err(format!("it can't be tried out: {error}"))))
        });
    }
    let (mut plugins, mut errors) = (BTreeMap::new(), Vec::new());
    for (name, tried) in tasks.join_all().await {
        match tried {
            Ok(tried) => drop(plugins.insert(name, tried)),
            Err(error) => errors.push(format!("cluster.{name}.policy: {error}")),
        }
    }
    errors.sort();
    if errors.is_empty() { Ok(plugins) } else { Err(ApplyError::Refused(errors)) }
}

/// A policy that passed. Its code is held on to, so that putting it to use compiles nothing again.
pub(super) struct Tried {
    pub(super) plugin: Plugin,
    _artifact: Arc<Artifact>,
}

impl Tried {
    pub(super) async fn put_to_use(&self, handle: &ClusterHandle, why: &str) -> Result<Swapped, Refusal> {
        handle.set_policy(self.plugin.name.clone(), Ok(self.plugin.clone()), None, cause(why)).await
    }
}

fn try_out(cluster: &Cluster, name: &str, engine: &Engine, clock: &Clock, trust: &Trust) -> Result<Tried, String> {
    let plugin = policies::fetch(&cluster.policy, engine.limits().module_bytes, trust)?;
    let snapshot = ClusterSnapshot::empty(name).next(&cluster.endpoints, &mut LiveArena::default(), clock.now());
    match plugin.try_out(engine, clock, &Arc::new(snapshot)) {
        Ok((artifact, _)) => Ok(Tried { plugin, _artifact: artifact }),
        Err(refusal) => Err(format!("{} is refused: {refusal}", plugin.name)),
    }
}
