//! Clusters whose endpoints are a name's: each has a task that asks again when the last answer has aged.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};

use super::{
    Found,
    resolver::{Answer, Known, LookupError, resolve},
};
use crate::{
    actor::ClusterHandle,
    config::{Config, Discovery, Dns, Lookup},
};

/// How long an answer holds at least. Servers that balance by DNS say 0, and asking all the time helps nobody.
const MIN_TTL: Duration = Duration::from_secs(1);

/// How long an answer holds at most, so that a mistake with a week's TTL is not kept for a week.
const MAX_TTL: Duration = Duration::from_secs(300);

/// How long to wait after a failure, doubled from the first to the last.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How long a new configuration waits for its names: a server that works has answered by then, also when it is asked behind
/// one that does not; and names that nobody answers must not keep the other clusters from serving.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(4);

/// The clusters whose endpoints are a name's.
#[derive(Default)]
pub(crate) struct Names {
    followed: BTreeMap<Arc<str>, Followed>,
    /// How long the first answers hold that no task has yet, and what they said.
    fresh: BTreeMap<Arc<str>, (Duration, Known)>,
}

struct Followed {
    source: Source,
    /// Whether there was an answer when this began.
    was_resolved: bool,
    task: AbortHandle,
}

#[derive(Clone, PartialEq)]
struct Source {
    lookup: Lookup,
    dns: Dns,
}

impl Source {
    fn of(config: &Config, name: &Arc<str>) -> Option<Self> {
        match config.clusters.get(name)?.discovery.clone()? {
            Discovery::Dns(lookup) => Some(Self { lookup, dns: config.dns.clone() }),
            Discovery::File(_) => None,
        }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Names {
    /// The first answers for the clusters that are not followed yet, or not in this way. A cluster whose name is not
    /// resolved in time is missing: it is asked for again, and so long it has no endpoints, or the old ones.
    pub(crate) async fn first_answers(&mut self, config: &Config) -> Found {
        let mut lookups = JoinSet::new();
        for name in config.clusters.keys() {
            let Some(source) = Source::of(config, name) else { continue };
            if self.followed.get(name).is_none_or(|followed| followed.source != source) {
                let name = Arc::clone(name);
                lookups.spawn(async move {
                    let mut known = Known::default();
                    let answer = resolve(&source.lookup, &source.dns, &mut known);
                    let answer = timeout(FIRST_ANSWER_TIMEOUT, answer).await;
                    (name, answer.unwrap_or(Err(LookupError::Late)), known)
                });
            }
        }
        let mut found = Found::new();
        while let Some(done) = lookups.join_next().await {
            match done {
                Ok((name, Ok(Answer { endpoints, ttl, .. }), known)) => {
                    self.fresh.insert(Arc::clone(&name), (ttl, known));
                    found.insert(name, endpoints);
                }
                Ok((name, Err(error), _)) => warn(&name, &error),
                Err(error) => tracing::error!(%error, "a look-up broke"),
            }
        }
        found
    }

    /// The clusters that were without an answer when they came to be followed.
    pub(crate) fn unresolved(&self) -> Vec<Arc<str>> {
        let waiting = self.followed.iter().filter(|(_, followed)| !followed.was_resolved);
        waiting.map(|(name, _)| Arc::clone(name)).collect()
    }

    /// Asks no more for what this configuration does not ask for, or not in the same way.
    pub(crate) fn forget_others(&mut self, config: &Config) {
        self.followed.retain(|name, followed| Source::of(config, name).as_ref() == Some(&followed.source));
    }

    /// Asks again for the names of this configuration, when their time has come.
    pub(crate) fn follow(&mut self, config: &Config, clusters: &BTreeMap<Arc<str>, ClusterHandle>) {
        let mut fresh = std::mem::take(&mut self.fresh);
        for (name, handle) in clusters {
            let Some(source) = Source::of(config, name).filter(|_| !self.followed.contains_key(name)) else { continue };
            let first = fresh.remove(name);
            let was_resolved = first.is_some();
            let task = follow(Arc::clone(name), source.clone(), handle.clone(), first);
            let task = tokio::spawn(task).abort_handle();
            self.followed.insert(Arc::clone(name), Followed { source, was_resolved, task });
        }
    }
}

/// Keeps one cluster's endpoints as its name says. `first`: how long the first answer holds, if there was one, and what
/// it said.
async fn follow(name: Arc<str>, source: Source, cluster: ClusterHandle, first: Option<(Duration, Known)>) {
    let mut pause = first.is_none().then_some(RETRY.0);
    let (mut wait, mut known) = first.unwrap_or((RETRY.0, Known::default()));
    let mut was_kept = false;
    loop {
        sleep(wait.clamp(MIN_TTL, MAX_TTL)).await;
        match resolve(&source.lookup, &source.dns, &mut known).await {
            Ok(answer) => {
                if pause.take().is_some() {
                    tracing::info!(cluster = %name, "the endpoints' names are resolved");
                }
                if let Some(error) = answer.kept.as_ref().filter(|_| !was_kept) {
                    tracing::warn!(cluster = %name, %error, "a part of the endpoints' addresses is not answered, and kept");
                }
                was_kept = answer.kept.is_some();
                wait = answer.ttl;
                // The cluster may be on its way out.
                let _ = cluster.set_endpoints(answer.endpoints).await;
            }
            Err(error) => {
                if pause.is_none() {
                    warn(&name, &error);
                }
                wait = pause.map_or(RETRY.0, |last| (last * 2).min(RETRY.1));
                pause = Some(wait);
            }
        }
    }
}

fn warn(name: &str, error: &LookupError) {
    tracing::warn!(
        cluster = name,
        %error,
        "the endpoints' names can't be resolved: the cluster stays as it is, and they are tried again"
    );
}
