//! What changed between two configurations.

use std::{collections::BTreeMap, sync::Arc};

use super::{Config, Listener, PolicyLimits, Runtime};

/// How a cluster changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterChange {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// Some of it is different.
    Changed {
        /// Who can be picked.
        endpoints: bool,
        /// Which of them may be.
        eligibility: bool,
        /// Who picks, or what the policy is told.
        policy: bool,
        /// How requests are sent.
        settings: bool,
    },
}

/// Whether the same sockets do, with other certificates perhaps.
fn same_sockets(old: &[Listener], new: &[Listener]) -> bool {
    let socket = |listener: &Listener| {
        let Listener { address, http2, proxy_protocol, forwarding, path_rules, tls } = listener;
        (*address, *http2, proxy_protocol.clone(), forwarding.clone(), *path_rules, tls.is_some())
    };
    old.iter().map(socket).eq(new.iter().map(socket))
}

impl Config {
    /// The keys whose change from here to `new` takes effect only at a restart, because they are bound, started or
    /// allocated once. Routes, clusters and the drain timeout are not among them. [`Self::without_restart`] leaves them
    /// as they are.
    pub fn needs_restart(&self, new: &Self) -> Vec<String> {
        let (log, policy) = (&self.log, &self.policy);
        let checks = [
            ("listener", !same_sockets(&self.listeners, &new.listeners)),
            ("admin", self.admin != new.admin),
            ("runtime.upgrade_socket", self.runtime.upgrade_socket != new.runtime.upgrade_socket),
            ("runtime.workers", self.runtime.workers != new.runtime.workers),
            ("limits", self.limits != new.limits),
            ("log.format", log.format != new.log.format),
            ("log.level", log.level != new.log.level),
            ("log.access", log.access != new.log.access),
            ("policy.pick_timeout_ms", policy.pick_timeout != new.policy.pick_timeout),
            ("policy.setup_timeout_ms", policy.setup_timeout != new.policy.setup_timeout),
            ("policy.memory_mib", policy.memory_mib != new.policy.memory_mib),
            ("policy.cache", policy.cache != new.policy.cache),
        ];
        checks.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key.to_owned()).collect()
    }

    /// As much of this configuration as a process can have that runs with another: what takes effect only at a restart is
    /// the other's, listeners all together.
    #[must_use]
    pub fn without_restart(self, running: &Self) -> Self {
        let PolicyLimits { trusted_keys, .. } = self.policy;
        let sockets_stay = same_sockets(&running.listeners, &self.listeners);
        Self {
            listeners: if sockets_stay { self.listeners } else { running.listeners.clone() },
            admin: running.admin.clone(),
            runtime: Runtime { drain_timeout: self.runtime.drain_timeout, ..running.runtime.clone() },
            limits: running.limits.clone(),
            log: running.log.clone(),
            policy: PolicyLimits { trusted_keys, ..running.policy.clone() },
            ..self
        }
    }

    /// The clusters that differ in `new`.
    pub fn changed_clusters(&self, new: &Self) -> BTreeMap<Arc<str>, ClusterChange> {
        let mut changes = BTreeMap::new();
        for (name, old) in &self.clusters {
            let change = match new.clusters.get(name) {
                None => ClusterChange::Removed,
                Some(new) if new == old => continue,
                Some(new) => ClusterChange::Changed {
                    endpoints: new.endpoints != old.endpoints || new.discovery != old.discovery,
                    eligibility: new.eligibility != old.eligibility,
                    policy: new.policy != old.policy,
                    settings: new.settings != old.settings || new.tls != old.tls,
                },
            };
            changes.insert(Arc::clone(name), change);
        }
        let added = new.clusters.keys().filter(|name| !self.clusters.contains_key(*name));
        changes.extend(added.map(|name| (Arc::clone(name), ClusterChange::Added)));
        changes
    }
}
